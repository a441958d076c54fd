/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each request of the protocol and its errors, against a real device process, as a guest that is the only user and as one that
 * shares with the host.
 */
#include "client.h"
#include "fs/owner.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

static bool only_user; /* which kind of device the tests run against now */

struct test {
    struct client client;
    struct tree tree;
};

static int set_up(void **state)
{
    struct test *t = calloc(1, sizeof(*t));
    struct fs_export export;

    assert_non_null(t);
    tree_make(&t->tree);
    export = (struct fs_export){ .host = t->tree.path, .target = (char *)"" };
    client_start(&t->client, &(struct client_start){ .exports = &export, .num_exports = 1, .guest_is_only_user = only_user });
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct test *t = *state;

    client_stop(&t->client);
    tree_remove(&t->tree);
    free(t);
    return 0;
}

static void a_file_is_created_written_read_and_removed(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out entry;
    struct fuse_attr attr;
    char data[64];
    uint64_t fh;

    assert_int_equal(client_lookup(c, ROOT_ID, "file", NULL), -ENOENT);
    assert_int_equal(client_create(c, ROOT_ID, "file", O_RDWR | O_CREAT | O_EXCL, 0644, &entry, &fh), 0);
    assert_int_equal(entry.attr.mode, S_IFREG | 0644);
    assert_int_equal(client_write(c, entry.nodeid, fh, 0, "hello, world", 12), 12);
    assert_int_equal(client_read(c, entry.nodeid, fh, 7, data, sizeof(data)), 5);
    assert_memory_equal(data, "world", 5);
    assert_int_equal(client_read(c, entry.nodeid, fh, 12, data, sizeof(data)), 0);
    assert_int_equal(client_getattr(c, entry.nodeid, &attr), 0);
    assert_int_equal(attr.size, 12);
    tree_expect_file(&t->tree, "file", "hello, world");
    assert_int_equal(client_unlink(c, ROOT_ID, "file"), 0);
    assert_int_equal(client_read(c, entry.nodeid, fh, 0, data, sizeof(data)), 12);
    assert_int_equal(client_getattr(c, entry.nodeid, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(client_release(c, entry.nodeid, fh), 0);
    client_forget(c, entry.nodeid, 1);
    assert_int_equal(client_getattr(c, entry.nodeid, &attr), -ESTALE);
    assert_int_equal(client_lookup(c, ROOT_ID, "file", NULL), -ENOENT);
}

static void a_symlink_keeps_the_owner_that_it_is_given(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out entry, again;
    char target[64];

    assert_int_equal(client_symlink(c, ROOT_ID, "link", "target", &entry), 0);
    assert_int_equal(entry.attr.mode, S_IFLNK | 0777);
    assert_int_equal(client_readlink(c, entry.nodeid, target, sizeof(target)), 0);
    assert_string_equal(target, "target");
    assert_int_equal(client_chown(c, entry.nodeid, 7, 8), 0);
    assert_int_equal(client_lookup(c, ROOT_ID, "link", &again), 0);
    assert_int_equal(again.nodeid, entry.nodeid);
    assert_int_equal(again.attr.uid, 7);
    assert_int_equal(again.attr.gid, 8);
    /* By any of its names, whichever goes first. */
    assert_int_equal(client_link(c, entry.nodeid, ROOT_ID, "other", &again), 0);
    assert_int_equal(again.nodeid, entry.nodeid);
    assert_int_equal(client_lookup(c, ROOT_ID, "link", &again), 0);
    assert_int_equal(client_unlink(c, ROOT_ID, "link"), 0);
    client_forget(c, entry.nodeid, 4);
    assert_int_equal(client_lookup(c, ROOT_ID, "other", &again), 0);
    assert_int_equal(again.attr.uid, 7);
    assert_int_equal(again.attr.gid, 8);
}

static void names_are_single_components(void **state)
{
    static const char *const wrong[] = { "", ".", "..", "a/b", "/etc/passwd", "../tree", "a/" };
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out entry;
    char long_name[300];
    uint64_t fh;

    tree_add_file(&t->tree, "a", "");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(client_lookup(c, ROOT_ID, wrong[i], NULL), -EINVAL);
        assert_int_equal(client_mkdir(c, ROOT_ID, wrong[i], 0755, NULL), -EINVAL);
        assert_int_equal(client_mknod(c, ROOT_ID, wrong[i], S_IFREG | 0644, 0, NULL), -EINVAL);
        assert_int_equal(client_symlink(c, ROOT_ID, wrong[i], "x", NULL), -EINVAL);
        assert_int_equal(client_create(c, ROOT_ID, wrong[i], O_RDWR, 0644, &entry, &fh), -EINVAL);
        assert_int_equal(client_unlink(c, ROOT_ID, wrong[i]), -EINVAL);
        assert_int_equal(client_rmdir(c, ROOT_ID, wrong[i]), -EINVAL);
        assert_int_equal(client_rename(c, ROOT_ID, "a", ROOT_ID, wrong[i], 0), -EINVAL);
        assert_int_equal(client_rename(c, ROOT_ID, wrong[i], ROOT_ID, "b", 0), -EINVAL);
    }
    memset(long_name, 'x', sizeof(long_name));
    long_name[256] = '\0';
    assert_int_equal(client_lookup(c, ROOT_ID, long_name, NULL), -ENAMETOOLONG);
    long_name[255] = '\0';
    assert_int_equal(client_lookup(c, ROOT_ID, long_name, NULL), -ENOENT);
    assert_int_equal(client_mkdir(c, ROOT_ID, long_name, 0755, NULL), 0);
    assert_int_equal(client_lookup(c, ROOT_ID, long_name, NULL), 0);
}

static void links_of_the_guest_are_not_followed(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out entry;
    struct fuse_attr attr;
    uint64_t fh;
    char data[16];

    assert_int_equal(client_symlink(c, ROOT_ID, "out", "/etc/passwd", &entry), 0);
    assert_int_equal(client_lookup(c, entry.nodeid, "x", NULL), -ENOTDIR);
    assert_true(client_read(c, entry.nodeid, 0, 0, data, sizeof(data)) < 0);
    assert_true(client_write(c, entry.nodeid, 0, 0, "x", 1) < 0);
    assert_true(client_truncate(c, entry.nodeid, 0) < 0);
    if (!only_user)
        assert_int_equal(client_open(c, entry.nodeid, O_RDONLY, &fh), -ENXIO);
    assert_int_equal(client_getattr(c, entry.nodeid, &attr), 0);
    assert_int_equal(attr.mode, S_IFLNK | 0777);
    assert_int_equal(client_symlink(c, ROOT_ID, "up", "..", &entry), 0);
    assert_int_equal(client_mkdir(c, entry.nodeid, "x", 0755, NULL), -ENOTDIR);
    assert_int_equal(client_opendir(c, entry.nodeid, &fh), -ENOTDIR);
}

static void a_fifo_of_the_host_is_never_opened(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out entry;
    uint64_t fh = 0;
    char data[16];

    assert_int_equal(mkfifoat(t->tree.fd, "fifo", 0666), 0);
    assert_int_equal(client_lookup(c, ROOT_ID, "fifo", &entry), 0);
    assert_int_equal(entry.attr.mode & S_IFMT, S_IFIFO);
    if (!only_user)
        assert_int_equal(client_open(c, entry.nodeid, O_RDONLY, &fh), -ENXIO);
    assert_true(client_read(c, entry.nodeid, 0, 0, data, sizeof(data)) < 0);
    assert_true(client_write(c, entry.nodeid, 0, 0, "x", 1) < 0);
}

static void a_wrong_id_is_stale(void **state)
{
    static const uint64_t wrong[] = { 0, 2, 3, 1000000, 1ULL << 32 | 2, UINT64_MAX };
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_attr attr;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(client_getattr(c, wrong[i], &attr), -ESTALE);
        assert_int_equal(client_lookup(c, wrong[i], "x", NULL), -ESTALE);
        client_forget(c, wrong[i], UINT64_MAX);
    }
    assert_int_equal(client_getattr(c, ROOT_ID, &attr), 0);
}

