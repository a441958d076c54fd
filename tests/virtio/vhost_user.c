/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user back-end and front-end. A device that copies what it can read to what it can write runs in a thread of its own;
 * the tests speak to it as a VMM would, and as a hostile one.
 */
#include "virtio/vhost_user.h"
#include "driver.h"
#include "util/cleanup.h"
#include "virtio/vhost_user_message.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

enum { NUM_QUEUES = 2, MEMORY_SIZE = 1 << 20, TIMEOUT_MS = 5000 };

static const uint8_t configuration[10] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };

/* ---- The device -------------------------------------------------------------------------------------------------------------- */

struct copier {
    int socket;
    pthread_t thread;
    uint64_t features;
    unsigned started, stopped; /* read after the thread ended */
    bool refuse_start;
    struct chain chain;
};

static void copy_chain(struct virtqueue *queue, const struct chain *chain)
{
    char buffer[4096];
    size_t n = iov_read(chain->readable, chain->num_readable, 0, buffer, sizeof(buffer));

    virtqueue_push(queue, chain->head, (uint32_t)iov_write(chain->writable, chain->num_writable, 0, buffer, n));
}

static void copier_queue_ready(void *data, unsigned index, struct virtqueue *queue)
{
    struct copier *copier = data;
    bool copied = false;

    (void)index;
    do {
        while (virtqueue_pop(queue, &copier->chain) == 1) {
            copy_chain(queue, &copier->chain);
            copied = true;
        }
    } while (virtqueue_enable_kicks(queue, true));
    if (copied)
        virtqueue_notify(queue);
}

static int copier_queue_started(void *data, unsigned index, struct virtqueue *queue)
{
    struct copier *copier = data;

    (void)index, (void)queue;
    copier->started++;
    return copier->refuse_start ? -1 : 0;
}

static void copier_queue_stopped(void *data, unsigned index, struct virtqueue *queue)
{
    struct copier *copier = data;

    (void)index, (void)queue;
    copier->stopped++;
}

static void copier_features_set(void *data, uint64_t features)
{
    ((struct copier *)data)->features = features;
}

static const struct vhost_user_device device = {
    .name = "copier",
    .features = 1ULL << 5,
    .num_queues = NUM_QUEUES,
    .queue_size_max = 256,
    .config = configuration,
    .config_size = sizeof(configuration),
    .queue_ready = copier_queue_ready,
    .queue_started = copier_queue_started,
    .queue_stopped = copier_queue_stopped,
    .features_set = copier_features_set,
};

static void *run_copier(void *data)
{
    struct copier *copier = data;
    struct loop *loop = loop_new(NULL);
    struct vhost_user *vu = vhost_user_new(loop, copier->socket, &device, copier, NULL);

    loop_run(loop, NULL);
    vhost_user_free(vu);
    loop_free(loop);
    return NULL;
}

/* Starts a device, and returns the front-end's end of its socket. */
static int start_copier(struct copier *copier)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    copier->socket = pair[1];
    assert_int_equal(pthread_create(&copier->thread, NULL, run_copier, copier), 0);
    return pair[0];
}

static void join_copier(struct copier *copier)
{
    assert_int_equal(pthread_join(copier->thread, NULL), 0);
    assert_int_equal(copier->started, copier->stopped + copier->refuse_start);
}

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* Whether a mapping of guest memory is left. */
static bool has_guest_memory(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    bool found = false;

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps))
        found = found || strstr(line, "memfd:guest-memory");
    fclose(maps);
    return found;
}

static unsigned fds_before;

static int note_fds(void **state)
{
    (void)state;
    fds_before = count_fds();
    return 0;
}

static int check_fds(void **state)
{
    (void)state;
    assert_int_equal(count_fds(), fds_before);
    assert_false(has_guest_memory());
    return 0;
}

/* ---- A VMM that keeps the rules ------------------------------------------------------------------------------------------------ */

static uint64_t bit(unsigned number)
{
    return 1ULL << number;
}

