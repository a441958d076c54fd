/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The process begins in namespaces of its own with all capabilities over them, and none over anything else. Its mount namespace is
 * a copy of the host's, so at first every file is visible. The stages, each of which must not do what belongs to a later one:
 *
 *   1. Sources are opened as detached recursive copies (open_tree(2)), as the user who started the process, and get their
 *      attributes (mount_setattr(2)) while nobody can see them. In a user namespace of less privilege the copied mounts are locked
 *      to one another: only a recursive copy is allowed, since a partial one would uncover what a mount hides.
 *   2. The process becomes uid 0 of its user namespace. What that is on the host is in the map that the monitor wrote: the caller,
 *      or nobody.
 *   3. A new tmpfs is mounted over "/", the copies are attached inside it, it is made read-only, and pivot_root(2) makes it the
 *      root. The old root is detached whole. No path and no descriptor leads back: the copies' descriptors are closed.
 *   4. cell_confine(): capabilities go from every set, the securebits see to it that uid 0 means nothing to execve(2), and seccomp
 *      comes last, because the steps before need calls that no table should allow.
 */
#include "util/cell.h"
#include "util/cleanup.h"

#include <cap-ng.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/securebits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* What masked targets show. */
#define MASK_FILE "masked-file"
#define MASK_DIRECTORY "masked-directory"

