# SPDX-License-Identifier: Apache-2.0
"""What the VM tests share: running msb, a root file system, looking at processes, and the tests' registry.

A test is a function with the decorator @test. It fails by an exception, and is skipped by that of skip(). Tests run two at a time, each in
a directory of its own (self.dir), which is removed afterwards; what they start they wait for.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time

tests = []

# How many times slower than usual this machine is: inside an emulated one, all time limits are too short.
SLOW = float(os.environ.get("MSB_TEST_SLOW", "1"))


class Skipped(Exception):
    """A test that cannot be done here, or takes too long to be done always: neither passed nor failed."""


def skip(reason):
    raise Skipped(reason)


def need_long():
    """What takes minutes is asked for."""
    if not os.environ.get("MSB_TEST_LONG"):
        skip("takes minutes: MSB_TEST_LONG")


def need_root():
    if os.geteuid() != 0:
        skip("only root can")


def test(function):
    tests.append(function)
    return function


def only(engine):
    """A test of what one engine alone has."""
    def mark(function):
        function.engine = engine
        return function

    return mark


class Process(subprocess.Popen):
    """A process whose time limits are stretched on a slow machine."""

    def wait(self, timeout=None):
        return super().wait(timeout and timeout * SLOW)

    def communicate(self, input=None, timeout=None):  # pylint: disable=redefined-builtin
        return super().communicate(input, timeout and timeout * SLOW)


subprocess.Popen = Process


class Context:
    """One test's surroundings."""

    def __init__(self, build, engine, directory):
        self.build = build
        self.engine = engine
        self.dir = directory
        self.msb = os.path.join(build, "msb")

    def command(self, *arguments):
        return [self.msb, "run", "--engine", self.engine, *arguments]

    def run(self, *arguments, timeout=120, stdin=b"", **options):
        """Runs msb to its end; returns the CompletedProcess with bytes."""
        if isinstance(stdin, bytes):
            options["input"] = stdin
        else:
            options["stdin"] = stdin
        return subprocess.run(self.command(*arguments), capture_output=True, timeout=timeout, check=False, **options)

    def host(self, *arguments, **options):
        """The same with this machine's own files as the root."""
        return self.run("--rootfs", "host", *arguments, **options)

    def output(self, *arguments, **options):
        """Standard output of a run that has to go well."""
        done = self.host(*arguments, **options)
        assert done.returncode == 0, f"status {done.returncode}: {done.stderr!r}"
        return done.stdout

    def start(self, *arguments, **options):
        """Starts msb; by default with pipes for the three streams."""
        for stream in "stdin", "stdout", "stderr":
            options.setdefault(stream, subprocess.PIPE)
        return subprocess.Popen(self.command(*arguments), **options)

    @contextlib.contextmanager
    def running(self, *arguments, until=b"up\n", **options):
        """A started msb whose workload has said `until`; killed in the end."""
        process = self.start(*arguments, **options)
        try:
            said = process.stdout.read(len(until))
            if said != until:
                raise AssertionError(f"said {said!r}: {process.stderr.read()!r}")
            yield process
        finally:
            process.kill()
            process.wait()
            for stream in process.stdin, process.stdout, process.stderr:
                if stream:
                    stream.close()

    def kernel(self, name):
        """The file of a guest kernel of that name, or None when there is none."""
        for file in "vmlinux", "vmlinuz":
            path = os.path.join(self.build, "kernel", name, file)
            if os.path.exists(path):
                return path
        return None

    @contextlib.contextmanager
    def in_memory(self, files, size):
        """The same surroundings for very many files, with a directory in memory if they fit: a disk has to write what is removed soon."""
        place = "/dev/shm"
        fits = False
        with contextlib.suppress(FileNotFoundError):
            free = os.statvfs(place)
            fits = free.f_favail > 2 * files and free.f_bavail * free.f_frsize > 2 * size and os.access(place, os.W_OK)
        with directory(place if fits else None) as path:
            yield Context(self.build, self.engine, path)

    def sleep(self, seconds):
        time.sleep(seconds * SLOW)

    def path(self, name):
        return os.path.join(self.dir, name)

    def make_root(self):
        """A native root file system of busybox alone."""
        root = self.path("root")
        for directory in "bin", "proc", "sys", "dev", "tmp", "etc", "root":
            os.makedirs(os.path.join(root, directory))
        shutil.copy("/bin/busybox", os.path.join(root, "bin/busybox"))
        for name in "sh", "cat", "echo", "true", "false", "ls", "id", "sleep", "sync", "stat", "touch", "ln", "rm", "mkdir", "env":
            os.symlink("busybox", os.path.join(root, "bin", name))
        return root


