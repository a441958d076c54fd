/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sandboxes that live on, through the shared library and the public header alone, in real guests: found by name, used by many at once,
 * killed in every part and every state. The runtime and state directories are this test's own, so that at its end it can be seen that
 * nothing is left in them.
 */
#include "guests.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE = 120000, NEVER = -1, NO_CANCEL = -1 };

static char scratch[] = "/tmp/msb-sandboxes-XXXXXX";
static msb_sandbox *shared; /* without a command of its own */

/* ---- Helpers ---------------------------------------------------------------------------------------------------------------- */

static char *path_of(const char *name)
{
    char *path;

    assert_true(asprintf(&path, "%s/%s", scratch, name) > 0);
    return path;
}

static msb_vm_builder *sandbox_builder(const char *name)
{
    static const char *const env[] = { "PATH=/usr/bin:/bin", "OWN=sandbox", "BOTH=sandbox" };
    msb_vm_builder *builder = guest_builder();

    msb_vm_builder_set_name(builder, name);
    msb_vm_builder_set_env(builder, env, 3);
    return builder;
}

static msb_sandbox *launch(msb_vm_builder *builder, unsigned flags)
{
    msb_error *error = NULL;
    msb_vm *vm = build(builder);
    msb_sandbox *sandbox = msb_vm_launch(vm, flags, PATIENCE, NO_CANCEL, &error);

    if (!sandbox)
        fail_msg("%s", msb_error_message(error));
    msb_vm_free(vm);
    return sandbox;
}

static msb_sandbox *launch_script(const char *name, const char *script)
{
    msb_vm_builder *builder = sandbox_builder(name);

    set_script(builder, script);
    return launch(builder, 0);
}

static msb_exec_options *shell(const char *script)
{
    const char *args[] = { "-c", script };
    msb_exec_options *options = msb_exec_options_new();

    msb_exec_options_set_exec_path(options, "/bin/sh");
    msb_exec_options_set_args(options, args, 2);
    msb_exec_options_set_collect(options, 1 << 20);
    return options;
}

static msb_exec *begin_exec(msb_sandbox *sandbox, msb_exec_options *options)
{
    msb_error *error = NULL;
    msb_exec *exec = msb_sandbox_exec(sandbox, options, PATIENCE, NO_CANCEL, &error);

    if (!exec)
        fail_msg("%s", msb_error_message(error));
    msb_exec_options_free(options);
    return exec;
}

static int finish_exec(msb_exec *exec)
{
    msb_error *error = NULL;
    int status = msb_exec_wait(exec, PATIENCE, NO_CANCEL, &error);

    if (status < 0)
        print_message("%s\n", msb_error_message(error));
    msb_error_free(error);
    return status;
}

static bool is_readable(int fd, int milliseconds)
{
    struct pollfd polled = { .fd = fd, .events = POLLIN };

    return poll(&polled, 1, milliseconds) == 1;
}

/* Until the command has said it. */
static void until_output(msb_exec *exec, const char *wanted)
{
    while (!strstr(msb_exec_output(exec, NULL), wanted)) {
        assert_true(is_readable(msb_exec_fd(exec), PATIENCE));
        msb_exec_wait(exec, 0, NO_CANCEL, NULL);
    }
}

static void assert_run(msb_sandbox *sandbox, const char *script, int status, const char *output)
{
    msb_exec *exec = begin_exec(sandbox, shell(script));

    assert_int_equal(finish_exec(exec), status);
    assert_string_equal(msb_exec_output(exec, NULL), output);
    msb_exec_free(exec);
}

/* Waits for the end, and returns as msb_sandbox_wait(). */
static int end_of(msb_sandbox *sandbox)
{
    return msb_sandbox_wait(sandbox, PATIENCE, NO_CANCEL, NULL);
}

static void kill_and_free(msb_sandbox *sandbox)
{
    msb_sandbox_kill(sandbox, PATIENCE, NO_CANCEL, NULL);
    end_of(sandbox);
    msb_sandbox_free(sandbox);
}

/* The value of "KEY":NUMBER in what inspect says. */
static long number_in(msb_sandbox *sandbox, const char *key)
{
    char *json = msb_sandbox_inspect(sandbox, NULL), quoted[64];
    const char *at;
    long value;

    snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    assert_non_null(json);
    at = strstr(json, quoted);
    assert_non_null(at);
    value = strtol(at + strlen(quoted), NULL, 10);
    free(json);
    return value;
}

static int entries_in(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int count = 0;

    while (dir && (entry = readdir(dir)))
        count += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count;
}

static double seconds_since(const struct timespec *begin)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

/* ---- Commands --------------------------------------------------------------------------------------------------------------- */

static void a_command_has_its_own_of_everything(void **state)
{
    static const char *const env[] = { "BOTH=exec", "MORE=exec" }, *const limits[] = { "RLIMIT_NOFILE=77:88" };
    msb_exec_options *options = shell("echo $OWN $BOTH $MORE; pwd; ulimit -n; id -u; echo wrong >&2; exit 9");
    msb_exec *exec;

    (void)state;
    msb_exec_options_set_env(options, env, 2);
    msb_exec_options_set_rlimits(options, limits, 1);
    msb_exec_options_set_workdir_path(options, "/usr");
    msb_exec_options_set_user(options, "65534");
    exec = begin_exec(shared, options);
    assert_int_equal(msb_exec_exit_status(exec), -1);
    assert_int_equal(finish_exec(exec), 9);
    assert_int_equal(finish_exec(exec), 9);
    assert_int_equal(msb_exec_exit_status(exec), 9);
    assert_string_equal(msb_exec_output(exec, NULL), "sandbox exec exec\n/usr\n77\n65534\n");
    assert_string_equal(msb_exec_errors(exec, NULL), "wrong\n");
    assert_false(msb_exec_truncated(exec) || msb_exec_timed_out(exec) || msb_exec_out_of_memory(exec));
    msb_exec_free(exec);
}