/* Without a wrapper in glibc. */
static int pivot_root(const char *new_root, const char *put_old)
{
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

static int attach_mount(int mount_fd, int to_dir, const char *to)
{
    return move_mount(mount_fd, "", to_dir, to, MOVE_MOUNT_F_EMPTY_PATH);
}

static int set_attributes(int mount_fd, unsigned flags, uint64_t set)
{
    struct mount_attr attributes = { .attr_set = set };

    return mount_setattr(mount_fd, "", AT_EMPTY_PATH | flags, &attributes, sizeof(attributes));
}

/* ---- Stage 1: sources ---------------------------------------------------------------------------------------------------- */

static uint64_t mount_attributes(const struct cell_mount *mount)
{
    return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (mount->read_only ? MOUNT_ATTR_RDONLY : 0U) |
           (mount->executable ? 0U : MOUNT_ATTR_NOEXEC);
}

static int open_source(const struct cell_mount *mount, msb_error **err)
{
    _cleanup_fd_ int fd = open_tree(AT_FDCWD, mount->source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

    if (fd < 0)
        return fail_errno(err, "open `%s` for the cell", mount->source);
    if (set_attributes(fd, AT_RECURSIVE, mount_attributes(mount)) < 0)
        return fail_errno(err, "restrict the mount of `%s`", mount->source);
    return steal_fd(&fd);
}

static void close_sources(int *sources, size_t num_sources)
{
    for (size_t i = 0; i < num_sources; i++)
        cleanup_fd(&sources[i]);
    free(sources);
}

/* One descriptor for each mount, -1 for those without a source. */
static int *open_sources(const struct cell_mount *mounts, size_t num_mounts, msb_error **err)
{
    int *sources = malloc((num_mounts + 1) * sizeof(*sources));

    if (!sources)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    for (size_t i = 0; i < num_mounts; i++) {
        sources[i] = mounts[i].source ? open_source(&mounts[i], err) : -1;
        if (mounts[i].source && sources[i] < 0) {
            close_sources(sources, i);
            return NULL;
        }
    }
    return sources;
}

/* ---- Stage 2: uid 0 of the namespace --------------------------------------------------------------------------------------- */

int cell_become_root(msb_error **err)
{
    /* The kernel refuses setgroups where an ordinary user's map was written, and there the groups grant no more than its owner has. */
    if (setgroups(0, NULL) < 0 && errno != EPERM)
        return fail_errno(err, "drop the supplementary groups");
    if (setresgid(0, 0, 0) < 0)
        return fail_errno(err, "become group 0 of the user namespace");
    if (setresuid(0, 0, 0) < 0)
        return fail_errno(err, "become user 0 of the user namespace");
    return 0;
}

int cell_die_with(int parent, msb_error **err)
{
    struct pollfd other_end = { .fd = parent };

    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return fail_errno(err, "ask to be killed with the parent");
    if (poll(&other_end, 1, 0) > 0)
        _exit(1);
    return 0;
}

/* ---- Stage 3: the new root --------------------------------------------------------------------------------------------------- */

static int make_tmpfs(const char *size, msb_error **err)
{
    _cleanup_fd_ int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
    int fd;

    if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return fail_errno(err, "make a tmpfs");
    fd = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return fd < 0 ? fail_errno(err, "mount a tmpfs") : fd;
}

/* Makes the directories above path's last component, and returns where that begins. *parent is the directory it lies in. */
static const char *make_parents(int root, const char *path, int *parent, msb_error **err)
{
    _cleanup_fd_ int dir = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *slash;

    while (dir >= 0 && (slash = strchr(path, '/'))) {
        char name[NAME_MAX + 1];
        size_t length = (size_t)(slash - path);
        int next;

        if (length == 0 || length > NAME_MAX)
            return FAIL_NULL(fail(err, MSB_ERR_INVALID, "`%s` is no path in the cell", path));
        memcpy(name, path, length);
        name[length] = '\0';
        if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
            return FAIL_NULL(fail_errno(err, "make `%s` in the cell", name));
        next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(dir);
        dir = next;
        path = slash + 1;
    }
    if (dir < 0)
        return FAIL_NULL(fail_errno(err, "open the parents of `%s` in the cell", path));
    *parent = steal_fd(&dir);
    return path;
}

static int make_file(int parent, const char *name, int content, msb_error **err)
{
    _cleanup_fd_ int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    off_t offset = 0;
    ssize_t n = 1;

    if (fd < 0)
        return fail_errno(err, "make `%s` in the cell", name);
    while (content > 0 && n > 0)
        n = sendfile(fd, content, &offset, 1U << 30);
    return n < 0 ? fail_errno(err, "fill `%s` in the cell", name) : 0;
}

static int make_directory(int parent, const char *name, msb_error **err)
{
    /* It is there already when a target listed before lies below it. */
    return mkdirat(parent, name, 0755) < 0 && errno != EEXIST ? fail_errno(err, "make `%s` in the cell", name) : 0;
}

static int attach(int mount_fd, int parent, const char *name, msb_error **err)
{
    return attach_mount(mount_fd, parent, name) < 0 ? fail_errno(err, "mount `%s` in the cell", name) : 0;
}

static int place_source(int source, int parent, const char *name, msb_error **err)
{
    struct stat st;

    if (fstat(source, &st) < 0)
        return fail_errno(err, "stat the source of `%s`", name);
    if ((S_ISDIR(st.st_mode) ? make_directory(parent, name, err) : make_file(parent, name, 0, err)) < 0)
        return -1;
    return attach(source, parent, name, err);
}

static int place_writable(int parent, const char *name, msb_error **err)
{
    _cleanup_fd_ int tmpfs = -1;

    if (make_directory(parent, name, err) < 0)
        return -1;
    tmpfs = make_tmpfs("16m", err);
    return tmpfs < 0 ? -1 : attach(tmpfs, parent, name, err);
}

/* Opens the directory above path's last component if it is there, in what a mount brought: nothing is made, no link is followed. Returns
   where that component begins, NULL with errno. */
static const char *find_parent(int root, const char *path, int *parent)
{
    const char *slash = strrchr(path, '/');
    char directory[PATH_MAX] = ".";
    struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };

    if (slash)
        snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path), path);
    *parent = (int)syscall(SYS_openat2, root, directory, &how, sizeof(how));
    return *parent < 0 ? NULL : slash ? slash + 1 : path;
}

