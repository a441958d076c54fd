/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flows that came in by a published port: what the guest may answer, whatever its scope. A table of a fixed size; the flow that
 * was silent longest makes room for a new one, ended ones first.
 */
#ifndef MSB_NET_FLOWS_H
#define MSB_NET_FLOWS_H

#include "net/packet.h"
#include "util/error.h"

enum { FLOWS_MAX = 4096 };

struct flow_key {
    struct ip_address remote; /* as the guest sees it */
    uint16_t remote_port;
    uint16_t guest_port;
    uint8_t protocol;
};

struct flow {
    struct flow_key key;
    bool ended;
    /* What a UDP port has to know to answer (udp_ports.c). */
    int fd;
    struct sockaddr_in6 client; /* or sockaddr_in, by its family */
    struct in6_addr local;      /* what was asked, IPv4 as v4-mapped */

    struct flow *chain;         /* others with the same hash */
    struct flow *older, *newer; /* of all flows that are used, or that have ended */
};

struct flows;

struct flows *flows_new(msb_error **err);
void flows_free(struct flows *flows);

/* The flow of a key, and makes it the newest; NULL when there is none. */
struct flow *flows_find(struct flows *flows, const struct flow_key *key);

/* The same, made if there is none: in place of the oldest, if it must. */
struct flow *flows_add(struct flows *flows, const struct flow_key *key);

/* It may go first from now on; it is found as long as it stays. */
void flows_end(struct flows *flows, struct flow *flow);

#endif