/* Sends a string through the queue and expects it back. */
static void check_copy(struct driver *driver, struct driver_queue *queue, const char *text, bool indirect)
{
    uint32_t length = (uint32_t)strlen(text) + 1;
    struct driver_buffer buffers[] = {
        { driver_alloc(driver, length, 1), length, false },
        { driver_alloc(driver, 2, 1), 2, true },
        { driver_alloc(driver, length, 1), length, true },
    };
    struct driver_used used;
    int head;

    memcpy(driver_at(driver, buffers[0].address), text, length);
    head = indirect ? driver_add_indirect(queue, buffers, 3) : driver_add(queue, buffers, 3);
    driver_kick(queue);
    assert_int_equal(driver_wait(queue, &used, TIMEOUT_MS), 1);
    assert_int_equal(used.head, head);
    assert_int_equal(used.length, length);
    assert_memory_equal(driver_at(driver, buffers[1].address), text, 2);
    assert_memory_equal(driver_at(driver, buffers[2].address), text + 2, length - 2);
}

static void serves_queues(uint64_t features)
{
    struct copier copier = { 0 };
    struct driver *driver = driver_new(start_copier(&copier), MEMORY_SIZE, NULL);
    struct driver_queue *queues[NUM_QUEUES];

    assert_non_null(driver);
    assert_int_equal(frontend_num_queues(driver_frontend(driver)), NUM_QUEUES);
    assert_int_equal(frontend_features(driver_frontend(driver)),
                     bit(5) | bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_RING_F_INDIRECT_DESC) | bit(VIRTIO_RING_F_EVENT_IDX));
    assert_int_equal(driver_accept(driver, features, NULL), 0);
    for (unsigned i = 0; i < NUM_QUEUES; i++) {
        queues[i] = driver_queue_start(driver, i, 4U << i, NULL);
        assert_non_null(queues[i]);
    }
    for (unsigned i = 0; i < 100; i++)
        check_copy(driver, queues[i % 2], "a text", i % 3 == 0 && (features & bit(VIRTIO_RING_F_INDIRECT_DESC)));
    /* A reset of the device, and all again. */
    for (unsigned i = 0; i < NUM_QUEUES; i++)
        assert_int_equal(driver_queue_stop(queues[i], NULL), 0);
    assert_int_equal(driver_accept(driver, features, NULL), 0);
    assert_ptr_equal(driver_queue_start(driver, 0, 4, NULL), queues[0]);
    check_copy(driver, queues[0], "after the reset", false);
    driver_free(driver);
    join_copier(&copier);
    assert_int_equal(copier.features, features);
    assert_int_equal(copier.started, 3);
}

static void serves_plain_queues(void **state)
{
    (void)state;
    serves_queues(bit(VIRTIO_F_VERSION_1));
}

static void serves_queues_with_all_features(void **state)
{
    (void)state;
    serves_queues(bit(5) | bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_RING_F_INDIRECT_DESC) | bit(VIRTIO_RING_F_EVENT_IDX));
}

static void a_stopped_queue_is_left_alone(void **state)
{
    struct copier copier = { 0 };
    struct driver *driver = driver_new(start_copier(&copier), MEMORY_SIZE, NULL);
    struct driver_queue *queue;
    struct driver_buffer buffer = { driver_alloc(driver, 8, 1), 8, true };

    (void)state;
    assert_int_equal(driver_accept(driver, bit(VIRTIO_F_VERSION_1), NULL), 0);
    queue = driver_queue_start(driver, 0, 8, NULL);
    assert_int_equal(driver_queue_stop(queue, NULL), 0);
    driver_add(queue, &buffer, 1);
    driver_kick(queue);
    assert_true(driver_is_ignored(queue, 50));
    driver_free(driver);
    join_copier(&copier);
}

static void a_broken_queue_is_left_alone(void **state)
{
    struct copier copier = { 0 };
    struct driver *driver = driver_new(start_copier(&copier), MEMORY_SIZE, NULL);
    struct driver_queue *queues[NUM_QUEUES];

    (void)state;
    assert_int_equal(driver_accept(driver, bit(VIRTIO_F_VERSION_1), NULL), 0);
    for (unsigned i = 0; i < NUM_QUEUES; i++)
        queues[i] = driver_queue_start(driver, i, 8, NULL);
    driver_publish(queues[0], 200);
    assert_true(driver_is_ignored(queues[0], 50));
    check_copy(driver, queues[1], "the other works", false);
    /* Until it is reset. */
    assert_int_equal(driver_queue_stop(queues[0], NULL), 0);
    assert_non_null(driver_queue_start(driver, 0, 8, NULL));
    check_copy(driver, queues[0], "works again", false);
    driver_free(driver);
    join_copier(&copier);
}

