/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Nothing in an archive is trusted. Names come without ".." (member.c), and every directory below the top is opened with openat2's
 * RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS: no link leads out, whether it was there before, came in the archive, or is put there by
 * somebody at this moment. Files are made new (O_EXCL); what was there before is unlinked and never written into.
 *
 * A directory that was made gets its owner, mode and time when everything else is done, because making what is in it needs
 * permission and changes its time. One that was there before keeps its own.
 */
#include "archive/archive.h"

#include "archive/member.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

struct made_directory {
    struct made_directory *next; /* the one made before */
    struct member member;
    char *path;
};

struct extraction {
    unsigned flags;
    int base;       /* what everything is below */
    char *top;      /* the archive's top component, "" for none; NULL: no member has come */
    const char *as; /* what takes its place in a path below base; "" for none */
    char *as_own;   /* its memory */
    struct made_directory *directories;
    char *parent_path; /* the last parent, still open: most members have the same as the one before */
    int parent;
};

static int no_memory(msb_error **err)
{
    return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
}

/* ---- Places -------------------------------------------------------------------------------------------------------------------- */

static int open_below(int base, const char *path, uint64_t flags)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };

    return (int)syscall(SYS_openat2, base, path[0] ? path : ".", &how, sizeof(how));
}

static const char *last_component(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* What is before the last component, without the slash between them. */
static char *path_before(const char *path)
{
    const char *name = last_component(path);

    return strndup(path, name > path ? (size_t)(name - path) - 1 : 0);
}

/* The directory below base, made with those above it where it is missing. */
static int make_below(int base, const char *path)
{
    int fd = open_below(base, path, O_PATH | O_DIRECTORY);
    _cleanup_free_ char *parent_path = NULL;
    _cleanup_fd_ int parent = -1;

    if (fd >= 0 || errno != ENOENT)
        return fd;
    parent_path = path_before(path);
    parent = parent_path ? make_below(base, parent_path) : -1;
    if (parent < 0 || (mkdirat(parent, last_component(path), 0755) < 0 && errno != EEXIST))
        return -1;
    return open_below(base, path, O_PATH | O_DIRECTORY);
}

/* The open directory that holds path. */
static int open_parent(struct extraction *x, const char *path, msb_error **err)
{
    _cleanup_free_ char *parent = path_before(path);

    if (!parent)
        return no_memory(err);
    if (x->parent_path && strcmp(x->parent_path, parent) == 0)
        return x->parent;
    if (x->parent >= 0)
        close(x->parent);
    free(x->parent_path);
    x->parent_path = NULL;
    x->parent = make_below(x->base, parent);
    if (x->parent < 0)
        return fail_errno(err, "`%s`", parent);
    x->parent_path = steal_pointer(&parent);
    return x->parent;
}

/* Where a member's name leads below base; NULL with *err when it is not below the archive's top. */
static char *place_of(const struct extraction *x, const char *name, msb_error **err)
{
    size_t top = strlen(x->top);
    char *path;

    if (top && (strncmp(name, x->top, top) != 0 || (name[top] && name[top] != '/')))
        return FAIL_NULL(fail(err, MSB_ERR_INVALID, "the archive has more at its top than `%s`", x->top));
    name += top;
    name += name[0] == '/';
    if (asprintf(&path, "%s%s%s", x->as, x->as[0] && name[0] ? "/" : "", name) < 0)
        return FAIL_NULL(no_memory(err));
    return path;
}

/* ---- What belongs to a file ---------------------------------------------------------------------------------------------------- */

static mode_t mode_of(const struct extraction *x, const struct member *member)
{
    return member->mode & (x->flags & ARCHIVE_UNTRUSTED ? 01777 : 07777);
}

/* File systems differ in what they take; only the lack of room is an error. */
static int set_xattrs(const struct extraction *x, int fd, const struct member *member, msb_error **err)
{
    for (size_t i = 0; i < member->num_xattrs; i++) {
        const struct member_xattr *xattr = &member->xattrs[i];

        if ((x->flags & ARCHIVE_UNTRUSTED) && strncmp(xattr->name, "user.", 5) != 0)
            continue;
        if (fsetxattr(fd, xattr->name, xattr->value, xattr->size, 0) < 0 && (errno == ENOSPC || errno == EDQUOT))
            return fail_errno(err, "set attribute %s", xattr->name);
    }
    return 0;
}

static struct timespec *times_of(const struct member *member, struct timespec times[2])
{
    times[0] = (struct timespec){ .tv_nsec = UTIME_OMIT };
    times[1] = member->mtime;
    return times;
}

/* Of an open file or directory. A change of owner takes set-user-ID bits and capabilities away, so it comes first. */
static int set_all(const struct extraction *x, int fd, const struct member *member, msb_error **err)
{
    struct timespec times[2];

    if ((x->flags & ARCHIVE_OWNERS) && fchown(fd, member->uid, member->gid) < 0)
        return fail_errno(err, "set the owner");
    if (fchmod(fd, mode_of(x, member)) < 0)
        return fail_errno(err, "set the mode");
    if (set_xattrs(x, fd, member, err) < 0)
        return -1;
    return futimens(fd, times_of(member, times)) < 0 ? fail_errno(err, "set the time") : 0;
}

/* Of what cannot be opened: links and special files. */
static int set_owner_and_time(const struct extraction *x, int parent, const char *name, const struct member *member,
                              msb_error **err)
{
    struct timespec times[2];

    if ((x->flags & ARCHIVE_OWNERS) && fchownat(parent, name, member->uid, member->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_errno(err, "set the owner");
    if (utimensat(parent, name, times_of(member, times), AT_SYMLINK_NOFOLLOW) < 0)
        return fail_errno(err, "set the time");
    return 0;
}

/* ---- Making files -------------------------------------------------------------------------------------------------------------- */

static int write_all(int fd, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);

        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

static int make_file(const struct extraction *x, struct member_input *in, int parent, const char *name,
                     const struct member *member, msb_error **err)
{
    _cleanup_fd_ int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    const void *bytes = NULL;
    ssize_t n;

    if (fd < 0)
        return fail_errno(err, "make the file");
    while ((n = member_content(in, &bytes, err)) > 0) {
        if (write_all(fd, bytes, (size_t)n) < 0)
            return fail_errno(err, "write");
    }
    return n < 0 ? -1 : set_all(x, fd, member, err);
}

static int make_symlink(const struct extraction *x, int parent, const char *name, const struct member *member, msb_error **err)
{
    if (symlinkat(member->link, parent, name) < 0)
        return fail_errno(err, "make the symbolic link");
    return set_owner_and_time(x, parent, name, member, err);
}

/* The link's target is a member that came before, or at least below the top: it is reached as carefully as every other place. */
static int make_link(const struct extraction *x, int parent, const char *name, const struct member *member, msb_error **err)
{
    _cleanup_free_ char *target = place_of(x, member->link, err);
    _cleanup_free_ char *directory = NULL;
    _cleanup_fd_ int from = -1;

    if (!target)
        return -1;
    directory = path_before(target);
    if (!directory)
        return no_memory(err);
    from = open_below(x->base, directory, O_PATH | O_DIRECTORY);
    if (from < 0 || linkat(from, last_component(target), parent, name, 0) < 0)
        return fail_errno(err, "link to `%s`", member->link);
    return 0;
}

static int make_special(const struct extraction *x, int parent, const char *name, const struct member *member, msb_error **err)
{
    mode_t kind = member->type == TAR_FIFO ? S_IFIFO : member->type == TAR_BLOCK_DEVICE ? S_IFBLK : S_IFCHR;
    dev_t device = member->type == TAR_FIFO ? 0 : makedev(member->major, member->minor);

    /* Its mode is set here only, less the umask: fchmodat(2) would follow a link that somebody puts in its place. */
    if (mknodat(parent, name, kind | (mode_of(x, member) & 0777), device) < 0)
        return fail_errno(err, "make the special file");
    return set_owner_and_time(x, parent, name, member, err);
}

/* Remembers the directory for the end; the member becomes its own. */
static int finish_later(struct extraction *x, const char *path, struct member *member, msb_error **err)
{
    struct made_directory *made = malloc(sizeof(*made));

    if (!made)
        return no_memory(err);
    *made = (struct made_directory){ .next = x->directories, .member = *member, .path = strdup(path) };
    *member = (struct member){ 0 };
    x->directories = made;
    return made->path ? 0 : no_memory(err);
}

static bool is_directory(int parent, const char *name)
{
    struct stat status;

    return fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

static int make_directory(struct extraction *x, int parent, const char *name, const char *path, struct member *member,
                          msb_error **err)
{
    if (is_directory(parent, name))
        return 0;
    if ((unlinkat(parent, name, 0) < 0 && errno != ENOENT) || mkdirat(parent, name, 0700) < 0)
        return fail_errno(err, "make the directory");
    return finish_later(x, path, member, err);
}

static int make_member(struct extraction *x, struct member_input *in, const char *path, struct member *member, msb_error **err)
{
    const char *name = last_component(path);
    int parent = open_parent(x, path, err);

    if (parent < 0)
        return -1;
    if (member->type == TAR_DIRECTORY)
        return make_directory(x, parent, name, path, member, err);
    if (unlinkat(parent, name, 0) < 0 && errno != ENOENT)
        return fail_errno(err, "replace what is there");
    switch (member->type) {
    case TAR_LINK:
        return make_link(x, parent, name, member, err);
    case TAR_SYMLINK:
        return make_symlink(x, parent, name, member, err);
    case TAR_CHARACTER_DEVICE:
    case TAR_BLOCK_DEVICE:
        if (x->flags & ARCHIVE_UNTRUSTED)
            return 0;
        return make_special(x, parent, name, member, err);
    case TAR_FIFO:
        return make_special(x, parent, name, member, err);
    default:
        return make_file(x, in, parent, name, member, err);
    }
}

static int finish_directories(struct extraction *x, msb_error **err)
{
    for (const struct made_directory *made = x->directories; made; made = made->next) {
        _cleanup_fd_ int fd = open_below(x->base, made->path, O_RDONLY | O_DIRECTORY);

        if (fd < 0)
            return fail_errno(err, "`%s`", made->path);
        if (set_all(x, fd, &made->member, err) < 0)
            return fail_prefix(err, "`%s`", made->path);
    }
    return 0;
}

/* ---- The archive --------------------------------------------------------------------------------------------------------------- */

/* Opens the directory that the top becomes or goes into. */
static int enter(struct extraction *x, const char *path, msb_error **err)
{
    size_t end = strlen(path);
    char *slash;

    x->base = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    x->as = x->top;
    if (x->base >= 0)
        return 0;
    if (errno != ENOENT && errno != ENOTDIR)
        return fail_errno(err, "`%s`", path);
    if (end == 0 || path[end - 1] == '/')
        return fail_errno(err, "directory `%s`", path);
    x->as_own = strdup(path);
    if (!x->as_own)
        return no_memory(err);
    slash = strrchr(x->as_own, '/');
    x->as = slash ? slash + 1 : x->as_own;
    if (slash)
        *slash = '\0';
    x->base = open(!slash ? "." : slash == x->as_own ? "/" : x->as_own, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return x->base < 0 ? fail_errno(err, "the directory of `%s`", path) : 0;
}

/* The first member's name says what the top is: its first component, or nothing when it is "." itself. */
static int begin(struct extraction *x, const char *path, const struct member *member, msb_error **err)
{
    x->top = strndup(member->name, strcspn(member->name, "/"));
    return x->top ? enter(x, path, err) : no_memory(err);
}

static int extract(struct extraction *x, struct member_input *in, const char *path, msb_error **err)
{
    struct member member;
    int got;

    while ((got = member_next(in, &member, err)) > 0) {
        _cleanup_free_ char *place = NULL;
        int result = 0;

        if (!x->top)
            result = begin(x, path, &member, err);
        if (result == 0)
            place = place_of(x, member.name, err);
        /* An empty place is the directory that everything goes into: it is there. */
        if (place && place[0]) {
            result = make_member(x, in, place, &member, err);
            if (result < 0)
                fail_prefix(err, "`%s`", place);
        }
        member_clear(&member);
        if (result < 0 || !place)
            return -1;
    }
    if (got == 0 && !x->top)
        return fail(err, MSB_ERR_INVALID, "the archive is empty");
    return got < 0 ? -1 : finish_directories(x, err);
}

static void clear(struct extraction *x)
{
    while (x->directories) {
        struct made_directory *made = x->directories;

        x->directories = made->next;
        member_clear(&made->member);
        free(made->path);
        free(made);
    }
    cleanup_fd(&x->base);
    cleanup_fd(&x->parent);
    free(x->parent_path);
    free(x->as_own);
    free(x->top);
}

int archive_read(int in, const char *path, unsigned flags, msb_error **err)
{
    struct extraction x = { .flags = flags, .base = -1, .parent = -1 };
    struct member_input *input = calloc(1, sizeof(*input));
    int result;

    if (!input)
        return no_memory(err);
    input->fd = in;
    result = extract(&x, input, path, err);
    clear(&x);
    free(input);
    return result;
}
