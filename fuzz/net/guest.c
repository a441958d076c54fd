/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer over everything that a guest can do to its network card: frames, chains of descriptors, the driver's resets; mixed with what
 * members of the group, clients of published ports and servers outside do. The input is a list of steps. All parts of msb-net are
 * real, libslirp too; vhost-user is left out, and this file stands in for it.
 *
 * It begins by starting itself again in namespaces of its own (unshare(1), as root or with unprivileged user namespaces), where every
 * address is this machine's and nothing is beyond. There it looks at what leaves: no address that the scope forbids may be connected
 * or sent to, no member may get a frame that is not the guest's, and what the guest gets must be packets. Paths of artifacts must be
 * absolute (-artifact_prefix=).
 */
#include "filter_oracle.h"
#include "frame.h"
#include "input.h"
#include "net/bridge.h"
#include "net/filter.h"
#include "util/cleanup.h"
#include "virtio/vhost_user.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <netinet/icmp6.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

enum {
    RX = 0,
    TX = 1,
    SLOTS = 16,
    DESCRIPTORS = 4, /* of a slot */
    QUEUE_SIZE = SLOTS * DESCRIPTORS,
    SLOT_SIZE = 0x12000, /* a frame and its header */
    MEMORY_SIZE = 0x4000 + 2 * SLOTS * SLOT_SIZE,
    HEADER_SIZE = 12,
    STEPS_MAX = 100,
    PORT = 7777, /* of servers everywhere, and published */
    CLIENTS = 4,
    CONVERSATIONS = 4,
};

#define BASE 0x10000ULL

/* One queue of the guest's, and the device's view of it. Slot i has the descriptors from i * DESCRIPTORS on. */
struct fuzz_queue {
    struct virtqueue queue;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint64_t buffers;
    uint16_t taken;
    bool busy[SLOTS];
};

struct vhost_user {
    struct vhost_user_device device;
    void *data;
    int socket;
    struct fuzz_queue queues[2];
    uint64_t features;
};

/* What a TCP connection of the guest's is at. */
struct conversation {
    uint32_t next, expected;
};

struct world {
    int home; /* working directory */
    int server, server_udp, member;
    int clients[CLIENTS];
};

static struct memory memory;
static struct vhost_user stand_in;
static struct world world = { .clients = { -1, -1, -1, -1 } };
static struct filter filter; /* as the bridge's: who the guest is */
static struct conversation conversations[CONVERSATIONS];
static struct frame frame;

/* ---- What leaves --------------------------------------------------------------------------------------------------------- */

static void check_destination(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET || address->sa_family == AF_INET6)
        if (!oracle_allows(filter.scope, address))
            abort();
}

/* In libslirp's place of the C library's. */
__attribute__((visibility("default"))) int connect(int fd, const struct sockaddr *address, socklen_t size)
{
    check_destination(address);
    return (int)syscall(SYS_connect, fd, address, size);
}

__attribute__((visibility("default"))) ssize_t sendto(int fd, const void *bytes, size_t size, int flags,
                                                      const struct sockaddr *address, socklen_t address_size)
{
    if (address)
        check_destination(address);
    return syscall(SYS_sendto, fd, bytes, size, flags, address, address_size);
}

/* The namespace is empty already. */
__attribute__((visibility("default"))) int unshare(int flags)
{
    (void)flags;
    return 0;
}

/* ---- The device ---------------------------------------------------------------------------------------------------------- */

struct vhost_user *vhost_user_new(struct loop *loop, int fd, const struct vhost_user_device *device, void *data, msb_error **err)
{
    (void)loop, (void)err;
    stand_in.device = *device;
    stand_in.data = data;
    stand_in.socket = fd;
    stand_in.device.features_set(data, stand_in.features & (device->features | 1ULL << VIRTIO_F_VERSION_1));
    return &stand_in;
}

