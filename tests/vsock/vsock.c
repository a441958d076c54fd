/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device as its guest, the monitor and host programs see it. The device is the real process in its real cell.
 */
#include "guest.h"
#include "util/cleanup.h"
#include "vsock/connection.h"
#include "vsock/spill.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { GUEST_PORT = 4000, HOST_PORT = 7, FIRST_HOST_PORT = 1 << 30 };

static int set_up(void **state)
{
    struct guest *guest = malloc(sizeof(*guest));

    guest_start(guest, true);
    *state = guest;
    return 0;
}

static int tear_down(void **state)
{
    guest_stop(*state);
    free(*state);
    return 0;
}

static void send_data(struct guest *guest, const void *data, uint32_t size)
{
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT);

    header.len = size;
    assert_true(guest_send(guest, &header, data, TIMEOUT_MS));
}

/* Reads exactly these bytes from a socket. */
static void expect_bytes(int fd, const char *bytes)
{
    char buffer[256];
    size_t size = strlen(bytes);

    assert_int_equal(recv(fd, buffer, size, MSG_WAITALL), size);
    assert_memory_equal(buffer, bytes, size);
}

static void expect_end(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    char byte;

    assert_int_equal(poll(&poll_fd, 1, TIMEOUT_MS), 1);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
}

static void expect_open(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

    assert_int_equal(poll(&poll_fd, 1, 50), 0);
}

/* ---- Connections and their ends ------------------------------------------------------------------------------------------------ */

static void guest_connects(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);
    struct packet packet;

    send_data(guest, "from the guest", 14);
    expect_bytes(fd, "from the guest");
    assert_int_equal(send(fd, "from the host", 13, 0), 13);
    packet = guest_expect(guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT);
    assert_int_equal(packet.header.len, 13);
    assert_memory_equal(packet.data, "from the host", 13);
    assert_int_equal(packet.header.buf_alloc, SPILL_SIZE);
    assert_int_equal(packet.header.fwd_cnt, 14);
    /* Both directions at once. */
    guest_send_op(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT, 3);
    guest_expect(guest, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT);
    expect_end(fd);
    close(fd);
}

static void guest_ends_its_half(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);

    send_data(guest, "last words", 10);
    guest_send_op(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_SEND);
    expect_bytes(fd, "last words");
    expect_end(fd);
    /* The other direction goes on. */
    assert_int_equal(send(fd, "still here", 10, 0), 10);
    assert_memory_equal(guest_expect(guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT).data, "still here", 10);
    close(fd);
    assert_int_equal(guest_expect(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT).header.flags & 2, 2);
}

static void host_ends_its_half(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);

    assert_int_equal(send(fd, "last words", 10, 0), 10);
    shutdown(fd, SHUT_WR);
    guest_expect(guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT);
    assert_int_equal(guest_expect(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT).header.flags,
                     VIRTIO_VSOCK_SHUTDOWN_SEND);
    send_data(guest, "still here", 10);
    expect_bytes(fd, "still here");
    guest_send_op(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_SEND);
    expect_end(fd);
    /* Both halves are ended now. */
    assert_int_equal(guest_expect(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT).header.flags, 3);
    guest_send_op(guest, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT, 0);
    close(fd);
}

/* What the host wrote before it closed arrives; the guest's answer does not matter any more. */
static void host_closes(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);
    struct packet packet;
    unsigned flags = 0;

    assert_int_equal(send(fd, "last words", 10, 0), 10);
    close(fd);
    assert_memory_equal(guest_expect(guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT).data, "last words", 10);
    while (flags != 3) {
        packet = guest_expect(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT);
        flags |= packet.header.flags;
    }
    send_data(guest, "too late", 8);
    guest_send_op(guest, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT, 0);
    guest_expect_nothing(guest);
    /* The ports are free again. */
    close(guest_connect(guest, GUEST_PORT, HOST_PORT));
}

static void host_stops_reading(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);

    shutdown(fd, SHUT_RD);
    send_data(guest, "in vain", 7);
    assert_int_equal(guest_expect(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT).header.flags,
                     VIRTIO_VSOCK_SHUTDOWN_RCV);
    assert_int_equal(send(fd, "hello", 5, 0), 5);
    assert_memory_equal(guest_expect(guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT).data, "hello", 5);
    close(fd);
}

