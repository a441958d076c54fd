# SPDX-License-Identifier: Apache-2.0
"""Sandboxes that live on, by the command line: their whole life, many commands in them, their logs, files, statistics and end.

What the engine has no part in is tested with the one that boots fastest."""
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import termios
import threading
import time

from harness import children, equal, expect, need_root, only, test, wait_gone
from terminal import Terminal

LONG = bool(os.environ.get("MSB_TEST_LONG"))


class Sandboxes:
    """msb with a runtime and a state directory of the test's own. What it leaves is removed at the end, and is to be nothing."""

    def __init__(self, t):
        self.t = t
        self.runtime = t.path("run")
        self.state = t.path("state")
        self.env = dict(os.environ, XDG_RUNTIME_DIR=self.runtime, XDG_STATE_HOME=self.state)
        for path in self.runtime, self.state:
            os.mkdir(path, 0o700)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        names = self.names(all_of_them=True)
        if names:
            self("rm", "-f", *names)
        if not kind:
            equal(self.left_behind(), [])

    def left_behind(self):
        return [path for top in (self.runtime, self.state) for path, _, files in os.walk(os.path.join(top, "microsandbox"))
                for path in [os.path.join(path, name) for name in files] + [path]
                if os.path.basename(path) not in ("microsandbox", ".lock")]

    def __call__(self, *arguments, stdin=b"", timeout=120, **options):
        if isinstance(stdin, bytes):
            options["input"] = stdin
        else:
            options["stdin"] = stdin
        return subprocess.run([self.t.msb, *arguments], capture_output=True, timeout=timeout, check=False, env=self.env, **options)

    def output(self, *arguments, **options):
        done = self(*arguments, **options)
        expect(done, 0)
        return done.stdout.decode()

    def start(self, *arguments, **options):
        for stream in "stdin", "stdout", "stderr":
            options.setdefault(stream, subprocess.PIPE)
        return subprocess.Popen([self.t.msb, *arguments], env=self.env, **options)

    def names(self, all_of_them=False):
        return self.output("ps", "-aq" if all_of_them else "-q").split()

    def run(self, name, *arguments, **options):
        """Starts a small one, detached."""
        return self("run", "-d", "--name", name, "--engine", self.t.engine, "--rootfs", "host", "-m", "96m", *arguments, **options)

    def up(self, name, *arguments):
        done = self.run(name, *arguments)
        expect(done, 0)
        equal((done.stdout.decode(), done.stderr), (name + "\n", b""))

    def info(self, name):
        return json.loads(self.output("inspect", name))[0]

    def monitor(self, name):
        return self.info(name)["pid"]


