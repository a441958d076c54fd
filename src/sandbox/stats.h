/* SPDX-License-Identifier: Apache-2.0 */
/* struct msb_stats between the monitor and its clients. */
#ifndef MSB_SANDBOX_STATS_H
#define MSB_SANDBOX_STATS_H

#include "microsandbox.h"
#include "wire/buffer.h"

void stats_encode(struct writer *w, const struct msb_stats *stats);
bool stats_decode(struct reader *r, struct msb_stats *stats);

#endif
