/* SPDX-License-Identifier: Apache-2.0 */
#include "vsock/spill.h"

#include "virtio/virtqueue.h"

#include <stdlib.h>

bool spill_put(struct spill *spill, const struct iovec *iov, unsigned count, size_t offset)
{
    if (!spill->bytes)
        spill->bytes = malloc(SPILL_SIZE);
    if (!spill->bytes)
        return false;
    /* At most two steps: up to the ring's end, and from its beginning. */
    for (;;) {
        size_t at = (spill->begin + spill->used) % SPILL_SIZE;
        size_t room = SPILL_SIZE - spill->used;
        size_t step = room < SPILL_SIZE - at ? room : SPILL_SIZE - at;
        size_t n = iov_read(iov, count, offset, spill->bytes + at, step);

        if (n == 0)
            return true;
        offset += n;
        spill->used += n;
    }
}

unsigned spill_peek(const struct spill *spill, struct iovec pieces[2])
{
    size_t first = SPILL_SIZE - spill->begin;

    if (spill->used <= first) {
        pieces[0] = (struct iovec){ spill->bytes + spill->begin, spill->used };
        return spill->used ? 1 : 0;
    }
    pieces[0] = (struct iovec){ spill->bytes + spill->begin, first };
    pieces[1] = (struct iovec){ spill->bytes, spill->used - first };
    return 2;
}

void spill_drop(struct spill *spill, size_t bytes)
{
    spill->begin = (spill->begin + bytes) % SPILL_SIZE;
    spill->used -= bytes;
    if (spill->used == 0) {
        free(spill->bytes);
        *spill = (struct spill){ 0 };
    }
}
