/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that the net process makes itself; reply.h has the contract.
 */
#include "net/reply.h"

#include "net/checksum.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <string.h>

enum {
    HOP_LIMIT = 64,
    ND_HOP_LIMIT = 255,
    ICMP_QUOTE_MAX = 576 - 20 - 8,   /* RFC 1812, section 4.3.2.3 */
    ICMP6_QUOTE_MAX = 1280 - 40 - 8, /* RFC 4443, section 2.4 */
};

static size_t write_ethernet(const struct addresses *own, uint16_t type, uint8_t *frame)
{
    struct ethhdr ethernet = { .h_proto = htons(type) };

    memcpy(ethernet.h_dest, &own->mac, ETH_ALEN);
    memcpy(ethernet.h_source, &own->gateway_mac, ETH_ALEN);
    memcpy(frame, &ethernet, sizeof(ethernet));
    return sizeof(ethernet);
}

static size_t write_ipv4(const struct ip_address *source, const struct ip_address *destination, uint8_t protocol, size_t size,
                         uint8_t *to)
{
    struct iphdr ip = {
        .version = 4,
        .ihl = 5,
        .tot_len = htons((uint16_t)(sizeof(ip) + size)),
        .frag_off = htons(IP_DF),
        .ttl = HOP_LIMIT,
        .protocol = protocol,
        .saddr = source->v4.s_addr,
        .daddr = destination->v4.s_addr,
    };

    ip.check = checksum_finish(checksum_add(0, &ip, sizeof(ip)));
    memcpy(to, &ip, sizeof(ip));
    return sizeof(ip);
}

static size_t write_ipv6(const struct ip_address *source, const struct ip_address *destination, uint8_t protocol, size_t size,
                         uint8_t *to)
{
    struct ip6_hdr ip6 = { .ip6_src = source->v6, .ip6_dst = destination->v6 };

    ip6.ip6_vfc = 6 << 4;
    ip6.ip6_plen = htons((uint16_t)size);
    ip6.ip6_nxt = protocol;
    /* Neighbour discovery must not have come through a router (RFC 4861, section 7.1). */
    ip6.ip6_hlim = protocol == IPPROTO_ICMPV6 ? ND_HOP_LIMIT : HOP_LIMIT;
    memcpy(to, &ip6, sizeof(ip6));
    return sizeof(ip6);
}

size_t write_headers(const struct addresses *own, const struct ip_address *source, const struct ip_address *destination,
                     uint8_t protocol, size_t size, uint8_t *frame)
{
    size_t at = write_ethernet(own, source->version == 4 ? ETH_P_IP : ETH_P_IPV6, frame);

    if (source->version == 4)
        return at + write_ipv4(source, destination, protocol, size, frame + at);
    return at + write_ipv6(source, destination, protocol, size, frame + at);
}

/* Puts the checksum of an upper layer's packet, whose field is zero yet, where it belongs. ICMP of IPv4 has no pseudo-header. */
static void set_checksum(const struct ip_address *source, const struct ip_address *destination, uint8_t protocol, uint8_t *upper,
                         size_t size, size_t field)
{
    uint64_t sum = protocol == IPPROTO_ICMP ? 0 : checksum_add_pseudo(0, source, destination, protocol, size);
    uint16_t checksum = checksum_finish(checksum_add(sum, upper, size));

    memcpy(upper + field, &checksum, sizeof(checksum));
}

/* ---- Refusals ------------------------------------------------------------------------------------------------------------ */

/* A segment without data. */
static size_t write_tcp(const struct addresses *own, const struct ip_address *source, const struct ip_address *destination,
                        const struct tcphdr *tcp, uint8_t *frame)
{
    size_t at = write_headers(own, source, destination, IPPROTO_TCP, sizeof(*tcp), frame);

    memcpy(frame + at, tcp, sizeof(*tcp));
    set_checksum(source, destination, IPPROTO_TCP, frame + at, sizeof(*tcp), offsetof(struct tcphdr, th_sum));
    return at + sizeof(*tcp);
}

size_t write_reset(const struct addresses *own, const struct ip_address *source, uint16_t source_port,
                   const struct ip_address *destination, uint16_t destination_port, uint32_t sequence,
                   uint8_t frame[RESET_SIZE_MAX])
{
    const struct tcphdr reset = {
        .th_sport = htons(source_port),
        .th_dport = htons(destination_port),
        .th_seq = htonl(sequence),
        .th_off = sizeof(reset) / 4,
        .th_flags = TH_RST,
    };

    return write_tcp(own, source, destination, &reset, frame);
}

