/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation fails once, alone and with all after it: each time that is told, nothing crashes, and nothing is lost. The allocator's functions are replaced here, as glibc allows ("Replacing
 * malloc"), so that its own calls and cJSON's fail too.
 */
#include "config/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Visible to the shared libraries: MSB_PUBLIC. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *p);

static bool armed;
static bool all_after; /* not only the one */
static size_t fails_at, calls;
static long held; /* allocations not freed */

static bool fails(void)
{
    size_t call = calls;

    if (!armed)
        return false;
    calls++;
    if (call == fails_at || (all_after && call > fails_at)) {
        errno = ENOMEM;
        return true;
    }
    return false;
}

MSB_PUBLIC void *malloc(size_t size)
{
    void *p = fails() ? NULL : __libc_malloc(size);

    held += p != NULL;
    return p;
}

MSB_PUBLIC void *calloc(size_t count, size_t size)
{
    void *p = fails() ? NULL : __libc_calloc(count, size);

    held += p != NULL;
    return p;
}

MSB_PUBLIC void *realloc(void *old, size_t size)
{
    void *p = fails() ? NULL : __libc_realloc(old, size);

    held += p != NULL && !old;
    return p;
}

MSB_PUBLIC void free(void *p)
{
    held -= p != NULL;
    __libc_free(p);
}

/* ---- What is tried: each returns 0, or -1 and an error ------------------------------------------------------------------------- */

static int refused_value(msb_error **err)
{
    return msb_port_parse("80:80:80", MSB_LENGTH_UNKNOWN, err) ? 0 : -1;
}

static int parse_env(msb_error **err)
{
    msb_env *env = msb_env_parse("A=1", MSB_LENGTH_UNKNOWN, err);

    msb_env_free(env);
    return env ? 0 : -1;
}

static int parse_mapped_dir(msb_error **err)
{
    msb_mapped_dir *dir = msb_mapped_dir_parse("/a:/b", MSB_LENGTH_UNKNOWN, err);

    msb_mapped_dir_free(dir);
    return dir ? 0 : -1;
}

static int parse_port(msb_error **err)
{
    msb_port *port = msb_port_parse("80", MSB_LENGTH_UNKNOWN, err);

    msb_port_free(port);
    return port ? 0 : -1;
}

static int parse_rlimit(msb_error **err)
{
    msb_rlimit *limit = msb_rlimit_parse("0=1:2", MSB_LENGTH_UNKNOWN, err);

    msb_rlimit_free(limit);
    return limit ? 0 : -1;
}

static int normalize(msb_error **err)
{
    char *path = msb_path_normalize("/a/b", MSB_LENGTH_UNKNOWN, MSB_PATH_ANY, err);

    free(path);
    return path ? 0 : -1;
}

static void set_everything(msb_config_builder *b)
{
    static const char *const layers[] = { "/usr", "/etc", "/usr" }, *const dirs[] = { "/usr:/a", "/usr:/b" },
                             *const ports[] = { "80", "81:81/udp" }, *const limits[] = { "0=1:2" },
                             *const args[] = { "x", "\xff" }, *const env[] = { "A=1", "A=2", "B=3" };

    msb_config_builder_set_rootfs(b, "/");
    msb_config_builder_set_rootfs_overlay(b, layers, 3);
    msb_config_builder_set_rootfs_upper(b, "/tmp");
    msb_config_builder_set_num_vcpus(b, 100000);
    msb_config_builder_set_mapped_dirs(b, dirs, 2);
    msb_config_builder_set_port_map(b, ports, 2);
    msb_config_builder_set_subnet(b, "10.0.0.0/24");
    msb_config_builder_set_ip(b, "10.0.0.2");
    msb_config_builder_set_rlimits(b, limits, 1);
    msb_config_builder_set_workdir_path(b, "/w");
    msb_config_builder_set_exec_path(b, "true");
    msb_config_builder_set_args(b, args, 2);
    msb_config_builder_set_env(b, env, 3);
    msb_config_builder_set_console_output(b, "/tmp/out");
    msb_config_builder_set_kernel(b, "/etc/passwd");
    msb_config_builder_set_user(b, "nobody");
    msb_config_builder_set_hostname(b, "guest");
}

