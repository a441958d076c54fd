/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts fragments of IPv4 (RFC 791) and IPv6 (RFC 8200, section 4.5) packets for the outside together, so that what is decided about a
 * packet is decided about all of it. Bounded: a few packets at a time, each for a limited time.
 */
#ifndef MSB_NET_REASSEMBLY_H
#define MSB_NET_REASSEMBLY_H

#include "net/packet.h"
#include "util/error.h"

struct reassembly;

struct reassembly *reassembly_new(msb_error **err);
void reassembly_free(struct reassembly *reassembly);

/* Takes a fragment in at a time given in seconds. When it was the last that was missing: the frame of the whole packet, without
   fragment header, valid until the next call, and its size. Otherwise NULL; *reason says whether the packet was given up. */
uint8_t *reassembly_add(struct reassembly *r, const struct packet *p, uint64_t now, size_t *size, enum reason *reason);

#endif
