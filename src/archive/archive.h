/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file, or a directory with everything in it, as a stream of bytes and back: tar in the pax format (POSIX.1-2017, pax, "pax
 * Interchange Format"), with extended attributes as SCHILY.xattr records. Used on both sides of a copy between host and guest, so
 * a reader trusts no name, size or kind in what it reads.
 */
#ifndef MSB_ARCHIVE_ARCHIVE_H
#define MSB_ARCHIVE_ARCHIVE_H

#include "util/error.h"

/* Writes what is at path. A symbolic link at its end is not followed, unless a slash follows it. The top entry is named as the last
   component; it is "." for the root directory and for a path that ends in "/.", which stands for what is in that directory. Sockets
   cannot be archived and are passed over. */
int archive_write(int out, const char *path, msb_error **err);

enum archive_flags {
    ARCHIVE_OWNERS = 1,    /* set owner and group, by number */
    ARCHIVE_UNTRUSTED = 2, /* leave nothing dangerous behind: no device nodes, no set-user-ID or set-group-ID bits, and of the
                              extended attributes only those in the user namespace */
};

/* Reads an archive and makes what is in it. The top entry goes into path when that is a directory (or ends with a slash), else it
   becomes path, whose parent must exist; a top entry "." becomes path, or goes into the directory there. What is there already is
   replaced, but for directories, which are added to. Nothing is ever made through a symbolic link below path. Reads to the end of
   the archive and not necessarily to the end of the stream. */
int archive_read(int in, const char *path, unsigned flags, msb_error **err);

#endif
