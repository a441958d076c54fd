/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Relays between a socket of ours and every kind of standard stream: bytes arrive whole and in order, nothing blocks, what nobody
 * reads is not read either, and the stream's own mode stays as it was.
 */
#include "sandbox/relay.h"

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>

#include <cmocka.h>

enum { SIZE = 3 << 20 };

struct run {
    struct loop *loop;
    int done; /* -1, or the enum relay_end */
    bool quit_when_idle;
};

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 2654435761U >> 13);
}

static void on_done(struct relay *relay, enum relay_end end, void *data)
{
    struct run *run = data;

    (void)relay;
    assert_int_equal(run->done, -1);
    run->done = (int)end;
    loop_quit(run->loop);
}

static void on_timer(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    loop_quit(((struct run *)data)->loop);
}

static struct run new_run(void)
{
    struct run run = { .loop = loop_new(NULL), .done = -1 };

    assert_non_null(run.loop);
    return run;
}

/* Runs the loop until the relay is done or nothing has happened for a while. */
static void run_for(struct run *run, unsigned milliseconds)
{
    struct loop_source *timer = loop_timer(run->loop, milliseconds * 1000000ULL, on_timer, run, NULL);

    assert_int_equal(loop_run(run->loop, NULL), 0);
    loop_remove(timer);
}

static void make_socket(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
}

/* Processes that write the pattern into fd, or expect it there, and say by their exit status whether all went well. */
static pid_t fork_with(int fd)
{
    pid_t pid = fork();

    /* Nobody else's ends, or there would be no end of file. */
    if (pid == 0 && (dup2(fd, 3) < 0 || close_range(4, ~0U, 0) < 0))
        _exit(9);
    return pid;
}

static pid_t start_writer(int fd)
{
    pid_t pid = fork_with(fd);

    if (pid > 0)
        return pid;
    fd = 3;
    uint8_t *bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = pattern(i);
    for (size_t at = 0; at < SIZE;) {
        ssize_t n = write(fd, bytes + at, SIZE - at > 70000 ? 70000 : SIZE - at);
        if (n <= 0)
            _exit(1);
        at += (size_t)n;
    }
    _exit(0);
}

static pid_t start_reader(int fd)
{
    pid_t pid = fork_with(fd);
    uint8_t bytes[30000];
    size_t at = 0;
    ssize_t n;

    if (pid > 0)
        return pid;
    fd = 3;
    while ((n = read(fd, bytes, sizeof(bytes))) > 0)
        for (ssize_t i = 0; i < n; i++)
            if (bytes[i] != pattern(at++))
                _exit(2);
    _exit(n == 0 && at == SIZE ? 0 : 3);
}

static void assert_good(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* From `from`, written by `writer`, through a relay to `to`, read by `reader`; -1 where this process has the bytes in a file. */
static void relay_all(int from, int to, int to_shut)
{
    struct run run = new_run();
    int from_flags = fcntl(from, F_GETFL), to_flags = fcntl(to, F_GETFL);
    struct relay *relay = relay_new(run.loop, from, to, on_done, &run, NULL);

    assert_non_null(relay);
    run_for(&run, 20000);
    assert_int_equal(run.done, RELAY_EOF);
    assert_int_equal(fcntl(from, F_GETFL), from_flags);
    assert_int_equal(fcntl(to, F_GETFL), to_flags);
    relay_free(relay);
    loop_free(run.loop);
    if (to_shut >= 0)
        shutdown(to_shut, SHUT_WR);
}

static void test_pipe_to_socket(void **state)
{
    int in[2], out[2];

    (void)state;
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    make_socket(out);
    pid_t writer = start_writer(in[1]), reader = start_reader(out[1]);
    close(in[1]);
    close(out[1]);
    relay_all(in[0], out[0], out[0]);
    assert_good(writer);
    assert_good(reader);
    close(in[0]);
    close(out[0]);
}

static void test_socket_to_pipe(void **state)
{
    int in[2], out[2];

    (void)state;
    make_socket(in);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t writer = start_writer(in[1]), reader = start_reader(out[0]);
    close(in[1]);
    close(out[0]);
    relay_all(in[0], out[1], -1);
    close(out[1]);
    assert_good(writer);
    assert_good(reader);
    close(in[0]);
}

static void test_socket_to_socket(void **state)
{
    int in[2], out[2];

    (void)state;
    make_socket(in);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out), 0); /* the caller's: blocking */
    pid_t writer = start_writer(in[1]), reader = start_reader(out[1]);
    close(in[1]);
    close(out[1]);
    relay_all(in[0], out[0], out[0]);
    assert_good(writer);
    assert_good(reader);
    close(in[0]);
    close(out[0]);
}

static int pattern_file(bool filled)
{
    char name[] = "/tmp/msb-test-relay-XXXXXX";
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    unlink(name);
    if (filled) {
        assert_good(start_writer(fd));
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    }
    return fd;
}

static void test_file_to_socket(void **state)
{
    int in = pattern_file(true), out[2];

    (void)state;
    make_socket(out);
    pid_t reader = start_reader(out[1]);
    close(out[1]);
    relay_all(in, out[0], out[0]);
    assert_good(reader);
    close(in);
    close(out[0]);
}

