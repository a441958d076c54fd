/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device's connections, and the table that holds them. Who does what: guest.c speaks virtio-vsock with the guest, host.c
 * speaks through Unix sockets with the host, and both meet in struct connection.
 */
#ifndef MSB_VSOCK_CONNECTION_H
#define MSB_VSOCK_CONNECTION_H

#include "util/loop.h"
#include "vsock/spill.h"

enum {
    MAX_CONNECTIONS = 512,
    CONNECT_LINE_MAX = sizeof("CONNECT 4294967295\n") - 1,
};

enum connection_state {
    CONNECTION_LINE,        /* somebody on the host connected, and has yet to say to which port */
    CONNECTION_REQUESTED,   /* the guest has yet to answer our request */
    CONNECTION_ESTABLISHED, /* in both directions, or in one that is left */
    CONNECTION_LINGERING,   /* the host's end is closed, and the guest was told; it has yet to say RST. No socket any more */
    CONNECTION_DRAINING,    /* the guest is done, and forgot it; what it sent last is on its way into the socket */
};

/* Packets that the guest has to be sent, in this order, before more data. */
enum {
    OWED_REQUEST = 1 << 0,
    OWED_RESPONSE = 1 << 1,
    OWED_CREDIT = 1 << 2,
    OWED_SHUTDOWN = 1 << 3,
};

struct vsock;

struct connection {
    struct vsock *vsock;
    enum connection_state state;
    unsigned slot;                     /* in the table */
    struct connection *next_in_bucket; /* of the ports */
    uint32_t guest_port, host_port;

    /* The host's side. */
    int fd;
    struct loop_source *source;
    uint32_t watched; /* what the source is told to watch */
    bool host_ended;  /* nothing more comes from the host */
    bool host_deaf;   /* the host takes nothing more */
    char line[CONNECT_LINE_MAX];
    unsigned line_length;

    /* From the guest. fwd_cnt and buf_alloc are the specification's names (virtio 1.2, section 5.10.6.3). */
    struct spill spill;      /* buf_alloc is SPILL_SIZE */
    uint32_t fwd_cnt;        /* bytes that left this process */
    uint32_t fwd_cnt_told;   /* what the guest knows of it */
    uint32_t guest_shutdown; /* VIRTIO_VSOCK_SHUTDOWN_*: what the guest will not do any more */

    /* To the guest. */
    uint32_t peer_buf_alloc, peer_fwd_cnt; /* what the guest said last: it may say anything */
    uint32_t tx_cnt;                       /* bytes sent */
    unsigned owed;
    uint32_t shutdown_flags; /* VIRTIO_VSOCK_SHUTDOWN_*: what the host will not do any more, told or owed */
    unsigned batch;          /* how many of the guest's buffers to read into at once: it grows while they are filled */
    bool waiting;            /* in the list of those who want a buffer of the guest's */
    bool no_credit;          /* the guest must make room first */
    struct connection *next_waiting;
    uint64_t lingering_since; /* a serial number */
};

struct connection_table {
    unsigned count;
    struct connection *slots[MAX_CONNECTIONS];
    struct connection *buckets[256]; /* by ports: those that the guest knows, or will */
    uint32_t last_host_port;
    uint64_t serial;
};

/* A new connection without socket and ports; NULL when there are too many, or no memory. */
struct connection *connection_new(struct connection_table *table, struct vsock *vsock);

/* Takes it out of the table, with its socket, source and buffer. It must not be waiting for the guest. */
void connection_free(struct connection_table *table, struct connection *connection);

/* Enters it under its ports, and forgets them again. */
void connection_bind(struct connection_table *table, struct connection *connection, uint32_t guest_port, uint32_t host_port);
void connection_unbind(struct connection_table *table, struct connection *connection);

struct connection *connection_find(const struct connection_table *table, uint32_t guest_port, uint32_t host_port);

/* A host port, from 2^30 on, that no connection to this guest port has. */
uint32_t connection_unused_port(struct connection_table *table, uint32_t guest_port);

/* Says that a connection only waits for the guest's RST; and the one that has done so longest, or NULL. */
void connection_linger(struct connection_table *table, struct connection *connection);
struct connection *connection_longest_lingering(const struct connection_table *table);

#endif
