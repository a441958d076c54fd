/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side of TCP connections; tcp_connection.h has the contract, sections are those of RFC 9293.
 *
 * The wire to the guest neither loses nor reorders, and is as wide as the guest's memory. So there is no congestion control, no
 * selective acknowledgement and no measuring of round trips: what is not acknowledged after a second, or after the third acknowledgement
 * of the same byte, is sent again from there on, and a segment of the guest's that is not the next one is dropped and asked for again.
 */
#include "net/checksum.h"
#include "net/net.h"
#include "net/reply.h"
#include "net/tcp_connection.h"

#include <arpa/inet.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>

enum {
    OPTIONS_MAX = 8,
    SEGMENT_DEFAULT = 536, /* 3.7.1, and as much as IPv6 has at least, about */
    SEGMENT_MIN = 88,      /* Linux's TCP_MIN_SND_MSS, about: more headers than data is nobody's wish */
    SCALE_MAX = 14,        /* RFC 7323, section 2.3 */
    MENTION_MS = 4,
    UNMENTIONED_MAX = 4096, /* bytes: more is a stream */
    DUPLICATES = 3,         /* RFC 5681, section 3.2 */
    RETRY_MS = 1000,        /* RFC 6298, section 2.1 */
    RETRIES_MAX = 8,        /* four minutes, as each waits twice as long as the one before */
};

/* Whether a comes after b. */
static bool is_after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* ---- Segments to the guest ----------------------------------------------------------------------------------------------- */

static uint32_t headers_size(const struct connection *c)
{
    return (c->remote.version == 4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr)) + sizeof(struct tcphdr);
}

static uint32_t own_window(const struct connection *c)
{
    return c->to_host.capacity - c->to_host.used;
}

/* The window as it is written (3.1; RFC 7323, section 2.2), and what the guest will take it for. */
static uint16_t announce(struct connection *c, bool is_syn)
{
    unsigned scale = c->scales && !is_syn ? WINDOW_SCALE : 0;
    uint32_t window = min_u32(own_window(c) >> scale, UINT16_MAX);

    c->edge = c->expected + (window << scale);
    return (uint16_t)window;
}

struct outgoing {
    uint32_t sequence;
    uint8_t flags;
    uint8_t options[OPTIONS_MAX];
    uint32_t options_size;
    uint32_t offset, size; /* of the data in c->to_guest */
};

static void emit(struct connection *c, const struct outgoing *s)
{
    struct tcp *tcp = c->tcp;
    size_t size = sizeof(struct tcphdr) + s->options_size + s->size;
    size_t at = write_headers(tcp->own, &c->remote, &c->guest, IPPROTO_TCP, size, tcp->frame), end;
    struct tcphdr header = { .th_flags = s->flags };
    struct iovec data[2];
    uint64_t sum;

    header.th_sport = htons(c->remote_port);
    header.th_dport = htons(c->guest_port);
    header.th_seq = htonl(s->sequence);
    header.th_off = (uint8_t)((sizeof(header) + s->options_size) / 4) & 15;
    header.th_win = htons(announce(c, s->flags & TH_SYN));
    if (s->flags & TH_ACK) {
        header.th_ack = htonl(c->expected);
        c->is_due = false;
        c->unmentioned = 0;
        c->mention_at = 0;
    }
    memcpy(tcp->frame + at, &header, sizeof(header));
    memcpy(tcp->frame + at + sizeof(header), s->options, s->options_size);
    end = at + sizeof(header) + s->options_size;
    for (unsigned i = 0, num = ring_part(&c->to_guest, s->offset, s->size, data); i < num; i++) {
        memcpy(tcp->frame + end, data[i].iov_base, data[i].iov_len);
        end += data[i].iov_len;
    }
    sum = checksum_add_pseudo(0, &c->remote, &c->guest, IPPROTO_TCP, size);
    header.th_sum = checksum_finish(checksum_add(sum, tcp->frame + at, size));
    memcpy(tcp->frame + at, &header, sizeof(header));
    tcp->handler->frame(tcp->data, tcp->frame, end);
}

