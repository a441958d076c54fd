/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol between the monitor and PID 1 of its guest, over virtio-vsock. docs/protocol.md tells it as a story.
 *
 * Every connection is made by the guest, to the host (VMADDR_CID_HOST):
 *
 *   port 1, once, at boot: control. Messages in both directions, as below. The host need not wait: CONFIG and RUN may be sent as
 *   soon as the connection is there. When the host closes it, PID 1 resets the machine at once.
 *
 *   port 2, one per stream of a process: a 5-byte header (u32 process id, u8 enum stream), then raw bytes. STREAM_STDIO carries
 *   standard input from the host and standard output to it (with a tty: the terminal both ways); STREAM_STDERR goes to the host
 *   only, and is not there with a tty. Each direction ends with a half-close. Flow control is virtio-vsock's own credit: a stream
 *   that nobody reads stalls only itself. A stream that the host closes is to the process a pipe whose other end is closed.
 *
 * A process's streams are connected when it starts, and may come before or after its STARTED, or not at all when it is NOT_STARTED.
 * EXITED is sent at once when the process ended, and may overtake output. Output is complete when the guest has ended the stream;
 * the guest does so when everything that was in the pipe at the process's end is sent, without waiting for descendants that keep
 * the pipe open (what they write later is dropped). So the host waits for both: EXITED, and the end of each stream.
 *
 * FINISHED says that every process is ended and every file is on the host. Output may still be on its way: the host closes the
 * control connection, or kills the VM, after it has seen the end of the streams that it cares for.
 *
 * A control message is a header (u32 size of the body, u16 enum message, u16 zero) and a body in the encoding of wire/buffer.h.
 * The monitor trusts nothing that comes: sizes are bounded, unknown types and malformed bodies end the VM with an error.
 */
#ifndef MSB_WIRE_PROTOCOL_H
#define MSB_WIRE_PROTOCOL_H

#include "wire/process.h"

enum {
    PROTOCOL_VERSION = 1,
    PORT_CONTROL = 1,
    PORT_STREAM = 2,
    MESSAGE_HEADER_SIZE = 8,
    STREAM_HEADER_SIZE = 5,
    MESSAGE_TO_GUEST_MAX = 16 << 20, /* bytes of body: arguments and environment at Linux's own limit of 6 MiB, and room */
    MESSAGE_TO_HOST_MAX = 64 << 10,
    GUEST_LAYERS_MAX = 128,
    GUEST_SHARES_MAX = 1024,
    GUEST_RESOLVERS_MAX = 8,
    GUEST_HOSTS_MAX = 1024,
};

enum stream {
    STREAM_STDIO = 0,
    STREAM_STDERR = 1,
};

enum message {
    /* guest to host */
    MESSAGE_HELLO = 1,       /* u32 PROTOCOL_VERSION, string kernel release: the first message */
    MESSAGE_READY = 2,       /* configured: mounts, network, host name are in place */
    MESSAGE_FAILED = 3,      /* string: the configuration could not be applied; the VM is of no use */
    MESSAGE_STARTED = 4,     /* u32 id, u32 pid */
    MESSAGE_NOT_STARTED = 5, /* u32 id, u8 exit status to report (125, 126, 127), string why */
    MESSAGE_EXITED = 6,   /* u32 id, u8 enum exit_kind, u8 exit status or signal, u8 1 when the guest ran out of memory for it */
    MESSAGE_FINISHED = 7, /* everything is ended, synced and unmounted; the VM may be ended */
    MESSAGE_LOG = 8,      /* u8 enum msb_log_level, string */
    MESSAGE_STATS = 9,    /* u32 request, struct guest_stats: the answer to GET_STATS */
    /* host to guest */
    MESSAGE_CONFIG = 32,    /* struct guest_config */
    MESSAGE_RUN = 33,       /* u32 id, u8 finish (1: finish by itself when this process ended), process */
    MESSAGE_SIGNAL = 34,    /* u32 id, u8 signal */
    MESSAGE_RESIZE = 35,    /* u32 id, u16 rows, u16 columns */
    MESSAGE_FINISH = 36,    /* end everything, sync, answer FINISHED */
    MESSAGE_TIME = 37,      /* u64 nanoseconds since the epoch: set the clock */
    MESSAGE_GET_STATS = 38, /* u32 request: any number, for the answer */
    MESSAGE_COPY = 39,      /* u32 id, u8 enum copy_direction, string guest path: an archive over the streams of a process */
};

