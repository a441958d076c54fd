/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of bench/net. All times are taken on the host, of what has arrived at the other end.
 *
 *     peer guest ADDRESS PORT             in the guest: does what the host says, over a connection to it, until the host hangs up
 *     peer init A.B.C.D GATEWAY PORT      the same as a guest's first program, which sets eth0 up first and powers off in the end
 *     peer host PORT PUBLISHED SECONDS    on the host: listens at 127.0.0.1, waits for the guest, and prints one line for each row:
 *                                         its name and its figure. PUBLISHED leads to port GUEST_PORT of the guest.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    GUEST_PORT = 5001,
    BLOCK = 256 << 10,
    LIMIT = 60, /* seconds that nothing may take longer than */
};

/* What the two ends of a data connection do. The host asks for it by a byte at the connection's beginning. */
enum job {
    JOB_GUEST_SENDS = 's',    /* until the host shuts its side */
    JOB_GUEST_RECEIVES = 'r', /* until the host shuts its side; then the guest says that it has everything */
    JOB_ECHO = 'e',           /* byte by byte */
    JOB_NONE = 'n',           /* an answer of one byte: the connection is what is measured */
};

static uint8_t block[BLOCK];

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench/net: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct sockaddr_in address_of(const char *ip, int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

    if (inet_pton(AF_INET, ip, &address.sin_addr) != 1)
        die(ip);
    return address;
}

static int new_socket(void)
{
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        die("socket");
    return fd;
}

static int connect_to(const char *ip, int port)
{
    struct sockaddr_in address = address_of(ip, port);
    int fd = new_socket();

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("connect");
    return fd;
}

static int listen_at(const char *ip, int port)
{
    struct sockaddr_in address = address_of(ip, port);
    int fd = new_socket();

    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 128) < 0)
        die("listen");
    return fd;
}

static int accept_one(int listener)
{
    const int on = 1;
    int fd = accept(listener, NULL, NULL);

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
        die("accept");
    return fd;
}

static char read_byte(int fd)
{
    char byte;

    if (read(fd, &byte, 1) != 1)
        die("read a byte");
    return byte;
}

static void write_byte(int fd, char byte)
{
    if (write(fd, &byte, 1) != 1)
        die("write a byte");
}

/* ---- The guest ----------------------------------------------------------------------------------------------------------- */

/* The host ends it by shutting its side. */
static void send_all(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

    while (poll(&poll_fd, 1, 0) == 0)
        if (write(fd, block, sizeof(block)) < 0)
            return;
}

static void receive_all(int fd)
{
    while (read(fd, block, sizeof(block)) > 0)
        ;
    write_byte(fd, '.');
}

static void echo(int fd)
{
    char byte;

    while (read(fd, &byte, 1) == 1)
        write_byte(fd, byte);
}

static void serve(int fd)
{
    switch (read_byte(fd)) {
    case JOB_GUEST_SENDS:
        send_all(fd);
        break;
    case JOB_GUEST_RECEIVES:
        receive_all(fd);
        break;
    case JOB_ECHO:
        echo(fd);
        break;
    default:
        write_byte(fd, '.');
        break;
    }
    close(fd);
}

/* For each byte on the control connection, one data connection: 'c' to the host, 'a' from it. */
static void guest(const char *ip, int port)
{
    int listener = listen_at("0.0.0.0", GUEST_PORT), control = connect_to(ip, port);
    char byte;

    while (read(control, &byte, 1) == 1)
        serve(byte == 'c' ? connect_to(ip, port) : accept_one(listener));
}

static void set_up_eth0(const char *ip, const char *gateway)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = { .ifr_name = "eth0" };
    struct sockaddr_in address = address_of(ip, 0), mask = address_of("255.255.255.0", 0), router = address_of(gateway, 0);
    struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };

    memcpy(&request.ifr_addr, &address, sizeof(address));
    if (fd < 0 || ioctl(fd, SIOCSIFADDR, &request) < 0)
        die("set the address");
    memcpy(&request.ifr_netmask, &mask, sizeof(mask));
    if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
        die("set the netmask");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        die("bring eth0 up");
    memcpy(&route.rt_gateway, &router, sizeof(router));
    route.rt_dst.sa_family = route.rt_genmask.sa_family = AF_INET;
    if (ioctl(fd, SIOCADDRT, &route) < 0)
        die("set the route");
    close(fd);
}

