/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A validated VM, as the VM builder makes it, the monitor receives it and the engine and devices are started from it. Plain data:
 * every string is owned by the spec, every host path is absolute, every guest path normalized.
 */
#ifndef MSB_CONFIG_SPEC_H
#define MSB_CONFIG_SPEC_H

#include "util/error.h"
#include "wire/process.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum spec_rootfs_kind {
    ROOTFS_NATIVE,  /* rootfs_layers[0] is the directory, written in place */
    ROOTFS_OVERLAY, /* rootfs_layers, lowest first, and rootfs_upper or NULL */
    ROOTFS_HOST,    /* this machine's programs, under a discarded upper layer; no rootfs_layers */
};

enum { ROOTFS_LAYERS_MAX = 128 };

struct spec_share {
    char *host;  /* absolute */
    char *guest; /* absolute, normalized */
    bool read_only;
};

struct spec_port {
    struct in6_addr address; /* what to listen on; IPv4 as v4-mapped */
    uint16_t host;           /* 0: any free one */
    uint16_t guest;
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
};

struct spec {
    enum msb_log_level log_level;
    enum spec_rootfs_kind rootfs_kind;
    char **rootfs_layers;
    size_t num_rootfs_layers;
    char *rootfs_upper;
    uint32_t num_vcpus;
    uint32_t memory_mib;
    struct spec_share *shares;
    size_t num_shares;
    struct spec_port *ports;
    size_t num_ports;
    enum msb_scope scope;
    bool has_ip, has_subnet;
    struct in_addr ip;
    struct in_addr subnet;
    uint8_t subnet_bits;
    bool has_process;       /* false: the sandbox has no command and stays until it is stopped */
    struct process process; /* without: exec_path is empty, and the rest is what every exec inherits */
    char *console_output;   /* absolute host path, or NULL */
    enum msb_engine engine;
    char *kernel;                         /* absolute host path, or NULL for the default */
    char *hostname;                       /* NULL: "microsandbox" */
    bool nested;                          /* the guest gets hardware virtualization of its own */
    char *name;                           /* NULL: none, and nobody but the caller finds it */
    bool keep;                            /* what is known of it stays when it has ended */
    uint64_t timeout_ms, idle_timeout_ms; /* 0: none */
};

void spec_clear(struct spec *spec);

/* The wire form, for the monitor. A decoded spec is owned by the caller. */
void spec_encode(struct writer *w, const struct spec *spec);
int spec_decode(struct reader *r, struct spec *spec, msb_error **err);

#endif
