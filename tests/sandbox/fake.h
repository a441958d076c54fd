/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A monitor without a VM: the real half that serves clients (serve.c, server.c, guest.c), with a loop that runs as long as there is
 * something to do, and a guest whose messages the test writes itself. Shared by the tests and the fuzzer of the two protocols.
 */
#ifndef MSB_TESTS_SANDBOX_FAKE_H
#define MSB_TESTS_SANDBOX_FAKE_H

#include "sandbox/monitor.h"

struct fake {
    struct monitor monitor;
    int caller; /* this side of the caller's connection */
    int guest;  /* PID 1's end of its control connection */
};

/* Nothing has been said on either connection. With detached, the workload's streams are the monitor's own. */
void fake_begin(struct fake *fake, bool detached);
void fake_end(struct fake *fake);

/* Handles what has come, and what follows from it. */
void fake_run(struct fake *fake);

/* A new connection of a client, to write to and read from. */
int fake_connect(struct fake *fake);

/* A connection that the guest makes for a stream; returns its end. */
int fake_stream(struct fake *fake);

#endif
