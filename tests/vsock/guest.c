/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#include "util/cleanup.h"
#include "vsock/vsock.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum {
    QUEUE_SIZE = 64,
    RX_BUFFER_SIZE = 3776, /* what Linux gives: a page less what it needs itself */
    HEADER_SIZE = sizeof(struct virtio_vsock_hdr),
    MEMORY_SIZE = 16 << 20,
};

static void make_listener(struct guest *guest)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    guest->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* An address that the kernel picks (unix(7), autobind). */
    assert_int_equal(bind(guest->listener, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
    guest->address_size = sizeof(guest->address);
    assert_int_equal(getsockname(guest->listener, (struct sockaddr *)&guest->address, &guest->address_size), 0);
    assert_int_equal(listen(guest->listener, 100), 0);
}

static void start_process(struct guest *guest)
{
    const unsigned char log_level = MSB_LOG_ERROR;
    struct device_start start = {
        .executable = getenv("MSB_VSOCK"),
        .setup = &log_level,
        .setup_size = 1,
        .num_fds = 2,
        .user = SPAWN_NOBODY,
    };
    msb_error *error = NULL;
    int pair[2];

    assert_non_null(start.executable);
    make_listener(guest);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    start.fds = (const int[]){ pair[1], guest->listener };
    if (device_process_start(&guest->process, &start, &error) < 0)
        fail_msg("%s", msb_error_message(error));
    close(pair[1]);
    guest->monitor = pair[0];
}

void guest_start(struct guest *guest, bool with_rx_buffers)
{
    const uint64_t features = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << VIRTIO_RING_F_INDIRECT_DESC;
    msb_error *error = NULL;

    *guest = (struct guest){ 0 };
    start_process(guest);
    guest->driver = driver_new(steal_fd(&guest->process.socket), MEMORY_SIZE, &error);
    if (!guest->driver)
        fail_msg("%s", msb_error_message(error));
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        guest->rx_buffers[i] = driver_alloc(guest->driver, RX_BUFFER_SIZE, 64);
        guest->tx_buffers[i] = driver_alloc(guest->driver, HEADER_SIZE + PACKET_DATA_MAX, 64);
    }
    assert_int_equal(driver_accept(guest->driver, features, NULL), 0);
    guest->rx = driver_queue_start(guest->driver, 0, QUEUE_SIZE, NULL);
    guest->tx = driver_queue_start(guest->driver, 1, QUEUE_SIZE, NULL);
    assert_non_null(guest->rx);
    assert_non_null(guest->tx);
    if (with_rx_buffers)
        guest_fill_rx(guest);
}

void guest_stop(struct guest *guest)
{
    driver_free(guest->driver);
    assert_int_equal(device_process_wait(&guest->process, TIMEOUT_MS), 0);
    close(guest->monitor);
    close(guest->listener);
}

/* A buffer belongs to the chain with its number: chains of one descriptor are taken from the free ones in a known order. */
static bool add_rx(struct guest *guest)
{
    struct driver_buffer buffer = { .length = RX_BUFFER_SIZE, .writable = true };
    int head = driver_next_head(guest->rx);

    if (head < 0)
        return false;
    buffer.address = guest->rx_buffers[head];
    return driver_add(guest->rx, &buffer, 1) == head;
}

void guest_fill_rx(struct guest *guest)
{
    while (add_rx(guest))
        continue;
    driver_kick(guest->rx);
}

bool guest_send(struct guest *guest, const struct virtio_vsock_hdr *header, const void *data, int timeout_ms)
{
    struct driver_buffer buffers[] = {
        { .length = HEADER_SIZE },
        { .length = header->len },
    };
    struct driver_used used;
    int head = driver_next_head(guest->tx);
    uint8_t *bytes;

    buffers[0].address = guest->tx_buffers[head];
    buffers[1].address.value = buffers[0].address.value + HEADER_SIZE;
    bytes = driver_at(guest->driver, buffers[0].address);
    memcpy(bytes, header, HEADER_SIZE);
    if (header->len)
        memcpy(bytes + HEADER_SIZE, data, header->len);
    assert_int_equal(driver_add(guest->tx, buffers, header->len ? 2 : 1), head);
    driver_kick(guest->tx);
    return driver_wait(guest->tx, &used, timeout_ms) == 1;
}

bool guest_receive(struct guest *guest, struct packet *packet, int timeout_ms)
{
    struct driver_used used;
    const uint8_t *bytes;

    if (driver_wait(guest->rx, &used, timeout_ms) != 1)
        return false;
    assert_in_range(used.length, HEADER_SIZE, RX_BUFFER_SIZE);
    bytes = driver_at(guest->driver, guest->rx_buffers[used.head]);
    memcpy(packet, bytes, used.length);
    assert_int_equal(packet->header.len, used.length - HEADER_SIZE);
    guest_fill_rx(guest);
    return true;
}

struct virtio_vsock_hdr guest_header(enum virtio_vsock_op op, uint32_t guest_port, uint32_t host_port)
{
    return (struct virtio_vsock_hdr){
        .src_cid = GUEST_CID,
        .dst_cid = VMADDR_CID_HOST,
        .src_port = guest_port,
        .dst_port = host_port,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
        .buf_alloc = GUEST_BUF_ALLOC,
    };
}

void guest_send_op(struct guest *guest, enum virtio_vsock_op op, uint32_t guest_port, uint32_t host_port, uint32_t flags)
{
    struct virtio_vsock_hdr header = guest_header(op, guest_port, host_port);

    header.flags = flags;
    assert_true(guest_send(guest, &header, NULL, TIMEOUT_MS));
}

struct packet guest_expect(struct guest *guest, enum virtio_vsock_op op, uint32_t guest_port, uint32_t host_port)
{
    struct packet packet = { 0 };

    if (!guest_receive(guest, &packet, TIMEOUT_MS))
        fail_msg("no packet came, instead of %d", op);
    assert_int_equal(packet.header.op, op);
    assert_int_equal(packet.header.src_cid, VMADDR_CID_HOST);
    assert_int_equal(packet.header.dst_cid, GUEST_CID);
    assert_int_equal(packet.header.src_port, host_port);
    assert_int_equal(packet.header.dst_port, guest_port);
    assert_int_equal(packet.header.type, VIRTIO_VSOCK_TYPE_STREAM);
    return packet;
}

void guest_expect_nothing(struct guest *guest)
{
    struct packet packet;

    if (guest_receive(guest, &packet, 50))
        fail_msg("packet %d came", packet.header.op);
}

int guest_accept_on_host(struct guest *guest, uint32_t *port)
{
    struct pollfd poll_monitor = { .fd = guest->monitor, .events = POLLIN };
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control;
    struct iovec iov = { port, sizeof(*port) };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    int fd;

    if (poll(&poll_monitor, 1, TIMEOUT_MS) != 1)
        return -1;
    assert_int_equal(recvmsg(guest->monitor, &message, MSG_CMSG_CLOEXEC), sizeof(*port));
    assert_true(message.msg_controllen > 0);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
    return fd;
}

int guest_connect(struct guest *guest, uint32_t guest_port, uint32_t host_port)
{
    uint32_t port = 0;
    int fd;

    guest_send_op(guest, VIRTIO_VSOCK_OP_REQUEST, guest_port, host_port, 0);
    fd = guest_accept_on_host(guest, &port);
    assert_true(fd >= 0);
    assert_int_equal(port, host_port);
    guest_expect(guest, VIRTIO_VSOCK_OP_RESPONSE, guest_port, host_port);
    return fd;
}

int host_connect(const struct guest *guest)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)&guest->address, guest->address_size), 0);
    return fd;
}
