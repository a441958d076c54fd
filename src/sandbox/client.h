/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's end of the control protocol (control.h): one connection, waiting with a deadline and a way to be cancelled. For the library;
 * nothing here is shared between threads.
 */
#ifndef MSB_SANDBOX_CLIENT_H
#define MSB_SANDBOX_CLIENT_H

#include "sandbox/control.h"
#include "util/error.h"
#include "wire/message.h"

/* Until when a call may wait, and what cancels it. */
struct patience {
    int64_t until; /* nanoseconds of the monotonic clock; -1: for ever */
    int cancel_fd; /* -1: nothing */
};

struct patience patience_of(int timeout_ms, int cancel_fd);
/* Milliseconds that are left, as poll(2) takes them. */
int patience_left(const struct patience *patience);

/* Waits for events of a descriptor: 0, or -1 with MSB_ERR_TIMEOUT or MSB_ERR_CANCELLED. */
int patience_wait(const struct patience *patience, int fd, short events, msb_error **err);

struct client {
    int socket; /* -1: none */
    struct message_input input;
};

/* Takes the socket, which is -1 or comes from registry_connect() or a monitor's start. */
void client_init(struct client *client, int socket);
void client_close(struct client *client);

/* A message in the making: a request of number 1, or with number 0 one without an answer. */
struct request {
    struct writer writer;
    size_t begin;
};
void request_hello(struct request *request); /* before the first request of a connection */
void request_begin(struct request *request, enum control type, uint32_t number);

/* Ends the message and sends all that was written, with these descriptors; frees it in any case. */
int client_send(struct client *client, struct request *request, const int *fds, size_t num_fds, const struct patience *patience,
                msb_error **err);

/* The next message that has come: 1; 0: none yet; -1: the connection has ended (MSB_ERR_STATE) or is broken. The body is valid until the
   next call. Its request number is taken off. */
int client_next(struct client *client, uint16_t *type, struct reader *body, msb_error **err);

/* Waits for the next message. */
int client_receive(struct client *client, uint16_t *type, struct reader *body, const struct patience *patience, msb_error **err);

/* What a CONTROL_ERROR says; returns -1. */
int client_fail(struct reader *body, msb_error **err);

/* How a sandbox ended. */
struct result {
    bool known;
    int status; /* what a shell shows */
    enum msb_error_code code;
    char *message;
    char *kernel_log;
};
bool result_decode(struct reader *body, struct result *result);
void result_clear(struct result *result);

#endif
