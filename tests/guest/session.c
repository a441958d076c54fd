/* SPDX-License-Identifier: Apache-2.0 */
/* PID 1's session without a machine: processes, their streams, signals, terminals, limits and errors. */
#include "host.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char scratch[] = "/tmp/test-guest-session-XXXXXX"; /* files for the tests, seen by the guest too */

static int start_host(void **state)
{
    *state = host_new();
    return 0;
}

static int end_host(void **state)
{
    assert_int_equal(host_end(*state), 0);
    return 0;
}

static struct process *shell(const char *script)
{
    return program("/bin/sh", "-c", script, NULL);
}

static struct host_job *run_shell(struct host *host, uint32_t id, const char *script)
{
    return host_run(host, id, shell(script), NULL, 0);
}

static void expect_status(struct host *host, struct host_job *job, int status)
{
    host_wait(host, job);
    if (job->refused)
        fail_msg("not started: %s", job->why);
    assert_int_equal(job->kind, EXIT_STATUS);
    assert_int_equal(job->code, status);
}

static void expect_refusal(struct host *host, struct host_job *job, int status, const char *text)
{
    host_wait(host, job);
    assert_true(job->refused);
    if (!strstr(job->why, text))
        fail_msg("`%s` does not say `%s`", job->why, text);
    assert_int_equal(job->status, status);
}

static const char *in_scratch(const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", scratch, name);
    return path;
}

static const char *make_file(const char *name, const char *content, mode_t mode)
{
    const char *path = in_scratch(name);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(content, file);
    fclose(file);
    chmod(path, mode);
    return path;
}

/* ---- Output and status --------------------------------------------------------------------------------------------------------- */

static void streams_are_separate_and_status_is_the_programs(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 0, "echo out; echo err >&2; exit 7");

    expect_status(host, job, 7);
    assert_string_equal(text_of(job, STREAM_STDIO), "out\n");
    assert_string_equal(text_of(job, STREAM_STDERR), "err\n");
    assert_true(job->pid > 1);
}

static void a_signal_is_told_as_such(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 1, "kill -9 $$");

    host_wait(host, job);
    assert_int_equal(job->kind, EXIT_SIGNAL);
    assert_int_equal(job->code, SIGKILL);
    assert_false(job->out_of_memory);
}

static void bytes_come_as_they_are(void **state)
{
    struct host *host = *state;
    struct process *process = program("/usr/bin/printf", "%s|", "", "--", "a'\"b\nc", "\xff\xfe", "-n", NULL);
    struct host_job *job = host_run(host, 1, process, NULL, 0);

    expect_status(host, job, 0);
    assert_string_equal(text_of(job, STREAM_STDIO), "|--|a'\"b\nc|\xff\xfe|-n|");
}

static void environment_has_what_was_given_and_defaults(void **state)
{
    struct host *host = *state;
    struct process *process = program("/usr/bin/env", "-0", NULL);
    struct host_job *job;

    add_env(process, "A=1\n2=3");
    add_env(process, "HOME=/elsewhere");
    job = host_run(host, 1, process, NULL, 0);
    expect_status(host, job, 0);
    static const char expected[] = "A=1\n2=3\0HOME=/elsewhere\0"
                                   "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0HOSTNAME=testbox";
    assert_int_equal(job->output[0].size, sizeof(expected));
    assert_memory_equal(job->output[0].data, expected, sizeof(expected));
}

static void environment_is_not_inherited(void **state)
{
    struct host *host = *state;
    struct host_job *job = host_run(host, 1, program("/usr/bin/env", NULL), NULL, 0);

    expect_status(host, job, 0);
    assert_string_equal(text_of(job, STREAM_STDIO), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
                                                    "HOSTNAME=testbox\nHOME=/root\n");
}

