/* SPDX-License-Identifier: Apache-2.0 */
#include "archive/member.h"

#include "util/cleanup.h"

#include <stdbool.h>
#include <string.h>

enum {
    RECORDS_MAX = 1 << 20, /* bytes of the records of one member: several attributes of 64 KiB, Linux's limit for one */
    NAME_SIZE_MAX = 16384, /* four times PATH_MAX: names in an archive need not be openable in one piece */
};

#define XATTR_KEY "SCHILY.xattr."

/* What headers of their own said about the member to come. */
struct extension {
    char *name, *link;
    bool has_size, has_uid, has_gid, has_mtime;
    uint64_t size, uid, gid;
    struct timespec mtime;
    struct member_xattr xattrs[MEMBER_XATTRS_MAX];
    size_t num_xattrs;
};

static void clear_xattrs(struct member_xattr *xattrs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(xattrs[i].name);
        free(xattrs[i].value);
    }
}

static void cleanup_extension(struct extension *extension)
{
    free(extension->name);
    free(extension->link);
    clear_xattrs(extension->xattrs, extension->num_xattrs);
}

void member_clear(struct member *member)
{
    free(member->name);
    free(member->link);
    clear_xattrs(member->xattrs, member->num_xattrs);
    *member = (struct member){ 0 };
}

static int no_memory(msb_error **err)
{
    return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
}

static int broken(msb_error **err, const char *what)
{
    return fail(err, MSB_ERR_INVALID, "this is no tar archive that can be read: %s", what);
}

/* ---- Bytes --------------------------------------------------------------------------------------------------------------------- */

/* More bytes in the buffer: how many there are, 0 at the end of the stream. */
static ssize_t fill(struct member_input *in, msb_error **err)
{
    ssize_t n;

    if (in->begin < in->end)
        return (ssize_t)(in->end - in->begin);
    do
        n = read(in->fd, in->buffer, sizeof(in->buffer));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return fail_errno(err, "read the archive");
    in->begin = 0;
    in->end = (size_t)n;
    return n;
}

static int take(struct member_input *in, void *to, size_t size, msb_error **err)
{
    unsigned char *at = to;

    while (size > 0) {
        ssize_t there = fill(in, err);
        size_t part;

        if (there < 0)
            return -1;
        if (there == 0)
            return broken(err, "it ends too early");
        part = (size_t)there < size ? (size_t)there : size;
        memcpy(at, in->buffer + in->begin, part);
        in->begin += part;
        at += part;
        size -= part;
    }
    return 0;
}

static int skip(struct member_input *in, uint64_t size, msb_error **err)
{
    while (size > 0) {
        ssize_t there = fill(in, err);
        size_t part;

        if (there < 0)
            return -1;
        if (there == 0)
            return broken(err, "it ends too early");
        part = (uint64_t)there < size ? (size_t)there : (size_t)size;
        in->begin += part;
        size -= part;
    }
    return 0;
}

ssize_t member_content(struct member_input *in, const void **bytes, msb_error **err)
{
    ssize_t there;
    size_t part;

    if (in->content == 0)
        return 0;
    there = fill(in, err);
    if (there <= 0)
        return there < 0 ? -1 : broken(err, "it ends too early");
    part = (uint64_t)there < in->content ? (size_t)there : (size_t)in->content;
    *bytes = in->buffer + in->begin;
    in->begin += part;
    in->content -= part;
    return (ssize_t)part;
}

static void expect_content(struct member_input *in, uint64_t size)
{
    in->content = size;
    in->padding = (unsigned)(-size % TAR_BLOCK);
}

/* ---- Values -------------------------------------------------------------------------------------------------------------------- */

/* Octal digits between spaces and NULs; or, with the first bit set, GNU tar's big-endian bytes. */
static bool parse_number(const char *field, size_t size, uint64_t *value)
{
    size_t i = 0;

    *value = 0;
    if ((unsigned char)field[0] & 0x80) {
        *value = (unsigned char)field[0] & 0x3f;
        for (i = 1; i < size; i++) {
            if (*value >> 55 || ((unsigned char)field[0] & 0x40)) /* too large, or negative */
                return false;
            *value = *value << 8 | (unsigned char)field[i];
        }
        return true;
    }
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] >= '0' && field[i] <= '7'; i++) {
        if (*value >> 60)
            return false;
        *value = *value << 3 | (uint64_t)(field[i] - '0');
    }
    return i == size || field[i] == '\0' || field[i] == ' ';
}

