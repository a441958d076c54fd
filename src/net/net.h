/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor tells the virtio-net device process (libexec's `msb-net`) in its set-up packet (util/device.h).
 *
 * Descriptors beside those of util/device.h:
 *
 *   5...  one socket per published port, in the order of setup.ports: listening for TCP, bound for UDP, not blocking. The monitor
 *         makes them, so that a port in use fails the start, and so that the process needs no right to bind.
 *
 * The process keeps the host's network namespace only for the scopes public and any (spawn.h: host_network); for the scope group it
 * is started in an empty one, and the sockets above are all that leads outside.
 */
#ifndef MSB_NET_NET_H
#define MSB_NET_NET_H

#include "util/error.h"
#include "wire/buffer.h"

#include <netinet/in.h>

enum {
    NET_FD_FIRST_PORT = 5,
    NET_MTU = 65520,     /* of the whole network: the largest that libslirp takes, in round numbers */
    NET_PORTS_MAX = 100, /* that one sandbox publishes */
};

struct net_port {
    uint16_t guest;
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
};

struct net_setup {
    uint8_t log_level;
    uint8_t scope;         /* enum msb_scope, not none */
    struct in_addr ip;     /* the guest's; all its other addresses follow from it (net/address.h) */
    struct in_addr subnet; /* the group's network; of 32 bits when the guest is alone */
    uint8_t subnet_bits;
    char *group; /* host path of the group's directory, or NULL when the guest is alone */
    struct net_port *ports;
    size_t num_ports;
};

void net_setup_clear(struct net_setup *setup);
void net_setup_encode(struct writer *w, const struct net_setup *setup);
bool net_setup_decode(struct reader *r, struct net_setup *setup);

#endif
