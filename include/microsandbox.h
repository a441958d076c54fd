/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrosandbox: run a program in a microVM of its own.
 *
 *     msb_error *err = NULL;
 *     msb_vm_builder *builder = msb_vm_builder_new();     // NULL: no memory
 *
 *     msb_vm_builder_set_rootfs(builder, "/path/to/rootfs");
 *     msb_vm_builder_set_exec_path(builder, "/bin/true");
 *     msb_vm *vm = msb_vm_builder_build(builder, &err);
 *     int status = vm ? msb_vm_start(vm, &err) : -1;      // blocks; 0 to 255: the workload's exit status
 *     if (status < 0)
 *         fprintf(stderr, "%s\n", msb_error_message(err));
 *     msb_error_free(err);
 *     msb_vm_free(vm);
 *     msb_vm_builder_free(builder);
 *
 * docs/library.md tells the whole story, docs/options.md what each option accepts; examples/ has complete callers.
 *
 * Conventions, for every function here:
 *
 * Errors.    A function that can fail takes `msb_error **err` last. It returns 0 (or a value that is not negative, or a pointer) on
 *            success; -1 or NULL on failure, and then *err is a new error, to be freed with msb_error_free(). err may be NULL.
 *            *err must be NULL before the call.
 * NULL.      Only where it says so, and in every free function, may an object or a text be NULL.
 * Ownership. What an msb_*_new, _build, _parse or _print function returns is the caller's, to be freed with the matching msb_*_free,
 *            or free(3) for strings. Everything passed in is copied, unless it says otherwise.
 * Threads.   There is no global state. Different objects may be used from different threads at once; one object from one thread at
 *            a time, except where a function says that any thread may call it.
 * Process.   The library installs no signal handlers, changes no signal mask or limit of its caller and never exits. It starts no
 *            threads. Each running VM is one child process, which raises SIGCHLD when it ends; a caller that reaps all of its children,
 *            or ignores SIGCHLD, does no harm. Nothing is written to its caller's standard streams but what was asked for: the
 *            workload's streams (msb_vm_builder_set_stdio) and, on standard error, what a log level other than off lets our processes
 *            say.
 * Strings.   NUL-terminated bytes of any encoding. Host paths may be relative to the working directory at build time.
 */
#ifndef MICROSANDBOX_H
#define MICROSANDBOX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MSB_PUBLIC __attribute__((visibility("default")))
#else
#define MSB_PUBLIC
#endif

/* ---- Errors ---------------------------------------------------------------------------------------------------------------- */

typedef struct msb_error msb_error;

enum msb_error_code {
    MSB_OK = 0,
    MSB_ERR_INVALID = 1,     /* an option's value is refused; the message names the option and the value */
    MSB_ERR_NOT_FOUND = 2,   /* something named by an option, or needed by us, is not there */
    MSB_ERR_UNSUPPORTED = 3, /* valid, but this engine, host or version cannot do it */
    MSB_ERR_SYSTEM = 4,      /* the host refused a system call */
    MSB_ERR_NO_MEMORY = 5,
    MSB_ERR_STATE = 6,    /* not in this state: already running, not started */
    MSB_ERR_IN_USE = 7,   /* a name, port or address is taken */
    MSB_ERR_VM = 8,       /* the VM ended before its workload did: a process of it died, or the guest kernel panicked */
    MSB_ERR_WORKLOAD = 9, /* the workload could not be started in the guest (see msb_vm_start) */
    MSB_ERR_TIMEOUT = 10,
    MSB_ERR_PROTOCOL = 11, /* the other side sent what it must not */
};

/* MSB_OK for NULL. */
MSB_PUBLIC enum msb_error_code msb_error_code(const msb_error *error);
/* One sentence, without a newline; valid until the error is freed. */
MSB_PUBLIC const char *msb_error_message(const msb_error *error);
MSB_PUBLIC void msb_error_free(msb_error *error);

/* The library's version, such as "0.1.0". */
MSB_PUBLIC const char *msb_version(void);

/* ---- Option types: parse and print ------------------------------------------------------------------------------------------- */

/*
 * Parsers take the text with its length, so that a NUL inside can be refused (MSB_LENGTH_UNKNOWN: strlen). Printers return the
 * canonical form, to be freed with free(3); NULL only when there is no memory. What is accepted: docs/options.md.
 */
