/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/protocol.h"

#include "microsandbox.h"

#include <stdlib.h>
#include <string.h>

static void get_fixed(struct reader *r, void *to, size_t size)
{
    const uint8_t *from = get_raw(r, size);

    if (from)
        memcpy(to, from, size);
}

void guest_config_clear(struct guest_config *config)
{
    free(config->hostname);
    for (size_t i = 0; i < config->num_shares; i++) {
        free(config->shares[i].name);
        free(config->shares[i].guest);
    }
    free(config->shares);
    free_strings(config->network.resolvers, config->network.num_resolvers);
    free_strings(config->network.hosts, config->network.num_hosts);
    *config = (struct guest_config){ 0 };
}

static void encode_network(struct writer *w, const struct guest_network *network)
{
    put_bool(w, network->present);
    if (!network->present)
        return;
    put_raw(w, network->ipv4, sizeof(network->ipv4));
    put_raw(w, network->ipv4_gateway, sizeof(network->ipv4_gateway));
    put_u8(w, network->ipv4_bits);
    put_raw(w, network->ipv6, sizeof(network->ipv6));
    put_raw(w, network->ipv6_gateway, sizeof(network->ipv6_gateway));
    put_u8(w, network->ipv6_bits);
    put_strings(w, network->resolvers, network->num_resolvers);
    put_strings(w, network->hosts, network->num_hosts);
}

static void decode_network(struct reader *r, struct guest_network *network)
{
    network->present = get_bool(r);
    if (!network->present)
        return;
    get_fixed(r, network->ipv4, sizeof(network->ipv4));
    get_fixed(r, network->ipv4_gateway, sizeof(network->ipv4_gateway));
    network->ipv4_bits = get_u8(r);
    get_fixed(r, network->ipv6, sizeof(network->ipv6));
    get_fixed(r, network->ipv6_gateway, sizeof(network->ipv6_gateway));
    network->ipv6_bits = get_u8(r);
    network->resolvers = get_strings(r, GUEST_RESOLVERS_MAX, &network->num_resolvers);
    network->hosts = get_strings(r, GUEST_HOSTS_MAX, &network->num_hosts);
    if (network->ipv4_bits > 32 || network->ipv6_bits > 128)
        r->failed = true;
}

void guest_config_encode(struct writer *w, const struct guest_config *config)
{
    put_u8(w, config->log_level);
    put_u64(w, config->realtime);
    put_raw(w, config->seed, sizeof(config->seed));
    put_string(w, config->hostname);
    put_u32(w, config->num_layers);
    put_bool(w, config->has_upper);
    put_bool(w, config->host_root);
    put_u32(w, (uint32_t)config->num_shares);
    for (size_t i = 0; i < config->num_shares; i++) {
        put_string(w, config->shares[i].name);
        put_string(w, config->shares[i].guest);
        put_bool(w, config->shares[i].is_file);
        put_bool(w, config->shares[i].read_only);
    }
    encode_network(w, &config->network);
}

void guest_config_set_time(struct writer *w, size_t begin, uint64_t realtime)
{
    struct writer over = { .data = w->data, .size = begin + 1, .capacity = w->capacity };

    /* Behind the log level; there is room, since it was written before. */
    if (!w->failed)
        put_u64(&over, realtime);
}

/* A name is one component, so that it cannot leave the top of the shares' file system. */
static bool is_share(const struct guest_share *share)
{
    return share->name[0] && !strchr(share->name, '/') && strcmp(share->name, ".") != 0 && strcmp(share->name, "..") != 0 &&
           share->guest[0] == '/';
}

static void decode_shares(struct reader *r, struct guest_config *config)
{
    uint32_t count = get_count(r, GUEST_SHARES_MAX, 4 + 4 + 1 + 1);

    config->shares = calloc(count ? count : 1, sizeof(*config->shares));
    if (!config->shares) {
        r->failed = true;
        return;
    }
    config->num_shares = count;
    for (uint32_t i = 0; i < count; i++) {
        struct guest_share *share = &config->shares[i];

        share->name = get_string(r);
        share->guest = get_string(r);
        share->is_file = get_bool(r);
        share->read_only = get_bool(r);
        if (!r->failed && !is_share(share))
            r->failed = true;
    }
}

bool guest_config_decode(struct reader *r, struct guest_config *config)
{
    *config = (struct guest_config){ 0 };
    config->log_level = get_u8(r);
    config->realtime = get_u64(r);
    get_fixed(r, config->seed, sizeof(config->seed));
    config->hostname = get_string(r);
    config->num_layers = get_u32(r);
    config->has_upper = get_bool(r);
    config->host_root = get_bool(r);
    decode_shares(r, config);
    decode_network(r, &config->network);
    if (config->log_level > MSB_LOG_TRACE || config->num_layers > GUEST_LAYERS_MAX)
        r->failed = true;
    if (r->failed)
        guest_config_clear(config);
    return !r->failed;
}

void guest_stats_encode(struct writer *w, const struct guest_stats *stats)
{
    put_u64(w, stats->memory_total);
    put_u64(w, stats->memory_free);
    put_u64(w, stats->memory_available);
    put_u64(w, stats->memory_cached);
    put_u64(w, stats->cpu_user);
    put_u64(w, stats->cpu_system);
    put_u64(w, stats->cpu_idle);
    put_u32(w, stats->num_processes);
    put_u64(w, stats->network_received);
    put_u64(w, stats->network_sent);
    put_u64(w, stats->oom_kills);
}

bool guest_stats_decode(struct reader *r, struct guest_stats *stats)
{
    stats->memory_total = get_u64(r);
    stats->memory_free = get_u64(r);
    stats->memory_available = get_u64(r);
    stats->memory_cached = get_u64(r);
    stats->cpu_user = get_u64(r);
    stats->cpu_system = get_u64(r);
    stats->cpu_idle = get_u64(r);
    stats->num_processes = get_u32(r);
    stats->network_received = get_u64(r);
    stats->network_sent = get_u64(r);
    stats->oom_kills = get_u64(r);
    return !r->failed;
}

size_t message_begin(struct writer *w, enum message type)
{
    size_t begin = w->size;

    put_u32(w, 0);
    put_u16(w, (uint16_t)type);
    put_u16(w, 0);
    return begin;
}

void message_end(struct writer *w, size_t begin)
{
    size_t body = w->size - begin - MESSAGE_HEADER_SIZE;

    if (w->failed)
        return;
    if (body > UINT32_MAX) {
        w->failed = true;
        return;
    }
    for (unsigned i = 0; i < 4; i++)
        w->data[begin + i] = (uint8_t)(body >> (8 * i));
}
