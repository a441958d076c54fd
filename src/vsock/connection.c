/* SPDX-License-Identifier: Apache-2.0 */
#include "vsock/connection.h"

#include "util/cleanup.h"

#define FIRST_HOST_PORT (1U << 30)

struct connection *connection_new(struct connection_table *table, struct vsock *vsock)
{
    struct connection *connection;
    unsigned slot = 0;

    if (table->count == MAX_CONNECTIONS)
        return NULL;
    connection = calloc(1, sizeof(*connection));
    if (!connection)
        return NULL;
    while (table->slots[slot])
        slot++;
    table->slots[slot] = connection;
    table->count++;
    connection->vsock = vsock;
    connection->slot = slot;
    connection->fd = -1;
    connection->batch = 1;
    return connection;
}

void connection_free(struct connection_table *table, struct connection *connection)
{
    connection_unbind(table, connection);
    table->slots[connection->slot] = NULL;
    table->count--;
    loop_remove(connection->source);
    cleanup_fd(&connection->fd);
    free(connection->spill.bytes);
    free(connection);
}

static unsigned bucket_of(uint32_t guest_port, uint32_t host_port)
{
    uint32_t mixed = (guest_port ^ host_port * 31) * 2654435761U; /* Knuth's multiplicative hash */

    return mixed >> 24;
}

void connection_bind(struct connection_table *table, struct connection *connection, uint32_t guest_port, uint32_t host_port)
{
    struct connection **bucket = &table->buckets[bucket_of(guest_port, host_port)];

    connection->guest_port = guest_port;
    connection->host_port = host_port;
    connection->next_in_bucket = *bucket;
    *bucket = connection;
}

void connection_unbind(struct connection_table *table, struct connection *connection)
{
    struct connection **link = &table->buckets[bucket_of(connection->guest_port, connection->host_port)];

    while (*link && *link != connection)
        link = &(*link)->next_in_bucket;
    if (*link)
        *link = connection->next_in_bucket;
}

struct connection *connection_find(const struct connection_table *table, uint32_t guest_port, uint32_t host_port)
{
    struct connection *connection = table->buckets[bucket_of(guest_port, host_port)];

    while (connection && (connection->guest_port != guest_port || connection->host_port != host_port))
        connection = connection->next_in_bucket;
    return connection;
}

uint32_t connection_unused_port(struct connection_table *table, uint32_t guest_port)
{
    do {
        table->last_host_port++;
        if (table->last_host_port < FIRST_HOST_PORT || table->last_host_port == UINT32_MAX)
            table->last_host_port = FIRST_HOST_PORT;
    } while (connection_find(table, guest_port, table->last_host_port));
    return table->last_host_port;
}

void connection_linger(struct connection_table *table, struct connection *connection)
{
    connection->state = CONNECTION_LINGERING;
    connection->lingering_since = table->serial++;
}

struct connection *connection_longest_lingering(const struct connection_table *table)
{
    struct connection *longest = NULL;

    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *connection = table->slots[i];

        if (connection && connection->state == CONNECTION_LINGERING &&
            (!longest || connection->lingering_since < longest->lingering_since))
            longest = connection;
    }
    return longest;
}
