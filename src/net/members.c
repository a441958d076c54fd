/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch between members; members.h has the contract.
 *
 * Theory of operation
 *
 * A member's address is its socket's name, so sending needs no table. Broadcast needs the list of names: it is read from the directory
 * when inotify says that it changed. Whoever is named there and does not listen is dead, and not our business: the monitors clear
 * their files away.
 *
 * A socket takes few datagrams (net.unix.max_dgram_qlen) before its owner runs. What it does not take at once waits here, in a short
 * queue for each member, until the kernel says that there is room: a probe, a second socket connected to the member's, is writable
 * then (unix_dgram_poll), and sends nothing. A member that takes nothing loses frames.
 *
 * What comes in is always read, whether the guest can take it or not, so that a slow guest does not keep its peers' sockets full.
 */
#include "net/members.h"

#include "net/packet.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
    BATCH_MAX = 64,
    NUM_QUEUES = 16,           /* members that can be slow at the same time */
    QUEUE_BYTES_MAX = 1 << 20, /* for each */
    NUM_MEMBERS_MAX = 1024,    /* that a broadcast reaches */
};

struct waiting {
    struct waiting *next;
    size_t size;
    uint8_t frame[];
};

/* What waits for one member. */
struct queue {
    struct members *members;
    int probe; /* connected to the member's socket while something waits */
    struct loop_source *source;
    struct in_addr to;
    struct waiting *first, **end;
    size_t bytes;
};

struct members {
    struct loop *loop;
    const struct addresses *own;
    const struct members_handler *handler;
    void *data;
    int fd;
    struct loop_source *source;
    int room; /* the same socket once more, to wait for room in it */
    struct loop_source *room_source;
    unsigned num_waiting; /* queues that something waits in */
    int inotify;
    struct loop_source *inotify_source;
    bool list_is_stale;
    struct in_addr list[NUM_MEMBERS_MAX];
    size_t num_listed;
    struct queue queues[NUM_QUEUES];
    struct members_counters counters;
    uint8_t frame[FRAME_SIZE_MAX];
};

static struct sockaddr_un address_of(struct in_addr ip)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    inet_ntop(AF_INET, &ip, address.sun_path, sizeof(address.sun_path));
    return address;
}

/* ---- Sending ------------------------------------------------------------------------------------------------------------- */

enum sent { SENT, FULL, LOST };

static enum sent try_send(struct members *m, struct in_addr to, const uint8_t *frame, size_t size)
{
    struct sockaddr_un address = address_of(to);

    if (sendto(m->fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address, sizeof(address)) >= 0) {
        m->counters.sent_frames++;
        return SENT;
    }
    if (errno == EAGAIN)
        return FULL;
    m->counters.lost_frames++;
    return LOST;
}

static struct queue *find_queue(struct members *m, struct in_addr to)
{
    for (int i = 0; i < NUM_QUEUES; i++)
        if (m->queues[i].first && m->queues[i].to.s_addr == to.s_addr)
            return &m->queues[i];
    return NULL;
}

static void remove_first(struct queue *queue)
{
    struct waiting *first = queue->first;

    queue->first = first->next;
    if (!queue->first)
        queue->end = &queue->first;
    queue->bytes -= first->size;
    free(first);
}

/* Waits for room in the member's socket and in our own, whichever is full. Edge-triggered: what is reported and does not help is not
   reported again. */
static void watch_for_room(struct queue *queue, bool watch)
{
    struct members *m = queue->members;
    const uint32_t events = EPOLLOUT | EPOLLET;

    m->num_waiting += watch ? 1U : -1U;
    if (loop_modify(queue->source, watch ? events : 0, NULL) < 0 ||
        loop_modify(m->room_source, m->num_waiting ? events : 0, NULL) < 0)
        log_error("wait for a member: %m");
}

static void send_queue(struct queue *queue)
{
    if (!queue->first)
        return;
    while (queue->first && try_send(queue->members, queue->to, queue->first->frame, queue->first->size) != FULL)
        remove_first(queue);
    if (!queue->first)
        watch_for_room(queue, false);
}

