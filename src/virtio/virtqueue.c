/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split virtqueue. virtqueue.h has the contract; section numbers are those of virtio 1.2.
 *
 * Theory of operation
 *
 * Three areas of guest memory make a queue: the descriptor table and the available ring, which the driver writes, and the used
 * ring, which we write. The driver adds chains and then moves avail->idx; we take them up to that index, which next_avail follows.
 * We fill used entries and then move used->idx. Each index is a free-running 16-bit counter.
 *
 * The memory is shared with a guest that may be hostile, so nothing in it keeps its value from one look to the next. A field is
 * loaded exactly once (load_u16, load_desc) into a local, and the local is what is checked and used. What the checks promise to a
 * device: every buffer of a chain lies within guest memory, readable ones come before writable ones, there are at most queue->size of
 * them, and no walk is longer than that, whatever loops the guest built.
 *
 * Notifications (2.7.7, 2.7.10): with VIRTIO_F_EVENT_IDX each side publishes the index at which it wants to hear from the other;
 * without, a flag says whether it does at all. Either way each side must publish its own index before it reads what the other
 * wants, so both directions have one full fence.
 */
#include "virtio/virtqueue.h"

#include "util/log.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "rings are little-endian and used as they are");

static uint16_t load_u16(const uint16_t *field)
{
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

/* One copy; the barrier keeps the compiler from going back to the guest's memory for a field. An indirect table may be unaligned. */
static struct vring_desc load_desc(const void *table, size_t index)
{
    struct vring_desc desc;

    memcpy(&desc, (const char *)table + index * sizeof(desc), sizeof(desc));
    __asm__ volatile("" : : "m"(desc) : "memory");
    return desc;
}

static bool has_feature(const struct virtqueue *queue, unsigned bit)
{
    return queue->features & (1ULL << bit);
}

/* used_event: at which used index the driver wants an interrupt. Follows the available ring. */
static const uint16_t *used_event(const struct virtqueue *queue)
{
    const struct vring_avail *avail = queue->avail;

    return &avail->ring[queue->size];
}

/* avail_event: at which available index we want a kick. Follows the used ring. */
static uint16_t *avail_event(const struct virtqueue *queue)
{
    struct vring_used *used = queue->used;

    return (uint16_t *)&used->ring[queue->size];
}

void virtqueue_break(struct virtqueue *queue, const char *why)
{
    if (!queue->broken)
        log_error("the guest's queue is broken: %s", why);
    queue->broken = true;
}

static int broken(struct virtqueue *queue, const char *why)
{
    virtqueue_break(queue, why);
    return -1;
}

int virtqueue_start(struct virtqueue *queue, const struct virtqueue_layout *layout, uint16_t next_avail, msb_error **err)
{
    const struct memory *memory = queue->memory;
    size_t size = layout->size;
    void *desc, *avail, *used;

    if (size == 0 || size > VIRTQUEUE_MAX_SIZE || (size & (size - 1)))
        return fail(err, MSB_ERR_PROTOCOL, "a queue of %zu entries: not a power of two, or more than %d", size,
                    VIRTQUEUE_MAX_SIZE);
    /* Both rings end with an event index (2.7.6, 2.7.8), which is there also when it is not used. */
    desc = memory_at_user(memory, layout->desc, size * sizeof(struct vring_desc));
    avail = memory_at_user(memory, layout->avail, sizeof(struct vring_avail) + (size + 1) * sizeof(uint16_t));
    used = memory_at_user(memory, layout->used,
                          sizeof(struct vring_used) + size * sizeof(struct vring_used_elem) + sizeof(uint16_t));
    if (!desc || !avail || !used)
        return fail(err, MSB_ERR_PROTOCOL, "a queue's rings are not within guest memory");
    /* The alignments of section 2.7's table. */
    if ((uintptr_t)desc % 16 || (uintptr_t)avail % 2 || (uintptr_t)used % 4)
        return fail(err, MSB_ERR_PROTOCOL, "a queue's rings are not aligned");
    queue->size = layout->size;
    queue->desc = desc;
    queue->avail = avail;
    queue->used = used;
    queue->next_avail = next_avail;
    queue->avail_seen = next_avail;
    queue->next_used = load_u16(&((struct vring_used *)used)->idx);
    queue->signalled_valid = false;
    queue->broken = false;
    return 0;
}

/* Whether a chain is available; -1 when the driver's index is further ahead than the ring is long. */
static int look_at_avail(struct virtqueue *queue)
{
    const struct vring_avail *avail = queue->avail;

    if (queue->avail_seen == queue->next_avail) {
        /* Acquire: the entries and descriptors before the index are read after it. */
        queue->avail_seen = __atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE);
        if ((uint16_t)(queue->avail_seen - queue->next_avail) > queue->size)
            return broken(queue, "the available index is more than the queue's size ahead");
    }
    return queue->avail_seen != queue->next_avail;
}

