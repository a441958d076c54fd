/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor prepares for a VM's network; plan.h has the contract.
 */
#include "net/plan.h"

#include "config/port.h"
#include "net/address.h"
#include "net/listen.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* A guest without a subnet is alone: its network is its own address, and everything else is behind the gateway. QEMU's users know it. */
static const struct in_addr lone_ip = { .s_addr = __builtin_bswap32(0x0a00020f) };

static struct group_request request_of(const struct spec *spec)
{
    return (struct group_request){
        .subnet = spec->subnet, .subnet_bits = spec->subnet_bits, .has_ip = spec->has_ip, .ip = spec->ip, .name = spec->name
    };
}

static int assign(const struct spec *spec, const char *runtime, struct net_plan *plan, msb_error **err)
{
    struct group_request request = request_of(spec);

    plan->setup.ip = plan->setup.subnet = lone_ip;
    plan->setup.subnet_bits = 32;
    if (!spec->has_subnet)
        return 0;
    if (group_join(runtime, &request, &plan->member, err) < 0)
        return -1;
    plan->setup.ip = plan->member.ip;
    plan->setup.subnet = spec->subnet;
    plan->setup.subnet_bits = spec->subnet_bits;
    plan->setup.group = strdup(plan->member.directory);
    return plan->setup.group ? 0 : fail(err, MSB_ERR_NO_MEMORY, "out of memory");
}

/* Which one it is, where any free one was asked for. */
static void tell_port(const struct spec_port *port, uint16_t host)
{
    char address[PORT_ADDRESS_MAX];

    port_address(port, address);
    log_info("port %u/%s of the guest is published at %s:%u", port->guest, port->protocol == IPPROTO_UDP ? "udp" : "tcp", address,
             host);
}

static int open_ports(const struct spec *spec, struct net_plan *plan, msb_error **err)
{
    if (spec->num_ports == 0)
        return 0;
    if (spec->num_ports > NET_PORTS_MAX)
        return fail(err, MSB_ERR_UNSUPPORTED, "port_map: %zu ports; one sandbox publishes at most %d", spec->num_ports,
                    NET_PORTS_MAX);
    plan->setup.ports = calloc(spec->num_ports, sizeof(*plan->setup.ports));
    plan->ports = calloc(spec->num_ports, sizeof(*plan->ports));
    plan->host_ports = calloc(spec->num_ports, sizeof(*plan->host_ports));
    if (!plan->setup.ports || !plan->ports || !plan->host_ports)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < spec->num_ports; i++) {
        plan->setup.ports[i] = (struct net_port){ .guest = spec->ports[i].guest, .protocol = spec->ports[i].protocol };
        plan->ports[i] = open_port(&spec->ports[i], &plan->host_ports[i], err);
        if (plan->ports[i] < 0)
            return -1;
        tell_port(&spec->ports[i], plan->host_ports[i]);
        plan->setup.num_ports++;
    }
    return 0;
}

/* ---- What PID 1 is told -------------------------------------------------------------------------------------------------- */

static int add_line(char ***lines, size_t *num, const char *address, const char *rest, msb_error **err)
{
    char **more = realloc(*lines, (*num + 1) * sizeof(*more));

    if (!more)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    *lines = more;
    if (asprintf(&more[*num], "%s%s", address, rest) < 0)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    (*num)++;
    return 0;
}

/* libslirp asks the host's first resolver of the same family; take the family that the host has. */
static bool host_resolver_is_ipv6_only(void)
{
    bool v4 = false, v6 = false;
    char line[512], text[257];
    struct in6_addr address;
    FILE *file = fopen("/etc/resolv.conf", "re");

    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "nameserver%*[ \t]%256s", text) != 1)
            continue;
        v4 = v4 || inet_pton(AF_INET, text, &address) == 1;
        v6 = v6 || strchr(text, ':');
    }
    if (file)
        fclose(file);
    return v6 && !v4;
}

