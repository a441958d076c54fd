/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch between the members of a group: frames are datagrams between sockets in the group's directory (net/group.h), each bound
 * to its member's address, so that the kernel vouches for who sent one.
 */
#ifndef MSB_NET_MEMBERS_H
#define MSB_NET_MEMBERS_H

#include "net/address.h"
#include "util/loop.h"

#include <stddef.h>

struct members;

struct members_handler {
    void (*frame)(void *data, struct in_addr member, const uint8_t *frame, size_t size); /* from a member */
    void (*batch)(void *data);                                                           /* after the last that there was */
};

/* Binds the socket of the guest in `directory`, the group's directory of sockets. To be called where abstract addresses of Unix sockets
   lead nowhere: in an empty network namespace. */
struct members *members_new(struct loop *loop, const struct addresses *own, const char *directory,
                            const struct members_handler *handler, void *data, msb_error **err);
void members_free(struct members *members);

/* Begins to receive. The working directory must be the directory of sockets from here on. */
int members_start(struct members *members, msb_error **err);

/* A frame to one member, or to all others. What a member does not take in time is lost. */
void members_send(struct members *members, struct in_addr to, const uint8_t *frame, size_t size);
void members_send_all(struct members *members, const uint8_t *frame, size_t size);

struct members_counters {
    uint64_t sent_frames, received_frames;
    uint64_t lost_frames; /* nobody was there, or did not take them */
    uint64_t bad_frames;  /* not from a member's socket, or too large */
};

const struct members_counters *members_counters(const struct members *members);

#endif
