/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandboxes of a user, as files. For the monitors that own them, and for everybody of the same user who looks for them.
 *
 *   RUNTIME/.lock            held, for a few file operations, by whoever makes, judges or removes a sandbox's directory
 *   RUNTIME/NAME/lock        locked by the monitor as long as it lives: whose file is not locked has no monitor
 *               /control     the monitor's socket (control.h)
 *               /vsock       the vsock device's, for connections to the guest (vsock/vsock.h)
 *               /state.json  what is known of it (record.h); replaced as a whole, by the monitor as long as it lives
 *
 * RUNTIME is runtime_directory(). A name never begins with a dot (config_check_name()), and what is not a sandbox there always does, so
 * that they cannot meet.
 */
#ifndef MSB_SANDBOX_REGISTRY_H
#define MSB_SANDBOX_REGISTRY_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>

/* ---- For its monitor ------------------------------------------------------------------------------------------------------------ */

struct registration {
    char *name; /* NULL: none */
    int directory;
    int lock;
};

#define REGISTRATION_NONE ((struct registration){ .directory = -1, .lock = -1 })

/* Takes the name; MSB_ERR_IN_USE when another sandbox has it, running or kept. json is the first state.json. */
int registry_take(const char *name, const char *json, struct registration *registration, msb_error **err);

/* Replaces state.json. */
int registry_write(const struct registration *registration, const char *json, msb_error **err);

/* A socket that listens at `control` or `vsock`, in non-blocking mode. */
int registry_listen(const struct registration *registration, const char *name, msb_error **err);

/* Gives the name up; with keep, the directory and state.json stay. Nothing when there is no registration. */
void registry_release(struct registration *registration, bool keep);

/* ---- For others ------------------------------------------------------------------------------------------------------------------ */

/* The directory of a sandbox, as a descriptor that stands for this one sandbox whoever has the name later. MSB_ERR_NOT_FOUND. */
int registry_open(const char *name, msb_error **err);

/* The names of all, sorted; freed with free_strings(). */
char **registry_names(size_t *count, msb_error **err);

/* state.json as it is now. Where the monitor died without a last word, that is written to it first (record_died()), and the directory
   of one that was not to be kept is removed. MSB_ERR_NOT_FOUND: removed. The caller frees *json. */
int registry_look(const char *name, int directory, char **json, msb_error **err);

/* A connection to its monitor. MSB_ERR_STATE: there is none. The timeout (-1: none) concerns a monitor that does not accept for so
   long that many are waiting; 0 does not block. */
int registry_connect(const char *name, int directory, int timeout_ms, msb_error **err);

/* Removes what is left of one that has ended. MSB_ERR_STATE: it has not. MSB_ERR_NOT_FOUND: removed. */
int registry_remove(const char *name, int directory, msb_error **err);

#endif
