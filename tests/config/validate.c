/* SPDX-License-Identifier: Apache-2.0 */
/* Validation: what each option becomes in the spec, and the sentence with which each refusal is told. */
#include "config/config.h"
#include "config/inherit.h"

#include <arpa/inet.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Each test runs in a directory of its own with: dir/, dir/inner/, other/, file, fifo, link -> dir. */
static char scratch[] = "/tmp/msb-validate-XXXXXX";

static int make_scratch(void **state)
{
    (void)state;
    return !mkdtemp(scratch) || chdir(scratch) < 0 || mkdir("dir", 0755) < 0 || mkdir("dir/inner", 0755) < 0 ||
           mkdir("other", 0755) < 0 || mknod("file", S_IFREG | 0644, 0) < 0 || mkfifo("fifo", 0644) < 0 ||
           symlink("dir", "link") < 0;
}

static int remove_scratch(void **state)
{
    (void)state;
    return unlink("link") < 0 || unlink("fifo") < 0 || unlink("file") < 0 || rmdir("dir/inner") < 0 || rmdir("dir") < 0 ||
           rmdir("other") < 0 || rmdir(scratch) < 0;
}

static char *in_scratch(const char *name)
{
    char *path = NULL;

    assert_true(asprintf(&path, "%s/%s", scratch, name) > 0);
    return path;
}

static msb_config_builder *minimal(void)
{
    msb_config_builder *builder = msb_config_builder_new();

    msb_config_builder_set_rootfs(builder, "dir");
    msb_config_builder_set_exec_path(builder, "/bin/true");
    return builder;
}

static struct warnings warned;

static int validate(const msb_config_builder *builder, struct spec *spec, msb_error **err)
{
    msb_config *config = msb_config_builder_build(builder, NULL);
    int result;

    assert_non_null(config);
    warnings_clear(&warned);
    result = config_validate(config, spec, &warned, err);
    msb_config_free(config);
    return result;
}

/* Must succeed; frees the builder. */
static void assert_accepted(msb_config_builder *builder, struct spec *spec)
{
    msb_error *error = NULL;

    if (validate(builder, spec, &error) < 0)
        fail_msg("%s", msb_error_message(error));
    msb_config_builder_free(builder);
}

/* ---- Refusals ---------------------------------------------------------------------------------------------------------------- */

static void apply_string(msb_config_builder *builder, const char *option, const char *value)
{
    static const struct {
        const char *option;
        void (*set)(msb_config_builder *builder, const char *value);
    } setters[] = {
        { "rootfs", msb_config_builder_set_rootfs },
        { "rootfs_upper", msb_config_builder_set_rootfs_upper },
        { "ip", msb_config_builder_set_ip },
        { "subnet", msb_config_builder_set_subnet },
        { "workdir_path", msb_config_builder_set_workdir_path },
        { "exec_path", msb_config_builder_set_exec_path },
        { "console_output", msb_config_builder_set_console_output },
        { "kernel", msb_config_builder_set_kernel },
        { "user", msb_config_builder_set_user },
        { "hostname", msb_config_builder_set_hostname },
        { "name", msb_config_builder_set_name },
    };

    for (size_t i = 0; i < LENGTH(setters); i++) {
        if (!strcmp(setters[i].option, option)) {
            setters[i].set(builder, value);
            return;
        }
    }
    fail_msg("no option %s", option);
}

static bool apply_list(msb_config_builder *builder, const char *option, const char *const *items, size_t count)
{
    static const struct {
        const char *option;
        void (*set)(msb_config_builder *builder, const char *const *items, size_t count);
    } setters[] = {
        { "layers", msb_config_builder_set_rootfs_overlay },
        { "mapped_dirs", msb_config_builder_set_mapped_dirs },
        { "port_map", msb_config_builder_set_port_map },
        { "rlimits", msb_config_builder_set_rlimits },
        { "args", msb_config_builder_set_args },
        { "env", msb_config_builder_set_env },
    };

    for (size_t i = 0; i < LENGTH(setters); i++) {
        if (!strcmp(setters[i].option, option)) {
            setters[i].set(builder, items, count);
            return true;
        }
    }
    return false;
}

static const char null_item[] = "NULL";

/* "option=value" each; several values of one list option are separated by '|'. */
static void apply(msb_config_builder *builder, const char *setting)
{
    char *copy = strdup(setting), *value = strchr(copy, '='), *item;
    const char *items[8];
    size_t count = 0;

    *value++ = '\0';
    if (!strcmp(copy, "num_vcpus")) {
        msb_config_builder_set_num_vcpus(builder, (uint32_t)strtoul(value, NULL, 10));
    } else if (!strcmp(copy, "memory_mib")) {
        msb_config_builder_set_memory_mib(builder, (uint32_t)strtoul(value, NULL, 10));
    } else if (!strcmp(copy, "scope")) {
        msb_config_builder_set_scope(builder, (enum msb_scope)atoi(value));
    } else if (!strcmp(copy, "log_level")) {
        msb_config_builder_set_log_level(builder, (enum msb_log_level)atoi(value));
    } else if (!strcmp(copy, "engine")) {
        msb_config_builder_set_engine(builder, (enum msb_engine)atoi(value));
    } else if (!strcmp(copy, "nested")) {
        msb_config_builder_set_nested(builder, atoi(value));
    } else if (!strcmp(copy, "keep")) {
        msb_config_builder_set_keep(builder, atoi(value));
    } else if (!strcmp(copy, "host_root")) {
        msb_config_builder_set_rootfs_host(builder);
    } else if (apply_list(builder, copy, NULL, 0)) {
        char *rest = *value ? strdup(value) : NULL, *begin = rest;

        while ((item = strsep(&rest, "|")))
            items[count++] = strcmp(item, null_item) ? item : NULL;
        apply_list(builder, copy, items, count);
        free(begin);
    } else {
        apply_string(builder, copy, value);
    }
    free(copy);
}