static void what_cannot_be_started_is_told(void **state)
{
    msb_exec_options *options = shell("true");
    msb_error *error = NULL;
    msb_exec *exec;

    (void)state;
    msb_exec_options_set_exec_path(options, "/no/such/program");
    exec = begin_exec(shared, options);
    assert_int_equal(msb_exec_wait(exec, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_WORKLOAD, "/no/such/program");
    assert_int_equal(msb_exec_exit_status(exec), 127);
    msb_exec_free(exec);

    options = shell("true");
    msb_exec_options_set_exec_path(options, NULL);
    error = NULL;
    assert_null(msb_sandbox_exec(shared, options, PATIENCE, NO_CANCEL, &error));
    assert_error(error, MSB_ERR_INVALID, "exec_path is not set");
    msb_exec_options_free(options);

    options = shell("true");
    msb_exec_options_set_workdir_path(options, "relative");
    error = NULL;
    assert_null(msb_sandbox_exec(shared, options, PATIENCE, NO_CANCEL, &error));
    assert_error(error, MSB_ERR_INVALID, "workdir_path: path \"relative\"");
    msb_exec_options_free(options);
}

/* Waits for its start; returns what a shell would show, and -1 when it runs. */
static int start_of(const char *exec_path, const char *workdir, const char *user, int detach, size_t collect)
{
    msb_exec_options *options = shell("exec sleep 33333");
    msb_error *error = NULL;
    msb_exec *exec;
    int result, status;

    msb_exec_options_set_exec_path(options, exec_path);
    msb_exec_options_set_workdir_path(options, workdir);
    msb_exec_options_set_user(options, user);
    msb_exec_options_set_detach(options, detach);
    msb_exec_options_set_collect(options, collect);
    exec = begin_exec(shared, options);
    result = msb_exec_wait_started(exec, PATIENCE, NO_CANCEL, &error);
    status = msb_exec_exit_status(exec);
    assert_int_equal(result, status == -1 ? 0 : -1);
    assert_int_equal(msb_error_code(error), status == -1 ? MSB_OK : MSB_ERR_WORKLOAD);
    msb_error_free(error);
    if (status == -1)
        msb_exec_signal(exec, SIGKILL, NULL);
    else
        assert_int_equal(msb_exec_wait_started(exec, PATIENCE, NO_CANCEL, NULL), -1);
    assert_int_equal(msb_exec_wait(exec, PATIENCE, NO_CANCEL, NULL), status == -1 ? 128 + SIGKILL : -1);
    /* It was started, and that it has ended does not change that. */
    if (status == -1)
        assert_int_equal(msb_exec_wait_started(exec, PATIENCE, NO_CANCEL, NULL), 0);
    msb_exec_free(exec);
    return status;
}

static void a_start_is_waited_for(void **state)
{
    msb_exec *exec;

    (void)state;
    for (int detach = 0; detach < 2; detach++) {
        for (size_t collect = 0; collect < 2; collect++) {
            assert_int_equal(start_of("/bin/sh", NULL, NULL, detach, collect), -1);
            assert_int_equal(start_of("/no/such/program", NULL, NULL, detach, collect), 127);
            assert_int_equal(start_of("/etc/passwd", NULL, NULL, detach, collect), 126);
            assert_int_equal(start_of("/bin/sh", "/no/such/directory", NULL, detach, collect), 125);
            assert_int_equal(start_of("/bin/sh", NULL, "no-such-user", detach, collect), 125);
        }
    }
    /* One that has ended before anybody asked was started too. */
    exec = begin_exec(shared, shell("exit 3"));
    assert_int_equal(finish_exec(exec), 3);
    assert_int_equal(msb_exec_wait_started(exec, PATIENCE, NO_CANCEL, NULL), 0);
    assert_int_equal(msb_exec_exit_status(exec), 3);
    msb_exec_free(exec);
}

static void output_beyond_its_limit_is_dropped(void **state)
{
    msb_exec_options *options = shell("head -c 300000 /dev/zero; echo done >&2");
    msb_exec *exec;
    size_t size;

    (void)state;
    msb_exec_options_set_collect(options, 100000);
    exec = begin_exec(shared, options);
    assert_int_equal(finish_exec(exec), 0);
    msb_exec_output(exec, &size);
    assert_int_equal(size, 100000);
    assert_true(msb_exec_truncated(exec));
    assert_string_equal(msb_exec_errors(exec, NULL), "done\n");
    msb_exec_free(exec);
}

static void waits_end_in_time_and_when_cancelled(void **state)
{
    int cancel = eventfd(0, EFD_CLOEXEC);
    msb_error *error = NULL;
    msb_exec *exec = begin_exec(shared, shell("sleep 1000"));

    (void)state;
    assert_int_equal(msb_exec_wait(exec, 50, cancel, &error), -1);
    assert_error(error, MSB_ERR_TIMEOUT, "");
    error = NULL;
    assert_int_equal(msb_sandbox_wait(shared, 50, cancel, &error), -1);
    assert_error(error, MSB_ERR_TIMEOUT, "");
    eventfd_write(cancel, 1);
    error = NULL;
    assert_int_equal(msb_exec_wait(exec, NEVER, cancel, &error), -1);
    assert_error(error, MSB_ERR_CANCELLED, "");
    error = NULL;
    assert_int_equal(msb_sandbox_wait(shared, NEVER, cancel, &error), -1);
    assert_error(error, MSB_ERR_CANCELLED, "");
    /* It still runs, and can be ended. */
    assert_int_equal(msb_exec_signal(exec, SIGTERM, NULL), 0);
    assert_int_equal(finish_exec(exec), 128 + SIGTERM);
    msb_exec_free(exec);
    close(cancel);
}

static void a_command_can_have_a_timeout(void **state)
{
    msb_exec_options *options = shell("echo before; exec sleep 1000");
    msb_exec *exec;

    (void)state;
    msb_exec_options_set_timeout_ms(options, 2000);
    exec = begin_exec(shared, options);
    assert_int_equal(finish_exec(exec), 128 + SIGKILL);
    assert_true(msb_exec_timed_out(exec));
    assert_string_equal(msb_exec_output(exec, NULL), "before\n");
    msb_exec_free(exec);
}

/* How many processes with this argument the guest has. */
static int count_sleeps(const char *argument)
{
    char script[128];
    msb_exec *exec;
    int count;

    snprintf(script, sizeof(script),
             "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done 2>/dev/null | grep -c '^sleep %s'", argument);
    exec = begin_exec(shared, shell(script));
    finish_exec(exec);
    count = atoi(msb_exec_output(exec, NULL));
    msb_exec_free(exec);
    return count;
}

static void freeing_ends_a_command_unless_it_is_detached(void **state)
{
    msb_exec_options *options = shell("exec sleep 11111");
    msb_exec *exec = begin_exec(shared, options);

    (void)state;
    while (count_sleeps("11111") < 1)
        continue;
    msb_exec_free(exec);
    while (count_sleeps("11111") > 0)
        continue;
    options = shell("exec sleep 22222");
    msb_exec_options_set_collect(options, 0);
    msb_exec_options_set_detach(options, 1);
    exec = begin_exec(shared, options);
    while (count_sleeps("22222") < 1)
        continue;
    msb_exec_free(exec);
    assert_run(shared, "true", 0, "");
    assert_int_equal(count_sleeps("22222"), 1);
    assert_run(shared, "kill $(cat /proc/[0-9]*/stat | grep '(sleep)' | cut -d ' ' -f 1)", 0, "");
}

static void a_terminal_has_a_size_and_signals(void **state)
{
    msb_exec_options *options = shell("stty size; trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.1; done");
    msb_exec *exec;

    (void)state;
    msb_exec_options_set_tty(options, 11, 22);
    exec = begin_exec(shared, options);
    until_output(exec, "ready");
    assert_int_equal(msb_exec_resize(exec, 33, 44, NULL), 0);
    assert_int_equal(finish_exec(exec), 4);
    assert_string_equal(msb_exec_output(exec, NULL), "11 22\r\nready\r\n33 44\r\n");
    msb_exec_free(exec);
}

static void many_in_a_row(void **state)
{
    int count = getenv("MSB_TEST_LONG") ? 1000 : 100;

    (void)state;
    for (int i = 0; i < count; i++) {
        char script[64], expected[32];

        snprintf(script, sizeof(script), "echo %d; exit %d", i, i % 100);
        snprintf(expected, sizeof(expected), "%d\n", i);
        assert_run(shared, script, i % 100, expected);
    }
}

static void sixty_four_at_once(void **state)
{
    enum { COUNT = 64 };
    msb_exec *execs[COUNT];

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        char script[64];

        snprintf(script, sizeof(script), "sleep 0.2; echo %d; exit %d", i, i);
        execs[i] = begin_exec(shared, shell(script));
    }
    for (int i = 0; i < COUNT; i++) {
        char expected[32];

        snprintf(expected, sizeof(expected), "%d\n", i);
        assert_int_equal(finish_exec(execs[i]), i);
        assert_string_equal(msb_exec_output(execs[i], NULL), expected);
        msb_exec_free(execs[i]);
    }
}

static void *run_some(void *data)
{
    (void)data;
    for (int i = 0; i < 10; i++) {
        msb_exec *exec = begin_exec(shared, shell("exit 5"));

        if (finish_exec(exec) != 5)
            return exec;
        msb_exec_free(exec);
    }
    return NULL;
}

static void from_several_threads(void **state)
{
    pthread_t threads[4];
    void *result;

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_some, NULL), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &result);
        assert_null(result);
    }
}

/* Writes a sequence that depends on the place into a pipe, as a process of its own. */
static pid_t pattern_writer(int fd, size_t size)
{
    pid_t pid = fork();
    uint32_t block[4096];

    if (pid != 0)
        return pid;
    for (uint32_t i = 0; size > 0; size -= sizeof(block)) {
        for (size_t j = 0; j < 4096; j++)
            block[j] = i++ * 2654435761U;
        for (size_t done = 0; done < sizeof(block);) {
            ssize_t n = write(fd, (char *)block + done, sizeof(block) - done);

            if (n <= 0)
                _exit(1);
            done += (size_t)n;
        }
    }
    _exit(0);
}

