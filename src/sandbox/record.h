/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a sandbox, as the JSON of its state.json; docs/sandboxes.md has the keys.
 */
#ifndef MSB_SANDBOX_RECORD_H
#define MSB_SANDBOX_RECORD_H

#include "config/spec.h"

struct record {
    const struct spec *spec;
    enum msb_sandbox_state state;
    bool detached;
    int pid;                          /* of the monitor */
    uint64_t created, started, ended; /* nanoseconds since the epoch; 0: not yet */
    const char *engine;               /* NULL: not yet chosen */
    bool has_network;
    struct in_addr ip, subnet;
    uint8_t subnet_bits;
    const uint16_t *host_ports; /* of spec->ports, as they really are; NULL: not yet open */
    /* Once ended. */
    int exit_status;
    enum msb_error_code code;
    const char *error;      /* NULL with MSB_OK */
    const char *kernel_log; /* NULL: nothing to tell */
};

/* The caller frees it. */
char *record_print(const struct record *record, msb_error **err);

/* Whether its monitor had the time to say how it ended. */
bool record_ended(const char *json);

/* The same of one whose monitor died without; *keep: whether it is to be kept. The caller frees it. */
char *record_died(const char *json, bool *keep, msb_error **err);

/* What a reader wants of it. */
struct record_view {
    enum msb_sandbox_state state;
    int exit_status;
    enum msb_error_code code;
    char *error;
    char *kernel_log;
};

int record_view(const char *json, struct record_view *view, msb_error **err);
void record_view_clear(struct record_view *view);

/* The index-th published port as text; NULL without an error: there are fewer. The caller frees it. */
char *record_port(const char *json, size_t index, msb_error **err);

#endif
