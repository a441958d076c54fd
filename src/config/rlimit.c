/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RLIMIT_NAME=SOFT:HARD or NUMBER=SOFT:HARD, with Linux's names and numbers (setrlimit(2), asm-generic/resource.h).
 */
#include "config/rlimit.h"

#include "config/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct msb_rlimit {
    struct rlimit_setting limit;
};

static const char *const names[] = {
    "RLIMIT_CPU",      "RLIMIT_FSIZE",  "RLIMIT_DATA",    "RLIMIT_STACK",  "RLIMIT_CORE",  "RLIMIT_RSS",
    "RLIMIT_NPROC",    "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS",     "RLIMIT_LOCKS", "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE", "RLIMIT_NICE",   "RLIMIT_RTPRIO",  "RLIMIT_RTTIME",
};

enum { NUM_NAMES = sizeof(names) / sizeof(names[0]) };
_Static_assert((int)NUM_NAMES == (int)PROCESS_RLIMITS, "one name for each resource");

static const char what[] = "rlimit";
static const char form[] = "write RLIMIT_NAME=SOFT:HARD, such as RLIMIT_NOFILE=1024:2048";

const char *rlimit_name(uint32_t resource)
{
    return resource < NUM_NAMES ? names[resource] : NULL;
}

static bool parse_resource(struct text text, uint32_t *resource)
{
    uint64_t number;

    for (uint32_t i = 0; i < NUM_NAMES; i++) {
        if (text_equal(text, names[i])) {
            *resource = i;
            return true;
        }
    }
    if (!text_number(text, NUM_NAMES - 1, &number))
        return false;
    *resource = (uint32_t)number;
    return true;
}

int rlimit_parse(const char *text, size_t length, struct rlimit_setting *limit, msb_error **err)
{
    struct text whole = text_of(text, length), resource, limits, soft, hard;

    if (!text_cut_first(whole, '=', &resource, &limits))
        return refuse(err, what, whole, "has no '='; %s", form);
    if (!parse_resource(resource, &limit->resource))
        return refuse(err, what, whole, "names no resource: neither one of setrlimit(2) nor a number from 0 to 15; %s", form);
    if (!text_cut_first(limits, ':', &soft, &hard))
        return refuse(err, what, whole, "has no hard limit; %s", form);
    if (!text_number(soft, UINT64_MAX, &limit->soft))
        return refuse(err, what, whole, "has a soft limit that is no number of 64 bits; %s", form);
    if (!text_number(hard, UINT64_MAX, &limit->hard))
        return refuse(err, what, whole, "has a hard limit that is no number of 64 bits; %s", form);
    if (limit->soft > limit->hard)
        return refuse(err, what, whole, "has a soft limit above the hard one; raise the hard limit or lower the soft one");
    return 0;
}

char *rlimit_print(const struct rlimit_setting *limit)
{
    char *text = NULL;

    return asprintf(&text, "%" PRIu32 "=%" PRIu64 ":%" PRIu64, limit->resource, limit->soft, limit->hard) < 0 ? NULL : text;
}

msb_rlimit *msb_rlimit_parse(const char *text, size_t length, msb_error **err)
{
    struct rlimit_setting parsed;
    msb_rlimit *limit;

    if (rlimit_parse(text, length, &parsed, err) < 0)
        return NULL;
    limit = malloc(sizeof(*limit));
    if (!limit)
        return FAIL_NULL(fail_no_memory(err));
    limit->limit = parsed;
    return limit;
}

char *msb_rlimit_print(const msb_rlimit *limit)
{
    return rlimit_print(&limit->limit);
}

unsigned msb_rlimit_resource(const msb_rlimit *limit)
{
    return limit->limit.resource;
}

uint64_t msb_rlimit_soft(const msb_rlimit *limit)
{
    return limit->limit.soft;
}

uint64_t msb_rlimit_hard(const msb_rlimit *limit)
{
    return limit->limit.hard;
}

void msb_rlimit_free(msb_rlimit *limit)
{
    free(limit);
}
