/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/owner.h"

#include "fs/xattr.h"
#include "util/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { OVERFLOW_ID = 65534 };

/* ---- Text ------------------------------------------------------------------------------------------------------------------------ */

/* Reads digits of the given base up to a colon or the end; false when there are none, or the number is above max. */
static bool parse_number(const char **text, const char *end, unsigned base, uint64_t max, uint64_t *number)
{
    const char *start = *text;

    for (*number = 0; *text < end && **text != ':' && **text != '-'; (*text)++) {
        unsigned digit = (unsigned char)**text - '0';

        if (digit >= base)
            return false;
        *number = *number * base + digit;
        if (*number > max)
            return false;
    }
    return *text > start;
}

static bool skip(const char **text, const char *end, char c)
{
    if (*text == end || **text != c)
        return false;
    (*text)++;
    return true;
}

static bool starts_with(const char **text, const char *end, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(end - *text) < length || memcmp(*text, word, length) != 0)
        return false;
    *text += length;
    return true;
}

uint32_t rdev_encode(uint32_t major, uint32_t minor)
{
    return (minor & 0xff) | major << 8 | (minor & ~0xffU) << 12;
}

static bool parse_device(const char *text, const char *end, uint32_t type, struct owner *owner)
{
    uint64_t major, minor;

    if (!parse_number(&text, end, 10, 0xfff, &major) || !skip(&text, end, '-') || !parse_number(&text, end, 10, 0xfffff, &minor))
        return false;
    owner->mode |= type;
    owner->rdev = rdev_encode((uint32_t)major, (uint32_t)minor);
    return true;
}

static bool parse_type(const char *text, const char *end, uint32_t host_type, struct owner *owner)
{
    if (text == end || host_type != S_IFREG) {
        owner->mode |= host_type;
        return true;
    }
    if (starts_with(&text, end, ":pipe"))
        owner->mode |= S_IFIFO;
    else if (starts_with(&text, end, ":socket"))
        owner->mode |= S_IFSOCK;
    else if (starts_with(&text, end, ":block-"))
        return parse_device(text, end, S_IFBLK, owner);
    else if (starts_with(&text, end, ":char-"))
        return parse_device(text, end, S_IFCHR, owner);
    else
        owner->mode |= S_IFREG;
    return true;
}

bool owner_parse(const char *text, size_t size, uint32_t host_type, struct owner *owner)
{
    const char *end = text + size;
    uint64_t uid, gid, mode;

    if (!parse_number(&text, end, 10, UINT32_MAX, &uid) || !skip(&text, end, ':') ||
        !parse_number(&text, end, 10, UINT32_MAX, &gid) || !skip(&text, end, ':') || !parse_number(&text, end, 8, 0177777, &mode))
        return false;
    *owner = (struct owner){ .uid = (uint32_t)uid, .gid = (uint32_t)gid, .mode = (uint32_t)mode & 07777 };
    return parse_type(text, end, host_type, owner);
}

size_t owner_format(const struct owner *owner, char text[OWNER_TEXT_MAX])
{
    uint32_t major = (owner->rdev & 0xfff00) >> 8, minor = (owner->rdev & 0xff) | ((owner->rdev >> 12) & 0xfff00);
    char type[40] = "";

    if (S_ISFIFO(owner->mode))
        snprintf(type, sizeof(type), ":pipe");
    else if (S_ISSOCK(owner->mode))
        snprintf(type, sizeof(type), ":socket");
    else if (S_ISBLK(owner->mode))
        snprintf(type, sizeof(type), ":block-%" PRIu32 "-%" PRIu32, major, minor);
    else if (S_ISCHR(owner->mode))
        snprintf(type, sizeof(type), ":char-%" PRIu32 "-%" PRIu32, major, minor);
    return (size_t)snprintf(text, OWNER_TEXT_MAX, "%" PRIu32 ":%" PRIu32 ":0%o%s", owner->uid, owner->gid, owner->mode & 07777,
                            type);
}

/* ---- Reading ---------------------------------------------------------------------------------------------------------------------- */

/* Files of the user who runs us (id 0 here), and those of the host's root, are root's; and where no other id is mapped, all look as
   if they belonged to the overflow id. */
static uint32_t shown_id(const struct fs *fs, uint32_t id)
{
    return fs->options.one_user && id == OVERFLOW_ID ? 0 : id;
}

struct owner owner_default(const struct fs *fs, const struct statx *st)
{
    return (struct owner){
        .uid = shown_id(fs, st->stx_uid),
        .gid = shown_id(fs, st->stx_gid),
        .mode = st->stx_mode,
        .rdev = rdev_encode(st->stx_rdev_major, st->stx_rdev_minor),
    };
}

uint32_t owner_host_mode(const struct owner *owner, uint32_t host_type)
{
    if (host_type == S_IFDIR)
        return (owner->mode & 01777) | 0700;
    return (owner->mode & 0777) | 0600;
}

