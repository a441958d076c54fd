/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON for --json, with cJSON. Memory can be short anywhere: each step says whether it went well.
 */
#ifndef MSB_CLI_JSON_H
#define MSB_CLI_JSON_H

#include "util/error.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

/* Takes the item; a NULL one, for lack of memory, fails. The key is a literal. */
bool json_add(cJSON *object, const char *key, cJSON *item);
bool json_append(cJSON *array, cJSON *item);

/* Prints it on standard output, with a newline. */
int json_print(const cJSON *item, msb_error **err);

#endif
