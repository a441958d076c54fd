/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/lines.h"
#include "sandbox/control.h"
#include "util/printable.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    LINE_SIZE = 512, /* longer lines are cut */
    LINES_KEPT = 64,
};

struct lines {
    int fd;
    const char *show, *wanted;
    struct loop_source *source;
    char line[LINE_SIZE]; /* begun */
    size_t length;
    char kept[LINES_KEPT][LINE_SIZE]; /* a ring */
    size_t count;                     /* of all lines so far */
    char found[LINE_SIZE];
};

static void show_line(const struct lines *lines, const char *line)
{
    char text[LINE_SIZE + 64];
    int length = snprintf(text, sizeof(text), "%s%s\n", lines->show, line);

    /* As with the log itself: nobody is left to tell. */
    if (write(MONITOR_FD_LOG, text, (size_t)length) < 0)
        return;
}

static void end_line(struct lines *lines)
{
    char *line = lines->line;

    line[lines->length] = '\0';
    lines->length = 0;
    if (!*line)
        return;
    make_printable(line);
    memcpy(lines->kept[lines->count++ % LINES_KEPT], line, LINE_SIZE);
    if (lines->wanted && !*lines->found && strstr(line, lines->wanted))
        memcpy(lines->found, line, LINE_SIZE);
    if (lines->show)
        show_line(lines, line);
}

static void take(struct lines *lines, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n')
            end_line(lines);
        else if (bytes[i] != '\r' && bytes[i] && lines->length < LINE_SIZE - 1)
            lines->line[lines->length++] = bytes[i];
    }
}

/* One piece: a writer that floods its pipe does not keep the loop. False at the end, or when there is nothing now. */
static bool read_piece(struct lines *lines)
{
    char bytes[4096];
    ssize_t n = read(lines->fd, bytes, sizeof(bytes));

    if (n > 0)
        take(lines, bytes, (size_t)n);
    if (n == 0) {
        loop_remove(lines->source);
        lines->source = NULL;
    }
    return n > 0;
}

static void ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    read_piece(data);
}

struct lines *lines_new(struct loop *loop, int fd, const char *show, msb_error **err)
{
    struct lines *lines = calloc(1, sizeof(*lines));

    if (!lines || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        fail_errno(err, "watch a pipe");
        close(fd);
        free(lines);
        return NULL;
    }
    lines->fd = fd;
    lines->show = show;
    lines->source = loop_add(loop, fd, EPOLLIN, ready, lines, err);
    if (lines->source)
        return lines;
    lines_free(lines);
    return NULL;
}

void lines_free(struct lines *lines)
{
    if (!lines)
        return;
    loop_remove(lines->source);
    close(lines->fd);
    free(lines);
}

void lines_drain(struct lines *lines)
{
    while (read_piece(lines))
        ;
    end_line(lines);
}

void lines_find(struct lines *lines, const char *text)
{
    lines->wanted = text;
}

const char *lines_found(const struct lines *lines)
{
    return *lines->found ? lines->found : NULL;
}

const char *lines_search(const struct lines *lines, const char *text)
{
    for (size_t i = lines->count > LINES_KEPT ? lines->count - LINES_KEPT : 0; i < lines->count; i++) {
        const char *at = strstr(lines->kept[i % LINES_KEPT], text);

        if (at)
            return at;
    }
    return NULL;
}

const char *lines_last(const struct lines *lines)
{
    return lines->count ? lines->kept[(lines->count - 1) % LINES_KEPT] : NULL;
}

char *lines_all(const struct lines *lines)
{
    size_t first = lines->count > LINES_KEPT ? lines->count - LINES_KEPT : 0;
    char *text = calloc(1, LINES_KEPT * (LINE_SIZE + 1) + 1), *at = text;

    for (size_t i = first; text && i < lines->count; i++) {
        at = stpcpy(at, lines->kept[i % LINES_KEPT]);
        at = stpcpy(at, "\n");
    }
    return text;
}
