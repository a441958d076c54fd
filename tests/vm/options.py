# SPDX-License-Identifier: Apache-2.0
"""Every option reaches the guest."""
import os

from harness import equal, expect, test

SHOW = r"""
nproc
grep MemTotal /proc/meminfo
grep -E 'open files|core file' /proc/self/limits
pwd
uname -n
cat /proc/sys/kernel/hostname
"""


@test
def resources_limits_workdir_and_hostname(t):
    cpus = "1" if t.engine == "uml" else "2"
    lines = t.output("--cpus", cpus, "-m", "320m", "--rlimit", "RLIMIT_NOFILE=100:200", "--rlimit", "4=0:0", "-w", "/usr/share",
                     "--hostname", "example", "sh", "-c", SHOW).decode().splitlines()
    equal(lines[0], cpus)
    kib = int(lines[1].split()[1])
    # What the kernel takes for itself is not in it.
    assert 250 << 10 < kib <= 320 << 10, lines[1]
    equal(lines[2].split()[-3:-1], ["0", "0"])
    equal(lines[3].split()[-3:-1], ["100", "200"])
    equal(lines[4:], ["/usr/share", "example", "example"])


@test
def defaults(t):
    lines = t.output("sh", "-c", SHOW).decode().splitlines()
    equal(lines[0], "1")
    assert 900 << 10 < int(lines[1].split()[1]) <= 1024 << 10, lines[1]
    equal(lines[4:], ["/", "microsandbox", "microsandbox"])


@test
def a_user_of_the_guest(t):
    equal(t.output("--user", "nobody", "sh", "-c", "id -un; id -G; cat /proc/self/status | grep CapEff").split(),
          [b"nobody", b"65534", b"CapEff:", b"0000000000000000"])


@test
def arguments_and_environment_arrive_as_they_are(t):
    arguments = [b"", b" ", b"--", b"-x", b"'\"`$(id)\\", b"two\nlines", b"\xff\xfe\x80", "ü€".encode(), b"*", b"a=b"]
    values = {b"EMPTY": b"", b"QUOTES": b"'\"\\`", b"LINES": b"a\nb\n", b"BYTES": b"\xff\x80", b"EQUALS": b"a=b=c",
              b"SPACES": b"  x  "}
    program = "import sys, os; o = sys.stdout.buffer; " \
              "o.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])) + b'\\0\\0' + b'\\0'.join(sorted(" \
              "k + b'=' + v for k, v in os.environb.items() if k not in (b'LC_CTYPE', b'PATH', b'HOME', b'TERM', b'HOSTNAME'))))"
    options = []
    for key, value in values.items():
        options += ["-e", key + b"=" + value]
    os.environb[b"MSB_TEST_SECRET"] = b"not for the guest"
    said = t.output(*options, "--", "python3", "-c", program, *arguments)
    got_arguments, got_environment = said.split(b"\0\0", 1) if b"\0\0" in said else (said, b"")
    # The empty first argument makes an empty piece, too.
    whole = b"\0".join(arguments) + b"\0\0" + b"\0".join(sorted(k + b"=" + v for k, v in values.items()))
    assert said == whole, (got_arguments, got_environment)


@test
def an_environment_of_a_mebibyte_and_ten_thousand_arguments(t):
    values = {f"V{i}": chr(ord("a") + i) * ((128 << 10) - 8) for i in range(8)}
    options = []
    for key, value in values.items():
        options += ["-e", key]
    arguments = [f"argument {i}" for i in range(10000)]
    program = "import sys, os, hashlib; print(len(sys.argv) - 1, " \
              "hashlib.sha256('\\0'.join(sys.argv[1:]).encode()).hexdigest(), " \
              "*[len(os.environ[f'V{i}']) for i in range(8)], len(set(os.environ['V3'])))"
    import hashlib

    digest = hashlib.sha256("\0".join(arguments).encode()).hexdigest()
    said = t.output(*options, "--", "python3", "-c", program, *arguments, env={**os.environ, **values}).decode().split()
    equal(said, ["10000", digest, *[str((128 << 10) - 8)] * 8, "1"])


@test
def what_execve_refuses_as_too_big(t):
    with open(t.path("env"), "w", encoding="ascii") as file:
        for i in range(30):
            file.write(f"V{i}={'x' * 120000}\n")
    # Linux's limit is a quarter of the stack limit, so that a small stack makes it small.
    done = t.host("--env-file", t.path("env"), "--rlimit", "RLIMIT_STACK=1048576:1048576", "true")
    expect(done, 126, "too")
