/* SPDX-License-Identifier: Apache-2.0 */
#include "platform/devices.h"

#include <sys/random.h>

enum {
    REQUEST_MAX = 4096, /* bytes; the device may give fewer than there is room for */
};

/* Straight into guest memory: nobody else sees the bytes. Returns how many. */
static uint32_t fill(const struct chain *chain)
{
    size_t filled = 0;

    for (unsigned i = 0; i < chain->num_writable && filled < REQUEST_MAX; i++) {
        size_t size = chain->writable[i].iov_len;
        ssize_t got = getrandom(chain->writable[i].iov_base, size < REQUEST_MAX - filled ? size : REQUEST_MAX - filled, 0);

        if (got > 0)
            filled += (size_t)got;
        if (got < (ssize_t)size)
            break;
    }
    return (uint32_t)filled;
}

static void entropy_ready(void *data, unsigned index, struct virtqueue *queue)
{
    struct platform_device *device = data;

    (void)index;
    do {
        while (virtqueue_pop(queue, &device->chain) == 1)
            virtqueue_push(queue, device->chain.head, fill(&device->chain));
    } while (virtqueue_enable_kicks(queue, true));
    virtqueue_notify(queue);
}

const struct vhost_user_device entropy_device = {
    .name = "the entropy device",
    .num_queues = 1,
    .queue_size_max = 256,
    .queue_ready = entropy_ready,
};
