/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server over a small tree of its own, for the fuzzers.
 */
#ifndef MSB_FUZZ_FS_SERVED_H
#define MSB_FUZZ_FS_SERVED_H

#include "fs/request.h"
#include "fs/server.h"

struct fs *served_begin(void);

/* Removes what the requests of an input have made, and leaves the directory that a handler went to. */
void served_empty(void);

#endif
