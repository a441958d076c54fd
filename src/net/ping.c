/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Echo requests; ping.h has the contract. A few sockets, each connected to one address for one of the guest's identifiers; the one
 * that was silent longest makes room.
 */
#include "net/ping.h"

#include "net/checksum.h"
#include "net/reply.h"
#include "util/cleanup.h"

#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    NUM_SOCKETS = 16,
    HEADER_SIZE = 8,
    IDENTIFIER_AT = 4,
    CHECKSUM_AT = 2,
    HEADERS_MAX = ETH_HLEN + 40,
};

struct ping_socket {
    struct ping *ping;
    int fd; /* -1: free */
    struct loop_source *source;
    struct ip_address guest, remote; /* as the guest sees them */
    uint8_t identifier[2];
    uint64_t used; /* when last, by ping->clock */
};

struct ping {
    struct loop *loop;
    const struct addresses *own;
    const struct outside_handler *handler;
    void *data;
    uint64_t clock;
    struct ping_socket sockets[NUM_SOCKETS];
    uint8_t frame[HEADERS_MAX + UINT16_MAX];
};

struct ping *ping_new(struct loop *loop, const struct addresses *own, const struct outside_handler *handler, void *data,
                      msb_error **err)
{
    struct ping *ping = calloc(1, sizeof(*ping));

    if (!ping)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    ping->loop = loop;
    ping->own = own;
    ping->handler = handler;
    ping->data = data;
    for (int i = 0; i < NUM_SOCKETS; i++) {
        ping->sockets[i].ping = ping;
        ping->sockets[i].fd = -1;
    }
    return ping;
}

static void socket_close(struct ping_socket *s)
{
    loop_remove(s->source);
    s->source = NULL;
    cleanup_fd(&s->fd);
    s->fd = -1;
}

void ping_free(struct ping *ping)
{
    for (int i = 0; ping && i < NUM_SOCKETS; i++)
        socket_close(&ping->sockets[i]);
    free(ping);
}

/* ---- Replies ------------------------------------------------------------------------------------------------------------- */

static void deliver(const struct ping_socket *s, size_t size)
{
    struct ping *ping = s->ping;
    bool v6 = s->remote.version == 6;
    uint8_t *icmp = ping->frame + HEADERS_MAX;
    size_t headers = v6 ? HEADERS_MAX : HEADERS_MAX - 20;
    uint8_t protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
    uint64_t sum = v6 ? checksum_add_pseudo(0, &s->remote, &s->guest, protocol, size) : 0;
    uint16_t checksum;

    memcpy(icmp + IDENTIFIER_AT, s->identifier, sizeof(s->identifier));
    memset(icmp + CHECKSUM_AT, 0, sizeof(checksum));
    checksum = checksum_finish(checksum_add(sum, icmp, size));
    memcpy(icmp + CHECKSUM_AT, &checksum, sizeof(checksum));
    write_headers(ping->own, &s->remote, &s->guest, protocol, size, icmp - headers);
    ping->handler->frame(ping->data, icmp - headers, headers + size);
}

static void reply_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct ping_socket *s = data;
    struct ping *ping = s->ping;
    ssize_t size = recv(fd, ping->frame + HEADERS_MAX, UINT16_MAX - HEADERS_MAX, MSG_DONTWAIT | MSG_TRUNC);
    uint8_t reply = s->remote.version == 6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY;

    (void)source, (void)events;
    if (size < HEADER_SIZE || size > UINT16_MAX - HEADERS_MAX || ping->frame[HEADERS_MAX] != reply)
        return;
    deliver(s, (size_t)size);
    ping->handler->batch(ping->data);
}

/* ---- Requests ------------------------------------------------------------------------------------------------------------ */

static struct ping_socket *find(struct ping *ping, const struct packet *p, const uint8_t *identifier)
{
    struct ping_socket *chosen = &ping->sockets[0];

    for (int i = 0; i < NUM_SOCKETS; i++) {
        struct ping_socket *s = &ping->sockets[i];

        if (s->fd >= 0 && ip_equal(&s->remote, &p->destination) && ip_equal(&s->guest, &p->source) &&
            memcmp(s->identifier, identifier, sizeof(s->identifier)) == 0)
            return s;
        if (chosen->fd >= 0 && (s->fd < 0 || s->used < chosen->used))
            chosen = s;
    }
    socket_close(chosen);
    return chosen;
}

static int connect_to(int fd, const struct addresses *own, const struct ip_address *to)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr = to->v4 };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

    if (to->version == 4) {
        if (to->v4.s_addr == own->gateway.s_addr)
            v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return connect(fd, (struct sockaddr *)&v4, sizeof(v4));
    }
    v6.sin6_addr = IN6_ARE_ADDR_EQUAL(&to->v6, &own->gateway6) ? in6addr_loopback : to->v6;
    return connect(fd, (struct sockaddr *)&v6, sizeof(v6));
}

static int socket_open(struct ping_socket *s, const struct packet *p, const uint8_t *identifier)
{
    bool v6 = p->destination.version == 6;

    s->fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
    if (s->fd < 0 || connect_to(s->fd, s->ping->own, &p->destination) < 0)
        return -1;
    s->source = loop_add(s->ping->loop, s->fd, EPOLLIN, reply_ready, s, NULL);
    s->remote = p->destination;
    s->guest = p->source;
    memcpy(s->identifier, identifier, sizeof(s->identifier));
    return s->source ? 0 : -1;
}

bool ping_send(struct ping *ping, const struct packet *p)
{
    const uint8_t *icmp = p->frame + p->upper;
    struct ping_socket *s = find(ping, p, icmp + IDENTIFIER_AT);

    if (s->fd < 0 && socket_open(s, p, icmp + IDENTIFIER_AT) < 0) {
        socket_close(s);
        return false;
    }
    s->used = ++ping->clock;
    return send(s->fd, icmp, p->end - p->upper, MSG_DONTWAIT) >= 0 || errno == EAGAIN;
}
