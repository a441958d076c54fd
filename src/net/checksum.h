/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The internet checksum (RFC 1071). A sum is of 16-bit words as they lie in memory, not yet folded: byte order does not matter.
 */
#ifndef MSB_NET_CHECKSUM_H
#define MSB_NET_CHECKSUM_H

#include "net/packet.h"

/* Adds size bytes to a sum. Only the last piece of what is summed may have an odd size. */
uint64_t checksum_add(uint64_t sum, const void *bytes, size_t size);

/* Adds a pseudo-header: of IPv4 (RFC 793, section 3.1) or IPv6 (RFC 8200, section 8.1). */
uint64_t checksum_add_pseudo(uint64_t sum, const struct ip_address *source, const struct ip_address *destination,
                             uint8_t protocol, size_t size);

/* What is written into the checksum field. */
uint16_t checksum_finish(uint64_t sum);

#endif
