/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kinds of trees: read-only, single files, several exports with links and layers, unpacked OCI layers; as root and as an ordinary
 * user; and what a hostile guest does to the queue.
 */
#include "client.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { ORDINARY_USER = 12345 };

static void a_read_only_tree_refuses_changes(void **state)
{
    struct tree tree;
    struct client c;
    struct fs_export export;
    struct fuse_entry_out entry, made;
    char data[8];
    uint64_t fh;

    (void)state;
    tree_make(&tree);
    tree_add_file(&tree, "f", "fixed");
    export = (struct fs_export){ .host = tree.path, .target = (char *)"0", .read_only = true };
    client_start(&c, &(struct client_start){ .exports = &export, .num_exports = 1 });
    assert_int_equal(client_lookup(&c, ROOT_ID, "0", &entry), 0);
    assert_int_equal(client_mkdir(&c, entry.nodeid, "d", 0755, NULL), -EROFS);
    assert_int_equal(client_create(&c, entry.nodeid, "n", O_RDWR | O_CREAT, 0644, &made, &fh), -EROFS);
    assert_int_equal(client_unlink(&c, entry.nodeid, "f"), -EROFS);
    assert_int_equal(client_rename(&c, entry.nodeid, "f", entry.nodeid, "g", 0), -EROFS);
    assert_int_equal(client_symlink(&c, entry.nodeid, "l", "x", NULL), -EROFS);
    assert_int_equal(client_lookup(&c, entry.nodeid, "f", &made), 0);
    assert_int_equal(client_open(&c, made.nodeid, O_RDWR, &fh), -EROFS);
    assert_int_equal(client_truncate(&c, made.nodeid, 0), -EROFS);
    assert_int_equal(client_chmod(&c, made.nodeid, 0777), -EROFS);
    assert_int_equal(client_chown(&c, made.nodeid, 1, 1), -EROFS);
    assert_int_equal(client_setxattr(&c, made.nodeid, "user.x", "1", 1, 0), -EROFS);
    assert_int_equal(client_link(&c, made.nodeid, entry.nodeid, "hard", NULL), -EROFS);
    assert_int_equal(client_open(&c, made.nodeid, O_RDONLY, &fh), 0);
    assert_int_equal(client_read(&c, made.nodeid, fh, 0, data, sizeof(data)), 5);
    client_stop(&c);
    tree_expect_file(&tree, "f", "fixed");
    tree_remove(&tree);
}

static void a_single_file_is_an_export(void **state)
{
    struct tree tree;
    struct client c;
    struct fs_export export;
    struct fuse_entry_out entry;
    char path[128], data[8];
    uint64_t fh;

    (void)state;
    tree_make(&tree);
    tree_add_file(&tree, "one", "1");
    tree_add_file(&tree, "two", "2");
    snprintf(path, sizeof(path), "%s/one", tree.path);
    export = (struct fs_export){ .host = path, .target = (char *)"0" };
    client_start(&c, &(struct client_start){ .exports = &export, .num_exports = 1 });
    assert_int_equal(client_lookup(&c, ROOT_ID, "0", &entry), 0);
    assert_int_equal(entry.attr.mode, S_IFREG | 0644);
    assert_int_equal(client_open(&c, entry.nodeid, O_RDWR, &fh), 0);
    assert_int_equal(client_read(&c, entry.nodeid, fh, 0, data, sizeof(data)), 1);
    assert_int_equal(client_write(&c, entry.nodeid, fh, 0, "one", 3), 3);
    assert_int_equal(client_lookup(&c, ROOT_ID, "two", NULL), -ENOENT);
    /* The device's own tree is nobody's to write to. */
    assert_int_equal(client_mkdir(&c, ROOT_ID, "new", 0755, NULL), -EROFS);
    client_stop(&c);
    tree_expect_file(&tree, "one", "one");
    tree_remove(&tree);
}

