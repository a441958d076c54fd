/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queues are numbered without gaps among those that the features leave (as Linux's driver does, whatever the specification's
 * table says): without statistics and hints, reporting comes third.
 */
#include "platform/devices.h"
#include "util/log.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <string.h>
#include <sys/mman.h>

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_REPORTING, NUM_QUEUES };

#define PAGE UINT64_C(4096)

/* All zero: a target of no pages, so that the driver never inflates. */
static const struct virtio_balloon_config config;

/* Gives the whole pages within a buffer back: the file behind guest memory gets a hole there, and reads as zero afterwards. The
   guest may lie about what is free, and loses only its own memory. */
static void give_back(const struct iovec *buffer)
{
    size_t skip = -(uintptr_t)buffer->iov_base % PAGE;
    size_t size = buffer->iov_len > skip ? (buffer->iov_len - skip) & ~(PAGE - 1) : 0;

    if (size && madvise((char *)buffer->iov_base + skip, size, MADV_REMOVE) < 0)
        log_warn("cannot give %zu bytes of guest memory back: %s", size, strerror(errno));
}

static void balloon_ready(void *data, unsigned index, struct virtqueue *queue)
{
    struct platform_device *device = data;

    do {
        while (virtqueue_pop(queue, &device->chain) == 1) {
            for (unsigned i = 0; index == QUEUE_REPORTING && i < device->chain.num_writable; i++)
                give_back(&device->chain.writable[i]);
            virtqueue_push(queue, device->chain.head, 0);
        }
    } while (virtqueue_enable_kicks(queue, true));
    virtqueue_notify(queue);
}

const struct vhost_user_device balloon_device = {
    .name = "the balloon device",
    .features = UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING,
    .num_queues = NUM_QUEUES,
    .queue_size_max = 256,
    .config = &config,
    .config_size = sizeof(config),
    .queue_ready = balloon_ready,
};