#define PORT_FORM "write [ADDRESS:]HOST[:GUEST][/tcp|/udp], with ports from 1 to 65535"
#define NO_HOST_NAME "is no host name; write letters, digits and inner hyphens, at most 63 between two dots (RFC 1123)"
#define NO_NAME "is no name for a sandbox; write letters, digits and inner hyphens, at most 63"
#define NO_USER "is no user; write NAME or UID, optionally with :GROUP or :GID, numbers below 4294967295"

static const struct {
    const char *settings[3];
    enum msb_error_code code;
    const char *message;
} refusals[] = {
    { { "log_level=6" }, MSB_ERR_INVALID, "log_level \"6\" is no value of enum msb_log_level" },
    { { "engine=1", "nested=1" },
      MSB_ERR_INVALID,
      "nested: the engine \"kvm\" cannot give its guest hardware virtualization; \"qemu\" can" },
    { { "engine=3", "nested=1" },
      MSB_ERR_INVALID,
      "nested: the engine \"uml\" cannot give its guest hardware virtualization; \"qemu\" can" },
    { { "engine=9" }, MSB_ERR_INVALID, "engine \"9\" is no value of enum msb_engine" },
    { { "scope=4" }, MSB_ERR_INVALID, "scope \"4\" is no value of enum msb_scope" },

    { { "rootfs=" }, MSB_ERR_INVALID, "rootfs \"\" is empty; name a path on this machine" },
    { { "rootfs=none" }, MSB_ERR_NOT_FOUND, "rootfs \"none\" cannot be used: No such file or directory" },
    { { "rootfs=file" }, MSB_ERR_INVALID, "rootfs \"file\" is no directory; name one" },
    { { "rootfs=file/x" }, MSB_ERR_NOT_FOUND, "rootfs \"file/x\" cannot be used: Not a directory" },
    { { "layers=" }, MSB_ERR_INVALID, "rootfs \"\" is an overlay without layers; name at least one directory" },
    { { "layers=dir|none" }, MSB_ERR_NOT_FOUND, "rootfs layer \"none\" cannot be used: No such file or directory" },
    { { "layers=file|dir" }, MSB_ERR_INVALID, "rootfs layer \"file\" is no directory; name one" },
    { { "layers=dir|NULL" }, MSB_ERR_INVALID, "rootfs has NULL as item 2 of 2; every item must be a string" },
    { { "rootfs_upper=other" },
      MSB_ERR_INVALID,
      "rootfs upper \"other\" needs an overlay root, but rootfs is one directory, which is written in place" },
    { { "host_root=", "rootfs_upper=other" },
      MSB_ERR_INVALID,
      "rootfs upper \"other\" cannot be used with this machine as the root, whose changes are always discarded" },
    { { "layers=dir", "rootfs_upper=none" },
      MSB_ERR_NOT_FOUND,
      "rootfs upper \"none\" cannot be used: No such file or directory" },
    { { "layers=dir", "rootfs_upper=file" }, MSB_ERR_INVALID, "rootfs upper \"file\" is no directory; name one" },

    { { "num_vcpus=0" }, MSB_ERR_INVALID, "num_vcpus \"0\" is too few; the least is 1" },
    { { "memory_mib=0" }, MSB_ERR_INVALID, "memory_mib \"0\" is too little; the least is 1" },

    { { "mapped_dirs=dir:g" },
      MSB_ERR_INVALID,
      "mapped_dirs: path \"g\" is relative; write an absolute one, which begins with '/'" },
    { { "mapped_dirs=dir" },
      MSB_ERR_INVALID,
      "mapped_dirs: path \"dir\" is relative; write an absolute one, which begins with '/'" },
    { { "mapped_dirs=dir:/a/../../b" },
      MSB_ERR_INVALID,
      "mapped_dirs: path \"/a/../../b\" climbs above its beginning; take a \"..\" away" },
    { { "mapped_dirs=none:/g" }, MSB_ERR_NOT_FOUND, "mapped_dirs \"none\" cannot be used: No such file or directory" },
    { { "mapped_dirs=fifo:/g" }, MSB_ERR_INVALID, "mapped_dirs \"fifo:/g\" maps neither a directory nor a regular file" },
    { { "mapped_dirs=dir:/a/.." },
      MSB_ERR_INVALID,
      "mapped_dirs \"dir:/a/..\" would hide the guest's whole root; use rootfs for that" },
    { { "mapped_dirs=dir:/a|file:/b|dir:/a/c:ro" },
      MSB_ERR_INVALID,
      "mapped_dirs \"dir:/a/c:ro\" overlaps \"dir:/a\" in the guest; choose guest paths apart from one another" },
    { { "mapped_dirs=dir:/\n|dir:/\n/x" },
      MSB_ERR_INVALID,
      "mapped_dirs \"dir:/\\n/x\" overlaps \"dir:/\\n\" in the guest; choose guest paths apart from one another" },
    { { "mapped_dirs=dir:" },
      MSB_ERR_INVALID,
      "mapped_dirs: mapped directory \"dir:\" has no guest path after the ':'; write HOST[:GUEST][:ro]" },
    { { "mapped_dirs=NULL" }, MSB_ERR_INVALID, "mapped_dirs has NULL as item 1 of 1; every item must be a string" },

    { { "port_map=80:80:80" },
      MSB_ERR_INVALID,
      "port_map: port \"80:80:80\" has a guest port that is no number from 1 to 65535; " PORT_FORM },
    { { "port_map=8080:80|8080:81" },
      MSB_ERR_INVALID,
      "port_map \"8080:81\" takes host port 8080, which \"8080:80\" has already; choose another" },
    { { "port_map=0.0.0.0:8080:80|127.0.0.1:8080:81" },
      MSB_ERR_INVALID,
      "port_map \"127.0.0.1:8080:81\" takes host port 8080, which \"0.0.0.0:8080:80\" has already; choose another" },
    { { "port_map=[::1]:8080:80|[::]:8080:81" },
      MSB_ERR_INVALID,
      "port_map \"[::]:8080:81\" takes host port 8080, which \"[::1]:8080:80\" has already; choose another" },
    { { "port_map=8080:80|8081:80" },
      MSB_ERR_INVALID,
      "port_map \"8081:80\" leads to guest port 80, as \"8080:80\" does already; leave one out" },
    { { "port_map=8080|NULL" }, MSB_ERR_INVALID, "port_map has NULL as item 2 of 2; every item must be a string" },
    { { "scope=0", "port_map=8080:80" },
      MSB_ERR_INVALID,
      "port_map \"8080:80\" needs a network, but scope is \"none\"; use another scope, or publish no port" },
    { { "subnet=10.0.0.0" }, MSB_ERR_INVALID, "subnet \"10.0.0.0\" is no IPv4 network; write ADDRESS/BITS, such as 10.0.0.0/24" },
    { { "subnet=10.0.0.0/31" }, MSB_ERR_INVALID, "subnet \"10.0.0.0/31\" has no room for a guest; use 8 to 30 bits" },
    { { "subnet=10.0.0.0/7" }, MSB_ERR_INVALID, "subnet \"10.0.0.0/7\" has too few bits; use 8 to 30 bits" },
    { { "subnet=127.0.0.0/24" },
      MSB_ERR_INVALID,
      "subnet \"127.0.0.0/24\" is no network for hosts (0/8, loopback, multicast or reserved); use one such as 10.0.0.0/24" },
    { { "subnet=224.0.0.0/24" },
      MSB_ERR_INVALID,
      "subnet \"224.0.0.0/24\" is no network for hosts (0/8, loopback, multicast or reserved); use one such as 10.0.0.0/24" },
    { { "ip=10.0.0.2" }, MSB_ERR_INVALID, "ip \"10.0.0.2\" needs a subnet that it lies in; set subnet too" },
    { { "subnet=10.0.0.0/24", "ip=10.0.1.2" },
      MSB_ERR_INVALID,
      "ip \"10.0.1.2\" is outside the subnet \"10.0.0.0/24\"; use an address in it" },
    { { "subnet=10.0.0.0/24", "ip=10.0.0.0" },
      MSB_ERR_INVALID,
      "ip \"10.0.0.0\" is the network address of the subnet \"10.0.0.0/24\"; use one between" },
    { { "subnet=10.0.0.0/30", "ip=10.0.0.3" },
      MSB_ERR_INVALID,
      "ip \"10.0.0.3\" is the broadcast address of the subnet \"10.0.0.0/30\"; use one between" },
    { { "subnet=10.0.0.0/24", "ip=ten" },
      MSB_ERR_INVALID,
      "ip: address \"ten\" is no IPv4 address; write four numbers, such as 10.0.0.2" },

    { { "rlimits=RLIMIT_CPU=2:1" },
      MSB_ERR_INVALID,
      "rlimits: rlimit \"RLIMIT_CPU=2:1\" has a soft limit above the hard one; raise the hard limit or lower the soft one" },
    { { "rlimits=NULL" }, MSB_ERR_INVALID, "rlimits has NULL as item 1 of 1; every item must be a string" },
    { { "workdir_path=work" },
      MSB_ERR_INVALID,
      "workdir_path: path \"work\" is relative; write an absolute one, which begins with '/'" },
    { { "workdir_path=" }, MSB_ERR_INVALID, "workdir_path: path \"\" is empty" },
    { { "workdir_path=/.." }, MSB_ERR_INVALID, "workdir_path: path \"/..\" climbs above its beginning; take a \"..\" away" },
    { { "exec_path=" }, MSB_ERR_INVALID, "exec_path \"\" is empty; name the program to run" },
    { { "exec_path=bin/true" },
      MSB_ERR_INVALID,
      "exec_path \"bin/true\" is a relative path; write an absolute one, or a name without '/' to be looked up in the guest's "
      "PATH" },
    { { "args=a|NULL|b" }, MSB_ERR_INVALID, "args has NULL as item 2 of 3; every item must be a string" },
    { { "env=A=1|B" }, MSB_ERR_INVALID, "env: environment variable \"B\" has no '='; write KEY=VALUE" },
    { { "env=NULL" }, MSB_ERR_INVALID, "env has NULL as item 1 of 1; every item must be a string" },

    { { "console_output=" }, MSB_ERR_INVALID, "console_output \"\" names no file" },
    { { "console_output=dir" }, MSB_ERR_INVALID, "console_output \"dir\" is a directory; name a file" },
    { { "console_output=new/" }, MSB_ERR_INVALID, "console_output \"new/\" names no file" },
    { { "console_output=none/x" },
      MSB_ERR_NOT_FOUND,
      "console_output \"none/x\" cannot be made: its directory \"none/\" is not there; make it first" },
    { { "kernel=none" }, MSB_ERR_NOT_FOUND, "kernel \"none\" cannot be used: No such file or directory" },
    { { "kernel=dir" }, MSB_ERR_INVALID, "kernel \"dir\" is no regular file; name a kernel image" },

    { { "user=" }, MSB_ERR_INVALID, "user \"\" " NO_USER },
    { { "user=:" }, MSB_ERR_INVALID, "user \":\" " NO_USER },
    { { "user=a:" }, MSB_ERR_INVALID, "user \"a:\" " NO_USER },
    { { "user=:b" }, MSB_ERR_INVALID, "user \":b\" " NO_USER },
    { { "user=a:b:c" }, MSB_ERR_INVALID, "user \"a:b:c\" " NO_USER },
    { { "user=a b" }, MSB_ERR_INVALID, "user \"a b\" " NO_USER },
    { { "user=4294967295" }, MSB_ERR_INVALID, "user \"4294967295\" " NO_USER },
    { { "user=0:4294967295" }, MSB_ERR_INVALID, "user \"0:4294967295\" " NO_USER },
    { { "keep=1" }, MSB_ERR_INVALID, "keep: a VM without a name cannot be kept; give it one" },
    { { "name=" }, MSB_ERR_INVALID, "name \"\" " NO_NAME },
    { { "name=.net" }, MSB_ERR_INVALID, "name \".net\" " NO_NAME },
    { { "name=a.b" }, MSB_ERR_INVALID, "name \"a.b\" " NO_NAME },
    { { "name=../a" }, MSB_ERR_INVALID, "name \"../a\" " NO_NAME },
    { { "name=a-" }, MSB_ERR_INVALID, "name \"a-\" " NO_NAME },
    { { "hostname=" }, MSB_ERR_INVALID, "hostname \"\" " NO_HOST_NAME },
    { { "hostname=-a.b" }, MSB_ERR_INVALID, "hostname \"-a.b\" " NO_HOST_NAME },
    { { "hostname=a.b-" }, MSB_ERR_INVALID, "hostname \"a.b-\" " NO_HOST_NAME },
    { { "hostname=a..b" }, MSB_ERR_INVALID, "hostname \"a..b\" " NO_HOST_NAME },
    { { "hostname=a." }, MSB_ERR_INVALID, "hostname \"a.\" " NO_HOST_NAME },
    { { "hostname=a_b" }, MSB_ERR_INVALID, "hostname \"a_b\" " NO_HOST_NAME },
    { { "hostname=h\xc3\xbc" }, MSB_ERR_INVALID, "hostname \"h\xc3\xbc\" " NO_HOST_NAME },
    { { "hostname=0123456789012345678901234567890123456789012345678901234567890123" }, /* 64 without a dot */
      MSB_ERR_INVALID,
      "hostname \"0123456789012345678901234567890123456789012345678901234567890123\" " NO_HOST_NAME },
    { { "hostname=012345678901234567890123456789.0123456789012345678901234567890123" }, /* 65 */
      MSB_ERR_INVALID,
      "hostname \"012345678901234567890123456789.0123456789012345678901234567890123\" is longer than Linux's limit of 64 bytes" },
};

