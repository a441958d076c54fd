/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published UDP ports; udp_ports.h has the contract.
 */
#include "net/udp_ports.h"

#include "net/checksum.h"
#include "net/filter.h"
#include "net/net.h"
#include "net/reply.h"
#include "util/log.h"

#include <arpa/inet.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    BATCH_MAX = 64,    /* datagrams of one socket before the loop gets to see other events */
    PORTS_TO_TRY = 64, /* for clients that look alike to the guest */
    HEADERS_MAX = ETH_HLEN + 40 + 8,
};

struct udp_port {
    struct udp_ports *ports;
    struct udp_port *next;
    int fd;
    uint16_t guest_port;
    struct loop_source *source;
};

struct udp_ports {
    struct loop *loop;
    const struct addresses *own;
    struct flows *flows;
    const struct outside_handler *handler;
    void *data;
    struct udp_port *first;
    bool listening;
    uint8_t frame[HEADERS_MAX + UINT16_MAX];
};

/* A datagram that came in. */
struct datagram {
    struct sockaddr_in6 client; /* or sockaddr_in */
    struct in6_addr local;
    size_t size;
};

union control {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct udp_ports *udp_ports_new(struct loop *loop, const struct addresses *own, struct flows *flows,
                                const struct outside_handler *handler, void *data, msb_error **err)
{
    struct udp_ports *ports = calloc(1, sizeof(*ports));

    if (!ports)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    ports->loop = loop;
    ports->own = own;
    ports->flows = flows;
    ports->handler = handler;
    ports->data = data;
    return ports;
}

void udp_ports_free(struct udp_ports *ports)
{
    while (ports && ports->first) {
        struct udp_port *first = ports->first;

        ports->first = first->next;
        loop_remove(first->source);
        free(first);
    }
    free(ports);
}

/* ---- From a client to the guest ------------------------------------------------------------------------------------------ */

static struct in6_addr mapped(struct in_addr v4)
{
    struct in6_addr v6 = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

    memcpy(&v6.s6_addr[12], &v4, sizeof(v4));
    return v6;
}

static void read_control(struct msghdr *message, struct datagram *datagram)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;

            memcpy(&info, CMSG_DATA(c), sizeof(info));
            datagram->local = mapped(info.ipi_spec_dst);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;

            memcpy(&info, CMSG_DATA(c), sizeof(info));
            datagram->local = info.ipi6_addr;
        }
    }
}

/* Its payload comes to lie behind room for all headers. False when there is none. */
static bool receive(struct udp_port *port, struct datagram *datagram)
{
    union control control;
    struct iovec iov = { port->ports->frame + HEADERS_MAX, UINT16_MAX };
    struct msghdr message = {
        .msg_name = &datagram->client,
        .msg_namelen = sizeof(datagram->client),
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t size;

    /* A pending error is that an earlier answer reached nobody: not the next datagram's fault. */
    do
        size = recvmsg(port->fd, &message, MSG_DONTWAIT);
    while (size < 0 && errno != EAGAIN);
    if (size < 0)
        return false;
    datagram->size = (size_t)size;
    read_control(&message, datagram);
    return true;
}

static const struct sockaddr_in *as_v4(const struct sockaddr_in6 *client)
{
    return (const struct sockaddr_in *)client;
}

/* Who the guest sees: the client itself, unless its address means something else to the guest. */
static struct flow_key key_of(const struct udp_port *port, const struct sockaddr_in6 *client)
{
    const struct addresses *own = port->ports->own;
    struct flow_key key = { .guest_port = port->guest_port, .protocol = IPPROTO_UDP };

    if (client->sin6_family == AF_INET) {
        const struct sockaddr_in *v4 = as_v4(client);
        struct ip_address remote = { .version = 4, .v4 = v4->sin_addr };

        key.remote = remote;
        if (classify(&remote) == ADDRESS_NOBODY || is_member_ip(own, v4->sin_addr))
            key.remote.v4 = own->gateway;
        key.remote_port = ntohs(v4->sin_port);
    } else {
        struct ip_address remote = { .version = 6, .v6 = client->sin6_addr };
        struct in_addr member;

        key.remote = remote;
        if (classify(&remote) == ADDRESS_NOBODY || IN6_IS_ADDR_LINKLOCAL(&client->sin6_addr) ||
            is_member_ip6(own, &client->sin6_addr, &member))
            key.remote.v6 = own->gateway6;
        key.remote_port = ntohs(client->sin6_port);
    }
    return key;
}

static bool is_flow_of(const struct flow *flow, const struct udp_port *port, const struct datagram *datagram)
{
    return flow->fd == port->fd && memcmp(&flow->client, &datagram->client, sizeof(flow->client)) == 0;
}

/* Clients that the guest sees at one address and port are told apart by port. */
static struct flow *flow_of(const struct udp_port *port, const struct datagram *datagram)
{
    struct flow_key key = key_of(port, &datagram->client);

    for (int i = 0; i < PORTS_TO_TRY; i++) {
        struct flow *flow = flows_find(port->ports->flows, &key);

        if (!flow) {
            flow = flows_add(port->ports->flows, &key);
            flow->fd = port->fd;
            flow->client = datagram->client;
        }
        if (is_flow_of(flow, port, datagram)) {
            flow->local = datagram->local;
            return flow;
        }
        key.remote_port = key.remote_port == UINT16_MAX ? 1024 : key.remote_port + 1;
    }
    return NULL;
}

static void deliver(struct udp_ports *ports, const struct flow *flow, size_t payload)
{
    struct ip_address guest = { .version = flow->key.remote.version };
    size_t headers = ETH_HLEN + (guest.version == 4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr)) + sizeof(struct udphdr);
    size_t size = sizeof(struct udphdr) + payload;
    uint8_t *frame = ports->frame + HEADERS_MAX - headers, *upper = ports->frame + HEADERS_MAX - sizeof(struct udphdr);
    struct udphdr udp = { 0 };
    uint64_t sum;

    if (headers - ETH_HLEN + payload > NET_MTU)
        return;
    if (guest.version == 4)
        guest.v4 = ports->own->ip;
    else
        guest.v6 = ports->own->ip6;
    write_headers(ports->own, &flow->key.remote, &guest, IPPROTO_UDP, size, frame);
    udp.uh_sport = htons(flow->key.remote_port);
    udp.uh_dport = htons(flow->key.guest_port);
    udp.uh_ulen = htons((uint16_t)size);
    memcpy(upper, &udp, sizeof(udp));
    sum = checksum_add_pseudo(0, &flow->key.remote, &guest, IPPROTO_UDP, size);
    udp.uh_sum = checksum_finish(checksum_add(sum, upper, size));
    /* Zero means that there is none (RFC 768). */
    if (udp.uh_sum == 0)
        udp.uh_sum = 0xffff;
    memcpy(upper, &udp, sizeof(udp));
    ports->handler->frame(ports->data, frame, headers + payload);
}