static void host_changes_are_seen_in_shares(void **state)
{
    struct tree tree;
    struct client c;
    struct fs_export export;
    struct fuse_entry_out entry, again;
    struct fuse_attr attr;
    uint64_t fh;

    (void)state;
    tree_make(&tree);
    tree_add_file(&tree, "f", "1");
    export = (struct fs_export){ .host = tree.path, .target = (char *)"" };
    client_start(&c, &(struct client_start){ .exports = &export, .num_exports = 1 });
    /* Nothing is told that may not be kept. */
    assert_false(c.init.flags & (FUSE_DO_READDIRPLUS | FUSE_NO_OPENDIR_SUPPORT | FUSE_WRITEBACK_CACHE));
    assert_int_equal(client_lookup(&c, ROOT_ID, "f", &entry), 0);
    assert_int_equal(entry.entry_valid, 0);
    assert_int_equal(entry.attr_valid, 0);
    tree_add_file(&tree, "f", "longer");
    assert_int_equal(client_getattr(&c, entry.nodeid, &attr), 0);
    assert_int_equal(attr.size, 6);
    assert_int_equal(fchmodat(tree.fd, "f", 0755, 0), 0);
    assert_int_equal(client_getattr(&c, entry.nodeid, &attr), 0);
    assert_int_equal(attr.mode, S_IFREG | 0755);
    /* Also after the guest gave it another owner. */
    assert_int_equal(client_chown(&c, entry.nodeid, 9, 9), 0);
    assert_int_equal(fchmodat(tree.fd, "f", 0644, 0), 0);
    assert_int_equal(client_getattr(&c, entry.nodeid, &attr), 0);
    assert_int_equal(attr.mode, S_IFREG | 0644);
    assert_int_equal(attr.uid, 9);
    /* Replaced: the old one is gone, and the name is another. */
    assert_int_equal(client_open(&c, entry.nodeid, O_RDONLY, &fh), 0);
    tree_add_file(&tree, "new", "new");
    assert_int_equal(renameat(tree.fd, "new", tree.fd, "f"), 0);
    assert_int_equal(client_lookup(&c, ROOT_ID, "f", &again), 0);
    assert_int_not_equal(again.nodeid, entry.nodeid);
    assert_int_equal(unlinkat(tree.fd, "f", 0), 0);
    assert_int_equal(client_lookup(&c, ROOT_ID, "f", NULL), -ENOENT);
    client_stop(&c);
    tree_remove(&tree);
}

static void a_moved_host_directory_is_stale_and_nothing_else(void **state)
{
    struct tree tree;
    struct client c;
    struct fs_export export;
    struct fuse_entry_out d, f;
    struct fuse_attr attr;

    (void)state;
    tree_make(&tree);
    assert_int_equal(mkdirat(tree.fd, "d", 0755), 0);
    tree_add_file(&tree, "d/f", "inside");
    tree_add_file(&tree, "f", "outside");
    export = (struct fs_export){ .host = tree.path, .target = (char *)"" };
    client_start(&c, &(struct client_start){ .exports = &export, .num_exports = 1 });
    assert_int_equal(client_lookup(&c, ROOT_ID, "d", &d), 0);
    assert_int_equal(client_lookup(&c, d.nodeid, "f", &f), 0);
    /* A link in the place of the directory leads nowhere. */
    assert_int_equal(renameat(tree.fd, "d/f", tree.fd, "gone"), 0);
    assert_int_equal(unlinkat(tree.fd, "d", AT_REMOVEDIR), 0);
    assert_int_equal(symlinkat("/etc", tree.fd, "d"), 0);
    assert_int_equal(client_getattr(&c, f.nodeid, &attr), -ESTALE);
    assert_int_equal(client_lookup(&c, d.nodeid, "passwd", NULL), -ENOENT);
    client_stop(&c);
    tree_remove(&tree);
}

