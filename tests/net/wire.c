/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest without a VM: a network namespace whose eth0 is a tap device, wired through a virtio driver to a real msb-net process, which
 * is started in this program's own network namespace as the monitor starts it. So Linux's own stack plays the guest, and a test plays
 * the world around the host.
 *
 *     net-wire MSB-NET RUNTIME [scope=NAME] [subnet=A.B.C.D/N] [ip=A.B.C.D] [name=NAME] [port=PORT]... [log=LEVEL] [plain] [mtu=N]
 *              [late]
 *
 * Prints one line of JSON when the guest is up: the process that holds its network namespace, its addresses, the ports. Ends when
 * standard input does, with the exit status of msb-net. With "late", msb-net is told that the guest is configured when a byte comes there.
 */
#include "config/port.h"
#include "device_process.h"
#include "driver.h"
#include "net/plan.h"
#include "util/cleanup.h"
#include "util/loop.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum {
    QUEUE_SIZE = 256,
    HEADER_SIZE = 12,
    FRAME_MAX = HEADER_SIZE + 14 + 65535,
    RECEIVE_SIZE = 4096,
    MEMORY_SIZE = 32 << 20,
    BATCH = 64,
    MAX_PORTS = 100,
};

struct wire {
    struct spec spec;
    struct spec_port ports[MAX_PORTS];
    bool plain; /* no offloads, no mergeable buffers */
    bool late;  /* msb-net is told only when a byte comes that the guest is configured */
    unsigned mtu;
    struct net_plan plan;
    struct device_process device;
    pid_t holder;
    int tap;
    struct loop *loop;
    struct loop_source *tap_source;
    struct driver *driver;
    struct driver_queue *receive, *transmit;
    gpa_t receive_buffers[QUEUE_SIZE], transmit_buffers[QUEUE_SIZE]; /* by head; free ones in the list below */
    gpa_t free_buffers[QUEUE_SIZE];
    unsigned num_free;
    uint8_t frame[FRAME_MAX];
    int status;
};

static _Noreturn void die(const char *what, msb_error *error)
{
    fprintf(stderr, "net-wire: %s: %s\n", what, error ? msb_error_message(error) : strerror(errno));
    exit(125);
}

/* ---- Arguments ----------------------------------------------------------------------------------------------------------- */

static void parse_argument(struct wire *w, const char *argument)
{
    const char *value = strchr(argument, '=');
    size_t key = value ? (size_t)(value - argument) : strlen(argument);
    msb_error *error = NULL;
    unsigned bits = 0;
    int result = 0;

    value = value ? value + 1 : "";
    if (strncmp(argument, "scope", key) == 0) {
        result = msb_scope_parse(value, MSB_LENGTH_UNKNOWN, &w->spec.scope, &error);
    } else if (strncmp(argument, "subnet", key) == 0) {
        result = msb_subnet_parse(value, MSB_LENGTH_UNKNOWN, &w->spec.subnet.s_addr, &bits, &error);
        w->spec.has_subnet = true;
        w->spec.subnet_bits = (uint8_t)bits;
    } else if (strncmp(argument, "ip", key) == 0) {
        result = msb_ipv4_parse(value, MSB_LENGTH_UNKNOWN, &w->spec.ip.s_addr, &error);
        w->spec.has_ip = true;
    } else if (strncmp(argument, "name", key) == 0) {
        w->spec.name = (char *)value;
    } else if (strncmp(argument, "port", key) == 0) {
        w->spec.ports = w->ports;
        result = port_parse(value, MSB_LENGTH_UNKNOWN, &w->ports[w->spec.num_ports++], &error);
    } else if (strncmp(argument, "log", key) == 0) {
        result = msb_log_level_parse(value, MSB_LENGTH_UNKNOWN, &w->spec.log_level, &error);
    } else if (strncmp(argument, "mtu", key) == 0) {
        w->mtu = (unsigned)atoi(value);
    } else if (strncmp(argument, "plain", key) == 0) {
        w->plain = true;
    } else if (strncmp(argument, "late", key) == 0) {
        w->late = true;
    } else {
        result = fail(&error, MSB_ERR_INVALID, "unknown");
    }
    if (result < 0)
        die(argument, error);
}

