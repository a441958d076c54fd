/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a new process of the host's does between fork and exec. Everything that looks at the guest's files happens here and not in
 * PID 1: the files may be anything (a FIFO for /etc/passwd), and only the process that was asked for may wait for them.
 */
#ifndef MSB_GUEST_CHILD_H
#define MSB_GUEST_CHILD_H

#include "wire/protocol.h"

/* Exit statuses for what is not the program's own (shells and container engines agree on them). */
enum {
    EXIT_OURS = 125,           /* we failed, before the program was looked for */
    EXIT_NOT_EXECUTABLE = 126, /* found, but cannot be executed */
    EXIT_NOT_FOUND = 127,
};

enum { CHILD_REPORT_MAX = 4096 }; /* PIPE_BUF: written and read as a whole */

struct child_files {
    int input, output, error; /* become 0, 1 and 2; with a tty all are its slave */
    int report;               /* close-on-exec: end-of-file says that exec worked; else an exit status byte and a sentence */
};

/* Never returns: becomes the program, or reports why not. */
_Noreturn void child_run(const struct process *process, const struct child_files *files, const char *hostname);

/* Never returns: writes an archive of path to the output, or reads one from the input, and exits with 0, or with 1 and a line on the
   error stream. Every other descriptor is closed. */
_Noreturn void child_copy(enum copy_direction direction, const char *path, const struct child_files *files);

#endif
