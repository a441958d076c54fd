/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program to run in the guest: the VM's own workload, and every later exec. Shared by the host and PID 1.
 */
#ifndef MSB_WIRE_PROCESS_H
#define MSB_WIRE_PROCESS_H

#include "wire/buffer.h"

enum {
    /* Arguments, and environment entries. Linux itself has room for fewer: each takes a pointer and a byte of at most 6 MiB. */
    PROCESS_STRINGS_MAX = 1 << 20,
    PROCESS_RLIMITS = 16, /* RLIM_NLIMITS: resources are numbered below it */
};

struct rlimit_setting {
    uint32_t resource; /* Linux's number, 0 to 15 */
    uint64_t soft;
    uint64_t hard; /* UINT64_MAX is RLIM_INFINITY */
};

struct process {
    char *exec_path; /* argv[0]; without a slash it is looked up in the guest's PATH */
    char **args;     /* argv[1..], NULL-terminated */
    size_t num_args;
    char **env; /* KEY=VALUE, NULL-terminated */
    size_t num_env;
    char *workdir; /* absolute */
    struct rlimit_setting *rlimits;
    size_t num_rlimits;
    char *user; /* NULL: root. NAME or UID, optionally :GROUP */
    bool tty;
    uint16_t rows, columns; /* of the tty */
};

void process_clear(struct process *process);
void process_encode(struct writer *w, const struct process *process);
/* False when the bytes are not a process or there is no memory; *process is then empty. */
bool process_decode(struct reader *r, struct process *process);

#endif
