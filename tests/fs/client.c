/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include "util/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
    QUEUE_SIZE = 1024,
    MEMORY_SIZE = 16 << 20,
};

/* What the virtio-fs client of Linux 6.12 offers. */
static const uint64_t linux_flags =
    FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES | FUSE_DONT_MASK |
    FUSE_FLOCK_LOCKS | FUSE_HAS_IOCTL_DIR | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |
    FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV | FUSE_POSIX_ACL |
    FUSE_ABORT_ERROR | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPLICIT_INVAL_DATA |
    FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT | FUSE_SECURITY_CTX | FUSE_SUBMOUNTS;

static void start_process(struct client *client, const struct client_start *start)
{
    struct fs_setup setup = {
        .log_level = MSB_LOG_ERROR,
        .tag = (char *)"test",
        .guest_is_only_user = start->guest_is_only_user,
        .num_queues = 1,
        .exports = (struct fs_export *)start->exports,
        .num_exports = start->num_exports,
    };
    struct writer w = { 0 };
    struct device_start device = { .executable = getenv("MSB_FS"), .user = start->user };
    msb_error *error = NULL;

    assert_non_null(device.executable);
    fs_setup_encode(&w, &setup);
    device.setup = w.data;
    device.setup_size = w.size;
    if (device_process_start(&client->process, &device, &error) < 0)
        fail_msg("%s", msb_error_message(error));
    free(w.data);
}

static void make_buffers(struct client *client)
{
    client->request = driver_alloc(client->driver, 4096, 64);
    client->argument = driver_alloc(client->driver, 4096, 64);
    client->data = driver_alloc(client->driver, CLIENT_DATA_MAX, 4096);
    client->header = driver_alloc(client->driver, 4096, 64);
    client->reply = driver_alloc(client->driver, 4096, 64);
    client->reply_data = driver_alloc(client->driver, CLIENT_DATA_MAX, 4096);
}

static void init(struct client *client, uint64_t flags)
{
    struct fuse_init_in in = {
        .major = 7, .minor = 41, .max_readahead = 1 << 20, .flags = (uint32_t)flags, .flags2 = (uint32_t)(flags >> 32)
    };
    struct call call = { .opcode = FUSE_INIT,
                         .argument = &in,
                         .argument_size = sizeof(in),
                         .reply = &client->init,
                         .reply_size = sizeof(client->init) };

    assert_int_equal(client_call(client, &call), 0);
    assert_int_equal(client->init.major, 7);
}

void client_start(struct client *client, const struct client_start *start)
{
    msb_error *error = NULL;

    *client = (struct client){ .pid = 1 };
    start_process(client, start);
    client->driver = driver_new(steal_fd(&client->process.socket), MEMORY_SIZE, &error);
    if (!client->driver || driver_accept(client->driver, frontend_features(driver_frontend(client->driver)), &error) < 0)
        fail_msg("%s", msb_error_message(error));
    client->hiprio = driver_queue_start(client->driver, 0, QUEUE_SIZE, &error);
    client->queue = client->hiprio ? driver_queue_start(client->driver, 1, QUEUE_SIZE, &error) : NULL;
    if (!client->queue)
        fail_msg("%s", msb_error_message(error));
    make_buffers(client);
    init(client, start->flags ? start->flags : linux_flags);
}

void client_stop(struct client *client)
{
    driver_free(client->driver);
    assert_int_equal(device_process_wait(&client->process, CLIENT_TIMEOUT_MS), 0);
}

/* Adds size bytes as one buffer, if there are any; they are copied in for the device to read. */
static void add(struct client *client, struct driver_buffer *buffers, unsigned *count, gpa_t at, const void *from, size_t size,
                bool writable)
{
    if (!size)
        return;
    if (from)
        memcpy(driver_at(client->driver, at), from, size);
    buffers[(*count)++] = (struct driver_buffer){ .address = at, .length = (uint32_t)size, .writable = writable };
}

