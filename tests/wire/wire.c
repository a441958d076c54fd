/* SPDX-License-Identifier: Apache-2.0 */
/* The encoding: what is written comes back, and every truncated or garbled form is refused without harm. */
#include "wire/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A copy of exactly size bytes on the heap, so that ASan sees a read beyond it. */
static uint8_t *exact(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    assert_non_null(copy);
    memcpy(copy, data, size);
    return copy;
}

static void integers_and_strings_come_back(void **state)
{
    struct writer w = { 0 };
    struct reader r;
    uint32_t size;
    char *string;

    (void)state;
    put_u8(&w, 0xfe);
    put_u16(&w, 0xfedc);
    put_u32(&w, 0xfedcba98);
    put_u64(&w, 0xfedcba9876543210);
    put_bytes(&w, "a\0b", 3);
    put_string(&w, "text \xff");
    put_string(&w, NULL);
    put_bool(&w, true);
    assert_false(w.failed);
    assert_int_equal(w.data[1], 0xdc); /* little-endian */
    assert_int_equal(w.size, 1 + 2 + 4 + 8 + 7 + 10 + 4 + 1);

    r = (struct reader){ w.data, w.size, false };
    assert_int_equal(get_u8(&r), 0xfe);
    assert_int_equal(get_u16(&r), 0xfedc);
    assert_int_equal(get_u32(&r), 0xfedcba98);
    assert_true(get_u64(&r) == 0xfedcba9876543210);
    assert_memory_equal(get_bytes(&r, &size), "a\0b", 3);
    assert_int_equal(size, 3);
    string = get_string(&r);
    assert_string_equal(string, "text \xff");
    free(string);
    string = get_string(&r);
    assert_string_equal(string, "");
    free(string);
    assert_false(reader_done(&r));
    assert_true(get_bool(&r));
    assert_true(reader_done(&r));
    free(w.data);
}

static void failed_reader_stays_failed(void **state)
{
    static const uint8_t bytes[] = { 9, 0, 0, 0, 'a', 'b' };
    struct reader r = { bytes, sizeof(bytes), false };
    uint32_t size = 1;

    (void)state;
    assert_string_equal((const char *)get_bytes(&r, &size), "");
    assert_int_equal(size, 0);
    assert_true(r.failed);
    assert_int_equal(get_u8(&r), 0);
    assert_int_equal(get_u64(&r), 0);
    assert_null(get_string(&r));
    assert_int_equal(get_count(&r, 100, 0), 0);
    assert_false(reader_done(&r));
}

static void nul_in_a_string_is_refused(void **state)
{
    struct writer w = { 0 };
    struct reader r;

    (void)state;
    put_bytes(&w, "a\0b", 3);
    r = (struct reader){ w.data, w.size, false };
    assert_null(get_string(&r));
    assert_true(r.failed);
    free(w.data);
}

static void bool_is_zero_or_one(void **state)
{
    static const uint8_t two = 2;
    struct reader r = { &two, 1, false };

    (void)state;
    assert_false(get_bool(&r));
    assert_true(r.failed);
}

static void count_is_bounded(void **state)
{
    static const uint8_t three[] = { 3, 0, 0, 0, 1, 2, 3, 4, 5, 6 };
    static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff, 0 };
    struct reader fits = { three, sizeof(three), false };
    struct reader too_many = { three, sizeof(three), false };
    struct reader too_large = { three, sizeof(three), false };
    struct reader overflow = { huge, sizeof(huge), false };

    (void)state;
    assert_int_equal(get_count(&fits, 3, 2), 3);
    assert_int_equal(get_count(&too_many, 2, 2), 0);
    assert_true(too_many.failed);
    assert_int_equal(get_count(&too_large, 3, 3), 0);
    assert_true(too_large.failed);
    assert_int_equal(get_count(&overflow, UINT32_MAX, SIZE_MAX), 0);
    assert_true(overflow.failed);
}

static struct writer encoded_process(void)
{
    char *args[] = { (char *)"-c", (char *)"", (char *)"--", (char *)"\xff\n'\"", NULL };
    char *env[] = { (char *)"A=1", (char *)"B=", NULL };
    struct rlimit_setting limits[] = { { 7, 10, 20 }, { 0, 0, UINT64_MAX } };
    struct process process = {
        .exec_path = (char *)"/bin/sh",
        .args = args,
        .num_args = 4,
        .env = env,
        .num_env = 2,
        .workdir = (char *)"/w",
        .rlimits = limits,
        .num_rlimits = 2,
        .tty = true,
        .rows = 24,
        .columns = 80,
    };
    struct writer w = { 0 };

