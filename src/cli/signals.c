/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/signals.h"

#include "config/text.h"

#include <signal.h>
#include <string.h>

enum {
    LAST_SIGNAL = 64,
    /* The kernel's first: the C library keeps some to itself, here and not in the guest. */
    FIRST_REALTIME = 34,
};

static bool cut_prefix(struct text *text, const char *prefix)
{
    size_t length = strlen(prefix);

    if (text->length < length || !text_equal_nocase((struct text){ text->bytes, length }, prefix))
        return false;
    *text = (struct text){ text->bytes + length, text->length - length };
    return true;
}

int signal_parse(const char *value, int *number, msb_error **err)
{
    struct text name = text_of(value, MSB_LENGTH_UNKNOWN);
    uint64_t found;

    if (text_number(name, LAST_SIGNAL, &found) && found > 0) {
        *number = (int)found;
        return 0;
    }
    cut_prefix(&name, "SIG");
    for (int i = 1; i < FIRST_REALTIME; i++)
        if (sigabbrev_np(i) && text_equal_nocase(name, sigabbrev_np(i))) {
            *number = i;
            return 0;
        }
    if (cut_prefix(&name, "RTMIN")) {
        *number = FIRST_REALTIME;
        if (name.length == 0)
            return 0;
        if (cut_prefix(&name, "+") && text_number(name, LAST_SIGNAL - FIRST_REALTIME, &found)) {
            *number += (int)found;
            return 0;
        }
    }
    return refuse(err, "signal", text_of(value, MSB_LENGTH_UNKNOWN),
                  "is none; write a name, such as TERM, or a number from 1 to 64");
}
