/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of `msb run`, in the groups of its --help. Each value is judged here by the library's own parsers, so that a message names
 * the option as it was written; what only the whole can show is judged when the VM is built.
 */
#include "cli/run_options.h"
#include "cli/times.h"

#include "config/text.h"

#include <stdlib.h>

void run_options_clear(struct run_options *options)
{
    msb_vm_builder_free(options->builder);
    list_clear(&options->layers);
    list_clear(&options->mapped_dirs);
    list_clear(&options->port_map);
    process_options_clear(&options->process);
}

static int set_rootfs(void *target, const char *value, msb_error **err)
{
    (void)err;
    ((struct run_options *)target)->rootfs = value;
    return 0;
}

static int set_layer(void *target, const char *value, msb_error **err)
{
    return list_append(&((struct run_options *)target)->layers, value, err);
}

static int set_upper(void *target, const char *value, msb_error **err)
{
    (void)err;
    ((struct run_options *)target)->upper = value;
    return 0;
}

static int set_volume(void *target, const char *value, msb_error **err)
{
    msb_mapped_dir *dir = msb_mapped_dir_parse(value, MSB_LENGTH_UNKNOWN, err);

    if (!dir)
        return -1;
    msb_mapped_dir_free(dir);
    return list_append(&((struct run_options *)target)->mapped_dirs, value, err);
}

static int set_cpus(void *target, const char *value, msb_error **err)
{
    struct text text = text_of(value, MSB_LENGTH_UNKNOWN);
    uint64_t number;

    if (!text_number(text, UINT32_MAX, &number) || number == 0)
        return refuse(err, "number", text, "is no whole number from 1 on");
    msb_vm_builder_set_num_vcpus(((struct run_options *)target)->builder, (uint32_t)number);
    return 0;
}

static int set_memory(void *target, const char *value, msb_error **err)
{
    uint32_t mebibytes;

    if (msb_memory_parse(value, MSB_LENGTH_UNKNOWN, &mebibytes, err) < 0)
        return -1;
    msb_vm_builder_set_memory_mib(((struct run_options *)target)->builder, mebibytes);
    return 0;
}

static int set_publish(void *target, const char *value, msb_error **err)
{
    msb_port *port = msb_port_parse(value, MSB_LENGTH_UNKNOWN, err);

    if (!port)
        return -1;
    msb_port_free(port);
    return list_append(&((struct run_options *)target)->port_map, value, err);
}

static int set_scope(void *target, const char *value, msb_error **err)
{
    enum msb_scope scope;

    if (msb_scope_parse(value, MSB_LENGTH_UNKNOWN, &scope, err) < 0)
        return -1;
    msb_vm_builder_set_scope(((struct run_options *)target)->builder, scope);
    return 0;
}

static int set_ip(void *target, const char *value, msb_error **err)
{
    uint32_t address;

    if (msb_ipv4_parse(value, MSB_LENGTH_UNKNOWN, &address, err) < 0)
        return -1;
    msb_vm_builder_set_ip(((struct run_options *)target)->builder, value);
    return 0;
}

static int set_subnet(void *target, const char *value, msb_error **err)
{
    uint32_t address;
    unsigned bits;

    if (msb_subnet_parse(value, MSB_LENGTH_UNKNOWN, &address, &bits, err) < 0)
        return -1;
    msb_vm_builder_set_subnet(((struct run_options *)target)->builder, value);
    return 0;
}

static int set_hostname(void *target, const char *value, msb_error **err)
{
    struct run_options *options = target;

    (void)err;
    msb_vm_builder_set_hostname(options->builder, value);
    options->hostname = value;
    return 0;
}

static int set_console_output(void *target, const char *value, msb_error **err)
{
    struct run_options *options = target;

    (void)err;
    msb_vm_builder_set_console_output(options->builder, value);
    options->has_console_output = true;
    return 0;
}

static int set_log_level(void *target, const char *value, msb_error **err)
{
    enum msb_log_level level;

    if (msb_log_level_parse(value, MSB_LENGTH_UNKNOWN, &level, err) < 0)
        return -1;
    msb_vm_builder_set_log_level(((struct run_options *)target)->builder, level);
    return 0;
}

static int set_engine(void *target, const char *value, msb_error **err)
{
    enum msb_engine engine;

    if (msb_engine_parse(value, MSB_LENGTH_UNKNOWN, &engine, err) < 0)
        return -1;
    msb_vm_builder_set_engine(((struct run_options *)target)->builder, engine);
    return 0;
}

static int set_kernel(void *target, const char *value, msb_error **err)
{
    (void)err;
    msb_vm_builder_set_kernel(((struct run_options *)target)->builder, value);
    return 0;
}

static int set_nested(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    msb_vm_builder_set_nested(((struct run_options *)target)->builder, 1);
    return 0;
}

static int set_name(void *target, const char *value, msb_error **err)
{
    struct run_options *options = target;

    (void)err;
    msb_vm_builder_set_name(options->builder, value);
    options->name = value;
    return 0;
}

static int set_detach(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct run_options *)target)->detach = true;
    return 0;
}

static int set_rm(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct run_options *)target)->keep = KEEP_NO;
    return 0;
}

static int set_no_rm(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct run_options *)target)->keep = KEEP_YES;
    return 0;
}

/* In milliseconds, of which a duration that is not 0 has at least one. */
static int parse_timeout(const char *value, uint64_t *milliseconds, msb_error **err)
{
    uint64_t nanoseconds;

    if (duration_parse(value, &nanoseconds, err) < 0)
        return -1;
    *milliseconds = (nanoseconds + NS_PER_MS - 1) / NS_PER_MS;
    return 0;
}