static void refuses_what_the_driver_asks(void **state)
{
    struct copier copier = { 0 };
    struct driver *driver = driver_new(start_copier(&copier), MEMORY_SIZE, NULL);
    int event = eventfd(0, EFD_CLOEXEC);
    struct frontend_queue rings = {
        .size = 8,
        .desc = { DRIVER_MEMORY_BASE + MEMORY_SIZE - 64 },
        .avail = { DRIVER_MEMORY_BASE },
        .used = { DRIVER_MEMORY_BASE + 4096 },
        .kick_fd = event,
        .call_fd = event,
    };

    (void)state;
    assert_int_equal(frontend_set_features(driver_frontend(driver), bit(VIRTIO_F_VERSION_1) | bit(63), NULL), -1);
    assert_int_equal(driver_accept(driver, bit(VIRTIO_F_VERSION_1), NULL), 0);
    /* Rings that are not within guest memory: an answer, not an end. */
    assert_int_equal(frontend_queue_start(driver_frontend(driver), 0, &rings, NULL), -1);
    assert_int_equal(frontend_queue_start(driver_frontend(driver), NUM_QUEUES, &rings, NULL), -1);
    assert_int_equal(frontend_queue_stop(driver_frontend(driver), 0, NULL), 0);
    rings.desc.value = DRIVER_MEMORY_BASE + 8192;
    assert_int_equal(frontend_queue_start(driver_frontend(driver), 0, &rings, NULL), 0);
    close(event);
    driver_free(driver);
    join_copier(&copier);
}

static void a_device_that_cannot_start(void **state)
{
    struct copier copier = { .refuse_start = true };
    struct driver *driver = driver_new(start_copier(&copier), MEMORY_SIZE, NULL);

    (void)state;
    assert_int_equal(driver_accept(driver, bit(VIRTIO_F_VERSION_1), NULL), 0);
    assert_null(driver_queue_start(driver, 0, 8, NULL));
    driver_free(driver);
    join_copier(&copier);
}

static void reads_the_configuration(void **state)
{
    struct copier copier = { 0 };
    msb_error *error = NULL;
    struct frontend *frontend = frontend_new(start_copier(&copier), &error);
    uint8_t bytes[VHOST_USER_CONFIG_MAX];

    (void)state;
    assert_non_null(frontend);
    assert_int_equal(frontend_get_config(frontend, 0, bytes, sizeof(configuration), NULL), 0);
    assert_memory_equal(bytes, configuration, sizeof(configuration));
    assert_int_equal(frontend_get_config(frontend, 8, bytes, 4, NULL), 0);
    assert_memory_equal(bytes, "\x09\x0a\x00\x00", 4);
    assert_int_equal(frontend_get_config(frontend, 255, bytes, 1, NULL), 0);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(frontend_get_config(frontend, 256, bytes, 1, NULL), -1);
    assert_int_equal(frontend_get_config(frontend, 0, bytes, 257, NULL), -1);
    frontend_free(frontend);
    join_copier(&copier);
}

/* ---- A hostile VMM ------------------------------------------------------------------------------------------------------------- */

enum expected {
    HANGS_UP,
    DONE,    /* acknowledged with 0 */
    REFUSED, /* acknowledged with 1 */
};

struct message_case {
    const char *what;
    enum vhost_user_request request;
    uint32_t flags; /* VHOST_USER_VERSION and VHOST_USER_FLAG_NEED_REPLY when 0 */
    uint32_t size;
    unsigned num_fds;
    int fd; /* what is sent that often: an eventfd when 0 */
    union vhost_user_payload payload;
    enum expected expected;
};

#define U64(value) .size = 8, .payload.u64 = (value)
#define STATE(i, n) .size = 8, .payload.state = { (i), (n) }

