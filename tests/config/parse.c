/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers and printers of the option types, beyond the conformance vectors: the message of each refusal, and what is kept. */
#include "config/text.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Prints what text parses to. */
typedef char *round_trip(const char *text, size_t length, msb_error **err);

static char *port_round_trip(const char *text, size_t length, msb_error **err)
{
    msb_port *port = msb_port_parse(text, length, err);
    char *printed = port ? msb_port_print(port) : NULL;

    msb_port_free(port);
    return printed;
}

static char *dir_round_trip(const char *text, size_t length, msb_error **err)
{
    msb_mapped_dir *dir = msb_mapped_dir_parse(text, length, err);
    char *printed = dir ? msb_mapped_dir_print(dir) : NULL;

    msb_mapped_dir_free(dir);
    return printed;
}

static char *env_round_trip(const char *text, size_t length, msb_error **err)
{
    msb_env *env = msb_env_parse(text, length, err);
    char *printed = env ? msb_env_print(env) : NULL;

    msb_env_free(env);
    return printed;
}

static char *rlimit_round_trip(const char *text, size_t length, msb_error **err)
{
    msb_rlimit *limit = msb_rlimit_parse(text, length, err);
    char *printed = limit ? msb_rlimit_print(limit) : NULL;

    msb_rlimit_free(limit);
    return printed;
}

static char *level_round_trip(const char *text, size_t length, msb_error **err)
{
    enum msb_log_level level;

    return msb_log_level_parse(text, length, &level, err) < 0 ? NULL : strdup(msb_log_level_name(level));
}

static char *scope_round_trip(const char *text, size_t length, msb_error **err)
{
    enum msb_scope scope;

    return msb_scope_parse(text, length, &scope, err) < 0 ? NULL : strdup(msb_scope_name(scope));
}

static char *engine_round_trip(const char *text, size_t length, msb_error **err)
{
    enum msb_engine engine;

    return msb_engine_parse(text, length, &engine, err) < 0 ? NULL : strdup(msb_engine_name(engine));
}

static char *ipv4_round_trip(const char *text, size_t length, msb_error **err)
{
    uint32_t address;

    return msb_ipv4_parse(text, length, &address, err) < 0 ? NULL : msb_ipv4_print(address);
}

static char *subnet_round_trip(const char *text, size_t length, msb_error **err)
{
    uint32_t address;
    unsigned bits;

    return msb_subnet_parse(text, length, &address, &bits, err) < 0 ? NULL : msb_subnet_print(address, bits);
}

static char *memory_round_trip(const char *text, size_t length, msb_error **err)
{
    uint32_t mebibytes;
    char *printed = NULL;

    if (msb_memory_parse(text, length, &mebibytes, err) == 0)
        assert_true(asprintf(&printed, "%u", mebibytes) > 0);
    return printed;
}

static char *path_round_trip(const char *text, size_t length, msb_error **err)
{
    return msb_path_normalize(text, length, MSB_PATH_ANY, err);
}

#define PORT_FORM "write [ADDRESS:]HOST[:GUEST][/tcp|/udp], with ports from 1 to 65535"
#define DIR_FORM "write HOST[:GUEST][:ro]"
#define RLIMIT_FORM "write RLIMIT_NAME=SOFT:HARD, such as RLIMIT_NOFILE=1024:2048"
#define NUL_INSIDE "has a NUL byte inside, which cannot be passed on"

