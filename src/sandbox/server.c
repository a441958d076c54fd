/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/server.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct server {
    struct loop *loop;
    const struct server_events *events;
    void *data;
    int listener; /* -1: none */
    struct loop_source *source;
    struct connection *connections;
    size_t num_connections;
    struct connection *dropped;
};

/* ---- Connections ------------------------------------------------------------------------------------------------------------ */

static void listen_while_there_is_room(struct server *server)
{
    if (server->source)
        loop_modify(server->source, server->num_connections < SERVER_CONNECTIONS_MAX ? EPOLLIN : 0, NULL);
}

static void connection_close(struct connection *connection)
{
    for (size_t i = 0; i < connection->num_fds; i++)
        close(connection->fds[i]);
    connection->num_fds = 0;
    loop_remove(connection->source);
    connection->source = NULL;
    cleanup_fd(&connection->fd);
    connection->fd = -1;
}

static void connection_free(struct connection *connection)
{
    connection_close(connection);
    message_input_clear(&connection->input);
    message_output_clear(&connection->output);
    free(connection);
}

static void unlink_connection(struct connection *connection)
{
    struct connection **link = &connection->server->connections;

    while (*link != connection)
        link = &(*link)->next;
    *link = connection->next;
    connection->server->num_connections--;
}

static void drop(struct connection *connection, const msb_error *error)
{
    struct server *server = connection->server;

    if (connection->dropped)
        return;
    connection->dropped = true;
    if (error)
        log_debug("a client is cut off: %s", msb_error_message(error));
    server->events->closed(connection, error, server->data);
    unlink_connection(connection);
    connection_close(connection);
    connection->next = server->dropped;
    server->dropped = connection;
    listen_while_there_is_room(server);
}

/* Between two events nobody is in the middle of using one. */
static void free_dropped(struct server *server)
{
    while (server->dropped) {
        struct connection *connection = server->dropped;

        server->dropped = connection->next;
        connection_free(connection);
    }
}

/* Sends what can be sent now. */
static void flush(struct connection *connection)
{
    uint32_t events;
    int sent;

    if (connection->dropped)
        return;
    sent = message_output_flush(&connection->output, connection->fd);
    if (sent < 0 || connection->output.queue.size - connection->output.sent > SERVER_OUTPUT_MAX ||
        (sent == 1 && connection->closing)) {
        drop(connection, NULL);
        return;
    }
    /* One that is told its last is not heard any more. */
    events = (connection->closing ? 0 : EPOLLIN | EPOLLRDHUP) | (sent == 0 ? (unsigned)EPOLLOUT : 0);
    if (loop_modify(connection->source, events, NULL) < 0)
        drop(connection, NULL);
}

bool connection_take_fds(struct connection *connection, int *fds, size_t count)
{
    if (count > connection->num_fds)
        return false;
    memcpy(fds, connection->fds, count * sizeof(int));
    connection->num_fds -= count;
    memmove(connection->fds, connection->fds + count, connection->num_fds * sizeof(int));
    return true;
}

size_t connection_begin(struct connection *connection, enum control type, uint32_t request)
{
    size_t begin = message_begin(&connection->output.queue, (enum message)type);

    put_u32(&connection->output.queue, request);
    return begin;
}

void connection_end(struct connection *connection, size_t begin)
{
    message_end(&connection->output.queue, begin);
    flush(connection);
}

void connection_done(struct connection *connection, uint32_t request)
{
    if (request)
        connection_end(connection, connection_begin(connection, CONTROL_DONE, request));
}

void connection_error(struct connection *connection, uint32_t request, const msb_error *error)
{
    size_t begin;

    if (!request)
        return;
    begin = connection_begin(connection, CONTROL_ERROR, request);
    put_u8(&connection->output.queue, (uint8_t)msb_error_code(error));
    put_string(&connection->output.queue, msb_error_message(error));
    connection_end(connection, begin);
}

void connection_finish(struct connection *connection)
{
    connection->closing = true;
    flush(connection);
}

/* ---- What comes ------------------------------------------------------------------------------------------------------------- */

static int on_hello(struct connection *connection, uint32_t request, struct reader *body, msb_error **err)
{
    uint32_t version = get_u32(body);

    if (!reader_done(body))
        return fail(err, MSB_ERR_PROTOCOL, "a bad HELLO");
    connection->greeted = true;
    if (version == CONTROL_VERSION)
        return 0;
    fail(err, MSB_ERR_UNSUPPORTED, "the monitor speaks version %d of the control protocol, and its client %u", CONTROL_VERSION,
         version);
    /* Whatever its numbers are, the form of an error is the same in all versions. */
    if (err)
        connection_error(connection, request ? request : 1, *err);
    return -1;
}