static const struct message_case message_cases[] = {
    { "request 0", 0, .expected = HANGS_UP },
    { "unknown request", 200, .expected = HANGS_UP },
    { "largest request", UINT32_MAX, .expected = HANGS_UP },
    { "request not offered (log base)", 6, U64(0), .expected = HANGS_UP },
    { "wrong version", VHOST_USER_SET_OWNER, .flags = 2, .expected = HANGS_UP },
    { "an answer nobody asked for", VHOST_USER_SET_OWNER, .flags = 1 | 4, .expected = HANGS_UP },
    { "unknown flag", VHOST_USER_SET_OWNER, .flags = 1 | 8 | 16, .expected = HANGS_UP },
    { "payload where none belongs", VHOST_USER_SET_OWNER, .size = 8, .expected = HANGS_UP },
    { "payload too short", VHOST_USER_SET_FEATURES, .size = 4, .expected = HANGS_UP },
    { "payload too long", VHOST_USER_SET_FEATURES, .size = 16, .expected = HANGS_UP },
    { "payload of 4 GiB", VHOST_USER_SET_FEATURES, .size = UINT32_MAX, .expected = HANGS_UP },
    { "payload one byte longer than any", VHOST_USER_GET_CONFIG, .size = sizeof(union vhost_user_payload) + 1,
      .expected = HANGS_UP },
    { "descriptor where none belongs", VHOST_USER_SET_FEATURES, U64(0), .num_fds = 1, .expected = HANGS_UP },
    { "eight descriptors where none belong", VHOST_USER_SET_OWNER, .num_fds = 8, .expected = HANGS_UP },
    { "features not offered", VHOST_USER_SET_FEATURES, U64(1ULL << 40), .expected = REFUSED },
    { "protocol features not offered", VHOST_USER_SET_PROTOCOL_FEATURES, U64(UINT64_MAX), .expected = REFUSED },
    { "owner", VHOST_USER_SET_OWNER, .expected = DONE },
    { "owner reset", VHOST_USER_RESET_OWNER, .expected = DONE },

    { "queue size 0", VHOST_USER_SET_VRING_NUM, STATE(0, 0), .expected = REFUSED },
    { "queue size no power of two", VHOST_USER_SET_VRING_NUM, STATE(0, 100), .expected = REFUSED },
    { "queue size too large", VHOST_USER_SET_VRING_NUM, STATE(0, 512), .expected = REFUSED },
    { "queue size", VHOST_USER_SET_VRING_NUM, STATE(0, 256), .expected = DONE },
    { "size of no queue", VHOST_USER_SET_VRING_NUM, STATE(NUM_QUEUES, 8), .expected = HANGS_UP },
    { "size of queue 4 billion", VHOST_USER_SET_VRING_NUM, STATE(UINT32_MAX, 8), .expected = HANGS_UP },
    { "base too large", VHOST_USER_SET_VRING_BASE, STATE(0, 65536), .expected = HANGS_UP },
    { "base of no queue", VHOST_USER_SET_VRING_BASE, STATE(NUM_QUEUES, 0), .expected = HANGS_UP },
    { "question for the base of no queue", VHOST_USER_GET_VRING_BASE, STATE(NUM_QUEUES, 0), .expected = HANGS_UP },
    { "enable neither 0 nor 1", VHOST_USER_SET_VRING_ENABLE, STATE(0, 2), .expected = HANGS_UP },
    { "enable no queue", VHOST_USER_SET_VRING_ENABLE, STATE(77, 1), .expected = HANGS_UP },
    { "address of no queue", VHOST_USER_SET_VRING_ADDR, .size = 40, .payload.addr = { .index = 2 }, .expected = HANGS_UP },
    { "log of dirty pages", VHOST_USER_SET_VRING_ADDR, .size = 40, .payload.addr = { .flags = 1 }, .expected = HANGS_UP },
    { "address of a queue that stands still", VHOST_USER_SET_VRING_ADDR, .size = 40, .expected = DONE },

    { "kick without its descriptor", VHOST_USER_SET_VRING_KICK, U64(0), .expected = HANGS_UP },
    { "kick with a descriptor too many", VHOST_USER_SET_VRING_KICK, U64(0), .num_fds = 2, .expected = HANGS_UP },
    { "kick by polling", VHOST_USER_SET_VRING_KICK, U64(256), .expected = REFUSED },
    { "kick by polling, and a descriptor", VHOST_USER_SET_VRING_KICK, U64(256), .num_fds = 1, .expected = HANGS_UP },
    { "kick of no queue", VHOST_USER_SET_VRING_KICK, U64(2), .num_fds = 1, .expected = HANGS_UP },
    { "kick with unknown bits", VHOST_USER_SET_VRING_KICK, U64(1ULL << 32), .num_fds = 1, .expected = HANGS_UP },
    { "kick", VHOST_USER_SET_VRING_KICK, U64(1), .num_fds = 1, .expected = DONE },
    { "call without its descriptor", VHOST_USER_SET_VRING_CALL, U64(0), .expected = HANGS_UP },
    { "call of no queue", VHOST_USER_SET_VRING_CALL, U64(255), .num_fds = 1, .expected = HANGS_UP },
    { "no call", VHOST_USER_SET_VRING_CALL, U64(256), .expected = DONE },
    { "call", VHOST_USER_SET_VRING_CALL, U64(0), .num_fds = 1, .expected = DONE },
    { "error without its descriptor", VHOST_USER_SET_VRING_ERR, U64(0), .expected = HANGS_UP },
    { "error", VHOST_USER_SET_VRING_ERR, U64(0), .num_fds = 1, .expected = DONE },
    { "requests to the front-end without a descriptor", VHOST_USER_SET_BACKEND_REQ_FD, .expected = HANGS_UP },
    { "requests to the front-end", VHOST_USER_SET_BACKEND_REQ_FD, .num_fds = 1, .expected = DONE },

    { "no memory", VHOST_USER_SET_MEM_TABLE, .size = 8, .num_fds = 1, .expected = HANGS_UP },
    { "memory without its descriptor", VHOST_USER_SET_MEM_TABLE, .size = 40, .payload.memory = { .num_regions = 1 },
      .expected = HANGS_UP },
    { "memory with a descriptor too many", VHOST_USER_SET_MEM_TABLE, .size = 40, .num_fds = 2,
      .payload.memory = { .num_regions = 1 }, .expected = HANGS_UP },
    { "nine regions", VHOST_USER_SET_MEM_TABLE, .size = 264, .num_fds = 8, .payload.memory = { .num_regions = 9 },
      .expected = HANGS_UP },
    { "four billion regions", VHOST_USER_SET_MEM_TABLE, .size = 264, .num_fds = 8,
      .payload.memory = { .num_regions = UINT32_MAX }, .expected = HANGS_UP },
    { "more regions than sent", VHOST_USER_SET_MEM_TABLE, .size = 40, .num_fds = 2, .payload.memory = { .num_regions = 2 },
      .expected = HANGS_UP },
    { "memory that is an eventfd", VHOST_USER_SET_MEM_TABLE, .size = 40, .num_fds = 1,
      .payload.memory = { .num_regions = 1, .regions = { { 0, 4096, 0, 0 } } }, .expected = REFUSED },

    { "configuration without a header", VHOST_USER_GET_CONFIG, .size = 8, .expected = HANGS_UP },
    { "configuration of another size", VHOST_USER_GET_CONFIG, .size = 16, .payload.config = { .size = 8 }, .expected = HANGS_UP },
    { "configuration behind the end", VHOST_USER_GET_CONFIG, .size = 16, .payload.config = { .offset = 253, .size = 4 },
      .expected = HANGS_UP },
    { "configuration at 4 GiB", VHOST_USER_GET_CONFIG, .size = 16, .payload.config = { .offset = UINT32_MAX, .size = 4 },
      .expected = HANGS_UP },
    { "a write to the configuration", VHOST_USER_SET_CONFIG, .size = 16, .payload.config = { .size = 4 }, .expected = DONE },
    { "a write behind the configuration", VHOST_USER_SET_CONFIG, .size = 16, .payload.config = { .offset = 256, .size = 4 },
      .expected = HANGS_UP },
};