/* RFC 9293, section 3.10.7.1. */
static size_t reply_reset(const struct addresses *own, const struct packet *p, uint8_t *frame)
{
    struct tcphdr tcp, reset = { .th_off = sizeof(reset) / 4 };

    memcpy(&tcp, p->frame + p->upper, sizeof(tcp));
    if (tcp.th_flags & TH_RST)
        return 0;
    reset.th_sport = tcp.th_dport;
    reset.th_dport = tcp.th_sport;
    reset.th_flags = TH_RST;
    if (tcp.th_flags & TH_ACK) {
        reset.th_seq = tcp.th_ack;
    } else {
        size_t length = p->end - p->upper - tcp.th_off * 4U;

        length += ((tcp.th_flags & TH_SYN) ? 1U : 0U) + ((tcp.th_flags & TH_FIN) ? 1U : 0U);
        reset.th_ack = htonl(ntohl(tcp.th_seq) + (uint32_t)length);
        reset.th_flags |= TH_ACK;
    }
    return write_tcp(own, &p->destination, &p->source, &reset, frame);
}

static size_t reply_unreachable(const struct addresses *own, const struct packet *p, uint8_t *frame)
{
    bool v4 = p->source.version == 4;
    struct ip_address gateway = { .version = p->source.version };
    uint8_t header[8] = { v4 ? ICMP_DEST_UNREACH : ICMP6_DST_UNREACH, v4 ? ICMP_PKT_FILTERED : ICMP6_DST_UNREACH_ADMIN };
    uint8_t protocol = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
    size_t quote = p->end - ETH_HLEN, quote_max = v4 ? ICMP_QUOTE_MAX : ICMP6_QUOTE_MAX, size, at;

    if (v4)
        gateway.v4 = own->gateway;
    else
        gateway.v6 = own->gateway6;
    if (quote > quote_max)
        quote = quote_max;
    size = sizeof(header) + quote;
    at = write_headers(own, &gateway, &p->source, protocol, size, frame);
    memcpy(frame + at, header, sizeof(header));
    memcpy(frame + at + sizeof(header), p->frame + ETH_HLEN, quote);
    set_checksum(&gateway, &p->source, protocol, frame + at, size, 2);
    return at + size;
}

size_t reply_refused(const struct addresses *own, const struct packet *p, uint8_t frame[REPLY_SIZE_MAX])
{
    if (p->kind != PACKET_IP || p->is_fragment)
        return 0;
    return p->protocol == IPPROTO_TCP ? reply_reset(own, p, frame) : reply_unreachable(own, p, frame);
}

/* ---- Neighbours ---------------------------------------------------------------------------------------------------------- */

static size_t reply_arp(const struct addresses *own, const struct packet *p, uint8_t *frame)
{
    struct ether_arp arp = { .arp_hln = ETH_ALEN, .arp_pln = 4 };
    size_t at = write_ethernet(own, ETH_P_ARP, frame);

    arp.arp_hrd = htons(ARPHRD_ETHER);
    arp.arp_pro = htons(ETH_P_IP);
    arp.arp_op = htons(ARPOP_REPLY);
    memcpy(arp.arp_sha, &own->gateway_mac, ETH_ALEN);
    memcpy(arp.arp_spa, &p->destination.v4, 4);
    memcpy(arp.arp_tha, &own->mac, ETH_ALEN);
    memcpy(arp.arp_tpa, &p->source.v4, 4);
    memcpy(frame + at, &arp, sizeof(arp));
    return at + sizeof(arp);
}

/* RFC 4861, section 4.4. */
static size_t reply_advertisement(const struct addresses *own, const struct packet *p, uint8_t *frame)
{
    struct {
        struct nd_neighbor_advert advert;
        struct nd_opt_hdr option;
        struct mac mac;
    } reply = { .option = { .nd_opt_type = ND_OPT_TARGET_LINKADDR, .nd_opt_len = 1 }, .mac = own->gateway_mac };
    struct ip_address source = { .version = 6, .v6 = p->nd_target };
    size_t at;

    /* Nobody has the gateway's addresses but the gateway: somebody who probes for them hears that from nobody, and nobody needs it. */
    if (IN6_IS_ADDR_UNSPECIFIED(&p->source.v6))
        return 0;
    reply.advert.nd_na_type = ND_NEIGHBOR_ADVERT;
    reply.advert.nd_na_flags_reserved = ND_NA_FLAG_ROUTER | ND_NA_FLAG_SOLICITED | ND_NA_FLAG_OVERRIDE;
    reply.advert.nd_na_target = p->nd_target;
    at = write_headers(own, &source, &p->source, IPPROTO_ICMPV6, sizeof(reply), frame);
    memcpy(frame + at, &reply, sizeof(reply));
    set_checksum(&source, &p->source, IPPROTO_ICMPV6, frame + at, sizeof(reply), offsetof(struct icmp6_hdr, icmp6_cksum));
    return at + sizeof(reply);
}

size_t reply_neighbour(const struct addresses *own, const struct packet *p, uint8_t frame[REPLY_SIZE_MAX])
{
    return p->kind == PACKET_ARP ? reply_arp(own, p, frame) : reply_advertisement(own, p, frame);
}