/* Times before the epoch are GNU tar's big-endian bytes in two's complement. */
static bool parse_seconds(const char *field, size_t size, time_t *seconds)
{
    uint64_t value = UINT64_MAX;
    bool good = true;

    if ((unsigned char)field[0] != 0xff) {
        good = parse_number(field, size, &value) && value <= INT64_MAX;
        *seconds = (time_t)value;
        return good;
    }
    for (size_t i = 0; i < size; i++) {
        good = good && (i >= size - 8 || (unsigned char)field[i] == 0xff);
        value = value << 8 | (unsigned char)field[i];
    }
    *seconds = (time_t)value;
    return good && *seconds < 0;
}

static bool parse_decimal(const char *text, size_t size, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9' || *value > (UINT64_MAX - 9) / 10)
            return false;
        *value = *value * 10 + (uint64_t)(text[i] - '0');
    }
    return size > 0;
}

/* [-]SECONDS[.FRACTION] */
static bool parse_time(const char *text, size_t size, struct timespec *time)
{
    bool negative = size > 0 && text[0] == '-';
    const char *point = memchr(text, '.', size);
    size_t begin = negative ? 1 : 0;
    size_t whole = point ? (size_t)(point - text) : size;
    uint64_t seconds;
    long nanoseconds = 0, unit = 100000000;

    if (whole < begin || !parse_decimal(text + begin, whole - begin, &seconds) || seconds > (uint64_t)1 << 60)
        return false;
    for (size_t i = whole + 1; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        nanoseconds += unit * (text[i] - '0');
        unit /= 10;
    }
    time->tv_sec = negative ? -(time_t)seconds : (time_t)seconds;
    time->tv_nsec = nanoseconds;
    if (negative && nanoseconds > 0) {
        time->tv_sec--;
        time->tv_nsec = 1000000000 - nanoseconds;
    }
    return true;
}

/* Takes a name apart and puts it together again, without what has no meaning. NULL with *err unless it is a good one. */
static char *normalize(const char *name, msb_error **err)
{
    size_t length = strlen(name);
    char *normal = malloc(length + 1);
    size_t size = 0;

    if (!normal)
        return FAIL_NULL(no_memory(err));
    while (*name) {
        size_t part = strcspn(name, "/");

        if (part == 2 && memcmp(name, "..", 2) == 0) {
            free(normal);
            return FAIL_NULL(fail(err, MSB_ERR_INVALID, "the archive has a name with `..` in it"));
        }
        if (part > 0 && !(part == 1 && name[0] == '.')) {
            if (size)
                normal[size++] = '/';
            memcpy(normal + size, name, part);
            size += part;
        }
        name += part;
        name += *name == '/';
    }
    normal[size] = '\0';
    return normal;
}

/* ---- Extended headers ---------------------------------------------------------------------------------------------------------- */

static int set_text(char **field, const char *value, size_t size, msb_error **err)
{
    if (size == 0 || size > NAME_SIZE_MAX || memchr(value, '\0', size))
        return broken(err, "a name is empty, too long, or has a NUL in it");
    free(*field);
    *field = strndup(value, size);
    return *field ? 0 : no_memory(err);
}

static int add_xattr(struct extension *extension, const char *name, size_t name_size, const char *value, size_t size,
                     msb_error **err)
{
    struct member_xattr *xattr = &extension->xattrs[extension->num_xattrs];

    if (extension->num_xattrs == MEMBER_XATTRS_MAX)
        return broken(err, "a file has too many extended attributes");
    xattr->name = strndup(name, name_size);
    xattr->value = malloc(size + 1);
    xattr->size = size;
    extension->num_xattrs++;
    if (!xattr->name || !xattr->value)
        return no_memory(err);
    memcpy(xattr->value, value, size);
    return 0;
}

static bool is_key(const char *key, size_t size, const char *wanted)
{
    return size == strlen(wanted) && memcmp(key, wanted, size) == 0;
}

