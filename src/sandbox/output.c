/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's descriptor can be anything, which is a relay's business (relay.c). So each has a socket pair between: this side writes to one
 * end, a relay carries on from the other. The buffer here is filled again when every client's socket has taken it.
 */
#include "sandbox/output.h"
#include "sandbox/relay.h"
#include "util/cleanup.h"

#include <sys/epoll.h>
#include <sys/socket.h>

enum { BUFFER_SIZE = 64 << 10 };

struct attachment {
    struct output *output;
    struct attachment *next;
    int ours, theirs; /* the socket pair */
    struct loop_source *room;
    struct relay *relay;
    size_t taken; /* of the buffer */
    output_detached *detached;
    void *data;
};

struct output {
    struct loop *loop;
    int ours, theirs; /* theirs is written to by the process */
    struct loop_source *source;
    const struct output_events *events;
    void *data;
    struct attachment *attachments;
    bool ended, forgotten;
    size_t size; /* bytes in the buffer */
    uint8_t buffer[BUFFER_SIZE];
};

/* ---- Clients ---------------------------------------------------------------------------------------------------------------- */

static void attachment_free(struct attachment *attachment)
{
    relay_free(attachment->relay);
    loop_remove(attachment->room);
    cleanup_fd(&attachment->ours);
    cleanup_fd(&attachment->theirs);
    free(attachment);
}

static void resume(struct output *output);

void output_detach(struct attachment *attachment)
{
    struct output *output;
    struct attachment **link;

    if (!attachment)
        return;
    output = attachment->output;
    link = &output->attachments;
    while (*link != attachment)
        link = &(*link)->next;
    *link = attachment->next;
    attachment_free(attachment);
    if (output->forgotten && !output->attachments)
        output_free(output);
    else /* It may have been the one that all waited for. */
        resume(output);
}

static void relay_over(struct relay *relay, enum relay_end end, void *data)
{
    struct attachment *attachment = data;
    output_detached *detached = attachment->detached;
    void *detached_data = attachment->data;

    (void)relay, (void)end;
    detached(attachment, detached_data);
}

/* Gives it what is in the buffer, as far as there is room; false: it waits for room. */
static bool give(struct attachment *attachment)
{
    struct output *output = attachment->output;

    while (attachment->taken < output->size) {
        ssize_t n = send(attachment->ours, output->buffer + attachment->taken, output->size - attachment->taken,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return loop_modify(attachment->room, EPOLLOUT, NULL) < 0;
        /* The relay sees that nobody reads, and says so; until then it has taken all. */
        attachment->taken = n < 0 ? output->size : attachment->taken + (size_t)n;
    }
    loop_modify(attachment->room, 0, NULL);
    return true;
}

static void on_room(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct attachment *attachment = data;

    (void)source, (void)fd, (void)events;
    if (give(attachment))
        resume(attachment->output);
}

struct attachment *output_attach(struct output *output, int fd, output_detached *detached, void *data, msb_error **err)
{
    struct attachment *attachment = calloc(1, sizeof(*attachment));
    int pair[2];

    if (!attachment)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *attachment = (struct attachment){
        .output = output, .ours = -1, .theirs = -1, .taken = output->size, .detached = detached, .data = data
    };
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        fail_errno(err, "make a socket pair");
        attachment_free(attachment);
        return NULL;
    }
    attachment->ours = pair[0];
    attachment->theirs = pair[1];
    attachment->room = loop_add(output->loop, attachment->ours, 0, on_room, attachment, err);
    attachment->relay = attachment->room ? relay_new(output->loop, attachment->theirs, fd, relay_over, attachment, err) : NULL;
    if (!attachment->relay) {
        attachment_free(attachment);
        return NULL;
    }
    attachment->next = output->attachments;
    output->attachments = attachment;
    if (output->ended)
        shutdown(attachment->ours, SHUT_WR);
    return attachment;
}

/* ---- The process ------------------------------------------------------------------------------------------------------------ */

static bool all_taken(const struct output *output)
{
    for (const struct attachment *a = output->attachments; a; a = a->next)
        if (a->taken < output->size)
            return false;
    return true;
}

static void resume(struct output *output)
{
    if (!output->ended && all_taken(output))
        loop_modify(output->source, EPOLLIN, NULL);
}

static void end(struct output *output)
{
    output->ended = true;
    loop_remove(output->source);
    output->source = NULL;
    for (struct attachment *a = output->attachments; a; a = a->next)
        shutdown(a->ours, SHUT_WR);
    output->events->ended(output, output->data);
}

static void on_bytes(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct output *output = data;
    ssize_t n = recv(fd, output->buffer, sizeof(output->buffer), MSG_DONTWAIT);
    bool taken = true;

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    output->size = n > 0 ? (size_t)n : 0;
    if (n <= 0) {
        end(output);
        return;
    }
    output->events->bytes(output->buffer, output->size, output->data);
    for (struct attachment *a = output->attachments; a; a = a->next) {
        a->taken = 0;
        taken = give(a) && taken;
    }
    if (!taken)
        loop_modify(source, 0, NULL);
}

struct output *output_new(struct loop *loop, const struct output_events *events, void *data, msb_error **err)
{
    struct output *output = calloc(1, sizeof(*output));
    int pair[2];

    if (!output)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        fail_errno(err, "make a socket pair");
        free(output);
        return NULL;
    }
    output->loop = loop;
    output->ours = pair[0];
    output->theirs = pair[1];
    output->events = events;
    output->data = data;
    output->source = loop_add(loop, output->ours, EPOLLIN, on_bytes, output, err);
    if (output->source)
        return output;
    output_free(output);
    return NULL;
}

void output_free(struct output *output)
{
    if (!output)
        return;
    while (output->attachments) {
        struct attachment *attachment = output->attachments;

        output->attachments = attachment->next;
        attachment_free(attachment);
    }
    loop_remove(output->source);
    cleanup_fd(&output->ours);
    cleanup_fd(&output->theirs);
    free(output);
}

void output_forget(struct output *output)
{
    output->forgotten = true;
    if (!output->attachments)
        output_free(output);
}

int output_end(const struct output *output)
{
    return output->theirs;
}

void output_close(struct output *output)
{
    cleanup_fd(&output->theirs);
    output->theirs = -1;
}
