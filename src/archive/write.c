/* SPDX-License-Identifier: Apache-2.0 */
#include "archive/archive.h"

#include "archive/tar.h"
#include "util/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/limits.h>
#include <search.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum {
    OCTAL_ID_MAX = 07777777, /* what fits into seven octal digits */
    NANOSECONDS = 1000000000,
    DEPTH_MAX = 1000, /* directories below one another, each with a descriptor open */
};

#define OCTAL_SIZE_MAX UINT64_C(077777777777)

/* The first name of a file that has several. */
struct known_link {
    dev_t device;
    ino_t inode;
    char *name;
};

struct archive {
    int out;
    size_t buffered;
    void *links; /* tsearch(3) */
    char *pax;   /* the records of the next entry */
    size_t pax_size;
    unsigned char buffer[TAR_BUFFER];
};

/* ---- Bytes --------------------------------------------------------------------------------------------------------------------- */

/* To a socket, a pipe or a file; a reader that is gone is an error, and no signal where that can be had. */
static ssize_t write_some(int out, const void *bytes, size_t size)
{
    ssize_t n = send(out, bytes, size, MSG_NOSIGNAL);

    return n < 0 && errno == ENOTSOCK ? write(out, bytes, size) : n;
}

static int flush(struct archive *archive, msb_error **err)
{
    size_t sent = 0;

    while (sent < archive->buffered) {
        ssize_t n = write_some(archive->out, archive->buffer + sent, archive->buffered - sent);

        if (n < 0 && errno != EINTR)
            return fail_errno(err, "write the archive");
        if (n > 0)
            sent += (size_t)n;
    }
    archive->buffered = 0;
    return 0;
}

/* Room in the buffer for at least one block; the caller fills it and adds to buffered. */
static int make_room(struct archive *archive, msb_error **err)
{
    return archive->buffered == sizeof(archive->buffer) ? flush(archive, err) : 0;
}

static int put(struct archive *archive, const void *bytes, size_t size, msb_error **err)
{
    const unsigned char *from = bytes;

    while (size > 0) {
        size_t part;

        if (make_room(archive, err) < 0)
            return -1;
        part = sizeof(archive->buffer) - archive->buffered;
        if (part > size)
            part = size;
        memcpy(archive->buffer + archive->buffered, from, part);
        archive->buffered += part;
        from += part;
        size -= part;
    }
    return 0;
}

static int put_padding(struct archive *archive, uint64_t size, msb_error **err)
{
    static const unsigned char zeros[TAR_BLOCK];

    return put(archive, zeros, (size_t)(-size % TAR_BLOCK), err);
}

/* ---- Headers ------------------------------------------------------------------------------------------------------------------- */

/* "LENGTH KEY=VALUE\n", where the length counts its own digits. */
static int add_record(struct archive *archive, const char *key, const void *value, size_t size, msb_error **err)
{
    size_t rest = 1 + strlen(key) + 1 + size + 1;
    size_t length = rest + 1;
    char digits[24];
    char *pax;

    while ((size_t)snprintf(digits, sizeof(digits), "%zu", length) + rest > length)
        length++;
    pax = realloc(archive->pax, archive->pax_size + length + 1);
    if (!pax)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    archive->pax = pax;
    pax += archive->pax_size;
    pax += sprintf(pax, "%zu %s=", length, key);
    memcpy(pax, value, size);
    pax[size] = '\n';
    archive->pax_size += length;
    return 0;
}

static int add_text(struct archive *archive, const char *key, const char *value, msb_error **err)
{
    return add_record(archive, key, value, strlen(value), err);
}

static int add_number(struct archive *archive, const char *key, uint64_t value, msb_error **err)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, value);
    return add_text(archive, key, text, err);
}

/* A number in octal digits, or what fits of it: then a pax record has it too. */
static void set_octal(char *field, size_t size, uint64_t value)
{
    field[size - 1] = '\0';
    for (size_t i = size - 1; i-- > 0; value >>= 3)
        field[i] = (char)('0' + (value & 7));
}

static int put_header(struct archive *archive, struct tar_header *header, msb_error **err)
{
    memcpy(header->magic, "ustar", sizeof(header->magic));
    memcpy(header->version, "00", sizeof(header->version));
    set_octal(header->checksum, sizeof(header->checksum) - 1, tar_checksum(header));
    header->checksum[7] = ' ';
    return put(archive, header, sizeof(*header), err);
}

