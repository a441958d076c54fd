# SPDX-License-Identifier: Apache-2.0
"""Exit statuses, and what is said when there is none."""
from harness import equal, expect, test


@test
def the_workload_s_own_status(t):
    expect(t.host("--", "python3", "-c", "import sys; sys.exit(7)"), 7)


@test
def killed_by_a_signal(t):
    expect(t.host("sh", "-c", "kill -9 $$"), 128 + 9)


@test
def aborted(t):
    expect(t.host("sh", "-c", "kill -ABRT $$"), 128 + 6)


@test
def not_found(t):
    expect(t.host("/nonexistent"), 127, "/nonexistent")
    done = t.host("no-such-command")
    expect(done, 127, "no-such-command")


@test
def cannot_be_executed(t):
    expect(t.host("/etc"), 126, "/etc")
    expect(t.host("/etc/passwd"), 126, "/etc/passwd")


@test
def missing_workdir(t):
    expect(t.host("-w", "/no/such/directory", "true"), 125, "/no/such/directory")


@test
def missing_kernel_is_refused(t):
    expect(t.host("--kernel", t.path("missing"), "true"), 125, "missing")


@test
def a_file_that_is_no_kernel(t):
    with open(t.path("kernel"), "w", encoding="ascii") as file:
        file.write("no kernel")
    done = t.host("--kernel", t.path("kernel"), "true")
    expect(done, 125)
    assert done.stderr.count(b"\n") == 1, done.stderr


# Root of the guest overwrites PID 1's code, which PID 1 finds when it next wakes.
BREAK_INIT = """
maps = [line.split() for line in open("/proc/1/maps")]
first, end = next(line[0] for line in maps if "x" in line[1]).split("-")
with open("/proc/1/mem", "r+b", 0) as memory:
    memory.seek(int(first, 16))
    memory.write(bytes(int(end, 16) - int(first, 16)))
"""


@test
def a_kernel_panic(t):
    done = t.host("python3", "-c", BREAK_INIT)
    expect(done, 125, "Kernel panic")
    assert b"Attempted to kill init" in done.stderr, done.stderr


RESTART, POWER_OFF, HALT = 0x1234567, 0x4321fedc, 0xcdef0123  # reboot(2)


@test
def a_guest_that_resets_powers_off_or_halts(t):
    for command in RESTART, POWER_OFF, HALT:
        done = t.host("python3", "-c", f"import ctypes; ctypes.CDLL(None).reboot({command:#x})")
        expect(done, 125, "the guest ended before its workload did")


@test
def a_small_memory_is_reported(t):
    done = t.host("--log-level", "warn", "-m", "256m", "python3", "-c", "x = bytearray(1 << 30)")
    # Python may get an error in place of the out-of-memory killer.
    assert done.returncode in (1, 137), done
    if done.returncode == 137:
        assert b"ran out of memory" in done.stderr, done.stderr


@test
def kernel_log_is_marked(t):
    done = t.host("--log-level", "debug", "true")
    expect(done, 0, "kernel: ")
    for line in done.stderr.decode().splitlines():
        assert line.startswith(("kernel: ", "msb[", "qemu-system")), line
    quiet = t.host("true")
    equal(quiet.stderr, b"")