/* In a group the resolver knows the members' names, whatever the scope; without a group, scope group has no names at all. */
static int set_names(const struct net_setup *setup, const struct addresses *a, struct guest_network *guest, msb_error **err)
{
    char v4[INET_ADDRSTRLEN], v6[INET6_ADDRSTRLEN], host4[INET_ADDRSTRLEN], host6[INET6_ADDRSTRLEN];
    bool outside = setup->scope == MSB_SCOPE_PUBLIC || setup->scope == MSB_SCOPE_ANY;

    inet_ntop(AF_INET, &a->resolver, v4, sizeof(v4));
    inet_ntop(AF_INET6, &a->resolver6, v6, sizeof(v6));
    inet_ntop(AF_INET, &a->gateway, host4, sizeof(host4));
    inet_ntop(AF_INET6, &a->gateway6, host6, sizeof(host6));
    if ((outside || setup->group) &&
        add_line(&guest->resolvers, &guest->num_resolvers, outside && host_resolver_is_ipv6_only() ? v6 : v4, "", err) < 0)
        return -1;
    if (setup->scope != MSB_SCOPE_ANY)
        return 0;
    if (add_line(&guest->hosts, &guest->num_hosts, host4, " host.microsandbox.internal", err) < 0)
        return -1;
    return add_line(&guest->hosts, &guest->num_hosts, host6, " host.microsandbox.internal", err);
}

static int set_guest(struct net_plan *plan, msb_error **err)
{
    const struct net_setup *setup = &plan->setup;
    struct addresses a = addresses_of(setup->ip, setup->subnet, setup->subnet_bits);
    struct guest_network *guest = &plan->guest;

    memcpy(plan->mac, &a.mac, sizeof(plan->mac));
    guest->present = true;
    memcpy(guest->ipv4, &a.ip, sizeof(guest->ipv4));
    memcpy(guest->ipv4_gateway, &a.gateway, sizeof(guest->ipv4_gateway));
    guest->ipv4_bits = setup->subnet_bits;
    memcpy(guest->ipv6, &a.ip6, sizeof(guest->ipv6));
    memcpy(guest->ipv6_gateway, &a.gateway_link_local, sizeof(guest->ipv6_gateway));
    guest->ipv6_bits = setup->subnet_bits == 32 ? 128 : PREFIX6_BITS;
    return set_names(setup, &a, guest, err);
}

/* ---- The whole ----------------------------------------------------------------------------------------------------------- */

bool net_plan_is_wanted(const struct spec *spec)
{
    return spec->scope != MSB_SCOPE_NONE && (spec->scope != MSB_SCOPE_GROUP || spec->has_subnet || spec->num_ports > 0);
}

int net_plan_make(const struct spec *spec, const char *runtime, struct net_plan *plan, msb_error **err)
{
    *plan = (struct net_plan){ .member = { .lock = -1 } };
    if (spec->scope == MSB_SCOPE_NONE)
        return 0;
    plan->present = true;
    plan->setup.log_level = (uint8_t)spec->log_level;
    plan->setup.scope = (uint8_t)spec->scope;
    plan->host_network = spec->scope == MSB_SCOPE_PUBLIC || spec->scope == MSB_SCOPE_ANY;
    plan->needs_caller = spec->has_subnet;
    if (open_ports(spec, plan, err) < 0 || assign(spec, runtime, plan, err) < 0)
        return -1;
    return set_guest(plan, err);
}

void net_plan_close_ports(struct net_plan *plan)
{
    for (size_t i = 0; plan->ports && i < plan->setup.num_ports; i++)
        cleanup_fd(&plan->ports[i]);
    free(plan->ports);
    plan->ports = NULL;
}

static void free_lines(char **lines, size_t num)
{
    for (size_t i = 0; i < num; i++)
        free(lines[i]);
    free(lines);
}

void net_plan_release(struct net_plan *plan)
{
    net_plan_close_ports(plan);
    group_leave(&plan->member);
    free(plan->host_ports);
    net_setup_clear(&plan->setup);
    free_lines(plan->guest.resolvers, plan->guest.num_resolvers);
    free_lines(plan->guest.hosts, plan->guest.num_hosts);
    *plan = (struct net_plan){ .member = { .lock = -1 } };
}

int net_plan_preview(const struct spec *spec, const char *runtime, struct in_addr *ip, struct in_addr *subnet, uint8_t *bits,
                     msb_error **err)
{
    struct group_request request = request_of(spec);

    *ip = *subnet = (struct in_addr){ 0 };
    *bits = 0;
    if (spec->scope == MSB_SCOPE_NONE)
        return 0;
    *subnet = spec->has_subnet ? spec->subnet : lone_ip;
    *bits = spec->has_subnet ? spec->subnet_bits : 32;
    *ip = lone_ip;
    return spec->has_subnet ? group_preview(runtime, &request, ip, err) : 0;
}
