/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published UDP ports. A datagram that comes to one goes to the guest's port with its sender's address, or with the gateway's when the
 * guest could not answer that; the guest's answer goes back through the same socket.
 */
#ifndef MSB_NET_UDP_PORTS_H
#define MSB_NET_UDP_PORTS_H

#include "net/flows.h"
#include "net/outside.h"

struct udp_ports;

struct udp_ports *udp_ports_new(struct loop *loop, const struct addresses *own, struct flows *flows,
                                const struct outside_handler *handler, void *data, msb_error **err);
void udp_ports_free(struct udp_ports *ports);

/* A bound socket that does not block; it stays the caller's. */
int udp_ports_add(struct udp_ports *ports, int fd, uint16_t guest_port, msb_error **err);

/* Reads from the sockets, or, while the guest is not there or is congested, leaves what comes to the kernel's queues. */
void udp_ports_listen(struct udp_ports *ports, bool listen);

/* The guest's answer to a flow of one of these ports. */
void udp_ports_send(const struct flow *flow, const struct packet *packet);

#endif
