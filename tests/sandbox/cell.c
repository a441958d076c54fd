/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process_spawn() and the cell, from inside: each test runs in a process spawned the way the monitor does it, tries what must work
 * and what must not, and says on a pipe what went wrong. As root, everything is done a second time as an ordinary user.
 */
#include "util/cell.h"
#include "sandbox/spawn.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { REPORT = 3 };

static char directory[] = "/tmp/msb-test-cell-XXXXXX";
static char path_read_only[64], path_writable[64], path_file[64], path_private[64];

/* In the spawned process: says what was expected and is not so, and ends it. */
#define EXPECT(condition) expect(condition, __LINE__, #condition)

static void expect(bool condition, int line, const char *text)
{
    if (!condition) {
        dprintf(REPORT, "line %d: %s (errno %d, %s)", line, text, errno, strerror(errno));
        _exit(1);
    }
}

static void expect_ok(int result, msb_error *error, int line)
{
    if (result < 0) {
        dprintf(REPORT, "line %d: %s", line, msb_error_message(error));
        _exit(1);
    }
}

struct result {
    siginfo_t status;
    char said[512];
};

static struct result run_child(int (*run)(void *), void *data, enum spawn_user user)
{
    struct result result = { 0 };
    struct child child;
    msb_error *error = NULL;
    int report[2], fds[] = { -1, -1, STDERR_FILENO, -1 };

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report), 0);
    fds[REPORT] = report[1];
    struct spawn spawn = { .user = user, .fds = fds, .num_fds = 4, .report = REPORT, .run = run, .data = data };
    if (process_spawn(&spawn, &child, &error) < 0)
        fail_msg("%s", msb_error_message(error));
    close(report[1]);
    assert_true(read(report[0], result.said, sizeof(result.said) - 1) >= 0);
    close(report[0]);
    assert_int_equal(waitid((idtype_t)P_PIDFD, (id_t)child.pidfd, &result.status, WEXITED), 0);
    close(child.pidfd);
    return result;
}

static void assert_runs(int (*run)(void *), void *data)
{
    struct result result = run_child(run, data, SPAWN_CALLER);

    if (*result.said || result.status.si_code != CLD_EXITED || result.status.si_status != 0)
        fail_msg("code %d status %d: %s", result.status.si_code, result.status.si_status, result.said);
}

static void assert_killed(int (*run)(void *), void *data)
{
    struct result result = run_child(run, data, SPAWN_CALLER);

    if (*result.said || result.status.si_status != SIGSYS)
        fail_msg("code %d status %d: %s", result.status.si_code, result.status.si_status, result.said);
}

/* ---- Namespaces ------------------------------------------------------------------------------------------------------------ */

static int in_namespaces(void *data)
{
    char name[64];

    (void)data;
    EXPECT(getpid() == 1 && getsid(0) == 1);
    EXPECT(gethostname(name, sizeof(name)) == 0 && sethostname("cell", 4) == 0);
    /* Its own network: not even the loopback is up, and packets to it go nowhere. */
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr loopback = { .sa_family = AF_INET, .sa_data = { 0, 9, 127, 0, 0, 1 } };
    EXPECT(fd >= 0 && connect(fd, &loopback, sizeof(loopback)) < 0 && errno == ENETUNREACH);
    EXPECT(fd == REPORT + 1); /* nothing else was inherited */
    return 0;
}

static void test_namespaces(void **state)
{
    (void)state;
    int inherited = dup(STDERR_FILENO); /* not close-on-exec, and still must not get there */

    assert_runs(in_namespaces, NULL);
    close(inherited);
}

static int blocks(void *data)
{
    (void)data;
    pause();
    return 0;
}

