/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter: every scope against every class of address, protocol and family, and everything a hostile guest or member can pretend.
 */
#include "net/filter.h"

#include "frame.h"
#include "net/checksum.h"
#include "net/reply.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { NUM_SCOPES = 3 };
static const enum msb_scope scopes[NUM_SCOPES] = { MSB_SCOPE_GROUP, MSB_SCOPE_PUBLIC, MSB_SCOPE_ANY };

static struct filter filter_of(enum msb_scope scope, bool has_group)
{
    struct in_addr ip = ip_of("10.1.2.3").v4;

    return (struct filter){ .own = has_group ? addresses_of(ip, ip_of("10.1.2.0").v4, 24) : addresses_of(ip, ip, 32),
                            .scope = scope,
                            .has_group = has_group };
}

/* The guest's own packet to a destination, by way of the right MAC address. */
static void begin_to(const struct filter *f, struct frame *frame, const char *to, uint8_t protocol)
{
    struct ip_address destination = ip_of(to), source = { .version = destination.version };
    struct mac mac = f->own.gateway_mac;
    struct in_addr member;

    if (source.version == 4)
        source.v4 = f->own.ip;
    else
        source.v6 = f->own.ip6;
    if (source.version == 4 ? is_member_ip(&f->own, member = destination.v4) : is_member_ip6(&f->own, &destination.v6, &member))
        mac = addresses_of_member(&f->own, member).mac;
    frame_begin(frame, &f->own.mac, &mac, source.version == 4 ? ETH_P_IP : ETH_P_IPV6);
    frame_ip(frame, &source, &destination, protocol);
}

static struct decision decide(const struct filter *f, struct frame *frame, bool published)
{
    struct packet packet;
    enum reason reason;

    frame_end(frame);
    reason = packet_parse(frame->bytes, frame->size, &packet);
    return reason ? (struct decision){ .verdict = VERDICT_DROP, .reason = reason } : filter_outgoing(f, &packet, published);
}

/* ---- Scope, class, protocol, family -------------------------------------------------------------------------------------- */

enum expected { PUB, ANY, NEVER };

static const struct {
    const char *address;
    enum expected reachable; /* from which scope on */
} destinations[] = {
    /* the internet */
    { "8.8.8.8", PUB },
    { "1.0.0.0", PUB },
    { "9.255.255.255", PUB },
    { "11.0.0.0", PUB },
    { "100.63.255.255", PUB },
    { "100.128.0.0", PUB },
    { "126.255.255.255", PUB },
    { "128.0.0.0", PUB },
    { "169.253.255.255", PUB },
    { "169.255.0.0", PUB },
    { "172.15.255.255", PUB },
    { "172.32.0.0", PUB },
    { "192.167.255.255", PUB },
    { "192.169.0.0", PUB },
    { "198.17.255.255", PUB },
    { "198.20.0.0", PUB },
    { "223.255.255.255", PUB },
    { "2001:4860:4860::8888", PUB },
    { "2606:4700::1111", PUB },
    { "3ffe::1", PUB },
    { "2001:200::1", PUB },
    /* somebody's own */
    { "10.0.0.1", ANY },
    { "10.255.255.255", ANY },
    { "172.16.0.1", ANY },
    { "172.31.255.255", ANY },
    { "192.168.0.1", ANY },
    { "192.168.255.255", ANY },
    { "100.64.0.1", ANY },
    { "100.127.255.255", ANY },
    { "169.254.0.1", ANY },
    { "169.254.169.254", ANY },
    { "192.0.0.1", ANY },
    { "192.0.2.1", ANY },
    { "198.51.100.1", ANY },
    { "203.0.113.1", ANY },
    { "198.18.0.1", ANY },
    { "198.19.255.255", ANY },
    { "240.0.0.1", ANY },
    { "255.255.255.254", ANY },
    { "fc00::1", ANY },
    { "fd00:ec2::254", ANY },
    { "fec0::1", ANY },
    { "2001:db8::1", ANY },
    { "3fff::1", ANY },
    { "2001::1", ANY },
    { "2001:2::1", ANY },
    { "2001:10::1", ANY },
    { "2001:1ff:ffff::1", ANY },
    { "100::1", ANY },
    { "64:ff9b:1::1", ANY },
    { "4000::1", ANY },
    /* never beyond one's own link */
    { "0.0.0.0", NEVER },
    { "0.1.2.3", NEVER },
    { "127.0.0.1", NEVER },
    { "127.255.255.255", NEVER },
    { "224.0.0.1", NEVER },
    { "239.255.255.250", NEVER },
    { "255.255.255.255", NEVER },
    { "::1", NEVER },
    { "::", NEVER },
    { "::8.8.8.8", NEVER },
    { "::127.0.0.1", NEVER },
    { "fe80::1234", NEVER },
    { "fe80::1", NEVER },
    { "ff02::1", NEVER },
    { "ff0e::1", NEVER },
    /* IPv4 in IPv6: v4-mapped, NAT64, 6to4 */
    { "::ffff:8.8.8.8", PUB },
    { "::ffff:10.0.0.1", ANY },
    { "::ffff:169.254.169.254", ANY },
    { "::ffff:192.168.1.1", ANY },
    { "::ffff:127.0.0.1", NEVER },
    { "::ffff:0.0.0.0", NEVER },
    { "::ffff:224.0.0.1", NEVER },
    { "64:ff9b::8.8.8.8", PUB },
    { "64:ff9b::10.0.0.1", ANY },
    { "64:ff9b::169.254.169.254", ANY },
    { "64:ff9b::127.0.0.1", NEVER },
    { "2002:808:808::1", PUB },
    { "2002:a00:1::1", ANY },
    { "2002:a9fe:a9fe::1", ANY },
    { "2002:c0a8:101::1", ANY },
    { "2002:7f00:1::1", NEVER },
    { "2002:e000:1::1", NEVER },
};

static bool is_reachable(enum expected reachable, enum msb_scope scope)
{
    if (reachable == NEVER || scope == MSB_SCOPE_GROUP)
        return false;
    return scope == MSB_SCOPE_ANY || reachable == PUB;
}

