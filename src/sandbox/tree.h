/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the host's files the guest sees: turns a spec's root and mapped directories into what the fs devices export, and what PID
 * 1 mounts.
 */
#ifndef MSB_SANDBOX_TREE_H
#define MSB_SANDBOX_TREE_H

#include "config/spec.h"
#include "fs/fs.h"
#include "wire/protocol.h"

/* Exports for the device with tag "root", and the root's part of config. */
int tree_root(const struct spec *spec, struct fs_setup *setup, struct guest_config *config, msb_error **err);

/* Exports for the device with tag "shares", and the shares' part of config. */
int tree_shares(const struct spec *spec, struct fs_setup *setup, struct guest_config *config, msb_error **err);

#endif
