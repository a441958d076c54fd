/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/client.h"

#include "util/error.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- Waiting ---------------------------------------------------------------------------------------------------------------- */

static int64_t monotonic(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct patience patience_of(int timeout_ms, int cancel_fd)
{
    return (struct patience){ timeout_ms < 0 ? -1 : monotonic() + (int64_t)timeout_ms * 1000000, cancel_fd };
}

int patience_left(const struct patience *patience)
{
    int64_t left;

    if (patience->until < 0)
        return -1;
    /* Rounded up, so that who waits does not wake too early. */
    left = (patience->until - monotonic() + 999999) / 1000000;
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

int patience_wait(const struct patience *patience, int fd, short events, msb_error **err)
{
    struct pollfd fds[2] = { { .fd = fd, .events = events }, { .fd = patience->cancel_fd, .events = POLLIN } };
    int n;

    do
        n = poll(fds, 2, patience_left(patience));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return fail_errno(err, "wait");
    if (fds[0].revents)
        return 0;
    if (fds[1].revents)
        return fail(err, MSB_ERR_CANCELLED, "cancelled");
    return fail(err, MSB_ERR_TIMEOUT, "it took longer than it may");
}

/* ---- A connection ----------------------------------------------------------------------------------------------------------- */

void client_init(struct client *client, int socket)
{
    *client = (struct client){ .socket = socket, .input.max = CONTROL_TO_CLIENT_MAX };
}

void client_close(struct client *client)
{
    if (client->socket >= 0)
        close(client->socket);
    message_input_clear(&client->input);
    client->socket = -1;
}

void request_hello(struct request *request)
{
    request_begin(request, CONTROL_HELLO, 0);
    put_u32(&request->writer, CONTROL_VERSION);
    message_end(&request->writer, request->begin);
}

void request_begin(struct request *request, enum control type, uint32_t number)
{
    request->begin = message_begin(&request->writer, (enum message)type);
    put_u32(&request->writer, number);
}

/* One sendmsg(2); the descriptors go with its first byte. */
static ssize_t send_part(int socket, const uint8_t *data, size_t size, const int *fds, size_t num_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))];
    } control = { 0 };
    struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (num_fds) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
        control.align =
            (struct cmsghdr){ .cmsg_len = CMSG_LEN(num_fds * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(&control.align), fds, num_fds * sizeof(int));
    }
    return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int send_all(const struct client *client, const struct request *request, const int *fds, size_t num_fds,
                    const struct patience *patience, msb_error **err)
{
    /* What comes before the last message, a HELLO, must not have its descriptors. */
    size_t done = 0, end = num_fds && request->begin ? request->begin : request->writer.size;

    while (done < request->writer.size) {
        ssize_t n = send_part(client->socket, request->writer.data + done, end - done, fds,
                              num_fds && done == request->begin ? num_fds : 0);

        if (n < 0 && errno == EAGAIN && patience_wait(patience, client->socket, POLLOUT, err) < 0)
            return -1;
        /* The monitor may have said why before it hung up. */
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return 0;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return fail_errno(err, "send to the sandbox's monitor");
        done += n > 0 ? (size_t)n : 0;
        if (done == end)
            end = request->writer.size;
    }
    return 0;
}

int client_send(struct client *client, struct request *request, const int *fds, size_t num_fds, const struct patience *patience,
                msb_error **err)
{
    int result;

    message_end(&request->writer, request->begin);
    if (request->writer.failed)
        result = fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    else if (request->writer.size - request->begin - MESSAGE_HEADER_SIZE > CONTROL_TO_MONITOR_MAX)
        result = fail(err, MSB_ERR_INVALID, "the command, its arguments and its environment are longer than %d bytes together",
                      CONTROL_TO_MONITOR_MAX);
    else
        result = send_all(client, request, fds, num_fds, patience, err);
    free(request->writer.data);
    *request = (struct request){ 0 };
    return result;
}

static int take_message(struct client *client, uint16_t *type, struct reader *body, msb_error **err)
{
    int found = message_input_next(&client->input, type, body);

    if (found < 0)
        return fail(err, MSB_ERR_PROTOCOL, "the sandbox's monitor sent a message that is none");
    if (found)
        get_u32(body);
    return found;
}

int client_next(struct client *client, uint16_t *type, struct reader *body, msb_error **err)
{
    for (;;) {
        int found = take_message(client, type, body, err);
        struct pollfd pollfd = { .fd = client->socket, .events = POLLIN };
        ssize_t n;

        if (found != 0)
            return found;
        if (poll(&pollfd, 1, 0) <= 0)
            return 0;
        n = message_input_fill(&client->input, client->socket);
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return fail(err, MSB_ERR_STATE, "the sandbox has ended");
        if (n < 0)
            return fail_errno(err, "hear from the sandbox's monitor");
    }
}

int client_receive(struct client *client, uint16_t *type, struct reader *body, const struct patience *patience, msb_error **err)
{
    int found;

    while ((found = client_next(client, type, body, err)) == 0)
        if (patience_wait(patience, client->socket, POLLIN, err) < 0)
            return -1;
    return found < 0 ? -1 : 0;
}

int client_fail(struct reader *body, msb_error **err)
{
    enum msb_error_code code = (enum msb_error_code)get_u8(body);
    char *message = get_string(body);

    if (reader_done(body) && code != MSB_OK)
        fail(err, code, "%s", message);
    else
        fail(err, MSB_ERR_PROTOCOL, "the sandbox's monitor sent a bad answer");
    free(message);
    return -1;
}

bool result_decode(struct reader *body, struct result *result)
{
    *result = (struct result){ 0 };
    result->code = (enum msb_error_code)get_u8(body);
    result->status = get_u8(body);
    result->message = get_string(body);
    result->kernel_log = get_string(body);
    result->known = reader_done(body);
    if (!result->known)
        result_clear(result);
    return result->known;
}

void result_clear(struct result *result)
{
    free(result->message);
    free(result->kernel_log);
    *result = (struct result){ 0 };
}
