/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks of a tar archive: POSIX.1-2017, pax, "ustar Interchange Format". */
#ifndef MSB_ARCHIVE_TAR_H
#define MSB_ARCHIVE_TAR_H

enum {
    TAR_BLOCK = 512,
    TAR_BUFFER = 64 << 10,
};

enum tar_type {
    TAR_FILE = '0',
    TAR_FILE_OLD = '\0',
    TAR_LINK = '1',
    TAR_SYMLINK = '2',
    TAR_CHARACTER_DEVICE = '3',
    TAR_BLOCK_DEVICE = '4',
    TAR_DIRECTORY = '5',
    TAR_FIFO = '6',
    TAR_FILE_CONTIGUOUS = '7',
    TAR_PAX = 'x',        /* records for the next entry */
    TAR_PAX_GLOBAL = 'g', /* records for all entries to come */
    TAR_GNU_NAME = 'L',   /* GNU tar's own: the next entry's name */
    TAR_GNU_LINK = 'K',   /* and the target of its link */
};

struct tar_header {
    char name[100];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char checksum[8];
    char type;
    char link[100];
    char magic[6];
    char version[2];
    char user[32];
    char group[32];
    char major[8];
    char minor[8];
    char prefix[155];
    char padding[12];
};

_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a header is one block");

/* Every byte of the header, with the checksum taken as spaces. */
static inline unsigned tar_checksum(const struct tar_header *header)
{
    const unsigned char *bytes = (const unsigned char *)header;
    unsigned sum = 0;

    for (unsigned i = 0; i < TAR_BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : bytes[i];
    return sum;
}

#endif
