/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The config builder: its setters fill a struct msb_config, its build copies it.
 */
#include "config/config.h"
#include "config/text.h"

#include <stdlib.h>

struct msb_config_builder {
    struct msb_config config;
};

msb_config_builder *msb_config_builder_new(void)
{
    msb_config_builder *builder = malloc(sizeof(*builder));

    if (builder)
        config_init(&builder->config);
    return builder;
}

void msb_config_builder_free(msb_config_builder *builder)
{
    if (!builder)
        return;
    config_clear(&builder->config);
    free(builder);
}

msb_config *msb_config_builder_build(const msb_config_builder *builder, msb_error **err)
{
    msb_config *config = malloc(sizeof(*config));

    if (!config)
        return FAIL_NULL(fail_no_memory(err));
    if (config_copy(&builder->config, config, err) < 0) {
        free(config);
        return NULL;
    }
    return config;
}

void msb_config_free(msb_config *config)
{
    if (!config)
        return;
    config_clear(config);
    free(config);
}

void msb_config_builder_set_log_level(msb_config_builder *builder, enum msb_log_level level)
{
    builder->config.log_level = level;
}

void msb_config_builder_set_rootfs(msb_config_builder *builder, const char *directory)
{
    config_set_root(&builder->config, directory ? ROOT_NATIVE : ROOT_NOT_SET, directory, NULL, 0);
}

void msb_config_builder_set_rootfs_overlay(msb_config_builder *builder, const char *const *layers, size_t count)
{
    config_set_root(&builder->config, ROOT_OVERLAY, NULL, layers, count);
}

void msb_config_builder_set_rootfs_upper(msb_config_builder *builder, const char *directory)
{
    config_set_string(&builder->config, &builder->config.upper, directory);
}

void msb_config_builder_set_rootfs_host(msb_config_builder *builder)
{
    config_set_root(&builder->config, ROOT_HOST, NULL, NULL, 0);
}

void msb_config_builder_set_num_vcpus(msb_config_builder *builder, uint32_t count)
{
    builder->config.num_vcpus = count;
}

void msb_config_builder_set_memory_mib(msb_config_builder *builder, uint32_t mebibytes)
{
    builder->config.memory_mib = mebibytes;
}

void msb_config_builder_set_mapped_dirs(msb_config_builder *builder, const char *const *dirs, size_t count)
{
    config_set_list(&builder->config, &builder->config.mapped_dirs, dirs, count);
}

void msb_config_builder_set_port_map(msb_config_builder *builder, const char *const *ports, size_t count)
{
    config_set_list(&builder->config, &builder->config.port_map, ports, count);
}

void msb_config_builder_set_scope(msb_config_builder *builder, enum msb_scope scope)
{
    builder->config.scope = scope;
}

void msb_config_builder_set_ip(msb_config_builder *builder, const char *address)
{
    config_set_string(&builder->config, &builder->config.ip, address);
}

void msb_config_builder_set_subnet(msb_config_builder *builder, const char *subnet)
{
    config_set_string(&builder->config, &builder->config.subnet, subnet);
}

void msb_config_builder_set_rlimits(msb_config_builder *builder, const char *const *limits, size_t count)
{
    config_set_list(&builder->config, &builder->config.rlimits, limits, count);
}

void msb_config_builder_set_workdir_path(msb_config_builder *builder, const char *path)
{
    config_set_string(&builder->config, &builder->config.workdir_path, path);
}

void msb_config_builder_set_exec_path(msb_config_builder *builder, const char *path)
{
    config_set_string(&builder->config, &builder->config.exec_path, path);
}

void msb_config_builder_set_args(msb_config_builder *builder, const char *const *args, size_t count)
{
    config_set_list(&builder->config, &builder->config.args, args, count);
}

void msb_config_builder_set_env(msb_config_builder *builder, const char *const *env, size_t count)
{
    config_set_list(&builder->config, &builder->config.env, env, count);
}

void msb_config_builder_set_console_output(msb_config_builder *builder, const char *file)
{
    config_set_string(&builder->config, &builder->config.console_output, file);
}

void msb_config_builder_set_engine(msb_config_builder *builder, enum msb_engine engine)
{
    builder->config.engine = engine;
}

void msb_config_builder_set_kernel(msb_config_builder *builder, const char *file)
{
    config_set_string(&builder->config, &builder->config.kernel, file);
}

void msb_config_builder_set_user(msb_config_builder *builder, const char *user)
{
    config_set_string(&builder->config, &builder->config.user, user);
}

void msb_config_builder_set_hostname(msb_config_builder *builder, const char *hostname)
{
    config_set_string(&builder->config, &builder->config.hostname, hostname);
}

void msb_config_builder_set_nested(msb_config_builder *builder, int nested)
{
    builder->config.nested = nested != 0;
}

void msb_config_builder_set_name(msb_config_builder *builder, const char *name)
{
    config_set_string(&builder->config, &builder->config.name, name);
}

void msb_config_builder_set_keep(msb_config_builder *builder, int keep)
{
    builder->config.keep = keep != 0;
}

void msb_config_builder_set_timeout_ms(msb_config_builder *builder, uint64_t milliseconds)
{
    builder->config.timeout_ms = milliseconds;
}

void msb_config_builder_set_idle_timeout_ms(msb_config_builder *builder, uint64_t milliseconds)
{
    builder->config.idle_timeout_ms = milliseconds;
}
