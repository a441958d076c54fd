/* SPDX-License-Identifier: Apache-2.0 */
/* The two builders, through the shared library and the public header alone: each setter of one does what the other's does. */
#include <microsandbox.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const dirs[] = { "/usr:/a", "/tmp:/b:ro" };
static const char *const ports[] = { "8080:80", "53/udp" };
static const char *const limits[] = { "RLIMIT_CPU=1:2" };
static const char *const args[] = { "x", "" };
static const char *const env[] = { "A=1", "B=2" };
static const char *const layers[] = { "/usr", "/etc" };

/* One setter of each builder, given the same; and a part of the JSON that shows it. */
#define SETTER(name, ...)                                                                                                        \
    static void config_##name(msb_config_builder *b)                                                                             \
    {                                                                                                                            \
        msb_config_builder_set_##name(b, __VA_ARGS__);                                                                           \
    }                                                                                                                            \
    static void vm_##name(msb_vm_builder *b)                                                                                     \
    {                                                                                                                            \
        msb_vm_builder_set_##name(b, __VA_ARGS__);                                                                               \
    }

SETTER(log_level, MSB_LOG_INFO)
SETTER(rootfs, "/usr")
SETTER(rootfs_overlay, layers, 2)
SETTER(num_vcpus, 1)
SETTER(memory_mib, 77)
SETTER(mapped_dirs, dirs, 2)
SETTER(port_map, ports, 2)
SETTER(scope, MSB_SCOPE_ANY)
SETTER(subnet, "10.9.0.0/16")
SETTER(rlimits, limits, 1)
SETTER(workdir_path, "/w")
SETTER(exec_path, "/bin/echo")
SETTER(args, args, 2)
SETTER(env, env, 2)
SETTER(console_output, "/tmp/out")
SETTER(engine, MSB_ENGINE_QEMU)
SETTER(kernel, "/etc/passwd")
SETTER(user, "nobody")
SETTER(hostname, "guest")

SETTER(nested, 1)
SETTER(name, "named")
SETTER(timeout_ms, 1500)
SETTER(idle_timeout_ms, 2500)

static void config_keep(msb_config_builder *b)
{
    msb_config_builder_set_name(b, "named");
    msb_config_builder_set_keep(b, 1);
}

static void vm_keep(msb_vm_builder *b)
{
    msb_vm_builder_set_name(b, "named");
    msb_vm_builder_set_keep(b, 1);
}

static void config_ip(msb_config_builder *b)
{
    msb_config_builder_set_subnet(b, "10.9.0.0/16");
    msb_config_builder_set_ip(b, "10.9.1.2");
}

static void vm_ip(msb_vm_builder *b)
{
    msb_vm_builder_set_subnet(b, "10.9.0.0/16");
    msb_vm_builder_set_ip(b, "10.9.1.2");
}

static void config_rootfs_upper(msb_config_builder *b)
{
    msb_config_builder_set_rootfs_overlay(b, layers, 2);
    msb_config_builder_set_rootfs_upper(b, "/tmp");
}

static void vm_rootfs_upper(msb_vm_builder *b)
{
    msb_vm_builder_set_rootfs_overlay(b, layers, 2);
    msb_vm_builder_set_rootfs_upper(b, "/tmp");
}

static void config_rootfs_host(msb_config_builder *b)
{
    msb_config_builder_set_rootfs_host(b);
}

static void vm_rootfs_host(msb_vm_builder *b)
{
    msb_vm_builder_set_rootfs_host(b);
}