void vhost_user_free(struct vhost_user *vu)
{
    for (unsigned i = 0; i < 2; i++)
        vu->device.queue_stopped(vu->data, i, &vu->queues[i].queue);
    close(vu->socket);
}

struct virtqueue *vhost_user_queue(struct vhost_user *vu, unsigned index)
{
    return &vu->queues[index].queue;
}

static void *at(uint64_t address)
{
    return memory_at(&memory, (gpa_t){ address }, 1);
}

static void make_memory(void)
{
    _cleanup_fd_ int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (ftruncate(fd, MEMORY_SIZE) < 0 || memory_add(&memory, fd, 0, BASE, MEMORY_SIZE, BASE, NULL) < 0)
        abort();
}

static void start_queue(unsigned index, uint64_t features)
{
    struct virtqueue_layout layout = { QUEUE_SIZE, BASE + index * 8192U, BASE + index * 8192U + 2048,
                                       BASE + index * 8192U + 4096 };
    struct fuzz_queue *q = &stand_in.queues[index];

    memset(at(layout.desc), 0, 8192);
    *q = (struct fuzz_queue){ .desc = at(layout.desc), .avail = at(layout.avail), .used = at(layout.used) };
    q->queue = (struct virtqueue){ .memory = &memory, .features = features | 1ULL << VIRTIO_F_VERSION_1, .call_fd = -1 };
    q->queue.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    q->buffers = BASE + 0x4000 + index * (uint64_t)SLOTS * SLOT_SIZE;
    if (virtqueue_start(&q->queue, &layout, 0, NULL) < 0)
        abort();
}

static void kick(unsigned index)
{
    struct fuzz_queue *q = &stand_in.queues[index];
    uint64_t again;

    do
        stand_in.device.queue_ready(stand_in.data, index, &q->queue);
    while (read(q->queue.kick_fd, &again, sizeof(again)) > 0);
}

/* ---- The guest's driver -------------------------------------------------------------------------------------------------- */

static int free_slot(const struct fuzz_queue *q)
{
    for (int i = 0; i < SLOTS; i++)
        if (!q->busy[i])
            return i;
    return -1;
}

static void show(struct fuzz_queue *q, int slot)
{
    q->busy[slot] = true;
    q->avail->ring[q->avail->idx % QUEUE_SIZE] = (uint16_t)(slot * DESCRIPTORS);
    __atomic_store_n(&q->avail->idx, (uint16_t)(q->avail->idx + 1), __ATOMIC_RELEASE);
}

/* A slot's buffer of size bytes as up to four pieces, cut where the input says. */
static void describe(struct fuzz_queue *q, int slot, uint32_t size, uint16_t flags, struct input *input)
{
    unsigned pieces = 1 + take_byte(input) % DESCRIPTORS;
    uint32_t begin = 0;

    for (unsigned i = 0; i < pieces; i++) {
        struct vring_desc *desc = &q->desc[slot * DESCRIPTORS + (int)i];
        uint32_t left = size - begin, piece = i + 1 == pieces ? left : take_byte(input) % (left + 1);

        *desc = (struct vring_desc){ q->buffers + (uint32_t)slot * SLOT_SIZE + begin, piece, flags,
                                     (uint16_t)(slot * DESCRIPTORS + (int)i + 1) };
        if (i + 1 < pieces)
            desc->flags |= VRING_DESC_F_NEXT;
        begin += piece;
    }
}

/* Any descriptors at all. */
static void describe_raw(struct fuzz_queue *q, int slot, struct input *input)
{
    for (int i = 0; i < DESCRIPTORS; i++) {
        struct vring_desc *desc = &q->desc[slot * DESCRIPTORS + i];

        desc->addr = BASE - 64 + ((uint64_t)take_u16(input) << (take_byte(input) % 8));
        desc->len = (uint32_t)take_u16(input) << (take_byte(input) % 17);
        desc->flags = take_byte(input) % 8;
        desc->next = (uint16_t)((slot * DESCRIPTORS + take_byte(input) % 8) % QUEUE_SIZE);
    }
}