/* The process is killed with the one that started it, whatever that one died of. */
static void test_dies_with_parent(void **state)
{
    int pidfds[2];
    char byte;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pidfds), 0);
    pid_t parent = fork();
    if (parent == 0) {
        int report[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) < 0)
            _exit(1);
        int fds[] = { -1, -1, -1, report[1], pidfds[1] };
        struct spawn spawn = { .fds = fds, .num_fds = 5, .report = REPORT, .run = blocks };
        struct child child;

        close(pidfds[0]);
        if (process_spawn(&spawn, &child, NULL) == 0 && write(pidfds[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    close(pidfds[1]);
    assert_int_equal(read(pidfds[0], &byte, 1), 1);
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    assert_int_equal(read(pidfds[0], &byte, 1), 0); /* end of file: the child's copy is closed too */
    close(pidfds[0]);
}

/* ---- Mounts ---------------------------------------------------------------------------------------------------------------- */

static const struct cell_mount *test_mounts(size_t *num)
{
    static struct cell_mount mounts[8];

    mounts[0] = (struct cell_mount){ .source = path_read_only, .target = "deep/read-only", .read_only = true };
    mounts[1] = (struct cell_mount){ .source = path_writable, .target = "writable" };
    mounts[2] = (struct cell_mount){ .source = path_file, .target = "file", .read_only = true };
    mounts[3] = (struct cell_mount){ .target = "empty" };
    mounts[4] = (struct cell_mount){ .target = "scratch", .writable_dir = true };
    mounts[5] = (struct cell_mount){ .target = "link", .link = "deep/read-only" };
    mounts[6] = (struct cell_mount){ .source = "/usr/bin", .target = "bin", .read_only = true, .executable = true };
    *num = 7;
    return mounts;
}

static void enter_mounts(void)
{
    size_t num;
    const struct cell_mount *mounts = test_mounts(&num);
    msb_error *error = NULL;

    expect_ok(cell_mounts(mounts, num, &error), error, __LINE__);
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;

    EXPECT(dir != NULL);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2; /* "." and ".." */
}

static int refuses_write(const char *path)
{
    return open(path, O_WRONLY | O_CREAT, 0600) < 0 && errno == EROFS;
}

static int in_mounts(void *data)
{
    char text[16] = "";
    int fd;

    (void)data;
    enter_mounts();
    EXPECT(count_entries("/") == 7);
    EXPECT(access("/etc", F_OK) < 0 && access("/proc", F_OK) < 0 && access("/tmp", F_OK) < 0);
    EXPECT(chdir("..") == 0 && access("etc", F_OK) < 0);
    EXPECT(refuses_write("/new") && refuses_write("/deep/new") && refuses_write("/empty/new"));
    EXPECT(refuses_write("/deep/read-only/inside") && refuses_write("/deep/read-only/new") && refuses_write("/file"));
    fd = open("/deep/read-only/inside", O_RDONLY);
    EXPECT(fd >= 0 && read(fd, text, sizeof(text)) == 4 && memcmp(text, "here", 4) == 0);
    EXPECT(open("/link/inside", O_RDONLY) >= 0);
    EXPECT(open("/writable/new", O_WRONLY | O_CREAT, 0600) >= 0 && unlink("/writable/new") == 0);
    EXPECT(open("/scratch/new", O_WRONLY | O_CREAT, 0600) >= 0);
    EXPECT(access("/bin/true", X_OK) == 0);
    EXPECT(access("/writable/program", X_OK) < 0 && errno == EACCES); /* noexec */
    return 0;
}

static void test_mounts_show_only_the_list(void **state)
{
    (void)state;
    assert_runs(in_mounts, NULL);
}

static int in_masks(void *data)
{
    const struct cell_mount mounts[] = {
        { .source = directory, .target = "d", .read_only = true },
        { .target = "d/r/inside", .masked = true },
        { .target = "d/w", .masked = true },
        { .target = "d/absent", .masked = true },
        { .target = "d/absent/deep", .masked = true },
        { .target = "d/link", .masked = true },
        { .target = "d/link/inside", .masked = true },
    };
    msb_error *error = NULL;
    struct stat st;
    char byte;
    int fd;

    (void)data;
    expect_ok(cell_mounts(mounts, sizeof(mounts) / sizeof(mounts[0]), &error), error, __LINE__);
    EXPECT(stat("/d/r/inside", &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0 && (st.st_mode & 07777) == 0400);
    fd = open("/d/r/inside", O_RDONLY); /* with all capabilities still there */
    EXPECT(fd < 0 || read(fd, &byte, 1) == 0);
    EXPECT(open("/d/r/inside", O_WRONLY) < 0);
    EXPECT(stat("/d/w", &st) == 0 && S_ISDIR(st.st_mode) && count_entries("/d/w") == 0);
    EXPECT(refuses_write("/d/w/new"));
    EXPECT(lstat("/d/absent", &st) < 0 && errno == ENOENT);
    EXPECT(lstat("/d/link", &st) == 0 && S_ISLNK(st.st_mode));
    return 0;
}

static void test_masks(void **state)
{
    (void)state;
    assert_runs(in_masks, NULL);
}

static int in_single_root(void *data)
{
    struct cell_mount root = { .source = path_writable, .target = "" };
    msb_error *error = NULL;

    (void)data;
    expect_ok(cell_mounts(&root, 1, &error), error, __LINE__);
    EXPECT(count_entries("/") == 1 && access("/program", F_OK) == 0);
    EXPECT(access("/../etc", F_OK) < 0);
    EXPECT(open("/new", O_WRONLY | O_CREAT, 0600) >= 0 && unlink("/new") == 0);
    return 0;
}

static void test_directory_as_root(void **state)
{
    (void)state;
    assert_runs(in_single_root, NULL);
}

static int in_content(void *data)
{
    struct cell_mount mount = { .target = "a/copy", .content = *(int *)data };
    msb_error *error = NULL;
    char text[16];

    expect_ok(cell_mounts(&mount, 1, &error), error, __LINE__);
    int fd = open("/a/copy", O_RDONLY);
    EXPECT(fd >= 0 && read(fd, text, sizeof(text)) == 4 && memcmp(text, "here", 4) == 0);
    EXPECT(refuses_write("/a/copy"));
    return 0;
}

static int make_content(void *data)
{
    int fd = open(path_file, O_RDONLY);

    (void)data;
    EXPECT(fd >= 0);
    return in_content(&fd);
}

static void test_content(void **state)
{
    (void)state;
    assert_runs(make_content, NULL);
}

static int in_missing_source(void *data)
{
    struct cell_mount mount = { .source = "/nonexistent", .target = "x" };
    msb_error *error = NULL;

    (void)data;
    EXPECT(cell_mounts(&mount, 1, &error) < 0 && msb_error_code(error) == MSB_ERR_SYSTEM);
    EXPECT(strstr(msb_error_message(error), "`/nonexistent`") != NULL);
    msb_error_free(error);
    return 0;
}

static void test_missing_source(void **state)
{
    (void)state;
    assert_runs(in_missing_source, NULL);
}

/* A path that only the caller may traverse can be a source even when the cell's user is nobody, who cannot open it by itself. */
static int in_private_source(void *data)
{
    struct cell_mount mount = { .source = path_private, .target = "private", .read_only = true };
    msb_error *error = NULL;

    (void)data;
    expect_ok(cell_mounts(&mount, 1, &error), error, __LINE__);
    EXPECT(getuid() == 0 && geteuid() == 0 && getgid() == 0);
    EXPECT(open("/private", O_RDONLY) < 0 && errno == EACCES);
    return 0;
}

static void test_private_source(void **state)
{
    struct result result;

    (void)state;
    if (geteuid() != 0)
        skip();
    result = run_child(in_private_source, NULL, SPAWN_NOBODY);
    assert_string_equal(result.said, "");
    assert_int_equal(result.status.si_status, 0);
}

/* ---- Confinement ------------------------------------------------------------------------------------------------------------- */

static void confine(void)
{
    static const struct cell_syscall allowed[] = {
        CELL_ALLOW(write), /* to report */
        CELL_ALLOW(exit_group),
        CELL_ALLOW(getuid),
        { SCMP_SYS(prctl), 0, ~0UL, PR_GET_DUMPABLE, 0 },
        { SCMP_SYS(clone3), -1, 0, 0, ENOSYS },
    };
    msb_error *error = NULL;

    enter_mounts();
    expect_ok(cell_confine(allowed, sizeof(allowed) / sizeof(allowed[0]), &error), error, __LINE__);
}

static int allowed_calls(void *data)
{
    (void)data;
    confine();
    EXPECT(getuid() == 0);
    EXPECT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
    EXPECT(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
    return 0;
}

static int other_call(void *data)
{
    (void)data;
    confine();
    syscall(SYS_getppid);
    return 0;
}

static __attribute__((unused)) int other_argument(void *data)
{
    (void)data;
    confine();
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    return 0;
}

static int call_of_i386(void *data)
{
    long result;

    (void)data;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory"); /* getpid */
    return 0;
}

static int other_architecture(void *data)
{
    confine();
    return call_of_i386(data);
}

/* A host without IA-32 emulation takes it for a fault of the program's, whoever makes it. */
static bool host_has_i386(void)
{
    return run_child(call_of_i386, NULL, SPAWN_CALLER).status.si_status != SIGSEGV;
}

static void test_calls(void **state)
{
    (void)state;
    assert_runs(allowed_calls, NULL);
    assert_killed(other_call, NULL);
#ifndef __SANITIZE_ADDRESS__ /* whose runtime calls prctl with arguments of its own */
    assert_killed(other_argument, NULL);
#endif
    if (host_has_i386())
        assert_killed(other_architecture, NULL);
}

/* What capabilities would allow fails even where seccomp lets the call through. */
static int without_capabilities(void *data)
{
    static const struct cell_syscall allowed[] = {
        CELL_ALLOW(write),  CELL_ALLOW(exit_group), CELL_ALLOW(mount),  CELL_ALLOW(chroot),    CELL_ALLOW(sethostname),
        CELL_ALLOW(setuid), CELL_ALLOW(execve),     CELL_ALLOW(prctl),  CELL_ALLOW(mknodat),   CELL_ALLOW(unshare),
        CELL_ALLOW(ptrace), CELL_ALLOW(open_tree),  CELL_ALLOW(socket), CELL_ALLOW(getrlimit), CELL_ALLOW(prlimit64),
    };
    msb_error *error = NULL;

    (void)data;
    enter_mounts();
    expect_ok(cell_confine(allowed, sizeof(allowed) / sizeof(allowed[0]), &error), error, __LINE__);
    EXPECT(mount("none", "/empty", "tmpfs", 0, NULL) < 0 && errno == EPERM);
    EXPECT(open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE) < 0 && errno == EPERM);
    EXPECT(chroot("/empty") < 0 && errno == EPERM);
    EXPECT(sethostname("x", 1) < 0 && errno == EPERM);
    EXPECT(mknodat(AT_FDCWD, "/scratch/null", S_IFCHR | 0600, 0x103) < 0 && errno == EPERM);
    EXPECT(unshare(CLONE_NEWNS) < 0 && errno == EPERM);
    EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    EXPECT(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) < 0 && errno == EPERM);
    for (int capability = 0; capability <= 40; capability++)
        EXPECT(prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 0);
    EXPECT(socket(AF_INET, SOCK_RAW, 255) < 0 && errno == EPERM);
    return 0;
}

static void test_capabilities(void **state)
{
    (void)state;
    assert_runs(without_capabilities, NULL);
}

/* ---- Frame --------------------------------------------------------------------------------------------------------------------- */

static void write_file(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "here", 4), 4);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int set_up(void **state)
{
    char path[128];

    (void)state;
    assert_non_null(mkdtemp(directory));
    assert_int_equal(chmod(directory, 0755), 0);
    snprintf(path_read_only, sizeof(path_read_only), "%s/r", directory);
    snprintf(path_writable, sizeof(path_writable), "%s/w", directory);
    snprintf(path_file, sizeof(path_file), "%s/r/inside", directory);
    snprintf(path_private, sizeof(path_private), "%s/p", directory);
    assert_int_equal(mkdir(path_read_only, 0755), 0);
    assert_int_equal(mkdir(path_writable, 0755), 0);
    assert_int_equal(mkdir(path_private, 0700), 0);
    write_file(path_file, 0644);
    snprintf(path, sizeof(path), "%s/program", path_writable);
    write_file(path, 0755);
    snprintf(path, sizeof(path), "%s/link", directory);
    assert_int_equal(symlink("r", path), 0);
    return 0;
}

static int tear_down(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof(path), "%s/program", path_writable);
    unlink(path);
    snprintf(path, sizeof(path), "%s/link", directory);
    unlink(path);
    unlink(path_file);
    rmdir(path_read_only);
    rmdir(path_writable);
    rmdir(path_private);
    return rmdir(directory);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_dies_with_parent),
        cmocka_unit_test(test_mounts_show_only_the_list),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_directory_as_root),
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_missing_source),
        cmocka_unit_test(test_private_source),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_capabilities),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* As root: also in a process that became an ordinary user. */
int main(void)
{
    pid_t ordinary = geteuid() == 0 ? fork() : -1;
    int status = 0;

    if (ordinary == 0) {
        if (setgroups(0, NULL) < 0 || setresgid(12345, 12345, 12345) < 0 || setresuid(12345, 12345, 12345) < 0)
            return 1;
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* /proc/self is root's otherwise */
        return run_all();
    }
    if (ordinary > 0)
        waitpid(ordinary, &status, 0);
    return run_all() != 0 || status != 0;
}
