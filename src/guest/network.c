/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interface is brought up by an ioctl (netdevice(7)), for which a guest under emulation has less code to translate. Addresses and
 * routes go to the kernel in one rtnetlink socket, one request after another (rtnetlink(7)).
 * IPv6 may be missing from a kernel; what it refuses of it is told and passed over.
 */
#include "guest/network.h"

#include "util/cleanup.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* The kernel's name for the first network card, and there is one. */
#define CARD "eth0"

enum {
    REQUEST_MAX = 256,
    REPLY_MAX = 4096,
};

struct request {
    struct nlmsghdr header;
    uint8_t body[REQUEST_MAX];
};

/* Starts a request with its fixed part. */
static struct request request_of(uint16_t type, uint16_t flags, const void *fixed, size_t size)
{
    struct request request = {
        .header = {
            .nlmsg_len = (uint32_t)NLMSG_LENGTH(NLMSG_ALIGN(size)),
            .nlmsg_type = type,
            .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
        },
    };

    memcpy(request.body, fixed, size);
    return request;
}

/* Every attribute of ours is short, and no request has more than five of them: REQUEST_MAX is enough. */
static void add_attribute(struct request *request, uint16_t type, const void *data, size_t size)
{
    struct rtattr attribute = { .rta_len = (uint16_t)RTA_LENGTH(size), .rta_type = type };
    uint8_t *at = (uint8_t *)request + request->header.nlmsg_len;

    memcpy(at, &attribute, sizeof(attribute));
    memcpy(at + RTA_LENGTH(0), data, size);
    request->header.nlmsg_len += (uint32_t)RTA_SPACE(size);
}

/* The kernel serves a request before write() returns, and answers only what fails (netlink(7), NLM_F_ACK). */
static int perform(int fd, const struct request *request, const char *what, msb_error **err)
{
    uint8_t reply[REPLY_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
    const struct nlmsghdr *header = (const struct nlmsghdr *)reply;
    const struct nlmsgerr *answer = NLMSG_DATA(header);
    ssize_t n;

    if (write(fd, request, request->header.nlmsg_len) < 0)
        return fail_errno(err, "%s", what);
    n = read(fd, reply, sizeof(reply));
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n < (ssize_t)NLMSG_LENGTH(sizeof(*answer)) || header->nlmsg_type != NLMSG_ERROR)
        return fail(err, MSB_ERR_SYSTEM, "%s: the kernel's answer is not one", what);
    errno = -answer->error;
    return fail_errno(err, "%s", what);
}

static int bring_up(int fd, const char *name, msb_error **err)
{
    struct ifreq request = { 0 };

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return fail_errno(err, "look at the network interface %s", name);
    request.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? fail_errno(err, "bring the network interface %s up", name) : 0;
}

static size_t address_size(uint8_t family)
{
    return family == AF_INET ? 4 : 16;
}

/* No duplicate address detection: the address is the host's choice, and it would keep IPv6 waiting for a second. */
static int add_address(int fd, int index, uint8_t family, const uint8_t *address, uint8_t bits, msb_error **err)
{
    struct ifaddrmsg message = {
        .ifa_family = family,
        .ifa_prefixlen = bits,
        .ifa_flags = IFA_F_PERMANENT | (family == AF_INET6 ? IFA_F_NODAD : 0),
        .ifa_index = (unsigned)index,
    };
    struct request request = request_of(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &message, sizeof(message));
    size_t size = address_size(family);

    add_attribute(&request, IFA_LOCAL, address, size);
    add_attribute(&request, IFA_ADDRESS, address, size);
    if (family == AF_INET && bits < 31) {
        uint32_t host_bits = 0xffffffff >> bits;
        uint8_t broadcast[4];

        for (unsigned i = 0; i < 4; i++)
            broadcast[i] = (uint8_t)(address[i] | (host_bits >> (24 - 8 * i)));
        add_attribute(&request, IFA_BROADCAST, broadcast, size);
    }
    return perform(fd, &request, family == AF_INET ? "set the IPv4 address" : "set the IPv6 address", err);
}

