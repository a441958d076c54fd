/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user back-end: what a device process does to be a device (QEMU's "Vhost-user Protocol" document). The front-end is a
 * VMM (QEMU, our KVM engine, user-mode Linux), connected by one Unix stream socket that the process inherited.
 *
 * The front-end is trusted no more than the guest: a VMM that the guest took over must not get further through here.
 *
 * QEMU takes a network card's socket only if it has connected it itself. Who starts it sends VHOST_USER_LISTEN before anything else,
 * with a socket that listens in QEMU's network namespace, and the one connection that comes takes the inherited socket's place.
 *
 * One thread, the one that runs the loop, handles messages. A device whose queues are served on the same thread sets only
 * queue_ready; it is called when a queue was kicked or has just started, and ends with virtqueue_enable_kicks(). A device with
 * threads of its own leaves queue_ready NULL, takes the queue in queue_started and gives it back in queue_stopped, which returns
 * only when no thread touches the queue or guest memory any more. A queue is also stopped and started again when a descriptor of
 * it or the memory changes (QEMU exchanges each call descriptor once, right after the start): requests taken before the stop are
 * finished before queue_stopped returns, and next_avail says where the queue goes on.
 *
 * The kick descriptor is an eventfd; watched edge-triggered it need not be read.
 */
#ifndef MSB_VIRTIO_VHOST_USER_H
#define MSB_VIRTIO_VHOST_USER_H

#include "util/loop.h"
#include "virtio/virtqueue.h"

enum { VHOST_USER_MAX_QUEUES = 16 };

struct vhost_user;

struct vhost_user_device {
    const char *name;
    uint64_t features;   /* device-specific virtio feature bits; the transport's own are added */
    unsigned num_queues; /* at most VHOST_USER_MAX_QUEUES */
    /* VIRTQUEUE_MAX_SIZE for any device behind QEMU's virtio-mmio, which tells every driver that its queues have up to 1024 entries,
       whatever the device's own property says. */
    unsigned queue_size_max;
    const void *config; /* the device's configuration space (virtio 1.2, section 5.x.4), for GET_CONFIG; it must stay valid */
    size_t config_size;
    bool writes_much; /* and by memory_write(), so that the files of guest memory are to be kept */

    void (*queue_ready)(void *device, unsigned index, struct virtqueue *queue);
    int (*queue_started)(void *device, unsigned index, struct virtqueue *queue); /* -1: could not, the front-end is told */
    void (*queue_stopped)(void *device, unsigned index, struct virtqueue *queue);
    void (*features_set)(void *device, uint64_t features); /* may be NULL: the features the driver accepted */
};

/* Serves fd, which becomes this object's, on loop. When the front-end hangs up or breaks the protocol, the loop is quit. */
struct vhost_user *vhost_user_new(struct loop *loop, int fd, const struct vhost_user_device *device, void *data, msb_error **err);

/* Stops the queues, unmaps guest memory, closes the socket. */
void vhost_user_free(struct vhost_user *vu);

/* The virtqueue of a started queue, NULL when it is not started. For devices that start transfers themselves (rx). */
struct virtqueue *vhost_user_queue(struct vhost_user *vu, unsigned index);

#endif