static void begin_protocol(const struct filter *f, struct frame *frame, const char *to, int protocol)
{
    bool v6 = strchr(to, ':');

    switch (protocol) {
    case 0:
        begin_to(f, frame, to, IPPROTO_TCP);
        frame_tcp(frame, 40000, 80, TH_SYN);
        break;
    case 1:
        begin_to(f, frame, to, IPPROTO_UDP);
        frame_udp(frame, 40000, 443, "x", 1);
        break;
    default:
        begin_to(f, frame, to, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
        frame_echo(frame, 1, "x", 1);
        break;
    }
}

static void test_scopes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(destinations) / sizeof(destinations[0]); i++)
        for (int s = 0; s < NUM_SCOPES; s++)
            for (int protocol = 0; protocol < 3; protocol++)
                for (int group = 0; group < 2; group++) {
                    struct filter f = filter_of(scopes[s], group);
                    struct frame frame;
                    struct decision d;
                    enum verdict expected = VERDICT_OUTSIDE;

                    begin_protocol(&f, &frame, destinations[i].address, protocol);
                    d = decide(&f, &frame, false);
                    if (!is_reachable(destinations[i].reachable, scopes[s]))
                        expected = destinations[i].reachable == NEVER ? VERDICT_DROP : VERDICT_REFUSE;
                    if (d.verdict != expected)
                        fail_msg("%s, scope %d, protocol %d, group %d: verdict %d instead of %d", destinations[i].address, s,
                                 protocol, group, d.verdict, expected);
                }
}

/* The way back to whoever came by a published port is open, but not to what can never have come. */
static void test_published(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(destinations) / sizeof(destinations[0]); i++)
        for (int s = 0; s < NUM_SCOPES; s++) {
            struct filter f = filter_of(scopes[s], false);
            struct frame frame;

            begin_protocol(&f, &frame, destinations[i].address, 0);
            assert_int_equal(decide(&f, &frame, true).verdict,
                             destinations[i].reachable == NEVER ? VERDICT_DROP : VERDICT_OUTSIDE);
        }
}

static enum verdict verdict_to(const struct filter *f, const char *to, uint8_t protocol, uint16_t port)
{
    struct frame frame;

    begin_to(f, &frame, to, protocol);
    if (protocol == IPPROTO_TCP)
        frame_tcp(&frame, 40000, port, TH_SYN);
    else
        frame_udp(&frame, 40000, port, "x", 1);
    return decide(f, &frame, false).verdict;
}

static void test_gateway_is_the_host_under_any_alone(void **state)
{
    static const char *const gateways[] = { "169.254.1.1", "fd6d:7362:ffff:ffff::1" };

    (void)state;
    for (int i = 0; i < 2; i++)
        for (int s = 0; s < NUM_SCOPES; s++) {
            struct filter f = filter_of(scopes[s], true);
            enum verdict expected = scopes[s] == MSB_SCOPE_ANY ? VERDICT_OUTSIDE : VERDICT_REFUSE;

            assert_int_equal(verdict_to(&f, gateways[i], IPPROTO_TCP, 22), expected);
            assert_int_equal(verdict_to(&f, gateways[i], IPPROTO_UDP, 5353), expected);
            assert_int_equal(verdict_to(&f, gateways[i], IPPROTO_UDP, 67), VERDICT_REFUSE);
            assert_int_equal(verdict_to(&f, gateways[i], IPPROTO_UDP, 69), VERDICT_REFUSE);
        }
}

static void test_resolver(void **state)
{
    static const char *const resolvers[] = { "169.254.1.2", "fd6d:7362:ffff:ffff::2" };

    (void)state;
    for (int i = 0; i < 2; i++)
        for (int s = 0; s < NUM_SCOPES; s++)
            for (int group = 0; group < 2; group++) {
                struct filter f = filter_of(scopes[s], group);
                bool outside = scopes[s] != MSB_SCOPE_GROUP;

                assert_int_equal(verdict_to(&f, resolvers[i], IPPROTO_UDP, 53),
                                 outside || group ? VERDICT_RESOLVER : VERDICT_REFUSE);
                assert_int_equal(verdict_to(&f, resolvers[i], IPPROTO_TCP, 53), outside ? VERDICT_OUTSIDE : VERDICT_REFUSE);
                assert_int_equal(verdict_to(&f, resolvers[i], IPPROTO_TCP, 80), VERDICT_REFUSE);
                assert_int_equal(verdict_to(&f, resolvers[i], IPPROTO_UDP, 80), VERDICT_REFUSE);
            }
}

static void test_other_protocols_are_refused(void **state)
{
    struct filter f = filter_of(MSB_SCOPE_ANY, false);
    struct frame frame;

    (void)state;
    for (int protocol = 0; protocol < 256; protocol++) {
        struct decision d;

        if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP)
            continue;
        begin_to(&f, &frame, "8.8.8.8", (uint8_t)protocol);
        frame_add(&frame, "01234567", 8);
        d = decide(&f, &frame, false);
        assert_int_equal(d.verdict, VERDICT_REFUSE);
        assert_int_equal(d.reason, REASON_PROTOCOL);
    }
}

/* ---- Fragments, options, extension headers ------------------------------------------------------------------------------- */

static void set_ipv4_fragment(struct frame *frame, uint16_t field)
{
    uint16_t big_endian = htons(field);

    memcpy(frame->bytes + frame->ip + 6, &big_endian, 2);
}

static void test_ipv4_fragments_for_the_outside_are_put_together(void **state)
{
    (void)state;
    for (int s = 0; s < NUM_SCOPES; s++) {
        struct filter f = filter_of(scopes[s], true);
        struct frame frame;

        begin_protocol(&f, &frame, "192.168.1.1", 1);
        set_ipv4_fragment(&frame, IP_MF);
        assert_int_equal(decide(&f, &frame, false).verdict, VERDICT_REASSEMBLE);
        begin_to(&f, &frame, "192.168.1.1", IPPROTO_UDP);
        frame_add(&frame, "01234567", 8);
        set_ipv4_fragment(&frame, 100);
        assert_int_equal(decide(&f, &frame, false).verdict, VERDICT_REASSEMBLE);
        begin_to(&f, &frame, "127.0.0.1", IPPROTO_UDP);
        frame_add(&frame, "01234567", 8);
        set_ipv4_fragment(&frame, 100);
        assert_int_equal(decide(&f, &frame, false).verdict, VERDICT_REASSEMBLE);
    }
}

