/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a guest under QEMU, emulated, whose only device is a virtio-fs one, ours or QEMU's:
 *
 *     bench-fs-guest ours|theirs DEVICE TREE QEMU [ARGUMENT...]
 *
 * The tree has the tag "root". Nothing is confined but the device itself, so that both devices get the same. The arguments are those of
 * the machine; the device's are added to them.
 */
#include "devices.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char socket[64], device[] = "vhost-user-fs-device,chardev=fs,tag=root,num-request-queues=1,queue-size=1024";
    struct device_process process;
    char **arguments;
    pid_t qemu, theirs = 0;
    int fd, status, count = 0;

    if (argc < 5 || (strcmp(argv[1], "ours") != 0 && strcmp(argv[1], "theirs") != 0)) {
        fprintf(stderr, "usage: bench-fs-guest ours|theirs DEVICE TREE QEMU [ARGUMENT...]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    fd = argv[1][0] == 'o' ? start_ours(&process, argv[2], argv[3], "root", 1) : start_theirs(&theirs, argv[2], argv[3]);
    snprintf(socket, sizeof(socket), "socket,id=fs,fd=%d", fd);
    arguments = calloc((size_t)argc + 5, sizeof(*arguments));
    if (!arguments)
        die("start QEMU");
    for (int i = 4; i < argc; i++)
        arguments[count++] = argv[i];
    arguments[count++] = (char *)"-chardev";
    arguments[count++] = socket;
    arguments[count++] = (char *)"-device";
    arguments[count] = device;
    qemu = fork();
    if (qemu == 0) {
        if (fcntl(fd, F_SETFD, 0) < 0)
            die("keep the device's socket");
        execv(argv[4], arguments);
        die(argv[4]);
    }
    close(fd);
    if (qemu < 0 || waitpid(qemu, &status, 0) != qemu)
        die("wait for the guest");
    free(arguments);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