static void refusals_name_option_and_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(refusals); i++) {
        msb_config_builder *builder = minimal();
        msb_error *error = NULL;
        struct spec spec;

        for (size_t j = 0; j < LENGTH(refusals[i].settings) && refusals[i].settings[j]; j++)
            apply(builder, refusals[i].settings[j]);
        if (validate(builder, &spec, &error) == 0)
            fail_msg("accepted: %s", refusals[i].settings[0]);
        assert_string_equal(msb_error_message(error), refusals[i].message);
        assert_int_equal(msb_error_code(error), refusals[i].code);
        assert_null(strchr(msb_error_message(error), '\n'));
        assert_null(spec.rootfs_layers); /* emptied */
        assert_int_equal(warned.count, 0);
        msb_error_free(error);
        assert_int_equal(validate(builder, &spec, NULL), -1); /* without an error to fill */
        msb_config_builder_free(builder);
    }
}

static void rootfs_and_exec_path_are_required(void **state)
{
    msb_config_builder *builder = msb_config_builder_new();
    msb_error *error = NULL;
    struct spec spec;

    (void)state;
    assert_int_equal(validate(builder, &spec, &error), -1);
    assert_string_equal(msb_error_message(error), "rootfs is not set; name the directory that the guest sees as its root");
    msb_error_free(error);
    error = NULL;
    msb_config_builder_set_rootfs(builder, "dir");
    assert_int_equal(validate(builder, &spec, &error), -1);
    assert_string_equal(msb_error_message(error), "exec_path is not set; name the program to run");
    msb_error_free(error);
    msb_config_builder_set_exec_path(builder, "true"); /* that is all */
    assert_accepted(builder, &spec);
    spec_clear(&spec);
}

