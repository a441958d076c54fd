/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/machine.h"

#include "util/cleanup.h"

#include <fcntl.h>
#include <linux/random.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    NOFILE_MAX = 512 << 10, /* the usual hard limit of a system today; PID 1 itself has several descriptors per stream */
    SEED_MAX = 64,
    LINE_MAX_SIZE = 512,
};

/* One write is one line (Documentation/ABI/testing/dev-kmsg). */
void machine_say(const char *format, ...)
{
    char line[LINE_MAX_SIZE];
    int begin = snprintf(line, sizeof(line), "<3>init: ");
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line + begin, sizeof(line) - (size_t)begin, format, arguments);
    va_end(arguments);
    if (write(STDERR_FILENO, line, strlen(line)) < 0)
        return;
}

int machine_set_clock(uint64_t nanoseconds, msb_error **err)
{
    struct timespec now = { .tv_sec = (time_t)(nanoseconds / 1000000000U), .tv_nsec = (long)(nanoseconds % 1000000000U) };

    return clock_settime(CLOCK_REALTIME, &now) < 0 ? fail_errno(err, "set the clock") : 0;
}

int machine_add_entropy(int dev_fd, const void *seed, size_t size, msb_error **err)
{
    struct {
        struct rand_pool_info info;
        uint8_t bytes[SEED_MAX];
    } pool = { .info = { .entropy_count = (int)size * 8, .buf_size = (int)size } };
    _cleanup_fd_ int fd = openat(dev_fd, "urandom", O_WRONLY | O_CLOEXEC);

    if (size > SEED_MAX)
        return fail(err, MSB_ERR_INVALID, "a seed of %zu bytes is too long", size);
    memcpy(pool.bytes, seed, size);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0)
        return fail_errno(err, "add entropy");
    return 0;
}

static void set(int proc_fd, const char *name, const char *value)
{
    _cleanup_fd_ int fd = openat(proc_fd, name, O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, value, strlen(value)) < 0)
        return;
}

void machine_set_defaults(int proc_fd)
{
    static const struct {
        const char *name, *value;
    } settings[] = {
        /* The machine is the sandbox: every user in it may ping, and serve on any port, as in container engines. */
        { "sys/net/ipv4/ping_group_range", "0 2147483647" },
        { "sys/net/ipv4/ip_unprivileged_port_start", "0" },
        /* What databases, file watchers and debuggers ask for. */
        { "sys/vm/max_map_count", "1048576" },
        { "sys/fs/inotify/max_user_instances", "8192" },
        /* The addresses are the host's choice, and nobody else has them: no waiting to find that out, no others. */
        { "sys/net/ipv6/conf/default/accept_dad", "0" },
        { "sys/net/ipv6/conf/default/accept_ra", "0" },
    };
    struct rlimit nofile = { NOFILE_MAX, NOFILE_MAX };

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        set(proc_fd, settings[i].name, settings[i].value);
    setrlimit(RLIMIT_NOFILE, &nofile);
}

_Noreturn void machine_reset(void)
{
    reboot(RB_AUTOBOOT);
    /* Only without CAP_SYS_BOOT, which PID 1 never gives up; the kernel panics when it ends, and that resets the machine too. */
    _exit(1);
}
