/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/qemu/arguments.h"

#include <stdio.h>
#include <stdlib.h>

enum { ARGUMENTS_MAX = 128 };

struct arguments {
    char **list;
    size_t num;
    bool failed;
};

static void add(struct arguments *arguments, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct arguments *arguments, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    if (arguments->failed || arguments->num + 1 >= ARGUMENTS_MAX || vasprintf(&text, format, args) < 0)
        arguments->failed = true;
    else
        arguments->list[arguments->num++] = text;
    va_end(args);
}

/* All that TCG can do, but for page tables of five levels: one more step in each walk, for nothing. And without the promise that
   `rep movsb` is fast, which Linux would keep it to for every copy: TCG does it byte by byte, and words twice as fast and more. */
static const char plain_cpu[] = "max,-la57,-erms,-fsrm";

/* The first EPYC of AMD's, less what TCG lacks of it, so that KVM in the guest finds a processor as there are: with "max" its own guests
   would see register areas (XSAVE) whose sizes do not fit together. */
static const char nested_cpu[] = "EPYC,+svm,-fxsr-opt,-misalignsse,-3dnowprefetch,-osvw,-topoext,-perfctr-core,-rdseed,-sha-ni,"
                                 "-clzero,-xsaveerptr,-ibpb,-nrip-save,-xsavec,-xsaves";

/* Without ACPI the kernel finds the processors in the table of Intel's MultiProcessor Specification, which QEMU's firmware writes into
   one KiB: room for some forty. The virtio devices QEMU itself names on the kernel's command line. */
static bool without_acpi(const struct engine_vm *vm)
{
    enum { TABLE_VCPUS_MAX = 32 };

    return vm->acpi_optional && vm->num_vcpus <= TABLE_VCPUS_MAX;
}

static void add_machine(struct arguments *a, const struct engine_vm *vm, bool has_memory)
{
    add(a, "-nodefaults");
    add(a, "-no-user-config");
    add(a, "-no-reboot"); /* how the guest ends QEMU */
    add(a, "-display");
    add(a, "none");
    add(a, "-sandbox");
    add(a, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    /* What the guest does not use it need not look for. It does look for the RTC: without one it waits two seconds for it. */
    add(a, "-machine");
    add(a, "microvm,acpi=%s,pit=off,pic=off,rtc=on,x-option-roms=off,memory-backend=memory", without_acpi(vm) ? "off" : "on");
    add(a, "-bios");
    add(a, "qboot.rom");
    add(a, "-accel");
    add(a, "tcg,thread=%s", vm->num_vcpus > 1 ? "multi" : "single");
    add(a, "-cpu");
    add(a, "%s", vm->nested ? nested_cpu : plain_cpu);
    add(a, "-smp");
    add(a, "%u", vm->num_vcpus);
    add(a, "-m");
    add(a, "%uM", vm->memory_mib);
    add(a, "-object");
    /* Huge pages are mapped as such only where the mapping begins with one. */
    if (has_memory)
        add(a,
            "memory-backend-file,id=memory,mem-path=/" QEMU_MEMORY_DIRECTORY "/" QEMU_MEMORY_FILE ",align=2M,size=%uM,share=on",
            vm->memory_mib);
    else
        add(a, "memory-backend-memfd,id=memory,size=%uM,share=on", vm->memory_mib);
    add(a, "-global");
    add(a, "virtio-mmio.force-legacy=false");
}

static void add_console(struct arguments *a, const struct engine_vm *vm)
{
    add(a, "-add-fd");
    add(a, "fd=%d,set=1", vm->console);
    add(a, "-chardev");
    add(a, "file,id=console,path=/dev/fdset/1,append=on");
    add(a, "-serial");
    add(a, "chardev:console");
}

static void add_own_devices(struct arguments *a)
{
    add(a, "-object");
    add(a, "rng-builtin,id=rng");
    add(a, "-device");
    add(a, "virtio-rng-device,rng=rng");
    /* What the guest frees goes back to the host. */
    add(a, "-device");
    add(a, "virtio-balloon-device,free-page-reporting=on");
}

static void add_device(struct arguments *a, const struct engine_device *device, size_t i)
{
    const uint8_t *mac = device->mac;

    add(a, "-chardev");
    if (device->kind == DEVICE_NET)
        add(a, "socket,id=device%zu,path=" QEMU_NET_ADDRESS ",abstract=on", i);
    else
        add(a, "socket,id=device%zu,fd=%d", i, device->socket);
    switch (device->kind) {
    case DEVICE_FS:
        add(a, "-device");
        add(a, "vhost-user-fs-device,chardev=device%zu,tag=%s,num-request-queues=%u,queue-size=1024", i, device->tag,
            device->num_queues);
        break;
    case DEVICE_VSOCK:
        add(a, "-device");
        add(a, "vhost-user-vsock-device,chardev=device%zu", i);
        break;
    case DEVICE_NET:
        add(a, "-netdev");
        add(a, "vhost-user,id=net%zu,chardev=device%zu", i, i);
        /* Without a link status the link is up from the start; the driver would learn of it later, and drop packets until then. Without
           a control queue, and what takes one, there are no settings to wait for. */
        add(a, "-device");
        add(a,
            "virtio-net-device,netdev=net%zu,status=off,ctrl_vq=off,ctrl_rx=off,ctrl_vlan=off,ctrl_mac_addr=off,"
            "ctrl_guest_offloads=off,guest_announce=off,host_mtu=%u,mac=%02x:%02x:%02x:%02x:%02x:%02x",
            i, device->mtu, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
        break;
    case DEVICE_ENTROPY:
    case DEVICE_BALLOON:
        break; /* QEMU's own are enough: engine_qemu.own_platform */
    }
}

static void add_kernel(struct arguments *a, const struct engine_vm *vm, unsigned tsc_khz)
{
    add(a, "-kernel");
    add(a, "/kernel");
    add(a, "-initrd");
    add(a, "/initrd");
    add(a, "-append");
    /* Why each of these: docs/kernels.md, "Kernel parameters". */
    add(a,
        "earlyprintk=serial,ttyS0,115200,keep 8250.nr_uarts=0 %s panic=-1 reboot=t tsc_early_khz=%u tsc=reliable "
        "lapic_timer_hz=1000000000 keep_initmem %s %s %s",
        vm->kernel_log ? "ignore_loglevel" : "quiet", tsc_khz, without_acpi(vm) ? "acpi=off" : "pnpacpi=off",
        vm->num_vcpus == 1 ? "noreplace-smp" : "", vm->extra_args ? vm->extra_args : "");
}

char **qemu_arguments(const char *program, const struct engine_vm *vm, bool has_memory, unsigned tsc_khz, msb_error **err)
{
    struct arguments a = { .list = calloc(ARGUMENTS_MAX, sizeof(char *)) };

    a.failed = !a.list;
    add(&a, "%s", program);
    add_machine(&a, vm, has_memory);
    add_console(&a, vm);
    for (size_t i = 0; i < vm->num_devices; i++)
        add_device(&a, &vm->devices[i], i);
    add_own_devices(&a);
    add_kernel(&a, vm, tsc_khz);
    return a.failed ? FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory for QEMU's arguments")) : a.list;
}
