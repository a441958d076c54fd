/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets of published ports.
 */
#ifndef MSB_NET_LISTEN_H
#define MSB_NET_LISTEN_H

#include "config/spec.h"

/* A listening (TCP) or bound (UDP) socket, not blocking; *bound is its port. Port in use: MSB_ERR_IN_USE. */
int open_port(const struct spec_port *port, uint16_t *bound, msb_error **err);

#endif
