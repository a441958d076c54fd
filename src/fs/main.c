/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-fs: the virtio-fs device as a process. In its cell there is the exported tree at /tree, and at /fd this process's own
 * descriptors, and nothing else.
 */
#include "fs/fs.h"
#include "fs/queue.h"
#include "fs/server.h"
#include "util/cell.h"
#include "util/cleanup.h"
#include "util/device.h"
#include "util/log.h"
#include "virtio/vhost_user.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/virtio_fs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum {
    QUEUES_MAX = VHOST_USER_MAX_QUEUES, /* the high-priority one included */
    QUEUE_SIZE_MAX = VIRTQUEUE_MAX_SIZE,
    FILES_MAX = 1 << 20,
    FILES_RESERVED = 128, /* descriptors for all that is no file of the guest's */
    FILES_MIN = 512,
};

/* What the guest's requests need. Paths are resolved in a mount namespace that has only the exported trees. */
static const struct cell_syscall allowed[] = {
    CELL_ALLOW(epoll_wait),    /* the event loop; a queue's thread waits for kicks */
    CELL_ALLOW(epoll_create1), /* a queue is started */
    CELL_ALLOW(epoll_ctl),     /* what is waited for */
    CELL_ALLOW(eventfd2),      /* ends a queue's thread */
    CELL_ALLOW(recvmsg),       /* vhost-user messages */
    CELL_ALLOW(sendmsg),       /* answers */
    CELL_ALLOW(sendto),        /* that the device is ready */
    CELL_ALLOW(read),          /* eventfds */
    CELL_ALLOW(write),         /* interrupts (an eventfd); the log */
    CELL_ALLOW(close),         /* files of the guest's; descriptors of vhost-user messages */
    CELL_ALLOW(fcntl),         /* O_APPEND of a handle; locks; interrupts do not block; a second descriptor of an unnamed file */
    CELL_ALLOW(flock),         /* setlk */
    CELL_ALLOW(tgkill),        /* ends a wait for a lock */
    CELL_ALLOW(getpid),        /* the same */
    CELL_ALLOW(rt_sigreturn),  /* the same */
    CELL_ALLOW(mmap),          /* guest memory; malloc; stacks of threads */
    CELL_ALLOW(munmap),        /* the same */
    CELL_ALLOW(mremap),        /* malloc */
    CELL_ALLOW(mprotect),      /* malloc; stacks of threads */
    CELL_ALLOW(madvise),       /* malloc; stacks of threads that ended */
    CELL_ALLOW(brk),           /* malloc */
    CELL_ALLOW(sched_getaffinity),                /* malloc, for threads: how many processors there are */
    CELL_ALLOW(clone3),                           /* threads */
    CELL_ALLOW(clone),                            /* threads, where clone3(2) is refused */
    CELL_ALLOW(set_robust_list),                  /* a thread begins */
    CELL_ALLOW(rseq),                             /* the same */
    CELL_ALLOW(rt_sigaction),                     /* the first thread: glibc's own signals */
    CELL_ALLOW(rt_sigprocmask),                   /* the same */
    CELL_ALLOW(exit),                             /* a thread ends */
    CELL_ALLOW(exit_group),                       /* the end */
    CELL_ALLOW(getrandom),                        /* the generation of node ids */
    CELL_ALLOW(sched_yield),                      /* a queue's thread that looks for requests lets others go first */
    CELL_ALLOW(futex),                            /* locks between threads */
    CELL_ALLOW(openat),                           /* files below held directories */
    CELL_ALLOW(statx),                            /* attributes */
    CELL_ALLOW(newfstatat),                       /* how large the file behind guest memory is; fstat(2) in glibc */
    CELL_ALLOW(fstatfs),                          /* statfs */
    CELL_ALLOW(fchdir),                           /* so that an xattr can be read by a name in a directory */
    CELL_ALLOW(getxattr),                         /* ownership and the guest's xattrs: by path, */
    CELL_ALLOW(lgetxattr),                        /* by name in a directory, */
    CELL_ALLOW(fgetxattr),                        /* and by descriptor */
    CELL_ALLOW(setxattr),                         /* setxattr */
    CELL_ALLOW(fsetxattr),                        /* the same */
    CELL_ALLOW(listxattr),                        /* listxattr */
    CELL_ALLOW(llistxattr),                       /* whether a name in a directory has any */
    CELL_ALLOW(flistxattr),                       /* the same */
    CELL_ALLOW(removexattr),                      /* removexattr */
    CELL_ALLOW(fremovexattr),                     /* the same */
    CELL_ALLOW(fchmod),                           /* setattr */
    CELL_ALLOW(fchmodat),                         /* the same */
    CELL_ALLOW(utimensat),                        /* the same */
    CELL_ALLOW(ftruncate),                        /* the same */
    CELL_ALLOW(mkdirat),                          /* the requests of that name */
    CELL_ALLOW(symlinkat),                        /* symlink */
    CELL_ALLOW(linkat),                           /* link */
    CELL_ALLOW(unlinkat),                         /* unlink and rmdir */
    CELL_ALLOW(renameat),                         /* rename; as glibc calls it without flags */
    CELL_ALLOW(renameat2),                        /* rename2 */
    CELL_ALLOW(readlinkat),                       /* readlink */
    { SCMP_SYS(mknodat), 2, S_IFMT, S_IFCHR, 0 }, /* overlayfs whiteouts; the kernel refuses other devices */
    CELL_ALLOW(preadv2),                          /* read */
    CELL_ALLOW(preadv),                           /* the same, without flags */
    CELL_ALLOW(pwritev2),                         /* write; read, to pages of the guest's that were not used before */
    CELL_ALLOW(pwritev),                          /* the same, without flags */
    CELL_ALLOW(fsync),                            /* fsync */
    CELL_ALLOW(fdatasync),                        /* the same */
    CELL_ALLOW(syncfs),                           /* syncfs */
    CELL_ALLOW(fallocate),                        /* fallocate */
    CELL_ALLOW(lseek),                            /* SEEK_DATA and SEEK_HOLE; readdir that goes back */
    CELL_ALLOW(copy_file_range),                  /* copy_file_range */
    CELL_ALLOW(getdents64),                       /* readdir */
    /* ioctl, these alone */
    { SCMP_SYS(ioctl), 1, UINT32_MAX, FS_IOC_GETFLAGS, 0 },
    { SCMP_SYS(ioctl), 1, UINT32_MAX, FS_IOC_FSGETXATTR, 0 },
    { SCMP_SYS(ioctl), 1, UINT32_MAX, FS_IOC_SETFLAGS, 0 },
    { SCMP_SYS(unshare), 0, ~0UL, CLONE_FS, 0 }, /* each thread has a working directory of its own */
};