static void an_upper_directory_is_apart_from_the_layers(void **state)
{
    static const char *const pairs[][2] = { { "dir", "dir" }, { "dir", "dir/inner" }, { "dir/inner", "dir" }, { "dir", "link" } };

    (void)state;
    for (size_t i = 0; i < LENGTH(pairs); i++) {
        msb_config_builder *builder = minimal();
        msb_error *error = NULL;
        char *message = NULL;
        struct spec spec;

        msb_config_builder_set_rootfs_overlay(builder, &pairs[i][0], 1);
        msb_config_builder_set_rootfs_upper(builder, pairs[i][1]);
        assert_int_equal(validate(builder, &spec, &error), -1);
        assert_true(
            asprintf(&message,
                     "rootfs upper \"%s\" overlaps the layer \"%s/%s\", which is never written; name a directory apart from it",
                     pairs[i][1], scratch, pairs[i][0]) > 0);
        assert_string_equal(msb_error_message(error), message);
        free(message);
        msb_error_free(error);
        msb_config_builder_free(builder);
    }
}

static void nothing_is_apart_from_a_layer_that_is_the_root(void **state)
{
    static const char *const layers[] = { "/" };
    msb_config_builder *builder = minimal();
    msb_error *error = NULL;
    struct spec spec;

    (void)state;
    msb_config_builder_set_rootfs_overlay(builder, layers, 1);
    msb_config_builder_set_rootfs_upper(builder, "other");
    assert_int_equal(validate(builder, &spec, &error), -1);
    assert_string_equal(msb_error_message(error), "rootfs upper \"other\" overlaps the layer \"/\", which is never written; "
                                                  "name a directory apart from it");
    msb_error_free(error);
    msb_config_builder_free(builder);
}