/* ---- The guest's namespace ----------------------------------------------------------------------------------------------- */

static int open_tap(bool plain)
{
    struct ifreq request = { .ifr_name = "eth0", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
    const char *tun = getenv("NET_TUN");
    int fd = open(tun ? tun : "/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), header = HEADER_SIZE;
    unsigned long offload = plain ? 0 : TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 ||
        ioctl(fd, TUNSETOFFLOAD, offload) < 0)
        die("/dev/net/tun", NULL);
    return fd;
}

static void shell(const char *command)
{
    if (system(command) != 0)
        die(command, NULL);
}

/* As PID 1 does it, from the same structure. */
static void configure(const struct net_plan *plan, unsigned mtu)
{
    char command[1024], ip[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN], ip6[INET6_ADDRSTRLEN], gateway6[INET6_ADDRSTRLEN];
    const struct guest_network *guest = &plan->guest;
    const uint8_t *mac = plan->mac;

    inet_ntop(AF_INET, guest->ipv4, ip, sizeof(ip));
    inet_ntop(AF_INET, guest->ipv4_gateway, gateway, sizeof(gateway));
    inet_ntop(AF_INET6, guest->ipv6, ip6, sizeof(ip6));
    inet_ntop(AF_INET6, guest->ipv6_gateway, gateway6, sizeof(gateway6));
    snprintf(command, sizeof(command),
             "ip link set lo up && echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra && "
             "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad && "
             "ip link set eth0 address %02x:%02x:%02x:%02x:%02x:%02x mtu %u up && "
             "ip addr add %s/%u dev eth0 && ip route add default via %s dev eth0 onlink && "
             "ip addr add %s/%u dev eth0 nodad && ip route add default via %s dev eth0",
             mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], mtu, ip, guest->ipv4_bits, gateway, ip6, guest->ipv6_bits, gateway6);
    shell(command);
}

static int send_fd(int socket, int fd)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
    struct iovec iov = { &byte, 1 };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    *header = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
    return sendmsg(socket, &message, 0) == 1 ? 0 : -1;
}

static int receive_fd(int socket)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte;
    struct iovec iov = { &byte, 1 };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
    int fd = -1;

    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    return fd;
}

static _Noreturn void hold_guest(const struct wire *w, int parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Nothing of the wire's: the device must see it hang up. */
    if (dup2(parent, STDERR_FILENO + 1) < 0 || close_range(STDERR_FILENO + 2, ~0U, 0) < 0)
        die("close descriptors", NULL);
    parent = STDERR_FILENO + 1;
    if (unshare(CLONE_NEWNET) < 0 || send_fd(parent, open_tap(w->plain)) < 0)
        die("make the guest's namespace", NULL);
    configure(&w->plan, w->mtu ? w->mtu : NET_MTU);
    if (write(parent, "", 1) != 1)
        die("tell the wire", NULL);
    for (;;)
        pause();
}

/* The child that holds the namespace, hands the tap over, and sets eth0 up. */
static void make_guest(struct wire *w)
{
    int pair[2];
    char byte;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        die("socketpair", NULL);
    w->holder = fork();
    if (w->holder < 0)
        die("fork", NULL);
    if (w->holder == 0)
        hold_guest(w, pair[1]);
    close(pair[1]);
    w->tap = receive_fd(pair[0]);
    if (w->tap < 0 || read(pair[0], &byte, 1) != 1)
        exit(125);
    close(pair[0]);
}

/* ---- The wire ------------------------------------------------------------------------------------------------------------ */

static void add_receive_buffer(struct wire *w, gpa_t buffer)
{
    uint32_t size = w->plain ? FRAME_MAX : RECEIVE_SIZE;
    int head = driver_add(w->receive, &(struct driver_buffer){ buffer, size, true }, 1);

    w->receive_buffers[head] = buffer;
}

