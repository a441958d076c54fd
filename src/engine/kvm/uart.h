/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of a 16550 UART as the kernel's early console needs: characters go out, nothing comes in, and it is always ready.
 */
#ifndef MSB_ENGINE_KVM_UART_H
#define MSB_ENGINE_KVM_UART_H

#include <stdint.h>

enum { UART_REGISTERS = 8, UART_LINE_MAX = 256 };

struct uart {
    int fd; /* where the characters go */
    uint8_t line_control;
    uint32_t used;
    char line[UART_LINE_MAX]; /* written at its end, or when it is full */
};

uint8_t uart_read(const struct uart *uart, unsigned reg);
void uart_write(struct uart *uart, unsigned reg, uint8_t value);

/* Writes what is left of a line. */
void uart_flush(struct uart *uart);

#endif
