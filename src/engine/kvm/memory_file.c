/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The first touch of each page of guest memory leaves the guest, so that the host can find a page for it: some ten
 * thousand times while Linux boots, in pages of 4 KiB. In huge pages of 2 MiB it is a few dozen times, and the processor's
 * walks through two sets of page tables become shorter for as long as the guest runs.
 *
 * Guest memory is shared with the device processes, so it is a file in memory. For a memfd the host's administrator says whether it
 * has huge pages (transparent_hugepage/shmem_enabled), and mostly has not. A tmpfs has an option of its own, which is for whoever
 * mounts it, and this process may, in its own namespace. So the file is an unnamed one on a tmpfs that is mounted nowhere.
 *
 * What is never touched costs nothing in either case, and what the guest frees goes back by free page reporting, which speaks of pieces of
 * 2 MiB and more.
 */
#include "engine/kvm/memory_file.h"

#include "util/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/mount.h>

/* Of a tmpfs with huge pages; -1 where there can be none. */
static int open_huge(void)
{
    _cleanup_fd_ int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
    _cleanup_fd_ int mount = -1;

    /* No limit of the file system's own; whole huge pages only, none beyond the file's end. */
    if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "size", "0", 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_STRING, "huge", "within_size", 0) < 0 ||
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    mount = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return mount < 0 ? -1 : openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

int memory_file_create(uint64_t size, msb_error **err)
{
    _cleanup_fd_ int file = open_huge();

    if (file < 0)
        file = memfd_create("guest memory", MFD_CLOEXEC);
    if (file < 0)
        return fail_errno(err, "make guest memory");
    if (ftruncate(file, (off_t)size) < 0)
        return fail_errno(err, "make guest memory of %" PRIu64 " MiB", size >> 20);
    return steal_fd(&file);
}
