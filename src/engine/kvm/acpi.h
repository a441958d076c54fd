/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables (ACPI 6.5) of a hardware-reduced machine: RSDP, XSDT, FADT, MADT, and a DSDT that holds nothing but the virtio-mmio
 * devices and the way to power off. They are written for Linux; every value that a guest does not need is zero.
 */
#ifndef MSB_ENGINE_KVM_ACPI_H
#define MSB_ENGINE_KVM_ACPI_H

#include <stddef.h>
#include <stdint.h>

/* Writes the tables for a machine with num_vcpus processors and num_devices virtio-mmio devices into the size bytes that the guest
   finds at address; the RSDP comes first. Returns how many bytes were used, 0 when size is too small. */
size_t acpi_write(uint8_t *tables, size_t size, uint64_t address, uint32_t num_vcpus, uint32_t num_devices);

#endif
