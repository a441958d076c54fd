/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtio device: its registers here, its queues in a device process behind vhost-user. Between the two run only eventfds, from KVM
 * to the device process and back; this process takes part when the driver starts and stops the device.
 */
#ifndef MSB_ENGINE_KVM_DEVICE_H
#define MSB_ENGINE_KVM_DEVICE_H

#include "engine/kvm/virtio_mmio.h"
#include "engine/kvm/vm.h"
#include "virtio/frontend.h"

struct device {
    struct frontend *frontend;
    uint32_t num_queues;
    int interrupt; /* one for all queues: the guest has one interrupt for each device */
    int kicks[VIRTIO_MMIO_MAX_QUEUES];
    uint32_t started; /* bit N: queue N was started */
};

/* Connects slot index of the register pages with the device process behind socket, which becomes the device's: asks the process what it
   is, fills its page and the registers' state, and lays the wires. acknowledge takes the writes to InterruptACK: nobody reads it. */
int device_create(struct device *device, struct virtio_mmio *mmio, struct vm *vm, uint32_t index, uint32_t virtio_id, int socket,
                  uint8_t *page, int acknowledge, msb_error **err);

#endif
