/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor prepares for a network: derived addresses, membership of groups, published ports, and what is told to whom.
 */
#include "net/plan.h"

#include "net/address.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct in_addr ip(const char *text)
{
    struct in_addr address;

    assert_int_equal(inet_pton(AF_INET, text, &address), 1);
    return address;
}

static struct in6_addr ip6(const char *text)
{
    struct in6_addr address;

    assert_int_equal(inet_pton(AF_INET6, text, &address), 1);
    return address;
}

static void assert_ip(struct in_addr address, const char *expected)
{
    char text[INET_ADDRSTRLEN];

    assert_string_equal(inet_ntop(AF_INET, &address, text, sizeof(text)), expected);
}

static void assert_ip6(struct in6_addr address, const char *expected)
{
    char text[INET6_ADDRSTRLEN];

    assert_string_equal(inet_ntop(AF_INET6, &address, text, sizeof(text)), expected);
}

static void test_addresses(void **state)
{
    struct addresses a = addresses_of(ip("10.1.2.3"), ip("10.1.2.0"), 24);
    static const uint8_t mac[6] = { 0x52, 0x54, 10, 1, 2, 3 };

    (void)state;
    assert_memory_equal(&a.mac, mac, 6);
    assert_ip6(a.ip6, "fd6d:7362:a01:200::a01:203");
    assert_ip6(a.link_local, "fe80::5054:aff:fe01:203");
    assert_ip(a.gateway, "169.254.1.1");
    assert_ip(a.resolver, "169.254.1.2");
    assert_ip6(a.gateway6, "fd6d:7362:ffff:ffff::1");
    assert_ip(broadcast_of(&a), "10.1.2.255");
}

static void test_link_network_beside_subnet(void **state)
{
    (void)state;
    assert_ip(addresses_of(ip("169.254.7.7"), ip("169.254.0.0"), 16).gateway, "198.18.0.1");
    assert_ip(addresses_of(ip("169.254.1.5"), ip("169.254.1.4"), 30).gateway, "198.18.0.1");
    assert_ip(addresses_of(ip("169.254.2.5"), ip("169.254.2.4"), 30).gateway, "169.254.1.1");
    assert_ip(addresses_of(ip("198.18.0.5"), ip("198.18.0.0"), 24).gateway, "169.254.1.1");
}

static void test_members(void **state)
{
    struct addresses a = addresses_of(ip("10.1.2.3"), ip("10.1.2.0"), 24), b = addresses_of_member(&a, ip("10.1.2.9"));
    struct addresses alone = addresses_of(ip("10.0.2.15"), ip("10.0.2.15"), 32);
    struct in6_addr outside = ip6("fd6d:7362:a01:200::a01:303"), other_group = ip6("fd6d:7362:a01:300::a01:309");
    struct in6_addr no_eui64 = ip6("fe80::5054:aff:ff01:209"), wrong_middle = ip6("fd6d:7362:a01:200:0:1:a01:209");
    struct mac foreign = { { 0x52, 0x54, 10, 1, 3, 9 } }, gateway = a.gateway_mac;
    struct in_addr member = { 0 };

    (void)state;
    assert_true(is_member_ip(&a, ip("10.1.2.1")));
    assert_false(is_member_ip(&a, ip("10.1.2.0")));
    assert_false(is_member_ip(&a, ip("10.1.2.255")));
    assert_false(is_member_ip(&a, ip("10.1.3.1")));
    assert_true(is_member_ip6(&a, &b.ip6, &member));
    assert_ip(member, "10.1.2.9");
    member.s_addr = 0;
    assert_true(is_member_ip6(&a, &b.link_local, &member));
    assert_ip(member, "10.1.2.9");
    member.s_addr = 0;
    assert_true(is_member_mac(&a, &b.mac, &member));
    assert_ip(member, "10.1.2.9");
    assert_false(is_member_ip6(&a, &outside, &member));
    assert_false(is_member_ip6(&a, &other_group, &member));
    assert_false(is_member_ip6(&a, &no_eui64, &member));
    assert_false(is_member_ip6(&a, &wrong_middle, &member));
    assert_false(is_member_mac(&a, &foreign, &member));
    assert_false(is_member_mac(&a, &gateway, &member));
    assert_true(is_member_ip(&alone, ip("10.0.2.15")));
    assert_false(is_member_ip(&alone, ip("10.0.2.16")));
}

