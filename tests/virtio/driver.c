/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include "util/cleanup.h"
#include "virtio/vhost_user_message.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

enum { MAX_QUEUES = 16 };

struct driver_queue {
    struct driver *driver;
    unsigned index, size;
    gpa_t desc_address, avail_address, used_address;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    int kick_fd, call_fd;
    uint16_t avail_index;  /* what was added */
    uint16_t kicked_index; /* what the device knows of */
    uint16_t last_used;
    unsigned num_free;
    uint16_t *free;         /* a stack of descriptors */
    uint16_t *chain_length; /* descriptors of the chain with this head; 0: not in flight */
    gpa_t *indirect;        /* a table for each head, made when first needed */
    struct driver_queue *next;
};

struct driver {
    struct frontend *frontend;
    int watch; /* the front-end's socket, to see the device hang up */
    uint64_t features;
    int memory_fd;
    uint8_t *memory;
    size_t memory_size, memory_used;
    struct driver_queue *queues;
};

static _Noreturn void misuse(const char *what)
{
    fprintf(stderr, "driver: %s\n", what);
    abort();
}

static void *must(void *allocated)
{
    if (!allocated)
        misuse("out of memory");
    return allocated;
}

/* ---- The guest --------------------------------------------------------------------------------------------------------------- */

static int make_memory(struct driver *driver, size_t size, msb_error **err)
{
    struct frontend_region region = { .guest_address = DRIVER_MEMORY_BASE, .size = size };

    driver->memory_size = size;
    driver->memory_fd = memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (driver->memory_fd < 0 || ftruncate(driver->memory_fd, (off_t)size) < 0 ||
        fcntl(driver->memory_fd, F_ADD_SEALS, F_SEAL_GROW) < 0)
        return fail_errno(err, "make guest memory");
    driver->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, driver->memory_fd, 0);
    if (driver->memory == MAP_FAILED)
        return fail_errno(err, "map guest memory");
    region.fd = driver->memory_fd;
    return frontend_set_memory(driver->frontend, &region, 1, err);
}

struct driver *driver_new(int socket, size_t memory_size, msb_error **err)
{
    struct driver *driver = must(calloc(1, sizeof(*driver)));

    driver->memory_fd = -1;
    driver->memory = MAP_FAILED;
    driver->watch = dup(socket);
    driver->frontend = frontend_new(socket, err);
    if (!driver->frontend || make_memory(driver, memory_size, err) < 0) {
        driver_free(driver);
        return NULL;
    }
    return driver;
}

static void queue_free(struct driver_queue *queue)
{
    cleanup_fd(&queue->kick_fd);
    cleanup_fd(&queue->call_fd);
    free(queue->free);
    free(queue->chain_length);
    free(queue->indirect);
    free(queue);
}

void driver_free(struct driver *driver)
{
    if (!driver)
        return;
    while (driver->queues) {
        struct driver_queue *queue = driver->queues;

        driver->queues = queue->next;
        queue_free(queue);
    }
    cleanup_fd(&driver->watch);
    frontend_free(driver->frontend);
    if (driver->memory != MAP_FAILED)
        munmap(driver->memory, driver->memory_size);
    cleanup_fd(&driver->memory_fd);
    free(driver);
}

struct frontend *driver_frontend(struct driver *driver)
{
    return driver->frontend;
}

int driver_accept(struct driver *driver, uint64_t features, msb_error **err)
{
    driver->features = features;
    return frontend_set_features(driver->frontend, features, err);
}

gpa_t driver_alloc(struct driver *driver, size_t size, size_t alignment)
{
    size_t at = (driver->memory_used + alignment - 1) / alignment * alignment;

    if (at > driver->memory_size || size > driver->memory_size - at)
        misuse("guest memory is used up");
    driver->memory_used = at + size;
    return (gpa_t){ DRIVER_MEMORY_BASE + at };
}

void *driver_at(const struct driver *driver, gpa_t address)
{
    if (address.value - DRIVER_MEMORY_BASE >= driver->memory_size)
        misuse("not an address in guest memory");
    return driver->memory + (address.value - DRIVER_MEMORY_BASE);
}

/* ---- Queues ------------------------------------------------------------------------------------------------------------------ */

static struct driver_queue *queue_new(struct driver *driver, unsigned index, unsigned size)
{
    struct driver_queue *queue = must(calloc(1, sizeof(*queue)));