static void large_arguments_and_environment_arrive(void **state)
{
    struct host *host = *state;
    struct process *process = program("/bin/sh", "-c", "echo $#; printf %s \"$BIG\" | wc -c; env | wc -c", "sh", NULL);
    char *big = malloc(131072);
    struct host_job *job;

    assert_non_null(big);
    memset(big, 'x', 131071);
    memcpy(big, "BIG=", 4);
    big[131071] = '\0';
    process->args = reallocarray(process->args, 10004, sizeof(*process->args));
    for (; process->num_args < 10003; process->num_args++)
        process->args[process->num_args] = strdup("argument");
    process->args[process->num_args] = NULL;
    add_env(process, big);
    for (unsigned i = 0; i < 7; i++) {
        big[3] = '=';
        big[0] = (char)('a' + i);
        add_env(process, big);
    }
    job = host_run(host, 1, process, NULL, 0);
    expect_status(host, job, 0);
    assert_string_equal(text_of(job, STREAM_STDIO), "10000\n131067\n1048676\n"); /* eight of 128 KiB, and the defaults */
    free(big);
}

/* What the program leaves open: nothing but its streams. */
static void no_descriptor_leaks_into_the_program(void **state)
{
    struct host *host = *state;
    struct host_job *job = host_run(host, 1, program("ls", "/proc/self/fd", NULL), NULL, 0);

    expect_status(host, job, 0);
    assert_string_equal(text_of(job, STREAM_STDIO), "0\n1\n2\n3\n"); /* 3 is the directory that ls lists */
}

static void signals_are_as_a_program_expects(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 1, "grep -E '^Sig(Blk|Ign)' /proc/self/status");

    expect_status(host, job, 0);
    assert_string_equal(text_of(job, STREAM_STDIO), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

static void dev_stdout_can_be_opened_again(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 1, "echo a >/proc/self/fd/1; echo b >/proc/self/fd/2");

    expect_status(host, job, 0);
    assert_string_equal(text_of(job, STREAM_STDIO), "a\n");
    assert_string_equal(text_of(job, STREAM_STDERR), "b\n");
}

/* ---- Errors -------------------------------------------------------------------------------------------------------------------- */

static void what_is_not_there_is_127(void **state)
{
    struct host *host = *state;

    expect_refusal(host, host_run(host, 1, program("/nonexistent", NULL), NULL, 0), 127, "`/nonexistent` is not in the guest");
    expect_refusal(host, host_run(host, 2, program("/etc/passwd/x", NULL), NULL, 0), 127, "`/etc/passwd/x` is not in the guest");
    expect_refusal(host, host_run(host, 3, program("no-such-command", NULL), NULL, 0), 127, "is not in the guest's PATH (");
}

static void what_cannot_be_executed_is_126_and_says_why(void **state)
{
    struct host *host = *state;

    expect_refusal(host, host_run(host, 1, program("/etc", NULL), NULL, 0), 126, "it is a directory");
    expect_refusal(host, host_run(host, 2, program(make_file("plain", "x", 0644), NULL), NULL, 0), 126,
                   "it has no execute permission");
    expect_refusal(host, host_run(host, 3, program(make_file("text", "hello\n", 0755), NULL), NULL, 0), 126,
                   "neither a program nor a script");
    expect_refusal(host, host_run(host, 4, program(make_file("empty", "", 0755), NULL), NULL, 0), 126, "it is empty");
    expect_refusal(host, host_run(host, 5, program(make_file("lost", "#! /no/such/interpreter -x\n", 0755), NULL), NULL, 0), 126,
                   "its interpreter `/no/such/interpreter` is not in the guest");
    expect_refusal(host, host_run(host, 6, program(make_file("dos", "#!/bin/sh\r\n", 0755), NULL), NULL, 0), 126, "`/bin/sh\\r`");
    expect_refusal(host, host_run(host, 7, program("/dev/null", NULL), NULL, 0), 126, "it is not a regular file");
}

/* This test's own program, with another name for its dynamic loader. */
static void missing_loader_is_named(void **state)
{
    struct host *host = *state;
    static const char loader[] = "/lib64/ld-linux-x86-64.so.2";
    FILE *in = fopen("/bin/true", "r"), *out = fopen(in_scratch("noloader"), "w");
    char content[65536];
    size_t size;
    char *found;

    assert_true(in && out);
    size = fread(content, 1, sizeof(content), in);
    found = memmem(content, size, loader, sizeof(loader));
    assert_non_null(found);
    found[4] = 'X';
    assert_int_equal(fwrite(content, 1, size, out), size);
    fclose(in);
    fclose(out);
    chmod(in_scratch("noloader"), 0755);
    expect_refusal(host, host_run(host, 1, program(in_scratch("noloader"), NULL), NULL, 0), 126,
                   "its dynamic loader `/libX4/ld-linux-x86-64.so.2` is not in the guest");
}

