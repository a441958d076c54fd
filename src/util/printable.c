/* SPDX-License-Identifier: Apache-2.0 */
#include "util/printable.h"

void make_printable(char *text)
{
    for (char *c = text; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}