static int set_timeout(void *target, const char *value, msb_error **err)
{
    uint64_t milliseconds;

    if (parse_timeout(value, &milliseconds, err) < 0)
        return -1;
    msb_vm_builder_set_timeout_ms(((struct run_options *)target)->builder, milliseconds);
    return 0;
}

static int set_idle_timeout(void *target, const char *value, msb_error **err)
{
    uint64_t milliseconds;

    if (parse_timeout(value, &milliseconds, err) < 0)
        return -1;
    msb_vm_builder_set_idle_timeout_ms(((struct run_options *)target)->builder, milliseconds);
    return 0;
}

static int set_dry_run(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct run_options *)target)->dry_run = true;
    return 0;
}

#define LIFE "Life"
#define FILES "Files"
#define RESOURCES "Resources"
#define NETWORK "Network"
#define WORKLOAD "Workload"
#define STREAMS "Input and output"
#define MACHINE "Machine"

const struct option run_option_table[] = {
    { "detach", 'd', NULL, LIFE,
      "Print the sandbox's name once its command runs, and leave it running; without a command it stays until it is stopped.",
      set_detach },
    { "name", 0, "NAME", LIFE, "The sandbox's name, for the other commands, and its host name unless there is another (made).",
      set_name },
    { "rm", 0, NULL, LIFE, "Forget the sandbox, with its log, when it has ended. So it is in the foreground.", set_rm },
    { "no-rm", 0, NULL, LIFE, "Keep what is known of it until \"msb rm\". So it is with --detach.", set_no_rm },
    { "timeout", 0, "DURATION", LIFE, "Stop it when it has run for so long, such as 30s, 5m or 1h30m (never).", set_timeout },
    { "idle-timeout", 0, "DURATION", LIFE, "Stop it when it has been idle for so long (never).", set_idle_timeout },

    { "rootfs", 0, "DIR|host", FILES,
      "The guest's root: a directory, which is written in place; or \"host\", this machine's own programs, whose changes are "
      "discarded.",
      set_rootfs },
    { "layer", 0, "DIR", FILES, "A layer of an overlay root, which is never written; repeated, the lowest first.", set_layer },
    { "upper", 0, "DIR", FILES, "Where the changes to an overlay root are kept; without it they are discarded.", set_upper },
    { "volume", 'v', "HOST[:GUEST][:ro]", FILES,
      "Map a directory or file of this machine to a path in the guest, the same one if left out; \"ro\" makes it read-only. "
      "Repeatable.",
      set_volume },

    { "cpus", 0, "N", RESOURCES, "Virtual processors (1).", set_cpus },
    { "memory", 'm', "SIZE", RESOURCES, "The guest's memory: bytes, or with a suffix k, m or g (1g).", set_memory },
    PROCESS_RLIMIT_ROW(RESOURCES),

    { "publish", 'p', "[IP:]HOST[:GUEST]", NETWORK,
      "Let connections to a port of this machine reach a port of the guest, the same one if left out; on 127.0.0.1 unless an "
      "address is given; \"/udp\" behind it for UDP; host port 0 is any free one. Repeatable.",
      set_publish },
    { "scope", 0, "SCOPE", NETWORK,
      "Whom the guest may talk to: none; group, the sandboxes in its own subnet; public, these and every address that is not "
      "private; any (group).",
      set_scope },
    { "ip", 0, "IPV4", NETWORK, "The guest's address, in its subnet (assigned).", set_ip },
    { "subnet", 0, "IPV4/BITS", NETWORK, "The network of the guest's group (one of its own).", set_subnet },

    { "workdir", 'w', "DIR", WORKLOAD, "The directory in the guest that the command begins in (/).", process_set_workdir },
    PROCESS_ENV_ROW(WORKLOAD),
    PROCESS_ENV_FILE_ROW(WORKLOAD),
    { "user", 'u', "USER[:GROUP]", WORKLOAD, "Who runs the command, by the guest's names or by number (root).",
      process_set_user },
    { "hostname", 'h', "NAME", WORKLOAD, "The guest's host name (microsandbox).", set_hostname },

    PROCESS_TTY_ROW(STREAMS),
    PROCESS_NO_TTY_ROW(STREAMS),
    { "interactive", 'i', NULL, STREAMS,
      "With --detach, keep the command's input open for \"msb attach\". In the foreground it is always passed on.",
      process_set_interactive },
    { "console-output", 0, "FILE", STREAMS, "Write the command's output and errors to a file of this machine, made if missing.",
      set_console_output },

    { "engine", 0, "ENGINE", MACHINE, "What runs the guest: auto, kvm, qemu or uml (auto).", set_engine },
    { "kernel", 0, "FILE", MACHINE, "The guest's kernel, in place of the packaged one.", set_kernel },
    { "nested", 0, NULL, MACHINE,
      "Give the guest a processor with hardware virtualization, emulated, and a /dev/kvm. Only the qemu engine can.",
      set_nested },
    { "log-level", 0, "LEVEL", MACHINE,
      "What is said on standard error about the machine: off, error, warn, info, debug or trace; from debug on with the guest "
      "kernel's log (off).",
      set_log_level },
    { "dry-run", 0, NULL, MACHINE, "Start nothing: check the options, and print them as JSON, with the engine that would run.",
      set_dry_run },
    { 0 },
};
