/* SPDX-License-Identifier: Apache-2.0 */
/* Every vector of this folder, through the public parsers and through validation. README.md has the format of the files. */
#include "config/config.h"
#include "config/text.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { FIELDS_MAX = 4, ROWS_MAX = 1000 };

struct row {
    char *fields[FIELDS_MAX]; /* unescaped, NUL-terminated too */
    size_t lengths[FIELDS_MAX];
};

struct table {
    struct row rows[ROWS_MAX];
    size_t num_rows; /* without the header */
};

static const char *directory;

static size_t unescape(char *field)
{
    const char *in = field;
    char *out = field;
    unsigned byte;

    if (!strcmp(field, "-")) {
        field[0] = '\0';
        return 0;
    }
    while (*in) {
        if (*in != '\\') {
            *out++ = *in++;
            continue;
        }
        switch (in[1]) {
        case 'n':
            *out++ = '\n';
            break;
        case 't':
            *out++ = '\t';
            break;
        case 'r':
            *out++ = '\r';
            break;
        case '\\':
            *out++ = '\\';
            break;
        case 'x':
            assert_int_equal(sscanf(in + 2, "%2x", &byte), 1);
            *out++ = (char)byte;
            in += 2;
            break;
        default:
            fail_msg("unknown escape \\%c", in[1]);
        }
        in += 2;
    }
    *out = '\0';
    return (size_t)(out - field);
}

static struct table *read_table(const char *name, const char *header, size_t num_fields)
{
    struct table *table = calloc(1, sizeof(*table));
    char path[4096], *line = NULL;
    size_t capacity = 0;
    FILE *file;

    assert_non_null(table);
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    file = fopen(path, "re");
    assert_non_null(file);
    while (getline(&line, &capacity, file) >= 0) {
        char *rest = line, *field;
        struct row *row = &table->rows[table->num_rows];

        line[strcspn(line, "\n")] = '\0';
        if (header) {
            assert_string_equal(line, header);
            header = NULL;
            continue;
        }
        assert_true(table->num_rows < ROWS_MAX);
        for (size_t i = 0; i < num_fields; i++) {
            field = strsep(&rest, "\t");
            assert_non_null(field);
            row->fields[i] = strdup(field);
            row->lengths[i] = unescape(row->fields[i]);
        }
        assert_null(rest);
        table->num_rows++;
    }
    free(line);
    fclose(file);
    assert_true(table->num_rows > 0);
    return table;
}

static void free_table(struct table *table)
{
    for (size_t i = 0; i < table->num_rows; i++)
        for (size_t j = 0; j < FIELDS_MAX; j++)
            free(table->rows[i].fields[j]);
    free(table);
}

/* The canonical form of an accepted input; NULL and *err for a refused one. */
static char *parse_pair(const char *kind, const char *text, size_t length, msb_error **err)
{
    char *printed = NULL;

    if (!strcmp(kind, "env")) {
        msb_env *env = msb_env_parse(text, length, err);

        printed = env ? msb_env_print(env) : NULL;
        msb_env_free(env);
    } else if (!strcmp(kind, "path")) {
        msb_mapped_dir *dir = msb_mapped_dir_parse(text, length, err);

        printed = dir ? msb_mapped_dir_print(dir) : NULL;
        msb_mapped_dir_free(dir);
    } else if (!strcmp(kind, "port")) {
        msb_port *port = msb_port_parse(text, length, err);

        printed = port ? msb_port_print(port) : NULL;
        msb_port_free(port);
    } else if (!strcmp(kind, "rlimit")) {
        msb_rlimit *limit = msb_rlimit_parse(text, length, err);

        printed = limit ? msb_rlimit_print(limit) : NULL;
        msb_rlimit_free(limit);
    } else if (!strcmp(kind, "scope")) {
        enum msb_scope scope;

        printed = msb_scope_parse(text, length, &scope, err) < 0 ? NULL : strdup(msb_scope_name(scope));
    } else if (!strcmp(kind, "cmdline")) {
        printed = msb_argument_check(text, length, err) < 0 ? NULL : strdup(text);
    } else {
        fail_msg("unknown kind %s", kind);
    }
    return printed;
}

static void assert_quotes(msb_error *error, const char *text, size_t length)
{
    char *quoted = text_quote(text_of(text, length));

    assert_int_equal(msb_error_code(error), MSB_ERR_INVALID);
    if (!strstr(msb_error_message(error), quoted))
        fail_msg("\"%s\" does not quote %s", msb_error_message(error), quoted);
    free(quoted);
}

static void pairs(void **state)
{
    struct table *table = read_table("pairs.tsv", "kind\tinput\toutcome\tcanonical", 4);

    (void)state;
    for (size_t i = 0; i < table->num_rows; i++) {
        const struct row *row = &table->rows[i];
        msb_error *error = NULL;
        char *printed = parse_pair(row->fields[0], row->fields[1], row->lengths[1], &error);

        if (!strcmp(row->fields[2], "ok")) {
            if (!printed)
                fail_msg("%s: %s", row->fields[0], msb_error_message(error));
            assert_string_equal(printed, row->fields[3]);
            assert_null(error);
        } else {
            assert_string_equal(row->fields[2], "error");
            if (printed)
                fail_msg("%s \"%s\" was accepted", row->fields[0], row->fields[1]);
            assert_quotes(error, row->fields[1], row->lengths[1]);
        }
        free(printed);
        msb_error_free(error);
    }
    free_table(table);
}

