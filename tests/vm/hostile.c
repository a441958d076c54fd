/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's program that tries to reach the host beside its kernel, with the uml engine, where it is a process of the host: what
 * stops it is that the guest's kernel traces it, and no processor's guest mode. "hostile WHAT" tries one kind of way out, in
 * processes of its own, and says "survived" when it has come to the end.
 *
 * All that could write in the host's place writes MARKER, to descriptors that are closed here and that the host's process has:
 * the console, devices' sockets. Whoever starts this looks for it. All that could end or change the host's process would end the
 * guest, or would be seen in what the next call answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARKER "ESCAPED"
#define LENGTH (sizeof(MARKER) - 1)

/* Where user-mode Linux keeps, in each of its processes, the code that maps pages for it (arch/um/include/shared/as-layout.h). */
#define STUB_CODE 0x7fbffff000UL
#define STUB_DATA 0x7fc0000000UL
#define STUB_END 0x7fc0002000UL
#define VSYSCALL 0xffffffffff600000UL

enum { PAGE = 4096, NOBODY = 65534, NUMBERS = 600, PATIENCE = 2 /* seconds */, STACK_SIZE = 64 << 10 };

static char marker[] = MARKER;
static struct iovec vector = { marker, LENGTH };
static volatile long *progress; /* shared with the children */
static char low_stack[STACK_SIZE] __attribute__((aligned(64)));
static volatile int sink;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Runs a function in a process of its own, which may end as it likes, but not live long. Returns its status. */
static int apart(void (*function)(long), long argument)
{
    const struct timespec patience = { .tv_sec = PATIENCE };
    sigset_t child;
    int status;
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (pid == 0) {
        const struct rlimit one = { 1, 1 };

        /* A user with no rights and no second process, so that neither the guest nor this program is what breaks. */
        signal(SIGCHLD, SIG_DFL);
        setpgid(0, 0);
        setrlimit(RLIMIT_NPROC, &one);
        if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
            _exit(1);
        close_range(0, ~0U, 0);
        function(argument);
        _exit(0);
    }
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    while (waitpid(pid, &status, WNOHANG) == 0)
        if (sigtimedwait(&child, NULL, &patience) < 0 && errno == EAGAIN)
            kill(pid, SIGKILL);
    return status;
}

/* ---- Every system call, in every way of entering a kernel ------------------------------------------------------------------- */

/* The arguments of each call: pointers that are none, that are good, and that are the stub's; descriptors and processes that
   are the host's. */
static const unsigned long arguments[][6] = {
    { 0, 0, 0, 0, 0, 0 },
    { -1UL, -1UL, -1UL, -1UL, -1UL, -1UL },
    { 2, (unsigned long)marker, LENGTH, 0, 0, 0 },
    { 1, (unsigned long)&vector, 1, 0, 0, 0 },
    { 4, (unsigned long)marker, LENGTH, 0, 0, 0 },
    { 5, (unsigned long)marker, LENGTH, 0, 0, 0 },
    { (unsigned long)marker, 0101, 0777, (unsigned long)marker, (unsigned long)marker, 0 },
    { -100UL, (unsigned long)marker, 0101, 0777, (unsigned long)marker, 0 },
    { 2, 9, 9, 0, 0, 0 },
    { 3, 9, 9, 0, 0, 0 },
    { STUB_DATA, STUB_DATA, STUB_DATA, STUB_DATA, STUB_DATA, STUB_DATA },
    { STUB_CODE, PAGE, 7, 0x32, -1UL, 0 },
    { STUB_DATA, 2L * PAGE, 7, 0x32, -1UL, 0 },
    { 1UL << 63, 1UL << 31, 1UL << 32, 0xffff, 0x7fffffff, 3 },
};

