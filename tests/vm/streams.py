# SPDX-License-Identifier: Apache-2.0
"""Standard input, output and error: byte-exact, apart, with back-pressure, to the end."""
import hashlib
import os
import subprocess
import threading
import time

from harness import equal, expect, test

SIZE = 100 << 20


@test
def a_hundred_mebibytes_come_back_the_same(t):
    block = os.urandom(1 << 20)
    sent, got = hashlib.sha256(), hashlib.sha256()
    process = t.start("--rootfs", "host", "cat")

    def feed():
        for i in range(SIZE >> 20):
            piece = block[i:] + block[:i]
            sent.update(piece)
            process.stdin.write(piece)
        process.stdin.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    total = 0
    while piece := process.stdout.read(1 << 20):
        got.update(piece)
        total += len(piece)
    feeder.join()
    equal(process.wait(60), 0)
    equal((total, got.hexdigest()), (SIZE, sent.hexdigest()))
    equal(process.stderr.read(), b"")
    process.stdout.close()
    process.stderr.close()


@test
def from_a_file_to_a_file(t):
    data = os.urandom(20 << 20)
    with open(t.path("in"), "wb") as file:
        file.write(data)
    with open(t.path("in"), "rb") as source, open(t.path("out"), "wb") as target:
        done = subprocess.run(t.command("--rootfs", "host", "cat"), stdin=source, stdout=target, stderr=subprocess.PIPE,
                              timeout=120, check=False)
    expect(done, 0)
    with open(t.path("out"), "rb") as file:
        assert file.read() == data


@test
def output_and_error_are_apart(t):
    done = t.host("sh", "-c", "echo to out; echo to err >&2; printf 'no newline'; printf 'none' >&2")
    equal((done.returncode, done.stdout, done.stderr), (0, b"to out\nno newline", b"to err\nnone"))


@test
def end_of_input(t):
    equal(t.output("wc", "-c", stdin=b"x" * 12345).strip(), b"12345")
    equal(t.output("wc", "-c", stdin=b"").strip(), b"0")


@test
def closed_standard_streams(t):
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&-', "sh", *t.command("--rootfs", "host", "sh", "-c", "cat; echo x; exit 3")],
                          stderr=subprocess.PIPE, timeout=60, check=False)
    expect(done, 3)


@test
def nobody_reads_the_output(t):
    """What the workload writes waits in the pipes; memory does not grow; and all of it comes once it is read."""
    process = t.start("--rootfs", "host", "sh", "-c", "echo up >&2; head -c 50000000 /dev/zero; echo done >&2")
    equal(process.stderr.read(3), b"up\n")
    time.sleep(2)
    with open(f"/proc/{monitor_of(process.pid)}/status", encoding="ascii") as file:
        resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    assert resident < 20 << 10, f"{resident} KiB"
    os.set_blocking(process.stderr.fileno(), False)
    equal(process.stderr.read(), None)
    os.set_blocking(process.stderr.fileno(), True)
    total = 0
    while piece := process.stdout.read(1 << 20):
        total += len(piece)
    equal(total, 50000000)
    equal((process.wait(60), process.stderr.read()), (0, b"done\n"))
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()


def monitor_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return int(file.read().split()[0])


@test
def the_reader_goes_away(t):
    """As with a pipe: the writer gets SIGPIPE."""
    done = subprocess.run(["bash", "-c", 'set -o pipefail; "$@" | head -c 5', "sh", *t.command("--rootfs", "host", "yes")],
                          capture_output=True, timeout=60, check=False)
    equal((done.returncode, done.stdout), (128 + 13, b"y\ny\ny"))


@test
def a_workload_that_does_not_read(t):
    """Input that the workload leaves unread keeps nobody."""
    with open("/dev/zero", "rb") as zero:
        done = subprocess.run(t.command("--rootfs", "host", "sh", "-c", "head -c 10 | wc -c; exit 4"), stdin=zero,
                              capture_output=True, timeout=60, check=False)
    equal((done.returncode, done.stdout.strip()), (4, b"10"))


@test
def the_workload_closes_its_input(t):
    process = t.start("--rootfs", "host", "sh", "-c", "exec <&-; echo up; sleep 2; exit 5")
    equal(process.stdout.read(3), b"up\n")
    # As a pipe does: after a while nobody takes it any more.
    try:
        for _ in range(100):
            process.stdin.write(b"x" * 65536)
            process.stdin.flush()
    except BrokenPipeError:
        pass
    equal(process.wait(60), 5)
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass
    process.stdout.close()
    process.stderr.close()


@test
def descendants_that_keep_the_output_open(t):
    begin = time.monotonic()
    done = t.host("sh", "-c", "echo first; sleep 100 & exit 6")
    equal((done.returncode, done.stdout), (6, b"first\n"))
    assert time.monotonic() - begin < 60


@test
def console_output(t):
    done = t.host("--console-output", t.path("log"), "sh", "-c", "echo out; echo err >&2")
    equal((done.returncode, done.stdout, done.stderr), (0, b"", b""))
    with open(t.path("log"), "rb") as file:
        equal(sorted(file.read().split()), [b"err", b"out"])
    # Made anew with each run.
    expect(t.host("--console-output", t.path("log"), "sh", "-c", "echo again"), 0)
    with open(t.path("log"), "rb") as file:
        equal(file.read(), b"again\n")


@test
def the_streams_keep_their_mode(t):
    """O_NONBLOCK belongs to everybody who shares the stream."""
    reading, writing = os.pipe()
    before = [os.get_blocking(reading), os.get_blocking(writing)]
    process = t.start("--rootfs", "host", "sh", "-c", "echo up; cat", stdin=reading, stdout=writing)
    equal(os.read(reading, 0), b"")
    process.kill()
    process.wait()
    process.stderr.close()
    equal([os.get_blocking(reading), os.get_blocking(writing)], before)
    os.close(reading)
    os.close(writing)