@contextlib.contextmanager
def running(process):
    """A started msb, killed in the end."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in process.stdin, process.stdout, process.stderr:
            if stream:
                stream.close()


# ---- The whole life ----------------------------------------------------------------------------------------------------------------


@test
def a_sandbox_s_whole_life(t):
    with Sandboxes(t) as msb:
        msb.up("one", "-e", "OWN=1", "-w", "/usr")
        equal(msb.names(), ["one"])
        assert re.search(r"(?m)^one +- +.* ago +Up .*$", msb.output("ps")), msb.output("ps")
        expect(msb.run("one"), 125, '"one"')
        pid = msb.monitor("one")
        equal(msb.output("exec", "one", "--", "sh", "-c", "echo $OWN; pwd; hostname; id -u"), "1\n/usr\none\n0\n")
        equal(msb.output("exec", "-e", "OWN=2", "-w", "/", "-u", "65534", "--rlimit", "RLIMIT_NOFILE=77:77", "one", "sh", "-c",
                         "echo $OWN; pwd; id -u; ulimit -n"), "2\n/\n65534\n77\n")
        info = msb.info("one")
        equal([info["state"], info["detached"], info["exit_status"], info["engine"]], ["running", True, None, t.engine])
        began = time.monotonic()
        equal(msb.output("stop", "one"), "one\n")
        assert time.monotonic() - began < 5, "it was waited for"
        equal(msb.names(), [])
        equal(msb.names(all_of_them=True), ["one"])
        assert re.search(r"(?m)^one .* Exited \(0\) .* ago *$", msb.output("ps", "-a")), msb.output("ps", "-a")
        equal(msb.output("wait", "one"), "0\n")
        expect(msb("exec", "one", "true"), 125, '"one"')
        equal(wait_gone([pid], 5), [])
        equal(msb.output("rm", "one"), "one\n")
        equal(msb.names(all_of_them=True), [])
        expect(msb("rm", "one"), 125, '"one"')
        expect(msb("inspect", "one"), 125, '"one"')


@test
@only("uml")
def a_detached_command(t):
    with Sandboxes(t) as msb:
        msb.up("one", "sh", "-c", "echo out; echo err >&2; cat; exit 3")
        equal(msb.output("wait", "one"), "3\n")
        done = msb("logs", "one")
        equal((done.returncode, done.stdout, done.stderr), (0, b"out\n", b"err\n"))
        assert re.search(r"(?m)^one +sh -c echo out; echo err >&\.\.\. .* Exited \(3\)", msb.output("ps", "-a")), msb.output("ps", "-a")
        # The name is free again only once it is removed.
        expect(msb.run("one", "true"), 125, '"one"')
        msb.output("rm", "one")
        msb.up("one", "--rm", "true")
        msb("wait", "one")
        equal(msb.names(all_of_them=True), [])


@test
@only("uml")
def what_cannot_be_started_leaves_nothing(t):
    with Sandboxes(t) as msb:
        expect(msb.run("one", "/nonexistent"), 127, "/nonexistent")
        expect(msb.run("one", "/etc/passwd"), 126, "/etc/passwd")
        expect(msb.run("one", "-w", "/nonexistent", "true"), 125, "/nonexistent")
        expect(msb.run("no/name", "true"), 125, "no/name")
        expect(msb.run("..", "true"), 125, "..")
        equal(msb.names(all_of_them=True), [])
        equal(msb.left_behind(), [])


@test
@only("uml")
def a_name_is_made(t):
    with Sandboxes(t) as msb:
        name = msb.output("run", "-d", "--engine", t.engine, "--rootfs", "host", "-m", "96m").strip()
        equal(msb.names(), [name])
        assert re.fullmatch(r"[a-z0-9-]+", name), name
        equal(msb.output("kill", name), name + "\n")
        equal(msb.info(name)["exit_status"], 137)


@test
@only("uml")
def one_in_the_foreground_is_listed(t):
    with Sandboxes(t) as msb:
        with running(msb.start("run", "--name", "front", "--engine", t.engine, "--rootfs", "host", "-m", "96m", "sh", "-c",
                               "echo up; read line; exit 4")) as process:
            equal(process.stdout.readline(), b"up\n")
            equal(msb.names(), ["front"])
            equal(msb.output("exec", "front", "echo", "hi"), "hi\n")
            expect(msb.run("front"), 125, '"front"')
            process.stdin.write(b"\n")
            process.stdin.flush()
            equal(process.wait(20), 4)
        equal(msb.names(all_of_them=True), [])
        equal(msb.left_behind(), [])


# ---- Commands in it ----------------------------------------------------------------------------------------------------------------


@test
@only("uml")
def the_exit_status_of_an_exec(t):
    with Sandboxes(t) as msb:
        msb.up("one")
        expect(msb("exec", "one", "sh", "-c", "exit 7"), 7)
        expect(msb("exec", "one", "sh", "-c", "kill -9 $$"), 137)
        expect(msb("exec", "one", "nonexistent"), 127, "nonexistent")
        expect(msb("exec", "one", "/etc/passwd"), 126, "/etc/passwd")
        expect(msb("exec", "-w", "/nonexistent", "one", "true"), 125, "/nonexistent")
        expect(msb("exec", "-u", "nobody-here", "one", "true"), 125, "nobody-here")
        expect(msb("exec", "none", "true"), 125, '"none"')
        # As soon as it is known, of one that is left alone too.
        expect(msb("exec", "-d", "one", "nonexistent"), 127, "nonexistent")
        expect(msb("exec", "-d", "one", "/etc/passwd"), 126, "/etc/passwd")
        expect(msb("exec", "-d", "-w", "/nonexistent", "one", "true"), 125, "/nonexistent")
        expect(msb("exec", "-d", "-u", "nobody-here", "one", "true"), 125, "nobody-here")
        expect(msb("exec", "-d", "none", "true"), 125, '"none"')
        began = time.monotonic()
        expect(msb("exec", "--timeout", "1", "one", "sleep", "100"), 124, "timeout")
        assert 0.9 < time.monotonic() - began < 10
        # Streams apart, and a large environment.
        done = msb("exec", "-e", "BIG=" + "x" * 100000, "one", "sh", "-c", "echo ${#BIG}; echo err >&2")
        equal((done.stdout, done.stderr), (b"100000\n", b"err\n"))


@test
@only("uml")
def the_signals_of_an_exec(t):
    script = "trap 'echo term; exit 9' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.1; done"
    with Sandboxes(t) as msb:
        msb.up("one")
        with running(msb.start("exec", "one", "sh", "-c", script)) as process:
            equal(process.stdout.readline(), b"up\n")
            process.send_signal(signal.SIGUSR1)
            equal(process.stdout.readline(), b"usr1\n")
            process.send_signal(signal.SIGTERM)
            equal(process.stdout.readline(), b"term\n")
            equal(process.wait(20), 9)
        # One whose msb is killed does not go on.
        with running(msb.start("exec", "one", "sh", "-c", "echo up; exec sleep 1234")) as process:
            equal(process.stdout.readline(), b"up\n")
        expect(msb("exec", "one", "sh", "-c", "for i in $(seq 100); do pgrep -f '^sleep 1234' || exit 0; sleep 0.1; done; exit 1"), 0)
        # A detached one does.
        equal(msb.output("exec", "-d", "one", "sh", "-c", "sleep 0.5; echo done >/tmp/done"), "")
        equal(msb.output("exec", "one", "sh", "-c", "while ! [ -s /tmp/done ]; do sleep 0.1; done; cat /tmp/done"), "done\n")


@test
@only("uml")
def many_execs(t):
    """One after another, and at once: each has its own output and status."""
    def one(number, results):
        done = msb("exec", "one", "sh", "-c", f"cat; echo {number}; echo err{number} >&2; exit {number % 100}",
                   stdin=b"x" * number)
        results[number] = (done.returncode, done.stdout, done.stderr)

    with Sandboxes(t) as msb:
        msb.up("one")
        for number in range(1000 if LONG else 100):
            done = msb("exec", "one", "echo", str(number))
            equal((done.returncode, done.stdout, done.stderr), (0, b"%d\n" % number, b""))
        count = 64 if LONG else 16
        results = {}
        threads = [threading.Thread(target=one, args=(number, results)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(results, {n: (n % 100, b"x" * n + b"%d\n" % n, b"err%d\n" % n) for n in range(count)})
        equal(msb.info("one")["state"], "running")


@test
def much_through_an_exec(t):
    """Both ways at once, byte for byte; a reader that stops does not stall others."""
    size = (1024 if LONG else 64) << 20
    block = hashlib.sha512(b"block").digest() * 1024

    def feed(stream):
        for number in range(size // len(block)):
            stream.write(number.to_bytes(8, "little") + block[8:])
        stream.close()

    with Sandboxes(t) as msb:
        msb.up("one")
        with running(msb.start("exec", "one", "cat")) as process:
            feeder = threading.Thread(target=feed, args=(process.stdin,))
            feeder.start()
            for number in range(size // len(block)):
                got = process.stdout.read(len(block))
                assert got == number.to_bytes(8, "little") + block[8:], f"block {number} is wrong"
                if number == 100:
                    # Nobody reads the one: the other goes on.
                    equal(msb.output("exec", "one", "sh", "-c", "head -c 3000000 /dev/zero | wc -c"), "3000000\n")
            equal(process.stdout.read(), b"")
            feeder.join()
            equal(process.wait(20), 0)
            process.stdin = None
        # A file on both ends, which msb hands on.
        with open(t.path("in"), "wb") as file:
            file.write(block * 64)
        with open(t.path("in"), "rb") as source, open(t.path("out"), "wb") as target:
            equal(subprocess.run([t.msb, "exec", "one", "cat"], stdin=source, stdout=target, env=msb.env, check=False).returncode, 0)
        with open(t.path("out"), "rb") as file:
            equal(hashlib.sha256(file.read()).digest(), hashlib.sha256(block * 64).digest())


# ---- Terminals ---------------------------------------------------------------------------------------------------------------------


class Tmux:
    """A real terminal emulator, with a shell of this machine in it."""

    def __init__(self, t, env):
        self.socket = t.path("tmux")
        self.env = dict(env, TERM="xterm", PS1="here$ ", ENV="/dev/null", LC_ALL="C.UTF-8")
        self.env.pop("TMUX", None)
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh")
        self.type("PS1='here$ '; clear", "Enter")
        self.until(r"here\$$")

    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-S", self.socket, *arguments], env=self.env, capture_output=True, timeout=20,
                              check=True).stdout.decode()

    def type(self, *keys):
        self.tmux("send-keys", *keys)

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def until(self, pattern, seconds=30):
        """Until the screen has it."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.screen(), re.M):
            if time.monotonic() > end:
                raise AssertionError(f"no {pattern!r} in\n{self.screen()}")
            time.sleep(0.05)
        return self.screen()

    def close(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], env=self.env, capture_output=True, timeout=20, check=False)