static int put_records(struct archive *archive, msb_error **err)
{
    struct tar_header header = { .name = "pax", .type = TAR_PAX };
    size_t size = archive->pax_size;

    if (size == 0)
        return 0;
    archive->pax_size = 0;
    set_octal(header.mode, sizeof(header.mode), 0644);
    set_octal(header.uid, sizeof(header.uid), 0);
    set_octal(header.gid, sizeof(header.gid), 0);
    set_octal(header.size, sizeof(header.size), size);
    set_octal(header.mtime, sizeof(header.mtime), 0);
    if (put_header(archive, &header, err) < 0 || put(archive, archive->pax, size, err) < 0)
        return -1;
    return put_padding(archive, size, err);
}

/* Names go into their field when they fit, and into a record otherwise. */
static int set_name(struct archive *archive, char *field, const char *key, const char *name, msb_error **err)
{
    size_t room = sizeof(((struct tar_header *)0)->name);
    size_t length = strnlen(name, room + 1);

    if (length > room)
        return add_text(archive, key, name, err);
    memcpy(field, name, length); /* not terminated when it fills the field */
    return 0;
}

static int set_time(struct archive *archive, struct tar_header *header, const struct timespec *time, msb_error **err)
{
    char text[48];
    long long seconds = time->tv_sec;
    long nanoseconds = time->tv_nsec;

    if (seconds >= 0 && (uint64_t)seconds <= OCTAL_SIZE_MAX)
        set_octal(header->mtime, sizeof(header->mtime), (uint64_t)seconds);
    else
        set_octal(header->mtime, sizeof(header->mtime), 0);
    if (nanoseconds == 0 && seconds >= 0 && (uint64_t)seconds <= OCTAL_SIZE_MAX)
        return 0;
    /* As a decimal number: before the epoch the fraction counts the other way. */
    if (seconds < 0 && nanoseconds > 0) {
        seconds++;
        nanoseconds = NANOSECONDS - nanoseconds;
        snprintf(text, sizeof(text), "-%lld.%09ld", -seconds, nanoseconds);
    } else {
        snprintf(text, sizeof(text), "%lld.%09ld", seconds, nanoseconds);
    }
    return add_text(archive, "mtime", text, err);
}

static int set_numbers(struct archive *archive, struct tar_header *header, const struct stat *status, uint64_t size,
                       msb_error **err)
{
    set_octal(header->mode, sizeof(header->mode), status->st_mode & 07777);
    set_octal(header->uid, sizeof(header->uid), status->st_uid);
    set_octal(header->gid, sizeof(header->gid), status->st_gid);
    set_octal(header->size, sizeof(header->size), size);
    set_octal(header->major, sizeof(header->major), major(status->st_rdev));
    set_octal(header->minor, sizeof(header->minor), minor(status->st_rdev));
    if (status->st_uid > OCTAL_ID_MAX && add_number(archive, "uid", status->st_uid, err) < 0)
        return -1;
    if (status->st_gid > OCTAL_ID_MAX && add_number(archive, "gid", status->st_gid, err) < 0)
        return -1;
    if (size > OCTAL_SIZE_MAX && add_number(archive, "size", size, err) < 0)
        return -1;
    return set_time(archive, header, &status->st_mtim, err);
}

/* Names of extended attributes have no '=' in any namespace that is worth copying; one that has cannot be written as a record. */
static int add_attribute(struct archive *archive, const char *path, const char *name, msb_error **err)
{
    char key[XATTR_NAME_MAX + 16];
    _cleanup_free_ char *value = NULL;
    ssize_t size = lgetxattr(path, name, NULL, 0);

    if (size < 0 || strchr(name, '='))
        return 0;
    value = malloc((size_t)size + 1);
    if (!value)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    size = lgetxattr(path, name, value, (size_t)size);
    if (size < 0)
        return 0;
    snprintf(key, sizeof(key), "SCHILY.xattr.%s", name);
    return add_record(archive, key, value, (size_t)size, err);
}

