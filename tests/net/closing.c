/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has closed what: a connection is done with when each end has ended it and knows that the other has, and not before.
 */
#include "net/closing.h"

#include "frame.h"

#include <netinet/if_ether.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { OUTSIDE = 1000, GUEST = 2000 }; /* sequence numbers of the first byte that each end has still to say */

static const char *const addresses[2][2] = { { "192.0.2.1", "10.1.2.3" }, { "2001:db8::1", "fd00::3" } };

static uint16_t outside_port;
static bool version6;

static void say(struct closing *closing, bool guest, uint8_t flags, uint32_t sequence, uint32_t acknowledged, size_t size)
{
    struct ip_address ends[2] = { ip_of(addresses[version6][0]), ip_of(addresses[version6][1]) };
    struct mac mac = mac_of("02:00:00:00:00:01");
    static struct frame frame;
    struct packet packet;
    struct tcphdr tcp;
    uint8_t data[100] = { 0 };

    frame_begin(&frame, &mac, &mac, version6 ? ETH_P_IPV6 : ETH_P_IP);
    frame_ip(&frame, &ends[guest], &ends[!guest], IPPROTO_TCP);
    frame_tcp(&frame, guest ? 80 : outside_port, guest ? outside_port : 80, flags);
    memcpy(&tcp, frame.bytes + frame.upper, sizeof(tcp));
    tcp.th_seq = htonl(sequence);
    tcp.th_ack = htonl(acknowledged);
    memcpy(frame.bytes + frame.upper, &tcp, sizeof(tcp));
    frame_add(&frame, data, size);
    frame_end(&frame);
    assert_int_equal(packet_parse(frame.bytes, frame.size, &packet), REASON_NONE);
    if (guest)
        closing_from_guest(closing, &packet);
    else
        closing_from_outside(closing, &packet);
}

static void outside(struct closing *closing, uint8_t flags, uint32_t sequence, uint32_t acknowledged)
{
    say(closing, false, flags, sequence, acknowledged, 0);
}

static void guest(struct closing *closing, uint8_t flags, uint32_t sequence, uint32_t acknowledged)
{
    say(closing, true, flags, sequence, acknowledged, 0);
}

static void nothing_is_done(struct closing *closing)
{
    struct closing_connection c;

    assert_false(closing_take(closing, &c));
}

static void is_done(struct closing *closing, uint32_t guest_end)
{
    struct ip_address ends[2] = { ip_of(addresses[version6][0]), ip_of(addresses[version6][1]) };
    struct closing_connection c;

    assert_true(closing_take(closing, &c));
    assert_true(ip_equal(&c.outside, &ends[0]));
    assert_true(ip_equal(&c.guest, &ends[1]));
    assert_int_equal(c.outside_port, outside_port);
    assert_int_equal(c.guest_port, 80);
    assert_int_equal(c.guest_end, guest_end);
    nothing_is_done(closing);
}

/* RFC 9293, figure 12: the outside closes first, and the guest in its own time. */
static void close_in_turn(struct closing *closing)
{
    say(closing, false, TH_FIN | TH_ACK, OUTSIDE, GUEST, 10);
    guest(closing, TH_ACK, GUEST, OUTSIDE + 11);
    nothing_is_done(closing);
    say(closing, true, TH_ACK, GUEST, OUTSIDE + 11, 50);
    outside(closing, TH_ACK, OUTSIDE + 11, GUEST + 50);
    say(closing, true, TH_FIN | TH_ACK, GUEST + 50, OUTSIDE + 11, 7);
    nothing_is_done(closing);
    /* The FIN itself is not acknowledged yet. */
    outside(closing, TH_ACK, OUTSIDE + 11, GUEST + 57);
    nothing_is_done(closing);
    outside(closing, TH_ACK, OUTSIDE + 11, GUEST + 58);
    is_done(closing, GUEST + 58);
}

static void test_in_turn(void **state)
{
    struct closing *closing = calloc(1, sizeof(*closing));

    (void)state;
    for (int i = 0; i < 2; i++) {
        version6 = i;
        outside_port = 40000;
        close_in_turn(closing);
        /* And the same ports once more. */
        guest(closing, TH_SYN, 5, 0);
        close_in_turn(closing);
    }
    version6 = false;
    free(closing);
}

