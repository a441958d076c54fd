/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership made visible: a local that owns its resource says so where it is declared, and gives it up with steal_*().
 *
 *     _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
 *     ...
 *     return steal_fd(&fd);
 */
#ifndef MSB_UTIL_CLEANUP_H
#define MSB_UTIL_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline int steal_fd(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

static inline void *steal_pointer(void *pointer_to_pointer)
{
    void **p = pointer_to_pointer;
    void *stolen = *p;

    *p = NULL;
    return stolen;
}

#define _cleanup_free_ __attribute__((cleanup(cleanup_free)))
#define _cleanup_fd_ __attribute__((cleanup(cleanup_fd)))

#endif
