# SPDX-License-Identifier: Apache-2.0
"""Power cuts: VMs that are killed at random moments, and what they had acknowledged by then."""
import os
import random
import shutil

import work
from harness import children, test, wait_gone

ROUNDS = 20 if os.environ.get("MSB_TEST_LONG") else 1

# Appends records to one file, and replaces another by renaming; says the number of each when fsync has returned.
WRITER = r"""
import os, sys
os.makedirs("cut", exist_ok=True)
directory = os.open("cut", os.O_RDONLY)
log = os.open("cut/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
os.fsync(directory)
i = 0
while True:
    record = b"%08d %s\n" % (i, b"x" * (i * 37 % 5000))
    os.write(log, record)
    (os.fsync if i % 2 else os.fdatasync)(log)
    new = os.open("cut/new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(new, record)
    os.fsync(new)
    os.close(new)
    os.rename("cut/new", "cut/last")
    os.fsync(directory)
    print(i, flush=True)
    i += 1
"""


def record(i):
    return b"%08d %s\n" % (i, b"x" * (i * 37 % 5000))


def cut(t, options, dice):
    """Runs the writer until a random moment; the number of the last record that it acknowledged."""
    process = t.start(*options, "-w", "/work", "--", "python3", "-c", WRITER)
    lines = dice.randrange(3, 60)
    try:
        said = [process.stdout.readline() for _ in range(lines)]
        assert all(said), process.stderr.read()
        others = list(children(process.pid))
    finally:
        process.kill()
        process.wait()
    # What it could say before it was ended is acknowledged too.
    said += process.stdout.read().split(b"\n")
    for stream in process.stdin, process.stdout, process.stderr:
        stream.close()
    assert not wait_gone(others, 20)
    return max(int(line) for line in said[:-1] if line.strip())


def check(directory, last):
    with open(os.path.join(directory, "log"), "rb") as file:
        content = file.read()
    expected = b"".join(record(i) for i in range(last + 1))
    assert content.startswith(expected), f"record {last} was acknowledged; the file has {content.count(10)} lines"
    with open(os.path.join(directory, "last"), "rb") as file:
        replaced = file.read()
    number = int(replaced.split(b" ")[0])
    assert number >= last and replaced == record(number), (number, last, len(replaced))


@test
def acknowledged_records_survive_a_power_cut(t):
    dice = random.Random(3)
    places = work.places(t)
    kept = {"native": t.path("root/work"), "overlay": t.path("upper/upper/work"), "share": t.path("share")}
    for _ in range(ROUNDS):
        for name, options in places.items():
            last = cut(t, options, dice)
            check(os.path.join(kept[name], "cut"), last)
            shutil.rmtree(os.path.join(kept[name], "cut"))
