/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may pass: the scopes, and that nobody speaks for another. Pure functions of a parsed packet; each packet is judged by itself.
 */
#ifndef MSB_NET_FILTER_H
#define MSB_NET_FILTER_H

#include "microsandbox.h"
#include "net/packet.h"

/* What kind of address a destination is. */
enum address_class {
    ADDRESS_PUBLIC,  /* of the internet's */
    ADDRESS_PRIVATE, /* somebody's own: RFC 1918, link-local, metadata services, documentation, and their IPv6 forms */
    ADDRESS_NOBODY,  /* never a destination beyond one's own link: loopback, this host, multicast, broadcast */
};

enum address_class classify(const struct ip_address *ip);

struct filter {
    struct addresses own;
    enum msb_scope scope;
    bool has_group;
};

enum verdict {
    VERDICT_DROP,       /* nobody hears of it */
    VERDICT_REFUSE,     /* the sender is told */
    VERDICT_REASSEMBLE, /* a fragment for the outside: to be put together with the others, and judged again */
    VERDICT_OUTSIDE,    /* to the host's network */
    VERDICT_RESOLVER,   /* a DNS query over UDP */
    VERDICT_NEIGHBOUR,  /* asks for the gateway's or the resolver's MAC address */
    VERDICT_MEMBER,     /* to one member of the group */
    VERDICT_MEMBERS,    /* to all of them */
    VERDICT_GUEST,      /* from a member of the group, to the guest */
};

struct decision {
    enum verdict verdict;
    enum reason reason;    /* VERDICT_DROP and VERDICT_REFUSE */
    struct in_addr member; /* VERDICT_MEMBER */
};

/* A packet from the guest. published says that it belongs to a connection or datagram flow that came in by a published port, which
   opens the way back to whoever came, whatever the scope says. */
struct decision filter_outgoing(const struct filter *filter, const struct packet *packet, bool published);

/* A packet from a member of the group, for the guest. */
struct decision filter_incoming(const struct filter *filter, const struct packet *packet, struct in_addr member);

#endif
