/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's network interface, which is one end of a veth pair here, in a user and network namespace of each test's own. */
#include "guest/network.h"
#include "namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const struct guest_network network = {
    .present = true,
    .ipv4 = { 10, 0, 2, 15 },
    .ipv4_gateway = { 169, 254, 1, 1 },
    .ipv4_bits = 32,
    .ipv6 = { 0xfd, [15] = 15 },
    .ipv6_gateway = { 0xfe, 0x80, [15] = 1 },
    .ipv6_bits = 128,
};

static void shell(const char *command)
{
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

static int enter_namespace(void **state)
{
    (void)state;
    if (namespaces_enter(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return -1;
    return system("ip link add eth0 mtu 65520 type veth peer name other && ip link set other up");
}

static int set_up(const struct guest_network *wanted, struct control *control, msb_error **err)
{
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = network_set_up(wanted, proc, control, err);

    close(proc);
    return result;
}

static void refuse(const struct guest_network *wanted, const char *text)
{
    msb_error *err = NULL;

    assert_int_equal(set_up(wanted, NULL, &err), -1);
    if (!strstr(msb_error_message(err), text))
        fail_msg("`%s` does not say `%s`", msb_error_message(err), text);
    msb_error_free(err);
}

static void addresses_and_routes_are_set(void **state)
{
    msb_error *err = NULL;

    (void)state;
    if (set_up(&network, NULL, &err) < 0)
        fail_msg("%s", msb_error_message(err));
    shell("ip -o link show lo | grep -q '[<,]UP[,>]'");
    shell("ip -o link show eth0 | grep '[<,]UP[,>]' | grep 'BROADCAST,MULTICAST' | grep -q 'mtu 65520'");
    shell("ip -o -4 addr show eth0 | grep -q ' 10.0.2.15/32 '");
    shell("ip -o -6 addr show eth0 scope global | grep ' fd00::f/128 ' | grep -qv tentative");
    shell("ip -4 route | grep -q '^default via 169.254.1.1 dev eth0 onlink'");
    shell("ip -6 route | grep -q '^default via fe80::1 dev eth0 .*onlink'");
}

static void a_group_has_a_broadcast_address(void **state)
{
    struct guest_network group = network;
    msb_error *err = NULL;

    (void)state;
    group.ipv4_bits = 20;
    if (set_up(&group, NULL, &err) < 0)
        fail_msg("%s", msb_error_message(err));
    shell("ip -o -4 addr show eth0 | grep -q ' 10.0.2.15/20 brd 10.0.15.255 '");
}

static void without_a_network_there_is_loopback(void **state)
{
    const struct guest_network none = { 0 };
    msb_error *err = NULL;

    (void)state;
    assert_int_equal(set_up(&none, NULL, &err), 0);
    shell("ip -o link show lo | grep -q '[<,]UP[,>]'");
    shell("ip -o link show eth0 | grep -qv '[<,]UP[,>]'");
}

static void what_the_kernel_refuses_is_told(void **state)
{
    struct guest_network wrong = network;

    (void)state;
    wrong.ipv4_bits = 40;
    refuse(&wrong, "set the IPv4 address: Invalid argument");
    wrong = network;
    wrong.ipv4_gateway[0] = 224;
    refuse(&wrong, "set the IPv4 gateway: Invalid argument");
}

static void an_interface_that_is_not_there_is_told(void **state)
{
    (void)state;
    shell("ip link del eth0");
    refuse(&network, "find the network interface eth0");
}

/* A warning, and the rest as it was. */
static void ipv6_may_be_missing(void **state)
{
    struct control control;
    msb_error *err = NULL;
    char said[4096];
    ssize_t length;
    int pair[2];

    (void)state;
    shell("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    control_init(&control, pair[0]);
    control.log_level = MSB_LOG_WARN;
    if (set_up(&network, &control, &err) < 0)
        fail_msg("%s", msb_error_message(err));
    length = recv(pair[1], said, sizeof(said), MSG_DONTWAIT);
    assert_true(length > 0);
    assert_non_null(memmem(said, (size_t)length, "set the IPv6 address: ", strlen("set the IPv6 address: ")));
    shell("ip -4 route | grep -q '^default via 169.254.1.1 dev eth0 onlink'");
    control_clear(&control);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(addresses_and_routes_are_set, enter_namespace),
        cmocka_unit_test_setup(a_group_has_a_broadcast_address, enter_namespace),
        cmocka_unit_test_setup(without_a_network_there_is_loopback, enter_namespace),
        cmocka_unit_test_setup(what_the_kernel_refuses_is_told, enter_namespace),
        cmocka_unit_test_setup(an_interface_that_is_not_there_is_told, enter_namespace),
        cmocka_unit_test_setup(ipv6_may_be_missing, enter_namespace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
