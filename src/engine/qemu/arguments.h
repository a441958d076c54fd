/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the qemu engine: how a VM is said to QEMU, and what QEMU may ask of the host.
 */
#ifndef MSB_ENGINE_QEMU_ARGUMENTS_H
#define MSB_ENGINE_QEMU_ARGUMENTS_H

#include "engine/engine.h"

enum { QEMU_VCPUS_MAX = 255 /* of the microvm machine */ };

/* Where the file of guest memory is in QEMU's cell, when it has huge pages. */
#define QEMU_MEMORY_DIRECTORY "memory"
#define QEMU_MEMORY_FILE "guest"

/* QEMU's arguments for vm, NULL-terminated. Paths are those of its cell: /kernel and /initrd. has_memory: whether the file of guest memory is
   there, too; otherwise QEMU makes one. The caller frees them, if it goes on. */
char **qemu_arguments(const char *program, const struct engine_vm *vm, bool has_memory, unsigned tsc_khz, msb_error **err);

/* Lets QEMU, in whose network namespace this is called, connect to the network device at the abstract address QEMU_NET_ADDRESS. */
int qemu_listen_for_net(int device, msb_error **err);
#define QEMU_NET_ADDRESS "net"

/* cell_confine() with the system calls of QEMU. */
int qemu_confine(msb_error **err);

#endif
