/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init and destroy: what client and server agree on.
 */
#include "fs/request.h"

#include <errno.h>

/* Whatever the tree is. */
static const uint64_t common_flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES | FUSE_INIT_EXT |
                                     FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT;

/* The guest knows best: it keeps names, attributes, links and pages, and writes back when it likes. */
static const uint64_t only_user_flags = FUSE_WRITEBACK_CACHE | FUSE_CACHE_SYMLINKS | FUSE_NO_OPEN_SUPPORT |
                                        FUSE_NO_OPENDIR_SUPPORT | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO;

/* The host changes things too: pages go when times or sizes change, and locks hold for all. Not FUSE_ATOMIC_O_TRUNC: with it Linux
   truncates a program that runs, and only then finds that it may not (ETXTBSY). Not FUSE_DO_READDIRPLUS: what it tells of an entry
   may not be kept, so that Linux forgets it at once, by one more request, and looks it up when it is used. */
static const uint64_t shared_flags = FUSE_AUTO_INVAL_DATA | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS;

enum {
    MAX_BACKGROUND = 128,
    PAGE = 4096,
};

int op_init(struct request *r)
{
    struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_MINOR };
    struct fuse_init_in in = { 0 };
    uint64_t offered, wanted;
    size_t size = request_left(r) < sizeof(in) ? request_left(r) : sizeof(in);

    /* Kernels before 7.36 send a shorter one. */
    if (size < 16 || !request_take(r, &in, size))
        return -EINVAL;
    if (in.major < FUSE_KERNEL_VERSION)
        return -EPROTO;
    /* "Expect a new INIT message from the kernel with a matching major version." */
    if (in.major > FUSE_KERNEL_VERSION)
        return request_reply(r, &out, FUSE_COMPAT_22_INIT_OUT_SIZE);
    offered = in.flags | (in.flags & FUSE_INIT_EXT ? (uint64_t)in.flags2 << 32 : 0);
    /* Older clients than that of Linux 5.10 would get answers of another shape. */
    if (in.minor < 31)
        return -EPROTO;
    wanted = offered & (common_flags | (r->fs->options.guest_is_only_user ? only_user_flags : shared_flags));
    locks_reset(r->fs->locks);
    handles_reset(r->fs->handles);
    nodes_reset(r->fs->nodes);
    r->fs->no_open = wanted & FUSE_NO_OPEN_SUPPORT;
    r->fs->no_opendir = wanted & FUSE_NO_OPENDIR_SUPPORT;
    r->fs->initialized = true;
    out.max_readahead = in.max_readahead;
    out.flags = (uint32_t)wanted;
    out.flags2 = (uint32_t)(wanted >> 32);
    out.max_background = MAX_BACKGROUND;
    out.congestion_threshold = MAX_BACKGROUND * 3 / 4;
    out.max_write = FS_MAX_WRITE;
    out.max_pages = FS_MAX_WRITE / PAGE;
    out.time_gran = 1;
    return request_reply(r, &out, sizeof(out));
}

int op_destroy(struct request *r)
{
    locks_reset(r->fs->locks);
    handles_reset(r->fs->handles);
    nodes_reset(r->fs->nodes);
    r->fs->initialized = false;
    return 0;
}
