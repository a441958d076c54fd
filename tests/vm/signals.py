# SPDX-License-Identifier: Apache-2.0
"""Signals to msb reach the workload; a workload that does not end is ended."""
import signal
import time

from harness import children, equal, test, wait_gone

TRAPS = "for s in INT TERM HUP QUIT USR1 USR2; do trap \"echo $s\" $s; done; echo up; while :; do read -r line && exit $line; done"


@test
def signals_are_passed_on(t):
    script = "import signal, sys\n" \
             "names = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']\n" \
             "signal.pthread_sigmask(signal.SIG_BLOCK, [getattr(signal, n) for n in names])\n" \
             "print('up', flush=True)\n" \
             "for _ in names: print(signal.sigwait([getattr(signal, n) for n in names]).name, flush=True)\n" \
             "sys.exit(9)\n"
    with t.running("--rootfs", "host", "python3", "-c", script) as process:
        for name in "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2":
            process.send_signal(getattr(signal, name))
            equal(process.stdout.readline().decode().strip(), name)
        equal(process.wait(30), 9)


@test
def a_signal_ends_the_workload(t):
    with t.running("--rootfs", "host", "sh", "-c", "echo up; exec sleep 1000") as process:
        process.send_signal(signal.SIGTERM)
        equal(process.wait(30), 128 + 15)


@test
def a_signal_before_the_guest_is_up(t):
    process = t.start("--rootfs", "host", "sleep", "1000")
    t.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    equal(process.wait(5), 128 + 15)
    for stream in process.stdin, process.stdout, process.stderr:
        stream.close()


@test
def a_third_interrupt_ends_the_vm(t):
    with t.running("--rootfs", "host", "sh", "-c", "trap '' INT; echo up; sleep 1000; sleep 1000") as process:
        all_of_them = children(process.pid)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        equal(process.poll(), None)
        process.send_signal(signal.SIGINT)
        equal(process.wait(5), 128 + 9)
        equal(wait_gone(all_of_them, 1), [])


@test
def a_second_sigterm_after_ten_seconds_ends_the_vm(t):
    with t.running("--rootfs", "host", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done") as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        time.sleep(9.5)
        equal(process.poll(), None)
        process.send_signal(signal.SIGTERM)
        equal(process.wait(5), 128 + 9)


@test
def a_group_s_signal_reaches_the_workload_once(t):
    """Ctrl-C without a terminal in the guest: the terminal signals the whole group, and our processes leave it to msb."""
    import os
    import subprocess

    script = "trap 'echo INT' INT; echo up; for i in 1 2 3 4 5 6 7 8; do sleep 0.5; done; exit 3"
    process = subprocess.Popen(t.command("--rootfs", "host", "sh", "-c", script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    equal(process.stdout.read(3), b"up\n")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    equal((process.returncode, out, err), (3, b"INT\n", b""))