    process_encode(&w, &process);
    assert_false(w.failed);
    return w;
}

static void process_comes_back(void **state)
{
    struct writer w = encoded_process();
    struct reader r = { w.data, w.size, false };
    struct process process;

    (void)state;
    assert_true(process_decode(&r, &process));
    assert_true(reader_done(&r));
    assert_string_equal(process.exec_path, "/bin/sh");
    assert_int_equal(process.num_args, 4);
    assert_string_equal(process.args[3], "\xff\n'\"");
    assert_null(process.args[4]);
    assert_int_equal(process.num_env, 2);
    assert_string_equal(process.env[1], "B=");
    assert_null(process.env[2]);
    assert_string_equal(process.workdir, "/w");
    assert_int_equal(process.num_rlimits, 2);
    assert_int_equal(process.rlimits[0].soft, 10);
    assert_true(process.rlimits[1].hard == UINT64_MAX);
    assert_null(process.user);
    assert_true(process.tty);
    assert_int_equal(process.rows, 24);
    assert_int_equal(process.columns, 80);
    process_clear(&process);
    process_clear(&process);
    free(w.data);
}

static bool limit_decodes(uint32_t resource, uint64_t soft, uint64_t hard)
{
    struct rlimit_setting limit = { resource, soft, hard };
    struct process process = { .exec_path = (char *)"a", .rlimits = &limit, .num_rlimits = 1 };
    struct process decoded;
    struct writer w = { 0 };
    struct reader r;
    bool good;

    process_encode(&w, &process);
    r = (struct reader){ w.data, w.size, false };
    good = process_decode(&r, &decoded);
    process_clear(&decoded);
    free(w.data);
    return good;
}

static void limits_are_checked(void **state)
{
    (void)state;
    assert_true(limit_decodes(15, 1, 1));
    assert_false(limit_decodes(16, 1, 1));
    assert_false(limit_decodes(3, 2, 1));
}

static struct writer encoded_config(void)
{
    struct guest_share shares[] = { { (char *)"0", (char *)"/data", false, true }, { (char *)"1", (char *)"/f", true, false } };
    char *resolvers[] = { (char *)"10.0.2.3", NULL };
    char *hosts[] = { (char *)"10.0.2.2 host", (char *)"10.0.2.4 peer", NULL };
    struct guest_config config = {
        .log_level = 4,
        .realtime = 1234567890123456789,
        .seed = { 1, 2, 3 },
        .hostname = (char *)"box",
        .num_layers = 128,
        .has_upper = true,
        .shares = shares,
        .num_shares = 2,
        .network = {
            .present = true,
            .ipv4 = { 10, 0, 2, 15 },
            .ipv4_gateway = { 10, 0, 2, 2 },
            .ipv4_bits = 24,
            .ipv6 = { 0xfd },
            .ipv6_bits = 64,
            .resolvers = resolvers,
            .num_resolvers = 1,
            .hosts = hosts,
            .num_hosts = 2,
        },
    };
    struct writer w = { 0 };

    guest_config_encode(&w, &config);
    assert_false(w.failed);
    return w;
}

static void config_comes_back(void **state)
{
    struct writer w = encoded_config();
    struct reader r = { w.data, w.size, false };
    struct guest_config config;

    (void)state;
    assert_true(guest_config_decode(&r, &config));
    assert_true(reader_done(&r));
    assert_int_equal(config.log_level, 4);
    assert_true(config.realtime == 1234567890123456789);
    assert_int_equal(config.seed[2], 3);
    assert_string_equal(config.hostname, "box");
    assert_int_equal(config.num_layers, 128);
    assert_true(config.has_upper);
    assert_false(config.host_root);
    assert_int_equal(config.num_shares, 2);
    assert_string_equal(config.shares[0].guest, "/data");
    assert_true(config.shares[0].read_only);
    assert_true(config.shares[1].is_file);
    assert_true(config.network.present);
    assert_int_equal(config.network.ipv4[3], 15);
    assert_int_equal(config.network.ipv4_gateway[3], 2);
    assert_int_equal(config.network.ipv6_bits, 64);
    assert_string_equal(config.network.resolvers[0], "10.0.2.3");
    assert_string_equal(config.network.hosts[1], "10.0.2.4 peer");
    guest_config_clear(&config);
    free(w.data);
}