/* Everything that the device has for the guest goes to the tap. */
static void from_device(struct wire *w)
{
    struct driver_used used;
    size_t size = 0;
    unsigned left = 0;

    while (driver_take(w->receive, &used) > 0) {
        gpa_t buffer = w->receive_buffers[used.head];
        const uint8_t *bytes = driver_at(w->driver, buffer);

        if (size == 0) {
            struct virtio_net_hdr_v1 header;

            memcpy(&header, bytes, sizeof(header));
            left = header.num_buffers;
        }
        if (used.length > sizeof(w->frame) - size)
            die("the device wrote more than a frame", NULL);
        memcpy(w->frame + size, bytes, used.length);
        size += used.length;
        add_receive_buffer(w, buffer);
        if (--left == 0) {
            (void)!write(w->tap, w->frame, size);
            size = 0;
        }
    }
    if (left)
        die("the device showed a part of a frame", NULL);
    driver_kick(w->receive);
}

static void receive_called(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct wire *w = data;
    uint64_t calls;

    (void)source, (void)events;
    (void)!read(fd, &calls, sizeof(calls));
    do
        from_device(w);
    while (driver_want_call(w->receive));
}

static void collect_transmitted(struct wire *w)
{
    struct driver_used used;

    while (driver_take(w->transmit, &used) > 0)
        w->free_buffers[w->num_free++] = w->transmit_buffers[used.head];
}

static void tap_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct wire *w = data;

    (void)source, (void)events;
    collect_transmitted(w);
    for (int i = 0; i < BATCH && w->num_free; i++) {
        gpa_t buffer = w->free_buffers[w->num_free - 1];
        ssize_t size = read(fd, driver_at(w->driver, buffer), FRAME_MAX);

        if (size <= 0)
            break;
        w->num_free--;
        w->transmit_buffers[driver_add(w->transmit, &(struct driver_buffer){ buffer, (uint32_t)size, false }, 1)] = buffer;
    }
    driver_kick(w->transmit);
    /* No buffer is left: the device's call will say when there is. */
    if (w->num_free == 0 && !driver_want_call(w->transmit) && loop_modify(w->tap_source, 0, NULL) < 0)
        die("stop reading the tap", NULL);
}

static void transmit_called(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct wire *w = data;
    uint64_t calls;

    (void)source, (void)events;
    (void)!read(fd, &calls, sizeof(calls));
    collect_transmitted(w);
    if (w->num_free && loop_modify(w->tap_source, EPOLLIN, NULL) < 0)
        die("read the tap", NULL);
}

static void start_wire(struct wire *w)
{
    uint64_t features =
        1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << VIRTIO_NET_F_MAC | 1ULL << VIRTIO_NET_F_MTU;
    msb_error *error = NULL;

    if (!w->plain)
        features |= 1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_GUEST_CSUM |
                    1ULL << VIRTIO_NET_F_HOST_TSO4 | 1ULL << VIRTIO_NET_F_HOST_TSO6 | 1ULL << VIRTIO_NET_F_HOST_ECN;
    w->driver = driver_new(steal_fd(&w->device.socket), w->plain ? 2 * MEMORY_SIZE : MEMORY_SIZE, &error);
    if (!w->driver || driver_accept(w->driver, features, &error) < 0)
        die("driver", error);
    w->receive = driver_queue_start(w->driver, 0, QUEUE_SIZE, &error);
    w->transmit = w->receive ? driver_queue_start(w->driver, 1, QUEUE_SIZE, &error) : NULL;
    if (!w->transmit)
        die("queues", error);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        add_receive_buffer(w, driver_alloc(w->driver, w->plain ? FRAME_MAX : RECEIVE_SIZE, 64));
        w->free_buffers[w->num_free++] = driver_alloc(w->driver, FRAME_MAX, 64);
    }
    driver_kick(w->receive);
    driver_want_call(w->receive);
    w->tap_source = loop_add(w->loop, w->tap, EPOLLIN, tap_ready, w, &error);
    if (!w->tap_source || !loop_add(w->loop, driver_call_fd(w->receive), EPOLLIN, receive_called, w, &error) ||
        !loop_add(w->loop, driver_call_fd(w->transmit), EPOLLIN, transmit_called, w, &error))
        die("loop", error);
}

