/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that lives on: real guests through the shared library and the public header alone. One after another, several at once from
 * several threads, stopped and killed from other threads; and afterwards the process is as it was, in all that is its own.
 */
#include "guests.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static msb_vm_builder *shell(const char *script)
{
    msb_vm_builder *builder = guest_builder();

    set_script(builder, script);
    return builder;
}

static int start(msb_vm *vm)
{
    msb_error *error = NULL;
    int status = msb_vm_start(vm, &error);

    if (status < 0)
        print_message("%s\n", msb_error_message(error));
    msb_error_free(error);
    return status;
}

/* ---- The process's own -------------------------------------------------------------------------------------------------------- */

static int count_entries(const char *directory)
{
    DIR *dir = opendir(directory);
    int count = 0;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static int count_lines(const char *path)
{
    FILE *file = fopen(path, "re");
    int count = 0, c;

    assert_non_null(file);
    while ((c = getc(file)) != EOF)
        count += c == '\n';
    fclose(file);
    return count;
}

struct belongings {
    int descriptors, threads;
    uint64_t blocked; /* bit n - 1: signal n */
    struct {
        void (*handler)(int signal);
        int flags;
    } actions[NSIG];
    struct rlimit files;
    char directory[4096];
};

/* The kernel's flag that glibc sets with each sigaction(2), and hides. */
enum { SA_RESTORER_OF_GLIBC = 0x04000000 };

static void look(struct belongings *b)
{
    sigset_t blocked;

    memset(b, 0, sizeof(*b));
    b->descriptors = count_entries("/proc/self/fd");
    b->threads = count_entries("/proc/self/task");
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int i = 1; i < NSIG; i++) {
        struct sigaction action = { 0 };

        b->blocked |= (uint64_t)sigismember(&blocked, i) << (i - 1);
        if (sigaction(i, NULL, &action) == 0) {
            b->actions[i].handler = action.sa_handler;
            b->actions[i].flags = action.sa_flags & ~SA_RESTORER_OF_GLIBC;
        }
    }
    getrlimit(RLIMIT_NOFILE, &b->files);
    assert_non_null(getcwd(b->directory, sizeof(b->directory)));
}

static struct belongings before;

static int begin(void **state)
{
    msb_vm *vm;

    (void)state;
    vm = build(shell("true")); /* what is allocated once and for all by others */
    assert_int_equal(start(vm), 0);
    msb_vm_free(vm);
    look(&before);
    return 0;
}

/* After each test. */
static int nothing_changed(void **state)
{
    struct belongings after;

    (void)state;
    look(&after);
    assert_int_equal(after.descriptors, before.descriptors);
    assert_int_equal(after.threads, before.threads);
    assert_true(after.blocked == before.blocked);
    assert_memory_equal(after.actions, before.actions, sizeof(after.actions));
    assert_memory_equal(&after.files, &before.files, sizeof(after.files));
    assert_string_equal(after.directory, before.directory);
    assert_int_equal(waitpid(-1, NULL, __WALL | WNOHANG), -1); /* none at all */
    assert_int_equal(errno, ECHILD);
    return 0;
}

/* ---- Tests --------------------------------------------------------------------------------------------------------------------- */

static void again_and_again(void **state)
{
    msb_vm *vm = build(shell("exit 7"));

    (void)state;
    assert_int_equal(msb_vm_exit_status(vm), -1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(start(vm), 7);
        assert_int_equal(msb_vm_exit_status(vm), 7);
        assert_int_equal(msb_vm_fd(vm), -1);
    }
    msb_vm_free(vm);
}

static void run_and_free(int times)
{
    for (int i = 0; i < times; i++) {
        msb_vm *vm = build(shell("exit 5"));

        assert_int_equal(start(vm), 5);
        msb_vm_free(vm);
    }
}

