/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/log_file.h"
#include "util/cleanup.h"

struct msb_log_reader {
    struct log_reader *reader;
};

msb_log_reader *msb_sandbox_log(const msb_sandbox *sandbox, msb_error **err)
{
    _cleanup_free_ char *directory = log_directory(msb_sandbox_name(sandbox), err);
    msb_log_reader *reader = directory ? calloc(1, sizeof(*reader)) : NULL;

    if (directory && !reader)
        fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    if (!reader)
        return NULL;
    /* One in the foreground has none. */
    if (access(directory, F_OK) < 0 && errno == ENOENT) {
        free(reader);
        return FAIL_NULL(fail(err, MSB_ERR_NOT_FOUND, "the sandbox \"%s\" has no log", msb_sandbox_name(sandbox)));
    }
    reader->reader = log_reader_new(directory, true, err);
    if (!reader->reader) {
        free(reader);
        return NULL;
    }
    return reader;
}

void msb_log_reader_free(msb_log_reader *reader)
{
    if (!reader)
        return;
    log_reader_free(reader->reader);
    free(reader);
}

int msb_log_reader_next(msb_log_reader *reader, enum msb_log_stream *stream, uint64_t *realtime, const void **bytes, size_t *size,
                        msb_error **err)
{
    struct log_record record;
    int found = log_reader_next(reader->reader, &record, err);

    if (found <= 0)
        return found;
    *stream = record.stream == LOG_STDOUT ? MSB_LOG_STDOUT : record.stream == LOG_STDERR ? MSB_LOG_STDERR : MSB_LOG_NOTE;
    *realtime = record.realtime;
    *bytes = record.bytes;
    *size = record.size;
    return 1;
}

int msb_log_reader_fd(const msb_log_reader *reader)
{
    return log_reader_fd(reader->reader);
}
