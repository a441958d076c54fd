/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets of published ports.
 */
#include "net/listen.h"

#include "config/port.h"
#include "util/cleanup.h"

#include <string.h>
#include <sys/socket.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static socklen_t address_of(const struct spec_port *port, union address *address)
{
    *address = (union address){ 0 };
    if (IN6_IS_ADDR_V4MAPPED(&port->address)) {
        address->v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port->host) };
        memcpy(&address->v4.sin_addr, &port->address.s6_addr[12], 4);
        return sizeof(address->v4);
    }
    address->v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port->host), .sin6_addr = port->address };
    return sizeof(address->v6);
}

static int set_options(int fd, const struct spec_port *port, const union address *address, msb_error **err)
{
    const int on = 1;

    /* IPv4 has its own port_map, and its own socket. */
    if (address->any.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
        return fail_errno(err, "set IPV6_V6ONLY");
    /* A port whose last connections still linger is free (TCP); for UDP the same option would share it. */
    if (port->protocol == IPPROTO_TCP && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return fail_errno(err, "set SO_REUSEADDR");
    /* UDP answers come from the address that was asked. */
    if (port->protocol != IPPROTO_UDP)
        return 0;
    if (address->any.sa_family == AF_INET6)
        return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) < 0 ? fail_errno(err, "set IPV6_RECVPKTINFO") : 0;
    return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0 ? fail_errno(err, "set IP_PKTINFO") : 0;
}

static int fail_bind(const struct spec_port *port, msb_error **err)
{
    const char *protocol = port->protocol == IPPROTO_UDP ? "udp" : "tcp";
    char address[PORT_ADDRESS_MAX];
    int error = errno;

    port_address(port, address);
    errno = error;
    if (error == EADDRINUSE)
        return fail(err, MSB_ERR_IN_USE, "port_map: host port %u/%s on %s is in use; choose another, or 0 for any free one",
                    port->host, protocol, address);
    if (error == EACCES)
        return fail(err, MSB_ERR_SYSTEM,
                    "port_map: host port %u/%s on %s: permission denied; choose one from sysctl "
                    "net.ipv4.ip_unprivileged_port_start on",
                    port->host, protocol, address);
    if (error == EADDRNOTAVAIL)
        return fail(err, MSB_ERR_NOT_FOUND, "port_map: host port %u/%s on %s: this host does not have that address", port->host,
                    protocol, address);
    return fail_errno(err, "port_map: host port %u/%s on %s", port->host, protocol, address);
}

static int bound_port(int fd, uint16_t *bound, msb_error **err)
{
    union address address = { 0 };
    socklen_t size = sizeof(address);

    if (getsockname(fd, &address.any, &size) < 0)
        return fail_errno(err, "ask which port was given");
    *bound = ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
    return 0;
}

int open_port(const struct spec_port *port, uint16_t *bound, msb_error **err)
{
    union address address;
    socklen_t size = address_of(port, &address);
    int type = port->protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
    _cleanup_fd_ int fd = socket(address.any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return fail_bind(port, err);
    if (set_options(fd, port, &address, err) < 0)
        return -1;
    if (bind(fd, &address.any, size) < 0 || (type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0))
        return fail_bind(port, err);
    if (bound_port(fd, bound, err) < 0)
        return -1;
    return steal_fd(&fd);
}