@contextlib.contextmanager
def tmux(t, env):
    terminal = Tmux(t, env)
    try:
        yield terminal
    finally:
        terminal.close()


@test
def a_terminal_of_an_exec(t):
    msb = shlex.quote(t.msb)
    with Sandboxes(t) as sandboxes, tmux(t, sandboxes.env) as terminal:
        sandboxes.up("one")
        terminal.type(f"{msb} exec -e TERM=xterm -e PS1='guest% ' -t one sh; echo sta''tus $?; stty -a | grep -o ' [-]*icanon'", "Enter")
        terminal.until(r"^guest%")
        terminal.type("stty size", "Enter")
        terminal.until(r"^24 80$")
        # Ctrl-C and Ctrl-Z are the guest's.
        terminal.type("sh -c 'echo first; exec sleep 1000'", "Enter")
        terminal.until(r"first$")
        terminal.type("C-c")
        terminal.type("echo sur''vived $?", "Enter")
        terminal.until(r"survived 130$")
        terminal.type("sh -c 'echo second; exec sleep 1000'", "Enter")
        terminal.until(r"second$")
        terminal.type("C-z")
        terminal.until(r"Stopped")
        terminal.type("kill -9 %1; wait; clear", "Enter")
        # An editor over the whole screen.
        terminal.type("busybox vi /tmp/file", "Enter")
        terminal.until(r"^~$")
        terminal.type("i")
        terminal.until(r"^I /tmp/file")
        terminal.type("written in vi")
        terminal.until(r"^written in vi$")
        terminal.type("Escape")
        terminal.until(r"^- /tmp/file")
        terminal.type(":wq", "Enter")
        terminal.until(r"^guest%")
        terminal.type("clear; cat /tmp/file", "Enter")
        terminal.until(r"^written in vi$")
        # The window's size changes under a program that draws.
        terminal.type("clear; busybox top -d 1", "Enter")
        terminal.until(r"PID +PPID")
        terminal.tmux("resize-window", "-x", "100", "-y", "30")
        terminal.type("q")
        terminal.type("clear; stty size", "Enter")
        terminal.until(r"^30 100$")
        # Ours is as it was.
        terminal.type("clear; exit 6", "Enter")
        terminal.until(r"^status 6\n +icanon$")
        # Job control here: in the background it does not take the keyboard.
        terminal.type(f"clear; {msb} exec -T one cat >{t.path('taken')} &", "Enter")
        terminal.type("echo st''ill here", "Enter")
        terminal.until(r"still here$")
        terminal.type("kill -9 %1; wait; echo e''nded", "Enter")
        terminal.until(r"ended$")


