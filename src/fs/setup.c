/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/fs.h"

#include <stdlib.h>

enum { EXPORTS_MAX = 4096 };

void fs_setup_clear(struct fs_setup *setup)
{
    for (size_t i = 0; setup->exports && i < setup->num_exports; i++) {
        free(setup->exports[i].host);
        free(setup->exports[i].target);
    }
    free(setup->exports);
    free(setup->tag);
    *setup = (struct fs_setup){ 0 };
}

void fs_setup_encode(struct writer *w, const struct fs_setup *setup)
{
    put_u8(w, setup->log_level);
    put_string(w, setup->tag);
    put_u8(w, setup->guest_is_only_user);
    put_u8(w, setup->num_queues);
    put_u32(w, (uint32_t)setup->num_exports);
    for (size_t i = 0; i < setup->num_exports; i++) {
        put_string(w, setup->exports[i].host);
        put_string(w, setup->exports[i].target);
        put_u8(w, setup->exports[i].masked);
        put_u8(w, setup->exports[i].read_only);
        put_u8(w, setup->exports[i].oci_whiteouts);
    }
}

bool fs_setup_decode(struct reader *r, struct fs_setup *setup)
{
    /* Two lengths and three flags, at the least. */
    const size_t export_size_min = 4 + 4 + 1 + 1 + 1;
    uint32_t num;

    *setup = (struct fs_setup){ 0 };
    setup->log_level = get_u8(r);
    setup->tag = get_string(r);
    setup->guest_is_only_user = get_u8(r);
    setup->num_queues = get_u8(r);
    num = get_count(r, EXPORTS_MAX, export_size_min);
    setup->exports = calloc(num ? num : 1, sizeof(*setup->exports));
    for (; setup->exports && setup->num_exports < num && !r->failed; setup->num_exports++) {
        struct fs_export *export = &setup->exports[setup->num_exports];

        export->host = get_string(r);
        export->target = get_string(r);
        export->masked = get_u8(r);
        export->read_only = get_u8(r);
        export->oci_whiteouts = get_u8(r);
    }
    if (setup->exports && reader_done(r))
        return true;
    fs_setup_clear(setup);
    return false;
}
