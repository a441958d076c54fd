/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Started by the uml engine in the guest kernel's place, under exactly its confinement, this tries what an attacker would who has
 * taken the guest's kernel over. Each attempt is made in a process of its own, since most are answered by its death. It writes a
 * line for each to standard output, which is the console's pipe: "NAME: refused", or "NAME: DONE" for one that was possible.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each returns a negative number when it was refused. */

static int open_host_file(void)
{
    return open("/etc/passwd", O_RDONLY);
}

static int open_proc(void)
{
    return open("/proc/1/mem", O_RDONLY);
}

static int create_file(void)
{
    return open("/file", O_WRONLY | O_CREAT, 0600);
}

static int write_kernel(void)
{
    return open("/linux", O_RDWR);
}

static int make_directory(void)
{
    return mkdir("/directory", 0700);
}

static int remove_kernel(void)
{
    return unlink("/linux");
}

static int internet_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static int unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int bind_inherited(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    return bind(4, (struct sockaddr *)&address, sizeof(address.sun_family));
}

static int connect_inherited(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/socket" };

    return connect(4, (struct sockaddr *)&address, sizeof(address));
}

static int trace_process_1(void)
{
    return (int)ptrace(PTRACE_ATTACH, 1, 0, 0);
}

static int seize_process_1(void)
{
    return (int)ptrace(PTRACE_SEIZE, 1, 0, 0);
}

static int read_process_1(void)
{
    char byte;
    struct iovec local = { &byte, 1 }, remote = { (void *)0x400000, 1 };

    return (int)process_vm_readv(1, &local, 1, &remote, 1, 0);
}

static int signal_elsewhere(void)
{
    /* Process 1 is the engine's own keeper; nothing else but this program is in the namespace. */
    for (int pid = 10; pid < 70000; pid++)
        if (kill(pid, 0) == 0 && pid != getpid() && pid != getppid())
            return 0;
    return -1;
}

static int mount_tmpfs(void)
{
    return mount("tmpfs", "/", "tmpfs", 0, NULL);
}

static int new_mount_api(void)
{
    return (int)syscall(SYS_fsopen, "tmpfs", 0);
}

static int unshare_user(void)
{
    return unshare(CLONE_NEWUSER);
}

static int clone_user_namespace(void)
{
    return (int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
}

static int change_root(void)
{
    return chroot("/");
}

static int load_bpf(void)
{
    return (int)syscall(SYS_bpf, 0, NULL, 0);
}

static int use_io_uring(void)
{
    struct io_uring_params params = { 0 };

    return (int)syscall(SYS_io_uring_setup, 1, &params);
}

static int add_a_key(void)
{
    return (int)syscall(SYS_add_key, "user", "name", "x", 1, -3);
}

static int use_userfaultfd(void)
{
    return (int)syscall(SYS_userfaultfd, 0);
}

static int open_perf_event(void)
{
    return (int)syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static int raise_limit(void)
{
    struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

    return setrlimit(RLIMIT_NPROC, &limit);
}

static int grow_memory_file(void)
{
    int fd = memfd_create("large", 0);

    signal(SIGXFSZ, SIG_IGN);
    return fd < 0 ? 0 : ftruncate(fd, 1L << 40);
}

static int execute_memfd(void)
{
    int fd = memfd_create("program", 0);
    char *const none[] = { NULL };

    return (int)syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH);
}

static int become_another(void)
{
    return setuid(1);
}

static int restart_host(void)
{
    return reboot(RB_DISABLE_CAD);
}

/* The 32-bit entry, which a filter for 64-bit numbers alone would let through: getpid there is 20. */
static int call_by_int_80(void)
{
    long result = 20;

    __asm__ volatile("int $0x80" : "+a"(result) : : "memory");
    return (int)result;
}

static int call_x32(void)
{
    return (int)syscall(0x40000000 | SYS_getpid);
}

static const struct attempt {
    const char *name;
    int (*make)(void);
} attempts[] = {
    { "open a file of the host", open_host_file },
    { "open another process's memory", open_proc },
    { "create a file", create_file },
    { "open the kernel for writing", write_kernel },
    { "make a directory", make_directory },
    { "remove the kernel", remove_kernel },
    { "make an internet socket", internet_socket },
    { "make a unix socket", unix_socket },
    { "bind an inherited socket", bind_inherited },
    { "connect an inherited socket", connect_inherited },
    { "trace a process that is no child", trace_process_1 },
    { "seize a process that is no child", seize_process_1 },
    { "read the memory of a process that is no child", read_process_1 },
    { "see or signal other processes", signal_elsewhere },
    { "mount", mount_tmpfs },
    { "mount by the new calls", new_mount_api },
    { "unshare a user namespace", unshare_user },
    { "clone into a user namespace", clone_user_namespace },
    { "change the root", change_root },
    { "load BPF", load_bpf },
    { "use io_uring", use_io_uring },
    { "use keyrings", add_a_key },
    { "use userfaultfd", use_userfaultfd },
    { "open a perf event", open_perf_event },
    { "raise a limit", raise_limit },
    { "grow a memory file beyond the guest's memory", grow_memory_file },
    { "execute a memfd", execute_memfd },
    { "become another user", become_another },
    { "restart the host", restart_host },
    { "call by int 0x80", call_by_int_80 },
    { "call by the x32 numbers", call_x32 },
};

static void try(const struct attempt *attempt)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        signal(SIGSYS, SIG_DFL);
        _exit(attempt->make() < 0 ? 0 : 1);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        printf("%s: not tried\n", attempt->name);
        return;
    }
    printf("%s: %s\n", attempt->name, WIFEXITED(status) && WEXITSTATUS(status) == 1 ? "DONE" : "refused");
}

int main(void)
{
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
        try(&attempts[i]);
    printf("descriptors:");
    for (int fd = 0; fd < 256; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf(" %d", fd);
    printf("\nattempts: %zu\n", sizeof(attempts) / sizeof(attempts[0]));
    fflush(stdout);
    return 0;
}
