/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sandbox's users and its monitor say to one another, in messages as of wire/protocol.h (header, body) over a Unix stream
 * socket. docs/protocol.md tells it as a story. There are two ways to the monitor, and one protocol:
 *
 *   - its caller has the other end of a socket pair. End-of-file there, before CONTROL_DETACH was answered, means that the caller is
 *     gone or wants no more: everything is ended. CONTROL_RESULT comes without being asked for.
 *   - whoever runs as the same user connects to the socket `control` in the sandbox's directory (registry.h). End-of-file concerns that
 *     connection alone.
 *
 * The first message is CONTROL_HELLO. Every message begins with a request: a number of the client's choice that comes back in the answer;
 * 0 asks for no answer. Descriptors come with the first byte of the message that they belong to (SCM_RIGHTS). A message that is
 * malformed, too large, of an unknown type, or has other descriptors than it should, ends the connection, and nothing else.
 *
 * The descriptors that the monitor is started with:
 *
 *   0, 1  /dev/null          2  where our processes log, until it has detached
 *   3     the caller's socket
 *   4     a memfd with struct launch_options (below) and the spec (config/spec.h)
 *   5-7   the workload's standard input, output and error, when the VM is not to be detached
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
    CONTROL_VERSION = 1,
    CONTROL_TO_MONITOR_MAX = 8 << 20, /* bytes of body: room for the 6 MiB of arguments and environment that Linux takes */
    CONTROL_TO_CLIENT_MAX = 64 << 10,
    CONTROL_FDS_MAX = 4, /* descriptors of one message */
};

/* Before the spec in its memfd: u8 of these bits. */
enum launch_option {
    LAUNCH_DETACH = 1, /* the caller will ask for CONTROL_DETACH; the workload's streams are the monitor's own */
    LAUNCH_INPUT = 2,  /* with it: the workload's input stays open for those who attach */
};

enum control {
    /* client to monitor */
    CONTROL_HELLO = 1,  /* u32 CONTROL_VERSION: the first message; answered only by CONTROL_ERROR */
    CONTROL_SIGNAL = 2, /* u8 signal: to the process of this connection, or without one to the workload */
    CONTROL_RESIZE = 3, /* u16 rows, u16 columns: of its terminal, likewise */
    CONTROL_STOP = 4, /* u32 milliseconds: SIGTERM to the workload (none: the end of all), and after that time the end by force */
    CONTROL_KILL = 5, /* the end by force */
    CONTROL_DETACH = 6, /* from the caller: answered once the guest is configured and its command runs. From then on it is not the
                           caller any more, but a client like others, who watches */
    CONTROL_WATCH = 7,  /* asks for CONTROL_RESULT, which is the only answer */
    CONTROL_STATS = 8,  /* answered by CONTROL_STATISTICS */
    /* These make a process that belongs to the connection, which can have one. The answer is CONTROL_EXITED. When the connection ends
       before, the process is ended by SIGKILL, unless it was to be detached. */
    CONTROL_EXEC =
        9, /* u64 timeout in milliseconds or 0, u8 whether it stays, process. Descriptors: its three streams. What is empty
                          (workdir, user) is the sandbox's own */
    CONTROL_ATTACH =
        10, /* u8 bits: which of the three streams are wanted, and so come as descriptors; then SIGNAL and RESIZE reach
                            the workload */
    CONTROL_COPY =
        11, /* u8 enum copy_direction, u64 timeout in milliseconds or 0, string guest path. Descriptors: where the archive
                          comes from or goes to; and optionally one that cancels the copy when it is readable */
    CONTROL_AWAIT_START =
        12, /* answered by CONTROL_DONE when the program of this connection's process has been executed. When it cannot
                                 be, CONTROL_EXITED says so, and is the only answer */
    /* monitor to client */
    CONTROL_DONE = 32,  /* u32 request */
    CONTROL_ERROR = 33, /* u32 request, u8 enum msb_error_code, string message */
    CONTROL_EXITED =
        34, /* u32 request, u8 what a shell shows, u8 enum control_exit bits, string why (could not be started; for a copy,
                                what it said) */
    CONTROL_STATISTICS = 35, /* u32 request, struct msb_stats without what is reserved, in order */
    CONTROL_RESULT =
        36, /* u32 request, u8 enum msb_error_code, u8 exit status (what a shell shows), string message (empty with MSB_OK),
                                string last lines of the guest kernel's log (empty when the VM ended well): the last message, when nothing
                                of the sandbox runs any more and its state is written */
};

enum control_exit {
    CONTROL_EXIT_NOT_STARTED = 1,
    CONTROL_EXIT_TIMED_OUT = 2,
    CONTROL_EXIT_OUT_OF_MEMORY = 4,
    CONTROL_EXIT_CANCELLED = 8, /* a copy, by its descriptor */
};

#endif
