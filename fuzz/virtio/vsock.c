/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer over what a guest sends to the vsock device, mixed with what programs on the host do with their sockets. The device's
 * queues are real and kept in order here, so that the input is about packets; vhost-user is left out, and this file stands in for
 * it.
 */
#include "vsock/vsock.h"
#include "input.h"
#include "util/cleanup.h"
#include "vsock/device.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
    QUEUE_SIZE = 16,
    MEMORY_SIZE = 1 << 19,
    RX_BUFFER_SIZE = 4096,
    TX_BUFFER_SIZE = 1 << 14,
    HOST_SOCKETS = 8,
    STEPS_MAX = 200,
};

#define BASE 0x10000ULL

/* One queue of the guest's, and the device's view of it. */
struct fuzz_queue {
    struct virtqueue queue;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint64_t buffers; /* guest address of QUEUE_SIZE buffers */
    uint16_t taken;
};

struct vhost_user {
    struct vhost_user_device device;
    void *data;
    int socket;
    struct fuzz_queue queues[2];
};

static struct memory memory;
static struct vhost_user stand_in;

struct vhost_user *vhost_user_new(struct loop *loop, int fd, const struct vhost_user_device *device, void *data, msb_error **err)
{
    (void)loop, (void)err;
    stand_in.device = *device;
    stand_in.data = data;
    stand_in.socket = fd;
    return &stand_in;
}

void vhost_user_free(struct vhost_user *vu)
{
    close(vu->socket);
}

struct virtqueue *vhost_user_queue(struct vhost_user *vu, unsigned index)
{
    return &vu->queues[index].queue;
}

/* ---- The guest --------------------------------------------------------------------------------------------------------------- */

static void make_memory(void)
{
    _cleanup_fd_ int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (ftruncate(fd, MEMORY_SIZE) < 0 || memory_add(&memory, fd, 0, BASE, MEMORY_SIZE, BASE, NULL) < 0)
        abort();
}

static void *at(uint64_t address)
{
    return memory_at(&memory, (gpa_t){ address }, 1);
}

static void start_queue(struct fuzz_queue *q, unsigned index, size_t buffer_size)
{
    struct virtqueue_layout layout = { QUEUE_SIZE, BASE + index * 4096U, BASE + index * 4096U + 1024,
                                       BASE + index * 4096U + 2048 };

    memset(at(layout.desc), 0, 4096);
    *q = (struct fuzz_queue){ .desc = at(layout.desc), .avail = at(layout.avail), .used = at(layout.used) };
    q->queue = (struct virtqueue){ .memory = &memory, .features = 1ULL << VIRTIO_F_VERSION_1, .call_fd = -1 };
    q->queue.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    q->buffers = BASE + 8192 + index * (QUEUE_SIZE * (uint64_t)RX_BUFFER_SIZE);
    for (uint16_t i = 0; i < QUEUE_SIZE; i++)
        q->desc[i] = (struct vring_desc){ q->buffers + i * buffer_size, (uint32_t)buffer_size, 0, 0 };
    if (virtqueue_start(&q->queue, &layout, 0, NULL) < 0)
        abort();
}

/* Takes what the device gave back, and gives it buffers to receive into. */
static void refill(struct fuzz_queue *rx, unsigned count)
{
    rx->taken = rx->used->idx;
    while (count-- && (uint16_t)(rx->avail->idx - rx->taken) < QUEUE_SIZE) {
        rx->desc[rx->avail->idx % QUEUE_SIZE].flags = VRING_DESC_F_WRITE;
        rx->avail->ring[rx->avail->idx % QUEUE_SIZE] = rx->avail->idx % QUEUE_SIZE;
        rx->avail->idx++;
    }
}

static void send_packet(struct fuzz_queue *tx, struct input *input)
{
    static const uint32_t ports[] = { 1, 2, 3, 1U << 30, (1U << 30) + 1, UINT32_MAX };
    uint16_t slot = tx->avail->idx % QUEUE_SIZE;
    struct vring_desc *desc = &tx->desc[slot];
    struct virtio_vsock_hdr header = { .src_cid = GUEST_CID, .dst_cid = 2, .type = 1 };
    uint8_t shape = take_byte(input), ports_byte = take_byte(input);

    if ((uint16_t)(tx->avail->idx - tx->used->idx) == QUEUE_SIZE)
        return; /* the device does not listen now */
    header.op = shape % 10;
    header.src_port = ports[ports_byte % 6];
    header.dst_port = ports[ports_byte / 6 % 6];
    header.flags = take_byte(input);
    header.len = shape & 0x80 ? take_u16(input) : 0;
    header.buf_alloc = (uint32_t)take_u16(input) << (take_byte(input) & 16);
    header.fwd_cnt = take_u16(input);
    desc->len = (uint32_t)sizeof(header) + header.len % (TX_BUFFER_SIZE - sizeof(header));
    if (shape & 0x40)
        take(input, &header, take_byte(input) % sizeof(header));
    memcpy(at(desc->addr), &header, sizeof(header));
    tx->avail->ring[slot] = slot;
    tx->avail->idx++;
}

