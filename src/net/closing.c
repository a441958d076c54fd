/* SPDX-License-Identifier: Apache-2.0 */
#include "net/closing.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <string.h>

static bool get_tcp(const struct packet *p, struct tcphdr *tcp)
{
    if (p->kind != PACKET_IP || p->protocol != IPPROTO_TCP || !p->has_ports || p->is_fragment)
        return false;
    memcpy(tcp, p->frame + p->upper, sizeof(*tcp)); /* packet_parse() has seen that it is there */
    return true;
}

/* Behind the segment, its FIN included. A header that says too much of itself makes a number that nobody acknowledges. */
static uint32_t end_of(const struct packet *p, const struct tcphdr *tcp)
{
    return ntohl(tcp->th_seq) + (uint32_t)(p->end - p->upper) - tcp->th_off * 4U + 1;
}

/* Its place in the table, whoever is there. */
static struct closing_connection *place_of(struct closing *closing, uint16_t outside_port, uint16_t guest_port)
{
    uint32_t ports = (uint32_t)outside_port << 16 | guest_port;

    return &closing->connections[(ports * 0x9e3779b1U) >> 22];
}

_Static_assert(CLOSING_MAX == 1 << (32 - 22), "place_of()");

static bool is_of(const struct closing_connection *c, const struct ip_address *outside, uint16_t outside_port,
                  const struct ip_address *guest, uint16_t guest_port)
{
    return c->is_used && c->outside_port == outside_port && c->guest_port == guest_port && ip_equal(&c->outside, outside) &&
           ip_equal(&c->guest, guest);
}

static void note_if_done(struct closing *closing, struct closing_connection *c)
{
    if (!c->outside_end_known || !c->guest_end_known || c->is_done)
        return;
    c->is_done = true;
    closing->done[closing->num_done++] = (uint16_t)(c - closing->connections);
}

void closing_from_outside(struct closing *closing, const struct packet *p)
{
    struct closing_connection *c;
    struct tcphdr tcp;
    bool known;

    if (!get_tcp(p, &tcp))
        return;
    c = place_of(closing, p->source_port, p->destination_port);
    known = is_of(c, &p->source, p->source_port, &p->destination, p->destination_port);
    if (tcp.th_flags & (TH_RST | TH_SYN)) {
        if (known)
            c->is_used = false;
        return;
    }
    /* One in the list keeps its place until it is taken. */
    if ((tcp.th_flags & TH_FIN) && !c->is_done && !(known && c->outside_end == end_of(p, &tcp))) {
        *c = (struct closing_connection){ .outside = p->source,
                                          .guest = p->destination,
                                          .outside_port = p->source_port,
                                          .guest_port = p->destination_port,
                                          .outside_end = end_of(p, &tcp),
                                          .is_used = true };
        return;
    }
    if (known && c->guest_ended && (tcp.th_flags & TH_ACK) && ntohl(tcp.th_ack) == c->guest_end) {
        c->guest_end_known = true;
        note_if_done(closing, c);
    }
}

void closing_from_guest(struct closing *closing, const struct packet *p)
{
    struct closing_connection *c;
    struct tcphdr tcp;

    if (!get_tcp(p, &tcp))
        return;
    c = place_of(closing, p->destination_port, p->source_port);
    if (!is_of(c, &p->destination, p->destination_port, &p->source, p->source_port))
        return;
    if (tcp.th_flags & (TH_RST | TH_SYN)) {
        c->is_used = false;
        return;
    }
    if (tcp.th_flags & TH_FIN) {
        c->guest_ended = true;
        c->guest_end = end_of(p, &tcp);
    }
    if ((tcp.th_flags & TH_ACK) && ntohl(tcp.th_ack) == c->outside_end) {
        c->outside_end_known = true;
        note_if_done(closing, c);
    }
}

bool closing_take(struct closing *closing, struct closing_connection *connection)
{
    while (closing->num_done > 0) {
        struct closing_connection *c = &closing->connections[closing->done[--closing->num_done]];
        bool is_used = c->is_used;

        *connection = *c;
        c->is_used = c->is_done = false;
        if (is_used)
            return true;
    }
    return false;
}
