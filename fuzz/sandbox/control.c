/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two protocols of a monitor at once: clients who send anything, and a guest that says anything, in any order. The input is a list
 * of steps, each a byte that says who does what, and for bytes to be sent their number and themselves. Nothing that any of them does
 * may harm the monitor, lose a descriptor, or, when it is a client's doing, end the VM.
 */
#include "../../tests/sandbox/fake.h"
#include "../virtio/input.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 4, STREAMS = 8, STEPS_MAX = 200 };

struct world {
    struct fake fake;
    int clients[CLIENTS], streams[STREAMS];
    unsigned num_streams;
    bool guest_spoke; /* from then on it may end the VM */
};

static int null = -1; /* what clients send of descriptors */

static int count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (dir && readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void send_bytes(struct input *input, int fd, unsigned num_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = { 0 };
    uint8_t bytes[512];
    struct iovec iov = { .iov_base = bytes };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
    int fds[8];

    for (int i = 0; i < 8; i++)
        fds[i] = null;
    iov.iov_len = take(input, bytes, take_u16(input) % sizeof(bytes));
    if (iov.iov_len == 0)
        return;
    if (num_fds) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
        *CMSG_FIRSTHDR(&message) = (struct cmsghdr){ CMSG_LEN(num_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), fds, num_fds * sizeof(int));
    }
    if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return;
}

/* What is sent is not looked at, but read, so that there is room for more. */
static void drain(int fd)
{
    char bytes[4096];

    while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
}

static void step_client(struct world *world, struct input *input, unsigned which, unsigned what)
{
    int *client = &world->clients[which % CLIENTS];

    if (*client < 0) {
        *client = fake_connect(&world->fake);
    } else if (what == 15) {
        close(*client);
        *client = -1;
    } else {
        drain(*client);
        send_bytes(input, *client, what % 8);
    }
}

static void step_guest(struct world *world, struct input *input, unsigned what)
{
    if (what < 8) {
        world->guest_spoke = true;
        drain(world->fake.guest);
        send_bytes(input, world->fake.guest, 0);
    } else if (what < 12 && world->num_streams < STREAMS) {
        world->guest_spoke = true;
        world->streams[world->num_streams++] = fake_stream(&world->fake);
    } else if (world->num_streams) {
        int *stream = &world->streams[take_byte(input) % world->num_streams];

        if (*stream >= 0 && what == 15) {
            close(*stream);
            *stream = -1;
        } else if (*stream >= 0) {
            drain(*stream);
            send_bytes(input, *stream, 0);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    struct world world;
    int before;

    signal(SIGPIPE, SIG_IGN);
    if (null < 0)
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
    before = count_descriptors();
    memset(&world, 0, sizeof(world));
    for (int i = 0; i < CLIENTS; i++)
        world.clients[i] = -1;
    fake_begin(&world.fake, take_byte(&input) & 1);
    for (int i = 0; i < STEPS_MAX && input.left && !world.fake.monitor.over; i++) {
        unsigned step = take_byte(&input);

        if (step & 0x80)
            step_guest(&world, &input, step & 15);
        else
            step_client(&world, &input, step >> 4 & 3, step & 15);
        fake_run(&world.fake);
    }
    /* A client can ask for the end, but not bring it about by what it gets wrong; then there is the status of that. */
    if (world.fake.monitor.over && !world.guest_spoke && world.fake.monitor.status != STATUS_SIGNAL + SIGKILL)
        abort();
    for (int i = 0; i < CLIENTS; i++)
        if (world.clients[i] >= 0)
            close(world.clients[i]);
    for (unsigned i = 0; i < world.num_streams; i++)
        if (world.streams[i] >= 0)
            close(world.streams[i]);
    fake_run(&world.fake);
    fake_end(&world.fake);
    if (count_descriptors() != before)
        abort();
    return 0;
}
