/* SPDX-License-Identifier: Apache-2.0 */
/* What the processes of a sandbox use on the host, as /proc tells it. */
#ifndef MSB_SANDBOX_USAGE_H
#define MSB_SANDBOX_USAGE_H

#include "sandbox/children.h"

#include <stdint.h>

struct usage {
    uint64_t cpu_ns;
    uint64_t memory; /* each page once: proportional set sizes; 0: not known */
    uint64_t disk_read, disk_written;
};

/* Opens what only root may open when it belongs to nobody: before the monitor gives up its capabilities. */
void usage_begin(struct children *children);

/* Of the monitor, its children and theirs. */
void usage_read(const struct children *children, struct usage *usage);

#endif
