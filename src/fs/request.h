/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One FUSE request: what came, how its arguments are taken, and how it is answered.
 *
 * A request lies in guest memory, which the guest may change at any moment. Headers, arguments and names are copied to locals of
 * ours once, checked there, and never looked at again in the guest's memory. File data goes between the guest's pages and the file by
 * preadv2(2) and pwritev2(2), without a copy of ours but to pages that are new here (op_io.c). The reply's header is written last.
 */
#ifndef MSB_FS_REQUEST_H
#define MSB_FS_REQUEST_H

#include "fs/fuse.h"
#include "fs/handle.h"
#include "fs/lock.h"
#include "fs/node.h"
#include "virtio/memory.h"

#include <sys/uio.h>

enum {
    FS_MAX_IOV = 1024,       /* IOV_MAX, and the longest virtqueue */
    FS_MAX_WRITE = 1 << 20,  /* bytes of data in one request */
    FS_XATTR_MAX = 64 << 10, /* XATTR_SIZE_MAX */
};

struct fs {
    struct fs_options options;
    struct nodes *nodes;
    struct handles *handles;
    struct locks *locks;
    uint32_t
        generation; /* goes with every node id: another one in each process, so that a guest's old file handles find nothing */
    bool initialized;
    bool no_open;    /* the guest reads and writes without opening (FUSE_NO_OPEN_SUPPORT) */
    bool no_opendir; /* and lists directories so (FUSE_NO_OPENDIR_SUPPORT) */
};

/* What a handler returns beside the number of bytes of its reply, or a negative errno. */
enum {
    REQUEST_DEFER = -4096, /* it would block: to be run again, from the beginning, where it may */
    REQUEST_WAIT = -4097,  /* the same, and it may take as long as others like */
};

struct request {
    struct fs *fs;
    const struct memory *memory;  /* where these buffers lie */
    const struct iovec *readable; /* what the guest sent */
    const struct iovec *writable; /* where the reply goes */
    unsigned num_readable, num_writable;
    size_t readable_bytes, writable_bytes;
    bool may_block;
    const void *queue;         /* where it came from: all waits of one queue can be interrupted */
    const bool *no_waits;      /* true from then on */
    volatile bool interrupted; /* FUSE_INTERRUPT came while it was blocked */

    struct fuse_in_header in;
    size_t taken; /* bytes of the arguments that were taken */
    struct node *node;
    struct iovec part[FS_MAX_IOV]; /* the data's part of readable or writable */
};

/* Serves one request: 0 and *written is how many bytes of the reply were written, or REQUEST_DEFER or REQUEST_WAIT, with
   nothing written, only when it may not block. fs, the buffers and may_block are set. Whatever the bytes are, nothing worse than an error in the reply
   happens. */
int request_serve(struct request *r, size_t *written);

/* Answers a request with an error instead. */
size_t request_refuse(struct request *r, int error);

/* ---- For the handlers -------------------------------------------------------------------------------------------------------------- */

/* Takes the next size bytes of the arguments; false when there are not so many. */
bool request_take(struct request *r, void *to, size_t size);

/* How many bytes of arguments are left. */
size_t request_left(const struct request *r);

/* Takes a name in a directory: 0 or a negative errno. Nothing but a single component comes through: no "/", no "." and "..", and
   none that means something to us (OCI whiteouts in a layer are not names). */
int request_take_name(struct request *r, char name[NAME_MAX + 1]);

/* Takes a NUL-terminated string of at most size - 1 bytes. */
int request_take_string(struct request *r, char *to, size_t size);

/* The next size bytes of the arguments as buffers; how many they are, in r->part. */
unsigned request_data(struct request *r, size_t size);

/* Puts size bytes into the reply, behind its header; returns size, or a negative errno when there is no room. */
int request_reply(const struct request *r, const void *data, size_t size);

/* Puts size bytes at an offset of the reply; the caller saw to it that there is room. */
void request_reply_at(const struct request *r, size_t offset, const void *data, size_t size);

/* How many bytes of reply there is room for. */
size_t request_room(const struct request *r);

/* Room for at most size bytes of reply as buffers, in r->part: how many they are. */
unsigned request_reply_data(struct request *r, size_t size);

typedef int request_handler(struct request *r);

/* Each in the file that is named. */
request_handler op_init, op_destroy;                                            /* op_init.c */
request_handler op_lookup, op_getattr, op_statx, op_statfs, op_access;          /* op_lookup.c */
request_handler op_setattr;                                                     /* op_setattr.c */
request_handler op_create, op_tmpfile, op_mknod, op_mkdir, op_symlink, op_link; /* op_create.c */
request_handler op_readlink;                                                    /* op_lookup.c */
request_handler op_unlink, op_rmdir, op_rename, op_rename2;                     /* op_remove.c */
request_handler op_open, op_release, op_opendir, op_releasedir, op_flush;       /* op_open.c */
request_handler op_read, op_write, op_fsync, op_fallocate, op_lseek;            /* op_io.c */
request_handler op_copy_file_range, op_syncfs;                                  /* op_io.c */
request_handler op_ioctl;                                                       /* op_ioctl.c */
request_handler op_readdir, op_readdirplus;                                     /* op_dir.c */
request_handler op_getlk, op_setlk, op_setlkw, op_interrupt;                    /* lock.c */
request_handler op_getxattr, op_setxattr, op_listxattr, op_removexattr;         /* op_xattr.c */

#endif
