# SPDX-License-Identifier: Apache-2.0
"""What an attacker can do with the uml engine, whose guest is processes of the host and whose wall is its cell.

attack.c is a guest's kernel under an attacker's control: it runs in the kernel's place, and each of its attempts is a test here.
hostile.c is a guest's program that looks for a way to the host beside its kernel.
"""
import functools
import os
import re
import threading

from harness import children, equal, expect, kill, on_host, only, test

HERE = os.path.dirname(os.path.abspath(__file__))
MARKER = "ESCAPED"
lock = threading.Lock()


@functools.cache
def attempts(command):
    """What became of each attempt; all are made in one run."""
    import subprocess

    done = subprocess.run(command, capture_output=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
    expect(done, 125)
    lines = [line.removeprefix("kernel: ") for line in done.stderr.decode().splitlines() if line.startswith("kernel: ")]
    return dict(line.rsplit(": ", 1) for line in lines if ": " in line)


def results(t, *prefix):
    attack = os.path.join(t.build, "tests/vm/attack")
    with lock:
        return attempts((*prefix, *t.command("--rootfs", "host", "--log-level", "debug", "--kernel", attack, "true")))


def attempt(name):
    @only("uml")
    def function(t):
        equal(results(t)[name], "refused")

    function.__name__ = "a_kernel_cannot_" + re.sub(r"\W", "_", name)
    test(function)


with open(os.path.join(HERE, "attack.c"), encoding="utf-8") as source:
    names = re.findall(r'^    \{ "(.+)", \w+ \},$', source.read(), re.MULTILINE)
for one in names:
    attempt(one)


@test
@only("uml")
def a_kernel_has_the_descriptors_of_its_devices_and_no_others(t):
    equal(int(results(t)["attempts"]), len(names))
    # Beside the memory: standard streams, and the devices' sockets: root, vsock, entropy, balloon.
    equal(results(t)["descriptors"], "0 1 2 4 5 6 7")


@test
@only("uml")
def a_kernel_cannot_do_more_with_its_memory_in_huge_pages(t):
    small = results(t, *on_host(t, True))
    huge = results(t, *on_host(t, False))
    equal(huge, small)
    equal({huge[name] for name in names}, {"refused"})


def hostile(t, what, *options, status=0):
    """A guest's program's attempts: it comes to their end in a guest that lives, and nothing of them shows on the host."""
    programs = os.path.join(t.build, "tests/vm")
    done = t.host("--log-level", "debug", "-v", f"{programs}:/programs:ro", *options, "/programs/hostile", what)
    expect(done, status)
    equal(done.stdout, b"survived\n")
    assert MARKER not in done.stderr.decode(errors="replace"), done.stderr


@test
@only("uml")
def system_calls_stay_in_the_guest(t):
    hostile(t, "syscall")


@test
@only("uml")
def x32_system_calls_stay_in_the_guest(t):
    hostile(t, "x32")


@test
@only("uml")
def int_80_stays_in_the_guest(t):
    hostile(t, "int80")


@test
@only("uml")
def thirty_two_bit_code_stays_in_the_guest(t):
    hostile(t, "32bit")


@test
@only("uml")
def sysenter_and_vsyscall_stay_in_the_guest(t):
    hostile(t, "entries")


@test
@only("uml")
def signal_frames_made_by_hand_stay_in_the_guest(t):
    hostile(t, "sigreturn")


@test
@only("uml")
def the_stub_s_code_is_of_no_use(t):
    hostile(t, "stub-code")


@test
@only("uml")
def the_stub_s_data_are_of_no_use(t):
    hostile(t, "stub-data")


@test
@only("uml")
def nothing_can_be_mapped_over_the_stub(t):
    hostile(t, "stub-maps")


@test
@only("uml")
def nothing_of_the_kernel_s_process_is_left_in_its_programs(t):
    hostile(t, "leftovers")


@test
@only("uml")
def a_program_finds_nothing_of_the_one_before_it(t):
    hostile(t, "predecessors")


@test
def vector_registers_are_each_thread_s_own(t):
    programs = os.path.join(t.build, "tests/vm")
    equal(t.output("-v", f"{programs}:/programs:ro", "/programs/registers"), b"kept\n")


@test
@only("uml")
def programs_do_not_outlive_their_kernel(t):
    programs = os.path.join(t.build, "tests/vm")
    with t.running("--rootfs", "host", "--log-level", "debug", "-v", f"{programs}:/programs:ro", "/programs/hostile", "orphans",
                   until=b"survived\n") as process:
        kernel = min(pid for pid, name in children(process.pid).items() if name == "linux")
        kill(kernel)
        said = process.stderr.read().decode(errors="replace")
        equal(process.wait(5), 125)
        assert MARKER not in said, said
