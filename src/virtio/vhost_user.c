/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user back-end; vhost_user.h has the contract.
 *
 * Theory of operation
 *
 * The front-end sends one message after another; each is received whole, checked against the table of requests (payload size,
 * number of descriptors), and handled. Every field of a payload is checked by its handler. Three things can come out: it was done;
 * it was refused, which the front-end hears if it asked for an acknowledgement, and which otherwise ends the connection; or it
 * was no valid message, which always ends the connection.
 *
 * A ring runs when everything it needs is there: features, memory, a layout that lies within it, a kick descriptor, and leave to run
 * (it is enabled, or VHOST_USER_F_PROTOCOL_FEATURES was not negotiated and rings need no leave). Whatever changes one of these
 * first stops the rings concerned, and afterwards starts those that can run: update_ring() is the only place where a ring starts.
 *
 * Kick descriptors are watched edge-triggered and never read: each write to an eventfd is an edge, so a kick costs no system call
 * beyond the wait.
 */
#include "virtio/vhost_user.h"

#include "util/cleanup.h"
#include "util/log.h"
#include "virtio/vhost_user_message.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* What the transport adds to every device. Legacy devices are not served: without VIRTIO_F_VERSION_1 no ring starts. */
#define TRANSPORT_FEATURES                                                                                                       \
    (1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX |                        \
     1ULL << VHOST_USER_F_PROTOCOL_FEATURES)

struct ring {
    struct vhost_user *vu;
    struct virtqueue queue;
    struct virtqueue_layout layout;
    bool has_address; /* the layout was given */
    bool enabled;
    bool running;
    uint16_t next_avail; /* where to go on when it is started */
    int kick_fd;
    int call_fd;
    struct loop_source *kick_source;
};

struct vhost_user {
    struct loop *loop;
    struct vhost_user_device device;
    void *data;
    int socket; /* the connection, or where it will be made */
    struct loop_source *source;
    bool heard;         /* there was a message */
    int backend_req_fd; /* held open for front-ends that insist on it (virtio_uml); nothing is sent there */
    bool features_set;
    uint64_t features;
    uint64_t protocol_features;
    struct memory memory;
    struct vhost_user_message message; /* the one that is coming in */
    struct ring rings[VHOST_USER_MAX_QUEUES];
};

enum outcome {
    DONE,
    REPLY,   /* done, and the message is now the answer */
    REFUSED, /* valid, but it cannot be done */
    BROKEN,  /* not a valid message */
};

static unsigned ring_index(const struct ring *ring)
{
    return (unsigned)(ring - ring->vu->rings);
}

/* ---- Rings ------------------------------------------------------------------------------------------------------------------- */

static void ring_ready(const struct vhost_user *vu, struct ring *ring)
{
    if (vu->device.queue_ready)
        vu->device.queue_ready(vu->data, ring_index(ring), &ring->queue);
}

static void ring_kicked(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct ring *ring = data;

    (void)source, (void)fd, (void)events;
    ring_ready(ring->vu, ring);
}

static void stop_ring(struct ring *ring)
{
    const struct vhost_user *vu = ring->vu;

    if (!ring->running)
        return;
    loop_remove(ring->kick_source);
    ring->kick_source = NULL;
    ring->running = false;
    if (vu->device.queue_stopped)
        vu->device.queue_stopped(vu->data, ring_index(ring), &ring->queue);
    ring->next_avail = ring->queue.next_avail;
}

static bool can_run(const struct ring *ring)
{
    const struct vhost_user *vu = ring->vu;
    bool needs_leave = vu->features & (1ULL << VHOST_USER_F_PROTOCOL_FEATURES);

    return vu->features_set && (vu->features & (1ULL << VIRTIO_F_VERSION_1)) && vu->memory.num_regions && ring->has_address &&
           ring->layout.size && ring->kick_fd >= 0 && (ring->enabled || !needs_leave);
}

