/* SPDX-License-Identifier: Apache-2.0 */
/*
 * [ADDRESS:]HOST[:GUEST][/tcp|/udp]. An address is told from a port by its dots or its brackets. Host port 0 is any free one.
 */
#include "config/port.h"

#include "config/text.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct msb_port {
    struct spec_port port;
};

static const char what[] = "port";
static const char form[] = "write [ADDRESS:]HOST[:GUEST][/tcp|/udp], with ports from 1 to 65535";

static int parse_ipv4(struct text text, struct in6_addr *address)
{
    char string[INET_ADDRSTRLEN];
    struct in_addr v4;

    if (text.length >= sizeof(string) || text_has(text, '\0'))
        return -1;
    *(char *)mempcpy(string, text.bytes, text.length) = '\0';
    if (inet_pton(AF_INET, string, &v4) != 1)
        return -1;
    *address = (struct in6_addr){ .s6_addr = { [10] = 0xff, [11] = 0xff } };
    memcpy(&address->s6_addr[12], &v4, sizeof(v4));
    return 0;
}

static int parse_ipv6(struct text text, struct in6_addr *address)
{
    char string[INET6_ADDRSTRLEN];

    if (text.length >= sizeof(string) || text_has(text, '\0'))
        return -1;
    *(char *)mempcpy(string, text.bytes, text.length) = '\0';
    return inet_pton(AF_INET6, string, address) == 1 ? 0 : -1;
}

/* Takes an address, if there is one, off the beginning of *text. */
static int cut_address(struct text whole, struct text *text, struct in6_addr *address, msb_error **err)
{
    struct text first, rest;

    if (text->length && text->bytes[0] == '[') {
        if (!text_cut_first(*text, ']', &first, &rest) || rest.length == 0 || rest.bytes[0] != ':')
            return refuse(err, what, whole, "has a '[' without \"]:\" after an IPv6 address; %s", form);
        first = (struct text){ first.bytes + 1, first.length - 1 };
        if (parse_ipv6(first, address) < 0)
            return refuse(err, what, whole, "has no IPv6 address in its brackets; %s", form);
        *text = (struct text){ rest.bytes + 1, rest.length - 1 };
        return 0;
    }
    if (!text_cut_first(*text, ':', &first, &rest) || !text_has(first, '.'))
        return parse_ipv4(text_of("127.0.0.1", MSB_LENGTH_UNKNOWN), address);
    if (parse_ipv4(first, address) < 0)
        return refuse(err, what, whole, "does not begin with an IPv4 address such as 127.0.0.1; %s", form);
    *text = rest;
    return 0;
}

/* Takes the protocol, if there is one, off the end of *text. */
static int cut_protocol(struct text whole, struct text *text, uint8_t *protocol, msb_error **err)
{
    struct text before, after;

    *protocol = IPPROTO_TCP;
    if (!text_cut_last(*text, '/', &before, &after))
        return 0;
    if (text_equal_nocase(after, "udp"))
        *protocol = IPPROTO_UDP;
    else if (!text_equal_nocase(after, "tcp"))
        return refuse(err, what, whole, "has a protocol that is neither tcp nor udp; %s", form);
    *text = before;
    return 0;
}

int port_parse(const char *text, size_t length, struct spec_port *port, msb_error **err)
{
    struct text whole = text_of(text, length), rest = whole, host_text, guest_text;
    uint64_t host, guest;

    if (cut_protocol(whole, &rest, &port->protocol, err) < 0 || cut_address(whole, &rest, &port->address, err) < 0)
        return -1;
    if (!text_cut_first(rest, ':', &host_text, &guest_text))
        host_text = guest_text = rest;
    if (!text_number(host_text, UINT16_MAX, &host))
        return refuse(err, what, whole, "has a host port that is no number from 0 to 65535; %s", form);
    if (!text_number(guest_text, UINT16_MAX, &guest) || guest == 0)
        return refuse(err, what, whole, "has a guest port that is no number from 1 to 65535; %s", form);
    port->host = (uint16_t)host;
    port->guest = (uint16_t)guest;
    return 0;
}

void port_address(const struct spec_port *port, char address[PORT_ADDRESS_MAX])
{
    char plain[INET6_ADDRSTRLEN];

    if (IN6_IS_ADDR_V4MAPPED(&port->address)) {
        inet_ntop(AF_INET, &port->address.s6_addr[12], address, PORT_ADDRESS_MAX);
        return;
    }
    inet_ntop(AF_INET6, &port->address, plain, sizeof(plain));
    snprintf(address, PORT_ADDRESS_MAX, "[%s]", plain);
}

char *port_print(const struct spec_port *port)
{
    const char *protocol = port->protocol == IPPROTO_UDP ? "/udp" : "";
    char address[PORT_ADDRESS_MAX], *text = NULL;
    int size;

    port_address(port, address);
    if (!strcmp(address, "127.0.0.1"))
        size = asprintf(&text, "%u:%u%s", port->host, port->guest, protocol);
    else
        size = asprintf(&text, "%s:%u:%u%s", address, port->host, port->guest, protocol);
    return size < 0 ? NULL : text;
}

msb_port *msb_port_parse(const char *text, size_t length, msb_error **err)
{
    struct spec_port parsed;
    msb_port *port;

    if (port_parse(text, length, &parsed, err) < 0)
        return NULL;
    port = malloc(sizeof(*port));
    if (!port)
        return FAIL_NULL(fail_no_memory(err));
    port->port = parsed;
    return port;
}

char *msb_port_print(const msb_port *port)
{
    return port_print(&port->port);
}

char *msb_port_address(const msb_port *port)
{
    char address[PORT_ADDRESS_MAX];

    port_address(&port->port, address);
    return strdup(address);
}

uint16_t msb_port_host(const msb_port *port)
{
    return port->port.host;
}

uint16_t msb_port_guest(const msb_port *port)
{
    return port->port.guest;
}

int msb_port_is_udp(const msb_port *port)
{
    return port->port.protocol == IPPROTO_UDP;
}

void msb_port_free(msb_port *port)
{
    free(port);
}