/* Sends num_fds copies of an eventfd with a message. The size need not be what is really sent. */
static void send_message(int socket, const struct message_case *c)
{
    struct vhost_user_message m = {
        .header = { c->request, c->flags ? c->flags : VHOST_USER_VERSION | VHOST_USER_FLAG_NEED_REPLY, c->size },
        .payload = c->payload,
        .num_fds = c->num_fds,
    };
    int event = c->fd ? dup(c->fd) : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct iovec iov[] = {
        { &m.header, sizeof(m.header) },
        { &m.payload, c->size < sizeof(m.payload) ? c->size : sizeof(m.payload) },
    };
    union {
        char bytes[CMSG_SPACE(16 * sizeof(int))];
        struct cmsghdr header;
    } control = { .header = { CMSG_LEN(c->num_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

    if (c->num_fds) {
        for (unsigned i = 0; i < c->num_fds; i++)
            memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &event, sizeof(int));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(c->num_fds * sizeof(int));
    }
    assert_true(sendmsg(socket, &message, MSG_NOSIGNAL) > 0);
    close(event);
}

static void expect_answer(int socket, const struct message_case *c)
{
    struct vhost_user_message m = { 0 };
    int received = message_receive(socket, &m, true, NULL);
    enum expected got = received != 1 ? HANGS_UP : m.payload.u64 == 0 ? DONE : REFUSED;

    if (got != c->expected)
        fail_msg("%s: %d instead of %d", c->what, got, c->expected);
    if (received == 1) {
        assert_int_equal(m.header.request, c->request);
        assert_int_equal(m.header.flags, VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY);
        assert_int_equal(m.header.size, 8);
    }
    message_clear(&m);
}

static void negotiate(int socket)
{
    const struct message_case protocol = { "protocol", VHOST_USER_SET_PROTOCOL_FEATURES, U64(1ULL << 3), .expected = DONE };

    send_message(socket, &protocol);
    expect_answer(socket, &protocol);
}

static void messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(message_cases) / sizeof(message_cases[0]); i++) {
        struct copier copier = { 0 };
        int socket = start_copier(&copier);

        negotiate(socket);
        send_message(socket, &message_cases[i]);
        expect_answer(socket, &message_cases[i]);
        close(socket);
        join_copier(&copier);
        if (count_fds() != fds_before)
            fail_msg("%s: a descriptor is left open", message_cases[i].what);
    }
}

