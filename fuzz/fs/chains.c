/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer over descriptor chains with FUSE requests in them: the input is guest memory, with the rings at fixed places in it, and the
 * server answers into it. Buffers overlap, loop, and lie in the rings as the input likes.
 */
#include "served.h"
#include "util/cleanup.h"
#include "virtio/virtqueue.h"

#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    MEMORY_SIZE = 1 << 15,
    QUEUE_SIZE = 16,
    AVAIL = QUEUE_SIZE * 16,
    USED = AVAIL + 64,
    CHAINS_MAX = 50, /* answers may make further chains */
};

#define BASE 0x1000ULL
#define USER 0x700000ULL

static struct memory memory;
static uint8_t *guest;
static struct fs *fs;
static struct request request;

static void begin(void)
{
    _cleanup_fd_ int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (ftruncate(fd, MEMORY_SIZE) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) < 0 ||
        memory_add(&memory, fd, 0, BASE, MEMORY_SIZE, USER, NULL) < 0)
        abort();
    memory_keep_file(&memory, &fd);
    guest = memory_at(&memory, (gpa_t){ BASE }, MEMORY_SIZE);
    fs = served_begin();
}

/* As in src/fs/queue.c. */
static void serve_chain(const struct chain *chain, size_t *written)
{
    static const bool no_waits = true;

    request.fs = fs;
    request.memory = &memory;
    request.no_waits = &no_waits;
    request.readable = chain->readable;
    request.writable = chain->writable;
    request.num_readable = chain->num_readable;
    request.num_writable = chain->num_writable;
    request.readable_bytes = chain->readable_bytes;
    request.writable_bytes = chain->writable_bytes;
    request.may_block = true;
    if (request_serve(&request, written) != 0)
        *written = request_refuse(&request, -ENOLCK);
    if (*written > chain->writable_bytes)
        abort();
}

static void initialize(void)
{
    struct fuse_init_in init = { .major = 7, .minor = 41 };
    struct fuse_in_header header = { .len = sizeof(header) + sizeof(init), .opcode = FUSE_INIT, .unique = 1 };
    uint8_t out[256];
    struct iovec in[2] = { { &header, sizeof(header) }, { &init, sizeof(init) } }, answer = { out, sizeof(out) };
    struct chain chain = { .readable = in,
                           .num_readable = 2,
                           .readable_bytes = header.len,
                           .writable = &answer,
                           .num_writable = 1,
                           .writable_bytes = sizeof(out) };
    size_t written;

    serve_chain(&chain, &written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct virtqueue_layout layout = { QUEUE_SIZE, USER, USER + AVAIL, USER + USED };
    static struct chain chain;
    struct virtqueue queue = { .memory = &memory, .kick_fd = -1, .call_fd = -1 };
    size_t written;

    if (!guest)
        begin();
    initialize();
    if (size == 0)
        return 0;
    queue.features = (uint64_t)data[0] << VIRTIO_RING_F_INDIRECT_DESC;
    memset(guest, 0, MEMORY_SIZE);
    *memory.regions[0].used = 0; /* no page was used before */
    memcpy(guest, data + 1, size - 1 < MEMORY_SIZE ? size - 1 : MEMORY_SIZE);
    if (virtqueue_start(&queue, &layout, 0, NULL) < 0)
        abort();
    for (unsigned i = 0; i < CHAINS_MAX && virtqueue_pop(&queue, &chain) == 1; i++) {
        serve_chain(&chain, &written);
        virtqueue_push(&queue, chain.head, (uint32_t)written);
    }
    initialize();
    served_empty();
    return 0;
}
