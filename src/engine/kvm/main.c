/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-kvm: the program that engine_kvm.run becomes. main() is the whole story, in order: take what the monitor gave, go into the cell,
 * build the machine, start its processors, connect its devices, wait for the end. docs/kvm-engine.md tells it in words.
 *
 * The process ends with status 0 when the guest reset, powered off or shut down, and with 1 and the reason on the report descriptor when it
 * could not go on. Whoever knows first ends it: exit_group(2) takes the other threads out of the guest.
 */
#include "engine/kvm/acpi.h"
#include "engine/kvm/confine.h"
#include "engine/kvm/device.h"
#include "engine/kvm/kernel.h"
#include "engine/kvm/machine.h"
#include "engine/kvm/probe.h"
#include "engine/kvm/setup.h"
#include "engine/kvm/vcpu.h"
#include "engine/memory_file.h"
#include "util/cell.h"
#include "util/cleanup.h"

#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { VCPU_STACK_SIZE = 64 << 10 };

struct engine_process {
    struct kvm_setup setup;
    struct vm vm;
    struct machine machine;
    struct device devices[LAYOUT_MAX_DEVICES];
    int memory;
    struct vcpu vcpus[LAYOUT_MAX_VCPUS];
};

/* The only one, and all that the threads share. */
static struct engine_process self = { .machine = MACHINE_INITIALIZER };

/* ---- Setting up --------------------------------------------------------------------------------------------------------------------- */

static int receive_setup(int fd, msb_error **err)
{
    _cleanup_free_ uint8_t *bytes = malloc(KVM_SETUP_MAX);
    struct reader reader = { .data = bytes };
    ssize_t size = bytes ? pread(fd, bytes, KVM_SETUP_MAX, 0) : -1;

    if (size < 0)
        return fail_errno(err, "read the set-up");
    close(fd);
    reader.left = (size_t)size;
    return kvm_setup_decode(&reader, &self.setup) ? 0 : fail(err, MSB_ERR_PROTOCOL, "the set-up of the kvm engine is malformed");
}

static uint64_t memory_size(void)
{
    return (uint64_t)self.setup.memory_mib << 20;
}

static int enter_cell(msb_error **err)
{
    /* Mounts, which nothing may afterwards. Huge pages in any case: a small one's first touch leaves the guest. */
    self.memory = memory_file_create(memory_size(), MEMORY_FILE_HUGE, err);
    if (self.memory < 0)
        return -1;
    /* Nothing is opened by name any more: the root is empty. */
    if (cell_mounts(NULL, 0, err) < 0 || cell_die_with((int)self.setup.report, err) < 0)
        return -1;
    return confine_setup(err);
}

static int create_devices(msb_error **err)
{
    uint32_t num = self.setup.num_devices;
    size_t size = (size_t)num * LAYOUT_MMIO_SIZE;
    uint8_t *pages = num == 0 ? NULL : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int acknowledge = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (pages == MAP_FAILED || acknowledge < 0)
        return fail_errno(err, "make the devices' registers");
    for (uint32_t i = 0; i < num; i++)
        if (device_create(&self.devices[i], &self.machine.devices[i], &self.vm, i, self.setup.devices[i].virtio_id,
                          (int)self.setup.devices[i].socket, pages + (size_t)i * LAYOUT_MMIO_SIZE, acknowledge, err) < 0)
            return fail_prefix(err, "virtio device %" PRIu32, self.setup.devices[i].virtio_id);
    if (num > 0 && vm_add_read_only(&self.vm, (gpa_t){ LAYOUT_MMIO }, pages, size, err) < 0)
        return -1;
    machine_attach(&self.machine, pages, num);
    return 0;
}

static int load_guest(gpa_t *entry, msb_error **err)
{
    const struct kernel_boot boot = {
        .path = self.setup.kernel_path,
        .kernel = (int)self.setup.kernel,
        .initrd = (int)self.setup.initrd,
        .command_line = self.setup.command_line,
        .rsdp = { LAYOUT_ACPI },
    };
    uint8_t *tables;

    if (kernel_load(&self.vm.memory, &boot, entry, err) < 0)
        return -1;
    tables = memory_at(&self.vm.memory, boot.rsdp, LAYOUT_ACPI_MAX);
    if (acpi_write(tables, LAYOUT_ACPI_MAX, boot.rsdp.value, self.setup.num_vcpus, self.setup.num_devices) == 0)
        return fail(err, MSB_ERR_UNSUPPORTED, "the ACPI tables do not fit");
    return 0;
}