static void a_working_directory_that_is_gone_is_told(void **state)
{
    msb_config_builder *builder = minimal();
    msb_error *error = NULL;
    struct spec spec;

    (void)state;
    assert_int_equal(mkdir("gone", 0755), 0);
    assert_int_equal(chdir("gone"), 0);
    assert_int_equal(rmdir("../gone"), 0);
    msb_config_builder_set_rootfs(builder, ".");
    assert_int_equal(validate(builder, &spec, &error), -1);
    assert_int_equal(chdir(scratch), 0);
    assert_string_equal(msb_error_message(error),
                        "rootfs \".\" is relative, and the working directory cannot be found: No such file or directory");
    assert_int_equal(msb_error_code(error), MSB_ERR_SYSTEM);
    msb_error_free(error);
    msb_config_builder_free(builder);
}

static void layers_are_one_to_128(void **state)
{
    const char *layers[ROOTFS_LAYERS_MAX + 1];
    msb_config_builder *builder = minimal();
    msb_error *error = NULL;
    struct spec spec;

    (void)state;
    for (size_t i = 0; i < LENGTH(layers); i++)
        layers[i] = i == 0 ? "other" : "dir";
    msb_config_builder_set_rootfs_overlay(builder, layers, LENGTH(layers));
    assert_int_equal(validate(builder, &spec, &error), -1);
    assert_string_equal(msb_error_message(error), "rootfs has \"129\" layers; the most is 128");
    msb_error_free(error);
    msb_config_builder_set_rootfs_overlay(builder, layers, ROOTFS_LAYERS_MAX);
    assert_accepted(builder, &spec);
    assert_int_equal(spec.rootfs_kind, ROOTFS_OVERLAY);
    assert_int_equal(spec.num_rootfs_layers, 2); /* a repeated layer counts once, where it is highest */
    assert_int_equal(warned.count, ROOTFS_LAYERS_MAX - 2);
    assert_non_null(strstr(warned.items[0], "is named twice; only the higher one counts"));
    spec_clear(&spec);
}

static void a_command_too_large_for_one_message_is_refused(void **state)
{
    size_t size = 1 << 20;
    char *arg = malloc(size + 1);
    const char *args[16];
    msb_config_builder *builder = minimal();
    msb_error *error = NULL;
    struct spec spec;

    (void)state;
    memset(arg, 'x', size);
    arg[size] = '\0';
    for (size_t i = 0; i < LENGTH(args); i++)
        args[i] = arg;
    msb_config_builder_set_args(builder, args, LENGTH(args));
    assert_int_equal(validate(builder, &spec, &error), -1);
    assert_string_equal(
        msb_error_message(error),
        "exec_path, args and env together have \"16777290\" bytes; the most is 16711680, and Linux itself takes fewer");
    assert_int_equal(msb_error_code(error), MSB_ERR_INVALID);
    msb_error_free(error);
    msb_config_builder_set_args(builder, args, LENGTH(args) - 1);
    assert_accepted(builder, &spec);
    spec_clear(&spec);
    free(arg);
}

static void a_million_arguments_are_the_most(void **state)
{
    size_t count = PROCESS_STRINGS_MAX + 1;
    const char **args = calloc(count, sizeof(*args));
    msb_config_builder *builder = minimal();
    msb_error *error = NULL;
    struct spec spec;

    (void)state;
    for (size_t i = 0; i < count; i++)
        args[i] = "";
    msb_config_builder_set_args(builder, args, count);
    assert_int_equal(validate(builder, &spec, &error), -1);
    assert_string_equal(msb_error_message(error), "args has \"1048577\" items; the most is 1048576");
    msb_error_free(error);
    msb_config_builder_free(builder);
    free(args);
}

/* ---- What is accepted --------------------------------------------------------------------------------------------------------- */

static void assert_path(const char *path, const char *name)
{
    char *expected = in_scratch(name);

    assert_string_equal(path, expected);
    free(expected);
}

