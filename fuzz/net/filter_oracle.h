/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether an address may be connected or sent to, said once more and in other words than the filter says it: a net process of this
 * scope, whose host's resolver is 10.9.9.9, may.
 */
#ifndef MSB_FUZZ_NET_FILTER_ORACLE_H
#define MSB_FUZZ_NET_FILTER_ORACLE_H

#include "microsandbox.h"

#include <netinet/in.h>
#include <stdbool.h>

static inline bool oracle_is_private4(uint32_t ip)
{
    return ip >> 24 == 0 || ip >> 24 == 10 || ip >> 24 == 127 || ip >> 20 == 0xac1 || ip >> 16 == 0xc0a8 || ip >> 16 == 0xa9fe ||
           ip >> 22 == (0x64400000 >> 22) || ip >> 28 >= 14;
}

static inline bool oracle_allows4(enum msb_scope scope, uint32_t ip, uint16_t port)
{
    if (ip == 0x0a090909 && port == 53)
        return true;
    if (scope == MSB_SCOPE_PUBLIC)
        return !oracle_is_private4(ip);
    /* Of loopback, only what the gateway stands for. */
    return ip == INADDR_LOOPBACK || (ip >> 24 != 0 && ip >> 24 != 127 && ip >> 28 != 14 && ip != INADDR_BROADCAST);
}

static inline bool oracle_allows6(enum msb_scope scope, const struct in6_addr *ip, uint16_t port)
{
    const uint8_t *b = ip->s6_addr;

    if (IN6_IS_ADDR_V4MAPPED(ip))
        return oracle_allows4(scope, (uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 | b[15], port);
    if (IN6_IS_ADDR_LOOPBACK(ip))
        return scope == MSB_SCOPE_ANY;
    if (IN6_IS_ADDR_MULTICAST(ip) || IN6_IS_ADDR_UNSPECIFIED(ip) || IN6_IS_ADDR_LINKLOCAL(ip))
        return false;
    return scope == MSB_SCOPE_ANY || (b[0] & 0xfe) != 0xfc;
}

static inline bool oracle_allows(enum msb_scope scope, const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

    if (scope != MSB_SCOPE_PUBLIC && scope != MSB_SCOPE_ANY)
        return false;
    if (address->sa_family == AF_INET)
        return oracle_allows4(scope, ntohl(v4->sin_addr.s_addr), ntohs(v4->sin_port));
    return oracle_allows6(scope, &v6->sin6_addr, ntohs(v6->sin6_port));
}

#endif