static enum msb_path_form path_form(const char *name)
{
    if (!strcmp(name, "absolute"))
        return MSB_PATH_ABSOLUTE;
    if (!strcmp(name, "relative"))
        return MSB_PATH_RELATIVE;
    assert_string_equal(name, "any");
    return MSB_PATH_ANY;
}

static void normalized_paths(void **state)
{
    struct table *table = read_table("normalize.tsv", "path\tform\toutcome\tresult", 4);

    (void)state;
    for (size_t i = 0; i < table->num_rows; i++) {
        const struct row *row = &table->rows[i];
        msb_error *error = NULL;
        char *path = msb_path_normalize(row->fields[0], row->lengths[0], path_form(row->fields[1]), &error);

        if (!strcmp(row->fields[2], "ok")) {
            assert_non_null(path);
            assert_string_equal(path, row->fields[3]);
        } else {
            if (path)
                fail_msg("\"%s\" was accepted as %s", row->fields[0], row->fields[1]);
            assert_quotes(error, row->fields[0], row->lengths[0]);
        }
        free(path);
        msb_error_free(error);
    }
    free_table(table);
}

static msb_config_builder *minimal_builder(void)
{
    msb_config_builder *builder = msb_config_builder_new();

    assert_non_null(builder);
    msb_config_builder_set_rootfs(builder, "/");
    msb_config_builder_set_exec_path(builder, "/bin/true");
    return builder;
}

/* Builds and validates; frees the builder. */
static int validate(msb_config_builder *builder, struct spec *spec, msb_error **err)
{
    msb_config *config = msb_config_builder_build(builder, NULL);
    struct warnings warnings;
    int result;

    assert_non_null(config);
    result = config_validate(config, spec, &warnings, err);
    warnings_clear(&warnings);
    msb_config_free(config);
    msb_config_builder_free(builder);
    return result;
}

static void guest_paths(void **state)
{
    struct table *table = read_table("guest-paths.tsv", "guest_paths\toutcome", 2);

    (void)state;
    for (size_t i = 0; i < table->num_rows; i++) {
        const struct row *row = &table->rows[i];
        msb_config_builder *builder = minimal_builder();
        char *dirs[FIELDS_MAX * 4], *rest = row->fields[0], *path;
        msb_error *error = NULL;
        struct spec spec;
        size_t count = 0;
        int result;

        while ((path = strsep(&rest, " ")))
            assert_true(asprintf(&dirs[count++], "/tmp:%s", path) > 0);
        msb_config_builder_set_mapped_dirs(builder, (const char *const *)dirs, count);
        result = validate(builder, &spec, &error);
        if (!strcmp(row->fields[1], "ok")) {
            if (result < 0)
                fail_msg("%s", msb_error_message(error));
            assert_int_equal(spec.num_shares, count);
        } else {
            bool named = false;

            assert_int_equal(result, -1);
            assert_int_equal(msb_error_code(error), MSB_ERR_INVALID);
            for (size_t j = 0; j < count; j++)
                named |= strstr(msb_error_message(error), strchr(dirs[j], ':') + 1) != NULL;
            assert_true(named);
        }
        spec_clear(&spec);
        msb_error_free(error);
        for (size_t j = 0; j < count; j++)
            free(dirs[j]);
    }
    free_table(table);
}

static cJSON *defaults_as_json(void)
{
    struct warnings warnings = { 0 };
    struct spec spec;
    cJSON *json;
    char *text;

    assert_int_equal(validate(minimal_builder(), &spec, NULL), 0);
    text = spec_to_json(&spec, &warnings, NULL);
    assert_non_null(text);
    json = cJSON_Parse(text);
    assert_non_null(json);
    free(text);
    spec_clear(&spec);
    return json;
}

static void assert_required(const char *option)
{
    msb_config_builder *builder = minimal_builder();
    msb_error *error = NULL;
    struct spec spec;

    if (!strcmp(option, "rootfs"))
        msb_config_builder_set_rootfs(builder, NULL);
    else
        msb_config_builder_set_exec_path(builder, NULL);
    assert_int_equal(validate(builder, &spec, &error), -1);
    assert_non_null(strstr(msb_error_message(error), option));
    msb_error_free(error);
}

static void defaults(void **state)
{
    struct table *table = read_table("defaults.tsv", "option\tdefault", 2);
    cJSON *json = defaults_as_json();

    (void)state;
    for (size_t i = 0; i < table->num_rows; i++) {
        const char *option = table->rows[i].fields[0], *expected = table->rows[i].fields[1];
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(json, option);

        assert_non_null(value);
        if (!strcmp(expected, "required"))
            assert_required(option);
        else if (cJSON_IsNumber(value))
            assert_int_equal(value->valueint, atoi(expected));
        else if (!strcmp(option, "workdir_path"))
            assert_string_equal(value->valuestring, "/"); /* not set: where the guest begins */
        else if (!*expected)
            assert_true(cJSON_IsNull(value) || (cJSON_IsArray(value) && cJSON_GetArraySize(value) == 0));
        else
            assert_string_equal(value->valuestring, expected);
    }
    cJSON_Delete(json);
    free_table(table);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs),
        cmocka_unit_test(normalized_paths),
        cmocka_unit_test(guest_paths),
        cmocka_unit_test(defaults),
    };

    if (argc != 2)
        return 1;
    directory = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
