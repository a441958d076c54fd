/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames for tests.
 */
#include "frame.h"

#include "net/checksum.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>

struct ip_address ip_of(const char *text)
{
    struct ip_address ip = { .version = strchr(text, ':') ? 6 : 4 };
    int result = inet_pton(ip.version == 6 ? AF_INET6 : AF_INET, text, &ip.v4);

    assert(result == 1);
    (void)result;
    return ip;
}

struct mac mac_of(const char *text)
{
    struct mac mac;
    unsigned byte[6];
    int result = sscanf(text, "%x:%x:%x:%x:%x:%x", &byte[0], &byte[1], &byte[2], &byte[3], &byte[4], &byte[5]);

    assert(result == 6);
    (void)result;
    for (int i = 0; i < 6; i++)
        mac.byte[i] = (uint8_t)byte[i];
    return mac;
}

void frame_add(struct frame *frame, const void *bytes, size_t size)
{
    assert(size <= sizeof(frame->bytes) - frame->size);
    if (size)
        memcpy(frame->bytes + frame->size, bytes, size);
    frame->size += size;
}

void frame_begin(struct frame *frame, const struct mac *source, const struct mac *destination, uint16_t type)
{
    uint16_t big_endian = htons(type);

    memset(frame, 0, sizeof(*frame));
    frame_add(frame, destination, 6);
    frame_add(frame, source, 6);
    frame_add(frame, &big_endian, 2);
    frame->ip = frame->upper = frame->size;
}

void frame_ip(struct frame *frame, const struct ip_address *source, const struct ip_address *destination, uint8_t protocol)
{
    struct iphdr ip4 = { .version = 4, .ihl = 5, .ttl = 64, .protocol = protocol };
    struct ip6_hdr ip6 = { 0 };

    frame->protocol = protocol;
    if (source->version == 4) {
        ip4.saddr = source->v4.s_addr;
        ip4.daddr = destination->v4.s_addr;
        frame_add(frame, &ip4, sizeof(ip4));
    } else {
        ip6.ip6_vfc = 6 << 4;
        ip6.ip6_nxt = protocol;
        ip6.ip6_hlim = 255;
        ip6.ip6_src = source->v6;
        ip6.ip6_dst = destination->v6;
        frame_add(frame, &ip6, sizeof(ip6));
    }
    frame->upper = frame->size;
}

void frame_extension(struct frame *frame, uint8_t protocol, const void *body, size_t size)
{
    size_t before = frame->upper == frame->ip + sizeof(struct ip6_hdr) ? frame->ip + offsetof(struct ip6_hdr, ip6_nxt) : 0;
    uint8_t next = frame->protocol;

    /* The header before: the IPv6 header, or the extension header that was added last. */
    if (before == 0) {
        before = frame->ip + sizeof(struct ip6_hdr);
        while (frame->bytes[before] != frame->protocol || before + (frame->bytes[before + 1] + 1U) * 8 < frame->upper)
            before += (frame->bytes[before + 1] + 1U) * 8;
    }
    frame->bytes[before] = protocol;
    frame_add(frame, &next, 1);
    frame_add(frame, body, size);
    frame->upper = frame->size;
}

void frame_tcp(struct frame *frame, uint16_t source, uint16_t destination, uint8_t flags)
{
    struct tcphdr tcp = { .th_off = 5, .th_flags = flags, .th_win = htons(1000) };

    tcp.th_sport = htons(source);
    tcp.th_dport = htons(destination);
    tcp.th_seq = htonl(1000);
    tcp.th_ack = (flags & TH_ACK) ? htonl(2000) : 0;
    frame_add(frame, &tcp, sizeof(tcp));
}

void frame_udp(struct frame *frame, uint16_t source, uint16_t destination, const void *payload, size_t size)
{
    struct udphdr udp = { 0 };

    udp.uh_sport = htons(source);
    udp.uh_dport = htons(destination);
    udp.uh_ulen = htons((uint16_t)(sizeof(udp) + size));
    frame_add(frame, &udp, sizeof(udp));
    frame_add(frame, payload, size);
}

