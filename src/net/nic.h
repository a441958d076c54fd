/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-net device (virtio 1.2, section 5.1): one pair of queues, mergeable receive buffers, checksum and segmentation offload.
 *
 * Frames come out of it whole, as private copies with complete checksums; a TCP segment may be as large as an IP packet can be, and
 * is not cut: everything on this network takes frames of FRAME_SIZE_MAX.
 */
#ifndef MSB_NET_NIC_H
#define MSB_NET_NIC_H

#include "net/packet.h"
#include "util/loop.h"

struct nic;

struct nic_handler {
    void (*frame)(void *data, uint8_t *frame, size_t size); /* from the guest; the handler may write into it */
    void (*batch)(void *data);                              /* after the last frame that there was */
    void (*drained)(void *data);                            /* the guest has taken everything, after nic_is_congested() */
};

/* Serves the vhost-user front-end behind the socket, which becomes the device's. */
struct nic *nic_new(struct loop *loop, int socket, const struct addresses *own, const struct nic_handler *handler, void *data,
                    msb_error **err);
void nic_free(struct nic *nic);

/* A frame for the guest. It is copied; when the guest takes none, it waits, and when too much waits, it is lost. */
void nic_deliver(struct nic *nic, const uint8_t *frame, size_t size);

/* Tells the guest of everything delivered since the last call. */
void nic_flush(struct nic *nic);

/* Whether frames wait for the guest: who can hold back should. */
bool nic_is_congested(const struct nic *nic);

struct nic_counters {
    uint64_t received_frames, received_bytes; /* from the guest */
    uint64_t sent_frames, sent_bytes;         /* to the guest */
    uint64_t lost_frames;                     /* the guest did not take them in time */
    uint64_t bad_frames;                      /* not what a driver may send */
};

const struct nic_counters *nic_counters(const struct nic *nic);

#endif
