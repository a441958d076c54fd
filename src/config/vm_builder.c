/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM builder: the same options as the config builder's, and the workload's streams. Its build validates.
 */
#include "config/config.h"
#include "sandbox/vm.h"

#include <stdlib.h>

struct msb_vm_builder {
    struct msb_config config;
    struct vm_stdio stdio;
    bool tty;
    uint16_t rows, columns;
};

static msb_vm_builder *vm_builder_alloc(void)
{
    msb_vm_builder *builder = malloc(sizeof(*builder));

    if (builder)
        *builder = (msb_vm_builder){ .stdio = { -1, -1, -1 } };
    return builder;
}

msb_vm_builder *msb_vm_builder_new(void)
{
    msb_vm_builder *builder = vm_builder_alloc();

    if (builder)
        config_init(&builder->config);
    return builder;
}

msb_vm_builder *msb_vm_builder_new_from_config(const msb_config *config)
{
    msb_vm_builder *builder = vm_builder_alloc();

    if (builder && config_copy(config, &builder->config, NULL) < 0) {
        free(builder);
        return NULL;
    }
    return builder;
}

void msb_vm_builder_free(msb_vm_builder *builder)
{
    if (!builder)
        return;
    config_clear(&builder->config);
    free(builder);
}

void msb_vm_builder_set_log_level(msb_vm_builder *builder, enum msb_log_level level)
{
    builder->config.log_level = level;
}

void msb_vm_builder_set_rootfs(msb_vm_builder *builder, const char *directory)
{
    config_set_root(&builder->config, directory ? ROOT_NATIVE : ROOT_NOT_SET, directory, NULL, 0);
}

void msb_vm_builder_set_rootfs_overlay(msb_vm_builder *builder, const char *const *layers, size_t count)
{
    config_set_root(&builder->config, ROOT_OVERLAY, NULL, layers, count);
}

void msb_vm_builder_set_rootfs_upper(msb_vm_builder *builder, const char *directory)
{
    config_set_string(&builder->config, &builder->config.upper, directory);
}

void msb_vm_builder_set_rootfs_host(msb_vm_builder *builder)
{
    config_set_root(&builder->config, ROOT_HOST, NULL, NULL, 0);
}

void msb_vm_builder_set_num_vcpus(msb_vm_builder *builder, uint32_t count)
{
    builder->config.num_vcpus = count;
}

void msb_vm_builder_set_memory_mib(msb_vm_builder *builder, uint32_t mebibytes)
{
    builder->config.memory_mib = mebibytes;
}

void msb_vm_builder_set_mapped_dirs(msb_vm_builder *builder, const char *const *dirs, size_t count)
{
    config_set_list(&builder->config, &builder->config.mapped_dirs, dirs, count);
}

void msb_vm_builder_set_port_map(msb_vm_builder *builder, const char *const *ports, size_t count)
{
    config_set_list(&builder->config, &builder->config.port_map, ports, count);
}

void msb_vm_builder_set_scope(msb_vm_builder *builder, enum msb_scope scope)
{
    builder->config.scope = scope;
}

void msb_vm_builder_set_ip(msb_vm_builder *builder, const char *address)
{
    config_set_string(&builder->config, &builder->config.ip, address);
}

void msb_vm_builder_set_subnet(msb_vm_builder *builder, const char *subnet)
{
    config_set_string(&builder->config, &builder->config.subnet, subnet);
}

void msb_vm_builder_set_rlimits(msb_vm_builder *builder, const char *const *limits, size_t count)
{
    config_set_list(&builder->config, &builder->config.rlimits, limits, count);
}

void msb_vm_builder_set_workdir_path(msb_vm_builder *builder, const char *path)
{
    config_set_string(&builder->config, &builder->config.workdir_path, path);
}

void msb_vm_builder_set_exec_path(msb_vm_builder *builder, const char *path)
{
    config_set_string(&builder->config, &builder->config.exec_path, path);
}

void msb_vm_builder_set_args(msb_vm_builder *builder, const char *const *args, size_t count)
{
    config_set_list(&builder->config, &builder->config.args, args, count);
}

void msb_vm_builder_set_env(msb_vm_builder *builder, const char *const *env, size_t count)
{
    config_set_list(&builder->config, &builder->config.env, env, count);
}

void msb_vm_builder_set_console_output(msb_vm_builder *builder, const char *file)
{
    config_set_string(&builder->config, &builder->config.console_output, file);
}

void msb_vm_builder_set_engine(msb_vm_builder *builder, enum msb_engine engine)
{
    builder->config.engine = engine;
}

void msb_vm_builder_set_kernel(msb_vm_builder *builder, const char *file)
{
    config_set_string(&builder->config, &builder->config.kernel, file);
}

void msb_vm_builder_set_user(msb_vm_builder *builder, const char *user)
{
    config_set_string(&builder->config, &builder->config.user, user);
}

void msb_vm_builder_set_hostname(msb_vm_builder *builder, const char *hostname)
{
    config_set_string(&builder->config, &builder->config.hostname, hostname);
}

void msb_vm_builder_set_nested(msb_vm_builder *builder, int nested)
{
    builder->config.nested = nested != 0;
}

void msb_vm_builder_set_name(msb_vm_builder *builder, const char *name)
{
    config_set_string(&builder->config, &builder->config.name, name);
}

void msb_vm_builder_set_keep(msb_vm_builder *builder, int keep)
{
    builder->config.keep = keep != 0;
}

void msb_vm_builder_set_timeout_ms(msb_vm_builder *builder, uint64_t milliseconds)
{
    builder->config.timeout_ms = milliseconds;
}

void msb_vm_builder_set_idle_timeout_ms(msb_vm_builder *builder, uint64_t milliseconds)
{
    builder->config.idle_timeout_ms = milliseconds;
}

void msb_vm_builder_set_stdio(msb_vm_builder *builder, int in, int out, int err)
{
    builder->stdio = (struct vm_stdio){ in, out, err };
}

void msb_vm_builder_set_tty(msb_vm_builder *builder, uint16_t rows, uint16_t columns)
{
    builder->tty = true;
    builder->rows = rows;
    builder->columns = columns;
}

msb_vm *msb_vm_builder_build(const msb_vm_builder *builder, msb_error **err)
{
    struct warnings warnings = { 0 };
    struct spec spec = { 0 };

    if (config_validate(&builder->config, &spec, &warnings, err) < 0)
        return NULL;
    spec.process.tty = builder->tty;
    spec.process.rows = builder->rows;
    spec.process.columns = builder->columns;
    return vm_new(&spec, &warnings, &builder->stdio, err);
}
