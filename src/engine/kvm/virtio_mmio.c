/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/virtio_mmio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <string.h>

/* "virt", little-endian, and the version without the legacy interface. */
#define MAGIC UINT32_C(0x74726976)
#define VERSION 2
/* Ours to choose: the guest shows it and does nothing with it. */
#define VENDOR UINT32_C(0x0062736d)
/* What Status may hold when the driver writes it; DEVICE_NEEDS_RESET is the device's. */
#define DRIVER_STATUS_BITS                                                                                                       \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK |            \
     VIRTIO_CONFIG_S_FAILED)

/* Other vCPUs may be reading: the store must be one store. */
static void show(struct virtio_mmio *mmio, unsigned offset, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)(mmio->page + offset), value, __ATOMIC_RELEASE);
}

static struct virtio_mmio_queue *selected_queue(struct virtio_mmio *mmio)
{
    return mmio->queue_sel < mmio->num_queues ? &mmio->queues[mmio->queue_sel] : NULL;
}

static void show_status(struct virtio_mmio *mmio)
{
    show(mmio, VIRTIO_MMIO_STATUS, mmio->status);
}

static void show_device_features(struct virtio_mmio *mmio)
{
    uint32_t sel = mmio->device_features_sel;

    show(mmio, VIRTIO_MMIO_DEVICE_FEATURES, sel > 1 ? 0 : (uint32_t)(mmio->device_features >> (32 * sel)));
}

static void show_queue(struct virtio_mmio *mmio)
{
    const struct virtio_mmio_queue *queue = selected_queue(mmio);

    show(mmio, VIRTIO_MMIO_QUEUE_NUM_MAX, queue ? mmio->queue_size_max : 0);
    show(mmio, VIRTIO_MMIO_QUEUE_READY, queue && queue->ready);
}

/* Section 4.2.2.1: what the registers hold after a reset. */
static void reset(struct virtio_mmio *mmio)
{
    if (mmio->live)
        mmio->ops->stop(mmio->device);
    mmio->live = false;
    mmio->status = 0;
    mmio->driver_features = 0;
    mmio->device_features_sel = 0;
    mmio->driver_features_sel = 0;
    mmio->queue_sel = 0;
    memset(mmio->queues, 0, sizeof(mmio->queues));
    show(mmio, VIRTIO_MMIO_INTERRUPT_STATUS, 0);
    show_device_features(mmio);
    show_queue(mmio);
    show_status(mmio);
}

static void needs_reset(struct virtio_mmio *mmio)
{
    if (mmio->live)
        mmio->ops->stop(mmio->device);
    mmio->live = false;
    mmio->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* Section 3.1.1, step 5: a driver that accepts what was not offered, or that knows only the legacy interface, is refused by leaving
   the bit unset. */
static bool features_acceptable(const struct virtio_mmio *mmio)
{
    return (mmio->driver_features & ~mmio->device_features) == 0 && (mmio->driver_features >> VIRTIO_F_VERSION_1 & 1);
}

static void start(struct virtio_mmio *mmio)
{
    if (!(mmio->status & VIRTIO_CONFIG_S_FEATURES_OK) || mmio->ops->start(mmio->device, mmio) < 0) {
        needs_reset(mmio);
        return;
    }
    mmio->live = true;
    /* A device interrupts by an irqfd, which does not pass through here, so it cannot set this bit each time; it is simply always
       set. Section 4.2.2.2 lets an interrupt be spurious: a driver that finds no used buffer goes on. Bit 1, the configuration
       change, is never needed: no device here changes its configuration. */
    show(mmio, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_INT_VRING);
}

static void write_status(struct virtio_mmio *mmio, uint32_t value)
{
    uint32_t added = value & DRIVER_STATUS_BITS & ~mmio->status;

    if (value == 0) {
        reset(mmio);
        return;
    }
    if (mmio->status & VIRTIO_CONFIG_S_NEEDS_RESET)
        return;
    /* Section 2.1.1: the driver never clears a bit but by a reset, so bits are only added. */
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && !features_acceptable(mmio))
        added &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
    mmio->status |= added;
    if (added & VIRTIO_CONFIG_S_DRIVER_OK)
        start(mmio);
    show_status(mmio);
}

