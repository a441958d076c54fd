/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/console.h"

#include "sandbox/relay.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { TYPED_MAX = 4096 };

/* One of the three. With relay or keyboard, ours and theirs are the two ends of a socket. */
struct stream {
    struct console *console;
    int ours, theirs; /* -1: handed on as it is, or not used */
    int given;        /* to the command */
    struct relay *relay;
};

/* A terminal in raw mode, read for the keys that detach. */
struct keyboard {
    struct loop_source *terminal, *socket;
    int fd; /* the terminal, in non-blocking mode */
    struct detach_keys keys;
    uint8_t pending[TYPED_MAX + DETACH_KEYS_MAX]; /* not passed on yet */
    size_t begin, end;
};

struct console {
    struct loop *loop;
    const struct console_events *events;
    void *data;
    struct stream streams[3];
    struct keyboard keyboard;
    bool ended;
};

/* ---- The keyboard ---------------------------------------------------------------------------------------------------------------- */

static void keyboard_stop(struct keyboard *keyboard)
{
    loop_remove(keyboard->terminal);
    loop_remove(keyboard->socket);
    keyboard->terminal = keyboard->socket = NULL;
}

/* Input is over: of the terminal, or because nobody reads it. */
static void keyboard_end(struct console *console)
{
    keyboard_stop(&console->keyboard);
    shutdown(console->streams[0].ours, SHUT_WR);
}

static void keyboard_pass_on(struct console *console)
{
    struct keyboard *keyboard = &console->keyboard;
    ssize_t n = 0;

    while (keyboard->begin < keyboard->end && n >= 0) {
        n = send(console->streams[0].ours, keyboard->pending + keyboard->begin, keyboard->end - keyboard->begin,
                 MSG_DONTWAIT | MSG_NOSIGNAL);
        keyboard->begin += n > 0 ? (size_t)n : 0;
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        keyboard_end(console);
    else if (keyboard->terminal && (loop_modify(keyboard->terminal, keyboard->begin < keyboard->end ? 0 : EPOLLIN, NULL) < 0 ||
                                    loop_modify(keyboard->socket, keyboard->begin < keyboard->end ? EPOLLOUT : 0, NULL) < 0))
        keyboard_end(console);
}

static void on_socket(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    keyboard_pass_on(data);
}

static void on_terminal(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct console *console = data;
    struct keyboard *keyboard = &console->keyboard;
    uint8_t typed[TYPED_MAX];
    ssize_t n = read(fd, typed, sizeof(typed));

    (void)source, (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        keyboard_end(console);
        return;
    }
    keyboard->begin = 0;
    if (detach_keys_filter(&keyboard->keys, typed, (size_t)n, keyboard->pending, &keyboard->end)) {
        keyboard_stop(keyboard);
        console->events->detached(console->data);
    } else {
        keyboard_pass_on(console);
    }
}

static int keyboard_start(struct console *console, const struct detach_keys *keys, msb_error **err)
{
    struct keyboard *keyboard = &console->keyboard;

    if (keys)
        keyboard->keys = *keys;
    /* A description of our own: the shell's must not become non-blocking. */
    keyboard->fd = open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (keyboard->fd < 0)
        return fail_errno(err, "open the terminal");
    keyboard->terminal = loop_add(console->loop, keyboard->fd, EPOLLIN, on_terminal, console, err);
    keyboard->socket = keyboard->terminal ? loop_add(console->loop, console->streams[0].ours, 0, on_socket, console, err) : NULL;
    return keyboard->socket ? 0 : -1;
}

/* ---- Output ---------------------------------------------------------------------------------------------------------------------- */

static void check_drained(struct console *console)
{
    if (console->ended && !console->streams[1].relay && !console->streams[2].relay)
        console->events->drained(console->data);
}

static void on_output_done(struct relay *relay, enum relay_end end, void *data)
{
    struct stream *stream = data;

    (void)end;
    relay_free(relay);
    stream->relay = NULL;
    close(steal_fd(&stream->ours));
    check_drained(stream->console);
}

static void on_input_done(struct relay *relay, enum relay_end end, void *data)
{
    struct stream *stream = data;

    (void)end;
    relay_free(relay);
    stream->relay = NULL;
    shutdown(stream->ours, SHUT_WR);
}

/* ---- Set-up ---------------------------------------------------------------------------------------------------------------------- */

static int stream_carry(struct stream *stream, int number, bool keyboard, const struct detach_keys *keys, msb_error **err)
{
    struct console *console = stream->console;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return fail_errno(err, "make a socket pair");
    stream->ours = ends[0];
    stream->theirs = stream->given = ends[1];
    if (keyboard)
        return keyboard_start(console, keys, err);
    stream->relay = number == 0 ? relay_new(console->loop, number, stream->ours, on_input_done, stream, err)
                                : relay_new(console->loop, stream->ours, number, on_output_done, stream, err);
    return stream->relay ? 0 : -1;
}

static int stream_init(struct console *console, int number, unsigned flags, const struct detach_keys *keys, msb_error **err)
{
    struct stream *stream = &console->streams[number];
    bool tty = flags & CONSOLE_TTY;

    *stream = (struct stream){ .console = console, .ours = -1, .theirs = -1, .given = -1 };
    if ((number == 0 && (flags & CONSOLE_NO_INPUT)) || (number == 2 && tty))
        return 0;
    if (isatty(number))
        return stream_carry(stream, number, number == 0 && tty, keys, err);
    stream->given = number;
    return 0;
}

struct console *console_new(struct loop *loop, unsigned flags, const struct detach_keys *keys,
                            const struct console_events *events, void *data, msb_error **err)
{
    struct console *console = calloc(1, sizeof(*console));
    int result = 0;

    if (!console)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *console = (struct console){ .loop = loop, .events = events, .data = data, .keyboard.fd = -1 };
    for (int i = 0; i < 3; i++)
        if (result == 0)
            result = stream_init(console, i, flags, keys, err);
        else
            console->streams[i] = (struct stream){ .ours = -1, .theirs = -1, .given = -1 };
    if (result == 0)
        return console;
    console_free(console);
    return NULL;
}

void console_free(struct console *console)
{
    if (!console)
        return;
    keyboard_stop(&console->keyboard);
    if (console->keyboard.fd >= 0)
        close(console->keyboard.fd);
    for (int i = 0; i < 3; i++) {
        struct stream *stream = &console->streams[i];

        relay_free(stream->relay);
        if (stream->ours >= 0)
            close(stream->ours);
        if (stream->theirs >= 0)
            close(stream->theirs);
    }
    free(console);
}

int console_stream(const struct console *console, int number)
{
    return console->streams[number].given;
}

/* From now on a command that closes its input is seen to do so. */
void console_started(struct console *console)
{
    struct stream *input = &console->streams[0];

    input->given = -1;
    if (input->theirs >= 0)
        close(steal_fd(&input->theirs));
}

/* Whoever else still holds the command's ends, nothing more is written there. */
void console_end(struct console *console)
{
    keyboard_stop(&console->keyboard);
    console->ended = true;
    for (int i = 1; i < 3; i++)
        if (console->streams[i].theirs >= 0)
            shutdown(console->streams[i].theirs, SHUT_WR);
    check_drained(console);
}
