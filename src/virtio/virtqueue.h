/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split virtqueue (virtio 1.2, section 2.7), with indirect descriptors and VIRTIO_F_EVENT_IDX.
 *
 * Everything in the rings was written by the guest and may change under us: each field is read once, checked, and used from the
 * local copy. A chain is bounded by the queue's size; a descriptor that loops, leaves guest memory, or breaks a rule of the
 * specification breaks the queue (virtqueue_pop returns -1), and a broken queue is not served until the driver resets it.
 */
#ifndef MSB_VIRTIO_VIRTQUEUE_H
#define MSB_VIRTIO_VIRTQUEUE_H

#include "virtio/memory.h"

#include <stdbool.h>
#include <sys/uio.h>

enum { VIRTQUEUE_MAX_SIZE = 1024 };

struct virtqueue {
    const struct memory *memory;
    unsigned size; /* entries, a power of two, at most VIRTQUEUE_MAX_SIZE */
    uint64_t features;
    void *desc; /* struct vring_desc[size] */
    void *avail;
    void *used;
    uint16_t next_avail; /* the next avail ring entry to take */
    uint16_t avail_seen; /* the driver's index when last looked at */
    uint16_t next_used;  /* the next used ring entry to fill */
    uint16_t signalled_used;
    bool signalled_valid;
    bool broken;
    int kick_fd; /* readable when the driver kicked; -1 when none */
    int call_fd; /* written to interrupt the driver; -1 when none */
};

/* One request: what the guest lets us read (out of the guest), then what it lets us write (into the guest). */
struct chain {
    uint16_t head;
    unsigned num_readable;
    unsigned num_writable;
    struct iovec *readable; /* both point into iov */
    struct iovec *writable;
    size_t readable_bytes; /* sums; cannot overflow: at most VIRTQUEUE_MAX_SIZE buffers of less than 4 GiB */
    size_t writable_bytes;
    struct iovec iov[VIRTQUEUE_MAX_SIZE];
};

/* Where the driver put a queue, in the front-end's address space. */
struct virtqueue_layout {
    unsigned size;
    uint64_t desc, avail, used;
};

/* Begins to serve a queue whose memory, features, kick_fd and call_fd are set, from the available entry next_avail on. Refuses a
   layout that is not within guest memory, or not aligned. For vhost_user.c; a device gets its queues started. */
int virtqueue_start(struct virtqueue *queue, const struct virtqueue_layout *layout, uint16_t next_avail, msb_error **err);

/* Takes the next available chain: 1 and *chain filled, 0 when there is none, -1 when the queue is or became broken (logged once). */
int virtqueue_pop(struct virtqueue *queue, struct chain *chain);

/* Takes the last `count` chains that were popped for not popped: they come again, in the same order. */
void virtqueue_unpop(struct virtqueue *queue, unsigned count);

/* For a device that finds a chain's contents to be against the rules: no chain is popped from here on. Says why in the log, once. */
void virtqueue_break(struct virtqueue *queue, const char *why);

/* Gives a chain back, with how many bytes were written into it. The driver is told by virtqueue_notify(). */
void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t bytes_written);

/* The same in two steps, for chains that the driver must see all at once (virtio 1.2, section 5.1.6.4): any number filled, then
   shown together. */
void virtqueue_fill(struct virtqueue *queue, uint16_t head, uint32_t bytes_written);
void virtqueue_show(struct virtqueue *queue);

/* Interrupts the driver if it wants to be, for all pushes since the last call. */
void virtqueue_notify(struct virtqueue *queue);

/* Interrupts the driver, whatever it wants. */
void virtqueue_call(const struct virtqueue *queue);

/* Asks the driver not to kick (false) or to kick (true) for new chains. After enabling, true means that a chain came in between
   and the caller must pop again before it waits. A device must enable kicks each time before it waits, the first time too. */
bool virtqueue_enable_kicks(struct virtqueue *queue, bool enable);

/* Copies between a list of buffers and ours, from offset; returns how many bytes there were. */
size_t iov_read(const struct iovec *iov, unsigned count, size_t offset, void *to, size_t bytes);
size_t iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *from, size_t bytes);

/* Describes the bytes from offset on, at most `bytes` of them, as another list in `to`, which has room for count buffers and
   may be the first one; returns how many it took. */
unsigned iov_slice(const struct iovec *iov, unsigned count, size_t offset, size_t bytes, struct iovec *to);

#endif
