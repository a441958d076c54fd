#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The network of real guests: sandboxes of this build in the small world, with the engine that MSB_TEST_ENGINE names.

Cases that Linux's stack in a namespace can play the guest of are in scopes.py, groups.py and ports.py; here is what takes a guest's
kernel, PID 1 and engine: that eth0 is as it should be, that each scope holds for TCP, UDP and ICMP and for raw sockets, and that a real
server's files and those of others pass whole.
"""
import contextlib
import hashlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import world as w  # pylint: disable=wrong-import-position

PORT = 7777
PUBLIC = ["8.8.8.8", "2606:4700::1111"]
PRIVATE = ["10.7.7.7", "172.20.0.1", "192.168.9.9", "100.64.3.3", "169.254.169.254", "198.18.9.9", "fd00:ec2::254", "2001:db8::5",
           "64:ff9b::a00:1"]
HOST = ["169.254.1.1", "fd6d:7362:ffff:ffff::1", w.HOST_LAN4]
SCOPES = ["group", "public", "any"]
HELLO = b"hello"
ENGINE = os.environ.get("MSB_TEST_ENGINE", "uml")
# Emulated processors are slower.
FILE_SIZE = int(os.environ.get("NET_FILE_MIB", "1024" if ENGINE == "uml" or os.environ.get("MSB_TEST_LONG") else "256")) << 20
CLIENTS = 64
LIMIT = 120


IN_GUEST = """
import sys
sys.path.insert(0, "/net")
sys.dont_write_bytecode = True
import guests, json
print("up", flush=True)
sys.stdin.readline()
print(json.dumps(getattr(guests, sys.argv[1])(*sys.argv[2:])), flush=True)
"""


def descendants(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        children = [int(child) for child in file.read().split()]
    return children + [pid for child in children for pid in descendants(child)]


class Guest:
    """A sandbox that runs a command; options come first."""

    def __init__(self, options, command):
        self.errors = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            [os.environ["MSB"], "run", "--engine", ENGINE, "--rootfs", "host", "--log-level", "debug", "--volume", HERE + ":/net:ro",
             *options, "--", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the guest ended: {self.log()}")
        return line.decode().rstrip("\n")

    def wait(self):
        return self.process.wait(LIMIT)

    def die(self):
        """With all of its processes, as whose caller is killed."""
        processes = [os.pidfd_open(pid) for pid in descendants(self.process.pid)]
        self.process.kill()
        for fd in processes:
            if not select.select([fd], [], [], LIMIT)[0]:
                raise AssertionError("a process is left")
            os.close(fd)

    def end(self):
        self.process.kill()
        self.process.wait()
        for stream in self.process.stdin, self.process.stdout, self.errors:
            stream.close()


class Call(Guest):
    """A function of this file, at work in a guest of its own once go() was called."""

    def __init__(self, options, function, *args):
        super().__init__(options, ["python3", "-c", IN_GUEST, function, *args])
        self.is_up = False

    def wait_up(self):
        if not self.is_up and self.line() != "up":
            raise AssertionError(self.log())
        self.is_up = True
        return self

    def go(self):
        self.wait_up()
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return self

    def result(self):
        self.go()
        return json.loads(self.line())


# ---- What runs in the guest -------------------------------------------------------------------------------------------------------

def text(answer):
    return answer.decode() if isinstance(answer, bytes) else answer


def reach(*addresses):
    """How each address answers: TCP, UDP, ICMP."""
    return {address: [text(w.tcp(address, PORT)), text(w.udp(address, PORT)), text(w.ping(address, HELLO))] for address in addresses}


def configuration():
    def read(path):
        with open(path, encoding="ascii") as file:
            return file.read()

    import fcntl
    import struct
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        def ask(request):
            return socket.inet_ntoa(fcntl.ioctl(s, request, struct.pack("256s", b"eth0"))[20:24])
        address, netmask = ask(0x8915), ask(0x891b)
    return {"address": address, "netmask": netmask, "mtu": read("/sys/class/net/eth0/mtu").strip(), "route": read("/proc/net/route"),
            "address6": read("/proc/net/if_inet6"), "route6": read("/proc/net/ipv6_route"),
            "resolver": read("/etc/resolv.conf"), "hosts": read("/etc/hosts"), "state": read("/sys/class/net/eth0/operstate").strip()}


def names(*which):
    """What getaddrinfo(3) says of each name, and whether the first address can be reached by TCP."""
    found = {}
    for name in which:
        try:
            addresses = [entry[4][0] for entry in socket.getaddrinfo(name, PORT, type=socket.SOCK_STREAM)]
            found[name] = [sorted(addresses), text(w.tcp(addresses[0], PORT))]
        except socket.gaierror:
            found[name] = None
    return found


def digest_of(url):
    """The SHA-256 of a file that curl fetches."""
    with subprocess.Popen(["curl", "-sS", url], stdout=subprocess.PIPE) as curl:
        digest = hashlib.file_digest(curl.stdout, "sha256") if hasattr(hashlib, "file_digest") else read_digest(curl.stdout)
    return [curl.wait(), digest.hexdigest()]


def read_digest(stream):
    digest = hashlib.sha256()
    while True:
        block = stream.read(1 << 20)
        if not block:
            return digest
        digest.update(block)


def hostile(victim4, victim6):
    """Frames made by hand: a forged source, forged ARP and ND, private destinations, source routes."""
    import groups
    with open("/sys/class/net/eth0/address", encoding="ascii") as file:
        own = bytes.fromhex(file.read().strip().replace(":", ""))
    ip = socket.inet_ntoa(own[2:])
    gateway, other = b"\x52\x55\0\0\0\1", groups.mac_of(victim4)
    target = socket.inet_pton(socket.AF_INET6, victim6)
    frames = []
    for destination in ("8.8.8.8", "10.7.7.7"):
        frames.append(groups.udp_frame(own, gateway, "10.9.9.9", destination))
        frames.append(groups.udp_frame(own, gateway, victim4, destination))
        frames.append(groups.udp_frame(other, gateway, ip, destination))
    frames.append(groups.udp_frame(own, gateway, ip, "10.7.7.7"))
    frames.append(groups.udp_frame(own, other, victim4, victim4))
    frames.append(groups.udp_frame(own, other, "8.8.8.8", victim4))
    frames.append(groups.arp(2, own, victim4, other, victim4, destination=other))
    frames.append(groups.arp(2, own, "169.254.1.1", other, victim4, destination=other))
    frames.append(groups.icmp6_frame(own, other, "fe80::1", victim6, b"\x88\0\0\0\x60\0\0\0" + target + b"\2\1" + own))
    frames.append(groups.icmp6_frame(own, b"\x33\x33\0\0\0\1", "fe80::1", "ff02::1", b"\x86\0\0\0\x40\0\xff\xff" + b"\0" * 8 + b"\1\1" + own))
    groups.send_frames(frames * 3)
    honest = groups.udp_frame(own, other, ip, victim4)
    groups.send_frames([honest])
    return [honest.hex(), (own + socket.inet_aton(ip)).hex()]


def serve_and_watch():
    """Answers on PORT, and notes every frame that comes in and is not the group's ordinary business."""
    import groups
    import time as clock
    threading.Thread(target=w.echo_server, args=(lambda: None, PORT), daemon=True).start()
    clock.sleep(0.3)
    print("serving", flush=True)
    seconds = float(sys.stdin.readline())
    threading.Timer(0.2, lambda: print("watching", flush=True)).start()
    frames = groups.sniff(seconds)
    return [frame.hex() for frame in frames]


