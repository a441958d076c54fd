/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libslirp on our event loop; outside.h has the contract.
 *
 * Theory of operation
 *
 * libslirp was made for poll(2): before each wait it says which sockets it would watch for what (slirp_pollfds_fill), and after it, it
 * asks for each of them what happened (slirp_pollfds_poll). Here the sockets stay in an epoll set of their own, which is one descriptor
 * in the loop's; before each wait, only what changed is told to the kernel. So that many sockets that become ready at once cost one
 * pass, their events are fetched together.
 *
 * Listening sockets are the monitor's. libslirp makes its own, so for each one it is let make one, at no particular port, and then the
 * monitor's is put in its place under the same number (dup2).
 *
 * A connection that both ends have closed is reset, as if the guest did it, for libslirp to forget it (closing.h). What the guest
 * sent may still wait for a slow reader then, of which nothing is seen but that libslirp would write to some socket, or is connecting
 * one; as long as there is one such, nobody is reset.
 *
 * libslirp learns the guest's MAC addresses from one ARP reply and two neighbour advertisements that are made here; nothing that the
 * guest says changes them.
 */
#include "net/outside.h"

#include "net/checksum.h"
#include "net/closing.h"
#include "net/net.h"
#include "net/reply.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip6.h>
#include <slirp/libslirp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

enum {
    NS_PER_MS = 1000000,
    TIMEOUT_NONE_MS = 1000, /* what libslirp asks for when it waits for nothing */
    STALE_MS = 100,         /* how old its clock may be when a packet comes in */
    EVENTS_MAX = 256,
    SPARE_FDS = 64, /* that connections from outside leave to everything else */
};

/* A descriptor of libslirp's. */
struct watch {
    bool open; /* libslirp has told of it, and not of its end */
    bool is_listening;
    unsigned round;                     /* when libslirp last wanted it watched */
    uint32_t wanted, registered, ready; /* epoll events */
};

struct outside {
    struct loop *loop;
    const struct addresses *own;
    const struct outside_handler *handler;
    void *data;
    Slirp *slirp;
    bool accepting;
    int set, timer; /* epoll set, timerfd */
    struct loop_source *set_source, *timer_source;
    int64_t timer_at; /* when it fires, milliseconds; 0: not armed */
    int64_t polled_at;
    unsigned round;
    struct watch *watches; /* by descriptor */
    unsigned max_fds, end; /* of the array; of what is in use */
    unsigned num_open;
    bool is_writing; /* libslirp has something to write that it could not, or is connecting */
    struct closing closing;
};

static int64_t now_ns(void *opaque)
{
    struct timespec now;

    (void)opaque;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* ---- Watching sockets ---------------------------------------------------------------------------------------------------- */

static struct watch *watch_of(struct outside *o, int fd)
{
    return fd >= 0 && (unsigned)fd < o->max_fds ? &o->watches[fd] : NULL;
}

static void set_registered(struct outside *o, int fd, struct watch *watch, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.fd = fd };
    int operation = events ? (watch->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD) : EPOLL_CTL_DEL;

    if (events == watch->registered)
        return;
    /* An unwatched socket is out of the set: hang-ups would be reported whatever is asked for. */
    if (epoll_ctl(o->set, operation, fd, &event) < 0)
        log_error("watch a socket: %m");
    watch->registered = events;
}

static void register_fd(int fd, void *opaque)
{
    struct outside *o = opaque;
    struct watch *watch = watch_of(o, fd);

    if (!watch)
        return;
    *watch = (struct watch){ .open = true };
    o->num_open++;
    if ((unsigned)fd >= o->end)
        o->end = (unsigned)fd + 1;
}

static void unregister_fd(int fd, void *opaque)
{
    struct outside *o = opaque;
    struct watch *watch = watch_of(o, fd);

    if (!watch || !watch->open)
        return;
    set_registered(o, fd, watch, 0);
    *watch = (struct watch){ 0 };
    o->num_open--;
}

static uint32_t to_epoll(int events)
{
    return ((events & SLIRP_POLL_IN) ? (uint32_t)EPOLLIN : 0) | ((events & SLIRP_POLL_OUT) ? (uint32_t)EPOLLOUT : 0) |
           ((events & SLIRP_POLL_PRI) ? (uint32_t)EPOLLPRI : 0);
}

static int to_slirp(uint32_t events)
{
    return ((events & EPOLLIN) ? SLIRP_POLL_IN : 0) | ((events & EPOLLOUT) ? SLIRP_POLL_OUT : 0) |
           ((events & EPOLLPRI) ? SLIRP_POLL_PRI : 0) | ((events & EPOLLERR) ? SLIRP_POLL_ERR : 0) |
           ((events & EPOLLHUP) ? SLIRP_POLL_HUP : 0);
}

