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
 *            or ignores SIGCHLD, does no harm. One that was launched (msb_vm_launch) is nobody's child. Nothing is written to the
 *            caller's standard streams but what was asked for: the workload's streams (msb_vm_builder_set_stdio) and, on standard
 *            error, what a log level other than off lets our processes say.
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
    MSB_ERR_PROTOCOL = 11,  /* the other side sent what it must not */
    MSB_ERR_CANCELLED = 12, /* the caller's cancel descriptor was readable before the call was done */
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
/* One label of a host name (RFC 1123). Makes the VM a sandbox that others of the same user find by this name, and is its host name where
   no other was set. A VM with a name needs no exec_path: without one it stays until it is stopped. */
MSB_PUBLIC void msb_config_builder_set_name(msb_config_builder *builder, const char *name);
/* Not 0: what is known of a named VM, and its log, stays when it has ended, until msb_sandbox_remove(). */
MSB_PUBLIC void msb_config_builder_set_keep(msb_config_builder *builder, int keep);
/* The VM is stopped when it has run for so long, or has been idle for so long (docs/options.md says what idle is); 0: never. */
MSB_PUBLIC void msb_config_builder_set_timeout_ms(msb_config_builder *builder, uint64_t milliseconds);
MSB_PUBLIC void msb_config_builder_set_idle_timeout_ms(msb_config_builder *builder, uint64_t milliseconds);

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
MSB_PUBLIC void msb_vm_builder_set_name(msb_vm_builder *builder, const char *name);
MSB_PUBLIC void msb_vm_builder_set_keep(msb_vm_builder *builder, int keep);
MSB_PUBLIC void msb_vm_builder_set_timeout_ms(msb_vm_builder *builder, uint64_t milliseconds);
MSB_PUBLIC void msb_vm_builder_set_idle_timeout_ms(msb_vm_builder *builder, uint64_t milliseconds);

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

/* ---- Sandboxes: VMs with a name ----------------------------------------------------------------------------------------------- */

/*
 * A VM with a name can be found by any process of the same user, while it runs and, when it is kept, afterwards: one started with
 * msb_vm_launch(), which outlives its caller, and one started with msb_vm_spawn() alike. A handle stands for one sandbox; freeing it
 * leaves the sandbox alone, and another can be had by name at any time, from any process. docs/sandboxes.md has the whole story,
 * examples/sandbox.c a whole life.
 *
 * Waiting.   Every function that asks the sandbox for something takes `int timeout_ms, int cancel_fd`: how long it may take, -1 for
 *            ever (MSB_ERR_TIMEOUT after that), and a descriptor, or -1, which ends the call once it is readable or hung up
 *            (MSB_ERR_CANCELLED); nothing is read from it. A call that was given up may have had its effect all the same.
 * Threads.   Any thread may call any function of a handle, several at once, but msb_sandbox_free().
 * Gone.      What asks a sandbox that has ended for something fails with MSB_ERR_STATE; with MSB_ERR_NOT_FOUND when nothing is
 *            known of it any more.
 */
typedef struct msb_sandbox msb_sandbox;

/*
 * Starts the VM so that it outlives its caller, and returns a handle once the guest is configured and the command, if there is one, runs.
 * A VM without a name gets one. Of the caller nothing is held afterwards: standard input and output as of set_stdio are not used; what
 * the workload writes goes to the sandbox's log and to whoever is attached, and its input is empty, or with flags MSB_LAUNCH_INPUT what
 * those send who attach. With a terminal (set_tty) there is always input.
 *
 * NULL when it did not come so far; everything is ended then, and nothing kept. The error is as of msb_vm_wait(), and so are
 * msb_vm_exit_status() and msb_vm_kernel_log(). MSB_ERR_IN_USE: there is a sandbox of this name. The VM stays the caller's; a launched
 * sandbox is not a run of it.
 */
enum msb_launch_flags {
    MSB_LAUNCH_INPUT = 1,
};
MSB_PUBLIC msb_sandbox *msb_vm_launch(msb_vm *vm, unsigned flags, int timeout_ms, int cancel_fd, msb_error **err);

/* The VM's name; NULL when it has none. */
MSB_PUBLIC const char *msb_vm_name(const msb_vm *vm);

/* A new name, such as "quiet-otter-5f0c1a9e", that is most likely nobody's; free(3). */
MSB_PUBLIC char *msb_sandbox_make_name(msb_error **err);

/* The sandbox of this name, running or ended. MSB_ERR_NOT_FOUND: there is none. */
MSB_PUBLIC msb_sandbox *msb_sandbox_open(const char *name, msb_error **err);

