# SPDX-License-Identifier: Apache-2.0
"""That a network card comes to the guest, and is one of the VM's processes. What passes through it has tests of its own (net)."""
import http.client
import shutil
import socket
import time

from harness import children, equal, expect, kill, skip, test, wait_gone

SERVER = "import http.server, sys; s = http.server.HTTPServer(('', 80), http.server.SimpleHTTPRequestHandler); " \
         "print('up', flush=True); s.serve_forever()"
# Says as much as it was asked for when the client has said all, and closes after it.
SAYS_MUCH = "import socket; s = socket.create_server(('', 80), backlog=100); print('up', flush=True)\n" \
            "while True:\n c = s.accept()[0]\n asked = b''\n while part := c.recv(100): asked += part\n" \
            " c.sendall(bytes(int(asked))); c.close()"

# Changes of an interface, of addresses and of routes, as rtnetlink(7) tells those who listen: the message's type, the address family.
LISTENER = """
import socket, struct, subprocess
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.bind((0, 0x1 | 0x10 | 0x40 | 0x100 | 0x400))
s.settimeout(20)
for change in "link set lo mtu 1500", "addr add 10.9.9.9/24 dev lo", "addr add fd99::1/64 dev lo":
    subprocess.run(["ip", *change.split()], check=True)
wanted = {(16, 0), (20, 2), (24, 2), (20, 10), (24, 10)}
while wanted:
    data = s.recv(65536)
    while data:
        length, kind = struct.unpack_from("IH", data)
        wanted.discard((kind, data[16]))
        data = data[(length + 3) & ~3:]
print("told")
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@test
def alone_in_its_group_it_needs_no_card(t):
    equal(t.output("sh", "-c", "ls /sys/class/net").split(), [b"lo"])
    equal(t.output("--scope", "none", "sh", "-c", "ls /sys/class/net").split(), [b"lo"])


@test
def changes_are_told_to_who_listens(t):
    if not shutil.which("ip") or not shutil.which("python3", path="/usr/bin"):
        skip("no iproute2 or python3 here")
    equal(t.output("/usr/bin/python3", "-c", LISTENER), b"told\n")


@test
def a_published_port(t):
    port = free_port()
    with t.running("--rootfs", "host", "-p", f"{port}:80", "-w", "/usr/share", "python3", "-c", SERVER) as process:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/")
        assert b"doc" in connection.getresponse().read()
        # In use while it runs.
        expect(t.host("-p", f"{port}:80", "true"), 125, str(port))
        # The net device is like the others.
        all_of_them = children(process.pid)
        kill(next(pid for pid, name in all_of_them.items() if "net" in name and "monitor" not in name))
        equal(wait_gone(all_of_them, 2), [])
        equal(process.wait(2), 125)
        assert b"the net device was killed by signal 9" in process.stderr.read()


@test
def two_in_a_group(t):
    with t.running("--rootfs", "host", "--subnet", "10.77.0.0/24", "--ip", "10.77.0.9", "python3", "-c", SERVER):
        said = t.output("--subnet", "10.77.0.0/24", "python3", "-c",
                        "import urllib.request; print(urllib.request.urlopen('http://10.77.0.9/', timeout=20).status)")
        equal(said, b"200\n")


@test
def any_free_port(t):
    with t.running("--log-level", "info", "--rootfs", "host", "-p", "0:80", "-w", "/usr/share", "python3", "-c", SERVER) as process:
        line = process.stderr.readline()
        while b"published" not in line:
            line = process.stderr.readline()
        port = int(line.rsplit(b":", 1)[1])
        assert b"port 80/tcp of the guest is published at 127.0.0.1:" in line, line
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/")
        assert b"doc" in connection.getresponse().read()


@test
def who_waits_looks_first(t):
    """It is what makes round trips quick (bench/net)."""
    equal(t.output("--scope", "public", "cat", "/proc/sys/net/core/busy_read", "/proc/sys/net/core/busy_poll").split(), [b"50", b"50"])


def ask(port, size):
    """What comes back for it, and how much of it, piece by piece."""
    with socket.socket() as connection:
        connection.settimeout(5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.connect(("127.0.0.1", port))
        connection.sendall(str(size).encode())
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(1 << 16):
            yield len(part)


@test
def many_short_connections(t):
    """One after another more than may be open at a time, which the outside closes first."""
    port = free_port()
    with t.running("--rootfs", "host", "-p", f"{port}:80", "python3", "-c", SAYS_MUCH):
        for _ in range(1200):
            equal(sum(ask(port, 1)), 1)


@test
def a_slow_reader(t):
    """What the guest has said before it closed arrives, though at some of these sizes the net process still holds the rest of it then."""
    port = free_port()
    with t.running("--rootfs", "host", "-p", f"{port}:80", "python3", "-c", SAYS_MUCH):
        for size in range(1 << 20, 5 << 20, 100000):
            parts = ask(port, size)
            first = next(parts)
            time.sleep(0.05)
            equal(first + sum(parts), size)
