/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A FUSE client over the virtio driver of tests/virtio: it plays the guest's kernel for one msb-fs process, which it starts as the
 * monitor would. Calls return 0 or a negative errno, as the device answers.
 */
#ifndef MSB_TESTS_FS_CLIENT_H
#define MSB_TESTS_FS_CLIENT_H

#include "device_process.h"
#include "driver.h"
#include "fs/fs.h"
#include "fs/fuse.h"

#include <stdbool.h>
#include <sys/types.h>

enum {
    CLIENT_TIMEOUT_MS = 20000,
    CLIENT_DATA_MAX = 1 << 20,
    ROOT_ID = 1,
};

struct client {
    struct device_process process;
    struct driver *driver;
    struct driver_queue *hiprio, *queue;
    gpa_t request, argument, data, header, reply, reply_data; /* buffers in guest memory */
    gpa_t begun_header;
    uint64_t unique;
    uint32_t uid, gid, pid; /* who asks */
    struct fuse_init_out init;
};

struct client_start {
    const struct fs_export *exports;
    size_t num_exports;
    bool guest_is_only_user;
    enum spawn_user user;
    uint64_t flags; /* for INIT; 0: all that Linux 6.12 has */
};

/* Starts the device, and agrees with it (INIT). Everything that fails here fails the test. */
void client_start(struct client *client, const struct client_start *start);
/* Hangs up; the device must end with status 0. */
void client_stop(struct client *client);

/* A request in its parts. */
struct call {
    uint32_t opcode;
    uint64_t node;
    const void *argument; /* the fixed part */
    size_t argument_size;
    const void *data; /* names, or what is written */
    size_t data_size;
    void *reply; /* the fixed part of the answer */
    size_t reply_size;
    void *reply_data; /* what comes behind it */
    size_t reply_data_size;
    size_t got; /* bytes of the answer behind its header */
};

/* Sends it and waits. 0 or the error that was answered; anything that is not a valid answer fails the test. */
int client_call(struct client *client, struct call *call);

/* Sends a request that may take long, with buffers of its own, and does not wait. Its number. */
uint64_t client_begin(struct client *client, const struct call *call);
/* Waits for the end of the one begun; its error, or 1 when it has not ended in this time. */
int client_end(struct client *client, uint64_t unique, int timeout_ms);
/* Sends one that is not answered. */
void client_tell(struct client *client, const struct call *call);

/* ---- The requests ---------------------------------------------------------------------------------------------------------------- */

int client_lookup(struct client *client, uint64_t parent, const char *name, struct fuse_entry_out *entry);
void client_forget(struct client *client, uint64_t node, uint64_t lookups);
int client_getattr(struct client *client, uint64_t node, struct fuse_attr *attr);
int client_setattr(struct client *client, uint64_t node, const struct fuse_setattr_in *in, struct fuse_attr *attr);
int client_mkdir(struct client *client, uint64_t parent, const char *name, uint32_t mode, struct fuse_entry_out *entry);
int client_mknod(struct client *client, uint64_t parent, const char *name, uint32_t mode, uint32_t rdev,
                 struct fuse_entry_out *entry);
int client_symlink(struct client *client, uint64_t parent, const char *name, const char *target, struct fuse_entry_out *entry);
int client_readlink(struct client *client, uint64_t node, char *target, size_t size);
int client_link(struct client *client, uint64_t node, uint64_t parent, const char *name, struct fuse_entry_out *entry);
int client_unlink(struct client *client, uint64_t parent, const char *name);
int client_rmdir(struct client *client, uint64_t parent, const char *name);
int client_rename(struct client *client, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
                  uint32_t flags);
int client_open(struct client *client, uint64_t node, uint32_t flags, uint64_t *fh);
int client_create(struct client *client, uint64_t parent, const char *name, uint32_t flags, uint32_t mode,
                  struct fuse_entry_out *entry, uint64_t *fh);
int client_release(struct client *client, uint64_t node, uint64_t fh);
/* How many bytes, or a negative errno. */
ssize_t client_read(struct client *client, uint64_t node, uint64_t fh, uint64_t offset, void *data, size_t size);
ssize_t client_write(struct client *client, uint64_t node, uint64_t fh, uint64_t offset, const void *data, size_t size);
int client_opendir(struct client *client, uint64_t node, uint64_t *fh);
int client_releasedir(struct client *client, uint64_t node, uint64_t fh);
ssize_t client_readdir(struct client *client, bool plus, uint64_t node, uint64_t fh, uint64_t offset, void *data, size_t size);
int client_setxattr(struct client *client, uint64_t node, const char *name, const void *value, size_t size, uint32_t flags);
ssize_t client_getxattr(struct client *client, uint64_t node, const char *name, void *value, size_t size);
ssize_t client_listxattr(struct client *client, uint64_t node, char *list, size_t size);
int client_removexattr(struct client *client, uint64_t node, const char *name);

/* Shorthands for setattr. */
int client_chmod(struct client *client, uint64_t node, uint32_t mode);
int client_chown(struct client *client, uint64_t node, uint32_t uid, uint32_t gid);
int client_truncate(struct client *client, uint64_t node, uint64_t size);

#endif
