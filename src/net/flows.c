/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows by published ports; flows.h has the contract. Hashed with a secret, so that clients cannot choose ports that all fall into one
 * chain.
 */
#include "net/flows.h"

#include "util/error.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { NUM_BUCKETS = 4096 };

/* Newest first. */
struct list {
    struct flow *newest, *oldest;
};

struct flows {
    uint64_t secret[2];
    struct flow *buckets[NUM_BUCKETS];
    struct list used, ended;
    unsigned num;
    struct flow flows[FLOWS_MAX];
};

struct flows *flows_new(msb_error **err)
{
    struct flows *flows = calloc(1, sizeof(*flows));

    if (!flows)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    if (getrandom(flows->secret, sizeof(flows->secret), 0) != sizeof(flows->secret)) {
        free(flows);
        return FAIL_NULL(fail_errno(err, "get random bytes"));
    }
    return flows;
}

void flows_free(struct flows *flows)
{
    free(flows);
}

static bool key_equal(const struct flow_key *a, const struct flow_key *b)
{
    return a->remote_port == b->remote_port && a->guest_port == b->guest_port && a->protocol == b->protocol &&
           ip_equal(&a->remote, &b->remote);
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
    return hash ^ (hash >> 29);
}

static struct flow **bucket_of(struct flows *flows, const struct flow_key *key)
{
    uint64_t address[2] = { 0 }, hash = flows->secret[0];

    memcpy(address, &key->remote.v4, key->remote.version == 4 ? sizeof(key->remote.v4) : sizeof(key->remote.v6));
    hash = mix(hash, address[0]);
    hash = mix(hash, address[1]);
    hash = mix(hash, (uint64_t)key->remote_port << 32 | (uint64_t)key->guest_port << 16 | key->protocol);
    return &flows->buckets[mix(hash, flows->secret[1]) % NUM_BUCKETS];
}

static struct list *list_of(struct flows *flows, const struct flow *flow)
{
    return flow->ended ? &flows->ended : &flows->used;
}

static void unlink_flow(struct list *list, struct flow *flow)
{
    *(flow->newer ? &flow->newer->older : &list->newest) = flow->older;
    *(flow->older ? &flow->older->newer : &list->oldest) = flow->newer;
    flow->newer = flow->older = NULL;
}

static void link_newest(struct list *list, struct flow *flow)
{
    flow->older = list->newest;
    *(list->newest ? &list->newest->newer : &list->oldest) = flow;
    list->newest = flow;
}

struct flow *flows_find(struct flows *flows, const struct flow_key *key)
{
    struct flow *flow = *bucket_of(flows, key);

    while (flow && !key_equal(&flow->key, key))
        flow = flow->chain;
    if (flow) {
        unlink_flow(list_of(flows, flow), flow);
        link_newest(list_of(flows, flow), flow);
    }
    return flow;
}

static struct flow *take_oldest(struct flows *flows)
{
    struct flow *oldest = flows->ended.oldest ? flows->ended.oldest : flows->used.oldest;
    struct flow **at = bucket_of(flows, &oldest->key);

    while (*at != oldest)
        at = &(*at)->chain;
    *at = oldest->chain;
    unlink_flow(list_of(flows, oldest), oldest);
    return oldest;
}

struct flow *flows_add(struct flows *flows, const struct flow_key *key)
{
    struct flow *flow = flows_find(flows, key);
    struct flow **bucket = bucket_of(flows, key);

    if (!flow) {
        flow = flows->num < FLOWS_MAX ? &flows->flows[flows->num++] : take_oldest(flows);
        *flow = (struct flow){ .key = *key, .fd = -1, .chain = *bucket };
        *bucket = flow;
        link_newest(&flows->used, flow);
    }
    if (flow->ended) {
        unlink_flow(&flows->ended, flow);
        flow->ended = false;
        link_newest(&flows->used, flow);
    }
    return flow;
}

void flows_end(struct flows *flows, struct flow *flow)
{
    if (flow->ended)
        return;
    unlink_flow(&flows->used, flow);
    flow->ended = true;
    link_newest(&flows->ended, flow);
}
