/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/detach_keys.h"

#include "config/text.h"

#include <string.h>

static int refuse_keys(const char *value, msb_error **err)
{
    return refuse(
        err, "keys", text_of(value, MSB_LENGTH_UNKNOWN),
        "are none; write characters or ctrl- and a letter or one of @[\\]^_, with commas between, such as " DETACH_KEYS_DEFAULT);
}

/* The byte that a terminal sends for a key; 0 to 31 for ctrl-. */
static bool parse_key(struct text key, uint8_t *byte)
{
    static const char control[] = "ctrl-";
    struct text prefix = { key.bytes, sizeof(control) - 1 };
    char letter;

    if (key.length == 1) {
        *byte = (uint8_t)key.bytes[0];
        return true;
    }
    if (key.length != sizeof(control) || !text_equal_nocase(prefix, control))
        return false;
    letter = key.bytes[sizeof(control) - 1];
    if (letter >= 'a' && letter <= 'z')
        letter = (char)(letter - 'a' + 'A');
    if (letter < '@' || letter > '_')
        return false;
    *byte = (uint8_t)(letter - '@');
    return true;
}

int detach_keys_parse(const char *value, struct detach_keys *keys, msb_error **err)
{
    struct text rest = text_of(value, MSB_LENGTH_UNKNOWN), key;
    bool more = rest.length > 0;

    *keys = (struct detach_keys){ 0 };
    while (more) {
        more = text_cut_first(rest, ',', &key, &rest);
        if (keys->count == DETACH_KEYS_MAX || !parse_key(more ? key : rest, &keys->keys[keys->count++]))
            return refuse_keys(value, err);
    }
    return 0;
}

bool detach_keys_filter(struct detach_keys *keys, const uint8_t *typed, size_t size, uint8_t *out, size_t *out_size)
{
    *out_size = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t seen[DETACH_KEYS_MAX];
        size_t count = keys->held, skip = 0;

        if (keys->count == 0) {
            out[(*out_size)++] = typed[i];
            continue;
        }
        /* What was held back and this byte: as much of its end as begins the keys goes on being held. */
        memcpy(seen, keys->keys, count);
        seen[count++] = typed[i];
        while (skip < count && memcmp(seen + skip, keys->keys, count - skip) != 0)
            skip++;
        memcpy(out + *out_size, seen, skip);
        *out_size += skip;
        keys->held = count - skip;
        if (keys->held == keys->count) {
            keys->held = 0;
            return true;
        }
    }
    return false;
}