static long by_syscall(long number, const unsigned long *a)
{
    register unsigned long r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
    long result = number;

    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static long by_x32(long number, const unsigned long *a)
{
    return by_syscall(number | 0x40000000, a);
}

static long by_int_80(long number, const unsigned long *a)
{
    long result = number;

    __asm__ volatile("push %%rbp\n\tmov %6, %%rbp\n\tint $0x80\n\tpop %%rbp"
                     : "+a"(result)
                     : "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4]), "r"(a[5])
                     : "r8", "r9", "r10", "r11", "memory");
    return result;
}

/* 32-bit code, entered by a far call: code, data and stack of this program lie below 4 GiB. */
extern const char code_32[];
long enter_32(long number, const unsigned long *a);
__asm__(
    ".pushsection .text\n"
    "enter_32:\n"
    "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "    mov %rsp, saved_stack(%rip)\n"
    "    mov $low_stack + 65536 - 64, %rsp\n"
    "    mov %rdi, %rax\n"
    "    mov %rsi, %r12\n"
    "    mov (%r12), %rbx; mov 8(%r12), %rcx; mov 16(%r12), %rdx; mov 24(%r12), %rsi; mov 32(%r12), %rdi; mov 40(%r12), %rbp\n"
    "    lcall *far_pointer(%rip)\n"
    "    mov saved_stack(%rip), %rsp\n"
    "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "    ret\n"
    ".code32\n"
    "code_32: int $0x80; lret\n"
    ".code64\n"
    ".popsection\n"
    ".pushsection .data\n"
    "saved_stack: .quad 0\n"
    "far_pointer: .long code_32; .word 0x23\n"
    ".popsection\n");

/* Goes through the numbers from the first on, as far as it lives. */
static long (*enter)(long number, const unsigned long *a);

static void sweep(long first)
{
    const pid_t self = getpid();

    for (long number = first; number < NUMBERS; number++) {
        *progress = number + 1;
        for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++) {
            struct itimerval soon = { .it_value = { .tv_usec = 100000 } };

            setitimer(ITIMER_REAL, &soon, NULL); /* for those that wait for ever */
            enter(number, arguments[i]);
            if (syscall(SYS_getpid) != self)
                _exit(3); /* a second process, or another answer than the guest's kernel gives */
        }
    }
}

static void sweep_all(long (*way)(long number, const unsigned long *a))
{
    enter = way;
    *progress = 0;
    while (*progress < NUMBERS) {
        long before = *progress;

        apart(sweep, before);
        if (*progress == before)
            die("no progress");
    }
}

static void odd_numbers(long unused)
{
    const long odd[] = { -1, -2, 0x7fffffff, 0x80000000L, 1L << 32, (1L << 32) | SYS_write, 1L << 63 };

    (void)unused;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        for (size_t j = 0; j < sizeof(arguments) / sizeof(arguments[0]); j++)
            by_syscall(odd[i], arguments[j]);
}

static void every_syscall(void)
{
    sweep_all(by_syscall);
    apart(odd_numbers, 0);
}

static void every_x32(void)
{
    sweep_all(by_x32);
}

static void every_int_80(void)
{
    sweep_all(by_int_80);
}

static void every_32_bit(void)
{
    sweep_all(enter_32);
}

/* ---- Other instructions and pages that enter a kernel ----------------------------------------------------------------------- */

static void sysenter_64(long number)
{
    __asm__ volatile("mov %%rsp, %%rbp\n\tsysenter" : : "a"(number), "b"(2L), "c"(marker), "d"(LENGTH) : "memory");
}

static void vsyscall(long n)
{
    static char buffer[64];
    const unsigned long pointers[] = { 0, (unsigned long)buffer, STUB_DATA, STUB_CODE, VSYSCALL, -1UL };
    long (*function)(unsigned long, unsigned long) =
        (long (*)(unsigned long, unsigned long))(VSYSCALL + (unsigned long)(n % 4) * 0x400);

    function(pointers[n / 4], pointers[n / 4]);
}

static void other_entries(void)
{
    for (long number = 0; number < 16; number++)
        apart(sysenter_64, number);
    for (long n = 0; n < 24; n++)
        apart(vsyscall, n);
}

