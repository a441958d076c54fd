/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's half of the vsock device: packets out of the transmit queue, and into the receive queue (virtio 1.2, section 5.10.6).
 *
 * A packet is a header and, for VIRTIO_VSOCK_OP_RW, data. The header is copied before it is looked at. What a guest must not do ends
 * the connection it did it with, and no other.
 */
#include "util/log.h"
#include "vsock/device.h"
#include "vsock/vsock.h"

#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include <string.h>
#include <unistd.h>

enum {
    HEADER_SIZE = sizeof(struct virtio_vsock_hdr),
    RECEIVE_TURN = 128, /* packets taken before others get their turn */
    ALL_SHUTDOWN = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND,
};

/* ---- To the guest ------------------------------------------------------------------------------------------------------------ */

/* Takes at most max of the guest's receive buffers; what is not used must be unpopped. */
static unsigned take_buffers(struct vsock *vsock, struct virtqueue *queue, unsigned max)
{
    struct rx_batch *rx = &vsock->rx;
    const struct chain *chain = &vsock->chain;

    rx->count = rx->num_whole = rx->num_data = 0;
    while (rx->count < max && virtqueue_pop(queue, &vsock->chain) == 1) {
        struct rx_buffer *buffer = &rx->buffers[rx->count];

        if (chain->num_readable || chain->writable_bytes <= HEADER_SIZE) {
            virtqueue_break(queue, "a vsock receive buffer that is not for receiving, or too small");
            break;
        }
        if (rx->num_whole + chain->num_writable > VIRTQUEUE_MAX_SIZE) {
            virtqueue_unpop(queue, 1);
            break;
        }
        buffer->head = chain->head;
        buffer->room = chain->writable_bytes - HEADER_SIZE;
        buffer->whole = rx->whole + rx->num_whole;
        buffer->num_whole = chain->num_writable;
        memcpy(rx->whole + rx->num_whole, chain->writable, chain->num_writable * sizeof(struct iovec));
        rx->num_whole += chain->num_writable;
        rx->num_data += iov_slice(chain->writable, chain->num_writable, HEADER_SIZE, buffer->room, rx->data + rx->num_data);
        rx->count++;
    }
    return rx->count;
}

/* Completes a packet whose data, if any, is in the buffer already. */
static void finish_packet(struct virtqueue *queue, const struct rx_buffer *buffer, const struct virtio_vsock_hdr *header)
{
    iov_write(buffer->whole, buffer->num_whole, 0, header, HEADER_SIZE);
    virtqueue_push(queue, buffer->head, HEADER_SIZE + header->len);
}

/* Sends a packet without data; false when the guest has no buffer for it. */
static bool send_header(struct vsock *vsock, struct virtqueue *queue, const struct virtio_vsock_hdr *header)
{
    if (!take_buffers(vsock, queue, 1))
        return false;
    finish_packet(queue, &vsock->rx.buffers[0], header);
    return true;
}

/* A header of the connection. Each one also tells the guest its credit. */
static struct virtio_vsock_hdr make_header(struct connection *connection, enum virtio_vsock_op op, uint32_t length)
{
    connection->fwd_cnt_told = connection->fwd_cnt;
    return (struct virtio_vsock_hdr){
        .src_cid = VMADDR_CID_HOST,
        .dst_cid = GUEST_CID,
        .src_port = connection->host_port,
        .dst_port = connection->guest_port,
        .len = length,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
        .buf_alloc = SPILL_SIZE,
        .fwd_cnt = connection->fwd_cnt,
    };
}

/* Sends what the connection owes of these packets; false when the guest has no buffer. */
static bool send_owed(struct connection *connection, struct virtqueue *queue, unsigned which)
{
    static const enum virtio_vsock_op operations[] = {
        VIRTIO_VSOCK_OP_REQUEST,
        VIRTIO_VSOCK_OP_RESPONSE,
        VIRTIO_VSOCK_OP_CREDIT_UPDATE,
        VIRTIO_VSOCK_OP_SHUTDOWN,
    };

    for (unsigned i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        unsigned owed = 1U << i;
        struct virtio_vsock_hdr header;

        if (!(connection->owed & which & owed))
            continue;
        header = make_header(connection, operations[i], 0);
        if (owed == OWED_SHUTDOWN)
            header.flags = connection->shutdown_flags;
        if (!send_header(connection->vsock, queue, &header))
            return false;
        connection->owed &= ~owed;
    }
    return true;
}

