/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP connections that both ends have closed. libslirp keeps those that the outside closed first for ten seconds more, with their
 * descriptors (TIME-WAIT, RFC 9293, section 3.3.2), for segments that might still be on their way. On this wire none is, and a server
 * in the guest would soon have used up what it may have open. So they are seen here, and can be reset then.
 *
 * What is missed here, since the table has a fixed size, goes the long way.
 */
#ifndef MSB_NET_CLOSING_H
#define MSB_NET_CLOSING_H

#include "net/packet.h"

enum { CLOSING_MAX = 1024 };

/* Sequence numbers are those behind a FIN. */
struct closing_connection {
    struct ip_address outside, guest;
    uint16_t outside_port, guest_port;
    uint32_t outside_end, guest_end;
    bool is_used, guest_ended;
    bool outside_end_known, guest_end_known; /* acknowledged by the other end */
    bool is_done;                            /* and in the list */
};

/* All zero at first. */
struct closing {
    struct closing_connection connections[CLOSING_MAX];
    uint16_t done[CLOSING_MAX];
    unsigned num_done;
};

/* To be told of every packet, in its order. */
void closing_from_outside(struct closing *closing, const struct packet *packet);
void closing_from_guest(struct closing *closing, const struct packet *packet);

/* Takes one that both have closed, and both know it. False: there is none. */
bool closing_take(struct closing *closing, struct closing_connection *connection);

#endif