static void the_time_of_a_config_is_replaced(void **state)
{
    struct writer w = { 0 }, before = encoded_config();
    struct guest_config config;
    struct reader r;
    size_t begin;

    (void)state;
    put_raw(&w, "before", 6);
    begin = w.size;
    put_raw(&w, before.data, before.size);
    guest_config_set_time(&w, begin, 1700000000000000001);
    assert_int_equal(w.size, begin + before.size);
    r = (struct reader){ w.data + begin, w.size - begin, false };
    assert_true(guest_config_decode(&r, &config));
    assert_true(config.realtime == 1700000000000000001);
    assert_int_equal(config.log_level, 4);
    assert_int_equal(config.seed[0], 1);
    guest_config_clear(&config);
    free(w.data);
    free(before.data);
}

static bool share_decodes(const char *name, const char *guest)
{
    struct guest_share share = { (char *)name, (char *)guest, false, false };
    struct guest_config config = { .shares = &share, .num_shares = 1 };
    struct guest_config decoded;
    struct writer w = { 0 };
    struct reader r;
    bool good;

    guest_config_encode(&w, &config);
    r = (struct reader){ w.data, w.size, false };
    good = guest_config_decode(&r, &decoded);
    guest_config_clear(&decoded);
    free(w.data);
    return good;
}

static void share_names_are_checked(void **state)
{
    (void)state;
    assert_true(share_decodes("0", "/x"));
    assert_false(share_decodes("", "/x"));
    assert_false(share_decodes("..", "/x"));
    assert_false(share_decodes("a/b", "/x"));
    assert_false(share_decodes("0", "x"));
}

static bool process_reads(struct reader *r)
{
    struct process process;
    bool good = process_decode(r, &process);

    process_clear(&process);
    return good;
}

static bool config_reads(struct reader *r)
{
    struct guest_config config;
    bool good = guest_config_decode(r, &config);

    guest_config_clear(&config);
    return good;
}

/* Every shorter form must fail: the last byte belongs to a value. */
static void refuse_truncated(struct writer w, bool (*reads)(struct reader *))
{
    for (size_t size = 0; size < w.size; size++) {
        uint8_t *copy = exact(w.data, size);
        struct reader r = { copy, size, false };

        assert_false(reads(&r));
        free(copy);
    }
}

/* Any byte replaced by any of some values: either refused or decoded, but nothing outside is touched (ASan watches). */
static void survive_garbled(struct writer w, bool (*reads)(struct reader *))
{
    static const uint8_t values[] = { 0, 1, 2, 0x7f, 0x80, 0xff };
    unsigned refused = 0;

    for (size_t at = 0; at < w.size; at++) {
        for (size_t i = 0; i < sizeof(values); i++) {
            uint8_t *copy = exact(w.data, w.size);
            struct reader r = { copy, w.size, false };

            copy[at] = values[i];
            refused += !reads(&r);
            free(copy);
        }
    }
    assert_true(refused > 0);
}

static void truncated_and_garbled_are_refused(void **state)
{
    struct writer process = encoded_process(), config = encoded_config();

    (void)state;
    refuse_truncated(process, process_reads);
    refuse_truncated(config, config_reads);
    survive_garbled(process, process_reads);
    survive_garbled(config, config_reads);
    free(process.data);
    free(config.data);
}

static void message_has_its_size(void **state)
{
    struct writer w = { 0 };
    size_t begin;

    (void)state;
    begin = message_begin(&w, MESSAGE_READY);
    message_end(&w, begin);
    begin = message_begin(&w, MESSAGE_STARTED);
    put_u32(&w, 1);
    put_u32(&w, 2);
    message_end(&w, begin);
    assert_int_equal(w.size, 2 * MESSAGE_HEADER_SIZE + 8);
    assert_memory_equal(w.data, "\0\0\0\0\2\0\0\0", 8);
    assert_memory_equal(w.data + 8, "\10\0\0\0\4\0\0\0", 8);
    free(w.data);
}

static void stats_come_back(void **state)
{
    struct guest_stats in = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 }, out;
    struct writer w = { 0 };
    struct reader r;

    (void)state;
    guest_stats_encode(&w, &in);
    r = (struct reader){ w.data, w.size, false };
    assert_true(guest_stats_decode(&r, &out));
    assert_true(reader_done(&r));
    assert_int_equal(out.memory_total, 1);
    assert_int_equal(out.cpu_idle, 7);
    assert_int_equal(out.num_processes, 8);
    assert_int_equal(out.network_sent, 10);
    assert_int_equal(out.oom_kills, 11);
    free(w.data);
}

