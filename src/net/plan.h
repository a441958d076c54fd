/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor prepares for a VM's network before it starts the net process.
 */
#ifndef MSB_NET_PLAN_H
#define MSB_NET_PLAN_H

#include "config/spec.h"
#include "net/group.h"
#include "net/net.h"
#include "wire/protocol.h"

struct net_plan {
    bool present;               /* false: scope none, nothing else is filled in and no net process is wanted */
    bool host_network;          /* the process is started in the host's network namespace (struct spawn) */
    bool needs_caller;          /* it must be the caller's user (SPAWN_CALLER), for the group's directory */
    struct net_setup setup;     /* for the process */
    struct guest_network guest; /* for PID 1 */
    uint8_t mac[6];             /* the guest's, for the engine */
    int *ports;                 /* the process's descriptors from NET_FD_FIRST_PORT on; setup.num_ports of them */
    uint16_t *host_ports;       /* what they listen on, where 0 was asked for too */
    struct group_member member;
};

/* Whether a VM needs a network card: one that is alone in its group, without published ports, can talk to nobody. */
bool net_plan_is_wanted(const struct spec *spec);

/* Joins the group, opens the published ports. A port or address in use is MSB_ERR_IN_USE, and named. runtime is the directory of
   struct group_member; it is used only for a spec with a subnet. The plan is the caller's also after a failure. */
int net_plan_make(const struct spec *spec, const char *runtime, struct net_plan *plan, msb_error **err);

/* The process has the sockets now. */
void net_plan_close_ports(struct net_plan *plan);

/* Closes and leaves everything. To be called when the net process is gone. */
void net_plan_release(struct net_plan *plan);

/* The guest's address and network as net_plan_make() would assign them now, without taking anything. Scope none: both 0.0.0.0/0. */
int net_plan_preview(const struct spec *spec, const char *runtime, struct in_addr *ip, struct in_addr *subnet, uint8_t *bits,
                     msb_error **err);

#endif
