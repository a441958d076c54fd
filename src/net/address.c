/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Derived addresses; address.h has the table.
 */
#include "net/address.h"

#include <arpa/inet.h>
#include <string.h>

enum { GUEST_MAC_0 = 0x52, GUEST_MAC_1 = 0x54, GATEWAY_MAC_1 = 0x55 };

/* Unique local addresses (RFC 4193) with "msb" for the random part. */
static const uint8_t prefix6[4] = { 0xfd, 0x6d, 0x73, 0x62 };

struct in_addr netmask(uint8_t bits)
{
    return (struct in_addr){ .s_addr = bits == 0 ? 0 : htonl(UINT32_MAX << (32 - bits)) };
}

static bool same_network(struct in_addr a, struct in_addr b, uint8_t bits)
{
    return ((a.s_addr ^ b.s_addr) & netmask(bits).s_addr) == 0;
}

/* Link-local (RFC 3927), or benchmarking (RFC 2544) for groups that use that themselves. */
static struct in_addr link_network_beside(struct in_addr subnet, uint8_t subnet_bits)
{
    const struct in_addr usual = { htonl(0xa9fe0100) }, other = { htonl(0xc6120000) };
    uint8_t bits = subnet_bits < LINK_NETWORK_BITS ? subnet_bits : LINK_NETWORK_BITS;

    return same_network(usual, subnet, bits) ? other : usual;
}

static struct in6_addr ip6_in(const void *network, const void *host)
{
    struct in6_addr ip6 = { 0 };

    memcpy(&ip6.s6_addr[0], prefix6, 4);
    memcpy(&ip6.s6_addr[4], network, 4);
    memcpy(&ip6.s6_addr[12], host, 4);
    return ip6;
}

/* RFC 4291, appendix A. */
static struct in6_addr link_local_of(const struct mac *mac)
{
    struct in6_addr ip6 = { .s6_addr = { 0xfe, 0x80, [11] = 0xff, [12] = 0xfe } };

    memcpy(&ip6.s6_addr[8], &mac->byte[0], 3);
    memcpy(&ip6.s6_addr[13], &mac->byte[3], 3);
    ip6.s6_addr[8] ^= 2;
    return ip6;
}

static void set_member(struct addresses *a, struct in_addr ip)
{
    a->ip = ip;
    a->mac = (struct mac){ { GUEST_MAC_0, GUEST_MAC_1 } };
    memcpy(&a->mac.byte[2], &ip, 4);
    a->ip6 = ip6_in(&a->subnet, &ip);
    a->link_local = link_local_of(&a->mac);
}

struct addresses addresses_of(struct in_addr ip, struct in_addr subnet, uint8_t subnet_bits)
{
    static const uint8_t link[4] = { 0xff, 0xff, 0xff, 0xff }, none[4] = { 0 }, first[4] = { [3] = 1 }, second[4] = { [3] = 2 };
    struct addresses a = { .subnet = subnet, .subnet_bits = subnet_bits };

    set_member(&a, ip);
    a.gateway_mac = (struct mac){ { GUEST_MAC_0, GATEWAY_MAC_1, [5] = 1 } };
    a.link_network = link_network_beside(subnet, subnet_bits);
    a.gateway.s_addr = a.link_network.s_addr | htonl(1);
    a.resolver.s_addr = a.link_network.s_addr | htonl(2);
    a.gateway_link_local = (struct in6_addr){ .s6_addr = { 0xfe, 0x80, [15] = 1 } };
    a.link_prefix6 = ip6_in(link, none);
    a.gateway6 = ip6_in(link, first);
    a.resolver6 = ip6_in(link, second);
    return a;
}

struct addresses addresses_of_member(const struct addresses *own, struct in_addr ip)
{
    struct addresses a = *own;

    set_member(&a, ip);
    return a;
}

struct in_addr broadcast_of(const struct addresses *a)
{
    return (struct in_addr){ a->subnet.s_addr | ~netmask(a->subnet_bits).s_addr };
}

bool is_member_ip(const struct addresses *a, struct in_addr ip)
{
    if (a->subnet_bits == 32)
        return ip.s_addr == a->ip.s_addr;
    return same_network(ip, a->subnet, a->subnet_bits) && ip.s_addr != a->subnet.s_addr && ip.s_addr != broadcast_of(a).s_addr;
}

bool is_member_mac(const struct addresses *a, const struct mac *mac, struct in_addr *member)
{
    struct in_addr ip;

    memcpy(&ip, &mac->byte[2], 4);
    if (mac->byte[0] != GUEST_MAC_0 || mac->byte[1] != GUEST_MAC_1 || !is_member_ip(a, ip))
        return false;
    *member = ip;
    return true;
}

static bool is_member_link_local(const struct addresses *a, const struct in6_addr *ip6, struct in_addr *member)
{
    struct mac mac;
    struct in6_addr expected;

    memcpy(&mac.byte[0], &ip6->s6_addr[8], 3);
    memcpy(&mac.byte[3], &ip6->s6_addr[13], 3);
    mac.byte[0] ^= 2;
    expected = link_local_of(&mac);
    return IN6_ARE_ADDR_EQUAL(ip6, &expected) && is_member_mac(a, &mac, member);
}

bool is_member_ip6(const struct addresses *a, const struct in6_addr *ip6, struct in_addr *member)
{
    struct in6_addr expected;
    struct in_addr ip;

    if (is_member_link_local(a, ip6, member))
        return true;
    memcpy(&ip, &ip6->s6_addr[12], 4);
    expected = ip6_in(&a->subnet, &ip);
    if (!IN6_ARE_ADDR_EQUAL(ip6, &expected) || !is_member_ip(a, ip))
        return false;
    *member = ip;
    return true;
}
