/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A spec as JSON. The keys are the names of the option table, and the values are written as the options take them, so that nothing is
 * lost: a 64-bit limit does not fit a JSON number everywhere. JSON strings are Unicode, the host's and the guest's are bytes: one
 * that is not UTF-8 becomes an object, {"base64": "..."}.
 */
#include "config/config.h"
#include "config/port.h"
#include "config/rlimit.h"
#include "config/text.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cJSON *base64_object(const char *bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = strlen(bytes);
    char *encoded = malloc((length + 2) / 3 * 4 + 1), *out = encoded;
    cJSON *object = encoded ? cJSON_CreateObject() : NULL;

    for (size_t i = 0; encoded && i < length; i += 3) {
        size_t left = length - i;
        unsigned group = (unsigned)(unsigned char)bytes[i] << 16;

        group |= left > 1 ? (unsigned)(unsigned char)bytes[i + 1] << 8 : 0;
        group |= left > 2 ? (unsigned char)bytes[i + 2] : 0;
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[group & 63] : '=';
    }
    if (out)
        *out = '\0';
    if (object && !cJSON_AddStringToObject(object, "base64", encoded)) {
        cJSON_Delete(object);
        object = NULL;
    }
    free(encoded);
    return object;
}

static cJSON *string_or_null(const char *string)
{
    if (!string)
        return cJSON_CreateNull();
    return text_is_utf8(text_of(string, MSB_LENGTH_UNKNOWN)) ? cJSON_CreateString(string) : base64_object(string);
}

