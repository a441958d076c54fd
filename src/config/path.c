/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths as text: nothing is looked up, so a ".." takes back the component before it even where that is a symbolic link.
 */
#include "config/text.h"

#include <stdlib.h>
#include <string.h>

static int check_form(struct text path, enum msb_path_form form, msb_error **err)
{
    bool absolute = path.length && path.bytes[0] == '/';

    if (path.length == 0)
        return refuse(err, "path", path, "is empty");
    if (refuse_nul(err, "path", path) < 0)
        return -1;
    if (form == MSB_PATH_ABSOLUTE && !absolute)
        return refuse(err, "path", path, "is relative; write an absolute one, which begins with '/'");
    if (form == MSB_PATH_RELATIVE && absolute)
        return refuse(err, "path", path, "is absolute; write a relative one, which does not begin with '/'");
    return 0;
}

/* Cuts the last component, and the '/' before it, off the out path of the length given; returns the new length. */
static size_t cut_last(const char *out, size_t length, size_t root)
{
    while (length > root && out[length - 1] != '/')
        length--;
    return length > root ? length - 1 : root;
}

char *msb_path_normalize(const char *text, size_t length, enum msb_path_form form, msb_error **err)
{
    struct text path = text_of(text, length), component, rest;
    size_t root, used;
    char *out;

    if (check_form(path, form, err) < 0)
        return NULL;
    root = used = path.bytes[0] == '/' ? 1 : 0; /* the leading '/', which no ".." takes away */
    out = malloc(path.length + 2);
    if (!out)
        return FAIL_NULL(fail_no_memory(err));
    out[0] = '/';
    for (rest = path; rest.length;) {
        if (!text_cut_first(rest, '/', &component, &rest)) {
            component = rest;
            rest.length = 0;
        }
        if (component.length == 0 || text_equal(component, "."))
            continue;
        if (text_equal(component, "..")) {
            if (used == root) {
                free(out);
                return FAIL_NULL(refuse(err, "path", path, "climbs above its beginning; take a \"..\" away"));
            }
            used = cut_last(out, used, root);
            continue;
        }
        if (used > root)
            out[used++] = '/';
        memcpy(out + used, component.bytes, component.length);
        used += component.length;
    }
    if (used == 0)
        out[used++] = '.'; /* a relative path that came back to where it began */
    out[used] = '\0';
    return out;
}

int msb_argument_check(const char *text, size_t length, msb_error **err)
{
    return refuse_nul(err, "argument", text_of(text, length));
}