static void test_setup_encoding(void **state)
{
    struct net_port ports[] = { { 80, IPPROTO_TCP }, { 53, IPPROTO_UDP } };
    char directory[] = "/run/user/1000/microsandbox/.net/10.1.2.0-24";
    struct net_setup setup = { .log_level = MSB_LOG_DEBUG,
                               .scope = MSB_SCOPE_PUBLIC,
                               .ip = ip("10.1.2.3"),
                               .subnet = ip("10.1.2.0"),
                               .subnet_bits = 24,
                               .group = directory,
                               .ports = ports,
                               .num_ports = 2 };
    struct net_setup copy;
    struct writer w = { 0 };
    struct reader r;

    (void)state;
    net_setup_encode(&w, &setup);
    assert_false(w.failed);
    r = (struct reader){ .data = w.data, .left = w.size };
    assert_true(net_setup_decode(&r, &copy));
    assert_int_equal(copy.log_level, MSB_LOG_DEBUG);
    assert_int_equal(copy.scope, MSB_SCOPE_PUBLIC);
    assert_ip(copy.ip, "10.1.2.3");
    assert_ip(copy.subnet, "10.1.2.0");
    assert_int_equal(copy.subnet_bits, 24);
    assert_string_equal(copy.group, directory);
    assert_int_equal(copy.num_ports, 2);
    assert_int_equal(copy.ports[0].guest, 80);
    assert_int_equal(copy.ports[0].protocol, IPPROTO_TCP);
    assert_int_equal(copy.ports[1].guest, 53);
    assert_int_equal(copy.ports[1].protocol, IPPROTO_UDP);
    net_setup_clear(&copy);

    /* Every shorter packet is refused, and no byte of it makes it crash. */
    for (size_t size = 0; size < w.size; size++) {
        r = (struct reader){ .data = w.data, .left = size };
        assert_false(net_setup_decode(&r, &copy));
    }
    w.data[1] = MSB_SCOPE_NONE;
    r = (struct reader){ .data = w.data, .left = w.size };
    assert_false(net_setup_decode(&r, &copy));
    free(w.data);
}

/* ---- Groups -------------------------------------------------------------------------------------------------------------- */

static int make_runtime(void **state)
{
    char *path = strdup("/tmp/msb-test-group.XXXXXX");

    *state = path;
    return path && mkdtemp(path) ? 0 : -1;
}

static int remove_runtime(void **state)
{
    char command[256];

    snprintf(command, sizeof(command), "rm -r %s", (char *)*state);
    free(*state);
    return system(command);
}

static struct group_request request(const char *address, const char *name)
{
    return (struct group_request){ .subnet = ip("10.1.2.0"),
                                   .subnet_bits = 24,
                                   .has_ip = address != NULL,
                                   .ip = address ? ip(address) : (struct in_addr){ 0 },
                                   .name = name };
}

static struct group_member join(const char *runtime, const char *address, const char *name)
{
    struct group_request r = request(address, name);
    struct group_member member;
    msb_error *error = NULL;

    if (group_join(runtime, &r, &member, &error) < 0)
        fail_msg("%s", msb_error_message(error));
    return member;
}

static void assert_refused(const char *runtime, const char *address, const char *name, const char *in_message)
{
    struct group_request r = request(address, name);
    struct group_member member;
    msb_error *error = NULL;

    assert_int_equal(group_join(runtime, &r, &member, &error), -1);
    assert_int_equal(msb_error_code(error), MSB_ERR_IN_USE);
    assert_non_null(strstr(msb_error_message(error), in_message));
    msb_error_free(error);
}

static bool exists(const char *runtime, const char *path)
{
    char whole[256];
    struct stat status;

    snprintf(whole, sizeof(whole), "%s/%s", runtime, path);
    return lstat(whole, &status) == 0;
}

static void test_addresses_are_assigned_without_collision(void **state)
{
    const char *runtime = *state;
    struct group_member a = join(runtime, NULL, NULL), b = join(runtime, "10.1.2.3", NULL), c = join(runtime, NULL, NULL);

    assert_ip(a.ip, "10.1.2.2");
    assert_ip(b.ip, "10.1.2.3");
    assert_ip(c.ip, "10.1.2.4");
    assert_refused(runtime, "10.1.2.3", NULL, "\"10.1.2.3\" is taken");
    group_leave(&b);
    b = join(runtime, NULL, NULL);
    assert_ip(b.ip, "10.1.2.3");
    group_leave(&a);
    group_leave(&b);
    group_leave(&c);
    assert_false(exists(runtime, ".net/10.1.2.0-24"));
}