static bool lists(struct client *c, uint64_t dir, const char *name, unsigned *type)
{
    _Alignas(struct fuse_direntplus) char data[4096];
    uint64_t fh, offset = 0;
    bool found = false;
    ssize_t n;

    assert_int_equal(client_opendir(c, dir, &fh), 0);
    while ((n = client_readdir(c, false, dir, fh, offset, data, sizeof(data))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct fuse_dirent *d = (const void *)(data + at);

            if (d->namelen == strlen(name) && memcmp(d->name, name, d->namelen) == 0) {
                assert_false(found);
                found = true;
                *type = d->type;
            }
            offset = d->off;
            at += (ssize_t)FUSE_DIRENT_SIZE(d);
        }
    }
    assert_int_equal(client_releasedir(c, dir, fh), 0);
    return found;
}

static void oci_whiteouts_look_like_overlayfs_ones(void **state)
{
    struct tree tree;
    struct client c;
    struct fs_export export;
    struct fuse_entry_out layers, layer, entry;
    char value[8], list[256];
    unsigned type = 0;

    (void)state;
    tree_make(&tree);
    tree_add_file(&tree, ".wh.gone", "");
    tree_add_file(&tree, ".wh.both", "");
    tree_add_file(&tree, "both", "new");
    assert_int_equal(mkdirat(tree.fd, "opaque", 0755), 0);
    tree_add_file(&tree, "opaque/.wh..wh..opq", "");
    assert_int_equal(mkdirat(tree.fd, "replaced", 0755), 0);
    tree_add_file(&tree, ".wh.replaced", "");
    assert_int_equal(mkdirat(tree.fd, "plain", 0755), 0);
    export = (struct fs_export){ .host = tree.path, .target = (char *)"layers/0", .read_only = true, .oci_whiteouts = true };
    client_start(&c, &(struct client_start){ .exports = &export, .num_exports = 1, .guest_is_only_user = true });
    assert_int_equal(client_lookup(&c, ROOT_ID, "layers", &layers), 0);
    assert_int_equal(client_lookup(&c, layers.nodeid, "0", &layer), 0);
    assert_int_equal(client_lookup(&c, layer.nodeid, "gone", &entry), 0);
    assert_int_equal(entry.attr.mode & S_IFMT, S_IFCHR);
    assert_int_equal(entry.attr.rdev, 0);
    assert_int_equal(client_getxattr(&c, entry.nodeid, "trusted.overlay.origin", value, sizeof(value)), -ENODATA);
    assert_int_equal(client_lookup(&c, layer.nodeid, ".wh.gone", NULL), -ENOENT);
    assert_int_equal(client_lookup(&c, layer.nodeid, "both", &entry), 0);
    assert_int_equal(entry.attr.mode, S_IFREG | 0644);
    assert_true(lists(&c, layer.nodeid, "gone", &type));
    assert_int_equal(type, S_IFCHR >> 12);
    assert_true(lists(&c, layer.nodeid, "both", &type));
    assert_int_equal(type, S_IFREG >> 12);
    assert_false(lists(&c, layer.nodeid, ".wh.gone", &type));
    assert_int_equal(client_lookup(&c, layer.nodeid, "opaque", &entry), 0);
    assert_int_equal(entry.attr.flags & FUSE_ATTR_NO_XATTRS, 0);
    assert_int_equal(client_getxattr(&c, entry.nodeid, "trusted.overlay.opaque", value, sizeof(value)), 1);
    assert_int_equal(value[0], 'y');
    assert_int_equal(client_listxattr(&c, entry.nodeid, list, sizeof(list)), sizeof("trusted.overlay.opaque"));
    assert_false(lists(&c, entry.nodeid, ".wh..wh..opq", &type));
    assert_int_equal(client_lookup(&c, layer.nodeid, "replaced", &entry), 0);
    assert_int_equal(entry.attr.flags & FUSE_ATTR_NO_XATTRS, 0);
    assert_int_equal(client_getxattr(&c, entry.nodeid, "trusted.overlay.opaque", value, sizeof(value)), 1);
    assert_int_equal(client_lookup(&c, layer.nodeid, "plain", &entry), 0);
    assert_int_equal(client_getxattr(&c, entry.nodeid, "trusted.overlay.opaque", value, sizeof(value)), -ENODATA);
    client_stop(&c);
    tree_remove(&tree);
}