@test
def a_terminal_that_the_command_does_not_have(t):
    """As in a shell's pipeline: this machine's terminal edits lines, ends the input and makes the signals."""
    def line_by_line(command):
        with contextlib.closing(Terminal([*command, "sh", "-c", "tty; cat; echo end; exit 4"])) as terminal:
            terminal.until(b"not a tty\r\n")
            terminal.write(b"hellx\x7fo\n")
            terminal.until(b"hello\r\n")  # the command's; what was typed has its mistake
            terminal.write(b"par\x04tial\n")  # what is there goes before the end of the line
            terminal.until(b"partial\r\n")
            terminal.until(b"partial\r\n")
            terminal.write(b"\x04")
            terminal.until(b"end\r\n")
            equal(terminal.process.wait(20), 4)
            equal(termios.tcgetattr(terminal.terminal), terminal.before)
            assert not fcntl.fcntl(terminal.terminal, fcntl.F_GETFL) & os.O_NONBLOCK, "the terminal does not block any more"

    def signalled(command):
        for key, name, number in (b"\x03", "INT", signal.SIGINT), (b"\x1c", "QUIT", signal.SIGQUIT):
            for script, status in (f"trap 'echo got; exit 7' {name}; echo up; while :; do sleep 0.1; done", 7), ("echo up; exec cat", 128 + number):
                with contextlib.closing(Terminal([*command, "sh", "-c", script])) as terminal:
                    terminal.until(b"up\r\n")
                    terminal.write(key)
                    if status == 7:
                        terminal.until(b"got\r\n")
                    equal(terminal.process.wait(20), status)

    with Sandboxes(t) as msb:
        msb.up("one")
        for command in ["exec", "-i", "-T", "one"], ["run", "-i", "-T", "--engine", t.engine, "--rootfs", "host", "-m", "96m"]:
            line_by_line(["env", f"XDG_RUNTIME_DIR={msb.runtime}", t.msb, *command])
        signalled(["env", f"XDG_RUNTIME_DIR={msb.runtime}", t.msb, "exec", "-i", "-T", "one"])
        # With the output elsewhere there is no terminal for the command either.
        piped = 'XDG_RUNTIME_DIR=$0 "$1" exec one sh -c "tty; cat" | tr a-z A-Z'
        with contextlib.closing(Terminal(["sh", "-c", piped, msb.runtime, t.msb])) as terminal:
            terminal.until(b"NOT A TTY\r\n")
            terminal.write(b"word\n\x04")
            terminal.until(b"WORD\r\n")
            equal(terminal.process.wait(20), 0)


@test
@only("uml")
def attached(t):
    msb = shlex.quote(t.msb)
    with Sandboxes(t) as sandboxes, tmux(t, sandboxes.env) as terminal:
        sandboxes.up("one", "-t", "-e", "PS1=guest% ", "-e", "TERM=xterm", "sh")
        equal(sandboxes.output("exec", "one", "true"), "")
        terminal.type(f"{msb} attach one; echo sta''tus $?; stty -a | grep -o ' [-]*icanon'", "Enter")
        terminal.type("", "Enter")
        terminal.until(r"^guest%")
        terminal.type("stty size; A=1", "Enter")
        terminal.until(r"^24 80$")
        terminal.type("C-p", "C-q")
        terminal.until(r"status 0\n +icanon$")
        # It has gone on, as it was left.
        terminal.type(f"clear; {msb} attach --detach-keys ctrl-x one; echo a''gain $?", "Enter")
        terminal.type("echo A=$A", "Enter")
        terminal.until(r"^A=1$")
        terminal.type("C-x")
        terminal.until(r"again 0$")
        terminal.type(f"clear; {msb} attach one; echo sta''tus $?", "Enter")
        terminal.type("exit 5", "Enter")
        terminal.until(r"^status 5$")
        equal(sandboxes.output("wait", "one"), "5\n")


def until_line(stream, wanted):
    """Reads up to a line; returns those before it."""
    lines = []
    for line in stream:
        if line == wanted:
            return lines
        lines.append(line)
    raise AssertionError(f"no {wanted!r} in {lines!r}")


@test
@only("uml")
def attached_without_a_terminal(t):
    script = """if True:
        import os, signal, sys
        signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"usr1\\n"))
        signal.signal(signal.SIGALRM, lambda *_: os.write(1, b"tick\\n"))
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        for line in sys.stdin:
            os.write(1, b"got " + line.encode())
            os.write(2, b"err\\n")
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(1, b"end\\n")
        sys.exit(3)
        """
    with Sandboxes(t) as msb:
        msb.up("one", "-i", "python3", "-c", script)
        with running(msb.start("attach", "one")) as first, running(msb.start("attach", "--no-stdin", "one")) as second:
            for process in first, second:
                until_line(process.stdout, b"tick\n")
            second.send_signal(signal.SIGUSR1)
            for process in first, second:
                until_line(process.stdout, b"usr1\n")
            first.stdin.write(b"hello\n")
            first.stdin.flush()
            for process in first, second:
                until_line(process.stdout, b"got hello\n")
                equal(process.stderr.readline(), b"err\n")
            first.stdin.close()
            first.stdin = None
            for process in first, second:
                until_line(process.stdout, b"end\n")
                equal((process.stdout.read(), process.wait(20)), (b"", 3))
            # It is told from the start to who comes late, by the log.
            assert msb.output("logs", "one").startswith("tick\n")
        # Without -i there is no input.
        msb.up("two", "sh", "-c", "cat; echo end")
        equal(msb.output("wait", "two"), "0\n")
        equal(msb.output("logs", "two"), "end\n")


# ---- Logs --------------------------------------------------------------------------------------------------------------------------


