/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows and columns for people. On a terminal that is too narrow, the widest columns are cut; elsewhere nothing is.
 */
#ifndef MSB_CLI_TABLE_H
#define MSB_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table;

/* The headings are literals, and a NULL ends them. NULL: no memory. */
struct table *table_new(const char *const *headings);
void table_free(struct table *table);

/* The next cell, row by row. What is not printable ASCII becomes '?'. That memory was short is told by table_print(). */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* width: of the terminal, or 0 for as wide as it gets. False: no memory. */
bool table_print(const struct table *table, FILE *out, size_t width);

/* The width for table_print(): that of standard output, if it is a terminal. */
size_t table_width(void);

#endif