static void forgetting_more_than_was_looked_up_is_harmless(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out entry, again;
    struct fuse_attr attr;

    tree_add_file(&t->tree, "a", "a");
    assert_int_equal(client_lookup(c, ROOT_ID, "a", &entry), 0);
    assert_int_equal(client_lookup(c, ROOT_ID, "a", &again), 0);
    assert_int_equal(again.nodeid, entry.nodeid);
    client_forget(c, entry.nodeid, 1);
    assert_int_equal(client_getattr(c, entry.nodeid, &attr), 0);
    client_forget(c, entry.nodeid, UINT64_MAX);
    assert_int_equal(client_getattr(c, entry.nodeid, &attr), -ESTALE);
    client_forget(c, entry.nodeid, 1);
    client_forget(c, ROOT_ID, UINT64_MAX);
    assert_int_equal(client_lookup(c, ROOT_ID, "a", &again), 0);
    assert_int_not_equal(again.nodeid, entry.nodeid);
}

static void unknown_and_short_requests_are_refused(void **state)
{
    static const uint32_t opcodes[] = { 100, 4096, 1048576, 436207616, UINT32_MAX };
    struct test *t = *state;
    struct client *c = &t->client;
    char bytes[8] = { 0 };

    for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
        struct call call = { .opcode = opcodes[i], .node = ROOT_ID };

        assert_int_equal(client_call(c, &call), -ENOSYS);
    }
    /* Every opcode with too few bytes: an error, or nothing that could be wrong about it. */
    for (uint32_t opcode = 1; opcode < 53; opcode++) {
        struct call call = { .opcode = opcode, .node = ROOT_ID, .argument = bytes, .argument_size = 3 };

        if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT || opcode == FUSE_DESTROY)
            continue;
        client_call(c, &call);
    }
    assert_int_equal(client_lookup(c, ROOT_ID, "missing", NULL), -ENOENT);
}

/* ---- All that Linux 6.12 can ask ----------------------------------------------------------------------------------------------------- */

enum { LAST_OPCODE = 52 };

/* A request of each opcode that is as it should be, and what comes of it: as docs/files.md has it. Node '@' is a file, '/' its
   directory; '-' stands for requests without an answer, which have tests of their own, and the first and the last one. */
struct asked {
    const char *name;
    char node;
    const void *argument;
    size_t argument_size;
    const char *data;
    size_t data_size;
    int only_user, shared; /* 0 or an error */
};

#define FIXED(...) &(__VA_ARGS__), sizeof(__VA_ARGS__)
#define NAME(text) text, sizeof(text)
#define NONE NULL, 0
#define UNKNOWN                                                                                                                  \
    {                                                                                                                            \
        "unknown", '/', NONE, NONE, -ENOSYS, -ENOSYS                                                                             \
    }

#define ELSEWHERE                                                                                                                \
    {                                                                                                                            \
        NULL, '-', NONE, NONE, 0, 0                                                                                              \
    }
#define NO_ANSWER ELSEWHERE