static void test_tiny_first_fragment_is_dropped(void **state)
{
    struct filter f = filter_of(MSB_SCOPE_ANY, false);
    struct frame frame;

    (void)state;
    begin_to(&f, &frame, "8.8.8.8", IPPROTO_TCP);
    frame_add(&frame, "01234567", 8);
    set_ipv4_fragment(&frame, IP_MF);
    assert_int_equal(decide(&f, &frame, false).reason, REASON_MALFORMED);
}

/* Begins an IPv4 packet to the internet with options (a multiple of four bytes). */
static struct decision decide_with_options(enum msb_scope scope, const char *to, const void *options, uint8_t size)
{
    struct filter f = filter_of(scope, false);
    struct frame frame;

    begin_to(&f, &frame, to, IPPROTO_UDP);
    frame.bytes[frame.ip] = (uint8_t)(0x45 + size / 4);
    frame_add(&frame, options, size);
    frame.upper = frame.size;
    frame_udp(&frame, 1, 2, "x", 1);
    return decide(&f, &frame, false);
}

static void test_ipv4_options(void **state)
{
    static const uint8_t harmless[] = { IPOPT_NOP, IPOPT_RR, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, IPOPT_EOL, 1, 1, 1 };
    static const uint8_t loose[] = { IPOPT_NOP, IPOPT_LSRR, 7, 4, 192, 168, 1, 1 };
    static const uint8_t strict[] = { IPOPT_NOP, IPOPT_SSRR, 7, 4, 192, 168, 1, 1 };
    static const uint8_t too_long[] = { IPOPT_NOP, IPOPT_RR, 8, 4, 0, 0, 0, 0 };
    static const uint8_t too_short[] = { IPOPT_RR, 1, 4, 0 };
    static const uint8_t cut[] = { IPOPT_NOP, IPOPT_NOP, IPOPT_NOP, IPOPT_RR };

    (void)state;
    assert_int_equal(decide_with_options(MSB_SCOPE_PUBLIC, "8.8.8.8", harmless, sizeof(harmless)).verdict, VERDICT_OUTSIDE);
    assert_int_equal(decide_with_options(MSB_SCOPE_PUBLIC, "10.0.0.1", harmless, sizeof(harmless)).verdict, VERDICT_REFUSE);
    assert_int_equal(decide_with_options(MSB_SCOPE_ANY, "8.8.8.8", loose, sizeof(loose)).reason, REASON_HIDDEN_DESTINATION);
    assert_int_equal(decide_with_options(MSB_SCOPE_ANY, "8.8.8.8", strict, sizeof(strict)).reason, REASON_HIDDEN_DESTINATION);
    assert_int_equal(decide_with_options(MSB_SCOPE_ANY, "8.8.8.8", too_long, sizeof(too_long)).reason, REASON_MALFORMED);
    assert_int_equal(decide_with_options(MSB_SCOPE_ANY, "8.8.8.8", too_short, sizeof(too_short)).reason, REASON_MALFORMED);
    assert_int_equal(decide_with_options(MSB_SCOPE_ANY, "8.8.8.8", cut, sizeof(cut)).reason, REASON_MALFORMED);
}

/* An extension header's body: its length byte, and what follows. As a routing header, it has no segments left. */
static const uint8_t padding_options[] = { 0, 1, 0, 0, 0, 0, 0 };

static struct decision decide_extension(enum msb_scope scope, const char *to, uint8_t extension, const void *body, size_t size)
{
    struct filter f = filter_of(scope, true);
    struct frame frame;

    begin_to(&f, &frame, to, IPPROTO_UDP);
    frame_extension(&frame, extension, body, size);
    frame_udp(&frame, 1, 2, "x", 1);
    return decide(&f, &frame, false);
}

static void test_extension_headers(void **state)
{
    static const uint8_t extensions[] = { IPPROTO_HOPOPTS, IPPROTO_DSTOPTS, IPPROTO_ROUTING };
    static const uint8_t routed[] = { 2, 0, 1, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };
    static const uint8_t atomic[] = { 0, 0, 0, 1, 2, 3, 4 }, first[] = { 0, 0, 1, 1, 2, 3, 4 }, later[] = { 0, 0, 8, 1, 2, 3, 4 };
    static const uint8_t cut[] = { 9, 0, 0, 0, 0, 0, 0 };

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(decide_extension(MSB_SCOPE_PUBLIC, "2606:4700::1", extensions[i], padding_options, 7).verdict,
                         VERDICT_OUTSIDE);
        assert_int_equal(decide_extension(MSB_SCOPE_PUBLIC, "fd00::1", extensions[i], padding_options, 7).verdict,
                         VERDICT_REFUSE);
        assert_int_equal(decide_extension(MSB_SCOPE_ANY, "2606:4700::1", extensions[i], cut, 7).reason, REASON_MALFORMED);
    }
    assert_int_equal(decide_extension(MSB_SCOPE_ANY, "2606:4700::1", IPPROTO_ROUTING, routed, sizeof(routed)).reason,
                     REASON_HIDDEN_DESTINATION);
    assert_int_equal(decide_extension(MSB_SCOPE_PUBLIC, "2606:4700::1", IPPROTO_FRAGMENT, atomic, 7).verdict, VERDICT_OUTSIDE);
    assert_int_equal(decide_extension(MSB_SCOPE_PUBLIC, "fd00::1", IPPROTO_FRAGMENT, atomic, 7).verdict, VERDICT_REFUSE);
    assert_int_equal(decide_extension(MSB_SCOPE_PUBLIC, "fd00::1", IPPROTO_FRAGMENT, first, 7).verdict, VERDICT_REASSEMBLE);
    assert_int_equal(decide_extension(MSB_SCOPE_PUBLIC, "fd00::1", IPPROTO_FRAGMENT, later, 7).verdict, VERDICT_REASSEMBLE);
    assert_int_equal(decide_extension(MSB_SCOPE_ANY, "2606:4700::1", IPPROTO_AH, padding_options, 7).reason, REASON_EXTENSION);
    assert_int_equal(decide_extension(MSB_SCOPE_ANY, "2606:4700::1", IPPROTO_ESP, padding_options, 7).reason, REASON_EXTENSION);
    assert_int_equal(decide_extension(MSB_SCOPE_ANY, "2606:4700::1", IPPROTO_NONE, padding_options, 7).reason, REASON_EXTENSION);
}