static int apply_record(struct extension *extension, const char *key, size_t key_size, const char *value, size_t size,
                        msb_error **err)
{
    static const size_t xattr_key = sizeof(XATTR_KEY) - 1;
    bool good = true;

    if (is_key(key, key_size, "path"))
        return set_text(&extension->name, value, size, err);
    if (is_key(key, key_size, "linkpath"))
        return set_text(&extension->link, value, size, err);
    if (key_size > xattr_key && memcmp(key, XATTR_KEY, xattr_key) == 0)
        return add_xattr(extension, key + xattr_key, key_size - xattr_key, value, size, err);
    if (is_key(key, key_size, "size"))
        good = extension->has_size = parse_decimal(value, size, &extension->size);
    else if (is_key(key, key_size, "uid"))
        good = extension->has_uid = parse_decimal(value, size, &extension->uid);
    else if (is_key(key, key_size, "gid"))
        good = extension->has_gid = parse_decimal(value, size, &extension->gid);
    else if (is_key(key, key_size, "mtime"))
        good = extension->has_mtime = parse_time(value, size, &extension->mtime);
    else if (key_size > 10 && memcmp(key, "GNU.sparse", 10) == 0)
        return broken(err, "it has files in GNU tar's sparse format");
    return good ? 0 : broken(err, "a number is none");
}

/* Records are "LENGTH KEY=VALUE\n", one after another; the length counts all of it. */
static int parse_records(struct extension *extension, const char *records, size_t size, msb_error **err)
{
    while (size > 0) {
        const char *space = memchr(records, ' ', size);
        const char *equals = space ? memchr(space, '=', size - (size_t)(space - records)) : NULL;
        uint64_t length;

        if (!equals || !parse_decimal(records, (size_t)(space - records), &length) || length > size ||
            records + length <= equals + 1 || records[length - 1] != '\n')
            return broken(err, "an extended header is malformed");
        if (apply_record(extension, space + 1, (size_t)(equals - space - 1), equals + 1, (size_t)(records + length - equals) - 2,
                         err) < 0)
            return -1;
        records += length;
        size -= (size_t)length;
    }
    return 0;
}

static int take_extension(struct member_input *in, enum tar_type type, uint64_t size, struct extension *extension,
                          msb_error **err)
{
    _cleanup_free_ char *content = NULL;

    if (type == TAR_PAX_GLOBAL)
        return skip(in, size + (-size % TAR_BLOCK), err);
    if (size > RECORDS_MAX)
        return broken(err, "an extended header is too large");
    content = calloc(1, (size_t)size + 1);
    if (!content)
        return no_memory(err);
    if (take(in, content, (size_t)size, err) < 0 || skip(in, -size % TAR_BLOCK, err) < 0)
        return -1;
    if (type == TAR_PAX)
        return parse_records(extension, content, (size_t)size, err);
    /* GNU tar's names end with a NUL. */
    content[size] = '\0';
    return set_text(type == TAR_GNU_NAME ? &extension->name : &extension->link, content, strlen(content), err);
}

/* ---- Members ------------------------------------------------------------------------------------------------------------------- */

static bool is_extension(char type)
{
    return type == TAR_PAX || type == TAR_PAX_GLOBAL || type == TAR_GNU_NAME || type == TAR_GNU_LINK;
}

static bool is_zero(const struct tar_header *header)
{
    static const struct tar_header zero;

    return memcmp(header, &zero, sizeof(zero)) == 0;
}

/* A header's own name: two fields, neither of which need end with a NUL. */
static char *header_name(const struct tar_header *header)
{
    char name[sizeof(header->prefix) + 1 + sizeof(header->name) + 1];
    size_t prefix = memcmp(header->magic, "ustar", 6) == 0 ? strnlen(header->prefix, sizeof(header->prefix)) : 0;
    size_t size = strnlen(header->name, sizeof(header->name));
    size_t at = 0;

    if (prefix) {
        memcpy(name, header->prefix, prefix);
        name[prefix] = '/';
        at = prefix + 1;
    }
    memcpy(name + at, header->name, size);
    name[at + size] = '\0';
    return strdup(name);
}

static int set_kind(struct member *member, char type, msb_error **err)
{
    if (type == TAR_FILE_OLD || type == TAR_FILE_CONTIGUOUS)
        type = TAR_FILE;
    if (type < TAR_FILE || type > TAR_FIFO)
        return broken(err, "it has a kind of file that is not known");
    /* Before there was a type for directories, a slash said so. */
    member->type = (enum tar_type)type;
    if (type == TAR_FILE && member->name[0] && member->name[strlen(member->name) - 1] == '/')
        member->type = TAR_DIRECTORY;
    return 0;
}