void frame_echo(struct frame *frame, uint16_t id, const void *payload, size_t size)
{
    uint8_t echo[8] = { frame->protocol == IPPROTO_ICMP ? ICMP_ECHO : ICMP6_ECHO_REQUEST };

    echo[4] = (uint8_t)(id >> 8);
    echo[5] = (uint8_t)id;
    frame_add(frame, echo, sizeof(echo));
    frame_add(frame, payload, size);
}

void frame_arp(struct frame *frame, uint16_t operation, const struct mac *sender_mac, const char *sender, const char *target)
{
    struct ether_arp arp = { .arp_hln = 6, .arp_pln = 4 };
    struct ip_address sender_ip = ip_of(sender), target_ip = ip_of(target);

    arp.arp_hrd = htons(ARPHRD_ETHER);
    arp.arp_pro = htons(ETH_P_IP);
    arp.arp_op = htons(operation);
    memcpy(arp.arp_sha, sender_mac, 6);
    memcpy(arp.arp_spa, &sender_ip.v4, 4);
    memcpy(arp.arp_tpa, &target_ip.v4, 4);
    frame_add(frame, &arp, sizeof(arp));
}

void frame_nd(struct frame *frame, uint8_t type, const char *target, uint8_t option, const struct mac *mac)
{
    uint8_t header[8] = { type }, option_header[2] = { option, 1 };
    struct ip_address target_ip = ip_of(target);

    frame_add(frame, header, sizeof(header));
    frame_add(frame, &target_ip.v6, 16);
    if (mac) {
        frame_add(frame, option_header, 2);
        frame_add(frame, mac, 6);
    }
}

static void set_upper_checksum(struct frame *frame, const struct ip_address *source, const struct ip_address *destination)
{
    size_t size = frame->size - frame->upper, field;
    uint64_t sum = frame->protocol == IPPROTO_ICMP ? 0 : checksum_add_pseudo(0, source, destination, frame->protocol, size);
    uint16_t checksum;

    switch (frame->protocol) {
    case IPPROTO_TCP:
        field = offsetof(struct tcphdr, th_sum);
        break;
    case IPPROTO_UDP:
        field = offsetof(struct udphdr, uh_sum);
        break;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        field = 2;
        break;
    default:
        return;
    }
    if (size < field + 2)
        return;
    checksum = checksum_finish(checksum_add(sum, frame->bytes + frame->upper, size));
    memcpy(frame->bytes + frame->upper + field, &checksum, 2);
}

void frame_end(struct frame *frame)
{
    uint8_t *at = frame->bytes + frame->ip;
    struct ip_address source, destination;

    if (frame->upper == frame->ip)
        return;
    if (at[0] >> 4 == 4) {
        struct iphdr ip;

        memcpy(&ip, at, sizeof(ip));
        ip.tot_len = htons((uint16_t)(frame->size - frame->ip));
        memcpy(at, &ip, sizeof(ip));
        ip.check = checksum_finish(checksum_add(0, at, ip.ihl * 4U));
        memcpy(at, &ip, sizeof(ip));
        source = (struct ip_address){ .version = 4, .v4 = { ip.saddr } };
        destination = (struct ip_address){ .version = 4, .v4 = { ip.daddr } };
    } else {
        struct ip6_hdr ip;

        memcpy(&ip, at, sizeof(ip));
        ip.ip6_plen = htons((uint16_t)(frame->size - frame->ip - sizeof(ip)));
        memcpy(at, &ip, sizeof(ip));
        source = (struct ip_address){ .version = 6, .v6 = ip.ip6_src };
        destination = (struct ip_address){ .version = 6, .v6 = ip.ip6_dst };
    }
    set_upper_checksum(frame, &source, &destination);
}