static void too_big_is_126(void **state)
{
    struct host *host = *state;
    struct process *process = program("true", NULL);
    char *big = malloc(200001);

    assert_non_null(big);
    memset(big, 'x', 200000);
    memcpy(big, "BIG=", 4);
    big[200000] = '\0';
    add_env(process, big);
    free(big);
    expect_refusal(host, host_run(host, 1, process, NULL, 0), 126, "refuses these arguments (5 bytes) and environment (");
}

static void path_lookup_uses_the_processs_own_path(void **state)
{
    struct host *host = *state;
    struct process *process = program("tool", NULL);
    char entry[256];
    struct host_job *job;

    make_file("tool", "#!/bin/sh\necho found as $0\n", 0755);
    snprintf(entry, sizeof(entry), "PATH=/nowhere:%s:/bin", scratch);
    add_env(process, entry);
    job = host_run(host, 1, process, NULL, 0);
    expect_status(host, job, 0);
    assert_non_null(strstr(text_of(job, STREAM_STDIO), "/tool\n"));

    process = program("plain", NULL);
    make_file("plain", "x", 0644);
    add_env(process, entry);
    expect_refusal(host, host_run(host, 2, process, NULL, 0), 126, "it has no execute permission");
}

static void workdir_must_be_a_directory(void **state)
{
    struct host *host = *state;
    struct process *process = program("pwd", NULL);
    struct host_job *job;

    set_text(&process->workdir, "/usr/bin");
    job = host_run(host, 1, process, NULL, 0);
    expect_status(host, job, 0);
    assert_string_equal(text_of(job, STREAM_STDIO), "/usr/bin\n");

    process = program("pwd", NULL);
    set_text(&process->workdir, "/missing");
    expect_refusal(host, host_run(host, 2, process, NULL, 0), 125, "working directory `/missing` is not in the guest");
    process = program("pwd", NULL);
    set_text(&process->workdir, "/etc/passwd");
    expect_refusal(host, host_run(host, 3, process, NULL, 0), 125, "working directory `/etc/passwd` is not a directory");
    process = program("pwd", NULL);
    set_text(&process->workdir, "relative");
    expect_refusal(host, host_run(host, 4, process, NULL, 0), 125, "not an absolute path");
}

static void limits_apply_and_failures_are_named(void **state)
{
    struct host *host = *state;
    struct process *process = shell("ulimit -Sn; ulimit -Hn; ulimit -St");
    struct host_job *job;

    add_limit(process, RLIMIT_NOFILE, 100, 200);
    add_limit(process, RLIMIT_CPU, 1000, RLIM_INFINITY);
    job = host_run(host, 1, process, NULL, 0);
    expect_status(host, job, 0);
    assert_string_equal(text_of(job, STREAM_STDIO), "100\n200\n1000\n");

    process = shell("true");
    add_limit(process, RLIMIT_NOFILE, 1, UINT64_MAX); /* more than fs.nr_open, whoever asks */
    expect_refusal(host, host_run(host, 2, process, NULL, 0), 125, "rlimit RLIMIT_NOFILE=1:18446744073709551615: ");
}

static void users_are_the_guests(void **state)
{
    struct host *host = *state;
    struct process *process = program("true", NULL);
    struct host_job *job;

    set_text(&process->user, "no-such-user");
    expect_refusal(host, host_run(host, 1, process, NULL, 0), 125, "user `no-such-user` is not in the guest's /etc/passwd");
    process = program("true", NULL);
    set_text(&process->user, "root:no-such-group");
    expect_refusal(host, host_run(host, 2, process, NULL, 0), 125, "group `no-such-group` is not in the guest's /etc/group");
    if (geteuid() != 0)
        return; /* one id is all that an ordinary user's namespace has */
    process = shell("id -u; id -g; id -G; echo $HOME; echo x >/proc/self/fd/1");
    set_text(&process->user, "games");
    job = host_run(host, 3, process, NULL, 0);
    expect_status(host, job, 0);
    assert_string_equal(text_of(job, STREAM_STDIO), "5\n60\n60\n/usr/games\nx\n");
    process = shell("id -u; id -g; id -G; echo $HOME");
    set_text(&process->user, "12345:games");
    job = host_run(host, 4, process, NULL, 0);
    expect_status(host, job, 0);
    assert_string_equal(text_of(job, STREAM_STDIO), "12345\n60\n60\n/\n");
}

