/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this process and each of its threads may still ask of the host: three lists, each narrower than the one before.
 */
#ifndef MSB_ENGINE_KVM_CONFINE_H
#define MSB_ENGINE_KVM_CONFINE_H

#include "util/error.h"

/* The process, from when it holds every descriptor that it will need until the guest starts. */
int confine_setup(msb_error **err);

/* A thread that runs a vCPU. */
int confine_vcpu(msb_error **err);

/* The thread that waits for the end. */
int confine_watch(msb_error **err);

#endif
