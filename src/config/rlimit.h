/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A resource limit in its plain form, as a spec and the control protocol carry it.
 */
#ifndef MSB_CONFIG_RLIMIT_H
#define MSB_CONFIG_RLIMIT_H

#include "util/error.h"
#include "wire/process.h"

int rlimit_parse(const char *text, size_t length, struct rlimit_setting *limit, msb_error **err);
char *rlimit_print(const struct rlimit_setting *limit);

/* RLIMIT_CPU and so on; NULL for no such resource. */
const char *rlimit_name(uint32_t resource);

#endif
