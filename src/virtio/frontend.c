/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front-end; frontend.h has the contract.
 *
 * Requests are sent one after another without waiting, since the stream keeps their order; only a question, and the request
 * that starts a queue, wait for an answer. What cannot be done and was not waited for makes the device process hang up, which
 * the next answer shows.
 *
 * Rings have to be given in the front-end's own address space. Its regions are told to begin, there too, at their guest-physical
 * addresses, so that nothing is translated.
 */
#include "virtio/frontend.h"

#include "util/cleanup.h"
#include "virtio/vhost_user_message.h"

#include <inttypes.h>
#include <string.h>

struct frontend {
    int socket;
    uint64_t features;
    uint64_t protocol_features;
    unsigned num_queues;
};

static int send_request(struct frontend *frontend, struct vhost_user_message *m, enum vhost_user_request request, size_t size,
                        msb_error **err)
{
    m->header.request = request;
    m->header.flags |= VHOST_USER_VERSION;
    m->header.size = (uint32_t)size;
    return message_send(frontend->socket, m, true, err);
}

/* Receives the answer to the request in *m in its place. */
static int receive_answer(struct frontend *frontend, struct vhost_user_message *m, size_t size, msb_error **err)
{
    enum vhost_user_request request = m->header.request;
    msb_error *error = NULL;
    unsigned num_fds;

    *m = (struct vhost_user_message){ 0 };
    if (message_receive(frontend->socket, m, true, &error) <= 0) {
        message_close_fds(m);
        return error ? fail_with(err, error) : fail(err, MSB_ERR_VM, "the device process hung up");
    }
    num_fds = m->num_fds;
    message_close_fds(m);
    if (m->header.request != request || m->header.flags != (VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY) ||
        m->header.size != size || num_fds)
        return fail(err, MSB_ERR_PROTOCOL, "the device process answered vhost-user request %u with %u of %u bytes", request,
                    m->header.request, m->header.size);
    return 0;
}

static int set_u64(struct frontend *frontend, enum vhost_user_request request, uint64_t value, msb_error **err)
{
    struct vhost_user_message m = { .payload.u64 = value };

    return send_request(frontend, &m, request, sizeof(m.payload.u64), err);
}

static int get_u64(struct frontend *frontend, enum vhost_user_request request, uint64_t *value, msb_error **err)
{
    struct vhost_user_message m = { 0 };

    if (send_request(frontend, &m, request, 0, err) < 0 || receive_answer(frontend, &m, sizeof(m.payload.u64), err) < 0)
        return -1;
    *value = m.payload.u64;
    return 0;
}

static int settle_protocol(struct frontend *frontend, msb_error **err)
{
    const uint64_t wanted =
        1ULL << VHOST_USER_PROTOCOL_F_MQ | 1ULL << VHOST_USER_PROTOCOL_F_REPLY_ACK | 1ULL << VHOST_USER_PROTOCOL_F_CONFIG;
    const uint64_t needed = 1ULL << VHOST_USER_PROTOCOL_F_MQ | 1ULL << VHOST_USER_PROTOCOL_F_REPLY_ACK;
    struct vhost_user_message owner = { 0 };
    uint64_t offered, num_queues;

    if (send_request(frontend, &owner, VHOST_USER_SET_OWNER, 0, err) < 0 ||
        get_u64(frontend, VHOST_USER_GET_FEATURES, &frontend->features, err) < 0)
        return -1;
    if (!(frontend->features & (1ULL << VHOST_USER_F_PROTOCOL_FEATURES)))
        return fail(err, MSB_ERR_PROTOCOL, "the device process does not offer vhost-user protocol features");
    if (get_u64(frontend, VHOST_USER_GET_PROTOCOL_FEATURES, &offered, err) < 0)
        return -1;
    if ((offered & needed) != needed)
        return fail(err, MSB_ERR_PROTOCOL, "the device process offers vhost-user protocol features %#" PRIx64 ", not all needed",
                    offered);
    frontend->protocol_features = offered & wanted;
    if (set_u64(frontend, VHOST_USER_SET_PROTOCOL_FEATURES, frontend->protocol_features, err) < 0 ||
        get_u64(frontend, VHOST_USER_GET_QUEUE_NUM, &num_queues, err) < 0)
        return -1;
    if (num_queues == 0 || num_queues > VHOST_USER_VRING_INDEX_MASK)
        return fail(err, MSB_ERR_PROTOCOL, "the device process has %" PRIu64 " queues", num_queues);
    frontend->num_queues = (unsigned)num_queues;
    return 0;
}

struct frontend *frontend_new(int socket, msb_error **err)
{
    struct frontend *frontend = calloc(1, sizeof(*frontend));

    if (!frontend) {
        close(socket);
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    }
    frontend->socket = socket;
    if (settle_protocol(frontend, err) < 0) {
        frontend_free(frontend);
        return NULL;
    }
    return frontend;
}

void frontend_free(struct frontend *frontend)
{
    if (!frontend)
        return;
    close(frontend->socket);
    free(frontend);
}

uint64_t frontend_features(const struct frontend *frontend)
{
    return frontend->features & ~(1ULL << VHOST_USER_F_PROTOCOL_FEATURES);
}

unsigned frontend_num_queues(const struct frontend *frontend)
{
    return frontend->num_queues;
}