static void member_has_room(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    send_queue(data);
}

static void we_have_room(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct members *m = data;

    (void)source, (void)fd, (void)events;
    for (int i = 0; i < NUM_QUEUES; i++)
        send_queue(&m->queues[i]);
}

/* Begins to wait for a member; false when it is gone, or too many are waited for. */
static struct queue *begin_queue(struct members *m, struct in_addr to)
{
    struct sockaddr_un address = address_of(to);
    struct queue *queue = NULL;

    for (int i = 0; i < NUM_QUEUES && !queue; i++)
        if (!m->queues[i].first)
            queue = &m->queues[i];
    if (!queue || connect(queue->probe, (struct sockaddr *)&address, sizeof(address)) < 0)
        return NULL;
    queue->to = to;
    return queue;
}

static void wait_in(struct queue *queue, const uint8_t *frame, size_t size)
{
    struct waiting *waiting = queue->bytes + size <= QUEUE_BYTES_MAX ? malloc(sizeof(*waiting) + size) : NULL;

    if (!waiting) {
        queue->members->counters.lost_frames++;
        return;
    }
    waiting->next = NULL;
    waiting->size = size;
    memcpy(waiting->frame, frame, size);
    *queue->end = waiting;
    queue->end = &waiting->next;
    queue->bytes += size;
    /* Room that came meanwhile is reported at once. */
    if (queue->first == waiting)
        watch_for_room(queue, true);
}

void members_send(struct members *m, struct in_addr to, const uint8_t *frame, size_t size)
{
    struct queue *queue = find_queue(m, to);

    if (!queue) {
        if (try_send(m, to, frame, size) != FULL)
            return;
        queue = begin_queue(m, to);
    }
    if (queue)
        wait_in(queue, frame, size);
    else
        m->counters.lost_frames++;
}

/* ---- Broadcast ----------------------------------------------------------------------------------------------------------- */

static void list_members(struct members *m)
{
    DIR *directory = opendir(".");
    struct dirent *entry;

    m->num_listed = 0;
    m->list_is_stale = false;
    while (directory && (entry = readdir(directory)) && m->num_listed < NUM_MEMBERS_MAX) {
        struct in_addr ip;

        if (inet_pton(AF_INET, entry->d_name, &ip) == 1 && is_member_ip(m->own, ip) && ip.s_addr != m->own->ip.s_addr)
            m->list[m->num_listed++] = ip;
    }
    if (directory)
        closedir(directory);
}

static void directory_changed(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct members *m = data;
    char buffer[4096];

    (void)source, (void)events;
    while (read(fd, buffer, sizeof(buffer)) > 0)
        m->list_is_stale = true;
}

void members_send_all(struct members *m, const uint8_t *frame, size_t size)
{
    if (m->list_is_stale)
        list_members(m);
    for (size_t i = 0; i < m->num_listed; i++)
        members_send(m, m->list[i], frame, size);
}

/* ---- Receiving ----------------------------------------------------------------------------------------------------------- */

/* The sender by its socket's name, which it bound before its guest could say anything, and cannot change. */
static bool parse_sender(const struct sockaddr_un *address, socklen_t size, struct in_addr *member)
{
    char name[sizeof(address->sun_path) + 1] = { 0 };

    if (size <= offsetof(struct sockaddr_un, sun_path) || size > sizeof(*address))
        return false;
    memcpy(name, address->sun_path, size - offsetof(struct sockaddr_un, sun_path));
    return inet_pton(AF_INET, name, member) == 1;
}

