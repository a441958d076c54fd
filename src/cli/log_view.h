/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a sandbox's log is shown, and how. A line is one of its stream: the other's records in between do not end it, and its time is
 * that of its first byte.
 */
#ifndef MSB_CLI_LOG_VIEW_H
#define MSB_CLI_LOG_VIEW_H

#include "microsandbox.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* What msb_log_reader_next() gives. */
struct log_record {
    enum msb_log_stream stream;
    uint64_t realtime;
    const void *bytes;
    size_t size;
};

struct log_view {
    uint64_t since;  /* lines begun before are not shown, nor counted */
    uint64_t skip;   /* so many lines are counted and not shown */
    bool timestamps; /* before each line */
    uint64_t lines;  /* counted so far */
    struct {
        bool begun, shown; /* a line */
    } streams[2];
};

/* Counts the lines of a record, and shows none. */
void log_view_count(struct log_view *view, const struct log_record *record);

/* Shows what is to be shown of a record: standard output's on out, standard error's and notes on err. */
void log_view_put(struct log_view *view, const struct log_record *record, FILE *out, FILE *err);

#endif