/* ---- Signal frames made by hand ------------------------------------------------------------------------------------------------ */

static const unsigned long code_pointers[] = { 0,        STUB_CODE, STUB_CODE + 16,   STUB_CODE + 64,        STUB_DATA,
                                               VSYSCALL, 1UL << 63, 0x800000000000UL, (unsigned long)code_32 };
static const unsigned short selectors[] = { 0x33, 0x23, 0, 0x10, 0x2b, 0x7, 0xffff };

enum {
    FRAME_KINDS = 6,
    FRAMES = sizeof(code_pointers) / sizeof(code_pointers[0]) * sizeof(selectors) / sizeof(selectors[0]) * FRAME_KINDS
};

static void return_from(long n)
{
    static struct {
        void *restorer;
        ucontext_t context;
        uint8_t state[16384] __attribute__((aligned(64)));
    } frame;
    const size_t num_pointers = sizeof(code_pointers) / sizeof(code_pointers[0]);
    size_t kind = (size_t)n % FRAME_KINDS, pointer = (size_t)n / FRAME_KINDS % num_pointers,
           selector = (size_t)n / FRAME_KINDS / num_pointers;
    greg_t *registers = frame.context.uc_mcontext.gregs;

    srandom((unsigned)n);
    for (int i = 0; i < NGREG; i++)
        registers[i] = kind % 2 ? (greg_t)STUB_DATA + i * 256 : (greg_t)random() << 32 | random();
    registers[REG_RAX] = SYS_write;
    registers[REG_RDI] = 2;
    registers[REG_RSI] = (greg_t)marker;
    registers[REG_RDX] = LENGTH;
    registers[REG_RIP] = (greg_t)code_pointers[pointer];
    registers[REG_CSGSFS] = selectors[selector];
    registers[REG_EFL] = kind < 3 ? 0x202 : -1L;
    if (kind > 1)
        for (size_t i = 0; i < sizeof(frame.state); i++)
            frame.state[i] = (uint8_t)random();
    if (kind == 4)
        memset(frame.state + 24, 0xff, 4); /* MXCSR */
    frame.context.uc_mcontext.fpregs = kind == 0 ? NULL : kind == 5 ? (void *)STUB_DATA : (void *)frame.state;
    __asm__ volatile("mov %0, %%rsp\n\tsyscall" : : "r"(&frame.context), "a"(SYS_rt_sigreturn) : "memory");
}

static void signal_frames(void)
{
    for (long n = 0; n < FRAMES; n++)
        apart(return_from, n);
}

/* ---- The stub ---------------------------------------------------------------------------------------------------------------------- */

/* Into the code of the stub, with registers for a call of the host, and with a stack that is ours, or the stub's own. */
static void jump(long n)
{
    unsigned long stack = n & 1 ? STUB_DATA + 2 * PAGE - 64 : (unsigned long)low_stack + STACK_SIZE - 64;

    __asm__ volatile("mov %0, %%rsp\n\tjmp *%1"
                     :
                     : "r"(stack), "r"(STUB_CODE + (unsigned long)(n >> 1)), "a"(SYS_write), "D"(2L), "S"(marker), "d"(LENGTH)
                     : "memory");
}

static void stub_code(void)
{
    for (long n = 0; n < 1024; n++)
        apart(jump, n);
}

static sigjmp_buf back;

static void go_back(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

static void catch_faults(void)
{
    static char stack[STACK_SIZE];
    const stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
    struct sigaction action = { .sa_handler = go_back, .sa_flags = SA_ONSTACK | SA_NODEFER };

    sigaltstack(&alternate, NULL);
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &action, NULL);
}

