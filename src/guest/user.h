/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a process runs as: looked up in the guest's own /etc/passwd and /etc/group, without NSS.
 */
#ifndef MSB_GUEST_USER_H
#define MSB_GUEST_USER_H

#include "util/error.h"

#include <sys/types.h>

struct user {
    uid_t uid;
    gid_t gid;
    char *home;
    gid_t *groups; /* supplementary */
    size_t num_groups;
};

/* spec is NAME or UID, optionally with :GROUP or :GID; NULL is root. As container engines do: a number needs no entry; with a group
   in the spec there are no supplementary groups; otherwise there are those that list the user. */
int user_lookup(const char *spec, struct user *user, msb_error **err);
void user_clear(struct user *user);

#endif