static uint64_t submit(struct client *client, const struct call *call, bool with_reply)
{
    struct fuse_in_header header = {
        .len = (uint32_t)(sizeof(header) + call->argument_size + call->data_size),
        .opcode = call->opcode,
        .unique = ++client->unique,
        .nodeid = call->node,
        .uid = client->uid,
        .gid = client->gid,
        .pid = client->pid,
    };
    struct driver_buffer buffers[6];
    unsigned count = 0;
    struct driver_queue *queue = with_reply ? client->queue : client->hiprio;

    add(client, buffers, &count, client->request, &header, sizeof(header), false);
    add(client, buffers, &count, client->argument, call->argument, call->argument_size, false);
    add(client, buffers, &count, client->data, call->data, call->data_size, false);
    if (with_reply) {
        add(client, buffers, &count, client->header, NULL, sizeof(struct fuse_out_header), true);
        add(client, buffers, &count, client->reply, NULL, call->reply_size, true);
        add(client, buffers, &count, client->reply_data, NULL, call->reply_data_size, true);
    }
    assert_true(driver_add(queue, buffers, count) >= 0);
    driver_kick(queue);
    return header.unique;
}

/* Copies out what was answered, and checks that it is an answer. */
static int take_reply(struct client *client, struct call *call, const struct driver_used *used, uint64_t unique)
{
    struct fuse_out_header header;
    size_t fixed;

    memcpy(&header, driver_at(client->driver, client->header), sizeof(header));
    assert_true(used->length >= sizeof(header));
    assert_int_equal(header.len, used->length);
    assert_int_equal(header.unique, unique);
    assert_true(header.error <= 0 && header.error > -4096);
    call->got = header.len - sizeof(header);
    if (header.error) {
        assert_int_equal(call->got, 0);
        return header.error;
    }
    fixed = call->got < call->reply_size ? call->got : call->reply_size;
    if (call->reply)
        memcpy(call->reply, driver_at(client->driver, client->reply), fixed);
    if (call->reply_data)
        memcpy(call->reply_data, driver_at(client->driver, client->reply_data), call->got - fixed);
    return 0;
}

int client_call(struct client *client, struct call *call)
{
    uint64_t unique = submit(client, call, true);
    struct driver_used used;

    assert_int_equal(driver_wait(client->queue, &used, CLIENT_TIMEOUT_MS), 1);
    return take_reply(client, call, &used, unique);
}

uint64_t client_begin(struct client *client, const struct call *call)
{
    struct client own = *client;
    uint64_t unique;

    own.request = driver_alloc(client->driver, 4096, 64);
    own.argument = driver_alloc(client->driver, 4096, 64);
    own.header = client->begun_header = driver_alloc(client->driver, 64, 64);
    unique = submit(&own, call, true);
    client->unique = own.unique;
    return unique;
}

int client_end(struct client *client, uint64_t unique, int timeout_ms)
{
    struct fuse_out_header header;
    struct driver_used used;
    int result = driver_wait(client->queue, &used, timeout_ms);

    assert_true(result >= 0);
    if (result == 0)
        return 1;
    memcpy(&header, driver_at(client->driver, client->begun_header), sizeof(header));
    assert_int_equal(header.unique, unique);
    return header.error;
}

void client_tell(struct client *client, const struct call *call)
{
    struct driver_used used;

    submit(client, call, false);
    assert_int_equal(driver_wait(client->hiprio, &used, CLIENT_TIMEOUT_MS), 1);
    assert_int_equal(used.length, 0);
}

void client_forget(struct client *client, uint64_t node, uint64_t lookups)
{
    struct fuse_forget_in in = { .nlookup = lookups };
    struct call call = { .opcode = FUSE_FORGET, .node = node, .argument = &in, .argument_size = sizeof(in) };

    client_tell(client, &call);
}

/* ---- The requests ---------------------------------------------------------------------------------------------------------------- */