/* Starts a ring that stands still and has all it needs. */
static enum outcome update_ring(struct ring *ring)
{
    struct vhost_user *vu = ring->vu;
    msb_error *error = NULL;

    if (ring->running || !can_run(ring))
        return DONE;
    ring->queue = (struct virtqueue){
        .memory = &vu->memory,
        .features = vu->features,
        .kick_fd = ring->kick_fd,
        .call_fd = ring->call_fd,
    };
    if (virtqueue_start(&ring->queue, &ring->layout, ring->next_avail, &error) < 0)
        goto failed;
    if (vu->device.queue_ready) {
        ring->kick_source = loop_add(vu->loop, ring->kick_fd, EPOLLIN | EPOLLET, ring_kicked, ring, &error);
        if (!ring->kick_source)
            goto failed;
    }
    if (vu->device.queue_started && vu->device.queue_started(vu->data, ring_index(ring), &ring->queue) < 0) {
        fail(&error, MSB_ERR_SYSTEM, "the device could not serve it");
        loop_remove(ring->kick_source);
        ring->kick_source = NULL;
        goto failed;
    }
    ring->running = true;
    ring_ready(vu, ring);
    return DONE;
failed:
    log_error("queue %u of %s cannot be started: %s", ring_index(ring), vu->device.name, msb_error_message(error));
    msb_error_free(error);
    return REFUSED;
}

static void stop_all(struct vhost_user *vu)
{
    for (unsigned i = 0; i < vu->device.num_queues; i++)
        stop_ring(&vu->rings[i]);
}

static enum outcome update_all(struct vhost_user *vu)
{
    enum outcome worst = DONE;

    for (unsigned i = 0; i < vu->device.num_queues; i++) {
        if (update_ring(&vu->rings[i]) == REFUSED)
            worst = REFUSED;
    }
    return worst;
}

static struct ring *ring_at(struct vhost_user *vu, uint32_t index)
{
    if (index < vu->device.num_queues)
        return &vu->rings[index];
    log_error("%s has no queue %" PRIu32, vu->device.name, index);
    return NULL;
}

/* ---- Requests ---------------------------------------------------------------------------------------------------------------- */

static enum outcome reply_u64(struct vhost_user_message *m, uint64_t value)
{
    m->payload.u64 = value;
    m->header.size = sizeof(m->payload.u64);
    return REPLY;
}

static uint64_t offered_features(const struct vhost_user *vu)
{
    return vu->device.features | TRANSPORT_FEATURES;
}

static uint64_t offered_protocol_features(const struct vhost_user *vu)
{
    uint64_t features =
        1ULL << VHOST_USER_PROTOCOL_F_MQ | 1ULL << VHOST_USER_PROTOCOL_F_REPLY_ACK | 1ULL << VHOST_USER_PROTOCOL_F_BACKEND_REQ;

    if (vu->device.config_size)
        features |= 1ULL << VHOST_USER_PROTOCOL_F_CONFIG;
    return features;
}

static enum outcome get_features(struct vhost_user *vu, struct vhost_user_message *m)
{
    return reply_u64(m, offered_features(vu));
}

static enum outcome set_features(struct vhost_user *vu, struct vhost_user_message *m)
{
    uint64_t features = m->payload.u64;

    if (features & ~offered_features(vu))
        return REFUSED;
    stop_all(vu);
    vu->features = features;
    vu->features_set = true;
    if (vu->device.features_set)
        vu->device.features_set(vu->data, features & ~(1ULL << VHOST_USER_F_PROTOCOL_FEATURES));
    return update_all(vu);
}

static enum outcome set_owner(struct vhost_user *vu, struct vhost_user_message *m)
{
    (void)vu, (void)m;
    return DONE; /* there is one front-end for this process's whole life */
}

/* Deprecated, and to be taken as "disable all rings". */
static enum outcome reset_owner(struct vhost_user *vu, struct vhost_user_message *m)
{
    (void)m;
    stop_all(vu);
    for (unsigned i = 0; i < vu->device.num_queues; i++)
        vu->rings[i].enabled = false;
    return DONE;
}

