/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer over what a guest can do to the KVM engine: any sequence of exits, which are accesses to registers and ports with any
 * address, width and value. The input is a number of exits, each as KVM would report it. After each, what has to hold of every device
 * is checked: when its device process is told to start and to stop, and what the guest sees in its registers.
 */
#include "engine/kvm/machine.h"

#include "../virtio/input.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>

enum {
    NUM_DEVICES = 3,
    QUEUE_SIZE_MAX = 256,
    CONFIG_SIZE = 64,
    RUN_PAGES = 3, /* struct kvm_run, the data of string instructions, and the coalesced ring */
    PAGE = 4096,
    EXITS_MAX = 400,
};

#define FEATURES (UINT64_C(1) << VIRTIO_F_VERSION_1 | 0x30)

/* What a device process would see. */
struct device {
    struct virtio_mmio *mmio;
    bool running;
    bool refuses; /* to start */
};

static struct machine machine = MACHINE_INITIALIZER;
static struct device devices[NUM_DEVICES];
static _Alignas(PAGE) uint8_t pages[NUM_DEVICES + 1][PAGE]; /* the last one is nobody's, and stays empty */
static const uint8_t zeros[PAGE], config[CONFIG_SIZE] = "configuration";
static _Alignas(PAGE) uint8_t run_pages[RUN_PAGES * PAGE];

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint32_t shown(unsigned device, unsigned offset)
{
    uint32_t value;

    memcpy(&value, pages[device] + offset, sizeof(value));
    return value;
}

static int start(void *data, const struct virtio_mmio *mmio)
{
    struct device *device = data;

    require(device->mmio == mmio && !device->running);
    require(mmio->status & VIRTIO_CONFIG_S_FEATURES_OK);
    require((mmio->driver_features & ~mmio->device_features) == 0 && (mmio->driver_features >> VIRTIO_F_VERSION_1 & 1));
    for (uint32_t i = 0; i < VIRTIO_MMIO_MAX_QUEUES; i++) {
        const struct virtio_mmio_queue *queue = &mmio->queues[i];

        require(!queue->ready || (i < mmio->num_queues && queue->size != 0 && queue->size <= QUEUE_SIZE_MAX &&
                                  (queue->size & (queue->size - 1)) == 0));
    }
    device->running = !device->refuses;
    return device->refuses ? -1 : 0;
}

static void stop(void *data)
{
    struct device *device = data;

    require(device->running);
    device->running = false;
}

static const struct virtio_mmio_ops ops = { .start = start, .stop = stop };

static void make_machine(uint8_t choices)
{
    memset(pages, 0, sizeof(pages));
    machine_attach(&machine, pages[0], NUM_DEVICES);
    machine.uart = (struct uart){ .fd = -1 };
    for (unsigned i = 0; i < NUM_DEVICES; i++) {
        const struct virtio_mmio_description description = {
            .device_id = i + 1,
            .features = FEATURES,
            .num_queues = i == 0 ? VIRTIO_MMIO_MAX_QUEUES : i,
            .queue_size_max = QUEUE_SIZE_MAX,
            .config = config,
            .config_size = sizeof(config),
        };

        devices[i] = (struct device){ .mmio = &machine.devices[i], .refuses = choices >> i & 1 };
        virtio_mmio_init(&machine.devices[i], pages[i], &description, &ops, &devices[i]);
    }
}

