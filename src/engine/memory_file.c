/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. When a page of guest memory is touched for the first time, by the guest or by a device, the host finds one and clears
 * it: some ten thousand times while Linux boots, in pages of 4 KiB. In huge pages of 2 MiB it is a few dozen times, the same memory is
 * there in a tenth of the time, and the processor's walks through the page tables become shorter for as long as the guest runs.
 *
 * Guest memory is shared with the device processes, so it is a file in memory. For a memfd the host's administrator says whether it
 * has huge pages (transparent_hugepage/shmem_enabled), and mostly has not. A tmpfs has an option of its own, which is for whoever
 * mounts it, and the engine's process may, in its own namespace.
 *
 * What is never touched costs nothing in either case, and what the guest frees goes back by free page reporting, which speaks of pieces of
 * 2 MiB and more. A host that is a virtual machine itself may do the same with its own free memory. There a huge page comes from what it has
 * given back, and costs its hypervisor a fault for each small page in it, 4 ms on one such host, which small pages, taken from the
 * pieces that are left over, are spared.
 */
#include "engine/memory_file.h"

#include "util/cleanup.h"

#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The host ---------------------------------------------------------------------------------------------------------------------- */

/* Whether a balloon's driver has negotiated to report free pages: VIRTIO_BALLOON_F_REPORTING, virtio 1.2, section 5.5.3. The file has a
   character for each feature's bit. */
static bool reports_free_pages(const char *features)
{
    enum { REPORTING = 5 };
    _cleanup_fd_ int fd = open(features, O_RDONLY | O_CLOEXEC);
    char bit = '0';

    return fd >= 0 && pread(fd, &bit, 1, REPORTING) == 1 && bit == '1';
}

bool memory_file_wants_huge(void)
{
    bool reports = false;
    glob_t found;

    if (glob("/sys/bus/virtio/drivers/virtio_balloon/virtio*/features", GLOB_NOSORT, NULL, &found) != 0)
        return true;
    for (size_t i = 0; i < found.gl_pathc; i++)
        reports = reports || reports_free_pages(found.gl_pathv[i]);
    globfree(&found);
    return !reports;
}

/* ---- With huge pages --------------------------------------------------------------------------------------------------------------- */

/* A tmpfs that is mounted nowhere, with room for one file of that size; -1 where there can be none with huge pages. */
static int make_huge_tmpfs(uint64_t size, unsigned attributes)
{
    _cleanup_fd_ int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
    char bytes[24];

    snprintf(bytes, sizeof(bytes), "%" PRIu64, size);
    /* Two inodes: the other one is its root. Whole huge pages only, none beyond the file's end. */
    if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "size", bytes, 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_STRING, "nr_inodes", "2", 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_STRING, "huge", "within_size", 0) < 0 ||
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    return fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | attributes);
}

static int make_huge_file(uint64_t size, unsigned flags)
{
    _cleanup_fd_ int tmpfs = make_huge_tmpfs(size, flags & MEMORY_FILE_EXECUTABLE ? 0 : MOUNT_ATTR_NOEXEC);
    _cleanup_fd_ int file = tmpfs < 0 ? -1 : openat(tmpfs, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    return file < 0 || ftruncate(file, (off_t)size) < 0 ? -1 : steal_fd(&file);
}

int memory_file_mount(uint64_t size, const char *directory, const char *name, msb_error **err)
{
    _cleanup_fd_ int tmpfs = make_huge_tmpfs(size, MOUNT_ATTR_NOEXEC);
    _cleanup_fd_ int file = tmpfs < 0 ? -1 : openat(tmpfs, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

    if (file < 0 || ftruncate(file, (off_t)size) < 0)
        return 0;
    return move_mount(tmpfs, "", AT_FDCWD, directory, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? fail_errno(err, "mount `%s`", directory) : 1;
}

/* ---- With small ones --------------------------------------------------------------------------------------------------------------- */

static int make_memfd(uint64_t size, msb_error **err)
{
    _cleanup_fd_ int file = memfd_create("guest memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (file < 0)
        return fail_errno(err, "make the guest's memory");
    if (ftruncate(file, (off_t)size) < 0 || fchmod(file, 0600) < 0 ||
        fcntl(file, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return fail_errno(err, "give the guest's memory its %" PRIu64 " MiB", size >> 20);
    return steal_fd(&file);
}

int memory_file_create(uint64_t size, unsigned flags, msb_error **err)
{
    int file = flags & MEMORY_FILE_HUGE ? make_huge_file(size, flags) : -1;

    return file < 0 ? make_memfd(size, err) : file;
}