static void give_buffers(struct input *input)
{
    static const uint32_t sizes[] = { 1526, 4096, HEADER_SIZE + FRAME_SIZE_MAX, HEADER_SIZE, HEADER_SIZE - 1, 1, 20, 8192 };
    struct fuzz_queue *q = &stand_in.queues[RX];
    uint8_t shape = take_byte(input);

    for (unsigned i = 0; i <= shape % SLOTS; i++) {
        int slot = free_slot(q);

        if (slot < 0)
            break;
        if (shape == 0xff)
            describe_raw(q, slot, input);
        else
            describe(q, slot, sizes[(shape >> 4) % 8], VRING_DESC_F_WRITE, input);
        show(q, slot);
    }
    kick(RX);
}

static void send_bytes(const uint8_t *bytes, size_t size, struct input *input)
{
    struct fuzz_queue *q = &stand_in.queues[TX];
    struct virtio_net_hdr_v1 header = { 0 };
    int slot = free_slot(q);
    uint8_t shape = take_byte(input);
    uint8_t *to;

    if (slot < 0)
        return;
    if (shape & 1)
        take(input, &header, sizeof(header));
    to = at(q->buffers + (uint32_t)slot * SLOT_SIZE);
    memcpy(to, &header, sizeof(header));
    memcpy(to + sizeof(header), bytes, size);
    describe(q, slot, (uint32_t)(sizeof(header) + size), 0, input);
    if (shape == 0xfe)
        describe_raw(q, slot, input);
    show(q, slot);
    kick(TX);
}

static void collect_sent(void)
{
    struct fuzz_queue *q = &stand_in.queues[TX];

    for (; q->taken != q->used->idx; q->taken++)
        q->busy[q->used->ring[q->taken % QUEUE_SIZE].id / DESCRIPTORS] = false;
}

/* A frame that should not have been. */
static _Noreturn void fail_frame(const char *what, const uint8_t *bytes, size_t size)
{
    fprintf(stderr, "fuzz-net: %s", what);
    for (size_t i = 0; i < size && i < 128; i++)
        fprintf(stderr, " %02x", bytes[i]);
    fprintf(stderr, "\n");
    abort();
}

/* ---- What the guest gets ------------------------------------------------------------------------------------------------- */

static struct conversation *conversation_of(uint16_t port)
{
    return &conversations[port % CONVERSATIONS];
}

static void check_received(const uint8_t *bytes, size_t size)
{
    struct packet p;
    struct tcphdr tcp;

    if (packet_parse(bytes, size, &p) ||
        (!mac_equal(&p.destination_mac, &filter.own.mac) && !mac_is_multicast(&p.destination_mac)))
        fail_frame("the guest got", bytes, size);
    if (p.kind != PACKET_IP || p.protocol != IPPROTO_TCP || !p.has_ports || p.is_fragment)
        return;
    memcpy(&tcp, bytes + p.upper, sizeof(tcp));
    conversation_of(p.destination_port)->expected =
        ntohl(tcp.th_seq) + (uint32_t)(p.end - p.upper - tcp.th_off * 4U) + ((tcp.th_flags & (TH_SYN | TH_FIN)) ? 1U : 0U);
    if (tcp.th_flags & TH_ACK)
        conversation_of(p.destination_port)->next = ntohl(tcp.th_ack);
}

/* Copies what was written into a chain, as far as the driver can know where that is. */
static size_t read_chain(const struct fuzz_queue *q, unsigned head, size_t length, uint8_t *to)
{
    size_t size = 0;

    for (unsigned i = head; i < head + DESCRIPTORS && size < length; i++) {
        const struct vring_desc *desc = &q->desc[i];
        size_t piece = desc->len < length - size ? desc->len : length - size;
        const void *from = piece ? memory_at(&memory, (gpa_t){ desc->addr }, piece) : NULL;

        if (piece && !from)
            abort();
        if (piece)
            memcpy(to + size, from, piece);
        size += piece;
        if (!(desc->flags & VRING_DESC_F_NEXT))
            break;
    }
    return size;
}

