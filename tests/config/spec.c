/* SPDX-License-Identifier: Apache-2.0 */
/* A spec survives its encoding and its JSON, and no truncated or garbled encoding does harm. */
#include "config/config.h"

#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A spec in which every field has a value of its own. */
static void fill(struct spec *spec)
{
    *spec = (struct spec){
        .log_level = MSB_LOG_TRACE,
        .rootfs_kind = ROOTFS_OVERLAY,
        .rootfs_layers = calloc(2, sizeof(char *)),
        .num_rootfs_layers = 2,
        .rootfs_upper = strdup("/upper"),
        .num_vcpus = 3,
        .memory_mib = 4000000000u,
        .shares = calloc(1, sizeof(struct spec_share)),
        .num_shares = 1,
        .ports = calloc(1, sizeof(struct spec_port)),
        .num_ports = 1,
        .scope = MSB_SCOPE_ANY,
        .has_ip = true,
        .has_subnet = true,
        .ip.s_addr = htonl(0x0a000002),
        .subnet.s_addr = htonl(0x0a000000),
        .subnet_bits = 24,
        .has_process = true,
        .console_output = strdup("/tmp/out"),
        .engine = MSB_ENGINE_UML,
        .kernel = strdup("/boot/vmlinux"),
        .hostname = strdup("host"),
        .nested = true,
        .name = strdup("name"),
        .keep = true,
        .timeout_ms = 1500,
        .idle_timeout_ms = 1ULL << 40,
    };
    spec->rootfs_layers[0] = strdup("/low");
    spec->rootfs_layers[1] = strdup("/high");
    spec->shares[0] = (struct spec_share){ strdup("/host"), strdup("/guest"), true };
    spec->ports[0] = (struct spec_port){ in6addr_loopback, 8080, 80, IPPROTO_UDP };
    spec->process.exec_path = strdup("/bin/echo");
    spec->process.args = calloc(2, sizeof(char *));
    spec->process.args[0] = strdup("\xff\"\n");
    spec->process.num_args = 1;
    spec->process.env = calloc(2, sizeof(char *));
    spec->process.env[0] = strdup("A=\xc3\xa9");
    spec->process.num_env = 1;
    spec->process.workdir = strdup("/work");
    spec->process.rlimits = calloc(1, sizeof(struct rlimit_setting));
    spec->process.rlimits[0] = (struct rlimit_setting){ 7, 1, UINT64_MAX };
    spec->process.num_rlimits = 1;
    spec->process.user = strdup("nobody:users");
    spec->process.tty = true;
    spec->process.rows = 24;
    spec->process.columns = 80;
}

static char *json_of(const struct spec *spec)
{
    char *sentence = (char *)"beware";
    struct warnings warnings = { &sentence, 1 };
    char *json = spec_to_json(spec, &warnings, NULL);

    assert_non_null(json);
    return json;
}

static int decode(const uint8_t *data, size_t size, struct spec *spec, msb_error **err)
{
    uint8_t *exact = malloc(size ? size : 1); /* ASan sees a read beyond it */
    struct reader r = { exact, size, false };
    int result;

    memcpy(exact, data, size);
    result = spec_decode(&r, spec, err);
    free(exact);
    return result;
}

static void a_spec_comes_back(void **state)
{
    struct writer w = { 0 }, again = { 0 };
    struct spec spec, copy;
    char *json, *copy_json;

    (void)state;
    fill(&spec);
    spec_encode(&w, &spec);
    assert_false(w.failed);
    assert_int_equal(decode(w.data, w.size, &copy, NULL), 0);
    spec_encode(&again, &copy);
    assert_int_equal(again.size, w.size);
    assert_memory_equal(again.data, w.data, w.size);
    json = json_of(&spec);
    copy_json = json_of(&copy);
    assert_string_equal(copy_json, json);
    assert_int_equal(copy.process.rows, 24);
    assert_int_equal(copy.process.columns, 80);
    free(json);
    free(copy_json);
    spec_clear(&spec);
    spec_clear(&copy);
    free(w.data);
    free(again.data);
}

static void what_is_not_set_comes_back_as_not_set(void **state)
{
    struct spec spec = { .rootfs_kind = ROOTFS_HOST, .num_vcpus = 1, .memory_mib = 1 }, copy;
    struct writer w = { 0 };

    (void)state;
    spec_encode(&w, &spec);
    assert_int_equal(decode(w.data, w.size, &copy, NULL), 0);
    assert_null(copy.rootfs_upper);
    assert_null(copy.console_output);
    assert_null(copy.kernel);
    assert_null(copy.hostname);
    assert_null(copy.name);
    assert_false(copy.has_process);
    assert_string_equal(copy.process.exec_path, "");
    spec_clear(&copy);
    free(w.data);
}

static void every_truncation_is_refused(void **state)
{
    struct writer w = { 0 };
    struct spec spec, copy;

    (void)state;
    fill(&spec);
    spec_encode(&w, &spec);
    for (size_t size = 0; size < w.size; size++) {
        msb_error *error = NULL;

        assert_int_equal(decode(w.data, size, &copy, &error), -1);
        assert_int_equal(msb_error_code(error), MSB_ERR_PROTOCOL);
        assert_null(copy.rootfs_layers);
        assert_null(copy.process.exec_path);
        msb_error_free(error);
    }
    spec_clear(&spec);
    free(w.data);
}