/* ---- The host ------------------------------------------------------------------------------------------------------------ */

struct host {
    int listener, control, published;
    double seconds;
    const char *way; /* part of the rows' names */
    char direction;  /* 'c' or 'a' */
};

static int open_connection(const struct host *h)
{
    write_byte(h->control, h->direction);
    return h->direction == 'c' ? accept_one(h->listener) : connect_to("127.0.0.1", h->published);
}

static int open_job(const struct host *h, enum job job)
{
    int fd = open_connection(h);

    write_byte(fd, (char)job);
    return fd;
}

static void print_row(const struct host *h, const char *name, double figure)
{
    printf("%s%s\t%.6g\n", name, h->way, figure);
    fflush(stdout);
}

/* A tenth of the time first, for windows to grow. */
static void guest_sends(const struct host *h)
{
    int fd = open_job(h, JOB_GUEST_SENDS);
    double begin = now(), start = 0, end = 0;
    uint64_t bytes = 0;

    while (end == 0 || end - start < h->seconds) {
        ssize_t n = read(fd, block, sizeof(block));

        if (n <= 0)
            die("receive");
        end = now();
        if (start == 0 && end - begin >= h->seconds / 10)
            start = end;
        else if (start != 0)
            bytes += (uint64_t)n;
        if (start == 0)
            end = 0;
    }
    shutdown(fd, SHUT_WR);
    while (read(fd, block, sizeof(block)) > 0)
        ;
    close(fd);
    print_row(h, "guest sends, MB/s", (double)bytes / (end - start) / 1e6);
}

static void guest_receives(const struct host *h)
{
    int fd = open_job(h, JOB_GUEST_RECEIVES);
    double start = now();
    uint64_t bytes = 0;

    while (now() - start < h->seconds) {
        ssize_t n = write(fd, block, sizeof(block));

        if (n < 0)
            die("send");
        bytes += (uint64_t)n;
    }
    shutdown(fd, SHUT_WR);
    read_byte(fd);
    print_row(h, "guest receives, MB/s", (double)bytes / (now() - start) / 1e6);
    close(fd);
}

static void round_trips(const struct host *h)
{
    int fd = open_job(h, JOB_ECHO);
    double start = now();
    unsigned count = 0;

    do {
        write_byte(fd, '.');
        read_byte(fd);
        count++;
    } while (now() - start < h->seconds);
    print_row(h, "round trips per second", count / (now() - start));
    close(fd);
}

static void connections(const struct host *h)
{
    double start = now();
    unsigned count = 0;

    do {
        int fd = open_job(h, JOB_NONE);

        read_byte(fd);
        close(fd);
        count++;
    } while (now() - start < h->seconds);
    print_row(h, "connections per second", count / (now() - start));
}

static void host(int port, int published, double seconds)
{
    struct host h = { .published = published, .seconds = seconds };
    static const struct {
        char direction;
        const char *way;
    } ways[] = { { 'c', "" }, { 'a', ", published" } };

    h.listener = listen_at("127.0.0.1", port);
    printf("up\n");
    fflush(stdout);
    h.control = accept_one(h.listener);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        h.direction = ways[i].direction;
        h.way = ways[i].way;
        guest_sends(&h);
        guest_receives(&h);
        connections(&h);
        round_trips(&h);
    }
    close(h.control);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    alarm(LIMIT);
    if (argc == 4 && strcmp(argv[1], "guest") == 0) {
        guest(argv[2], atoi(argv[3]));
    } else if (argc == 5 && strcmp(argv[1], "init") == 0) {
        set_up_eth0(argv[2], argv[3]);
        guest(argv[3], atoi(argv[4]));
        reboot(RB_AUTOBOOT);
    } else if (argc == 5 && strcmp(argv[1], "host") == 0) {
        host(atoi(argv[2]), atoi(argv[3]), atof(argv[4]));
    } else {
        errno = EINVAL;
        die("arguments");
    }
    return 0;
}
