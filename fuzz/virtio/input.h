/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes a fuzzer's input apart. Behind its end everything is zero.
 */
#ifndef MSB_FUZZ_VIRTIO_INPUT_H
#define MSB_FUZZ_VIRTIO_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
    const uint8_t *data;
    size_t left;
};

/* Copies as much of size bytes as there is; returns how much. */
static inline size_t take(struct input *input, void *to, size_t size)
{
    size_t taken = size < input->left ? size : input->left;

    memset(to, 0, size);
    memcpy(to, input->data, taken);
    input->data += taken;
    input->left -= taken;
    return taken;
}

static inline uint8_t take_byte(struct input *input)
{
    uint8_t byte;

    take(input, &byte, sizeof(byte));
    return byte;
}

static inline uint16_t take_u16(struct input *input)
{
    uint16_t value;

    take(input, &value, sizeof(value));
    return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
