/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoding of struct net_setup.
 */
#include "net/net.h"

#include <stdlib.h>

void net_setup_clear(struct net_setup *setup)
{
    free(setup->group);
    free(setup->ports);
    *setup = (struct net_setup){ 0 };
}

void net_setup_encode(struct writer *w, const struct net_setup *setup)
{
    put_u8(w, setup->log_level);
    put_u8(w, setup->scope);
    put_u32(w, setup->ip.s_addr);
    put_u32(w, setup->subnet.s_addr);
    put_u8(w, setup->subnet_bits);
    put_string(w, setup->group);
    put_u32(w, (uint32_t)setup->num_ports);
    for (size_t i = 0; i < setup->num_ports; i++) {
        put_u16(w, setup->ports[i].guest);
        put_u8(w, setup->ports[i].protocol);
    }
}

static bool decode_ports(struct reader *r, struct net_setup *setup)
{
    uint32_t count = get_count(r, NET_PORTS_MAX, 3);

    if (r->failed || count == 0)
        return !r->failed;
    setup->ports = calloc(count, sizeof(*setup->ports));
    if (!setup->ports)
        return false;
    setup->num_ports = count;
    for (uint32_t i = 0; i < count; i++) {
        setup->ports[i].guest = get_u16(r);
        setup->ports[i].protocol = get_u8(r);
        if (setup->ports[i].protocol != IPPROTO_TCP && setup->ports[i].protocol != IPPROTO_UDP)
            return false;
    }
    return true;
}

static bool decode(struct reader *r, struct net_setup *setup)
{
    setup->log_level = get_u8(r);
    setup->scope = get_u8(r);
    setup->ip.s_addr = get_u32(r);
    setup->subnet.s_addr = get_u32(r);
    setup->subnet_bits = get_u8(r);
    setup->group = get_string(r);
    if (r->failed || setup->scope <= MSB_SCOPE_NONE || setup->scope > MSB_SCOPE_ANY || setup->subnet_bits > 32)
        return false;
    if (!setup->group[0]) {
        free(setup->group);
        setup->group = NULL;
    }
    return decode_ports(r, setup);
}

bool net_setup_decode(struct reader *r, struct net_setup *setup)
{
    *setup = (struct net_setup){ 0 };
    if (decode(r, setup) && reader_done(r))
        return true;
    net_setup_clear(setup);
    return false;
}
