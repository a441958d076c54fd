/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/json.h"

#include "config/text.h"
#include "util/cleanup.h"

#include <stdio.h>

bool json_add(cJSON *object, const char *key, cJSON *item)
{
    if (item && cJSON_AddItemToObjectCS(object, key, item))
        return true;
    cJSON_Delete(item);
    return false;
}

bool json_append(cJSON *array, cJSON *item)
{
    if (item && cJSON_AddItemToArray(array, item))
        return true;
    cJSON_Delete(item);
    return false;
}

int json_print(const cJSON *item, msb_error **err)
{
    _cleanup_free_ char *text = cJSON_Print(item);

    if (!text)
        return fail_no_memory(err);
    printf("%s\n", text);
    return 0;
}