/* All of the user's sandboxes by name, running and ended: an array of *count handles. NULL is an error, also when there are none. */
MSB_PUBLIC msb_sandbox **msb_sandbox_list(size_t *count, msb_error **err);
MSB_PUBLIC void msb_sandbox_list_free(msb_sandbox **list, size_t count);

/* The sandbox itself is left alone. */
MSB_PUBLIC void msb_sandbox_free(msb_sandbox *sandbox);

/* ---- Looking at one ---- */

MSB_PUBLIC const char *msb_sandbox_name(const msb_sandbox *sandbox);

enum msb_sandbox_state {
    MSB_SANDBOX_STARTING = 0,
    MSB_SANDBOX_RUNNING = 1,
    MSB_SANDBOX_STOPPING = 2,
    MSB_SANDBOX_EXITED = 3, /* with an exit status of its workload */
    MSB_SANDBOX_FAILED = 4, /* without; also when its monitor was killed, or the machine went down */
};

/* How it is now; -1 on failure. What a handle has seen end stays known to the handle when nothing else is left of it. */
MSB_PUBLIC int msb_sandbox_state(msb_sandbox *sandbox, msb_error **err);
MSB_PUBLIC const char *msb_sandbox_state_name(enum msb_sandbox_state state); /* static; NULL for no such state */

/* All that is known of it as JSON: docs/sandboxes.md has the keys; free(3). */
MSB_PUBLIC char *msb_sandbox_inspect(msb_sandbox *sandbox, msb_error **err);

/* The index-th published port, with the host's port that it really has; to be freed with msb_port_free(). NULL after the last, and *err
   is left alone then. */
MSB_PUBLIC msb_port *msb_sandbox_port(msb_sandbox *sandbox, size_t index, msb_error **err);

/*
 * The log of a sandbox that was launched: what its workload wrote, in records, the oldest first. It can be read while it grows, by any number
 * of readers; the oldest records go when it has reached its size. A reader belongs to one thread at a time, and outlives the handle.
 */
typedef struct msb_log_reader msb_log_reader;
enum msb_log_stream {
    MSB_LOG_STDOUT = 0, /* a terminal's too */
    MSB_LOG_STDERR = 1,
    MSB_LOG_NOTE = 2, /* a sentence of the log's own: that something was lost */
};

/* MSB_ERR_NOT_FOUND: there is no log. */
MSB_PUBLIC msb_log_reader *msb_sandbox_log(const msb_sandbox *sandbox, msb_error **err);
MSB_PUBLIC void msb_log_reader_free(msb_log_reader *reader);
/* The next record: 1, and what was written by which stream, when (nanoseconds since the epoch); *bytes is valid until the next call.
   0: there is no more, so far. -1: failure. */
MSB_PUBLIC int msb_log_reader_next(msb_log_reader *reader, enum msb_log_stream *stream, uint64_t *realtime, const void **bytes,
                                   size_t *size, msb_error **err);
/* A descriptor that is readable when, after msb_log_reader_next() returned 0, there may be more. That the sandbox has ended is to be learnt
   from msb_sandbox_fd(): then the log is complete. */
MSB_PUBLIC int msb_log_reader_fd(const msb_log_reader *reader);

/* Bytes, and nanoseconds since the start. What the guest says of itself is as true as the guest is. */
struct msb_stats {
    uint64_t uptime_ns;
    uint64_t cpu_ns;          /* of all processes of the sandbox on the host */
    uint64_t guest_user_ns;   /* of the guest's processors, as the guest says */
    uint64_t guest_system_ns; /* the same */
    uint64_t memory_limit;    /* memory_mib */
    uint64_t memory_total;    /* what the guest's kernel has of it, as the guest says */
    uint64_t memory_used;     /* by the guest: not free, and not to be had by dropping caches */
    uint64_t memory_held;     /* on the host, by all processes of the sandbox; 0: not known */
    uint64_t disk_read;       /* from and to exported files, by the fs devices */
    uint64_t disk_written;
    uint64_t network_received; /* by the guest's network card, as the guest says */
    uint64_t network_sent;
    uint64_t oom_kills;     /* processes that the guest's kernel ended for lack of memory */
    uint32_t num_processes; /* in the guest */
    uint32_t num_vcpus;
    uint64_t reserved[8];
};
MSB_PUBLIC int msb_sandbox_stats(msb_sandbox *sandbox, struct msb_stats *stats, int timeout_ms, int cancel_fd, msb_error **err);

/* ---- Its end ---- */

/* A descriptor that is readable once msb_sandbox_wait() does not block: the handle's, the same each time. -1 on failure. A handle that
   has it, or that waits or has launched the sandbox, is told the end; others learn it from what is kept. */
MSB_PUBLIC int msb_sandbox_fd(msb_sandbox *sandbox, msb_error **err);

