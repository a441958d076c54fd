/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb port: where the published ports of a sandbox are.
 */
#include "cli/sandboxes.h"

#include "config/text.h"
#include "util/cleanup.h"

struct wanted {
    uint64_t guest; /* 0: all */
    bool udp;
};

/* PORT[/tcp|/udp] */
static int parse_wanted(const char *value, struct wanted *wanted, msb_error **err)
{
    struct text whole = text_of(value, MSB_LENGTH_UNKNOWN), number = whole, protocol = text_of("tcp", MSB_LENGTH_UNKNOWN);

    text_cut_first(whole, '/', &number, &protocol);
    wanted->udp = text_equal(protocol, "udp");
    if (text_number(number, UINT16_MAX, &wanted->guest) && wanted->guest > 0 && (wanted->udp || text_equal(protocol, "tcp")))
        return 0;
    return refuse(err, "port", whole, "is none of a guest's; write PORT[/tcp|/udp]");
}

/* Where it is on this machine; before it what it is in the guest, unless that was asked for. */
static int print_port(const msb_port *port, bool all, msb_error **err)
{
    _cleanup_free_ char *address = msb_port_address(port);

    if (!address)
        return fail_no_memory(err);
    if (all)
        printf("%u/%s -> ", msb_port_guest(port), msb_port_is_udp(port) ? "udp" : "tcp");
    printf("%s:%u\n", address, msb_port_host(port));
    return 0;
}

static int print_ports(msb_sandbox *sandbox, const struct wanted *wanted, bool *found, msb_error **err)
{
    msb_error *error = NULL;
    msb_port *port;

    for (size_t i = 0; (port = msb_sandbox_port(sandbox, i, &error)); i++) {
        bool fits = !wanted->guest || (msb_port_guest(port) == wanted->guest && !msb_port_is_udp(port) == !wanted->udp);
        int printed = fits ? print_port(port, !wanted->guest, err) : 0;

        *found = *found || fits;
        msb_port_free(port);
        if (printed < 0)
            return -1;
    }
    return error ? fail_with(err, error) : 0;
}

static int print(const char *name, const char *which, msb_error **err)
{
    struct wanted wanted = { 0 };
    msb_sandbox *sandbox;
    bool found = false;
    int result;

    if (which && parse_wanted(which, &wanted, err) < 0)
        return -1;
    sandbox = msb_sandbox_open(name, err);
    result = sandbox ? print_ports(sandbox, &wanted, &found, err) : -1;
    msb_sandbox_free(sandbox);
    if (result == 0 && which && !found)
        return refuse_as(err, MSB_ERR_NOT_FOUND, "port", text_of(which, MSB_LENGTH_UNKNOWN), "of the guest is not published");
    return result;
}

static const struct option options_table[] = { { 0 } };

static int run(const struct command *command, int argc, char **argv)
{
    msb_error *error = NULL;
    int status, first = sandbox_operands(command, argc, argv, NULL, 1, 2, "a sandbox", &status);

    if (first < 0)
        return status;
    if (print(argv[first], argv[first + 1], &error) < 0)
        return report(error);
    return finish_output() ? EXIT_SUCCESS : EXIT_MSB_FAILED;
}

const struct command command_port = {
    .name = "port",
    .synopsis = "NAME [PORT[/tcp|/udp]]",
    .summary = "Tell where the published ports of a sandbox are",
    .description =
        "Prints the published ports of a sandbox and what of this machine reaches them; with a PORT of the guest only what "
        "reaches that.",
    .examples = "  msb port web\n"
                "  curl http://$(msb port web 80)/\n",
    .options = options_table,
    .run = run,
};