/* The gateway is not in the guest's network: it is on the link. */
static int add_default_route(int fd, int index, uint8_t family, const uint8_t *gateway, msb_error **err)
{
    struct rtmsg message = {
        .rtm_family = family,
        .rtm_table = RT_TABLE_MAIN,
        .rtm_protocol = RTPROT_BOOT,
        .rtm_scope = RT_SCOPE_UNIVERSE,
        .rtm_type = RTN_UNICAST,
        .rtm_flags = RTNH_F_ONLINK,
    };
    struct request request = request_of(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &message, sizeof(message));
    int32_t output = index;

    add_attribute(&request, RTA_GATEWAY, gateway, address_size(family));
    add_attribute(&request, RTA_OIF, &output, sizeof(output));
    return perform(fd, &request, family == AF_INET ? "set the IPv4 gateway" : "set the IPv6 gateway", err);
}

static void set(int proc_fd, const char *path, const char *value)
{
    _cleanup_fd_ int fd = openat(proc_fd, path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0)
        (void)!write(fd, value, strlen(value)); /* what a kernel has not, it does not need */
}

/* The interface takes no part in IPv6's own configuration: no waiting, no addresses but ours. */
static void quiet_ipv6(int proc_fd)
{
    set(proc_fd, "sys/net/ipv6/conf/" CARD "/accept_dad", "0");
    set(proc_fd, "sys/net/ipv6/conf/" CARD "/accept_ra", "0");
}

/*
 * Who waits at a socket looks for 50 us itself whether something has come (socket(7), SO_BUSY_POLL; the value is the one that the
 * kernel's documentation of net.core.busy_read recommends): an interrupt takes a virtual machine longer than the answer takes to come.
 */
static void look_before_sleep(int proc_fd)
{
    set(proc_fd, "sys/net/core/busy_read", "50");
    set(proc_fd, "sys/net/core/busy_poll", "50");
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i])
            return false;
    }
    return true;
}

static int set_up_ipv6(int fd, int index, const struct guest_network *network, msb_error **err)
{
    if (is_zero(network->ipv6, sizeof(network->ipv6)))
        return 0;
    if (add_address(fd, index, AF_INET6, network->ipv6, network->ipv6_bits, err) < 0)
        return -1;
    if (is_zero(network->ipv6_gateway, sizeof(network->ipv6_gateway)))
        return 0;
    return add_default_route(fd, index, AF_INET6, network->ipv6_gateway, err);
}

int network_set_up(const struct guest_network *network, int proc_fd, struct control *control, msb_error **err)
{
    _cleanup_fd_ int ioctl_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq card = { .ifr_name = CARD };
    msb_error *fault = NULL;
    int fd, index;

    if (ioctl_fd < 0)
        return fail_errno(err, "open a socket to set the network up");
    if (bring_up(ioctl_fd, "lo", err) < 0)
        return -1;
    if (!network->present)
        return 0;
    /* It stays open: the first one that is closed has the kernel shrink its table of such sockets, and a start takes longer for it. */
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0)
        return fail_errno(err, "open a netlink socket to set the network up");
    if (ioctl(ioctl_fd, SIOCGIFINDEX, &card) < 0)
        return fail_errno(err, "find the network interface " CARD " (is virtio_net in the guest's kernel?)");
    index = card.ifr_ifindex;
    quiet_ipv6(proc_fd);
    look_before_sleep(proc_fd);
    if (bring_up(ioctl_fd, CARD, err) < 0 || add_address(fd, index, AF_INET, network->ipv4, network->ipv4_bits, err) < 0)
        return -1;
    if (!is_zero(network->ipv4_gateway, sizeof(network->ipv4_gateway)) &&
        add_default_route(fd, index, AF_INET, network->ipv4_gateway, err) < 0)
        return -1;
    if (set_up_ipv6(fd, index, network, &fault) < 0) {
        control_log(control, MSB_LOG_WARN, "%s", msb_error_message(fault));
        msb_error_free(fault);
    }
    return 0;
}
