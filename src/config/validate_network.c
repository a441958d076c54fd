/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom the guest talks to: scope, published ports, address and subnet.
 */
#include "config/port.h"
#include "config/validate.h"

#include <stdlib.h>
#include <string.h>

/* A group's network has an address for the gateway and one for a guest, beside its own and its broadcast address. */
enum { SUBNET_BITS_MIN = 8, SUBNET_BITS_MAX = 30 };

static const struct in6_addr any_ipv4 = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

/* Whether one connection can reach both: the same address, or all addresses of the same family. (Listeners on [::] take no IPv4.) */
static bool addresses_overlap(const struct spec_port *a, const struct spec_port *b)
{
    bool a_is_v4 = IN6_IS_ADDR_V4MAPPED(&a->address), b_is_v4 = IN6_IS_ADDR_V4MAPPED(&b->address);
    const struct in6_addr *any = a_is_v4 ? &any_ipv4 : &in6addr_any;

    if (a_is_v4 != b_is_v4)
        return false;
    return IN6_ARE_ADDR_EQUAL(&a->address, &b->address) || IN6_ARE_ADDR_EQUAL(&a->address, any) ||
           IN6_ARE_ADDR_EQUAL(&b->address, any);
}

static int refuse_duplicates(struct validation *v, size_t last)
{
    const struct spec_port *ports = v->spec->ports, *port = &ports[last];
    struct text value = text_of(v->config->port_map.items[last], MSB_LENGTH_UNKNOWN);

    for (size_t i = 0; i < last; i++) {
        const char *other = v->config->port_map.items[i];

        if (ports[i].protocol != port->protocol || !addresses_overlap(&ports[i], port))
            continue;
        if (ports[i].host == port->host && port->host != 0)
            return refuse(v->err, "port_map", value, "takes host port %u, which \"%s\" has already; choose another", port->host,
                          other);
        if (ports[i].guest == port->guest)
            return refuse(v->err, "port_map", value, "leads to guest port %u, as \"%s\" does already; leave one out", port->guest,
                          other);
    }
    return 0;
}

static int validate_ports(struct validation *v)
{
    const struct string_list *list = &v->config->port_map;

    if (list->count == 0)
        return 0;
    if (validate_list(v, "port_map", list) < 0)
        return -1;
    if (v->spec->scope == MSB_SCOPE_NONE)
        return refuse(v->err, "port_map", text_of(list->items[0], MSB_LENGTH_UNKNOWN),
                      "needs a network, but scope is \"none\"; use another scope, or publish no port");
    v->spec->ports = calloc(list->count, sizeof(*v->spec->ports));
    if (!v->spec->ports)
        return fail_no_memory(v->err);
    for (size_t i = 0; i < list->count; i++) {
        msb_error *error = NULL;

        if (port_parse(list->items[i], MSB_LENGTH_UNKNOWN, &v->spec->ports[i], &error) < 0) {
            fail_prefix(&error, "port_map");
            return fail_with(v->err, error);
        }
        v->spec->num_ports++;
        if (refuse_duplicates(v, i) < 0)
            return -1;
    }
    return 0;
}

/* What Linux gives to no interface, or means "this host" and "many hosts". */
static bool is_special_network(uint32_t network)
{
    uint32_t first = ntohl(network) >> 24;

    return first == 0 || first == 127 || first >= 224;
}

static int validate_subnet(struct validation *v)
{
    struct text value = text_of(v->config->subnet, MSB_LENGTH_UNKNOWN);
    msb_error *error = NULL;
    unsigned bits;

    if (!v->config->subnet)
        return 0;
    if (msb_subnet_parse(v->config->subnet, MSB_LENGTH_UNKNOWN, &v->spec->subnet.s_addr, &bits, &error) < 0)
        return fail_with(v->err, error);
    if (bits < SUBNET_BITS_MIN || bits > SUBNET_BITS_MAX)
        return refuse(v->err, "subnet", value, "has %s; use %d to %d bits",
                      bits < SUBNET_BITS_MIN ? "too few bits" : "no room for a guest", SUBNET_BITS_MIN, SUBNET_BITS_MAX);
    if (is_special_network(v->spec->subnet.s_addr))
        return refuse(v->err, "subnet", value,
                      "is no network for hosts (0/8, loopback, multicast or reserved); use one such as 10.0.0.0/24");
    v->spec->subnet_bits = (uint8_t)bits;
    v->spec->has_subnet = true;
    return 0;
}

static int validate_ip(struct validation *v)
{
    struct text value = text_of(v->config->ip, MSB_LENGTH_UNKNOWN);
    msb_error *error = NULL;
    uint32_t host_mask, host;

    if (!v->config->ip)
        return 0;
    if (msb_ipv4_parse(v->config->ip, MSB_LENGTH_UNKNOWN, &v->spec->ip.s_addr, &error) < 0) {
        fail_prefix(&error, "ip");
        return fail_with(v->err, error);
    }
    if (!v->spec->has_subnet)
        return refuse(v->err, "ip", value, "needs a subnet that it lies in; set subnet too");
    host_mask = UINT32_MAX >> v->spec->subnet_bits;
    host = ntohl(v->spec->ip.s_addr) & host_mask;
    if ((ntohl(v->spec->ip.s_addr) & ~host_mask) != ntohl(v->spec->subnet.s_addr))
        return refuse(v->err, "ip", value, "is outside the subnet \"%s\"; use an address in it", v->config->subnet);
    if (host == 0 || host == host_mask)
        return refuse(v->err, "ip", value, "is the %s address of the subnet \"%s\"; use one between",
                      host ? "broadcast" : "network", v->config->subnet);
    v->spec->has_ip = true;
    return 0;
}

int validate_network(struct validation *v)
{
    if (!msb_scope_name(v->config->scope))
        return fail(v->err, MSB_ERR_INVALID, "scope \"%u\" is no value of enum msb_scope", (unsigned)v->config->scope);
    v->spec->scope = v->config->scope;
    if (validate_ports(v) < 0 || validate_subnet(v) < 0 || validate_ip(v) < 0)
        return -1;
    if (v->spec->scope == MSB_SCOPE_NONE && v->spec->has_subnet)
        return warnings_add(v->warnings, v->err, "subnet \"%s\" means nothing to a VM whose scope is \"none\"",
                            v->config->subnet);
    return 0;
}