static void every_option_arrives(void **state)
{
    static const char *const dirs[] = { "./dir//inner/:/g/./x/../y/", "file:/f:ro" },
                             *const ports[] = { "8080:80", "[::1]:53/udp" },
                             *const limits[] = { "RLIMIT_NOFILE=1:2", "RLIMIT_CPU=3:4" }, *const args[] = { "", "-x", "\xff" },
                             *const env[] = { "A=1", "B=" };
    msb_config_builder *builder = minimal();
    struct spec spec;

    (void)state;
    msb_config_builder_set_log_level(builder, MSB_LOG_DEBUG);
    msb_config_builder_set_num_vcpus(builder, 1);
    msb_config_builder_set_memory_mib(builder, 7);
    msb_config_builder_set_mapped_dirs(builder, dirs, 2);
    msb_config_builder_set_port_map(builder, ports, 2);
    msb_config_builder_set_scope(builder, MSB_SCOPE_ANY);
    msb_config_builder_set_ip(builder, "10.1.2.3");
    msb_config_builder_set_subnet(builder, "10.1.0.0/16");
    msb_config_builder_set_rlimits(builder, limits, 2);
    msb_config_builder_set_workdir_path(builder, "//w/");
    msb_config_builder_set_exec_path(builder, "/bin/../bin/echo");
    msb_config_builder_set_args(builder, args, 3);
    msb_config_builder_set_env(builder, env, 2);
    msb_config_builder_set_console_output(builder, "other/out");
    msb_config_builder_set_engine(builder, MSB_ENGINE_QEMU);
    msb_config_builder_set_kernel(builder, "file");
    msb_config_builder_set_user(builder, "1000:users");
    msb_config_builder_set_hostname(builder, "A-1.example");
    msb_config_builder_set_nested(builder, 1);
    msb_config_builder_set_name(builder, "web-1");
    msb_config_builder_set_keep(builder, 1);
    msb_config_builder_set_timeout_ms(builder, 1500);
    msb_config_builder_set_idle_timeout_ms(builder, UINT64_MAX);
    assert_accepted(builder, &spec);

    assert_int_equal(spec.log_level, MSB_LOG_DEBUG);
    assert_int_equal(spec.rootfs_kind, ROOTFS_NATIVE);
    assert_int_equal(spec.num_rootfs_layers, 1);
    assert_path(spec.rootfs_layers[0], "dir");
    assert_null(spec.rootfs_upper);
    assert_int_equal(spec.num_vcpus, 1);
    assert_int_equal(spec.memory_mib, 7);
    assert_int_equal(spec.num_shares, 2);
    assert_path(spec.shares[0].host, "dir/inner");
    assert_string_equal(spec.shares[0].guest, "/g/y");
    assert_false(spec.shares[0].read_only);
    assert_path(spec.shares[1].host, "file");
    assert_string_equal(spec.shares[1].guest, "/f");
    assert_true(spec.shares[1].read_only);
    assert_int_equal(spec.num_ports, 2);
    assert_int_equal(spec.ports[0].host, 8080);
    assert_int_equal(spec.ports[0].guest, 80);
    assert_int_equal(spec.ports[0].protocol, IPPROTO_TCP);
    assert_true(IN6_IS_ADDR_V4MAPPED(&spec.ports[0].address));
    assert_int_equal(spec.ports[1].protocol, IPPROTO_UDP);
    assert_true(IN6_IS_ADDR_LOOPBACK(&spec.ports[1].address));
    assert_int_equal(spec.scope, MSB_SCOPE_ANY);
    assert_true(spec.has_ip);
    assert_int_equal(ntohl(spec.ip.s_addr), 0x0a010203);
    assert_true(spec.has_subnet);
    assert_int_equal(ntohl(spec.subnet.s_addr), 0x0a010000);
    assert_int_equal(spec.subnet_bits, 16);
    assert_true(spec.has_process);
    assert_int_equal(spec.process.num_rlimits, 2);
    assert_int_equal(spec.process.rlimits[0].resource, 7);
    assert_true(spec.process.rlimits[1].soft == 3 && spec.process.rlimits[1].hard == 4);
    assert_string_equal(spec.process.workdir, "/w");
    assert_string_equal(spec.process.exec_path, "/bin/../bin/echo"); /* argv[0], as it was given */
    assert_int_equal(spec.process.num_args, 3);
    assert_string_equal(spec.process.args[0], "");
    assert_string_equal(spec.process.args[2], "\xff");
    assert_null(spec.process.args[3]);
    assert_int_equal(spec.process.num_env, 2);
    assert_string_equal(spec.process.env[1], "B=");
    assert_null(spec.process.env[2]);
    assert_path(spec.console_output, "other/out");
    assert_int_equal(spec.engine, MSB_ENGINE_QEMU);
    assert_path(spec.kernel, "file");
    assert_string_equal(spec.process.user, "1000:users");
    assert_string_equal(spec.hostname, "A-1.example");
    assert_true(spec.nested);
    assert_string_equal(spec.name, "web-1");
    assert_true(spec.keep);
    assert_true(spec.timeout_ms == 1500 && spec.idle_timeout_ms == UINT64_MAX);
    assert_false(spec.process.tty);
    spec_clear(&spec);
}

/* It can have commands later; what they inherit is judged all the same. */
static void a_name_stands_in_for_a_command(void **state)
{
    msb_config_builder *builder = msb_config_builder_new();
    static const char *const env[] = { "A=1" };
    struct spec spec;

    (void)state;
    msb_config_builder_set_rootfs(builder, "dir");
    msb_config_builder_set_name(builder, "a");
    msb_config_builder_set_env(builder, env, 1);
    assert_accepted(builder, &spec);
    assert_false(spec.has_process);
    assert_string_equal(spec.process.exec_path, "");
    assert_int_equal(spec.process.num_env, 1);
    assert_false(spec.keep);
    spec_clear(&spec);
}

