/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/root.h"

#include "guest/place.h"
#include "guest/syscalls.h"
#include "util/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Directories of the initramfs that things are mounted at; hidden once the root is in its place. */
#define NEW_ROOT "/newroot"
#define BASE "/base"
#define UPPER "/upper"

enum { LAYER_NAME_MAX = 4 /* "127:" */ };

/* A directory of the initramfs, with a new mount at it; returns the mount. */
static int mount_on(const char *directory, const char *type, const struct mount_option *options, msb_error **err)
{
    _cleanup_fd_ int mount = mount_new(type, options, 0, err);
    _cleanup_fd_ int target = -1;

    if (mount < 0)
        return -1;
    if (mkdir(directory, 0755) < 0 && errno != EEXIST)
        return fail_errno(err, "make %s in the initramfs", directory);
    target = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (target < 0)
        return fail_errno(err, "open %s in the initramfs", directory);
    return mount_attach(mount, target, err) < 0 ? -1 : steal_fd(&mount);
}

static int mount_virtiofs(const char *directory, const char *tag, msb_error **err)
{
    const struct mount_option options[] = { { "source", tag }, { NULL, NULL } };

    return mount_on(directory, "virtiofs", options, err);
}

/* ---- The root ------------------------------------------------------------------------------------------------------------------ */

/* This machine's own /usr and /etc are all that there is in the layer; the rest of a system is made in the upper layer. */
static int make_usual_directories(int root, msb_error **err)
{
    static const struct {
        const char *path;
        mode_t mode;
    } directories[] = {
        { "root", 0700 },      { "home", 0755 },    { "tmp", 01777 },    { "var", 0755 },       { "var/tmp", 01777 },
        { "var/cache", 0755 }, { "var/lib", 0755 }, { "var/log", 0755 }, { "var/spool", 0755 }, { "run", 0755 },
        { "mnt", 0755 },       { "media", 0755 },   { "opt", 0755 },     { "srv", 0755 },       { "proc", 0555 },
        { "sys", 0555 },       { "dev", 0755 },
    };

    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
        if (mkdirat(root, directories[i].path, 0755) < 0) {
            if (errno == EEXIST)
                continue;
            return fail_errno(err, "make `/%s` in the upper layer", directories[i].path);
        }
        if (fchmodat(root, directories[i].path, directories[i].mode, 0) < 0)
            return fail_errno(err, "set the mode of `/%s` in the upper layer", directories[i].path);
    }
    if ((symlinkat("/run", root, "var/run") < 0 || symlinkat("/run/lock", root, "var/lock") < 0) && errno != EEXIST)
        return fail_errno(err, "make `/var/run` in the upper layer");
    return 0;
}