static void guest_stops_reading(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);

    guest_send_op(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_RCV);
    assert_int_equal(send(fd, "in vain", 7, MSG_NOSIGNAL), -1);
    send_data(guest, "hello", 5);
    expect_bytes(fd, "hello");
    close(fd);
    assert_int_equal(guest_expect(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT).header.flags, 3);
}

static void guest_resets(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);

    guest_send_op(guest, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT, 0);
    expect_end(fd);
    guest_expect_nothing(guest);
    close(fd);
}

/* The guest is told that it is connected, or at once that it is not; either way it ends. */
static void monitor_refuses(void **state)
{
    struct guest *guest = *state;
    struct packet packet;
    uint32_t port;

    guest_send_op(guest, VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, HOST_PORT, 0);
    close(guest_accept_on_host(guest, &port));
    do
        assert_true(guest_receive(guest, &packet, TIMEOUT_MS));
    while (packet.header.op == VIRTIO_VSOCK_OP_RESPONSE);
    assert_true(packet.header.op == VIRTIO_VSOCK_OP_SHUTDOWN || packet.header.op == VIRTIO_VSOCK_OP_RST);
}

static void monitor_does_not_take_connections(void **state)
{
    struct guest *guest = *state;

    close(guest->monitor);
    guest_send_op(guest, VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, HOST_PORT, 0);
    guest_expect(guest, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT);
    guest->monitor = -1;
}

/* ---- Connections that the host makes --------------------------------------------------------------------------------------------- */

static void host_connects(void **state)
{
    struct guest *guest = *state;
    int fd = host_connect(guest);
    struct packet packet;

    /* In two pieces, and what follows the line is not lost. */
    assert_int_equal(send(fd, "CONNE", 5, 0), 5);
    guest_expect_nothing(guest);
    assert_int_equal(send(fd, "CT 4000\nearly", 13, 0), 13);
    guest_expect(guest, VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, FIRST_HOST_PORT);
    expect_open(fd);
    guest_send_op(guest, VIRTIO_VSOCK_OP_RESPONSE, GUEST_PORT, FIRST_HOST_PORT, 0);
    expect_bytes(fd, "OK 1073741824\n");
    packet = guest_expect(guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT, FIRST_HOST_PORT);
    assert_int_equal(packet.header.len, 5);
    assert_memory_equal(packet.data, "early", 5);
    close(fd);
}

static void host_is_refused(void **state)
{
    struct guest *guest = *state;
    int fd = host_connect(guest);

    assert_int_equal(send(fd, "CONNECT 4000\n", 13, 0), 13);
    guest_expect(guest, VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, FIRST_HOST_PORT);
    guest_send_op(guest, VIRTIO_VSOCK_OP_RST, GUEST_PORT, FIRST_HOST_PORT, 0);
    expect_end(fd);
    close(fd);
}

static void host_gives_up(void **state)
{
    struct guest *guest = *state;
    int fd = host_connect(guest);

    assert_int_equal(send(fd, "CONNECT 4000\n", 13, 0), 13);
    guest_expect(guest, VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, FIRST_HOST_PORT);
    close(fd);
    guest_expect(guest, VIRTIO_VSOCK_OP_RST, GUEST_PORT, FIRST_HOST_PORT);
    guest_send_op(guest, VIRTIO_VSOCK_OP_RESPONSE, GUEST_PORT, FIRST_HOST_PORT, 0);
    guest_expect(guest, VIRTIO_VSOCK_OP_RST, GUEST_PORT, FIRST_HOST_PORT);
}

static void bad_lines(void **state)
{
    static const char *const lines[] = {
        "CONNECT\n",           "CONNECT \n",   "connect 5\n",        "CONNECT 5 \n",
        "CONNECT  5\n",        "CONNECT -5\n", "CONNECT 5\r\n",      "CONNECT 4294967296\n",
        "CONNECT 0x5\n",       "\n",           "GET / HTTP/1.1\r\n", "CONNECT 00000000000000000000000000000000000005\n",
        "CONNECT 99999999999",
    };
    struct guest *guest = *state;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        int fd = host_connect(guest);

        assert_int_equal(send(fd, lines[i], strlen(lines[i]), 0), strlen(lines[i]));
        shutdown(fd, SHUT_WR);
        expect_end(fd);
        close(fd);
    }
    guest_expect_nothing(guest);
}