#define MSB_LENGTH_UNKNOWN ((size_t)-1)

enum msb_log_level {
    MSB_LOG_OFF = 0,
    MSB_LOG_ERROR = 1,
    MSB_LOG_WARN = 2,
    MSB_LOG_INFO = 3,
    MSB_LOG_DEBUG = 4, /* from here on the guest kernel's log too */
    MSB_LOG_TRACE = 5,
};

MSB_PUBLIC int msb_log_level_parse(const char *text, size_t length, enum msb_log_level *level, msb_error **err);
MSB_PUBLIC const char *msb_log_level_name(enum msb_log_level level); /* static; NULL for no such level */

/* Whom the guest may talk to. */
enum msb_scope {
    MSB_SCOPE_NONE = 0,   /* no network card at all */
    MSB_SCOPE_GROUP = 1,  /* the sandboxes in its own subnet */
    MSB_SCOPE_PUBLIC = 2, /* its group, and every address that is not private */
    MSB_SCOPE_ANY = 3,    /* every address, the host's loopback through the gateway included */
};

MSB_PUBLIC int msb_scope_parse(const char *text, size_t length, enum msb_scope *scope, msb_error **err);
MSB_PUBLIC const char *msb_scope_name(enum msb_scope scope); /* static; NULL for no such scope */

/* What runs the vCPUs. */
enum msb_engine {
    MSB_ENGINE_AUTO = 0, /* kvm where it works, else the best of the others */
    MSB_ENGINE_KVM = 1,
    MSB_ENGINE_QEMU = 2,
    MSB_ENGINE_UML = 3,
};

MSB_PUBLIC int msb_engine_parse(const char *text, size_t length, enum msb_engine *engine, msb_error **err);
MSB_PUBLIC const char *msb_engine_name(enum msb_engine engine); /* static; NULL for no such engine */

/* KEY=VALUE. The key is not empty and has no '='. */
typedef struct msb_env msb_env;
MSB_PUBLIC msb_env *msb_env_parse(const char *text, size_t length, msb_error **err);
MSB_PUBLIC char *msb_env_print(const msb_env *env);
MSB_PUBLIC const char *msb_env_key(const msb_env *env);
MSB_PUBLIC const char *msb_env_value(const msb_env *env);
MSB_PUBLIC void msb_env_free(msb_env *env);

/* HOST[:GUEST][:ro|:rw]: a host path and the guest path where it appears (the same one when it is left out). */
typedef struct msb_mapped_dir msb_mapped_dir;
MSB_PUBLIC msb_mapped_dir *msb_mapped_dir_parse(const char *text, size_t length, msb_error **err);
MSB_PUBLIC char *msb_mapped_dir_print(const msb_mapped_dir *dir);
MSB_PUBLIC const char *msb_mapped_dir_host(const msb_mapped_dir *dir);
MSB_PUBLIC const char *msb_mapped_dir_guest(const msb_mapped_dir *dir);
MSB_PUBLIC int msb_mapped_dir_read_only(const msb_mapped_dir *dir);
MSB_PUBLIC void msb_mapped_dir_free(msb_mapped_dir *dir);

/* [ADDRESS:]HOST[:GUEST][/tcp|/udp]: a host port and the guest port that it reaches. ADDRESS is 127.0.0.1 when left out; IPv6
   addresses stand in brackets. */
typedef struct msb_port msb_port;
MSB_PUBLIC msb_port *msb_port_parse(const char *text, size_t length, msb_error **err);
MSB_PUBLIC char *msb_port_print(const msb_port *port);
MSB_PUBLIC char *msb_port_address(const msb_port *port); /* 127.0.0.1 or [::1]; free(3) */
MSB_PUBLIC uint16_t msb_port_host(const msb_port *port); /* 0: any free one */
MSB_PUBLIC uint16_t msb_port_guest(const msb_port *port);
MSB_PUBLIC int msb_port_is_udp(const msb_port *port);
MSB_PUBLIC void msb_port_free(msb_port *port);

