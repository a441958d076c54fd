/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of the vhost-user protocol, as far as this project speaks it (QEMU's "Vhost-user Protocol" document), and how one
 * is sent and received on a Unix stream socket. Shared by the back-end (vhost_user.c) and the front-end (frontend.c).
 */
#ifndef MSB_VIRTIO_VHOST_USER_MESSAGE_H
#define MSB_VIRTIO_VHOST_USER_MESSAGE_H

#include "util/error.h"
#include "virtio/memory.h"

#include <stdbool.h>

enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_SET_BACKEND_REQ_FD = 21,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
    VHOST_USER_REQUEST_END,

    /* Our own, and only ever the first: the front-end is who connects to the listening socket that comes with it. */
    VHOST_USER_LISTEN = 0x6d7362,
};

enum {
    VHOST_USER_VERSION = 1,
    VHOST_USER_VERSION_MASK = 3,
    VHOST_USER_FLAG_REPLY = 1 << 2,
    VHOST_USER_FLAG_NEED_REPLY = 1 << 3,

    VHOST_USER_VRING_INDEX_MASK = 0xff,
    VHOST_USER_VRING_NO_FD = 1 << 8,

    VHOST_USER_F_PROTOCOL_FEATURES = 30, /* a bit beside the virtio features */

    VHOST_USER_PROTOCOL_F_MQ = 0,
    VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
    VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5,
    VHOST_USER_PROTOCOL_F_CONFIG = 9,

    VHOST_USER_CONFIG_MAX = 256, /* bytes of configuration space in one message */
    VHOST_USER_MAX_FDS = MEMORY_MAX_REGIONS,
};

struct vhost_user_header {
    uint32_t request;
    uint32_t flags;
    uint32_t size; /* of the payload */
};

struct vhost_user_vring_state {
    uint32_t index;
    uint32_t num;
};

struct vhost_user_vring_addr {
    uint32_t index;
    uint32_t flags;
    uint64_t desc, used, avail, log;
};

struct vhost_user_memory_region {
    uint64_t guest_address;
    uint64_t size;
    uint64_t user_address;
    uint64_t mmap_offset;
};

struct vhost_user_memory {
    uint32_t num_regions;
    uint32_t padding;
    struct vhost_user_memory_region regions[MEMORY_MAX_REGIONS];
};

struct vhost_user_config {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    uint8_t data[VHOST_USER_CONFIG_MAX];
};

union vhost_user_payload {
    uint64_t u64;
    struct vhost_user_vring_state state;
    struct vhost_user_vring_addr addr;
    struct vhost_user_memory memory;
    struct vhost_user_config config;
};

/* On the wire a header and size bytes of payload follow one another without padding: each is sent from its own place. */
struct vhost_user_message {
    struct vhost_user_header header;
    union vhost_user_payload payload;
    int fds[VHOST_USER_MAX_FDS];
    unsigned num_fds;
    size_t received; /* bytes of header and payload so far */
};

/* Receives what is there of a message into *m, which begins zeroed: 1 when it is whole, 0 when more has to come (only when wait is
   false), -1 when the other side hung up (*err stays as it is), or sent what cannot be a message. Descriptors that came are in
   m->fds, in every case; message_clear() closes those that nobody took. */
int message_receive(int socket, struct vhost_user_message *m, bool wait, msb_error **err);

/* Sends a message; its descriptors stay the caller's. With wait false, a socket that is full is an error. */
int message_send(int socket, const struct vhost_user_message *m, bool wait, msb_error **err);

/* The i-th descriptor, which becomes the caller's. */
int message_take_fd(struct vhost_user_message *m, unsigned i);

/* Closes the descriptors that nobody took. */
void message_close_fds(struct vhost_user_message *m);

/* The same, and makes *m ready for the next message. */
void message_clear(struct vhost_user_message *m);

#endif
