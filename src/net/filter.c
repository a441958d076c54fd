/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may pass; filter.h has the contract.
 *
 * Theory of operation
 *
 * A packet passes two questions. Whose is it? Its source MAC and IP address, and what it says in ARP and neighbour discovery, must be
 * the sender's own, which is known from where the packet came: the guest's virtqueue, or the socket of a member of the group. To
 * whom is it? That is decided by its destination address alone, after any name was resolved, so that names cannot trick it; only
 * then must the MAC address be the right one for it, so that no member can be used as a router.
 */
#include "net/filter.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <string.h>

enum {
    PORT_DNS = 53,
    PORT_BOOTP = 67, /* libslirp's own servers at the gateway's address, which nobody needs here */
    PORT_TFTP = 69,
    MLD_QUERY = 130, /* multicast listener discovery (RFC 2710, RFC 3810): the group has no router that would care */
    MLD_DONE = 132,
    MLD2_REPORT = 143,
};

/* ---- Classes of addresses ------------------------------------------------------------------------------------------------ */

struct network {
    uint8_t prefix[16];
    uint8_t bits;
    enum address_class class;
};

static bool in_network(const void *address, const struct network *network)
{
    const uint8_t *byte = address;
    unsigned whole = network->bits / 8, rest = network->bits % 8;

    if (memcmp(byte, network->prefix, whole) != 0)
        return false;
    return rest == 0 || ((byte[whole] ^ network->prefix[whole]) >> (8 - rest)) == 0;
}

static const struct network *find_network(const void *address, const struct network *networks, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (in_network(address, &networks[i]))
            return &networks[i];
    return NULL;
}

/* IANA's registry of special-purpose IPv4 addresses (RFC 6890), and RFC 1112. */
static const struct network networks4[] = {
    { { 0 }, 8, ADDRESS_NOBODY },                   /* this host on this network */
    { { 127 }, 8, ADDRESS_NOBODY },                 /* loopback */
    { { 224 }, 4, ADDRESS_NOBODY },                 /* multicast */
    { { 255, 255, 255, 255 }, 32, ADDRESS_NOBODY }, /* limited broadcast */
    { { 10 }, 8, ADDRESS_PRIVATE },                 /* RFC 1918 */
    { { 172, 16 }, 12, ADDRESS_PRIVATE },           /* RFC 1918 */
    { { 192, 168 }, 16, ADDRESS_PRIVATE },          /* RFC 1918 */
    { { 100, 64 }, 10, ADDRESS_PRIVATE },           /* shared by carriers' NAT (RFC 6598) */
    { { 169, 254 }, 16, ADDRESS_PRIVATE },          /* link-local, where clouds keep their metadata services */
    { { 192, 0, 0 }, 24, ADDRESS_PRIVATE },         /* IETF protocol assignments */
    { { 192, 0, 2 }, 24, ADDRESS_PRIVATE },         /* documentation */
    { { 198, 51, 100 }, 24, ADDRESS_PRIVATE },      /* documentation */
    { { 203, 0, 113 }, 24, ADDRESS_PRIVATE },       /* documentation */
    { { 198, 18 }, 15, ADDRESS_PRIVATE },           /* benchmarking (RFC 2544) */
    { { 240 }, 4, ADDRESS_PRIVATE },                /* reserved */
};

static enum address_class classify4(const void *address)
{
    const struct network *network = find_network(address, networks4, sizeof(networks4) / sizeof(networks4[0]));

    return network ? network->class : ADDRESS_PUBLIC;
}

/* Addresses that hold an IPv4 address, which is where their packets end: they are what that is. */
static const struct {
    struct network network;
    unsigned at; /* first byte of the IPv4 address */
} embeddings[] = {
    { { { [10] = 0xff, [11] = 0xff }, 96, 0 }, 12 }, /* v4-mapped (RFC 4291): a host's sockets take it for the IPv4 address */
    { { { 0x00, 0x64, 0xff, 0x9b }, 96, 0 }, 12 },   /* NAT64 (RFC 6052) */
    { { { 0x20, 0x02 }, 16, 0 }, 2 },                /* 6to4 (RFC 3056) */
};

/* IANA's registry of special-purpose IPv6 addresses. What is in none of these and not in 2000::/3 is not assigned. */
static const struct network networks6[] = {
    { { [15] = 1 }, 128, ADDRESS_NOBODY },               /* loopback */
    { { 0 }, 96, ADDRESS_NOBODY },                       /* unspecified, and v4-compatible (RFC 4291, deprecated) */
    { { 0xff }, 8, ADDRESS_NOBODY },                     /* multicast */
    { { 0x20, 0x01 }, 23, ADDRESS_PRIVATE },             /* IETF protocol assignments: Teredo, benchmarking, ORCHID */
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32, ADDRESS_PRIVATE }, /* documentation */
    { { 0x3f, 0xff }, 20, ADDRESS_PRIVATE },             /* documentation */
    { { 0x20 }, 3, ADDRESS_PUBLIC },                     /* global unicast */
};