static enum outcome set_mem_table(struct vhost_user *vu, struct vhost_user_message *m)
{
    const struct vhost_user_memory *table = &m->payload.memory;
    msb_error *error = NULL;

    /* As many as descriptors came with it, which are 1 to MEMORY_MAX_REGIONS. virtio_uml always sends two regions, and counts those
       that are meant. */
    if (table->num_regions != m->num_fds ||
        m->header.size < offsetof(struct vhost_user_memory, regions) + table->num_regions * sizeof(table->regions[0]))
        return BROKEN;
    stop_all(vu);
    memory_clear(&vu->memory);
    for (unsigned i = 0; i < table->num_regions; i++) {
        const struct vhost_user_memory_region *r = &table->regions[i];

        if (memory_add(&vu->memory, m->fds[i], r->mmap_offset, r->guest_address, r->size, r->user_address, &error) < 0) {
            log_error("%s: %s", vu->device.name, msb_error_message(error));
            msb_error_free(error);
            memory_clear(&vu->memory);
            return REFUSED;
        }
        if (vu->device.writes_much)
            memory_keep_file(&vu->memory, &m->fds[i]);
    }
    return update_all(vu);
}

static enum outcome set_vring_num(struct vhost_user *vu, struct vhost_user_message *m)
{
    struct ring *ring = ring_at(vu, m->payload.state.index);
    uint32_t size = m->payload.state.num;

    if (!ring)
        return BROKEN;
    if (ring->running || size == 0 || size > vu->device.queue_size_max || (size & (size - 1)))
        return REFUSED;
    ring->layout.size = size;
    return update_ring(ring);
}

static enum outcome set_vring_addr(struct vhost_user *vu, struct vhost_user_message *m)
{
    const struct vhost_user_vring_addr *addr = &m->payload.addr;
    struct ring *ring = ring_at(vu, addr->index);

    /* The only flag asks to log dirty pages, which is not offered. */
    if (!ring || addr->flags)
        return BROKEN;
    stop_ring(ring);
    ring->layout.desc = addr->desc;
    ring->layout.avail = addr->avail;
    ring->layout.used = addr->used;
    ring->has_address = true;
    return update_ring(ring);
}

static enum outcome set_vring_base(struct vhost_user *vu, struct vhost_user_message *m)
{
    struct ring *ring = ring_at(vu, m->payload.state.index);

    if (!ring || m->payload.state.num > UINT16_MAX)
        return BROKEN;
    if (ring->running)
        return REFUSED;
    ring->next_avail = (uint16_t)m->payload.state.num;
    return DONE;
}

/* Stops the ring; it needs a new kick descriptor to run again. */
static enum outcome get_vring_base(struct vhost_user *vu, struct vhost_user_message *m)
{
    struct ring *ring = ring_at(vu, m->payload.state.index);

    if (!ring)
        return BROKEN;
    stop_ring(ring);
    cleanup_fd(&ring->kick_fd);
    ring->kick_fd = -1;
    m->payload.state.num = ring->next_avail;
    return REPLY;
}

/* The ring that a message with a descriptor is for; NULL also when it says that there is none, but one came, or the reverse. */
static struct ring *ring_of_fd(struct vhost_user *vu, const struct vhost_user_message *m)
{
    uint64_t value = m->payload.u64;
    unsigned expected = value & VHOST_USER_VRING_NO_FD ? 0 : 1;

    if ((value & ~(uint64_t)(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NO_FD)) || m->num_fds != expected)
        return NULL;
    return ring_at(vu, (uint32_t)(value & VHOST_USER_VRING_INDEX_MASK));
}

/* Puts the message's descriptor, if any, in the place of an older one. */
static void replace_fd(int *place, struct vhost_user_message *m)
{
    cleanup_fd(place);
    *place = m->num_fds ? message_take_fd(m, 0) : -1;
}

