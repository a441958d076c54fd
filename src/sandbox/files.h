/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where our own programs, the guest's PID 1 and its kernels are: beside the running program in a build tree, or at their places
 * once installed. An installed tree can be moved as a whole.
 */
#ifndef MSB_SANDBOX_FILES_H
#define MSB_SANDBOX_FILES_H

#include "engine/engine.h"
#include "util/error.h"

#include <stdbool.h>

struct files {
    char *programs; /* the directory of the running program */
    bool installed;
    char *data; /* installed: DATADIR/microsandbox; else the build directory */
};

/* From the path of a program of ours, the monitor. */
int files_init(struct files *files, const char *program, msb_error **err);
void files_clear(struct files *files);

/* A descriptor (O_PATH) for the device program of a role such as "fs". */
int files_program(const struct files *files, const char *role, msb_error **err);

/* The kernel for an engine: the one named, or the best there is; nested: of those with modules for hardware virtualization. The caller
   frees *kernel. */
int files_kernel(const struct files *files, const struct engine *engine, const char *named, bool nested, char **kernel,
                 msb_error **err);

/* What the version record beside a kernel has for key (docs/kernels.md, "Files"); empty when there is none. */
void files_kernel_record(const char *kernel, const char *key, char *value, size_t size);

/* A memfd with the initramfs for it, at position 0; nested: with the modules for hardware virtualization, if there are any. */
int files_initrd(const struct files *files, const char *kernel, bool nested, msb_error **err);

#endif