/* Adds one buffer of the chain; the writable ones follow the readable ones in iov. */
static int add_buffer(struct virtqueue *queue, struct chain *chain, const struct vring_desc *desc)
{
    unsigned count = chain->num_readable + chain->num_writable;
    void *buffer = memory_at(queue->memory, (gpa_t){ desc->addr }, desc->len);

    if (count == queue->size)
        return broken(queue, "a chain is longer than the queue's size");
    if (!buffer)
        return broken(queue, "a buffer is empty or not within guest memory");
    chain->iov[count] = (struct iovec){ .iov_base = buffer, .iov_len = desc->len };
    if (desc->flags & VRING_DESC_F_WRITE) {
        chain->num_writable++;
        chain->writable_bytes += desc->len;
        return 0;
    }
    if (chain->num_writable)
        return broken(queue, "a readable buffer follows a writable one");
    chain->num_readable++;
    chain->readable_bytes += desc->len;
    return 0;
}

/* Walks a whole indirect table from its first entry (2.7.5.3). */
static int walk_indirect(struct virtqueue *queue, struct chain *chain, const struct vring_desc *indirect)
{
    size_t count = indirect->len / sizeof(struct vring_desc);
    const void *table = memory_at(queue->memory, (gpa_t){ indirect->addr }, indirect->len);
    size_t index = 0;

    if (!has_feature(queue, VIRTIO_RING_F_INDIRECT_DESC))
        return broken(queue, "an indirect descriptor, which was not negotiated");
    if (indirect->flags & VRING_DESC_F_NEXT)
        return broken(queue, "an indirect descriptor that is not the last of its chain");
    if (!table || indirect->len % sizeof(struct vring_desc))
        return broken(queue, "an indirect table of a wrong length, or not within guest memory");
    /* add_buffer() ends the walk: each step adds a buffer, and a chain has at most queue->size. */
    for (;;) {
        struct vring_desc desc = load_desc(table, index);

        if (desc.flags & VRING_DESC_F_INDIRECT)
            return broken(queue, "an indirect descriptor within an indirect table");
        if (add_buffer(queue, chain, &desc) < 0)
            return -1;
        if (!(desc.flags & VRING_DESC_F_NEXT))
            return 0;
        index = desc.next;
        if (index >= count)
            return broken(queue, "a descriptor points outside its indirect table");
    }
}

static int walk(struct virtqueue *queue, struct chain *chain)
{
    unsigned index = chain->head;

    for (;;) {
        struct vring_desc desc;

        if (index >= queue->size)
            return broken(queue, "a descriptor's index is outside the table");
        desc = load_desc(queue->desc, index);
        if (desc.flags & VRING_DESC_F_INDIRECT)
            return walk_indirect(queue, chain, &desc);
        if (add_buffer(queue, chain, &desc) < 0)
            return -1;
        if (!(desc.flags & VRING_DESC_F_NEXT))
            return 0;
        index = desc.next;
    }
}

int virtqueue_pop(struct virtqueue *queue, struct chain *chain)
{
    const struct vring_avail *avail = queue->avail;
    int available;

    if (queue->broken)
        return -1;
    available = look_at_avail(queue);
    if (available <= 0)
        return available;
    chain->head = load_u16(&avail->ring[queue->next_avail & (queue->size - 1)]);
    chain->num_readable = chain->num_writable = 0;
    chain->readable_bytes = chain->writable_bytes = 0;
    if (walk(queue, chain) < 0)
        return -1;
    chain->readable = chain->iov;
    chain->writable = chain->iov + chain->num_readable;
    queue->next_avail++;
    return 1;
}

void virtqueue_unpop(struct virtqueue *queue, unsigned count)
{
    queue->next_avail = (uint16_t)(queue->next_avail - count);
}