static bool receive(struct members *m)
{
    struct sockaddr_un address;
    socklen_t address_size = sizeof(address);
    struct in_addr member;
    ssize_t size =
        recvfrom(m->fd, m->frame, sizeof(m->frame), MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&address, &address_size);

    if (size < 0)
        return errno != EAGAIN;
    if ((size_t)size > sizeof(m->frame) || !parse_sender(&address, address_size, &member)) {
        m->counters.bad_frames++;
        return true;
    }
    m->counters.received_frames++;
    m->handler->frame(m->data, member, m->frame, (size_t)size);
    return true;
}

static void frames_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct members *m = data;

    (void)source, (void)fd, (void)events;
    for (int i = 0; i < BATCH_MAX && receive(m); i++)
        ;
    m->handler->batch(m->data);
}

/* ---- Beginning and end --------------------------------------------------------------------------------------------------- */

static int make_probe(struct members *m, struct queue *queue, msb_error **err)
{
    queue->probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (queue->probe < 0)
        return fail_errno(err, "make a socket");
    queue->source = loop_add(m->loop, queue->probe, 0, member_has_room, queue, err);
    return queue->source ? 0 : -1;
}

static int bind_in(struct members *m, const char *directory, msb_error **err)
{
    struct sockaddr_un address = address_of(m->own->ip);
    /* As much as an ordinary user gets: what a slow member has not read yet counts against it. */
    const int send_buffer = 4 << 20;

    m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (m->fd < 0 || setsockopt(m->fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer)) < 0)
        return fail_errno(err, "make a socket");
    m->room = fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
    if (m->room < 0)
        return fail_errno(err, "duplicate a socket");
    m->room_source = loop_add(m->loop, m->room, 0, we_have_room, m, err);
    if (!m->room_source)
        return -1;
    /* By its name alone: paths of sockets are short (unix(7)), and the name is what the others see. */
    if (chdir(directory) < 0)
        return fail_errno(err, "enter `%s`", directory);
    if (bind(m->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return fail_errno(err, "bind `%s/%s`", directory, address.sun_path);
    return 0;
}

static int watch_directory(struct members *m, msb_error **err)
{
    m->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (m->inotify < 0 || inotify_add_watch(m->inotify, ".", IN_CREATE | IN_DELETE | IN_MOVE) < 0)
        return fail_errno(err, "watch the group's directory");
    m->inotify_source = loop_add(m->loop, m->inotify, EPOLLIN, directory_changed, m, err);
    return m->inotify_source ? 0 : -1;
}

struct members *members_new(struct loop *loop, const struct addresses *own, const char *directory,
                            const struct members_handler *handler, void *data, msb_error **err)
{
    struct members *m = calloc(1, sizeof(*m));
    int result = 0;

    if (!m)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *m = (struct members){
        .loop = loop, .own = own, .handler = handler, .data = data, .fd = -1, .room = -1, .inotify = -1, .list_is_stale = true
    };
    for (int i = 0; i < NUM_QUEUES; i++)
        m->queues[i] = (struct queue){ .members = m, .probe = -1, .end = &m->queues[i].first };
    for (int i = 0; i < NUM_QUEUES && result == 0; i++)
        result = make_probe(m, &m->queues[i], err);
    if (result < 0 || bind_in(m, directory, err) < 0 || watch_directory(m, err) < 0) {
        members_free(m);
        return NULL;
    }
    return m;
}

int members_start(struct members *m, msb_error **err)
{
    m->source = loop_add(m->loop, m->fd, EPOLLIN, frames_ready, m, err);
    return m->source ? 0 : -1;
}

void members_free(struct members *m)
{
    if (!m)
        return;
    for (int i = 0; i < NUM_QUEUES; i++) {
        while (m->queues[i].first)
            remove_first(&m->queues[i]);
        loop_remove(m->queues[i].source);
        cleanup_fd(&m->queues[i].probe);
    }
    loop_remove(m->source);
    loop_remove(m->room_source);
    loop_remove(m->inotify_source);
    cleanup_fd(&m->inotify);
    cleanup_fd(&m->room);
    cleanup_fd(&m->fd);
    free(m);
}

const struct members_counters *members_counters(const struct members *m)
{
    return &m->counters;
}