static void write_driver_features(struct virtio_mmio *mmio, uint32_t value)
{
    unsigned shift = mmio->driver_features_sel * 32;

    if (mmio->driver_features_sel > 1 || (mmio->status & VIRTIO_CONFIG_S_FEATURES_OK))
        return;
    mmio->driver_features &= ~(UINT64_C(0xffffffff) << shift);
    mmio->driver_features |= (uint64_t)value << shift;
}

static void write_queue_ready(struct virtio_mmio *mmio, struct virtio_mmio_queue *queue, uint32_t value)
{
    if (value == 1 && !mmio->live && queue->size != 0)
        queue->ready = true;
    if (value == 0) {
        /* Without VIRTIO_F_RING_RESET a queue of a running device ends only with the device. */
        if (mmio->live && queue->ready)
            needs_reset(mmio);
        queue->ready = false;
        show_status(mmio);
    }
    show_queue(mmio);
}

static void set_low(uint64_t *address, uint32_t value)
{
    *address = (*address & ~UINT64_C(0xffffffff)) | value;
}

static void set_high(uint64_t *address, uint32_t value)
{
    *address = (*address & UINT64_C(0xffffffff)) | (uint64_t)value << 32;
}

static void write_queue(struct virtio_mmio *mmio, uint32_t offset, uint32_t value)
{
    struct virtio_mmio_queue *queue = selected_queue(mmio);

    if (!queue)
        return;
    if (offset == VIRTIO_MMIO_QUEUE_READY) {
        write_queue_ready(mmio, queue, value);
        return;
    }
    /* Section 4.2.2.2: a queue's registers are written only while it is not in use. */
    if (queue->ready)
        return;
    switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
        queue->size = value <= mmio->queue_size_max && (value & (value - 1)) == 0 ? value : 0;
        break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
        set_low(&queue->desc, value);
        break;
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        set_high(&queue->desc, value);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
        set_low(&queue->avail, value);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
        set_high(&queue->avail, value);
        break;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
        set_low(&queue->used, value);
        break;
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        set_high(&queue->used, value);
        break;
    }
}

void virtio_mmio_init(struct virtio_mmio *mmio, uint8_t *page, const struct virtio_mmio_description *description,
                      const struct virtio_mmio_ops *ops, void *device)
{
    memset(page, 0, VIRTIO_MMIO_PAGE);
    *mmio = (struct virtio_mmio){
        .page = page,
        .ops = ops,
        .device = device,
        .device_features = description->features,
        .num_queues = description->num_queues,
        .queue_size_max = description->queue_size_max,
    };
    memcpy(page + VIRTIO_MMIO_CONFIG, description->config, description->config_size);
    show(mmio, VIRTIO_MMIO_MAGIC_VALUE, MAGIC);
    show(mmio, VIRTIO_MMIO_VERSION, VERSION);
    show(mmio, VIRTIO_MMIO_DEVICE_ID, description->device_id);
    show(mmio, VIRTIO_MMIO_VENDOR_ID, VENDOR);
    /* Section 4.2.2: "no shared memory region" is a length of all ones, whichever one is selected. */
    show(mmio, VIRTIO_MMIO_SHM_LEN_LOW, UINT32_MAX);
    show(mmio, VIRTIO_MMIO_SHM_LEN_HIGH, UINT32_MAX);
    show(mmio, VIRTIO_MMIO_SHM_BASE_LOW, UINT32_MAX);
    show(mmio, VIRTIO_MMIO_SHM_BASE_HIGH, UINT32_MAX);
    reset(mmio);
}

void virtio_mmio_write(struct virtio_mmio *mmio, uint64_t offset, const uint8_t *data, uint32_t length)
{
    uint32_t value;

    /* Registers are 32 bits wide and accessed so (section 4.2.2.2). The configuration space cannot be written: no device here has
       a field that a driver needs to. */
    if (length != sizeof(value) || offset % sizeof(value) != 0 || offset >= VIRTIO_MMIO_CONFIG)
        return;
    memcpy(&value, data, sizeof(value));
    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        mmio->device_features_sel = value;
        show_device_features(mmio);
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        mmio->driver_features_sel = value;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        write_driver_features(mmio, value);
        break;
    case VIRTIO_MMIO_QUEUE_SEL:
        mmio->queue_sel = value;
        show_queue(mmio);
        break;
    case VIRTIO_MMIO_STATUS:
        write_status(mmio, value);
        break;
    default:
        write_queue(mmio, (uint32_t)offset, value);
        break;
    }
}