/* Waits until it has ended and nothing of it runs any more. Returns as msb_vm_wait(), each time again. */
MSB_PUBLIC int msb_sandbox_wait(msb_sandbox *sandbox, int timeout_ms, int cancel_fd, msb_error **err);

/* What a shell would show as `$?`; -1 while msb_sandbox_wait() or _state() has not seen it end. */
MSB_PUBLIC int msb_sandbox_exit_status(const msb_sandbox *sandbox);

/* SIGTERM to the workload (without one: everything is ended and files are synced), and after grace_ms the end by force. Returns once
   that is on its way: msb_sandbox_wait() waits for the end. */
MSB_PUBLIC int msb_sandbox_stop(msb_sandbox *sandbox, unsigned grace_ms, int timeout_ms, int cancel_fd, msb_error **err);
/* Ends it by force, without syncing; returns once that is on its way. */
MSB_PUBLIC int msb_sandbox_kill(msb_sandbox *sandbox, int timeout_ms, int cancel_fd, msb_error **err);
/* Sends the workload a signal (a Linux number). MSB_ERR_STATE: there is no workload. */
MSB_PUBLIC int msb_sandbox_signal(msb_sandbox *sandbox, int signal, int timeout_ms, int cancel_fd, msb_error **err);
/* Tells the workload's terminal its new size. */
MSB_PUBLIC int msb_sandbox_resize(msb_sandbox *sandbox, uint16_t rows, uint16_t columns, int timeout_ms, int cancel_fd,
                                  msb_error **err);

/* Forgets a sandbox that has ended, and removes its log. MSB_ERR_STATE: it runs. */
MSB_PUBLIC int msb_sandbox_remove(msb_sandbox *sandbox, msb_error **err);

/* ---- Commands in it ---- */

/* What to run. Setters copy, cannot fail, and take NULL or 0 for the default, as builders do. */
typedef struct msb_exec_options msb_exec_options;

MSB_PUBLIC msb_exec_options *msb_exec_options_new(void); /* NULL: no memory */
MSB_PUBLIC void msb_exec_options_free(msb_exec_options *options);

/* Absolute, or a name without a slash that is looked up in the guest's PATH; required. */
MSB_PUBLIC void msb_exec_options_set_exec_path(msb_exec_options *options, const char *path);
MSB_PUBLIC void msb_exec_options_set_args(msb_exec_options *options, const char *const *args, size_t count);
/* Added to the sandbox's own env, and replacing it variable by variable. */
MSB_PUBLIC void msb_exec_options_set_env(msb_exec_options *options, const char *const *env, size_t count);
/* Added to the sandbox's own rlimits, and replacing them one by one. */
MSB_PUBLIC void msb_exec_options_set_rlimits(msb_exec_options *options, const char *const *limits, size_t count);
/* The sandbox's own, when not set. */
MSB_PUBLIC void msb_exec_options_set_workdir_path(msb_exec_options *options, const char *path);
MSB_PUBLIC void msb_exec_options_set_user(msb_exec_options *options, const char *user);
MSB_PUBLIC void msb_exec_options_set_tty(msb_exec_options *options, uint16_t rows, uint16_t columns);
/* As msb_vm_builder_set_stdio(): duplicated when the command is started; -1, the default, is /dev/null. */
MSB_PUBLIC void msb_exec_options_set_stdio(msb_exec_options *options, int in, int out, int err);
/* Keeps standard output and standard error (with a terminal, what it shows) for msb_exec_output() and _errors(), at most so many bytes
   of each; the rest is read and dropped. Replaces out and err of set_stdio. */
MSB_PUBLIC void msb_exec_options_set_collect(msb_exec_options *options, size_t max_bytes);
/* The command is ended by SIGKILL when it has run for so long; 0: never. */
MSB_PUBLIC void msb_exec_options_set_timeout_ms(msb_exec_options *options, uint64_t milliseconds);
/* Not 0: the command goes on when its handle is freed, or its caller ends. */
MSB_PUBLIC void msb_exec_options_set_detach(msb_exec_options *options, int detach);

/* A command that was started in a sandbox, or the attachment to a sandbox's workload. */
typedef struct msb_exec msb_exec;

/* Starts the command. That it could not be started is told by msb_exec_wait_started() and msb_exec_wait(). Any number at once. */
MSB_PUBLIC msb_exec *msb_sandbox_exec(msb_sandbox *sandbox, const msb_exec_options *options, int timeout_ms, int cancel_fd,
                                      msb_error **err);

/* Joins descriptors to the workload of a sandbox that was launched: what it writes from now on goes to out and err, and what comes from in
   goes to its input, whose end is its end (with a terminal it is not). -1 is nothing. The workload waits while one who is attached does
   not read. Of several who are attached each gets all output. The exec ends with the workload; msb_exec_free() detaches before. */
