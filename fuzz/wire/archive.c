/* SPDX-License-Identifier: Apache-2.0 */
/* Archives of any content: members come out checked or not at all. */
#include "archive/member.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What member.h promises about names. */
static void check_name(const char *name)
{
    if (!name[0])
        return;
    for (;;) {
        size_t part = strcspn(name, "/");

        if (part == 0 || (part == 1 && name[0] == '.') || (part == 2 && memcmp(name, "..", 2) == 0))
            abort();
        if (!name[part])
            return;
        name += part + 1;
    }
}

static void check(const struct member *member)
{
    check_name(member->name);
    if (member->type == TAR_LINK)
        check_name(member->link);
    if ((member->type == TAR_LINK || member->type == TAR_SYMLINK) != (member->link != NULL))
        abort();
    if (member->type != TAR_FILE && member->size != 0)
        abort();
    if (member->mode > 07777 || member->mtime.tv_nsec < 0 || member->mtime.tv_nsec >= 1000000000)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct member_input *in = calloc(1, sizeof(*in));
    struct member member;
    const void *bytes;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (!in || fd < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0)
        abort();
    in->fd = fd;
    while (member_next(in, &member, NULL) > 0) {
        check(&member);
        if (member.mode & 1) {
            while (member_content(in, &bytes, NULL) > 0)
                continue;
        }
        member_clear(&member);
    }
    free(in);
    close(fd);
    return 0;
}
