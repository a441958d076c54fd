/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP connection between the guest and a socket of the host, for tcp.c (all connections together), tcp_guest.c (segments) and
 * tcp_host.c (the socket).
 *
 * Whoever does something to a connection ends with connection_serve(), which moves on what can be moved and ends what is at its end:
 * the connection may be gone then. What goes wrong before is only noted, as `failed`.
 */
#ifndef MSB_NET_TCP_CONNECTION_H
#define MSB_NET_TCP_CONNECTION_H

#include "net/tcp.h"

#include <sys/queue.h>
#include <sys/uio.h>

enum {
    CONNECTIONS_MAX = 930, /* at a time: of 1024 descriptors, 960 without those of pings, members and published ports */
    BUFFER_SMALL = 64 << 10,
    BUFFER_LARGE = 512 << 10, /* powers of two */
    LARGE_MAX = 32,           /* connections at a time that have large buffers */
    WINDOW_SCALE = 4,         /* RFC 7323: ours; enough for BUFFER_LARGE */
};

#define MILLISECONDS 1000000ULL

/* Bytes on their way. Memory is taken when there are some for the first time. */
struct ring {
    uint8_t *bytes;
    uint32_t capacity, begin, used;
};

enum connection_state {
    CONNECTION_BEGUN,    /* by the guest: the host's socket is being connected */
    CONNECTION_ANSWERED, /* the guest has our SYN and ACK */
    CONNECTION_OFFERED,  /* by a client: the guest has our SYN */
    CONNECTION_OPEN,
};

struct connection {
    struct tcp *tcp;
    TAILQ_ENTRY(connection) all;
    LIST_ENTRY(connection) bucket;
    TAILQ_ENTRY(connection) due;
    bool is_queued; /* among those that are due */
    bool is_due;    /* the guest is to be sent an acknowledgement when the batch is over */

    struct ip_address guest, remote; /* as the guest sees them */
    uint16_t guest_port, remote_port;
    enum connection_state state;
    bool is_large;
    bool failed; /* both sides are to be reset */
    bool silent; /* but not the guest: it knows */

    int fd;
    struct loop_source *source;
    bool readable, writable; /* as far as is known */
    bool hung_up;            /* the end is behind what can be read */

    /* To the guest: what is in the ring begins at `first`, the first byte that the guest has not acknowledged. */
    struct ring to_guest;
    uint32_t first, next, highest; /* next: the next to be sent, again perhaps; highest: behind all that was ever sent */
    uint32_t window;               /* of the guest's, from `first` on */
    uint8_t guest_scale;
    uint32_t segment_max;
    bool host_ended;       /* a FIN is behind what is in the ring */
    bool end_acknowledged; /* and the guest has it */

    /* To the host */
    struct ring to_host;
    uint32_t expected;    /* of the guest's next byte */
    uint32_t unmentioned; /* bytes that the guest has had no acknowledgement of */
    uint64_t mention_at;  /* when it shall have one at the latest; nanoseconds, 0: no hurry */
    uint64_t mentioned;   /* when it last had one that said nothing else */
    bool is_silent;       /* the host's side does not answer at once: nothing to wait for */
    uint32_t edge;        /* up to where the guest was told to send */
    bool scales;          /* windows are scaled */
    bool guest_ended;
    bool shut; /* and the host's socket was told */

    uint64_t deadline; /* of the guest's answer; nanoseconds, 0: nothing is waited for */
    unsigned retries, duplicates;
};

TAILQ_HEAD(connection_queue, connection);
LIST_HEAD(connection_list, connection);

/* A socket of a published port. */
struct listener {
    struct tcp *tcp;
    struct listener *next;
    uint16_t guest_port;
    struct loop_source *source;
};

enum { NUM_BUCKETS = 1024 };

struct tcp {
    struct loop *loop;
    const struct addresses *own;
    const struct outside_handler *handler;
    void *data;
    unsigned num, num_large;
    struct connection_queue connections; /* who had their turn last is last */
    struct connection_queue due;
    struct connection_list buckets[NUM_BUCKETS];
    uint64_t secret;
    struct listener *listeners;
    bool accepting, listening;
    bool blocked; /* somebody would go on, but for the guest's congestion */
    int timer;
    struct loop_source *timer_source;
    uint64_t timer_at; /* when it fires; 0: it does not run */
    uint8_t frame[FRAME_SIZE_MAX];
};

/* ---- tcp.c */

uint64_t tcp_now(void); /* nanoseconds */
/* Sees to it that a time is not missed. */
void tcp_wake_at(struct tcp *tcp, uint64_t at);
void connection_serve(struct connection *c);

bool ring_prepare(struct ring *ring); /* false: no memory */
unsigned ring_room(const struct ring *ring, struct iovec iov[2]);
unsigned ring_part(const struct ring *ring, uint32_t offset, uint32_t size, struct iovec iov[2]);
void ring_drop(struct ring *ring, uint32_t size);

/* ---- tcp_guest.c */

/* A SYN of the guest's: what it says of its side. */
void guest_begin(struct connection *c, const struct packet *p);
void guest_offer(struct connection *c);  /* sends SYN */
void guest_answer(struct connection *c); /* sends SYN and ACK */
void guest_input(struct connection *c, const struct packet *p);
void guest_push(struct connection *c); /* sends what the guest takes */
void guest_acknowledge(struct connection *c);
void guest_reset(struct connection *c);
void guest_timeout(struct connection *c);
/* The guest will be told that it may send on, if that is worth a segment. */
void guest_update_window(struct connection *c);

/* ---- tcp_host.c */

/* False, and errno, when the host refuses at once. */
bool host_connect(struct connection *c);
bool host_adopt(struct connection *c, int fd);
void host_read(struct connection *c);
/* How many of the bytes were taken. */
uint32_t host_write(struct connection *c, const uint8_t *bytes, uint32_t size);
bool host_flush(struct connection *c); /* true when the guest may send more than before */
void host_close(struct connection *c, bool reset);

#endif