static void wait_for_guest(struct connection *c)
{
    c->deadline = tcp_now() + (RETRY_MS * MILLISECONDS << c->retries);
    tcp_wake_at(c->tcp, c->deadline);
}

/* SYN, with the options that the guest's had, or all (3.7.1; RFC 7323, section 2.2). */
static void emit_syn(struct connection *c, uint8_t flags)
{
    uint32_t segment = NET_MTU - headers_size(c);
    struct outgoing s = { .sequence = c->first, .flags = flags };

    memcpy(s.options, (uint8_t[]){ TCPOPT_MAXSEG, TCPOLEN_MAXSEG, (uint8_t)(segment >> 8), (uint8_t)segment }, 4);
    s.options_size = 4;
    if (c->scales) {
        memcpy(s.options + 4, (uint8_t[]){ TCPOPT_NOP, TCPOPT_WINDOW, TCPOLEN_WINDOW, WINDOW_SCALE }, 4);
        s.options_size = 8;
    }
    emit(c, &s);
    c->next = c->highest = c->first + 1;
    wait_for_guest(c);
}

void guest_offer(struct connection *c)
{
    c->state = CONNECTION_OFFERED;
    c->scales = true;
    emit_syn(c, TH_SYN);
}

void guest_answer(struct connection *c)
{
    c->state = CONNECTION_ANSWERED;
    emit_syn(c, TH_SYN | TH_ACK);
}

void guest_acknowledge(struct connection *c)
{
    c->mentioned = tcp_now();
    if (c->mention_at && c->mentioned >= c->mention_at)
        c->is_silent = true;
    emit(c, &(struct outgoing){ .sequence = c->highest, .flags = TH_ACK });
}

void guest_reset(struct connection *c)
{
    /* A connection that the guest has begun and heard nothing of. */
    bool unheard = c->state == CONNECTION_BEGUN;

    emit(c, &(struct outgoing){ .sequence = unheard ? 0 : c->highest, .flags = TH_RST | TH_ACK });
}

/* One segment of data, the end, or both. False when nothing can be sent now. */
static bool push_one(struct connection *c)
{
    uint32_t sent = c->next - c->first, left, room, size;
    struct outgoing s = { .sequence = c->next, .flags = TH_ACK, .offset = sent };
    bool end;

    if (sent > c->to_guest.used || c->end_acknowledged)
        return false;
    left = c->to_guest.used - sent;
    room = c->window > sent ? c->window - sent : 0;
    size = min_u32(min_u32(left, c->segment_max), room);
    end = c->host_ended && size == left;
    if (size == 0 && !end)
        return false;
    /* The window's last few bytes wait for it to open further (3.8.6.2.1). */
    if (size < left && size < c->segment_max && sent > 0)
        return false;
    if (c->tcp->handler->congested(c->tcp->data)) {
        c->tcp->blocked = true;
        return false;
    }
    if (c->is_silent && tcp_now() < c->mentioned + MENTION_MS * MILLISECONDS)
        c->is_silent = false;
    s.size = size;
    if (end)
        s.flags |= TH_FIN;
    if (size == left)
        s.flags |= TH_PUSH;
    emit(c, &s);
    c->next += size + end;
    if (is_after(c->next, c->highest))
        c->highest = c->next;
    return true;
}

void guest_push(struct connection *c)
{
    while (push_one(c))
        ;
    /* Something is on its way, or waits for the guest to open its window. */
    if (c->deadline == 0 && (c->highest != c->first || (c->to_guest.used > 0 && c->window == 0)))
        wait_for_guest(c);
}

