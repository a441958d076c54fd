/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What PID 1 does once the machine is set up: runs processes for the host, until the host ends the session.
 */
#ifndef MSB_GUEST_SESSION_H
#define MSB_GUEST_SESSION_H

#include "guest/control.h"

struct session_machine {
    const char *hostname;
    int proc_fd; /* /proc, held */
    int pts_fd;  /* the guest's devpts, held; -1: no terminals */

    /* A new stream connection to the host: non-blocking, connected or connecting. */
    int (*connect_stream)(void *data, msb_error **err);
    /* Every process is ended: brings what they wrote to the host. */
    void (*sync)(void *data);
    void *data;
};

/* Returns 0 when the host closed the control connection, -1 when the host broke the protocol or the session cannot go on. The
   caller is its PID namespace's process 1: it reaps all orphans, and ends all processes when asked to. */
int session_run(struct control *control, const struct session_machine *machine, msb_error **err);

#endif
