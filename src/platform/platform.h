/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor and the platform device process (libexec's `platform`) agree on. It serves two devices that an engine may lack:
 * virtio-rng on the socket of util/device.h, and virtio-balloon on one of its own. Set-up packet: u8 log level.
 */
#ifndef MSB_PLATFORM_PLATFORM_H
#define MSB_PLATFORM_PLATFORM_H

enum {
    PLATFORM_FD_BALLOON = 5, /* a Unix stream socket that speaks vhost-user */
};

#endif
