/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1's end of the control connection. Blocking while the machine is set up; a session makes it non-blocking and gives it a source.
 */
#ifndef MSB_GUEST_CONTROL_H
#define MSB_GUEST_CONTROL_H

#include "util/loop.h"
#include "wire/message.h"

struct control {
    int fd;
    enum msb_log_level log_level; /* what the host wants to be told with MESSAGE_LOG */
    struct message_input in;
    struct message_output out;
    struct loop_source *source; /* NULL: blocking */
    bool lost;                  /* the host is gone */
};

void control_init(struct control *control, int fd);
void control_clear(struct control *control);

/* Sends what is queued in control->out.queue, or watches for when it can be. A lost connection is noticed by who reads. */
void control_flush(struct control *control);

/* One line for the host's log; dropped when the host does not take them as fast as they come. */
void control_log(struct control *control, enum msb_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A message that is a number and a text, and one that is nothing but its type. */
void control_send(struct control *control, enum message type);
void control_send_text(struct control *control, enum message type, const char *text);

/* Blocks for the next message. The body is valid until the next call. */
int control_receive(struct control *control, uint16_t *type, struct reader *body, msb_error **err);

#endif
