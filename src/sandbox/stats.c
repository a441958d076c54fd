/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/stats.h"

#include <stddef.h>
#include <string.h>

/* The 64-bit fields, in the order of the structure and of the message. */
static const size_t fields[] = {
    offsetof(struct msb_stats, uptime_ns),        offsetof(struct msb_stats, cpu_ns),
    offsetof(struct msb_stats, guest_user_ns),    offsetof(struct msb_stats, guest_system_ns),
    offsetof(struct msb_stats, memory_limit),     offsetof(struct msb_stats, memory_total),
    offsetof(struct msb_stats, memory_used),      offsetof(struct msb_stats, memory_held),
    offsetof(struct msb_stats, disk_read),        offsetof(struct msb_stats, disk_written),
    offsetof(struct msb_stats, network_received), offsetof(struct msb_stats, network_sent),
    offsetof(struct msb_stats, oom_kills),
};

enum { NUM_FIELDS = sizeof(fields) / sizeof(fields[0]) };

void stats_encode(struct writer *w, const struct msb_stats *stats)
{
    for (size_t i = 0; i < NUM_FIELDS; i++)
        put_u64(w, *(const uint64_t *)((const char *)stats + fields[i]));
    put_u32(w, stats->num_processes);
    put_u32(w, stats->num_vcpus);
}

bool stats_decode(struct reader *r, struct msb_stats *stats)
{
    memset(stats, 0, sizeof(*stats));
    for (size_t i = 0; i < NUM_FIELDS; i++)
        *(uint64_t *)((char *)stats + fields[i]) = get_u64(r);
    stats->num_processes = get_u32(r);
    stats->num_vcpus = get_u32(r);
    return reader_done(r);
}
