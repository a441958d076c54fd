/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all parts of the net process meet in: takes frames from the guest and from everywhere else, has them judged, and passes them on.
 */
#ifndef MSB_NET_BRIDGE_H
#define MSB_NET_BRIDGE_H

#include "net/net.h"
#include "util/loop.h"

struct bridge;

/* Makes everything that needs privileges or names outside of the cell: sockets, the group's directory. */
struct bridge *bridge_new(struct loop *loop, const struct net_setup *setup, unsigned max_fds, msb_error **err);

/* In the cell, where the group's directory is `group`, if there is one: opens what is needed there. */
int bridge_enter_cell(struct bridge *bridge, const char *group, msb_error **err);

/* Begins to serve the guest's network card, whose vhost-user socket becomes the bridge's. */
int bridge_start(struct bridge *bridge, int frontend, msb_error **err);

/* The guest has its addresses: published ports take what comes, and what has come. */
void bridge_open_ports(struct bridge *bridge);

/* Logs what was counted, at level debug. */
void bridge_log_counters(const struct bridge *bridge);

void bridge_free(struct bridge *bridge);

#endif