/* Descriptors, threads and children are compared after each test; here also memory, to the byte, mounts and files. */
static void two_hundred_leave_nothing(void **state)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    size_t memory;
    int mounts, shared, files;

    (void)state;
    /* glibc keeps seven freed blocks of each size for itself, and counts them as used. */
    run_and_free(8);
    mounts = count_lines("/proc/self/mountinfo");
    shared = count_entries("/dev/shm");
    files = runtime ? count_entries(runtime) : 0;
    memory = mallinfo2().uordblks;
    run_and_free(200);
    assert_int_equal(mallinfo2().uordblks, memory);
    assert_int_equal(count_lines("/proc/self/mountinfo"), mounts);
    assert_int_equal(count_entries("/dev/shm"), shared);
    assert_int_equal(runtime ? count_entries(runtime) : 0, files);
}

static void reap_all(int signal)
{
    int saved = errno;

    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    errno = saved;
}

/* As shells and supervisors do; and as who does not want to know. */
static void the_caller_may_reap_all_children(void **state)
{
    static void (*const handlers[])(int) = { reap_all, SIG_IGN };

    (void)state;
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        const struct sigaction action = { .sa_handler = handlers[i] };
        msb_vm *vm = build(shell("exit 7"));
        struct sigaction was;

        sigaction(SIGCHLD, &action, &was);
        assert_int_equal(start(vm), 7);
        sigaction(SIGCHLD, &was, NULL);
        msb_vm_free(vm);
    }
}

static void *start_in_thread(void *vm)
{
    return (void *)(intptr_t)start(vm);
}

static void several_at_once_from_several_threads(void **state)
{
    enum { NUM = 3 };
    pthread_t threads[NUM];
    msb_vm *vms[NUM];

    (void)state;
    for (int i = 0; i < NUM; i++) {
        char script[20];

        snprintf(script, sizeof(script), "exit %d", 10 + i);
        vms[i] = build(shell(script));
        assert_int_equal(pthread_create(&threads[i], NULL, start_in_thread, vms[i]), 0);
    }
    for (int i = 0; i < NUM; i++) {
        void *status;

        assert_int_equal(pthread_join(threads[i], &status), 0);
        assert_int_equal((intptr_t)status, 10 + i);
        msb_vm_free(vms[i]);
    }
}

/* Reads to the end of what the guest writes. */
static char *read_all(int fd)
{
    char *text = calloc(1, 1000);
    size_t used = 0;
    ssize_t n;

    while ((n = read(fd, text + used, 999 - used)) > 0)
        used += (size_t)n;
    close(fd);
    return text;
}

static void streams(void **state)
{
    msb_vm_builder *builder = shell("cat; echo err >&2");
    int in[2], out[2], err[2];
    char *text;
    msb_vm *vm;

    (void)state;
    assert_int_equal(pipe(in) | pipe(out) | pipe(err), 0);
    msb_vm_builder_set_stdio(builder, in[0], out[1], err[1]);
    vm = build(builder);
    assert_int_equal(msb_vm_spawn(vm, NULL), 0);
    close(in[0]); /* the VM has its own now */
    close(out[1]);
    close(err[1]);
    assert_int_equal(write(in[1], "hello", 5), 5);
    close(in[1]);
    text = read_all(out[0]);
    assert_string_equal(text, "hello");
    free(text);
    text = read_all(err[0]);
    assert_string_equal(text, "err\n");
    free(text);
    assert_int_equal(msb_vm_wait(vm, NULL), 0);
    msb_vm_free(vm);
}

static void console_output(void **state)
{
    char path[] = "/tmp/msb-console-XXXXXX", *text;
    int fd = mkstemp(path), out[2];
    msb_vm_builder *builder = shell("echo out; echo err >&2");
    msb_vm *vm;

    (void)state;
    assert_int_equal(pipe(out), 0);
    msb_vm_builder_set_stdio(builder, -1, out[1], out[1]);
    msb_vm_builder_set_console_output(builder, path);
    vm = build(builder);
    assert_int_equal(start(vm), 0);
    close(out[1]);
    text = read_all(out[0]);
    assert_string_equal(text, ""); /* not used */
    free(text);
    text = read_all(fd);
    assert_non_null(strstr(text, "out\n"));
    assert_non_null(strstr(text, "err\n"));
    assert_int_equal(strlen(text), 8);
    free(text);
    unlink(path);
    msb_vm_free(vm);
}