/* RFC 9293, figure 13. */
static void test_at_once(void **state)
{
    struct closing *closing = calloc(1, sizeof(*closing));

    (void)state;
    outside(closing, TH_FIN | TH_ACK, OUTSIDE, GUEST);
    guest(closing, TH_FIN | TH_ACK, GUEST, OUTSIDE);
    outside(closing, TH_ACK, OUTSIDE + 1, GUEST + 1);
    nothing_is_done(closing);
    guest(closing, TH_ACK, GUEST + 1, OUTSIDE + 1);
    is_done(closing, GUEST + 1);
    free(closing);
}

/* libslirp waits for nothing then: the guest was first. */
static void test_guest_first(void **state)
{
    struct closing *closing = calloc(1, sizeof(*closing));

    (void)state;
    guest(closing, TH_FIN | TH_ACK, GUEST, OUTSIDE);
    outside(closing, TH_ACK, OUTSIDE, GUEST + 1);
    outside(closing, TH_FIN | TH_ACK, OUTSIDE, GUEST + 1);
    guest(closing, TH_ACK, GUEST + 1, OUTSIDE + 1);
    nothing_is_done(closing);
    free(closing);
}

/* An acknowledgement of what is no end yet, though the number is that of none. */
static void test_not_ended(void **state)
{
    struct closing *closing = calloc(1, sizeof(*closing));

    (void)state;
    outside(closing, TH_FIN | TH_ACK, OUTSIDE, UINT32_MAX);
    outside(closing, TH_ACK, OUTSIDE + 1, 0);
    guest(closing, TH_ACK, 0, OUTSIDE + 1);
    nothing_is_done(closing);
    free(closing);
}

static void test_reset_or_reused(void **state)
{
    struct closing *closing = calloc(1, sizeof(*closing));

    (void)state;
    for (int i = 0; i < 4; i++) {
        outside(closing, TH_FIN | TH_ACK, OUTSIDE, GUEST);
        guest(closing, TH_FIN | TH_ACK, GUEST, OUTSIDE + 1);
        if (i < 2)
            guest(closing, i ? TH_RST : TH_SYN, GUEST + 1, 0);
        else
            outside(closing, i == 3 ? TH_RST : TH_SYN, OUTSIDE + 1, 0);
        outside(closing, TH_ACK, OUTSIDE + 1, GUEST + 1);
        nothing_is_done(closing);
        /* Done, and then in use again before it was taken. */
        outside(closing, TH_FIN | TH_ACK, OUTSIDE, GUEST);
        guest(closing, TH_FIN | TH_ACK, GUEST, OUTSIDE + 1);
        outside(closing, TH_ACK, OUTSIDE + 1, GUEST + 1);
        guest(closing, TH_SYN, 7, 0);
        nothing_is_done(closing);
    }
    free(closing);
}

/* More than the table holds: some are missed, none is taken for another. */
static void test_many(void **state)
{
    enum { MANY = 5000, FIRST_PORT = 30000 };
    struct closing *closing = calloc(1, sizeof(*closing));
    struct closing_connection c;
    unsigned num = 0;

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        outside_port = (uint16_t)(FIRST_PORT + i);
        outside(closing, TH_FIN | TH_ACK, OUTSIDE + i, GUEST + i);
        guest(closing, TH_FIN | TH_ACK, GUEST + i, OUTSIDE + i + 1);
        outside(closing, TH_ACK, OUTSIDE + i + 1, GUEST + i + 1);
    }
    while (closing_take(closing, &c)) {
        assert_int_equal(c.guest_end, GUEST + c.outside_port - FIRST_PORT + 1);
        num++;
    }
    assert_in_range(num, 500, CLOSING_MAX);
    free(closing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_turn),   cmocka_unit_test(test_at_once),         cmocka_unit_test(test_guest_first),
        cmocka_unit_test(test_not_ended), cmocka_unit_test(test_reset_or_reused), cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests_name("net-closing", tests, NULL, NULL);
}
