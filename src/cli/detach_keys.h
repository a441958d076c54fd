/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys that take a terminal away from a sandbox which goes on: looked for in what is typed, and not passed on.
 */
#ifndef MSB_CLI_DETACH_KEYS_H
#define MSB_CLI_DETACH_KEYS_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DETACH_KEYS_MAX = 16 };

#define DETACH_KEYS_DEFAULT "ctrl-p,ctrl-q"

struct detach_keys {
    uint8_t keys[DETACH_KEYS_MAX];
    size_t count; /* 0: no keys detach */
    size_t held;  /* how many of them were typed, and not passed on yet */
};

/* Docker's way to write them: one or more of a character, or ctrl- and a letter or one of @ [ \ ] ^ _, with commas between; nothing
   at all for no keys. */
int detach_keys_parse(const char *value, struct detach_keys *keys, msb_error **err);

/* What of `size` bytes typed is to be passed on, into out, which has room for size + DETACH_KEYS_MAX: what may become the keys is held
   back until it is clear. True once the keys are complete; what was typed after them is dropped. */
bool detach_keys_filter(struct detach_keys *keys, const uint8_t *typed, size_t size, uint8_t *out, size_t *out_size);

#endif