/* Two at once to the same port have different ports of their own. */
static void host_connects_twice(void **state)
{
    struct guest *guest = *state;
    int fds[2];

    for (uint32_t i = 0; i < 2; i++) {
        fds[i] = host_connect(guest);
        assert_int_equal(send(fds[i], "CONNECT 4000\n", 13, 0), 13);
        guest_expect(guest, VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, FIRST_HOST_PORT + i);
    }
    guest_send_op(guest, VIRTIO_VSOCK_OP_RESPONSE, GUEST_PORT, FIRST_HOST_PORT + 1, 0);
    expect_bytes(fds[1], "OK 1073741825\n");
    expect_open(fds[0]);
    close(fds[0]);
    close(fds[1]);
}

/* ---- Credit -------------------------------------------------------------------------------------------------------------------- */

static uint8_t zeros[PACKET_DATA_MAX];

/* How much the device takes while the host does not read, and that the guest may not go beyond. */
static void guest_exhausts_its_credit(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);
    struct packet packet;
    size_t sent = 0, forwarded = 0, received = 0;
    static uint8_t buffer[1 << 16];
    ssize_t n;

    for (;;) {
        uint32_t credit = SPILL_SIZE - (uint32_t)(sent - forwarded);
        uint32_t size = credit < sizeof(zeros) ? credit : sizeof(zeros);

        while (guest_receive(guest, &packet, 20)) {
            assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
            forwarded = packet.header.fwd_cnt;
            size = 0;
        }
        if (size == 0 && credit == 0 && SPILL_SIZE == sent - forwarded)
            break;
        if (size)
            send_data(guest, zeros, size);
        sent += size;
        assert_true(sent < 4 << 20);
    }
    /* The device holds a socket's buffer, which it does not count, and the credit that it gave. */
    assert_in_range(sent - forwarded, SPILL_SIZE, SPILL_SIZE);
    /* Everything is there when the host reads, and credit comes back. */
    while (received < sent && (n = recv(fd, buffer, sizeof(buffer), 0)) > 0)
        received += (size_t)n;
    assert_int_equal(received, sent);
    packet = guest_expect(guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    while (packet.header.fwd_cnt != sent)
        packet = guest_expect(guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
    close(fd);
}

static void guest_goes_beyond_its_credit(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);
    struct packet packet;

    for (unsigned i = 0; i < 64; i++)
        send_data(guest, zeros, sizeof(zeros));
    do
        assert_true(guest_receive(guest, &packet, TIMEOUT_MS));
    while (packet.header.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RST);
    close(fd);
}

static void guest_asks_for_credit(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);

    send_data(guest, zeros, 1000);
    guest_send_op(guest, VIRTIO_VSOCK_OP_CREDIT_REQUEST, GUEST_PORT, HOST_PORT, 0);
    assert_int_equal(guest_expect(guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT).header.fwd_cnt, 1000);
    close(fd);
}

/* Receives until nothing comes any more. */
static size_t receive_all(struct guest *guest)
{
    struct packet packet;
    size_t bytes = 0;

    while (guest_receive(guest, &packet, 50)) {
        assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RW);
        bytes += packet.header.len;
    }
    return bytes;
}

static void send_credit(struct guest *guest, uint32_t buf_alloc, uint32_t fwd_cnt)
{
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);

    header.buf_alloc = buf_alloc;
    header.fwd_cnt = fwd_cnt;
    assert_true(guest_send(guest, &header, NULL, TIMEOUT_MS));
}

/* The device never sends more than the guest has room for, whatever the guest claims. */
static void host_waits_for_the_guest(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);
    int other = guest_connect(guest, GUEST_PORT + 1, HOST_PORT);

    while (send(fd, zeros, sizeof(zeros), MSG_DONTWAIT) > 0)
        continue;
    assert_int_equal(receive_all(guest), GUEST_BUF_ALLOC);
    send_credit(guest, GUEST_BUF_ALLOC, 10);
    assert_int_equal(receive_all(guest), 10);
    send_credit(guest, GUEST_BUF_ALLOC + 5, 10);
    assert_int_equal(receive_all(guest), 5);
    /* Lies: taken back what it gave; forwarded more than was sent. */
    send_credit(guest, 0, 10);
    send_credit(guest, 100, 10);
    send_credit(guest, 100, 0x80000000);
    send_credit(guest, 100, GUEST_BUF_ALLOC + 16);
    assert_int_equal(receive_all(guest), 0);
    /* Others are served meanwhile. */
    assert_int_equal(send(other, "hello", 5, 0), 5);
    guest_expect(guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT + 1, HOST_PORT);
    send_credit(guest, GUEST_BUF_ALLOC, GUEST_BUF_ALLOC + 15);
    assert_int_equal(receive_all(guest), GUEST_BUF_ALLOC);
    close(fd);
    close(other);
}

