# SPDX-License-Identifier: Apache-2.0
"""Each guest kernel with processors and memory of several sizes, and what a sandbox costs the host."""
import hashlib
import os
import random
import re
import shutil
import subprocess

from harness import equal, expect, has_huge_pages, memory_of, need_root, on_host, only, skip, test

# vCPUs and MiB: each of 1, 2 and 4, with little memory and with more than fits below the hole at 3 GiB.
MACHINES = [(1, 128), (1, 4096), (2, 512), (4, 128), (4, 4096)]

SHOW = "nproc; grep MemTotal /proc/meminfo; grep -c ^processor /proc/cpuinfo; cat /data/in; cat >/data/out; sha256sum </data/out"


def machine_test(kernel, cpus, memory):
    def run(t):
        path = t.kernel(kernel)
        if t.engine == "uml":
            skip("it has a kernel of its own")
        if not path:
            skip(f"no {kernel} kernel in this build")
        os.mkdir(t.path("share"))
        with open(t.path("share/in"), "w", encoding="ascii") as file:
            file.write("from the host\n")
        data = random.randbytes(1 << 20)
        lines = t.output("--kernel", path, "--cpus", str(cpus), "-m", f"{memory}m", "-v", f"{t.path('share')}:/data", "sh", "-c", SHOW,
                         stdin=data).decode().splitlines()
        equal(lines[0], str(cpus))
        kib = int(lines[1].split()[1])
        # What the kernel takes for itself is not in it: its own image, and a 64th for the table of pages.
        assert (memory - memory // 32 - 64) << 10 < kib <= memory << 10, lines[1]
        equal(lines[2], str(cpus))
        equal(lines[3], "from the host")
        equal(lines[4].split()[0], hashlib.sha256(data).hexdigest())
        with open(t.path("share/out"), "rb") as file:
            assert file.read() == data

    run.__name__ = f"{kernel}_kernel_with_{cpus}_processors_and_{memory}_mebibytes"
    test(run)


for name in "lean", "cloud":
    for machine in MACHINES:
        machine_test(name, *machine)


@test
def the_least_memory(t):
    expect(t.host("-m", "32m", "true"), 0)
    expect(t.host("-m", "31m", "true"), 125, "memory_mib 31 is too little for a guest; the least is 32")


@test
@only("uml")
def the_most_memory(t):
    expect(t.host("-m", "401g", "true"), 125, "memory_mib 410624: the uml engine's guests have at most 409600")


# Pages that the guest maps one by one, each far from the one before it; what was written is there afterwards.
SCATTERED = """
import mmap
count = 70001
memory = mmap.mmap(-1, count * 4096)
for again in False, True:
    for i in range(count):
        page = (i * 40503 + 7) % count
        if not again:
            memory[page * 4096:page * 4096 + 4] = page.to_bytes(4, "little")
        elif int.from_bytes(memory[page * 4096:page * 4096 + 4], "little") != page:
            raise SystemExit(f"page {page} has lost what was written")
print("all there")
"""


@test
@only("uml")
def more_mappings_than_the_host_lets_a_process_have(t):
    if not shutil.which("python3", path="/usr/bin"):
        skip("no python3 here")
    equal(t.output("-m", "512m", "/usr/bin/python3", "-c", SCATTERED), b"all there\n")


# Of every mapping some pages are read first, some are written at once, and the file ends within it.
PRIVATE = """
import mmap, os
for pages in 8, 40, 300, 1500:
    size = pages * 4096 - 100
    with open('/tmp/file', 'wb+') as file:
        file.write(b'%4096d' % 7 * pages)
        file.truncate(size)
        file.flush()
        data = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
        [data[i] for i in range(0, size, 3 * 4096)]
        written = list(range(1, pages, 5))
        for i in written[: len(written) // 2]:
            data[i * 4096] = 65
        child = os.fork()
        for i in written[len(written) // 2 :]:
            data[i * 4096] = 65 + (child == 0)
        ours = b''.join((b'B' if i in written[len(written) // 2 :] and child == 0 else b'A' if i in written else b' ') + b' ' * 4094 + b'7'
                        for i in range(pages))[:size]
        assert data[:] == ours, (pages, child)
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        file.seek(0)
        assert file.read() == (b'%4096d' % 7 * pages)[:size], pages
print('each its own')
"""


# Each child takes most of the memory there is, and leaves it written to.
NEW = """
import mmap, os
size = 64 << 20
for i in range(4):
    if os.fork() == 0:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for at in range(0, size, 1 << 20):
            if memory[at:at + (1 << 20)].strip(b"\\0"):
                os._exit(2)
            memory[at:at + (1 << 20)] = b"\\xa5" * (1 << 20)
        os._exit(0)
    if os.wait()[1]:
        raise SystemExit("something lay in new memory")
print("zero")
"""


@test
def new_memory_is_zero(t):
    if not shutil.which("python3", path="/usr/bin"):
        skip("no python3 here")
    equal(t.output("-m", "128m", "/usr/bin/python3", "-c", NEW), b"zero\n")


@test
def what_is_written_to_a_private_mapping_of_a_file(t):
    """It stays the writer's, whatever else comes with a fault."""
    if not shutil.which("python3", path="/usr/bin"):
        skip("no python3 here")
    equal(t.output("/usr/bin/python3", "-c", PRIVATE), b"each its own\n")


@test
def programs_that_look_at_the_machine(t):
    if not shutil.which("vmstat"):
        skip("no procps here")
    said = t.host("sh", "-ec", "ps -o start= $$; vmstat; top -bn1; free; uptime; cat /proc/cpuinfo")
    expect(said, 0)
    assert re.match(rb" *\d\d:\d\d:\d\d\n", said.stdout), said.stdout
    # User-mode Linux would name the host here.
    assert b"\nhost" not in said.stdout, said.stdout


@test
def the_image_of_a_file_system_can_be_mounted(t):
    if not shutil.which("mkfs.ext4"):
        skip("no mkfs.ext4 here")
    equal(t.output("sh", "-ec", "cd /tmp; truncate -s 8M image; mkfs.ext4 -q image; mkdir at; mount -o loop image at; "
                   "echo kept >at/file; umount at; mount -o loop,ro image at; cat at/file"), b"kept\n")


@test
@only("kvm")
def many_processors(t):
    """QEMU's emulation would take a thread of the host's for each."""
    equal(t.output("--cpus", "32", "nproc"), b"32\n")


@test
def an_idle_sandbox_costs_little_memory(t):
    """All processes of ours, from msb to the last device, beside the guest's memory: at most 5 MiB; with uml 12, since there the
    guest's kernel itself lies beside its memory."""
    need_root()
    if t.engine == "qemu":
        skip("QEMU alone takes more")
    with t.running("--rootfs", "host", "-m", "128m", "--scope", "none", "sh", "-c", "echo up; exec sleep 1000") as process:
        ours, guest = memory_of(process.pid)
        assert guest > 4 << 10, guest
        assert len(ours) >= 5, ours
        assert sum(kib for _, kib in ours) <= (12 if t.engine == "uml" else 5) << 10, ours


@test
def guest_memory_has_huge_pages_where_they_are_quicker(t):
    """Not on a host that reports its own free pages; with kvm on any, since there a small page costs the guest more."""
    if not os.path.exists("/sys/kernel/mm/transparent_hugepage"):
        skip("this machine's kernel has no huge pages")
    for reports in False, True:
        command = [*on_host(t, reports), *t.command("--rootfs", "host", "-m", "256m", "sh", "-c", "echo up; cat; echo ended")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            equal(process.stdout.read(3), b"up\n")
            huge = has_huge_pages(process.pid)
            equal(process.communicate()[0], b"ended\n")
        equal(process.returncode, 0)
        equal(huge, t.engine == "kvm" or not reports)


@test
def the_guest_s_free_memory_goes_back(t):
    """Free page reporting: what the guest freed, the host has again."""
    need_root()
    script = "import sys; x = bytearray(200 << 20); x = None; print('up', flush=True); sys.stdin.readline()"
    with t.running("--rootfs", "host", "-m", "512m", "python3", "-c", script) as process:
        # The kernel reports pages that stay free, every two seconds.
        for _ in range(100):
            _, guest = memory_of(process.pid)
            if guest < 180 << 10:
                break
            t.sleep(0.2)
        assert guest < 180 << 10, guest
        expect_end(process)


def expect_end(process):
    process.stdin.write(b"\n")
    process.stdin.close()
    equal(process.wait(30), 0)


@test
@only("qemu")
def the_lean_kernel_starts_without_acpi(t):
    """Its record says that it can. One of which nothing is known is given ACPI, as any PC does."""
    path = t.kernel("lean")
    if not path:
        skip("no lean kernel in this build")
    script = "cat /proc/cmdline; ls /sys/firmware"
    assert b" acpi=off " in t.output("--kernel", path, "sh", "-c", script)
    shutil.copy(path, t.path("vmlinux"))
    output = t.output("--kernel", t.path("vmlinux"), "sh", "-c", script)
    assert b" acpi=off" not in output and b"\nacpi\n" in output, output


@test
@only("kvm")
def a_kernel_that_is_cut_off(t):
    """QEMU finds out by itself, or not."""
    path = t.kernel("lean") or t.kernel("cloud")
    with open(path, "rb") as file:
        head = file.read(6 << 20)
    with open(t.path("vmlinux"), "wb") as file:
        file.write(head)
    expect(t.host("--kernel", t.path("vmlinux"), "true"), 125, "is truncated")


@test
@only("qemu")
def a_nested_guest_has_a_working_kvm(t):
    """The others refuse it: tests/config."""
    script = "import fcntl, os; kvm = os.open('/dev/kvm', os.O_RDWR); vm = fcntl.ioctl(kvm, 0xae01, 0); " \
             "print(fcntl.ioctl(kvm, 0xae00), fcntl.ioctl(vm, 0xae41, 0) > vm)"
    equal(t.output("--nested", "python3", "-c", script), b"12 True\n")
    done = t.host("python3", "-c", script)
    assert done.returncode == 1 and b"/dev/kvm" in done.stderr, done