/* RLIMIT_NAME=SOFT:HARD or NUMBER=SOFT:HARD, setrlimit(2); printed as NUMBER=SOFT:HARD. */
typedef struct msb_rlimit msb_rlimit;
MSB_PUBLIC msb_rlimit *msb_rlimit_parse(const char *text, size_t length, msb_error **err);
MSB_PUBLIC char *msb_rlimit_print(const msb_rlimit *limit);
MSB_PUBLIC unsigned msb_rlimit_resource(const msb_rlimit *limit);
MSB_PUBLIC uint64_t msb_rlimit_soft(const msb_rlimit *limit);
MSB_PUBLIC uint64_t msb_rlimit_hard(const msb_rlimit *limit);
MSB_PUBLIC void msb_rlimit_free(msb_rlimit *limit);

/* A path without empty, "." and ".." components. Refused: empty, climbing above its beginning, not of the form asked for. */
enum msb_path_form {
    MSB_PATH_ANY,
    MSB_PATH_ABSOLUTE,
    MSB_PATH_RELATIVE,
};
MSB_PUBLIC char *msb_path_normalize(const char *text, size_t length, enum msb_path_form form, msb_error **err);

/* Refuses what cannot be an argument of a command: a NUL byte. Every other byte is fine. */
MSB_PUBLIC int msb_argument_check(const char *text, size_t length, msb_error **err);

/* IPv4 address, and network as ADDRESS/BITS. In network byte order. */
MSB_PUBLIC int msb_ipv4_parse(const char *text, size_t length, uint32_t *address, msb_error **err);
MSB_PUBLIC char *msb_ipv4_print(uint32_t address);
MSB_PUBLIC int msb_subnet_parse(const char *text, size_t length, uint32_t *address, unsigned *bits, msb_error **err);
MSB_PUBLIC char *msb_subnet_print(uint32_t address, unsigned bits);

/* A number of bytes with an optional suffix b, k, m or g (powers of 1024), as Docker's --memory; refused unless it is whole MiB. */
MSB_PUBLIC int msb_memory_parse(const char *text, size_t length, uint32_t *mebibytes, msb_error **err);

/* ---- Configuration ----------------------------------------------------------------------------------------------------------- */

/*
 * The config builder collects options and judges nothing. The VM builder has the same options; its build validates everything that
 * can be known before the start. Setters copy, replace what was set before (lists too), and accept NULL or a count of 0 to go
 * back to the default. They cannot fail: no memory is reported by build.
 */
typedef struct msb_config msb_config;
typedef struct msb_config_builder msb_config_builder;

MSB_PUBLIC msb_config_builder *msb_config_builder_new(void); /* NULL: no memory */
MSB_PUBLIC void msb_config_builder_free(msb_config_builder *builder);

MSB_PUBLIC void msb_config_builder_set_log_level(msb_config_builder *builder, enum msb_log_level level);
/* A directory that becomes the guest's root, written in place. Replaces an overlay or host root. */
MSB_PUBLIC void msb_config_builder_set_rootfs(msb_config_builder *builder, const char *directory);
/* Directories, lowest first, that are never written, seen through overlayfs. Replaces a native or host root. */
MSB_PUBLIC void msb_config_builder_set_rootfs_overlay(msb_config_builder *builder, const char *const *layers, size_t count);
/* Where writes to an overlay root are kept; without it they vanish with the VM. */
MSB_PUBLIC void msb_config_builder_set_rootfs_upper(msb_config_builder *builder, const char *directory);
/* This machine's own programs, read-only, under a discarded upper layer. Replaces a native or overlay root. */
MSB_PUBLIC void msb_config_builder_set_rootfs_host(msb_config_builder *builder);
MSB_PUBLIC void msb_config_builder_set_num_vcpus(msb_config_builder *builder, uint32_t count);
MSB_PUBLIC void msb_config_builder_set_memory_mib(msb_config_builder *builder, uint32_t mebibytes);
MSB_PUBLIC void msb_config_builder_set_mapped_dirs(msb_config_builder *builder, const char *const *dirs, size_t count);
MSB_PUBLIC void msb_config_builder_set_port_map(msb_config_builder *builder, const char *const *ports, size_t count);
MSB_PUBLIC void msb_config_builder_set_scope(msb_config_builder *builder, enum msb_scope scope);
MSB_PUBLIC void msb_config_builder_set_ip(msb_config_builder *builder, const char *address);
MSB_PUBLIC void msb_config_builder_set_subnet(msb_config_builder *builder, const char *subnet);
MSB_PUBLIC void msb_config_builder_set_rlimits(msb_config_builder *builder, const char *const *limits, size_t count);
MSB_PUBLIC void msb_config_builder_set_workdir_path(msb_config_builder *builder, const char *path);
/* Absolute, or a name without a slash that is looked up in the guest's PATH. */
MSB_PUBLIC void msb_config_builder_set_exec_path(msb_config_builder *builder, const char *path);
MSB_PUBLIC void msb_config_builder_set_args(msb_config_builder *builder, const char *const *args, size_t count);
MSB_PUBLIC void msb_config_builder_set_env(msb_config_builder *builder, const char *const *env, size_t count);
MSB_PUBLIC void msb_config_builder_set_console_output(msb_config_builder *builder, const char *file);
MSB_PUBLIC void msb_config_builder_set_engine(msb_config_builder *builder, enum msb_engine engine);
MSB_PUBLIC void msb_config_builder_set_kernel(msb_config_builder *builder, const char *file);
/* NAME or UID, optionally with :GROUP or :GID, looked up in the guest; root when not set. */
MSB_PUBLIC void msb_config_builder_set_user(msb_config_builder *builder, const char *user);
MSB_PUBLIC void msb_config_builder_set_hostname(msb_config_builder *builder, const char *hostname);
/* Not 0: the guest gets a processor with hardware virtualization (emulated), and a /dev/kvm. Only the qemu engine can. */
MSB_PUBLIC void msb_config_builder_set_nested(msb_config_builder *builder, int nested);