/* A guest that has said so. */
static msb_vm *running(const char *script)
{
    char line[1000], byte;
    msb_vm_builder *builder;
    int out[2];
    msb_vm *vm;

    snprintf(line, sizeof(line), "%s", script);
    builder = shell(line);
    assert_int_equal(pipe(out), 0);
    msb_vm_builder_set_stdio(builder, -1, out[1], -1);
    vm = build(builder);
    assert_int_equal(msb_vm_spawn(vm, NULL), 0);
    close(out[1]);
    assert_int_equal(read(out[0], &byte, 1), 1);
    close(out[0]);
    return vm;
}

static bool is_readable(int fd, int milliseconds)
{
    struct pollfd polled = { .fd = fd, .events = POLLIN };

    return poll(&polled, 1, milliseconds) == 1;
}

static void a_descriptor_says_when(void **state)
{
    msb_vm *vm = running("trap 'exit 4' USR1; echo; while :; do sleep 0.1; done");
    msb_error *error = NULL;
    int fd = msb_vm_fd(vm);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_false(is_readable(fd, 0));
    assert_int_equal(msb_vm_spawn(vm, &error), -1);
    assert_error(error, MSB_ERR_STATE, "");
    error = NULL;
    assert_int_equal(msb_vm_signal(vm, 0, &error), -1);
    assert_error(error, MSB_ERR_INVALID, "");
    assert_int_equal(msb_vm_signal(vm, SIGUSR1, NULL), 0);
    assert_true(is_readable(fd, 30000));
    assert_int_equal(msb_vm_wait(vm, NULL), 4);
    msb_vm_free(vm);
}

static void *stop_in_thread(void *vm)
{
    return (void *)(intptr_t)msb_vm_stop(vm, 500, NULL);
}

static void stopped_from_another_thread(void **state)
{
    static const struct {
        const char *script;
        int result;
        enum msb_error_code code;
    } cases[] = {
        { "echo; exec sleep 1000", 128 + SIGTERM, MSB_OK },
        { "trap '' TERM; echo; while :; do sleep 0.1; done", -1, MSB_ERR_VM }, /* by force, after the time given */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        msb_vm *vm = running(cases[i].script);
        msb_error *error = NULL;
        pthread_t thread;
        void *stopped;

        assert_int_equal(pthread_create(&thread, NULL, stop_in_thread, vm), 0);
        assert_int_equal(msb_vm_wait(vm, &error), cases[i].result);
        assert_int_equal(msb_error_code(error), cases[i].code);
        msb_error_free(error);
        assert_int_equal(pthread_join(thread, &stopped), 0);
        assert_int_equal((intptr_t)stopped, 0);
        msb_vm_free(vm);
    }
}

static void killed(void **state)
{
    msb_vm *vm = running("echo; sleep 1000");
    msb_error *error = NULL;

    (void)state;
    assert_int_equal(msb_vm_kill(vm, NULL), 0);
    assert_int_equal(msb_vm_wait(vm, &error), -1);
    assert_error(error, MSB_ERR_VM, "");
    msb_vm_free(vm);
}

static void freed_while_it_runs(void **state)
{
    (void)state;
    msb_vm_free(running("echo; sleep 1000"));
}

static void failures_of_the_workload(void **state)
{
    static const struct {
        const char *exec_path, *workdir;
        int status;
    } cases[] = { { "/none", NULL, 127 }, { "none", NULL, 127 }, { "/etc", NULL, 126 }, { "/bin/true", "/none", 125 } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        msb_vm_builder *builder = shell("");
        msb_error *error = NULL;
        msb_vm *vm;

        msb_vm_builder_set_exec_path(builder, cases[i].exec_path);
        msb_vm_builder_set_workdir_path(builder, cases[i].workdir);
        vm = build(builder);
        assert_int_equal(msb_vm_start(vm, &error), -1);
        assert_int_equal(msb_error_code(error), MSB_ERR_WORKLOAD);
        assert_int_equal(msb_vm_exit_status(vm), cases[i].status);
        assert_non_null(strstr(msb_error_message(error), "none") ? "" : strstr(msb_error_message(error), "/etc"));
        msb_error_free(error);
        msb_vm_free(vm);
    }
}