static enum address_class classify6(const struct in6_addr *address)
{
    const struct network *network;

    for (size_t i = 0; i < sizeof(embeddings) / sizeof(embeddings[0]); i++)
        if (in_network(address, &embeddings[i].network))
            return classify4(&address->s6_addr[embeddings[i].at]);
    network = find_network(address, networks6, sizeof(networks6) / sizeof(networks6[0]));
    return network ? network->class : ADDRESS_PRIVATE;
}

enum address_class classify(const struct ip_address *ip)
{
    return ip->version == 4 ? classify4(&ip->v4) : classify6(&ip->v6);
}

/* ---- Whose it is --------------------------------------------------------------------------------------------------------- */

static bool is_nd(const struct packet *p)
{
    return p->protocol == IPPROTO_ICMPV6 && p->has_icmp && p->icmp_type >= ND_ROUTER_SOLICIT && p->icmp_type <= ND_REDIRECT;
}

static bool is_mld(const struct packet *p)
{
    return p->protocol == IPPROTO_ICMPV6 && p->has_icmp &&
           ((p->icmp_type >= MLD_QUERY && p->icmp_type <= MLD_DONE) || p->icmp_type == MLD2_REPORT);
}

static bool is_own_ip6(const struct addresses *who, const struct in6_addr *ip6)
{
    return IN6_ARE_ADDR_EQUAL(ip6, &who->ip6) || IN6_ARE_ADDR_EQUAL(ip6, &who->link_local);
}

/* The sender's addresses are what ARP teaches. 0.0.0.0 teaches nothing: a probe (RFC 5227). */
static enum reason check_arp_source(const struct addresses *who, const struct packet *p)
{
    bool probe = p->source.v4.s_addr == 0 && p->arp_operation == ARPOP_REQUEST;

    if (p->arp_operation != ARPOP_REQUEST && p->arp_operation != ARPOP_REPLY)
        return REASON_ARP;
    if (!mac_equal(&p->arp_sender, &who->mac) || (!probe && p->source.v4.s_addr != who->ip.s_addr))
        return REASON_ARP;
    return REASON_NONE;
}

/* A solicitation teaches its source's MAC address, an advertisement its target's. Guests are no routers. */
static enum reason check_nd_source(const struct addresses *who, const struct packet *p)
{
    if (p->nd_has_mac && (!mac_equal(&p->nd_mac, &who->mac) || IN6_IS_ADDR_UNSPECIFIED(&p->source.v6)))
        return REASON_ND;
    if (p->icmp_type == ND_NEIGHBOR_SOLICIT)
        return REASON_NONE;
    if (p->icmp_type == ND_NEIGHBOR_ADVERT)
        return is_own_ip6(who, &p->nd_target) ? REASON_NONE : REASON_ND;
    return p->icmp_type == ND_ROUTER_SOLICIT ? REASON_UNWANTED : REASON_ND;
}

static enum reason check_ip6_source(const struct addresses *who, const struct packet *p)
{
    bool unspecified = IN6_IS_ADDR_UNSPECIFIED(&p->source.v6);

    if (is_mld(p))
        return REASON_UNWANTED;
    if (is_nd(p)) {
        /* Duplicate address detection has no source yet (RFC 4862); nothing else does. */
        if (unspecified ? p->icmp_type != ND_NEIGHBOR_SOLICIT : !is_own_ip6(who, &p->source.v6))
            return REASON_SOURCE_IP;
        return check_nd_source(who, p);
    }
    return is_own_ip6(who, &p->source.v6) ? REASON_NONE : REASON_SOURCE_IP;
}

static enum reason check_source(const struct addresses *who, const struct packet *p)
{
    if (!mac_equal(&p->source_mac, &who->mac))
        return REASON_SOURCE_MAC;
    if (p->kind == PACKET_ARP)
        return check_arp_source(who, p);
    if (p->source.version == 6)
        return check_ip6_source(who, p);
    return p->source.v4.s_addr == who->ip.s_addr ? REASON_NONE : REASON_SOURCE_IP;
}

/* ---- To whom it is ------------------------------------------------------------------------------------------------------- */

static struct decision drop(enum reason reason)
{
    return (struct decision){ .verdict = VERDICT_DROP, .reason = reason };
}

static struct decision refuse(enum reason reason)
{
    return (struct decision){ .verdict = VERDICT_REFUSE, .reason = reason };
}