static void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
}

/* A large message and a small one, queued against a socket that takes only some at a time, and read as the socket gives it. */
static void messages_cross_a_socket(void **state)
{
    const size_t large = 3 << 20;
    struct message_output out = { 0 };
    struct message_input in = { .max = MESSAGE_TO_GUEST_MAX };
    uint8_t *bytes = calloc(1, large);
    unsigned taken = 0, stalls = 0;
    int pair[2];
    size_t begin;

    (void)state;
    assert_non_null(bytes);
    make_pair(pair);
    bytes[large - 1] = 77;
    begin = message_begin(&out.queue, MESSAGE_RUN);
    put_bytes(&out.queue, bytes, large);
    message_end(&out.queue, begin);
    begin = message_begin(&out.queue, MESSAGE_FINISH);
    message_end(&out.queue, begin);
    while (taken < 2) {
        struct reader body;
        uint16_t type;
        uint32_t size;
        int sent = message_output_flush(&out, pair[0]);

        assert_true(sent >= 0);
        stalls += sent == 0;
        assert_true(message_input_fill(&in, pair[1]) > 0);
        while (message_input_next(&in, &type, &body) == 1) {
            if (taken++ == 0) {
                const uint8_t *got = get_bytes(&body, &size);

                assert_int_equal(type, MESSAGE_RUN);
                assert_int_equal(size, large);
                assert_int_equal(got[large - 1], 77);
                assert_true(reader_done(&body));
            } else {
                assert_int_equal(type, MESSAGE_FINISH);
                assert_int_equal(body.left, 0);
            }
        }
    }
    assert_true(stalls > 0);
    close(pair[0]);
    assert_int_equal(message_input_fill(&in, pair[1]), 0);
    message_input_clear(&in);
    message_output_clear(&out);
    close(pair[1]);
    free(bytes);
}

static int next_of(const void *bytes, size_t size, size_t max)
{
    struct message_input in = { .max = max };
    struct reader body;
    uint16_t type;
    int pair[2], got;

    make_pair(pair);
    assert_int_equal(write(pair[0], bytes, size), size);
    assert_int_equal(message_input_fill(&in, pair[1]), size);
    got = message_input_next(&in, &type, &body);
    message_input_clear(&in);
    close(pair[0]);
    close(pair[1]);
    return got;
}

static void bad_headers_are_refused(void **state)
{
    (void)state;
    assert_int_equal(next_of("\0\0\0\0\1\0\0\0", 8, 100), 1);
    assert_int_equal(next_of("\0\0\0\0\1\0\0", 7, 100), 0);
    assert_int_equal(next_of("\144\0\0\0\1\0\0\0", 8, 100), 0);
    assert_int_equal(next_of("\145\0\0\0\1\0\0\0", 8, 100), -1);
    assert_int_equal(next_of("\0\0\0\0\1\0\1\0", 8, 100), -1);
}

static void a_gone_peer_is_an_error_and_no_signal(void **state)
{
    struct message_output out = { 0 };
    int pair[2];

    (void)state;
    make_pair(pair);
    close(pair[1]);
    message_end(&out.queue, message_begin(&out.queue, MESSAGE_READY));
    assert_int_equal(message_output_flush(&out, pair[0]), -1);
    message_output_clear(&out);
    close(pair[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_and_strings_come_back),
        cmocka_unit_test(failed_reader_stays_failed),
        cmocka_unit_test(nul_in_a_string_is_refused),
        cmocka_unit_test(bool_is_zero_or_one),
        cmocka_unit_test(count_is_bounded),
        cmocka_unit_test(process_comes_back),
        cmocka_unit_test(limits_are_checked),
        cmocka_unit_test(config_comes_back),
        cmocka_unit_test(the_time_of_a_config_is_replaced),
        cmocka_unit_test(share_names_are_checked),
        cmocka_unit_test(truncated_and_garbled_are_refused),
        cmocka_unit_test(message_has_its_size),
        cmocka_unit_test(stats_come_back),
        cmocka_unit_test(messages_cross_a_socket),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(a_gone_peer_is_an_error_and_no_signal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
