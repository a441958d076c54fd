/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting the two devices that are compared: ours, and QEMU's virtiofsd. What fails ends the program.
 */
#ifndef MSB_BENCH_FS_DEVICES_H
#define MSB_BENCH_FS_DEVICES_H

#include "device_process.h"

#include <stdint.h>
#include <sys/types.h>

_Noreturn void die(const char *what);
void check(int result, const msb_error *error);

/* Both serve the tree at path as a guest's root, cached hard, and return the connected vhost-user socket. */
int start_ours(struct device_process *process, const char *executable, const char *path, const char *tag, uint8_t queues);
int start_theirs(pid_t *pid, const char *executable, const char *path);

#endif
