/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device: its queues, its descriptors, and the life of its connections.
 */
#include "vsock/vsock.h"

#include "vsock/device.h"

#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct virtio_vsock_config configuration = { .guest_cid = GUEST_CID };

static void queue_ready(void *data, unsigned index, struct virtqueue *queue)
{
    struct vsock *vsock = data;

    if (index == QUEUE_TX)
        guest_receive(vsock, queue);
    guest_send(vsock);
}

/* Whether the guest has heard of the connection, or will not need to. */
static bool is_known_to_guest(const struct connection *connection)
{
    return connection->state != CONNECTION_LINE && !(connection->owed & OWED_REQUEST);
}

/* The driver begins anew: it knows of no connection any more, and none of its kind can come back. */
static void features_set(void *data, uint64_t features)
{
    struct vsock *vsock = data;

    (void)features;
    vsock->resets.count = 0;
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *connection = vsock->table.slots[i];

        if (connection && is_known_to_guest(connection))
            vsock_finish(connection);
    }
}

static const struct vhost_user_device device = {
    .name = "vsock",
    .num_queues = NUM_QUEUES,
    .queue_size_max = VIRTQUEUE_MAX_SIZE,
    .config = &configuration,
    .config_size = sizeof(configuration),
    .queue_ready = queue_ready,
    .features_set = features_set,
};

/* The listener is /dev/null when there is none. */
static int watch_listener(struct vsock *vsock, int listener, msb_error **err)
{
    struct stat st;

    if (fstat(listener, &st) < 0)
        return fail_errno(err, "look at descriptor %d", listener);
    if (!S_ISSOCK(st.st_mode))
        return 0;
    if (fcntl(listener, F_SETFL, O_NONBLOCK) < 0)
        return fail_errno(err, "make descriptor %d non-blocking", listener);
    vsock->listener_source = loop_add(vsock->loop, listener, EPOLLIN, host_listener_ready, vsock, err);
    vsock->listening = true;
    return vsock->listener_source ? 0 : -1;
}

struct vsock *vsock_new(struct loop *loop, int frontend, int incoming, int listener, msb_error **err)
{
    struct vsock *vsock = calloc(1, sizeof(*vsock));

    if (!vsock) {
        close(frontend);
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    }
    vsock->loop = loop;
    vsock->incoming = incoming;
    vsock->vu = vhost_user_new(loop, frontend, &device, vsock, err);
    if (vsock->vu)
        vsock->incoming_source = loop_add(loop, incoming, 0, host_incoming_ready, vsock, err);
    if (!vsock->incoming_source || watch_listener(vsock, listener, err) < 0) {
        vsock_free(vsock);
        return NULL;
    }
    return vsock;
}

void vsock_free(struct vsock *vsock)
{
    if (!vsock)
        return;
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        if (vsock->table.slots[i])
            connection_free(&vsock->table, vsock->table.slots[i]);
    }
    loop_remove(vsock->listener_source);
    loop_remove(vsock->incoming_source);
    vhost_user_free(vsock->vu);
    free(vsock);
}

struct connection *vsock_connection(struct vsock *vsock)
{
    struct connection *lingering;

    if (vsock->table.count == MAX_CONNECTIONS) {
        lingering = connection_longest_lingering(&vsock->table);
        if (lingering)
            guest_reset(lingering);
    }
    return connection_new(&vsock->table, vsock);
}

void vsock_finish(struct connection *connection)
{
    struct vsock *vsock = connection->vsock;

    guest_forget_wake(connection);
    if (connection->spill.used && connection->source) {
        connection_unbind(&vsock->table, connection);
        connection->state = CONNECTION_DRAINING;
        host_watch(connection);
        return;
    }
    connection_free(&vsock->table, connection);
    host_listen(vsock);
}
