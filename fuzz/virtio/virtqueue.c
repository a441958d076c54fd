/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer over what a guest writes into its rings: the input is guest memory, with the rings at fixed places in it. Every buffer
 * that a chain names is read or written, and must lie within guest memory.
 */
#include "virtio/virtqueue.h"
#include "input.h"
#include "util/cleanup.h"

#include <linux/virtio_ring.h>
#include <sys/mman.h>

enum {
    MEMORY_SIZE = 1 << 14,
    QUEUE_SIZE = 16,
    AVAIL = QUEUE_SIZE * 16,
    USED = AVAIL + 64,
};

#define BASE 0x1000ULL
#define USER 0x700000ULL

static struct memory memory;
static uint8_t *guest;

static void make_memory(void)
{
    _cleanup_fd_ int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (ftruncate(fd, MEMORY_SIZE) < 0 || memory_add(&memory, fd, 0, BASE, MEMORY_SIZE, USER, NULL) < 0)
        abort();
    guest = memory_at(&memory, (gpa_t){ BASE }, MEMORY_SIZE);
}

static void check_buffers(const struct iovec *iov, unsigned count, size_t bytes)
{
    size_t sum = 0;

    for (unsigned i = 0; i < count; i++) {
        const uint8_t *begin = iov[i].iov_base;

        if (begin < guest || iov[i].iov_len == 0 || iov[i].iov_len > MEMORY_SIZE - (size_t)(begin - guest))
            abort();
        sum += iov[i].iov_len;
    }
    if (sum != bytes)
        abort();
}

static void serve(struct virtqueue *queue)
{
    static struct chain chain;
    uint8_t buffer[256];

    /* What the device writes into a chain may make further chains: somewhere there must be an end. */
    for (unsigned i = 0; i < 100 && virtqueue_pop(queue, &chain) == 1; i++) {
        if (chain.num_readable + chain.num_writable > QUEUE_SIZE)
            abort();
        check_buffers(chain.readable, chain.num_readable, chain.readable_bytes);
        check_buffers(chain.writable, chain.num_writable, chain.writable_bytes);
        iov_read(chain.readable, chain.num_readable, i, buffer, sizeof(buffer));
        virtqueue_push(queue, chain.head, (uint32_t)iov_write(chain.writable, chain.num_writable, i, buffer, sizeof(buffer)));
        if (i % 4 == 3)
            virtqueue_unpop(queue, 1);
    }
    virtqueue_enable_kicks(queue, true);
    virtqueue_notify(queue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct virtqueue_layout layout = { QUEUE_SIZE, USER, USER + AVAIL, USER + USED };
    struct input input = { data, size };
    struct virtqueue queue = { .memory = &memory, .kick_fd = -1, .call_fd = -1 };

    if (!guest)
        make_memory();
    queue.features = (uint64_t)take_byte(&input) << VIRTIO_RING_F_INDIRECT_DESC;
    take(&input, guest, MEMORY_SIZE);
    if (virtqueue_start(&queue, &layout, 0, NULL) < 0)
        abort();
    for (unsigned i = 0; i < 3; i++)
        serve(&queue);
    return 0;
}