/* Who did not ask for an acknowledgement finds out by the end of the connection. */
static void refusal_without_acknowledgement(void **state)
{
    const struct message_case c = { "refused", VHOST_USER_SET_FEATURES, .flags = 1, U64(UINT64_MAX), .expected = HANGS_UP };
    struct copier copier = { 0 };
    int socket = start_copier(&copier);

    (void)state;
    send_message(socket, &c);
    expect_answer(socket, &c);
    close(socket);
    join_copier(&copier);
}

/* Eight regions with their descriptors, and two more descriptors than any message has. */
static void too_many_descriptors(void **state)
{
    struct message_case c = {
        .what = "memory",
        .request = VHOST_USER_SET_MEM_TABLE,
        .size = sizeof(struct vhost_user_memory),
        .fd = memfd_create("eight-pages", MFD_CLOEXEC),
        .payload.memory = { .num_regions = 8 },
    };

    (void)state;
    assert_int_equal(ftruncate(c.fd, 8 * 4096), 0);
    for (unsigned i = 0; i < 8; i++)
        c.payload.memory.regions[i] = (struct vhost_user_memory_region){ i * 4096, 4096, i * 4096, i * 4096 };
    for (c.num_fds = 8; c.num_fds <= 10; c.num_fds++) {
        struct copier copier = { 0 };
        int socket = start_copier(&copier);

        c.expected = c.num_fds == 8 ? DONE : HANGS_UP;
        negotiate(socket);
        send_message(socket, &c);
        expect_answer(socket, &c);
        close(socket);
        join_copier(&copier);
    }
    close(c.fd);
}

/* A new call descriptor is called at once: what was used before it came would not be heard of. */
static void a_new_call_descriptor_is_called(void **state)
{
    struct message_case c = { "call", VHOST_USER_SET_VRING_CALL, U64(1), .num_fds = 1, .expected = DONE };
    struct copier copier = { 0 };
    int socket = start_copier(&copier);
    int raw = dup(socket);
    struct driver *driver = driver_new(socket, MEMORY_SIZE, NULL);
    uint64_t calls;

    (void)state;
    assert_int_equal(driver_accept(driver, bit(VIRTIO_F_VERSION_1), NULL), 0);
    assert_non_null(driver_queue_start(driver, 1, 8, NULL));
    c.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    send_message(raw, &c);
    expect_answer(raw, &c);
    assert_int_equal(read(c.fd, &calls, sizeof(calls)), sizeof(calls));
    close(c.fd);
    close(raw);
    driver_free(driver);
    join_copier(&copier);
}