/* Adds an item; a NULL one, for lack of memory, fails. */
static bool add(cJSON *object, const char *key, cJSON *item)
{
    if (item && cJSON_AddItemToObjectCS(object, key, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static bool append(cJSON *array, cJSON *item)
{
    if (array && item && cJSON_AddItemToArray(array, item))
        return true;
    cJSON_Delete(item);
    return false;
}

/* Takes ownership of the string. */
static bool append_printed(cJSON *array, char *printed)
{
    bool ok = printed && append(array, string_or_null(printed));

    free(printed);
    return ok;
}

/* Adds the array when all of it could be made. */
static bool add_array(cJSON *object, const char *key, cJSON *array, bool complete)
{
    if (complete)
        return add(object, key, array);
    cJSON_Delete(array);
    return false;
}

static bool add_strings(cJSON *object, const char *key, char *const *strings, size_t count)
{
    cJSON *array = cJSON_CreateArray();
    bool complete = array != NULL;

    for (size_t i = 0; complete && i < count; i++)
        complete = append(array, string_or_null(strings[i]));
    return add_array(object, key, array, complete);
}

static bool add_rootfs(cJSON *object, const struct spec *spec)
{
    cJSON *root;
    bool ok;

    if (spec->rootfs_kind == ROOTFS_HOST)
        return add(object, "rootfs", cJSON_CreateString("host"));
    root = cJSON_CreateObject();
    if (!root)
        return false;
    if (spec->rootfs_kind == ROOTFS_NATIVE)
        ok = add(root, "native", string_or_null(spec->rootfs_layers[0]));
    else
        ok = add_strings(root, "layers", spec->rootfs_layers, spec->num_rootfs_layers) &&
             add(root, "upper", string_or_null(spec->rootfs_upper));
    if (ok)
        return add(object, "rootfs", root);
    cJSON_Delete(root);
    return false;
}

static char *print_share(const struct spec_share *share)
{
    char *text = NULL;

    return asprintf(&text, "%s:%s%s", share->host, share->guest, share->read_only ? ":ro" : "") < 0 ? NULL : text;
}

static bool add_shares(cJSON *object, const struct spec *spec)
{
    cJSON *array = cJSON_CreateArray();
    bool complete = array != NULL;

    for (size_t i = 0; complete && i < spec->num_shares; i++)
        complete = append_printed(array, print_share(&spec->shares[i]));
    return add_array(object, "mapped_dirs", array, complete);
}

static bool add_ports(cJSON *object, const struct spec *spec)
{
    cJSON *array = cJSON_CreateArray();
    bool complete = array != NULL;

    for (size_t i = 0; complete && i < spec->num_ports; i++)
        complete = append_printed(array, port_print(&spec->ports[i]));
    return add_array(object, "port_map", array, complete);
}

static bool add_rlimits(cJSON *object, const struct process *process)
{
    cJSON *array = cJSON_CreateArray();
    bool complete = array != NULL;

    for (size_t i = 0; complete && i < process->num_rlimits; i++)
        complete = append_printed(array, rlimit_print(&process->rlimits[i]));
    return add_array(object, "rlimits", array, complete);
}

/* Takes ownership of the string. */
static bool add_printed(cJSON *object, const char *key, char *printed)
{
    bool ok = printed && add(object, key, string_or_null(printed));

    free(printed);
    return ok;
}

static bool add_network(cJSON *object, const struct spec *spec)
{
    return add_ports(object, spec) && add(object, "scope", cJSON_CreateString(msb_scope_name(spec->scope))) &&
           (spec->has_ip ? add_printed(object, "ip", msb_ipv4_print(spec->ip.s_addr)) : add(object, "ip", cJSON_CreateNull())) &&
           (spec->has_subnet ? add_printed(object, "subnet", msb_subnet_print(spec->subnet.s_addr, spec->subnet_bits))
                             : add(object, "subnet", cJSON_CreateNull()));
}

static bool add_process(cJSON *object, bool has_process, const struct process *process)
{
    return add_rlimits(object, process) && add(object, "workdir_path", string_or_null(process->workdir)) &&
           add(object, "exec_path", string_or_null(has_process ? process->exec_path : NULL)) &&
           add_strings(object, "args", process->args, process->num_args) &&
           add_strings(object, "env", process->env, process->num_env) && add(object, "user", string_or_null(process->user)) &&
           add(object, "tty", cJSON_CreateBool(process->tty));
}

/* Beyond 2^53 a JSON number is not exact everywhere; nobody waits 285,000 years for the difference. */
static bool add_milliseconds(cJSON *object, const char *key, uint64_t milliseconds)
{
    return add(object, key, milliseconds ? cJSON_CreateNumber((double)milliseconds) : cJSON_CreateNull());
}

static bool add_all(cJSON *object, const struct spec *spec, const struct warnings *warnings)
{
    return add(object, "log_level", cJSON_CreateString(msb_log_level_name(spec->log_level))) && add_rootfs(object, spec) &&
           add(object, "num_vcpus", cJSON_CreateNumber(spec->num_vcpus)) &&
           add(object, "memory_mib", cJSON_CreateNumber(spec->memory_mib)) && add_shares(object, spec) &&
           add_network(object, spec) && add_process(object, spec->has_process, &spec->process) &&
           add(object, "console_output", string_or_null(spec->console_output)) &&
           add(object, "engine", cJSON_CreateString(msb_engine_name(spec->engine))) &&
           add(object, "kernel", string_or_null(spec->kernel)) && add(object, "hostname", string_or_null(spec->hostname)) &&
           add(object, "nested", cJSON_CreateBool(spec->nested)) && add(object, "name", string_or_null(spec->name)) &&
           add(object, "keep", cJSON_CreateBool(spec->keep)) && add_milliseconds(object, "timeout_ms", spec->timeout_ms) &&
           add_milliseconds(object, "idle_timeout_ms", spec->idle_timeout_ms) &&
           add_strings(object, "warnings", warnings->items, warnings->count);
}

char *spec_to_json(const struct spec *spec, const struct warnings *warnings, msb_error **err)
{
    cJSON *object = cJSON_CreateObject();
    char *json = NULL;

    if (object && add_all(object, spec, warnings))
        json = cJSON_Print(object);
    cJSON_Delete(object);
    return json ? json : FAIL_NULL(fail_no_memory(err));
}
