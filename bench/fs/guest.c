/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a user-mode Linux guest whose only device is a virtio-fs one, ours or QEMU's:
 *
 *     bench-fs-guest ours|theirs DEVICE TREE KERNEL INITRD
 *
 * The tree has the tag "root". Nothing is confined but the device itself, so that both devices get the same. The guest's console is
 * standard error.
 */
#include "devices.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VIRTIO_ID_FS = 26 };

int main(int argc, char **argv)
{
    static char initrd[4096], device[64];
    struct device_process process;
    char *arguments[] = { (char *)"linux",
                          (char *)"mem=1024M",
                          initrd,
                          (char *)"stderr=1",
                          (char *)"console=stderr0",
                          (char *)"quiet",
                          (char *)"loglevel=3",
                          (char *)"noreboot",
                          (char *)"uml_dir=/proc/",
                          (char *)"panic=-1",
                          device,
                          NULL };
    char *environment[] = { (char *)"GLIBC_TUNABLES=glibc.pthread.rseq=0", (char *)"TMPDIR=/dev/shm", NULL };
    pid_t kernel, theirs = 0;
    int fd, status;

    if (argc != 6 || (strcmp(argv[1], "ours") != 0 && strcmp(argv[1], "theirs") != 0)) {
        fprintf(stderr, "usage: bench-fs-guest ours|theirs DEVICE TREE KERNEL INITRD\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    fd = argv[1][0] == 'o' ? start_ours(&process, argv[2], argv[3], "root", 1) : start_theirs(&theirs, argv[2], argv[3]);
    snprintf(initrd, sizeof(initrd), "initrd=%s", argv[5]);
    snprintf(device, sizeof(device), "virtio_uml.device=fd%d:%d:0", fd, VIRTIO_ID_FS);
    kernel = fork();
    if (kernel == 0) {
        if (fcntl(fd, F_SETFD, 0) < 0 || personality(ADDR_NO_RANDOMIZE) < 0)
            die("prepare the guest");
        execve(argv[4], arguments, environment);
        die(argv[4]);
    }
    close(fd);
    if (kernel < 0 || waitpid(kernel, &status, 0) != kernel)
        die("wait for the guest");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
