/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/server.h"

#include "fs/request.h"
#include "util/cleanup.h"

#include <stdlib.h>
#include <sys/random.h>

struct fs *fs_new(const struct fs_options *options, msb_error **err)
{
    struct fs *fs = calloc(1, sizeof(*fs));

    if (!fs)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    fs->options = *options;
    /* The lists are copied where they are used. */
    fs->options.mounts = NULL;
    if (getrandom(&fs->generation, sizeof(fs->generation), 0) != sizeof(fs->generation)) {
        fail_errno(err, "get random bytes");
        free(fs);
        return NULL;
    }
    fs->nodes = nodes_new(options, err);
    if (!fs->nodes) {
        free(fs);
        return NULL;
    }
    fs->handles = handles_new(fs->nodes, options->max_files / 4);
    fs->locks = locks_new(fs->nodes, options->max_files / 4);
    if (!fs->handles || !fs->locks) {
        fail(err, MSB_ERR_NO_MEMORY, "out of memory");
        fs_free(fs);
        return NULL;
    }
    return fs;
}

void fs_free(struct fs *fs)
{
    if (!fs)
        return;
    locks_free(fs->locks);
    handles_free(fs->handles);
    nodes_free(fs->nodes);
    close(fs->options.own_fds);
    free(fs);
}
