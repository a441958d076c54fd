/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing of frames; packet.h has the contract. Every read goes through a cursor that knows what is left.
 */
#include "net/packet.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

enum {
    EXTENSIONS_MAX = 8, /* headers between the IPv6 header and the upper layer; Linux sends at most three */
    ND_HOP_LIMIT = 255, /* RFC 4861, section 7.1: others came from behind a router */
};

const char *reason_text(enum reason reason)
{
    static const char *const text[REASON_NUM] = {
        [REASON_NONE] = "none",
        [REASON_MALFORMED] = "malformed",
        [REASON_ETHERTYPE] = "neither IPv4, IPv6 nor ARP",
        [REASON_HIDDEN_DESTINATION] = "routed by its source",
        [REASON_EXTENSION] = "extension header",
        [REASON_SOURCE_MAC] = "not from its own MAC address",
        [REASON_SOURCE_IP] = "not from its own IP address",
        [REASON_ARP] = "ARP for another",
        [REASON_ND] = "neighbour discovery for another",
        [REASON_DESTINATION_MAC] = "to no MAC address of its network",
        [REASON_SCOPE] = "outside of the scope",
        [REASON_NO_DESTINATION] = "to no address that is on a wire",
        [REASON_NO_GROUP] = "to the members of no group",
        [REASON_PROTOCOL] = "protocol",
        [REASON_UNWANTED] = "of no use here",
        [REASON_REASSEMBLY] = "fragments that cannot be put together",
    };

    return text[reason];
}

bool ip_equal(const struct ip_address *a, const struct ip_address *b)
{
    if (a->version != b->version)
        return false;
    return a->version == 4 ? a->v4.s_addr == b->v4.s_addr : IN6_ARE_ADDR_EQUAL(&a->v6, &b->v6);
}

const char *ip_text(const struct ip_address *ip, char text[IP_TEXT_MAX])
{
    return inet_ntop(ip->version == 4 ? AF_INET : AF_INET6, &ip->v4, text, IP_TEXT_MAX);
}

