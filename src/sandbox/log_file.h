/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sandbox's workload wrote, kept on disk for `msb logs`: written by its monitor, read by anybody of the same user, at the same
 * time too. In the sandbox's log directory are the file `log`, and before it in time `log.1`; when `log` has reached its size it
 * takes the place of `log.1`, and a new one is begun. The format (docs/sandboxes.md) can be read by eye:
 *
 *     msb log 1 generation 0000000001           32 bytes; each file of a sandbox counts one on
 *     1764033543.123456789 o 00000006           32 bytes: seconds since the epoch, stream, size
 *     hello                                     that many bytes, as they came; the newline here is one of them
 *                                               and a newline
 *
 * A record is written whole or not at all, as far as the writer is told. A reader that finds one cut short, as after the loss of
 * power, takes that for the end of the file.
 */
#ifndef MSB_SANDBOX_LOG_FILE_H
#define MSB_SANDBOX_LOG_FILE_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_FILE_SIZE = 8 << 20 }; /* what `log` grows to unless told otherwise; `log.1` is as large */

enum log_stream {
    LOG_STDOUT = 'o', /* a terminal's too */
    LOG_STDERR = 'e',
    LOG_NOTE = 'n', /* of the writer's own, a sentence without a newline: that something was lost */
};

/* The log directory of a sandbox: $XDG_STATE_HOME/microsandbox/NAME, or without that variable ~/.local/state/microsandbox/NAME. The
   name has been checked. Nothing is made. The caller frees it. */
char *log_directory(const char *name, msb_error **err);

/* Removes the log, which need not be there, and its directory, unless it has something else in it: both of XDG's directories may be one. */
int log_remove(const char *path, msb_error **err);

/* ---- Writing ------------------------------------------------------------------------------------------------------------------- */

struct log_writer;

/* Begins a log, in the directory at path, which is made if missing (0700, as are those above it); what an earlier sandbox left there is
   removed. file_size is LOG_FILE_SIZE, or for tests less. */
struct log_writer *log_writer_new(const char *path, uint64_t file_size, msb_error **err);
void log_writer_free(struct log_writer *writer);

/* Appends what a stream wrote at a time, in nanoseconds since the epoch. It cannot fail for the caller: what the disk does not take is
   dropped, and a note says so as soon as something can be written again. */
void log_writer_put(struct log_writer *writer, enum log_stream stream, const void *bytes, size_t size, uint64_t realtime);

/* ---- Reading ------------------------------------------------------------------------------------------------------------------- */

struct log_record {
    enum log_stream stream;
    uint64_t realtime;    /* nanoseconds since the epoch */
    const uint8_t *bytes; /* valid until the next call */
    size_t size;
};

struct log_reader;

/* From the oldest record on. With follow, the reader has a descriptor. */
struct log_reader *log_reader_new(const char *path, bool follow, msb_error **err);
void log_reader_free(struct log_reader *reader);

/* 1: the next record; 0: there is no more, so far; -1. */
int log_reader_next(struct log_reader *reader, struct log_record *record, msb_error **err);

/* Readable when, after log_reader_next() returned 0, there may be more. An end is not seen here: the caller knows whether the sandbox
   still runs. -1 without follow. */
int log_reader_fd(const struct log_reader *reader);

#endif
