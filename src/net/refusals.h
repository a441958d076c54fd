/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what did not pass, by reason, and tells of it in the log at level debug: one line for each flow, not for each packet.
 */
#ifndef MSB_NET_REFUSALS_H
#define MSB_NET_REFUSALS_H

#include "net/packet.h"

enum { REFUSALS_REMEMBERED = 256 };

struct refusals {
    uint64_t counts[REASON_NUM];
    uint64_t remembered[REFUSALS_REMEMBERED]; /* hashes of the flows told of last */
};

/* packet may be NULL, when it was none. */
void refusals_count(struct refusals *refusals, const struct packet *packet, enum reason reason);
void refusals_log(const struct refusals *refusals);

#endif
