/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages over a stream socket, for both ends: cutting what arrives into messages, and a queue for what could not be sent yet.
 * Works with blocking and non-blocking descriptors.
 */
#ifndef MSB_WIRE_MESSAGE_H
#define MSB_WIRE_MESSAGE_H

#include "wire/protocol.h"

#include <sys/types.h>

struct message_input {
    size_t max; /* the largest body that is accepted: MESSAGE_TO_GUEST_MAX or MESSAGE_TO_HOST_MAX */
    uint8_t *data;
    size_t capacity;
    size_t begin, end; /* what was received and not yet taken */
};

void message_input_clear(struct message_input *in);

/* Reads from fd once. As read(2): bytes, 0 at the end of the stream, -1 with errno (ENOMEM too). All whole messages must have been
   taken with message_input_next() before. */
ssize_t message_input_fill(struct message_input *in, int fd);

/* The same over a Unix socket, taking the descriptors that come along: they are appended to fds, which has room for max of them and
   *num_fds already. More than that is -1 with EMSGSIZE. In non-blocking mode whatever the socket's is. */
ssize_t message_input_receive(struct message_input *in, int socket, int *fds, size_t *num_fds, size_t max);

/* The next whole message: 1 and its type and body, which stays valid until the next call; 0 when more bytes are needed; -1 when
   the peer broke the protocol (a body larger than max, a header that is none). The type is what the peer wrote: any number. */
int message_input_next(struct message_input *in, uint16_t *type, struct reader *body);

/* Messages are written to queue with message_begin() and message_end(). */
struct message_output {
    struct writer queue;
    size_t sent; /* bytes of the queue */
};

void message_output_clear(struct message_output *out);

/* Sends what is queued: 1 when all is sent, 0 when the socket takes no more for now, -1 with errno. Raises no SIGPIPE. */
int message_output_flush(struct message_output *out, int fd);

#endif