struct device {
    struct fs *fs;
    struct pool *pool, *waiters;
    struct queue *queues[QUEUES_MAX];
};

static int queue_started(void *data, unsigned index, struct virtqueue *virtqueue)
{
    struct device *device = data;
    msb_error *error = NULL;

    device->queues[index] = queue_new(device->fs, device->pool, device->waiters, virtqueue, index > 0, &error);
    if (device->queues[index])
        return 0;
    log_error("%s", msb_error_message(error));
    msb_error_free(error);
    return -1;
}

static void queue_stopped(void *data, unsigned index, struct virtqueue *virtqueue)
{
    struct device *device = data;

    (void)virtqueue;
    queue_free(device->queues[index]);
    device->queues[index] = NULL;
}

/* ---- Set-up -------------------------------------------------------------------------------------------------------------------------- */

static int receive_setup(struct fs_setup *setup, msb_error **err)
{
    _cleanup_free_ unsigned char *data = NULL;
    struct reader reader = { 0 };

    if (device_receive_setup(&data, &reader.left, err) < 0)
        return -1;
    reader.data = data;
    if (!fs_setup_decode(&reader, setup) || setup->log_level > MSB_LOG_TRACE || setup->num_exports == 0 ||
        setup->num_queues == 0 || setup->num_queues >= QUEUES_MAX || !*setup->tag ||
        strlen(setup->tag) > sizeof(((struct virtio_fs_config *)NULL)->tag)) {
        fs_setup_clear(setup);
        return fail(err, MSB_ERR_PROTOCOL, "a set-up that is not one");
    }
    log_init("fs", setup->log_level, STDERR_FILENO);
    return 0;
}