/* Calls of the host that a stub would be glad to make, wherever it looks for them (arch/um/include/shared/skas/stub-data.h). */
static void fill_stub_data(unsigned long pattern)
{
    const unsigned long call[] = { (unsigned long)marker & ~0xfffUL, PAGE, 0, 3UL << 32 | 7, pattern & 3 };
    volatile unsigned long *words = (volatile unsigned long *)STUB_DATA;

    for (size_t i = 0; i < 2 * PAGE / sizeof(*words); i++)
        words[i] = pattern & 4 ? call[i % 5] : pattern & 8 ? -1UL : pattern * 0x0101010101010101UL;
}

static void fault(unsigned which)
{
    static volatile int zero;
    static volatile unsigned long nowhere = 8;
    volatile char *page;

    if (sigsetjmp(back, 1))
        return;
    switch (which) {
    case 0:
        page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        page[0] = 1;
        munmap((void *)page, PAGE);
        return;
    case 1:
        *(volatile int *)nowhere = 1;
        return;
    case 2:
        __asm__ volatile("ud2");
        return;
    case 3:
        __asm__ volatile("int3");
        return;
    case 4:
        sink = 1 / zero;
        return;
    case 5:
        __asm__ volatile("hlt");
        return;
    case 6:
        __asm__ volatile("mov $0x57, %%eax\n\tmov %%eax, %%ds" : : : "eax");
        return;
    case 7:
        *(volatile char *)STUB_CODE = (char)0xcc; /* the stub, changed */
        return;
    default:
        syscall(SYS_getppid);
    }
}

static void overwrite(long n)
{
    catch_faults();
    for (unsigned which = 0; which <= 8; which++) {
        fill_stub_data((unsigned long)n);
        fault(which);
    }
}

/* A stack in the stub's own, where the host would put the frame of a fault. */
static void stub_stack(long n)
{
    unsigned long stack = STUB_DATA + (unsigned long)(n / 6) * 512 + 8;

    fill_stub_data(4);
    switch (n % 6) {
    case 0:
        __asm__ volatile("mov %0, %%rsp\n\tmov $0, %%rax\n\tmov %%rax, (%%rax)" : : "r"(stack) : "rax", "memory");
        break;
    case 1:
        __asm__ volatile("mov %0, %%rsp\n\tud2" : : "r"(stack) : "memory");
        break;
    case 2:
        __asm__ volatile("mov %0, %%rsp\n\tint3\n\tsyscall"
                         :
                         : "r"(stack), "a"(SYS_write), "D"(2L), "S"(marker), "d"(LENGTH)
                         : "memory");
        break;
    case 3:
        __asm__ volatile("mov %0, %%rsp\n\tsyscall\n\tud2"
                         :
                         : "r"(stack), "a"(SYS_write), "D"(2L), "S"(marker), "d"(LENGTH)
                         : "memory");
        break;
    case 4: /* flags: trap at each instruction */
        __asm__ volatile("mov %0, %%rsp\n\tpushf\n\torl $0x100, (%%rsp)\n\tpopf\n\tsyscall\n\tnop\n\tud2"
                         :
                         : "r"(stack), "a"(SYS_write), "D"(2L), "S"(marker), "d"(LENGTH)
                         : "memory");
        break;
    default: /* flags: alignment, direction */
        __asm__ volatile("mov %0, %%rsp\n\tpushf\n\torl $0x44400, (%%rsp)\n\tpopf\n\tmov $1, %%rax\n\tmov %%rax, (%%rax)"
                         :
                         : "r"(stack)
                         : "rax", "memory");
    }
}

/* No right to any page of memory, the stub's included, where the processor has protection keys. */
static void no_rights(long n)
{
    __asm__ volatile("mov $-1, %%eax\n\txor %%ecx, %%ecx\n\txor %%edx, %%edx\n\twrpkru" : : : "eax", "ecx", "edx");
    fault((unsigned)n);
}

static void stub_data(void)
{
    for (long n = 0; n < 16; n++)
        apart(overwrite, n);
    for (long n = 0; n < 16 * 6; n++)
        apart(stub_stack, n);
    for (long n = 0; n <= 8; n++)
        apart(no_rights, n);
}