static void test_full_subnet(void **state)
{
    struct group_request r = { .subnet = ip("10.9.9.4"), .subnet_bits = 30 };
    struct group_member member[3];
    msb_error *error = NULL;

    for (int i = 0; i < 2; i++)
        assert_int_equal(group_join(*state, &r, &member[i], &error), 0);
    assert_ip(member[0].ip, "10.9.9.6");
    assert_ip(member[1].ip, "10.9.9.5");
    assert_int_equal(group_join(*state, &r, &member[2], &error), -1);
    assert_int_equal(msb_error_code(error), MSB_ERR_IN_USE);
    msb_error_free(error);
    group_leave(&member[0]);
    group_leave(&member[1]);
}

static void test_names(void **state)
{
    const char *runtime = *state;
    struct group_member a = join(runtime, NULL, "Web");
    char target[64] = { 0 }, path[256];

    snprintf(path, sizeof(path), "%s/names/web", a.directory);
    assert_true(readlink(path, target, sizeof(target) - 1) > 0);
    assert_string_equal(target, "10.1.2.2");
    assert_refused(runtime, NULL, "web", "\"web\" is taken by the sandbox 10.1.2.2");
    group_leave(&a);
    a = join(runtime, NULL, "web");
    group_leave(&a);
}

/* A monitor that was killed: its lock is gone, its files are not. */
static void test_dead_member_is_cleared_away(void **state)
{
    const char *runtime = *state;
    struct group_member alive = join(runtime, NULL, "alive"), dead = join(runtime, "10.1.2.7", "dead"), again;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/sockets/10.1.2.7", dead.directory);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    close(dead.lock);
    dead.lock = -1;
    assert_true(exists(runtime, ".net/10.1.2.0-24/sockets/10.1.2.7"));
    again = join(runtime, NULL, NULL);
    assert_false(exists(runtime, ".net/10.1.2.0-24/sockets/10.1.2.7"));
    assert_false(exists(runtime, ".net/10.1.2.0-24/members/10.1.2.7"));
    assert_false(exists(runtime, ".net/10.1.2.0-24/names/dead"));
    assert_true(exists(runtime, ".net/10.1.2.0-24/names/alive"));
    group_leave(&again);
    again = join(runtime, "10.1.2.7", "dead");
    group_leave(&again);
    group_leave(&alive);
    group_leave(&dead);
    assert_false(exists(runtime, ".net/10.1.2.0-24"));
}

static void test_preview_takes_nothing(void **state)
{
    struct group_request r = request(NULL, "web");
    struct in_addr address;
    msb_error *error = NULL;

    assert_int_equal(group_preview(*state, &r, &address, &error), 0);
    assert_ip(address, "10.1.2.2");
    assert_false(exists(*state, ".net/10.1.2.0-24"));
}

/* ---- Plans --------------------------------------------------------------------------------------------------------------- */

static struct spec_port port(const char *address, uint16_t host, uint16_t guest, uint8_t protocol)
{
    return (struct spec_port){ .address = ip6(address), .host = host, .guest = guest, .protocol = protocol };
}

static void test_plan_alone(void **state)
{
    struct spec spec = { .scope = MSB_SCOPE_GROUP };
    struct net_plan plan;
    msb_error *error = NULL;

    assert_int_equal(net_plan_make(&spec, *state, &plan, &error), 0);
    assert_true(plan.present);
    assert_false(plan.host_network);
    assert_false(plan.needs_caller);
    assert_null(plan.setup.group);
    assert_int_equal(plan.guest.ipv4_bits, 32);
    assert_int_equal(plan.guest.num_resolvers, 0);
    assert_int_equal(plan.guest.num_hosts, 0);
    net_plan_release(&plan);
}

static void test_plan_none(void **state)
{
    struct spec spec = { .scope = MSB_SCOPE_NONE };
    struct net_plan plan;

    assert_int_equal(net_plan_make(&spec, *state, &plan, NULL), 0);
    assert_false(plan.present);
    net_plan_release(&plan);
}