static void test_socket_to_file(void **state)
{
    int in[2], out = pattern_file(false);

    (void)state;
    make_socket(in);
    pid_t writer = start_writer(in[1]);
    close(in[1]);
    relay_all(in[0], out, -1);
    assert_good(writer);
    assert_int_equal(lseek(out, 0, SEEK_SET), 0);
    assert_good(start_reader(out));
    close(in[0]);
    close(out);
}

static void make_terminal(int *controller, int *terminal)
{
    struct termios raw;

    assert_int_equal(openpty(controller, terminal, NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(*terminal, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(*terminal, TCSANOW, &raw), 0);
}

static void test_terminal_to_socket(void **state)
{
    struct run run = new_run();
    int controller, terminal, out[2];
    uint8_t bytes[4096];
    size_t at = 0;

    (void)state;
    make_terminal(&controller, &terminal);
    make_socket(out);
    pid_t writer = start_writer(controller);
    struct relay *relay = relay_new(run.loop, terminal, out[0], on_done, &run, NULL);
    assert_non_null(relay);
    while (at < SIZE) {
        ssize_t n = recv(out[1], bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n < 0)
            run_for(&run, 1);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(bytes[i], pattern(at++));
    }
    assert_good(writer);
    assert_int_equal(run.done, -1);
    /* The terminal is hung up: reading it fails with EIO. */
    close(controller);
    run_for(&run, 5000);
    assert_int_equal(run.done, RELAY_EOF);
    relay_free(relay);
    loop_free(run.loop);
    close(terminal);
    close(out[0]);
    close(out[1]);
}

static void test_socket_to_terminal(void **state)
{
    struct run run = new_run();
    int controller, terminal, in[2];
    uint8_t bytes[4096];
    size_t at = 0;

    (void)state;
    make_terminal(&controller, &terminal);
    make_socket(in);
    pid_t writer = start_writer(in[1]);
    close(in[1]);
    struct relay *relay = relay_new(run.loop, in[0], terminal, on_done, &run, NULL);
    assert_non_null(relay);
    /* A terminal that takes nothing does not keep the loop. */
    run_for(&run, 100);
    assert_int_equal(run.done, -1);
    assert_int_equal(fcntl(terminal, F_GETFL) & O_NONBLOCK, 0);
    fcntl(controller, F_SETFL, O_NONBLOCK);
    while (at < SIZE) {
        ssize_t n = read(controller, bytes, sizeof(bytes));
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            run_for(&run, 1);
            continue;
        }
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(bytes[i], pattern(at++));
    }
    if (run.done < 0)
        run_for(&run, 5000);
    assert_int_equal(run.done, RELAY_EOF);
    assert_good(writer);
    relay_free(relay);
    loop_free(run.loop);
    close(controller);
    close(terminal);
    close(in[0]);
}

static void test_null_device(void **state)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), ends[2];

    (void)state;
    make_socket(ends);
    relay_all(null, ends[0], ends[0]);
    pid_t writer = start_writer(ends[1]);
    close(ends[1]);
    relay_all(ends[0], null, -1);
    assert_good(writer);
    close(ends[0]);
    close(null);
}

/* How many bytes a writer gets rid of while nobody reads at the other end. */
static size_t swallowed(int from, int write_end, int to)
{
    struct run run = new_run();
    struct relay *relay = relay_new(run.loop, from, to, on_done, &run, NULL);
    static const uint8_t bytes[4096];
    size_t total = 0;

    assert_non_null(relay);
    fcntl(write_end, F_SETFL, O_NONBLOCK);
    for (int idle = 0; idle < 3;) {
        ssize_t n = write(write_end, bytes, sizeof(bytes));
        total += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        if (n < 0)
            run_for(&run, 5);
        assert_true(total < 16 << 20);
    }
    relay_free(relay);
    loop_free(run.loop);
    return total;
}

static void test_back_pressure(void **state)
{
    int pipe_ends[2], ends[2], others[2];

    (void)state;
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    make_socket(ends);
    make_socket(others);
    /* Into a socket whose other end does not read, and into a full pipe: no more than the kernel's buffers. */
    assert_true(swallowed(pipe_ends[0], pipe_ends[1], ends[0]) < 1 << 20);
    assert_true(swallowed(ends[0], ends[1], others[0]) < 1 << 20);
    for (int i = 0; i < 2; i++) {
        close(pipe_ends[i]);
        close(ends[i]);
        close(others[i]);
    }
}

static void test_closed_destination(void **state)
{
    struct run run = new_run();
    int in[2], out[2];

    (void)state;
    make_socket(in);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    close(out[0]);
    assert_int_equal(write(in[1], "x", 1), 1);
    struct relay *relay = relay_new(run.loop, in[0], out[1], on_done, &run, NULL);
    assert_non_null(relay);
    run_for(&run, 5000);
    assert_int_equal(run.done, RELAY_CLOSED);
    relay_free(relay);
    loop_free(run.loop);
    close(in[0]);
    close(in[1]);
    close(out[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipe_to_socket),     cmocka_unit_test(test_socket_to_pipe),
        cmocka_unit_test(test_socket_to_socket),   cmocka_unit_test(test_file_to_socket),
        cmocka_unit_test(test_socket_to_file),     cmocka_unit_test(test_terminal_to_socket),
        cmocka_unit_test(test_socket_to_terminal), cmocka_unit_test(test_null_device),
        cmocka_unit_test(test_back_pressure),      cmocka_unit_test(test_closed_destination),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