/* Raw chains may overlap: then nobody knows what is in them. */
static void collect_received(bool raw)
{
    static uint8_t bytes[HEADER_SIZE + FRAME_SIZE_MAX];
    struct fuzz_queue *q = &stand_in.queues[RX];
    size_t size = 0;
    unsigned left = 0;

    for (; q->taken != q->used->idx; q->taken++) {
        const struct vring_used_elem *used = &q->used->ring[q->taken % QUEUE_SIZE];

        q->busy[used->id / DESCRIPTORS] = false;
        if (raw)
            continue;
        if (used->len > sizeof(bytes) - size || read_chain(q, used->id, used->len, bytes + size) != used->len)
            abort();
        if (used->len == 0)
            continue;
        size += used->len;
        if (left == 0)
            left = ((struct virtio_net_hdr_v1 *)bytes)->num_buffers;
        if (--left == 0) {
            check_received(bytes + HEADER_SIZE, size - HEADER_SIZE);
            size = 0;
        }
    }
    if (left)
        abort();
}

/* ---- The guest's frames -------------------------------------------------------------------------------------------------- */

static const char *const destinations4[] = { "8.8.8.8",     "169.254.1.1",     "169.254.1.2", "10.1.2.9",
                                             "10.7.7.7",    "169.254.169.254", "10.1.2.3",    "10.1.2.255",
                                             "224.0.0.251", "255.255.255.255", "127.0.0.1",   "0.0.0.0",
                                             "1.1.1.1",     "10.1.2.77",       "192.168.1.1", "240.0.0.1" };
static const char *const destinations6[] = { "2606:4700::1111",
                                             "fd6d:7362:ffff:ffff::1",
                                             "fd6d:7362:ffff:ffff::2",
                                             "fd6d:7362:a01:200::a01:209",
                                             "fc00::7",
                                             "fe80::1",
                                             "fe80::5054:aff:fe01:209",
                                             "ff02::1",
                                             "::1",
                                             "::ffff:8.8.8.8",
                                             "::ffff:10.7.7.7",
                                             "64:ff9b::a07:707",
                                             "2002:a07:707::1",
                                             "::",
                                             "2001:db8::1",
                                             "ff02::1:ff01:209" };

