/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of config_validate(), one file per subject. Each fills its fields of the spec; what is left in it after a failure is
 * cleared by config_validate().
 */
#ifndef MSB_CONFIG_VALIDATE_H
#define MSB_CONFIG_VALIDATE_H

#include "config/config.h"
#include "config/text.h"

struct validation {
    const struct msb_config *config;
    struct spec *spec;
    struct warnings *warnings;
    msb_error **err;
};

int validate_rootfs(struct validation *v);
int validate_shares(struct validation *v);
int validate_network(struct validation *v);
int validate_process(struct validation *v);

/* The file or directory that an option names, as an absolute path; NULL when it is not there. *mode gets its type. */
char *host_path(struct validation *v, const char *option, const char *path, unsigned *mode);

/* The same for a file that need not exist: only its directory must. */
char *host_path_to_be(struct validation *v, const char *option, const char *path);

/* A guest path, normalized. */
char *guest_path(struct validation *v, const char *option, const char *path);

/* Whether the absolute, normalized path inner is outer or lies below it, by whole components. */
bool path_is_within(const char *inner, const char *outer);

/* Refuses a list with a NULL item. */
int validate_list(struct validation *v, const char *option, const struct string_list *list);

#endif