static int create_vcpus(gpa_t entry, msb_error **err)
{
    static struct cpuid cpuid;

    if (vcpu_prepare_cpuid(&self.vm, &cpuid, err) < 0)
        return -1;
    for (uint32_t i = 0; i < self.setup.num_vcpus; i++)
        if (vcpu_create(&self.vcpus[i], &self.vm, &cpuid, i, self.setup.num_vcpus, err) < 0)
            return -1;
    if (self.setup.measure && kvm_probe_vcpu(self.vcpus[0].fd, self.vcpus[0].run,
                                             memory_at(&self.vm.memory, (gpa_t){ KVM_PROBE_CODE }, KVM_PROBE_CODE), err) < 0)
        return -1;
    return vcpu_set_entry(&self.vcpus[0], &self.vm, entry, err);
}

static int build_machine(msb_error **err)
{
    gpa_t entry;

    self.machine.uart.fd = (int)self.setup.console;
    if (vm_create(&self.vm, (int)self.setup.kvm, self.memory, memory_size(), err) < 0 || load_guest(&entry, err) < 0)
        return -1;
    return create_vcpus(entry, err);
}

/* ---- Running ------------------------------------------------------------------------------------------------------------------------ */

_Noreturn static void end(int status)
{
    pthread_mutex_lock(&self.machine.lock);
    uart_flush(&self.machine.uart);
    _exit(status);
}

_Noreturn static void end_with(msb_error *error)
{
    const char *text = msb_error_message(error);

    /* Nobody is left to be told when this fails. */
    if (write((int)self.setup.report, text, strlen(text)) < 0)
        end(1);
    end(1);
}

static void handle_exit(struct kvm_run *run)
{
    msb_error *error = NULL;

    switch (machine_exit(&self.machine, run, &error)) {
    case MACHINE_CONTINUES:
        return;
    case MACHINE_RESET:
    case MACHINE_POWER_OFF:
    case MACHINE_SHUTDOWN:
        end(0);
    case MACHINE_FAILED:
        end_with(error);
    }
}

static void *run_vcpu(void *data)
{
    const struct vcpu *vcpu = data;
    msb_error *error = NULL;

    if (confine_vcpu(&error) < 0)
        end_with(error);
    for (;;) {
        /* EAGAIN: this vCPU was started by another one and is ready to run. */
        if (ioctl(vcpu->fd, KVM_RUN, 0) == 0)
            handle_exit(vcpu->run);
        else if (errno != EINTR && errno != EAGAIN)
            break;
    }
    fail_errno(&error, "run a vCPU");
    end_with(error);
}

static int start_vcpus(msb_error **err)
{
    pthread_attr_t attributes;
    int result = pthread_attr_init(&attributes);

    if (result == 0)
        result = pthread_attr_setstacksize(&attributes, VCPU_STACK_SIZE);
    for (uint32_t i = 0; i < self.setup.num_vcpus && result == 0; i++) {
        pthread_t thread;

        result = pthread_create(&thread, &attributes, run_vcpu, &self.vcpus[i]);
    }
    if (result == 0)
        return 0;
    errno = result;
    return fail_errno(err, "start the vCPUs");
}

/* The monitor holds the other end of the report. A device process that ends is for the monitor to see, which knows them all; the guest
   gets no answers from it any more. */
_Noreturn static void watch(void)
{
    struct pollfd monitor = { .fd = (int)self.setup.report };
    msb_error *error = NULL;

    if (confine_watch(&error) < 0)
        end_with(error);
    while (poll(&monitor, 1, -1) <= 0)
        ;
    _exit(1);
}

int main(int argc, char **argv)
{
    msb_error *error = NULL;

    /* Executed by descriptor, it would be called after the descriptor's number. */
    prctl(PR_SET_NAME, "msb-kvm", 0, 0, 0);
    /* Every thread allocates from one heap: a further one would be mapped when a thread first needs it, which it may not do then. */
    mallopt(M_ARENA_MAX, 1);
    if (argc != 2) {
        fputs("msb-kvm is started by the monitor of a VM\n", stderr);
        return 2;
    }
    self.setup.report = STDERR_FILENO;
    /* The devices are processes that start at the same time as this one: the guest's kernel does not wait for them until it needs them. */
    if (receive_setup((int)strtol(argv[1], NULL, 10), &error) < 0 || enter_cell(&error) < 0 || build_machine(&error) < 0 ||
        start_vcpus(&error) < 0 || create_devices(&error) < 0)
        end_with(error);
    watch();
}
