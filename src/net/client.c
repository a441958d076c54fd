/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients' addresses; client.h has the contract.
 */
#include "net/client.h"

#include "net/filter.h"

#include <arpa/inet.h>
#include <string.h>

static struct ip_address seen4(const struct addresses *own, const struct sockaddr_in *client)
{
    struct ip_address ip = { .version = 4, .v4 = client->sin_addr };

    if (classify(&ip) == ADDRESS_NOBODY || is_member_ip(own, ip.v4) || ip.v4.s_addr == own->resolver.s_addr)
        ip.v4 = own->gateway;
    return ip;
}

struct ip_address client_seen(const struct addresses *own, const struct sockaddr_in6 *client)
{
    struct ip_address ip = { .version = 6, .v6 = client->sin6_addr };
    struct in_addr member;

    if (client->sin6_family == AF_INET)
        return seen4(own, (const struct sockaddr_in *)client);
    if (classify(&ip) == ADDRESS_NOBODY || IN6_IS_ADDR_LINKLOCAL(&ip.v6) || is_member_ip6(own, &ip.v6, &member) ||
        IN6_ARE_ADDR_EQUAL(&ip.v6, &own->resolver6))
        ip.v6 = own->gateway6;
    return ip;
}

uint16_t client_port(const struct sockaddr_in6 *client)
{
    return ntohs(client->sin6_family == AF_INET ? ((const struct sockaddr_in *)client)->sin_port : client->sin6_port);
}

uint16_t client_next_port(uint16_t port)
{
    return port == UINT16_MAX ? 1024 : port + 1;
}
