/* SPDX-License-Identifier: Apache-2.0 */
/* The shortest guest there is: an init that resets the machine at once. bench/boot measures a sandbox against it. */
#include <sys/reboot.h>

int main(void)
{
    return reboot(RB_AUTOBOOT);
}
