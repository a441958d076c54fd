/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Echo requests to the outside, by the kernel's ping sockets (icmp(7), "ping_group_range"): no privilege, and the kernel sees to it
 * that they carry nothing else. libslirp has no echo for IPv6, and for IPv4 keeps a socket for each request.
 */
#ifndef MSB_NET_PING_H
#define MSB_NET_PING_H

#include "net/outside.h"

struct ping;

struct ping *ping_new(struct loop *loop, const struct addresses *own, const struct outside_handler *handler, void *data,
                      msb_error **err);
void ping_free(struct ping *ping);

/* An echo request from the guest that the filter let pass. False when the host refuses it. */
bool ping_send(struct ping *ping, const struct packet *packet);

#endif
