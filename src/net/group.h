/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Membership of a group, as the monitor handles it: one directory per subnet in the user's runtime directory.
 *
 *   RUNTIME/.net/lock                    held while somebody joins or leaves
 *   RUNTIME/.net/10.1.2.0-24/members/IP  locked by the member's monitor as long as it lives: whose file is not locked is dead
 *                          /sockets/IP  where the member's net process receives frames; it binds this itself
 *                          /names/NAME  a symbolic link to IP: the member's host name
 *
 * The directories are the user's alone (0700), which is what keeps other users' sandboxes out.
 */
#ifndef MSB_NET_GROUP_H
#define MSB_NET_GROUP_H

#include "util/error.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct group_request {
    struct in_addr subnet;
    uint8_t subnet_bits;
    bool has_ip; /* false: any free address */
    struct in_addr ip;
    const char *name; /* host name in the group, or NULL */
};

struct group_member {
    char *net;       /* RUNTIME/.net, NULL when in no group */
    char *directory; /* the group's */
    char *name;
    struct in_addr ip;
    int lock;
};

/* Takes an address (and name) in the group, and clears away what dead members left. Fails with MSB_ERR_IN_USE, naming the address or
   the name, when it is taken, and when the subnet is full. runtime must exist and be the caller's alone. */
int group_join(const char *runtime, const struct group_request *request, struct group_member *member, msb_error **err);

/* Gives address and name back, and removes the group with its last member. Nothing when in no group. */
void group_leave(struct group_member *member);

/* Which address group_join() would take now. */
int group_preview(const char *runtime, const struct group_request *request, struct in_addr *ip, msb_error **err);

#endif
