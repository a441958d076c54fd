/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Started by the uml engine in the guest kernel's place, under exactly its confinement, this tries what an attacker would who has
 * taken the guest's kernel over. Each attempt is made in a process of its own, since most are answered by its death. It writes a
 * line for each to standard output, which is the console's pipe: "NAME: refused", or "NAME: DONE" for one that was possible.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
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

/* A datagram socket can be told an address with each message. */
static int send_to_a_name(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/socket" };
    struct iovec vector = { (void *)"x", 1 };
    struct msghdr message = { .msg_name = &address, .msg_namelen = sizeof(address), .msg_iov = &vector, .msg_iovlen = 1 };
    int pair[2];

    return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0 ? -1 : (int)sendmsg(pair[0], &message, 0);
}

static int other_sockets(void)
{
    int pair[2];

    return socketpair(AF_TIPC, SOCK_STREAM, 0, pair);
}

static int listen_inherited(void)
{
    return listen(4, 1);
}

static int write_process_1(void)
{
    char byte = 0;
    struct iovec local = { &byte, 1 }, remote = { (void *)0x400000, 1 };

    return (int)process_vm_writev(1, &local, 1, &remote, 1, 0);
}

static int descriptor_of_process_1(void)
{
    int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);

    return pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, 3, 0);
}

static int kill_process_1(void)
{
    /* The host's kernel takes it and does nothing: process 1 of a namespace is deaf to its own. It must be there afterwards. */
    kill(1, SIGKILL);
    kill(1, SIGTERM);
    return kill(1, 0) == 0 ? -1 : 0;
}

