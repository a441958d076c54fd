/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/setup.h"

#include <stdlib.h>

void kvm_setup_clear(struct kvm_setup *setup)
{
    free(setup->kernel_path);
    free(setup->command_line);
    *setup = (struct kvm_setup){ 0 };
}

void kvm_setup_encode(struct writer *w, const struct kvm_setup *setup)
{
    put_u32(w, setup->num_vcpus);
    put_u32(w, setup->memory_mib);
    put_string(w, setup->kernel_path);
    put_string(w, setup->command_line);
    put_u32(w, setup->kvm);
    put_u32(w, setup->kernel);
    put_u32(w, setup->initrd);
    put_u32(w, setup->console);
    put_u32(w, setup->report);
    put_bool(w, setup->measure);
    put_u32(w, setup->num_devices);
    for (uint32_t i = 0; i < setup->num_devices; i++) {
        put_u32(w, setup->devices[i].virtio_id);
        put_u32(w, setup->devices[i].socket);
    }
}

bool kvm_setup_decode(struct reader *r, struct kvm_setup *setup)
{
    *setup = (struct kvm_setup){ 0 };
    setup->num_vcpus = get_u32(r);
    setup->memory_mib = get_u32(r);
    setup->kernel_path = get_string(r);
    setup->command_line = get_string(r);
    setup->kvm = get_u32(r);
    setup->kernel = get_u32(r);
    setup->initrd = get_u32(r);
    setup->console = get_u32(r);
    setup->report = get_u32(r);
    setup->measure = get_bool(r);
    setup->num_devices = get_count(r, LAYOUT_MAX_DEVICES, 8);
    for (uint32_t i = 0; i < setup->num_devices; i++) {
        setup->devices[i].virtio_id = get_u32(r);
        setup->devices[i].socket = get_u32(r);
    }
    if (reader_done(r) && setup->num_vcpus > 0 && setup->num_vcpus <= LAYOUT_MAX_VCPUS && setup->memory_mib > 0)
        return true;
    kvm_setup_clear(setup);
    return false;
}