@test
@only("uml")
def logs(t):
    with Sandboxes(t) as msb:
        msb.up("one", "-i", "sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; echo err >&2; while read line; do echo $line; done")
        with running(msb.start("logs", "-f", "one")) as follower, running(msb.start("attach", "one")) as process:
            equal([follower.stdout.readline() for _ in range(5)], [b"line %d\n" % i for i in range(1, 6)])
            equal(follower.stderr.readline(), b"err\n")
            process.stdin.write(b"later\n")
            process.stdin.flush()
            equal(follower.stdout.readline(), b"later\n")
            then = time.time()
            time.sleep(0.01)
            process.stdin.write(b"last\n")
            process.stdin.close()
            process.stdin = None
            equal(follower.stdout.readline(), b"last\n")
            # The end of the sandbox is the log's.
            equal(follower.stdout.read(), b"")
            equal(follower.wait(20), 0)
        equal(msb.output("logs", "one"), "line 1\nline 2\nline 3\nline 4\nline 5\nlater\nlast\n")
        equal(msb.output("logs", "--tail", "2", "one"), "later\nlast\n")
        equal(msb.output("logs", "--tail=0", "one"), "")
        equal(msb.output("logs", "--since", f"{then:.6f}", "one"), "last\n")
        equal(msb.output("logs", "--since", "1h", "-n1", "one"), "last\n")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z last\n", msb.output("logs", "-t", "-n1", "one"))
        equal(msb.output("logs", "-f", "-n1", "one"), "last\n")
        expect(msb("logs", "none"), 125, '"none"')
        expect(msb("logs", "--since", "yesterday", "one"), 125, '"yesterday"')


@test
@only("uml")
def logs_are_rotated(t):
    """More than the two files hold: a follower that keeps up misses nothing, and the disk holds the last of it."""
    lines = 600000
    with Sandboxes(t) as msb:
        msb.up("one", "sh", "-c", f"seq -f 'a line of some forty bytes, number %.0f' {lines}")
        with running(msb.start("logs", "-f", "one")) as follower:
            last = follower.stdout.read().splitlines()[-1]
        equal(last, b"a line of some forty bytes, number %d" % lines)
        directory = os.path.join(msb.state, "microsandbox/one")
        sizes = {name: os.path.getsize(os.path.join(directory, name)) for name in os.listdir(directory)}
        equal(set(sizes), {"log", "log.1"})
        assert all(size <= 8 << 20 for size in sizes.values()), sizes
        kept = msb.output("logs", "one").splitlines()
        numbers = [int(line.rsplit(" ", 1)[1]) for line in kept[1:]]
        equal(numbers, list(range(lines + 1 - len(numbers), lines + 1)))
        assert len(numbers) > 150000, len(numbers)


# ---- Its end -----------------------------------------------------------------------------------------------------------------------