/* Each byte, each bit of it turned, and some values: refused, or a spec whose enums, counts and types hold. */
static void no_garbled_byte_does_harm(void **state)
{
    static const uint8_t values[] = { 0, 1, 2, 3, 4, 5, 6, 7, 33, 127, 129, 255 };
    enum { NUM_VALUES = sizeof(values), NUM_BITS = 8 };
    struct writer w = { 0 };
    struct spec spec, copy;

    (void)state;
    fill(&spec);
    spec_encode(&w, &spec);
    for (size_t i = 0; i < w.size; i++) {
        uint8_t was = w.data[i];

        for (unsigned value = 0; value < NUM_VALUES + NUM_BITS; value++) {
            w.data[i] = value < NUM_VALUES ? values[value] : (uint8_t)(was ^ 1u << (value - NUM_VALUES));
            if (decode(w.data, w.size, &copy, NULL) < 0)
                continue;
            free(json_of(&copy));
            assert_in_range(copy.rootfs_kind, ROOTFS_NATIVE, ROOTFS_HOST);
            assert_true(copy.num_rootfs_layers <= ROOTFS_LAYERS_MAX);
            assert_true(copy.rootfs_kind != ROOTFS_NATIVE || copy.num_rootfs_layers == 1);
            assert_true(copy.rootfs_kind != ROOTFS_OVERLAY || copy.num_rootfs_layers > 0);
            assert_in_range(copy.subnet_bits, 0, 32);
            assert_true(copy.num_ports == 0 || copy.ports[0].protocol == IPPROTO_TCP || copy.ports[0].protocol == IPPROTO_UDP);
            spec_clear(&copy);
        }
        w.data[i] = was;
    }
    spec_clear(&spec);
    free(w.data);
}

static const char *string_at(const cJSON *json, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, key));
}

static const cJSON *item_at(const cJSON *json, const char *key, int index)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, key), index);
}

static void json_holds_every_option(void **state)
{
    const cJSON *root;
    struct spec spec;
    cJSON *json;
    char *text;

    (void)state;
    fill(&spec);
    text = json_of(&spec);
    json = cJSON_Parse(text);
    assert_non_null(json);
    root = cJSON_GetObjectItemCaseSensitive(json, "rootfs");
    assert_string_equal(cJSON_GetStringValue(item_at(root, "layers", 0)), "/low");
    assert_string_equal(cJSON_GetStringValue(item_at(root, "layers", 1)), "/high");
    assert_string_equal(string_at(root, "upper"), "/upper");
    assert_string_equal(string_at(json, "log_level"), "trace");
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(json, "num_vcpus")->valueint, 3);
    assert_true(cJSON_GetObjectItemCaseSensitive(json, "memory_mib")->valuedouble == 4000000000.0);
    assert_string_equal(cJSON_GetStringValue(item_at(json, "mapped_dirs", 0)), "/host:/guest:ro");
    assert_string_equal(cJSON_GetStringValue(item_at(json, "port_map", 0)), "[::1]:8080:80/udp");
    assert_string_equal(string_at(json, "scope"), "any");
    assert_string_equal(string_at(json, "ip"), "10.0.0.2");
    assert_string_equal(string_at(json, "subnet"), "10.0.0.0/24");
    assert_string_equal(cJSON_GetStringValue(item_at(json, "rlimits", 0)), "7=1:18446744073709551615");
    assert_string_equal(string_at(json, "workdir_path"), "/work");
    assert_string_equal(string_at(json, "exec_path"), "/bin/echo");
    assert_string_equal(string_at(item_at(json, "args", 0), "base64"), "/yIK"); /* FF 22 0A */
    assert_string_equal(cJSON_GetStringValue(item_at(json, "env", 0)), "A=\xc3\xa9");
    assert_string_equal(string_at(json, "user"), "nobody:users");
    assert_true(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "tty")));
    assert_string_equal(string_at(json, "console_output"), "/tmp/out");
    assert_string_equal(string_at(json, "engine"), "uml");
    assert_string_equal(string_at(json, "kernel"), "/boot/vmlinux");
    assert_string_equal(string_at(json, "hostname"), "host");
    assert_true(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "nested")));
    assert_string_equal(string_at(json, "name"), "name");
    assert_string_equal(cJSON_GetStringValue(item_at(json, "warnings", 0)), "beware");
    cJSON_Delete(json);
    free(text);
    spec_clear(&spec);
}

/* RFC 4648, section 10, with bytes that are not UTF-8. */
static void base64_has_the_right_padding(void **state)
{
    static const struct {
        const char *bytes, *encoded;
    } rows[] = { { "\xff", "/w==" }, { "\xff\xfe", "//4=" }, { "\xff\xfe\xfd", "//79" }, { "\xff\xfe\xfd\xfc", "//79/A==" } };
    struct spec spec;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cJSON *json;
        char *text;

        fill(&spec);
        free(spec.hostname);
        spec.hostname = strdup(rows[i].bytes);
        text = json_of(&spec);
        json = cJSON_Parse(text);
        assert_string_equal(string_at(cJSON_GetObjectItemCaseSensitive(json, "hostname"), "base64"), rows[i].encoded);
        cJSON_Delete(json);
        free(text);
        spec_clear(&spec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spec_comes_back),           cmocka_unit_test(what_is_not_set_comes_back_as_not_set),
        cmocka_unit_test(every_truncation_is_refused), cmocka_unit_test(no_garbled_byte_does_harm),
        cmocka_unit_test(json_holds_every_option),     cmocka_unit_test(base64_has_the_right_padding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
