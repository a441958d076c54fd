/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control messages of any content, as both ends receive them: cut out of a stream, then decoded by their type. What decodes must
 * encode to the same bytes again.
 */
#include "wire/message.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(struct writer *w, const uint8_t *bytes, size_t size)
{
    if (w->failed || w->size != size || memcmp(w->data, bytes, size) != 0)
        abort();
    free(w->data);
}

static void decode_run(struct reader body)
{
    const uint8_t *begin;
    struct process process;
    struct writer w = { 0 };

    get_u32(&body);
    get_bool(&body);
    begin = body.data;
    if (!process_decode(&body, &process))
        return;
    process_encode(&w, &process);
    same(&w, begin, (size_t)(body.data - begin));
    process_clear(&process);
}

static void decode_config(struct reader body)
{
    const uint8_t *begin = body.data;
    struct guest_config config;
    struct writer w = { 0 };

    if (!guest_config_decode(&body, &config))
        return;
    guest_config_encode(&w, &config);
    same(&w, begin, (size_t)(body.data - begin));
    guest_config_clear(&config);
}

static void decode_stats(struct reader body)
{
    const uint8_t *begin = body.data;
    struct guest_stats stats;
    struct writer w = { 0 };

    if (!guest_stats_decode(&body, &stats))
        return;
    guest_stats_encode(&w, &stats);
    same(&w, begin, (size_t)(body.data - begin));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message_input in = { .max = MESSAGE_TO_HOST_MAX };
    struct reader body;
    uint16_t type;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    int got = 0;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0)
        abort();
    while (got >= 0 && message_input_fill(&in, fd) > 0) {
        while ((got = message_input_next(&in, &type, &body)) > 0) {
            decode_run(body);
            decode_config(body);
            decode_stats(body);
        }
    }
    message_input_clear(&in);
    close(fd);
    return 0;
}
