/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console: what is no terminal is handed on, a terminal is carried, byte for byte, with the keys that detach taken out; and all output is
 * there before the end is told.
 */
#include "cli/console.h"

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

struct run {
    struct loop *loop;
    bool detached, drained;
};

static void on_detached(void *data)
{
    struct run *run = data;

    run->detached = true;
    loop_quit(run->loop);
}

static void on_drained(void *data)
{
    struct run *run = data;

    assert_false(run->drained);
    run->drained = true;
    loop_quit(run->loop);
}

static const struct console_events events = { on_detached, on_drained };

static void on_timer(struct loop_source *source, int fd, uint32_t what, void *data)
{
    (void)source, (void)fd, (void)what;
    loop_quit(((struct run *)data)->loop);
}

static void run_for(struct run *run, unsigned milliseconds)
{
    struct loop_source *timer = loop_timer(run->loop, milliseconds * 1000000ULL, on_timer, run, NULL);

    assert_int_equal(loop_run(run->loop, NULL), 0);
    loop_remove(timer);
}

static int saved[3];

/* Makes the descriptors our standard streams; -1 leaves one as /dev/null. */
static void use(int in, int out, int err)
{
    const int wanted[] = { in, out, err };

    for (int i = 0; i < 3; i++) {
        int fd = wanted[i] >= 0 ? wanted[i] : open("/dev/null", O_RDWR);

        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        dup2(fd, i);
        if (wanted[i] < 0)
            close(fd);
    }
}

static void put_back(void)
{
    for (int i = 0; i < 3; i++) {
        dup2(saved[i], i);
        close(saved[i]);
    }
}

/* A terminal in raw mode, as it is while the console has it. */
static void open_terminal(int *controller, int *terminal)
{
    struct termios raw;

    assert_int_equal(openpty(controller, terminal, NULL, NULL, NULL), 0);
    tcgetattr(*terminal, &raw);
    cfmakeraw(&raw);
    tcsetattr(*terminal, TCSANOW, &raw);
}

static void expect_read(int fd, const char *text)
{
    char found[256];
    ssize_t n = read(fd, found, sizeof(found));

    assert_int_equal(n, strlen(text));
    assert_memory_equal(found, text, (size_t)n);
}

static void handed_on(void **state)
{
    struct run run = { .loop = loop_new(NULL) };
    int in[2], out[2];
    struct console *console;

    (void)state;
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    use(in[0], out[1], -1);
    console = console_new(run.loop, 0, NULL, &events, &run, NULL);
    put_back();
    assert_non_null(console);
    for (int i = 0; i < 3; i++)
        assert_int_equal(console_stream(console, i), i);
    console_started(console);
    console_end(console);
    assert_true(run.drained);
    console_free(console);
    use(in[0], out[1], -1);
    console = console_new(run.loop, CONSOLE_NO_INPUT, NULL, &events, &run, NULL);
    put_back();
    assert_int_equal(console_stream(console, 0), -1);
    console_free(console);
    loop_free(run.loop);
}

static void carried(void **state)
{
    struct run run = { .loop = loop_new(NULL) };
    struct detach_keys keys;
    int controller, terminal, in, out;
    struct console *console;

    (void)state;
    detach_keys_parse(DETACH_KEYS_DEFAULT, &keys, NULL);
    open_terminal(&controller, &terminal);
    use(terminal, terminal, terminal);
    console = console_new(run.loop, CONSOLE_TTY, &keys, &events, &run, NULL);
    assert_non_null(console);
    assert_int_equal(console_stream(console, 2), -1);
    in = dup(console_stream(console, 0));
    out = dup(console_stream(console, 1));
    console_started(console);
    assert_int_equal(write(controller, "ls\r\x10x", 5), 5);
    run_for(&run, 50);
    expect_read(in, "ls\r\x10x");
    assert_int_equal(write(out, "file\r\n", 6), 6);
    run_for(&run, 50);
    put_back();
    expect_read(controller, "file\r\n");
    assert_int_equal(write(controller, "a\x10\x11z", 4), 4);
    run_for(&run, 1000);
    assert_true(run.detached);
    assert_false(run.drained);
    console_free(console);
    close(in);
    close(out);
    close(controller);
    close(terminal);
    loop_free(run.loop);
}

/* More than all buffers hold is still to come when the command ends: the end is told when it has been written. */
static void drained(void **state)
{
    enum { SIZE = 100000 };
    struct run run = { .loop = loop_new(NULL) };
    int controller, terminal, out;
    struct console *console;
    size_t sent = 0, got = 0;
    uint8_t buffer[4096];
    pid_t pid;
    int status;

    (void)state;
    open_terminal(&controller, &terminal);
    use(-1, terminal, -1);
    console = console_new(run.loop, 0, NULL, &events, &run, NULL);
    out = dup(console_stream(console, 1));
    console_started(console);
    fcntl(out, F_SETFL, O_NONBLOCK);
    memset(buffer, 'x', sizeof(buffer));
    for (ssize_t n; sent < SIZE && (n = write(out, buffer, sizeof(buffer))) > 0;)
        sent += (size_t)n;
    pid = fork();
    if (pid == 0) {
        while (got < sent) {
            ssize_t n = read(controller, buffer, sizeof(buffer));

            if (n <= 0)
                _exit(1);
            got += (size_t)n;
        }
        _exit(0);
    }
    /* Somebody else still has the command's end. */
    console_end(console);
    if (!run.drained)
        run_for(&run, 5000);
    put_back();
    assert_true(run.drained);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    console_free(console);
    close(out);
    close(controller);
    close(terminal);
    loop_free(run.loop);
}

/* Nobody reads what is typed: it is not read either. Then its reader goes away. */
static void input_that_nobody_reads(void **state)
{
    struct run run = { .loop = loop_new(NULL) };
    int controller, terminal, in, size;
    struct console *console;
    char line[1024];

    (void)state;
    open_terminal(&controller, &terminal);
    fcntl(controller, F_SETFL, O_NONBLOCK);
    use(terminal, -1, -1);
    console = console_new(run.loop, CONSOLE_TTY, NULL, &events, &run, NULL);
    size = 4096;
    setsockopt(console_stream(console, 0), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    in = dup(console_stream(console, 0));
    console_started(console);
    memset(line, 'y', sizeof(line));
    for (int i = 0; i < 1000 && write(controller, line, sizeof(line)) > 0; i++)
        run_for(&run, 1);
    assert_int_equal(write(controller, line, sizeof(line)), -1);
    assert_int_equal(errno, EAGAIN);
    close(in);
    run_for(&run, 50);
    put_back();
    console_free(console);
    close(controller);
    close(terminal);
    loop_free(run.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handed_on),
        cmocka_unit_test(carried),
        cmocka_unit_test(drained),
        cmocka_unit_test(input_that_nobody_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
