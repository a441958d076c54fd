/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls that musl has no functions for. mount(2) is here too, because <linux/mount.h> and <sys/mount.h> do not go together
 * in every C library.
 */
#ifndef MSB_GUEST_SYSCALLS_H
#define MSB_GUEST_SYSCALLS_H

#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int sys_openat2(int directory, const char *path, const struct open_how *how)
{
    return (int)syscall(SYS_openat2, directory, path, how, sizeof(*how));
}

static inline int sys_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
    return (int)syscall(SYS_mount, source, target, type, flags, data);
}

static inline int sys_fsopen(const char *type, unsigned flags)
{
    return (int)syscall(SYS_fsopen, type, flags);
}

static inline int sys_fsconfig(int context, unsigned command, const char *key, const char *value, int aux)
{
    return (int)syscall(SYS_fsconfig, context, command, key, value, aux);
}

static inline int sys_fsmount(int context, unsigned flags, unsigned attributes)
{
    return (int)syscall(SYS_fsmount, context, flags, attributes);
}

static inline int sys_open_tree(int directory, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, directory, path, flags);
}

static inline int sys_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags)
{
    return (int)syscall(SYS_move_mount, from, from_path, to, to_path, flags);
}

static inline int sys_mount_setattr(int directory, const char *path, unsigned flags, const struct mount_attr *attributes,
                                    size_t size)
{
    return (int)syscall(SYS_mount_setattr, directory, path, flags, attributes, size);
}

/* Closes every descriptor from first on. */
static inline int sys_close_range(unsigned first)
{
    return (int)syscall(SYS_close_range, first, ~0U, 0);
}

static inline int sys_finit_module(int fd, const char *parameters, int flags)
{
    return (int)syscall(SYS_finit_module, fd, parameters, flags);
}

#endif