void guest_timeout(struct connection *c)
{
    bool probe = c->state == CONNECTION_OPEN && c->highest == c->first;

    if (c->retries < RETRIES_MAX)
        c->retries++;
    else if (!probe && c->window > 0)
        c->failed = true;
    if (c->failed)
        return;
    switch (c->state) {
    case CONNECTION_BEGUN:
        break;
    case CONNECTION_ANSWERED:
        emit_syn(c, TH_SYN | TH_ACK);
        break;
    case CONNECTION_OFFERED:
        emit_syn(c, TH_SYN);
        break;
    case CONNECTION_OPEN:
        /* What is out of the window asks for an answer that says what the window is (3.8.4, 3.8.6.1). */
        if (c->window == 0)
            emit(c, &(struct outgoing){ .sequence = c->first - 1, .flags = TH_ACK });
        c->next = c->first;
        wait_for_guest(c);
        break;
    }
}

void guest_update_window(struct connection *c)
{
    uint32_t known = c->edge - c->expected;

    if (own_window(c) - known >= c->to_host.capacity / 2)
        guest_acknowledge(c);
}

/* ---- Segments from the guest --------------------------------------------------------------------------------------------- */

static void acknowledge_soon(struct connection *c)
{
    if (!c->is_queued)
        TAILQ_INSERT_TAIL(&c->tcp->due, c, due);
    c->is_queued = c->is_due = true;
}

/* Perhaps there will be an answer that says it, too: one packet less for the guest. But not for long, since the guest may wait for it
   before it sends more (3.7.4). */
static void acknowledge_later(struct connection *c)
{
    if (c->is_silent) {
        acknowledge_soon(c);
        return;
    }
    if (c->mention_at)
        return;
    c->mention_at = tcp_now() + MENTION_MS * MILLISECONDS;
    tcp_wake_at(c->tcp, c->mention_at);
}

static void parse_option(struct connection *c, const uint8_t *option, uint8_t size)
{
    if (option[0] == TCPOPT_MAXSEG && size == TCPOLEN_MAXSEG) {
        c->segment_max = (uint32_t)option[2] << 8 | option[3];
    } else if (option[0] == TCPOPT_WINDOW && size == TCPOLEN_WINDOW) {
        c->scales = true;
        c->guest_scale = option[2] < SCALE_MAX ? option[2] : SCALE_MAX;
    }
}

/* The header's length lies within the packet (packet.c). */
static void parse_options(struct connection *c, const uint8_t *at, const uint8_t *end)
{
    uint32_t largest = NET_MTU - headers_size(c);

    c->scales = false;
    c->guest_scale = 0;
    c->segment_max = SEGMENT_DEFAULT;
    while (at < end && at[0] != TCPOPT_EOL) {
        uint8_t size = 1;

        if (at[0] != TCPOPT_NOP) {
            if (end - at < 2 || at[1] < 2 || at[1] > end - at)
                break;
            size = at[1];
            parse_option(c, at, size);
        }
        at += size;
    }
    if (c->segment_max > largest)
        c->segment_max = largest;
    if (c->segment_max < SEGMENT_MIN)
        c->segment_max = SEGMENT_MIN;
}

static struct tcphdr header_of(const struct packet *p)
{
    struct tcphdr header;

    memcpy(&header, p->frame + p->upper, sizeof(header));
    return header;
}

void guest_begin(struct connection *c, const struct packet *p)
{
    struct tcphdr header = header_of(p);
    const uint8_t *at = p->frame + p->upper;

    parse_options(c, at + sizeof(header), at + header.th_off * 4U);
    c->window = ntohs(header.th_win); /* never scaled here */
    c->expected = ntohl(header.th_seq) + 1;
}

/* The answer to our SYN. */
static bool accept_answer(struct connection *c, const struct packet *p, const struct tcphdr *header)
{
    if ((header->th_flags & (TH_SYN | TH_ACK)) != (TH_SYN | TH_ACK) || ntohl(header->th_ack) != c->highest)
        return false;
    guest_begin(c, p);
    c->first = c->next;
    c->state = CONNECTION_OPEN;
    c->deadline = c->retries = 0;
    acknowledge_soon(c);
    return true;
}

