/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/control.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    LOG_LINE_MAX = 1024,
    LOG_QUEUE_MAX = 64 << 10, /* bytes that may wait for the host before log lines are dropped */
};

void control_init(struct control *control, int fd)
{
    *control = (struct control){ .fd = fd, .log_level = MSB_LOG_WARN, .in.max = MESSAGE_TO_GUEST_MAX };
}

void control_clear(struct control *control)
{
    loop_remove(control->source);
    message_input_clear(&control->in);
    message_output_clear(&control->out);
    close(control->fd);
    control->fd = -1;
    control->source = NULL;
}

void control_flush(struct control *control)
{
    int sent = control->lost ? -1 : message_output_flush(&control->out, control->fd);

    if (sent < 0) {
        control->lost = true;
        message_output_clear(&control->out);
    }
    if (control->source && loop_modify(control->source, sent == 0 ? EPOLLIN | EPOLLOUT : EPOLLIN, NULL) < 0)
        control->lost = true;
}

void control_send(struct control *control, enum message type)
{
    message_end(&control->out.queue, message_begin(&control->out.queue, type));
    control_flush(control);
}

void control_send_text(struct control *control, enum message type, const char *text)
{
    size_t begin = message_begin(&control->out.queue, type);

    put_string(&control->out.queue, text);
    message_end(&control->out.queue, begin);
    control_flush(control);
}

void control_log(struct control *control, enum msb_log_level level, const char *format, ...)
{
    char line[LOG_LINE_MAX];
    size_t begin;
    va_list args;

    if (level > control->log_level || control->out.queue.size > LOG_QUEUE_MAX)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    begin = message_begin(&control->out.queue, MESSAGE_LOG);
    put_u8(&control->out.queue, (uint8_t)level);
    put_string(&control->out.queue, line);
    message_end(&control->out.queue, begin);
    control_flush(control);
}

int control_receive(struct control *control, uint16_t *type, struct reader *body, msb_error **err)
{
    for (;;) {
        int got = message_input_next(&control->in, type, body);
        ssize_t n;

        if (got < 0)
            return fail(err, MSB_ERR_PROTOCOL, "the host sent something that is no message");
        if (got > 0)
            return 0;
        n = message_input_fill(&control->in, control->fd);
        if (n < 0)
            return fail_errno(err, "read from the host");
        if (n == 0)
            return fail(err, MSB_ERR_PROTOCOL, "the host closed the control connection");
    }
}