/* How many bytes the guest can take. It may claim anything; more than we ever sent cannot be on its way. */
static uint32_t peer_credit(const struct connection *connection)
{
    uint32_t on_the_way = connection->tx_cnt - connection->peer_fwd_cnt;

    return on_the_way < connection->peer_buf_alloc ? connection->peer_buf_alloc - on_the_way : 0;
}

/* Makes packets of the data that was read into the first buffers; returns how many. */
static unsigned send_packets(struct connection *connection, struct virtqueue *queue, size_t bytes)
{
    const struct rx_batch *rx = &connection->vsock->rx;
    unsigned used = 0;

    connection->tx_cnt += (uint32_t)bytes;
    for (; bytes; used++) {
        const struct rx_buffer *buffer = &rx->buffers[used];
        size_t length = bytes < buffer->room ? bytes : buffer->room;
        struct virtio_vsock_hdr header = make_header(connection, VIRTIO_VSOCK_OP_RW, (uint32_t)length);

        finish_packet(queue, buffer, &header);
        bytes -= length;
    }
    return used;
}

static size_t iov_bytes(const struct iovec *iov, unsigned count)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

/* One read from the host into as many of the guest's buffers as were filled lately; false when the guest has none. */
static bool send_data(struct connection *connection, struct virtqueue *queue)
{
    struct vsock *vsock = connection->vsock;
    struct rx_batch *rx = &vsock->rx;
    uint32_t credit = peer_credit(connection);
    unsigned count, used = 0;
    ssize_t n;

    connection->no_credit = credit == 0;
    if (connection->no_credit)
        return true;
    if (!take_buffers(vsock, queue, connection->batch))
        return false;
    count = iov_slice(rx->data, rx->num_data, 0, credit, rx->data);
    n = host_read(connection, rx->data, count);
    if (n < 0) {
        connection->host_ended = true;
        guest_tell_shutdown(connection, VIRTIO_VSOCK_SHUTDOWN_SEND);
    } else if (n > 0) {
        used = send_packets(connection, queue, (size_t)n);
    }
    virtqueue_unpop(queue, rx->count - used);
    if ((size_t)n == iov_bytes(rx->data, count) && used == rx->count)
        connection->batch = 2 * used < RX_BATCH_MAX ? 2 * used : RX_BATCH_MAX;
    else
        connection->batch = used ? used : 1;
    return true;
}