static void test_chains_of_extension_headers(void **state)
{
    struct filter f = filter_of(MSB_SCOPE_PUBLIC, false);

    (void)state;
    for (int count = 1; count < 12; count++)
        for (int public = 0; public < 2; public ++) {
            struct frame frame;
            enum verdict expected = public ? VERDICT_OUTSIDE : VERDICT_REFUSE;

            begin_to(&f, &frame, public ? "2606:4700::1" : "fd00::1", IPPROTO_UDP);
            for (int i = 0; i < count; i++)
                frame_extension(&frame, IPPROTO_DSTOPTS, padding_options, sizeof(padding_options));
            frame_udp(&frame, 1, 2, "x", 1);
            assert_int_equal(decide(&f, &frame, false).verdict, count < 8 ? expected : VERDICT_DROP);
        }
}

/* ---- Nobody speaks for another ------------------------------------------------------------------------------------------- */

static struct decision decide_spoofed(const char *mac, const char *source, const char *to)
{
    struct filter f = filter_of(MSB_SCOPE_ANY, true);
    struct mac source_mac = mac ? mac_of(mac) : f.own.mac;
    struct ip_address source_ip = ip_of(source), destination = ip_of(to);
    struct frame frame;

    frame_begin(&frame, &source_mac, &f.own.gateway_mac, source_ip.version == 4 ? ETH_P_IP : ETH_P_IPV6);
    frame_ip(&frame, &source_ip, &destination, IPPROTO_UDP);
    frame_udp(&frame, 1, 2, "x", 1);
    return decide(&f, &frame, false);
}

static void test_spoofed_sources(void **state)
{
    (void)state;
    assert_int_equal(decide_spoofed(NULL, "10.1.2.3", "8.8.8.8").verdict, VERDICT_OUTSIDE);
    assert_int_equal(decide_spoofed(NULL, "fd6d:7362:a01:200::a01:203", "2606:4700::1").verdict, VERDICT_OUTSIDE);
    assert_int_equal(decide_spoofed("52:54:0a:01:02:04", "10.1.2.3", "8.8.8.8").reason, REASON_SOURCE_MAC);
    assert_int_equal(decide_spoofed("52:55:00:00:00:01", "10.1.2.3", "8.8.8.8").reason, REASON_SOURCE_MAC);
    assert_int_equal(decide_spoofed(NULL, "10.1.2.4", "8.8.8.8").reason, REASON_SOURCE_IP);
    assert_int_equal(decide_spoofed(NULL, "0.0.0.0", "8.8.8.8").reason, REASON_SOURCE_IP);
    assert_int_equal(decide_spoofed(NULL, "169.254.1.1", "8.8.8.8").reason, REASON_SOURCE_IP);
    assert_int_equal(decide_spoofed(NULL, "127.0.0.1", "8.8.8.8").reason, REASON_SOURCE_IP);
    assert_int_equal(decide_spoofed(NULL, "fd6d:7362:a01:200::a01:204", "2606:4700::1").reason, REASON_SOURCE_IP);
    assert_int_equal(decide_spoofed(NULL, "fe80::1", "2606:4700::1").reason, REASON_SOURCE_IP);
    assert_int_equal(decide_spoofed(NULL, "::", "2606:4700::1").reason, REASON_SOURCE_IP);
    assert_int_equal(decide_spoofed(NULL, "::1", "2606:4700::1").reason, REASON_SOURCE_IP);
}

static struct decision decide_arp(uint16_t operation, const char *sender_mac, const char *sender, const char *target,
                                  const char *destination)
{
    struct filter f = filter_of(MSB_SCOPE_GROUP, true);
    struct mac mac = sender_mac ? mac_of(sender_mac) : f.own.mac, to = mac_of(destination);
    struct frame frame;

    frame_begin(&frame, &f.own.mac, &to, ETH_P_ARP);
    frame_arp(&frame, operation, &mac, sender, target);
    return decide(&f, &frame, false);
}

static const char broadcast[] = "ff:ff:ff:ff:ff:ff", member_mac[] = "52:54:0a:01:02:04";

static void test_arp(void **state)
{
    (void)state;
    assert_int_equal(decide_arp(ARPOP_REQUEST, NULL, "10.1.2.3", "10.1.2.4", broadcast).verdict, VERDICT_MEMBERS);
    assert_int_equal(decide_arp(ARPOP_REQUEST, NULL, "0.0.0.0", "10.1.2.3", broadcast).verdict, VERDICT_MEMBERS);
    assert_int_equal(decide_arp(ARPOP_REQUEST, NULL, "10.1.2.3", "10.1.2.4", member_mac).verdict, VERDICT_MEMBER);
    assert_int_equal(decide_arp(ARPOP_REPLY, NULL, "10.1.2.3", "10.1.2.4", member_mac).verdict, VERDICT_MEMBER);
    assert_int_equal(decide_arp(ARPOP_REQUEST, NULL, "10.1.2.3", "169.254.1.1", broadcast).verdict, VERDICT_NEIGHBOUR);
    assert_int_equal(decide_arp(ARPOP_REQUEST, NULL, "10.1.2.3", "169.254.1.2", broadcast).verdict, VERDICT_NEIGHBOUR);
    assert_int_equal(decide_arp(ARPOP_REPLY, NULL, "10.1.2.4", "10.1.2.5", member_mac).reason, REASON_ARP);
    assert_int_equal(decide_arp(ARPOP_REPLY, NULL, "169.254.1.1", "10.1.2.4", member_mac).reason, REASON_ARP);
    assert_int_equal(decide_arp(ARPOP_REPLY, NULL, "0.0.0.0", "10.1.2.4", member_mac).reason, REASON_ARP);
    assert_int_equal(decide_arp(ARPOP_REPLY, member_mac, "10.1.2.3", "10.1.2.4", member_mac).reason, REASON_ARP);
    assert_int_equal(decide_arp(ARPOP_REQUEST, NULL, "10.1.2.3", "10.9.9.9", broadcast).reason, REASON_ARP);
    assert_int_equal(decide_arp(8, NULL, "10.1.2.3", "10.1.2.4", broadcast).reason, REASON_ARP);
}

