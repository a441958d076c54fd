/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is removed while another thread is closing it: its directory's removal waits. The server's parts without a device, with a
 * close(2) that takes as long as the test likes.
 */
#include "fs/request.h"
#include "fs/server.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

int __real_close(int fd);
int __wrap_close(int fd);

static int slow_fd = -1;
static sem_t closing, may_close;

int __wrap_close(int fd)
{
    if (fd == slow_fd) {
        sem_post(&closing);
        sem_wait(&may_close);
    }
    return __real_close(fd);
}

static struct tree tree;
static struct nodes *nodes;
static struct node *removed;
static pthread_t forgetting;

static struct node *look_up(struct node *parent, int dir, const char *name)
{
    struct found found = { .parent = parent, .name = name, .version = names_version(nodes) };
    struct statx st;
    struct node *node;

    assert_int_equal(statx_at(dir, name, &st), 0);
    assert_int_equal(node_found(nodes, &found, &st, &node), 0);
    return node;
}

static void *forget(void *data)
{
    uint64_t id = removed->id;

    (void)data;
    node_put(nodes, removed);
    node_forget(nodes, id, 1);
    return NULL;
}

/* Removes directory/file, and has a thread forget it, which does not come to an end before may_close. */
static int set_up(void **state)
{
    struct fs_options options = { .guest_is_only_user = true, .own_fds = -1, .max_files = 100 };
    struct node *root, *directory, *other;
    struct file *file;
    int dir;

    (void)state;
    sem_init(&closing, 0, 0);
    sem_init(&may_close, 0, 0);
    tree_make(&tree);
    assert_int_equal(mkdirat(tree.fd, "directory", 0755), 0);
    assert_int_equal(mkdirat(tree.fd, "other", 0755), 0);
    tree_add_file(&tree, "directory/file", "text");
    options.root = fcntl(tree.fd, F_DUPFD_CLOEXEC, 0);
    nodes = nodes_new(&options, NULL);
    assert_non_null(nodes);
    root = node_get(nodes, NODE_ROOT_ID);
    directory = look_up(root, tree.fd, "directory");
    other = look_up(root, tree.fd, "other");
    dir = openat(tree.fd, "directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    removed = look_up(directory, dir, "file");
    names_lock(nodes);
    assert_ptr_equal(node_pin(nodes, directory, dir, "file"), removed);
    assert_int_equal(unlinkat(dir, "file", 0), 0);
    node_removed(nodes, removed);
    names_unlock(nodes);
    node_put(nodes, removed);
    assert_int_equal(node_file(nodes, removed, ACCESS_PATH, &file), 0);
    slow_fd = file->fd;
    file_put(nodes, file);
    assert_int_equal(pthread_create(&forgetting, NULL, forget, NULL), 0);
    sem_wait(&closing);
    close(dir);
    node_put(nodes, directory);
    node_put(nodes, other);
    node_put(nodes, root);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    nodes_free(nodes);
    tree_remove(&tree);
    return 0;
}

static void finish_closing(void)
{
    slow_fd = -1;
    sem_post(&may_close);
    assert_int_equal(pthread_join(forgetting, NULL), 0);
}

static void *wait_for_directory(void *data)
{
    *(bool *)data = node_settled(nodes, tree.fd, "directory", true);
    return NULL;
}

static void a_directory_waits_for_what_was_in_it(void **state)
{
    struct timespec soon;
    pthread_t waiting;
    bool settled = false;

    (void)state;
    assert_false(node_settled(nodes, tree.fd, "directory", false));
    assert_true(node_settled(nodes, tree.fd, "other", false));
    assert_true(node_settled(nodes, tree.fd, "nothing", false));
    assert_int_equal(pthread_create(&waiting, NULL, wait_for_directory, &settled), 0);
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 50000000;
    soon.tv_sec += soon.tv_nsec / 1000000000;
    soon.tv_nsec %= 1000000000;
    assert_int_equal(pthread_timedjoin_np(waiting, NULL, &soon), ETIMEDOUT);
    finish_closing();
    assert_int_equal(pthread_join(waiting, NULL), 0);
    assert_true(settled);
    assert_true(node_settled(nodes, tree.fd, "directory", false));
}

/* RMDIR as the guest sends it; the answer's error, or REQUEST_DEFER. */
static int remove_directory(const char *name)
{
    struct fs fs = { .nodes = nodes, .initialized = true };
    struct {
        struct fuse_in_header in;
        char name[16];
    } message = { .in = { .opcode = FUSE_RMDIR, .nodeid = NODE_ROOT_ID } };
    struct fuse_out_header out;
    struct iovec readable = { &message, sizeof(message.in) + strlen(name) + 1 }, writable = { &out, sizeof(out) };
    struct request r = {
        .fs = &fs,
        .readable = &readable,
        .writable = &writable,
        .num_readable = 1,
        .num_writable = 1,
        .readable_bytes = readable.iov_len,
        .writable_bytes = sizeof(out),
    };
    size_t written;
    int result;

    message.in.len = (uint32_t)readable.iov_len;
    strcpy(message.name, name);
    result = request_serve(&r, &written);
    return result < 0 ? result : out.error;
}

static void its_removal_does_not_hold_up_the_queue(void **state)
{
    (void)state;
    assert_int_equal(remove_directory("directory"), REQUEST_DEFER);
    assert_int_equal(remove_directory("other"), 0);
    assert_int_equal(remove_directory("other"), -ENOENT);
    finish_closing();
    assert_int_equal(remove_directory("directory"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_directory_waits_for_what_was_in_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(its_removal_does_not_hold_up_the_queue, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
