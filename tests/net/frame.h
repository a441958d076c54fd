/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames for tests, put together from their parts: frame_begin(), headers from the outside in, frame_end().
 */
#ifndef MSB_TESTS_NET_FRAME_H
#define MSB_TESTS_NET_FRAME_H

#include "net/packet.h"

struct frame {
    uint8_t bytes[FRAME_SIZE_MAX];
    size_t size;
    size_t ip;    /* where the IP header begins */
    size_t upper; /* where the upper layer begins, for its checksum */
    uint8_t protocol;
};

struct ip_address ip_of(const char *text); /* IPv6 when it has a colon */
struct mac mac_of(const char *text);

void frame_begin(struct frame *frame, const struct mac *source, const struct mac *destination, uint16_t type);
void frame_ip(struct frame *frame, const struct ip_address *source, const struct ip_address *destination, uint8_t protocol);
void frame_add(struct frame *frame, const void *bytes, size_t size);
/* An IPv6 extension header, its second byte and what follows given; the header before it now names it, and it names `next`. */
void frame_extension(struct frame *frame, uint8_t protocol, const void *body, size_t size);
void frame_tcp(struct frame *frame, uint16_t source, uint16_t destination, uint8_t flags);
void frame_udp(struct frame *frame, uint16_t source, uint16_t destination, const void *payload, size_t size);
void frame_echo(struct frame *frame, uint16_t id, const void *payload, size_t size);
void frame_arp(struct frame *frame, uint16_t operation, const struct mac *sender_mac, const char *sender, const char *target);
void frame_nd(struct frame *frame, uint8_t type, const char *target, uint8_t option, const struct mac *mac);
/* Sets lengths and checksums. */
void frame_end(struct frame *frame);

#endif