static void ask_everything(struct client *c, uint64_t file, uint64_t dir)
{
    static const struct fuse_file_lock lock = { .start = 0, .end = 9, .type = F_WRLCK, .pid = 1 };
    const struct asked asked[LAST_OPCODE + 2] = {
        [0] = UNKNOWN,
        [FUSE_LOOKUP] = { "lookup", '/', NONE, NAME("file"), 0, 0 },
        [FUSE_FORGET] = NO_ANSWER,
        [FUSE_GETATTR] = { "getattr", '@', FIXED((struct fuse_getattr_in){ 0 }), NONE, 0, 0 },
        [FUSE_SETATTR] = { "setattr", '@', FIXED((struct fuse_setattr_in){ .valid = FATTR_MODE, .mode = 0600 }), NONE, 0, 0 },
        [FUSE_READLINK] = { "readlink", '@', NONE, NONE, -EINVAL, -EINVAL },
        [FUSE_SYMLINK] = { "symlink", '/', NONE, NAME("link\0target"), 0, 0 },
        [7] = UNKNOWN,
        [FUSE_MKNOD] = { "mknod", '/', FIXED((struct fuse_mknod_in){ .mode = S_IFIFO | 0600 }), NAME("fifo"), 0, 0 },
        [FUSE_MKDIR] = { "mkdir", '/', FIXED((struct fuse_mkdir_in){ .mode = 0700 }), NAME("dir"), 0, 0 },
        [FUSE_UNLINK] = { "unlink", '/', NONE, NAME("link"), 0, 0 },
        [FUSE_RMDIR] = { "rmdir", '/', NONE, NAME("dir"), 0, 0 },
        [FUSE_RENAME] = { "rename", '/', FIXED((struct fuse_rename_in){ ROOT_ID }), NAME("fifo\0pipe"), 0, 0 },
        [FUSE_LINK] = { "link", '/', FIXED((struct fuse_link_in){ file }), NAME("second"), 0, 0 },
        [FUSE_OPEN] = { "open", '@', FIXED((struct fuse_open_in){ .flags = O_RDWR }), NONE, -ENOSYS, 0 },
        [FUSE_READ] = { "read", '@', FIXED((struct fuse_read_in){ .size = 10 }), NONE, 0, 0 },
        [FUSE_WRITE] = { "write", '@', FIXED((struct fuse_write_in){ .size = 5 }), "bytes", 5, 0, 0 },
        [FUSE_STATFS] = { "statfs", '/', NONE, NONE, 0, 0 },
        [FUSE_RELEASE] = { "release", '@', FIXED((struct fuse_release_in){ 0 }), NONE, 0, 0 },
        [19] = UNKNOWN,
        [FUSE_FSYNC] = { "fsync", '@', FIXED((struct fuse_fsync_in){ 0 }), NONE, 0, 0 },
        [FUSE_SETXATTR] = { "setxattr", '@', FIXED((struct fuse_setxattr_in){ .size = 1 }), "user.x\0y", 8, 0, 0 },
        [FUSE_GETXATTR] = { "getxattr", '@', FIXED((struct fuse_getxattr_in){ .size = 9 }), NAME("user.x"), 0, 0 },
        [FUSE_LISTXATTR] = { "listxattr", '@', FIXED((struct fuse_getxattr_in){ .size = 99 }), NONE, 0, 0 },
        [FUSE_REMOVEXATTR] = { "removexattr", '@', NONE, NAME("user.x"), 0, 0 },
        [FUSE_FLUSH] = { "flush", '@', FIXED((struct fuse_flush_in){ 0 }), NONE, -ENOSYS, 0 },
        [FUSE_INIT] = ELSEWHERE,
        [FUSE_OPENDIR] = { "opendir", '/', FIXED((struct fuse_open_in){ 0 }), NONE, -ENOSYS, 0 },
        [FUSE_READDIR] = { "readdir", '/', FIXED((struct fuse_read_in){ .size = 4096, .fh = dir }), NONE, 0, 0 },
        [FUSE_RELEASEDIR] = { "releasedir", '/', FIXED((struct fuse_release_in){ 0 }), NONE, 0, 0 },
        [FUSE_FSYNCDIR] = { "fsyncdir", '/', FIXED((struct fuse_fsync_in){ 0 }), NONE, 0, 0 },
        [FUSE_GETLK] = { "getlk", '@', FIXED((struct fuse_lk_in){ .owner = 1, .lk = lock }), NONE, 0, 0 },
        [FUSE_SETLK] = { "setlk", '@', FIXED((struct fuse_lk_in){ .owner = 1, .lk = lock }), NONE, 0, 0 },
        [FUSE_SETLKW] = { "setlkw", '@', FIXED((struct fuse_lk_in){ .owner = 1, .lk = lock }), NONE, 0, 0 },
        [FUSE_ACCESS] = { "access", '@', FIXED((struct fuse_access_in){ .mask = R_OK }), NONE, 0, 0 },
        [FUSE_CREATE] = { "create", '/', FIXED((struct fuse_create_in){ .flags = O_RDWR, .mode = 0600 }), NAME("new"), 0, 0 },
        [FUSE_INTERRUPT] = NO_ANSWER,
        [FUSE_BMAP] = { "bmap", '@', FIXED((struct fuse_bmap_in){ .blocksize = 512 }), NONE, -ENOSYS, -ENOSYS },
        [FUSE_DESTROY] = ELSEWHERE,
        [FUSE_IOCTL] = { "ioctl", '@', FIXED((struct fuse_ioctl_in){ .cmd = 0x5401 }), NONE, -ENOTTY, -ENOTTY },
        [FUSE_POLL] = { "poll", '@', FIXED((struct fuse_poll_in){ .events = 1 }), NONE, -ENOSYS, -ENOSYS },
        [FUSE_NOTIFY_REPLY] = { "notify_reply", '@', FIXED((struct fuse_notify_retrieve_in){ 0 }), NONE, -ENOSYS, -ENOSYS },
        [FUSE_BATCH_FORGET] = NO_ANSWER,
        [FUSE_FALLOCATE] = { "fallocate", '@', FIXED((struct fuse_fallocate_in){ .length = 100 }), NONE, 0, 0 },
        [FUSE_READDIRPLUS] = { "readdirplus", '/', FIXED((struct fuse_read_in){ .size = 4096, .fh = dir }), NONE, 0, 0 },
        [FUSE_RENAME2] = { "rename2", '/', FIXED((struct fuse_rename2_in){ ROOT_ID, RENAME_EXCHANGE, 0 }), NAME("new\0pipe"), 0,
                           0 },
        [FUSE_LSEEK] = { "lseek", '@', FIXED((struct fuse_lseek_in){ .whence = SEEK_HOLE }), NONE, 0, 0 },
        [FUSE_COPY_FILE_RANGE] = { "copy_file_range", '@',
                                   FIXED((struct fuse_copy_file_range_in){ .nodeid_out = file, .off_out = 50, .len = 4 }), NONE,
                                   0, 0 },
        [FUSE_SETUPMAPPING] = { "setupmapping", '@', FIXED((struct { uint64_t words[5]; }){ { 0 } }), NONE, -ENOSYS, -ENOSYS },
        [FUSE_REMOVEMAPPING] = { "removemapping", '@', FIXED((struct { uint64_t words[3]; }){ { 1 } }), NONE, -ENOSYS, -ENOSYS },
        [FUSE_SYNCFS] = { "syncfs", '/', FIXED((struct fuse_syncfs_in){ 0 }), NONE, 0, 0 },
        [FUSE_TMPFILE] = { "tmpfile", '/', FIXED((struct fuse_create_in){ .flags = O_RDWR, .mode = 0600 }), NAME("#1"), 0, 0 },
        [FUSE_STATX] = { "statx", '@', FIXED((struct fuse_statx_in){ .sx_mask = STATX_BTIME }), NONE, 0, 0 },
        [LAST_OPCODE + 1] = UNKNOWN,
    };
    char reply[4096];

    for (uint32_t opcode = 0; opcode <= LAST_OPCODE + 1; opcode++) {
        const struct asked *a = &asked[opcode];
        struct call call = { .opcode = opcode,
                             .node = a->node == '@' ? file : ROOT_ID,
                             .argument = a->argument,
                             .argument_size = a->argument_size,
                             .data = a->data,
                             .data_size = a->data_size,
                             .reply = reply,
                             .reply_size = sizeof(reply) };
        int expected = only_user ? a->only_user : a->shared, error;

        assert_int_not_equal(a->node, 0); /* none is left out */
        error = a->name ? client_call(c, &call) : 0;
        if (error != expected)
            fail_msg("opcode %u (%s): %d instead of %d", opcode, a->name, error, expected);
    }
}

