/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

int terminal_make_raw(struct terminal *terminal, msb_error **err)
{
    struct termios raw;

    if (!isatty(STDIN_FILENO))
        return 0;
    if (tcgetattr(STDIN_FILENO, &terminal->saved) < 0)
        return fail_errno(err, "read the terminal's settings");
    raw = terminal->saved;
    cfmakeraw(&raw);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
        return fail_errno(err, "put the terminal into raw mode");
    terminal->raw = true;
    return 0;
}

void terminal_restore(struct terminal *terminal)
{
    if (terminal->raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->saved);
    terminal->raw = false;
}

void terminal_size(uint16_t *rows, uint16_t *columns)
{
    struct winsize size;

    if ((ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0) || !size.ws_row ||
        !size.ws_col)
        size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
    *rows = size.ws_row;
    *columns = size.ws_col;
}