/* ---- Much ---------------------------------------------------------------------------------------------------------------------- */

enum { BULK = 100 << 20 };

/* A stream of bytes that any slip shows: each call gives the next ones. */
struct stream {
    uint64_t state;
};

static void stream_next(struct stream *stream, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        stream->state = stream->state * 6364136223846793005U + 1442695040888963407U;
        bytes[i] = (uint8_t)(stream->state >> 56);
    }
}

static void stream_check(struct stream *stream, const uint8_t *bytes, size_t size)
{
    static __thread uint8_t expected[1 << 16];

    while (size) {
        size_t step = size < sizeof(expected) ? size : sizeof(expected);

        stream_next(stream, expected, step);
        assert_memory_equal(bytes, expected, step);
        bytes += step;
        size -= step;
    }
}

struct host_end {
    int fd;
    size_t bytes; /* read or written */
};

static void *host_reads(void *data)
{
    static uint8_t buffer[1 << 16];
    struct host_end *end = data;
    struct stream stream = { 1 };
    ssize_t n;

    while ((n = recv(end->fd, buffer, sizeof(buffer), 0)) > 0) {
        stream_check(&stream, buffer, (size_t)n);
        end->bytes += (size_t)n;
    }
    return NULL;
}

static void bulk_from_the_guest(void **state)
{
    static uint8_t data[PACKET_DATA_MAX];
    struct guest *guest = *state;
    struct host_end end = { guest_connect(guest, GUEST_PORT, HOST_PORT), 0 };
    struct stream stream = { 1 };
    uint32_t forwarded = 0;
    size_t sent = 0;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, host_reads, &end), 0);
    while (sent < BULK) {
        struct packet packet;
        bool wait = SPILL_SIZE - (uint32_t)(sent - forwarded) < sizeof(data);

        if (guest_receive(guest, &packet, wait ? TIMEOUT_MS : 0)) {
            assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
            forwarded = packet.header.fwd_cnt;
            continue;
        }
        assert_false(wait);
        stream_next(&stream, data, sizeof(data));
        send_data(guest, data, sizeof(data));
        sent += sizeof(data);
    }
    guest_send_op(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT, 3);
    pthread_join(thread, NULL);
    assert_int_equal(end.bytes, BULK);
    close(end.fd);
}

static void *host_writes(void *data)
{
    static uint8_t buffer[100000];
    struct host_end *end = data;
    struct stream stream = { 1 };

    while (end->bytes < BULK) {
        size_t size = BULK - end->bytes < sizeof(buffer) ? BULK - end->bytes : sizeof(buffer);

        stream_next(&stream, buffer, size);
        if (send(end->fd, buffer, size, MSG_NOSIGNAL) != (ssize_t)size)
            break;
        end->bytes += size;
    }
    close(end->fd);
    return NULL;
}

static void bulk_to_the_guest(void **state)
{
    struct guest *guest = *state;
    struct host_end end = { guest_connect(guest, GUEST_PORT, HOST_PORT), 0 };
    struct stream stream = { 1 };
    uint32_t received = 0, told = 0;
    struct packet packet;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, host_writes, &end), 0);
    for (;;) {
        assert_true(guest_receive(guest, &packet, TIMEOUT_MS));
        if (packet.header.op == VIRTIO_VSOCK_OP_SHUTDOWN)
            break;
        assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RW);
        stream_check(&stream, packet.data, packet.header.len);
        received += packet.header.len;
        assert_true(received - told <= GUEST_BUF_ALLOC);
        if (received - told > GUEST_BUF_ALLOC / 2) {
            send_credit(guest, GUEST_BUF_ALLOC, received);
            told = received;
        }
    }
    assert_int_equal(received, BULK);
    pthread_join(thread, NULL);
}

