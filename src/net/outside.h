/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to the host's network: libslirp, on our event loop. It gets TCP and UDP packets that the filter let pass, whole and without
 * extension headers, and nothing else: no ARP, no neighbour discovery, no DHCP, no fragments.
 */
#ifndef MSB_NET_OUTSIDE_H
#define MSB_NET_OUTSIDE_H

#include "net/packet.h"
#include "util/loop.h"

struct outside;

struct outside_handler {
    void (*frame)(void *data, const uint8_t *frame, size_t size); /* from outside, for the guest */
    void (*batch)(void *data);                                    /* after the last frame that there was */
    bool (*congested)(void *data);                                /* nothing should be read for the guest now */
};

/* max_fds: no descriptor of this process is as large. */
struct outside *outside_new(struct loop *loop, const struct addresses *own, unsigned max_fds,
                            const struct outside_handler *handler, void *data, msb_error **err);
void outside_free(struct outside *outside);

/* Takes connections of a listening socket to a port of the guest, once outside_accept() was called. Makes sockets of the same family,
   which live for a moment: to be called where that does no harm, in an empty network namespace. */
int outside_publish(struct outside *outside, int listening, uint16_t guest_port, msb_error **err);

/* The guest is there to be connected to. */
void outside_accept(struct outside *outside);

/* A packet from the guest. The frame is written into. */
void outside_send(struct outside *outside, uint8_t *frame, const struct packet *packet);

/* To be called after packets were sent, and when the guest is not congested any more: watches what there is to watch now. */
void outside_update(struct outside *outside);

#endif
