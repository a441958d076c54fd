/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the library with real guests share: how a VM is made, on the engine that MSB_TEST_ENGINE names, and how errors are told. */
#ifndef MSB_TESTS_LIBRARY_GUESTS_H
#define MSB_TESTS_LIBRARY_GUESTS_H

#include <microsandbox.h>

/* A builder of a VM with this machine's programs, a PATH, and no command. */
msb_vm_builder *guest_builder(void);

/* Its command is a shell with this script. */
void set_script(msb_vm_builder *builder, const char *script);

/* Frees the builder. */
msb_vm *build(msb_vm_builder *builder);

/* The error has this code, and this part in its message; frees it. */
void assert_error(msb_error *error, enum msb_error_code code, const char *part);

#endif
