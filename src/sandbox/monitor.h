/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor's state, for the files that it is made of: monitor.c, life.c and serve.c. */
#ifndef MSB_SANDBOX_MONITOR_H
#define MSB_SANDBOX_MONITOR_H

#include "sandbox/guest.h"
#include "sandbox/launch.h"
#include "sandbox/lines.h"
#include "sandbox/log_file.h"
#include "sandbox/output.h"
#include "sandbox/registry.h"
#include "sandbox/server.h"

enum { STATUS_TIMED_OUT = 124, STATUS_FAILED = 125, STATUS_SIGNAL = 128 };

struct served;
struct asked;

struct monitor {
    struct loop *loop;
    struct spec spec;
    struct files files;
    struct children children;
    struct launched launched;
    struct lines *console;
    struct guest *guest;
    struct guest_process *workload; /* while it runs */
    struct loop_source *stop_timer;
    unsigned options;           /* enum launch_option */
    int output;                 /* the console_output file; -1: none */
    struct one_child *follower; /* one that ended after another, it seems */
    struct loop_source *follower_timer;
    bool guest_ready, workload_started, workload_over, guest_finished;
    bool up, stopping; /* its life as others see it */

    /* As a sandbox that others find. */
    struct registration registration;
    uint64_t created, started, ended; /* nanoseconds since the epoch */
    uint64_t began;                   /* the same, of the monotonic clock */

    /* Its clients. */
    struct server *server;
    struct connection *caller; /* until it has detached */
    struct served *served;     /* processes of clients, and those who are attached */
    size_t num_served;
    struct asked *asked; /* for statistics */
    uint32_t last_asked;
    uint32_t detach_request; /* what waits for the sandbox to be up */

    /* The streams of a workload that has no caller. */
    struct log_writer *log;
    struct output *out, *err;
    int input[2]; /* the workload reads [1] */
    struct loop_source *drain_timer;

    /* Limits, and the clock. */
    struct loop_source *life_timer, *idle_timer, *clock_source, *signal_source;
    int clock_fd, signal_fd;
    uint64_t active; /* when something happened last, of the monotonic clock */

    /* How it ends. */
    msb_error *error;
    int status;
    bool over;
    bool guest_ended; /* by itself: its kernel's last words tell more */
};

/* ---- monitor.c ---- */

/* Takes the error; the first end counts. */
void monitor_end(struct monitor *monitor, int status, msb_error *error);
void monitor_end_by_force(struct monitor *monitor);

/* SIGTERM to the workload, and the end by force after that time. */
int monitor_stop(struct monitor *monitor, uint64_t milliseconds, msb_error **err);

/* To the workload. */
int monitor_signal(struct monitor *monitor, uint8_t signal, msb_error **err);

/* Whether it is over, now that something else is. */
void monitor_check_over(struct monitor *monitor);

/* Writes the state down. */
int monitor_write_state(struct monitor *monitor, msb_error **err);

/* Of the monotonic clock. */
uint64_t monotonic_now(void);

/* ---- life.c: time limits, and the guest's clock ---- */

int life_begin(struct monitor *monitor, msb_error **err);
void life_clear(struct monitor *monitor);
/* Something happened: the idle time begins anew. */
void life_touch(struct monitor *monitor);

/* ---- serve.c: what clients ask for ---- */

/* Takes the caller's socket. */
int serve_begin(struct monitor *monitor, int caller, msb_error **err);
/* The sandbox is up, and whoever waits for that is told. */
int serve_up(struct monitor *monitor, msb_error **err);
/* What GET_STATS brought. */
void serve_stats(struct monitor *monitor, uint32_t request, const struct guest_stats *stats);
/* The workload has ended: what those who are attached are told once they have its output. */
void serve_workload_ended(struct monitor *monitor, uint8_t status, uint8_t flags, const char *why);
/* Whether somebody is attached, and does not have all of the output yet. */
bool serve_has_attached(const struct monitor *monitor);
/* Whether nobody is attached and no process of a client's runs. */
bool serve_is_idle(const struct monitor *monitor);
/* Those who are attached have to take what is left now, or lose it. */
void serve_hurry(struct monitor *monitor);
/* Everything has ended: tells all who are still there. */
void serve_end(struct monitor *monitor, const char *kernel_log);
/* Frees all; the guest's processes may still be there, and are not told. */
void serve_clear(struct monitor *monitor);

#endif