static int entry_call(struct client *client, struct call *call, struct fuse_entry_out *entry)
{
    struct fuse_entry_out ignored;
    int error;

    call->reply = entry ? entry : &ignored;
    call->reply_size = sizeof(*entry);
    error = client_call(client, call);
    if (error == 0)
        assert_int_equal(call->got, sizeof(*entry));
    return error;
}

int client_lookup(struct client *client, uint64_t parent, const char *name, struct fuse_entry_out *entry)
{
    struct fuse_entry_out found;
    struct call call = { .opcode = FUSE_LOOKUP, .node = parent, .data = name, .data_size = strlen(name) + 1 };
    int error = entry_call(client, &call, &found);

    if (entry)
        *entry = found;
    /* A name that is known not to be there. */
    return error == 0 && found.nodeid == 0 ? -ENOENT : error;
}

int client_getattr(struct client *client, uint64_t node, struct fuse_attr *attr)
{
    struct fuse_getattr_in in = { 0 };
    struct fuse_attr_out out;
    struct call call = { .opcode = FUSE_GETATTR,
                         .node = node,
                         .argument = &in,
                         .argument_size = sizeof(in),
                         .reply = &out,
                         .reply_size = sizeof(out) };
    int error = client_call(client, &call);

    if (error == 0)
        *attr = out.attr;
    return error;
}

int client_setattr(struct client *client, uint64_t node, const struct fuse_setattr_in *in, struct fuse_attr *attr)
{
    struct fuse_attr_out out;
    struct call call = { .opcode = FUSE_SETATTR,
                         .node = node,
                         .argument = in,
                         .argument_size = sizeof(*in),
                         .reply = &out,
                         .reply_size = sizeof(out) };
    int error = client_call(client, &call);

    if (error == 0 && attr)
        *attr = out.attr;
    return error;
}

int client_chmod(struct client *client, uint64_t node, uint32_t mode)
{
    return client_setattr(client, node, &(struct fuse_setattr_in){ .valid = FATTR_MODE, .mode = mode }, NULL);
}

int client_chown(struct client *client, uint64_t node, uint32_t uid, uint32_t gid)
{
    struct fuse_setattr_in in = { .valid = FATTR_UID | FATTR_GID | FATTR_KILL_SUIDGID, .uid = uid, .gid = gid };

    return client_setattr(client, node, &in, NULL);
}

int client_truncate(struct client *client, uint64_t node, uint64_t size)
{
    return client_setattr(client, node, &(struct fuse_setattr_in){ .valid = FATTR_SIZE, .size = size }, NULL);
}

int client_mkdir(struct client *client, uint64_t parent, const char *name, uint32_t mode, struct fuse_entry_out *entry)
{
    struct fuse_mkdir_in in = { .mode = mode };
    struct call call = { .opcode = FUSE_MKDIR,
                         .node = parent,
                         .argument = &in,
                         .argument_size = sizeof(in),
                         .data = name,
                         .data_size = strlen(name) + 1 };

    return entry_call(client, &call, entry);
}

int client_mknod(struct client *client, uint64_t parent, const char *name, uint32_t mode, uint32_t rdev,
                 struct fuse_entry_out *entry)
{
    struct fuse_mknod_in in = { .mode = mode, .rdev = rdev };
    struct call call = { .opcode = FUSE_MKNOD,
                         .node = parent,
                         .argument = &in,
                         .argument_size = sizeof(in),
                         .data = name,
                         .data_size = strlen(name) + 1 };

    return entry_call(client, &call, entry);
}

/* Two strings, one behind the other. */
static size_t join(char *to, const char *a, const char *b)
{
    size_t first = strlen(a) + 1, second = strlen(b) + 1;

    memcpy(to, a, first);
    memcpy(to + first, b, second);
    return first + second;
}

int client_symlink(struct client *client, uint64_t parent, const char *name, const char *target, struct fuse_entry_out *entry)
{
    char names[NAME_MAX + PATH_MAX + 1000];
    struct call call = { .opcode = FUSE_SYMLINK, .node = parent, .data = names, .data_size = join(names, name, target) };

    return entry_call(client, &call, entry);
}

