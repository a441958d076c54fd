/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP between the guest and the host's network; tcp.h has the contract.
 *
 * Theory of operation
 *
 * Why not libslirp's: it has no window scaling, so that a connection has 64 KiB on its way at most, which one large segment fills; it
 * looks at every one of its sockets whenever something happens; and it copies and sums everything once more.
 *
 * The guest's connection and the host's socket each have a buffer for what is on its way to them. A guest can use up what it was
 * given, and nothing else: at most CONNECTIONS_MAX connections with two small buffers each, of which the first LARGE_MAX have large
 * ones. What the guest does not take stays in its buffer, then in the host's kernel, then at the other end, as TCP wants it.
 *
 * Nothing is waited for but descriptors: events of sockets, packets of the guest's, and one timer, which runs while the guest owes an
 * answer, or we owe it one.
 */
#include "net/client.h"
#include "net/tcp_connection.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

enum {
    ACCEPT_BATCH = 64,
    ACCEPT_AGAIN_MS = 500,
};

/* ---- Buffers ------------------------------------------------------------------------------------------------------------- */

bool ring_prepare(struct ring *ring)
{
    if (!ring->bytes)
        ring->bytes = malloc(ring->capacity);
    return ring->bytes;
}

/* The bytes [at, at + size) counted from the ring's beginning; its capacity is a power of two. */
static unsigned ring_at(const struct ring *ring, uint32_t at, uint32_t size, struct iovec iov[2])
{
    uint32_t begin = (ring->begin + at) & (ring->capacity - 1), first = ring->capacity - begin;

    if (size == 0)
        return 0;
    if (size <= first) {
        iov[0] = (struct iovec){ ring->bytes + begin, size };
        return 1;
    }
    iov[0] = (struct iovec){ ring->bytes + begin, first };
    iov[1] = (struct iovec){ ring->bytes, size - first };
    return 2;
}

unsigned ring_room(const struct ring *ring, struct iovec iov[2])
{
    return ring_at(ring, ring->used, ring->capacity - ring->used, iov);
}

unsigned ring_part(const struct ring *ring, uint32_t offset, uint32_t size, struct iovec iov[2])
{
    return ring_at(ring, offset, size, iov);
}

void ring_drop(struct ring *ring, uint32_t size)
{
    ring->used -= size;
    /* A ring that is empty begins anew, and so touches no more memory than it needs. */
    ring->begin = ring->used ? (ring->begin + size) & (ring->capacity - 1) : 0;
}

/* ---- Connections --------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
    return hash ^ (hash >> 29);
}

/* Hashed with a secret, so that nobody can choose ports that all fall into one bucket. */
static uint64_t hash_of(const struct tcp *tcp, const struct ip_address *guest, uint16_t guest_port,
                        const struct ip_address *remote, uint16_t remote_port)
{
    uint64_t word[4] = { 0 }, hash = tcp->secret;

    memcpy(&word[0], &guest->v4, guest->version == 4 ? sizeof(guest->v4) : sizeof(guest->v6));
    memcpy(&word[2], &remote->v4, remote->version == 4 ? sizeof(remote->v4) : sizeof(remote->v6));
    for (int i = 0; i < 4; i++)
        hash = mix(hash, word[i]);
    return mix(mix(hash, (uint64_t)guest_port << 16 | remote_port), tcp->secret);
}

static struct connection *find(struct tcp *tcp, const struct ip_address *guest, uint16_t guest_port,
                               const struct ip_address *remote, uint16_t remote_port)
{
    struct connection *c;

    LIST_FOREACH(c, &tcp->buckets[hash_of(tcp, guest, guest_port, remote, remote_port) % NUM_BUCKETS], bucket)
    if (c->guest_port == guest_port && c->remote_port == remote_port && ip_equal(&c->guest, guest) &&
        ip_equal(&c->remote, remote))
        return c;
    return NULL;
}

static struct connection *make(struct tcp *tcp, const struct ip_address *guest, uint16_t guest_port,
                               const struct ip_address *remote, uint16_t remote_port)
{
    struct connection *c = tcp->num < CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
    uint64_t hash = hash_of(tcp, guest, guest_port, remote, remote_port);

    if (!c)
        return NULL;
    *c = (struct connection){
        .tcp = tcp, .guest = *guest, .guest_port = guest_port, .remote = *remote, .remote_port = remote_port, .fd = -1
    };
    /* RFC 6528: nobody knows where another connection's numbers begin. */
    c->first = c->next = c->highest = (uint32_t)(mix(hash, tcp->secret) + (tcp_now() << 8));
    c->is_large = tcp->num_large < LARGE_MAX;
    c->to_guest.capacity = c->to_host.capacity = c->is_large ? BUFFER_LARGE : BUFFER_SMALL;
    tcp->num++;
    tcp->num_large += c->is_large;
    TAILQ_INSERT_TAIL(&tcp->connections, c, all);
    LIST_INSERT_HEAD(&tcp->buckets[hash % NUM_BUCKETS], c, bucket);
    return c;
}

