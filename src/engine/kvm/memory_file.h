/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that guest memory lies in.
 */
#ifndef MSB_ENGINE_KVM_MEMORY_FILE_H
#define MSB_ENGINE_KVM_MEMORY_FILE_H

#include "util/error.h"

#include <stdint.h>

/* A file of that many bytes that has no name, all zero. Returns its descriptor. Needs the right to mount; without it, or on a kernel
   without huge pages, the file has small ones. */
int memory_file_create(uint64_t size, msb_error **err);

#endif
