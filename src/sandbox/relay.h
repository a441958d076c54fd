/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies a stream of bytes from one descriptor to another, on the loop, without ever blocking it and with at most one buffer of
 * bytes on the way: what nobody reads is not read either.
 */
#ifndef MSB_SANDBOX_RELAY_H
#define MSB_SANDBOX_RELAY_H

#include "util/loop.h"

struct relay;

enum relay_end {
    RELAY_EOF,    /* the source has ended, and all of it is written */
    RELAY_CLOSED, /* nobody reads the destination any more, or it cannot be written: what the source still has is lost */
};

/* Called once, and never from relay_new(). It may free the relay. */
typedef void relay_done(struct relay *relay, enum relay_end end, void *data);

/* One of the two is a socket of ours, in non-blocking mode. The other is whatever the caller's standard stream is, shared with
   processes that expect it to block, so that its mode is left alone. Both stay the caller's and must outlive the relay. */
struct relay *relay_new(struct loop *loop, int from, int to, relay_done *done, void *data, msb_error **err);

/* NULL is allowed. */
void relay_free(struct relay *relay);

#endif