def serve():
    w.echo_server(lambda: print("serving", flush=True), PORT)


# ---- What runs outside -------------------------------------------------------------------------------------------------------------

NGINX = """daemon off; master_process off; user root root; pid /tmp/pid; error_log /tmp/error;
events { worker_connections 1024; }
http { access_log off; sendfile on; client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c;
uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e; server { listen 80; listen [::]:80; root %s; } }
"""


def fetch_range(port, first, size, address="127.0.0.1"):
    """Size bytes of the file, from one connection."""
    data = bytearray()
    with socket.create_connection((address, port), timeout=60) as s:
        s.sendall(f"GET /file HTTP/1.1\r\nHost: x\r\nRange: bytes={first}-{first + size - 1}\r\nConnection: close\r\n\r\n".encode())
        while True:
            block = s.recv(1 << 20)
            if not block:
                break
            data += block
    return bytes(data[data.index(b"\r\n\r\n") + 4:])


class Guests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = w.World(PUBLIC + PRIVATE)
        os.environ["XDG_RUNTIME_DIR"] = cls.world.runtime
        os.environ["HOME"] = cls.world.runtime
        cls.jobs = [cls.world.internet.serve(w.echo_server, PORT), cls.world.host.serve(w.echo_server, PORT)]

    @classmethod
    def tearDownClass(cls):
        for job in cls.jobs:
            job.kill()
        cls.world.end()

    def start(self, guest):
        self.addCleanup(guest.end)
        return guest

    def call(self, options, function, *args):
        return self.start(Call(options, function, *args))

    def test_configuration(self):
        """eth0 is up, with everything, when the workload begins."""
        found = self.call(["--scope", "any"], "configuration").result()
        self.assertEqual((found["address"], found["netmask"], found["mtu"]), ("10.0.2.15", "255.255.255.255", "65520"))
        self.assertIn("\t0101FEA9\t", found["route"])
        self.assertIn("fd6d73620a00020f000000000a00020f", found["address6"])
        self.assertIn("fe800000000000000000000000000001", found["route6"])
        self.assertEqual(found["resolver"].split(), ["nameserver", "169.254.1.2"])
        self.assertIn("169.254.1.1 host.microsandbox.internal", " ".join(found["hosts"].split()))
        found = self.call(["--subnet", "10.5.0.0/16", "--ip", "10.5.6.7", "--name", "me", "--hostname", "there"], "configuration").result()
        self.assertEqual((found["address"], found["netmask"]), ("10.5.6.7", "255.255.0.0"))
        self.assertIn("there", found["hosts"])

    def test_scopes(self):
        """Each scope, class of addresses, protocol and family."""
        everything = PUBLIC + PRIVATE + HOST
        for call, scope in [(self.call(["--scope", scope], "reach", *everything), scope) for scope in SCOPES if scope != "group"]:
            for address, answers in call.result().items():
                reaches = scope == "any" or address in PUBLIC
                self.assertEqual(answers, ["hello" if reaches else w.REFUSED] * 3, f"{scope}: {address}")
            if scope == "public":
                self.assertIn("to 10.7.7.7, port", call.log())
        # Alone in its group a guest has no card at all; in one it has, and nothing is beyond.
        for options in (["--scope", "group"], ["--subnet", "10.5.0.0/16"]):
            for address, answers in self.call(options, "reach", *everything).result().items():
                self.assertEqual(answers, [w.REFUSED] * 3, address)

    def test_names(self):
        """The built-in resolver, a name that turns private, and the host's name."""
        records = {"public.test": PUBLIC, "rebind.test": ["10.7.7.7"], "metadata.test": ["169.254.169.254"]}
        job = self.world.internet.serve(w.dns_server, "192.168.9.9", records)
        self.addCleanup(job.kill)
        self.world.set_resolver("192.168.9.9")
        found = self.call(["--scope", "public"], "names", *records, "none.test", "host.microsandbox.internal").result()
        self.assertEqual(found["public.test"], [sorted(PUBLIC), "hello"])
        self.assertEqual(found["rebind.test"], [["10.7.7.7"], w.REFUSED])
        self.assertEqual(found["metadata.test"], [["169.254.169.254"], w.REFUSED])
        self.assertIsNone(found["none.test"])
        self.assertIsNone(found["host.microsandbox.internal"])
        found = self.call(["--scope", "any"], "names", "rebind.test", "host.microsandbox.internal").result()
        self.assertEqual([answer for _, answer in found.values()], ["hello", "hello"])

    def test_groups(self):
        """Three in one group and two in another, by name; one dies and comes back. Forged frames reach nobody."""
        def member(name, subnet, function="serve", *options):
            return self.call(["--subnet", subnet, "--name", name, *options], function)

        def serving(guest):
            self.assertEqual(guest.go().line(), "serving")
            return guest
        # One after the other: who comes first gets the first address.
        one = [serving(member(f"one{i}", "10.5.0.0/24")) for i in range(2)]
        two = serving(member("two0", "10.6.0.0/24"))
        everybody = ["one0", "one1", "two0"]
        found = self.call(["--subnet", "10.5.0.0/24"], "names", *everybody).result()
        self.assertEqual([found[name] and found[name][1] for name in everybody], ["hello", "hello", None])
        found = self.call(["--subnet", "10.6.0.0/24", "--scope", "any"], "names", *everybody).result()
        self.assertEqual([found[name] and found[name][1] for name in everybody], [None, None, "hello"])
        addresses = self.call(["--subnet", "10.6.0.0/24"], "reach", "10.5.0.2", "10.6.0.2").result()
        self.assertEqual(addresses, {"10.5.0.2": [w.REFUSED] * 3, "10.6.0.2": ["hello"] * 3})
        one[0].die()
        again = serving(member("one0", "10.5.0.0/24", "serve_and_watch", "--ip", "10.5.0.2"))
        found = self.call(["--subnet", "10.5.0.0/24"], "names", "one0").result()
        self.assertEqual(found["one0"][1], "hello")
        self.assertEqual(self.call(["--subnet", "10.5.0.0/24"], "reach", "10.5.0.2").result(), {"10.5.0.2": ["hello"] * 3})
        evil = self.call(["--subnet", "10.5.0.0/24", "--scope", "public"], "hostile", "10.5.0.2", "fd6d:7362:a05::a05:2").wait_up()
        again.process.stdin.write(b"4\n")
        again.process.stdin.flush()
        self.assertEqual(again.line(), "watching")
        outside = self.world.internet.start(watch_outside, 3)
        honest, own = evil.result()
        # The honest frame, and what the two kernels then say for themselves.
        frames = json.loads(again.line())
        self.assertIn(honest, frames)
        self.assertEqual([frame for frame in frames if own not in frame and not (frame[12:24] + frame[52:60]) == own], [])
        self.assertEqual(outside.result(), [])
        self.assertIn("not from its own IP address", evil.log())
        self.assertIsNone(two.process.poll())

    def test_files(self):
        """nginx in a guest: a large file to one client, all of it at once in 64 parts, and clients that hang up half-way."""
        with self.file() as (path, digest):
            conf = os.path.join(self.world.runtime, "nginx.conf")
            with open(conf, "w", encoding="ascii") as file:
                file.write(NGINX % "/srv")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            guest = self.start(Guest(["--publish", f"{port}:80", "--cpus", "1", "--volume", f"{os.path.dirname(path)}:/srv:ro",
                                      "--volume", f"{conf}:/tmp/nginx.conf:ro"], ["nginx", "-e", "/tmp/error", "-c", "/tmp/nginx.conf"]))
            deadline = time.monotonic() + LIMIT
            while not self.is_served(port) and time.monotonic() < deadline:
                self.assertIsNone(guest.process.poll(), guest.log())
                time.sleep(0.05)
            for i in range(20):
                self.hang_up(port, i)
            whole = hashlib.sha256()
            with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
                s.sendall(b"GET /file HTTP/1.0\r\n\r\n")
                with s.makefile("rb", 1 << 20) as stream:
                    while stream.readline() != b"\r\n":
                        pass
                    whole = read_digest(stream)
            self.assertEqual(whole.hexdigest(), digest)
            parts = [None] * CLIENTS
            size = FILE_SIZE // CLIENTS

            def one(i):
                parts[i] = fetch_range(port, i * size, size)
            threads = [threading.Thread(target=one, args=(i,)) for i in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            whole = hashlib.sha256()
            for part in parts:
                whole.update(part)
            self.assertEqual(whole.hexdigest(), digest)

    @staticmethod
    def is_served(port):
        try:
            return bool(fetch_range(port, 0, 10))
        except (OSError, ValueError):
            return False

    @staticmethod
    def hang_up(port, i):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
            s.sendall(b"GET /file HTTP/1.0\r\n\r\n")
            if i % 2:
                s.recv(100000)
            if i % 3:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def test_file_from_outside(self):
        """A guest fetches a large file from a server of the world's."""
        import ports
        with self.file() as (path, digest):
            nginx = ports.Nginx(self.world.internet, self.world.runtime, path)
            self.addCleanup(nginx.end)
            self.assertEqual(self.call(["--scope", "public"], "digest_of", "http://8.8.8.8/file").result(), [0, digest])

    @contextlib.contextmanager
    def file(self):
        """A file to be served, and its checksum."""
        with tempfile.TemporaryDirectory(dir=self.world.runtime) as directory:
            digest, block = hashlib.sha256(), os.urandom(1 << 20)
            os.chmod(directory, 0o755)
            with open(os.path.join(directory, "file"), "wb") as file:
                for i in range(FILE_SIZE >> 20):
                    part = i.to_bytes(8, "big") + block[8:]
                    file.write(part)
                    digest.update(part)
            yield os.path.join(directory, "file"), digest.hexdigest()


class WithoutRoute(unittest.TestCase):
    def test_without_route(self):
        """No default route: a clear message, and a sandbox that runs."""
        world = w.World([])
        self.addCleanup(world.end)
        w.sh("ip route del default; ip -6 route del default")
        guest = Call(["--scope", "public"], "reach", "8.8.8.8", "2606:4700::1111")
        self.addCleanup(guest.end)
        # Programs do not hear of an unreachable network when they send a datagram.
        for tcp, _, ping in guest.result().values():
            self.assertEqual((tcp, ping), (w.REFUSED, w.REFUSED))
        self.assertIn("this host has no route to the internet", guest.log())


def watch_outside(seconds):
    import groups
    return [frame.hex() for frame in groups.sniff_veth(seconds) if HELLO in frame]


if __name__ == "__main__":
    if os.geteuid() != 0 and not os.environ.get("MSB_TEST_WORLD"):
        sys.exit(77)  # a sandbox in a user namespace of one user has nobody to be but that user
    w.enter()
    unittest.main(verbosity=2)