static void every_opcode_is_served_or_refused_for_a_reason(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out file;
    struct fuse_attr attr;
    uint64_t dir;

    tree_add_file(&t->tree, "file", "0123456789");
    assert_int_equal(client_lookup(c, ROOT_ID, "file", &file), 0);
    assert_int_equal(client_opendir(c, ROOT_ID, &dir), 0);
    ask_everything(c, file.nodeid, dir);
    assert_int_equal(client_call(c, &(struct call){ .opcode = FUSE_DESTROY }), 0);
    assert_int_equal(client_getattr(c, ROOT_ID, &attr), -EIO);
}

static int ioctl_call(struct client *c, uint64_t node, uint32_t cmd, unsigned *flags)
{
    struct {
        struct fuse_ioctl_out head;
        unsigned flags;
    } out;
    bool set = cmd == FS_IOC_SETFLAGS;
    struct fuse_ioctl_in in = { .cmd = cmd, .in_size = set ? sizeof(*flags) : 0, .out_size = set ? 0 : sizeof(*flags) };
    struct call call = { .opcode = FUSE_IOCTL,
                         .node = node,
                         .argument = &in,
                         .argument_size = sizeof(in),
                         .data = (const char *)flags,
                         .data_size = in.in_size,
                         .reply = &out,
                         .reply_size = sizeof(out.head) + in.out_size };
    int error = client_call(c, &call);

    if (error == 0) {
        assert_int_equal(call.got, call.reply_size);
        assert_int_equal(out.head.result, 0);
        assert_int_equal(out.head.flags, 0);
    }
    if (error == 0 && !set)
        *flags = out.flags;
    return error;
}

static void flags_of_files_are_the_host_s(void **state)
{
    static const unsigned refused[] = { FS_IMMUTABLE_FL, FS_APPEND_FL, FS_CASEFOLD_FL, FS_VERITY_FL, FS_JOURNAL_DATA_FL };
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out file;
    unsigned flags, before, on_host;
    int fd;

    tree_add_file(&t->tree, "f", "");
    fd = openat(t->tree.fd, "f", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(client_lookup(c, ROOT_ID, "f", &file), 0);
    if (ioctl(fd, FS_IOC_GETFLAGS, &before) < 0) {
        close(fd);
        assert_int_equal(ioctl_call(c, file.nodeid, FS_IOC_GETFLAGS, &flags), -ENOTTY);
        skip(); /* a file system that has none */
    }
    assert_int_equal(ioctl_call(c, file.nodeid, FS_IOC_GETFLAGS, &flags), 0);
    assert_int_equal(flags, before);
    flags |= FS_NODUMP_FL | FS_NOATIME_FL;
    assert_int_equal(ioctl_call(c, file.nodeid, FS_IOC_SETFLAGS, &flags), 0);
    assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &on_host), 0);
    assert_int_equal(on_host, before | FS_NODUMP_FL | FS_NOATIME_FL);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        flags = on_host | refused[i];
        assert_int_equal(ioctl_call(c, file.nodeid, FS_IOC_SETFLAGS, &flags), -EPERM);
    }
    assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
    assert_int_equal(flags, on_host);
    assert_int_equal(ioctl_call(c, ROOT_ID, FS_IOC_GETFLAGS, &flags), 0);
    assert_int_equal(ioctl_call(c, file.nodeid, FS_IOC_FSGETXATTR, &flags), -EINVAL); /* no room for it */
    assert_int_equal(ioctl_call(c, file.nodeid, FS_IOC_FSSETXATTR, &flags), -ENOTTY);
    close(fd);
}

static void ownership_goes_into_the_xattr(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out entry;
    struct fuse_attr attr;
    uint64_t fh;

    assert_int_equal(client_create(c, ROOT_ID, "f", O_RDWR | O_CREAT, 0644, &entry, &fh), 0);
    tree_expect_no_xattr(&t->tree, "f", "user.containers.override_stat");
    assert_int_equal(client_chown(c, entry.nodeid, 1000, 100), 0);
    tree_expect_xattr(&t->tree, "f", "user.containers.override_stat", "1000:100:0644");
    assert_int_equal(client_chmod(c, entry.nodeid, 04711), 0);
    tree_expect_xattr(&t->tree, "f", "user.containers.override_stat", "1000:100:04711");
    assert_int_equal(tree_stat(&t->tree, "f").st_mode, S_IFREG | 0711);
    assert_int_equal(tree_stat(&t->tree, "f").st_uid, geteuid());
    assert_int_equal(client_getattr(c, entry.nodeid, &attr), 0);
    assert_int_equal(attr.mode, S_IFREG | 04711);
    assert_int_equal(attr.uid, 1000);
    assert_int_equal(attr.gid, 100);
    /* A change of owner takes the set-id bits; back at what the host shows, nothing is kept. */
    assert_int_equal(client_chown(c, entry.nodeid, 0, 0), 0);
    assert_int_equal(client_getattr(c, entry.nodeid, &attr), 0);
    assert_int_equal(attr.mode, S_IFREG | 0711);
    tree_expect_no_xattr(&t->tree, "f", "user.containers.override_stat");
    /* What the guest's root may do, the host lets its owner do. */
    assert_int_equal(client_chmod(c, entry.nodeid, 0), 0);
    assert_int_equal(tree_stat(&t->tree, "f").st_mode, S_IFREG | 0600);
    assert_int_equal(client_getattr(c, entry.nodeid, &attr), 0);
    assert_int_equal(attr.mode, S_IFREG);
    assert_int_equal(client_write(c, entry.nodeid, fh, 0, "x", 1), 1);
}

