/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest meets outside its memory: registers and I/O ports. KVM says what the guest did (struct kvm_run), and machine_exit()
 * does it. That is all the code that acts on values from the guest in this process.
 */
#ifndef MSB_ENGINE_KVM_MACHINE_H
#define MSB_ENGINE_KVM_MACHINE_H

#include "engine/kvm/layout.h"
#include "engine/kvm/uart.h"
#include "engine/kvm/virtio_mmio.h"
#include "util/error.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>

struct machine {
    pthread_mutex_t lock; /* for all below: the vCPUs come here seldom */
    pthread_cond_t attached;
    bool is_attached;
    struct virtio_mmio devices[LAYOUT_MAX_DEVICES];
    uint32_t num_devices;
    const uint8_t *pages; /* their registers, a page of LAYOUT_MMIO_SIZE each */
    struct uart uart;
};

#define MACHINE_INITIALIZER                                                                                                      \
    {                                                                                                                            \
        .lock = PTHREAD_MUTEX_INITIALIZER, .attached = PTHREAD_COND_INITIALIZER                                                  \
    }

/* The first num of the devices, whose registers are at `pages`, are there. A vCPU that touched a device before waits for this. */
void machine_attach(struct machine *machine, const uint8_t *pages, uint32_t num);

/* What becomes of the VM. */
enum machine_outcome {
    MACHINE_CONTINUES,
    MACHINE_RESET,     /* the guest asked for a reset */
    MACHINE_POWER_OFF, /* the guest asked for the power to be cut */
    MACHINE_SHUTDOWN,  /* triple fault */
    MACHINE_FAILED,    /* KVM could not go on; *err says why */
};

/* Handles what KVM_RUN returned for. Any vCPU's thread may call it. */
enum machine_outcome machine_exit(struct machine *machine, struct kvm_run *run, msb_error **err);

#endif
