/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPv4 addresses, and networks as ADDRESS/BITS.
 */
#include "config/text.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static bool parse_address(struct text text, uint32_t *address)
{
    char string[INET_ADDRSTRLEN];

    if (text.length >= sizeof(string) || text_has(text, '\0'))
        return false;
    *(char *)mempcpy(string, text.bytes, text.length) = '\0';
    return inet_pton(AF_INET, string, address) == 1;
}

int msb_ipv4_parse(const char *text, size_t length, uint32_t *address, msb_error **err)
{
    struct text value = text_of(text, length);
    uint32_t parsed;

    if (!parse_address(value, &parsed))
        return refuse(err, "address", value, "is no IPv4 address; write four numbers, such as 10.0.0.2");
    *address = parsed;
    return 0;
}

char *msb_ipv4_print(uint32_t address)
{
    char string[INET_ADDRSTRLEN];

    return strdup(inet_ntop(AF_INET, &address, string, sizeof(string)));
}

int msb_subnet_parse(const char *text, size_t length, uint32_t *address, unsigned *bits, msb_error **err)
{
    struct text value = text_of(text, length), address_text, bits_text;
    char network[INET_ADDRSTRLEN];
    uint32_t parsed, masked;
    uint64_t number;

    if (!text_cut_first(value, '/', &address_text, &bits_text) || !parse_address(address_text, &parsed) ||
        !text_number(bits_text, 32, &number))
        return refuse(err, "subnet", value, "is no IPv4 network; write ADDRESS/BITS, such as 10.0.0.0/24");
    masked = number ? parsed & htonl(UINT32_MAX << (32 - number)) : 0;
    if (masked != parsed)
        return refuse(err, "subnet", value, "has an address with bits beyond the network's; write %s/%u",
                      inet_ntop(AF_INET, &masked, network, sizeof(network)), (unsigned)number);
    *address = parsed;
    *bits = (unsigned)number;
    return 0;
}

char *msb_subnet_print(uint32_t address, unsigned bits)
{
    char string[INET_ADDRSTRLEN], *text = NULL;

    return asprintf(&text, "%s/%u", inet_ntop(AF_INET, &address, string, sizeof(string)), bits) < 0 ? NULL : text;
}
