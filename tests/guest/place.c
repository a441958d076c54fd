/* SPDX-License-Identifier: Apache-2.0 */
/* Paths in a root that is not trusted, and mounts at them, in a user and mount namespace of the test's own. */
#include "guest/place.h"
#include "namespaces.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* The working directory is a tmpfs with an empty directory "root", which stands for the guest's root, and "outside". */
static int root = -1;

static void shell(const char *command)
{
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

static const char *path_of(int fd)
{
    static char path[PATH_MAX];
    char link[64];
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - 1);
    assert_true(length > 0);
    path[length] = '\0';
    close(fd);
    return path;
}

static const char *directory_at(const char *path)
{
    msb_error *err = NULL;
    int fd = place_make_directory(root, path, 0755, &err);

    if (fd < 0)
        fail_msg("%s", msb_error_message(err));
    return path_of(fd);
}

static void refuse_directory(const char *path, const char *text)
{
    msb_error *err = NULL;

    assert_int_equal(place_make_directory(root, path, 0755, &err), -1);
    if (!strstr(msb_error_message(err), text))
        fail_msg("`%s` does not say `%s`", msb_error_message(err), text);
    msb_error_free(err);
}

static void missing_directories_are_made(void **state)
{
    (void)state;
    assert_string_equal(directory_at("/a/b/c"), "/t/root/a/b/c");
    assert_string_equal(directory_at("/a/b/c"), "/t/root/a/b/c");
    shell("[ -d root/a/b/c ]");
}

static void links_stay_inside(void **state)
{
    (void)state;
    shell("ln -s /outside root/absolute && ln -s ../../outside root/relative && mkdir root/outside && ln -s ../../../outside/x "
          "root/deep");
    assert_string_equal(directory_at("/absolute"), "/t/root/outside");
    assert_string_equal(directory_at("/relative"), "/t/root/outside");
    assert_string_equal(directory_at("/absolute/new"), "/t/root/outside/new");
    assert_string_equal(directory_at("/deep"), "/t/root/outside/x");
    assert_string_equal(directory_at("/../../outside"), "/t/root/outside");
    shell("[ -z \"$(ls outside)\" ]");
}

static void what_a_dangling_link_names_is_made(void **state)
{
    msb_error *err = NULL;
    int fd;

    (void)state;
    shell("mkdir root/etc && ln -s ../run/systemd/resolv.conf root/etc/resolv.conf && ln -s /var/data root/data");
    fd = place_make_file(root, "/etc/resolv.conf", &err);
    assert_true(fd >= 0);
    assert_string_equal(path_of(fd), "/t/root/run/systemd/resolv.conf");
    assert_string_equal(directory_at("/data/x"), "/t/root/var/data/x");
    shell("[ -f root/run/systemd/resolv.conf ]");
}

static void circles_end(void **state)
{
    (void)state;
    shell("ln -s b root/a && ln -s a root/b && ln -s self/x root/self");
    refuse_directory("/a", "Too many levels");
    refuse_directory("/a/c", "Too many levels");
    refuse_directory("/self", "Too many levels");
}

static void what_is_there_must_fit(void **state)
{
    msb_error *err = NULL;

    (void)state;
    shell(": >root/file; mkdir root/dir; ln -s /proc/self/root root/magic");
    refuse_directory("/file", "is not a directory");
    refuse_directory("/file/below", "Not a directory");
    assert_int_equal(place_make_file(root, "/dir", &err), -1);
    assert_non_null(strstr(msb_error_message(err), "is a directory"));
    msb_error_free(err);
    /* There is no /proc in this root, and the host's is not reached. */
    assert_string_equal(directory_at("/magic"), "/t/root/proc/self/root");
}

static int new_tmpfs(void)
{
    const struct mount_option options[] = { { "mode", "750" }, { NULL, NULL } };
    msb_error *err = NULL;
    int mount = mount_new("tmpfs", options, 0, &err);

    if (mount < 0)
        fail_msg("%s", msb_error_message(err));
    return mount;
}

static void attach(int mount, const char *path)
{
    msb_error *err = NULL;
    int target = place_make_directory(root, path, 0755, &err);

    assert_true(target >= 0);
    if (mount_attach(mount, target, &err) < 0)
        fail_msg("%s", msb_error_message(err));
    close(target);
}

