/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the net process says to the guest itself: that a packet was refused, and who has the gateway's addresses.
 */
#ifndef MSB_NET_REPLY_H
#define MSB_NET_REPLY_H

#include "net/packet.h"

enum { REPLY_SIZE_MAX = 1500 };

/* Both write a frame for the guest into `frame` and return its size; 0: there is nothing to be said. */

/* TCP is reset, everything else is unreachable by order of the administrator, so that programs fail at once. */
size_t reply_refused(const struct addresses *own, const struct packet *packet, uint8_t frame[REPLY_SIZE_MAX]);

/* Answers an ARP request or neighbour solicitation for the gateway or the resolver. */
size_t reply_neighbour(const struct addresses *own, const struct packet *packet, uint8_t frame[REPLY_SIZE_MAX]);

/* Headers of a packet to the guest, from the gateway's MAC address: Ethernet and IPv4 or IPv6, for `size` bytes of an upper layer.
   Returns where that begins. */
size_t write_headers(const struct addresses *own, const struct ip_address *source, const struct ip_address *destination,
                     uint8_t protocol, size_t size, uint8_t *frame);

/* A reset from `source` to `destination`, with the sequence number that is next. Its size. */
enum { RESET_SIZE_MAX = 14 + 40 + 20 };
size_t write_reset(const struct addresses *own, const struct ip_address *source, uint16_t source_port,
                   const struct ip_address *destination, uint16_t destination_port, uint32_t sequence,
                   uint8_t frame[RESET_SIZE_MAX]);

#endif