static struct decision decide_nd(uint8_t type, const char *source, const char *to, const char *to_mac, const char *target,
                                 uint8_t option, const char *mac_text)
{
    struct filter f = filter_of(MSB_SCOPE_GROUP, true);
    struct mac destination_mac = mac_of(to_mac), mac = f.own.mac;
    struct ip_address source_ip = ip_of(source), destination = ip_of(to);
    struct frame frame;

    if (mac_text && strcmp(mac_text, "own") != 0)
        mac = mac_of(mac_text);
    frame_begin(&frame, &f.own.mac, &destination_mac, ETH_P_IPV6);
    frame_ip(&frame, &source_ip, &destination, IPPROTO_ICMPV6);
    frame_nd(&frame, type, target, option, mac_text ? &mac : NULL);
    return decide(&f, &frame, false);
}

static const char own6[] = "fd6d:7362:a01:200::a01:203", own_link_local[] = "fe80::5054:aff:fe01:203";
static const char member6[] = "fd6d:7362:a01:200::a01:204", solicited[] = "ff02::1:ff01:204",
                  solicited_mac[] = "33:33:ff:01:02:04";

static void test_neighbour_discovery(void **state)
{
    const uint8_t ns = ND_NEIGHBOR_SOLICIT, na = ND_NEIGHBOR_ADVERT, source = ND_OPT_SOURCE_LINKADDR, to = ND_OPT_TARGET_LINKADDR;

    (void)state;
    assert_int_equal(decide_nd(ns, own6, solicited, solicited_mac, member6, source, "own").verdict, VERDICT_MEMBERS);
    assert_int_equal(decide_nd(ns, own_link_local, solicited, solicited_mac, member6, source, "own").verdict, VERDICT_MEMBERS);
    assert_int_equal(decide_nd(ns, "::", "ff02::1:ff01:203", solicited_mac, own6, source, NULL).verdict, VERDICT_MEMBERS);
    assert_int_equal(decide_nd(ns, own6, member6, member_mac, member6, source, NULL).verdict, VERDICT_MEMBER);
    assert_int_equal(decide_nd(na, own6, member6, member_mac, own6, to, "own").verdict, VERDICT_MEMBER);
    assert_int_equal(decide_nd(na, own6, "ff02::1", "33:33:00:00:00:01", own6, to, "own").verdict, VERDICT_MEMBERS);
    assert_int_equal(decide_nd(ns, own_link_local, "ff02::1:ff00:1", solicited_mac, "fe80::1", source, "own").verdict,
                     VERDICT_NEIGHBOUR);
    assert_int_equal(decide_nd(ns, own6, "fe80::1", "52:55:00:00:00:01", "fe80::1", source, "own").verdict, VERDICT_NEIGHBOUR);

    assert_int_equal(decide_nd(ns, member6, solicited, solicited_mac, member6, source, "own").reason, REASON_SOURCE_IP);
    assert_int_equal(decide_nd(ns, own6, solicited, solicited_mac, member6, source, member_mac).reason, REASON_ND);
    assert_int_equal(decide_nd(ns, "::", solicited, solicited_mac, member6, source, "own").reason, REASON_ND);
    assert_int_equal(decide_nd(ns, own6, solicited, solicited_mac, "2606:4700::1", source, "own").reason, REASON_ND);
    assert_int_equal(decide_nd(ns, own6, "fd6d:7362:ffff:ffff::2", member_mac, member6, source, NULL).reason, REASON_ND);
    assert_int_equal(decide_nd(na, own6, member6, member_mac, "fd6d:7362:a01:200::a01:205", to, "own").reason, REASON_ND);
    assert_int_equal(decide_nd(na, own6, member6, member_mac, "fe80::1", to, "own").reason, REASON_ND);
    assert_int_equal(decide_nd(na, own6, member6, member_mac, own6, to, member_mac).reason, REASON_ND);
    assert_int_equal(decide_nd(na, "::", "ff02::1", solicited_mac, own6, to, "own").reason, REASON_SOURCE_IP);
    assert_int_equal(decide_nd(ND_ROUTER_ADVERT, own_link_local, "ff02::1", solicited_mac, own6, source, "own").reason,
                     REASON_ND);
    assert_int_equal(decide_nd(ND_REDIRECT, own_link_local, member6, member_mac, own6, source, "own").reason, REASON_ND);
    assert_int_equal(decide_nd(ND_ROUTER_SOLICIT, own_link_local, "ff02::2", solicited_mac, own6, source, "own").reason,
                     REASON_UNWANTED);
}

