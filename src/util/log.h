/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What our own processes say on stderr: one line each, `msb[ROLE]: LEVEL: text`, written with one write(2).
 * Only programs log; libmicrosandbox returns errors and never writes.
 */
#ifndef MSB_UTIL_LOG_H
#define MSB_UTIL_LOG_H

#include "microsandbox.h"

#include <stdbool.h>

/* Says who speaks and how much. role is a literal such as "fs". Called once, before other threads exist. */
void log_init(const char *role, enum msb_log_level level, int fd);

bool log_enabled(enum msb_log_level level);

void log_at(enum msb_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_at(MSB_LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(MSB_LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(MSB_LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(MSB_LOG_DEBUG, __VA_ARGS__)
#define log_trace(...) log_at(MSB_LOG_TRACE, __VA_ARGS__)

#endif
