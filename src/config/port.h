/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A published port in its two forms: the library's msb_port and the plain one of a spec.
 */
#ifndef MSB_CONFIG_PORT_H
#define MSB_CONFIG_PORT_H

#include "config/spec.h"

int port_parse(const char *text, size_t length, struct spec_port *port, msb_error **err);
char *port_print(const struct spec_port *port);

/* What is listened on, as the user writes it: 127.0.0.1 or [::1]. */
enum { PORT_ADDRESS_MAX = INET6_ADDRSTRLEN + 2 };
void port_address(const struct spec_port *port, char address[PORT_ADDRESS_MAX]);

#endif