/* length 0: strlen. Exactly one of printed and message is set. */
static const struct {
    round_trip *parse;
    const char *text;
    size_t length;
    const char *printed;
    const char *message;
} cases[] = {
    { port_round_trip, "127.0.0.1:8080:80", 0, "8080:80", NULL },
    { port_round_trip, "127.0.0.1:8080", 0, "8080:8080", NULL },
    { port_round_trip, "0.0.0.0:8080:80/udp", 0, "0.0.0.0:8080:80/udp", NULL },
    { port_round_trip, "[::1]:8080:80/TCP", 0, "[::1]:8080:80", NULL },
    { port_round_trip, "[::]:53/udp", 0, "[::]:53:53/udp", NULL },
    { port_round_trip, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535:65535", 0,
      "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535:65535", NULL },
    { port_round_trip, "0:80", 0, "0:80", NULL },
    { port_round_trip, "00080", 0, "80:80", NULL },
    { port_round_trip, "0", 0, NULL, "port \"0\" has a guest port that is no number from 1 to 65535; " PORT_FORM },
    { port_round_trip, "80:0", 0, NULL, "port \"80:0\" has a guest port that is no number from 1 to 65535; " PORT_FORM },
    { port_round_trip, "+80", 0, NULL, "port \"+80\" has a host port that is no number from 0 to 65535; " PORT_FORM },
    { port_round_trip, "80\0", 3, NULL, "port \"80\\x00\" has a host port that is no number from 0 to 65535; " PORT_FORM },
    { port_round_trip, "1.2.3:80:80", 0, NULL,
      "port \"1.2.3:80:80\" does not begin with an IPv4 address such as 127.0.0.1; " PORT_FORM },
    { port_round_trip, "[::1:80:80", 0, NULL, "port \"[::1:80:80\" has a '[' without \"]:\" after an IPv6 address; " PORT_FORM },
    { port_round_trip, "[::1]80", 0, NULL, "port \"[::1]80\" has a '[' without \"]:\" after an IPv6 address; " PORT_FORM },
    { port_round_trip, "[fe80::1%eth0]:80", 0, NULL,
      "port \"[fe80::1%eth0]:80\" has no IPv6 address in its brackets; " PORT_FORM },
    { port_round_trip, "80/sctp", 0, NULL, "port \"80/sctp\" has a protocol that is neither tcp nor udp; " PORT_FORM },

    { port_round_trip, "1.2.3.4.5.6.7.8.9.10.11.12:80", 0, NULL,
      "port \"1.2.3.4.5.6.7.8.9.10.11.12:80\" does not begin with an IPv4 address such as 127.0.0.1; " PORT_FORM },
    { port_round_trip, "[1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20]:80", 0, NULL,
      "port \"[1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20]:80\" has no IPv6 address in its brackets; " PORT_FORM },
    { port_round_trip, "1.2.3.4\0:80", 11, NULL,
      "port \"1.2.3.4\\x00:80\" does not begin with an IPv4 address such as 127.0.0.1; " PORT_FORM },
    { port_round_trip, "[::1\0]:80", 9, NULL, "port \"[::1\\x00]:80\" has no IPv6 address in its brackets; " PORT_FORM },

    { dir_round_trip, "/a:ro", 0, "/a:/a:ro", NULL },
    { dir_round_trip, "/a:/b:rw", 0, "/a:/b", NULL },
    { dir_round_trip, "/a b\xff:/c\n:ro", 0, "/a b\xff:/c\n:ro", NULL },
    { dir_round_trip, "/a:b", 0, "/a:b", NULL }, /* judged by the VM builder */
    { dir_round_trip, "/a:/b:/c", 0, NULL,
      "mapped directory \"/a:/b:/c\" has too many parts; " DIR_FORM ", the paths without ':'" },
    { dir_round_trip, ":ro", 0, NULL, "mapped directory \":ro\" has no host path; " DIR_FORM },
    { dir_round_trip, "/a::ro", 0, NULL, "mapped directory \"/a::ro\" has no guest path after the ':'; " DIR_FORM },
    { dir_round_trip, "/a\0b", 4, NULL, "mapped directory \"/a\\x00b\" " NUL_INSIDE },

    { env_round_trip, "A=\xff\x01\n\"", 0, "A=\xff\x01\n\"", NULL },
    { env_round_trip, "A==", 0, "A==", NULL },
    { env_round_trip, "A=\0", 3, NULL, "environment variable \"A=\\x00\" " NUL_INSIDE },
    { env_round_trip, "A", 0, NULL, "environment variable \"A\" has no '='; write KEY=VALUE" },
    { env_round_trip, "=", 0, NULL, "environment variable \"=\" has no name before the '='; write KEY=VALUE" },

    { rlimit_round_trip, "RLIMIT_STACK=1:18446744073709551615", 0, "3=1:18446744073709551615", NULL },
    { rlimit_round_trip, "RLIMIT_DATA=0:0", 0, "2=0:0", NULL },
    { rlimit_round_trip, "RLIMIT_CORE=0:0", 0, "4=0:0", NULL },
    { rlimit_round_trip, "RLIMIT_RSS=0:0", 0, "5=0:0", NULL },
    { rlimit_round_trip, "RLIMIT_LOCKS=0:0", 0, "10=0:0", NULL },
    { rlimit_round_trip, "RLIMIT_SIGPENDING=0:0", 0, "11=0:0", NULL },
    { rlimit_round_trip, "RLIMIT_MSGQUEUE=0:0", 0, "12=0:0", NULL },
    { rlimit_round_trip, "RLIMIT_RTPRIO=0:0", 0, "14=0:0", NULL },
    { rlimit_round_trip, "7", 0, NULL, "rlimit \"7\" has no '='; " RLIMIT_FORM },
    { rlimit_round_trip, "rlimit_cpu=1:2", 0, NULL,
      "rlimit \"rlimit_cpu=1:2\" names no resource: neither one of setrlimit(2) nor a number from 0 to 15; " RLIMIT_FORM },
    { rlimit_round_trip, "0=1", 0, NULL, "rlimit \"0=1\" has no hard limit; " RLIMIT_FORM },
    { rlimit_round_trip, "0=-1:1", 0, NULL, "rlimit \"0=-1:1\" has a soft limit that is no number of 64 bits; " RLIMIT_FORM },
    { rlimit_round_trip, "0=1:\0", 5, NULL, "rlimit \"0=1:\\x00\" has a hard limit that is no number of 64 bits; " RLIMIT_FORM },
    { rlimit_round_trip, "0=2:1", 0, NULL,
      "rlimit \"0=2:1\" has a soft limit above the hard one; raise the hard limit or lower the soft one" },

    { level_round_trip, "off", 0, "off", NULL },
    { level_round_trip, "Error", 0, "error", NULL },
    { level_round_trip, "warn", 0, "warn", NULL },
    { level_round_trip, "info", 0, "info", NULL },
    { level_round_trip, "debug", 0, "debug", NULL },
    { level_round_trip, "TRACE", 0, "trace", NULL },
    { level_round_trip, "warning", 0, NULL, "log level \"warning\" is none of off, error, warn, info, debug and trace" },
    { level_round_trip, "off\0", 4, NULL, "log level \"off\\x00\" is none of off, error, warn, info, debug and trace" },
    { scope_round_trip, "local", 0, NULL, "scope \"local\" is none of none, group, public and any" },
    { engine_round_trip, "auto", 0, "auto", NULL },
    { engine_round_trip, "KVM", 0, "kvm", NULL },
    { engine_round_trip, "qemu", 0, "qemu", NULL },
    { engine_round_trip, "uml", 0, "uml", NULL },
    { engine_round_trip, "xen", 0, NULL, "engine \"xen\" is none of auto, kvm, qemu and uml" },

    { ipv4_round_trip, "10.0.0.2", 0, "10.0.0.2", NULL },
    { ipv4_round_trip, "10.0.0.02", 0, NULL, "address \"10.0.0.02\" is no IPv4 address; write four numbers, such as 10.0.0.2" },
    { ipv4_round_trip, "10.0.0.2 ", 0, NULL, "address \"10.0.0.2 \" is no IPv4 address; write four numbers, such as 10.0.0.2" },
    { ipv4_round_trip, "10.0.0.2\0", 9, NULL,
      "address \"10.0.0.2\\x00\" is no IPv4 address; write four numbers, such as 10.0.0.2" },
    { ipv4_round_trip, "10.0.0.2.3.4.5.6.7.8.9.10", 0, NULL,
      "address \"10.0.0.2.3.4.5.6.7.8.9.10\" is no IPv4 address; write four numbers, such as 10.0.0.2" },
    { ipv4_round_trip, "::1", 0, NULL, "address \"::1\" is no IPv4 address; write four numbers, such as 10.0.0.2" },
    { subnet_round_trip, "10.0.0.0/24", 0, "10.0.0.0/24", NULL },
    { subnet_round_trip, "0.0.0.0/0", 0, "0.0.0.0/0", NULL },
    { subnet_round_trip, "10.0.0.1/32", 0, "10.0.0.1/32", NULL },
    { subnet_round_trip, "10.0.0.0", 0, NULL, "subnet \"10.0.0.0\" is no IPv4 network; write ADDRESS/BITS, such as 10.0.0.0/24" },
    { subnet_round_trip, "10.0.0.0/33", 0, NULL,
      "subnet \"10.0.0.0/33\" is no IPv4 network; write ADDRESS/BITS, such as 10.0.0.0/24" },
    { subnet_round_trip, "10.0.0.0/", 0, NULL,
      "subnet \"10.0.0.0/\" is no IPv4 network; write ADDRESS/BITS, such as 10.0.0.0/24" },
    { subnet_round_trip, "10.0.0.5/24", 0, NULL,
      "subnet \"10.0.0.5/24\" has an address with bits beyond the network's; write 10.0.0.0/24" },

    { memory_round_trip, "1048576", 0, "1", NULL },
    { memory_round_trip, "1048576b", 0, "1", NULL },
    { memory_round_trip, "2048k", 0, "2", NULL },
    { memory_round_trip, "512M", 0, "512", NULL },
    { memory_round_trip, "512MiB", 0, "512", NULL },
    { memory_round_trip, "2g", 0, "2048", NULL },
    { memory_round_trip, "2GB", 0, "2048", NULL },
    { memory_round_trip, "4294967295m", 0, "4294967295", NULL },
    { memory_round_trip, "512", 0, NULL,
      "memory size \"512\" is below one MiB; a number without a suffix counts bytes, so write m behind it for MiB" },
    { memory_round_trip, "0", 0, NULL,
      "memory size \"0\" is below one MiB; a number without a suffix counts bytes, so write m behind it for MiB" },
    { memory_round_trip, "1025k", 0, NULL, "memory size \"1025k\" is no whole number of MiB; write 2m" },
    { memory_round_trip, "4294967296m", 0, NULL, "memory size \"4294967296m\" is too large; the most is 4294967295m" },
    { memory_round_trip, "18446744073709551615g", 0, NULL,
      "memory size \"18446744073709551615g\" is too large; the most is 4294967295m" },
    { memory_round_trip, "1.5g", 0, NULL,
      "memory size \"1.5g\" is no size; write a whole number with a suffix b, k, m or g, such as 512m" },
    { memory_round_trip, "m", 0, NULL,
      "memory size \"m\" is no size; write a whole number with a suffix b, k, m or g, such as 512m" },
    { memory_round_trip, "-1m", 0, NULL,
      "memory size \"-1m\" is no size; write a whole number with a suffix b, k, m or g, such as 512m" },
    { memory_round_trip, "1t", 0, NULL,
      "memory size \"1t\" is no size; write a whole number with a suffix b, k, m or g, such as 512m" },

    { path_round_trip, "a/..", 0, ".", NULL },
    { path_round_trip, "...", 0, "...", NULL },
    { path_round_trip, "/..a/.b", 0, "/..a/.b", NULL },
    { path_round_trip, "", 0, NULL, "path \"\" is empty" },
    { path_round_trip, "a/../..", 0, NULL, "path \"a/../..\" climbs above its beginning; take a \"..\" away" },
    { path_round_trip, "/a\0", 3, NULL, "path \"/a\\x00\" " NUL_INSIDE },
};