/* Whether the host can have the xattr on a file of this type (xattr(7)). */
static bool has_xattr(uint32_t host_mode)
{
    return S_ISREG(host_mode) || S_ISDIR(host_mode);
}

/* What the guest sees, from what getxattr(2) gave. */
static struct owner combine(const struct fs *fs, const struct statx *st, const char *text, ssize_t size)
{
    struct owner owner = owner_default(fs, st);
    struct owner said;
    uint32_t host_type = st->stx_mode & S_IFMT;

    if (size <= 0 || !owner_parse(text, (size_t)size, host_type, &said))
        return owner;
    /* Someone on the host changed permissions of a shared file after the guest did: those count. */
    if (!fs->options.guest_is_only_user && (said.mode & S_IFMT) == host_type &&
        (st->stx_mode & 0777) != (owner_host_mode(&said, host_type) & 0777))
        said.mode = (said.mode & ~0777U) | (st->stx_mode & 0777);
    return said;
}

static struct owner whiteout_owner(void)
{
    return (struct owner){ .mode = S_IFCHR };
}

const char *file_path(const struct fs *fs, const struct file *file, char path[64])
{
    snprintf(path, 64, "%s/%d", fs->options.own_fds_path, file->fd);
    return path;
}

/* What is known without asking; otherwise false. */
static bool known_owner(const struct fs *fs, struct node *node, const struct statx *st, struct owner *owner)
{
    if (node->whiteout) {
        *owner = whiteout_owner();
        return true;
    }
    if (node_owner(fs->nodes, node, owner))
        return true;
    *owner = owner_default(fs, st);
    return !has_xattr(st->stx_mode);
}

/* Of a name in the working directory: whether it may have the xattr. A list is as quick to get, and says more. */
static bool look_at_list(const char *name, bool *bare)
{
    char list[1024];
    ssize_t size = llistxattr(name, list, sizeof(list) - 1);

    if (size < 0 && errno == EOPNOTSUPP)
        size = 0;
    if (size >= 0)
        list[size] = '\0';
    *bare = size >= 0 && xattr_translate_list(list, (size_t)size) == 0;
    return size != 0;
}

struct owner owner_at(struct fs *fs, struct node *node, int dir, const char *name, const struct statx *st, bool *bare)
{
    char text[OWNER_TEXT_MAX];
    struct owner owner;

    *bare = !has_xattr(st->stx_mode);
    if (known_owner(fs, node, st, &owner))
        return owner;
    /* The cheapest way to an xattr of a name in a directory: there is no getxattrat(2) before Linux 6.13. */
    if (fchdir(dir) == 0 && (!fs->options.guest_is_only_user || look_at_list(name, bare)))
        owner = combine(fs, st, text, lgetxattr(name, OWNER_XATTR, text, sizeof(text)));
    node_learn_owner(fs->nodes, node, &owner);
    return owner;
}

static ssize_t get_text(const struct fs *fs, const struct file *file, char text[OWNER_TEXT_MAX])
{
    char path[64];

    if (file->access > ACCESS_PATH)
        return fgetxattr(file->fd, OWNER_XATTR, text, OWNER_TEXT_MAX);
    return getxattr(file_path(fs, file, path), OWNER_XATTR, text, OWNER_TEXT_MAX);
}

struct owner owner_of_file(struct fs *fs, struct node *node, const struct file *file, const struct statx *st)
{
    char text[OWNER_TEXT_MAX];
    struct owner owner;

    if (known_owner(fs, node, st, &owner))
        return owner;
    owner = combine(fs, st, text, get_text(fs, file, text));
    node_learn_owner(fs->nodes, node, &owner);
    return owner;
}

int owner_of_node(struct fs *fs, struct node *node, struct statx *st, struct owner *owner)
{
    struct file *file = NULL;
    int error;

    error = node_statx(fs->nodes, node, st);
    if (error < 0 || known_owner(fs, node, st, owner))
        return error;
    error = node_file(fs->nodes, node, ACCESS_PATH, &file);
    if (error < 0)
        return error;
    *owner = owner_of_file(fs, node, file, st);
    file_put(fs->nodes, file);
    return 0;
}

/* ---- Writing ---------------------------------------------------------------------------------------------------------------------- */

bool owner_same(const struct owner *a, const struct owner *b)
{
    return a->uid == b->uid && a->gid == b->gid && a->mode == b->mode && a->rdev == b->rdev;
}

/* Sets or removes the xattr so that a file with this status on the host looks like owner. */
static int store_text(const struct fs *fs, const struct file *file, const struct statx *st, const struct owner *owner)
{
    struct owner without = owner_default(fs, st);
    bool needless = owner_same(&without, owner);
    char text[OWNER_TEXT_MAX], path[64];
    size_t size = owner_format(owner, text);
    int result;

    if (file->access > ACCESS_PATH)
        result = needless ? fremovexattr(file->fd, OWNER_XATTR) : fsetxattr(file->fd, OWNER_XATTR, text, size, 0);
    else
        result = needless ? removexattr(file_path(fs, file, path), OWNER_XATTR)
                          : setxattr(file_path(fs, file, path), OWNER_XATTR, text, size, 0);
    if (result < 0 && !(needless && (errno == ENODATA || errno == EOPNOTSUPP)))
        return -errno;
    return 0;
}

