/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting refusals; refusals.h has the contract.
 */
#include "net/refusals.h"

#include "util/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* FNV-1a. Two flows with the same hash share a line, which costs nobody anything. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
    const uint8_t *byte = bytes;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3ULL;
    return hash;
}

static uint64_t hash_of(const struct packet *p, enum reason reason)
{
    uint64_t hash = hash_bytes(0xcbf29ce484222325ULL, &reason, sizeof(reason));
    size_t size = p->source.version == 4 ? sizeof(p->source.v4) : sizeof(p->source.v6);

    hash = hash_bytes(hash, &p->source.v4, size);
    hash = hash_bytes(hash, &p->destination.v4, size);
    hash = hash_bytes(hash, &p->protocol, sizeof(p->protocol));
    hash = hash_bytes(hash, &p->source_port, sizeof(p->source_port));
    return hash_bytes(hash, &p->destination_port, sizeof(p->destination_port));
}

static const char *protocol_text(const struct packet *p, char text[16])
{
    if (p->kind == PACKET_ARP)
        return "ARP";
    switch (p->protocol) {
    case IPPROTO_TCP:
        return "TCP";
    case IPPROTO_UDP:
        return "UDP";
    case IPPROTO_ICMP:
        return "ICMP";
    case IPPROTO_ICMPV6:
        return "ICMPv6";
    default:
        snprintf(text, 16, "protocol %u", p->protocol);
        return text;
    }
}

static void log_flow(const struct packet *p, enum reason reason)
{
    char source[IP_TEXT_MAX], destination[IP_TEXT_MAX], protocol[16], ports[32] = "";

    if (p->has_ports)
        snprintf(ports, sizeof(ports), ", port %u to %u", p->source_port, p->destination_port);
    log_debug("refused: %s from %s to %s%s: %s", protocol_text(p, protocol), ip_text(&p->source, source),
              ip_text(&p->destination, destination), ports, reason_text(reason));
}

void refusals_count(struct refusals *refusals, const struct packet *p, enum reason reason)
{
    uint64_t hash;

    refusals->counts[reason]++;
    if (!p || reason == REASON_UNWANTED || !log_enabled(MSB_LOG_DEBUG))
        return;
    hash = hash_of(p, reason);
    if (refusals->remembered[hash % REFUSALS_REMEMBERED] == hash)
        return;
    refusals->remembered[hash % REFUSALS_REMEMBERED] = hash;
    log_flow(p, reason);
}

void refusals_log(const struct refusals *refusals)
{
    for (int reason = REASON_NONE + 1; reason < REASON_NUM; reason++)
        if (refusals->counts[reason])
            log_debug("refused %" PRIu64 " packets: %s", refusals->counts[reason], reason_text((enum reason)reason));
}