static bool accept_acknowledgement_of_syn(struct connection *c, const struct tcphdr *header)
{
    if ((header->th_flags & TH_SYN) || !(header->th_flags & TH_ACK) || ntohl(header->th_ack) != c->highest)
        return false;
    c->first = c->next;
    c->state = CONNECTION_OPEN;
    c->deadline = c->retries = 0;
    return true;
}

static void take_acknowledged(struct connection *c, uint32_t acknowledged)
{
    uint32_t data = min_u32(acknowledged, c->to_guest.used);

    ring_drop(&c->to_guest, data);
    c->end_acknowledged = acknowledged > data;
    c->first += acknowledged;
    if (is_after(c->first, c->next))
        c->next = c->first;
    c->retries = c->duplicates = 0;
    c->deadline = 0;
    if (c->highest != c->first)
        wait_for_guest(c);
}

/* 3.10.7.4, "fifth, check the ACK field". False when it is of something that was never sent. */
static bool take_acknowledgement(struct connection *c, const struct tcphdr *header, bool has_data)
{
    uint32_t acknowledged = ntohl(header->th_ack) - c->first;
    uint32_t window = (uint32_t)ntohs(header->th_win) << c->guest_scale;
    bool same = window == c->window;

    if (is_after(0, acknowledged))
        return true; /* an old one */
    if (acknowledged > c->highest - c->first)
        return false;
    c->window = window;
    if (acknowledged > 0) {
        take_acknowledged(c, acknowledged);
    } else if (c->highest != c->first && same && !has_data && ++c->duplicates == DUPLICATES) {
        c->duplicates = 0;
        c->next = c->first;
    } else if (c->highest == c->first && window > 0) {
        c->deadline = c->retries = 0; /* of a window that was closed */
    }
    return true;
}

static void take_data(struct connection *c, const struct packet *p, const struct tcphdr *header)
{
    const uint8_t *data = p->frame + p->upper + header->th_off * 4U;
    uint32_t size = (uint32_t)(p->end - p->upper - header->th_off * 4U), taken;
    uint32_t old = c->expected - ntohl(header->th_seq);
    bool end = header->th_flags & TH_FIN;

    if (size == 0 && !end && old == 0)
        return;
    /* Not the next: it is behind a gap, or all of it is here already. */
    if (old > size || c->guest_ended) {
        acknowledge_soon(c);
        return;
    }
    taken = min_u32(size - old, own_window(c));
    taken = taken > 0 ? host_write(c, data + old, taken) : 0;
    c->expected += taken;
    c->unmentioned += taken;
    if (taken == size - old && end) {
        c->expected++;
        c->guest_ended = true;
    }
    if (taken < size || c->unmentioned > UNMENTIONED_MAX)
        acknowledge_soon(c);
    else
        acknowledge_later(c);
}

void guest_input(struct connection *c, const struct packet *p)
{
    struct tcphdr header = header_of(p);

    if (header.th_flags & TH_RST) {
        c->failed = c->silent = true;
        return;
    }
    if (c->state == CONNECTION_BEGUN)
        return; /* the same SYN once more */
    if (c->state == CONNECTION_OFFERED) {
        accept_answer(c, p, &header);
        return;
    }
    if (c->state == CONNECTION_ANSWERED && !accept_acknowledgement_of_syn(c, &header)) {
        if (header.th_flags & TH_SYN)
            guest_answer(c);
        return;
    }
    if ((header.th_flags & TH_SYN) || !(header.th_flags & TH_ACK) ||
        !take_acknowledgement(c, &header, p->end - p->upper > header.th_off * 4U)) {
        acknowledge_soon(c);
        return;
    }
    take_data(c, p, &header);
}
