/* SPDX-License-Identifier: Apache-2.0 */
#include "devices.h"

#include "fs/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void die(const char *what)
{
    fprintf(stderr, "bench-fs: %s: %s\n", what, strerror(errno));
    exit(1);
}

void check(int result, const msb_error *error)
{
    if (result < 0) {
        fprintf(stderr, "bench-fs: %s\n", msb_error_message(error));
        exit(1);
    }
}

int start_ours(struct device_process *process, const char *executable, const char *path, const char *tag, uint8_t queues)
{
    struct fs_export export = { .host = (char *)path, .target = (char *)"" };
    struct fs_setup setup = {
        .tag = (char *)tag, .guest_is_only_user = true, .num_queues = queues, .exports = &export, .num_exports = 1
    };
    struct writer w = { 0 };
    msb_error *error = NULL;
    struct device_start start = { .executable = executable };

    fs_setup_encode(&w, &setup);
    start.setup = w.data;
    start.setup_size = w.size;
    check(device_process_start(process, &start, &error), error);
    free(w.data);
    return process->socket;
}

int start_theirs(pid_t *pid, const char *executable, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char source[4096], fd_option[32];
    int listener, fd;

    snprintf(source, sizeof(source), "source=%s,xattr,cache=always,writeback,log_level=err", path);
    snprintf(address.sun_path, sizeof(address.sun_path), "%.90s.socket", path);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 1) < 0)
        die("listen");
    snprintf(fd_option, sizeof(fd_option), "--fd=%d", listener);
    *pid = fork();
    if (*pid == 0) {
        execl(executable, executable, fd_option, "-f", "-o", source, (char *)NULL);
        die(executable);
    }
    close(listener);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("connect");
    unlink(address.sun_path);
    return fd;
}
