/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What engine_kvm.run tells the program msb-kvm that it becomes. The encoding lies in a memfd whose number is the only argument;
 * descriptors are named by their numbers.
 */
#ifndef MSB_ENGINE_KVM_SETUP_H
#define MSB_ENGINE_KVM_SETUP_H

#include "engine/kvm/layout.h"
#include "wire/buffer.h"

enum { KVM_SETUP_MAX = 64 << 10 }; /* bytes */

struct kvm_setup_device {
    uint32_t virtio_id;
    uint32_t socket;
};

struct kvm_setup {
    uint32_t num_vcpus;
    uint32_t memory_mib;
    char *kernel_path;  /* for messages */
    char *command_line; /* the guest kernel's */
    uint32_t kvm;       /* /dev/kvm */
    uint32_t kernel;
    uint32_t initrd;
    uint32_t console;
    uint32_t report;
    bool measure; /* see struct engine_vm */
    uint32_t num_devices;
    struct kvm_setup_device devices[LAYOUT_MAX_DEVICES];
};

void kvm_setup_clear(struct kvm_setup *setup);
void kvm_setup_encode(struct writer *w, const struct kvm_setup *setup);
bool kvm_setup_decode(struct reader *r, struct kvm_setup *setup);

#endif