static void special_files_are_regular_on_the_host(void **state)
{
    static const struct {
        uint32_t mode, rdev;
        const char *xattr;
    } specials[] = {
        { S_IFIFO | 0640, 0, "7:8:0640:pipe" },
        { S_IFSOCK | 0755, 0, "7:8:0755:socket" },
        { S_IFCHR | 0666, 1 << 8 | 3, "7:8:0666:char-1-3" },
        { S_IFBLK | 06660, 8 << 8 | 17, "7:8:06660:block-8-17" },
    };
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out entry, again;

    c->uid = 7;
    c->gid = 8;
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++) {
        char name[8];

        snprintf(name, sizeof(name), "s%zu", i);
        assert_int_equal(client_mknod(c, ROOT_ID, name, specials[i].mode, specials[i].rdev, &entry), 0);
        assert_int_equal(entry.attr.mode, specials[i].mode);
        assert_int_equal(entry.attr.rdev, specials[i].rdev);
        assert_true(S_ISREG(tree_stat(&t->tree, name).st_mode));
        assert_int_equal(tree_stat(&t->tree, name).st_mode & 07000, 0);
        tree_expect_xattr(&t->tree, name, "user.containers.override_stat", specials[i].xattr);
        client_forget(c, entry.nodeid, 1);
        assert_int_equal(client_lookup(c, ROOT_ID, name, &again), 0);
        assert_int_equal(again.attr.mode, specials[i].mode);
        assert_int_equal(again.attr.rdev, specials[i].rdev);
        assert_int_equal(again.attr.uid, 7);
    }
    assert_int_equal(client_mknod(c, ROOT_ID, "white", S_IFCHR, 0, &entry), 0);
    assert_true(S_ISCHR(tree_stat(&t->tree, "white").st_mode));
}

static void a_set_group_id_directory_gives_its_group(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out dir, entry;

    assert_int_equal(client_mkdir(c, ROOT_ID, "d", 0755, &dir), 0);
    assert_int_equal(client_chown(c, dir.nodeid, 0, 50), 0);
    assert_int_equal(client_chmod(c, dir.nodeid, 02775), 0);
    assert_int_equal(tree_stat(&t->tree, "d").st_mode & 02000, 0);
    c->uid = 7;
    c->gid = 8;
    assert_int_equal(client_mknod(c, dir.nodeid, "f", S_IFREG | 0644, 0, &entry), 0);
    assert_int_equal(entry.attr.gid, 50);
    assert_int_equal(entry.attr.uid, 7);
    assert_int_equal(client_mkdir(c, dir.nodeid, "sub", 0755, &entry), 0);
    assert_int_equal(entry.attr.gid, 50);
    assert_int_equal(entry.attr.mode, S_IFDIR | 02755);
}

static void xattrs_keep_to_their_namespaces(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out entry;
    char value[64], list[512], long_name[256];
    ssize_t size;

    tree_add_file(&t->tree, "f", "");
    assert_int_equal(client_lookup(c, ROOT_ID, "f", &entry), 0);
    assert_int_equal(client_getxattr(c, entry.nodeid, "security.capability", value, sizeof(value)), -ENODATA);
    assert_int_equal(client_setxattr(c, entry.nodeid, "trusted.overlay.opaque", "y", 1, 0), 0);
    tree_expect_xattr(&t->tree, "f", "user.microsandbox.trusted.overlay.opaque", "y");
    tree_expect_no_xattr(&t->tree, "f", "trusted.overlay.opaque");
    assert_int_equal(client_setxattr(c, entry.nodeid, "security.capability", "caps", 4, 0), 0);
    tree_expect_no_xattr(&t->tree, "f", "security.capability");
    assert_int_equal(client_setxattr(c, entry.nodeid, "user.plain", "v", 1, 0), 0);
    tree_expect_xattr(&t->tree, "f", "user.plain", "v");
    assert_int_equal(client_chown(c, entry.nodeid, 5, 5), 0);
    /* Ours are neither seen nor set. */
    assert_int_equal(client_setxattr(c, entry.nodeid, "user.containers.override_stat", "0:0:04755", 9, 0), -EPERM);
    assert_int_equal(client_setxattr(c, entry.nodeid, "user.microsandbox.trusted.x", "1", 1, 0), -EPERM);
    assert_int_equal(client_removexattr(c, entry.nodeid, "user.containers.override_stat"), -EPERM);
    assert_int_equal(client_getxattr(c, entry.nodeid, "user.containers.override_stat", value, sizeof(value)), -ENODATA);
    assert_int_equal(client_getxattr(c, entry.nodeid, "system.posix_acl_access", value, sizeof(value)), -EOPNOTSUPP);
    size = client_listxattr(c, entry.nodeid, list, sizeof(list));
    /* The change of owner took the capability. */
    assert_int_equal(size, sizeof("trusted.overlay.opaque") + sizeof("user.plain"));
    assert_int_equal(client_listxattr(c, entry.nodeid, NULL, 0), size);
    assert_int_equal(client_getxattr(c, entry.nodeid, "user.plain", NULL, 0), 1);
    assert_int_equal(client_setxattr(c, entry.nodeid, "user.plain", "w", 1, 1 /* XATTR_CREATE */), -EEXIST);
    assert_int_equal(client_removexattr(c, entry.nodeid, "user.plain"), 0);
    assert_int_equal(client_removexattr(c, entry.nodeid, "user.plain"), -ENODATA);
    memset(long_name, 'x', 255);
    memcpy(long_name, "trusted.", 8);
    long_name[255] = '\0';
    assert_int_equal(client_setxattr(c, entry.nodeid, long_name, "1", 1, 0), -ERANGE);
}

static void set_on_host(const struct test *t, const char *name, const char *xattr, const char *value, size_t size)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", t->tree.path, name);
    if (setxattr(path, xattr, value, size, 0) < 0)
        fail_msg("setxattr %s of %s: %s", xattr, path, strerror(errno));
}

static void inodes_without_xattrs_are_told(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    const uint32_t told = only_user ? FUSE_ATTR_NO_XATTRS : 0;
    const struct {
        const char *name, *xattr;
        uint32_t flags;
    } cases[] = {
        { "none", NULL, told },
        { "user", "user.a", 0 },
        { "kept", "user.microsandbox.security.capability", 0 },
        { "owner", OWNER_XATTR, told },
        { "hidden", "user.microsandbox.nothing.of.the.guest", told },
    };
    struct fuse_entry_out entry;
    uint64_t fh;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tree_add_file(&t->tree, cases[i].name, "");
        if (cases[i].xattr)
            set_on_host(t, cases[i].name, cases[i].xattr, "", 0);
        assert_int_equal(client_lookup(c, ROOT_ID, cases[i].name, &entry), 0);
        if (entry.attr.flags != cases[i].flags)
            fail_msg("%s: flags %#x", cases[i].name, entry.attr.flags);
    }
    /* The owner is still read where there is one among others. */
    tree_add_file(&t->tree, "both", "");
    set_on_host(t, "both", "user.a", "value", 5);
    set_on_host(t, "both", OWNER_XATTR, "7:8:0640", 8);
    assert_int_equal(client_lookup(c, ROOT_ID, "both", &entry), 0);
    assert_int_equal(entry.attr.flags, 0);
    assert_int_equal(entry.attr.uid, 7);

    /* More names than are looked at, of which none is for the guest. */
    tree_add_file(&t->tree, "many", "");
    for (int i = 0; i < 20; i++) {
        char name[128];

        snprintf(name, sizeof(name), "user.microsandbox.%060d", i);
        set_on_host(t, "many", name, "", 0);
    }
    assert_int_equal(client_lookup(c, ROOT_ID, "many", &entry), 0);
    assert_int_equal(entry.attr.flags, 0);

    assert_int_equal(client_create(c, ROOT_ID, "new", O_RDWR | O_CREAT | O_EXCL, 0644, &entry, &fh), 0);
    assert_int_equal(entry.attr.flags, told);
    assert_int_equal(client_mkdir(c, ROOT_ID, "dir", 0755, &entry), 0);
    assert_int_equal(entry.attr.flags, told);
    assert_int_equal(client_symlink(c, ROOT_ID, "link", "none", &entry), 0);
    assert_int_equal(entry.attr.flags, told);
}