/* ---- The host ---------------------------------------------------------------------------------------------------------------- */

struct host {
    int monitor, listener;
    struct sockaddr_un address;
    socklen_t address_size;
    int sockets[HOST_SOCKETS];
};

static void keep(struct host *host, unsigned place, int fd)
{
    cleanup_fd(&host->sockets[place % HOST_SOCKETS]);
    host->sockets[place % HOST_SOCKETS] = fd;
}

static void accept_one(struct host *host, unsigned place)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control;
    uint32_t port;
    struct iovec iov = { &port, sizeof(port) };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    int fd;

    if (recvmsg(host->monitor, &message, MSG_DONTWAIT) <= 0)
        return;
    memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
    keep(host, place, fd);
}

static void connect_one(struct host *host, unsigned place, struct input *input)
{
    static const char *const lines[] = { "CONNECT 1\n", "CONNECT 2\nmore", "CONN", "CONNECT x\n" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const char *line = lines[take_byte(input) % 4];

    if (connect(fd, (const struct sockaddr *)&host->address, host->address_size) == 0)
        send(fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
    keep(host, place, fd);
}

static void act(struct host *host, struct input *input)
{
    static uint8_t buffer[1 << 16];
    uint8_t action = take_byte(input);
    unsigned place = action >> 4;
    int fd = host->sockets[place % HOST_SOCKETS];

    switch (action % 8) {
    case 0:
        accept_one(host, place);
        break;
    case 1:
        connect_one(host, place, input);
        break;
    case 2:
        send(fd, buffer, take_u16(input), MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case 3:
        recv(fd, buffer, take_u16(input), MSG_DONTWAIT);
        break;
    case 4:
        shutdown(fd, SHUT_WR);
        break;
    case 5:
        shutdown(fd, SHUT_RD);
        break;
    default:
        keep(host, place, -1);
        break;
    }
}

static void make_host(struct host *host, int *incoming)
{
    int pair[2];

    *host = (struct host){ .address = { .sun_family = AF_UNIX }, .address_size = sizeof(host->address) };
    memset(host->sockets, -1, sizeof(host->sockets));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    host->monitor = pair[0];
    *incoming = pair[1];
    host->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(host->listener, (struct sockaddr *)&host->address, sizeof(sa_family_t)) < 0 || listen(host->listener, 8) < 0 ||
        getsockname(host->listener, (struct sockaddr *)&host->address, &host->address_size) < 0)
        abort();
}

static void drop_host(struct host *host, int incoming)
{
    for (unsigned i = 0; i < HOST_SOCKETS; i++)
        cleanup_fd(&host->sockets[i]);
    close(host->listener);
    close(host->monitor);
    close(incoming);
}

/* ---- Both -------------------------------------------------------------------------------------------------------------------- */

static void idle(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)fd, (void)events;
    loop_remove(source);
    loop_quit(data);
}

/* Makes the sockets towards the host small, so that they are full at times. */
static void make_small(const struct vsock *vsock)
{
    const int size = 0; /* the kernel takes its least */

    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        const struct connection *connection = vsock->table.slots[i];

        if (connection && connection->fd >= 0)
            setsockopt(connection->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
}

/* One round of the loop: what is ready now. */
static void run(struct loop *loop)
{
    if (!loop_timer(loop, 1, idle, loop, NULL) || loop_run(loop, NULL) < 0)
        abort();
}

static void kick(unsigned index)
{
    uint64_t again;

    do
        stand_in.device.queue_ready(stand_in.data, index, &stand_in.queues[index].queue);
    while (read(stand_in.queues[QUEUE_TX].queue.kick_fd, &again, sizeof(again)) > 0 && index == QUEUE_TX);
}

static void step(struct host *host, struct input *input)
{
    uint8_t what = take_byte(input);

    if (what % 8 < 4) {
        send_packet(&stand_in.queues[QUEUE_TX], input);
        kick(QUEUE_TX);
    } else if (what % 8 < 6) {
        act(host, input);
    } else if (what % 8 == 6) {
        refill(&stand_in.queues[QUEUE_RX], what >> 3);
        kick(QUEUE_RX);
    } else if (what == 0xff) {
        stand_in.device.features_set(stand_in.data, 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    struct loop *loop = loop_new(NULL);
    struct vsock *vsock;
    struct host host;
    int incoming;

    if (!memory.num_regions)
        make_memory();
    start_queue(&stand_in.queues[QUEUE_RX], QUEUE_RX, RX_BUFFER_SIZE);
    start_queue(&stand_in.queues[QUEUE_TX], QUEUE_TX, TX_BUFFER_SIZE);
    make_host(&host, &incoming);
    vsock = vsock_new(loop, dup(incoming), incoming, host.listener, NULL);
    if (!vsock)
        abort();
    for (unsigned i = 0; input.left && i < STEPS_MAX; i++) {
        step(&host, &input);
        run(loop);
        make_small(vsock);
    }
    vsock_free(vsock);
    loop_free(loop);
    drop_host(&host, incoming);
    for (unsigned i = 0; i < 2; i++)
        close(stand_in.queues[i].queue.kick_fd);
    return 0;
}
