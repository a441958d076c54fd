/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The internet checksum; checksum.h has the contract.
 */
#include "net/checksum.h"

#include <arpa/inet.h>
#include <string.h>

/* One's complement addition is the same in any word size, as long as each carry comes back in (RFC 1071, section 2). Four sums at a
   time keep the processor's adders busy. */
uint64_t checksum_add(uint64_t sum, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t low[4] = { sum & UINT32_MAX, sum >> 32 }, tail = 0;

    while (size >= 32) {
        uint64_t word[4];

        memcpy(word, at, sizeof(word));
        for (int i = 0; i < 4; i++)
            low[i] += (word[i] & UINT32_MAX) + (word[i] >> 32);
        at += 32;
        size -= 32;
    }
    for (; size >= 4; at += 4, size -= 4) {
        uint32_t word;

        memcpy(&word, at, sizeof(word));
        low[0] += word;
    }
    memcpy(&tail, at, size);
    sum = tail;
    for (int i = 0; i < 4; i++)
        sum += (low[i] & UINT32_MAX) + (low[i] >> 32);
    return sum;
}

uint64_t checksum_add_pseudo(uint64_t sum, const struct ip_address *source, const struct ip_address *destination,
                             uint8_t protocol, size_t size)
{
    size_t address_size = source->version == 4 ? sizeof(source->v4) : sizeof(source->v6);
    const uint32_t rest[2] = { htonl((uint32_t)size), htonl(protocol) };

    sum = checksum_add(sum, &source->v4, address_size);
    sum = checksum_add(sum, &destination->v4, address_size);
    return checksum_add(sum, rest, sizeof(rest));
}

uint16_t checksum_finish(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}