/* path reaches the file itself. What the file system does not let us read is not copied. */
static int add_attributes(struct archive *archive, const char *path, msb_error **err)
{
    ssize_t size = llistxattr(path, NULL, 0);
    _cleanup_free_ char *names = NULL;

    if (size <= 0)
        return 0;
    names = malloc((size_t)size);
    if (!names)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    size = llistxattr(path, names, (size_t)size);
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1) {
        if (add_attribute(archive, path, names + at, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- Entries ------------------------------------------------------------------------------------------------------------------- */

/* A file where it is, and as it is named in the archive. */
struct source {
    int directory;
    const char *name;
    const char *archive_name;
    struct stat status;
};

static int put_entry(struct archive *archive, const struct source *source, enum tar_type type, const char *link, uint64_t size,
                     msb_error **err)
{
    struct tar_header header = { .type = (char)type };
    char path[PATH_MAX];

    if (source->directory == AT_FDCWD)
        snprintf(path, sizeof(path), "%s", source->name);
    else
        snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", source->directory, source->name);
    if (set_name(archive, header.name, "path", source->archive_name, err) < 0 ||
        (link && set_name(archive, header.link, "linkpath", link, err) < 0) ||
        set_numbers(archive, &header, &source->status, size, err) < 0 ||
        (type != TAR_LINK && add_attributes(archive, path, err) < 0) || put_records(archive, err) < 0)
        return -1;
    return put_header(archive, &header, err);
}

/* Exactly size bytes, whatever happens to the file meanwhile: the header has promised them. */
static int put_content(struct archive *archive, int fd, uint64_t size, msb_error **err)
{
    uint64_t left = size;

    while (left > 0) {
        size_t room;
        ssize_t n;

        if (make_room(archive, err) < 0)
            return -1;
        room = sizeof(archive->buffer) - archive->buffered;
        if (room > left)
            room = (size_t)left;
        n = read(fd, archive->buffer + archive->buffered, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, "read");
        if (n == 0) {
            memset(archive->buffer + archive->buffered, 0, room);
            n = (ssize_t)room;
        }
        archive->buffered += (size_t)n;
        left -= (uint64_t)n;
    }
    return put_padding(archive, size, err);
}

static int write_file(struct archive *archive, struct source *source, msb_error **err)
{
    _cleanup_fd_ int fd = openat(source->directory, source->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? 0 : fail_errno(err, "open `%s`", source->archive_name);
    if (fstat(fd, &source->status) < 0 || !S_ISREG(source->status.st_mode))
        return fail(err, MSB_ERR_SYSTEM, "`%s` changed while it was copied", source->archive_name);
    if (put_entry(archive, source, TAR_FILE, NULL, (uint64_t)source->status.st_size, err) < 0)
        return -1;
    if (put_content(archive, fd, (uint64_t)source->status.st_size, err) < 0)
        return fail_prefix(err, "`%s`", source->archive_name);
    return 0;
}

static int write_symlink(struct archive *archive, const struct source *source, msb_error **err)
{
    char target[PATH_MAX];
    ssize_t length = readlinkat(source->directory, source->name, target, sizeof(target) - 1);

    if (length < 0)
        return errno == ENOENT ? 0 : fail_errno(err, "read link `%s`", source->archive_name);
    target[length] = '\0';
    return put_entry(archive, source, TAR_SYMLINK, target, 0, err);
}

static int compare_links(const void *a, const void *b)
{
    const struct known_link *left = a, *right = b;

    if (left->inode != right->inode)
        return left->inode < right->inode ? -1 : 1;
    return left->device < right->device ? -1 : left->device > right->device;
}

static void free_link(void *link)
{
    free(((struct known_link *)link)->name);
    free(link);
}

/* The name that this file has in the archive already, or NULL; then it is known by its present name from now on. */
static const char *find_link(struct archive *archive, const struct source *source)
{
    struct known_link wanted = { .device = source->status.st_dev, .inode = source->status.st_ino };
    struct known_link **found = tfind(&wanted, &archive->links, compare_links);
    struct known_link *link;

    if (found)
        return (*found)->name;
    link = malloc(sizeof(*link));
    wanted.name = strdup(source->archive_name);
    if (!link || !wanted.name) {
        free(link);
        free(wanted.name);
        return NULL; /* without memory it is archived once more, as a file of its own */
    }
    *link = wanted;
    if (!tsearch(link, &archive->links, compare_links))
        free_link(link);
    return NULL;
}

static int write_tree(struct archive *archive, int directory, const char *name, const char *archive_name, unsigned depth,
                      msb_error **err);

static int write_directory_contents(struct archive *archive, DIR *directory, const char *archive_name, unsigned depth,
                                    msb_error **err)
{
    const struct dirent *item;

    while ((item = readdir(directory))) {
        _cleanup_free_ char *path = NULL;

        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        if (asprintf(&path, "%s/%s", archive_name, item->d_name) < 0)
            return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
        if (write_tree(archive, dirfd(directory), item->d_name, path, depth + 1, err) < 0)
            return -1;
    }
    return 0;
}

static int write_directory(struct archive *archive, const struct source *source, unsigned depth, msb_error **err)
{
    _cleanup_free_ char *with_slash = NULL;
    struct source named = *source;
    DIR *directory;
    int fd, result;

    if (depth > DEPTH_MAX)
        return fail(err, MSB_ERR_UNSUPPORTED, "`%s`: more than %d directories below one another", source->archive_name,
                    DEPTH_MAX);
    fd = openat(source->directory, source->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        if (errno == ENOENT)
            return 0;
        fail_errno(err, "open directory `%s`", source->archive_name);
        cleanup_fd(&fd);
        return -1;
    }
    if (asprintf(&with_slash, "%s/", source->archive_name) < 0)
        with_slash = NULL;
    named.archive_name = with_slash;
    if (!with_slash)
        result = fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    else
        result = put_entry(archive, &named, TAR_DIRECTORY, NULL, 0, err);
    if (result == 0)
        result = write_directory_contents(archive, directory, source->archive_name, depth, err);
    closedir(directory);
    return result;
}

/* One file that is not a directory, or its further name. */
static int write_leaf(struct archive *archive, struct source *source, msb_error **err)
{
    const char *link = source->status.st_nlink > 1 ? find_link(archive, source) : NULL;

    if (link)
        return put_entry(archive, source, TAR_LINK, link, 0, err);
    switch (source->status.st_mode & S_IFMT) {
    case S_IFREG:
        return write_file(archive, source, err);
    case S_IFLNK:
        return write_symlink(archive, source, err);
    case S_IFCHR:
        return put_entry(archive, source, TAR_CHARACTER_DEVICE, NULL, 0, err);
    case S_IFBLK:
        return put_entry(archive, source, TAR_BLOCK_DEVICE, NULL, 0, err);
    case S_IFIFO:
        return put_entry(archive, source, TAR_FIFO, NULL, 0, err);
    default:
        return 0;
    }
}

/* What has vanished since its directory was read is passed over. */
static int write_tree(struct archive *archive, int directory, const char *name, const char *archive_name, unsigned depth,
                      msb_error **err)
{
    struct source source = { .directory = directory, .name = name, .archive_name = archive_name };

    if (fstatat(directory, name, &source.status, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT && depth > 0)
            return 0;
        return fail_errno(err, "`%s`", archive_name);
    }
    return S_ISDIR(source.status.st_mode) ? write_directory(archive, &source, depth, err) : write_leaf(archive, &source, err);
}

/* ---- The archive --------------------------------------------------------------------------------------------------------------- */

/* The last component of path, or "." where that is what the path means. */
static char *top_name(const char *path)
{
    size_t end = strlen(path), begin;

    while (end > 0 && path[end - 1] == '/')
        end--;
    begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    if (begin == end || (path[begin] == '.' && (end - begin == 1 || (end - begin == 2 && path[begin + 1] == '.'))))
        return strdup(".");
    return strndup(path + begin, end - begin);
}

int archive_write(int out, const char *path, msb_error **err)
{
    static const unsigned char end[2 * TAR_BLOCK];
    struct archive *archive = calloc(1, sizeof(*archive));
    _cleanup_free_ char *name = top_name(path);
    int result;

    if (!archive || !name) {
        free(archive);
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    }
    archive->out = out;
    result = write_tree(archive, AT_FDCWD, path, name, 0, err);
    if (result == 0)
        result = put(archive, end, sizeof(end), err);
    if (result == 0)
        result = flush(archive, err);
    tdestroy(archive->links, free_link);
    free(archive->pax);
    free(archive);
    return result;
}
