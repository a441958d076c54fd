/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include "cli/terminal.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <stdarg.h>
#include <string.h>

enum {
    GAP = 3,       /* between two columns */
    NARROWEST = 8, /* no column is cut below this */
    COLUMNS_MAX = 16,
};

struct table {
    const char *const *headings;
    size_t columns;
    char **cells;
    size_t count;
    bool failed;
};

struct table *table_new(const char *const *headings)
{
    struct table *table = calloc(1, sizeof(*table));

    if (!table)
        return NULL;
    table->headings = headings;
    table->columns = 1;
    while (headings[table->columns] && table->columns < COLUMNS_MAX)
        table->columns++;
    return table;
}

void table_free(struct table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
}

void table_cell(struct table *table, const char *format, ...)
{
    char **cells = realloc(table->cells, (table->count + 1) * sizeof(*cells)), *cell;
    va_list args;
    int length;

    va_start(args, format);
    length = cells ? vasprintf(&cell, format, args) : -1;
    va_end(args);
    if (cells)
        table->cells = cells;
    if (length < 0) {
        table->failed = true;
        return;
    }
    make_printable(cell);
    cells[table->count++] = cell;
}

static size_t next_column(const struct table *table, size_t column)
{
    return column + 1 == table->columns ? 0 : column + 1;
}

static void measure(const struct table *table, size_t widths[COLUMNS_MAX])
{
    for (size_t i = 0; i < table->columns; i++)
        widths[i] = strlen(table->headings[i]);
    for (size_t i = 0, column = 0; i < table->count; i++, column = next_column(table, column)) {
        size_t length = strlen(table->cells[i]);

        widths[column] = length > widths[column] ? length : widths[column];
    }
}

/* Takes from the widest column, one by one, until all fit or none can give more. */
static void fit(const struct table *table, size_t widths[COLUMNS_MAX], size_t available)
{
    size_t total = GAP * (table->columns - 1);

    for (size_t i = 0; i < table->columns; i++)
        total += widths[i];
    for (; total > available; total--) {
        size_t widest = 0;

        for (size_t i = 1; i < table->columns; i++)
            if (widths[i] > widths[widest])
                widest = i;
        if (widths[widest] <= NARROWEST)
            return;
        widths[widest]--;
    }
}

/* The last column is not filled up with blanks. */
static void print_cell(const char *cell, size_t width, bool last, FILE *out)
{
    size_t length = strlen(cell);

    if (length > width)
        fprintf(out, "%.*s...", (int)width - 3, cell);
    else
        fputs(cell, out);
    if (last)
        fputc('\n', out);
    else
        fprintf(out, "%*s", (int)(length > width ? 0 : width - length) + GAP, "");
}

bool table_print(const struct table *table, FILE *out, size_t width)
{
    size_t widths[COLUMNS_MAX] = { 0 };

    if (table->failed)
        return false;
    measure(table, widths);
    if (width)
        fit(table, widths, width);
    for (size_t i = 0; i < table->columns; i++)
        print_cell(table->headings[i], widths[i], i + 1 == table->columns, out);
    for (size_t i = 0, column = 0; i < table->count; i++, column = next_column(table, column))
        print_cell(table->cells[i], widths[column], column + 1 == table->columns, out);
    return true;
}

size_t table_width(void)
{
    uint16_t rows, columns;

    if (!isatty(STDOUT_FILENO))
        return 0;
    terminal_size(&rows, &columns);
    return columns;
}
