/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/engine_choice.h"

#include "config/text.h"
#include "sandbox/caller.h"
#include "sandbox/choose.h"
#include "util/cleanup.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct choice {
    const struct engine *engine; /* NULL: none can */
    char *kernel;                /* its guest kernel */
    char *because;
};

static void choice_clear(struct choice *choice)
{
    free(choice->kernel);
    free(choice->because);
}

/* Adds why an engine was passed over; consumes the error. */
static int pass_over(struct choice *choice, const struct engine *engine, msb_error *why)
{
    char *longer = NULL;
    int n = asprintf(&longer, "%s%sthe %s engine cannot: %s", choice->because ? choice->because : "", choice->because ? "; " : "",
                     engine->name, msb_error_message(why));

    msb_error_free(why);
    if (n < 0)
        return -1;
    free(choice->because);
    choice->because = longer;
    return 0;
}

static int number(const cJSON *config, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, key);

    return item ? item->valueint : 0;
}

/* Tries the engines as the monitor would at the start. -1 for lack of memory only. */
static int choose(const struct files *files, const cJSON *config, struct choice *choice)
{
    static const enum msb_engine order[] = { MSB_ENGINE_KVM, MSB_ENGINE_UML, MSB_ENGINE_QEMU };
    const char *wanted = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "engine"));
    const char *kernel = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "kernel"));
    bool any = !wanted || strcmp(wanted, "auto") == 0;

    for (size_t i = 0; !choice->engine && i < sizeof(order) / sizeof(order[0]); i++) {
        struct engine_vm vm = { .num_vcpus = (uint32_t)number(config, "num_vcpus"),
                                .memory_mib = (uint32_t)number(config, "memory_mib"),
                                .nested = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(config, "nested")) };
        const struct engine *engine = engine_named(order[i]);
        msb_error *why = NULL;

        if (any ? kernel && engine->runs_kernel : strcmp(wanted, engine->name) != 0)
            continue;
        /* A named engine may measure itself only when it runs; here it is asked. */
        if (engine->probe(&why) == 0)
            choice->engine = choose_engine(files, order[i], kernel, &vm, &why);
        choice->kernel = (char *)vm.kernel;
        if (!choice->engine && pass_over(choice, engine, why) < 0)
            return -1;
    }
    if (!choice->because)
        choice->because = strdup(any ? "it is the best one, and works" : "--engine names it, and it works");
    return choice->because ? 0 : -1;
}

static bool add_string(cJSON *object, const char *key, const char *value)
{
    cJSON *item = value ? cJSON_CreateString(value) : cJSON_CreateNull();

    if (item && cJSON_AddItemToObjectCS(object, key, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static bool add(cJSON *config, const struct choice *choice)
{
    cJSON *object = cJSON_AddObjectToObject(config, "would_run");

    return object && add_string(object, "engine", choice->engine ? choice->engine->name : NULL) &&
           add_string(object, "kernel", choice->kernel) && add_string(object, "because", choice->because);
}

char *engine_choice_add(const char *json, msb_error **err)
{
    _cleanup_free_ char *monitor = monitor_find(err);
    struct choice choice = { 0 };
    struct files files;
    char *result = NULL;
    cJSON *config;

    if (!monitor || files_init(&files, monitor, err) < 0)
        return NULL;
    config = cJSON_Parse(json);
    if (config && choose(&files, config, &choice) == 0 && add(config, &choice))
        result = cJSON_Print(config);
    if (!result)
        fail_no_memory(err);
    cJSON_Delete(config);
    choice_clear(&choice);
    files_clear(&files);
    return result;
}
