/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel counts, read from a held descriptor of /proc: the workload may unmount or cover its own.
 */
#ifndef MSB_GUEST_STATS_H
#define MSB_GUEST_STATS_H

#include "wire/protocol.h"

/* What cannot be read stays zero. */
void stats_read(int proc_fd, struct guest_stats *stats);

/* How many processes the out-of-memory killer ended since boot. Counted before it sends the signal, so that whoever sees its
   victim end sees the count risen. */
uint64_t stats_oom_kills(int proc_fd);

#endif