static bool is_connected(void *data)
{
    const struct host_job *job = data;

    return job->started && job->connected[STREAM_STDIO] && job->connected[STREAM_STDERR];
}

static void an_id_in_use_is_refused(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 1, "cat");
    struct host_job *second;

    job->input_open = true;
    host_until(host, is_connected, job);
    job->id = 1000; /* so that the refusal finds the second */
    second = run_shell(host, 1, "true");
    expect_refusal(host, second, 125, "this id is in use");
    job->id = 1;
    host_forget(second);
    job->input_open = false;
    expect_status(host, job, 0);
}

/* ---- Streams ------------------------------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const uint8_t *bytes, size_t size)
{
    uint64_t hash = 14695981039346656037U; /* FNV-1a */

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 1099511628211U;
    return hash;
}

static uint8_t *noise(size_t size)
{
    uint8_t *bytes = malloc(size);
    uint64_t x = 88172645463325252U; /* xorshift */

    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (uint8_t)x;
    }
    return bytes;
}

static void large_input_and_output_are_exact(void **state)
{
    struct host *host = *state;
    const size_t size = 100 << 20;
    uint8_t *bytes = noise(size);
    struct host_job *job = host_run(host, 1, program("cat", NULL), bytes, size);

    expect_status(host, job, 0);
    assert_int_equal(job->output[0].size, size);
    assert_true(hash_of(job->output[0].data, size) == hash_of(bytes, size));
    free(bytes);
}

static void output_left_in_the_pipe_still_comes(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 1, "head -c 1000000 /dev/zero; head -c 60000 /dev/zero >&2");

    job->unread[STREAM_STDERR] = true;
    host_wait_exited(host, job);
    assert_false(job->ended[STREAM_STDERR]);
    job->unread[STREAM_STDERR] = false;
    host_wait(host, job);
    assert_int_equal(job->output[0].size, 1000000);
    assert_int_equal(job->output[1].size, 60000);
}

static void a_stream_nobody_reads_stalls_only_itself(void **state)
{
    struct host *host = *state;
    struct host_job *stalled = run_shell(host, 1, "yes");
    struct host_job *job;

    stalled->unread[STREAM_STDIO] = true;
    host_wait_started(host, stalled);
    for (uint32_t id = 2; id < 12; id++) {
        job = host_run(host, id, program("head", "-c", "1000000", "/dev/zero", NULL), NULL, 0);
        expect_status(host, job, 0);
        assert_int_equal(job->output[0].size, 1000000);
        host_forget(job);
    }
    assert_false(stalled->exited);
    host_signal(host, 1, SIGTERM);
    host_wait_exited(host, stalled);
    assert_int_equal(stalled->kind, EXIT_SIGNAL);
    assert_int_equal(stalled->code, SIGTERM);
    stalled->unread[STREAM_STDIO] = false;
    host_wait(host, stalled);
}

static void closed_streams_are_closed_pipes(void **state)
{
    struct host *host = *state;
    struct host_job *job = host_run(host, 1, program("yes", NULL), NULL, 0);

    host_wait_output(host, job, "y\n");
    close(job->fds[STREAM_STDIO]);
    job->fds[STREAM_STDIO] = -1;
    job->ended[STREAM_STDIO] = true;
    host_wait(host, job);
    assert_int_equal(job->kind, EXIT_SIGNAL);
    assert_int_equal(job->code, SIGPIPE);
}

static bool output_has_ended(void *data)
{
    const struct host_job *job = data;

    return job->ended[STREAM_STDIO];
}

static void a_program_that_closes_its_output_is_seen(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 1, "exec >&-; read line; exit 3");

    job->input_open = true;
    host_until(host, output_has_ended, job);
    assert_false(job->exited);
    job->input = (const uint8_t *)"\n";
    job->input_size = 1;
    expect_status(host, job, 3);
}