static void many_connections(void **state)
{
    struct guest *guest = *state;
    static int fds[MAX_CONNECTIONS];

    for (uint32_t i = 0; i < MAX_CONNECTIONS; i++)
        fds[i] = guest_connect(guest, 10000 + i, HOST_PORT);
    guest_send_op(guest, VIRTIO_VSOCK_OP_REQUEST, 9999, HOST_PORT, 0);
    guest_expect(guest, VIRTIO_VSOCK_OP_RST, 9999, HOST_PORT);
    /* All work. */
    for (uint32_t i = 0; i < MAX_CONNECTIONS; i++) {
        char text[16];

        snprintf(text, sizeof(text), "%u", i);
        assert_int_equal(send(fds[i], text, strlen(text), 0), strlen(text));
        assert_memory_equal(guest_expect(guest, VIRTIO_VSOCK_OP_RW, 10000 + i, HOST_PORT).data, text, strlen(text));
    }
    /* One whose host side is closed makes room, even though the guest has not said that it is done. */
    close(fds[5]);
    assert_int_equal(guest_expect(guest, VIRTIO_VSOCK_OP_SHUTDOWN, 10005, HOST_PORT).header.flags & 2, 2);
    while (guest_receive(guest, &(struct packet){ 0 }, 50))
        continue;
    guest_send_op(guest, VIRTIO_VSOCK_OP_REQUEST, 9999, HOST_PORT, 0);
    guest_expect(guest, VIRTIO_VSOCK_OP_RST, 10005, HOST_PORT);
    guest_expect(guest, VIRTIO_VSOCK_OP_RESPONSE, 9999, HOST_PORT);
    for (uint32_t i = 0; i < MAX_CONNECTIONS; i++) {
        if (i != 5)
            close(fds[i]);
    }
}

/* The monitor is slow: requests wait, and none is lost. */
static void monitor_is_behind(void **state)
{
    enum { COUNT = 400 };
    struct guest *guest = *state;
    struct virtio_vsock_hdr header;
    struct packet packet;
    uint32_t i = 0, port, accepted = 0;
    static int fds[COUNT];

    for (; i < COUNT; i++) {
        header = guest_header(VIRTIO_VSOCK_OP_REQUEST, 10000 + i, i);
        if (!guest_send(guest, &header, NULL, 300))
            break;
        guest_expect(guest, VIRTIO_VSOCK_OP_RESPONSE, 10000 + i, i);
    }
    assert_in_range(i, 10, COUNT - 1);
    /* The one that was held up goes through as soon as there is room. */
    for (; accepted <= i; accepted++) {
        fds[accepted] = guest_accept_on_host(guest, &port);
        assert_true(fds[accepted] >= 0);
        assert_int_equal(port, accepted);
    }
    assert_true(guest_receive(guest, &packet, TIMEOUT_MS));
    assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(packet.header.dst_port, 10000 + i);
    while (accepted)
        close(fds[--accepted]);
}

/* ---- A hostile guest ----------------------------------------------------------------------------------------------------------- */

enum answer { IGNORED, RESET, NOTHING_WRONG };

struct hostile {
    const char *what;
    enum answer answer;
    uint64_t src_cid, dst_cid;
    uint16_t type, op;
    uint32_t len, flags; /* the length is claimed, not sent */
};

static struct virtio_vsock_hdr hostile_header(const struct hostile *c)
{
    return (struct virtio_vsock_hdr){
        .src_cid = c->src_cid,
        .dst_cid = c->dst_cid,
        .src_port = GUEST_PORT,
        .dst_port = HOST_PORT,
        .len = c->len,
        .type = c->type,
        .op = c->op,
        .flags = c->flags,
    };
}

