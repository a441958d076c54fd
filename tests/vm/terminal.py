# SPDX-License-Identifier: Apache-2.0
"""A terminal in the guest: its size, its line discipline, and ours put back afterwards."""
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from harness import SLOW, equal, test


class Terminal:
    def __init__(self, command, rows=33, columns=77):
        self.controller, self.terminal = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.terminal)
        self.process = subprocess.Popen(command, stdin=self.terminal, stdout=self.terminal, stderr=self.terminal,
                                        preexec_fn=self.take)
        self.seen = b""

    def take(self):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, rows, columns):
        fcntl.ioctl(self.controller, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text, seconds=60):
        """Reads until text has come."""
        end = time.monotonic() + seconds * SLOW
        while text not in self.seen:
            left = end - time.monotonic()
            if left < 0 or not select.select([self.controller], [], [], left)[0]:
                raise AssertionError(f"no {text!r} in {self.seen!r}")
            self.seen += os.read(self.controller, 4096)
        before, self.seen = self.seen.split(text, 1)
        return before

    def write(self, data):
        os.write(self.controller, data)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.controller)
        os.close(self.terminal)


@test
def a_terminal(t):
    terminal = Terminal(t.command("-t", "--rootfs", "host", "sh", "-i"))
    try:
        terminal.write(b"PS1='% '; tty; stty size\n")
        terminal.until(b"/dev/pts/")
        terminal.until(b"33 77")
        terminal.resize(40, 100)
        # SIGWINCH tells msb, which tells the guest.
        time.sleep(0.5)
        terminal.write(b"stty size\n")
        terminal.until(b"40 100")
        # Ctrl-C is the guest's line discipline's.
        terminal.write(b"sleep 100; echo status $?\n")
        time.sleep(1)
        terminal.write(b"\x03")
        terminal.write(b"echo sur''vived\n")
        terminal.until(b"survived")
        # Ctrl-Z too: there is job control.
        terminal.write(b"sleep 100\n")
        time.sleep(1)
        terminal.write(b"\x1a")
        terminal.write(b"jobs; kill -9 %1; wait; echo st''opped\n")
        terminal.until(b"stopped")
        # A shell that still knows of a stopped job says so first.
        terminal.write(b"exit 6\nexit 6\n")
        equal(terminal.process.wait(30), 6)
        equal(termios.tcgetattr(terminal.terminal), terminal.before)
    finally:
        terminal.close()


@test
def end_of_input_on_a_terminal(t):
    terminal = Terminal(t.command("-t", "--rootfs", "host", "cat"))
    try:
        terminal.write(b"line\n")
        terminal.until(b"line\r\nline\r\n")
        terminal.write(b"\x04")
        equal(terminal.process.wait(30), 0)
    finally:
        terminal.close()


@test
def the_terminal_is_put_back_when_the_vm_dies(t):
    from harness import children, kill

    terminal = Terminal(t.command("-t", "--rootfs", "host", "sh", "-c", "echo up; sleep 1000"))
    try:
        terminal.until(b"up")
        kill(next(pid for pid, name in children(terminal.process.pid).items() if "vsock" in name))
        equal(terminal.process.wait(5), 125)
        equal(termios.tcgetattr(terminal.terminal), terminal.before)
    finally:
        terminal.close()


@test
def no_terminal_unless_both_ends_are(t):
    terminal = Terminal(["sh", "-c", '"$@" | cat', "sh", *t.command("--rootfs", "host", "sh", "-c", "test -t 1; echo $?")])
    try:
        terminal.until(b"1\r\n")
        equal(terminal.process.wait(30), 0)
    finally:
        terminal.close()
