/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP between the guest and the host's network. Each connection ends here twice: at the guest's TCP, whose peer this is, and at a
 * socket of the host, whose TCP does everything that real networks ask for. In between are two buffers.
 */
#ifndef MSB_NET_TCP_H
#define MSB_NET_TCP_H

#include "net/outside.h"
#include "net/packet.h"
#include "util/loop.h"

struct tcp;

struct tcp *tcp_new(struct loop *loop, const struct addresses *own, const struct outside_handler *handler, void *data,
                    msb_error **err);
void tcp_free(struct tcp *tcp);

/* Takes connections of a listening socket, which does not block and stays the caller's, to a port of the guest, once tcp_accept() was
   called. */
int tcp_publish(struct tcp *tcp, int listening, uint16_t guest_port, msb_error **err);

/* The guest is there to be connected to. */
void tcp_accept(struct tcp *tcp);

/* A segment from the guest that the filter let pass. False when it is answered by a reset: it would begin a connection that the host
   refuses at once, or that is one too many, or it belongs to none. */
bool tcp_send(struct tcp *tcp, const struct packet *packet);

/* To be called after packets were sent: acknowledges them. */
void tcp_flush(struct tcp *tcp);

/* To be called when the guest is not congested any more. */
void tcp_resume(struct tcp *tcp);

#endif