int client_readlink(struct client *client, uint64_t node, char *target, size_t size)
{
    struct call call = { .opcode = FUSE_READLINK, .node = node, .reply_data = target, .reply_data_size = size - 1 };
    int error = client_call(client, &call);

    if (error == 0)
        target[call.got] = '\0';
    return error;
}

int client_link(struct client *client, uint64_t node, uint64_t parent, const char *name, struct fuse_entry_out *entry)
{
    struct fuse_link_in in = { .oldnodeid = node };
    struct call call = { .opcode = FUSE_LINK,
                         .node = parent,
                         .argument = &in,
                         .argument_size = sizeof(in),
                         .data = name,
                         .data_size = strlen(name) + 1 };

    return entry_call(client, &call, entry);
}

static int name_call(struct client *client, uint32_t opcode, uint64_t parent, const char *name)
{
    struct call call = { .opcode = opcode, .node = parent, .data = name, .data_size = strlen(name) + 1 };

    return client_call(client, &call);
}

int client_unlink(struct client *client, uint64_t parent, const char *name)
{
    return name_call(client, FUSE_UNLINK, parent, name);
}

int client_rmdir(struct client *client, uint64_t parent, const char *name)
{
    return name_call(client, FUSE_RMDIR, parent, name);
}

int client_rename(struct client *client, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
                  uint32_t flags)
{
    struct fuse_rename2_in in = { .newdir = new_parent, .flags = flags };
    char names[2 * NAME_MAX + 1000];
    struct call call = {
        .opcode = FUSE_RENAME2,
        .node = parent,
        .argument = &in,
        .argument_size = sizeof(in),
        .data = names,
        .data_size = join(names, name, new_name),
    };

    return client_call(client, &call);
}

static int open_call(struct client *client, uint32_t opcode, uint64_t node, uint32_t flags, uint64_t *fh)
{
    struct fuse_open_in in = { .flags = flags };
    struct fuse_open_out out;
    struct call call = {
        .opcode = opcode, .node = node, .argument = &in, .argument_size = sizeof(in), .reply = &out, .reply_size = sizeof(out)
    };
    int error = client_call(client, &call);

    if (error == 0)
        *fh = out.fh;
    return error;
}

int client_open(struct client *client, uint64_t node, uint32_t flags, uint64_t *fh)
{
    int error = open_call(client, FUSE_OPEN, node, flags, fh);

    /* There is nothing to open: requests name the node. */
    if (error == -ENOSYS && (client->init.flags & FUSE_NO_OPEN_SUPPORT)) {
        *fh = 0;
        return 0;
    }
    return error;
}

int client_opendir(struct client *client, uint64_t node, uint64_t *fh)
{
    int error = open_call(client, FUSE_OPENDIR, node, 0, fh);

    if (error == -ENOSYS && (client->init.flags & FUSE_NO_OPENDIR_SUPPORT)) {
        *fh = 0;
        return 0;
    }
    return error;
}

int client_create(struct client *client, uint64_t parent, const char *name, uint32_t flags, uint32_t mode,
                  struct fuse_entry_out *entry, uint64_t *fh)
{
    struct fuse_create_in in = { .flags = flags, .mode = mode };
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out;
    struct call call = {
        .opcode = FUSE_CREATE,
        .node = parent,
        .argument = &in,
        .argument_size = sizeof(in),
        .data = name,
        .data_size = strlen(name) + 1,
        .reply = &out,
        .reply_size = sizeof(out),
    };
    int error = client_call(client, &call);

    if (error)
        return error;
    assert_int_equal(call.got, sizeof(out));
    *entry = out.entry;
    *fh = out.open.fh;
    return 0;
}

static int release_call(struct client *client, uint32_t opcode, uint64_t node, uint64_t fh)
{
    struct fuse_release_in in = { .fh = fh };
    struct call call = { .opcode = opcode, .node = node, .argument = &in, .argument_size = sizeof(in) };

    return client_call(client, &call);
}