static enum outcome set_vring_kick(struct vhost_user *vu, struct vhost_user_message *m)
{
    struct ring *ring = ring_of_fd(vu, m);

    if (!ring)
        return BROKEN;
    /* Without a descriptor the ring would have to be polled. */
    if (!m->num_fds)
        return REFUSED;
    stop_ring(ring);
    replace_fd(&ring->kick_fd, m);
    return update_ring(ring);
}

static enum outcome set_vring_call(struct vhost_user *vu, struct vhost_user_message *m)
{
    struct ring *ring = ring_of_fd(vu, m);
    enum outcome outcome;

    if (!ring)
        return BROKEN;
    stop_ring(ring);
    replace_fd(&ring->call_fd, m);
    /* A front-end that does not empty it (virtio_uml's is a pipe) must not hold up the device. */
    if (ring->call_fd >= 0 && fcntl(ring->call_fd, F_SETFL, O_NONBLOCK) < 0)
        return REFUSED;
    outcome = update_ring(ring);
    /* What was used before this descriptor came was not heard of. One interrupt too many does no harm. */
    if (ring->running)
        virtqueue_call(&ring->queue);
    return outcome;
}

static enum outcome set_vring_err(struct vhost_user *vu, struct vhost_user_message *m)
{
    return ring_of_fd(vu, m) ? DONE : BROKEN; /* errors are logged; the descriptor is closed */
}

static enum outcome get_protocol_features(struct vhost_user *vu, struct vhost_user_message *m)
{
    return reply_u64(m, offered_protocol_features(vu));
}

static enum outcome set_protocol_features(struct vhost_user *vu, struct vhost_user_message *m)
{
    if (m->payload.u64 & ~offered_protocol_features(vu))
        return REFUSED;
    vu->protocol_features = m->payload.u64;
    return DONE;
}

static enum outcome get_queue_num(struct vhost_user *vu, struct vhost_user_message *m)
{
    return reply_u64(m, vu->device.num_queues);
}

static enum outcome set_vring_enable(struct vhost_user *vu, struct vhost_user_message *m)
{
    struct ring *ring = ring_at(vu, m->payload.state.index);

    if (!ring || m->payload.state.num > 1)
        return BROKEN;
    ring->enabled = m->payload.state.num;
    if (!can_run(ring))
        stop_ring(ring);
    return update_ring(ring);
}

static enum outcome set_backend_req_fd(struct vhost_user *vu, struct vhost_user_message *m)
{
    replace_fd(&vu->backend_req_fd, m);
    return DONE;
}

static bool is_config(const struct vhost_user_message *m)
{
    const struct vhost_user_config *c = &m->payload.config;
    size_t header = offsetof(struct vhost_user_config, data);

    return m->header.size >= header && c->size == m->header.size - header && c->size <= VHOST_USER_CONFIG_MAX &&
           c->offset <= VHOST_USER_CONFIG_MAX - c->size;
}

static enum outcome get_config(struct vhost_user *vu, struct vhost_user_message *m)
{
    struct vhost_user_config *c = &m->payload.config;
    size_t size = vu->device.config_size;

    if (!is_config(m))
        return BROKEN;
    /* What lies behind the device's fields reads as zero. */
    memset(c->data, 0, sizeof(c->data));
    if (c->offset < size)
        memcpy(c->data, (const char *)vu->device.config + c->offset, c->size < size - c->offset ? c->size : size - c->offset);
    return REPLY;
}

/* No device here has a field that the driver may write, and writes to others are without effect. */
static enum outcome set_config(struct vhost_user *vu, struct vhost_user_message *m)
{
    (void)vu;
    return is_config(m) ? DONE : BROKEN;
}

/* ---- The connection ---------------------------------------------------------------------------------------------------------- */

static loop_callback connection_ready;

/* From now on the socket is fd, and what comes there goes to callback. */
static int watch(struct vhost_user *vu, int fd, loop_callback *callback, msb_error **err)
{
    loop_remove(vu->source);
    if (vu->socket >= 0)
        close(vu->socket);
    vu->socket = fd;
    vu->source = loop_add(vu->loop, fd, EPOLLIN, callback, vu, err);
    return vu->source ? 0 : -1;
}

