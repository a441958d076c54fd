/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb ps: the user's sandboxes, and how they are.
 */
#include "cli/sandboxes.h"
#include "cli/table.h"
#include "cli/times.h"

#include "config/text.h"
#include "util/cleanup.h"

#include <string.h>

enum { COMMAND_WIDTH = 30 };

struct ps_options {
    bool all, quiet, json, whole;
};

/* ---- What there is ------------------------------------------------------------------------------------------------------------- */

/* The newest first, as docker ps has it. The times are of one length, and so in the order of their letters. */
static int compare(const void *one, const void *two)
{
    const char *created1 = info_text(*(cJSON *const *)one, "created"), *created2 = info_text(*(cJSON *const *)two, "created");

    return strcmp(created2 ? created2 : "", created1 ? created1 : "");
}

/* Those of the sandboxes that are to be shown. One that went meanwhile is none any more. */
static cJSON **look(msb_sandbox *const *sandboxes, size_t count, bool all, size_t *found, msb_error **err)
{
    cJSON **infos = calloc(count + 1, sizeof(cJSON *));

    *found = 0;
    if (!infos)
        return FAIL_NULL(fail_no_memory(err));
    for (size_t i = 0; i < count; i++) {
        msb_error *error = NULL;
        cJSON *info = sandbox_info(sandboxes[i], &error);

        if (info && (all || !info_has_ended(info))) {
            infos[(*found)++] = info;
            continue;
        }
        cJSON_Delete(info);
        if (error && msb_error_code(error) != MSB_ERR_NOT_FOUND)
            report(steal_pointer(&error));
        msb_error_free(error);
    }
    qsort(infos, *found, sizeof(cJSON *), compare);
    return infos;
}

/* ---- The table ----------------------------------------------------------------------------------------------------------------- */

static void append(char *text, size_t size, const char *word)
{
    size_t length = strlen(text);

    snprintf(text + length, size - length, "%s%s", length ? " " : "", word);
}

/* The command with its arguments; cut, unless all is wanted. What is no text is shown as "?". */
static void put_command(struct table *table, const cJSON *info, bool whole)
{
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(info, "config");
    const cJSON *path = cJSON_GetObjectItemCaseSensitive(config, "exec_path");
    const cJSON *args = cJSON_GetObjectItemCaseSensitive(config, "args");
    char text[4096] = "";

    if (!cJSON_IsNull(path)) {
        append(text, sizeof(text), cJSON_IsString(path) ? path->valuestring : "?");
        for (const cJSON *arg = args ? args->child : NULL; arg; arg = arg->next)
            append(text, sizeof(text), cJSON_IsString(arg) ? arg->valuestring : "?");
    }
    if (!*text)
        table_cell(table, "-");
    else if (whole || strlen(text) <= COMMAND_WIDTH)
        table_cell(table, "%s", text);
    else
        table_cell(table, "%.*s...", COMMAND_WIDTH - 3, text);
}

static void put_status(struct table *table, const cJSON *info, uint64_t now)
{
    static const char *const titles[] = { "Starting", "Up", "Stopping", "Exited", "Failed" };
    const char *state = info_text(info, "state"), *title = "?";
    uint64_t started = info_time(info, "started"), ended = info_time(info, "ended");
    const cJSON *exit_status = cJSON_GetObjectItemCaseSensitive(info, "exit_status");
    char age[TIME_TEXT_SIZE];

    for (size_t i = 0; state && i < sizeof(titles) / sizeof(titles[0]); i++)
        if (!strcmp(state, msb_sandbox_state_name((enum msb_sandbox_state)i)))
            title = titles[i];
    if (info_has_ended(info)) {
        age_print(ended && ended < now ? now - ended : 0, age);
        table_cell(table, ended ? "%s (%d) %s ago" : "%s (%d)", title, cJSON_IsNumber(exit_status) ? exit_status->valueint : 125,
                   age);
    } else if (started && !strcmp(title, "Up")) {
        age_print(started < now ? now - started : 0, age);
        table_cell(table, "%s %s", title, age);
    } else {
        table_cell(table, "%s", title);
    }
}