/* Mappings over the stub, and in the parts of the host's process that the guest's kernel does not use. */
static void stub_maps(void)
{
    static const unsigned long addresses[] = { STUB_CODE,      STUB_DATA,        STUB_DATA + PAGE, STUB_END,
                                               0x7f80000000UL, 0x7ffff7ff0000UL, 0x7ffffffde000UL, VSYSCALL };
    char *own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        void *there = (void *)addresses[i];

        if (mmap(there, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED ||
            munmap(there, PAGE) == 0 || mprotect(there, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) == 0 ||
            mremap(own, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there) != MAP_FAILED ||
            madvise(there, PAGE, MADV_DONTNEED) == 0) {
            printf("%#lx can be mapped\n", addresses[i]);
            exit(1);
        }
        if (write(STDOUT_FILENO, there, 8) >= 0) {
            printf("%#lx can be read by the kernel\n", addresses[i]);
            exit(1);
        }
    }
}

/* What of the guest's kernel's own host process is left in this one: nothing may be. */
static void leftovers(void)
{
    static volatile unsigned long address, found;

    catch_faults();
    for (address = 0x7ffff7e00000UL; address < 0x7ffffffff000UL; address += address == 0x7ffff8000000UL ? 0x7e00000UL : PAGE)
        if (!sigsetjmp(back, 1)) {
            sink = *(volatile char *)address;
            found = address;
        }
    if (found) {
        printf("%#lx can be read\n", found);
        exit(1);
    }
}

/* ---- A kernel that is gone --------------------------------------------------------------------------------------------------------- */

/* What one program leaves in memory that the next one does not have, and in the stub's data. */
static char *const place = (char *)0x123450000;

static void leave(long unused)
{
    (void)unused;
    if (mmap(place, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != place)
        _exit(1);
    strcpy(place, "secret");
    strcpy((char *)STUB_DATA + PAGE + 64, "secret");
}

static void find(long unused)
{
    (void)unused;
    catch_faults();
    if (!sigsetjmp(back, 1) && strcmp(place, "secret") == 0)
        _exit(1);
    if (!sigsetjmp(back, 1) && strcmp((char *)STUB_DATA + PAGE + 64, "secret") == 0)
        _exit(1);
}

static void predecessors(void)
{
    for (int i = 0; i < 30; i++)
        if (apart(leave, 0) != 0 || apart(find, 0) != 0) {
            printf("a program finds what the one before it left\n");
            exit(1);
        }
}

static void call_for_ever(long unused)
{
    const unsigned long write_marker[6] = { 2, (unsigned long)marker, LENGTH };

    (void)unused;
    for (;;)
        by_syscall(SYS_write, write_marker);
}

/* Many programs in the middle of system calls, until whoever started this kills the guest's kernel: the host has to end them before
   they run on without anybody who stops their calls. */
static void orphans(void)
{
    for (int i = 0; i < 150; i++)
        if (fork() == 0) {
            setpriority(PRIO_PROCESS, 0, 19);
            close_range(0, ~0U, 0);
            call_for_ever(0);
        }
    printf("survived\n");
    fflush(stdout);
    pause();
}

static const struct {
    const char *name;
    void (*try)(void);
} ways[] = {
    { "syscall", every_syscall }, { "x32", every_x32 },           { "int80", every_int_80 },        { "32bit", every_32_bit },
    { "entries", other_entries }, { "sigreturn", signal_frames }, { "stub-code", stub_code },       { "stub-data", stub_data },
    { "stub-maps", stub_maps },   { "leftovers", leftovers },     { "predecessors", predecessors }, { "orphans", orphans },
};

int main(int argc, char **argv)
{
    sigset_t child;

    progress = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    for (size_t i = 0; argc == 2 && i < sizeof(ways) / sizeof(ways[0]); i++)
        if (strcmp(ways[i].name, argv[1]) == 0) {
            ways[i].try();
            printf("survived\n");
            return 0;
        }
    fprintf(stderr, "usage: hostile WHAT\n");
    return 2;
}