static enum outcome set_listener(struct vhost_user *vu, struct vhost_user_message *m)
{
    return watch(vu, message_take_fd(m, 0), connection_ready, NULL) < 0 ? REFUSED : DONE;
}

struct request {
    enum outcome (*handle)(struct vhost_user *vu, struct vhost_user_message *m);
    size_t size_min, size_max; /* of the payload */
    unsigned fds_min, fds_max;
};

#define SIZE_OF(field) sizeof(((union vhost_user_payload *)NULL)->field), sizeof(((union vhost_user_payload *)NULL)->field)

static const struct request requests[VHOST_USER_REQUEST_END] = {
    [VHOST_USER_GET_FEATURES] = { get_features, 0, 0, 0, 0 },
    [VHOST_USER_SET_FEATURES] = { set_features, SIZE_OF(u64), 0, 0 },
    [VHOST_USER_SET_OWNER] = { set_owner, 0, 0, 0, 0 },
    [VHOST_USER_RESET_OWNER] = { reset_owner, 0, 0, 0, 0 },
    [VHOST_USER_SET_MEM_TABLE] = { set_mem_table, 8, sizeof(struct vhost_user_memory), 1, MEMORY_MAX_REGIONS },
    [VHOST_USER_SET_VRING_NUM] = { set_vring_num, SIZE_OF(state), 0, 0 },
    [VHOST_USER_SET_VRING_ADDR] = { set_vring_addr, SIZE_OF(addr), 0, 0 },
    [VHOST_USER_SET_VRING_BASE] = { set_vring_base, SIZE_OF(state), 0, 0 },
    [VHOST_USER_GET_VRING_BASE] = { get_vring_base, SIZE_OF(state), 0, 0 },
    [VHOST_USER_SET_VRING_KICK] = { set_vring_kick, SIZE_OF(u64), 0, 1 },
    [VHOST_USER_SET_VRING_CALL] = { set_vring_call, SIZE_OF(u64), 0, 1 },
    [VHOST_USER_SET_VRING_ERR] = { set_vring_err, SIZE_OF(u64), 0, 1 },
    [VHOST_USER_GET_PROTOCOL_FEATURES] = { get_protocol_features, 0, 0, 0, 0 },
    [VHOST_USER_SET_PROTOCOL_FEATURES] = { set_protocol_features, SIZE_OF(u64), 0, 0 },
    [VHOST_USER_GET_QUEUE_NUM] = { get_queue_num, 0, 0, 0, 0 },
    [VHOST_USER_SET_VRING_ENABLE] = { set_vring_enable, SIZE_OF(state), 0, 0 },
    [VHOST_USER_SET_BACKEND_REQ_FD] = { set_backend_req_fd, 0, 0, 1, 1 },
    [VHOST_USER_GET_CONFIG] = { get_config, 12, sizeof(struct vhost_user_config), 0, 0 },
    [VHOST_USER_SET_CONFIG] = { set_config, 12, sizeof(struct vhost_user_config), 0, 0 },
};

static enum outcome handle(struct vhost_user *vu, struct vhost_user_message *m)
{
    static const struct request listen_request = { set_listener, 0, 0, 1, 1 };
    const struct request *request = m->header.request < VHOST_USER_REQUEST_END ? &requests[m->header.request] : NULL;

    if (m->header.request == VHOST_USER_LISTEN && !vu->heard)
        request = &listen_request;
    vu->heard = true;

    log_trace("%s: vhost-user request %u, flags %#x, %u bytes (%#" PRIx64 "), %u descriptors", vu->device.name, m->header.request,
              m->header.flags, m->header.size, m->payload.u64, m->num_fds);
    if ((m->header.flags & ~(uint32_t)VHOST_USER_FLAG_NEED_REPLY) != VHOST_USER_VERSION)
        return BROKEN;
    if (!request || !request->handle)
        return BROKEN;
    if (m->header.size < request->size_min || m->header.size > request->size_max)
        return BROKEN;
    if (m->num_fds < request->fds_min || m->num_fds > request->fds_max)
        return BROKEN;
    return request->handle(vu, m);
}

