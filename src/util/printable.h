/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSB_UTIL_PRINTABLE_H
#define MSB_UTIL_PRINTABLE_H

/* Puts '?' in place of every byte that is not printable ASCII: a text from the guest must not command the user's terminal. */
void make_printable(char *text);

#endif
