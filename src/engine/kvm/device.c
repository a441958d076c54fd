/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/device.h"

#include "engine/kvm/layout.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>

/* Entries. virtio-fs takes as many pages into a request as its queue has entries. */
enum { QUEUE_SIZE = 256, FS_QUEUE_SIZE = 1024 };

static void stop(void *data)
{
    struct device *device = data;

    for (uint32_t i = 0; i < device->num_queues; i++)
        if (device->started >> i & 1)
            frontend_queue_stop(device->frontend, i, NULL);
    device->started = 0;
}

static int start_queue(struct device *device, uint32_t index, const struct virtio_mmio_queue *queue)
{
    const struct frontend_queue settings = {
        .size = queue->size,
        .desc = { queue->desc },
        .avail = { queue->avail },
        .used = { queue->used },
        .kick_fd = device->kicks[index],
        .call_fd = device->interrupt,
    };

    return frontend_queue_start(device->frontend, index, &settings, NULL);
}

/* The driver is ready. Why a device process refuses is its own to say; the driver sees DEVICE_NEEDS_RESET. */
static int start(void *data, const struct virtio_mmio *mmio)
{
    struct device *device = data;

    if (frontend_set_features(device->frontend, mmio->driver_features, NULL) < 0)
        return -1;
    for (uint32_t i = 0; i < device->num_queues; i++) {
        if (!mmio->queues[i].ready)
            continue;
        if (start_queue(device, i, &mmio->queues[i]) < 0) {
            stop(device);
            return -1;
        }
        device->started |= UINT32_C(1) << i;
    }
    return 0;
}

static const struct virtio_mmio_ops ops = { .start = start, .stop = stop };

static int make_event(msb_error **err)
{
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    return event < 0 ? fail_errno(err, "make an eventfd") : event;
}

static int lay_wires(struct device *device, struct vm *vm, uint32_t index, int acknowledge, msb_error **err)
{
    uint64_t page = LAYOUT_MMIO + (uint64_t)index * LAYOUT_MMIO_SIZE;

    device->interrupt = make_event(err);
    if (device->interrupt < 0 || vm_connect_interrupt(vm, LAYOUT_FIRST_GSI + index, device->interrupt, err) < 0 ||
        vm_connect_write(vm, (gpa_t){ page + VIRTIO_MMIO_INTERRUPT_ACK }, NULL, acknowledge, err) < 0)
        return -1;
    for (uint32_t i = 0; i < device->num_queues; i++) {
        device->kicks[i] = make_event(err);
        if (device->kicks[i] < 0 ||
            vm_connect_write(vm, (gpa_t){ page + VIRTIO_MMIO_QUEUE_NOTIFY }, &i, device->kicks[i], err) < 0)
            return -1;
    }
    return 0;
}

static int set_memory(struct device *device, const struct vm *vm, msb_error **err)
{
    struct frontend_region regions[MEMORY_MAX_REGIONS];
    uint64_t offset = 0;

    for (unsigned i = 0; i < vm->memory.num_regions; i++) {
        regions[i] = (struct frontend_region){
            .fd = vm->memory_fd,
            .offset = offset,
            .guest_address = vm->memory.regions[i].guest_address,
            .size = vm->memory.regions[i].size,
        };
        offset += regions[i].size;
    }
    return frontend_set_memory(device->frontend, regions, vm->memory.num_regions, err);
}

/* A device process without a configuration space says so when it is asked. */
static int read_config(struct device *device, uint8_t *config, size_t size, msb_error **err)
{
    msb_error *error = NULL;

    if (frontend_get_config(device->frontend, 0, config, size, &error) < 0 && msb_error_code(error) != MSB_ERR_UNSUPPORTED)
        return fail_with(err, error);
    msb_error_free(error);
    return 0;
}

/* What the registers may show. The transport keeps to what it can do: split rings, and no reset of a single queue. */
static uint64_t offered_features(const struct frontend *frontend)
{
    return frontend_features(frontend) & ~(UINT64_C(1) << VIRTIO_F_RING_PACKED | UINT64_C(1) << VIRTIO_F_RING_RESET);
}

int device_create(struct device *device, struct virtio_mmio *mmio, struct vm *vm, uint32_t index, uint32_t virtio_id, int socket,
                  uint8_t *page, int acknowledge, msb_error **err)
{
    uint8_t config[VIRTIO_MMIO_CONFIG_MAX] = { 0 };
    struct virtio_mmio_description description = {
        .device_id = virtio_id,
        .queue_size_max = virtio_id == VIRTIO_ID_FS ? FS_QUEUE_SIZE : QUEUE_SIZE,
        .config = config,
        .config_size = sizeof(config),
    };

    *device = (struct device){ .frontend = frontend_new(socket, err) };
    if (!device->frontend)
        return -1;
    device->num_queues = frontend_num_queues(device->frontend);
    if (device->num_queues > VIRTIO_MMIO_MAX_QUEUES)
        return fail(err, MSB_ERR_PROTOCOL, "the device process has %u queues, of at most %d", device->num_queues,
                    VIRTIO_MMIO_MAX_QUEUES);
    if (read_config(device, config, sizeof(config), err) < 0 || set_memory(device, vm, err) < 0 ||
        lay_wires(device, vm, index, acknowledge, err) < 0)
        return -1;
    description.features = offered_features(device->frontend);
    description.num_queues = device->num_queues;
    virtio_mmio_init(mmio, page, &description, &ops, device);
    return 0;
}