/* A call descriptor that nobody empties does not hold up the device. */
static void a_full_call_descriptor(void **state)
{
    struct copier copier = { 0 };
    struct driver *driver = driver_new(start_copier(&copier), MEMORY_SIZE, NULL);
    struct driver_queue *queues[NUM_QUEUES];
    struct driver_buffer buffer = { driver_alloc(driver, 8, 1), 8, true };
    const uint64_t one = 1;
    int pipes[2];

    (void)state;
    assert_int_equal(driver_accept(driver, bit(VIRTIO_F_VERSION_1), NULL), 0);
    for (unsigned i = 0; i < NUM_QUEUES; i++)
        queues[i] = driver_queue_start(driver, i, 8, NULL);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    driver_set_call(queues[0], pipes[1]);
    check_copy(driver, queues[1], "the descriptor is there, and does not block", false);
    while (write(pipes[1], &one, sizeof(one)) > 0)
        continue;
    driver_add(queues[0], &buffer, 1);
    driver_kick(queues[0]);
    check_copy(driver, queues[1], "served all the same", false);
    driver_free(driver);
    join_copier(&copier);
    close(pipes[0]);
    close(pipes[1]);
}

/* Any beginning of a message, and then the end of the connection. */
static void truncated_messages(void **state)
{
    struct vhost_user_message m = { .header = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8 } };

    (void)state;
    for (size_t length = 0; length < sizeof(m.header) + 8; length++) {
        struct copier copier = { 0 };
        int socket = start_copier(&copier);

        if (length)
            assert_int_equal(send(socket, &m, length, 0), length);
        close(socket);
        join_copier(&copier);
    }
}

/* A message that comes byte by byte is a message. */
static void messages_in_pieces(void **state)
{
    struct {
        struct vhost_user_header header;
        struct vhost_user_vring_state state;
    } bytes = { { VHOST_USER_GET_VRING_BASE, VHOST_USER_VERSION, 8 }, { 1, 0 } };
    struct vhost_user_message m = { 0 };
    struct copier copier = { 0 };
    int socket = start_copier(&copier);

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        assert_int_equal(send(socket, (char *)&bytes + i, 1, 0), 1);
    assert_int_equal(message_receive(socket, &m, true, NULL), 1);
    assert_int_equal(m.header.request, VHOST_USER_GET_VRING_BASE);
    assert_int_equal(m.payload.state.index, 1);
    message_clear(&m);
    close(socket);
    join_copier(&copier);
}

/* A front-end that asks and never reads. */
static void answers_not_read(void **state)
{
    struct vhost_user_header question = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };
    struct copier copier = { 0 };
    int socket = start_copier(&copier);

    (void)state;
    while (send(socket, &question, sizeof(question), MSG_NOSIGNAL) > 0)
        continue;
    join_copier(&copier);
    close(socket);
}

/* ---- A hostile device ---------------------------------------------------------------------------------------------------------- */

struct answer_case {
    const char *what;
    struct vhost_user_header header;
    size_t size; /* of what is really sent */
    const char *error;
};

static void *answer_badly(void *data)
{
    int socket = *(int *)data;
    struct vhost_user_message m = { 0 };

    /* SET_OWNER, then the first question; the bad answer to it was sent before. */
    while (message_receive(socket, &m, true, NULL) == 1)
        message_clear(&m);
    return NULL;
}

