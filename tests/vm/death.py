# SPDX-License-Identifier: Apache-2.0
"""kill -9 of each process of a VM in turn, and of its caller: nothing is left, and the one that died is named."""
import contextlib
import glob
import os
import signal
import threading

from harness import children, equal, expect, kill, test, wait_gone

SLEEP = ["sh", "-c", "echo up; sleep 1000"]


def own(t):
    """An environment with a runtime directory of the test's own: others run sandboxes at the same time."""
    os.makedirs(t.path("runtime"), mode=0o700, exist_ok=True)
    return dict(os.environ, XDG_RUNTIME_DIR=t.path("runtime"))


def up(t):
    os.makedirs(t.path("share"), exist_ok=True)
    return t.running("--rootfs", "host", "-v", f"{t.path('share')}:/data", *SLEEP, env=own(t))


def one_of(processes, name, index=0):
    return sorted(pid for pid, command in processes.items() if name in command)[index]


def left_behind(t):
    """What a VM could leave: our own temporary files, and mounts that show in our namespace."""
    files = glob.glob("/dev/shm/*msb*") + glob.glob(f"{t.path('runtime')}/microsandbox/*/*")
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = [line for line in file if "virtiofs" in line or t.dir in line]
    return files + mounts


def dies(t, name, index, message):
    with up(t) as process:
        all_of_them = children(process.pid)
        # The monitor, the engine, two fs devices and the vsock device.
        assert len(all_of_them) >= 5, all_of_them
        kill(one_of(all_of_them, name, index))
        equal(wait_gone(all_of_them, 2), [])
        equal(process.wait(2), 125)
        said = process.stderr.read().decode()
        assert message in said and said.count("\n") == 1, said
        equal(left_behind(t), [])


@test
def the_engine_is_killed(t):
    killed = "the engine was killed by signal 9"
    name, message = {
        "qemu": ("qemu", killed),
        "kvm": ("msb-kvm", killed),
        # The one that waits for it says so by its status.
        "uml": ("linux", "the engine ended unexpectedly, with status 137"),
    }[t.engine]
    dies(t, name, 0, message)


@test
def the_root_s_device_is_killed(t):
    dies(t, "fs", 0, "the root's fs device was killed by signal 9")


@test
def the_shares_device_is_killed(t):
    dies(t, "fs", 1, "the shares' fs device was killed by signal 9")


@test
def the_vsock_device_is_killed(t):
    dies(t, "vsock", 0, "the vsock device was killed by signal 9")


@test
def the_monitor_is_killed(t):
    dies(t, "msb-monitor", 0, "monitor was killed by signal 9")


@test
def what_is_stopped_dies_with_the_monitor(t):
    """None of them can see by itself that the monitor is gone."""
    with up(t) as process:
        all_of_them = children(process.pid)
        monitor = one_of(all_of_them, "msb-monitor")
        below = children(monitor)
        try:
            for pid in below:
                kill(pid, signal.SIGSTOP)
            kill(monitor)
            equal(wait_gone(all_of_them, 2), [])
            equal(process.wait(2), 125)
            equal(left_behind(t), [])
        finally:
            for pid in below:
                with contextlib.suppress(ProcessLookupError):
                    kill(pid)


@test
def the_caller_is_killed(t):
    with up(t) as process:
        all_of_them = children(process.pid)
        process.kill()
        process.wait()
        equal(wait_gone(all_of_them, 2), [])
        equal(left_behind(t), [])


@test
def the_caller_is_killed_while_the_guest_boots(t):
    for delay in 0.02, 0.1, 0.5:
        process = t.start("--rootfs", "host", *SLEEP, env=own(t))
        all_of_them = {}
        timer = threading.Event()
        timer.wait(delay)
        all_of_them.update(children(process.pid))
        process.kill()
        process.wait()
        equal(wait_gone(all_of_them, 2), [])
        for stream in process.stdin, process.stdout, process.stderr:
            stream.close()


@test
def the_guest_s_first_process_is_killed(t):
    # kill(2) with -1: everything but PID 1 and the caller.
    done = t.host("sh", "-c", "setsid sh -c 'kill -9 -1' & sleep 60")
    expect(done, 128 + 9)


@test
def a_stopped_device_does_not_keep_the_end(t):
    with up(t) as process:
        all_of_them = children(process.pid)
        kill(one_of(all_of_them, "vsock"), signal.SIGSTOP)
        process.kill()
        process.wait()
        equal(wait_gone(all_of_them, 2), [])


@test
def one_after_another(t):
    """Leaves no process, descriptor or file; with MSB_TEST_LONG two hundred times."""
    before = set(os.listdir("/dev/shm"))
    for _ in range(200 if os.environ.get("MSB_TEST_LONG") else 5):
        expect(t.host("true", env=own(t)), 0)
    equal(set(os.listdir("/dev/shm")) - before, set())
    equal(left_behind(t), [])


@test
def eight_at_once(t):
    def one(i):
        results[i] = t.host("-m", "256m", "sh", "-c", f"cat; exit {i}", stdin=b"x" * 1000000, timeout=300)

    results = [None] * 8
    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, done in enumerate(results):
        expect(done, i)
        equal(len(done.stdout), 1000000)
