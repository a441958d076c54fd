/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/log_view.h"

#include "cli/times.h"

#include <string.h>

static void put_time(uint64_t realtime, FILE *file)
{
    char text[TIME_TEXT_SIZE];

    time_print(realtime, text);
    fprintf(file, "%s ", text);
}

/* A piece of a line, or all of it; file is NULL when only its beginning counts. */
static void take_piece(struct log_view *view, const struct log_record *record, const uint8_t *piece, size_t size, FILE *file)
{
    bool *begun = &view->streams[record->stream == MSB_LOG_STDERR].begun,
         *shown = &view->streams[record->stream == MSB_LOG_STDERR].shown;

    if (!*begun) {
        *begun = true;
        *shown = record->realtime >= view->since && view->lines++ >= view->skip;
        if (file && *shown && view->timestamps)
            put_time(record->realtime, file);
    }
    if (file && *shown)
        fwrite(piece, 1, size, file);
    if (piece[size - 1] == '\n')
        *begun = false;
}

static void take(struct log_view *view, const struct log_record *record, FILE *file)
{
    const uint8_t *at = record->bytes, *end = at + record->size;

    while (at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at)), *next = newline ? newline + 1 : end;

        take_piece(view, record, at, (size_t)(next - at), file);
        at = next;
    }
}

void log_view_count(struct log_view *view, const struct log_record *record)
{
    if (record->stream != MSB_LOG_NOTE)
        take(view, record, NULL);
}

void log_view_put(struct log_view *view, const struct log_record *record, FILE *out, FILE *err)
{
    if (record->stream != MSB_LOG_NOTE) {
        take(view, record, record->stream == MSB_LOG_STDERR ? err : out);
        return;
    }
    if (record->realtime < view->since)
        return;
    if (view->timestamps)
        put_time(record->realtime, err);
    fprintf(err, "msb: %.*s\n", (int)record->size, (const char *)record->bytes);
}
