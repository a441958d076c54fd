/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front-end: what a VMM does to have its guest's device served by a device process. It passes on what the driver
 * wrote into the transport's registers, and never looks into guest memory.
 *
 * In this order: frontend_new(); frontend_set_memory(); then, for each time the driver sets the device up, frontend_set_features()
 * with what the driver accepted, frontend_queue_start() for each of its queues, and frontend_queue_stop() for each when it resets
 * the device. Every call blocks until the device process has taken it in; most send and do not wait. One thread at a time.
 *
 * The device process is not trusted: an answer that is not what was asked for is an error, and after any error the device is of
 * no more use.
 */
#ifndef MSB_VIRTIO_FRONTEND_H
#define MSB_VIRTIO_FRONTEND_H

#include "util/error.h"
#include "virtio/memory.h"

struct frontend;

/* Speaks to the device process behind the socket (connected, blocking), which becomes the front-end's, also on failure: asks what it
   offers and settles the protocol. */
struct frontend *frontend_new(int socket, msb_error **err);

/* Closes the socket: the device process ends. NULL is allowed. */
void frontend_free(struct frontend *frontend);

/* The virtio feature bits that the device offers, those of the transport and the rings included. */
uint64_t frontend_features(const struct frontend *frontend);

/* How many queues the device has. A device may have more in its specification that its VMM is to serve (none of ours). */
unsigned frontend_num_queues(const struct frontend *frontend);

/* Reads size bytes (at most 256 with the offset) of the device's configuration space; behind its fields it reads as zero. Refused
   by devices without one. */
int frontend_get_config(struct frontend *frontend, unsigned offset, void *data, size_t size, msb_error **err);

/* A part of guest memory: size bytes at offset of fd, which stays the caller's. */
struct frontend_region {
    int fd;
    uint64_t offset;
    uint64_t guest_address;
    uint64_t size;
};

/* Says where guest memory is; once is enough. At most MEMORY_MAX_REGIONS. */
int frontend_set_memory(struct frontend *frontend, const struct frontend_region *regions, unsigned num_regions, msb_error **err);

/* What the driver accepted, a part of what is offered, with VIRTIO_F_VERSION_1. While no queue is started. */
int frontend_set_features(struct frontend *frontend, uint64_t features, msb_error **err);

struct frontend_queue {
    unsigned size;           /* entries */
    gpa_t desc, avail, used; /* where the driver put its rings (virtio 1.2, section 2.7): the device process checks them */
    int kick_fd;             /* eventfd that the VMM, or KVM's ioeventfd, writes when the driver kicks */
    int call_fd;             /* eventfd that interrupts the guest, such as KVM's irqfd */
};

/* Starts a queue, from its beginning. Both descriptors stay the caller's. Fails when the device refuses the rings. */
int frontend_queue_start(struct frontend *frontend, unsigned index, const struct frontend_queue *queue, msb_error **err);

/* Stops a queue: when this returns, the device process touches neither the queue nor its buffers any more. */
int frontend_queue_stop(struct frontend *frontend, unsigned index, msb_error **err);

#endif