/* Connections wait in the kernel while the guest is not there, or too many are open: a socket that cannot be accepted would otherwise
   be reported without end. */
static bool may_watch(const struct outside *o, const struct watch *watch)
{
    if (watch->is_listening)
        return o->accepting && o->num_open + SPARE_FDS < o->max_fds;
    return true;
}

static int add_poll(int fd, int events, void *opaque)
{
    struct outside *o = opaque;
    struct watch *watch = watch_of(o, fd);

    if (!watch || !may_watch(o, watch))
        return -1;
    watch->round = o->round;
    watch->wanted = to_epoll(events);
    o->is_writing |= (watch->wanted & EPOLLOUT) != 0;
    /* What is read goes to the guest. */
    if (o->handler->congested(o->data))
        watch->wanted &= ~(uint32_t)(EPOLLIN | EPOLLPRI);
    return fd;
}

static int get_events(int fd, void *opaque)
{
    struct outside *o = opaque;
    struct watch *watch = watch_of(o, fd);
    uint32_t ready = watch ? watch->ready : 0;

    if (watch)
        watch->ready = 0;
    return to_slirp(ready);
}

static void set_timer(struct outside *o, uint32_t timeout_ms)
{
    int64_t at = now_ns(NULL) / NS_PER_MS + timeout_ms;
    struct itimerspec spec = { .it_value = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * NS_PER_MS } };

    if (timeout_ms >= TIMEOUT_NONE_MS || (o->timer_at && o->timer_at <= at))
        return;
    if (timerfd_settime(o->timer, 0, &spec, NULL) < 0)
        log_error("set libslirp's timer: %m");
    o->timer_at = at;
}

static void address_from_guest(const struct outside *o, uint8_t *frame)
{
    memcpy(frame, &o->own->gateway_mac, ETH_ALEN);
    memcpy(frame + ETH_ALEN, &o->own->mac, ETH_ALEN);
}

/* Who is to be watched for what, in a new round. */
static uint32_t ask_whom_to_watch(struct outside *o)
{
    uint32_t timeout = UINT32_MAX;

    o->round++;
    o->is_writing = false;
    slirp_pollfds_fill(o->slirp, &timeout, add_poll, o);
    return timeout;
}

/* Whether there was one. */
static bool reset_closed(struct outside *o)
{
    struct closing_connection c;
    bool any = false;

    while (closing_take(&o->closing, &c)) {
        uint8_t frame[RESET_SIZE_MAX];
        size_t size = write_reset(o->own, &c.guest, c.guest_port, &c.outside, c.outside_port, c.guest_end, frame);

        address_from_guest(o, frame);
        slirp_input(o->slirp, frame, (int)size);
        any = true;
    }
    return any;
}

void outside_update(struct outside *o)
{
    uint32_t timeout = ask_whom_to_watch(o);

    if (!o->is_writing && reset_closed(o))
        timeout = ask_whom_to_watch(o);
    for (unsigned fd = 0; fd < o->end; fd++) {
        struct watch *watch = &o->watches[fd];

        if (watch->registered || watch->round == o->round)
            set_registered(o, (int)fd, watch, watch->round == o->round ? watch->wanted : 0);
    }
    set_timer(o, timeout);
}

static void fetch_events(struct outside *o)
{
    struct epoll_event events[EVENTS_MAX];
    int num = epoll_wait(o->set, events, EVENTS_MAX, 0);

    for (int i = 0; i < num; i++) {
        struct watch *watch = watch_of(o, events[i].data.fd);

        if (watch)
            watch->ready |= events[i].events;
    }
}

static void poll_sockets(struct outside *o)
{
    o->polled_at = now_ns(NULL) / NS_PER_MS;
    slirp_pollfds_poll(o->slirp, 0, get_events, o);
    outside_update(o);
    o->handler->batch(o->data);
}

static void sockets_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    fetch_events(data);
    poll_sockets(data);
}

static void timer_fired(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct outside *o = data;
    uint64_t count;

    (void)source, (void)events;
    if (read(fd, &count, sizeof(count)) != sizeof(count))
        return;
    o->timer_at = 0;
    poll_sockets(o);
}

/* ---- libslirp's callbacks ------------------------------------------------------------------------------------------------ */

static ssize_t send_packet(const void *frame, size_t size, void *opaque)
{
    struct outside *o = opaque;
    struct packet p;

    if (packet_parse(frame, size, &p) == REASON_NONE)
        closing_from_outside(&o->closing, &p);
    o->handler->frame(o->data, frame, size);
    return (ssize_t)size;
}

