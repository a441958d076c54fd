/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/record.h"

#include "config/config.h"
#include "config/port.h"
#include "config/text.h"
#include "util/cleanup.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { NANOSECONDS = 1000000000, STATUS_FAILED = 125 };

static const char *const states[] = { "starting", "running", "stopping", "exited", "failed" };

const char *msb_sandbox_state_name(enum msb_sandbox_state state)
{
    return (unsigned)state < sizeof(states) / sizeof(states[0]) ? states[state] : NULL;
}

/* ---- Writing ---------------------------------------------------------------------------------------------------------------- */

static bool add(cJSON *object, const char *key, cJSON *item)
{
    if (item && cJSON_AddItemToObjectCS(object, key, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static cJSON *text_or_null(const char *text)
{
    return text ? cJSON_CreateString(text) : cJSON_CreateNull();
}

/* RFC 3339, to the nanosecond. */
static cJSON *time_or_null(uint64_t nanoseconds)
{
    time_t seconds = (time_t)(nanoseconds / NANOSECONDS);
    char date[32], text[64];
    struct tm tm;

    if (!nanoseconds || !gmtime_r(&seconds, &tm) || !strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm))
        return cJSON_CreateNull();
    snprintf(text, sizeof(text), "%s.%09uZ", date, (unsigned)(nanoseconds % NANOSECONDS));
    return cJSON_CreateString(text);
}

static bool add_printed(cJSON *object, const char *key, char *printed)
{
    bool ok = printed && add(object, key, cJSON_CreateString(printed));

    free(printed);
    return ok;
}

static bool add_port(cJSON *array, const struct spec_port *port, uint16_t host)
{
    struct spec_port real = *port;
    _cleanup_free_ char *text = NULL;
    cJSON *item;

    real.host = host;
    text = port_print(&real);
    item = text ? cJSON_CreateString(text) : NULL;
    if (item && cJSON_AddItemToArray(array, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static bool add_network(cJSON *object, const struct record *record)
{
    cJSON *ports = cJSON_AddArrayToObject(object, "ports");
    bool ok = ports != NULL;

    for (size_t i = 0; ok && record->host_ports && i < record->spec->num_ports; i++)
        ok = add_port(ports, &record->spec->ports[i], record->host_ports[i]);
    if (!ok || !record->has_network)
        return ok && add(object, "ip", cJSON_CreateNull()) && add(object, "subnet", cJSON_CreateNull());
    return add_printed(object, "ip", msb_ipv4_print(record->ip.s_addr)) &&
           add_printed(object, "subnet", msb_subnet_print(record->subnet.s_addr, record->subnet_bits));
}

static bool add_end(cJSON *object, const struct record *record)
{
    bool ended = record->state >= MSB_SANDBOX_EXITED;

    return add(object, "ended", time_or_null(record->ended)) &&
           add(object, "exit_status", ended ? cJSON_CreateNumber(record->exit_status) : cJSON_CreateNull()) &&
           add(object, "error_code", cJSON_CreateNumber(record->code)) && add(object, "error", text_or_null(record->error)) &&
           add(object, "kernel_log", text_or_null(record->kernel_log));
}

static bool add_config(cJSON *object, const struct spec *spec)
{
    struct warnings none = { 0 };
    _cleanup_free_ char *text = spec_to_json(spec, &none, NULL);
    cJSON *config = text ? cJSON_Parse(text) : NULL;

    if (config)
        cJSON_DeleteItemFromObjectCaseSensitive(config, "warnings");
    return add(object, "config", config);
}

static bool add_all(cJSON *object, const struct record *record)
{
    return add(object, "name", text_or_null(record->spec->name)) &&
           add(object, "state", text_or_null(msb_sandbox_state_name(record->state))) &&
           add(object, "detached", cJSON_CreateBool(record->detached)) && add(object, "pid", cJSON_CreateNumber(record->pid)) &&
           add(object, "created", time_or_null(record->created)) && add(object, "started", time_or_null(record->started)) &&
           add_end(object, record) && add(object, "engine", text_or_null(record->engine)) && add_network(object, record) &&
           add_config(object, record->spec);
}

char *record_print(const struct record *record, msb_error **err)
{
    cJSON *object = cJSON_CreateObject();
    char *json = object && add_all(object, record) ? cJSON_Print(object) : NULL;

    cJSON_Delete(object);
    return json ? json : FAIL_NULL(fail_no_memory(err));
}

/* ---- Reading ---------------------------------------------------------------------------------------------------------------- */

static const cJSON *item_of(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static int state_of(const cJSON *object)
{
    const char *name = cJSON_GetStringValue(item_of(object, "state"));

    for (int i = 0; name && i < (int)(sizeof(states) / sizeof(states[0])); i++)
        if (!strcmp(name, states[i]))
            return i;
    return -1;
}

bool record_ended(const char *json)
{
    cJSON *object = cJSON_Parse(json);
    int state = state_of(object);

    cJSON_Delete(object);
    return state >= MSB_SANDBOX_EXITED;
}

static bool replace(cJSON *object, const char *key, cJSON *item)
{
    if (!item)
        return false;
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    return add(object, key, item);
}

char *record_died(const char *json, bool *keep, msb_error **err)
{
    static const char why[] = "its monitor ended without a last word: it was killed, or the machine went down";
    cJSON *object = cJSON_Parse(json);
    /* Nobody was told of one that was to be launched and did not come so far. */
    bool unborn = cJSON_IsTrue(item_of(object, "detached")) && state_of(object) == MSB_SANDBOX_STARTING;
    char *died = NULL;

    if (object && replace(object, "state", cJSON_CreateString(states[MSB_SANDBOX_FAILED])) &&
        replace(object, "exit_status", cJSON_CreateNumber(STATUS_FAILED)) &&
        replace(object, "error_code", cJSON_CreateNumber(MSB_ERR_VM)) && replace(object, "error", cJSON_CreateString(why)))
        died = cJSON_Print(object);
    *keep = !unborn && cJSON_IsTrue(item_of(item_of(object, "config"), "keep"));
    cJSON_Delete(object);
    return died ? died : FAIL_NULL(fail_no_memory(err));
}

static int number_of(const cJSON *object, const char *key)
{
    const cJSON *item = item_of(object, key);

    return cJSON_IsNumber(item) ? item->valueint : -1;
}

static char *copy_of(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(item_of(object, key));

    return text ? strdup(text) : NULL;
}

int record_view(const char *json, struct record_view *view, msb_error **err)
{
    cJSON *object = cJSON_Parse(json);
    int state = state_of(object);

    *view = (struct record_view){ .exit_status = -1 };
    if (state >= 0) {
        view->state = (enum msb_sandbox_state)state;
        view->exit_status = number_of(object, "exit_status");
        view->code = (enum msb_error_code)number_of(object, "error_code");
        view->error = copy_of(object, "error");
        view->kernel_log = copy_of(object, "kernel_log");
    }
    cJSON_Delete(object);
    return state < 0 ? fail(err, MSB_ERR_PROTOCOL, "the sandbox's state.json is garbled") : 0;
}

void record_view_clear(struct record_view *view)
{
    free(view->error);
    free(view->kernel_log);
    *view = (struct record_view){ .exit_status = -1 };
}

char *record_port(const char *json, size_t index, msb_error **err)
{
    cJSON *object = cJSON_Parse(json);
    const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(item_of(object, "ports"), (int)index));
    char *copy = text ? strdup(text) : NULL;

    cJSON_Delete(object);
    return copy || !text ? copy : FAIL_NULL(fail_no_memory(err));
}
