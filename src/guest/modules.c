/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/modules.h"

#include "guest/machine.h"
#include "guest/syscalls.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void load(const char *path)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && sys_finit_module(fd, "", 0) == 0)
        return;
    /* A driver without its hardware; one that the kernel has built in. */
    if (errno != ENODEV && errno != EEXIST && errno != EOPNOTSUPP)
        machine_say("load module %s: %s", path, strerror(errno));
}

void modules_load(const char *list)
{
    FILE *file = fopen(list, "re");
    char *line = NULL;
    size_t capacity = 0;

    if (!file)
        return;
    while (getline(&line, &capacity, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0])
            load(line);
    }
    free(line);
    fclose(file);
}
