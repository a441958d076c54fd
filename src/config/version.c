/* SPDX-License-Identifier: Apache-2.0 */
#include "microsandbox.h"

const char *msb_version(void)
{
    return MSB_VERSION;
}
