/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's vsock driver for tests, and everything around the device: it starts msb-vsock with the test as monitor and VMM, and
 * sends and receives packets as they are.
 */
#ifndef MSB_TESTS_VSOCK_GUEST_H
#define MSB_TESTS_VSOCK_GUEST_H

#include "device_process.h"
#include "driver.h"

#include <linux/virtio_vsock.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
    TIMEOUT_MS = 10000,
    GUEST_BUF_ALLOC = 64 << 10, /* the credit that packets made here give */
    PACKET_DATA_MAX = 64 << 10,
};

struct guest {
    struct device_process process;
    struct driver *driver;
    struct driver_queue *rx, *tx;
    int monitor;  /* our end of VSOCK_FD_INCOMING */
    int listener; /* VSOCK_FD_LISTEN */
    struct sockaddr_un address;
    socklen_t address_size;
    gpa_t rx_buffers[64]; /* by head */
    gpa_t tx_buffers[64];
};

struct packet {
    struct virtio_vsock_hdr header;
    uint8_t data[4096];
};

/* Starts the device, and gives it receive buffers when asked to. Everything that fails here fails the test. */
void guest_start(struct guest *guest, bool with_rx_buffers);
/* Hangs up as a dying VMM does; the device must end with status 0. */
void guest_stop(struct guest *guest);

/* Gives the device a receive buffer for each free descriptor. */
void guest_fill_rx(struct guest *guest);

/* Sends a packet with header.len bytes of data. False when the device does not take it within the time. */
bool guest_send(struct guest *guest, const struct virtio_vsock_hdr *header, const void *data, int timeout_ms);

/* The next packet; false when there is none within the time. The buffer is given back. */
bool guest_receive(struct guest *guest, struct packet *packet, int timeout_ms);

/* A header to the host, from guest_port to host_port. */
struct virtio_vsock_hdr guest_header(enum virtio_vsock_op op, uint32_t guest_port, uint32_t host_port);

/* Sends one with these fields, and no data. */
void guest_send_op(struct guest *guest, enum virtio_vsock_op op, uint32_t guest_port, uint32_t host_port, uint32_t flags);

/* Receives a packet of this kind, and nothing else. */
struct packet guest_expect(struct guest *guest, enum virtio_vsock_op op, uint32_t guest_port, uint32_t host_port);

/* No packet comes. */
void guest_expect_nothing(struct guest *guest);

/* What the monitor gets for a connection: the port and a socket. -1 when nothing comes. */
int guest_accept_on_host(struct guest *guest, uint32_t *port);

/* Connects from the guest; returns the host's socket. */
int guest_connect(struct guest *guest, uint32_t guest_port, uint32_t host_port);

/* A host program connects to the listening socket. */
int host_connect(const struct guest *guest);

#endif