static bool wants_data(const struct connection *connection)
{
    return connection->state == CONNECTION_ESTABLISHED && !connection->host_ended &&
           !(connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

/* One turn of a connection; false when the guest has no buffer for all of it. */
static bool send_turn(struct connection *connection, struct virtqueue *queue)
{
    if (!send_owed(connection, queue, OWED_REQUEST | OWED_RESPONSE | OWED_CREDIT))
        return false;
    if (wants_data(connection) && !send_data(connection, queue))
        return false;
    return send_owed(connection, queue, OWED_SHUTDOWN);
}

static bool send_resets(struct vsock *vsock, struct virtqueue *queue)
{
    struct resets *resets = &vsock->resets;

    while (resets->count) {
        const struct reset *reset = &resets->ring[resets->first];
        const struct virtio_vsock_hdr header = {
            .src_cid = reset->host_cid,
            .dst_cid = GUEST_CID,
            .src_port = reset->host_port,
            .dst_port = reset->guest_port,
            .type = reset->type,
            .op = VIRTIO_VSOCK_OP_RST,
        };

        if (!send_header(vsock, queue, &header))
            return false;
        resets->first = (resets->first + 1) % RESETS_MAX;
        resets->count--;
    }
    return true;
}

/* Everything that waits, in turn; false when the guest has no more buffers. */
static bool send_waiting(struct vsock *vsock, struct virtqueue *queue)
{
    if (!send_resets(vsock, queue))
        return false;
    while (vsock->first_waiting) {
        struct connection *connection = vsock->first_waiting;

        if (!send_turn(connection, queue))
            return false;
        guest_forget_wake(connection);
        host_watch(connection);
    }
    return true;
}

static void send_all(struct vsock *vsock, struct virtqueue *queue)
{
    while (!send_waiting(vsock, queue) && virtqueue_enable_kicks(queue, true))
        continue;
    virtqueue_notify(queue);
    if (vsock->held_up && vsock->resets.count < RESETS_HOLD)
        guest_receive_again(vsock);
}

void guest_send(struct vsock *vsock)
{
    struct virtqueue *queue = vhost_user_queue(vsock->vu, QUEUE_RX);

    if (queue)
        send_all(vsock, queue);
    /* Who still waits for the guest is not to be woken by the host. */
    for (struct connection *c = vsock->first_waiting; c; c = c->next_waiting)
        host_watch(c);
}

void guest_wake(struct connection *connection)
{
    struct vsock *vsock = connection->vsock;

    if (connection->waiting || connection->state == CONNECTION_DRAINING)
        return;
    connection->waiting = true;
    connection->next_waiting = NULL;
    if (vsock->first_waiting)
        vsock->last_waiting->next_waiting = connection;
    else
        vsock->first_waiting = connection;
    vsock->last_waiting = connection;
}

void guest_tell_shutdown(struct connection *connection, uint32_t flags)
{
    if ((connection->shutdown_flags & flags) == flags)
        return;
    connection->shutdown_flags |= flags;
    connection->owed |= OWED_SHUTDOWN;
    guest_wake(connection);
}

void guest_forget_wake(struct connection *connection)
{
    struct vsock *vsock = connection->vsock;
    struct connection *before = NULL;

    if (!connection->waiting)
        return;
    for (struct connection *c = vsock->first_waiting; c != connection; c = c->next_waiting)
        before = c;
    if (before)
        before->next_waiting = connection->next_waiting;
    else
        vsock->first_waiting = connection->next_waiting;
    if (vsock->last_waiting == connection)
        vsock->last_waiting = before;
    connection->waiting = false;
}

void guest_credit(struct connection *connection, size_t bytes)
{
    connection->fwd_cnt += (uint32_t)bytes;
    /* The guest is told with the next packet anyway, but before its credit gets short. */
    if (connection->fwd_cnt - connection->fwd_cnt_told < SPILL_SIZE / 2)
        return;
    connection->owed |= OWED_CREDIT;
    guest_wake(connection);
}

/* ---- From the guest ---------------------------------------------------------------------------------------------------------- */

/* There is always room: see RESETS_MAX. */
static void add_reset(struct vsock *vsock, const struct reset *reset)
{
    struct resets *resets = &vsock->resets;

    resets->ring[(resets->first + resets->count) % RESETS_MAX] = *reset;
    resets->count++;
}

void guest_reset(struct connection *connection)
{
    const struct reset reset = {
        .host_cid = VMADDR_CID_HOST,
        .host_port = connection->host_port,
        .guest_port = connection->guest_port,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
    };

    add_reset(connection->vsock, &reset);
    vsock_finish(connection);
}

/* An answer to a packet that belongs to no connection; a reset is never answered. */
static void refuse(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    const struct reset reset = {
        .host_cid = header->dst_cid,
        .host_port = header->dst_port,
        .guest_port = header->src_port,
        .type = header->type,
    };

    if (header->op != VIRTIO_VSOCK_OP_RST)
        add_reset(vsock, &reset);
}

static void note_credit(struct connection *connection, const struct virtio_vsock_hdr *header)
{
    connection->peer_buf_alloc = header->buf_alloc;
    connection->peer_fwd_cnt = header->fwd_cnt;
    if (connection->no_credit && peer_credit(connection))
        guest_wake(connection);
}

/* Takes a request to connect to the host; false when it has to come again later. */
static bool receive_request(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    struct connection *connection = vsock_connection(vsock);
    enum host_open opened = HOST_REFUSED;
    int fd = -1;

    if (connection)
        opened = host_open(vsock, header->dst_port, &fd);
    if (opened == HOST_OPENED && host_attach(connection, fd) == 0) {
        connection_bind(&vsock->table, connection, header->src_port, header->dst_port);
        connection->state = CONNECTION_ESTABLISHED;
        connection->owed = OWED_RESPONSE;
        note_credit(connection, header);
        guest_wake(connection);
        return true;
    }
    if (connection)
        vsock_finish(connection);
    if (opened == HOST_BUSY)
        return false;
    refuse(vsock, header);
    return true;
}

/* False: it is against the rules. */
static bool receive_response(struct connection *connection)
{
    if (connection->state != CONNECTION_REQUESTED || (connection->owed & OWED_REQUEST))
        return false;
    connection->state = CONNECTION_ESTABLISHED;
    if (!host_accepted(connection))
        return false;
    guest_wake(connection);
    return true;
}

/* True also when the connection ended, as the guest wished. */
static bool receive_shutdown(struct connection *connection, uint32_t flags)
{
    if (connection->state == CONNECTION_REQUESTED)
        return false;
    connection->guest_shutdown |= flags & ALL_SHUTDOWN;
    /* The guest is done in both directions: an RST confirms it. */
    if (connection->guest_shutdown == ALL_SHUTDOWN)
        guest_reset(connection);
    else if (connection->state == CONNECTION_ESTABLISHED)
        host_shutdown(connection);
    return true;
}

static bool receive_data(struct connection *connection, const struct virtio_vsock_hdr *header)
{
    struct vsock *vsock = connection->vsock;
    const struct chain *chain = &vsock->chain;
    unsigned count;

    /* What was sent before the guest knew that the host is gone. */
    if (connection->state == CONNECTION_LINGERING)
        return true;
    if (connection->state != CONNECTION_ESTABLISHED || (connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND))
        return false;
    if (header->len > SPILL_SIZE - connection->spill.used)
        return false; /* beyond its credit */
    count = iov_slice(chain->readable, chain->num_readable, HEADER_SIZE, header->len, vsock->payload);
    return host_write(connection, vsock->payload, count, header->len);
}

/* A packet of a connection that exists. False: it is against the rules. */
static bool receive_packet(struct connection *connection, const struct virtio_vsock_hdr *header)
{
    note_credit(connection, header);
    switch (header->op) {
    case VIRTIO_VSOCK_OP_RESPONSE:
        return receive_response(connection);
    case VIRTIO_VSOCK_OP_RST:
        vsock_finish(connection);
        return true;
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        return receive_shutdown(connection, header->flags);
    case VIRTIO_VSOCK_OP_RW:
        return receive_data(connection, header);
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        return true;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        connection->owed |= OWED_CREDIT;
        guest_wake(connection);
        return true;
    default:
        return false;
    }
}

/* Takes the packet in vsock->chain; false when it has to come again later. */
static bool receive(struct vsock *vsock)
{
    const struct chain *chain = &vsock->chain;
    struct virtio_vsock_hdr header;
    struct connection *connection;
    bool valid;

    /* Nobody could be answered. */
    if (iov_read(chain->readable, chain->num_readable, 0, &header, HEADER_SIZE) < HEADER_SIZE || header.src_cid != GUEST_CID) {
        log_debug("the guest sent a packet without a whole header, or as somebody else");
        return true;
    }
    valid = header.dst_cid == VMADDR_CID_HOST && header.type == VIRTIO_VSOCK_TYPE_STREAM &&
            header.len <= chain->readable_bytes - HEADER_SIZE;
    connection = header.dst_cid == VMADDR_CID_HOST ? connection_find(&vsock->table, header.src_port, header.dst_port) : NULL;
    if (connection) {
        if (!valid || !receive_packet(connection, &header))
            guest_reset(connection);
        return true;
    }
    if (valid && header.op == VIRTIO_VSOCK_OP_REQUEST)
        return receive_request(vsock, &header);
    refuse(vsock, &header);
    return true;
}

static bool may_receive(const struct vsock *vsock)
{
    return !vsock->held_up && !vsock->incoming_full;
}

void guest_receive(struct vsock *vsock, struct virtqueue *queue)
{
    unsigned left = RECEIVE_TURN;

    vsock->held_up = vsock->resets.count >= RESETS_HOLD;
    do {
        while (left && may_receive(vsock) && virtqueue_pop(queue, &vsock->chain) == 1) {
            if (!receive(vsock)) {
                virtqueue_unpop(queue, 1);
                break;
            }
            virtqueue_push(queue, vsock->chain.head, 0);
            vsock->held_up = vsock->resets.count >= RESETS_HOLD;
            left--;
        }
    } while (left && may_receive(vsock) && virtqueue_enable_kicks(queue, true));
    virtqueue_notify(queue);
    if (!left)
        guest_receive_again(vsock);
}

/* By kicking ourselves in the driver's stead: the loop comes back to it when others had their turn. */
void guest_receive_again(struct vsock *vsock)
{
    const struct virtqueue *queue = vhost_user_queue(vsock->vu, QUEUE_TX);
    const uint64_t one = 1;

    if (queue && write(queue->kick_fd, &one, sizeof(one)) < 0)
        log_error("cannot go on with the guest's packets");
}