/* Whether the user namespace maps only one user, as an ordinary user's does. */
static int maps_one_user(bool *one, msb_error **err)
{
    FILE *map = fopen("/proc/self/uid_map", "re");
    unsigned long inside, outside, count = 0;
    int extents = 0;

    if (!map)
        return fail_errno(err, "read the user namespace's map");
    while (fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3)
        extents++;
    fclose(map);
    if (extents == 0)
        return fail(err, MSB_ERR_SYSTEM, "the user namespace has no map");
    *one = extents == 1 && count == 1;
    return 0;
}

static int raise_file_limit(unsigned *max_files, msb_error **err)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return fail_errno(err, "look at the limit of open files");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return fail_errno(err, "raise the limit of open files");
    if (limit.rlim_max < FILES_MIN)
        return fail(err, MSB_ERR_SYSTEM, "the limit of open files (ulimit -Hn) is %lu: at least %d are needed", limit.rlim_max,
                    FILES_MIN);
    *max_files = (unsigned)(limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX) - FILES_RESERVED;
    return 0;
}

/* The target in the cell of an export; a link of the host's stays one. */
static int plan_export(const struct fs_export *export, struct cell_mount *mount, char **target, char **link, msb_error **err)
{
    struct stat st;

    if (asprintf(target, *export->target ? "tree/%s" : "tree%s", export->target) < 0) {
        *target = NULL;
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    }
    *mount = (struct cell_mount){ .target = *target, .masked = export->masked };
    if (export->masked)
        return 0;
    mount->source = export->host;
    mount->read_only = export->read_only;
    /* A mapped path may well be a link that stands for a directory; only parts of a tree are links themselves. */
    if (!strchr(export->target, '/') || lstat(export->host, &st) < 0 || !S_ISLNK(st.st_mode))
        return 0;
    *link = calloc(1, PATH_MAX);
    if (!*link)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    if (readlink(export->host, *link, PATH_MAX - 1) < 0)
        return fail_errno(err, "read the link `%s`", export->host);
    mount->source = NULL;
    mount->link = *link;
    return 0;
}

static int enter_cell(const struct fs_setup *setup, msb_error **err)
{
    size_t num = setup->num_exports;
    struct cell_mount *mounts = calloc(num + 1, sizeof(*mounts));
    char **texts = calloc(2 * num, sizeof(char *));
    int result = 0;

    if (!mounts || !texts) {
        free(mounts);
        free(texts);
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < num && result == 0; i++)
        result = plan_export(&setup->exports[i], &mounts[i + 1], &texts[2 * i], &texts[2 * i + 1], err);
    if (result == 0) {
        mounts[0] = (struct cell_mount){ .source = "/proc/self/fd", .target = "fd", .read_only = true };
        result = cell_mounts(mounts, num + 1, err);
    }
    for (size_t i = 0; i < 2 * num; i++)
        free(texts[i]);
    free(texts);
    free(mounts);
    return result;
}

/* Finds the mounts of the exports that are presented with something changed. */
static struct fs_mount *find_mounts(const struct fs_setup *setup, msb_error **err)
{
    struct fs_mount *mounts = calloc(setup->num_exports, sizeof(*mounts));

    if (!mounts)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    for (size_t i = 0; i < setup->num_exports; i++) {
        const struct fs_export *export = &setup->exports[i];
        char path[PATH_MAX];
        struct statx st;
        int error;

        if (export->masked)
            continue;
        snprintf(path, sizeof(path), "/tree/%s", export->target);
        error = statx_at(AT_FDCWD, path, &st);
        if (error < 0) {
            free(mounts);
            errno = -error;
            return FAIL_NULL(fail_errno(err, "look at `%s`", export->host));
        }
        /* A link has no mount of its own, and nothing below it. */
        if (!S_ISLNK(st.stx_mode))
            mounts[i] = (struct fs_mount){ .id = st.stx_mnt_id, .oci_whiteouts = export->oci_whiteouts };
    }
    return mounts;
}

