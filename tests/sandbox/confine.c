/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor has given up: each case runs in a process that confined itself as the monitor does, and tries.
 */
#include "sandbox/confine.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Returns 0 when all is as it should be, else the line that is not. */
typedef int attempt(void);

static pid_t parent; /* asked for before it is forbidden */

static int run(attempt *try)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (monitor_confine(NULL) < 0)
            _exit(255);
        _exit(try());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_works(attempt *try)
{
    int status = run(try);

    if (!WIFEXITED(status) || WEXITSTATUS(status))
        fail_msg("status %#x: check %d", (unsigned)status, WEXITSTATUS(status));
}

static void assert_killed(attempt *try)
{
    int status = run(try);

    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
        fail_msg("status %#x instead of SIGSYS", (unsigned)status);
}

/* ---- Calls ---------------------------------------------------------------------------------------------------------------------- */

static int execute(void)
{
    char *const argv[] = { (char *)"true", NULL };

    return execve("/bin/true", argv, argv + 1);
}

#ifndef __SANITIZE_ADDRESS__
static int make_process(void)
{
    return fork();
}

static int trace(void)
{
    return (int)ptrace(PTRACE_SEIZE, parent, NULL, NULL);
}

static int read_memory(void)
{
    return (int)syscall(SYS_process_vm_readv, parent, NULL, 0, NULL, 0, 0);
}

static int type_into_terminal(void)
{
    return ioctl(0, TIOCSTI, "x");
}
#endif

static int make_internet_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static int make_unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int make_packet_socket_pair(void)
{
    int pair[2];

    return socketpair(AF_INET, SOCK_STREAM, 0, pair);
}

static int connect_somewhere(void)
{
    const struct sockaddr_un address = { .sun_family = AF_UNIX };

    return connect(0, (const struct sockaddr *)&address, sizeof(address));
}

static int kill_parent(void)
{
    return kill(parent, 0);
}

static int make_namespace(void)
{
    return unshare(CLONE_NEWUSER);
}

static int mount_something(void)
{
    return mount("none", "/tmp", "tmpfs", 0, NULL);
}

static int change_mode(void)
{
    return chmod("/tmp", 0777);
}

static int make_link(void)
{
    return symlink("here", "/tmp/link");
}

static int take_descriptor(void)
{
    return (int)syscall(SYS_pidfd_getfd, 0, 0, 0);
}

static int become_another(void)
{
    return (int)syscall(SYS_setuid, 1);
}

static void calls(void **state)
{
    static attempt *const attempts[] = {
        execute,
        make_internet_socket,
        make_unix_socket,
        make_packet_socket_pair,
        connect_somewhere,
        kill_parent,
        make_namespace,
        mount_something,
        change_mode,
        make_link,
        take_descriptor,
        become_another,
#ifndef __SANITIZE_ADDRESS__ /* whose own calls these are */
        make_process,
        trace,
        type_into_terminal,
        read_memory,
#endif
    };

    (void)state;
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
        assert_killed(attempts[i]);
}

static int find_capabilities(void)
{
    char line[256];
    int found = 0;
    FILE *file = fopen("/proc/self/status", "re");

    while (file && fgets(line, sizeof(line), file)) {
        if (!strncmp(line, "CapEff:", 7) || !strncmp(line, "CapPrm:", 7) || !strncmp(line, "CapInh:", 7))
            found += strtoull(line + 7, NULL, 16) == 0;
        if (!strncmp(line, "NoNewPrivs:", 11))
            found += strtoul(line + 11, NULL, 10) == 1;
    }
    return found == 4 ? 0 : 1;
}

static void capabilities(void **state)
{
    (void)state;
    assert_works(find_capabilities);
}

int main(void)
{
    parent = getpid();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls),
        cmocka_unit_test(capabilities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
