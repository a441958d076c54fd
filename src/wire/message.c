/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_MIN = 4096 }; /* room for one read */

void message_input_clear(struct message_input *in)
{
    free(in->data);
    *in = (struct message_input){ .max = in->max };
}

/* Room for one more read: moves what is there to the front, or grows. Memory follows what really arrived, not what a header says,
   and an announced size beyond max was refused before. */
static int make_room(struct message_input *in)
{
    size_t capacity = in->capacity ? in->capacity * 2 : READ_MIN;
    uint8_t *data;

    if (in->begin > 0) {
        memmove(in->data, in->data + in->begin, in->end - in->begin);
        in->end -= in->begin;
        in->begin = 0;
    }
    if (in->capacity - in->end >= READ_MIN / 2)
        return 0;
    data = realloc(in->data, capacity);
    if (!data) {
        errno = ENOMEM;
        return -1;
    }
    in->data = data;
    in->capacity = capacity;
    return 0;
}

ssize_t message_input_fill(struct message_input *in, int fd)
{
    ssize_t n;

    if (make_room(in) < 0)
        return -1;
    do
        n = read(fd, in->data + in->end, in->capacity - in->end);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        in->end += (size_t)n;
    return n;
}

static bool take_fds(struct msghdr *message, int *fds, size_t *num_fds, size_t max)
{
    bool fit = !(message->msg_flags & MSG_CTRUNC);

    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            fit = fit && *num_fds < max;
            if (fit)
                fds[(*num_fds)++] = fd;
            else
                close(fd);
        }
    }
    return fit;
}

ssize_t message_input_receive(struct message_input *in, int socket, int *fds, size_t *num_fds, size_t max)
{
    enum { ROOM = 16 }; /* descriptors; the kernel closes what does not fit, and says so */
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(ROOM * sizeof(int))];
    } control;
    struct iovec iov;
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (make_room(in) < 0)
        return -1;
    do {
        iov = (struct iovec){ .iov_base = in->data + in->end, .iov_len = in->capacity - in->end };
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    in->end += (size_t)n;
    if (take_fds(&message, fds, num_fds, max))
        return n;
    errno = EMSGSIZE;
    return -1;
}

int message_input_next(struct message_input *in, uint16_t *type, struct reader *body)
{
    struct reader header;
    uint32_t size;
    uint16_t zero;

    if (in->end - in->begin < MESSAGE_HEADER_SIZE)
        return 0;
    header = (struct reader){ in->data + in->begin, in->end - in->begin, false };
    size = get_u32(&header);
    *type = get_u16(&header);
    zero = get_u16(&header);
    if (size > in->max || zero != 0)
        return -1;
    if (size > header.left)
        return 0;
    *body = (struct reader){ header.data, size, false };
    in->begin += MESSAGE_HEADER_SIZE + (size_t)size;
    return 1;
}

void message_output_clear(struct message_output *out)
{
    free(out->queue.data);
    *out = (struct message_output){ 0 };
}

int message_output_flush(struct message_output *out, int fd)
{
    if (out->queue.failed) {
        errno = ENOMEM;
        return -1;
    }
    while (out->sent < out->queue.size) {
        ssize_t n = send(fd, out->queue.data + out->sent, out->queue.size - out->sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        out->sent += (size_t)n;
    }
    out->queue.size = 0;
    out->sent = 0;
    return 1;
}