/* An advertisement for another, hidden in what only looks harmless. */
static void test_hidden_neighbour_discovery(void **state)
{
    static const uint8_t atomic[] = { 0, 0, 0, 1, 2, 3, 4 }, first[] = { 0, 0, 1, 1, 2, 3, 4 }, later[] = { 0, 0, 8, 1, 2, 3, 4 };
    static const struct {
        uint8_t extension;
        const uint8_t *body;
        enum reason reason;
    } hidden[] = {
        { IPPROTO_DSTOPTS, padding_options, REASON_ND }, { IPPROTO_HOPOPTS, padding_options, REASON_ND },
        { IPPROTO_FRAGMENT, atomic, REASON_ND },         { IPPROTO_FRAGMENT, first, REASON_ND },
        { IPPROTO_FRAGMENT, later, REASON_EXTENSION },
    };
    struct filter f = filter_of(MSB_SCOPE_GROUP, true);
    struct ip_address source = ip_of(own6);

    (void)state;
    for (size_t i = 0; i < 2 * sizeof(hidden) / sizeof(hidden[0]); i++) {
        struct mac to = mac_of(i % 2 ? "33:33:00:00:00:01" : member_mac);
        struct ip_address destination = ip_of(i % 2 ? "ff02::1" : member6);
        struct frame frame;

        frame_begin(&frame, &f.own.mac, &to, ETH_P_IPV6);
        frame_ip(&frame, &source, &destination, IPPROTO_ICMPV6);
        frame_extension(&frame, hidden[i / 2].extension, hidden[i / 2].body, 7);
        frame_nd(&frame, ND_NEIGHBOR_ADVERT, "fd6d:7362:a01:200::a01:205", ND_OPT_TARGET_LINKADDR, &f.own.mac);
        assert_int_equal(decide(&f, &frame, false).reason, hidden[i / 2].reason);
    }
    for (int i = 0; i < 4; i++) {
        struct mac to = mac_of(i % 2 ? "33:33:00:00:00:01" : member_mac);
        struct ip_address destination = ip_of(i % 2 ? "ff02::1" : member6);
        struct frame frame;

        /* A fragment whose first header is an extension header, behind which anything may be. */
        frame_begin(&frame, &f.own.mac, &to, ETH_P_IPV6);
        frame_ip(&frame, &source, &destination, IPPROTO_DSTOPTS);
        frame_extension(&frame, IPPROTO_FRAGMENT, i / 2 ? first : later, 7);
        frame_add(&frame, "\x3a\0\1\4\0\0\0\0", 8);
        assert_int_equal(decide(&f, &frame, false).reason, REASON_EXTENSION);
    }
}

/* ---- Groups -------------------------------------------------------------------------------------------------------------- */

static void test_members(void **state)
{
    (void)state;
    for (int s = 0; s < NUM_SCOPES; s++) {
        struct filter f = filter_of(scopes[s], true), alone = filter_of(scopes[s], false);
        struct mac gateway = f.own.gateway_mac, other = mac_of("52:54:0a:01:02:05");
        struct ip_address source = ip_of("10.1.2.3"), member = ip_of("10.1.2.4"), outside = ip_of("8.8.8.8");
        struct mac mac = mac_of(member_mac);
        struct decision d;
        struct frame frame;

        begin_protocol(&f, &frame, "10.1.2.4", 0);
        d = decide(&f, &frame, false);
        assert_int_equal(d.verdict, VERDICT_MEMBER);
        assert_int_equal(d.member.s_addr, member.v4.s_addr);
        begin_protocol(&f, &frame, member6, 1);
        d = decide(&f, &frame, false);
        assert_int_equal(d.verdict, VERDICT_MEMBER);
        assert_int_equal(d.member.s_addr, member.v4.s_addr);
        begin_protocol(&f, &frame, "fe80::5054:aff:fe01:204", 2);
        assert_int_equal(decide(&f, &frame, false).verdict, VERDICT_MEMBER);
        begin_protocol(&f, &frame, "10.1.2.3", 0);
        assert_int_equal(decide(&f, &frame, false).verdict, VERDICT_DROP);

        /* By way of the wrong MAC address: the gateway is no switch, and no member a router. */
        frame_begin(&frame, &f.own.mac, &gateway, ETH_P_IP);
        frame_ip(&frame, &source, &member, IPPROTO_UDP);
        frame_udp(&frame, 1, 2, "x", 1);
        assert_int_equal(decide(&f, &frame, false).reason, REASON_DESTINATION_MAC);
        frame_begin(&frame, &f.own.mac, &other, ETH_P_IP);
        frame_ip(&frame, &source, &member, IPPROTO_UDP);
        frame_udp(&frame, 1, 2, "x", 1);
        assert_int_equal(decide(&f, &frame, false).reason, REASON_DESTINATION_MAC);
        frame_begin(&frame, &f.own.mac, &mac, ETH_P_IP);
        frame_ip(&frame, &source, &outside, IPPROTO_UDP);
        frame_udp(&frame, 1, 2, "x", 1);
        assert_int_equal(decide(&f, &frame, false).reason, REASON_DESTINATION_MAC);

        /* Somebody who is alone has no members, and their addresses are like any other private ones. */
        begin_protocol(&alone, &frame, "10.1.2.4", 0);
        assert_int_equal(decide(&alone, &frame, false).verdict, scopes[s] == MSB_SCOPE_ANY ? VERDICT_OUTSIDE : VERDICT_REFUSE);
    }
}

static void test_broadcast_stays_in_the_group(void **state)
{
    static const char *const to[] = { "255.255.255.255", "10.1.2.255", "224.0.0.251", "ff02::fb" };

    (void)state;
    for (int s = 0; s < NUM_SCOPES; s++)
        for (int i = 0; i < 4; i++)
            for (int group = 0; group < 2; group++) {
                struct filter f = filter_of(scopes[s], group);
                struct mac mac = mac_of(i < 2 ? broadcast : "33:33:00:00:00:fb");
                struct ip_address destination = ip_of(to[i]), source = ip_of(i < 3 ? "10.1.2.3" : own6);
                struct frame frame;

                if (i == 1 && !group)
                    continue;
                if (i == 3)
                    source.v6 = f.own.ip6;
                frame_begin(&frame, &f.own.mac, &mac, i < 3 ? ETH_P_IP : ETH_P_IPV6);
                frame_ip(&frame, &source, &destination, IPPROTO_UDP);
                frame_udp(&frame, 5353, 5353, "x", 1);
                assert_int_equal(decide(&f, &frame, false).verdict, group ? VERDICT_MEMBERS : VERDICT_DROP);
            }
}

static struct decision decide_incoming(const char *member, const char *mac, const char *source, const char *to,
                                       const char *to_mac)
{
    struct filter f = filter_of(MSB_SCOPE_GROUP, true);
    struct mac source_mac = mac_of(mac), destination_mac = mac_of(to_mac);
    struct ip_address source_ip = ip_of(source), destination = ip_of(to);
    struct packet packet;
    struct frame frame;

    frame_begin(&frame, &source_mac, &destination_mac, source_ip.version == 4 ? ETH_P_IP : ETH_P_IPV6);
    frame_ip(&frame, &source_ip, &destination, IPPROTO_UDP);
    frame_udp(&frame, 1, 2, "x", 1);
    frame_end(&frame);
    assert_int_equal(packet_parse(frame.bytes, frame.size, &packet), REASON_NONE);
    return filter_incoming(&f, &packet, ip_of(member).v4);
}