static void listen_where_possible(struct tcp *tcp);

static void end(struct connection *c, bool reset)
{
    struct tcp *tcp = c->tcp;

    host_close(c, reset);
    if (c->is_queued)
        TAILQ_REMOVE(&tcp->due, c, due);
    TAILQ_REMOVE(&tcp->connections, c, all);
    LIST_REMOVE(c, bucket);
    tcp->num--;
    tcp->num_large -= c->is_large;
    free(c->to_guest.bytes);
    free(c->to_host.bytes);
    free(c);
    listen_where_possible(tcp);
}

void connection_serve(struct connection *c)
{
    if (c->state == CONNECTION_OPEN && !c->failed) {
        if (host_flush(c))
            guest_update_window(c);
        host_read(c);
        guest_push(c);
    }
    if (c->failed && !c->silent)
        guest_reset(c);
    if (c->failed)
        end(c, true);
    else if (c->shut && c->end_acknowledged)
        end(c, false);
}

/* ---- Clients of published ports ------------------------------------------------------------------------------------------ */

static void watch_listeners(struct tcp *tcp, bool watch)
{
    if (tcp->listening == watch)
        return;
    tcp->listening = watch;
    for (struct listener *l = tcp->listeners; l; l = l->next)
        if (loop_modify(l->source, watch ? EPOLLIN : 0, NULL) < 0)
            log_error("watch a published port: %m");
}

/* Connections wait in the kernel while the guest is not there, or there are too many. */
static void listen_where_possible(struct tcp *tcp)
{
    watch_listeners(tcp, tcp->accepting && tcp->num < CONNECTIONS_MAX);
}

static struct connection *connection_of_client(const struct listener *l, const struct sockaddr_in6 *client)
{
    struct tcp *tcp = l->tcp;
    struct ip_address remote = client_seen(tcp->own, client), guest = { .version = remote.version };
    uint16_t port = client_port(client);

    if (guest.version == 4)
        guest.v4 = tcp->own->ip;
    else
        guest.v6 = tcp->own->ip6;
    for (int i = 0; i < CLIENT_PORTS_TO_TRY; i++, port = client_next_port(port))
        if (!find(tcp, &guest, l->guest_port, &remote, port))
            return make(tcp, &guest, l->guest_port, &remote, port);
    return NULL;
}

static void take_client(const struct listener *l, int fd, const struct sockaddr_in6 *client)
{
    struct connection *c = connection_of_client(l, client);

    if (!c) {
        close(fd);
        return;
    }
    if (!host_adopt(c, fd)) {
        end(c, true);
        return;
    }
    guest_offer(c);
}

/* False when there is no client more for now. */
static bool accept_client(const struct listener *l, int fd)
{
    struct sockaddr_in6 client = { 0 };
    socklen_t size = sizeof(client);
    int accepted = accept4(fd, (struct sockaddr *)&client, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (accepted >= 0) {
        take_client(l, accepted, &client);
        return true;
    }
    /* No descriptor is free, or no memory: to be tried again later, since the listening socket would be reported without end. */
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        watch_listeners(l->tcp, false);
        tcp_wake_at(l->tcp, tcp_now() + ACCEPT_AGAIN_MS * MILLISECONDS);
        return false;
    }
    /* Other errors are the client's (accept(2)). */
    return errno != EAGAIN;
}

static void clients_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    const struct listener *l = data;
    struct tcp *tcp = l->tcp;

    (void)source, (void)events;
    for (int i = 0; i < ACCEPT_BATCH && tcp->num < CONNECTIONS_MAX && accept_client(l, fd); i++)
        ;
    if (tcp->num >= CONNECTIONS_MAX)
        watch_listeners(tcp, false);
    tcp->handler->batch(tcp->data);
}

int tcp_publish(struct tcp *tcp, int listening, uint16_t guest_port, msb_error **err)
{
    struct listener *l = calloc(1, sizeof(*l));

    if (!l)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    *l = (struct listener){ .tcp = tcp, .next = tcp->listeners, .guest_port = guest_port };
    l->source = loop_add(tcp->loop, listening, 0, clients_ready, l, err);
    if (!l->source) {
        free(l);
        return -1;
    }
    tcp->listeners = l;
    return 0;
}

void tcp_accept(struct tcp *tcp)
{
    tcp->accepting = true;
    listen_where_possible(tcp);
}

/* ---- The guest's packets ------------------------------------------------------------------------------------------------- */

static bool begin(struct tcp *tcp, const struct packet *p)
{
    struct connection *c = make(tcp, &p->source, p->source_port, &p->destination, p->destination_port);

    if (!c)
        return false;
    guest_begin(c, p);
    if (host_connect(c))
        return true;
    end(c, true);
    return false;
}