@test
@only("uml")
def stopped_politely_and_by_force(t):
    with Sandboxes(t) as msb:
        msb.up("polite", "sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done")
        msb.up("deaf", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
        for name in "polite", "deaf":
            with running(msb.start("logs", "-f", name)) as follower:
                equal(follower.stdout.readline(), b"up\n")
        began = time.monotonic()
        equal(msb.output("stop", "-t", "1", "polite", "deaf"), "polite\ndeaf\n")
        assert time.monotonic() - began < 10
        equal(msb.output("wait", "polite", "deaf"), "5\n137\n")
        equal(msb.output("logs", "polite"), "up\nbye\n")
        # Again, it is as it should be.
        equal(msb.output("stop", "polite"), "polite\n")
        done = msb("stop", "none", "polite")
        expect(done, 125, '"none"')
        equal(done.stdout, b"polite\n")


@test
@only("uml")
def signalled_and_killed(t):
    with Sandboxes(t) as msb:
        msb.up("one", "sh", "-c", "trap 'echo usr1' USR1; echo up; while :; do sleep 0.1; done")
        with running(msb.start("logs", "-f", "one")) as follower:
            equal(follower.stdout.readline(), b"up\n")
            msb.output("kill", "-s", "USR1", "one")
            equal(follower.stdout.readline(), b"usr1\n")
            msb.output("kill", "--signal=SIGKILL", "one")
            equal(follower.wait(20), 0)
        equal(msb.output("wait", "one"), "137\n")
        expect(msb("kill", "one"), 125, '"one"')
        msb.up("two")
        expect(msb("rm", "two"), 125, '"two"')
        expect(msb("kill", "-s", "USR1", "two"), 125, "command")
        equal(msb.names(), ["two"])
        pid = msb.monitor("two")
        below = children(pid)
        equal(msb.output("rm", "-f", "two", "none"), "two\n")
        equal(wait_gone([pid, *below], 5), [])
        equal(msb.names(all_of_them=True), ["one"])


@test
@only("uml")
def timeouts(t):
    with Sandboxes(t) as msb:
        msb.up("life", "--timeout", "1", "sleep", "1000")
        msb.up("idle", "--idle-timeout", "1")
        msb.up("busy", "--idle-timeout", "1")
        with running(msb.start("exec", "busy", "sleep", "3")) as process:
            began = time.monotonic()
            msb("wait", "life", "idle")
            assert time.monotonic() - began < 20
            equal(process.wait(20), 0)
        equal([msb.info(name)["state"] in ("exited", "failed") for name in ("life", "idle")], [True, True])
        msb("wait", "busy")
        # In the foreground.
        began = time.monotonic()
        done = msb("run", "--timeout", "1", "--engine", t.engine, "--rootfs", "host", "-m", "96m", "sleep", "1000")
        assert done.returncode != 0 and time.monotonic() - began < 20, done


@test
def out_of_memory(t):
    hog = "a=x; while :; do a=$a$a; done"
    with Sandboxes(t) as msb:
        msb.up("one")
        expect(msb("exec", "one", "sh", "-c", hog), 137, "memory")
        # The sandbox is none the worse.
        equal(msb.output("exec", "one", "echo", "fine"), "fine\n")
        assert json.loads(msb.output("stats", "--once", "--json", "one"))[0]["oom_kills"] >= 1


# ---- Files, ports, figures ---------------------------------------------------------------------------------------------------------


def tree_of(path):
    """Everything that a copy keeps."""
    found = {}
    for directory, directories, files in os.walk(path):
        for name in [""] + directories + files:
            full = os.path.join(directory, name) if name else directory
            st = os.lstat(full)
            content = os.readlink(full) if os.path.islink(full) else None
            if os.path.isfile(full) and not os.path.islink(full):
                with open(full, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(full, path)] = (oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, content)
    return found


@test
@only("uml")
def copies(t):
    source = t.path("source")
    os.makedirs(os.path.join(source, "below/deep"))
    for number, name in enumerate(["a", "below/b", "below/deep/" + "n" * 200, "with space"]):
        with open(os.path.join(source, name), "wb") as file:
            file.write(os.urandom(number * 100000))
        os.chmod(os.path.join(source, name), 0o640 + number)
        os.utime(os.path.join(source, name), ns=(1, 1764033543123456789 + number))
    os.symlink("../a", os.path.join(source, "below/link"))
    if os.geteuid() == 0:
        os.chown(os.path.join(source, "a"), 1234, 5678)
    with Sandboxes(t) as msb:
        msb.up("one")
        equal(msb.output("cp", source, "one:/root"), "")
        equal(msb.output("exec", "one", "stat", "-c", "%u:%g %a %s", "/root/source/a", "/root/source/below/b").splitlines(),
              ["1234:5678 640 0" if os.geteuid() == 0 else f"{os.getuid()}:{os.getgid()} 640 0", f"{os.getuid()}:{os.getgid()} 641 100000"])
        msb.output("cp", "-a", "one:/root/source", t.path("back"))
        equal(tree_of(t.path("back")), tree_of(source))
        # A file to a name, into a directory, and what is in a directory.
        msb.output("cp", os.path.join(source, "a"), "one:/root/renamed")
        os.mkdir(t.path("into"))
        msb.output("cp", "one:/root/renamed", t.path("into"))
        msb.output("cp", "one:root/source/below/.", t.path("into"))
        equal(sorted(os.listdir(t.path("into"))), ["b", "deep", "link", "renamed"])
        # As tar archives.
        with open(t.path("tar"), "wb") as file:
            equal(subprocess.run([t.msb, "cp", "one:/root/source", "-"], stdout=file, env=msb.env, check=False).returncode, 0)
        listed = subprocess.run(["tar", "tf", t.path("tar")], capture_output=True, check=True).stdout.decode().split("\n")
        assert "source/below/link" in listed, listed
        packed = subprocess.run(["tar", "c", "-C", source, "a", "below"], capture_output=True, check=True).stdout
        msb.output("exec", "one", "mkdir", "/root/unpacked")
        msb.output("cp", "-", "one:/root/unpacked", stdin=packed)
        equal(msb.output("exec", "one", "sh", "-c", "cd /root/unpacked; find . | sort | head -n 4"), ".\n./a\n./below\n./below/b\n")
        # What goes wrong is told, and by whom.
        expect(msb("cp", "one:/nonexistent", t.path("x")), 125, "nonexistent")
        expect(msb("cp", t.path("nonexistent"), "one:/root"), 125, "nonexistent")
        expect(msb("cp", source, "one:/nonexistent/x"), 125, "/nonexistent")
        expect(msb("cp", "-", "one:/root", stdin=b"no archive" * 100), 125, "archive")
        expect(msb("cp", source, t.path("x")), 125, "NAME:PATH")
        expect(msb("cp", "one:/a", "one:/b"), 125, "this machine")
        expect(msb("cp", "none:/a", "."), 125, '"none"')


@test
@only("uml")
def ports(t):
    with Sandboxes(t) as msb:
        msb.up("one", "-p", "0:80", "-p", "127.0.0.1:0:53/udp")
        lines = msb.output("port", "one").splitlines()
        assert re.fullmatch(r"80/tcp -> 127\.0\.0\.1:[1-9]\d*", lines[0]), lines
        assert re.fullmatch(r"53/udp -> 127\.0\.0\.1:[1-9]\d*", lines[1]), lines
        where = msb.output("port", "one", "80").strip()
        equal(lines[0], f"80/tcp -> {where}")
        assert f"{where}->80/tcp" in msb.output("ps", "--no-trunc"), msb.output("ps")
        expect(msb("port", "one", "81"), 125, '"81"')
        expect(msb("port", "one", "80/udp"), 125, '"80/udp"')
        expect(msb("port", "one", "http"), 125, '"http"')


@test
def statistics(t):
    with Sandboxes(t) as msb:
        msb.up("one")
        msb.up("two")
        msb.output("exec", "one", "sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
        one = json.loads(msb.output("stats", "--once", "--json", "one"))[0]
        equal((one["name"], one["error"], one["memory_limit"], one["num_vcpus"]), ("one", None, 96 << 20, 1))
        assert one["cpu_ns"] > 0 and one["uptime_ns"] > 0 and one["num_processes"] >= 1, one
        assert 0 < one["memory_used"] < one["memory_total"] <= one["memory_limit"], one
        assert 1 << 20 < one["memory_held"] < 1 << 30, one
        table = msb.output("stats", "--no-stream").splitlines()
        assert table[0].startswith("NAME "), table
        equal(sorted(line.split()[0] for line in table[1:]), ["one", "two"])
        # Again and again.
        with running(msb.start("stats", "one", "--json")) as process:
            equal(process.wait(10), 125)
        with running(msb.start("stats", "--json", "one")) as process:
            seen = 0
            while seen < 2:
                seen += b'"name"' in process.stdout.readline()


@test
@only("uml")
def sandboxes_are_completed(t):
    completion = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../completions/msb")

    def complete(*words):
        script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _msb; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "--norc", "-c", script, completion, *words], env=msb.env, capture_output=True, timeout=20, check=True)
        return set(done.stdout.decode().split())

    with Sandboxes(t) as msb:
        msb.up("alpha")
        msb.up("beta", "true")
        msb.output("wait", "beta")
        equal(complete(t.msb, "exec", ""), {"alpha"})
        equal(complete(t.msb, "exec", "-e", "A=1", "-t", "a"), {"alpha"})
        equal(complete(t.msb, "exec", "alpha", ""), set())
        equal(complete(t.msb, "rm", "-f", ""), {"alpha", "beta"})
        equal(complete(t.msb, "rm", "alpha", "b"), {"beta"})
        equal(complete(t.msb, "cp", "al"), {"alpha:"})
        equal(complete(t.msb, "run", ""), set())