static int signal_all(void)
{
    return kill(-1, SIGSTOP);
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

static int clone_by_clone3(void)
{
    struct {
        unsigned long long flags, rest[10];
    } arguments = { .flags = CLONE_NEWUSER | CLONE_NEWNET };

    return (int)syscall(SYS_clone3, &arguments, sizeof(arguments));
}

static int enter_namespace(void)
{
    return setns(4, 0);
}

static int pivot(void)
{
    return (int)syscall(SYS_pivot_root, "/", "/");
}

static int unmount(void)
{
    return umount2("/", MNT_DETACH);
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

/* The guest's memory: the one descriptor that is a file. */
static int memory_file(void)
{
    struct stat status;

    for (int fd = 0; fd < 256; fd++)
        if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 0)
            return fd;
    return -1;
}

static int grow_memory_file(void)
{
    return ftruncate(memory_file(), 1L << 40);
}

static int write_beyond_memory_file(void)
{
    int fd = memory_file();
    off_t end = lseek(fd, 0, SEEK_END);

    signal(SIGXFSZ, SIG_IGN);
    return end > 0 && write(fd, "x", 1) == 1 ? 0 : -1;
}

static int write_behind_memory_file(void)
{
    char byte = 'x';
    struct iovec piece = { &byte, 1 };
    int fd = memory_file();
    off_t end = lseek(fd, 0, SEEK_END);

    signal(SIGXFSZ, SIG_IGN);
    return end > 0 && pwritev(fd, &piece, 1, end + (1 << 20)) == 1 ? 0 : -1;
}

static int make_memory_file(void)
{
    return memfd_create("another", 0);
}

static int done_if(void *memory)
{
    return memory == MAP_FAILED ? -1 : 0;
}

static int share_memory(void)
{
    return done_if(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

static int use_huge_pages(void)
{
    return done_if(mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0));
}

/* What the engine says that there can be: src/engine/uml/confine.c. */
enum { PRIVATE_MAX = 8 << 20, STACK_MAX = 1 << 20, DESCRIPTORS_MAX = 4096 };

static long guest_memory(void)
{
    return lseek(memory_file(), 0, SEEK_END);
}

static int use_much_memory(void)
{
    return done_if(mmap(NULL, PRIVATE_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static int use_memory_by_and_by(void)
{
    const int step = 256 << 10;
    long total = 0;

    while (total < PRIVATE_MAX && done_if(mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) == 0)
        total += step;
    return total < PRIVATE_MAX ? -1 : 0;
}

static int extend_the_heap(void)
{
    return done_if(sbrk(PRIVATE_MAX));
}

/* Pages of a file that are written to become private ones. */
static int use_copies_of_a_file(void)
{
    return done_if(mmap(NULL, PRIVATE_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory_file(), 0));
}

static int make_much_writable(void)
{
    void *memory = mmap(NULL, PRIVATE_MAX, PROT_READ, MAP_PRIVATE, memory_file(), 0);

    return memory == MAP_FAILED ? 0 : mprotect(memory, PRIVATE_MAX, PROT_READ | PROT_WRITE);
}

static int use_much_stack(void)
{
    volatile char here[2 * STACK_MAX] = { 0 };

    return here[0];
}

static int use_much_address_space(void)
{
    const long memory = guest_memory(), limit = 4 * memory + (1L << 30);
    long total = 0;

    while (total < limit && done_if(mmap(NULL, (size_t)memory, PROT_READ, MAP_SHARED, memory_file(), 0)) == 0)
        total += memory;
    return total < limit ? -1 : 0;
}

static int lock_memory(void)
{
    return done_if(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
}

/* All processes have one table of descriptors: there is no other way to make one. */
static pid_t make_process(void)
{
    return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
}

static int use_many_descriptors(void)
{
    int fd = 0, last = 0;

    while ((fd = dup(0)) >= 0 && fd < 2 * DESCRIPTORS_MAX)
        last = fd;
    return last < DESCRIPTORS_MAX ? -1 : 0;
}

/* Each would have as many descriptors again. */
static int copy_descriptors(void)
{
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

    if (pid == 0)
        _exit(0);
    return pid;
}

static int leave_descriptors(void)
{
    return (int)syscall(SYS_close_range, 2 * DESCRIPTORS_MAX, ~0U, CLOSE_RANGE_UNSHARE);
}

static int send_many_descriptors(void)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec vector = { (void *)"x", 1 };
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.space)
    };
    int pair[2] = { -1, -1 }, sent = 0;

    control.header = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
    for (; sent < 2 * DESCRIPTORS_MAX; sent++) {
        /* A pair takes a few hundred messages. */
        if (sent % 128 == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
            break;
        *(int *)(void *)CMSG_DATA(&control.header) = pair[1];
        if (sendmsg(pair[0], &message, 0) < 0)
            break;
    }
    return sent <= DESCRIPTORS_MAX + 1 ? -1 : 0;
}

static int have_many_processes(void)
{
    const long twice = guest_memory() >> 19;
    const int limit = twice < 512 ? 512 : twice > 4096 ? 4096 : (int)twice;
    static pid_t made[4096];
    int num = 0;

    for (; num < limit; num++) {
        made[num] = make_process();
        if (made[num] == 0)
            for (;;)
                pause();
        if (made[num] < 0)
            break;
    }
    for (int i = 0; i < num; i++) {
        kill(made[i], SIGKILL);
        waitpid(made[i], NULL, 0);
    }
    return num < limit ? -1 : 0;
}

static int host_name(void)
{
    struct utsname name;

    return uname(&name) < 0 || !strcmp(name.nodename, "microsandbox") ? -1 : 0;
}

/* The processors are its own processes' to choose, and nobody else's. */
static int move_other_processes(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 0;
    for (int pid = 3; pid < 70000; pid++)
        if (pid != getpid() && pid != getppid() && sched_setaffinity(pid, sizeof(set), &set) == 0)
            return 0;
    return -1;
}

static int raise_descriptors(void)
{
    struct rlimit limit = { 100000, 100000 };

    return setrlimit(RLIMIT_NOFILE, &limit);
}

static int raise_memory(void)
{
    struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

    return setrlimit(RLIMIT_DATA, &limit);
}

static int execute_memfd(void)
{
    char *const none[] = { NULL };

    /* Zeros are no program: that this is what the host minds means that it may be executed. */
    return (int)syscall(SYS_execveat, memory_file(), "", none, none, AT_EMPTY_PATH) < 0 && errno == ENOEXEC ? 0 : -1;
}

#define AGAIN "again"

/* It has no name here, and with another execution came a table of descriptors of its own. */
static int execute_kernel_anew(void)
{
    char *const again[] = { (char *)"linux", (char *)AGAIN, NULL }, *const none[] = { NULL };

    return execve("/linux", again, none);
}

static int execute_another_file(void)
{
    char *const none[] = { NULL };
    int fd = open("/initrd", O_RDONLY);

    syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH);
    return errno == EACCES ? -1 : 0;
}

static int load_module(void)
{
    return (int)syscall(SYS_init_module, "x", 1, "");
}

static int load_kernel(void)
{
    return (int)syscall(SYS_kexec_load, 0, 0, NULL, 0);
}

static int set_clock(void)
{
    const struct timespec epoch = { 0 };

    return clock_settime(CLOCK_REALTIME, &epoch);
}

static int set_host_name(void)
{
    return sethostname("x", 1);
}

static int read_kernel_log(void)
{
    return (int)syscall(SYS_syslog, 3, NULL, 0);
}

static int take_real_time(void)
{
    const struct sched_param parameters = { .sched_priority = 1 };

    return sched_setscheduler(0, SCHED_FIFO, &parameters);
}

static int raise_priority(void)
{
    return setpriority(PRIO_PROCESS, 0, -20);
}

static int share_system_v_memory(void)
{
    return (int)syscall(SYS_shmget, 0, 4096, 01600);
}

static int open_message_queue(void)
{
    return (int)syscall(SYS_mq_open, "queue", O_RDWR | O_CREAT, 0600, NULL);
}

static int watch_files(void)
{
    return (int)syscall(SYS_fanotify_init, 0, 0);
}

static int open_by_handle(void)
{
    char handle[64] = { 0 };

    return (int)syscall(SYS_open_by_handle_at, 4, handle, O_RDONLY);
}

static int become_dumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int gain_capability(void)
{
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0);
}

static int write_terminal(void)
{
    return ioctl(0, TIOCSTI, "x");
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
    { "learn the host's name", host_name },
    { "create a file", create_file },
    { "open the kernel for writing", write_kernel },
    { "make a directory", make_directory },
    { "remove the kernel", remove_kernel },
    { "make an internet socket", internet_socket },
    { "make a unix socket", unix_socket },
    { "bind an inherited socket", bind_inherited },
    { "connect an inherited socket", connect_inherited },
    { "send to a name", send_to_a_name },
    { "make other sockets", other_sockets },
    { "listen on an inherited socket", listen_inherited },
    { "trace a process that is no child", trace_process_1 },
    { "seize a process that is no child", seize_process_1 },
    { "read the memory of a process that is no child", read_process_1 },
    { "write the memory of a process that is no child", write_process_1 },
    { "take a descriptor of a process that is no child", descriptor_of_process_1 },
    { "end process 1", kill_process_1 },
    { "signal all processes", signal_all },
    { "see or signal other processes", signal_elsewhere },
    { "mount", mount_tmpfs },
    { "mount by the new calls", new_mount_api },
    { "unshare a user namespace", unshare_user },
    { "clone into a user namespace", clone_user_namespace },
    { "clone into namespaces by clone3", clone_by_clone3 },
    { "enter a namespace", enter_namespace },
    { "unmount", unmount },
    { "change the root by pivot_root", pivot },
    { "change the root", change_root },
    { "load BPF", load_bpf },
    { "use io_uring", use_io_uring },
    { "use keyrings", add_a_key },
    { "use userfaultfd", use_userfaultfd },
    { "open a perf event", open_perf_event },
    { "raise a limit", raise_limit },
    { "grow the memory file", grow_memory_file },
    { "write beyond the memory file", write_beyond_memory_file },
    { "write far behind the memory file", write_behind_memory_file },
    { "make another memory file", make_memory_file },
    { "share memory without a file", share_memory },
    { "use huge pages", use_huge_pages },
    { "use much memory", use_much_memory },
    { "use much memory by and by", use_memory_by_and_by },
    { "extend the heap", extend_the_heap },
    { "use copies of a file", use_copies_of_a_file },
    { "make much memory writable", make_much_writable },
    { "use much stack", use_much_stack },
    { "use much address space", use_much_address_space },
    { "lock memory", lock_memory },
    { "use many descriptors", use_many_descriptors },
    { "copy the table of descriptors", copy_descriptors },
    { "leave the table of descriptors", leave_descriptors },
    { "send many descriptors", send_many_descriptors },
    { "have many processes", have_many_processes },
    { "move other processes to a processor", move_other_processes },
    { "raise the limit of descriptors", raise_descriptors },
    { "raise the limit of memory", raise_memory },
    { "execute a memfd", execute_memfd },
    { "execute the kernel anew", execute_kernel_anew },
    { "execute another file", execute_another_file },
    { "load a module", load_module },
    { "load a kernel", load_kernel },
    { "set the clock", set_clock },
    { "set the host's name", set_host_name },
    { "read the host kernel's log", read_kernel_log },
    { "run in real time", take_real_time },
    { "raise the priority", raise_priority },
    { "use System V memory", share_system_v_memory },
    { "open a message queue", open_message_queue },
    { "watch files", watch_files },
    { "open by handle", open_by_handle },
    { "become dumpable", become_dumpable },
    { "gain a capability", gain_capability },
    { "write to a terminal", write_terminal },
    { "become another user", become_another },
    { "restart the host", restart_host },
    { "call by int 0x80", call_by_int_80 },
    { "call by the x32 numbers", call_x32 },
};

enum { INHERITED_MAX = 256 };

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* What an attempt left in the table of descriptors. */
static void close_new(const bool *inherited)
{
    for (int fd = 0; fd < INHERITED_MAX; fd++)
        if (!inherited[fd] && is_open(fd))
            close(fd);
    if (close_range(INHERITED_MAX, ~0U, 0) < 0)
        perror("close_range");
}

static void try(const struct attempt *attempt)
{
    pid_t pid = make_process();
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

int main(int argc, char **argv)
{
    bool inherited[INHERITED_MAX];

    for (int fd = 0; fd < INHERITED_MAX; fd++)
        inherited[fd] = is_open(fd);
    if (argc == 2 && strcmp(argv[1], AGAIN) == 0)
        return 1; /* the attempt's status: DONE */
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        try(&attempts[i]);
        close_new(inherited);
    }
    printf("descriptors:");
    for (int fd = 0; fd < INHERITED_MAX; fd++)
        if (inherited[fd] && fd != memory_file())
            printf(" %d", fd);
    printf("\nattempts: %zu\n", sizeof(attempts) / sizeof(attempts[0]));
    fflush(stdout);
    return 0;
}
