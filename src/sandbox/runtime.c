/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/runtime.h"
#include "util/cleanup.h"

#include <stdio.h>
#include <sys/stat.h>

/* In /tmp anybody can be first to make a directory of this name, or a link. */
static int check_own(const char *path, msb_error **err)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return fail_errno(err, "examine `%s`", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return fail(err, MSB_ERR_SYSTEM, "`%s` is not a directory of this user's alone: remove it, or set XDG_RUNTIME_DIR", path);
    return 0;
}

char *runtime_directory(msb_error **err)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    _cleanup_free_ char *path = NULL;
    int length = base && *base == '/' ? asprintf(&path, "%s/microsandbox", base)
                                      : asprintf(&path, "/tmp/microsandbox-%u", (unsigned)geteuid());

    if (length < 0) {
        path = NULL;
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    }
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return FAIL_NULL(fail_errno(err, "make `%s`", path));
    return check_own(path, err) < 0 ? NULL : steal_pointer(&path);
}
