/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a caller and the monitor of its VM say to one another, in messages as of wire/protocol.h (header, body) over a Unix stream
 * socket. The descriptors that the monitor is started with:
 *
 *   0, 1  /dev/null          2  where our processes log
 *   3     the socket. End-of-file means that the caller is gone or wants no more: everything is ended
 *   4     a memfd with the spec (config/spec.h)
 *   5-7   the workload's standard input, output and error
 */
#ifndef MSB_SANDBOX_CONTROL_H
#define MSB_SANDBOX_CONTROL_H

enum {
    MONITOR_FD_LOG = 2,
    MONITOR_FD_CALLER = 3,
    MONITOR_FD_SPEC = 4,
    MONITOR_FD_STDIN = 5,
    MONITOR_FD_STDOUT = 6,
    MONITOR_FD_STDERR = 7,
    MONITOR_NUM_FDS,
    CONTROL_MESSAGE_MAX = 64 << 10, /* bytes of body, both ways */
};

enum control {
    /* caller to monitor */
    CONTROL_SIGNAL = 1, /* u8 signal: to the workload */
    CONTROL_RESIZE = 2, /* u16 rows, u16 columns: of the workload's terminal */
    CONTROL_STOP = 3,   /* u32 milliseconds: SIGTERM to the workload, and after that time the end by force */
    CONTROL_KILL = 4,   /* the end by force */
    /* monitor to caller, the last thing it says */
    CONTROL_RESULT =
        32, /* u8 enum msb_error_code, u8 exit status (what a shell shows), string message (empty with MSB_OK), string
                            last lines of the guest kernel's log (empty when the VM ended well) */
};

#endif
