/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options that are one word of a few: log level, scope, engine. Upper and lower case are the same.
 */
#include "config/text.h"

static const char *const log_levels[] = { "off", "error", "warn", "info", "debug", "trace" };
static const char *const scopes[] = { "none", "group", "public", "any" };
static const char *const engines[] = { "auto", "kvm", "qemu", "uml" };

enum {
    NUM_LOG_LEVELS = sizeof(log_levels) / sizeof(log_levels[0]),
    NUM_SCOPES = sizeof(scopes) / sizeof(scopes[0]),
    NUM_ENGINES = sizeof(engines) / sizeof(engines[0]),
};

/* The index of text among the names, or -1. */
static int find_name(struct text text, const char *const *names, int num_names)
{
    for (int i = 0; i < num_names; i++)
        if (text_equal_nocase(text, names[i]))
            return i;
    return -1;
}

int msb_log_level_parse(const char *text, size_t length, enum msb_log_level *level, msb_error **err)
{
    struct text value = text_of(text, length);
    int found = find_name(value, log_levels, NUM_LOG_LEVELS);

    if (found < 0)
        return refuse(err, "log level", value, "is none of off, error, warn, info, debug and trace");
    *level = (enum msb_log_level)found;
    return 0;
}

const char *msb_log_level_name(enum msb_log_level level)
{
    return (unsigned)level < NUM_LOG_LEVELS ? log_levels[level] : NULL;
}

int msb_scope_parse(const char *text, size_t length, enum msb_scope *scope, msb_error **err)
{
    struct text value = text_of(text, length);
    int found = find_name(value, scopes, NUM_SCOPES);

    if (found < 0)
        return refuse(err, "scope", value, "is none of none, group, public and any");
    *scope = (enum msb_scope)found;
    return 0;
}

const char *msb_scope_name(enum msb_scope scope)
{
    return (unsigned)scope < NUM_SCOPES ? scopes[scope] : NULL;
}

int msb_engine_parse(const char *text, size_t length, enum msb_engine *engine, msb_error **err)
{
    struct text value = text_of(text, length);
    int found = find_name(value, engines, NUM_ENGINES);

    if (found < 0)
        return refuse(err, "engine", value, "is none of auto, kvm, qemu and uml");
    *engine = (enum msb_engine)found;
    return 0;
}

const char *msb_engine_name(enum msb_engine engine)
{
    return (unsigned)engine < NUM_ENGINES ? engines[engine] : NULL;
}