MSB_PUBLIC msb_exec *msb_sandbox_attach(msb_sandbox *sandbox, int in, int out, int err_fd, int timeout_ms, int cancel_fd,
                                        msb_error **err);

/* A descriptor that is readable when msb_exec_wait() has something to do: once the command has ended and all its output is written, and
   with collected output whenever there is some to be taken in. */
MSB_PUBLIC int msb_exec_fd(const msb_exec *exec);

/*
 * Waits until the command's program has been executed in the guest: 0; so it is for an attachment at once. -1: MSB_ERR_WORKLOAD when it
 * could not be (msb_exec_exit_status() then is 125, 126 or 127), MSB_ERR_VM when the sandbox ended, and others. Nobody has to call it;
 * who detaches a command learns in this way whether it runs. One thread at a time waits, here or in msb_exec_wait().
 */
MSB_PUBLIC int msb_exec_wait_started(msb_exec *exec, int timeout_ms, int cancel_fd, msb_error **err);

/*
 * Waits until the command has ended and all its output is written. Returns its exit status, 0 to 255, 128+N when signal N killed it; each
 * time again. -1 when there is none: MSB_ERR_WORKLOAD when it could not be started (msb_exec_exit_status() then is 125, 126 or 127),
 * MSB_ERR_VM when the sandbox ended under it, and others. With a timeout of 0 it does what is to be done, and returns. One thread at
 * a time.
 */
MSB_PUBLIC int msb_exec_wait(msb_exec *exec, int timeout_ms, int cancel_fd, msb_error **err);

/* What a shell would show as `$?`; -1 while neither of these has seen the end. */
MSB_PUBLIC int msb_exec_exit_status(const msb_exec *exec);
/* Whether it was ended because of its timeout, and because the guest had no memory left. */
MSB_PUBLIC int msb_exec_timed_out(const msb_exec *exec);
MSB_PUBLIC int msb_exec_out_of_memory(const msb_exec *exec);

/* What was collected until now, followed by a NUL byte that does not count; valid until the next msb_exec_wait(), and after the end
   until the exec is freed. */
MSB_PUBLIC const char *msb_exec_output(const msb_exec *exec, size_t *size);
MSB_PUBLIC const char *msb_exec_errors(const msb_exec *exec, size_t *size);
/* Whether more was written than was to be kept. */
MSB_PUBLIC int msb_exec_truncated(const msb_exec *exec);

/* Any thread may call these two while another waits. They return at once. */
MSB_PUBLIC int msb_exec_signal(msb_exec *exec, int signal, msb_error **err);
MSB_PUBLIC int msb_exec_resize(msb_exec *exec, uint16_t rows, uint16_t columns, msb_error **err);

/* Ends a command by SIGKILL that still runs, unless it was to be detached, and lets go of its streams; returns at once. */
MSB_PUBLIC void msb_exec_free(msb_exec *exec);

/* ---- Files in it ---- */

enum msb_copy_flags {
    MSB_COPY_OWNERS = 1, /* keep owners and groups by number: on the host only root can. Into the guest they are always kept */
};

/*
 * Copies a file, or a directory with what is in it. As with cp(1), it goes into the target when that is a directory, and else becomes the
 * target, whose directory must be there; "DIRECTORY/." is what is in the directory. Links are copied as links. What comes from the
 * guest is not trusted: nothing is written outside of the target, and neither devices nor set-user-ID bits are made. The calling thread
 * reads and writes the host's files; it does not notice a cancellation while it waits for the host's own disk.
 */
MSB_PUBLIC int msb_sandbox_copy_in(msb_sandbox *sandbox, const char *host_path, const char *guest_path, unsigned flags,
                                   int timeout_ms, int cancel_fd, msb_error **err);
MSB_PUBLIC int msb_sandbox_copy_out(msb_sandbox *sandbox, const char *guest_path, const char *host_path, unsigned flags,
                                    int timeout_ms, int cancel_fd, msb_error **err);

/*
 * The same with a tar archive: from fd into a directory of the guest, with all that is at the archive's top, or of a path of the guest to fd.
 * The calling thread reads fd to its end, or to that of the archive. What is written to fd is as the guest has it, devices and
 * set-user-ID bits with it: who unpacks it should not trust it.
 */
MSB_PUBLIC int msb_sandbox_archive_in(msb_sandbox *sandbox, int fd, const char *guest_path, int timeout_ms, int cancel_fd,
                                      msb_error **err);
MSB_PUBLIC int msb_sandbox_archive_out(msb_sandbox *sandbox, const char *guest_path, int fd, int timeout_ms, int cancel_fd,
                                       msb_error **err);

#ifdef __cplusplus
}
#endif

#endif