static struct mac destination_mac(uint8_t shape)
{
    static const char *const macs[] = { "52:55:00:00:00:01", "52:54:0a:01:02:09", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01" };

    return mac_of(macs[shape % 4]);
}

static void add_tcp(struct input *input)
{
    static const uint8_t flags[] = { TH_SYN, TH_ACK,          TH_ACK | TH_PUSH, TH_FIN | TH_ACK,
                                     TH_RST, TH_SYN | TH_ACK, TH_RST | TH_ACK,  0 };
    uint8_t shape = take_byte(input);
    uint16_t own = (uint16_t)(40000 + shape % CONVERSATIONS), port = (uint16_t)(PORT + (shape >> 6 == 3));
    struct conversation *c;
    size_t begin = frame.size;
    struct tcphdr tcp;

    /* An answer of the published port's. */
    if ((shape >> 2) % 4 == 3) {
        own = PORT;
        port = (uint16_t)(50000 + take_byte(input) % CLIENTS);
    }
    c = conversation_of(own);
    frame_tcp(&frame, own, port, flags[(shape >> 3) % 8]);
    memcpy(&tcp, frame.bytes + begin, sizeof(tcp));
    tcp.th_seq = htonl(c->next + (uint32_t)(int8_t)take_byte(input));
    tcp.th_ack = htonl(c->expected + (uint32_t)(int8_t)take_byte(input));
    tcp.th_win = htons(take_u16(input));
    if (tcp.th_flags & TH_SYN) {
        const uint8_t options[8] = { TCPOPT_MAXSEG, 4, take_byte(input), take_byte(input), TCPOPT_NOP,
                                     TCPOPT_WINDOW, 3, take_byte(input) };

        tcp.th_off = 7;
        frame_add(&frame, options, sizeof(options));
    }
    memcpy(frame.bytes + begin, &tcp, sizeof(tcp));
}

static void add_extensions(struct input *input, uint8_t shape)
{
    static const uint8_t kinds[] = { IPPROTO_HOPOPTS, IPPROTO_DSTOPTS, IPPROTO_ROUTING, IPPROTO_FRAGMENT };
    uint8_t body[7] = { 0 };

    for (unsigned i = 0; i < (shape & 3U); i++) {
        take(input, body, sizeof(body));
        body[0] = 0;
        frame_extension(&frame, kinds[take_byte(input) % 4], body, sizeof(body));
    }
}

static void add_payload(struct input *input)
{
    size_t size = take_byte(input);

    if (size >= 0xf0)
        size = (size - 0xef) * 4096;
    if (size > sizeof(frame.bytes) - frame.size)
        size = sizeof(frame.bytes) - frame.size;
    take(input, frame.bytes + frame.size, size < 512 ? size : 512);
    frame.size += size;
}

static void add_upper(struct input *input, uint8_t kind)
{
    static const uint8_t query[] = { 0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'w', 'e', 'b', 0, 0, 1, 0, 1 };

    switch (kind) {
    case 0:
        frame_udp(&frame, 4000, PORT, NULL, 0);
        break;
    case 1:
        frame_udp(&frame, 4001, 53, query, sizeof(query));
        break;
    case 2:
        frame_udp(&frame, PORT, (uint16_t)(50000 + take_byte(input) % CLIENTS), NULL, 0);
        break;
    case 3:
        frame_echo(&frame, 7, NULL, 0);
        break;
    default:
        add_tcp(input);
        break;
    }
}

static void begin_ip(struct input *input, uint8_t kind, const struct mac *own, const char *ip4, const char *ip6)
{
    static const uint8_t protocols4[] = { IPPROTO_UDP, IPPROTO_UDP, IPPROTO_UDP, IPPROTO_ICMP };
    static const uint8_t protocols6[] = { IPPROTO_UDP, IPPROTO_UDP, IPPROTO_UDP, IPPROTO_ICMPV6 };
    uint8_t shape = take_byte(input), to = take_byte(input);
    bool v6 = shape & 0x80;
    struct ip_address source = ip_of(v6 ? ip6 : ip4), destination = ip_of(v6 ? destinations6[to % 16] : destinations4[to % 16]);
    struct mac mac = destination_mac(shape >> 2);
    uint8_t protocol = kind > 3 ? IPPROTO_TCP : v6 ? protocols6[kind] : protocols4[kind];

    frame_begin(&frame, own, &mac, v6 ? ETH_P_IPV6 : ETH_P_IP);
    frame_ip(&frame, &source, &destination, protocol);
    if (v6)
        add_extensions(input, shape);
    else if (shape & 1)
        frame.bytes[frame.ip + 6] = take_byte(input), frame.bytes[frame.ip + 7] = take_byte(input);
}

static void begin_neighbours(struct input *input, const struct mac *own, const char *ip4, const char *ip6)
{
    uint8_t shape = take_byte(input), to = take_byte(input);
    struct mac mac = destination_mac(shape >> 2);

    if (shape & 1) {
        frame_begin(&frame, own, &mac, ETH_P_ARP);
        frame_arp(&frame, 1 + (shape >> 1) % 2, own, ip4, destinations4[to % 16]);
    } else {
        struct ip_address source = ip_of(ip6), destination = ip_of(destinations6[to >> 4]);

        frame_begin(&frame, own, &mac, ETH_P_IPV6);
        frame_ip(&frame, &source, &destination, IPPROTO_ICMPV6);
        frame_nd(&frame, (uint8_t)(ND_ROUTER_SOLICIT + (shape >> 4) % 5), destinations6[to % 16], (shape & 2) ? 1 : 2, own);
    }
}

/* Fills in `frame` as a sender with these addresses would, and then changes some of it. */
static void make_frame(struct input *input, const char *mac, const char *ip4, const char *ip6)
{
    uint8_t kind = take_byte(input);
    struct mac own = mac_of(mac);

    if (kind % 8 == 7) {
        frame_begin(&frame, &own, &own, ETH_P_IP);
        frame.size = 0;
        add_payload(input);
    } else if (kind % 8 == 6) {
        begin_neighbours(input, &own, ip4, ip6);
        frame_end(&frame);
    } else {
        begin_ip(input, kind % 8, &own, ip4, ip6);
        add_upper(input, kind % 8);
        add_payload(input);
        if (frame.size - frame.ip <= UINT16_MAX)
            frame_end(&frame);
    }
    for (unsigned i = 0; i < kind >> 6 && frame.size > 0; i++) {
        size_t offset = take_byte(input) % frame.size;

        frame.bytes[offset] ^= take_byte(input);
    }
}

static void send_frame(struct input *input)
{
    make_frame(input, "52:54:0a:01:02:03", "10.1.2.3", "fd6d:7362:a01:200::a01:203");
    send_bytes(frame.bytes, frame.size, input);
}

/* ---- Everybody else ------------------------------------------------------------------------------------------------------ */

static void member_sends(struct input *input)
{
    const struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "10.1.2.3" };
    bool stranger = take_byte(input) == 0xff;
    int fd = stranger ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : world.member;

