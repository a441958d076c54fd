/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HOST[:GUEST][:ro|:rw]. The text is cut at its colons, so neither path can hold one. The paths stay as they were written: the VM
 * builder judges them.
 */
#include "config/text.h"

#include <stdio.h>
#include <stdlib.h>

struct msb_mapped_dir {
    char *host;
    char *guest;
    bool read_only;
};

/* Takes a last ":ro" or ":rw" off. */
static struct text cut_mode(struct text whole, bool *read_only)
{
    struct text paths, mode;

    *read_only = false;
    if (!text_cut_last(whole, ':', &paths, &mode) || !(text_equal(mode, "ro") || text_equal(mode, "rw")))
        return whole;
    *read_only = text_equal(mode, "ro");
    return paths;
}

static msb_mapped_dir *make(struct text host, struct text guest, bool read_only, msb_error **err)
{
    msb_mapped_dir *dir = calloc(1, sizeof(*dir));

    if (dir) {
        dir->host = text_copy(host);
        dir->guest = text_copy(guest);
        dir->read_only = read_only;
    }
    if (!dir || !dir->host || !dir->guest) {
        msb_mapped_dir_free(dir);
        return FAIL_NULL(fail_no_memory(err));
    }
    return dir;
}

msb_mapped_dir *msb_mapped_dir_parse(const char *text, size_t length, msb_error **err)
{
    static const char what[] = "mapped directory";
    struct text whole = text_of(text, length), paths, host, guest;
    bool read_only;

    if (refuse_nul(err, what, whole) < 0)
        return NULL;
    paths = cut_mode(whole, &read_only);
    if (!text_cut_first(paths, ':', &host, &guest))
        host = guest = paths;
    if (host.length == 0)
        return FAIL_NULL(refuse(err, what, whole, "has no host path; write HOST[:GUEST][:ro]"));
    if (guest.length == 0)
        return FAIL_NULL(refuse(err, what, whole, "has no guest path after the ':'; write HOST[:GUEST][:ro]"));
    if (text_has(guest, ':'))
        return FAIL_NULL(refuse(err, what, whole, "has too many parts; write HOST[:GUEST][:ro], the paths without ':'"));
    return make(host, guest, read_only, err);
}

char *msb_mapped_dir_print(const msb_mapped_dir *dir)
{
    char *text = NULL;

    return asprintf(&text, "%s:%s%s", dir->host, dir->guest, dir->read_only ? ":ro" : "") < 0 ? NULL : text;
}

const char *msb_mapped_dir_host(const msb_mapped_dir *dir)
{
    return dir->host;
}

const char *msb_mapped_dir_guest(const msb_mapped_dir *dir)
{
    return dir->guest;
}

int msb_mapped_dir_read_only(const msb_mapped_dir *dir)
{
    return dir->read_only;
}

void msb_mapped_dir_free(msb_mapped_dir *dir)
{
    if (!dir)
        return;
    free(dir->host);
    free(dir->guest);
    free(dir);
}
