/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --env and --env-file.
 */
#include "cli/process_options.h"

#include "config/text.h"
#include "util/cleanup.h"

#include <string.h>

int list_append(struct list *list, const char *item, msb_error **err)
{
    char **items = realloc(list->items, (list->count + 1) * sizeof(*items));

    if (!items)
        return fail_no_memory(err);
    list->items = items;
    items[list->count] = strdup(item);
    if (!items[list->count])
        return fail_no_memory(err);
    list->count++;
    return 0;
}

void list_clear(struct list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct list){ 0 };
}

static int append_callers(struct list *env, const char *key, msb_error **err)
{
    _cleanup_free_ char *setting = NULL;
    const char *value = getenv(key);

    if (!value)
        return 0;
    if (asprintf(&setting, "%s=%s", key, value) < 0) {
        setting = NULL;
        return fail_no_memory(err);
    }
    return list_append(env, setting, err);
}

int env_append(struct list *env, const char *setting, msb_error **err)
{
    msb_env *parsed;

    if (setting[0] && !strchr(setting, '='))
        return append_callers(env, setting, err);
    parsed = msb_env_parse(setting, MSB_LENGTH_UNKNOWN, err);
    if (!parsed)
        return -1;
    msb_env_free(parsed);
    return list_append(env, setting, err);
}

/* A name with a blank in it is most likely `KEY = VALUE`, or `export KEY=VALUE`. */
static int append_line(struct list *env, struct text line, msb_error **err)
{
    static const char what[] = "environment variable";
    _cleanup_free_ char *setting = NULL;
    struct text key = line, value;

    if (refuse_nul(err, what, line) < 0)
        return -1;
    text_cut_first(line, '=', &key, &value);
    if (text_has(key, ' ') || text_has(key, '\t'))
        return refuse(err, what, line, "has a blank in its name; write KEY=VALUE, without quotes or export");
    setting = text_copy(line);
    return setting ? env_append(env, setting, err) : fail_no_memory(err);
}

static int read_lines(FILE *file, struct list *env, msb_error **err)
{
    _cleanup_free_ char *line = NULL;
    size_t capacity = 0;
    ssize_t length;

    for (unsigned number = 1; (length = getline(&line, &capacity, file)) >= 0; number++) {
        struct text text = { line, (size_t)length };

        if (number == 1 && text.length >= 3 && !memcmp(text.bytes, "\xef\xbb\xbf", 3)) /* a byte order mark */
            text = (struct text){ text.bytes + 3, text.length - 3 };
        if (text.length && text.bytes[text.length - 1] == '\n')
            text.length--;
        if (text.length && text.bytes[text.length - 1] == '\r')
            text.length--;
        while (text.length && (text.bytes[0] == ' ' || text.bytes[0] == '\t'))
            text = (struct text){ text.bytes + 1, text.length - 1 };
        if (text.length && text.bytes[0] != '#' && append_line(env, text, err) < 0)
            return fail_prefix(err, "line %u", number);
    }
    if (ferror(file))
        return fail_errno(err, "read");
    return 0;
}

int env_file_read(const char *path, struct list *env, msb_error **err)
{
    _cleanup_free_ char *quoted = string_quote(path);
    FILE *file = fopen(path, "re");
    int result;

    if (!quoted)
        fail_no_memory(err);
    result = !quoted ? -1 : !file ? fail_errno(err, "open") : read_lines(file, env, err);
    if (file)
        (void)fclose(file);
    return result < 0 && quoted ? fail_prefix(err, "file %s", quoted) : result;
}
