/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reassembly; reassembly.h has the contract.
 *
 * Each packet on its way has a buffer for the largest packet there is, with the headers of its first fragment in front, and a bitmap of
 * the eight-byte units that have come. Fragments that overlap others are an attack and nothing else (RFC 5722, section 4; RFC 9099 says
 * the same for IPv4's): the whole packet is given up.
 */
#include "net/reassembly.h"

#include "net/checksum.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stdlib.h>
#include <string.h>

enum {
    NUM_SLOTS = 16,
    LIFETIME = 30, /* seconds (RFC 8200: 60; RFC 1122: 60 to 120; Linux: 30) */
    PAYLOAD_MAX = 65535,
    NUM_UNITS = (PAYLOAD_MAX + 7) / 8,
    HEADERS_MAX = 14 + 40 + 256, /* Ethernet, and IPv4 with options, or IPv6 with extension headers in front of the fragment's */
};

struct slot {
    bool used, given_up; /* given up: what still comes of it is ignored until its time is over */
    uint64_t since;
    uint8_t protocol; /* IPv4 only: part of what tells packets apart */
    uint32_t id;
    struct ip_address source, destination;

    bool has_first;
    size_t headers_size;
    size_t next_header_at;
    size_t received; /* bytes of payload */
    size_t extent;   /* where what has come ends */
    size_t total;    /* where the packet ends; 0 until its last fragment has come */
    uint64_t units[(NUM_UNITS + 63) / 64];
    uint8_t frame[HEADERS_MAX + PAYLOAD_MAX]; /* headers end where the payload begins: at HEADERS_MAX */
};

struct reassembly {
    struct slot slots[NUM_SLOTS];
};

struct reassembly *reassembly_new(msb_error **err)
{
    struct reassembly *reassembly = calloc(1, sizeof(*reassembly));

    return reassembly ? reassembly : FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
}

void reassembly_free(struct reassembly *reassembly)
{
    free(reassembly);
}

static bool is_of(const struct slot *slot, const struct packet *p)
{
    if (!slot->used || slot->id != p->fragment_id || !ip_equal(&slot->source, &p->source) ||
        !ip_equal(&slot->destination, &p->destination))
        return false;
    return p->source.version == 6 || slot->protocol == p->protocol;
}

static void begin(struct slot *slot, const struct packet *p, uint64_t now)
{
    slot->used = true;
    slot->given_up = slot->has_first = false;
    slot->since = now;
    slot->protocol = p->protocol;
    slot->id = p->fragment_id;
    slot->source = p->source;
    slot->destination = p->destination;
    slot->received = slot->extent = slot->total = 0;
    memset(slot->units, 0, sizeof(slot->units));
}

/* The fragment's packet, or a free slot for it, or that of the oldest packet. */
static struct slot *find_slot(struct reassembly *r, const struct packet *p, uint64_t now)
{
    struct slot *chosen = NULL;

    for (int i = 0; i < NUM_SLOTS; i++) {
        struct slot *slot = &r->slots[i];

        if (slot->used && now - slot->since > LIFETIME)
            slot->used = false;
        if (is_of(slot, p))
            return slot;
        if (!chosen || (chosen->used && (!slot->used || slot->since < chosen->since)))
            chosen = slot;
    }
    begin(chosen, p, now);
    return chosen;
}

/* Marks the units of [offset, offset + size); false when one was there already. */
static bool mark_units(struct slot *slot, size_t offset, size_t size)
{
    for (size_t unit = offset / 8; unit < (offset + size + 7) / 8; unit++) {
        uint64_t bit = 1ULL << (unit % 64);

        if (slot->units[unit / 64] & bit)
            return false;
        slot->units[unit / 64] |= bit;
    }
    return true;
}

/* Where the payload of a fragment begins: behind all headers that are not its own. */
static size_t headers_end(const struct packet *p)
{
    return p->source.version == 4 ? p->upper : p->fragment_header;
}

static bool add_first(struct slot *slot, const struct packet *p)
{
    size_t size = headers_end(p);

    if (size > HEADERS_MAX)
        return false;
    slot->has_first = true;
    slot->headers_size = size;
    slot->next_header_at = p->next_header_at;
    slot->protocol = p->protocol;
    memcpy(slot->frame + HEADERS_MAX - size, p->frame, size);
    return true;
}

static bool add_fragment(struct slot *slot, const struct packet *p)
{
    size_t offset = p->fragment_offset, size = p->end - p->upper;

    /* All but the last consist of whole units, and none is empty. */
    if (size == 0 || offset + size > PAYLOAD_MAX || (p->more_fragments && size % 8 != 0))
        return false;
    if (slot->total && offset + size > slot->total)
        return false;
    if (!p->more_fragments) {
        if (slot->total || offset + size < slot->extent)
            return false;
        slot->total = offset + size;
    }
    if (offset + size > slot->extent)
        slot->extent = offset + size;
    if (!mark_units(slot, offset, size) || (offset == 0 && !add_first(slot, p)))
        return false;
    memcpy(slot->frame + HEADERS_MAX + offset, p->frame + p->upper, size);
    slot->received += size;
    return true;
}

/* Makes the headers those of a whole packet. False when it would be larger than a packet can be. */
static bool finish_headers(struct slot *slot)
{
    uint8_t *frame = slot->frame + HEADERS_MAX - slot->headers_size;
    size_t size = slot->headers_size - ETH_HLEN + slot->total;
    struct iphdr ip4;
    struct ip6_hdr ip6;

    if (slot->source.version == 4) {
        if (size > UINT16_MAX)
            return false;
        memcpy(&ip4, frame + ETH_HLEN, sizeof(ip4));
        ip4.tot_len = htons((uint16_t)size);
        ip4.frag_off = 0;
        ip4.check = 0;
        memcpy(frame + ETH_HLEN, &ip4, sizeof(ip4));
        ip4.check = checksum_finish(checksum_add(0, frame + ETH_HLEN, ip4.ihl * 4U));
        memcpy(frame + ETH_HLEN, &ip4, sizeof(ip4));
        return true;
    }
    size -= sizeof(ip6);
    if (size > UINT16_MAX)
        return false;
    memcpy(&ip6, frame + ETH_HLEN, sizeof(ip6));
    ip6.ip6_plen = htons((uint16_t)size);
    memcpy(frame + ETH_HLEN, &ip6, sizeof(ip6));
    frame[slot->next_header_at] = slot->protocol;
    return true;
}

uint8_t *reassembly_add(struct reassembly *r, const struct packet *p, uint64_t now, size_t *size, enum reason *reason)
{
    struct slot *slot = find_slot(r, p, now);

    *reason = REASON_NONE;
    if (slot->given_up || !add_fragment(slot, p)) {
        slot->given_up = true;
        *reason = REASON_REASSEMBLY;
        return NULL;
    }
    if (slot->total == 0 || slot->received < slot->total || !slot->has_first)
        return NULL;
    if (!finish_headers(slot)) {
        slot->given_up = true;
        *reason = REASON_REASSEMBLY;
        return NULL;
    }
    slot->used = false;
    *size = slot->headers_size + slot->total;
    return slot->frame + HEADERS_MAX - slot->headers_size;
}