static const struct {
    void (*config)(msb_config_builder *b);
    void (*vm)(msb_vm_builder *b);
    const char *shown;
} setters[] = {
    { config_log_level, vm_log_level, "\"log_level\":\t\"info\"" },
    { config_rootfs, vm_rootfs, "\"native\":\t\"/usr\"" },
    { config_rootfs_overlay, vm_rootfs_overlay, "\"layers\":\t[\"/usr\", \"/etc\"]" },
    { config_rootfs_upper, vm_rootfs_upper, "\"upper\":\t\"/tmp\"" },
    { config_rootfs_host, vm_rootfs_host, "\"rootfs\":\t\"host\"" },
    { config_num_vcpus, vm_num_vcpus, "\"num_vcpus\":\t1" },
    { config_memory_mib, vm_memory_mib, "\"memory_mib\":\t77" },
    { config_mapped_dirs, vm_mapped_dirs, "\"mapped_dirs\":\t[\"/usr:/a\", \"/tmp:/b:ro\"]" },
    { config_port_map, vm_port_map, "\"port_map\":\t[\"8080:80\", \"53:53/udp\"]" },
    { config_scope, vm_scope, "\"scope\":\t\"any\"" },
    { config_ip, vm_ip, "\"ip\":\t\"10.9.1.2\"" },
    { config_subnet, vm_subnet, "\"subnet\":\t\"10.9.0.0/16\"" },
    { config_rlimits, vm_rlimits, "\"rlimits\":\t[\"0=1:2\"]" },
    { config_workdir_path, vm_workdir_path, "\"workdir_path\":\t\"/w\"" },
    { config_exec_path, vm_exec_path, "\"exec_path\":\t\"/bin/echo\"" },
    { config_args, vm_args, "\"args\":\t[\"x\", \"\"]" },
    { config_env, vm_env, "\"env\":\t[\"A=1\", \"B=2\"]" },
    { config_console_output, vm_console_output, "\"console_output\":\t\"/tmp/out\"" },
    { config_engine, vm_engine, "\"engine\":\t\"qemu\"" },
    { config_kernel, vm_kernel, "\"kernel\":\t\"/etc/passwd\"" },
    { config_user, vm_user, "\"user\":\t\"nobody\"" },
    { config_hostname, vm_hostname, "\"hostname\":\t\"guest\"" },
    { config_nested, vm_nested, "\"nested\":\ttrue" },
    { config_name, vm_name, "\"name\":\t\"named\"" },
    { config_keep, vm_keep, "\"keep\":\ttrue" },
    { config_timeout_ms, vm_timeout_ms, "\"timeout_ms\":\t1500" },
    { config_idle_timeout_ms, vm_idle_timeout_ms, "\"idle_timeout_ms\":\t2500" },
};

static char *json_and_free(msb_vm_builder *builder)
{
    msb_error *error = NULL;
    msb_vm *vm = msb_vm_builder_build(builder, &error);
    char *json;

    if (!vm)
        fail_msg("%s", msb_error_message(error));
    json = msb_vm_to_json(vm, &error);
    assert_non_null(json);
    msb_vm_free(vm);
    msb_vm_builder_free(builder);
    return json;
}

static void each_setter_of_both(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(setters) / sizeof(setters[0]); i++) {
        msb_config_builder *config_builder = msb_config_builder_new();
        msb_vm_builder *vm_builder = msb_vm_builder_new();
        msb_config *config;
        char *through_config, *direct;

        msb_config_builder_set_rootfs(config_builder, "/");
        msb_config_builder_set_exec_path(config_builder, "true");
        setters[i].config(config_builder);
        config = msb_config_builder_build(config_builder, NULL);
        assert_non_null(config);
        msb_config_builder_free(config_builder);
        through_config = json_and_free(msb_vm_builder_new_from_config(config));
        msb_config_free(config);

        msb_vm_builder_set_rootfs(vm_builder, "/");
        msb_vm_builder_set_exec_path(vm_builder, "true");
        setters[i].vm(vm_builder);
        direct = json_and_free(vm_builder);

        assert_string_equal(direct, through_config);
        if (!strstr(direct, setters[i].shown))
            fail_msg("%s is not in %s", setters[i].shown, direct);
        free(direct);
        free(through_config);
    }
}

static void the_config_builder_judges_nothing(void **state)
{
    static const char *const nonsense[] = { "nonsense" };
    msb_config_builder *builder = msb_config_builder_new();
    msb_vm_builder *vm_builder;
    msb_error *error = NULL;
    msb_config *config;

    (void)state;
    msb_config_builder_set_num_vcpus(builder, 0);
    msb_config_builder_set_env(builder, nonsense, 1);
    config = msb_config_builder_build(builder, &error);
    assert_non_null(config);
    vm_builder = msb_vm_builder_new_from_config(config);
    assert_null(msb_vm_builder_build(vm_builder, &error));
    assert_string_equal(msb_error_message(error), "rootfs is not set; name the directory that the guest sees as its root");
    assert_int_equal(msb_error_code(error), MSB_ERR_INVALID);
    msb_error_free(error);
    msb_vm_builder_free(vm_builder);
    msb_config_free(config);
    msb_config_builder_free(builder);
}

