/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of a monitor's clients (control.h): accepting those of its own user, cutting what comes into messages with their
 * descriptors, and sending answers. Nothing that a client sends can do more than end its connection.
 */
#ifndef MSB_SANDBOX_SERVER_H
#define MSB_SANDBOX_SERVER_H

#include "sandbox/control.h"
#include "util/loop.h"
#include "wire/message.h"

enum {
    SERVER_CONNECTIONS_MAX = 512, /* more wait until one ends */
    SERVER_INPUT_MAX = 32 << 20,  /* bytes of messages that are not complete, of all connections together */
    SERVER_OUTPUT_MAX = 1 << 20,  /* bytes that a client does not take before it is dropped */
};

struct server;

struct connection {
    struct server *server;
    struct connection *next;
    int fd;
    struct loop_source *source;
    struct message_input input;
    struct message_output output;
    int fds[CONTROL_FDS_MAX]; /* those that have come and that no message has taken */
    size_t num_fds;
    bool greeted;
    bool dropped; /* it is closed, and freed when nobody can hold it any more */
    bool closing; /* once all is sent */
    /* What the events' side remembers of it. */
    bool is_caller, watches;
    uint32_t watch_request;
    void *served;
};

struct server_events {
    /* A message after HELLO; its descriptors are the first of connection_take_fds(). -1: the connection ends, and *err says why. */
    int (*message)(struct connection *connection, uint16_t type, uint32_t request, struct reader *body, void *data,
                   msb_error **err);
    /* It is at its end, and must not be used any more once this returned. error: what was wrong with it, NULL when it hung up; it stays the server's. */
    void (*closed)(struct connection *connection, const msb_error *error, void *data);
};

struct server *server_new(struct loop *loop, const struct server_events *events, void *data, msb_error **err);
void server_free(struct server *server); /* closes all, without a word */

/* Takes a socket that listens; its clients must be of this process's user. */
int server_listen(struct server *server, int listener, msb_error **err);

/* Takes a socket that is connected. */
struct connection *server_adopt(struct server *server, int fd, msb_error **err);

/* The first connection; the others follow by their next. */
struct connection *server_first(const struct server *server);

/* Moves count descriptors, which are the caller's from then on, from the connection; false: so many have not come. */
bool connection_take_fds(struct connection *connection, int *fds, size_t count);

/* A message: begins with its type and request, is written to the connection's output.queue, and sent. */
size_t connection_begin(struct connection *connection, enum control type, uint32_t request);
void connection_end(struct connection *connection, size_t begin);

/* CONTROL_DONE and CONTROL_ERROR; nothing for request 0. The error stays the caller's. */
void connection_done(struct connection *connection, uint32_t request);
void connection_error(struct connection *connection, uint32_t request, const msb_error *error);

/* Closes it once everything is sent. */
void connection_finish(struct connection *connection);

#endif