    queue->driver = driver;
    queue->index = index;
    queue->size = size;
    queue->desc_address = driver_alloc(driver, size * sizeof(struct vring_desc), 16);
    queue->avail_address = driver_alloc(driver, sizeof(struct vring_avail) + (size + 1) * sizeof(uint16_t), 2);
    queue->used_address =
        driver_alloc(driver, sizeof(struct vring_used) + size * sizeof(struct vring_used_elem) + sizeof(uint16_t), 4);
    queue->desc = driver_at(driver, queue->desc_address);
    queue->avail = driver_at(driver, queue->avail_address);
    queue->used = driver_at(driver, queue->used_address);
    queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    queue->free = must(calloc(size, sizeof(*queue->free)));
    queue->chain_length = must(calloc(size, sizeof(*queue->chain_length)));
    queue->indirect = must(calloc(size, sizeof(*queue->indirect)));
    queue->next = driver->queues;
    driver->queues = queue;
    return queue;
}

static void queue_reset(struct driver_queue *queue)
{
    memset(queue->desc, 0, queue->size * sizeof(struct vring_desc));
    memset(queue->avail, 0, sizeof(struct vring_avail) + (queue->size + 1) * sizeof(uint16_t));
    memset(queue->used, 0, sizeof(struct vring_used) + queue->size * sizeof(struct vring_used_elem) + sizeof(uint16_t));
    memset(queue->chain_length, 0, queue->size * sizeof(*queue->chain_length));
    queue->avail_index = queue->kicked_index = queue->last_used = 0;
    queue->num_free = queue->size;
    for (unsigned i = 0; i < queue->size; i++)
        queue->free[i] = (uint16_t)(queue->size - 1 - i);
}

struct driver_queue *driver_queue_start(struct driver *driver, unsigned index, unsigned size, msb_error **err)
{
    struct driver_queue *queue = driver->queues;
    struct frontend_queue start;

    while (queue && (queue->index != index || queue->size != size))
        queue = queue->next;
    if (!queue)
        queue = queue_new(driver, index, size);
    queue_reset(queue);
    start = (struct frontend_queue){
        .size = size,
        .desc = queue->desc_address,
        .avail = queue->avail_address,
        .used = queue->used_address,
        .kick_fd = queue->kick_fd,
        .call_fd = queue->call_fd,
    };
    return frontend_queue_start(driver->frontend, index, &start, err) < 0 ? NULL : queue;
}

int driver_queue_stop(struct driver_queue *queue, msb_error **err)
{
    return frontend_queue_stop(queue->driver->frontend, queue->index, err);
}

static bool has_event_idx(const struct driver_queue *queue)
{
    return queue->driver->features & (1ULL << VIRTIO_RING_F_EVENT_IDX);
}

static struct vring_desc make_desc(const struct driver_buffer *buffer, bool last, uint16_t next)
{
    return (struct vring_desc){
        .addr = buffer->address.value,
        .len = buffer->length,
        .flags = (uint16_t)((buffer->writable ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT)),
        .next = last ? 0 : next,
    };
}

static void make_available(struct driver_queue *queue, uint16_t head)
{
    queue->avail->ring[queue->avail_index % queue->size] = head;
    queue->avail_index++;
}

int driver_add(struct driver_queue *queue, const struct driver_buffer *buffers, unsigned num_buffers)
{
    unsigned top = queue->num_free;
    uint16_t head;

    if (num_buffers == 0 || num_buffers > top)
        return -1;
    head = queue->free[top - 1];
    for (unsigned i = 0; i < num_buffers; i++) {
        bool last = i + 1 == num_buffers;

        queue->desc[queue->free[top - 1 - i]] = make_desc(&buffers[i], last, last ? 0 : queue->free[top - 2 - i]);
    }
    queue->num_free -= num_buffers;
    queue->chain_length[head] = (uint16_t)num_buffers;
    make_available(queue, head);
    return head;
}

int driver_add_indirect(struct driver_queue *queue, const struct driver_buffer *buffers, unsigned num_buffers)
{
    struct vring_desc *table;
    uint16_t head;

    if (num_buffers == 0 || num_buffers > queue->size || queue->num_free == 0)
        return -1;
    head = queue->free[--queue->num_free];
    if (!queue->indirect[head].value)
        queue->indirect[head] = driver_alloc(queue->driver, queue->size * sizeof(struct vring_desc), 16);
    table = driver_at(queue->driver, queue->indirect[head]);
    for (unsigned i = 0; i < num_buffers; i++)
        table[i] = make_desc(&buffers[i], i + 1 == num_buffers, (uint16_t)(i + 1));
    queue->desc[head] = (struct vring_desc){
        .addr = queue->indirect[head].value,
        .len = (uint32_t)(num_buffers * sizeof(struct vring_desc)),
        .flags = VRING_DESC_F_INDIRECT,
    };
    queue->chain_length[head] = 1;
    make_available(queue, head);
    return head;
}