/* MESSAGE_COPY makes a process of PID 1's own with the usual streams, STARTED, EXITED (0 or 1) and SIGNAL; standard error has what
   went wrong. The archive is a tar (pax) with one entry at its top, a file or a directory with what is in it. */
enum copy_direction {
    COPY_OUT = 0, /* standard output is an archive of what is at the path */
    COPY_IN = 1,  /* standard input is an archive: its top goes into the path if that is a directory, else becomes the path */
};

enum exit_kind {
    EXIT_STATUS = 0,
    EXIT_SIGNAL = 1,
};

/* One bind mount of the shares device's tree onto a guest path. */
struct guest_share {
    char *name;  /* the entry at the top of the file system with tag "shares" */
    char *guest; /* absolute guest path, made if missing: a directory, or an empty file when is_file */
    bool is_file;
    bool read_only;
};

struct guest_network {
    bool present;
    /* All zero: no default route. The gateways lie outside of the networks: their routes say RTNH_F_ONLINK. */
    uint8_t ipv4[4], ipv4_gateway[4];
    uint8_t ipv4_bits;
    uint8_t ipv6[16], ipv6_gateway[16];
    uint8_t ipv6_bits;
    char **resolvers; /* addresses for /etc/resolv.conf */
    size_t num_resolvers;
    char **hosts; /* lines for /etc/hosts, beyond localhost and the guest's own name */
    size_t num_hosts;
};

/* What PID 1 is told before anything runs. */
struct guest_config {
    uint8_t log_level;
    uint64_t realtime; /* nanoseconds since the epoch, to set the clock: of the moment when it was sent */
    uint8_t seed[64];  /* from the host's getrandom(2), credited to the guest's entropy pool */
    char *hostname;
    /* The file system with tag "root": num_layers 0 means that it is the guest's root as it is; otherwise it has directories
       layers/0 (lowest) to layers/N-1 for overlayfs and, with has_upper, state/upper and state/work. Without has_upper the upper layer is a
       tmpfs and vanishes with the VM. */
    uint32_t num_layers;
    bool has_upper;
    bool host_root; /* the only layer is this machine's own; the usual empty directories are made in the upper layer */
    struct guest_share *shares;
    size_t num_shares;
    struct guest_network network;
};

/* What the guest knows of itself. Times are nanoseconds since boot, summed over its vCPUs. */
struct guest_stats {
    uint64_t memory_total, memory_free, memory_available, memory_cached; /* bytes, as /proc/meminfo has them */
    uint64_t cpu_user, cpu_system, cpu_idle;
    uint32_t num_processes;
    uint64_t network_received, network_sent; /* bytes, by all network cards */
    uint64_t oom_kills;                      /* how many processes the kernel ended because there was no memory */
};

void guest_stats_encode(struct writer *w, const struct guest_stats *stats);
bool guest_stats_decode(struct reader *r, struct guest_stats *stats);

void guest_config_clear(struct guest_config *config);
void guest_config_encode(struct writer *w, const struct guest_config *config);
/* Replaces the time in a configuration that was encoded at this offset. */
void guest_config_set_time(struct writer *w, size_t begin, uint64_t realtime);
bool guest_config_decode(struct reader *r, struct guest_config *config);

/* Starts a message in w: reserves the header; message_end() fills the size in. A failed writer stays failed. */
size_t message_begin(struct writer *w, enum message type);
void message_end(struct writer *w, size_t begin);

#endif