static void a_terminal_is_resized(void **state)
{
    msb_vm_builder *builder = shell("stty size; trap 'stty size; exit 4' WINCH; echo; while :; do sleep 0.1; done");
    int out[2];
    char *text, size[7];
    msb_vm *vm;

    (void)state;
    assert_int_equal(pipe(out), 0);
    msb_vm_builder_set_stdio(builder, -1, out[1], -1);
    msb_vm_builder_set_tty(builder, 11, 22);
    vm = build(builder);
    assert_int_equal(msb_vm_spawn(vm, NULL), 0);
    close(out[1]);
    for (size_t i = 0; i < sizeof(size); i++)
        assert_int_equal(read(out[0], size + i, 1), 1);
    assert_memory_equal(size, "11 22\r\n", 7);
    assert_int_equal(read(out[0], size, 1), 1); /* it is prepared */
    assert_int_equal(msb_vm_resize(vm, 33, 44, NULL), 0);
    text = read_all(out[0]);
    assert_non_null(strstr(text, "33 44"));
    free(text);
    assert_int_equal(msb_vm_wait(vm, NULL), 4);
    msb_vm_free(vm);
}

static void a_panic_s_last_words(void **state)
{
    /* PID 1's own code is overwritten. */
    static const char *const args[] = { "-c", "maps = [line.split() for line in open('/proc/1/maps')]\n"
                                              "first, end = next(line[0] for line in maps if 'x' in line[1]).split('-')\n"
                                              "with open('/proc/1/mem', 'r+b', 0) as memory:\n"
                                              "    memory.seek(int(first, 16))\n"
                                              "    memory.write(bytes(int(end, 16) - int(first, 16)))" };
    msb_vm_builder *builder = guest_builder();
    msb_error *error = NULL;
    msb_vm *vm;

    (void)state;
    msb_vm_builder_set_exec_path(builder, "/usr/bin/python3");
    msb_vm_builder_set_args(builder, args, 2);
    vm = build(builder);
    assert_int_equal(msb_vm_start(vm, &error), -1);
    assert_error(error, MSB_ERR_VM, "panic");
    assert_int_equal(msb_vm_exit_status(vm), 125);
    assert_non_null(msb_vm_kernel_log(vm));
    assert_non_null(strstr(msb_vm_kernel_log(vm), "Kernel panic"));
    msb_vm_free(vm);
}

static void streams_must_be_open(void **state)
{
    msb_vm_builder *builder = shell("true");
    msb_error *error = NULL;
    msb_vm *vm;

    (void)state;
    msb_vm_builder_set_stdio(builder, -1, 999, -1);
    vm = build(builder);
    assert_int_equal(msb_vm_start(vm, &error), -1);
    assert_error(error, MSB_ERR_INVALID, "999");
    msb_vm_free(vm);
}

/* With an argument: only the tests of this name, in which * and ? stand for others. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(again_and_again, nothing_changed),
        cmocka_unit_test_teardown(two_hundred_leave_nothing, nothing_changed),
        cmocka_unit_test_teardown(the_caller_may_reap_all_children, nothing_changed),
        cmocka_unit_test_teardown(several_at_once_from_several_threads, nothing_changed),
        cmocka_unit_test_teardown(streams, nothing_changed),
        cmocka_unit_test_teardown(console_output, nothing_changed),
        cmocka_unit_test_teardown(a_descriptor_says_when, nothing_changed),
        cmocka_unit_test_teardown(stopped_from_another_thread, nothing_changed),
        cmocka_unit_test_teardown(killed, nothing_changed),
        cmocka_unit_test_teardown(freed_while_it_runs, nothing_changed),
        cmocka_unit_test_teardown(failures_of_the_workload, nothing_changed),
        cmocka_unit_test_teardown(a_terminal_is_resized, nothing_changed),
        cmocka_unit_test_teardown(a_panic_s_last_words, nothing_changed),
        cmocka_unit_test_teardown(streams_must_be_open, nothing_changed),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, begin, NULL);
}