    make_frame(input, "52:54:0a:01:02:09", "10.1.2.9", "fd6d:7362:a01:200::a01:209");
    syscall(SYS_sendto, fd, frame.bytes, frame.size, MSG_DONTWAIT | MSG_NOSIGNAL, &to, sizeof(to));
    if (stranger)
        close(fd);
}

static void member_receives(void)
{
    static uint8_t bytes[FRAME_SIZE_MAX + 1];
    struct filter theirs = filter;
    ssize_t size;

    theirs.own = addresses_of_member(&filter.own, (struct in_addr){ inet_addr("10.1.2.9") });
    while ((size = recv(world.member, bytes, sizeof(bytes), MSG_DONTWAIT)) >= 0) {
        struct packet p;

        if (packet_parse(bytes, (size_t)size, &p) || filter_incoming(&theirs, &p, filter.own.ip).verdict != VERDICT_GUEST)
            fail_frame("a member got", bytes, (size_t)size);
    }
}

static void keep_client(unsigned place, int fd)
{
    cleanup_fd(&world.clients[place % CLIENTS]);
    world.clients[place % CLIENTS] = fd;
}

/* Its port is one that the guest's frames may name. */
static void connect_client(uint8_t place, int type)
{
    struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(PORT + 100) }, own = { .sin6_family = AF_INET6 };
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;

    own.sin6_port = htons((uint16_t)(50000 + place % CLIENTS));
    own.sin6_addr = to.sin6_addr = ip_of((place & 0x10) ? "::ffff:8.8.8.8" : "2606:4700::1111").v6;
    keep_client(place, fd);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bind(fd, (struct sockaddr *)&own, sizeof(own));
    syscall(SYS_connect, fd, &to, sizeof(to));
}