/* A member's net process may be hostile: what comes from its socket must be its own all the same. */
static void test_incoming(void **state)
{
    static const char own_mac[] = "52:54:0a:01:02:03";

    (void)state;
    assert_int_equal(decide_incoming("10.1.2.4", member_mac, "10.1.2.4", "10.1.2.3", own_mac).verdict, VERDICT_GUEST);
    assert_int_equal(decide_incoming("10.1.2.4", member_mac, member6, own6, own_mac).verdict, VERDICT_GUEST);
    assert_int_equal(decide_incoming("10.1.2.4", member_mac, "10.1.2.4", "255.255.255.255", broadcast).verdict, VERDICT_GUEST);
    assert_int_equal(decide_incoming("10.1.2.4", member_mac, "10.1.2.5", "10.1.2.3", own_mac).reason, REASON_SOURCE_IP);
    assert_int_equal(decide_incoming("10.1.2.4", "52:54:0a:01:02:05", "10.1.2.4", "10.1.2.3", own_mac).reason, REASON_SOURCE_MAC);
    assert_int_equal(decide_incoming("10.1.2.4", "52:55:00:00:00:01", "169.254.1.1", "10.1.2.3", own_mac).reason,
                     REASON_SOURCE_MAC);
    assert_int_equal(decide_incoming("10.1.2.4", member_mac, "8.8.8.8", "10.1.2.3", own_mac).reason, REASON_SOURCE_IP);
    assert_int_equal(decide_incoming("10.1.2.4", member_mac, "10.1.2.4", "8.8.8.8", own_mac).reason, REASON_NO_DESTINATION);
    assert_int_equal(decide_incoming("10.1.2.4", member_mac, "10.1.2.4", "10.1.2.3", member_mac).reason, REASON_DESTINATION_MAC);
    assert_int_equal(decide_incoming("10.9.9.9", "52:54:0a:09:09:09", "10.9.9.9", "10.1.2.3", own_mac).reason, REASON_NO_GROUP);
    assert_int_equal(decide_incoming("10.1.2.3", own_mac, "10.1.2.3", "10.1.2.3", own_mac).reason, REASON_NO_GROUP);
}

/* ---- Replies ------------------------------------------------------------------------------------------------------------- */

static void check_checksums(const uint8_t *frame, size_t size, struct packet *packet)
{
    uint64_t sum;

    assert_int_equal(packet_parse(frame, size, packet), REASON_NONE);
    assert_int_equal(packet->end, size);
    if (packet->source.version == 4)
        assert_int_equal(checksum_finish(checksum_add(0, frame + ETH_HLEN, packet->upper - ETH_HLEN)), 0);
    sum = packet->protocol == IPPROTO_ICMP
              ? 0
              : checksum_add_pseudo(0, &packet->source, &packet->destination, packet->protocol, size - packet->upper);
    assert_int_equal(checksum_finish(checksum_add(sum, frame + packet->upper, size - packet->upper)), 0);
}

static void test_reset(void **state)
{
    static const char *const to[] = { "192.168.1.1", "fd00::1" };
    static const struct {
        uint8_t flags;
        uint8_t expected;
        uint32_t sequence, acknowledged;
    } cases[] = {
        { TH_SYN, TH_RST | TH_ACK, 0, 1001 },
        { TH_SYN | TH_FIN, TH_RST | TH_ACK, 0, 1002 },
        { TH_ACK, TH_RST, 2000, 0 },
        { TH_ACK | TH_FIN, TH_RST, 2000, 0 },
        { TH_RST, 0, 0, 0 },
    };
    struct filter f = filter_of(MSB_SCOPE_PUBLIC, false);

    (void)state;
    for (int i = 0; i < 2; i++)
        for (size_t j = 0; j < sizeof(cases) / sizeof(cases[0]); j++) {
            uint8_t reply[REPLY_SIZE_MAX];
            struct packet packet, answer;
            struct frame frame;
            struct tcphdr tcp;
            size_t size;

            begin_to(&f, &frame, to[i], IPPROTO_TCP);
            frame_tcp(&frame, 40000, 80, cases[j].flags);
            assert_int_equal(decide(&f, &frame, false).verdict, VERDICT_REFUSE);
            packet_parse(frame.bytes, frame.size, &packet);
            size = reply_refused(&f.own, &packet, reply);
            if (!cases[j].expected) {
                assert_int_equal(size, 0);
                continue;
            }
            check_checksums(reply, size, &answer);
            assert_true(ip_equal(&answer.source, &packet.destination));
            assert_true(ip_equal(&answer.destination, &packet.source));
            assert_int_equal(answer.source_port, 80);
            assert_int_equal(answer.destination_port, 40000);
            memcpy(&tcp, reply + answer.upper, sizeof(tcp));
            assert_int_equal(tcp.th_flags, cases[j].expected);
            assert_int_equal(ntohl(tcp.th_seq), cases[j].sequence);
            assert_int_equal(ntohl(tcp.th_ack), cases[j].acknowledged);
        }
}

static void test_unreachable(void **state)
{
    static const char *const to[] = { "192.168.1.1", "fd00::1" };
    static const char payload[2000];
    static const size_t sizes[] = { 0, 1, 100, sizeof(payload) };
    struct filter f = filter_of(MSB_SCOPE_PUBLIC, false);

    (void)state;
    for (int i = 0; i < 2; i++)
        for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
            uint8_t reply[REPLY_SIZE_MAX];
            struct packet packet, answer;
            struct frame frame;
            size_t size;

            begin_to(&f, &frame, to[i], IPPROTO_UDP);
            frame_udp(&frame, 40000, 80, payload, sizes[j]);
            frame_end(&frame);
            packet_parse(frame.bytes, frame.size, &packet);
            size = reply_refused(&f.own, &packet, reply);
            check_checksums(reply, size, &answer);
            assert_true(ip_equal(&answer.destination, &packet.source));
            assert_int_equal(answer.icmp_type, i ? 1 : 3);
            assert_int_equal(answer.icmp_code, i ? 1 : 13);
            assert_memory_equal(reply + answer.upper + 8, frame.bytes + ETH_HLEN, i ? 48 : 28);
        }
}

