/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/vm.h"

#include "engine/kvm/layout.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

int vm_open_kvm(msb_error **err)
{
    _cleanup_fd_ int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (kvm < 0 && errno == ENOENT)
        return fail(err, MSB_ERR_UNSUPPORTED,
                    "there is no /dev/kvm: load the module kvm_intel or kvm_amd with modprobe, and see that "
                    "virtualization is on in the firmware, or in the hypervisor that this machine runs on");
    if (kvm < 0 && (errno == EACCES || errno == EPERM))
        return fail(err, MSB_ERR_UNSUPPORTED, "no permission to open /dev/kvm: become a member of its group (usually `kvm`)");
    if (kvm < 0 && (errno == ENODEV || errno == ENXIO))
        return fail(err, MSB_ERR_UNSUPPORTED,
                    "/dev/kvm has nothing behind it: load the module kvm_intel or kvm_amd with modprobe, and "
                    "see that virtualization is on in the firmware");
    if (kvm < 0)
        return fail_errno(err, "open /dev/kvm");
    if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return fail(err, MSB_ERR_UNSUPPORTED, "/dev/kvm does not speak version %d of its interface", KVM_API_VERSION);
    return steal_fd(&kvm);
}

static int check_capabilities(int kvm, msb_error **err)
{
    static const struct {
        int number;
        const char *name;
    } needed[] = {
        { KVM_CAP_IRQCHIP, "interrupt controllers in the kernel" },
        { KVM_CAP_IRQFD, "irqfd" },
        { KVM_CAP_IOEVENTFD, "ioeventfd" },
        { KVM_CAP_READONLY_MEM, "read-only guest memory" },
        { KVM_CAP_SYNC_MMU, "guest memory that follows its mapping" },
        { KVM_CAP_EXT_CPUID, "CPUID tables" },
        { KVM_CAP_SET_TSS_ADDR, "a place for the TSS" },
    };

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (ioctl(kvm, KVM_CHECK_EXTENSION, needed[i].number) <= 0)
            return fail(err, MSB_ERR_UNSUPPORTED, "this host's KVM lacks %s", needed[i].name);
    return 0;
}

static int add_slot(struct vm *vm, gpa_t address, const void *bytes, uint64_t size, uint32_t flags, msb_error **err)
{
    struct kvm_userspace_memory_region slot = {
        .slot = vm->num_slots,
        .flags = flags,
        .guest_phys_addr = address.value,
        .memory_size = size,
        .userspace_addr = (uintptr_t)bytes,
    };

    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
        return fail_errno(err, "give the guest %" PRIu64 " bytes at %#" PRIx64, size, address.value);
    vm->num_slots++;
    return 0;
}

static int add_memory(struct vm *vm, uint64_t address, uint64_t offset, uint64_t size, msb_error **err)
{
    const struct memory_region *region = &vm->memory.regions[vm->memory.num_regions];

    if (memory_add(&vm->memory, vm->memory_fd, offset, address, size, address, err) < 0)
        return -1;
    return add_slot(vm, (gpa_t){ address }, region->host, size, 0, err);
}

/* One file for all of it, so that the devices map it with one descriptor. */
static int add_all_memory(struct vm *vm, uint64_t size, msb_error **err)
{
    uint64_t low = size < LAYOUT_HOLE ? size : LAYOUT_HOLE;

    if (add_memory(vm, 0, 0, low, err) < 0)
        return -1;
    return size > low ? add_memory(vm, LAYOUT_ABOVE_4G, low, size - low, err) : 0;
}

int vm_create(struct vm *vm, int kvm, int memory_fd, uint64_t memory_size, msb_error **err)
{
    int run_size;

    *vm = (struct vm){ .kvm = kvm, .fd = -1, .memory_fd = memory_fd };
    if (check_capabilities(kvm, err) < 0)
        return -1;
    run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < (int)sizeof(struct kvm_run))
        return fail_errno(err, "ask KVM for the size of a vCPU's shared page");
    vm->run_size = (size_t)run_size;
    vm->fd = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm->fd < 0)
        return fail_errno(err, "create a VM");
    if (ioctl(vm->fd, KVM_SET_TSS_ADDR, LAYOUT_TSS) < 0)
        return fail_errno(err, "place the VM's TSS");
    if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return fail_errno(err, "create the VM's interrupt controllers");
    return add_all_memory(vm, memory_size, err);
}

void vm_destroy(struct vm *vm)
{
    cleanup_fd(&vm->fd);
    memory_clear(&vm->memory);
    cleanup_fd(&vm->memory_fd);
    *vm = (struct vm){ .kvm = -1, .fd = -1, .memory_fd = -1 };
}

int vm_add_read_only(struct vm *vm, gpa_t address, void *bytes, uint64_t size, msb_error **err)
{
    return add_slot(vm, address, bytes, size, KVM_MEM_READONLY, err);
}

int vm_connect_write(struct vm *vm, gpa_t address, const uint32_t *value, int event, msb_error **err)
{
    struct kvm_ioeventfd wire = {
        .datamatch = value ? *value : 0,
        .addr = address.value,
        .len = sizeof(*value),
        .fd = event,
        .flags = value ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0,
    };

    return ioctl(vm->fd, KVM_IOEVENTFD, &wire) < 0 ? fail_errno(err, "make writes to %#" PRIx64 " an event", address.value) : 0;
}

int vm_connect_interrupt(struct vm *vm, uint32_t gsi, int event, msb_error **err)
{
    struct kvm_irqfd wire = { .fd = (uint32_t)event, .gsi = gsi };

    return ioctl(vm->fd, KVM_IRQFD, &wire) < 0 ? fail_errno(err, "make an event interrupt %" PRIu32, gsi) : 0;
}