int frontend_get_config(struct frontend *frontend, unsigned offset, void *data, size_t size, msb_error **err)
{
    const size_t header = offsetof(struct vhost_user_config, data);
    struct vhost_user_message m = { .payload.config = { .offset = offset, .size = (uint32_t)size } };

    if (!(frontend->protocol_features & (1ULL << VHOST_USER_PROTOCOL_F_CONFIG)))
        return fail(err, MSB_ERR_UNSUPPORTED, "the device process has no configuration space");
    if (size > VHOST_USER_CONFIG_MAX || offset > VHOST_USER_CONFIG_MAX - size)
        return fail(err, MSB_ERR_INVALID, "the configuration space has no %zu bytes at %u", size, offset);
    if (send_request(frontend, &m, VHOST_USER_GET_CONFIG, header + size, err) < 0 ||
        receive_answer(frontend, &m, header + size, err) < 0)
        return -1;
    memcpy(data, m.payload.config.data, size);
    return 0;
}

int frontend_set_memory(struct frontend *frontend, const struct frontend_region *regions, unsigned num_regions, msb_error **err)
{
    struct vhost_user_message m = { .num_fds = num_regions, .payload.memory.num_regions = num_regions };

    if (num_regions == 0 || num_regions > MEMORY_MAX_REGIONS)
        return fail(err, MSB_ERR_INVALID, "guest memory in %u regions", num_regions);
    for (unsigned i = 0; i < num_regions; i++) {
        m.fds[i] = regions[i].fd;
        m.payload.memory.regions[i] = (struct vhost_user_memory_region){
            .guest_address = regions[i].guest_address,
            .size = regions[i].size,
            .user_address = regions[i].guest_address,
            .mmap_offset = regions[i].offset,
        };
    }
    return send_request(frontend, &m, VHOST_USER_SET_MEM_TABLE,
                        offsetof(struct vhost_user_memory, regions) + num_regions * sizeof(m.payload.memory.regions[0]), err);
}

int frontend_set_features(struct frontend *frontend, uint64_t features, msb_error **err)
{
    if (features & ~frontend_features(frontend))
        return fail(err, MSB_ERR_INVALID, "features %#" PRIx64 " are not all offered", features);
    return set_u64(frontend, VHOST_USER_SET_FEATURES, features | 1ULL << VHOST_USER_F_PROTOCOL_FEATURES, err);
}

static int set_state(struct frontend *frontend, enum vhost_user_request request, unsigned index, unsigned num, msb_error **err)
{
    struct vhost_user_message m = { .payload.state = { .index = index, .num = num } };

    return send_request(frontend, &m, request, sizeof(m.payload.state), err);
}

static int set_address(struct frontend *frontend, unsigned index, const struct frontend_queue *queue, msb_error **err)
{
    struct vhost_user_message m = {
        .payload.addr = {
            .index = index,
            .desc = queue->desc.value,
            .avail = queue->avail.value,
            .used = queue->used.value,
        },
    };

    return send_request(frontend, &m, VHOST_USER_SET_VRING_ADDR, sizeof(m.payload.addr), err);
}

static int set_fd(struct frontend *frontend, enum vhost_user_request request, unsigned index, int fd, msb_error **err)
{
    struct vhost_user_message m = { .payload.u64 = index, .fds = { fd }, .num_fds = 1 };

    return send_request(frontend, &m, request, sizeof(m.payload.u64), err);
}

/* Lets the queue run, and waits until it does. */
static int enable(struct frontend *frontend, unsigned index, msb_error **err)
{
    struct vhost_user_message m = {
        .header.flags = VHOST_USER_FLAG_NEED_REPLY,
        .payload.state = { .index = index, .num = 1 },
    };

    if (send_request(frontend, &m, VHOST_USER_SET_VRING_ENABLE, sizeof(m.payload.state), err) < 0 ||
        receive_answer(frontend, &m, sizeof(m.payload.u64), err) < 0)
        return -1;
    return m.payload.u64 == 0 ? 0 : fail(err, MSB_ERR_VM, "the device process refused queue %u", index);
}

int frontend_queue_start(struct frontend *frontend, unsigned index, const struct frontend_queue *queue, msb_error **err)
{
    if (index >= frontend->num_queues)
        return fail(err, MSB_ERR_INVALID, "the device has no queue %u", index);
    if (set_state(frontend, VHOST_USER_SET_VRING_NUM, index, queue->size, err) < 0 ||
        set_state(frontend, VHOST_USER_SET_VRING_BASE, index, 0, err) < 0 || set_address(frontend, index, queue, err) < 0 ||
        set_fd(frontend, VHOST_USER_SET_VRING_CALL, index, queue->call_fd, err) < 0 ||
        set_fd(frontend, VHOST_USER_SET_VRING_KICK, index, queue->kick_fd, err) < 0)
        return -1;
    return enable(frontend, index, err);
}

int frontend_queue_stop(struct frontend *frontend, unsigned index, msb_error **err)
{
    struct vhost_user_message m = { .header.request = VHOST_USER_GET_VRING_BASE };

    if (index >= frontend->num_queues)
        return fail(err, MSB_ERR_INVALID, "the device has no queue %u", index);
    if (set_state(frontend, VHOST_USER_SET_VRING_ENABLE, index, 0, err) < 0 ||
        set_state(frontend, VHOST_USER_GET_VRING_BASE, index, 0, err) < 0)
        return -1;
    return receive_answer(frontend, &m, sizeof(m.payload.state), err);
}