static int encode_and_decode(const struct spec *spec)
{
    struct writer w = { 0 };
    struct reader r;
    struct spec copy = { 0 };
    int result;

    spec_encode(&w, spec);
    r = (struct reader){ w.data, w.size, false };
    result = w.failed ? -1 : spec_decode(&r, &copy, NULL);
    spec_clear(&copy);
    free(w.data);
    return result; /* without an error: a decoder cannot tell lack of memory from a garbled message */
}

static int validate(const msb_config *config, msb_error **err)
{
    struct warnings warnings;
    struct spec spec;
    char *json = NULL;
    int result = config_validate(config, &spec, &warnings, err);

    if (result == 0)
        result = encode_and_decode(&spec);
    if (result == 0)
        json = spec_to_json(&spec, &warnings, err);
    free(json);
    spec_clear(&spec);
    warnings_clear(&warnings);
    return json ? 0 : -1;
}

static int the_whole_way(msb_error **err)
{
    msb_config_builder *builder = msb_config_builder_new();
    msb_vm_builder *vm_builder;
    msb_config *config;
    int result;

    if (!builder)
        return -1;
    set_everything(builder);
    config = msb_config_builder_build(builder, err);
    msb_config_builder_free(builder);
    if (!config)
        return -1;
    vm_builder = msb_vm_builder_new_from_config(config);
    result = vm_builder ? validate(config, err) : -1;
    msb_vm_builder_free(vm_builder);
    msb_config_free(config);
    return result;
}

/* ---- The test -------------------------------------------------------------------------------------------------------------------- */

typedef int attempt(msb_error **err);

/* Either the lack of memory itself; or the host's word for it; or what would have been told anyhow, because the C library could do
   without the memory; or, from a function without an error to fill, nothing. */
static bool is_right(const msb_error *error, bool succeeds)
{
    switch (msb_error_code(error)) {
    case MSB_OK:
    case MSB_ERR_NO_MEMORY:
        return true;
    case MSB_ERR_SYSTEM:
        return strstr(msb_error_message(error), "Cannot allocate memory") != NULL;
    case MSB_ERR_INVALID:
        return !succeeds;
    default:
        return false;
    }
}

/* True when no allocation was left that could fail. */
static bool one_run(attempt *try, size_t at, bool all, bool succeeds)
{
    msb_error *error = NULL;
    long before = held;
    bool complete, right;
    int result;

    fails_at = at;
    all_after = all;
    calls = 0;
    armed = true;
    result = try(&error);
    armed = false;
    complete = calls <= at;
    right = complete ? msb_error_code(error) == (succeeds ? MSB_OK : MSB_ERR_INVALID) : result == 0 || is_right(error, succeeds);
    if (!right)
        print_message("%s\n", msb_error_message(error));
    msb_error_free(error);
    assert_true(right);
    if (held != before)
        fail_msg("%ld allocations are lost when allocation %zu fails", held - before, at);
    return complete;
}

static void try_all(attempt *try, bool succeeds, size_t at_least)
{
    size_t at;

    one_run(try, SIZE_MAX, false, succeeds); /* what is allocated once and for all, such as by the C library's own tables */
    for (at = 0; !one_run(try, at, false, succeeds); at++)
        assert_true(at < 10000);
    assert_true(at >= at_least);
    for (at = 0; !one_run(try, at, true, succeeds); at++)
        assert_true(at < 10000);
}

static void parsers(void **state)
{
    (void)state;
    try_all(refused_value, false, 3);
    try_all(parse_env, true, 3);
    try_all(parse_mapped_dir, true, 3);
    try_all(parse_port, true, 1);
    try_all(parse_rlimit, true, 1);
    try_all(normalize, true, 1);
}

static void everything(void **state)
{
    (void)state;
    try_all(the_whole_way, true, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parsers),
        cmocka_unit_test(everything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