static void act(struct input *input)
{
    static uint8_t bytes[1 << 17];
    uint8_t action = take_byte(input), place = take_byte(input);
    const struct linger at_once = { 1, 0 };
    int fd = world.clients[place % CLIENTS];

    switch (action % 8) {
    case 0:
        keep_client(place, accept4(world.server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
        break;
    case 1:
        connect_client(place, SOCK_STREAM);
        break;
    case 2:
        connect_client(place, SOCK_DGRAM);
        break;
    case 3:
        send(fd, bytes, (size_t)take_u16(input) << (place >> 7), MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case 4:
        recv(fd, bytes, take_u16(input), MSG_DONTWAIT);
        break;
    case 5:
        shutdown(fd, SHUT_WR);
        break;
    case 6:
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        keep_client(place, -1);
        break;
    default: {
        struct sockaddr_in6 from;
        socklen_t size = sizeof(from);
        ssize_t got = recvfrom(world.server_udp, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&from, &size);

        if (got >= 0)
            syscall(SYS_sendto, world.server_udp, bytes, got, MSG_DONTWAIT, &from, size);
        break;
    }
    }
}

/* ---- The whole ----------------------------------------------------------------------------------------------------------- */

static void shell(const char *command)
{
    if (system(command) != 0) {
        fprintf(stderr, "fuzz-net: %s\n", command);
        exit(1);
    }
}

static int server_at(uint16_t port, int type)
{
    struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || (type == SOCK_STREAM && listen(fd, 64) < 0))
        abort();
    return fd;
}

/* The sockets of published ports are where msb-net finds them. */
static void publish(int fd, int number)
{
    if (fcntl(number, F_GETFD) >= 0 && fd != number)
        abort();
    if (fd != number && (dup2(fd, number) < 0 || close(fd) < 0))
        abort();
}

static void make_world(void)
{
    const struct sockaddr_un member = { .sun_family = AF_UNIX, .sun_path = "10.1.2.9" };

    shell("ip link set lo up && ip route add local default dev lo && ip -6 route add local default dev lo");
    shell("mount -t tmpfs tmpfs /mnt && mkdir /mnt/sockets /mnt/names && ln -s 10.1.2.9 /mnt/names/web && "
          "echo nameserver 10.9.9.9 >/mnt/resolv.conf && mount --bind /mnt/resolv.conf /etc/resolv.conf");
    shell("echo 0 0 >/proc/sys/net/ipv4/ping_group_range");
    world.home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    publish(server_at(PORT + 100, SOCK_STREAM), NET_FD_FIRST_PORT);
    publish(server_at(PORT + 100, SOCK_DGRAM), NET_FD_FIRST_PORT + 1);
    world.server = server_at(PORT, SOCK_STREAM);
    world.server_udp = server_at(PORT, SOCK_DGRAM);
    world.member = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (chdir("/mnt/sockets") < 0 || bind(world.member, (const struct sockaddr *)&member, sizeof(member)) < 0 ||
        fchdir(world.home) < 0)
        abort();
    make_memory();
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    signal(SIGPIPE, SIG_IGN); /* as msb-net does */
    if (!getenv("MSB_FUZZ_WORLD")) {
        char **again = calloc((size_t)*argc + 3, sizeof(char *));

        setenv("MSB_FUZZ_WORLD", "1", 1);
        again[0] = (char *)"unshare";
        again[1] = (char *)"-rnm";
        memcpy(again + 2, *argv, (size_t)*argc * sizeof(char *));
        execvp("unshare", again);
        abort();
    }
    make_world();
    return 0;
}

static void idle(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)fd, (void)events;
    loop_remove(source);
    loop_quit(data);
}

/* One round of the loop: what is ready now. */
static void run(struct loop *loop)
{
    if (!loop_timer(loop, 1, idle, loop, NULL) || loop_run(loop, NULL) < 0)
        abort();
}

static struct bridge *make_bridge(struct loop *loop, uint8_t shape)
{
    static const uint8_t scopes[] = { MSB_SCOPE_GROUP, MSB_SCOPE_PUBLIC, MSB_SCOPE_ANY, MSB_SCOPE_PUBLIC };
    static struct net_port ports[] = { { PORT, IPPROTO_TCP }, { PORT, IPPROTO_UDP } };
    bool group = shape & 4;
    struct net_setup setup = { .scope = scopes[shape & 3], .ip = { inet_addr("10.1.2.3") }, .subnet = { inet_addr("10.1.2.0") } };
    struct bridge *bridge;

    setup.subnet_bits = group ? 24 : 32;
    if (!group)
        setup.subnet = setup.ip;
    setup.group = group ? (char *)"/mnt" : NULL;
    setup.ports = ports;
    setup.num_ports = (shape & 8) ? 2 : 0;
    filter = (struct filter){ addresses_of(setup.ip, setup.subnet, setup.subnet_bits), (enum msb_scope)setup.scope, group };
    stand_in.features = 1ULL << VIRTIO_F_VERSION_1;
    if (shape & 0x10)
        stand_in.features |= 1ULL << VIRTIO_NET_F_MRG_RXBUF;
    if (shape & 0x20)
        stand_in.features |= 1ULL << VIRTIO_NET_F_GUEST_CSUM;
    unlink("/mnt/sockets/10.1.2.3");
    bridge = bridge_new(loop, &setup, 1024, NULL);
    if (!bridge || bridge_enter_cell(bridge, "/mnt", NULL) < 0)
        abort();
    for (unsigned i = 0; i < 2; i++)
        start_queue(i, (shape & 0x40) ? 1ULL << VIRTIO_RING_F_EVENT_IDX : 0);
    if (bridge_start(bridge, dup(world.home), NULL) < 0)
        abort();
    if (!(shape & 0x80))
        bridge_open_ports(bridge);
    return bridge;
}

static void reset_driver(struct input *input)
{
    unsigned index = take_byte(input) % 2;
    struct fuzz_queue *q = &stand_in.queues[index];
    uint64_t features = q->queue.features;

    stand_in.device.queue_stopped(stand_in.data, index, &q->queue);
    close(q->queue.kick_fd);
    start_queue(index, features);
}

static void step(struct input *input, bool *raw)
{
    uint8_t what = take_byte(input);

    switch (what % 8) {
    case 0:
    case 1:
    case 2:
        send_frame(input);
        break;
    case 3:
        *raw = *raw || (input->left && input->data[0] == 0xff);
        give_buffers(input);
        break;
    case 4:
        member_sends(input);
        break;
    case 5:
    case 6:
        act(input);
        break;
    default:
        if (what >> 3 == 31)
            reset_driver(input);
        break;
    }
}

/* What clients and servers have left in the sockets that stay. */
static void tidy(void)
{
    uint8_t byte;
    int fd;

    for (unsigned i = 0; i < CLIENTS; i++)
        keep_client(i, -1);
    while ((fd = accept(world.server, NULL, NULL)) >= 0 || (fd = accept(NET_FD_FIRST_PORT, NULL, NULL)) >= 0)
        close(fd);
    while (recv(world.server_udp, &byte, 1, MSG_DONTWAIT) >= 0 || recv(NET_FD_FIRST_PORT + 1, &byte, 1, MSG_DONTWAIT) >= 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    struct loop *loop = loop_new(NULL);
    struct bridge *bridge;
    bool raw = false;

    if (!loop)
        abort();
    bridge = make_bridge(loop, take_byte(&input));
    memset(conversations, 0, sizeof(conversations));
    for (unsigned i = 0; input.left && i < STEPS_MAX; i++) {
        step(&input, &raw);
        run(loop);
        collect_sent();
        collect_received(raw);
        member_receives();
    }
    bridge_free(bridge);
    loop_free(loop);
    for (unsigned i = 0; i < 2; i++)
        close(stand_in.queues[i].queue.kick_fd);
    if (fchdir(world.home) < 0)
        abort();
    tidy();
    return 0;
}