static void a_new_mount_is_attached(void **state)
{
    int mount = new_tmpfs();

    (void)state;
    assert_int_equal(mkdirat(mount, "before", 0755), 0); /* usable at once */
    attach(mount, "/mnt/here");
    assert_int_equal(mkdirat(mount, "after", 0755), 0);
    shell("[ -d root/mnt/here/before ] && [ -d root/mnt/here/after ] && [ $(stat -c %a root/mnt/here) = 750 ]");
    close(mount);
}

static void a_part_of_a_mount_is_bound_read_only(void **state)
{
    int mount = new_tmpfs();
    msb_error *err = NULL;
    int source, clone;

    (void)state;
    attach(mount, "/source");
    shell("mkdir root/source/part root/source/other && echo x >root/source/part/file");
    source = place_open(mount, "part");
    clone = mount_clone(source, true, &err);
    if (clone < 0)
        fail_msg("%s", msb_error_message(err));
    attach(clone, "/target");
    shell("[ \"$(cat root/target/file)\" = x ] && ! touch root/target/new 2>/dev/null && touch root/source/part/new"
          " && [ -f root/target/new ] && ! rm root/target/file 2>/dev/null");
    close(source);
    close(clone);
    close(mount);
}

static void a_file_is_bound_over_a_file(void **state)
{
    int mount = new_tmpfs();
    msb_error *err = NULL;
    int source, target, clone;

    (void)state;
    attach(mount, "/source");
    shell("echo ours >root/source/hosts && mkdir root/etc && echo theirs >root/etc/hosts");
    source = place_open(mount, "hosts");
    target = place_make_file(root, "/etc/hosts", &err);
    clone = mount_clone(source, false, &err);
    assert_true(source >= 0 && target >= 0 && clone >= 0);
    assert_int_equal(mount_attach(clone, target, &err), 0);
    close(clone);
    shell("[ $(cat root/etc/hosts) = ours ] && umount root/etc/hosts && [ $(cat root/etc/hosts) = theirs ]");
    close(source);
    close(target);
    close(mount);
}

static void an_unknown_file_system_is_told_as_such(void **state)
{
    msb_error *err = NULL;

    (void)state;
    assert_int_equal(mount_new("nosuchfs", NULL, 0, &err), -1);
    assert_int_equal(errno, ENODEV);
    msb_error_free(err);
}

static int make_root(void **state)
{
    (void)state;
    if (mkdir("/t", 0755) < 0 && errno != EEXIST)
        return -1;
    if (mount("t", "/t", "tmpfs", 0, NULL) < 0 || chdir("/t") < 0 || mkdir("root", 0755) < 0 || mkdir("outside", 0755) < 0)
        return -1;
    root = open("root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root < 0 ? -1 : 0;
}

static int remove_root(void **state)
{
    (void)state;
    close(root);
    return chdir("/") == 0 && umount2("/t", MNT_DETACH) == 0 ? 0 : -1;
}

/* A tree of its own, in which everything of the machine can be reached and a directory can be made at the top. */
static void enter_namespaces(void)
{
    if (namespaces_enter(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        exit(99);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("top", "/mnt", "tmpfs", 0, NULL) < 0)
        exit(99);
    if (system("cd /mnt && for d in /*; do if [ -L $d ]; then cp -P $d .; elif [ -d $d ]; then mkdir ./$d && mount --rbind $d "
               "./$d; fi; done"))
        exit(99);
    if (chroot("/mnt") < 0 || chdir("/") < 0)
        exit(99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(missing_directories_are_made, make_root, remove_root),
        cmocka_unit_test_setup_teardown(links_stay_inside, make_root, remove_root),
        cmocka_unit_test_setup_teardown(what_a_dangling_link_names_is_made, make_root, remove_root),
        cmocka_unit_test_setup_teardown(circles_end, make_root, remove_root),
        cmocka_unit_test_setup_teardown(what_is_there_must_fit, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_new_mount_is_attached, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_part_of_a_mount_is_bound_read_only, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_file_is_bound_over_a_file, make_root, remove_root),
        cmocka_unit_test_setup_teardown(an_unknown_file_system_is_told_as_such, make_root, remove_root),
    };

    enter_namespaces();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
