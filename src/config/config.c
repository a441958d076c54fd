/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include "config/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void list_clear(struct string_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct string_list){ 0 };
}

/* *copy is empty before, and after a failure. */
static bool list_copy(struct string_list *copy, const char *const *items, size_t count)
{
    if (count == 0)
        return true;
    copy->items = calloc(count, sizeof(*copy->items));
    if (!copy->items)
        return false;
    for (size_t i = 0; i < count; i++) {
        copy->items[i] = items[i] ? strdup(items[i]) : NULL;
        copy->count++;
        if (items[i] && !copy->items[i]) {
            list_clear(copy);
            return false;
        }
    }
    return true;
}

void config_init(struct msb_config *config)
{
    *config = (struct msb_config){
        .log_level = MSB_LOG_OFF,
        .num_vcpus = 1,
        .memory_mib = 1024,
        .scope = MSB_SCOPE_GROUP,
        .engine = MSB_ENGINE_AUTO,
    };
}

void config_clear(struct msb_config *config)
{
    free(config->rootfs);
    list_clear(&config->layers);
    free(config->upper);
    list_clear(&config->mapped_dirs);
    list_clear(&config->port_map);
    free(config->ip);
    free(config->subnet);
    list_clear(&config->rlimits);
    free(config->workdir_path);
    free(config->exec_path);
    list_clear(&config->args);
    list_clear(&config->env);
    free(config->console_output);
    free(config->kernel);
    free(config->user);
    free(config->hostname);
    free(config->name);
    *config = (struct msb_config){ 0 };
}

void config_set_string(struct msb_config *config, char **option, const char *value)
{
    char *copy = value ? strdup(value) : NULL;

    config->no_memory |= value && !copy;
    free(*option);
    *option = copy;
}

void config_set_list(struct msb_config *config, struct string_list *option, const char *const *items, size_t count)
{
    struct string_list copy = { 0 };

    config->no_memory |= !list_copy(&copy, items, items ? count : 0);
    list_clear(option);
    *option = copy;
}

void config_set_root(struct msb_config *config, enum config_root root, const char *directory, const char *const *layers,
                     size_t count)
{
    config_set_string(config, &config->rootfs, directory);
    config_set_list(config, &config->layers, layers, count);
    config->root = root;
}

static void copy_list(struct msb_config *config, struct string_list *option, const struct string_list *from)
{
    config_set_list(config, option, (const char *const *)from->items, from->count);
}

int config_copy(const struct msb_config *config, struct msb_config *copy, msb_error **err)
{
    config_init(copy);
    copy->log_level = config->log_level;
    config_set_root(copy, config->root, config->rootfs, (const char *const *)config->layers.items, config->layers.count);
    config_set_string(copy, &copy->upper, config->upper);
    copy->num_vcpus = config->num_vcpus;
    copy->memory_mib = config->memory_mib;
    copy_list(copy, &copy->mapped_dirs, &config->mapped_dirs);
    copy_list(copy, &copy->port_map, &config->port_map);
    copy->scope = config->scope;
    config_set_string(copy, &copy->ip, config->ip);
    config_set_string(copy, &copy->subnet, config->subnet);
    copy_list(copy, &copy->rlimits, &config->rlimits);
    config_set_string(copy, &copy->workdir_path, config->workdir_path);
    config_set_string(copy, &copy->exec_path, config->exec_path);
    copy_list(copy, &copy->args, &config->args);
    copy_list(copy, &copy->env, &config->env);
    config_set_string(copy, &copy->console_output, config->console_output);
    copy->engine = config->engine;
    config_set_string(copy, &copy->kernel, config->kernel);
    config_set_string(copy, &copy->user, config->user);
    config_set_string(copy, &copy->hostname, config->hostname);
    copy->nested = config->nested;
    config_set_string(copy, &copy->name, config->name);
    copy->keep = config->keep;
    copy->timeout_ms = config->timeout_ms;
    copy->idle_timeout_ms = config->idle_timeout_ms;
    if (config->no_memory || copy->no_memory) {
        config_clear(copy);
        return fail_no_memory(err);
    }
    return 0;
}

int warnings_add(struct warnings *warnings, msb_error **err, const char *format, ...)
{
    char **items = realloc(warnings->items, (warnings->count + 1) * sizeof(*items));
    char *text = NULL;
    va_list args;
    int size;

    if (!items)
        return fail_no_memory(err);
    warnings->items = items;
    va_start(args, format);
    size = vasprintf(&text, format, args);
    va_end(args);
    if (size < 0)
        return fail_no_memory(err);
    warnings->items[warnings->count++] = text;
    return 0;
}

void warnings_clear(struct warnings *warnings)
{
    for (size_t i = 0; i < warnings->count; i++)
        free(warnings->items[i]);
    free(warnings->items);
    *warnings = (struct warnings){ 0 };
}