static void guest_error(const char *message, void *opaque)
{
    (void)opaque;
    log_debug("libslirp: %s", message);
}

/* Its only timer sends router advertisements; PID 1 has set what they would say. */
static void *timer_new(SlirpTimerCb callback, void *callback_opaque, void *opaque)
{
    (void)callback, (void)callback_opaque;
    return opaque;
}

static void timer_free(void *timer, void *opaque)
{
    (void)timer, (void)opaque;
}

static void timer_mod(void *timer, int64_t expire_time, void *opaque)
{
    (void)timer, (void)expire_time, (void)opaque;
}

/* "New events may be processed": they are asked for after every packet in any case. */
static void notify(void *opaque)
{
    (void)opaque;
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = now_ns,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = register_fd,
    .unregister_poll_fd = unregister_fd,
    .notify = notify,
};

/* ---- Packets from the guest ---------------------------------------------------------------------------------------------- */

/* libslirp knows no extension headers; the filter has seen that these say nothing. The headers move to where they end. */
static size_t strip_extensions(uint8_t *frame, const struct packet *p)
{
    const size_t headers = ETH_HLEN + sizeof(struct ip6_hdr);
    size_t begin = p->upper - headers;
    struct ip6_hdr ip6;

    memmove(frame + begin, frame, headers);
    memcpy(&ip6, frame + begin + ETH_HLEN, sizeof(ip6));
    ip6.ip6_nxt = p->protocol;
    ip6.ip6_plen = htons((uint16_t)(p->end - p->upper));
    memcpy(frame + begin + ETH_HLEN, &ip6, sizeof(ip6));
    return begin;
}

void outside_send(struct outside *o, uint8_t *frame, const struct packet *p)
{
    int64_t now = now_ns(NULL) / NS_PER_MS;
    size_t begin = 0;

    closing_from_guest(&o->closing, p);
    if (p->source.version == 6 && p->upper > ETH_HLEN + sizeof(struct ip6_hdr))
        begin = strip_extensions(frame, p);
    /* libslirp's clock stands still between polls, and sockets live by it. */
    if (now - o->polled_at > STALE_MS) {
        o->polled_at = now;
        slirp_pollfds_poll(o->slirp, 1, get_events, o);
    }
    slirp_input(o->slirp, frame + begin, (int)(p->end - begin));
}

/* ---- Beginning ----------------------------------------------------------------------------------------------------------- */

/* Frames from the guest to the gateway, as if the guest had sent them. */
static void teach_ip4(struct outside *o)
{
    struct ether_arp arp = { .arp_hln = ETH_ALEN, .arp_pln = 4 };
    struct ethhdr ethernet = { .h_proto = htons(ETH_P_ARP) };
    uint8_t frame[sizeof(ethernet) + sizeof(arp)];

    memcpy(ethernet.h_dest, &o->own->gateway_mac, ETH_ALEN);
    memcpy(ethernet.h_source, &o->own->mac, ETH_ALEN);
    arp.arp_hrd = htons(ARPHRD_ETHER);
    arp.arp_pro = htons(ETH_P_IP);
    arp.arp_op = htons(ARPOP_REPLY);
    memcpy(arp.arp_sha, &o->own->mac, ETH_ALEN);
    memcpy(arp.arp_spa, &o->own->ip, 4);
    memcpy(frame, &ethernet, sizeof(ethernet));
    memcpy(frame + sizeof(ethernet), &arp, sizeof(arp));
    slirp_input(o->slirp, frame, sizeof(frame));
}

static void teach_ip6(struct outside *o, const struct in6_addr *ip6)
{
    struct ip_address source = { .version = 6, .v6 = *ip6 }, destination = { .version = 6, .v6 = o->own->gateway6 };
    struct nd_neighbor_advert advert = { .nd_na_target = *ip6 };
    uint8_t frame[ETH_HLEN + sizeof(struct ip6_hdr) + sizeof(advert)];
    size_t at = write_headers(o->own, &source, &destination, IPPROTO_ICMPV6, sizeof(advert), frame);
    uint64_t sum = checksum_add_pseudo(0, &source, &destination, IPPROTO_ICMPV6, sizeof(advert));

    advert.nd_na_type = ND_NEIGHBOR_ADVERT;
    advert.nd_na_cksum = checksum_finish(checksum_add(sum, &advert, sizeof(advert)));
    memcpy(frame + at, &advert, sizeof(advert));
    address_from_guest(o, frame);
    slirp_input(o->slirp, frame, sizeof(frame));
}