static void renames_are_followed(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out a, b, dir, entry;
    struct fuse_attr attr;
    char data[8];

    tree_add_file(&t->tree, "a", "a");
    tree_add_file(&t->tree, "b", "bb");
    assert_int_equal(client_lookup(c, ROOT_ID, "a", &a), 0);
    assert_int_equal(client_lookup(c, ROOT_ID, "b", &b), 0);
    assert_int_equal(client_mkdir(c, ROOT_ID, "d", 0755, &dir), 0);
    assert_int_equal(client_rename(c, ROOT_ID, "a", dir.nodeid, "x", 0), 0);
    assert_int_equal(client_getattr(c, a.nodeid, &attr), 0);
    assert_int_equal(client_rename(c, ROOT_ID, "d", ROOT_ID, "e", 0), 0);
    assert_int_equal(client_getattr(c, a.nodeid, &attr), 0);
    assert_int_equal(client_rename(c, dir.nodeid, "x", ROOT_ID, "b", RENAME_NOREPLACE), -EEXIST);
    assert_int_equal(client_rename(c, dir.nodeid, "x", ROOT_ID, "b", RENAME_EXCHANGE), 0);
    assert_int_equal(client_lookup(c, ROOT_ID, "b", &entry), 0);
    assert_int_equal(entry.nodeid, a.nodeid);
    assert_int_equal(client_getattr(c, b.nodeid, &attr), 0);
    assert_int_equal(attr.size, 2);
    /* Replaced, but not forgotten. */
    assert_int_equal(client_rename(c, dir.nodeid, "x", ROOT_ID, "b", 0), 0);
    assert_int_equal(client_getattr(c, a.nodeid, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(client_read(c, a.nodeid, 0, 0, data, sizeof(data)), 1);
    assert_int_equal(client_rename(c, ROOT_ID, "b", dir.nodeid, "b", RENAME_WHITEOUT), 0);
    assert_int_equal(client_lookup(c, ROOT_ID, "b", &entry), 0);
    assert_int_equal(entry.attr.mode & S_IFMT, S_IFCHR);
    assert_int_equal(entry.attr.rdev, 0);
    assert_int_equal(client_rename(c, ROOT_ID, "e", dir.nodeid, "inside", 0), -EINVAL);
    assert_int_equal(client_rename(c, ROOT_ID, "missing", ROOT_ID, "y", 0), -ENOENT);
    assert_int_equal(client_rename(c, ROOT_ID, "e", ROOT_ID, "y", 0x80), -EINVAL);
}

static void hard_links_share_a_node(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out a, b;
    struct fuse_attr attr;
    uint64_t fh;

    assert_int_equal(client_create(c, ROOT_ID, "a", O_RDWR | O_CREAT, 0644, &a, &fh), 0);
    assert_int_equal(client_link(c, a.nodeid, ROOT_ID, "b", &b), 0);
    assert_int_equal(b.nodeid, a.nodeid);
    assert_int_equal(b.attr.nlink, 2);
    assert_int_equal(client_link(c, a.nodeid, ROOT_ID, "b", &b), -EEXIST);
    assert_int_equal(client_unlink(c, ROOT_ID, "a"), 0);
    assert_int_equal(client_getattr(c, a.nodeid, &attr), 0);
    assert_int_equal(client_unlink(c, ROOT_ID, "b"), 0);
    assert_int_equal(client_getattr(c, a.nodeid, &attr), 0);
    assert_int_equal(attr.nlink, 0);
}

static void a_temporary_file_is_linked_into_place(void **state)
{
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } made;
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_create_in in = { .flags = O_RDWR, .mode = S_IFREG | 0600 };
    struct call call = {
        .opcode = FUSE_TMPFILE, .node = ROOT_ID, .argument = &in, .argument_size = sizeof(in), .data = "#1", .data_size = 3
    };

    call.reply = &made;
    call.reply_size = sizeof(made);
    assert_int_equal(client_call(c, &call), 0);
    assert_int_equal(made.entry.attr.nlink, 0);
    assert_int_equal(client_write(c, made.entry.nodeid, made.open.fh, 0, "tmp", 3), 3);
    assert_int_equal(client_link(c, made.entry.nodeid, ROOT_ID, "linked", NULL), 0);
    tree_expect_file(&t->tree, "linked", "tmp");
}

static unsigned count_entries(struct client *c, uint64_t dir, bool plus)
{
    _Alignas(struct fuse_direntplus) char data[4096];
    uint64_t fh, offset = 0;
    unsigned count = 0;
    ssize_t n;

    assert_int_equal(client_opendir(c, dir, &fh), 0);
    while ((n = client_readdir(c, plus, dir, fh, offset, data, sizeof(data))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct fuse_direntplus *p = (const void *)(data + at);
            const struct fuse_dirent *d = plus ? &p->dirent : (const void *)(data + at);

            if (plus && p->entry_out.nodeid)
                client_forget(c, p->entry_out.nodeid, 1);
            offset = d->off;
            count++;
            at += (ssize_t)(plus ? FUSE_DIRENTPLUS_SIZE(p) : FUSE_DIRENT_SIZE(d));
        }
    }
    assert_int_equal(n, 0);
    assert_int_equal(client_releasedir(c, dir, fh), 0);
    return count;
}

static void a_directory_is_listed_whole(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out dir;
    char name[32];

    assert_int_equal(client_mkdir(c, ROOT_ID, "d", 0755, &dir), 0);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "d/some-file-%d", i);
        tree_add_file(&t->tree, name, "");
    }
    assert_int_equal(count_entries(c, dir.nodeid, false), 3002);
    assert_int_equal(count_entries(c, dir.nodeid, true), 3002);
}