bool mac_equal(const struct mac *a, const struct mac *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

bool mac_is_broadcast(const struct mac *mac)
{
    static const struct mac broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

    return mac_equal(mac, &broadcast);
}

bool mac_is_multicast(const struct mac *mac)
{
    return mac->byte[0] & 1;
}

/* Copies a header of size bytes at offset; false when the packet ends before it does. */
static bool read_at(const struct packet *p, size_t offset, void *to, size_t size)
{
    if (offset > p->end || p->end - offset < size)
        return false;
    memcpy(to, p->frame + offset, size);
    return true;
}

/* ---- Upper layers -------------------------------------------------------------------------------------------------------- */

static enum reason parse_tcp(struct packet *p)
{
    struct tcphdr tcp;

    if (!read_at(p, p->upper, &tcp, sizeof(tcp)) || tcp.th_off < 5 || p->end - p->upper < tcp.th_off * 4U)
        return REASON_MALFORMED;
    p->has_ports = true;
    p->source_port = ntohs(tcp.th_sport);
    p->destination_port = ntohs(tcp.th_dport);
    p->tcp_flags = tcp.th_flags;
    return REASON_NONE;
}

static enum reason parse_udp(struct packet *p)
{
    struct udphdr udp;

    if (!read_at(p, p->upper, &udp, sizeof(udp)) || ntohs(udp.uh_ulen) < sizeof(udp))
        return REASON_MALFORMED;
    /* A first fragment holds less than the whole datagram. */
    if (!p->is_fragment && ntohs(udp.uh_ulen) > p->end - p->upper)
        return REASON_MALFORMED;
    p->has_ports = true;
    p->source_port = ntohs(udp.uh_sport);
    p->destination_port = ntohs(udp.uh_dport);
    return REASON_NONE;
}

/* Finds the link-layer address option (RFC 4861, section 4.6). */
static enum reason parse_nd_options(struct packet *p, size_t offset, uint8_t wanted)
{
    uint8_t option[2];

    while (offset < p->end) {
        if (!read_at(p, offset, option, sizeof(option)) || option[1] == 0 || p->end - offset < option[1] * 8U)
            return REASON_MALFORMED;
        if (option[0] == wanted) {
            if (p->nd_has_mac || option[1] != 1)
                return REASON_MALFORMED;
            p->nd_has_mac = read_at(p, offset + 2, &p->nd_mac, sizeof(p->nd_mac));
        }
        offset += option[1] * 8U;
    }
    return REASON_NONE;
}

static enum reason parse_icmp6(struct packet *p)
{
    struct icmp6_hdr icmp;
    struct ip6_hdr ip6;

    if (!read_at(p, p->upper, &icmp, sizeof(icmp)))
        return REASON_MALFORMED;
    p->has_icmp = true;
    p->icmp_type = icmp.icmp6_type;
    p->icmp_code = icmp.icmp6_code;
    if (icmp.icmp6_type != ND_NEIGHBOR_SOLICIT && icmp.icmp6_type != ND_NEIGHBOR_ADVERT)
        return REASON_NONE;
    /* A receiver would ignore them (RFC 4861, section 7.1; RFC 6980): no reason to let them pass unread. */
    if (p->fragment_header || !read_at(p, ETH_HLEN, &ip6, sizeof(ip6)) || ip6.ip6_hlim != ND_HOP_LIMIT || icmp.icmp6_code != 0)
        return REASON_ND;
    if (!read_at(p, p->upper + sizeof(icmp), &p->nd_target, sizeof(p->nd_target)))
        return REASON_MALFORMED;
    return parse_nd_options(p, p->upper + sizeof(icmp) + sizeof(p->nd_target),
                            icmp.icmp6_type == ND_NEIGHBOR_SOLICIT ? ND_OPT_SOURCE_LINKADDR : ND_OPT_TARGET_LINKADDR);
}

static enum reason parse_icmp(struct packet *p)
{
    uint8_t icmp[8];

    if (!read_at(p, p->upper, icmp, sizeof(icmp)))
        return REASON_MALFORMED;
    p->has_icmp = true;
    p->icmp_type = icmp[0];
    p->icmp_code = icmp[1];
    return REASON_NONE;
}

static enum reason parse_upper(struct packet *p)
{
    /* Only the first fragment has the header; the others are the same datagram's by source, destination and id. */
    if (p->is_fragment && p->fragment_offset > 0)
        return REASON_NONE;
    if (p->protocol == IPPROTO_TCP)
        return parse_tcp(p);
    if (p->protocol == IPPROTO_UDP)
        return parse_udp(p);
    if (p->source.version == 4)
        return p->protocol == IPPROTO_ICMP ? parse_icmp(p) : REASON_NONE;
    return p->protocol == IPPROTO_ICMPV6 ? parse_icmp6(p) : REASON_NONE;
}

/* ---- IPv4 (RFC 791) ------------------------------------------------------------------------------------------------------ */

/* Options that name other destinations than the header does are not for us; the rest changes nothing. */
static enum reason parse_ipv4_options(const struct packet *p, size_t offset, size_t end)
{
    while (offset < end) {
        uint8_t option[2] = { p->frame[offset] };

        if (option[0] == IPOPT_EOL)
            return REASON_NONE;
        if (option[0] == IPOPT_NOP) {
            offset++;
            continue;
        }
        if (option[0] == IPOPT_LSRR || option[0] == IPOPT_SSRR)
            return REASON_HIDDEN_DESTINATION;
        if (end - offset < 2)
            return REASON_MALFORMED;
        option[1] = p->frame[offset + 1];
        if (option[1] < 2 || option[1] > end - offset)
            return REASON_MALFORMED;
        offset += option[1];
    }
    return REASON_NONE;
}

static enum reason parse_ipv4(struct packet *p, size_t size)
{
    struct iphdr ip;
    size_t header, total;
    enum reason reason;
    uint16_t fragment;

    p->end = size;
    if (!read_at(p, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 4)
        return REASON_MALFORMED;
    header = ip.ihl * 4U;
    total = ntohs(ip.tot_len);
    if (header < sizeof(ip) || total < header || total > size - ETH_HLEN)
        return REASON_MALFORMED;
    p->end = ETH_HLEN + total;
    p->upper = ETH_HLEN + header;
    p->source = (struct ip_address){ .version = 4, .v4 = { ip.saddr } };
    p->destination = (struct ip_address){ .version = 4, .v4 = { ip.daddr } };
    p->protocol = ip.protocol;
    fragment = ntohs(ip.frag_off);
    p->more_fragments = fragment & IP_MF;
    p->fragment_offset = (fragment & IP_OFFMASK) * 8U;
    p->is_fragment = p->more_fragments || p->fragment_offset > 0;
    p->fragment_id = ip.id;
    reason = parse_ipv4_options(p, ETH_HLEN + sizeof(ip), p->upper);
    return reason ? reason : parse_upper(p);
}

/* ---- IPv6 (RFC 8200) ----------------------------------------------------------------------------------------------------- */

static enum reason parse_fragment_header(struct packet *p, size_t at)
{
    struct ip6_frag fragment;

    if (p->fragment_header || !read_at(p, at, &fragment, sizeof(fragment)))
        return REASON_MALFORMED;
    p->fragment_header = at;
    p->more_fragments = (fragment.ip6f_offlg & IP6F_MORE_FRAG) != 0;
    p->fragment_offset = ntohs(fragment.ip6f_offlg & IP6F_OFF_MASK);
    p->is_fragment = p->more_fragments || p->fragment_offset > 0;
    p->fragment_id = fragment.ip6f_ident;
    p->protocol = fragment.ip6f_nxt;
    p->upper = at + sizeof(fragment);
    return REASON_NONE;
}

/* A routing header that has been served (no segments left) says nothing any more; others hide where the packet goes. */
static enum reason parse_extension(struct packet *p)
{
    struct ip6_rthdr header;
    size_t size;

    if (!read_at(p, p->upper, &header, sizeof(header)))
        return REASON_MALFORMED;
    size = (header.ip6r_len + 1U) * 8;
    if (size > p->end - p->upper)
        return REASON_MALFORMED;
    if (p->protocol == IPPROTO_ROUTING && header.ip6r_segleft > 0)
        return REASON_HIDDEN_DESTINATION;
    p->next_header_at = p->upper;
    p->protocol = header.ip6r_nxt;
    p->upper += size;
    return REASON_NONE;
}

static enum reason parse_extensions(struct packet *p)
{
    for (int i = 0; i < EXTENSIONS_MAX; i++) {
        enum reason reason;

        switch (p->protocol) {
        case IPPROTO_FRAGMENT:
            reason = parse_fragment_header(p, p->upper);
            /* What follows is seen when it is whole. A fragment that is the whole packet goes on here (RFC 6946). */
            if (!reason && p->is_fragment)
                return REASON_NONE;
            break;
        case IPPROTO_HOPOPTS:
        case IPPROTO_ROUTING:
        case IPPROTO_DSTOPTS:
            reason = parse_extension(p);
            break;
        case IPPROTO_AH:
        case IPPROTO_ESP:
        case IPPROTO_NONE:
        case IPPROTO_MH:
            return REASON_EXTENSION;
        default:
            return REASON_NONE;
        }
        if (reason)
            return reason;
    }
    return REASON_EXTENSION;
}

static enum reason parse_ipv6(struct packet *p, size_t size)
{
    struct ip6_hdr ip6;
    enum reason reason;

    p->end = size;
    if (!read_at(p, ETH_HLEN, &ip6, sizeof(ip6)) || ip6.ip6_vfc >> 4 != 6)
        return REASON_MALFORMED;
    if (ntohs(ip6.ip6_plen) > size - ETH_HLEN - sizeof(ip6))
        return REASON_MALFORMED;
    p->end = ETH_HLEN + sizeof(ip6) + ntohs(ip6.ip6_plen);
    p->source = (struct ip_address){ .version = 6, .v6 = ip6.ip6_src };
    p->destination = (struct ip_address){ .version = 6, .v6 = ip6.ip6_dst };
    p->protocol = ip6.ip6_nxt;
    p->next_header_at = ETH_HLEN + offsetof(struct ip6_hdr, ip6_nxt);
    p->upper = ETH_HLEN + sizeof(ip6);
    reason = parse_extensions(p);
    return reason ? reason : parse_upper(p);
}

/* ---- ARP (RFC 826) ------------------------------------------------------------------------------------------------------- */

static enum reason parse_arp(struct packet *p, size_t size)
{
    struct ether_arp arp;

    p->end = size;
    if (!read_at(p, ETH_HLEN, &arp, sizeof(arp)))
        return REASON_MALFORMED;
    if (ntohs(arp.arp_hrd) != ARPHRD_ETHER || ntohs(arp.arp_pro) != ETH_P_IP || arp.arp_hln != ETH_ALEN || arp.arp_pln != 4)
        return REASON_ARP;
    p->kind = PACKET_ARP;
    p->arp_operation = ntohs(arp.arp_op);
    memcpy(&p->arp_sender, arp.arp_sha, sizeof(p->arp_sender));
    p->source.version = p->destination.version = 4;
    memcpy(&p->source.v4, arp.arp_spa, 4);
    memcpy(&p->destination.v4, arp.arp_tpa, 4);
    return REASON_NONE;
}

enum reason packet_parse(const uint8_t *frame, size_t size, struct packet *p)
{
    struct ethhdr ethernet;

    *p = (struct packet){ .frame = frame, .end = size, .kind = PACKET_IP };
    if (size > FRAME_SIZE_MAX || !read_at(p, 0, &ethernet, sizeof(ethernet)))
        return REASON_MALFORMED;
    memcpy(&p->destination_mac, ethernet.h_dest, sizeof(p->destination_mac));
    memcpy(&p->source_mac, ethernet.h_source, sizeof(p->source_mac));
    switch (ntohs(ethernet.h_proto)) {
    case ETH_P_IP:
        return parse_ipv4(p, size);
    case ETH_P_IPV6:
        return parse_ipv6(p, size);
    case ETH_P_ARP:
        return parse_arp(p, size);
    default:
        return REASON_ETHERTYPE;
    }
}
