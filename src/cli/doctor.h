/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `msb doctor` finds.
 */
#ifndef MSB_CLI_DOCTOR_H
#define MSB_CLI_DOCTOR_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>

struct finding {
    const char *what; /* a literal such as "engine kvm" */
    bool required;    /* no sandbox can run here without it */
    bool ok;
    char *detail; /* what was found */
    char *mend;   /* what would mend it, or NULL */
};

struct findings {
    struct finding *items;
    size_t count;
    const char *engine; /* that --engine auto takes, or NULL; a literal */
};

/* Looks at everything; fails only for lack of memory. */
int doctor_look(struct findings *findings, msb_error **err);
void findings_clear(struct findings *findings);

/* Whether a sandbox can run here. */
bool findings_are_fit(const struct findings *findings);

#endif
