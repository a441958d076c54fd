/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    SLEEP_ENABLE = 1 << 5, /* ACPI 6.5, section 4.8.3.7: sleep control register */
    SLEEP_TYPE_SHIFT = 2,
    SLEEP_TYPE_MASK = 7,
    I8042_PULSE_RESET = 0xfe,
};

/* ---- I/O ports ------------------------------------------------------------------------------------------------------------------- */

static uint8_t port_read(const struct machine *machine, uint16_t port)
{
    if (port >= PORT_UART && port < PORT_UART + UART_REGISTERS)
        return uart_read(&machine->uart, port - PORT_UART);
    /* The 8042 is read before it is written, until it is ready: it always is. The sleep status never changes. */
    if (port == PORT_I8042 || port == PORT_SLEEP_STATUS)
        return 0;
    return 0xff;
}

static enum machine_outcome port_write(struct machine *machine, uint16_t port, uint8_t value)
{
    if (port >= PORT_UART && port < PORT_UART + UART_REGISTERS)
        uart_write(&machine->uart, port - PORT_UART, value);
    if (port == PORT_I8042 && value == I8042_PULSE_RESET)
        return MACHINE_RESET;
    if (port == PORT_RESET && value == RESET_VALUE)
        return MACHINE_RESET;
    if (port == PORT_SLEEP_CONTROL && (value & SLEEP_ENABLE) && (value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK) == SLEEP_TYPE_S5)
        return MACHINE_POWER_OFF;
    return MACHINE_CONTINUES;
}

/* A string instruction comes as several accesses at once; the data of them all, and where it lies, is KVM's. Ports are bytes: only
   the first byte of a wider access means something, the others read as all ones. */
static enum machine_outcome io_exit(struct machine *machine, struct kvm_run *run)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    enum machine_outcome outcome = MACHINE_CONTINUES;

    for (uint32_t i = 0; i < run->io.count && outcome == MACHINE_CONTINUES; i++, data += run->io.size) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            outcome = port_write(machine, run->io.port, *data);
        } else {
            memset(data, 0xff, run->io.size);
            *data = port_read(machine, run->io.port);
        }
    }
    return outcome;
}

/* ---- Registers, and memory that is not there ------------------------------------------------------------------------------------- */

void machine_attach(struct machine *machine, const uint8_t *pages, uint32_t num)
{
    pthread_mutex_lock(&machine->lock);
    machine->pages = pages;
    machine->num_devices = num;
    machine->is_attached = true;
    pthread_cond_broadcast(&machine->attached);
    pthread_mutex_unlock(&machine->lock);
}

/* Registers are read without an exit once they are there. What else is not memory is nobody's, and reads as all ones. */
static void read_registers(const struct machine *machine, uint64_t offset, uint8_t *data, uint32_t length)
{
    uint64_t size = (uint64_t)machine->num_devices * LAYOUT_MMIO_SIZE;

    if (offset < size && length <= size - offset)
        memcpy(data, machine->pages + offset, length);
    else
        memset(data, 0xff, length);
}

static void mmio_exit(struct machine *machine, struct kvm_run *run)
{
    uint64_t offset = run->mmio.phys_addr - LAYOUT_MMIO; /* wraps around below it */
    uint64_t index = offset / LAYOUT_MMIO_SIZE;

    while (index < LAYOUT_MAX_DEVICES && !machine->is_attached)
        pthread_cond_wait(&machine->attached, &machine->lock);
    if (!run->mmio.is_write)
        read_registers(machine, offset, run->mmio.data, run->mmio.len);
    else if (index < machine->num_devices)
        virtio_mmio_write(&machine->devices[index], offset % LAYOUT_MMIO_SIZE, run->mmio.data, run->mmio.len);
}

/* ---- When KVM gives up --------------------------------------------------------------------------------------------------------------- */

static enum machine_outcome emulation_failed(const struct kvm_run *run, msb_error **err)
{
    char bytes[3 * sizeof(run->emulation_failure.insn_bytes) + 1] = "";
    uint32_t size = 0;

    if (run->emulation_failure.ndata >= 3 && (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
        size = run->emulation_failure.insn_size;
    for (uint32_t i = 0; i < size && i < sizeof(run->emulation_failure.insn_bytes); i++)
        snprintf(bytes + 3 * i, 4, " %02x", run->emulation_failure.insn_bytes[i]);
    fail(err, MSB_ERR_VM, "the guest executed an instruction that KVM cannot emulate%s%s", size ? ":" : "", bytes);
    return MACHINE_FAILED;
}

static enum machine_outcome failure_exit(const struct kvm_run *run, msb_error **err)
{
    switch (run->exit_reason) {
    case KVM_EXIT_FAIL_ENTRY:
        fail(err, MSB_ERR_VM, "the processor refused to enter the guest, for reason %#" PRIx64,
             (uint64_t)run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
            return emulation_failed(run, err);
        fail(err, MSB_ERR_VM, "internal error %" PRIu32 " in KVM", run->internal.suberror);
        break;
    default:
        fail(err, MSB_ERR_VM, "KVM left the guest for reason %" PRIu32 ", which was not asked for", run->exit_reason);
        break;
    }
    return MACHINE_FAILED;
}

enum machine_outcome machine_exit(struct machine *machine, struct kvm_run *run, msb_error **err)
{
    enum machine_outcome outcome = MACHINE_CONTINUES;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        pthread_mutex_lock(&machine->lock);
        outcome = io_exit(machine, run);
        pthread_mutex_unlock(&machine->lock);
        return outcome;
    case KVM_EXIT_MMIO:
        pthread_mutex_lock(&machine->lock);
        mmio_exit(machine, run);
        pthread_mutex_unlock(&machine->lock);
        return outcome;
    case KVM_EXIT_INTR:
        return outcome;
    case KVM_EXIT_SHUTDOWN:
        return MACHINE_SHUTDOWN;
    default:
        return failure_exit(run, err);
    }
}