static void both_ways_at_once(void **state)
{
    size_t size = (size_t)(getenv("MSB_TEST_LONG") ? 1024 : 32) << 20;
    int in[2], out[2], status;
    msb_exec_options *options = shell("cat");
    msb_exec *exec;
    pid_t writer;
    uint32_t block[4096], next = 0;
    size_t total = 0, filled = 0;
    ssize_t n;

    (void)state;
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    msb_exec_options_set_collect(options, 0);
    msb_exec_options_set_stdio(options, in[0], out[1], -1);
    exec = begin_exec(shared, options);
    close(in[0]);
    close(out[1]);
    writer = pattern_writer(in[1], size);
    close(in[1]);
    while ((n = read(out[0], (char *)block + filled, sizeof(block) - filled)) > 0) {
        total += (size_t)n;
        filled += (size_t)n;
        if (filled < sizeof(block))
            continue;
        filled = 0;
        for (size_t i = 0; i < 4096; i++)
            if (block[i] != next++ * 2654435761U)
                fail_msg("wrong near byte %zu", total);
    }
    assert_true(total == size);
    close(out[0]);
    assert_int_equal(finish_exec(exec), 0);
    msb_exec_free(exec);
    assert_int_equal(waitpid(writer, &status, 0), writer);
    assert_int_equal(status, 0);
}

static void one_that_nobody_reads_stalls_only_itself(void **state)
{
    int out[2];
    msb_exec_options *options = shell("exec cat /dev/zero");
    msb_exec *exec;

    (void)state;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    msb_exec_options_set_collect(options, 0);
    msb_exec_options_set_stdio(options, -1, out[1], -1);
    exec = begin_exec(shared, options);
    close(out[1]);
    for (int i = 0; i < 20; i++)
        assert_run(shared, "echo on", 0, "on\n");
    /* Its end does not wait for a reader either. */
    msb_exec_free(exec);
    close(out[0]);
    assert_run(shared, "true", 0, "");
}

