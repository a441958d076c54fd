/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar archive as a sequence of members: the pax format, and what GNU tar writes for long names and large numbers. Every byte of it
 * is hostile until it is in a struct member.
 */
#ifndef MSB_ARCHIVE_MEMBER_H
#define MSB_ARCHIVE_MEMBER_H

#include "archive/tar.h"
#include "util/error.h"

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum { MEMBER_XATTRS_MAX = 64 };

struct member_xattr {
    char *name;
    void *value;
    size_t size;
};

struct member {
    enum tar_type type; /* one of the kinds of file */
    char *name;         /* relative: components with one slash between them, none of them empty, "." or ".."; "" is all of them */
    char *link;         /* TAR_LINK: as name; TAR_SYMLINK: any text; else NULL */
    mode_t mode;        /* permission bits, with set-user-ID, set-group-ID and sticky */
    uid_t uid;
    gid_t gid;
    uint64_t size; /* of the content that follows, to be read with member_content() */
    struct timespec mtime;
    unsigned major, minor;
    struct member_xattr xattrs[MEMBER_XATTRS_MAX];
    size_t num_xattrs;
};

struct member_input {
    int fd;
    size_t begin, end; /* of what is buffered */
    uint64_t content;  /* bytes of the present member's content that are not taken */
    unsigned padding;  /* bytes after it */
    unsigned char buffer[TAR_BUFFER];
};

/* The next member: 1; 0 at the archive's end; -1 when it is none. The member is to be cleared. Content that was not taken is
   passed over. */
int member_next(struct member_input *in, struct member *member, msb_error **err);
void member_clear(struct member *member);

/* The next part of the content, in the buffer: its size, 0 at the end, -1 when the archive ends before it should. */
ssize_t member_content(struct member_input *in, const void **bytes, msb_error **err);

#endif