def expect(done, status, stderr=None):
    """The status and, where given, a part of the standard error."""
    assert done.returncode == status, f"status {done.returncode}, not {status}: {done.stderr!r}, {done.stdout[-1000:]!r}"
    if stderr is not None:
        assert stderr.encode() in done.stderr, f"no {stderr!r} in {done.stderr!r}"


def equal(got, expected):
    assert got == expected, f"{got!r} is not {expected!r}"


def children(pid):
    """The pids of the processes below pid, with their command lines. One that ends meanwhile has none."""
    found = {}
    gone = FileNotFoundError, ProcessLookupError
    with contextlib.suppress(*gone):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(*gone):
                with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                    below = file.read().split()
                for child in below:
                    with contextlib.suppress(*gone):
                        with open(f"/proc/{child}/cmdline", "rb") as file:
                            found[int(child)] = file.read().split(b"\0")[0].decode()
                        found.update(children(child))
    return found


def is_alive(pid):
    """Whether the process is there, and not only its exit status."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_gone(pids, seconds):
    """Waits until none of the processes is alive; returns those that still are."""
    fds = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fds.append((pid, os.pidfd_open(pid)))
    end = time.monotonic() + seconds * SLOW
    left = []
    import select

    for pid, fd in fds:
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            left.append(pid)
        os.close(fd)
    return left


def kill(pid, number=signal.SIGKILL):
    os.kill(pid, number)


@contextlib.contextmanager
def directory(place=None):
    path = tempfile.mkdtemp(prefix="msb-test-", dir=place)
    os.chmod(path, 0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def memory_of(pid):
    """The memory of the process pid and all below it, in KiB of proportional set size: [(name, KiB)] without that of the guest, and that
    of the guest. Only for root."""
    guest = 0
    ours = []
    for process in [pid, *sorted(children(pid))]:
        with open(f"/proc/{process}/comm", encoding="utf-8") as file:
            name = file.read().strip()
        of_guest, own = count_in_smaps(process, "Pss:")
        guest += of_guest
        ours.append((name, own))
    return ours, guest


# The files that hold guest memory, as the kernel names them: with huge pages, where qemu's alone has a name, and with small ones.
GUEST_MEMORY = " /#", " /memory/guest", "memfd:guest memory", "memfd:memory-backend-memfd"


def count_in_smaps(pid, field):
    """The KiB of that field in /proc/PID/smaps: of guest memory, and of all else. Only for root."""
    guest = own = 0
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            word = line.split(maxsplit=1)[0]
            if not word.endswith(":"):
                is_guest = any(name in line for name in GUEST_MEMORY)
            elif word == field and is_guest:
                guest += int(line.split()[1])
            elif word == field:
                own += int(line.split()[1])
    return guest, own


def has_huge_pages(pid):
    """Whether guest memory is mapped with huge pages by a process below pid. Only for root."""
    return any(count_in_smaps(process, "ShmemPmdMapped:")[0] > 0 for process in children(pid))


def on_host(t, reports):
    """The beginning of a command that runs the rest on a host that reports its free pages to a hypervisor, or on one that does not: its /sys
    has one balloon, with the feature or without. Only for root."""
    need_root()
    balloon = t.path("balloon-that-reports" if reports else "balloon")
    os.makedirs(os.path.join(balloon, "drivers/virtio_balloon/virtio7"))
    with open(os.path.join(balloon, "drivers/virtio_balloon/virtio7/features"), "w", encoding="ascii") as file:
        file.write(f"01000{int(reports)}".ljust(64, "0") + "\n")
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /sys/bus/virtio && exec "$@"', balloon]