static struct decision pass(enum verdict verdict)
{
    return (struct decision){ .verdict = verdict };
}

/* What a member may be sent beside what its own kernel knows how to judge: no redirects (RFC 792), and no fragments of what could be
   neighbour discovery or hide it behind extension headers. */
static enum reason check_for_member(const struct packet *p)
{
    if (p->source.version == 4)
        return p->has_icmp && p->icmp_type == ICMP_REDIRECT ? REASON_UNWANTED : REASON_NONE;
    if (p->is_fragment && p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP)
        return REASON_EXTENSION;
    return REASON_NONE;
}

static struct decision to_members(const struct filter *f, const struct packet *p)
{
    enum reason reason = check_for_member(p);

    if (!f->has_group)
        return drop(REASON_NO_GROUP);
    if (reason)
        return drop(reason);
    return mac_is_multicast(&p->destination_mac) ? pass(VERDICT_MEMBERS) : drop(REASON_DESTINATION_MAC);
}

static struct decision to_member(const struct filter *f, const struct packet *p, struct in_addr member)
{
    enum reason reason = check_for_member(p);
    struct in_addr by_mac;

    if (!f->has_group || member.s_addr == f->own.ip.s_addr)
        return drop(REASON_NO_GROUP);
    if (reason)
        return drop(reason);
    if (!is_member_mac(&f->own, &p->destination_mac, &by_mac) || by_mac.s_addr != member.s_addr)
        return drop(REASON_DESTINATION_MAC);
    return (struct decision){ .verdict = VERDICT_MEMBER, .member = member };
}

static bool is_link_address(const struct addresses *own, const struct in6_addr *ip6)
{
    return IN6_ARE_ADDR_EQUAL(ip6, &own->gateway_link_local) || IN6_ARE_ADDR_EQUAL(ip6, &own->gateway6) ||
           IN6_ARE_ADDR_EQUAL(ip6, &own->resolver6);
}

static struct decision outgoing_arp(const struct filter *f, const struct packet *p)
{
    struct in_addr target = p->destination.v4, member;

    if (p->arp_operation == ARPOP_REQUEST && (target.s_addr == f->own.gateway.s_addr || target.s_addr == f->own.resolver.s_addr))
        return pass(VERDICT_NEIGHBOUR);
    if (!is_member_ip(&f->own, target))
        return drop(REASON_ARP);
    if (mac_is_broadcast(&p->destination_mac))
        return to_members(f, p);
    if (!is_member_mac(&f->own, &p->destination_mac, &member))
        return drop(REASON_DESTINATION_MAC);
    return to_member(f, p, member);
}

static struct decision outgoing_solicitation(const struct filter *f, const struct packet *p)
{
    struct in_addr member, receiver;

    if (is_link_address(&f->own, &p->nd_target))
        return pass(VERDICT_NEIGHBOUR);
    if (!is_member_ip6(&f->own, &p->nd_target, &member))
        return drop(REASON_ND);
    if (IN6_IS_ADDR_MULTICAST(&p->destination.v6))
        return to_members(f, p);
    if (!is_member_ip6(&f->own, &p->destination.v6, &receiver) || receiver.s_addr != member.s_addr)
        return drop(REASON_ND);
    return to_member(f, p, member);
}

/* Only what libslirp and we can carry further. Errors and replies that the guest sends of itself are of no use to anybody there. */
static struct decision outside_protocol(const struct packet *p)
{
    bool v4 = p->destination.version == 4;