/* Answers, when there is something to answer; -1 when the connection is to end. */
static int answer(struct vhost_user *vu, struct vhost_user_message *m, enum outcome outcome, msb_error **err)
{
    bool acknowledge =
        (m->header.flags & VHOST_USER_FLAG_NEED_REPLY) && (vu->protocol_features & (1ULL << VHOST_USER_PROTOCOL_F_REPLY_ACK));

    if (outcome == BROKEN)
        return fail(err, MSB_ERR_PROTOCOL, "vhost-user request %u with %u bytes, %u descriptors and flags %#x is not valid",
                    m->header.request, m->header.size, m->num_fds, m->header.flags);
    if (outcome == REFUSED && !acknowledge)
        return fail(err, MSB_ERR_PROTOCOL, "vhost-user request %u cannot be done", m->header.request);
    if (outcome != REPLY && !acknowledge)
        return 0;
    if (outcome != REPLY)
        reply_u64(m, outcome == DONE ? 0 : 1);
    m->header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
    message_close_fds(m);
    /* A front-end that does not read its answers is not waited for. */
    return message_send(vu->socket, m, false, err);
}

/* The error may be NULL: the front-end hung up. */
static void end(struct vhost_user *vu, msb_error *error)
{
    if (error)
        log_error("%s: %s", vu->device.name, msb_error_message(error));
    msb_error_free(error);
    stop_all(vu);
    loop_quit(vu->loop);
}

static void socket_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct vhost_user *vu = data;
    msb_error *error = NULL;
    int received = message_receive(fd, &vu->message, false, &error);

    (void)source, (void)events;
    if (received == 0)
        return;
    if (received < 0 || answer(vu, &vu->message, handle(vu, &vu->message), &error) < 0)
        end(vu, error);
    else
        message_clear(&vu->message);
}

static void connection_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct vhost_user *vu = data;
    msb_error *error = NULL;
    int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    (void)source, (void)events;
    if (connection < 0)
        fail_errno(&error, "accept the front-end's connection");
    if (connection < 0 || watch(vu, connection, socket_ready, &error) < 0)
        end(vu, error);
}

struct vhost_user *vhost_user_new(struct loop *loop, int fd, const struct vhost_user_device *device, void *data, msb_error **err)
{
    struct vhost_user *vu = calloc(1, sizeof(*vu));

    if (!vu) {
        close(fd);
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    }
    vu->loop = loop;
    vu->device = *device;
    vu->data = data;
    vu->socket = -1;
    vu->backend_req_fd = -1;
    for (unsigned i = 0; i < VHOST_USER_MAX_QUEUES; i++)
        vu->rings[i] = (struct ring){ .vu = vu, .kick_fd = -1, .call_fd = -1 };
    if (watch(vu, fd, socket_ready, err) < 0) {
        vhost_user_free(vu);
        return NULL;
    }
    return vu;
}

void vhost_user_free(struct vhost_user *vu)
{
    if (!vu)
        return;
    loop_remove(vu->source);
    stop_all(vu);
    for (unsigned i = 0; i < VHOST_USER_MAX_QUEUES; i++) {
        cleanup_fd(&vu->rings[i].kick_fd);
        cleanup_fd(&vu->rings[i].call_fd);
    }
    memory_clear(&vu->memory);
    message_clear(&vu->message);
    cleanup_fd(&vu->backend_req_fd);
    close(vu->socket);
    free(vu);
}

struct virtqueue *vhost_user_queue(struct vhost_user *vu, unsigned index)
{
    if (index >= vu->device.num_queues || !vu->rings[index].running)
        return NULL;
    return &vu->rings[index].queue;
}
