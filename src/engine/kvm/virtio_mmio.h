/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers of one virtio-mmio device, version 2 (virtio 1.2, section 4.2.2).
 *
 * Theory of operation. The guest reads registers far more often than it writes them: identification, features, queue limits and the
 * configuration space while it probes, InterruptStatus at each interrupt. So the registers are a page of memory that the guest sees
 * read-only: a read is an ordinary load and never leaves the guest. A write leaves the guest and comes here, as an offset and some
 * bytes; we change the state and then the page, so that the next load sees the effect. QueueNotify and InterruptACK do not come here
 * either: KVM turns them into eventfds.
 *
 * Nothing here does I/O or touches guest memory. Every value may be written at any time in any order: what the specification forbids a
 * driver to do is ignored, or sets DEVICE_NEEDS_RESET.
 */
#ifndef MSB_ENGINE_KVM_VIRTIO_MMIO_H
#define MSB_ENGINE_KVM_VIRTIO_MMIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VIRTIO_MMIO_MAX_QUEUES = 16,
    VIRTIO_MMIO_PAGE = 4096,
    VIRTIO_MMIO_CONFIG_MAX = 256, /* bytes of configuration space: VHOST_USER_MAX_CONFIG_SIZE */
};

struct virtio_mmio;

struct virtio_mmio_queue {
    uint32_t size; /* a power of two, at most queue_size_max */
    bool ready;
    uint64_t desc; /* guest-physical addresses, as the driver wrote them: not checked here */
    uint64_t avail;
    uint64_t used;
};

/* What the registers ask of the device behind them. */
struct virtio_mmio_ops {
    int (*start)(void *device,
                 const struct virtio_mmio *mmio); /* the driver is ready; -1: the device cannot serve these queues */
    void (*stop)(void *device);                   /* returns when the device touches guest memory no more */
};

struct virtio_mmio {
    uint8_t *page; /* what the guest reads; VIRTIO_MMIO_PAGE bytes */
    const struct virtio_mmio_ops *ops;
    void *device;
    uint64_t device_features;
    uint64_t driver_features;
    uint32_t device_features_sel;
    uint32_t driver_features_sel;
    uint32_t queue_sel;
    uint32_t num_queues;
    uint32_t queue_size_max;
    uint32_t status;
    bool live; /* between a successful start and the next stop */
    struct virtio_mmio_queue queues[VIRTIO_MMIO_MAX_QUEUES];
};

struct virtio_mmio_description {
    uint32_t device_id;
    uint64_t features;
    uint32_t num_queues;     /* at most VIRTIO_MMIO_MAX_QUEUES */
    uint32_t queue_size_max; /* a power of two */
    const void *config;
    size_t config_size; /* at most VIRTIO_MMIO_CONFIG_MAX */
};

void virtio_mmio_init(struct virtio_mmio *mmio, uint8_t *page, const struct virtio_mmio_description *description,
                      const struct virtio_mmio_ops *ops, void *device);

/* A write of length bytes at offset within the device's page. */
void virtio_mmio_write(struct virtio_mmio *mmio, uint64_t offset, const uint8_t *data, uint32_t length);

#endif
