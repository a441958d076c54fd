/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio driver in user space: it plays the guest of one device, so that a device process can be tested without a VM. It owns
 * guest memory (a memfd), puts split queues into it (virtio 1.2, section 2.7), and speaks to the device through
 * virtio/frontend.h as a VMM would.
 *
 * The upper half of the functions plays a well-behaved guest. The lower half writes into the rings what a guest must not.
 */
#ifndef MSB_TESTS_VIRTIO_DRIVER_H
#define MSB_TESTS_VIRTIO_DRIVER_H

#include "virtio/frontend.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>

/* Guest memory begins here: not at zero, so that an offset taken for an address is found out. */
#define DRIVER_MEMORY_BASE 0x10000000ULL

struct driver;
struct driver_queue;

/* A guest of memory_size bytes and one device behind the socket, which becomes the driver's. */
struct driver *driver_new(int socket, size_t memory_size, msb_error **err);
/* Stops nothing: the device sees its front-end hang up. Frees the queues too. NULL is allowed. */
void driver_free(struct driver *driver);

struct frontend *driver_frontend(struct driver *driver);

/* Accepts these features, a part of frontend_features(). Before any queue is started. */
int driver_accept(struct driver *driver, uint64_t features, msb_error **err);

/* Guest memory for good, zeroed. A test that asks for more than there is aborts. */
gpa_t driver_alloc(struct driver *driver, size_t size, size_t alignment);
/* Where the test sees it. An address outside guest memory aborts. */
void *driver_at(const struct driver *driver, gpa_t address);

/* Queues are freed with the driver, and can be started again when stopped. */
struct driver_queue *driver_queue_start(struct driver *driver, unsigned index, unsigned size, msb_error **err);
int driver_queue_stop(struct driver_queue *queue, msb_error **err);

struct driver_buffer {
    gpa_t address;
    uint32_t length;
    bool writable; /* by the device; these come last */
};

/* Adds a chain, with one descriptor for each buffer or with an indirect table. Returns its head, -1 when there is no room. The device
   sees it with the next driver_kick(). */
int driver_add(struct driver_queue *queue, const struct driver_buffer *buffers, unsigned num_buffers);
int driver_add_indirect(struct driver_queue *queue, const struct driver_buffer *buffers, unsigned num_buffers);

/* The head that the next chain gets, for a test that keeps something for each head; -1 when there is no room. */
int driver_next_head(const struct driver_queue *queue);

/* Publishes what was added, and kicks the device if it wants that. */
void driver_kick(struct driver_queue *queue);

/* A used chain. */
struct driver_used {
    uint16_t head;
    uint32_t length; /* what the device says it wrote */
};

/* The next used chain: 1, or 0 when there is none, -1 when the device gave back what it does not have. Does not wait. */
int driver_take(struct driver_queue *queue, struct driver_used *used);

/* The same, but waits for the device's call: 0 after timeout_ms without one, -1 also when the device hung up. */
int driver_wait(struct driver_queue *queue, struct driver_used *used, int timeout_ms);

/* Readable when the device called; for a test with an event loop of its own, which then reads 8 bytes. */
int driver_call_fd(const struct driver_queue *queue);
/* Asks for a call for the next used chain. True when there is one already, and no call may come. */
bool driver_want_call(struct driver_queue *queue);

/* ---- What a guest must not do ---------------------------------------------------------------------------------------------------- */

/* The descriptor table, to be written as one likes; entries from the end on are used last by driver_add(). */
struct vring_desc *driver_table(struct driver_queue *queue);

/* Makes a chain available by its head, whatever that is, and kicks. */
void driver_publish(struct driver_queue *queue, uint16_t head);

/* Sets the available index itself, and kicks. */
void driver_set_avail_index(struct driver_queue *queue, uint16_t index);
uint16_t driver_avail_index(const struct driver_queue *queue);

/* Gives the queue another call descriptor, which stays the caller's and on which driver_wait() does not wait. */
void driver_set_call(struct driver_queue *queue, int call_fd);

/* Cuts the file behind guest memory off, under the device's mapping of it, and kicks. The test may not touch guest memory then. */
void driver_truncate_memory(struct driver *driver);

/* True when the device is still there and gives nothing back within timeout_ms, as for a broken queue. */
bool driver_is_ignored(struct driver_queue *queue, int timeout_ms);

#endif
