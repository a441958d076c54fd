/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a frame is: one look over its headers that checks everything it reads. Neither guests nor peers are trusted, so a frame is
 * first copied out of memory that they can still write; what is said here of the copy stays true.
 *
 * A frame that cannot be understood as far as the filter needs (whose, to whom, which protocol and ports) is not a packet.
 */
#ifndef MSB_NET_PACKET_H
#define MSB_NET_PACKET_H

#include "net/address.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    FRAME_SIZE_MAX = 14 + 65535, /* an Ethernet header and the largest IPv4 packet, or IPv6 packet without jumbo payload */
};

/* Why a frame goes no further. One counter and one text each. */
enum reason {
    REASON_NONE = 0,
    REASON_MALFORMED,
    REASON_ETHERTYPE,
    REASON_HIDDEN_DESTINATION,
    REASON_EXTENSION,
    REASON_SOURCE_MAC,
    REASON_SOURCE_IP,
    REASON_ARP,
    REASON_ND,
    REASON_DESTINATION_MAC,
    REASON_SCOPE,
    REASON_NO_DESTINATION,
    REASON_NO_GROUP,
    REASON_PROTOCOL,
    REASON_UNWANTED,
    REASON_REASSEMBLY,
    REASON_NUM,
};

const char *reason_text(enum reason reason);

struct ip_address {
    uint8_t version; /* 4 or 6 */
    union {
        struct in_addr v4;
        struct in6_addr v6;
    };
};

bool ip_equal(const struct ip_address *a, const struct ip_address *b);
enum { IP_TEXT_MAX = INET6_ADDRSTRLEN };
const char *ip_text(const struct ip_address *ip, char text[IP_TEXT_MAX]);

enum packet_kind { PACKET_ARP, PACKET_IP };

/* A parsed frame. Offsets are from its beginning. */
struct packet {
    const uint8_t *frame;
    struct mac source_mac, destination_mac;
    enum packet_kind kind;

    struct ip_address source, destination; /* PACKET_ARP: the sender's and the target's protocol address */

    /* PACKET_ARP */
    uint16_t arp_operation;
    struct mac arp_sender;

    /* PACKET_IP */
    uint8_t protocol; /* of the upper layer, behind all extension headers */
    size_t upper;     /* where the upper layer's header begins */
    size_t end;       /* of the packet; what follows is padding */

    bool is_fragment;
    bool more_fragments;
    uint32_t fragment_id;
    size_t fragment_offset; /* of what is at `upper`, in bytes */
    size_t next_header_at;  /* IPv6: where the number of the fragment header stands */
    size_t fragment_header; /* IPv6: where the fragment header begins */

    /* Whole TCP and UDP packets, and those first fragments that have them. */
    bool has_ports;
    uint16_t source_port, destination_port;
    uint8_t tcp_flags;

    /* Whole ICMP and ICMPv6 packets, and first fragments. */
    bool has_icmp;
    uint8_t icmp_type, icmp_code;

    /* Neighbour solicitations and advertisements (RFC 4861, section 4.3 and 4.4). */
    struct in6_addr nd_target;
    bool nd_has_mac;
    struct mac nd_mac; /* of the source (solicitation) or target (advertisement) link-layer address option */
};

/* Looks at size bytes, which the caller keeps. REASON_NONE, or why it is no packet. */
enum reason packet_parse(const uint8_t *frame, size_t size, struct packet *packet);

bool mac_equal(const struct mac *a, const struct mac *b);
bool mac_is_broadcast(const struct mac *mac);
bool mac_is_multicast(const struct mac *mac); /* broadcast is, too */

#endif
