/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer over vhost-user messages with their descriptors. The input is a list of messages; then the front-end hangs up. The
 * descriptors are eventfds that were kicked, files that hold a part of the input as guest memory, and one that is neither.
 */
#include "virtio/vhost_user.h"
#include "input.h"
#include "util/cleanup.h"
#include "virtio/vhost_user_message.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { MEMORY_SIZE = 1 << 14, MESSAGES_MAX = 64 };

static struct chain chain;

static void queue_ready(void *data, unsigned index, struct virtqueue *queue)
{
    uint8_t buffer[64];

    (void)data, (void)index;
    for (unsigned i = 0; i < 100 && virtqueue_pop(queue, &chain) == 1; i++) {
        iov_read(chain.readable, chain.num_readable, 0, buffer, sizeof(buffer));
        virtqueue_push(queue, chain.head, (uint32_t)iov_write(chain.writable, chain.num_writable, 0, buffer, sizeof(buffer)));
    }
    virtqueue_enable_kicks(queue, true);
    virtqueue_notify(queue);
}

static const struct vhost_user_device device = {
    .name = "fuzz",
    .num_queues = 3,
    .queue_size_max = 256,
    .config = "configuration",
    .config_size = 13,
    .queue_ready = queue_ready,
};

static int make_fd(uint8_t kind, const uint8_t *memory, size_t size)
{
    int fd;

    if (kind % 4 == 0)
        return eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (kind % 4 == 1)
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (ftruncate(fd, MEMORY_SIZE) < 0 || pwrite(fd, memory, size < MEMORY_SIZE ? size : MEMORY_SIZE, 0) < 0)
        abort();
    return fd;
}

/* A message as the front-end's own code would send it, but with any contents. */
static void send_message(int socket, struct input *input)
{
    struct vhost_user_message m = { 0 };
    uint8_t request = take_byte(input), shape = take_byte(input);

    m.header.request = request;
    m.header.flags = shape & 0x80 ? VHOST_USER_VERSION | VHOST_USER_FLAG_NEED_REPLY : VHOST_USER_VERSION;
    m.header.size = take_u16(input) % (sizeof(m.payload) + 1);
    take(input, &m.payload, m.header.size);
    m.num_fds = (shape & 0x7f) % (VHOST_USER_MAX_FDS + 1);
    for (unsigned i = 0; i < m.num_fds; i++)
        m.fds[i] = make_fd(take_byte(input), input->data, input->left);
    message_send(socket, &m, false, NULL);
    message_clear(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    struct loop *loop = loop_new(NULL);
    struct vhost_user *vu;
    int pair[2];
    bool raw = take_byte(&input) & 1;

    if (!loop || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    vu = vhost_user_new(loop, pair[1], &device, NULL, NULL);
    if (!vu)
        abort();
    if (raw && input.left)
        send(pair[0], input.data, input.left, MSG_DONTWAIT | MSG_NOSIGNAL);
    for (unsigned i = 0; !raw && input.left && i < MESSAGES_MAX; i++)
        send_message(pair[0], &input);
    shutdown(pair[0], SHUT_WR);
    if (loop_run(loop, NULL) < 0)
        abort();
    vhost_user_free(vu);
    loop_free(loop);
    close(pair[0]);
    return 0;
}