static void a_program_that_reads_no_input_ends_well(void **state)
{
    struct host *host = *state;
    const size_t size = 4 << 20;
    uint8_t *bytes = noise(size);
    struct host_job *job = host_run(host, 1, program("head", "-c", "10", NULL), bytes, size);

    expect_status(host, job, 0);
    assert_int_equal(job->output[0].size, 10);
    free(bytes);
}

static void input_that_is_closed_does_not_end_the_program(void **state)
{
    struct host *host = *state;
    const size_t size = 1 << 20;
    uint8_t *bytes = noise(size);
    struct host_job *job =
        host_run(host, 1, shell("exec <&-; while ! [ -e /proc/1/nope ]; do echo still here; sleep 0.1; done"), bytes, size);

    host_wait_output(host, job, "still here\nstill here\n");
    host_signal(host, 1, SIGKILL);
    host_wait(host, job);
    assert_int_equal(job->code, SIGKILL);
    free(bytes);
}

/* A background descendant holds the pipe: the stream ends with the program, and the descendant lives and may go on writing. */
static void descendants_do_not_hold_the_stream(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 1, "(while :; do echo noise; echo noise >&2; sleep 0.01; done) & echo pid=$!; exit 5");
    const char *said;
    char script[128];
    long pid;

    expect_status(host, job, 5);
    said = strstr(text_of(job, STREAM_STDIO), "pid="); /* the noise may come first */
    assert_non_null(said);
    pid = strtol(said + 4, NULL, 10);
    assert_true(pid > 1);
    snprintf(script, sizeof(script), "sleep 0.1; kill -TERM %ld", pid);
    expect_status(host, run_shell(host, 2, script), 0);
}

/* ---- Signals and orphans ------------------------------------------------------------------------------------------------------- */

static void signals_reach_the_program(void **state)
{
    struct host *host = *state;
    static const struct {
        int number;
        const char *name;
    } signals[] = { { SIGINT, "INT" },   { SIGTERM, "TERM" }, { SIGHUP, "HUP" },    { SIGQUIT, "QUIT" },
                    { SIGUSR1, "USR1" }, { SIGUSR2, "USR2" }, { SIGWINCH, "WINCH" } };

    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        char script[160];
        struct host_job *job;

        snprintf(script, sizeof(script), "trap 'echo got; exit %u' %s; echo ready; while :; do sleep 0.01; done", i,
                 signals[i].name);
        job = run_shell(host, i, script);
        host_wait_output(host, job, "ready\n");
        host_signal(host, i, (uint8_t)signals[i].number);
        expect_status(host, job, (int)i);
        assert_string_equal(text_of(job, STREAM_STDIO), "ready\ngot\n");
    }
}

static void signals_to_what_has_ended_are_harmless(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 1, "true");

    expect_status(host, job, 0);
    host_signal(host, 1, SIGKILL);
    host_signal(host, 99, SIGKILL);
    expect_status(host, run_shell(host, 2, "true"), 0);
}

static void orphans_are_reaped(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(
        host, 1,
        "for i in 1 2 3 4 5; do (sleep 0.05 &) ; done; sleep 0.3; grep -c '^State:.Z' /proc/[0-9]*/status | grep -c ':[^0]'");

    host_wait(host, job);
    assert_string_equal(text_of(job, STREAM_STDIO), "0\n");
}

/* ---- Terminals ----------------------------------------------------------------------------------------------------------------- */

static struct process *on_terminal(const char *script)
{
    struct process *process = shell(script);

    process->tty = true;
    process->rows = 33;
    process->columns = 77;
    return process;
}

static void a_terminal_has_its_size_and_name(void **state)
{
    struct host *host = *state;
    struct host_job *job = host_run(
        host, 1, on_terminal("tty; stty size; echo err >&2; echo $TERM; ps -o tpgid= -p $$ | grep -cw $$; exit 4"), NULL, 0);

    expect_status(host, job, 4);
    assert_string_equal(text_of(job, STREAM_STDIO), "/dev/pts/0\r\n33 77\r\nerr\r\nxterm\r\n1\r\n");
    assert_false(job->connected[STREAM_STDERR]);
}

