/* SPDX-License-Identifier: Apache-2.0 */
#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static struct {
    const char *role;
    enum msb_log_level level;
    int fd;
} logger = { "", MSB_LOG_OFF, STDERR_FILENO };

void log_init(const char *role, enum msb_log_level level, int fd)
{
    logger.role = role;
    logger.level = level;
    logger.fd = fd;
}

bool log_enabled(enum msb_log_level level)
{
    return level != MSB_LOG_OFF && level <= logger.level;
}

void log_at(enum msb_log_level level, const char *format, ...)
{
    static const char *const names[] = { "off", "error", "warn", "info", "debug", "trace" };
    char line[1024];
    int length;
    va_list args;

    if (!log_enabled(level))
        return;
    length = snprintf(line, sizeof(line), "msb[%s]: %s: ", logger.role, names[level]);
    va_start(args, format);
    length += vsnprintf(line + length, sizeof(line) - (size_t)length, format, args);
    va_end(args);
    if ((size_t)length >= sizeof(line))
        length = (int)sizeof(line) - 1;
    line[length++] = '\n';
    /* A log line that cannot be written is lost; there is nobody left to tell. */
    if (write(logger.fd, line, (size_t)length) < 0)
        return;
}