/* ---- The whole ----------------------------------------------------------------------------------------------------------- */

static void start_device(struct wire *w, const char *executable)
{
    struct writer writer = { 0 };
    struct device_start start = { .executable = executable };
    msb_error *error = NULL;

    net_setup_encode(&writer, &w->plan.setup);
    start.user = w->plan.needs_caller ? SPAWN_CALLER : SPAWN_NOBODY;
    start.host_network = w->plan.host_network;
    start.setup = writer.data;
    start.setup_size = writer.size;
    start.fds = w->plan.ports;
    start.num_fds = w->plan.setup.num_ports;
    if (writer.failed || device_process_start(&w->device, &start, &error) < 0)
        die("start msb-net", error);
    free(writer.data);
    net_plan_close_ports(&w->plan);
}

static void print_list(const char *key, char *const *items, size_t num)
{
    printf(", \"%s\": [", key);
    for (size_t i = 0; i < num; i++)
        printf("%s\"%s\"", i ? ", " : "", items[i]);
    printf("]");
}

static void announce(const struct wire *w)
{
    const struct guest_network *guest = &w->plan.guest;
    char ip[INET_ADDRSTRLEN], ip6[INET6_ADDRSTRLEN];

    printf("{\"pid\": %d, \"ip\": \"%s\", \"ip6\": \"%s\"", w->holder, inet_ntop(AF_INET, guest->ipv4, ip, sizeof(ip)),
           inet_ntop(AF_INET6, guest->ipv6, ip6, sizeof(ip6)));
    printf(", \"device\": %d, \"ports\": [", w->device.child.pid);
    for (size_t i = 0; i < w->plan.setup.num_ports; i++)
        printf("%s%u", i ? ", " : "", w->plan.host_ports[i]);
    printf("]");
    print_list("resolvers", guest->resolvers, guest->num_resolvers);
    print_list("hosts", guest->hosts, guest->num_hosts);
    printf("}\n");
    fflush(stdout);
}

static void say_configured(const struct wire *w)
{
    if (send(w->device.monitor, "", 1, MSG_NOSIGNAL) != 1)
        die("say that the guest is configured", NULL);
}

static void input(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct wire *w = data;
    char byte;

    (void)source, (void)events;
    if (read(fd, &byte, 1) <= 0)
        loop_quit(w->loop);
    else
        say_configured(w);
}

static void device_ended(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct wire *w = data;

    (void)source, (void)fd, (void)events;
    fprintf(stderr, "net-wire: msb-net ended by itself\n");
    w->status = 124;
    loop_quit(w->loop);
}

int main(int argc, char **argv)
{
    static struct wire wire = { .spec = { .scope = MSB_SCOPE_GROUP } };
    struct wire *w = &wire;
    msb_error *error = NULL;
    int status;

    if (argc < 3)
        die("usage: net-wire MSB-NET RUNTIME [KEY=VALUE]...", NULL);
    for (int i = 3; i < argc; i++)
        parse_argument(w, argv[i]);
    w->loop = loop_new(&error);
    if (!w->loop || net_plan_make(&w->spec, argv[2], &w->plan, &error) < 0) {
        fprintf(stderr, "net-wire: %s\n", msb_error_message(error));
        net_plan_release(&w->plan);
        return 125;
    }
    make_guest(w);
    start_device(w, argv[1]);
    start_wire(w);
    if (!loop_add(w->loop, STDIN_FILENO, EPOLLIN, input, w, &error) ||
        !loop_add(w->loop, w->device.child.pidfd, EPOLLIN, device_ended, w, &error))
        die("loop", error);
    if (!w->late)
        say_configured(w);
    announce(w);
    loop_run(w->loop, &error);
    status = device_process_stop(&w->device);
    driver_free(w->driver);
    kill(w->holder, SIGKILL);
    net_plan_release(&w->plan);
    return w->status ? w->status : status;
}
