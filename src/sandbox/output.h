/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One output stream of a process that has no descriptor of a caller's to write to: taken in here, handed to who keeps it, and to any
 * number of clients that are attached. What is attached is not outrun: as long as one of them does not take its part, the process waits,
 * as it would for a pipe's reader.
 */
#ifndef MSB_SANDBOX_OUTPUT_H
#define MSB_SANDBOX_OUTPUT_H

#include "util/loop.h"

#include <stdbool.h>
#include <stddef.h>

struct output;
struct attachment;

struct output_events {
    void (*bytes)(const void *bytes, size_t size, void *data);
    void (*ended)(struct output *output, void *data); /* all is handed on; it may free or forget the output */
};

/* The process writes to output_end(), a non-blocking socket. */
struct output *output_new(struct loop *loop, const struct output_events *events, void *data, msb_error **err);
void output_free(struct output *output);   /* NULL is allowed; attachments are gone with it, without a word */
void output_forget(struct output *output); /* once it has ended: it is freed when the last client has all of it */
int output_end(const struct output *output);

/* Nothing more will be written there. */
void output_close(struct output *output);

/* What comes from now on goes to a descriptor of a client's, which stays the caller's and must outlive the attachment. detached is
   called once, when the output has ended and the client has it all, or when nobody reads it any more. It may not free the output. */
typedef void output_detached(struct attachment *attachment, void *data);
struct attachment *output_attach(struct output *output, int fd, output_detached *detached, void *data, msb_error **err);

/* Lets go of a client; NULL is allowed. */
void output_detach(struct attachment *attachment);

#endif
