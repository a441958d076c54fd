/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration, as both builders collect it: texts that nobody has judged yet. config_validate() judges them, and makes the
 * spec from which a VM is started.
 */
#ifndef MSB_CONFIG_CONFIG_H
#define MSB_CONFIG_CONFIG_H

#include "config/spec.h"

/* What a list setter was given. An item can be NULL, when the caller's list had one; validation refuses it. */
struct string_list {
    char **items;
    size_t count;
};

enum config_root {
    ROOT_NOT_SET,
    ROOT_NATIVE,
    ROOT_OVERLAY,
    ROOT_HOST,
};

struct msb_config {
    enum msb_log_level log_level;
    enum config_root root;
    char *rootfs;              /* ROOT_NATIVE */
    struct string_list layers; /* ROOT_OVERLAY */
    char *upper;
    uint32_t num_vcpus;
    uint32_t memory_mib;
    struct string_list mapped_dirs;
    struct string_list port_map;
    enum msb_scope scope;
    char *ip;
    char *subnet;
    struct string_list rlimits;
    char *workdir_path;
    char *exec_path;
    struct string_list args;
    struct string_list env;
    char *console_output;
    enum msb_engine engine;
    char *kernel;
    char *user;
    char *hostname;
    bool nested;
    char *name;
    bool keep;
    uint64_t timeout_ms, idle_timeout_ms;
    bool no_memory; /* a setter had none; validation says so */
};

/* The defaults of the option table. */
void config_init(struct msb_config *config);
void config_clear(struct msb_config *config);
/* *copy is what it was before on failure: empty. */
int config_copy(const struct msb_config *config, struct msb_config *copy, msb_error **err);

/* NULL for a string, and 0 for a count, go back to the default. */
void config_set_string(struct msb_config *config, char **option, const char *value);
void config_set_list(struct msb_config *config, struct string_list *option, const char *const *items, size_t count);
void config_set_root(struct msb_config *config, enum config_root root, const char *directory, const char *const *layers,
                     size_t count);

/* Sentences for the user. */
struct warnings {
    char **items;
    size_t count;
};

int warnings_add(struct warnings *warnings, msb_error **err, const char *format, ...) __attribute__((format(printf, 3, 4)));
void warnings_clear(struct warnings *warnings);

/*
 * Judges everything that can be known before the start; reads nothing but the metadata of files. Fills *spec and adds to *warnings,
 * both the caller's, to be cleared; after a failure both are empty. The terminal (process.tty, rows, columns) is left unset.
 */
int config_validate(const struct msb_config *config, struct spec *spec, struct warnings *warnings, msb_error **err);

/* The part of config_validate() that is about a process, for one that runs in a sandbox: fills spec->process. What is not set is left
   for process_inherit(): the working directory is then empty. */
int config_validate_exec(const struct msb_config *config, struct spec *spec, msb_error **err);

/* Whether it can be the name of a sandbox; refuses it in the words of the option otherwise. */
int config_check_name(const char *name, msb_error **err);

/* The spec as JSON (docs/options.md says how); the caller frees it. */
char *spec_to_json(const struct spec *spec, const struct warnings *warnings, msb_error **err);

#endif