/* A listing that is under way: which of the files it has shown. */
struct listing {
    uint64_t node, fh, offset;
    bool seen[64];
    bool ended;
};

enum { LISTINGS = 40, LISTED_FILES = 64, FIRST_REMOVED = 60 };

/* One more page, with room for a few entries. */
static void list_more(struct client *c, struct listing *l)
{
    _Alignas(struct fuse_dirent) char data[300];
    ssize_t n = client_readdir(c, false, l->node, l->fh, l->offset, data, sizeof(data));

    assert_true(n >= 0);
    l->ended = n == 0;
    for (ssize_t at = 0; at < n;) {
        const struct fuse_dirent *d = (const void *)(data + at);
        char name[16] = "";

        assert_true(d->namelen < sizeof(name));
        memcpy(name, d->name, d->namelen);
        if (name[0] == 'f') {
            long i = strtol(name + 1, NULL, 10);

            assert_true(i >= 0 && i < LISTED_FILES && !l->seen[i]);
            l->seen[i] = true;
        }
        l->offset = d->off;
        at += (ssize_t)FUSE_DIRENT_SIZE(d);
    }
}

static void list_until_the_end(struct client *c, struct listing *listings, unsigned count)
{
    bool ended = false;

    while (!ended) {
        ended = true;
        for (struct listing *l = listings; l < listings + count; l++) {
            if (!l->ended)
                list_more(c, l);
            ended = ended && l->ended;
        }
    }
}

/* More at once than the device keeps under way where it is not told of opening, and two of each directory. */
static void listings_do_not_disturb_one_another(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct listing *listings = calloc(LISTINGS, sizeof(*listings));
    struct fuse_entry_out dir;
    char name[32];

    assert_non_null(listings);
    for (int i = 0; i < LISTINGS; i += 2) {
        snprintf(name, sizeof(name), "d%d", i);
        assert_int_equal(client_mkdir(c, ROOT_ID, name, 0755, &dir), 0);
        for (int j = 0; j < LISTED_FILES; j++) {
            snprintf(name, sizeof(name), "d%d/f%d", i, j);
            tree_add_file(&t->tree, name, "");
        }
        listings[i].node = listings[i + 1].node = dir.nodeid;
        assert_int_equal(client_opendir(c, dir.nodeid, &listings[i].fh), 0);
        assert_int_equal(client_opendir(c, dir.nodeid, &listings[i + 1].fh), 0);
        list_more(c, &listings[i]);
    }
    list_until_the_end(c, listings, LISTINGS);
    for (int i = 0; i < LISTINGS; i++)
        for (int j = 0; j < LISTED_FILES; j++)
            assert_true(listings[i].seen[j]);
    /* From the beginning again, each shows what is there by now. */
    for (int j = FIRST_REMOVED; j < LISTED_FILES; j++) {
        snprintf(name, sizeof(name), "f%d", j);
        assert_int_equal(client_unlink(c, listings[0].node, name), 0);
    }
    listings[0] = (struct listing){ .node = listings[0].node, .fh = listings[0].fh };
    list_until_the_end(c, listings, 1);
    for (int j = 0; j < LISTED_FILES; j++)
        assert_int_equal(listings[0].seen[j], j < FIRST_REMOVED);
    for (int i = 0; i < LISTINGS; i++)
        assert_int_equal(client_releasedir(c, listings[i].node, listings[i].fh), 0);
    free(listings);
}

/* Page faults of the device's since it began: proc(5), minflt. */
static unsigned long faults_of(const struct client *c)
{
    char path[64];
    unsigned long faults = 0;
    FILE *stat;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)c->process.child.pid);
    stat = fopen(path, "re");
    assert_non_null(stat);
    assert_int_equal(fscanf(stat, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %lu", &faults), 1);
    fclose(stat);
    return faults;
}

enum { SCATTERED = 200, PAGE = 4096 };

/* Reads into pages of which each lies before the one before: how many bytes. */
static size_t read_scattered(struct client *c, uint64_t node, uint64_t offset, gpa_t pages)
{
    struct fuse_in_header header = { .len = sizeof(header) + sizeof(struct fuse_read_in), .opcode = FUSE_READ, .nodeid = node };
    struct fuse_read_in in = { .offset = offset, .size = SCATTERED * PAGE };
    struct driver_buffer buffers[3 + SCATTERED] = {
        { .address = c->request, .length = sizeof(header) },
        { .address = c->argument, .length = sizeof(in) },
        { .address = c->header, .length = sizeof(struct fuse_out_header), .writable = true },
    };
    struct fuse_out_header out;
    struct driver_used used;

    for (unsigned i = 0; i < SCATTERED; i++)
        buffers[3 + i] =
            (struct driver_buffer){ .address = { pages.value + (SCATTERED - 1 - i) * PAGE }, .length = PAGE, .writable = true };
    memcpy(driver_at(c->driver, c->request), &header, sizeof(header));
    memcpy(driver_at(c->driver, c->argument), &in, sizeof(in));
    assert_true(driver_add(c->queue, buffers, 3 + SCATTERED) >= 0);
    driver_kick(c->queue);
    assert_int_equal(driver_wait(c->queue, &used, CLIENT_TIMEOUT_MS), 1);
    memcpy(&out, driver_at(c->driver, c->header), sizeof(out));
    assert_int_equal(out.error, 0);
    assert_int_equal(out.len, used.length);
    return out.len - sizeof(out);
}

static void expect_scattered(const struct client *c, gpa_t pages, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size; done += PAGE) {
        gpa_t page = { pages.value + (SCATTERED - 1 - done / PAGE) * PAGE };

        assert_memory_equal(driver_at(c->driver, page), bytes + done, size - done < PAGE ? size - done : PAGE);
    }
}

/* The first time a page is written through the guest memory's file, and it is mapped later. */
static void pages_are_not_touched_the_first_time(void **state)
{
    enum { SIZE = (SCATTERED + 3) * PAGE + 77 };
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out f;
    gpa_t pages = driver_alloc(c->driver, SCATTERED * PAGE, PAGE);
    char *bytes = malloc(SIZE + 1);
    unsigned long before;

    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)('a' + i * 7 % 23);
    bytes[SIZE] = '\0';
    tree_add_file(&t->tree, "f", bytes);
    assert_int_equal(client_lookup(c, ROOT_ID, "f", &f), 0);
    assert_int_equal(client_read(c, f.nodeid, 0, 0, bytes, 1), 1); /* what the first read of all needs */
    for (unsigned i = 0; i < 3; i++) {
        size_t offset = 1000 * i, expected = i < 2 ? (size_t)SCATTERED * PAGE : 100000;

        if (i == 2)
            offset = SIZE - expected;
        before = faults_of(c);
        assert_int_equal(read_scattered(c, f.nodeid, offset, pages), expected);
        /* The second time, its mapping gets those that were written before. */
        if (i != 1 && faults_of(c) - before >= SCATTERED / 2)
            fail_msg("%lu page faults for reading %d pages", faults_of(c) - before, SCATTERED);
        expect_scattered(c, pages, bytes + offset, expected);
    }
    free(bytes);
}

