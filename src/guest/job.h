/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job: one process that the host asked for, its streams, and what became of it.
 */
#ifndef MSB_GUEST_JOB_H
#define MSB_GUEST_JOB_H

#include "guest/relay.h"

#include <sys/types.h>

enum { JOB_RELAYS = 2 };

enum job_state {
    JOB_STARTING, /* forked; exec has not happened yet */
    JOB_RUNNING,
    JOB_REFUSED, /* could not become the program */
};

struct job;

/* What a job tells its owner. */
struct job_callbacks {
    void (*started)(struct job *job, void *owner);
    void (*refused)(struct job *job, uint8_t status, const char *why, void *owner);
    void (*done)(struct job *job, void *owner); /* reaped, and its streams have ended: to be freed */
};

struct job {
    uint32_t id;
    bool finish; /* the session ends with it */
    bool killed; /* the host sent SIGKILL */
    enum job_state state;
    bool reaped;
    pid_t pid;
    int report_fd;
    struct loop_source *report_source;
    int slave;                        /* the terminal, held so that it stays; -1: none */
    struct relay *relays[JOB_RELAYS]; /* by enum stream */
    const struct job_callbacks *callbacks;
    void *owner;
    struct job *next;
};

/* What a job is to be: a program, or a copy of PID 1's own making. */
struct job_work {
    const struct process *process; /* NULL: copy */
    enum copy_direction direction;
    const char *path;
};

struct job_options {
    uint32_t id;
    bool finish;
    const char *hostname;
    int pts_fd;
    struct loop *loop;
    int (*connect_stream)(void *data, msb_error **err);
    void *connect_data;
    const struct job_callbacks *callbacks;
    void *owner;
};

/* Forks the process and begins to connect its streams. Fails without a trace when the guest has no room for it. */
struct job *job_start(const struct job_work *work, const struct job_options *options, msb_error **err);

/* To be called when wait(2) returned the job's pid. In state JOB_RUNNING afterwards the process was the program that was asked for.
   job_finish() must follow. */
void job_settle(struct job *job);

/* Lets the streams end. Calls done, now or later; the job may be gone. */
void job_finish(struct job *job);

void job_resize(const struct job *job, uint16_t rows, uint16_t columns);

/* Closes what is left of it. The process is not touched. */
void job_free(struct job *job);

#endif