/* A mount can only be copied from where it is attached: the empty file and directory lie in the cell's root. */
static int open_mask(int root, bool is_directory, msb_error **err)
{
    const char *name = is_directory ? MASK_DIRECTORY : MASK_FILE;
    int fd, made = is_directory ? mkdirat(root, name, 0500) : mknodat(root, name, S_IFREG | 0400, 0);

    if (made < 0 && errno != EEXIST)
        return fail_errno(err, "make `%s` in the cell", name);
    fd = open_tree(root, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    return fd < 0 ? fail_errno(err, "open `%s` in the cell", name) : fd;
}

static int place_mask(int root, const char *target, msb_error **err)
{
    _cleanup_fd_ int parent = -1, mask = -1;
    const char *name = find_parent(root, target, &parent);
    struct stat st;

    if (!name || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || errno == ELOOP ? 0 : fail_errno(err, "look at `%s` in the cell", target);
    /* A link is not what it names. */
    if (S_ISLNK(st.st_mode))
        return 0;
    mask = open_mask(root, S_ISDIR(st.st_mode), err);
    if (mask < 0)
        return -1;
    if (set_attributes(mask, 0, MOUNT_ATTR_RDONLY) < 0)
        return fail_errno(err, "restrict the mount over `%s`", target);
    return attach(mask, parent, name, err);
}

static int place(int root, const struct cell_mount *mount, int source, msb_error **err)
{
    _cleanup_fd_ int parent = -1;
    const char *name;

    if (mount->masked)
        return place_mask(root, mount->target, err);
    name = make_parents(root, mount->target, &parent, err);
    if (!name)
        return -1;
    if (mount->source)
        return place_source(source, parent, name, err);
    if (mount->link)
        return symlinkat(mount->link, parent, name) < 0 ? fail_errno(err, "link `%s` in the cell", name) : 0;
    if (mount->content > 0)
        return make_file(parent, name, mount->content, err);
    return mount->writable_dir ? place_writable(parent, name, err) : make_directory(parent, name, err);
}

/* Mounts root over "/", and swaps the two: pivot_root(2), "pivot_root(".", ".")". */
static int enter_root(int root, msb_error **err)
{
    if (attach_mount(root, AT_FDCWD, "/") < 0)
        return fail_errno(err, "mount the cell's root");
    if (fchdir(root) < 0 || pivot_root(".", ".") < 0)
        return fail_errno(err, "change to the cell's root");
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return fail_errno(err, "leave the host's root");
    return 0;
}

static int build_tmpfs_root(const struct cell_mount *mounts, const int *sources, size_t num_mounts, msb_error **err)
{
    /* Room for the contents of files; what is not used costs nothing. */
    _cleanup_fd_ int root = make_tmpfs("256m", err);

    if (root < 0 || enter_root(root, err) < 0)
        return -1;
    for (size_t i = 0; i < num_mounts; i++)
        if (place(root, &mounts[i], sources[i], err) < 0)
            return -1;
    return set_attributes(root, 0, MOUNT_ATTR_RDONLY) < 0 ? fail_errno(err, "make the cell's root read-only") : 0;
}

static int check_targets(const struct cell_mount *mounts, size_t num_mounts, msb_error **err)
{
    for (size_t i = 0; i < num_mounts; i++)
        if (!*mounts[i].target && (num_mounts > 1 || !mounts[i].source))
            return fail(err, MSB_ERR_INVALID, "a mount at the cell's root stands alone");
    return 0;
}

int cell_mounts(const struct cell_mount *mounts, size_t num_mounts, msb_error **err)
{
    int *sources, result;

    if (check_targets(mounts, num_mounts, err) < 0)
        return -1;
    /* Nothing done here may reach the host's mounts, nor theirs us. */
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return fail_errno(err, "make the mounts private");
    sources = open_sources(mounts, num_mounts, err);
    if (!sources)
        return -1;
    result = cell_become_root(err);
    if (result == 0 && num_mounts == 1 && !*mounts[0].target)
        result = enter_root(sources[0], err);
    else if (result == 0)
        result = build_tmpfs_root(mounts, sources, num_mounts, err);
    close_sources(sources, num_mounts);
    return result;
}

/* ---- Stage 4: no way back ------------------------------------------------------------------------------------------------------ */

static int drop_capabilities(const int *kept, size_t num_kept, msb_error **err)
{
    const int bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
                     SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

    if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
        return fail_errno(err, "set the securebits");
    capng_clear(CAPNG_SELECT_ALL);
    for (size_t i = 0; i < num_kept; i++)
        capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, (unsigned)kept[i]);
    if (capng_apply(CAPNG_SELECT_ALL) < 0)
        return fail(err, MSB_ERR_SYSTEM, "drop the capabilities");
    return 0;
}

static int set_limits(msb_error **err)
{
    const struct rlimit none = { 0, 0 };

    /* A core file would hold what the guest had in memory. */
    return setrlimit(RLIMIT_CORE, &none) < 0 ? fail_errno(err, "forbid core files") : 0;
}

#ifdef __has_feature /* clang's way to say __SANITIZE_ADDRESS__ */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
/* What the sanitizers' own runtime calls, in such builds only. */
static const struct cell_syscall sanitizer_syscalls[] = {
    CELL_ALLOW(mmap),
    CELL_ALLOW(munmap),
    CELL_ALLOW(mprotect),
    CELL_ALLOW(madvise),
    CELL_ALLOW(mremap),
    CELL_ALLOW(sigaltstack),
    CELL_ALLOW(rt_sigprocmask),
    CELL_ALLOW(sched_yield),
    CELL_ALLOW(getpid),
    CELL_ALLOW(gettid),
    CELL_ALLOW(rt_sigaction),
    CELL_ALLOW(exit_group),
    CELL_ALLOW(futex),
    CELL_ALLOW(write),
    CELL_ALLOW(openat),
    CELL_ALLOW(readlink),
    CELL_ALLOW(clone),
    CELL_ALLOW(wait4),
    CELL_ALLOW(ptrace),
    CELL_ALLOW(prctl),
    CELL_ALLOW(read),
    CELL_ALLOW(close),
    CELL_ALLOW(getdents64),
    CELL_ALLOW(process_vm_readv),
    CELL_ALLOW(tgkill),
    CELL_ALLOW(ioctl),
    CELL_ALLOW(brk),
    CELL_ALLOW(newfstatat),
    CELL_ALLOW(sched_getaffinity),
};
static const size_t num_sanitizer_syscalls = sizeof(sanitizer_syscalls) / sizeof(sanitizer_syscalls[0]);

static bool confined;

/* The leak sanitizer asks this at exit: it looks for a process's threads in /proc, which a cell has not, and would wait for ever. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return confined;
}
#else
static const struct cell_syscall *const sanitizer_syscalls = NULL;
static const size_t num_sanitizer_syscalls = 0;
#endif

/* 0, or a negative errno as libseccomp gives it. */
static int add_rules(scmp_filter_ctx filter, const struct cell_syscall *table, size_t num)
{
    int result = 0;

    for (size_t i = 0; i < num && result >= 0; i++) {
        const struct cell_syscall *call = &table[i];
        uint32_t action = call->refuse ? SCMP_ACT_ERRNO((unsigned)call->refuse) : SCMP_ACT_ALLOW;
        struct scmp_arg_cmp condition;

        if (call->argument < 0) {
            result = seccomp_rule_add_array(filter, action, call->number, 0, NULL);
            continue;
        }
        condition = (struct scmp_arg_cmp){
            .arg = (unsigned)call->argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = call->mask, .datum_b = call->value
        };
        result = seccomp_rule_add_array(filter, action, call->number, 1, &condition);
    }
    return result;
}

static int install_filter(const struct cell_syscall *allowed, size_t num_allowed, msb_error **err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int result;

    if (!filter)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    /* Level 2: a binary tree, so that the price of a call does not depend on its place in the table. */
    result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (result >= 0)
        result = add_rules(filter, allowed, num_allowed);
    if (result >= 0 && num_sanitizer_syscalls)
        result = add_rules(filter, sanitizer_syscalls, num_sanitizer_syscalls);
    if (result >= 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    if (result < 0) {
        errno = -result;
        return fail_errno(err, "install the seccomp filter");
    }
    return 0;
}

int cell_confine(const struct cell_syscall *allowed, size_t num_allowed, msb_error **err)
{
    return cell_confine_keeping(NULL, 0, allowed, num_allowed, err);
}

int cell_confine_keeping(const int *capabilities, size_t num_capabilities, const struct cell_syscall *allowed, size_t num_allowed,
                         msb_error **err)
{
    if (set_limits(err) < 0 || drop_capabilities(capabilities, num_capabilities, err) < 0)
        return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail_errno(err, "set no_new_privs");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return fail_errno(err, "forbid tracing");
#ifdef __SANITIZE_ADDRESS__
    confined = true;
#endif
    return install_filter(allowed, num_allowed, err);
}

int cell_narrow(const struct cell_syscall *allowed, size_t num_allowed, msb_error **err)
{
#ifdef __SANITIZE_ADDRESS__
    confined = true;
#endif
    return install_filter(allowed, num_allowed, err);
}