static void a_terminal_is_resized(void **state)
{
    struct host *host = *state;
    struct host_job *job =
        host_run(host, 1, on_terminal("trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.01; done"), NULL, 0);
    struct writer body = { 0 };

    job->input_open = true;
    host_wait_output(host, job, "ready");
    put_u32(&body, 1);
    put_u16(&body, 50);
    put_u16(&body, 132);
    host_message(host, MESSAGE_RESIZE, &body);
    free(body.data);
    expect_status(host, job, 0);
    assert_non_null(strstr(text_of(job, STREAM_STDIO), "50 132"));
}

static void ctrl_c_goes_to_the_foreground(void **state)
{
    struct host *host = *state;
    struct host_job *job =
        host_run(host, 1, on_terminal("trap 'echo interrupted' INT; sh -c 'echo ready; exec sleep 100'; echo after"), NULL, 0);

    job->input_open = true;
    host_wait_output(host, job, "ready");
    job->input = (const uint8_t *)"\003";
    job->input_size = 1;
    expect_status(host, job, 0);
    assert_non_null(strstr(text_of(job, STREAM_STDIO), "interrupted\r\nafter\r\n"));
}

static void end_of_input_is_the_terminals(void **state)
{
    struct host *host = *state;
    static const char input[] = "line\n";
    struct host_job *job = host_run(host, 1, on_terminal("stty -echo; cat; echo done"), input, sizeof(input) - 1);

    expect_status(host, job, 0);
    assert_non_null(strstr(text_of(job, STREAM_STDIO), "line\r\n"));
    assert_non_null(strstr(text_of(job, STREAM_STDIO), "done\r\n"));
}

static void all_of_a_terminals_output_comes(void **state)
{
    struct host *host = *state;
    struct host_job *job =
        host_run(host, 1, on_terminal("stty -opost; i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"), NULL, 0);
    const char *text;

    expect_status(host, job, 0);
    text = text_of(job, STREAM_STDIO);
    assert_int_equal(job->output[0].size, 108890);
    assert_string_equal(text + 108890 - 6, "19999\n");
}

/* The terminal goes away with its program: what is left on it is hung up. */
static void a_terminal_ends_with_its_program(void **state)
{
    struct host *host = *state;
    struct host_job *job =
        host_run(host, 1, on_terminal("trap '' HUP; (while :; do echo noise; sleep 0.01; done) & exit 6"), NULL, 0);

    expect_status(host, job, 6);
}

/* ---- Many ---------------------------------------------------------------------------------------------------------------------- */

static void a_thousand_in_a_row(void **state)
{
    struct host *host = *state;

    for (uint32_t id = 0; id < 1000; id++) {
        char text[16];
        struct host_job *job;

        snprintf(text, sizeof(text), "%u", id);
        job = host_run(host, id, program("/bin/echo", text, NULL), NULL, 0);
        expect_status(host, job, 0);
        assert_int_equal(strtoul(text_of(job, STREAM_STDIO), NULL, 10), id);
        host_forget(job);
    }
    /* Nothing of them is left in process 1: its own descriptors, and this program's. */
    struct host_job *job = run_shell(host, 5000, "ls /proc/1/fd | wc -l");
    expect_status(host, job, 0);
    assert_in_range(strtoul(text_of(job, STREAM_STDIO), NULL, 10), 5, 20);
}

static void many_at_once(void **state)
{
    enum { MANY = 100, SIZE = 300000 };
    struct host *host = *state;
    struct host_job *jobs[MANY];
    uint8_t *bytes = noise(SIZE + MANY);

    for (uint32_t id = 0; id < MANY; id++) {
        char script[64];

        snprintf(script, sizeof(script), "cat; echo %u >&2; exit %u", id, id);
        jobs[id] = host_run(host, id, shell(script), bytes + id, SIZE);
    }
    for (uint32_t id = 0; id < MANY; id++) {
        expect_status(host, jobs[id], (int)id);
        assert_int_equal(jobs[id]->output[0].size, SIZE);
        assert_memory_equal(jobs[id]->output[0].data, bytes + id, SIZE);
        assert_int_equal(strtoul(text_of(jobs[id], STREAM_STDERR), NULL, 10), id);
    }
    free(bytes);
}