int driver_next_head(const struct driver_queue *queue)
{
    return queue->num_free ? queue->free[queue->num_free - 1] : -1;
}

static void write_kick(const struct driver_queue *queue)
{
    const uint64_t one = 1;

    if (write(queue->kick_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        misuse("cannot kick");
}

void driver_kick(struct driver_queue *queue)
{
    uint16_t old = queue->kicked_index, new = queue->avail_index;
    const uint16_t *avail_event = (const uint16_t *)&queue->used->ring[queue->size];
    bool wanted;

    if (old == new)
        return;
    __atomic_store_n(&queue->avail->idx, new, __ATOMIC_RELEASE);
    queue->kicked_index = new;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (has_event_idx(queue))
        wanted = vring_need_event(__atomic_load_n(avail_event, __ATOMIC_RELAXED), new, old);
    else
        wanted = !(__atomic_load_n(&queue->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY);
    if (wanted)
        write_kick(queue);
}

/* Puts the descriptors of a chain back, the head on top. */
static void free_chain(struct driver_queue *queue, uint16_t head)
{
    unsigned length = queue->chain_length[head];
    uint16_t index = head;

    queue->chain_length[head] = 0;
    queue->num_free += length;
    for (unsigned i = 0; i < length; i++) {
        queue->free[queue->num_free - 1 - i] = index;
        index = queue->desc[index].next;
    }
}

int driver_take(struct driver_queue *queue, struct driver_used *used)
{
    const struct vring_used_elem *entry = &queue->used->ring[queue->last_used % queue->size];

    if (__atomic_load_n(&queue->used->idx, __ATOMIC_ACQUIRE) == queue->last_used)
        return 0;
    if (entry->id >= queue->size || queue->chain_length[entry->id] == 0) {
        fprintf(stderr, "driver: the device gave back chain %u, which it does not have\n", entry->id);
        return -1;
    }
    used->head = (uint16_t)entry->id;
    used->length = entry->len;
    queue->last_used++;
    free_chain(queue, used->head);
    return 1;
}

bool driver_want_call(struct driver_queue *queue)
{
    if (has_event_idx(queue))
        __atomic_store_n(&queue->avail->ring[queue->size], queue->last_used, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&queue->used->idx, __ATOMIC_ACQUIRE) != queue->last_used;
}

int driver_wait(struct driver_queue *queue, struct driver_used *used, int timeout_ms)
{
    struct pollfd fds[] = {
        { .fd = queue->call_fd, .events = POLLIN },
        { .fd = queue->driver->watch, .events = POLLRDHUP },
    };
    uint64_t calls;

    for (;;) {
        int taken = driver_take(queue, used);
        int ready;

        if (taken)
            return taken;
        if (driver_want_call(queue))
            continue;
        ready = poll(fds, 2, timeout_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return 0;
        if (fds[0].revents && read(queue->call_fd, &calls, sizeof(calls)) == sizeof(calls))
            continue;
        if (fds[1].revents)
            return -1;
    }
}

int driver_call_fd(const struct driver_queue *queue)
{
    return queue->call_fd;
}

/* ---- What a guest must not do ------------------------------------------------------------------------------------------------ */

struct vring_desc *driver_table(struct driver_queue *queue)
{
    return queue->desc;
}

void driver_publish(struct driver_queue *queue, uint16_t head)
{
    make_available(queue, head);
    driver_set_avail_index(queue, queue->avail_index);
}

void driver_set_avail_index(struct driver_queue *queue, uint16_t index)
{
    queue->avail_index = queue->kicked_index = index;
    __atomic_store_n(&queue->avail->idx, index, __ATOMIC_RELEASE);
    write_kick(queue);
}

uint16_t driver_avail_index(const struct driver_queue *queue)
{
    return queue->avail_index;
}

void driver_set_call(struct driver_queue *queue, int call_fd)
{
    struct vhost_user_message m = {
        .header = { .request = VHOST_USER_SET_VRING_CALL, .flags = VHOST_USER_VERSION, .size = sizeof(m.payload.u64) },
        .payload.u64 = queue->index,
        .fds = { call_fd },
        .num_fds = 1,
    };

    if (message_send(queue->driver->watch, &m, true, NULL) < 0)
        misuse("cannot set the call descriptor");
}

void driver_truncate_memory(struct driver *driver)
{
    if (ftruncate(driver->memory_fd, 0) < 0)
        misuse("cannot truncate guest memory");
    for (const struct driver_queue *queue = driver->queues; queue; queue = queue->next)
        write_kick(queue);
}

bool driver_is_ignored(struct driver_queue *queue, int timeout_ms)
{
    struct driver_used used;

    return driver_wait(queue, &used, timeout_ms) == 0;
}