/* Collects; only no memory can make it fail. The builder stays usable. */
MSB_PUBLIC msb_config *msb_config_builder_build(const msb_config_builder *builder, msb_error **err);
MSB_PUBLIC void msb_config_free(msb_config *config);

/* ---- Virtual machines -------------------------------------------------------------------------------------------------------- */

typedef struct msb_vm msb_vm;
typedef struct msb_vm_builder msb_vm_builder;

MSB_PUBLIC msb_vm_builder *msb_vm_builder_new(void); /* NULL: no memory */
/* A builder filled from a configuration, which stays the caller's; NULL: no memory. */
MSB_PUBLIC msb_vm_builder *msb_vm_builder_new_from_config(const msb_config *config);
MSB_PUBLIC void msb_vm_builder_free(msb_vm_builder *builder);

MSB_PUBLIC void msb_vm_builder_set_log_level(msb_vm_builder *builder, enum msb_log_level level);
MSB_PUBLIC void msb_vm_builder_set_rootfs(msb_vm_builder *builder, const char *directory);
MSB_PUBLIC void msb_vm_builder_set_rootfs_overlay(msb_vm_builder *builder, const char *const *layers, size_t count);
MSB_PUBLIC void msb_vm_builder_set_rootfs_upper(msb_vm_builder *builder, const char *directory);
MSB_PUBLIC void msb_vm_builder_set_rootfs_host(msb_vm_builder *builder);
MSB_PUBLIC void msb_vm_builder_set_num_vcpus(msb_vm_builder *builder, uint32_t count);
MSB_PUBLIC void msb_vm_builder_set_memory_mib(msb_vm_builder *builder, uint32_t mebibytes);
MSB_PUBLIC void msb_vm_builder_set_mapped_dirs(msb_vm_builder *builder, const char *const *dirs, size_t count);
MSB_PUBLIC void msb_vm_builder_set_port_map(msb_vm_builder *builder, const char *const *ports, size_t count);
MSB_PUBLIC void msb_vm_builder_set_scope(msb_vm_builder *builder, enum msb_scope scope);
MSB_PUBLIC void msb_vm_builder_set_ip(msb_vm_builder *builder, const char *address);
MSB_PUBLIC void msb_vm_builder_set_subnet(msb_vm_builder *builder, const char *subnet);
MSB_PUBLIC void msb_vm_builder_set_rlimits(msb_vm_builder *builder, const char *const *limits, size_t count);
MSB_PUBLIC void msb_vm_builder_set_workdir_path(msb_vm_builder *builder, const char *path);
MSB_PUBLIC void msb_vm_builder_set_exec_path(msb_vm_builder *builder, const char *path);
MSB_PUBLIC void msb_vm_builder_set_args(msb_vm_builder *builder, const char *const *args, size_t count);
MSB_PUBLIC void msb_vm_builder_set_env(msb_vm_builder *builder, const char *const *env, size_t count);
MSB_PUBLIC void msb_vm_builder_set_console_output(msb_vm_builder *builder, const char *file);
MSB_PUBLIC void msb_vm_builder_set_engine(msb_vm_builder *builder, enum msb_engine engine);
MSB_PUBLIC void msb_vm_builder_set_kernel(msb_vm_builder *builder, const char *file);
MSB_PUBLIC void msb_vm_builder_set_user(msb_vm_builder *builder, const char *user);
MSB_PUBLIC void msb_vm_builder_set_hostname(msb_vm_builder *builder, const char *hostname);
MSB_PUBLIC void msb_vm_builder_set_nested(msb_vm_builder *builder, int nested);

