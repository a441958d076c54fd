/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSB_GUEST_MODULES_H
#define MSB_GUEST_MODULES_H

/* Loads the kernel modules that a list in the initramfs names, one path a line, in this order; no list: nothing to load. A module
   that cannot be loaded is told on standard error: whoever needs it says what is missing then. */
void modules_load(const char *list);

#endif
