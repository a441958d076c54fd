/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor and the virtio-vsock device process (libexec's `msb-vsock`) agree on.
 *
 * Set-up packet: u8 log level. Descriptors beside those of util/device.h:
 *
 *   5  a SOCK_SEQPACKET socket pair with the monitor. For each connection that the guest makes to the host, one packet: u32 port,
 *      little-endian, with one end of a Unix stream socket pair as SCM_RIGHTS. The monitor closes it to refuse the connection.
 *      The guest is told that it is connected without waiting for the monitor, so that a refusal may look to it like a connection
 *      that ends at once.
 *   6  a listening Unix stream socket, or /dev/null when there is none: whoever connects says "CONNECT PORT\n", and after the
 *      guest accepted gets "OK HOSTPORT\n" and then the stream (the convention of Firecracker's vsock sockets). When nobody in the
 *      guest listens, the connection is closed.
 *
 * Both kinds of sockets carry half-closes both ways (shutdown(2)), and hold up the guest's sender, and nobody else, while they are
 * not read.
 */
#ifndef MSB_VSOCK_VSOCK_H
#define MSB_VSOCK_VSOCK_H

enum {
    VSOCK_FD_INCOMING = 5,
    VSOCK_FD_LISTEN = 6,
    GUEST_CID = 3, /* each VM has a host side of its own, so that every guest can have the same number */
};

#endif