static void links_among_exports_stay_links(void **state)
{
    struct tree tree;
    struct client c;
    struct fs_export exports[2];
    struct fuse_entry_out layers, layer, entry;
    char usr[128], bin[128], target[64];

    (void)state;
    tree_make(&tree);
    assert_int_equal(mkdirat(tree.fd, "usr", 0755), 0);
    assert_int_equal(symlinkat("usr/bin", tree.fd, "bin"), 0);
    snprintf(usr, sizeof(usr), "%s/usr", tree.path);
    snprintf(bin, sizeof(bin), "%s/bin", tree.path);
    exports[0] = (struct fs_export){ .host = usr, .target = (char *)"layers/0/usr", .read_only = true };
    exports[1] = (struct fs_export){ .host = bin, .target = (char *)"layers/0/bin", .read_only = true };
    client_start(&c, &(struct client_start){ .exports = exports, .num_exports = 2, .guest_is_only_user = true });
    assert_int_equal(client_lookup(&c, ROOT_ID, "layers", &layers), 0);
    assert_int_equal(client_lookup(&c, layers.nodeid, "0", &layer), 0);
    assert_int_equal(client_lookup(&c, layer.nodeid, "bin", &entry), 0);
    assert_int_equal(client_readlink(&c, entry.nodeid, target, sizeof(target)), 0);
    assert_string_equal(target, "usr/bin");
    client_stop(&c);
    tree_remove(&tree);
}

static const struct tree *ordinary_tree;

static void use_what_is_denied(void **state)
{
    const struct tree *tree = ordinary_tree;
    struct fs_export export = { .host = (char *)tree->path, .target = (char *)"" };
    struct client c;
    struct fuse_entry_out d, f, made;
    struct fuse_attr attr;
    char data[8];
    uint64_t fh;

    (void)state;
    assert_int_equal(mkdirat(tree->fd, "d", 0755), 0);
    tree_add_file(tree, "d/f", "text");
    assert_int_equal(fchmodat(tree->fd, "d/f", 0444, 0), 0);
    assert_int_equal(fchmodat(tree->fd, "d", 0555, 0), 0);
    client_start(&c, &(struct client_start){ .exports = &export, .num_exports = 1, .guest_is_only_user = true });
    assert_int_equal(client_lookup(&c, ROOT_ID, "d", &d), 0);
    assert_int_equal(d.attr.mode, S_IFDIR | 0555);
    assert_int_equal(d.attr.uid, 0);
    assert_int_equal(client_lookup(&c, d.nodeid, "f", &f), 0);
    assert_int_equal(client_write(&c, f.nodeid, 0, 0, "T", 1), 1);
    assert_int_equal(client_read(&c, f.nodeid, 0, 0, data, sizeof(data)), 4);
    assert_int_equal(client_create(&c, d.nodeid, "new", O_RDWR | O_CREAT, 0400, &made, &fh), 0);
    assert_int_equal(client_unlink(&c, d.nodeid, "f"), 0);
    /* The guest goes on seeing what was there. */
    assert_int_equal(client_getattr(&c, d.nodeid, &attr), 0);
    assert_int_equal(attr.mode, S_IFDIR | 0555);
    assert_int_equal(client_getattr(&c, f.nodeid, &attr), 0);
    assert_int_equal(attr.mode, S_IFREG | 0444);
    assert_int_equal(client_chown(&c, made.nodeid, 33, 33), 0);
    assert_int_equal(client_getattr(&c, made.nodeid, &attr), 0);
    assert_int_equal(attr.uid, 33);
    assert_int_equal(attr.mode, S_IFREG | 0400);
    client_stop(&c);
}