static void values_print_and_refusals_say_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        size_t length = cases[i].length ? cases[i].length : MSB_LENGTH_UNKNOWN;
        msb_error *error = NULL;
        char *printed = cases[i].parse(cases[i].text, length, &error);

        if (cases[i].printed) {
            if (!printed)
                fail_msg("%s", msb_error_message(error));
            assert_string_equal(printed, cases[i].printed);
            assert_null(error);
        } else {
            if (printed)
                fail_msg("\"%s\" was accepted", cases[i].text);
            assert_string_equal(msb_error_message(error), cases[i].message);
            assert_int_equal(msb_error_code(error), MSB_ERR_INVALID);
        }
        free(printed);
        msb_error_free(error);
        assert_true(!cases[i].message || !cases[i].parse(cases[i].text, length, NULL)); /* without an error to fill */
    }
}

static void parts_can_be_read(void **state)
{
    msb_env *env = msb_env_parse("KEY=a=b", 7, NULL);
    msb_mapped_dir *dir = msb_mapped_dir_parse("./h:/g:ro", MSB_LENGTH_UNKNOWN, NULL);
    msb_port *port = msb_port_parse("[::1]:8080:80/udp", MSB_LENGTH_UNKNOWN, NULL);
    msb_rlimit *limit = msb_rlimit_parse("RLIMIT_NOFILE=1:2", MSB_LENGTH_UNKNOWN, NULL);
    uint32_t address = 0;
    unsigned bits = 0;
    char *text;

    (void)state;
    assert_string_equal(msb_env_key(env), "KEY");
    assert_string_equal(msb_env_value(env), "a=b");
    assert_string_equal(msb_mapped_dir_host(dir), "./h");
    assert_string_equal(msb_mapped_dir_guest(dir), "/g");
    assert_int_equal(msb_mapped_dir_read_only(dir), 1);
    assert_int_equal(msb_port_host(port), 8080);
    assert_int_equal(msb_port_guest(port), 80);
    assert_int_equal(msb_port_is_udp(port), 1);
    text = msb_port_address(port);
    assert_string_equal(text, "[::1]");
    free(text);
    assert_int_equal(msb_rlimit_resource(limit), 7);
    assert_true(msb_rlimit_soft(limit) == 1 && msb_rlimit_hard(limit) == 2);
    assert_int_equal(msb_ipv4_parse("1.2.3.4", MSB_LENGTH_UNKNOWN, &address, NULL), 0);
    assert_int_equal(ntohl(address), 0x01020304);
    assert_int_equal(msb_subnet_parse("10.1.0.0/16", MSB_LENGTH_UNKNOWN, &address, &bits, NULL), 0);
    assert_int_equal(ntohl(address), 0x0a010000);
    assert_int_equal(bits, 16);
    msb_env_free(env);
    msb_mapped_dir_free(dir);
    msb_port_free(port);
    msb_rlimit_free(limit);
}

