/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a guest's kernel keeps the vector registers of each thread: several threads in several processes fill them with a pattern of
 * their own, and look at them again after each of what a kernel may change them by: system calls, other threads' turns, page faults,
 * signals whose handlers use them, and fork. Says "kept" at the end.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 3, THREADS = 4, ROUNDS = 300, REGISTERS = 16, PAGE = 4096 };

typedef unsigned char vectors[REGISTERS][32] __attribute__((aligned(32)));

static int has_avx;

/* Fills the registers, makes a system call, and reads them, with nothing between that could use them. With rax -1 it writes to *rdi
   instead, which faults where there is no page yet. */
static long around(long number, long rdi, long rsi, const vectors before, vectors after)
{
    long result = number;

#define EACH(do)                                                                                                                 \
    do                                                                                                                           \
    (0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) do(12) do(13) do(14) do(15)
#define LOAD(n) "vmovdqa 32*" #n "(%3), %%ymm" #n "\n\t"
#define STORE(n) "vmovdqa %%ymm" #n ", 32*" #n "(%4)\n\t"
#define LOAD_SSE(n) "movdqa 32*" #n "(%3), %%xmm" #n "\n\t"
#define STORE_SSE(n) "movdqa %%xmm" #n ", 32*" #n "(%4)\n\t"
#define CALL "cmp $-1, %%rax\n\tje 1f\n\tsyscall\n\tjmp 2f\n1:\tmovb $1, (%%rdi)\n2:\n\t"
    if (has_avx)
        __asm__ volatile(EACH(LOAD) CALL EACH(STORE) "vzeroupper"
                         : "+a"(result)
                         : "D"(rdi), "S"(rsi), "r"(before), "r"(after)
                         : "rcx", "r11", "memory");
    else
        __asm__ volatile(EACH(LOAD_SSE) CALL EACH(STORE_SSE)
                         : "+a"(result)
                         : "D"(rdi), "S"(rsi), "r"(before), "r"(after)
                         : "rcx", "r11", "memory");
    return result;
}

static void use_registers(int number)
{
    vectors zero = { { 0 } }, ignored;

    (void)number;
    around(SYS_getppid, 0, 0, zero, ignored);
}

static void check(const vectors before, const vectors after, const char *what)
{
    for (int i = 0; i < REGISTERS; i++)
        if (memcmp(before[i], after[i], has_avx ? 32 : 16) != 0) {
            fprintf(stderr, "register %d has changed over %s\n", i, what);
            _exit(1);
        }
}

static void *fill_and_look(void *argument)
{
    const pid_t process = getpid(), thread = (pid_t)syscall(SYS_gettid);
    unsigned char *page;
    vectors mine, seen;

    (void)argument;
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < sizeof(mine); i++)
            ((unsigned char *)mine)[i] = (unsigned char)((size_t)thread * 31 + (size_t)round * 7 + i * 13);
        around(SYS_getppid, 0, 0, mine, seen);
        check(mine, seen, "a system call");
        around(SYS_sched_yield, 0, 0, mine, seen);
        check(mine, seen, "another thread's turn");
        around(SYS_tkill, thread, SIGUSR1, mine, seen);
        check(mine, seen, "a signal");
        page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        around(-1, (long)page, 0, mine, seen);
        check(mine, seen, "a page fault");
        munmap(page, PAGE);
        if (round % 50 == 0) {
            long child = around(SYS_fork, 0, 0, mine, seen);

            check(mine, seen, child ? "fork" : "fork, in the child");
            if (child == 0)
                _exit(getpid() == process);
            waitpid((pid_t)child, NULL, 0);
        }
    }
    return NULL;
}

static void run_threads(void)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, fill_and_look, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    int status, failed = 0;

    has_avx = __builtin_cpu_supports("avx");
    signal(SIGUSR1, use_registers);
    for (int i = 0; i < PROCESSES; i++)
        if (fork() == 0) {
            run_threads();
            _exit(0);
        }
    while (wait(&status) > 0)
        failed |= status;
    if (!failed)
        printf("kept\n");
    return failed != 0;
}