static int set_numbers(struct member *member, const struct tar_header *header, const struct extension *extension, msb_error **err)
{
    uint64_t mode, uid, gid, size, major = 0, minor = 0;
    time_t mtime;
    bool is_device = member->type == TAR_CHARACTER_DEVICE || member->type == TAR_BLOCK_DEVICE;

    if (!parse_number(header->mode, sizeof(header->mode), &mode) || !parse_number(header->uid, sizeof(header->uid), &uid) ||
        !parse_number(header->gid, sizeof(header->gid), &gid) || !parse_number(header->size, sizeof(header->size), &size) ||
        !parse_seconds(header->mtime, sizeof(header->mtime), &mtime) ||
        (is_device && (!parse_number(header->major, sizeof(header->major), &major) ||
                       !parse_number(header->minor, sizeof(header->minor), &minor))))
        return broken(err, "a number is none");
    uid = extension->has_uid ? extension->uid : uid;
    gid = extension->has_gid ? extension->gid : gid;
    size = extension->has_size ? extension->size : size;
    if (uid >= UINT32_MAX || gid >= UINT32_MAX || size > INT64_MAX || major > UINT32_MAX || minor > UINT32_MAX)
        return broken(err, "a number is too large");
    member->mode = (mode_t)(mode & 07777);
    member->uid = (uid_t)uid;
    member->gid = (gid_t)gid;
    member->size = member->type == TAR_FILE ? size : 0;
    member->mtime = extension->has_mtime ? extension->mtime : (struct timespec){ .tv_sec = mtime };
    member->major = (unsigned)major;
    member->minor = (unsigned)minor;
    return 0;
}

static int set_names(struct member *member, msb_error **err)
{
    char *name = normalize(member->name, err);
    char *link;

    if (!name)
        return -1;
    free(member->name);
    member->name = name;
    if (member->type != TAR_LINK && member->type != TAR_SYMLINK) {
        free(member->link);
        member->link = NULL;
        return 0;
    }
    if (!member->link[0])
        return broken(err, "a link leads nowhere");
    if (member->type == TAR_SYMLINK)
        return 0;
    link = normalize(member->link, err);
    if (!link)
        return -1;
    free(member->link);
    member->link = link;
    return 0;
}

static int make_member(struct member *member, const struct tar_header *header, struct extension *extension, msb_error **err)
{
    member->name = extension->name ? steal_pointer(&extension->name) : header_name(header);
    member->link = extension->link ? steal_pointer(&extension->link) : strndup(header->link, sizeof(header->link));
    if (!member->name || !member->link)
        return no_memory(err);
    memcpy(member->xattrs, extension->xattrs, sizeof(member->xattrs));
    member->num_xattrs = extension->num_xattrs;
    extension->num_xattrs = 0;
    if (set_kind(member, header->type, err) < 0 || set_numbers(member, header, extension, err) < 0)
        return -1;
    return set_names(member, err);
}

/* The next header, checked; 0 at the end of the archive. */
static int take_header(struct member_input *in, struct tar_header *header, msb_error **err)
{
    uint64_t checksum;

    if (take(in, header, sizeof(*header), err) < 0)
        return -1;
    if (is_zero(header))
        return 0;
    if (!parse_number(header->checksum, sizeof(header->checksum), &checksum) || checksum != tar_checksum(header))
        return broken(err, "a header's checksum is wrong");
    return 1;
}

int member_next(struct member_input *in, struct member *member, msb_error **err)
{
    struct extension extension __attribute__((cleanup(cleanup_extension))) = { 0 };
    struct tar_header header = { 0 };
    uint64_t size;
    int got;

    *member = (struct member){ 0 };
    if (skip(in, in->content, err) < 0 || skip(in, in->padding, err) < 0)
        return -1;
    expect_content(in, 0);
    while ((got = take_header(in, &header, err)) > 0 && is_extension(header.type)) {
        if (!parse_number(header.size, sizeof(header.size), &size))
            return broken(err, "a number is none");
        if (take_extension(in, (enum tar_type)header.type, size, &extension, err) < 0)
            return -1;
    }
    if (got <= 0)
        return got;
    if (make_member(member, &header, &extension, err) < 0) {
        member_clear(member);
        return -1;
    }
    expect_content(in, member->size);
    return 1;
}
