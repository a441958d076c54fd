/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor's side of the control protocol with PID 1 (wire/protocol.h): configures the guest, runs processes in it, and joins
 * their streams to descriptors of the host. Nothing that the guest says is trusted.
 */
#ifndef MSB_SANDBOX_GUEST_H
#define MSB_SANDBOX_GUEST_H

#include "util/loop.h"
#include "wire/protocol.h"

struct guest;
struct guest_process;

struct guest_events {
    void (*ready)(void *data);                    /* configured */
    void (*finished)(void *data);                 /* everything is ended and on the host: the VM may go */
    void (*failed)(msb_error *error, void *data); /* the VM is of no use any more; takes the error */
    void (*stats)(uint32_t request, const struct guest_stats *stats, void *data); /* the answer to guest_get_stats() */
};

enum process_fate {
    PROCESS_NOT_STARTED, /* status is what a shell shows: 125, 126 or 127 */
    PROCESS_EXITED,      /* status is the exit status */
    PROCESS_KILLED,      /* status is the signal */
};

struct process_end {
    enum process_fate fate;
    uint8_t status;
    bool out_of_memory; /* the guest's kernel ended it because there was no memory */
    const char *why;    /* PROCESS_NOT_STARTED */
};

/* What becomes a process's standard streams; each is a descriptor of the caller's that must stay open until the process ended. With
   a terminal, err is not used. */
struct process_streams {
    int in, out, err;
};

/* Called when the program has been executed. */
typedef void process_started(struct guest_process *process, void *data);

/* Called once, when the process has ended and all its output is written. It may not free the guest. */
typedef void process_ended(struct guest_process *process, const struct process_end *end, void *data);

/* The configuration is sent as soon as PID 1 connects. */
struct guest *guest_new(struct loop *loop, const struct guest_config *config, const struct guest_events *events, void *data,
                        msb_error **err);
void guest_free(struct guest *guest);

/* A connection that the guest made to a port of the host; takes the descriptor. */
void guest_connection(struct guest *guest, uint32_t port, int fd);

/* Runs a process; with finish, the guest finishes by itself once it ended. The process belongs to the guest. started may be NULL. */
struct guest_process *guest_run(struct guest *guest, const struct process *process, bool finish,
                                const struct process_streams *streams, process_started *started, process_ended *ended, void *data,
                                msb_error **err);

/* Runs PID 1's own archiver, with the archive on standard output or input. */
struct guest_process *guest_copy(struct guest *guest, enum copy_direction direction, const char *path,
                                 const struct process_streams *streams, process_ended *ended, void *data, msb_error **err);

/* Lets go of the process's streams at once, as if the guest had ended them: what has not been passed on is lost. ended() is still called,
   when PID 1 says how it ended. */
void guest_abandon(struct guest_process *process);

int guest_signal(struct guest *guest, struct guest_process *process, uint8_t signal, msb_error **err);
int guest_resize(struct guest *guest, struct guest_process *process, uint16_t rows, uint16_t columns, msb_error **err);

/* Lets go of the process itself: nobody hears of its end. */
void guest_forget(struct guest_process *process);

/* Asks for what the guest knows of itself; events.stats follows. */
int guest_get_stats(struct guest *guest, uint32_t request, msb_error **err);

/* Sets the guest's clock to the host's. */
int guest_set_time(struct guest *guest, msb_error **err);

/* Bytes of messages that PID 1 has not taken yet. */
size_t guest_backlog(const struct guest *guest);

/* Asks for the end of everything; events.finished follows. */
int guest_finish(struct guest *guest, msb_error **err);

#endif
