/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs the vCPUs. One table of functions per engine; the monitor knows no engine by name. An engine does no I/O of its own:
 * every device is a process behind vhost-user.
 */
#ifndef MSB_ENGINE_ENGINE_H
#define MSB_ENGINE_ENGINE_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A device behind vhost-user. The numbers are virtio's device ids (virtio 1.2, section 5). */
enum engine_device_kind {
    DEVICE_NET = 1,
    DEVICE_ENTROPY = 4,
    DEVICE_BALLOON = 5,
    DEVICE_VSOCK = 19,
    DEVICE_FS = 26,
};

struct engine_device {
    enum engine_device_kind kind;
    int socket;          /* connected to the device process; becomes the engine's */
    const char *tag;     /* DEVICE_FS: the mount tag, "root" or "shares" */
    unsigned num_queues; /* DEVICE_FS: request queues beside the high-priority one */
    uint8_t mac[6];      /* DEVICE_NET, and the MTU in bytes */
    uint16_t mtu;
};

struct engine_vm {
    uint32_t num_vcpus;
    uint32_t memory_mib;
    const char *kernel;     /* host path */
    bool acpi_optional;     /* it finds processors and devices without ACPI, too: docs/kernels.md, "Files" */
    int initrd;             /* a memfd with the initramfs, position 0 */
    const char *extra_args; /* kernel parameters of the guest kernel's own, or NULL; never anything that a user typed */
    int console;            /* where the kernel's log goes: a pipe to the monitor */
    bool kernel_log;        /* the whole log is wanted, not only what a panic says */
    int report;   /* where the text of an error goes, as one write; hangs up when the monitor is gone (cell_die_with()) */
    bool measure; /* the engine was not probed: its process does it. Only for engines with measures_itself */
    bool nested;  /* the guest gets hardware virtualization of its own; refused by engines that cannot */
    const struct engine_device *devices;
    size_t num_devices;
};

struct engine {
    const char *name;
    const char *const *kernels; /* in the kernel directory (docs/kernels.md), best first, NULL-terminated */
    bool runs_kernel;           /* its kernel is a program of the host: another engine's --kernel FILE is none for it */
    bool own_platform;          /* has an entropy source and a balloon of its own: it is not given devices of these kinds */

    /* Whether this engine works here: 0, or -1 and why not, and what would mend it. Bounded to 100 ms. */
    int (*probe)(msb_error **err);

    /* Its process probes, too, and in less time, since it has a VM anyway: where this engine is named, it need not be probed before. */
    bool measures_itself;

    /* What a successful probe measured, for "msb doctor"; NULL for engines that measure nothing. */
    const char *(*measured)(void);

    /* Called by the monitor before the engine's process is made: refuses what this engine cannot do, by the option's name. */
    int (*check)(const struct engine_vm *vm, msb_error **err);

    /* Runs in the engine's own new process, single-threaded, in namespaces of its own with all capabilities over them, no other
       descriptors open than those in vm and standard error: builds the cell, gives up privileges, and becomes the engine (by exec
       or by running). Returns only on failure. The process ends when the guest resets or powers off: status 0. */
    int (*run)(const struct engine_vm *vm, msb_error **err);
};

extern const struct engine engine_kvm, engine_qemu, engine_uml;

/* All of them, best first, NULL-terminated. */
extern const struct engine *const engines[];

/* The engine of that name; NULL for MSB_ENGINE_AUTO, which is none. */
const struct engine *engine_named(enum msb_engine name);

#endif