/* Tells overlayfs that the layers have no such directories, so that it does not ask the host for each. Where this fails it asks. */
static void mark_as_whole(int upper)
{
    int list = openat(upper, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = list < 0 ? NULL : fdopendir(list);
    const struct dirent *entry;

    if (!directory) {
        cleanup_fd(&list);
        return;
    }
    while ((entry = readdir(directory))) {
        _cleanup_fd_ int fd = entry->d_name[0] == '.' ? -1 : openat(upper, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0 && fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
            break;
    }
    closedir(directory);
}

/* Where writes go that vanish with the VM. */
static int mount_memory_upper(bool host_root, msb_error **err)
{
    _cleanup_fd_ int memory = mount_on(UPPER, "tmpfs", NULL, err);
    _cleanup_fd_ int upper = -1;

    if (memory < 0)
        return -1;
    if (mkdirat(memory, "upper", 0755) < 0 || mkdirat(memory, "work", 0700) < 0)
        return fail_errno(err, "make the upper layer's directories");
    if (!host_root)
        return 0;
    upper = openat(memory, "upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (upper < 0)
        return fail_errno(err, "open the upper layer");
    if (make_usual_directories(upper, err) < 0)
        return -1;
    mark_as_whole(upper);
    return 0;
}

/* The options of mount(2) are one page, and there may be 128 layers: they are named relative to the working directory.

   A directory that is renamed is not copied. A file is, when its mode, owner or times change, but without its data where that would
   take the guest's memory; in a kept upper directory it is looked at from the host as well. */
static char *overlay_options(const struct guest_config *config)
{
    const char *upper = config->has_upper ? BASE "/state/upper" : UPPER "/upper";
    const char *work = config->has_upper ? BASE "/state/work" : UPPER "/work";
    char lower[GUEST_LAYERS_MAX * LAYER_NAME_MAX + 1];
    size_t length = 0;
    char *options;

    for (uint32_t i = config->num_layers; i-- > 0;)
        length += (size_t)snprintf(lower + length, sizeof(lower) - length, i ? "%u:" : "%u", i);
    if (asprintf(&options, "lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=on,metacopy=%s", lower, upper, work,
                 config->has_upper ? "off" : "on") < 0)
        return NULL;
    return options;
}

static int mount_overlay(const struct guest_config *config, msb_error **err)
{
    _cleanup_free_ char *options = overlay_options(config);
    _cleanup_fd_ int base = -1;

    if (!options)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    base = mount_virtiofs(BASE, "root", err);
    if (base < 0)
        return -1;
    if (!config->has_upper && mount_memory_upper(config->host_root, err) < 0)
        return -1;
    if (chdir(BASE "/layers") < 0)
        return fail_errno(err, "enter the layers");
    if (mkdir(NEW_ROOT, 0755) < 0 && errno != EEXIST)
        return fail_errno(err, "make " NEW_ROOT " in the initramfs");
    if (sys_mount("overlay", NEW_ROOT, "overlay", 0, options) < 0)
        return fail_errno(err, "mount %u layers as an overlay", config->num_layers);
    return open(NEW_ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int root_mount(const struct guest_config *config, struct guest_root *root, msb_error **err)
{
    *root = (struct guest_root){ -1, -1, -1, -1, -1 };
    root->root = config->num_layers ? mount_overlay(config, err) : mount_virtiofs(NEW_ROOT, "root", err);
    if (root->root < 0)
        return fail_prefix(err, "the root file system");
    return config->host_root && config->has_upper ? make_usual_directories(root->root, err) : 0;
}

/* ---- Furniture ----------------------------------------------------------------------------------------------------------------- */

enum { PLAIN = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };

struct furniture {
    const char *path, *type;
    unsigned attributes;
    struct mount_option options[3];
};

static void warn(struct control *control, msb_error *err)
{
    control_log(control, MSB_LOG_WARN, "%s", msb_error_message(err));
    msb_error_free(err);
}

/* Mounts it in the root, and hands out its descriptor also when there is no place for it there. */
static int furnish(int root, const struct furniture *piece, struct control *control)
{
    msb_error *err = NULL;
    int mount = mount_new(piece->type, piece->options, piece->attributes, &err);
    _cleanup_fd_ int target = -1;

    if (mount < 0 && errno == ENODEV) { /* a kernel without it */
        msb_error_free(err);
        return -1;
    }
    if (mount >= 0)
        target = place_make_directory(root, piece->path, 0755, &err);
    if (target >= 0)
        mount_attach(mount, target, &err);
    if (err)
        warn(control, err);
    return mount;
}

/* Where nobody has to see the descriptor. */
static void furnish_only(int root, const struct furniture *piece, struct control *control)
{
    cleanup_fd(&(int){ furnish(root, piece, control) });
}

static void make_device_links(int dev)
{
    static const char *const links[][2] = {
        { "/proc/self/fd", "fd" },       { "/proc/self/fd/0", "stdin" }, { "/proc/self/fd/1", "stdout" },
        { "/proc/self/fd/2", "stderr" }, { "/proc/kcore", "core" },
    };

    /* What is there already, the kernel's or an earlier link, stays. */
    for (size_t i = 0; dev >= 0 && i < sizeof(links) / sizeof(links[0]); i++) {
        if (symlinkat(links[i][0], dev, links[i][1]) < 0)
            continue;
    }
}

static bool is_empty_or_missing(int root, const char *path)
{
    _cleanup_fd_ int place = place_open(root, path);
    int fd = place < 0 ? -1 : openat(place, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    unsigned entries = 0;

    if (!directory) {
        cleanup_fd(&fd);
        return place < 0;
    }
    while (entries <= 2 && readdir(directory))
        entries++;
    closedir(directory);
    return entries <= 2;
}

/* ---- How the kernel caches virtio-fs --------------------------------------------------------------------------------------------- */

/* What a kernel does not have, it goes without. */
static void set_bdi(int sys, const char *device, const char *attribute, const char *value)
{
    char path[64];
    _cleanup_fd_ int fd = -1;

    snprintf(path, sizeof(path), "class/bdi/%s/%s", device, attribute);
    fd = openat(sys, path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)!write(fd, value, strlen(value));
}

/* Linux distrusts FUSE servers, which are mostly processes of the same machine: it makes writers wait when a hundredth of the memory that
   may be dirty is, and reads ahead little. Ours is none, and must not slow anyone down. */
static void trust_server(int sys, dev_t device)
{
    char name[32];

    snprintf(name, sizeof(name), "%u:%u", major(device), minor(device));
    set_bdi(sys, name, "strict_limit", "0");
    set_bdi(sys, name, "max_ratio", "100");
    set_bdi(sys, name, "read_ahead_kb", "512");
}

static void trust_root_s_server(const struct guest_root *root)
{
    struct stat st;

    if (stat(BASE, &st) == 0 || fstat(root->root, &st) == 0)
        trust_server(root->sys, st.st_dev);
}

/* Where programs that still use /var/lock expect to write. */
static void make_lock_directory(int run)
{
    if (run >= 0 && mkdirat(run, "lock", 0755) == 0 && fchmodat(run, "lock", 01777, 0) < 0)
        unlinkat(run, "lock", AT_REMOVEDIR);
    cleanup_fd(&run);
}

void root_furnish(struct guest_root *root, struct control *control)
{
    static const struct furniture proc = { "/proc", "proc", PLAIN, { { NULL } } };
    static const struct furniture dev = { "/dev", "devtmpfs", MOUNT_ATTR_NOSUID, { { NULL } } };
    static const struct furniture pts = {
        "/dev/pts", "devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, { { "gid", "5" }, { "mode", "620" } }
    };
    static const struct furniture others[] = {
        { "/dev/shm", "tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, { { "mode", "1777" } } },
        { "/dev/mqueue", "mqueue", PLAIN, { { NULL } } },
        { "/sys/fs/cgroup", "cgroup2", PLAIN, { { "nsdelegate", NULL }, { "memory_recursiveprot", NULL } } },
    };
    static const struct furniture sys = { "/sys", "sysfs", PLAIN, { { NULL } } };
    static const struct furniture run = { "/run", "tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, { { "mode", "755" } } };

    root->proc = furnish(root->root, &proc, control);
    root->dev = furnish(root->root, &dev, control);
    make_device_links(root->dev);
    root->pts = furnish(root->root, &pts, control);
    root->sys = furnish(root->root, &sys, control);
    trust_root_s_server(root);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        furnish_only(root->root, &others[i], control);
    /* Images ship directories there that their programs need, such as /run/mysqld. */
    if (is_empty_or_missing(root->root, "/run"))
        make_lock_directory(furnish(root->root, &run, control));
}

/* ---- Files in /etc ------------------------------------------------------------------------------------------------------------- */

static char *join_lines(const char *prefix, char *const *lines, size_t count, char *text)
{
    for (size_t i = 0; text && i < count; i++) {
        char *longer = NULL;

        if (asprintf(&longer, "%s%s%s\n", text, prefix, lines[i]) < 0)
            longer = NULL;
        free(text);
        text = longer;
    }
    return text;
}

static char *hosts_text(const struct guest_config *config)
{
    const struct guest_network *network = &config->network;
    static const uint8_t loopback[4] = { 127, 0, 1, 1 };
    const uint8_t *own = network->present ? network->ipv4 : loopback;
    char *text = NULL;

    if (asprintf(&text, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n%u.%u.%u.%u\t%s\n", own[0], own[1],
                 own[2], own[3], config->hostname) < 0)
        return NULL;
    return join_lines("", network->hosts, network->num_hosts, text);
}

static char *resolvers_text(const struct guest_config *config)
{
    return join_lines("nameserver ", config->network.resolvers, config->network.num_resolvers, strdup(""));
}

static char *hostname_text(const struct guest_config *config)
{
    char *text;

    return asprintf(&text, "%s\n", config->hostname) < 0 ? NULL : text;
}

struct etc_file {
    const char *name, *path;
    char *text;
    bool needed; /* made in the root where it is missing, to have something to mount on */
};

static int write_new_file(int directory, const char *name, const char *text, msb_error **err)
{
    _cleanup_fd_ int fd = openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    size_t left = strlen(text);

    if (fd < 0 || (left && write(fd, text, left) != (ssize_t)left))
        return fail_errno(err, "write %s in memory", name);
    return steal_fd(&fd);
}

static int mount_file(int directory, const struct etc_file *file, int root, msb_error **err)
{
    _cleanup_fd_ int target = file->needed ? place_make_file(root, file->path, err) : place_open(root, file->path);
    _cleanup_fd_ int source = -1, mount = -1;

    if (target < 0)
        return file->needed ? -1 : 0;
    source = write_new_file(directory, file->name, file->text, err);
    if (source < 0)
        return -1;
    mount = mount_clone(source, false, err);
    return mount < 0 ? -1 : mount_attach(mount, target, err);
}

int root_mount_files(const struct guest_config *config, const struct guest_root *root, struct control *control, msb_error **err)
{
    bool network = config->network.present;
    struct etc_file files[] = {
        { "hosts", "/etc/hosts", hosts_text(config), network },
        { "hostname", "/etc/hostname", hostname_text(config), false },
        { "resolv.conf", "/etc/resolv.conf", resolvers_text(config), config->network.num_resolvers > 0 },
    };
    _cleanup_fd_ int etc = place_open(root->root, "/etc");
    _cleanup_fd_ int directory = -1;
    int result = 0;

    if (etc >= 0)
        directory = mount_on("/files", "tmpfs", NULL, err);
    if (etc >= 0 && directory < 0)
        result = -1;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        msb_error *fault = NULL;

        if (directory >= 0 && files[i].text && mount_file(directory, &files[i], root->root, &fault) < 0)
            warn(control, fault);
        free(files[i].text);
    }
    return result;
}

/* ---- Shares -------------------------------------------------------------------------------------------------------------------- */

static int mount_share(int shares, const struct guest_share *share, int root, msb_error **err)
{
    _cleanup_fd_ int source = openat(shares, share->name, O_PATH | O_NOFOLLOW | O_CLOEXEC | (share->is_file ? 0 : O_DIRECTORY));
    _cleanup_fd_ int target = -1, mount = -1;

    if (source < 0)
        return fail_errno(err, "open share %s", share->name);
    target = share->is_file ? place_make_file(root, share->guest, err) : place_make_directory(root, share->guest, 0755, err);
    if (target < 0)
        return -1;
    mount = mount_clone(source, share->read_only, err);
    return mount < 0 ? -1 : mount_attach(mount, target, err);
}

int root_mount_shares(const struct guest_config *config, const struct guest_root *root, msb_error **err)
{
    _cleanup_fd_ int shares = -1;
    struct stat st;

    if (config->num_shares == 0)
        return 0;
    shares = mount_virtiofs("/shares", "shares", err);
    if (shares < 0)
        return fail_prefix(err, "the mapped directories");
    if (fstat(shares, &st) == 0)
        trust_server(root->sys, st.st_dev);
    for (size_t i = 0; i < config->num_shares; i++) {
        if (mount_share(shares, &config->shares[i], root->root, err) < 0)
            return fail_prefix(err, "map a directory to `%s`", config->shares[i].guest);
    }
    return 0;
}

/* ---- The switch ---------------------------------------------------------------------------------------------------------------- */

/* Empties a directory of the initramfs, but for what is mounted there. */
static void remove_contents(int fd, dev_t device)
{
    DIR *directory = fdopendir(fd);
    const struct dirent *entry;

    if (!directory) {
        close(fd);
        return;
    }
    while ((entry = readdir(directory))) {
        struct stat status;
        int below;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0 || status.st_dev != device)
            continue;
        below = S_ISDIR(status.st_mode) ? openat(dirfd(directory), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (below >= 0)
            remove_contents(below, device);
        unlinkat(dirfd(directory), entry->d_name, below >= 0 ? AT_REMOVEDIR : 0);
    }
    closedir(directory);
}

/* Its files are memory. Nothing but a file system that lives in memory is ever emptied. */
static void empty_initramfs(void)
{
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;
    struct stat status;

    if (fd < 0)
        return;
    if (fstatfs(fd, &fs) < 0 || (fs.f_type != RAMFS_MAGIC && fs.f_type != TMPFS_MAGIC) || fstat(fd, &status) < 0) {
        close(fd);
        return;
    }
    remove_contents(fd, status.st_dev);
}

/* The initramfs cannot be unmounted or pivoted away (the kernel's Documentation/filesystems/ramfs-rootfs-initramfs.rst): the root
   is moved over it. */
int root_switch(const struct guest_root *root, msb_error **err)
{
    empty_initramfs();
    if (fchdir(root->root) < 0 || sys_mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return fail_errno(err, "switch to the guest's root");
    return 0;
}
