/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream of a process: a connection to the host, and the pipes or the terminal behind it (docs/protocol.md, "Streams").
 */
#ifndef MSB_GUEST_RELAY_H
#define MSB_GUEST_RELAY_H

#include "util/loop.h"
#include "wire/protocol.h"

struct relay;

/* Both directions are over and the connection is closed; the stream may be freed from within. */
typedef void relay_ended(struct relay *relay, void *data);

struct relay_files {
    int socket; /* to the host: connected or still connecting, non-blocking */
    int input;  /* where bytes from the host go, -1: nowhere */
    int output; /* where bytes to the host come from; with a tty the same descriptor as input */
    bool tty;
};

/* The descriptors become the stream's, also on failure. */
struct relay *relay_new(struct loop *loop, const struct relay_files *files, uint32_t id, enum stream kind, relay_ended *ended,
                        void *data, msb_error **err);

/* The process ended: what it left in the pipe is still sent, then the stream ends. ended may be called from within. */
void relay_finish(struct relay *relay);

void relay_free(struct relay *relay);

#endif