# ---- What is killed ----------------------------------------------------------------------------------------------------------------


def processes_of(monitor):
    return {monitor: "msb-monitor", **children(monitor)}


def one_of(processes, name):
    return sorted(pid for pid, command in processes.items() if name in command)[0]


@test
def each_of_its_processes_is_killed(t):
    """Whichever dies, the rest goes with it, ps tells the truth at once, and the name can be had again."""
    engine = {"qemu": "qemu", "uml": "linux", "kvm": "msb-kvm"}[t.engine]
    with Sandboxes(t) as msb:
        for number, name in enumerate(["msb-monitor", engine, "fs", "vsock"]):
            sandbox = f"one{number}"
            msb.up(sandbox, "sleep", "1000")
            processes = processes_of(msb.monitor(sandbox))
            with running(msb.start("exec", sandbox, "sh", "-c", "echo up; sleep 1000")) as process:
                equal(process.stdout.readline(), b"up\n")
                os.kill(one_of(processes, name), signal.SIGKILL)
                equal(wait_gone(processes, 5), [])
                equal(process.wait(5), 125)
            equal(msb.names(), [])
            info = msb.info(sandbox)
            equal((info["state"], info["exit_status"]), ("failed", 125))
            assert info["error"] and re.search(r"(?m)^%s .* Failed \(125\)" % sandbox, msb.output("ps", "-a")), info
            equal(msb.output("wait", sandbox), "125\n")
            equal(msb.output("rm", sandbox), sandbox + "\n")
        # One that was not to be kept is gone once somebody has seen how it ended.
        msb.up("brief", "--rm", "sleep", "1000")
        processes = processes_of(msb.monitor("brief"))
        os.kill(one_of(processes, "msb-monitor"), signal.SIGKILL)
        equal(wait_gone(processes, 5), [])
        assert re.search(r"(?m)^brief .* Failed \(125\)", msb.output("ps", "-a"))
        equal(msb.names(all_of_them=True), [])
        equal(msb.left_behind(), [])
        # The workload's end is the sandbox's.
        msb.up("work", "sh", "-c", "echo $$; exec sleep 1000")
        with running(msb.start("logs", "-f", "work")) as follower:
            pid = follower.stdout.readline().decode().strip()
        msb("exec", "work", "kill", "-9", pid)
        equal(msb.output("wait", "work"), "137\n")
        # Everything in the guest but PID 1.
        msb.up("all")
        msb("exec", "all", "kill", "-9", "-1")
        equal(msb.output("exec", "all", "echo", "fine"), "fine\n")


@test
@only("uml")
def killed_while_it_starts_and_while_it_stops(t):
    with Sandboxes(t) as msb:
        for delay in 0, 0.02, 0.05, 0.1, 0.2:
            with running(msb.start("run", "-d", "--name", "one", "--engine", t.engine, "--rootfs", "host", "-m", "96m")) as process:
                time.sleep(delay)
                processes = children(process.pid)
                for pid, command in processes.items():
                    if "msb-monitor" in command:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                status = process.wait(20)
                equal(wait_gone(processes, 5), [])
            if status == 0:  # it was up already
                msb("rm", "-f", "one")
            equal(msb.names(all_of_them=True), [])
            equal(msb.left_behind(), [])
        # Its caller is killed before it is up: it is nobody's.
        for delay in 0, 0.03, 0.1:
            with running(msb.start("run", "-d", "--name", "one", "--engine", t.engine, "--rootfs", "host", "-m", "96m")) as process:
                time.sleep(delay)
                processes = children(process.pid)
                process.kill()
                process.wait()
            equal(wait_gone(processes, 5), [])
            if msb.names(all_of_them=True):
                msb("rm", "-f", "one")
            # Its monitor may have begun only then; it finds its caller gone.
            end = time.monotonic() + 5
            while msb.left_behind() and time.monotonic() < end:
                time.sleep(0.05)
            equal(msb.left_behind(), [])
        for delay in 0, 0.02, 0.1:
            msb.up("one", "sh", "-c", "trap 'sleep 0.1; exit 0' TERM; while :; do sleep 0.1; done")
            processes = processes_of(msb.monitor("one"))
            with running(msb.start("stop", "one")) as process:
                time.sleep(delay)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one_of(processes, "msb-monitor"), signal.SIGKILL)
                assert process.wait(20) in (0, 125)  # its answer may have been on the way
            equal(wait_gone(processes, 5), [])
            equal(msb.names(), [])
            msb.output("rm", "one")