static void a_builder_stays_usable(void **state)
{
    msb_vm_builder *builder = msb_vm_builder_new();
    msb_vm *one, *two;
    char *json;

    (void)state;
    msb_vm_builder_set_rootfs(builder, "/");
    assert_null(msb_vm_builder_build(builder, NULL));
    msb_vm_builder_set_exec_path(builder, "one");
    one = msb_vm_builder_build(builder, NULL);
    msb_vm_builder_set_exec_path(builder, "two");
    two = msb_vm_builder_build(builder, NULL);
    msb_vm_builder_free(builder);
    json = msb_vm_to_json(one, NULL);
    assert_non_null(strstr(json, "\"exec_path\":\t\"one\""));
    free(json);
    json = msb_vm_to_json(two, NULL);
    assert_non_null(strstr(json, "\"exec_path\":\t\"two\""));
    free(json);
    msb_vm_free(one);
    msb_vm_free(two);
}

static void a_vm_has_warnings_and_a_terminal(void **state)
{
    msb_vm_builder *builder = msb_vm_builder_new();
    msb_vm *vm;
    char *json;

    (void)state;
    msb_vm_builder_set_rootfs(builder, "/");
    msb_vm_builder_set_exec_path(builder, "true");
    msb_vm_builder_set_num_vcpus(builder, 100000);
    msb_vm_builder_set_tty(builder, 24, 80);
    vm = msb_vm_builder_build(builder, NULL);
    assert_non_null(strstr(msb_vm_warning(vm, 0), "num_vcpus \"100000\" is more than this machine's"));
    assert_null(msb_vm_warning(vm, 1));
    json = msb_vm_to_json(vm, NULL);
    assert_non_null(strstr(json, "\"tty\":\ttrue"));
    free(json);
    msb_vm_free(vm);
    msb_vm_builder_free(builder);
}

static void what_is_not_running_cannot_be_told_anything(void **state)
{
    msb_vm_builder *builder = msb_vm_builder_new();
    msb_vm *vm;

    (void)state;
    msb_vm_builder_set_rootfs(builder, "/");
    msb_vm_builder_set_exec_path(builder, "true");
    vm = msb_vm_builder_build(builder, NULL);
    msb_vm_builder_free(builder);
    for (int i = 0; i < 5; i++) {
        msb_error *error = NULL;
        int result = i == 0   ? msb_vm_wait(vm, &error)
                     : i == 1 ? msb_vm_signal(vm, 15, &error)
                     : i == 2 ? msb_vm_resize(vm, 24, 80, &error)
                     : i == 3 ? msb_vm_stop(vm, 0, &error)
                              : msb_vm_kill(vm, &error);

        assert_int_equal(result, -1);
        assert_int_equal(msb_error_code(error), MSB_ERR_STATE);
        msb_error_free(error);
    }
    assert_int_equal(msb_vm_fd(vm), -1);
    assert_int_equal(msb_vm_exit_status(vm), -1);
    assert_null(msb_vm_kernel_log(vm));
    msb_vm_free(vm);
}

static void nothing_is_freed(void **state)
{
    (void)state;
    msb_config_builder_free(NULL);
    msb_config_free(NULL);
    msb_vm_builder_free(NULL);
    msb_vm_free(NULL);
    assert_int_equal(msb_error_code(NULL), MSB_OK);
}

static void the_version_is_the_project_s(void **state)
{
    (void)state;
    assert_string_equal(msb_version(), PROJECT_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_setter_of_both),
        cmocka_unit_test(the_config_builder_judges_nothing),
        cmocka_unit_test(a_builder_stays_usable),
        cmocka_unit_test(a_vm_has_warnings_and_a_terminal),
        cmocka_unit_test(what_is_not_running_cannot_be_told_anything),
        cmocka_unit_test(nothing_is_freed),
        cmocka_unit_test(the_version_is_the_project_s),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
