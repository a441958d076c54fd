/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/files.h"

#include "config/text.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

static char *format_path(msb_error **err, const char *format, ...) __attribute__((format(printf, 2, 3)));

static char *format_path(msb_error **err, const char *format, ...)
{
    char *path = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&path, format, args) < 0)
        path = NULL;
    va_end(args);
    return path ? path : FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
}

int files_init(struct files *files, const char *program, msb_error **err)
{
    const char *slash = strrchr(program, '/');
    size_t length = slash ? (size_t)(slash - program) : 0, suffix = strlen("/" LIBEXEC_PATH);

    *files = (struct files){ .programs = format_path(err, "%.*s", (int)length, program) };
    if (!files->programs)
        return -1;
    files->installed = length > suffix && !strcmp(files->programs + length - suffix, "/" LIBEXEC_PATH);
    files->data = files->installed ? format_path(err, "%.*s/" DATA_PATH, (int)(length - suffix), program)
                                   : format_path(err, "%s/../..", files->programs);
    if (files->data)
        return 0;
    files_clear(files);
    return -1;
}

void files_clear(struct files *files)
{
    free(files->programs);
    free(files->data);
    *files = (struct files){ 0 };
}

int files_program(const struct files *files, const char *role, msb_error **err)
{
    _cleanup_free_ char *path = files->installed ? format_path(err, "%s/msb-%s", files->programs, role)
                                                 : format_path(err, "%s/../%s/msb-%s", files->programs, role, role);
    int fd;

    if (!path)
        return -1;
    fd = open(path, O_PATH | O_CLOEXEC);
    return fd < 0 ? fail_errno(err, "find the program `%s`", path) : fd;
}

/* What lies beside a kernel. */
static char *path_beside(const char *kernel, const char *name, msb_error **err)
{
    const char *slash = strrchr(kernel, '/');

    return format_path(err, "%.*s%s", slash ? (int)(slash + 1 - kernel) : 0, kernel, name);
}

static bool has_nested_modules(const char *kernel)
{
    _cleanup_free_ char *path = path_beside(kernel, "nested.cpio", NULL);

    return path && access(path, R_OK) == 0;
}

int files_kernel(const struct files *files, const struct engine *engine, const char *named, bool nested, char **kernel,
                 msb_error **err)
{
    _cleanup_free_ char *path = NULL;

    if (named) {
        *kernel = format_path(err, "%s", named);
        return *kernel ? 0 : -1;
    }
    for (size_t i = 0; engine->kernels[i]; i++) {
        free(path);
        path = format_path(err, "%s/kernel/%s", files->data, engine->kernels[i]);
        if (!path)
            return -1;
        if (access(path, R_OK) == 0 && (!nested || has_nested_modules(path))) {
            *kernel = steal_pointer(&path);
            return 0;
        }
    }
    return fail(err, MSB_ERR_NOT_FOUND,
                "no guest kernel%s for the %s engine in `%s/kernel`: run kernel/%s, or name one with --kernel FILE",
                nested ? " with modules for virtualization" : "", engine->name, files->data,
                engine->runs_kernel ? "build uml" : "fetch");
}

void files_kernel_record(const char *kernel, const char *key, char *value, size_t size)
{
    enum { RECORD_MAX = 1024 };
    _cleanup_free_ char *path = path_beside(kernel, "version", NULL);
    _cleanup_fd_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char record[RECORD_MAX];
    ssize_t length = fd < 0 ? 0 : read(fd, record, sizeof(record));
    struct text line, name, found, rest = text_of(record, length > 0 ? (size_t)length : 0);

    *value = '\0';
    while (text_cut_first(rest, '\n', &line, &rest))
        if (text_cut_first(line, '=', &name, &found) && text_equal(name, key)) {
            snprintf(value, size, "%.*s", (int)found.length, found.bytes);
            return;
        }
}

/* Appends a file at a multiple of four bytes, as the kernel wants its archives (Documentation/driver-api/early-userspace/). */
static int append(int initrd, const char *path, msb_error **err)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t at = lseek(initrd, 0, SEEK_END);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, "open `%s`", path);
    at = (at + 3) & ~(off_t)3;
    if (ftruncate(initrd, at) < 0 || lseek(initrd, at, SEEK_SET) < 0)
        return fail_errno(err, "lay out the initramfs");
    for (ssize_t n = 0; n < st.st_size;) {
        ssize_t copied = sendfile(initrd, fd, NULL, (size_t)(st.st_size - n));

        if (copied <= 0)
            return fail_errno(err, "read `%s`", path);
        n += copied;
    }
    return 0;
}

/* A part that lies beside the kernel, when there is one. */
static int append_part(int initrd, const char *kernel, const char *name, msb_error **err)
{
    _cleanup_free_ char *path = path_beside(kernel, name, err);

    if (!path)
        return -1;
    return access(path, F_OK) == 0 ? append(initrd, path, err) : 0;
}

int files_initrd(const struct files *files, const char *kernel, bool nested, msb_error **err)
{
    _cleanup_free_ char *init = files->installed ? format_path(err, "%s/init.cpio", files->data)
                                                 : format_path(err, "%s/src/guest/init.cpio", files->data);
    _cleanup_fd_ int initrd = memfd_create("initrd", MFD_CLOEXEC);

    if (!init)
        return -1;
    if (initrd < 0)
        return fail_errno(err, "make a memfd for the initramfs");
    if (append_part(initrd, kernel, "modules.cpio", err) < 0 || (nested && append_part(initrd, kernel, "nested.cpio", err) < 0) ||
        append(initrd, init, err) < 0)
        return -1;
    if (lseek(initrd, 0, SEEK_SET) < 0)
        return fail_errno(err, "rewind the initramfs");
    return steal_fd(&initrd);
}