/* Becomes an ordinary user and runs one test, in a process of its own. */
static _Noreturn void run_as_ordinary_user(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(use_what_is_denied) };

    /* Dumpable again, as after an execve(2): otherwise /proc/self stays root's. */
    if (setgid(ORDINARY_USER) < 0 || setuid(ORDINARY_USER) < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        _exit(1);
    _exit(cmocka_run_group_tests_name("fs trees of an ordinary user", tests, NULL, NULL));
}

static void the_host_denies_its_owner_nothing(void **state)
{
    struct tree tree;
    int status;
    pid_t pid;

    tree_make(&tree);
    ordinary_tree = &tree;
    if (geteuid() != 0) {
        use_what_is_denied(state);
    } else {
        assert_int_equal(chown(tree.path, ORDINARY_USER, ORDINARY_USER), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            run_as_ordinary_user();
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    tree_remove(&tree);
}

enum { FEW_DESCRIPTORS = 1024 };

/* Names of many files, the way they are found, and what the guest knows them by. */
struct many {
    struct tree tree;
    struct client client;
    int count;
    uint64_t *nodes;
    struct timespec since;
};

/* Says what each of the files cost in the step that ends here. */
static void step_done(struct many *m, const char *what)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    print_message("# %s %d files: %.1f us each\n", what, m->count,
                  ((double)(now.tv_sec - m->since.tv_sec) * 1e6 + (double)(now.tv_nsec - m->since.tv_nsec) / 1e3) / m->count);
    m->since = now;
}

static void start_many(struct many *m)
{
    struct fs_export export = { .host = m->tree.path, .target = (char *)"" };

    client_start(&m->client, &(struct client_start){ .exports = &export, .num_exports = 1, .guest_is_only_user = true });
    clock_gettime(CLOCK_MONOTONIC, &m->since);
}

/* Few have something in them, which is their name: a block each would be gigabytes. */
static bool has_content(int i)
{
    return i % 100 == 7;
}

static void create_many(struct many *m)
{
    struct fuse_entry_out entry;
    char name[16];
    uint64_t fh;

    for (int i = 0; i < m->count; i++) {
        ssize_t length = snprintf(name, sizeof(name), "%d", i);

        assert_int_equal(client_create(&m->client, ROOT_ID, name, O_RDWR | O_CREAT | O_EXCL, 0644, &entry, &fh), 0);
        if (has_content(i))
            assert_int_equal(client_write(&m->client, entry.nodeid, fh, 0, name, (size_t)length), length);
        assert_int_equal(client_release(&m->client, entry.nodeid, fh), 0);
    }
    step_done(m, "create");
}

/* Notes one entry of a listing, which must be there once. */
static void note_entry(struct many *m, const struct fuse_direntplus *d)
{
    char name[16] = "", *end;
    long i;

    assert_true(d->dirent.namelen < sizeof(name));
    memcpy(name, d->dirent.name, d->dirent.namelen);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return;
    i = strtol(name, &end, 10);
    assert_true(*end == '\0' && i >= 0 && i < m->count);
    assert_int_equal(m->nodes[i], 0);
    assert_int_equal(d->dirent.type, S_IFREG >> 12);
    assert_int_equal(d->entry_out.attr.size, has_content((int)i) ? d->dirent.namelen : 0);
    m->nodes[i] = d->entry_out.nodeid;
}

/* Pages are as small as Linux's. */
static void list_many(struct many *m)
{
    _Alignas(struct fuse_direntplus) char data[4096];
    uint64_t fh, offset = 0;
    ssize_t n;

    assert_int_equal(client_opendir(&m->client, ROOT_ID, &fh), 0);
    while ((n = client_readdir(&m->client, true, ROOT_ID, fh, offset, data, sizeof(data))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct fuse_direntplus *d = (const void *)(data + at);

            note_entry(m, d);
            offset = d->dirent.off;
            at += (ssize_t)FUSE_DIRENTPLUS_SIZE(d);
        }
    }
    assert_int_equal(n, 0);
    assert_int_equal(client_releasedir(&m->client, ROOT_ID, fh), 0);
    for (int i = 0; i < m->count; i++)
        assert_int_not_equal(m->nodes[i], 0);
    step_done(m, "list");
}

static void look_up_many(struct many *m)
{
    struct fuse_entry_out entry;
    char name[16];

    for (int i = 0; i < m->count; i++) {
        snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(client_lookup(&m->client, ROOT_ID, name, &entry), 0);
        assert_int_equal(entry.nodeid, m->nodes[i]);
    }
    step_done(m, "look up");
}

static void read_many(struct many *m)
{
    char name[16], data[16];

    for (int i = 0; i < m->count; i++) {
        ssize_t length = snprintf(name, sizeof(name), "%d", i);

        assert_int_equal(client_read(&m->client, m->nodes[i], 0, 0, data, sizeof(data)), has_content(i) ? length : 0);
        if (has_content(i))
            assert_memory_equal(data, name, (size_t)length);
    }
    step_done(m, "read");
}

/* The first that has something in it stays in use. */
static void remove_many(struct many *m)
{
    char name[16];

    for (int i = 0; i < m->count; i++) {
        snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(client_unlink(&m->client, ROOT_ID, name), 0);
        if (i != 7)
            client_forget(&m->client, m->nodes[i], 2);
    }
    step_done(m, "remove and forget");
}

/* Far more files are used than may be open at once: a million with MSB_TEST_LONG. */
static void use_many_files(void **state)
{
    struct many m = { .count = getenv("MSB_TEST_LONG") ? 1000000 : 3 * FEW_DESCRIPTORS };
    struct fuse_attr attr;
    char data[8];

    (void)state;
    m.nodes = calloc((size_t)m.count, sizeof(*m.nodes));
    assert_non_null(m.nodes);
    tree_make_for(&m.tree, (size_t)m.count);
    start_many(&m);
    create_many(&m);
    client_stop(&m.client);
    start_many(&m);
    list_many(&m);
    look_up_many(&m);
    read_many(&m);
    remove_many(&m);
    assert_int_equal(client_getattr(&m.client, m.nodes[7], &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(client_read(&m.client, m.nodes[7], 0, 0, data, sizeof(data)), 1);
    client_stop(&m.client);
    free(m.nodes);
    tree_remove(&m.tree);
}

/* In a process of its own, whose limit the device inherits. */
static void descriptors_are_bounded(void **state)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(use_many_files) };
    const struct rlimit few = { FEW_DESCRIPTORS, FEW_DESCRIPTORS };
    int status;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(setrlimit(RLIMIT_NOFILE, &few) < 0 ||
              cmocka_run_group_tests_name("fs trees with few descriptors", tests, NULL, NULL) != 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- Hostile queues ------------------------------------------------------------------------------------------------------------------ */

struct hostile {
    struct tree tree;
    struct client client;
};

static int set_up_hostile(void **state)
{
    struct hostile *h = calloc(1, sizeof(*h));
    struct fs_export export;

    assert_non_null(h);
    tree_make(&h->tree);
    export = (struct fs_export){ .host = h->tree.path, .target = (char *)"" };
    client_start(&h->client, &(struct client_start){ .exports = &export, .num_exports = 1, .guest_is_only_user = true });
    *state = h;
    return 0;
}

static int tear_down_hostile(void **state)
{
    struct hostile *h = *state;

    client_stop(&h->client);
    tree_remove(&h->tree);
    free(h);
    return 0;
}

/* The buffers of a request that says it has len bytes, with some of them given and room for an answer of which some is given. */
static void send_chain(struct client *c, const struct fuse_in_header *header, size_t given, size_t room)
{
    struct driver_buffer buffers[2];
    unsigned count = 0;
    struct driver_used used;

    memcpy(driver_at(c->driver, c->request), header, sizeof(*header));
    if (given)
        buffers[count++] = (struct driver_buffer){ .address = c->request, .length = (uint32_t)given };
    if (room)
        buffers[count++] = (struct driver_buffer){ .address = c->reply_data, .length = (uint32_t)room, .writable = true };
    assert_true(driver_add(c->queue, buffers, count) >= 0);
    driver_kick(c->queue);
    assert_int_equal(driver_wait(c->queue, &used, CLIENT_TIMEOUT_MS), 1);
    assert_true(used.length <= room);
}

static void lengths_that_lie_are_survived(void **state)
{
    struct hostile *h = *state;
    static const uint32_t lengths[] = { 0, 1, 39, 40, 41, 4096, 1 << 20, UINT32_MAX };
    static const size_t sizes[] = { 0, 1, 15, 16, 39, 40, 41, 100, 4096 };

    for (uint32_t opcode = 1; opcode < 53; opcode++) {
        for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
            for (size_t g = 0; g < sizeof(sizes) / sizeof(sizes[0]); g++) {
                struct fuse_in_header header = { .len = lengths[l], .opcode = opcode, .unique = 1, .nodeid = ROOT_ID };
                size_t room = sizes[(g * 5 + l + opcode) % (sizeof(sizes) / sizeof(sizes[0]))];

                if (sizes[g] || room)
                    send_chain(&h->client, &header, sizes[g], room);
            }
        }
    }
    /* A mount begins anew, and all is well. */
    {
        struct fuse_init_in in = { .major = 7, .minor = 41, .flags = FUSE_INIT_EXT };
        struct fuse_init_out out;
        struct call call = {
            .opcode = FUSE_INIT, .argument = &in, .argument_size = sizeof(in), .reply = &out, .reply_size = sizeof(out)
        };

        assert_int_equal(client_call(&h->client, &call), 0);
        assert_int_equal(client_mkdir(&h->client, ROOT_ID, "d", 0755, NULL), 0);
    }
}

static void a_looping_chain_breaks_only_its_queue(void **state)
{
    struct hostile *h = *state;
    struct vring_desc *table = driver_table(h->client.queue);

    table[0] = (struct vring_desc){ .addr = h->client.request.value, .len = 40, .flags = VRING_DESC_F_NEXT, .next = 1 };
    table[1] = (struct vring_desc){ .addr = h->client.request.value, .len = 40, .flags = VRING_DESC_F_NEXT, .next = 0 };
    driver_publish(h->client.queue, 0);
    assert_true(driver_is_ignored(h->client.queue, 200));
    /* Forgets go their own way. */
    client_forget(&h->client, 5, 1);
}

static void a_buffer_outside_of_memory_breaks_only_its_queue(void **state)
{
    struct hostile *h = *state;
    struct vring_desc *table = driver_table(h->client.queue);

    table[0] = (struct vring_desc){ .addr = UINT64_MAX - 8, .len = 40 };
    driver_publish(h->client.queue, 0);
    assert_true(driver_is_ignored(h->client.queue, 200));
    client_forget(&h->client, 5, 1);
}

#define HOSTILE(name)                                                                                                            \
    {                                                                                                                            \
#name, name, set_up_hostile, tear_down_hostile, NULL                                                                     \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_only_tree_refuses_changes),
        cmocka_unit_test(a_single_file_is_an_export),
        cmocka_unit_test(host_changes_are_seen_in_shares),
        cmocka_unit_test(a_moved_host_directory_is_stale_and_nothing_else),
        cmocka_unit_test(oci_whiteouts_look_like_overlayfs_ones),
        cmocka_unit_test(links_among_exports_stay_links),
        cmocka_unit_test(the_host_denies_its_owner_nothing),
        cmocka_unit_test(descriptors_are_bounded),
        HOSTILE(lengths_that_lie_are_survived),
        HOSTILE(a_looping_chain_breaks_only_its_queue),
        HOSTILE(a_buffer_outside_of_memory_breaks_only_its_queue),
    };

    return cmocka_run_group_tests_name("fs trees", tests, NULL, NULL);
}