/* Each is sent on a connection that exists. */
static const struct hostile on_a_connection[] = {
    { "no operation", RESET, 3, 2, 1, VIRTIO_VSOCK_OP_INVALID, 0, 0 },
    { "unknown operation", RESET, 3, 2, 1, 8, 0, 0 },
    { "largest operation", RESET, 3, 2, 1, 65535, 0, 0 },
    { "a second request", RESET, 3, 2, 1, VIRTIO_VSOCK_OP_REQUEST, 0, 0 },
    { "a response nobody asked for", RESET, 3, 2, 1, VIRTIO_VSOCK_OP_RESPONSE, 0, 0 },
    { "data that is not there", RESET, 3, 2, 1, VIRTIO_VSOCK_OP_RW, 1, 0 },
    { "4 GiB of data that are not there", RESET, 3, 2, 1, VIRTIO_VSOCK_OP_RW, UINT32_MAX, 0 },
    { "a message socket", RESET, 3, 2, VIRTIO_VSOCK_TYPE_SEQPACKET, VIRTIO_VSOCK_OP_RW, 0, 0 },
    { "no data", NOTHING_WRONG, 3, 2, 1, VIRTIO_VSOCK_OP_RW, 0, 0 },
    { "no half is shut down", NOTHING_WRONG, 3, 2, 1, VIRTIO_VSOCK_OP_SHUTDOWN, 0, 0 },
    { "unknown halves", NOTHING_WRONG, 3, 2, 1, VIRTIO_VSOCK_OP_SHUTDOWN, 0, 0xfffffffc },
    { "no credit", NOTHING_WRONG, 3, 2, 1, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0 },
    { "from another guest", NOTHING_WRONG, 4, 2, 1, VIRTIO_VSOCK_OP_RST, 0, 0 },
    { "from the host", NOTHING_WRONG, 2, 2, 1, VIRTIO_VSOCK_OP_RST, 0, 0 },
    { "to another guest", NOTHING_WRONG, 3, 4, 1, VIRTIO_VSOCK_OP_RST, 0, 0 },
};

static void hostile_packets_on_a_connection(void **state)
{
    struct guest *guest = *state;

    for (size_t i = 0; i < sizeof(on_a_connection) / sizeof(on_a_connection[0]); i++) {
        const struct hostile *c = &on_a_connection[i];
        struct virtio_vsock_hdr header = hostile_header(c);
        int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);
        struct packet packet;
        struct driver_buffer buffer = { guest->tx_buffers[driver_next_head(guest->tx)], sizeof(header), false };
        struct driver_used used;

        memcpy(driver_at(guest->driver, buffer.address), &header, sizeof(header));
        driver_add(guest->tx, &buffer, 1);
        driver_kick(guest->tx);
        assert_int_equal(driver_wait(guest->tx, &used, TIMEOUT_MS), 1);
        if (c->answer == RESET) {
            if (!guest_receive(guest, &packet, TIMEOUT_MS) || packet.header.op != VIRTIO_VSOCK_OP_RST)
                fail_msg("not reset: %s", c->what);
            expect_end(fd);
        } else {
            guest_send_op(guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT, 0);
            assert_int_equal(send(fd, "hello", 5, 0), 5);
            if (!guest_receive(guest, &packet, TIMEOUT_MS) || packet.header.op != VIRTIO_VSOCK_OP_RW)
                fail_msg("broken: %s", c->what);
            guest_send_op(guest, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT, 0);
        }
        close(fd);
        guest_expect_nothing(guest);
    }
}

static const struct hostile without_connection[] = {
    { "data", RESET, 3, 2, 1, VIRTIO_VSOCK_OP_RW, 0, 0 },
    { "response", RESET, 3, 2, 1, VIRTIO_VSOCK_OP_RESPONSE, 0, 0 },
    { "shutdown", RESET, 3, 2, 1, VIRTIO_VSOCK_OP_SHUTDOWN, 0, 3 },
    { "credit", RESET, 3, 2, 1, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, 0 },
    { "unknown operation", RESET, 3, 2, 1, 77, 0, 0 },
    { "reset", IGNORED, 3, 2, 1, VIRTIO_VSOCK_OP_RST, 0, 0 },
    { "request to another guest", RESET, 3, 4, 1, VIRTIO_VSOCK_OP_REQUEST, 0, 0 },
    { "request to everybody", RESET, 3, UINT64_MAX, 1, VIRTIO_VSOCK_OP_REQUEST, 0, 0 },
    { "request of a message socket", RESET, 3, 2, 2, VIRTIO_VSOCK_OP_REQUEST, 0, 0 },
    { "request of no type", RESET, 3, 2, 0, VIRTIO_VSOCK_OP_REQUEST, 0, 0 },
    { "request with data that are not there", RESET, 3, 2, 1, VIRTIO_VSOCK_OP_REQUEST, 1, 0 },
    { "request as another guest", IGNORED, 4, 2, 1, VIRTIO_VSOCK_OP_REQUEST, 0, 0 },
    { "request as nobody", IGNORED, 0, 2, 1, VIRTIO_VSOCK_OP_REQUEST, 0, 0 },
};

