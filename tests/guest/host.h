/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of a session, for tests: PID 1's session runs as process 1 of new user, PID and mount namespaces, and its
 * connections are socket pairs instead of virtio-vsock.
 */
#ifndef MSB_TESTS_GUEST_HOST_H
#define MSB_TESTS_GUEST_HOST_H

#include "wire/message.h"

enum { HOST_JOBS_MAX = 128 };

struct bytes {
    uint8_t *data;
    size_t size, capacity;
};

struct host_job {
    bool used;
    uint32_t id;
    /* What came over the control connection. */
    bool started, refused, exited;
    uint32_t pid;
    uint8_t status; /* when refused */
    char *why;
    uint8_t kind, code;
    bool out_of_memory;
    /* Streams, by enum stream. */
    int fds[2];
    bool connected[2], ended[2];
    struct bytes output[2];
    bool unread[2]; /* do not read this one */
    const uint8_t *input;
    size_t input_size, input_sent;
    bool input_open; /* more may be given: no half-close yet */
    bool half_closed;
};

struct host {
    int control, streams; /* streams: where the guest's new connections arrive */
    int guest;            /* pid */
    struct message_input in;
    struct message_output out;
    struct host_job jobs[HOST_JOBS_MAX];
    unsigned ready_logs;
    bool finished, closed;
    bool have_stats;
    struct guest_stats stats;
};

struct host *host_new(void);
/* Ends the session, and returns the exit status of process 1: 0 when it ended as it should. */
int host_end(struct host *host);

/* A program with its arguments, NULL last; in "/". Freed by host_run(). */
struct process *program(const char *path, ...);
void add_env(struct process *process, const char *entry);
void add_limit(struct process *process, uint32_t resource, uint64_t soft, uint64_t hard);
void set_text(char **field, const char *text);

/* Runs it; input is what its standard input gives before its end, NULL: nothing. */
struct host_job *host_run(struct host *host, uint32_t id, struct process *process, const void *input, size_t input_size);
struct host_job *host_run_finish(struct host *host, uint32_t id, struct process *process);
struct host_job *host_copy(struct host *host, uint32_t id, enum copy_direction direction, const char *path, const void *input,
                           size_t input_size);
void host_signal(struct host *host, uint32_t id, uint8_t number);
void host_send(struct host *host, const struct writer *w); /* raw bytes */
void host_message(struct host *host, enum message type, const struct writer *body);

/* Handles what comes, until done(data) says so. Fails the test when nothing comes for a long time. */
void host_until(struct host *host, bool (*done)(void *data), void *data);
/* Until the job was refused, or it exited and its streams ended. */
void host_wait(struct host *host, struct host_job *job);
void host_wait_started(struct host *host, struct host_job *job);
void host_wait_exited(struct host *host, struct host_job *job);
/* Until this text is in the output. */
void host_wait_output(struct host *host, struct host_job *job, const char *text);
void host_wait_finished(struct host *host);
void host_wait_closed(struct host *host);

/* The output so far, as a string. */
const char *text_of(struct host_job *job, enum stream kind);

/* Forgets the job, so that its place can be used again. */
void host_forget(struct host_job *job);

#endif
