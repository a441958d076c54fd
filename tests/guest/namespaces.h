/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces of a test's own. */
#ifndef MSB_TESTS_GUEST_NAMESPACES_H
#define MSB_TESTS_GUEST_NAMESPACES_H

/* unshare(2); with CLONE_NEWUSER among the flags the user becomes root. 0, or -1 and errno. */
int namespaces_enter(int flags);

#endif