static void holes_are_found_and_made(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out f;
    struct fuse_attr attr;
    uint64_t fh;
    struct fuse_fallocate_in allocate;
    struct fuse_lseek_in seek;
    struct fuse_lseek_out out;
    struct call call;

    assert_int_equal(client_create(c, ROOT_ID, "f", O_RDWR | O_CREAT, 0644, &f, &fh), 0);
    assert_int_equal(client_write(c, f.nodeid, fh, 1 << 20, "x", 1), 1);
    seek = (struct fuse_lseek_in){ .fh = fh, .offset = 0, .whence = SEEK_DATA };
    call = (struct call){ .opcode = FUSE_LSEEK,
                          .node = f.nodeid,
                          .argument = &seek,
                          .argument_size = sizeof(seek),
                          .reply = &out,
                          .reply_size = sizeof(out) };
    assert_int_equal(client_call(c, &call), 0);
    assert_int_equal(out.offset, 1 << 20);
    seek.whence = SEEK_CUR;
    assert_int_equal(client_call(c, &call), -EINVAL);
    seek = (struct fuse_lseek_in){ .fh = fh, .offset = 2 << 20, .whence = SEEK_HOLE };
    assert_int_equal(client_call(c, &call), -ENXIO);
    allocate = (struct fuse_fallocate_in){ .fh = fh, .offset = 0, .length = 4 << 20 };
    call = (struct call){ .opcode = FUSE_FALLOCATE, .node = f.nodeid, .argument = &allocate, .argument_size = sizeof(allocate) };
    assert_int_equal(client_call(c, &call), 0);
    assert_int_equal(client_getattr(c, f.nodeid, &attr), 0);
    assert_int_equal(attr.size, 4 << 20);
    allocate.mode = 0x4000;
    assert_int_equal(client_call(c, &call), -EOPNOTSUPP);
}

static void unfinished_requests_are_not_believed(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out f;
    uint64_t fh;
    struct fuse_write_in in = { .size = 1 << 20 };
    struct fuse_write_out out;
    struct call call;

    assert_int_equal(client_create(c, ROOT_ID, "f", O_RDWR | O_CREAT, 0644, &f, &fh), 0);
    in.fh = fh;
    /* It says that it brings 1 MiB, and brings 5 bytes. */
    call = (struct call){ .opcode = FUSE_WRITE,
                          .node = f.nodeid,
                          .argument = &in,
                          .argument_size = sizeof(in),
                          .data = "short",
                          .data_size = 5,
                          .reply = &out,
                          .reply_size = sizeof(out) };
    assert_int_equal(client_call(c, &call), -EINVAL);
    in.size = UINT32_MAX;
    assert_int_equal(client_call(c, &call), -EINVAL);
    in.size = 5;
    in.offset = UINT64_MAX;
    assert_int_equal(client_call(c, &call), -EINVAL);
    in.offset = 0;
    in.fh = 0x12345;
    assert_int_equal(client_call(c, &call), -EBADF);
    in.fh = fh;
    assert_int_equal(client_call(c, &call), 0);
    assert_int_equal(out.size, 5);
}

static void syncing_and_status_work(void **state)
{
    struct test *t = *state;
    struct client *c = &t->client;
    struct fuse_entry_out f;
    struct fuse_statfs_out fs;
    struct fuse_fsync_in in = { 0 };
    struct fuse_syncfs_in sync = { 0 };
    struct call call;
    uint64_t fh;

    assert_int_equal(client_create(c, ROOT_ID, "f", O_RDWR | O_CREAT, 0644, &f, &fh), 0);
    in.fh = fh;
    call = (struct call){ .opcode = FUSE_FSYNC, .node = f.nodeid, .argument = &in, .argument_size = sizeof(in) };
    assert_int_equal(client_call(c, &call), 0);
    in.fsync_flags = FUSE_FSYNC_FDATASYNC;
    assert_int_equal(client_call(c, &call), 0);
    call = (struct call){ .opcode = FUSE_SYNCFS, .node = ROOT_ID, .argument = &sync, .argument_size = sizeof(sync) };
    assert_int_equal(client_call(c, &call), 0);
    call = (struct call){ .opcode = FUSE_STATFS, .node = ROOT_ID, .reply = &fs, .reply_size = sizeof(fs) };
    assert_int_equal(client_call(c, &call), 0);
    assert_true(fs.st.blocks > 0);
}

#define BOTH(name)                                                                                                               \
    {                                                                                                                            \
#name, name, set_up, tear_down, NULL                                                                                     \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_file_is_created_written_read_and_removed),
        BOTH(a_symlink_keeps_the_owner_that_it_is_given),
        BOTH(names_are_single_components),
        BOTH(links_of_the_guest_are_not_followed),
        BOTH(a_fifo_of_the_host_is_never_opened),
        BOTH(a_wrong_id_is_stale),
        BOTH(forgetting_more_than_was_looked_up_is_harmless),
        BOTH(unknown_and_short_requests_are_refused),
        BOTH(every_opcode_is_served_or_refused_for_a_reason),
        BOTH(flags_of_files_are_the_host_s),
        BOTH(ownership_goes_into_the_xattr),
        BOTH(special_files_are_regular_on_the_host),
        BOTH(a_set_group_id_directory_gives_its_group),
        BOTH(xattrs_keep_to_their_namespaces),
        BOTH(inodes_without_xattrs_are_told),
        BOTH(renames_are_followed),
        BOTH(hard_links_share_a_node),
        BOTH(a_temporary_file_is_linked_into_place),
        BOTH(a_directory_is_listed_whole),
        BOTH(listings_do_not_disturb_one_another),
        BOTH(pages_are_not_touched_the_first_time),
        BOTH(holes_are_found_and_made),
        BOTH(unfinished_requests_are_not_believed),
        BOTH(syncing_and_status_work),
    };
    int failed = 0;

    only_user = true;
    failed += cmocka_run_group_tests_name("fs requests, only user", tests, NULL, NULL);
    only_user = false;
    failed += cmocka_run_group_tests_name("fs requests, shared", tests, NULL, NULL);
    return failed;
}