static int on_message(struct connection *connection, uint16_t type, struct reader *body, msb_error **err)
{
    uint32_t request = get_u32(body);
    const struct server *server = connection->server;

    if (body->failed)
        return fail(err, MSB_ERR_PROTOCOL, "a message without a request");
    if ((type == CONTROL_HELLO) == connection->greeted)
        return fail(err, MSB_ERR_PROTOCOL, "no HELLO at the beginning, or another one");
    if (!connection->greeted)
        return on_hello(connection, request, body, err);
    return server->events->message(connection, type, request, body, server->data, err);
}

/* Large messages take memory before they are complete. */
static int check_memory(const struct server *server, msb_error **err)
{
    size_t total = 0;

    for (const struct connection *c = server->connections; c; c = c->next)
        total += c->input.capacity;
    if (total > SERVER_INPUT_MAX)
        return fail(err, MSB_ERR_NO_MEMORY, "the messages of all clients together are too large");
    return 0;
}

static int receive(struct connection *connection, msb_error **err)
{
    ssize_t n = message_input_receive(&connection->input, connection->fd, connection->fds, &connection->num_fds, CONTROL_FDS_MAX);
    struct reader body;
    uint16_t type;
    int found = 0, result = 0;

    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n < 0 && errno == EMSGSIZE)
        return fail(err, MSB_ERR_PROTOCOL, "more descriptors than any message has");
    if (n <= 0)
        return -1;
    while (result == 0 && !connection->dropped && !connection->closing &&
           (found = message_input_next(&connection->input, &type, &body)) == 1)
        result = on_message(connection, type, &body, err);
    if (found < 0)
        return fail(err, MSB_ERR_PROTOCOL, "a message that is none");
    if (result < 0 || connection->dropped || connection->closing)
        return result;
    if (connection->num_fds && connection->input.begin == connection->input.end)
        return fail(err, MSB_ERR_PROTOCOL, "descriptors that no message takes");
    return check_memory(connection->server, err);
}

static void on_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct connection *connection = data;
    msb_error *error = NULL;

    (void)source, (void)fd;
    free_dropped(connection->server);
    if (events & EPOLLOUT)
        flush(connection);
    if (!connection->dropped && !connection->closing && events & ~(uint32_t)EPOLLOUT && receive(connection, &error) < 0)
        drop(connection, error);
    msb_error_free(error);
}

struct connection *server_adopt(struct server *server, int fd, msb_error **err)
{
    struct connection *connection = calloc(1, sizeof(*connection));

    if (!connection) {
        close(fd);
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    }
    *connection =
        (struct connection){ .server = server, .next = server->connections, .fd = fd, .input.max = CONTROL_TO_MONITOR_MAX };
    connection->source = loop_add(server->loop, fd, EPOLLIN | EPOLLRDHUP, on_ready, connection, err);
    if (!connection->source || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        if (connection->source)
            fail_errno(err, "use a client's socket");
        connection_free(connection);
        return NULL;
    }
    server->connections = connection;
    server->num_connections++;
    return connection;
}

/* ---- The server ------------------------------------------------------------------------------------------------------------- */

/* The directory is the user's alone, so that others do not even get here; this is the second lock. Root comes everywhere, but root's
   programs that mean their own sandboxes do not reach another user's by mistake. */
static bool is_own(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

static void on_connect(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct server *server = data;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)source, (void)events;
    free_dropped(server);
    /* Without descriptors or memory for one more, those that there are have to end first. */
    if (client < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
        loop_modify(server->source, 0, NULL);
    if (client < 0)
        return;
    if (!is_own(client)) {
        close(client);
        return;
    }
    if (server_adopt(server, client, NULL))
        listen_while_there_is_room(server);
}

struct server *server_new(struct loop *loop, const struct server_events *events, void *data, msb_error **err)
{
    struct server *server = calloc(1, sizeof(*server));

    if (!server)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *server = (struct server){ .loop = loop, .events = events, .data = data, .listener = -1 };
    return server;
}

void server_free(struct server *server)
{
    if (!server)
        return;
    while (server->connections) {
        struct connection *connection = server->connections;

        server->connections = connection->next;
        connection_free(connection);
    }
    free_dropped(server);
    loop_remove(server->source);
    cleanup_fd(&server->listener);
    free(server);
}

int server_listen(struct server *server, int listener, msb_error **err)
{
    server->listener = listener;
    server->source = loop_add(server->loop, listener, EPOLLIN, on_connect, server, err);
    return server->source ? 0 : -1;
}

struct connection *server_first(const struct server *server)
{
    return server->connections;
}
