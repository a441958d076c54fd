/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device as its two halves see it: guest.c and host.c. docs/virtio.md has the whole picture.
 *
 * Neither side is waited for, and nothing is held beyond what the peer was promised:
 *
 *   guest to host: data goes from the guest's buffers into the socket. What the socket does not take goes to the connection's
 *   spill, which is as large as the credit that the guest has; a guest that sends more than its credit is reset.
 *
 *   host to guest: data goes from the socket into the guest's buffers, when there are buffers and the guest has given credit.
 *   Otherwise it stays in the socket, and whoever writes there waits.
 *
 *   Control packets are not queued but owed: a flag of the connection says which are due. Only resets, whose connection is gone,
 *   have a queue (struct resets), and a guest that makes it long is not listened to until it takes some.
 */
#ifndef MSB_VSOCK_DEVICE_H
#define MSB_VSOCK_DEVICE_H

#include "virtio/vhost_user.h"
#include "vsock/connection.h"

enum {
    QUEUE_RX = 0,   /* to the guest (virtio 1.2, section 5.10.2) */
    QUEUE_TX = 1,   /* from the guest */
    NUM_QUEUES = 3, /* the third is for events, of which this device has none */

    RX_BATCH_MAX = 64, /* guest buffers that one read fills */
    RESETS_HOLD = 512, /* resets due at which the guest is not listened to */
    /* Beyond that only connections that exist can be reset, each once. */
    RESETS_MAX = RESETS_HOLD + MAX_CONNECTIONS,
};

/* An RST packet that is due. */
struct reset {
    uint64_t host_cid;
    uint32_t host_port, guest_port;
    uint16_t type;
};

struct resets {
    unsigned first, count;
    struct reset ring[RESETS_MAX];
};

/* Buffers that the guest gave, for one packet each. */
struct rx_buffer {
    uint16_t head;
    size_t room;               /* bytes behind the header */
    const struct iovec *whole; /* in rx_batch.whole */
    unsigned num_whole;
};

struct rx_batch {
    unsigned count;
    struct rx_buffer buffers[RX_BATCH_MAX];
    unsigned num_whole, num_data;
    struct iovec whole[VIRTQUEUE_MAX_SIZE];
    struct iovec data[VIRTQUEUE_MAX_SIZE]; /* the same less the headers */
};

struct vsock {
    struct loop *loop;
    struct vhost_user *vu;
    int incoming; /* VSOCK_FD_INCOMING */
    struct loop_source *incoming_source;
    bool incoming_full;
    int listener; /* VSOCK_FD_LISTEN */
    struct loop_source *listener_source;
    bool listening;
    bool held_up; /* the guest is not listened to: too many resets */
    struct connection_table table;
    struct connection *first_waiting;
    struct connection *last_waiting;
    struct resets resets;
    struct chain chain;
    struct iovec payload[VIRTQUEUE_MAX_SIZE];
    struct rx_batch rx;
};

/* ---- vsock.c ------------------------------------------------------------------------------------------------------------------- */

/* Serves the front-end behind the socket, which becomes the device's; incoming and listener stay the caller's. */
struct vsock *vsock_new(struct loop *loop, int frontend, int incoming, int listener, msb_error **err);
void vsock_free(struct vsock *vsock);

/* A connection, making room for it if need be; NULL when there is none. */
struct connection *vsock_connection(struct vsock *vsock);

/* The guest is done with a connection: it is forgotten, once what the guest sent last is with the host. */
void vsock_finish(struct connection *connection);

/* ---- guest.c ------------------------------------------------------------------------------------------------------------------- */

/* Takes what the guest sent. */
void guest_receive(struct vsock *vsock, struct virtqueue *queue);

/* Has guest_receive() called once more, from the loop. */
void guest_receive_again(struct vsock *vsock);

/* Notes that the guest has something to get: what is owed, or data in the socket. */
void guest_wake(struct connection *connection);
void guest_forget_wake(struct connection *connection);

/* Tells the guest what the host will not do any more (VIRTIO_VSOCK_SHUTDOWN_*). */
void guest_tell_shutdown(struct connection *connection, uint32_t flags);

/* Gives the guest what it has to get, as far as it has room. Called at the end of each event. */
void guest_send(struct vsock *vsock);

/* Ends a connection at once with an RST; it may be gone afterwards. */
void guest_reset(struct connection *connection);

/* Notes that bytes of the guest's left this process. */
void guest_credit(struct connection *connection, size_t bytes);

/* ---- host.c -------------------------------------------------------------------------------------------------------------------- */

enum host_open {
    HOST_OPENED,
    HOST_REFUSED,
    HOST_BUSY, /* the monitor is behind; incoming_full is set until it is not */
};

/* Hands one end of a new socket pair to the monitor, for a connection to this port; *fd is the other end. */
enum host_open host_open(struct vsock *vsock, uint32_t port, int *fd);

/* Has a socket looked after. */
int host_attach(struct connection *connection, int fd);

/* Gives the host data from the guest. False when there is no memory. */
bool host_write(struct connection *connection, struct iovec *iov, unsigned count, size_t bytes);

/* Reads from the host straight into the guest's buffers: bytes, 0 when there are none, -1 when the host ended the stream. */
ssize_t host_read(const struct connection *connection, struct iovec *iov, unsigned count);

/* The guest accepted what the host asked for. False when the host is not there any more. */
bool host_accepted(const struct connection *connection);

/* The guest will send no more, or receive no more: guest_shutdown says which. */
void host_shutdown(struct connection *connection);

/* Watches what can happen in the connection's state, and nothing else. */
void host_watch(struct connection *connection);

/* Accepts connections while there is room for them. */
void host_listen(struct vsock *vsock);

void host_socket_ready(struct loop_source *source, int fd, uint32_t events, void *data);
void host_incoming_ready(struct loop_source *source, int fd, uint32_t events, void *data);
void host_listener_ready(struct loop_source *source, int fd, uint32_t events, void *data);

#endif