static void send_chain(struct guest *guest, const struct driver_buffer *buffers, unsigned count)
{
    struct driver_used used;

    driver_add(guest->tx, buffers, count);
    driver_kick(guest->tx);
    assert_int_equal(driver_wait(guest->tx, &used, TIMEOUT_MS), 1);
    assert_int_equal(used.length, 0);
}

static void hostile_packets_without_connection(void **state)
{
    struct guest *guest = *state;

    for (size_t i = 0; i < sizeof(without_connection) / sizeof(without_connection[0]); i++) {
        const struct hostile *c = &without_connection[i];
        struct virtio_vsock_hdr header = hostile_header(c);
        struct driver_buffer buffer = { guest->tx_buffers[0], sizeof(header), false };
        struct packet packet = { 0 };

        memcpy(driver_at(guest->driver, buffer.address), &header, sizeof(header));
        send_chain(guest, &buffer, 1);
        if (c->answer == IGNORED) {
            if (guest_receive(guest, &packet, 50))
                fail_msg("answered: %s", c->what);
            continue;
        }
        if (!guest_receive(guest, &packet, TIMEOUT_MS) || packet.header.op != VIRTIO_VSOCK_OP_RST)
            fail_msg("not reset: %s", c->what);
        assert_int_equal(packet.header.src_cid, c->dst_cid);
        assert_int_equal(packet.header.dst_cid, 3);
        assert_int_equal(packet.header.src_port, HOST_PORT);
        assert_int_equal(packet.header.dst_port, GUEST_PORT);
        assert_int_equal(packet.header.type, c->type);
    }
}

/* A packet may be cut into any buffers. */
static void headers_in_pieces(void **state)
{
    struct guest *guest = *state;
    struct virtio_vsock_hdr header = guest_header(VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, HOST_PORT);
    struct driver_buffer pieces[sizeof(header)];
    uint8_t *bytes = driver_at(guest->driver, guest->tx_buffers[0]);
    uint32_t port;
    int fd;

    for (unsigned i = 0; i < sizeof(header); i++) {
        pieces[i] = (struct driver_buffer){ { guest->tx_buffers[0].value + i }, 1, false };
        bytes[i] = ((uint8_t *)&header)[i];
    }
    /* One byte less is no packet. */
    send_chain(guest, pieces, sizeof(header) - 1);
    guest_expect_nothing(guest);
    send_chain(guest, pieces, sizeof(header));
    fd = guest_accept_on_host(guest, &port);
    assert_int_equal(port, HOST_PORT);
    guest_expect(guest, VIRTIO_VSOCK_OP_RESPONSE, GUEST_PORT, HOST_PORT);
    /* Only what the host may write. */
    pieces[0] = (struct driver_buffer){ guest->tx_buffers[0], sizeof(header), true };
    send_chain(guest, pieces, 1);
    guest_expect_nothing(guest);
    close(fd);
}

static void data_after_the_end(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);

    guest_send_op(guest, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_SEND);
    send_data(guest, "x", 1);
    guest_expect(guest, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT);
    expect_end(fd);
    close(fd);
}

/* Without receive buffers resets pile up, and at some point the guest is not listened to; it loses none of them. */
static void resets_pile_up(void **state)
{
    enum { COUNT = 700 };
    struct guest guest;
    struct virtio_vsock_hdr header;
    uint32_t sent = 0;

    (void)state;
    guest_start(&guest, false);
    for (; sent < COUNT; sent++) {
        header = guest_header(VIRTIO_VSOCK_OP_RW, sent, HOST_PORT);
        if (!guest_send(&guest, &header, NULL, 200))
            break;
    }
    assert_int_equal(sent, 512);
    guest_fill_rx(&guest);
    for (uint32_t i = 0; i <= sent; i++)
        guest_expect(&guest, VIRTIO_VSOCK_OP_RST, i, HOST_PORT);
    guest_stop(&guest);
}

