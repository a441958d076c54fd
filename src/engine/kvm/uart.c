/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/uart.h"

#include <unistd.h>

enum {
    REGISTER_DATA = 0, /* the divisor's lower half while DIVISOR_LATCH is set */
    REGISTER_LINE_CONTROL = 3,
    REGISTER_LINE_STATUS = 5,
    DIVISOR_LATCH = 0x80,
    TRANSMITTER_EMPTY = 0x60, /* the holding register, and the shift register */
};

uint8_t uart_read(const struct uart *uart, unsigned reg)
{
    switch (reg) {
    case REGISTER_LINE_CONTROL:
        return uart->line_control;
    case REGISTER_LINE_STATUS:
        return TRANSMITTER_EMPTY;
    default:
        return 0;
    }
}

void uart_flush(struct uart *uart)
{
    const char *at = uart->line;

    while (uart->used > 0) {
        ssize_t written = write(uart->fd, at, uart->used);

        /* Nobody reads the log any more: it is lost, and the guest goes on. */
        if (written <= 0)
            break;
        at += written;
        uart->used -= (uint32_t)written;
    }
    uart->used = 0;
}

void uart_write(struct uart *uart, unsigned reg, uint8_t value)
{
    if (reg == REGISTER_LINE_CONTROL)
        uart->line_control = value;
    if (reg != REGISTER_DATA || (uart->line_control & DIVISOR_LATCH))
        return;
    uart->line[uart->used++] = (char)value;
    if (value == '\n' || uart->used == sizeof(uart->line))
        uart_flush(uart);
}