    if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP)
        return pass(VERDICT_OUTSIDE);
    if (p->protocol == (v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
        return p->icmp_type == (v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST) ? pass(VERDICT_OUTSIDE) : drop(REASON_UNWANTED);
    return refuse(REASON_PROTOCOL);
}

/* The host itself: its loopback, as libslirp has it. */
static struct decision outgoing_to_gateway(const struct filter *f, const struct packet *p, bool published)
{
    if (published)
        return pass(VERDICT_OUTSIDE);
    if (f->scope != MSB_SCOPE_ANY)
        return refuse(REASON_SCOPE);
    if (p->protocol == IPPROTO_UDP && (p->destination_port == PORT_BOOTP || p->destination_port == PORT_TFTP))
        return refuse(REASON_PROTOCOL);
    return outside_protocol(p);
}

static struct decision outgoing_to_resolver(const struct filter *f, const struct packet *p)
{
    bool outside = f->scope == MSB_SCOPE_PUBLIC || f->scope == MSB_SCOPE_ANY;

    if (!outside && !f->has_group)
        return refuse(REASON_SCOPE);
    if (p->has_ports && p->destination_port == PORT_DNS && p->protocol == IPPROTO_UDP)
        return pass(VERDICT_RESOLVER);
    if (p->has_ports && p->destination_port == PORT_DNS && outside)
        return pass(VERDICT_OUTSIDE);
    return refuse(REASON_SCOPE);
}

static struct decision outgoing_beyond(const struct filter *f, const struct packet *p, bool published)
{
    enum address_class class = classify(&p->destination);

    if (class == ADDRESS_NOBODY)
        return drop(REASON_NO_DESTINATION);
    if (published)
        return pass(VERDICT_OUTSIDE);
    if (f->scope == MSB_SCOPE_ANY || (f->scope == MSB_SCOPE_PUBLIC && class == ADDRESS_PUBLIC))
        return outside_protocol(p);
    return refuse(REASON_SCOPE);
}

/* Through the gateway. Of fragments, ports are known when they are whole. */
static struct decision outgoing_through_gateway(const struct filter *f, const struct packet *p, bool is_gateway, bool is_resolver,
                                                bool published)
{
    if (!mac_equal(&p->destination_mac, &f->own.gateway_mac))
        return drop(REASON_DESTINATION_MAC);
    if (p->is_fragment)
        return pass(VERDICT_REASSEMBLE);
    if (is_gateway)
        return outgoing_to_gateway(f, p, published);
    if (is_resolver)
        return outgoing_to_resolver(f, p);
    return outgoing_beyond(f, p, published);
}

static struct decision outgoing_ip4(const struct filter *f, const struct packet *p, bool published)
{
    struct in_addr to = p->destination.v4;
    bool alone = f->own.subnet_bits == 32;

    if (IN_MULTICAST(ntohl(to.s_addr)) || to.s_addr == INADDR_BROADCAST || (!alone && to.s_addr == broadcast_of(&f->own).s_addr))
        return to_members(f, p);
    if (is_member_ip(&f->own, to))
        return to_member(f, p, to);
    return outgoing_through_gateway(f, p, to.s_addr == f->own.gateway.s_addr, to.s_addr == f->own.resolver.s_addr, published);
}

static struct decision outgoing_ip6(const struct filter *f, const struct packet *p, bool published)
{
    const struct in6_addr *to = &p->destination.v6;
    struct in_addr member;

    if (is_nd(p) && p->icmp_type == ND_NEIGHBOR_SOLICIT)
        return outgoing_solicitation(f, p);
    if (IN6_IS_ADDR_MULTICAST(to))
        return to_members(f, p);
    if (is_member_ip6(&f->own, to, &member))
        return to_member(f, p, member);
    if (is_nd(p) || IN6_IS_ADDR_LINKLOCAL(to))
        return drop(REASON_NO_DESTINATION);
    return outgoing_through_gateway(f, p, IN6_ARE_ADDR_EQUAL(to, &f->own.gateway6), IN6_ARE_ADDR_EQUAL(to, &f->own.resolver6),
                                    published);
}

struct decision filter_outgoing(const struct filter *f, const struct packet *p, bool published)
{
    enum reason reason = check_source(&f->own, p);

    if (reason)
        return drop(reason);
    if (p->kind == PACKET_ARP)
        return outgoing_arp(f, p);
    return p->destination.version == 4 ? outgoing_ip4(f, p, published) : outgoing_ip6(f, p, published);
}

/* ---- From a member of the group ------------------------------------------------------------------------------------------ */

static bool is_for_guest(const struct filter *f, const struct packet *p)
{
    const struct addresses *own = &f->own;

    if (p->kind == PACKET_ARP)
        return true;
    if (p->destination.version == 6)
        return IN6_IS_ADDR_MULTICAST(&p->destination.v6) || is_own_ip6(own, &p->destination.v6);
    return p->destination.v4.s_addr == own->ip.s_addr || IN_MULTICAST(ntohl(p->destination.v4.s_addr)) ||
           p->destination.v4.s_addr == INADDR_BROADCAST || p->destination.v4.s_addr == broadcast_of(own).s_addr;
}

struct decision filter_incoming(const struct filter *f, const struct packet *p, struct in_addr member)
{
    struct addresses sender = addresses_of_member(&f->own, member);
    enum reason reason;

    if (!f->has_group || !is_member_ip(&f->own, member) || member.s_addr == f->own.ip.s_addr)
        return drop(REASON_NO_GROUP);
    reason = check_source(&sender, p);
    if (!reason)
        reason = p->kind == PACKET_IP ? check_for_member(p) : REASON_NONE;
    if (reason)
        return drop(reason);
    if (!mac_is_multicast(&p->destination_mac) && !mac_equal(&p->destination_mac, &f->own.mac))
        return drop(REASON_DESTINATION_MAC);
    return is_for_guest(f, p) ? pass(VERDICT_GUEST) : drop(REASON_NO_DESTINATION);
}
