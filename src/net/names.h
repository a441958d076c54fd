/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver's own names: the members of the group, and host.microsandbox.internal where the scope reaches the host. Everything else
 * is the host's resolver's business.
 */
#ifndef MSB_NET_NAMES_H
#define MSB_NET_NAMES_H

#include "net/filter.h"

#include <stdint.h>

struct names {
    const struct filter *filter;
    int directory; /* the group's names (net/group.h), -1 when in no group */
};

enum { ANSWER_SIZE_MAX = 512 };

/* Answers a DNS query (RFC 1035) of size bytes into answer, and returns the answer's size. 0: not ours, for the host's resolver; where
   the scope has none, every name that is not ours does not exist. */
size_t names_answer(const struct names *names, const uint8_t *query, size_t size, uint8_t answer[ANSWER_SIZE_MAX]);

#endif
