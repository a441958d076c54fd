/* SPDX-License-Identifier: Apache-2.0 */
/* What the headers compiled in advance leave to each object: the names that the kernel's build gives it, and its messages' prefix. */
#define KBUILD_MODFILE OBJECT_KBUILD_MODFILE
#define KBUILD_BASENAME OBJECT_KBUILD_BASENAME
#define KBUILD_MODNAME OBJECT_KBUILD_MODNAME
#define __KBUILD_MODNAME OBJECT___KBUILD_MODNAME

#ifndef OBJECT_HAS_FMT
#define pr_fmt(fmt) fmt
#define dev_fmt(fmt) fmt
#endif