int client_release(struct client *client, uint64_t node, uint64_t fh)
{
    return fh ? release_call(client, FUSE_RELEASE, node, fh) : 0;
}

int client_releasedir(struct client *client, uint64_t node, uint64_t fh)
{
    return fh ? release_call(client, FUSE_RELEASEDIR, node, fh) : 0;
}

static ssize_t read_call(struct client *client, uint32_t opcode, uint64_t node, const struct fuse_read_in *in, void *data)
{
    struct call call = {
        .opcode = opcode,
        .node = node,
        .argument = in,
        .argument_size = sizeof(*in),
        .reply_data = data,
        .reply_data_size = in->size,
    };
    int error = client_call(client, &call);

    return error ? error : (ssize_t)call.got;
}

ssize_t client_read(struct client *client, uint64_t node, uint64_t fh, uint64_t offset, void *data, size_t size)
{
    struct fuse_read_in in = { .fh = fh, .offset = offset, .size = (uint32_t)size };

    return read_call(client, FUSE_READ, node, &in, data);
}

ssize_t client_readdir(struct client *client, bool plus, uint64_t node, uint64_t fh, uint64_t offset, void *data, size_t size)
{
    struct fuse_read_in in = { .fh = fh, .offset = offset, .size = (uint32_t)size };

    return read_call(client, plus ? FUSE_READDIRPLUS : FUSE_READDIR, node, &in, data);
}

ssize_t client_write(struct client *client, uint64_t node, uint64_t fh, uint64_t offset, const void *data, size_t size)
{
    struct fuse_write_in in = { .fh = fh, .offset = offset, .size = (uint32_t)size };
    struct fuse_write_out out;
    struct call call = {
        .opcode = FUSE_WRITE,
        .node = node,
        .argument = &in,
        .argument_size = sizeof(in),
        .data = data,
        .data_size = size,
        .reply = &out,
        .reply_size = sizeof(out),
    };
    int error = client_call(client, &call);

    return error ? error : (ssize_t)out.size;
}

int client_setxattr(struct client *client, uint64_t node, const char *name, const void *value, size_t size, uint32_t flags)
{
    struct fuse_setxattr_in in = { .size = (uint32_t)size, .flags = flags };
    size_t name_size = strlen(name) + 1;
    char *data = malloc(name_size + size);
    struct call call = { .opcode = FUSE_SETXATTR,
                         .node = node,
                         .argument = &in,
                         .argument_size = sizeof(in),
                         .data = data,
                         .data_size = name_size + size };
    int error;

    assert_non_null(data);
    memcpy(data, name, name_size);
    memcpy(data + name_size, value, size);
    error = client_call(client, &call);
    free(data);
    return error;
}

static ssize_t xattr_call(struct client *client, struct call *call, void *value, size_t size)
{
    struct fuse_getxattr_in in = { .size = (uint32_t)size };
    struct fuse_getxattr_out out;
    int error;

    call->argument = &in;
    call->argument_size = sizeof(in);
    call->reply_data = size ? value : &out;
    call->reply_data_size = size ? size : sizeof(out);
    error = client_call(client, call);
    if (error)
        return error;
    return size ? (ssize_t)call->got : (ssize_t)out.size;
}

ssize_t client_getxattr(struct client *client, uint64_t node, const char *name, void *value, size_t size)
{
    struct call call = { .opcode = FUSE_GETXATTR, .node = node, .data = name, .data_size = strlen(name) + 1 };

    return xattr_call(client, &call, value, size);
}

ssize_t client_listxattr(struct client *client, uint64_t node, char *list, size_t size)
{
    struct call call = { .opcode = FUSE_LISTXATTR, .node = node };

    return xattr_call(client, &call, list, size);
}

int client_removexattr(struct client *client, uint64_t node, const char *name)
{
    return name_call(client, FUSE_REMOVEXATTR, node, name);
}
