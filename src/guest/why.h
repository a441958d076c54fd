/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a file could not be executed, in words: execve(2) has few errno values for many reasons.
 */
#ifndef MSB_GUEST_WHY_H
#define MSB_GUEST_WHY_H

#include <stdbool.h>
#include <stddef.h>

/* error is what execve said about path. False: there is no such file. */
bool why_not_executable(const char *path, int error, char *why, size_t size);

#endif
