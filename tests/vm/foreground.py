# SPDX-License-Identifier: Apache-2.0
"""What msb run does to its own surroundings: the terminal's mode, and signals that are ignored."""
import re
import signal
import termios

from harness import equal, test
from terminal import Terminal

LOOP = "while :; do sleep 0.1; done"


def is_raw(terminal):
    return not termios.tcgetattr(terminal.terminal)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


def ends(terminal, status):
    """msb ends, and its terminal is what it was before."""
    equal(terminal.process.wait(30), status)
    equal(termios.tcgetattr(terminal.terminal), terminal.before)


@test
def what_is_ignored_stays_ignored(t):
    """As under nohup."""
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    script = f"trap 'echo hup' HUP; trap 'echo usr; exit 3' USR1; echo up; {LOOP}"
    with t.running("--rootfs", "host", "sh", "-c", script, preexec_fn=ignore) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        equal(process.stdout.read(), b"usr\n")
        equal(process.wait(30), 3)


@test
def the_terminal_is_raw_while_the_guest_has_one(t):
    terminal = Terminal(t.command("--rootfs", "host", "sh", "-c", f"trap 'stty size; exit 5' WINCH; stty size; echo up; {LOOP}"))
    try:
        equal(terminal.until(b"up\r\n"), b"33 77\r\n")
        equal(is_raw(terminal), True)
        terminal.resize(40, 100)
        terminal.until(b"40 100\r\n")
        ends(terminal, 5)
    finally:
        terminal.close()


@test
def the_terminal_is_put_back_when_the_workload_is_killed(t):
    terminal = Terminal(t.command("--rootfs", "host", "sh", "-c", "echo up; exec sleep 1000"))
    try:
        terminal.until(b"up\r\n")
        terminal.process.send_signal(signal.SIGTERM)
        ends(terminal, 128 + 15)
    finally:
        terminal.close()


@test
def the_terminal_is_put_back_when_the_vm_is_ended_by_force(t):
    terminal = Terminal(t.command("--rootfs", "host", "sh", "-c", f"trap 'echo int' INT; echo up; {LOOP}"))
    try:
        terminal.until(b"up\r\n")
        for _ in range(2):
            terminal.process.send_signal(signal.SIGINT)
            terminal.until(b"int\r\n")
        terminal.process.send_signal(signal.SIGINT)
        ends(terminal, 128 + 9)
    finally:
        terminal.close()


@test
def the_terminal_is_put_back_before_a_failure_is_told(t):
    terminal = Terminal(t.command("--rootfs", "host", "-w", "/none", "true"))
    try:
        said = terminal.until(b"\r\n")
        assert re.match(b"msb: [^\r\n]*/none", said), said
        ends(terminal, 125)
    finally:
        terminal.close()


@test
def the_terminal_is_left_alone_without_one_in_the_guest(t):
    terminal = Terminal(t.command("--rootfs", "host", "-T", "sh", "-c", "tty; echo up; read line; echo got $line"))
    try:
        equal(terminal.until(b"up\r\n"), b"not a tty\r\n")
        equal(is_raw(terminal), False)
        terminal.write(b"wrong\x15right\n")  # Ctrl-U: our own line discipline's
        terminal.until(b"got right\r\n")
        ends(terminal, 0)
    finally:
        terminal.close()


@test
def a_terminal_in_the_guest_without_one_here(t):
    done = t.host("-t", "sh", "-c", "tty; stty size; read line", stdin=b"line\n")
    assert re.search(b"/dev/pts/[0-9]+\r\n24 80\r\n", done.stdout), done
    equal(done.returncode, 0)
