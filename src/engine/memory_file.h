/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that guest memory lies in.
 */
#ifndef MSB_ENGINE_MEMORY_FILE_H
#define MSB_ENGINE_MEMORY_FILE_H

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether huge pages make a guest quicker here. To be asked where the host's /sys is, before a cell is entered. */
bool memory_file_wants_huge(void);

enum memory_file_flags {
    MEMORY_FILE_HUGE = 1 << 0,       /* with huge pages, where the kernel has any and this process may mount */
    MEMORY_FILE_EXECUTABLE = 1 << 1, /* its pages may be mapped for execution */
};

/* A file of size bytes that has no name, all zero, and that nobody can make larger. Returns its descriptor. */
int memory_file_create(uint64_t size, unsigned flags, msb_error **err);

/* The same with huge pages, for a program that opens its memory by name: the only file, called name, of a file system that is mounted on
   directory. Returns 1, or 0 where there can be no huge pages, and then nothing is mounted. */
int memory_file_mount(uint64_t size, const char *directory, const char *name, msb_error **err);

#endif