/* ---- Files and figures ------------------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 1, 2))) static void sh(const char *format, ...)
{
    char command[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("%s", command);
}

static void files_are_copied_both_ways(void **state)
{
    char *tree = path_of("tree"), *back = path_of("back");
    msb_error *error = NULL;

    (void)state;
    sh("mkdir -p %s/sub && printf abc >%s/file && ln -s file %s/link && head -c 3000000 /dev/urandom >%s/sub/big && chmod 751 "
       "%s/sub",
       tree, tree, tree, tree, tree);
    assert_int_equal(msb_sandbox_copy_in(shared, tree, "/root/copy", 0, PATIENCE, NO_CANCEL, &error), 0);
    assert_run(shared, "cat /root/copy/file; readlink /root/copy/link; stat -c %a /root/copy/sub; wc -c </root/copy/sub/big", 0,
               "abcfile\n751\n3000000\n");
    assert_run(shared, "chmod 6755 /root/copy/file; mknod /root/copy/sub/fifo p", 0, "");
    assert_int_equal(msb_sandbox_copy_out(shared, "/root/copy", back, 0, PATIENCE, NO_CANCEL, &error), 0);
    sh("cmp %s/sub/big %s/sub/big && test \"$(readlink %s/link)\" = file && test -p %s/sub/fifo", tree, back, back, back);
    /* Nothing dangerous comes out of a guest. */
    sh("test \"$(stat -c %%a %s/file)\" = 755", back);
    sh("rm -r %s %s", tree, back);

    assert_int_equal(msb_sandbox_copy_out(shared, "/no/such/file", back, 0, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_WORKLOAD, "copy `/no/such/file` of the sandbox: `file`: No such file");
    error = NULL;
    assert_int_equal(msb_sandbox_copy_in(shared, "/no/such/file", "/root", 0, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_SYSTEM, "/no/such/file");
    error = NULL;
    assert_int_equal(msb_sandbox_copy_in(shared, "/etc/passwd", "/no/such/place", 0, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_WORKLOAD, "/no/such");
    error = NULL;
    assert_int_equal(msb_sandbox_copy_in(shared, "/etc/passwd", "relative", 0, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_INVALID, "relative");
    free(tree);
    free(back);
}

static void a_copy_ends_in_time_and_when_cancelled(void **state)
{
    char *file = path_of("endless");
    int cancel = eventfd(1, EFD_CLOEXEC);
    struct timespec begin;
    msb_error *error = NULL;

    (void)state;
    /* Many gigabytes of zeros, of which no byte is on a disk. */
    assert_run(shared, "truncate -s 100G /root/endless", 0, "");
    clock_gettime(CLOCK_MONOTONIC, &begin);
    assert_int_equal(msb_sandbox_copy_out(shared, "/root/endless", file, 0, 700, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_TIMEOUT, "");
    error = NULL;
    assert_int_equal(msb_sandbox_copy_out(shared, "/root/endless", file, 0, NEVER, cancel, &error), -1);
    assert_error(error, MSB_ERR_CANCELLED, "");
    assert_true(seconds_since(&begin) < 30);
    assert_run(shared, "rm /root/endless", 0, "");
    unlink(file);
    free(file);
    close(cancel);
}

static void figures_are_what_they_are(void **state)
{
    struct msb_stats before, after;

    (void)state;
    assert_int_equal(msb_sandbox_stats(shared, &before, PATIENCE, NO_CANCEL, NULL), 0);
    assert_true(before.memory_limit == 256ULL << 20 && before.num_vcpus == 1);
    assert_in_range(before.memory_total, 100 << 20, 256 << 20);
    assert_true(before.memory_used < before.memory_total);
    assert_in_range(before.memory_held, 1 << 20, 2ULL << 30);
    assert_run(shared,
               "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; cat /usr/bin/* 2>/dev/null | head -c 20000000 >/dev/null", 0,
               "");
    assert_int_equal(msb_sandbox_stats(shared, &after, PATIENCE, NO_CANCEL, NULL), 0);
    assert_true(after.cpu_ns > before.cpu_ns + 10000000);
    assert_true(after.guest_user_ns + after.guest_system_ns > before.guest_user_ns + before.guest_system_ns);
    assert_true(after.uptime_ns > before.uptime_ns);
    assert_true(after.disk_read > before.disk_read);
}

static void owners_are_kept_where_asked(void **state)
{
    char *file = path_of("owned");
    msb_error *error = NULL;
    struct stat st;

    (void)state;
    assert_run(shared, "echo x >/root/owned; chown 1234:5678 /root/owned", 0, "");
    assert_int_equal(msb_sandbox_copy_out(shared, "/root/owned", file, 0, PATIENCE, NO_CANCEL, NULL), 0);
    assert_int_equal(lstat(file, &st), 0);
    assert_int_equal(st.st_uid, geteuid());
    if (geteuid() == 0) {
        assert_int_equal(msb_sandbox_copy_out(shared, "/root/owned", file, MSB_COPY_OWNERS, PATIENCE, NO_CANCEL, NULL), 0);
        assert_int_equal(lstat(file, &st), 0);
        assert_true(st.st_uid == 1234 && st.st_gid == 5678);
        /* Into the guest they are kept unasked. */
        assert_int_equal(msb_sandbox_copy_in(shared, file, "/root/back", 0, PATIENCE, NO_CANCEL, NULL), 0);
        assert_run(shared, "stat -c %u:%g /root/back", 0, "1234:5678\n");
    } else {
        assert_int_equal(msb_sandbox_copy_out(shared, "/root/owned", file, MSB_COPY_OWNERS, PATIENCE, NO_CANCEL, &error), -1);
        assert_error(error, MSB_ERR_SYSTEM, "owned");
        error = NULL;
    }
    assert_int_equal(msb_sandbox_copy_out(shared, "/root/owned", file, 2, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_INVALID, "flags");
    unlink(file);
    free(file);
}

static void archives_pass_through_descriptors(void **state)
{
    char *file = path_of("archive"), *tree = path_of("packed");
    int cancel = eventfd(1, EFD_CLOEXEC), fd, pipes[2];
    msb_error *error = NULL;

    (void)state;
    assert_run(shared, "mkdir -p /root/tree/sub; echo inside >/root/tree/sub/file", 0, "");
    fd = open(file, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(msb_sandbox_archive_out(shared, "/root/tree", fd, PATIENCE, NO_CANCEL, NULL), 0);
    sh("mkdir %s && tar x -C %s -f %s && test \"$(cat %s/tree/sub/file)\" = inside", tree, tree, file, tree);
    /* And back, as another's tar packs it. */
    sh("echo other >%s/tree/other && tar c -C %s/tree -f %s other sub", tree, tree, file);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_run(shared, "mkdir /root/unpacked", 0, "");
    assert_int_equal(msb_sandbox_archive_in(shared, fd, "/root/unpacked", PATIENCE, NO_CANCEL, NULL), 0);
    assert_run(shared, "cat /root/unpacked/other /root/unpacked/sub/file", 0, "other\ninside\n");
    close(fd);

    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(msb_sandbox_archive_out(shared, "/no/such/file", pipes[1], PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_WORKLOAD, "copy `/no/such/file` of the sandbox");
    error = NULL;
    /* Nobody writes to the one, and nobody reads from the other. */
    assert_int_equal(msb_sandbox_archive_in(shared, pipes[0], "/root", 200, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_TIMEOUT, "");
    error = NULL;
    assert_int_equal(msb_sandbox_archive_in(shared, pipes[0], "/root", NEVER, cancel, &error), -1);
    assert_error(error, MSB_ERR_CANCELLED, "");
    error = NULL;
    assert_run(shared, "truncate -s 1G /root/tree/endless", 0, "");
    assert_int_equal(msb_sandbox_archive_out(shared, "/root/tree", pipes[1], 700, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_TIMEOUT, "");
    error = NULL;
    assert_int_equal(msb_sandbox_archive_out(shared, "/root/tree", pipes[1], NEVER, cancel, &error), -1);
    assert_error(error, MSB_ERR_CANCELLED, "");
    assert_run(shared, "rm -r /root/tree /root/unpacked", 0, "");
    close(pipes[0]);
    close(pipes[1]);
    close(cancel);
    unlink(file);
    sh("rm -r %s", tree);
    free(file);
    free(tree);
}

static void ports_are_told_as_they_are(void **state)
{
    static const char *const ports[] = { "0:80", "0:53/udp" };
    static const char server[] = "exec python3 -c 'import socket\nlistener = socket.create_server((\"\", 80))\n"
                                 "print(\"up\", flush=True)\nlistener.accept()[0].sendall(b\"hello\")'";
    msb_vm_builder *builder = sandbox_builder("published");
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    msb_error *error = NULL;
    msb_port *tcp, *udp;
    msb_sandbox *sandbox;
    char bytes[8], *text;
    msb_exec *exec;

    (void)state;
    msb_vm_builder_set_port_map(builder, ports, 2);
    sandbox = launch(builder, 0);
    tcp = msb_sandbox_port(sandbox, 0, &error);
    udp = msb_sandbox_port(sandbox, 1, &error);
    assert_true(tcp && udp);
    assert_null(msb_sandbox_port(sandbox, 2, &error));
    assert_null(error);
    assert_true(msb_port_guest(tcp) == 80 && !msb_port_is_udp(tcp) && msb_port_host(tcp) != 0);
    assert_true(msb_port_guest(udp) == 53 && msb_port_is_udp(udp) && msb_port_host(udp) != 0);
    text = msb_port_address(tcp);
    assert_string_equal(text, "127.0.0.1");
    free(text);
    exec = begin_exec(sandbox, shell(server));
    until_output(exec, "up");
    address.sin_port = htons(msb_port_host(tcp));
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(recv(client, bytes, 5, MSG_WAITALL), 5);
    assert_memory_equal(bytes, "hello", 5);
    assert_int_equal(finish_exec(exec), 0);
    close(client);
    msb_exec_free(exec);
    msb_port_free(tcp);
    msb_port_free(udp);
    kill_and_free(sandbox);
}

/* ---- Handles ---------------------------------------------------------------------------------------------------------------- */

static void a_sandbox_is_found_by_its_name(void **state)
{
    msb_sandbox *found = msb_sandbox_open("shared", NULL), **list;
    msb_error *error = NULL;
    size_t count;

    (void)state;
    assert_non_null(found);
    assert_int_equal(msb_sandbox_state(found, NULL), MSB_SANDBOX_RUNNING);
    assert_run(found, "uname -n", 0, "shared\n");
    msb_sandbox_free(found);
    list = msb_sandbox_list(&count, NULL);
    assert_non_null(list);
    assert_int_equal(count, 1);
    assert_string_equal(msb_sandbox_name(list[0]), "shared");
    msb_sandbox_list_free(list, count);
    assert_null(msb_sandbox_open("nobody", &error));
    assert_error(error, MSB_ERR_NOT_FOUND, "\"nobody\"");
    error = NULL;
    assert_null(msb_sandbox_open("../shared", &error));
    assert_error(error, MSB_ERR_INVALID, "\"../shared\"");
    error = NULL;
    assert_int_equal(msb_sandbox_remove(shared, &error), -1);
    assert_error(error, MSB_ERR_STATE, "runs");
}

static void a_made_name_is_new_and_good(void **state)
{
    char *one = msb_sandbox_make_name(NULL), *two = msb_sandbox_make_name(NULL);

    (void)state;
    assert_true(one && two);
    assert_string_not_equal(one, two);
    assert_null(msb_sandbox_open(one, NULL));
    kill_and_free(launch(sandbox_builder(one), 0));
    free(one);
    free(two);
}

static void states_have_names_and_come_in_their_order(void **state)
{
    static const char *const names[] = { "starting", "running", "stopping", "exited", "failed" };
    msb_vm_builder *builder = sandbox_builder("states");
    msb_sandbox *sandbox = NULL;
    int out[2];
    char byte;
    msb_vm *vm;

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_string_equal(msb_sandbox_state_name((enum msb_sandbox_state)i), names[i]);
    assert_null(msb_sandbox_state_name((enum msb_sandbox_state)5));
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    set_script(builder, "trap '' TERM; echo; while :; do sleep 1; done");
    msb_vm_builder_set_stdio(builder, -1, out[1], -1);
    vm = build(builder);
    assert_int_equal(msb_vm_spawn(vm, NULL), 0);
    /* Found in its first moments, in which a guest does not boot. */
    while (!sandbox)
        sandbox = msb_sandbox_open("states", NULL);
    assert_int_equal(msb_sandbox_state(sandbox, NULL), MSB_SANDBOX_STARTING);
    assert_int_equal(read(out[0], &byte, 1), 1);
    assert_true(msb_sandbox_fd(sandbox, NULL) >= 0); /* from here on it is told the end */
    assert_int_equal(msb_sandbox_state(sandbox, NULL), MSB_SANDBOX_RUNNING);
    assert_int_equal(msb_sandbox_stop(sandbox, PATIENCE, PATIENCE, NO_CANCEL, NULL), 0);
    assert_int_equal(msb_sandbox_state(sandbox, NULL), MSB_SANDBOX_STOPPING);
    assert_int_equal(msb_sandbox_kill(sandbox, PATIENCE, NO_CANCEL, NULL), 0);
    assert_int_equal(end_of(sandbox), -1);
    assert_int_equal(msb_sandbox_state(sandbox, NULL), MSB_SANDBOX_FAILED);
    assert_int_equal(msb_vm_wait(vm, NULL), -1);
    msb_sandbox_free(sandbox);
    msb_vm_free(vm);
    close(out[0]);
    close(out[1]);
}

static void a_name_in_use_is_refused(void **state)
{
    msb_vm *vm = build(sandbox_builder("shared"));
    msb_error *error = NULL;

    (void)state;
    assert_null(msb_vm_launch(vm, 0, PATIENCE, NO_CANCEL, &error));
    assert_error(error, MSB_ERR_IN_USE, "\"shared\"");
    msb_vm_free(vm);
    assert_int_equal(msb_sandbox_state(shared, NULL), MSB_SANDBOX_RUNNING);
}

static void what_does_not_start_leaves_nothing(void **state)
{
    msb_vm_builder *builder = sandbox_builder("stillborn");
    msb_error *error = NULL;
    msb_vm *vm;

    (void)state;
    msb_vm_builder_set_exec_path(builder, "/no/such/program");
    msb_vm_builder_set_keep(builder, 1);
    vm = build(builder);
    assert_null(msb_vm_launch(vm, 0, PATIENCE, NO_CANCEL, &error));
    assert_error(error, MSB_ERR_WORKLOAD, "/no/such/program");
    assert_int_equal(msb_vm_exit_status(vm), 127);
    assert_null(msb_sandbox_open("stillborn", NULL));
    error = NULL;
    assert_null(msb_vm_launch(vm, 0, 1, NO_CANCEL, &error));
    assert_error(error, MSB_ERR_TIMEOUT, "");
    assert_null(msb_sandbox_open("stillborn", NULL));
    msb_vm_free(vm);
}

/* It runs from the moment that it is executed on; what a shell does then takes its time. */
static const char await_ready[] = "while [ ! -e /ready ]; do sleep 0.02; done";

static void an_end_is_told_and_kept(void **state)
{
    msb_vm_builder *builder = sandbox_builder("kept");
    struct pollfd ended;
    msb_error *error = NULL;
    msb_sandbox *sandbox, *again;

    (void)state;
    set_script(builder, "trap 'exit 7' TERM; touch /ready; while :; do sleep 0.1; done");
    msb_vm_builder_set_keep(builder, 1);
    sandbox = launch(builder, 0);
    assert_run(sandbox, await_ready, 0, "");
    ended = (struct pollfd){ .fd = msb_sandbox_fd(sandbox, NULL), .events = POLLIN };
    assert_int_equal(poll(&ended, 1, 0), 0);
    assert_int_equal(msb_sandbox_exit_status(sandbox), -1);
    assert_int_equal(msb_sandbox_signal(sandbox, SIGTERM, PATIENCE, NO_CANCEL, NULL), 0);
    assert_int_equal(poll(&ended, 1, PATIENCE), 1);
    assert_int_equal(msb_sandbox_wait(sandbox, 0, NO_CANCEL, NULL), 7);
    assert_int_equal(msb_sandbox_wait(sandbox, 0, NO_CANCEL, NULL), 7);
    assert_int_equal(msb_sandbox_state(sandbox, NULL), MSB_SANDBOX_EXITED);
    assert_int_equal(msb_sandbox_stop(sandbox, 0, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_STATE, "has ended");
    /* A program that was started anew sees the same. */
    again = msb_sandbox_open("kept", NULL);
    assert_non_null(again);
    assert_int_equal(msb_sandbox_state(again, NULL), MSB_SANDBOX_EXITED);
    ended.fd = msb_sandbox_fd(again, NULL);
    assert_int_equal(poll(&ended, 1, 0), 1);
    assert_int_equal(msb_sandbox_wait(again, NEVER, NO_CANCEL, NULL), 7);
    assert_int_equal(msb_sandbox_remove(again, NULL), 0);
    error = NULL;
    assert_int_equal(msb_sandbox_remove(sandbox, &error), -1);
    assert_error(error, MSB_ERR_NOT_FOUND, "kept");
    assert_int_equal(msb_sandbox_wait(sandbox, NEVER, NO_CANCEL, NULL), 7);
    msb_sandbox_free(sandbox);
    msb_sandbox_free(again);
}

/* A handle stands for one sandbox, and not for another that has its name later. */
static void a_name_can_be_had_again(void **state)
{
    msb_sandbox *first = launch(sandbox_builder("again"), 0), *second;
    msb_error *error = NULL;

    (void)state;
    assert_int_equal(msb_sandbox_stop(first, 10000, PATIENCE, NO_CANCEL, NULL), 0);
    assert_int_equal(end_of(first), 0);
    second = launch(sandbox_builder("again"), 0);
    assert_int_equal(msb_sandbox_state(second, NULL), MSB_SANDBOX_RUNNING);
    assert_int_equal(msb_sandbox_state(first, NULL), MSB_SANDBOX_EXITED);
    assert_int_equal(msb_sandbox_kill(first, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_STATE, "");
    assert_run(second, "echo second", 0, "second\n");
    msb_sandbox_free(first);
    kill_and_free(second);
}

static void force_comes_after_grace(void **state)
{
    msb_sandbox *sandbox = launch_script("stubborn", "trap '' TERM; touch /ready; while :; do sleep 1; done");
    msb_error *error = NULL;

    (void)state;
    assert_run(sandbox, await_ready, 0, "");
    assert_int_equal(msb_sandbox_stop(sandbox, 300, PATIENCE, NO_CANCEL, NULL), 0);
    assert_int_equal(msb_sandbox_wait(sandbox, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_VM, "by force");
    assert_int_equal(msb_sandbox_exit_status(sandbox), 128 + SIGKILL);
    msb_sandbox_free(sandbox);
}

static void limits_of_life_are_kept(void **state)
{
    msb_vm_builder *builder = sandbox_builder("mortal");
    msb_sandbox *sandbox;
    msb_error *error = NULL;
    struct timespec begin;
    msb_exec *exec;

    (void)state;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    msb_vm_builder_set_timeout_ms(builder, 3000);
    sandbox = launch(builder, 0);
    assert_int_equal(msb_sandbox_wait(sandbox, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_TIMEOUT, "timeout of 3000 ms");
    assert_int_equal(msb_sandbox_exit_status(sandbox), 124);
    assert_true(seconds_since(&begin) > 2.9);
    msb_sandbox_free(sandbox);

    builder = sandbox_builder("idle");
    msb_vm_builder_set_idle_timeout_ms(builder, 1500);
    sandbox = launch(builder, 0);
    /* A command is not idleness, however silent it is. */
    exec = begin_exec(sandbox, shell("sleep 2.5"));
    assert_int_equal(finish_exec(exec), 0);
    msb_exec_free(exec);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    error = NULL;
    assert_int_equal(msb_sandbox_wait(sandbox, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_TIMEOUT, "idle timeout of 1500 ms");
    assert_true(seconds_since(&begin) > 1.3);
    msb_sandbox_free(sandbox);
}

/* ---- Attaching, and the log ------------------------------------------------------------------------------------------------- */

static void read_line(int fd, char *line, size_t size)
{
    size_t done = 0;

    while (done + 1 < size && read(fd, line + done, 1) == 1 && line[done] != '\n')
        done++;
    line[done] = '\0';
}

static void who_is_attached_hears_and_is_heard(void **state)
{
    msb_vm_builder *builder = sandbox_builder("attached");
    int in[2], out[2], other[2];
    char line[64];
    msb_sandbox *sandbox;
    msb_exec *first, *second;

    (void)state;
    set_script(builder, "echo before; while read word; do echo got $word; done; echo over; exit 6");
    sandbox = launch(builder, MSB_LAUNCH_INPUT);
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(other, O_CLOEXEC), 0);
    first = msb_sandbox_attach(sandbox, in[0], out[1], -1, PATIENCE, NO_CANCEL, NULL);
    assert_non_null(first);
    second = msb_sandbox_attach(sandbox, -1, other[1], -1, PATIENCE, NO_CANCEL, NULL);
    assert_non_null(second);
    close(in[0]);
    close(out[1]);
    close(other[1]);
    /* An answer after both requests: both are attached. */
    assert_run(sandbox, "true", 0, "");
    assert_int_equal(write(in[1], "one\n", 4), 4);
    /* What came before may or may not be among it. */
    do
        read_line(out[0], line, sizeof(line));
    while (!strcmp(line, "before"));
    assert_string_equal(line, "got one");
    do
        read_line(other[0], line, sizeof(line));
    while (!strcmp(line, "before"));
    assert_string_equal(line, "got one");
    msb_exec_free(second);
    close(other[0]);
    close(in[1]);
    read_line(out[0], line, sizeof(line));
    assert_string_equal(line, "over");
    assert_int_equal(finish_exec(first), 6);
    assert_int_equal(end_of(sandbox), 6);
    msb_exec_free(first);
    close(out[0]);
    msb_sandbox_free(sandbox);
}

static void who_does_not_read_holds_nobody_for_long(void **state)
{
    msb_sandbox *sandbox = launch_script("unread", "sleep 0.5; head -c 3000000 /dev/zero; exit 8");
    msb_exec *exec;
    int out[2];

    (void)state;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    exec = msb_sandbox_attach(sandbox, -1, out[1], -1, PATIENCE, NO_CANCEL, NULL);
    assert_non_null(exec);
    close(out[1]);
    /* The workload waits for its reader; others do not. */
    assert_run(sandbox, "sleep 1; echo on", 0, "on\n");
    assert_int_equal(msb_sandbox_state(sandbox, NULL), MSB_SANDBOX_RUNNING);
    msb_exec_free(exec);
    assert_int_equal(end_of(sandbox), 8);
    close(out[0]);
    msb_sandbox_free(sandbox);
}

static void all_is_in_the_log(void **state)
{
    msb_vm_builder *builder = sandbox_builder("logged");
    char out[64] = "", errors[64] = "";
    enum msb_log_stream stream;
    msb_log_reader *reader;
    msb_sandbox *sandbox;
    const void *bytes;
    uint64_t realtime;
    size_t size;

    (void)state;
    set_script(builder, "echo one; echo two >&2; sleep 0.1; echo three");
    msb_vm_builder_set_keep(builder, 1);
    sandbox = launch(builder, 0);
    assert_int_equal(end_of(sandbox), 0);
    reader = msb_sandbox_log(sandbox, NULL);
    assert_non_null(reader);
    while (msb_log_reader_next(reader, &stream, &realtime, &bytes, &size, NULL) == 1) {
        strncat(stream == MSB_LOG_STDOUT ? out : errors, bytes, size);
        assert_true(realtime / 1000000000 <= (uint64_t)time(NULL) && realtime / 1000000000 + 60 > (uint64_t)time(NULL));
    }
    assert_string_equal(out, "one\nthree\n");
    assert_string_equal(errors, "two\n");
    msb_log_reader_free(reader);
    assert_int_equal(msb_sandbox_remove(sandbox, NULL), 0);
    msb_sandbox_free(sandbox);
}

/* The next record, which is waited for. */
static void assert_logged(msb_log_reader *reader, const char *wanted)
{
    enum msb_log_stream stream;
    const void *bytes;
    uint64_t realtime;
    size_t size;
    int found;

    while ((found = msb_log_reader_next(reader, &stream, &realtime, &bytes, &size, NULL)) == 0)
        assert_true(is_readable(msb_log_reader_fd(reader), PATIENCE));
    assert_int_equal(found, 1);
    assert_int_equal(size, strlen(wanted));
    assert_memory_equal(bytes, wanted, size);
}

static void a_log_is_followed(void **state)
{
    msb_vm_builder *builder = sandbox_builder("followed");
    enum msb_log_stream stream;
    msb_log_reader *reader;
    msb_sandbox *sandbox;
    const void *bytes;
    uint64_t realtime;
    msb_exec *exec;
    size_t size;
    int in[2];

    (void)state;
    set_script(builder, "echo first; while read word; do echo got $word; done");
    sandbox = launch(builder, MSB_LAUNCH_INPUT);
    reader = msb_sandbox_log(sandbox, NULL);
    assert_non_null(reader);
    assert_logged(reader, "first\n");
    while (is_readable(msb_log_reader_fd(reader), 0))
        assert_int_equal(msb_log_reader_next(reader, &stream, &realtime, &bytes, &size, NULL), 0);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    exec = msb_sandbox_attach(sandbox, in[0], -1, -1, PATIENCE, NO_CANCEL, NULL);
    assert_non_null(exec);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(write(in[1], "one\n", 4), 4);
        assert_logged(reader, "got one\n");
    }
    close(in[1]);
    assert_int_equal(finish_exec(exec), 0);
    assert_int_equal(end_of(sandbox), 0);
    assert_int_equal(msb_log_reader_next(reader, &stream, &realtime, &bytes, &size, NULL), 0);
    msb_log_reader_free(reader);
    msb_exec_free(exec);
    msb_sandbox_free(sandbox);
    close(in[0]);
}

static void a_sandbox_s_terminal_is_resized(void **state)
{
    msb_vm_builder *builder = sandbox_builder("terminal");
    msb_log_reader *reader;
    msb_sandbox *sandbox;

    (void)state;
    set_script(builder, "stty size; trap 'stty size; exit 4' WINCH; touch /ready; while :; do sleep 0.1; done");
    msb_vm_builder_set_tty(builder, 11, 22);
    msb_vm_builder_set_keep(builder, 1);
    sandbox = launch(builder, 0);
    assert_run(sandbox, await_ready, 0, "");
    assert_int_equal(msb_sandbox_resize(sandbox, 33, 44, PATIENCE, NO_CANCEL, NULL), 0);
    assert_int_equal(end_of(sandbox), 4);
    reader = msb_sandbox_log(sandbox, NULL);
    assert_logged(reader, "11 22\r\n");
    assert_logged(reader, "33 44\r\n");
    msb_log_reader_free(reader);
    assert_int_equal(msb_sandbox_remove(sandbox, NULL), 0);
    msb_sandbox_free(sandbox);
}

/* ---- In the foreground ------------------------------------------------------------------------------------------------------ */

static void one_in_the_foreground_is_found_too(void **state)
{
    msb_vm_builder *builder = sandbox_builder("front");
    msb_error *error = NULL;
    msb_sandbox *sandbox;
    msb_exec *exec;
    msb_vm *vm;
    int out[2];
    char line[16];

    (void)state;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    set_script(builder, "trap 'exit 2' TERM; echo up; while :; do sleep 0.1; done");
    msb_vm_builder_set_stdio(builder, -1, out[1], -1);
    vm = build(builder);
    assert_string_equal(msb_vm_name(vm), "front");
    assert_int_equal(msb_vm_spawn(vm, NULL), 0);
    close(out[1]);
    read_line(out[0], line, sizeof(line));
    assert_string_equal(line, "up");
    sandbox = msb_sandbox_open("front", NULL);
    assert_non_null(sandbox);
    assert_run(sandbox, "echo inside", 0, "inside\n");
    assert_true(msb_sandbox_fd(sandbox, NULL) >= 0); /* from here on it is told the end */
    assert_null(msb_vm_launch(vm, 0, PATIENCE, NO_CANCEL, &error));
    assert_error(error, MSB_ERR_STATE, "running");
    error = NULL;
    assert_null(msb_sandbox_log(sandbox, &error));
    assert_error(error, MSB_ERR_NOT_FOUND, "has no log");
    error = NULL;
    exec = msb_sandbox_attach(sandbox, -1, -1, -1, PATIENCE, NO_CANCEL, NULL);
    assert_int_equal(msb_exec_wait(exec, PATIENCE, NO_CANCEL, &error), -1);
    assert_error(error, MSB_ERR_STATE, "in the foreground");
    error = NULL;
    msb_exec_free(exec);
    assert_int_equal(msb_vm_stop(vm, 10000, NULL), 0);
    if (msb_vm_wait(vm, &error) != 2)
        fail_msg("%s", msb_error_message(error));
    assert_int_equal(end_of(sandbox), 2);
    assert_null(msb_sandbox_open("front", NULL));
    msb_sandbox_free(sandbox);
    msb_vm_free(vm);
    close(out[0]);
}

/* ---- In a crowd ------------------------------------------------------------------------------------------------------------- */

static pthread_barrier_t all_are_up;
static int crowd;

/* The handles of a list are whole, whatever others do meanwhile; returns how many there are. */
static int count_list(void)
{
    size_t count;
    msb_sandbox **list = msb_sandbox_list(&count, NULL);
    bool torn = false;

    if (!list)
        return -1;
    for (size_t i = 0; i < count; i++) {
        msb_error *error = NULL;

        /* One may have gone meanwhile; that is all that may be wrong. */
        if (msb_sandbox_state(list[i], &error) < 0 && msb_error_code(error) != MSB_ERR_NOT_FOUND)
            torn = true;
        msb_error_free(error);
    }
    msb_sandbox_list_free(list, count);
    return torn ? -1 : (int)count;
}

/* Says what is not as it should be; returns whether all is well so far. */
static bool check(bool good, const char *name, const char *what, msb_error **error)
{
    if (!good)
        print_message("%s: %s: %s\n", name, what, msb_error_message(*error));
    msb_error_free(*error);
    *error = NULL;
    return good;
}

static msb_sandbox *launch_small(const char *name, msb_error **err)
{
    msb_vm_builder *builder = guest_builder();
    msb_sandbox *sandbox;
    msb_vm *vm;

    msb_vm_builder_set_memory_mib(builder, 64);
    msb_vm_builder_set_name(builder, name);
    vm = msb_vm_builder_build(builder, err);
    msb_vm_builder_free(builder);
    sandbox = vm ? msb_vm_launch(vm, 0, PATIENCE, NO_CANCEL, err) : NULL;
    msb_vm_free(vm);
    return sandbox;
}

static bool run_in(const char *name, msb_error **err)
{
    msb_sandbox *found = msb_sandbox_open(name, err);
    msb_exec_options *options = shell("uname -n");
    msb_exec *exec = found ? msb_sandbox_exec(found, options, PATIENCE, NO_CANCEL, err) : NULL;
    bool good =
        exec && msb_exec_wait(exec, PATIENCE, NO_CANCEL, err) == 0 && !strncmp(msb_exec_output(exec, NULL), name, strlen(name));

    msb_exec_options_free(options);
    msb_exec_free(exec);
    msb_sandbox_free(found);
    return good;
}

static void *live(void *data)
{
    enum { GRACE = 60000 };
    msb_sandbox *sandbox;
    msb_error *error = NULL;
    char name[32];
    bool good;

    snprintf(name, sizeof(name), "crowd-%d", *(const int *)data);
    sandbox = launch_small(name, &error);
    good = check(sandbox != NULL, name, "launch", &error);
    pthread_barrier_wait(&all_are_up);
    good = check(count_list() == crowd + 1, name, "list", &error) && good; /* with the shared one */
    pthread_barrier_wait(&all_are_up);
    good = check(run_in(name, &error), name, "exec", &error) && good;
    good = good && check(msb_sandbox_stop(sandbox, GRACE, PATIENCE, NO_CANCEL, &error) == 0, name, "stop", &error);
    good = good && check(msb_sandbox_wait(sandbox, PATIENCE, NO_CANCEL, &error) == 0, name, "wait", &error);
    good = check(count_list() >= 1, name, "list at the end", &error) && good;
    msb_sandbox_free(sandbox);
    return good ? NULL : data;
}

static void many_side_by_side(void **state)
{
    enum { MOST = 50 };
    pthread_t threads[MOST];
    int numbers[MOST], bad = 0;
    struct rlimit limit;
    void *result;

    (void)state;
    /* Fifty lists of fifty handles are more descriptors than a process has by default. */
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    crowd = getenv("MSB_TEST_LONG") ? MOST : 6;
    pthread_barrier_init(&all_are_up, NULL, (unsigned)crowd);
    for (int i = 0; i < crowd; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, live, &numbers[i]), 0);
    }
    for (int i = 0; i < crowd; i++) {
        pthread_join(threads[i], &result);
        bad += result != NULL;
    }
    pthread_barrier_destroy(&all_are_up);
    assert_int_equal(bad, 0);
    assert_int_equal(count_list(), 1);
}

/* ---- Violence --------------------------------------------------------------------------------------------------------------- */

/* The children of a process, by a part of their command line. */
static pid_t child_of(pid_t parent, const char *part)
{
    char path[64], line[4096];
    pid_t pid, found = 0;
    FILE *children;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
    children = fopen(path, "re");
    assert_non_null(children);
    while (!found && fscanf(children, "%d", &pid) == 1) {
        FILE *file;
        size_t n;

        snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
        file = fopen(path, "re");
        n = file ? fread(line, 1, sizeof(line) - 1, file) : 0;
        line[n] = '\0';
        if (file)
            fclose(file);
        if (strstr(line, part))
            found = pid;
    }
    fclose(children);
    return found;
}

/* All of its children, at most so many; how many there are. */
static int children_of(pid_t parent, pid_t *children, int most)
{
    char path[64];
    int num = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
    file = fopen(path, "re");
    assert_non_null(file);
    while (num < most && fscanf(file, "%d", &children[num]) == 1)
        num++;
    fclose(file);
    return num;
}

static void wait_until_gone(pid_t pid)
{
    while (kill(pid, 0) == 0)
        usleep(1000);
}

static void a_killed_device_is_blamed(void **state)
{
    static const char *const devices[] = { "vsock", "fs" };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        msb_sandbox *sandbox = launch(sandbox_builder("victim"), 0);
        pid_t monitor = (pid_t)number_in(sandbox, "pid"), device = child_of(monitor, devices[i]);
        msb_exec *exec = begin_exec(sandbox, shell("sleep 1000"));
        msb_error *error = NULL;

        assert_true(device > 0);
        kill(device, SIGKILL);
        assert_int_equal(msb_sandbox_wait(sandbox, PATIENCE, NO_CANCEL, &error), -1);
        /* On a busy machine the engine's end, which follows, can be seen before the device's. */
        assert_error(error, MSB_ERR_VM,
                     strstr(msb_error_message(error), "signal 9") ? "killed by signal 9" : "the guest ended before");
        error = NULL;
        assert_int_equal(msb_exec_wait(exec, PATIENCE, NO_CANCEL, &error), -1);
        assert_error(error, MSB_ERR_VM, "ended before its command did");
        wait_until_gone(monitor);
        assert_null(msb_sandbox_open("victim", NULL));
        msb_exec_free(exec);
        msb_sandbox_free(sandbox);
    }
}

static void a_killed_monitor_leaves_nothing_but_the_truth(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        msb_vm_builder *builder = sandbox_builder("orphan");
        msb_sandbox *sandbox, *found;
        pid_t monitor, children[16];
        msb_error *error = NULL;
        int num;

        msb_vm_builder_set_keep(builder, keep);
        sandbox = launch(builder, 0);
        monitor = (pid_t)number_in(sandbox, "pid");
        num = children_of(monitor, children, 16);
        assert_true(num >= 3);
        kill(monitor, SIGKILL);
        assert_int_equal(msb_sandbox_wait(sandbox, PATIENCE, NO_CANCEL, &error), -1);
        assert_error(error, MSB_ERR_VM, "it was killed");
        assert_int_equal(msb_sandbox_exit_status(sandbox), 125);
        assert_int_equal(msb_sandbox_state(sandbox, NULL), MSB_SANDBOX_FAILED);
        for (int i = 0; i < num; i++)
            wait_until_gone(children[i]);
        found = msb_sandbox_open("orphan", NULL);
        assert_int_equal(found != NULL, keep);
        if (found) {
            assert_int_equal(msb_sandbox_state(found, NULL), MSB_SANDBOX_FAILED);
            assert_int_equal(msb_sandbox_remove(found, NULL), 0);
        }
        msb_sandbox_free(found);
        msb_sandbox_free(sandbox);
    }
}

/* At any time from the first moment on until it is up, which takes some forty milliseconds here and a second elsewhere. */
static void a_monitor_killed_while_it_starts_leaves_nothing(void **state)
{
    int failed = 0;

    (void)state;
    for (unsigned delay = 0; delay < 150; delay += delay < 20 ? 4 : 20) {
        pid_t caller = fork(), monitor = 0;
        int status;

        if (caller == 0) {
            msb_vm *vm = build(sandbox_builder("early"));

            _exit(msb_vm_launch(vm, 0, PATIENCE, NO_CANCEL, NULL) ? 0 : 1);
        }
        usleep(delay * 1000);
        /* Nobody's child: it is told by its name. */
        while (!monitor) {
            msb_sandbox *sandbox = msb_sandbox_open("early", NULL);

            if (sandbox)
                monitor = (pid_t)number_in(sandbox, "pid");
            msb_sandbox_free(sandbox);
        }
        kill(monitor, SIGKILL);
        waitpid(caller, &status, 0);
        wait_until_gone(monitor);
        failed += WEXITSTATUS(status) == 1;
        /* Who meets it is told, once, and clears it away; or its caller did. */
        msb_sandbox_free(msb_sandbox_open("early", NULL));
        assert_null(msb_sandbox_open("early", NULL));
    }
    assert_true(failed > 3);
}

/* While the workload takes its time, and in the guest's last moments. */
static void a_monitor_killed_while_it_stops(void **state)
{
    (void)state;
    for (unsigned delay = 0; delay < 40; delay += 10) {
        msb_sandbox *sandbox = launch(sandbox_builder("late"), 0);
        pid_t monitor = (pid_t)number_in(sandbox, "pid");
        msb_error *error = NULL;

        assert_int_equal(msb_sandbox_stop(sandbox, 10000, PATIENCE, NO_CANCEL, NULL), 0);
        usleep(delay * 1000);
        kill(monitor, SIGKILL);
        /* It was faster, or it was not, or had removed what is left of the sandbox and was about to say so. */
        if (msb_sandbox_wait(sandbox, PATIENCE, NO_CANCEL, &error) == 0)
            assert_int_equal(msb_sandbox_state(sandbox, NULL), MSB_SANDBOX_EXITED);
        else if (msb_error_code(error) == MSB_ERR_NOT_FOUND)
            assert_error(error, MSB_ERR_NOT_FOUND, "there is no sandbox");
        else
            assert_error(error, MSB_ERR_VM, "it was killed");
        wait_until_gone(monitor);
        assert_null(msb_sandbox_open("late", NULL));
        msb_sandbox_free(sandbox);
    }
}

static void what_dies_in_the_guest_is_told(void **state)
{
    msb_sandbox *sandbox = launch_script("fragile", "touch /ready; while :; do sleep 0.1; done");
    msb_exec *exec = begin_exec(sandbox, shell("kill -9 $$"));

    (void)state;
    assert_int_equal(finish_exec(exec), 128 + SIGKILL);
    assert_false(msb_exec_out_of_memory(exec));
    msb_exec_free(exec);
    /* Memory that there is not: /dev/zero has no lines. */
    exec = begin_exec(sandbox, shell("exec tail /dev/zero"));
    assert_int_equal(finish_exec(exec), 128 + SIGKILL);
    assert_true(msb_exec_out_of_memory(exec));
    msb_exec_free(exec);
    assert_int_equal(msb_sandbox_state(sandbox, NULL), MSB_SANDBOX_RUNNING);
    assert_int_equal(msb_sandbox_signal(sandbox, SIGKILL, PATIENCE, NO_CANCEL, NULL), 0);
    assert_int_equal(end_of(sandbox), 128 + SIGKILL);
    msb_sandbox_free(sandbox);
}

/* A caller that is killed before its sandbox is up takes it along; afterwards it does not. */
static void a_killed_caller(void **state)
{
    int ready[2];
    msb_sandbox *sandbox;
    pid_t caller;
    char byte;

    (void)state;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    caller = fork();
    if (caller == 0) {
        launch(sandbox_builder("heir"), 0);
        if (write(ready[1], "", 1) != 1)
            _exit(1);
        pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    kill(caller, SIGKILL);
    waitpid(caller, NULL, 0);
    /* Its monitor does not hold the caller's descriptors either. */
    assert_int_equal(read(ready[0], &byte, 1), 0);
    close(ready[0]);
    sandbox = msb_sandbox_open("heir", NULL);
    assert_non_null(sandbox);
    assert_run(sandbox, "echo alive", 0, "alive\n");
    kill_and_free(sandbox);
}

/* ---- Time ------------------------------------------------------------------------------------------------------------------- */

static long long guest_time(void)
{
    msb_exec *exec = begin_exec(shared, shell("date +%s%N"));
    long long now;

    assert_int_equal(finish_exec(exec), 0);
    now = strtoll(msb_exec_output(exec, NULL), NULL, 10);
    msb_exec_free(exec);
    return now;
}

/* A process that is told to go on before it has stopped does neither. */
static void stop_process(pid_t pid)
{
    char path[64], state = 0;

    kill(pid, SIGSTOP);
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    while (state != 'T') {
        FILE *file = fopen(path, "re");

        assert_non_null(file);
        assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
        fclose(file);
    }
}

static void assert_clock_is_set_when_continued(const pid_t *processes, int num)
{
    struct timespec now;
    long long difference = 0;

    assert_run(shared, "date -s @1000000 >/dev/null", 0, "");
    assert_true(guest_time() < 2000000LL * 1000000000);
    for (int i = 0; i < num; i++)
        stop_process(processes[i]);
    for (int i = 0; i < num; i++)
        kill(processes[i], SIGCONT);
    for (int i = 0; i < 100; i++) {
        clock_gettime(CLOCK_REALTIME, &now);
        difference = guest_time() - ((long long)now.tv_sec * 1000000000 + now.tv_nsec);
        if (difference > -1000000000)
            break;
    }
    assert_true(difference > -1000000000 && difference < 1000000000);
}

static void the_clock_is_right_again_after_a_pause(void **state)
{
    pid_t monitor = (pid_t)number_in(shared, "pid"), children[16];

    (void)state;
    /* As a shell's job control does it. */
    assert_clock_is_set_when_continued(&monitor, 1);
    /* As a debugger or a freezer does it, of the engine and the devices. */
    assert_clock_is_set_when_continued(children, children_of(monitor, children, 16));
}

/* ---- The end ---------------------------------------------------------------------------------------------------------------- */

static int begin(void **state)
{
    char *runtime, *logs;

    (void)state;
    assert_non_null(mkdtemp(scratch));
    runtime = path_of("runtime");
    logs = path_of("state");
    assert_int_equal(mkdir(runtime, 0700) | mkdir(logs, 0700), 0);
    setenv("XDG_RUNTIME_DIR", runtime, 1);
    setenv("XDG_STATE_HOME", logs, 1);
    free(runtime);
    free(logs);
    shared = launch(sandbox_builder("shared"), 0);
    return 0;
}

static int end(void **state)
{
    char *runtime = path_of("runtime/microsandbox"), *logs = path_of("state/microsandbox");
    int status, left;

    (void)state;
    assert_int_equal(msb_sandbox_stop(shared, 10000, PATIENCE, NO_CANCEL, NULL), 0);
    status = end_of(shared);
    msb_sandbox_free(shared);
    left = entries_in(runtime) + entries_in(logs);
    free(runtime);
    free(logs);
    sh("rm -r %s", scratch);
    return status == 0 && left == 0 ? 0 : -1;
}

/* With an argument: only the tests of this name, in which * and ? stand for others. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_has_its_own_of_everything),
        cmocka_unit_test(what_cannot_be_started_is_told),
        cmocka_unit_test(a_start_is_waited_for),
        cmocka_unit_test(output_beyond_its_limit_is_dropped),
        cmocka_unit_test(waits_end_in_time_and_when_cancelled),
        cmocka_unit_test(a_command_can_have_a_timeout),
        cmocka_unit_test(freeing_ends_a_command_unless_it_is_detached),
        cmocka_unit_test(a_terminal_has_a_size_and_signals),
        cmocka_unit_test(many_in_a_row),
        cmocka_unit_test(sixty_four_at_once),
        cmocka_unit_test(from_several_threads),
        cmocka_unit_test(both_ways_at_once),
        cmocka_unit_test(one_that_nobody_reads_stalls_only_itself),
        cmocka_unit_test(files_are_copied_both_ways),
        cmocka_unit_test(a_copy_ends_in_time_and_when_cancelled),
        cmocka_unit_test(owners_are_kept_where_asked),
        cmocka_unit_test(archives_pass_through_descriptors),
        cmocka_unit_test(ports_are_told_as_they_are),
        cmocka_unit_test(figures_are_what_they_are),
        cmocka_unit_test(a_sandbox_is_found_by_its_name),
        cmocka_unit_test(a_made_name_is_new_and_good),
        cmocka_unit_test(states_have_names_and_come_in_their_order),
        cmocka_unit_test(a_name_in_use_is_refused),
        cmocka_unit_test(what_does_not_start_leaves_nothing),
        cmocka_unit_test(an_end_is_told_and_kept),
        cmocka_unit_test(a_name_can_be_had_again),
        cmocka_unit_test(force_comes_after_grace),
        cmocka_unit_test(limits_of_life_are_kept),
        cmocka_unit_test(who_is_attached_hears_and_is_heard),
        cmocka_unit_test(who_does_not_read_holds_nobody_for_long),
        cmocka_unit_test(all_is_in_the_log),
        cmocka_unit_test(a_log_is_followed),
        cmocka_unit_test(a_sandbox_s_terminal_is_resized),
        cmocka_unit_test(one_in_the_foreground_is_found_too),
        cmocka_unit_test(many_side_by_side),
        cmocka_unit_test(a_killed_device_is_blamed),
        cmocka_unit_test(a_killed_monitor_leaves_nothing_but_the_truth),
        cmocka_unit_test(a_monitor_killed_while_it_starts_leaves_nothing),
        cmocka_unit_test(a_monitor_killed_while_it_stops),
        cmocka_unit_test(what_dies_in_the_guest_is_told),
        cmocka_unit_test(a_killed_caller),
        cmocka_unit_test(the_clock_is_right_again_after_a_pause),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, begin, end);
}
