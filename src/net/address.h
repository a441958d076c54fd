/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The addresses of a guest's network. The guest's IPv4 address and its subnet are given; all others follow from these two, so that
 * every member of a group knows every other member's, and nobody can have another's.
 *
 *   a guest        52:54:A:B:C:D      A.B.C.D    fd6d:7362:SSSS:SSSS::AABB:CCDD, S being the subnet's address
 *                                                fe80:: and the modified EUI-64 of the MAC address
 *   the gateway    52:55:0:0:0:1      .1 of a link network that no group has; fe80::1, and fd6d:7362:ffff:ffff::1
 *   the resolver   the gateway's      .2 of that network; fd6d:7362:ffff:ffff::2
 *
 * The gateway and the resolver are the net process itself. They are outside of the subnet, so that every address in it is free for
 * guests; the guest's default route is on the link (RTNH_F_ONLINK).
 */
#ifndef MSB_NET_ADDRESS_H
#define MSB_NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct mac {
    uint8_t byte[6];
};

struct addresses {
    struct in_addr ip, subnet;
    uint8_t subnet_bits; /* 32: alone */
    struct mac mac;
    struct in6_addr ip6, link_local;

    struct mac gateway_mac;
    struct in_addr link_network; /* of LINK_NETWORK_BITS */
    struct in_addr gateway, resolver;
    struct in6_addr gateway_link_local;
    struct in6_addr link_prefix6; /* of 64 bits */
    struct in6_addr gateway6, resolver6;
};

enum { LINK_NETWORK_BITS = 29, PREFIX6_BITS = 64 };

struct addresses addresses_of(struct in_addr ip, struct in_addr subnet, uint8_t subnet_bits);

/* The same for another member of the group: only ip, mac, ip6 and link_local differ. */
struct addresses addresses_of_member(const struct addresses *own, struct in_addr ip);

struct in_addr netmask(uint8_t bits);
struct in_addr broadcast_of(const struct addresses *addresses);
/* Whether it can be a member's address: in the subnet, and neither its network nor its broadcast address. */
bool is_member_ip(const struct addresses *addresses, struct in_addr ip);
/* Whether it can be a member's IPv6 address, global or link-local, and whose then. */
bool is_member_ip6(const struct addresses *addresses, const struct in6_addr *ip6, struct in_addr *member);
/* Whether it can be a member's MAC address, and whose. */
bool is_member_mac(const struct addresses *addresses, const struct mac *mac, struct in_addr *member);

#endif
