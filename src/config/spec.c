/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes from the library to the monitor. Both are the same user's, but the monitor checks all the same: a spec that decodes has
 * only values that the rest of the monitor knows how to meet.
 */
#include "config/spec.h"

#include <stdlib.h>
#include <string.h>

/* More than any caller can mean, and few enough that a garbled count allocates little. */
enum { SPEC_SHARES_MAX = 65536, SPEC_PORTS_MAX = 65536 };

void spec_clear(struct spec *spec)
{
    for (size_t i = 0; i < spec->num_rootfs_layers; i++)
        free(spec->rootfs_layers[i]);
    free(spec->rootfs_layers);
    free(spec->rootfs_upper);
    for (size_t i = 0; i < spec->num_shares; i++) {
        free(spec->shares[i].host);
        free(spec->shares[i].guest);
    }
    free(spec->shares);
    free(spec->ports);
    process_clear(&spec->process);
    free(spec->console_output);
    free(spec->kernel);
    free(spec->hostname);
    free(spec->name);
    *spec = (struct spec){ 0 };
}

void spec_encode(struct writer *w, const struct spec *spec)
{
    put_u8(w, (uint8_t)spec->log_level);
    put_u8(w, (uint8_t)spec->rootfs_kind);
    put_u32(w, (uint32_t)spec->num_rootfs_layers);
    for (size_t i = 0; i < spec->num_rootfs_layers; i++)
        put_string(w, spec->rootfs_layers[i]);
    put_string(w, spec->rootfs_upper);
    put_u32(w, spec->num_vcpus);
    put_u32(w, spec->memory_mib);
    put_u32(w, (uint32_t)spec->num_shares);
    for (size_t i = 0; i < spec->num_shares; i++) {
        put_string(w, spec->shares[i].host);
        put_string(w, spec->shares[i].guest);
        put_bool(w, spec->shares[i].read_only);
    }
    put_u32(w, (uint32_t)spec->num_ports);
    for (size_t i = 0; i < spec->num_ports; i++) {
        put_raw(w, &spec->ports[i].address, sizeof(spec->ports[i].address));
        put_u16(w, spec->ports[i].host);
        put_u16(w, spec->ports[i].guest);
        put_u8(w, spec->ports[i].protocol);
    }
    put_u8(w, (uint8_t)spec->scope);
    put_bool(w, spec->has_ip);
    put_bool(w, spec->has_subnet);
    put_u32(w, spec->ip.s_addr);
    put_u32(w, spec->subnet.s_addr);
    put_u8(w, spec->subnet_bits);
    put_bool(w, spec->has_process);
    process_encode(w, &spec->process);
    put_string(w, spec->console_output);
    put_u8(w, (uint8_t)spec->engine);
    put_string(w, spec->kernel);
    put_string(w, spec->hostname);
    put_bool(w, spec->nested);
    put_string(w, spec->name);
    put_bool(w, spec->keep);
    put_u64(w, spec->timeout_ms);
    put_u64(w, spec->idle_timeout_ms);
}

static uint8_t get_u8_below(struct reader *r, uint8_t bound)
{
    uint8_t value = get_u8(r);

    if (value >= bound)
        r->failed = true;
    return r->failed ? 0 : value;
}

/* Empty means not set. */
static char *get_optional(struct reader *r)
{
    char *string = get_string(r);

    if (string && !*string) {
        free(string);
        return NULL;
    }
    return string;
}

/* count zeroed items, or NULL for none; no memory fails the reader. */
static void *get_array(struct reader *r, uint32_t max, size_t encoded_min, size_t size, size_t *count)
{
    uint32_t wanted = get_count(r, max, encoded_min);
    void *array = wanted ? calloc(wanted, size) : NULL;

    if (wanted && !array)
        r->failed = true;
    *count = array ? wanted : 0;
    return array;
}

static void get_layers(struct reader *r, struct spec *spec)
{
    spec->rootfs_layers = get_array(r, ROOTFS_LAYERS_MAX, 4, sizeof(*spec->rootfs_layers), &spec->num_rootfs_layers);
    for (size_t i = 0; i < spec->num_rootfs_layers; i++)
        spec->rootfs_layers[i] = get_string(r);
    if (spec->rootfs_kind == ROOTFS_NATIVE ? spec->num_rootfs_layers != 1
                                           : !spec->num_rootfs_layers != (spec->rootfs_kind == ROOTFS_HOST))
        r->failed = true;
}

static void get_shares(struct reader *r, struct spec *spec)
{
    spec->shares = get_array(r, SPEC_SHARES_MAX, 9, sizeof(*spec->shares), &spec->num_shares);
    for (size_t i = 0; i < spec->num_shares; i++) {
        spec->shares[i].host = get_string(r);
        spec->shares[i].guest = get_string(r);
        spec->shares[i].read_only = get_bool(r);
    }
}

static void get_port(struct reader *r, struct spec_port *port)
{
    const uint8_t *address = get_raw(r, sizeof(port->address));

    if (address)
        memcpy(&port->address, address, sizeof(port->address));
    port->host = get_u16(r);
    port->guest = get_u16(r);
    port->protocol = get_u8(r);
    if (port->protocol != IPPROTO_TCP && port->protocol != IPPROTO_UDP)
        r->failed = true;
}

static void get_network(struct reader *r, struct spec *spec)
{
    spec->ports = get_array(r, SPEC_PORTS_MAX, 21, sizeof(*spec->ports), &spec->num_ports);
    for (size_t i = 0; i < spec->num_ports; i++)
        get_port(r, &spec->ports[i]);
    spec->scope = (enum msb_scope)get_u8_below(r, MSB_SCOPE_ANY + 1);
    spec->has_ip = get_bool(r);
    spec->has_subnet = get_bool(r);
    spec->ip.s_addr = get_u32(r);
    spec->subnet.s_addr = get_u32(r);
    spec->subnet_bits = get_u8_below(r, 33);
}

int spec_decode(struct reader *r, struct spec *spec, msb_error **err)
{
    *spec = (struct spec){ 0 };
    spec->log_level = (enum msb_log_level)get_u8_below(r, MSB_LOG_TRACE + 1);
    spec->rootfs_kind = (enum spec_rootfs_kind)get_u8_below(r, ROOTFS_HOST + 1);
    get_layers(r, spec);
    spec->rootfs_upper = get_optional(r);
    spec->num_vcpus = get_u32(r);
    spec->memory_mib = get_u32(r);
    get_shares(r, spec);
    get_network(r, spec);
    spec->has_process = get_bool(r);
    if (!process_decode(r, &spec->process) || spec->has_process != (spec->process.exec_path[0] != '\0'))
        r->failed = true;
    spec->console_output = get_optional(r);
    spec->engine = (enum msb_engine)get_u8_below(r, MSB_ENGINE_UML + 1);
    spec->kernel = get_optional(r);
    spec->hostname = get_optional(r);
    spec->nested = get_bool(r);
    spec->name = get_optional(r);
    spec->keep = get_bool(r);
    spec->timeout_ms = get_u64(r);
    spec->idle_timeout_ms = get_u64(r);
    if (r->failed) {
        spec_clear(spec);
        return fail(err, MSB_ERR_PROTOCOL, "the description of the VM is truncated or garbled");
    }
    return 0;
}
