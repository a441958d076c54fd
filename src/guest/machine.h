/* SPDX-License-Identifier: Apache-2.0 */
/* The machine as a whole: its clock, randomness, name, limits and settings, and its end. */
#ifndef MSB_GUEST_MACHINE_H
#define MSB_GUEST_MACHINE_H

#include "util/error.h"

#include <stddef.h>
#include <stdint.h>

/* A line in the kernel's log, which PID 1's standard error is, of the level of an error, so that a quiet kernel hands it to the host. */
__attribute__((format(printf, 1, 2))) void machine_say(const char *format, ...);

int machine_set_clock(uint64_t nanoseconds, msb_error **err);

/* Adds the host's bytes to the entropy pool and counts them as random, so that nothing waits for randomness. dev_fd is /dev. */
int machine_add_entropy(int dev_fd, const void *seed, size_t size, msb_error **err);

/* What Linux's own defaults get wrong for a machine like this one. What the kernel does not have is passed over. */
void machine_set_defaults(int proc_fd);

/* Ends the VM. */
_Noreturn void machine_reset(void);

#endif