/*
 * The workload's standard streams. The default is /dev/null for all three. The descriptors are duplicated when the VM starts and
 * stay the caller's; -1 is /dev/null. With a console_output file, out and err are not used.
 */
MSB_PUBLIC void msb_vm_builder_set_stdio(msb_vm_builder *builder, int in, int out, int err);
/* Gives the workload a terminal of the size given; stdin and stdout carry it. The caller puts its own terminal into raw mode. */
MSB_PUBLIC void msb_vm_builder_set_tty(msb_vm_builder *builder, uint16_t rows, uint16_t columns);

/* Validates. On failure the message names the option and its value. The builder stays usable. */
MSB_PUBLIC msb_vm *msb_vm_builder_build(const msb_vm_builder *builder, msb_error **err);

/* What the user should know but need not mend, such as more vCPUs than the host has: the index-th sentence, or NULL after the last. */
MSB_PUBLIC const char *msb_vm_warning(const msb_vm *vm, size_t index);

/* The validated configuration as JSON; free(3). */
MSB_PUBLIC char *msb_vm_to_json(const msb_vm *vm, msb_error **err);

/*
 * Starts the VM, waits for the workload to end, and returns its exit status: 0 to 255, 128+N when signal N killed it. A VM can be
 * started again after it ended, any number of times. -1 when there is no exit status of a workload: MSB_ERR_WORKLOAD when it could
 * not be started (msb_vm_exit_status() then is 126 or 127, or 125 for a missing working directory or a refused limit), MSB_ERR_VM
 * when the VM ended under it, and others. Equal to msb_vm_spawn() and msb_vm_wait().
 */
MSB_PUBLIC int msb_vm_start(msb_vm *vm, msb_error **err);

/* Starts the VM and returns at once; what goes wrong later is reported by msb_vm_wait(). */
MSB_PUBLIC int msb_vm_spawn(msb_vm *vm, msb_error **err);

/* A descriptor that is readable once msb_vm_wait() does not block. It belongs to the VM, and changes with each start. -1: not started. */
MSB_PUBLIC int msb_vm_fd(const msb_vm *vm);

/* Waits until the VM has ended and nothing is left of it; returns as msb_vm_start(). */
MSB_PUBLIC int msb_vm_wait(msb_vm *vm, msb_error **err);

/* What a shell would show as `$?` for the last run: the exit status, or 125, 126, 127. -1 while there is none. */
MSB_PUBLIC int msb_vm_exit_status(const msb_vm *vm);

/* The last lines of the guest kernel's log, each with a newline, when in the last run the guest itself ended before its workload; else
   NULL. Valid until the next start. */
MSB_PUBLIC const char *msb_vm_kernel_log(const msb_vm *vm);

/* Any thread may call these four while another waits. */

/* Sends the workload a signal (a Linux number). */
MSB_PUBLIC int msb_vm_signal(msb_vm *vm, int signal, msb_error **err);
/* Tells the workload's terminal its new size. */
MSB_PUBLIC int msb_vm_resize(msb_vm *vm, uint16_t rows, uint16_t columns, msb_error **err);
/* SIGTERM to the workload; after timeout_ms the VM is ended by force. Returns at once: wait for the end with msb_vm_wait(). */
MSB_PUBLIC int msb_vm_stop(msb_vm *vm, unsigned timeout_ms, msb_error **err);
/* Ends the VM by force, without syncing. */
MSB_PUBLIC int msb_vm_kill(msb_vm *vm, msb_error **err);

/* Ends the VM by force when it runs, and frees the object. */
MSB_PUBLIC void msb_vm_free(msb_vm *vm);

#ifdef __cplusplus
}
#endif

#endif
