# SPDX-License-Identifier: Apache-2.0
"""What PID 1 makes of the machine: roots of every kind, mounts, /etc, limits, and that it outlives what the workload does."""
import hashlib
import os
import subprocess
import time

from harness import equal, expect, test


def native(t, *arguments, **options):
    return t.run("--rootfs", t.path("root"), *arguments, **options)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


@test
def the_usual_file_systems_are_mounted(t):
    mounts = {}
    for line in t.output("cat", "/proc/mounts").decode().splitlines():
        _, place, kind, flags = line.split()[:4]
        mounts[place] = (kind, set(flags.split(",")))
    for place, kind in {"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs",
                        "/dev/mqueue": "mqueue", "/sys/fs/cgroup": "cgroup2", "/run": "tmpfs"}.items():
        equal(mounts[place][0], kind)
        assert "rw" in mounts[place][1] and "nosuid" in mounts[place][1], mounts[place]


@test
def devices_work(t):
    done = t.host("sh", "-c", "ls -l /proc/self/fd/1 >/dev/null && echo out >/dev/stdout && echo err >/dev/stderr && "
                              "head -c 10 /dev/urandom | wc -c && echo x >/dev/null && head -c 3 /dev/zero | od -An -c && "
                              "echo shm >/dev/shm/file && stat -c %a /dev/shm /dev/null /dev/ptmx /tmp && cat /dev/fd/0",
                  stdin=b"in")
    expect(done, 0)
    equal(done.stdout.decode().split(), ["out", "10", "\\0", "\\0", "\\0", "1777", "666", "666", "1777", "in"])
    equal(done.stderr, b"err\n")


@test
def a_native_root_is_left_as_it_was(t):
    root = t.make_root()
    for name, text in {"hosts": "theirs", "hostname": "theirs", "resolv.conf": "theirs", "passwd": "root:x:0:0::/root:/bin/sh\n"}.items():
        with open(os.path.join(root, "etc", name), "w", encoding="ascii") as file:
            file.write(text)
    before = {name: digest(os.path.join(root, "etc", name)) for name in os.listdir(root + "/etc")}
    done = native(t, "cat", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
    expect(done, 0)
    assert done.stdout.startswith(b"microsandbox\n127.0.0.1\tlocalhost\n"), done.stdout
    assert b"theirs" not in done.stdout, done.stdout
    equal({name: digest(os.path.join(root, "etc", name)) for name in os.listdir(root + "/etc")}, before)
    equal(os.listdir(root + "/dev"), [])


@test
def a_root_of_one_program(t):
    os.mkdir(t.path("root"))
    subprocess.run(["cp", "/bin/busybox", t.path("root/busybox")], check=True)
    expect(native(t, "/busybox", "sh", "-c", "exit 5"), 5)
    done = native(t, "/busybox", "cat", "/proc/mounts")
    expect(done, 0)
    assert b"/proc proc" in done.stdout and b"/dev devtmpfs" in done.stdout, done.stdout


@test
def links_in_the_root_lead_nowhere_else(t):
    """A root whose /proc, /etc and mount points are links out of it."""
    root = t.make_root()
    os.mkdir(t.path("share"))
    for name, target in {"proc": "../../../../proc", "sys": "/../../sys2", "data": "../../../../../data2", "etc": "/etc2"}.items():
        if os.path.isdir(os.path.join(root, name)):
            os.rmdir(os.path.join(root, name))
        os.symlink(target, os.path.join(root, name))
    done = native(t, "-v", f"{t.path('share')}:/data/share", "sh", "-c", "echo x >/data/share/file; cat /proc/mounts")
    assert os.path.exists(t.path("share/file")), done.stderr
    places = {line.split()[1] for line in done.stdout.decode().splitlines()} if done.stdout else set()
    assert "/data2/share" in places or not places, places
    assert os.path.isdir(os.path.join(root, "data2/share"))
    equal(sorted(os.listdir(t.dir)), ["root", "share"])


@test
def run_is_fresh_unless_the_root_has_something_there(t):
    root = t.make_root()
    os.mkdir(root + "/run")
    expect(native(t, "sh", "-c", "echo x >/run/pid"), 0)
    equal(os.listdir(root + "/run"), [])
    os.mkdir(root + "/run/mysqld")
    done = native(t, "ls", "/run")
    equal(done.stdout, b"mysqld\n")


@test
def a_hundred_and_twenty_eight_layers(t):
    root = t.make_root()
    layers = ["--layer", root]
    for number in range(1, 128):
        os.mkdir(t.path(f"layer{number}"))
        for name in f"file{number}", "top":
            with open(t.path(f"layer{number}/{name}"), "w", encoding="ascii") as file:
                file.write(str(number))
        layers += ["--layer", t.path(f"layer{number}")]
    done = t.run(*layers, "sh", "-c", "cat /top /file1 /file64; ls / | grep -c file; echo new >/top; rm /file1; cat /top")
    expect(done, 0)
    equal(done.stdout, b"127164" + b"127\nnew\n")
    equal(sorted(os.listdir(t.path("layer127"))), ["file127", "top"])


@test
def limits_and_settings(t):
    done = t.output("sh", "-c", "ulimit -Sn; ulimit -Hn; cat /proc/sys/net/ipv4/ping_group_range; umask; "
                                "cat /proc/sys/net/ipv4/ip_unprivileged_port_start")
    equal(done.decode().split(), ["1024", "524288", "0", "2147483647", "0022", "0"])


@test
def the_clock_is_the_host_s(t):
    before = time.time()
    guest = float(t.output("date", "+%s.%N"))
    assert before - 1 <= guest <= time.time() + 1, (before, guest, time.time())


@test
def loopback_is_up(t):
    equal(t.output("python3", "-c", """
import socket, threading
for family, address in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
    server = socket.create_server((address, 0), family=family)
    client = socket.create_connection(server.getsockname()[:2])
    server.accept()[0].send(b"x")
    print(client.recv(1))
print(socket.gethostbyname("localhost"), socket.gethostbyname(socket.gethostname()))
"""), b"b'x'\nb'x'\n127.0.0.1 127.0.1.1\n")


@test
def memory_that_runs_out_is_said(t):
    done = t.host("-m", "256M", "--log-level", "warn", "tail", "/dev/zero")
    expect(done, 128 + 9, "ran out of memory")


@test
def the_first_process_outlives_the_workload_s_doings(t):
    """Signals to process 1 and to everyone, mounts taken away and put over, every file removed: the end is still told."""
    t.make_root()
    done = native(t, "sh", "-c", "busybox kill -9 1; busybox kill -TERM 1; busybox kill -STOP 1; trap '' TERM; busybox kill -TERM -1; "
                                 "busybox mount -t tmpfs none /dev; busybox umount -l /proc; busybox umount -a; "
                                 "busybox mount -t tmpfs none /bin; busybox rm -rf /; echo still here; exit 23")
    expect(done, 23)
    equal(done.stdout, b"still here\n")


@test
def orphans_are_reaped(t):
    done = t.output("sh", "-c", "for i in $(seq 40); do (sleep 0.1 &); done; sleep 1; "
                                "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l")
    equal(done, b"0\n")


@test
def a_fork_bomb_ends_with_its_parent(t):
    """A crowd of processes is killed, and the VM ends as if there were none."""
    begin = time.monotonic()
    done = t.host("sh", "-c", "for i in $(seq 60); do sleep 1000 & done; echo up; exit 4")
    expect(done, 4)
    assert time.monotonic() - begin < 60