/* ---- Copies -------------------------------------------------------------------------------------------------------------------- */

static void an_archive_goes_out_and_in(void **state)
{
    struct host *host = *state;
    struct host_job *out, *in, *compare;
    char path[256];

    snprintf(path, sizeof(path),
             "mkdir -p %s/tree/below && head -c 3000000 /dev/urandom >%s/tree/below/large && ln -s x %s/tree/link", scratch,
             scratch, scratch);
    expect_status(host, run_shell(host, 1, path), 0);
    out = host_copy(host, 2, COPY_OUT, in_scratch("tree"), NULL, 0);
    expect_status(host, out, 0);
    assert_true(out->output[0].size > 3000000);
    in = host_copy(host, 3, COPY_IN, in_scratch("copied"), out->output[0].data, out->output[0].size);
    expect_status(host, in, 0);
    assert_string_equal(text_of(in, STREAM_STDERR), "");
    snprintf(path, sizeof(path), "diff -r --no-dereference %s/tree %s/copied", scratch, scratch);
    compare = run_shell(host, 4, path);
    expect_status(host, compare, 0);
}

static void a_copy_that_fails_says_why(void **state)
{
    struct host *host = *state;
    struct host_job *job = host_copy(host, 1, COPY_OUT, "/no/such/path", NULL, 0);

    expect_status(host, job, 1);
    assert_string_equal(text_of(job, STREAM_STDERR), "`path`: No such file or directory\n");
    job = host_copy(host, 2, COPY_IN, "/tmp", "this is no archive", 18);
    expect_status(host, job, 1);
    assert_string_equal(text_of(job, STREAM_STDERR), "this is no tar archive that can be read: it ends too early\n");
}

static void a_copy_can_be_ended(void **state)
{
    struct host *host = *state;
    struct host_job *job = host_copy(host, 1, COPY_IN, "/tmp", NULL, 0);

    job->input_open = true;
    host_wait_started(host, job);
    host_signal(host, 1, SIGTERM);
    host_wait(host, job);
    assert_int_equal(job->kind, EXIT_SIGNAL);
    assert_int_equal(job->code, SIGTERM);
}

/* ---- The session --------------------------------------------------------------------------------------------------------------- */

static void finish_ends_everything(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 1, "echo up; trap '' TERM INT HUP; while :; do sleep 100; done");

    host_wait_output(host, job, "up");
    host_message(host, MESSAGE_FINISH, NULL);
    host_wait(host, job);
    assert_int_equal(job->code, SIGKILL);
    assert_false(job->out_of_memory);
    host_wait_finished(host);
    expect_refusal(host, run_shell(host, 2, "true"), 125, "the sandbox is ending");
}

static void a_finishing_program_takes_the_rest_along(void **state)
{
    struct host *host = *state;
    struct host_job *other = run_shell(host, 1, "sleep 1000");
    struct host_job *job = host_run_finish(host, 0, shell("echo bye; exit 9"));

    expect_status(host, job, 9);
    assert_string_equal(text_of(job, STREAM_STDIO), "bye\n");
    host_wait(host, other);
    assert_int_equal(other->code, SIGKILL);
    host_wait_finished(host);
}

static void a_finishing_program_that_cannot_start_finishes(void **state)
{
    struct host *host = *state;

    expect_refusal(host, host_run_finish(host, 0, program("/nonexistent", NULL)), 127, "/nonexistent");
    host_wait_finished(host);
}

static void statistics_are_told(void **state)
{
    struct host *host = *state;
    struct host_job *job = run_shell(host, 1, "cat");
    struct writer body = { 0 };

    job->input_open = true;
    host_wait_started(host, job);
    put_u32(&body, 4711);
    host_message(host, MESSAGE_GET_STATS, &body);
    free(body.data);
    job->input_open = false;
    expect_status(host, job, 0);
    assert_true(host->have_stats);
    assert_true(host->stats.memory_total > host->stats.memory_available);
    assert_true(host->stats.memory_available > 1 << 20);
    assert_true(host->stats.cpu_idle > 0);
    assert_in_range(host->stats.num_processes, 1, 100);
}