/* The guest has forgotten a connection that is still here when it begins another one in its place. */
static bool is_new(const struct connection *c, const struct packet *p)
{
    struct tcphdr header;

    memcpy(&header, p->frame + p->upper, sizeof(header));
    return (header.th_flags & (TH_SYN | TH_ACK)) == TH_SYN && c->expected != ntohl(header.th_seq) + 1;
}

bool tcp_send(struct tcp *tcp, const struct packet *p)
{
    struct connection *c = find(tcp, &p->source, p->source_port, &p->destination, p->destination_port);

    if (c && is_new(c, p)) {
        end(c, true);
        c = NULL;
    }
    if (!c)
        return (p->tcp_flags & (TH_SYN | TH_ACK | TH_RST)) == TH_SYN && begin(tcp, p);
    guest_input(c, p);
    connection_serve(c);
    return true;
}

void tcp_flush(struct tcp *tcp)
{
    struct connection *c;

    while ((c = TAILQ_FIRST(&tcp->due))) {
        TAILQ_REMOVE(&tcp->due, c, due);
        c->is_queued = false;
        if (c->is_due)
            guest_acknowledge(c);
    }
}

/* Whoever has had a turn goes to the end of the queue. */
void tcp_resume(struct tcp *tcp)
{
    unsigned left = tcp->num;

    if (!tcp->blocked)
        return;
    tcp->blocked = false;
    while (left-- > 0 && !tcp->blocked && !TAILQ_EMPTY(&tcp->connections)) {
        struct connection *c = TAILQ_FIRST(&tcp->connections);

        TAILQ_REMOVE(&tcp->connections, c, all);
        TAILQ_INSERT_TAIL(&tcp->connections, c, all);
        connection_serve(c);
    }
}

/* ---- Time ---------------------------------------------------------------------------------------------------------------- */

uint64_t tcp_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * MILLISECONDS + (uint64_t)now.tv_nsec;
}

void tcp_wake_at(struct tcp *tcp, uint64_t at)
{
    const struct itimerspec when = {
        .it_value = { .tv_sec = (time_t)(at / (1000 * MILLISECONDS)), .tv_nsec = (long)(at % (1000 * MILLISECONDS)) },
    };

    if (tcp->timer_at && tcp->timer_at <= at)
        return;
    tcp->timer_at = at;
    if (timerfd_settime(tcp->timer, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        log_error("set TCP's timer: %m");
}

static void look_at_clock(struct connection *c, uint64_t now)
{
    struct tcp *tcp = c->tcp;

    if (c->mention_at && now >= c->mention_at)
        guest_acknowledge(c);
    if (c->mention_at)
        tcp_wake_at(tcp, c->mention_at);
    if (c->deadline && now < c->deadline)
        tcp_wake_at(tcp, c->deadline);
    if (c->deadline && now >= c->deadline) {
        guest_timeout(c);
        connection_serve(c);
    }
}

static void timer_fired(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct tcp *tcp = data;
    struct connection *c, *next;
    uint64_t count, now = tcp_now();

    (void)source, (void)events;
    if (read(fd, &count, sizeof(count)) != sizeof(count))
        return;
    tcp->timer_at = 0;
    listen_where_possible(tcp);
    for (c = TAILQ_FIRST(&tcp->connections); c; c = next) {
        next = TAILQ_NEXT(c, all);
        look_at_clock(c, now);
    }
    tcp->handler->batch(tcp->data);
}

/* ---- Beginning and end --------------------------------------------------------------------------------------------------- */

static int start(struct tcp *tcp, msb_error **err)
{
    if (getrandom(&tcp->secret, sizeof(tcp->secret), 0) != sizeof(tcp->secret))
        return fail_errno(err, "get random bytes");
    tcp->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (tcp->timer < 0)
        return fail_errno(err, "make a timer");
    tcp->timer_source = loop_add(tcp->loop, tcp->timer, EPOLLIN, timer_fired, tcp, err);
    return tcp->timer_source ? 0 : -1;
}

struct tcp *tcp_new(struct loop *loop, const struct addresses *own, const struct outside_handler *handler, void *data,
                    msb_error **err)
{
    struct tcp *tcp = calloc(1, sizeof(*tcp));

    if (!tcp)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *tcp = (struct tcp){ .loop = loop, .own = own, .handler = handler, .data = data, .timer = -1 };
    TAILQ_INIT(&tcp->connections);
    TAILQ_INIT(&tcp->due);
    if (start(tcp, err) < 0) {
        tcp_free(tcp);
        return NULL;
    }
    return tcp;
}

void tcp_free(struct tcp *tcp)
{
    if (!tcp)
        return;
    tcp->accepting = false;
    /* What the kernel has of theirs still goes its way. */
    while (!TAILQ_EMPTY(&tcp->connections))
        end(TAILQ_FIRST(&tcp->connections), false);
    while (tcp->listeners) {
        struct listener *first = tcp->listeners;

        tcp->listeners = first->next;
        loop_remove(first->source);
        free(first);
    }
    loop_remove(tcp->timer_source);
    cleanup_fd(&tcp->timer);
    free(tcp);
}