static void an_exec_inherits_what_it_does_not_set(void **state)
{
    char *base_env[] = { (char *)"A=1", (char *)"B=2" }, *own_env[] = { (char *)"C=3", (char *)"A=4" };
    struct rlimit_setting base_limits[] = { { 7, 1, 2 }, { 1, 3, 4 } };
    struct process base = { .env = base_env,
                            .num_env = 2,
                            .workdir = (char *)"/base",
                            .user = (char *)"nobody",
                            .rlimits = base_limits,
                            .num_rlimits = 2 };
    struct process own = { .workdir = strdup(""),
                           .env = calloc(3, sizeof(char *)),
                           .rlimits = calloc(16, sizeof(base_limits[0])) };

    (void)state;
    own.env[own.num_env++] = strdup(own_env[0]);
    own.env[own.num_env++] = strdup(own_env[1]);
    own.rlimits[own.num_rlimits++] = (struct rlimit_setting){ 7, 5, 6 };
    assert_int_equal(process_inherit(&own, &base, NULL), 0);
    assert_int_equal(own.num_env, 3);
    assert_string_equal(own.env[0], "A=4");
    assert_string_equal(own.env[1], "B=2");
    assert_string_equal(own.env[2], "C=3");
    assert_null(own.env[3]);
    assert_string_equal(own.workdir, "/base");
    assert_string_equal(own.user, "nobody");
    assert_int_equal(own.num_rlimits, 2);
    assert_true(own.rlimits[0].soft == 5 && own.rlimits[1].soft == 3);
    process_clear(&own);
}

static void defaults_come_back(void **state)
{
    static const char *const list[] = { "A=1" };
    msb_config_builder *builder = minimal();
    struct spec spec;

    (void)state;
    msb_config_builder_set_env(builder, list, 1);
    msb_config_builder_set_env(builder, NULL, 1);
    msb_config_builder_set_args(builder, list, 1);
    msb_config_builder_set_args(builder, list, 0);
    msb_config_builder_set_workdir_path(builder, "/x");
    msb_config_builder_set_workdir_path(builder, NULL);
    msb_config_builder_set_user(builder, "x");
    msb_config_builder_set_user(builder, NULL);
    assert_accepted(builder, &spec);
    assert_int_equal(spec.process.num_env, 0);
    assert_int_equal(spec.process.num_args, 0);
    assert_string_equal(spec.process.workdir, "/");
    assert_null(spec.process.user);
    assert_int_equal(spec.num_vcpus, 1);
    assert_int_equal(spec.memory_mib, 1024);
    assert_int_equal(spec.scope, MSB_SCOPE_GROUP);
    assert_false(spec.has_ip || spec.has_subnet);
    spec_clear(&spec);
}

static void setters_copy_and_replace(void **state)
{
    char path[] = "dir", item[] = "A=1";
    const char *items[] = { item }, *const two[] = { "B=2", "C=3" };
    msb_config_builder *builder = minimal();
    struct spec spec;

    (void)state;
    msb_config_builder_set_rootfs(builder, path);
    msb_config_builder_set_env(builder, items, 1);
    memset(path, 'x', 3);
    memset(item, 'x', 3);
    assert_int_equal(validate(builder, &spec, NULL), 0);
    assert_string_equal(spec.process.env[0], "A=1");
    spec_clear(&spec);
    msb_config_builder_set_env(builder, two, 2); /* replaced, not appended; the builder is still of use */
    assert_accepted(builder, &spec);
    assert_int_equal(spec.process.num_env, 2);
    assert_string_equal(spec.process.env[0], "B=2");
    spec_clear(&spec);
}

static void the_last_root_counts(void **state)
{
    static const char *const layers[] = { "dir", "other" };
    msb_config_builder *builder = minimal();
    struct spec spec;

    (void)state;
    msb_config_builder_set_rootfs_overlay(builder, layers, 2);
    assert_int_equal(validate(builder, &spec, NULL), 0);
    assert_int_equal(spec.rootfs_kind, ROOTFS_OVERLAY);
    assert_path(spec.rootfs_layers[0], "dir");
    assert_path(spec.rootfs_layers[1], "other");
    spec_clear(&spec);
    msb_config_builder_set_rootfs_host(builder);
    assert_int_equal(validate(builder, &spec, NULL), 0);
    assert_int_equal(spec.rootfs_kind, ROOTFS_HOST);
    assert_int_equal(spec.num_rootfs_layers, 0);
    spec_clear(&spec);
    msb_config_builder_set_rootfs(builder, "//.//");
    assert_int_equal(validate(builder, &spec, NULL), 0);
    assert_string_equal(spec.rootfs_layers[0], "/");
    spec_clear(&spec);
    msb_config_builder_set_rootfs(builder, "link");
    assert_accepted(builder, &spec);
    assert_int_equal(spec.rootfs_kind, ROOTFS_NATIVE);
    assert_path(spec.rootfs_layers[0], "link");
    spec_clear(&spec);
}

static void an_overlay_has_an_upper_directory(void **state)
{
    static const char *const layers[] = { "dir" };
    msb_config_builder *builder = minimal();
    struct spec spec;

    (void)state;
    msb_config_builder_set_rootfs_overlay(builder, layers, 1);
    msb_config_builder_set_rootfs_upper(builder, "other");
    assert_accepted(builder, &spec);
    assert_path(spec.rootfs_upper, "other");
    spec_clear(&spec);
}

