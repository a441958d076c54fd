/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How every device process begins and ends. The descriptors it is started with:
 *
 *   0, 1  /dev/null          2  the log
 *   3     the monitor: a SOCK_SEQPACKET socket pair. One packet comes with the set-up (the role's own encoding), one goes back:
 *         a single NUL byte when the device is in its cell and ready, or the text of an error. (An empty packet could not be
 *         told from end-of-file.) End-of-file means that the monitor is gone, and so is the device at once. A set-up of more
 *         than 200 KiB needs a larger SO_SNDBUF on the monitor's side. A device that waits for it gets one NUL byte more when the guest
 *         has been configured.
 *   4     the front-end: a Unix stream socket that speaks vhost-user
 *   5...  what the role needs; the role's header says which
 */
#ifndef MSB_UTIL_DEVICE_H
#define MSB_UTIL_DEVICE_H

#include "util/loop.h"

enum {
    DEVICE_FD_MONITOR = 3,
    DEVICE_FD_FRONTEND = 4,
    DEVICE_FD_FIRST_OWN = 5,
    DEVICE_SETUP_MAX = 256 << 10, /* bytes */
};

/* Receives the set-up packet; the caller frees *data. */
int device_receive_setup(unsigned char **data, size_t *size, msb_error **err);

/* The same where that is a log level and nothing else (u8): begins the process's log, in its role's name. */
int device_receive_log_level(const char *role, msb_error **err);

/* Says that the device is ready; from then on the loop is quit when the monitor hangs up. configured, unless it is NULL, is called when the
   monitor says that PID 1 has set up what its configuration names. */
int device_ready(struct loop *loop, void (*configured)(void *data), void *data, msb_error **err);

/* What main() is: calls run, and tells monitor and log why it could not go on. Returns the exit status. */
int device_main(int (*run)(msb_error **err));

#endif