static int change_mode(const struct fs *fs, const struct file *file, uint32_t mode)
{
    char number[16];

    if (file->access > ACCESS_PATH)
        return fchmod(file->fd, mode) < 0 ? -errno : 0;
    snprintf(number, sizeof(number), "%d", file->fd);
    return fchmodat(fs->options.own_fds, number, mode, 0) < 0 ? -errno : 0;
}

/* On the host: permissions first, then what they do not say. */
static int store_on_host(const struct fs *fs, const struct file *file, const struct statx *st, const struct owner *owner)
{
    uint32_t host_type = st->stx_mode & S_IFMT, mode = owner_host_mode(owner, host_type);
    struct statx after = *st;
    /* Also when they stay the same: it was a change, and the time of it counts. */
    int error = change_mode(fs, file, mode);

    if (error < 0)
        return error;
    after.stx_mode = (uint16_t)(host_type | mode);
    return store_text(fs, file, &after, owner);
}

/* What cannot have the xattr was changed all the same, and the time of it counts: the access time is set to what it is. */
static int touch(const struct file *file, const struct statx *st)
{
    const struct timespec times[2] = {
        { .tv_sec = st->stx_atime.tv_sec, .tv_nsec = st->stx_atime.tv_nsec },
        { .tv_nsec = UTIME_OMIT },
    };

    if (utimensat(file->fd, "", times, AT_EMPTY_PATH) < 0 && errno == EROFS)
        return -EROFS;
    return 0;
}

int owner_store(struct fs *fs, struct node *node, const struct file *file, const struct statx *st, const struct owner *owner)
{
    uint32_t host_type = st->stx_mode & S_IFMT;
    int error = has_xattr(host_type) ? store_on_host(fs, file, st, owner) : touch(file, st);

    if (error < 0 && error != -EOPNOTSUPP)
        return error;
    /* Symbolic links, whiteouts, and what lies on a file system without user xattrs: remembered as long as the guest knows it. */
    node_set_owner(fs->nodes, node, owner, !has_xattr(host_type) || error == -EOPNOTSUPP);
    return 0;
}

static bool grant(struct fs *fs, const struct file *file, struct statx *st)
{
    uint32_t wanted = S_ISDIR(st->stx_mode) ? 0700 : 0600;
    struct owner owner;
    char text[OWNER_TEXT_MAX];
    struct statx before = *st;

    if (!has_xattr(st->stx_mode) || st->stx_uid != 0 || (st->stx_mode & wanted) == wanted)
        return false;
    if (change_mode(fs, file, (st->stx_mode & 0777) | wanted) < 0)
        return false;
    st->stx_mode |= (uint16_t)wanted;
    /* Only now can an xattr that is there be read. */
    owner = combine(fs, &before, text, get_text(fs, file, text));
    return store_text(fs, file, st, &owner) == 0;
}

bool owner_grant_access(struct fs *fs, struct node *node)
{
    struct statx st;
    struct file *file = NULL;
    bool changed;

    if (node_file(fs->nodes, node, ACCESS_PATH, &file) < 0)
        return false;
    changed = statx_at(file->fd, "", &st) == 0 && grant(fs, file, &st);
    file_put(fs->nodes, file);
    return changed;
}

int owner_store_new(struct fs *fs, int fd, const struct statx *st, const struct owner *owner)
{
    struct owner without = owner_default(fs, st);
    char text[OWNER_TEXT_MAX];

    if (owner_same(&without, owner))
        return 0;
    if (fsetxattr(fd, OWNER_XATTR, text, owner_format(owner, text), 0) == 0)
        return 0;
    return errno == EOPNOTSUPP ? 1 : -errno;
}

/* ---- Attributes -------------------------------------------------------------------------------------------------------------------- */

void attr_fill(const struct fs *fs, const struct node *node, const struct statx *st, const struct owner *owner,
               struct fuse_attr *attr)
{
    bool as_it_is = (owner->mode & S_IFMT) == (st->stx_mode & S_IFMT);

    *attr = (struct fuse_attr){
        .ino = node_ino(fs->nodes, node, st->stx_ino),
        .size = as_it_is ? st->stx_size : 0,
        .blocks = as_it_is ? st->stx_blocks : 0,
        .atime = (uint64_t)st->stx_atime.tv_sec,
        .mtime = (uint64_t)st->stx_mtime.tv_sec,
        .ctime = (uint64_t)st->stx_ctime.tv_sec,
        .atimensec = st->stx_atime.tv_nsec,
        .mtimensec = st->stx_mtime.tv_nsec,
        .ctimensec = st->stx_ctime.tv_nsec,
        .mode = owner->mode,
        .nlink = st->stx_nlink,
        .uid = owner->uid,
        .gid = owner->gid,
        .rdev = owner->rdev,
        .blksize = st->stx_blksize,
    };
}