static void of_repeated_settings_the_last_counts(void **state)
{
    static const char *const env[] = { "B=1", "A=1", "B=2", "AB=1", "A=", "B=3" }, *const limits[] = { "RLIMIT_CPU=1:1",
                                                                                                       "RLIMIT_AS=2:2", "0=3:3" };
    msb_config_builder *builder = minimal();
    struct spec spec;

    (void)state;
    msb_config_builder_set_env(builder, env, LENGTH(env));
    msb_config_builder_set_rlimits(builder, limits, LENGTH(limits));
    assert_accepted(builder, &spec);
    assert_int_equal(spec.process.num_env, 3);
    assert_string_equal(spec.process.env[0], "B=3"); /* in the place of the first */
    assert_string_equal(spec.process.env[1], "A=");
    assert_string_equal(spec.process.env[2], "AB=1");
    assert_null(spec.process.env[3]);
    assert_int_equal(spec.process.num_rlimits, 2);
    assert_int_equal(spec.process.rlimits[0].resource, 0);
    assert_true(spec.process.rlimits[0].soft == 3);
    spec_clear(&spec);
}

static void ports_apart_are_accepted(void **state)
{
    static const char *const ports[] = { "8080:80",           "8080:80/udp",      "[::1]:8080:80", "127.0.0.2:8080:80",
                                         "[::2]:8080:80/udp", "127.0.0.3:80:80",  "0:81",          "0:82",
                                         "[::]:9000:90",      "127.0.0.1:9000:90" };
    msb_config_builder *builder = minimal();
    struct spec spec;

    (void)state;
    msb_config_builder_set_port_map(builder, ports, LENGTH(ports));
    assert_accepted(builder, &spec);
    assert_int_equal(spec.num_ports, LENGTH(ports));
    spec_clear(&spec);
}

static void names_of_users_and_hosts(void **state)
{
    static const char *const accepted[] = {
        "user=root",  "user=0",         "user=4294967294:4294967294", "user=a:0", "user=www-data:x.y$",
        "hostname=0", "hostname=a.b.c", "hostname=xn--caf-dma"
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(accepted); i++) {
        msb_config_builder *builder = minimal();
        struct spec spec;

        apply(builder, accepted[i]);
        assert_accepted(builder, &spec);
        spec_clear(&spec);
    }
}

/* ---- Warnings ------------------------------------------------------------------------------------------------------------------ */

static void more_than_the_host_has_is_a_warning(void **state)
{
    msb_config_builder *builder = minimal();
    char expected[200];
    struct spec spec;

    (void)state;
    msb_config_builder_set_num_vcpus(builder, (uint32_t)get_nprocs());
    assert_int_equal(validate(builder, &spec, NULL), 0);
    assert_int_equal(warned.count, 0);
    spec_clear(&spec);
    msb_config_builder_set_num_vcpus(builder, (uint32_t)get_nprocs() + 1);
    msb_config_builder_set_memory_mib(builder, UINT32_MAX);
    assert_accepted(builder, &spec);
    assert_int_equal(warned.count, 2);
    snprintf(expected, sizeof(expected),
             "num_vcpus \"%d\" is more than this machine's %d processors; the VM will be slower for it", get_nprocs() + 1,
             get_nprocs());
    assert_string_equal(warned.items[0], expected);
    assert_memory_equal(warned.items[1], "memory_mib \"4294967295\" is more than this machine's ", 52);
    assert_int_equal(spec.num_vcpus, get_nprocs() + 1);
    spec_clear(&spec);
}

static void a_subnet_without_a_network_is_a_warning(void **state)
{
    msb_config_builder *builder = minimal();
    struct spec spec;

    (void)state;
    msb_config_builder_set_scope(builder, MSB_SCOPE_NONE);
    msb_config_builder_set_subnet(builder, "10.0.0.0/24");
    assert_accepted(builder, &spec);
    assert_int_equal(warned.count, 1);
    assert_string_equal(warned.items[0], "subnet \"10.0.0.0/24\" means nothing to a VM whose scope is \"none\"");
    spec_clear(&spec);
    warnings_clear(&warned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_name_option_and_value),
        cmocka_unit_test(rootfs_and_exec_path_are_required),
        cmocka_unit_test(an_upper_directory_is_apart_from_the_layers),
        cmocka_unit_test(nothing_is_apart_from_a_layer_that_is_the_root),
        cmocka_unit_test(a_working_directory_that_is_gone_is_told),
        cmocka_unit_test(layers_are_one_to_128),
        cmocka_unit_test(a_command_too_large_for_one_message_is_refused),
        cmocka_unit_test(a_million_arguments_are_the_most),
        cmocka_unit_test(every_option_arrives),
        cmocka_unit_test(a_name_stands_in_for_a_command),
        cmocka_unit_test(an_exec_inherits_what_it_does_not_set),
        cmocka_unit_test(defaults_come_back),
        cmocka_unit_test(setters_copy_and_replace),
        cmocka_unit_test(the_last_root_counts),
        cmocka_unit_test(an_overlay_has_an_upper_directory),
        cmocka_unit_test(of_repeated_settings_the_last_counts),
        cmocka_unit_test(ports_apart_are_accepted),
        cmocka_unit_test(names_of_users_and_hosts),
        cmocka_unit_test(more_than_the_host_has_is_a_warning),
        cmocka_unit_test(a_subnet_without_a_network_is_a_warning),
    };

    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