void udp_ports_listen(struct udp_ports *ports, bool listen)
{
    if (ports->listening == listen)
        return;
    ports->listening = listen;
    for (struct udp_port *port = ports->first; port; port = port->next)
        if (loop_modify(port->source, listen ? EPOLLIN : 0, NULL) < 0)
            log_error("watch a published UDP port: %m");
}

static void datagrams_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct udp_port *port = data;

    (void)source, (void)fd, (void)events;
    for (int i = 0; i < BATCH_MAX && !port->ports->handler->congested(port->ports->data); i++) {
        struct datagram datagram = { 0 };
        const struct flow *flow;

        if (!receive(port, &datagram))
            break;
        flow = flow_of(port, &datagram);
        if (flow)
            deliver(port->ports, flow, datagram.size);
    }
    if (port->ports->handler->congested(port->ports->data))
        udp_ports_listen(port->ports, false);
    port->ports->handler->batch(port->ports->data);
}

int udp_ports_add(struct udp_ports *ports, int fd, uint16_t guest_port, msb_error **err)
{
    struct udp_port *port = calloc(1, sizeof(*port));

    if (!port)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    *port = (struct udp_port){ .ports = ports, .next = ports->first, .fd = fd, .guest_port = guest_port };
    port->source = loop_add(ports->loop, fd, 0, datagrams_ready, port, err);
    if (!port->source) {
        free(port);
        return -1;
    }
    ports->first = port;
    return 0;
}

/* ---- From the guest to a client ------------------------------------------------------------------------------------------ */

/* Says which of the host's addresses the answer comes from: the one that was asked. */
static void write_control(const struct flow *flow, struct msghdr *message)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(message);

    if (flow->client.sin6_family == AF_INET) {
        struct in_pktinfo info = { 0 };

        memcpy(&info.ipi_spec_dst, &flow->local.s6_addr[12], sizeof(info.ipi_spec_dst));
        *c = (struct cmsghdr){ CMSG_LEN(sizeof(info)), IPPROTO_IP, IP_PKTINFO };
        memcpy(CMSG_DATA(c), &info, sizeof(info));
        message->msg_controllen = CMSG_SPACE(sizeof(info));
    } else {
        struct in6_pktinfo info = { .ipi6_addr = flow->local };

        *c = (struct cmsghdr){ CMSG_LEN(sizeof(info)), IPPROTO_IPV6, IPV6_PKTINFO };
        memcpy(CMSG_DATA(c), &info, sizeof(info));
        message->msg_controllen = CMSG_SPACE(sizeof(info));
    }
}

void udp_ports_send(const struct flow *flow, const struct packet *p)
{
    struct udphdr udp;
    struct sockaddr_in6 client = flow->client;
    union control control = { .bytes = { 0 } };
    struct iovec iov;
    struct msghdr message = {
        .msg_name = &client,
        .msg_namelen = client.sin6_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(client),
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };

    /* Its length lies within the packet (packet.c). */
    memcpy(&udp, p->frame + p->upper, sizeof(udp));
    iov.iov_base = (void *)(p->frame + p->upper + sizeof(udp));
    iov.iov_len = ntohs(udp.uh_ulen) - sizeof(udp);
    write_control(flow, &message);
    /* What the host cannot send is lost, as datagrams may be. */
    (void)!sendmsg(flow->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}
