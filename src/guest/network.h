/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's network interface, set from the configuration; nothing is asked of the network. */
#ifndef MSB_GUEST_NETWORK_H
#define MSB_GUEST_NETWORK_H

#include "guest/control.h"

/* lo is brought up always; with a network also eth0. proc_fd is /proc. */
int network_set_up(const struct guest_network *network, int proc_fd, struct control *control, msb_error **err);

#endif
