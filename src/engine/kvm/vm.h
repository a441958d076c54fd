/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual machine as KVM has it: guest memory, the in-kernel interrupt controllers, and the wires (eventfds) by which KVM passes
 * kicks and interrupts between the guest and the device processes without us.
 */
#ifndef MSB_ENGINE_KVM_VM_H
#define MSB_ENGINE_KVM_VM_H

#include "util/error.h"
#include "virtio/memory.h"

struct vm {
    int kvm;            /* /dev/kvm */
    int fd;             /* the VM */
    int memory_fd;      /* guest memory, from guest-physical 0, without the hole below 4 GiB */
    size_t run_size;    /* of a vCPU's struct kvm_run, mapped from its descriptor */
    uint32_t num_slots; /* KVM memory slots in use */
    struct memory memory;
};

/* Opens /dev/kvm; the message says what would mend it. */
int vm_open_kvm(msb_error **err);

/* Makes a VM without vCPUs. kvm stays the caller's; memory_fd, a file of memory_size bytes, becomes the VM's. */
int vm_create(struct vm *vm, int kvm, int memory_fd, uint64_t memory_size, msb_error **err);
void vm_destroy(struct vm *vm);

/* Puts size bytes of ours at address, where the guest can read but not write them: a write leaves the guest as KVM_EXIT_MMIO. */
int vm_add_read_only(struct vm *vm, gpa_t address, void *bytes, uint64_t size, msb_error **err);

/* From now on a 32-bit write of value to address, or with value NULL of any value, only signals the eventfd. */
int vm_connect_write(struct vm *vm, gpa_t address, const uint32_t *value, int event, msb_error **err);

/* From now on a signal of the eventfd is an edge on the I/O APIC's input. */
int vm_connect_interrupt(struct vm *vm, uint32_t gsi, int event, msb_error **err);

#endif