static int start_slirp(struct outside *o, msb_error **err)
{
    SlirpConfig config = {
        .version = 4,
        .in_enabled = true,
        .vnetwork = o->own->link_network,
        .vnetmask = netmask(LINK_NETWORK_BITS),
        .vhost = o->own->gateway,
        .vnameserver = o->own->resolver,
        .vdhcp_start = o->own->ip,
        .in6_enabled = true,
        .vprefix_addr6 = o->own->link_prefix6,
        .vprefix_len = PREFIX6_BITS,
        .vhost6 = o->own->gateway6,
        .vnameserver6 = o->own->resolver6,
        .if_mtu = NET_MTU,
        .if_mru = NET_MTU,
        .disable_dhcp = true,
    };

    o->slirp = slirp_new(&config, &callbacks, o);
    if (!o->slirp)
        return fail(err, MSB_ERR_SYSTEM, "libslirp refuses its configuration");
    teach_ip4(o);
    teach_ip6(o, &o->own->ip6);
    teach_ip6(o, &o->own->link_local);
    return 0;
}

static int start(struct outside *o, msb_error **err)
{
    o->watches = calloc(o->max_fds, sizeof(*o->watches));
    if (!o->watches)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    o->set = epoll_create1(EPOLL_CLOEXEC);
    o->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (o->set < 0 || o->timer < 0)
        return fail_errno(err, "make an epoll set and a timer");
    o->set_source = loop_add(o->loop, o->set, EPOLLIN, sockets_ready, o, err);
    o->timer_source = o->set_source ? loop_add(o->loop, o->timer, EPOLLIN, timer_fired, o, err) : NULL;
    return o->timer_source ? start_slirp(o, err) : -1;
}

struct outside *outside_new(struct loop *loop, const struct addresses *own, unsigned max_fds,
                            const struct outside_handler *handler, void *data, msb_error **err)
{
    struct outside *o = calloc(1, sizeof(*o));

    if (!o)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *o = (struct outside){
        .loop = loop, .own = own, .handler = handler, .data = data, .max_fds = max_fds, .set = -1, .timer = -1
    };
    if (start(o, err) < 0) {
        outside_free(o);
        return NULL;
    }
    return o;
}

void outside_free(struct outside *o)
{
    if (!o)
        return;
    if (o->slirp)
        slirp_cleanup(o->slirp);
    loop_remove(o->set_source);
    loop_remove(o->timer_source);
    cleanup_fd(&o->set);
    cleanup_fd(&o->timer);
    free(o->watches);
    free(o);
}

/* ---- Published ports ----------------------------------------------------------------------------------------------------- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* libslirp's new listening socket is the one that it would watch and we do not know yet. */
static int find_new_listener(int fd, int events, void *opaque)
{
    struct outside *o = opaque;
    struct watch *watch = watch_of(o, fd);
    int listening = 0;
    socklen_t size = sizeof(listening);

    (void)events;
    if (watch && !watch->open && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening) {
        register_fd(fd, o);
        watch->is_listening = true;
        o->watches[fd].round = o->round;
    }
    return -1;
}

static int replace_new_listener(struct outside *o, int listening, msb_error **err)
{
    uint32_t timeout = UINT32_MAX;

    o->round++;
    slirp_pollfds_fill(o->slirp, &timeout, find_new_listener, o);
    for (unsigned fd = 0; fd < o->end; fd++)
        if (o->watches[fd].is_listening && o->watches[fd].round == o->round)
            return dup2(listening, (int)fd) < 0 ? fail_errno(err, "give libslirp a socket") : 0;
    return fail(err, MSB_ERR_SYSTEM, "libslirp does not listen");
}

int outside_publish(struct outside *o, int listening, uint16_t guest_port, msb_error **err)
{
    union address host = { 0 }, guest = { 0 };
    socklen_t size = sizeof(host);

    if (getsockname(listening, &host.any, &size) < 0)
        return fail_errno(err, "ask for the address of a published port");
    guest.any.sa_family = host.any.sa_family;
    if (host.any.sa_family == AF_INET6) {
        guest.v6.sin6_addr = o->own->ip6;
        guest.v6.sin6_port = htons(guest_port);
        size = sizeof(guest.v6);
    } else {
        guest.v4.sin_addr = o->own->ip;
        guest.v4.sin_port = htons(guest_port);
        size = sizeof(guest.v4);
    }
    host = (union address){ .any.sa_family = guest.any.sa_family };
    if (slirp_add_hostxfwd(o->slirp, &host.any, size, &guest.any, size, SLIRP_HOSTFWD_V6ONLY) < 0)
        return fail_errno(err, "make libslirp listen");
    return replace_new_listener(o, listening, err);
}

void outside_accept(struct outside *o)
{
    if (o->accepting)
        return;
    o->accepting = true;
    outside_update(o);
}