static void bad_answers(void **state)
{
    static const struct answer_case cases[] = {
        { "end", { 0 }, 0, "the device process hung up" },
        { "half a header", { VHOST_USER_GET_FEATURES, 5, 8 }, 6, "the other side hung up within a vhost-user message" },
        { "half a payload", { VHOST_USER_GET_FEATURES, 5, 8 }, 16, "the other side hung up within a vhost-user message" },
        { "another request", { VHOST_USER_GET_QUEUE_NUM, 5, 8 }, 20, "answered vhost-user request 1 with 17 of 8 bytes" },
        { "no answer but a question", { VHOST_USER_GET_FEATURES, 1, 8 }, 20, "answered vhost-user request 1 with 1 of 8 bytes" },
        { "another size", { VHOST_USER_GET_FEATURES, 5, 0 }, 12, "answered vhost-user request 1 with 1 of 0 bytes" },
        { "too large", { VHOST_USER_GET_FEATURES, 5, UINT32_MAX }, 20, "with 4294967295 bytes of payload" },
        { "no protocol features", { VHOST_USER_GET_FEATURES, 5, 8 }, 20, "does not offer vhost-user protocol features" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct {
            struct vhost_user_header header;
            uint64_t value;
        } __attribute__((packed)) answer = { cases[i].header, 0 };
        msb_error *error = NULL;
        pthread_t thread;
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        if (cases[i].size)
            assert_int_equal(send(pair[1], &answer, cases[i].size, 0), cases[i].size);
        shutdown(pair[1], SHUT_WR);
        assert_int_equal(pthread_create(&thread, NULL, answer_badly, &pair[1]), 0);
        if (frontend_new(pair[0], &error))
            fail_msg("believed: %s", cases[i].what);
        if (!strstr(msb_error_message(error), cases[i].error))
            fail_msg("%s: %s", cases[i].what, msb_error_message(error));
        msb_error_free(error);
        pthread_join(thread, NULL);
        close(pair[1]);
    }
}

/* ---- A front-end that connects ------------------------------------------------------------------------------------------------- */

/* A socket that listens at an address of the kernel's choice, and a connection to it. */
static int listen_and_connect(int *connection)
{
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    socklen_t size = sizeof(address);

    *connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address.sun_family)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(connect(*connection, (struct sockaddr *)&address, size), 0);
    return listener;
}

/* It is the device's alone then: when the device ends, so does the connection. */
static void send_listener(int socket, int listener)
{
    const struct message_case c = { "listener", VHOST_USER_LISTEN, .flags = VHOST_USER_VERSION, .num_fds = 1, .fd = listener };

    send_message(socket, &c);
    close(listener);
}

static void serves_who_connects(void **state)
{
    struct copier copier = { 0 };
    int socket = start_copier(&copier), connection, listener = listen_and_connect(&connection);
    struct driver *driver;
    char byte;

    (void)state;
    send_listener(socket, listener);
    driver = driver_new(connection, MEMORY_SIZE, NULL);
    assert_non_null(driver);
    assert_int_equal(recv(socket, &byte, 1, 0), 0);
    assert_int_equal(driver_accept(driver, bit(VIRTIO_F_VERSION_1), NULL), 0);
    check_copy(driver, driver_queue_start(driver, 0, 8, NULL), "a text", false);
    driver_free(driver);
    join_copier(&copier);
    close(socket);
}

/* A VMM that has begun to speak cannot bring in another. */
static void a_listener_comes_first(void **state)
{
    const struct message_case question = { "question", VHOST_USER_GET_FEATURES, .flags = VHOST_USER_VERSION };
    struct copier copier = { 0 };
    int socket = start_copier(&copier), connection, listener = listen_and_connect(&connection);
    char byte;

    (void)state;
    negotiate(socket);
    send_message(connection, &question);
    send_listener(socket, listener);
    assert_int_equal(recv(socket, &byte, 1, 0), 0);
    assert_true(recv(connection, &byte, 1, 0) <= 0);
    close(connection);
    join_copier(&copier);
    close(socket);
}

static void a_listener_that_does_not_listen(void **state)
{
    struct copier copier = { 0 };
    int socket = start_copier(&copier);
    char byte;

    (void)state;
    send_listener(socket, eventfd(1, EFD_CLOEXEC));
    assert_int_equal(recv(socket, &byte, 1, 0), 0);
    join_copier(&copier);
    close(socket);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, note_fds, check_fds)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(serves_plain_queues),
        TEST(serves_queues_with_all_features),
        TEST(a_stopped_queue_is_left_alone),
        TEST(a_broken_queue_is_left_alone),
        TEST(refuses_what_the_driver_asks),
        TEST(a_device_that_cannot_start),
        TEST(reads_the_configuration),
        TEST(messages),
        TEST(refusal_without_acknowledgement),
        TEST(too_many_descriptors),
        TEST(a_new_call_descriptor_is_called),
        TEST(a_full_call_descriptor),
        TEST(truncated_messages),
        TEST(messages_in_pieces),
        TEST(answers_not_read),
        TEST(bad_answers),
        TEST(serves_who_connects),
        TEST(a_listener_comes_first),
        TEST(a_listener_that_does_not_listen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