static struct fs *make_server(const struct fs_setup *setup, struct fs_options *options, msb_error **err)
{
    struct fs_mount *mounts = find_mounts(setup, err);
    struct fs *fs;

    if (!mounts)
        return NULL;
    options->guest_is_only_user = setup->guest_is_only_user;
    /* The parts of an overlay lie below the top; every other root is the tree itself. */
    options->below_overlay = setup->guest_is_only_user && *setup->exports[0].target;
    options->mounts = mounts;
    options->num_mounts = setup->num_exports;
    options->own_fds_path = "/fd";
    options->own_fds = open("/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    options->root = open("/tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A directory that may not be read can still be searched. */
    if (options->root < 0)
        options->root = open("/tree", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (options->own_fds < 0 || options->root < 0)
        fs = FAIL_NULL(fail_errno(err, "open the exported tree"));
    else
        fs = fs_new(options, err);
    free(mounts);
    return fs;
}

static int serve(const struct fs_setup *setup, struct device *device, msb_error **err)
{
    struct virtio_fs_config config = { .num_request_queues = setup->num_queues };
    const struct vhost_user_device description = {
        .name = "fs",
        .num_queues = 1U + setup->num_queues,
        .queue_size_max = QUEUE_SIZE_MAX,
        .config = &config,
        .config_size = sizeof(config),
        .writes_much = true,
        .queue_started = queue_started,
        .queue_stopped = queue_stopped,
    };
    struct loop *loop = loop_new(err);
    struct vhost_user *vu;
    int result;

    if (!loop)
        return -1;
    memcpy(config.tag, setup->tag, strlen(setup->tag));
    vu = vhost_user_new(loop, DEVICE_FD_FRONTEND, &description, device, err);
    result = vu && device_ready(loop, NULL, NULL, err) == 0 ? loop_run(loop, err) : -1;
    vhost_user_free(vu);
    loop_free(loop);
    return result;
}

/* Root may use what it exports whoever owns it: permissions are the guest's kernel's business, as they are where an ordinary user
   exports its own files. With only one user mapped there is nobody else's file to get at. */
static int confine(bool one_user, msb_error **err)
{
    static const int capabilities[] = { CAP_DAC_OVERRIDE, CAP_FOWNER };

    return cell_confine_keeping(capabilities, one_user ? 0 : 2, allowed, sizeof(allowed) / sizeof(allowed[0]), err);
}

/* On a busy machine a request must not wait for as long as others may compute: a thread that asks for short turns gets them soon (since
   Linux 6.12; kernels before take no notice). */
static void ask_for_short_turns(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = { .size = sizeof(attributes), .policy = SCHED_OTHER, .runtime = 100000 };

    /* Who started us otherwise meant it. */
    if (sched_getscheduler(0) == SCHED_OTHER)
        (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

static int run(msb_error **err)
{
    struct fs_options options = { 0 };
    struct fs_setup setup;
    struct device device = { 0 };
    int result = -1;

    if (receive_setup(&setup, err) < 0)
        return -1;
    ask_for_short_turns();
    /* What the guest wants is what files get. */
    umask(0);
    if (maps_one_user(&options.one_user, err) == 0 && raise_file_limit(&options.max_files, err) == 0 &&
        enter_cell(&setup, err) == 0 && cell_die_with(DEVICE_FD_MONITOR, err) == 0 && confine(options.one_user, err) == 0) {
        device.fs = make_server(&setup, &options, err);
        device.pool = device.fs ? pool_new(POOL_THREADS, false, err) : NULL;
        device.waiters = device.pool ? pool_new(POOL_WAITERS, true, err) : NULL;
        if (device.waiters)
            result = serve(&setup, &device, err);
        pool_free(device.pool);
        pool_free(device.waiters);
        fs_free(device.fs);
    }
    fs_setup_clear(&setup);
    return result;
}

int main(void)
{
    return device_main(run);
}