/* Buffers too small for a packet break the queue; the device lives, and ends in order. */
static void receive_buffers_too_small(void **state)
{
    struct guest guest;
    struct driver_buffer buffer = { .length = sizeof(struct virtio_vsock_hdr), .writable = true };

    (void)state;
    guest_start(&guest, false);
    buffer.address = guest.rx_buffers[0];
    driver_add(guest.rx, &buffer, 1);
    driver_kick(guest.rx);
    guest_send_op(&guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT, 0);
    assert_true(driver_is_ignored(guest.rx, 50));
    guest_send_op(&guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT, 0);
    guest_stop(&guest);
}

/* ---- Beginnings and ends ---------------------------------------------------------------------------------------------------------- */

static void driver_begins_anew(void **state)
{
    struct guest *guest = *state;
    int fd = guest_connect(guest, GUEST_PORT, HOST_PORT);

    assert_int_equal(driver_queue_stop(guest->rx, NULL), 0);
    assert_int_equal(driver_queue_stop(guest->tx, NULL), 0);
    assert_int_equal(driver_accept(guest->driver, 1ULL << 32, NULL), 0);
    expect_end(fd);
    close(fd);
    guest->rx = driver_queue_start(guest->driver, 0, 64, NULL);
    guest->tx = driver_queue_start(guest->driver, 1, 64, NULL);
    guest_fill_rx(guest);
    close(guest_connect(guest, GUEST_PORT, HOST_PORT));
}

static void tells_the_guest_its_cid(void **state)
{
    struct guest *guest = *state;
    uint64_t cid;

    assert_int_equal(frontend_get_config(driver_frontend(guest->driver), 0, &cid, sizeof(cid), NULL), 0);
    assert_int_equal(cid, 3);
}

/* A call descriptor that is a pipe without a reader. */
static void nobody_hears_calls(void **state)
{
    struct guest *guest = *state;
    int pipes[2];

    assert_int_equal(pipe(pipes), 0);
    driver_set_call(guest->rx, pipes[1]);
    close(pipes[1]);
    close(pipes[0]);
    guest_send_op(guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT, 0);
    guest_send_op(guest, VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT, 0);
}

/* A front-end that cuts guest memory off ends its own device, and the device does not hang. */
static void memory_is_cut_off(void **state)
{
    struct guest guest;
    int status;

    (void)state;
    guest_start(&guest, true);
    driver_truncate_memory(guest.driver);
    status = device_process_wait(&guest.process, TIMEOUT_MS);
    assert_true(status > 0); /* SIGBUS, or what the address sanitizer makes of it */
    driver_free(guest.driver);
    close(guest.monitor);
    close(guest.listener);
}

static void ends_with_its_monitor(void **state)
{
    struct guest guest;

    (void)state;
    guest_start(&guest, true);
    assert_int_equal(device_process_stop(&guest.process), 0);
    driver_free(guest.driver);
    close(guest.monitor);
    close(guest.listener);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(guest_connects),
        TEST(guest_ends_its_half),
        TEST(host_ends_its_half),
        TEST(host_closes),
        TEST(host_stops_reading),
        TEST(guest_stops_reading),
        TEST(guest_resets),
        TEST(monitor_refuses),
        TEST(monitor_does_not_take_connections),
        TEST(host_connects),
        TEST(host_is_refused),
        TEST(host_gives_up),
        TEST(bad_lines),
        TEST(host_connects_twice),
        TEST(guest_exhausts_its_credit),
        TEST(guest_goes_beyond_its_credit),
        TEST(guest_asks_for_credit),
        TEST(host_waits_for_the_guest),
        TEST(bulk_from_the_guest),
        TEST(bulk_to_the_guest),
        TEST(many_connections),
        TEST(monitor_is_behind),
        TEST(hostile_packets_on_a_connection),
        TEST(hostile_packets_without_connection),
        TEST(headers_in_pieces),
        TEST(data_after_the_end),
        cmocka_unit_test(resets_pile_up),
        cmocka_unit_test(receive_buffers_too_small),
        TEST(driver_begins_anew),
        TEST(tells_the_guest_its_cid),
        TEST(nobody_hears_calls),
        cmocka_unit_test(memory_is_cut_off),
        cmocka_unit_test(ends_with_its_monitor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
