/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSB_CLI_SIGNALS_H
#define MSB_CLI_SIGNALS_H

#include "util/error.h"

/* "TERM", "SIGTERM", "RTMIN+3" or "15", in upper or lower case: a Linux number, 1 to 64. */
int signal_parse(const char *value, int *number, msb_error **err);

#endif