static void only_the_length_given_is_read(void **state)
{
    char *text = malloc(4); /* ASan sees a read beyond it */
    msb_port *port;

    (void)state;
    memcpy(text, "8080", 4);
    port = msb_port_parse(text, 4, NULL);
    assert_non_null(port);
    assert_int_equal(msb_port_host(port), 8080);
    msb_port_free(port);
    port = msb_port_parse(text, 2, NULL);
    assert_int_equal(msb_port_host(port), 80);
    msb_port_free(port);
    free(text);
}

static void names_beyond_the_enums_are_null(void **state)
{
    (void)state;
    assert_null(msb_log_level_name((enum msb_log_level)6));
    assert_null(msb_scope_name((enum msb_scope)4));
    assert_null(msb_engine_name((enum msb_engine)4));
    assert_null(msb_engine_name((enum msb_engine) - 1));
}

static void free_takes_null(void **state)
{
    (void)state;
    msb_env_free(NULL);
    msb_mapped_dir_free(NULL);
    msb_port_free(NULL);
    msb_rlimit_free(NULL);
    msb_error_free(NULL);
}

/* What can be shown is shown, and nothing is lost: long values stay whole. */
static void quoting(void **state)
{
    static const struct {
        const char *text, *quoted;
    } rows[] = {
        { "", "\"\"" },
        { "caf\xc3\xa9 \xe4\xbd\xa0 \xf0\x9f\x8c\x8e", "\"caf\xc3\xa9 \xe4\xbd\xa0 \xf0\x9f\x8c\x8e\"" },
        { "\n\t\r\"\\", "\"\\n\\t\\r\\\"\\\\\"" },
        { "\x1b[31m\x7f", "\"\\x1b[31m\\x7f\"" },
        { "\xc2\x9b"
          "m",
          "\"\\xc2\\x9bm\"" },                                                /* C1: CSI in one character */
        { "\xff\xc0\x80\xe0\x80\x80", "\"\\xff\\xc0\\x80\\xe0\\x80\\x80\"" }, /* overlong */
        { "\xed\xa0\x80", "\"\\xed\\xa0\\x80\"" },                            /* a surrogate */
        { "\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\"" },                   /* beyond U+10FFFF */
        { "\xe4xy", "\"\\xe4xy\"" },                                          /* begun, and not gone on with */
        { "\xe4\xbd", "\"\\xe4\\xbd\"" },                                     /* cut off */
    };
    char *text = malloc(100001), *quoted;

    (void)state;
    for (size_t i = 0; i < LENGTH(rows); i++) {
        quoted = text_quote(text_of(rows[i].text, MSB_LENGTH_UNKNOWN));
        assert_string_equal(quoted, rows[i].quoted);
        free(quoted);
    }
    quoted = text_quote(text_of("\xe4\xbd\xa0", 2)); /* cut off by the length */
    assert_string_equal(quoted, "\"\\xe4\\xbd\"");
    free(quoted);
    memset(text, 'x', 100000);
    text[100000] = '\0';
    quoted = text_quote(text_of(text, MSB_LENGTH_UNKNOWN));
    assert_int_equal(strlen(quoted), 100002);
    free(quoted);
    free(text);
}

static void numbers(void **state)
{
    uint64_t number = 0;

    (void)state;
    assert_true(text_number(text_of("18446744073709551615", MSB_LENGTH_UNKNOWN), UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
    assert_false(text_number(text_of("18446744073709551616", MSB_LENGTH_UNKNOWN), UINT64_MAX, &number));
    assert_false(text_number(text_of("99999999999999999999", MSB_LENGTH_UNKNOWN), UINT64_MAX, &number));
    assert_true(text_number(text_of("5", MSB_LENGTH_UNKNOWN), 5, &number));
    assert_false(text_number(text_of("6", MSB_LENGTH_UNKNOWN), 5, &number));
    assert_false(text_number(text_of("", MSB_LENGTH_UNKNOWN), 5, &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_print_and_refusals_say_why),
        cmocka_unit_test(parts_can_be_read),
        cmocka_unit_test(only_the_length_given_is_read),
        cmocka_unit_test(names_beyond_the_enums_are_null),
        cmocka_unit_test(free_takes_null),
        cmocka_unit_test(quoting),
        cmocka_unit_test(numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