static void test_plan_any(void **state)
{
    struct spec spec = { .scope = MSB_SCOPE_ANY, .has_subnet = true, .subnet = ip("10.1.2.0"), .subnet_bits = 24 };
    struct net_plan plan;
    msb_error *error = NULL;

    assert_int_equal(net_plan_make(&spec, *state, &plan, &error), 0);
    assert_true(plan.host_network);
    assert_true(plan.needs_caller);
    assert_string_equal(plan.setup.group, plan.member.directory);
    assert_int_equal(plan.guest.num_resolvers, 1);
    assert_int_equal(plan.guest.num_hosts, 2);
    assert_string_equal(plan.guest.hosts[0], "169.254.1.1 host.microsandbox.internal");
    net_plan_release(&plan);
    assert_false(exists(*state, ".net/10.1.2.0-24"));
}

static void test_plan_ports(void **state)
{
    struct spec_port ports[] = { port("::ffff:127.0.0.1", 0, 80, IPPROTO_TCP), port("::ffff:127.0.0.1", 0, 53, IPPROTO_UDP) };
    struct spec spec = { .scope = MSB_SCOPE_GROUP, .ports = ports, .num_ports = 2 };
    struct net_plan plan, second;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    msb_error *error = NULL;
    char expected[32];
    int client;

    assert_int_equal(net_plan_make(&spec, *state, &plan, &error), 0);
    assert_int_not_equal(plan.host_ports[0], 0);
    assert_int_not_equal(plan.host_ports[1], 0);
    client = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_port = htons(plan.host_ports[0]);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    close(client);
    for (int i = 0; i < 2; i++) {
        struct spec taken = { .scope = MSB_SCOPE_GROUP, .ports = &ports[i], .num_ports = 1 };

        ports[i].host = plan.host_ports[i];
        assert_int_equal(net_plan_make(&taken, *state, &second, &error), -1);
        assert_int_equal(msb_error_code(error), MSB_ERR_IN_USE);
        snprintf(expected, sizeof(expected), "host port %u/%s", ports[i].host, i ? "udp" : "tcp");
        assert_non_null(strstr(msb_error_message(error), expected));
        msb_error_free(error);
        error = NULL;
        net_plan_release(&second);
    }
    net_plan_release(&plan);
}

static void test_preview(void **state)
{
    struct spec spec = { .scope = MSB_SCOPE_GROUP, .has_subnet = true, .subnet = ip("10.1.2.0"), .subnet_bits = 24 };
    struct in_addr address, subnet;
    uint8_t bits;

    assert_int_equal(net_plan_preview(&spec, *state, &address, &subnet, &bits, NULL), 0);
    assert_ip(address, "10.1.2.2");
    assert_ip(subnet, "10.1.2.0");
    assert_int_equal(bits, 24);
    spec.scope = MSB_SCOPE_NONE;
    assert_int_equal(net_plan_preview(&spec, *state, &address, &subnet, &bits, NULL), 0);
    assert_ip(address, "0.0.0.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_link_network_beside_subnet),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_setup_encoding),
        cmocka_unit_test_setup_teardown(test_addresses_are_assigned_without_collision, make_runtime, remove_runtime),
        cmocka_unit_test_setup_teardown(test_full_subnet, make_runtime, remove_runtime),
        cmocka_unit_test_setup_teardown(test_names, make_runtime, remove_runtime),
        cmocka_unit_test_setup_teardown(test_dead_member_is_cleared_away, make_runtime, remove_runtime),
        cmocka_unit_test_setup_teardown(test_preview_takes_nothing, make_runtime, remove_runtime),
        cmocka_unit_test_setup_teardown(test_plan_alone, make_runtime, remove_runtime),
        cmocka_unit_test_setup_teardown(test_plan_none, make_runtime, remove_runtime),
        cmocka_unit_test_setup_teardown(test_plan_any, make_runtime, remove_runtime),
        cmocka_unit_test_setup_teardown(test_plan_ports, make_runtime, remove_runtime),
        cmocka_unit_test_setup_teardown(test_preview, make_runtime, remove_runtime),
    };

    return cmocka_run_group_tests_name("net plan", tests, NULL, NULL);
}