void virtqueue_fill(struct virtqueue *queue, uint16_t head, uint32_t bytes_written)
{
    struct vring_used *used = queue->used;

    used->ring[queue->next_used & (queue->size - 1)] = (struct vring_used_elem){ .id = head, .len = bytes_written };
    queue->next_used++;
}

void virtqueue_show(struct virtqueue *queue)
{
    struct vring_used *used = queue->used;

    /* Release: the entries, and what was written into the buffers, are seen before the index. */
    __atomic_store_n(&used->idx, queue->next_used, __ATOMIC_RELEASE);
}

void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t bytes_written)
{
    virtqueue_fill(queue, head, bytes_written);
    virtqueue_show(queue);
}

/* Whether the driver wants to hear of the used entries from old to now (2.7.7.2, 2.7.10). */
static bool wants_interrupt(const struct virtqueue *queue, uint16_t old, bool old_valid)
{
    const struct vring_avail *avail = queue->avail;

    if (!has_feature(queue, VIRTIO_RING_F_EVENT_IDX))
        return !(load_u16(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
    return !old_valid || vring_need_event(load_u16(used_event(queue)), queue->next_used, old);
}

void virtqueue_notify(struct virtqueue *queue)
{
    uint16_t old = queue->signalled_used;
    bool old_valid = queue->signalled_valid;

    if (old_valid && old == queue->next_used)
        return;
    queue->signalled_used = queue->next_used;
    queue->signalled_valid = true;
    /* The used index is seen before we look whether the driver still sleeps. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (wants_interrupt(queue, old, old_valid))
        virtqueue_call(queue);
}

void virtqueue_call(const struct virtqueue *queue)
{
    const uint64_t one = 1;

    /* A call descriptor that takes no more has unread calls in it: nothing is lost. One that is a pipe without a reader raises
       SIGPIPE, which does nothing to a device, the first process of its pid namespace. */
    if (queue->call_fd >= 0)
        (void)!write(queue->call_fd, &one, sizeof(one));
}

bool virtqueue_enable_kicks(struct virtqueue *queue, bool enable)
{
    struct vring_used *used = queue->used;

    if (queue->broken)
        return false;
    /* With the event index, an index that stays behind is enough: the driver kicks only where it passes it. */
    if (has_feature(queue, VIRTIO_RING_F_EVENT_IDX)) {
        if (enable)
            __atomic_store_n(avail_event(queue), queue->next_avail, __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(&used->flags, enable ? 0 : VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
    }
    if (!enable)
        return false;
    /* Our wish is seen before we look for the last time. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return look_at_avail(queue) > 0;
}

/* The part of a buffer that lies behind the first *offset bytes of the list, at most bytes long. */
static struct iovec part_of(const struct iovec *buffer, size_t *offset, size_t bytes)
{
    size_t skip = *offset < buffer->iov_len ? *offset : buffer->iov_len;
    size_t length = buffer->iov_len - skip;

    *offset -= skip;
    return (struct iovec){ .iov_base = (char *)buffer->iov_base + skip, .iov_len = length < bytes ? length : bytes };
}

size_t iov_read(const struct iovec *iov, unsigned count, size_t offset, void *to, size_t bytes)
{
    size_t done = 0;

    for (unsigned i = 0; i < count && done < bytes; i++) {
        struct iovec part = part_of(&iov[i], &offset, bytes - done);

        memcpy((char *)to + done, part.iov_base, part.iov_len);
        done += part.iov_len;
    }
    /* What is checked next is this copy, and never the guest's bytes again. */
    __asm__ volatile("" : : : "memory");
    return done;
}

size_t iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *from, size_t bytes)
{
    size_t done = 0;

    for (unsigned i = 0; i < count && done < bytes; i++) {
        struct iovec part = part_of(&iov[i], &offset, bytes - done);

        memcpy(part.iov_base, (const char *)from + done, part.iov_len);
        done += part.iov_len;
    }
    return done;
}

unsigned iov_slice(const struct iovec *iov, unsigned count, size_t offset, size_t bytes, struct iovec *to)
{
    unsigned taken = 0;

    for (unsigned i = 0; i < count && bytes; i++) {
        to[taken] = part_of(&iov[i], &offset, bytes);
        bytes -= to[taken].iov_len;
        if (to[taken].iov_len)
            taken++;
    }
    return taken;
}
