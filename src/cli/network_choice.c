/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/network_choice.h"

#include "config/text.h"
#include "net/plan.h"
#include "sandbox/runtime.h"
#include "util/cleanup.h"

#include <cjson/cJSON.h>

static const char *string_at(const cJSON *config, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, key));
}

/* As much of the spec as its network follows from. The configuration is valid. */
static int read_spec(const cJSON *config, struct spec *spec, msb_error **err)
{
    const char *scope = string_at(config, "scope"), *subnet = string_at(config, "subnet"), *ip = string_at(config, "ip");
    unsigned bits;

    spec->num_ports = (size_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(config, "port_map"));
    if (scope && msb_scope_parse(scope, MSB_LENGTH_UNKNOWN, &spec->scope, err) < 0)
        return -1;
    if (subnet) {
        spec->has_subnet = true;
        if (msb_subnet_parse(subnet, MSB_LENGTH_UNKNOWN, &spec->subnet.s_addr, &bits, err) < 0)
            return -1;
        spec->subnet_bits = (uint8_t)bits;
    }
    spec->has_ip = ip;
    return ip ? msb_ipv4_parse(ip, MSB_LENGTH_UNKNOWN, &spec->ip.s_addr, err) : 0;
}

/* Both NULL without a network. */
static int choose(const cJSON *config, char **ip, char **subnet, msb_error **err)
{
    struct spec spec = { 0 };
    struct in_addr address, network;
    _cleanup_free_ char *runtime = NULL;
    uint8_t bits;

    if (read_spec(config, &spec, err) < 0)
        return -1;
    if (!net_plan_is_wanted(&spec))
        return 0;
    if (spec.has_subnet && !(runtime = runtime_directory(err)))
        return -1;
    if (net_plan_preview(&spec, runtime, &address, &network, &bits, err) < 0)
        return -1;
    *ip = msb_ipv4_print(address.s_addr);
    *subnet = msb_subnet_print(network.s_addr, bits);
    return *ip && *subnet ? 0 : fail_no_memory(err);
}

static bool add(cJSON *object, const char *key, const char *value)
{
    cJSON *item = value ? cJSON_CreateString(value) : cJSON_CreateNull();

    if (item && cJSON_AddItemToObjectCS(object, key, item))
        return true;
    cJSON_Delete(item);
    return false;
}

char *network_choice_add(const char *json, msb_error **err)
{
    cJSON *config = cJSON_Parse(json), *object = cJSON_GetObjectItemCaseSensitive(config, "would_run");
    _cleanup_free_ char *ip = NULL, *subnet = NULL;
    char *result = NULL;

    if (!object) {
        fail_no_memory(err);
    } else if (choose(config, &ip, &subnet, err) == 0) {
        result = add(object, "ip", ip) && add(object, "subnet", subnet) ? cJSON_Print(config) : NULL;
        if (!result)
            fail_no_memory(err);
    }
    cJSON_Delete(config);
    return result;
}