static void check_device(unsigned i)
{
    const struct virtio_mmio *mmio = &machine.devices[i];
    const struct virtio_mmio_queue *queue = mmio->queue_sel < mmio->num_queues ? &mmio->queues[mmio->queue_sel] : NULL;
    const uint32_t live = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;

    require(mmio->live == devices[i].running);
    require(!mmio->live || ((mmio->status & live) == live && !(mmio->status & VIRTIO_CONFIG_S_NEEDS_RESET)));
    require(shown(i, VIRTIO_MMIO_STATUS) == mmio->status);
    require(shown(i, VIRTIO_MMIO_MAGIC_VALUE) == 0x74726976 && shown(i, VIRTIO_MMIO_VERSION) == 2);
    require(shown(i, VIRTIO_MMIO_DEVICE_ID) == i + 1);
    require(shown(i, VIRTIO_MMIO_QUEUE_NUM_MAX) == (queue ? QUEUE_SIZE_MAX : 0));
    require(shown(i, VIRTIO_MMIO_QUEUE_READY) == (queue && queue->ready));
    require(memcmp(pages[i] + VIRTIO_MMIO_CONFIG, config, sizeof(config)) == 0);
    require(memcmp(pages[i] + VIRTIO_MMIO_CONFIG + sizeof(config), zeros, PAGE - VIRTIO_MMIO_CONFIG - sizeof(config)) == 0);
}

/* An exit for memory that is not there: near a device's registers mostly, anywhere else now and then. */
static void take_mmio(struct input *input, struct kvm_run *run, uint8_t choice)
{
    static const uint8_t lengths[] = { 4, 1, 2, 8 };
    unsigned device = choice >> 3 & 3;

    run->exit_reason = KVM_EXIT_MMIO;
    run->mmio.is_write = !(choice & 4);
    run->mmio.len = choice & 0x80 ? lengths[choice >> 5 & 3] : 4;
    if (choice & 2)
        run->mmio.phys_addr = LAYOUT_MMIO + device * (uint64_t)LAYOUT_MMIO_SIZE + 4 * (uint64_t)(take_byte(input) & 0x3f);
    else
        take(input, &run->mmio.phys_addr, sizeof(run->mmio.phys_addr));
    take(input, run->mmio.data, choice & 0x40 ? 1 : 4);
}

static void take_io(struct input *input, struct kvm_run *run, uint8_t choice)
{
    static const uint16_t ports[] = { PORT_I8042, PORT_UART, PORT_UART + 3, PORT_SLEEP_CONTROL, PORT_SLEEP_STATUS, PORT_RESET };

    run->exit_reason = KVM_EXIT_IO;
    run->io.direction = choice & 2 ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
    run->io.size = (uint8_t)(1 << (choice >> 2) % 3);
    run->io.port = choice & 0x40 ? take_u16(input) : ports[take_byte(input) % (sizeof(ports) / sizeof(ports[0]))];
    run->io.count = choice & 0x80 ? 1 + take_u16(input) % (PAGE / run->io.size) : 1;
    run->io.data_offset = PAGE;
    take(input, run_pages + PAGE, run->io.count * run->io.size < 16 ? run->io.count * run->io.size : 16);
}

/* Any other reason, with whatever the rest of the page holds. */
static void take_other(struct input *input, struct kvm_run *run)
{
    take(input, &run->internal, 64);
    run->exit_reason = take_byte(input);
    if (run->exit_reason == KVM_EXIT_IO || run->exit_reason == KVM_EXIT_MMIO)
        run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kvm_run *run = (struct kvm_run *)(void *)run_pages;
    struct input input = { data, size };
    enum machine_outcome outcome = MACHINE_CONTINUES;

    make_machine(take_byte(&input));
    for (unsigned i = 0; i < EXITS_MAX && input.left > 0 && outcome == MACHINE_CONTINUES; i++) {
        uint8_t choice = take_byte(&input);
        msb_error *error = NULL;

        if (choice & 1)
            take_mmio(&input, run, choice);
        else if (choice)
            take_io(&input, run, choice);
        else
            take_other(&input, run);
        outcome = machine_exit(&machine, run, &error);
        require((outcome == MACHINE_FAILED) == (error != NULL));
        msb_error_free(error);
        for (unsigned device = 0; device < NUM_DEVICES; device++)
            check_device(device);
        require(machine.uart.used < UART_LINE_MAX);
    }
    require(memcmp(pages[NUM_DEVICES], zeros, PAGE) == 0);
    return 0;
}