@test
@only("uml")
def its_engine_and_devices_are_killed_while_it_starts_and_stops(t):
    names = ["linux", "fs", "vsock", "platform"]
    failed = 0
    with Sandboxes(t) as msb:
        for name in names:
            for delay in 0, 0.05:
                with running(msb.start("run", "-d", "--name", "one", "--engine", t.engine, "--rootfs", "host", "-m", "96m")) as process:
                    processes = {}
                    while process.poll() is None and not any(name in command for command in list(processes.values())[1:]):
                        with contextlib.suppress(AssertionError, FileNotFoundError, ProcessLookupError):
                            processes = processes_of(msb.monitor("one"))
                    time.sleep(delay)
                    with contextlib.suppress(ProcessLookupError, IndexError):
                        os.kill(one_of(processes, name), signal.SIGKILL)
                    status = process.wait(20)
                    assert status in (0, 125), status
                failed += status == 125
                if status == 0:  # it was up already
                    msb("rm", "-f", "one")
                equal(wait_gone(processes, 5), [])
                equal(msb.names(all_of_them=True), [])
                equal(msb.left_behind(), [])
        assert failed, "none was killed while it started"
        for name in names:
            msb.up("one", "sh", "-c", "trap 'sleep 0.1; exit 0' TERM; while :; do sleep 0.1; done")
            processes = processes_of(msb.monitor("one"))
            with running(msb.start("stop", "one")) as process:
                time.sleep(0.05)
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(one_of(processes, name), signal.SIGKILL)
                process.wait(20)
            equal(wait_gone(processes, 5), [])
            equal(msb.names(), [])
            assert msb.info("one")["state"] in ("exited", "failed")
            msb.output("rm", "one")
            equal(msb.left_behind(), [])


@test
def many_at_once(t):
    """Started, listed, used and stopped in parallel: each command sees whole states only."""
    count = 50 if LONG else 12
    failures = []

    def in_parallel(action):
        def guarded(number):
            try:
                action(f"box{number}", number)
            except Exception as error:  # pylint: disable=broad-except
                failures.append(repr(error))

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(failures, [])

    def up(name, number):
        expect(msb("run", "-d", "--name", name, "--engine", t.engine, "--rootfs", "host", "-m", "64m", "-e", f"N={number}", timeout=600), 0)
        known = {info["name"]: info["state"] for info in json.loads(msb.output("ps", "--json"))}
        equal(known[name], "running")

    def use(name, number):
        equal(msb.output("exec", name, "sh", "-c", "echo $N"), f"{number}\n")

    def stop(name, number):
        equal(msb.output("stop", name, timeout=600), name + "\n")
        equal(msb.info(name)["state"], "exited")
        if number % 2:
            msb.output("rm", name)

    with Sandboxes(t) as msb:
        in_parallel(up)
        equal(set(msb.names()), {f"box{number}" for number in range(count)})
        in_parallel(use)
        in_parallel(stop)
        equal(msb.names(), [])
        equal(set(msb.names(all_of_them=True)), {f"box{number}" for number in range(0, count, 2)})


@test
@only("uml")
def two_for_one_name(t):
    """Of several that want a name at the same time one gets it."""
    with Sandboxes(t) as msb:
        processes = [msb.start("run", "-d", "--name", "one", "--engine", t.engine, "--rootfs", "host", "-m", "64m") for _ in range(4)]
        done = [(process.communicate(timeout=120), process.returncode) for process in processes]
        equal(sorted(status for _, status in done), [0, 125, 125, 125])
        for (out, err), status in done:
            assert (out, err) == (b"one\n", b"") if status == 0 else b'"one"' in err, (out, err)
        equal(msb.names(), ["one"])
        equal(msb.output("exec", "one", "echo", "fine"), "fine\n")


@test
@only("uml")
def another_user_is_refused(t):
    """Even where the directories would let one in, the socket does not."""
    need_root()
    with Sandboxes(t) as msb:
        msb.up("one")
        directory = os.path.join(msb.runtime, "microsandbox/one")
        control = os.path.join(directory, "control")
        for path in msb.runtime, os.path.dirname(directory), directory:
            equal(os.stat(path).st_mode & 0o77, 0)
            os.chmod(path, 0o755)
        os.chmod(control, 0o777)
        try:
            talk = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(10)\n"
                    "try: sys.exit(len(s.recv(1)))\nexcept ConnectionError: sys.exit(0)\n")
            done = subprocess.run(["python3", "-c", talk, control], user=65534, group=65534, extra_groups=[], capture_output=True, timeout=20,
                                  check=False)
            equal((done.returncode, done.stderr), (0, b""))
            # Whoever may, is not hung up on.
            with socket.socket(socket.AF_UNIX) as allowed:
                allowed.connect(control)
                allowed.settimeout(0.3)
                try:
                    allowed.recv(1)
                    raise AssertionError("the user is refused too")
                except TimeoutError:
                    pass
        finally:
            for path in msb.runtime, os.path.dirname(directory), directory:
                os.chmod(path, 0o700)
        equal(msb.output("exec", "one", "echo", "fine"), "fine\n")
