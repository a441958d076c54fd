/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of one VM: watched from their start, ended and reaped together.
 */
#ifndef MSB_SANDBOX_CHILDREN_H
#define MSB_SANDBOX_CHILDREN_H

#include "sandbox/lines.h"
#include "sandbox/spawn.h"
#include "util/loop.h"

#include <stdbool.h>

enum { CHILDREN_MAX = 8 };

struct children;

struct one_child {
    struct children *children;
    const char *name; /* for people: "the engine" */
    struct child process;
    int report;        /* where it says what went wrong while it starts */
    struct lines *log; /* its standard error */
    int io;            /* usage.c's: /proc/PID/io; -1: none */
    bool ended;
    int code, status; /* of siginfo_t, once ended */
    struct loop_source *ended_source, *report_source;
};

struct children_events {
    /* One of them has ended, though nobody asked it to. */
    void (*ended)(struct one_child *child, void *data);
    /* One of them says that it is ready (error NULL) or why it cannot be; takes the error. */
    void (*reported)(struct one_child *child, msb_error *error, void *data);
};

struct children {
    struct loop *loop;
    const struct children_events *events;
    void *data;
    bool show_logs;
    struct one_child list[CHILDREN_MAX];
    size_t num;
};

/* Spawns a process and watches it. Takes `report`, our end of its report socket. Its descriptor 2 becomes a pipe to us: what it
   writes there is not for a terminal of the user's, nor is that terminal for it to read. */
struct one_child *children_spawn(struct children *children, const char *name, struct spawn *spawn, int report, msb_error **err);

/* The one that ended first by a fault of its own: one that a signal killed, before one that only followed. */
const struct one_child *children_culprit(struct children *children, const struct one_child *first);

/* How it ended, as a sentence, with what it said last. */
int children_fail(const struct one_child *child, msb_error **err);

/* Kills and reaps all; returns when nothing is left of them. */
void children_end(struct children *children);

#endif