static void test_neighbour_replies(void **state)
{
    struct filter f = filter_of(MSB_SCOPE_GROUP, true);
    struct mac to = mac_of(broadcast);
    struct ip_address source = ip_of(own_link_local), destination = ip_of("ff02::1:ff00:1");
    uint8_t reply[REPLY_SIZE_MAX];
    struct packet packet, answer;
    struct frame frame;
    size_t size;

    (void)state;
    frame_begin(&frame, &f.own.mac, &to, ETH_P_ARP);
    frame_arp(&frame, ARPOP_REQUEST, &f.own.mac, "10.1.2.3", "169.254.1.1");
    assert_int_equal(packet_parse(frame.bytes, frame.size, &packet), REASON_NONE);
    size = reply_neighbour(&f.own, &packet, reply);
    assert_int_equal(packet_parse(reply, size, &answer), REASON_NONE);
    assert_int_equal(answer.arp_operation, ARPOP_REPLY);
    assert_true(mac_equal(&answer.arp_sender, &f.own.gateway_mac));
    assert_int_equal(answer.source.v4.s_addr, f.own.gateway.s_addr);
    assert_int_equal(answer.destination.v4.s_addr, f.own.ip.s_addr);

    frame_begin(&frame, &f.own.mac, &to, ETH_P_IPV6);
    frame_ip(&frame, &source, &destination, IPPROTO_ICMPV6);
    frame_nd(&frame, ND_NEIGHBOR_SOLICIT, "fe80::1", ND_OPT_SOURCE_LINKADDR, &f.own.mac);
    frame_end(&frame);
    assert_int_equal(packet_parse(frame.bytes, frame.size, &packet), REASON_NONE);
    size = reply_neighbour(&f.own, &packet, reply);
    check_checksums(reply, size, &answer);
    assert_int_equal(answer.icmp_type, ND_NEIGHBOR_ADVERT);
    assert_true(answer.nd_has_mac);
    assert_true(mac_equal(&answer.nd_mac, &f.own.gateway_mac));
    assert_memory_equal(&answer.nd_target, &f.own.gateway_link_local, 16);
}

/* ---- Broken frames ------------------------------------------------------------------------------------------------------- */

/* Every beginning of every kind of frame: parsed without reading beyond it (the sanitizers see to that), and never let through
   with less than its headers. */
static void test_cut_frames(void **state)
{
    struct filter f = filter_of(MSB_SCOPE_ANY, true);

    (void)state;
    for (int v6 = 0; v6 < 2; v6++)
        for (int protocol = 0; protocol < 3; protocol++) {
            struct frame frame;
            struct packet packet;

            begin_protocol(&f, &frame, v6 ? "2606:4700::1" : "8.8.8.8", protocol);
            frame_end(&frame);
            for (size_t size = 0; size < frame.size; size++) {
                uint8_t *copy = test_malloc(size ? size : 1);

                memcpy(copy, frame.bytes, size);
                assert_int_not_equal(packet_parse(copy, size, &packet), REASON_NONE);
                test_free(copy);
            }
        }
}

static void test_padding_is_not_the_packet(void **state)
{
    struct filter f = filter_of(MSB_SCOPE_ANY, false);
    struct packet packet;
    struct frame frame;
    size_t size;

    (void)state;
    begin_protocol(&f, &frame, "8.8.8.8", 1);
    frame_end(&frame);
    size = frame.size;
    frame_add(&frame, "padding", 7);
    assert_int_equal(packet_parse(frame.bytes, frame.size, &packet), REASON_NONE);
    assert_int_equal(packet.end, size);
}

static void test_other_frames(void **state)
{
    static const uint16_t types[] = { 0x8100, 0x88a8, 0x8847, 0x0000, 0x05dc, 0x88cc };
    struct filter f = filter_of(MSB_SCOPE_ANY, true);
    struct packet packet;
    struct frame frame;

    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        begin_protocol(&f, &frame, "8.8.8.8", 1);
        frame.bytes[12] = (uint8_t)(types[i] >> 8);
        frame.bytes[13] = (uint8_t)types[i];
        assert_int_equal(packet_parse(frame.bytes, frame.size, &packet), REASON_ETHERTYPE);
    }
}

static void test_checksum(void **state)
{
    uint8_t bytes[300];

    (void)state;
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + 0xf0);
    for (size_t size = 0; size < sizeof(bytes); size++) {
        uint32_t plain = 0;
        uint16_t expected, sum;

        for (size_t i = 0; i < size; i++)
            plain += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
        while (plain >> 16)
            plain = (plain & 0xffff) + (plain >> 16);
        expected = htons((uint16_t)~plain);
        sum = checksum_finish(checksum_add(0, bytes, size));
        assert_int_equal(sum, expected);
        /* In two pieces, the first of even size. */
        sum = checksum_finish(checksum_add(checksum_add(0, bytes, size / 4 * 2), bytes + size / 4 * 2, size - size / 4 * 2));
        assert_int_equal(sum, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_gateway_is_the_host_under_any_alone),
        cmocka_unit_test(test_resolver),
        cmocka_unit_test(test_other_protocols_are_refused),
        cmocka_unit_test(test_ipv4_fragments_for_the_outside_are_put_together),
        cmocka_unit_test(test_tiny_first_fragment_is_dropped),
        cmocka_unit_test(test_ipv4_options),
        cmocka_unit_test(test_extension_headers),
        cmocka_unit_test(test_chains_of_extension_headers),
        cmocka_unit_test(test_spoofed_sources),
        cmocka_unit_test(test_arp),
        cmocka_unit_test(test_neighbour_discovery),
        cmocka_unit_test(test_hidden_neighbour_discovery),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_broadcast_stays_in_the_group),
        cmocka_unit_test(test_incoming),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_neighbour_replies),
        cmocka_unit_test(test_cut_frames),
        cmocka_unit_test(test_padding_is_not_the_packet),
        cmocka_unit_test(test_other_frames),
        cmocka_unit_test(test_checksum),
    };

    return cmocka_run_group_tests_name("net filter", tests, NULL, NULL);
}