static int end_broken_host(void **state)
{
    assert_int_equal(host_end(*state), 1);
    return 0;
}

static void end_with(struct host *host, const void *bytes, size_t size)
{
    struct writer w = { 0 };

    put_raw(&w, bytes, size);
    host_send(host, &w);
    free(w.data);
    host_wait_closed(host);
}

static void an_unknown_message_ends_the_session(void **state)
{
    end_with(*state, "\0\0\0\0\x63\0\0\0", 8);
}

static void a_huge_message_ends_the_session(void **state)
{
    end_with(*state, "\1\0\0\1\x21\0\0\0", 8);
}

static void a_broken_message_ends_the_session(void **state)
{
    end_with(*state, "\5\0\0\0\x21\0\0\0abcde", 13);
}

static void an_impossible_signal_ends_the_session(void **state)
{
    end_with(*state, "\5\0\0\0\x22\0\0\0\1\0\0\0\xff", 13);
}

static int make_scratch(void **state)
{
    (void)state;
    if (!mkdtemp(scratch))
        return -1;
    return chmod(scratch, 0755);
}

static int remove_scratch(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", scratch);
    return system(command);
}

#define ON_HOST(test) cmocka_unit_test_setup_teardown(test, start_host, end_host)
#define BREAKS(test) cmocka_unit_test_setup_teardown(test, start_host, end_broken_host)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_HOST(streams_are_separate_and_status_is_the_programs),
        ON_HOST(a_signal_is_told_as_such),
        ON_HOST(bytes_come_as_they_are),
        ON_HOST(environment_has_what_was_given_and_defaults),
        ON_HOST(environment_is_not_inherited),
        ON_HOST(large_arguments_and_environment_arrive),
        ON_HOST(no_descriptor_leaks_into_the_program),
        ON_HOST(signals_are_as_a_program_expects),
        ON_HOST(dev_stdout_can_be_opened_again),
        ON_HOST(what_is_not_there_is_127),
        ON_HOST(what_cannot_be_executed_is_126_and_says_why),
        ON_HOST(missing_loader_is_named),
        ON_HOST(too_big_is_126),
        ON_HOST(path_lookup_uses_the_processs_own_path),
        ON_HOST(workdir_must_be_a_directory),
        ON_HOST(limits_apply_and_failures_are_named),
        ON_HOST(users_are_the_guests),
        ON_HOST(an_id_in_use_is_refused),
        ON_HOST(large_input_and_output_are_exact),
        ON_HOST(output_left_in_the_pipe_still_comes),
        ON_HOST(a_stream_nobody_reads_stalls_only_itself),
        ON_HOST(closed_streams_are_closed_pipes),
        ON_HOST(a_program_that_closes_its_output_is_seen),
        ON_HOST(a_program_that_reads_no_input_ends_well),
        ON_HOST(input_that_is_closed_does_not_end_the_program),
        ON_HOST(descendants_do_not_hold_the_stream),
        ON_HOST(signals_reach_the_program),
        ON_HOST(signals_to_what_has_ended_are_harmless),
        ON_HOST(orphans_are_reaped),
        ON_HOST(a_terminal_has_its_size_and_name),
        ON_HOST(a_terminal_is_resized),
        ON_HOST(ctrl_c_goes_to_the_foreground),
        ON_HOST(end_of_input_is_the_terminals),
        ON_HOST(all_of_a_terminals_output_comes),
        ON_HOST(a_terminal_ends_with_its_program),
        ON_HOST(a_thousand_in_a_row),
        ON_HOST(many_at_once),
        ON_HOST(an_archive_goes_out_and_in),
        ON_HOST(a_copy_that_fails_says_why),
        ON_HOST(a_copy_can_be_ended),
        ON_HOST(finish_ends_everything),
        ON_HOST(a_finishing_program_takes_the_rest_along),
        ON_HOST(a_finishing_program_that_cannot_start_finishes),
        ON_HOST(statistics_are_told),
        BREAKS(an_unknown_message_ends_the_session),
        BREAKS(a_huge_message_ends_the_session),
        BREAKS(a_broken_message_ends_the_session),
        BREAKS(an_impossible_signal_ends_the_session),
    };

    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
