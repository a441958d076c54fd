/* SPDX-License-Identifier: Apache-2.0 */
/* The headers that most of the kernel includes, compiled once for all (kernel/cc). What differs between objects is in object-names.h. */
#define KBUILD_MODFILE "linux"
#define KBUILD_BASENAME "linux"
#define KBUILD_MODNAME "linux"
#define __KBUILD_MODNAME kmod_linux

#include <linux/blkdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <net/sock.h>

#undef KBUILD_MODFILE
#undef KBUILD_BASENAME
#undef KBUILD_MODNAME
#undef __KBUILD_MODNAME
#undef pr_fmt
#undef dev_fmt
