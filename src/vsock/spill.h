/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a connection's socket on the host did not take yet: bytes in the order they came, at most SPILL_SIZE of them, which is
 * also the credit that the guest is given. Memory is there only while there are bytes.
 */
#ifndef MSB_VSOCK_SPILL_H
#define MSB_VSOCK_SPILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { SPILL_SIZE = 256 << 10 };

struct spill {
    uint8_t *bytes; /* a ring of SPILL_SIZE */
    size_t begin;
    size_t used;
};

/* Adds what lies behind the first `offset` bytes of the buffers: no more than there is room. False when there is no memory. */
bool spill_put(struct spill *spill, const struct iovec *iov, unsigned count, size_t offset);

/* Describes the bytes in at most two pieces; returns how many. */
unsigned spill_peek(const struct spill *spill, struct iovec pieces[2]);

/* Drops the first bytes; with the last of them the memory goes. */
void spill_drop(struct spill *spill, size_t bytes);

#endif