static void put_ports(struct table *table, const cJSON *info)
{
    const cJSON *ports = cJSON_GetObjectItemCaseSensitive(info, "ports");
    char text[1024] = "";

    for (const cJSON *item = ports ? ports->child : NULL; item; item = item->next) {
        msb_port *port = cJSON_IsString(item) ? msb_port_parse(item->valuestring, MSB_LENGTH_UNKNOWN, NULL) : NULL;
        _cleanup_free_ char *address = port ? msb_port_address(port) : NULL;
        size_t length = strlen(text);

        if (address)
            snprintf(text + length, sizeof(text) - length, "%s%s:%u->%u/%s", length ? ", " : "", address, msb_port_host(port),
                     msb_port_guest(port), msb_port_is_udp(port) ? "udp" : "tcp");
        msb_port_free(port);
    }
    table_cell(table, "%s", text);
}

static int print_table(cJSON *const *infos, size_t count, bool whole, msb_error **err)
{
    static const char *const headings[] = { "NAME", "COMMAND", "CREATED", "STATUS", "PORTS", NULL };
    struct table *table = table_new(headings);
    uint64_t now = time_now();
    bool printed;

    if (!table)
        return fail_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        const char *name = info_text(infos[i], "name");
        uint64_t created = info_time(infos[i], "created");
        char age[TIME_TEXT_SIZE];

        age_print(created < now ? now - created : 0, age);
        table_cell(table, "%s", name ? name : "?");
        put_command(table, infos[i], whole);
        table_cell(table, "%s ago", age);
        put_status(table, infos[i], now);
        put_ports(table, infos[i]);
    }
    printed = table_print(table, stdout, whole ? 0 : table_width());
    table_free(table);
    return printed ? 0 : fail_no_memory(err);
}

/* Takes the items out of infos. */
static int print_json(cJSON **infos, size_t count, msb_error **err)
{
    cJSON *array = cJSON_CreateArray();
    int result = array ? 0 : fail_no_memory(err);

    for (size_t i = 0; result == 0 && i < count; i++)
        if (!json_append(array, steal_pointer(&infos[i])))
            result = fail_no_memory(err);
    if (result == 0)
        result = json_print(array, err);
    cJSON_Delete(array);
    return result;
}

static int print(cJSON **infos, size_t count, const struct ps_options *options, msb_error **err)
{
    if (options->json)
        return print_json(infos, count, err);
    if (!options->quiet)
        return print_table(infos, count, options->whole, err);
    for (size_t i = 0; i < count; i++)
        printf("%s\n", info_text(infos[i], "name"));
    return 0;
}

/* ---- The command --------------------------------------------------------------------------------------------------------------- */

static int set_all(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct ps_options *)target)->all = true;
    return 0;
}

static int set_quiet(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct ps_options *)target)->quiet = true;
    return 0;
}

static int set_json(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct ps_options *)target)->json = true;
    return 0;
}

static int set_whole(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct ps_options *)target)->whole = true;
    return 0;
}

static const struct option options_table[] = {
    { "all", 'a', NULL, "Selection", "Those that have ended too.", set_all },
    { "quiet", 'q', NULL, "Output", "Names only.", set_quiet },
    { "json", 0, NULL, "Output", "Tell all that is known of them, as JSON.", set_json },
    { "no-trunc", 0, NULL, "Output", "Cut nothing.", set_whole },
    { 0 },
};

static int run(const struct command *command, int argc, char **argv)
{
    struct ps_options options = { 0 };
    msb_error *error = NULL;
    msb_sandbox **sandboxes;
    cJSON **infos = NULL;
    size_t count = 0, found = 0;
    int status, result = -1;

    if (sandbox_operands(command, argc, argv, &options, 0, 0, "a sandbox", &status) < 0)
        return status;
    sandboxes = msb_sandbox_list(&count, &error);
    if (sandboxes)
        infos = look(sandboxes, count, options.all, &found, &error);
    if (infos)
        result = print(infos, found, &options, &error);
    for (size_t i = 0; infos && i < found; i++)
        cJSON_Delete(infos[i]);
    free(infos);
    msb_sandbox_list_free(sandboxes, count);
    if (result < 0)
        return report(error);
    return finish_output() ? EXIT_SUCCESS : EXIT_MSB_FAILED;
}

const struct command command_ps = {
    .name = "ps",
    .synopsis = "[OPTIONS]",
    .summary = "List sandboxes",
    .description = "Lists your sandboxes that run; with --all also those that have ended and were kept. The newest come first.",
    .options = options_table,
    .run = run,
};
