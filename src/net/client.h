/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a guest sees when somebody comes in by a published port.
 */
#ifndef MSB_NET_CLIENT_H
#define MSB_NET_CLIENT_H

#include "net/packet.h"

enum { CLIENT_PORTS_TO_TRY = 64 }; /* for clients that look alike to the guest */

/* The client itself, or the gateway when the client's address means something else to the guest. client is a sockaddr_in or sockaddr_in6,
   by its family. */
struct ip_address client_seen(const struct addresses *own, const struct sockaddr_in6 *client);
uint16_t client_port(const struct sockaddr_in6 *client);

/* What to try when another client is seen at this port. */
uint16_t client_next_port(uint16_t port);

#endif
