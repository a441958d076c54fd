#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Published ports, and connections to the outside under load: TCP and UDP, IPv4 and IPv6, many at once, and clients that hang up."""
import hashlib
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import world as w  # pylint: disable=wrong-import-position

PORT = 7777
HELLO = b"hello"
GATEWAY4, GATEWAY6 = "169.254.1.1", "fd6d:7362:ffff:ffff::1"
SCOPES = ["group", "public", "any"]
FILE_SIZE = int(os.environ.get("NET_FILE_MIB", "1024")) << 20
CLIENTS = 64


def fetch(address, port, size):
    """The SHA-256 of size bytes that an HTTP server sends, read as they come."""
    digest, left = hashlib.sha256(), size
    with socket.create_connection((address, port), timeout=60) as s:
        s.sendall(f"GET /file HTTP/1.1\r\nHost: x\r\nRange: bytes=0-{size - 1}\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            more = s.recv(4096)
            if not more:
                raise AssertionError(f"ended in its header: {head!r}")
            head += more
        body = head.split(b"\r\n\r\n", 1)[1]
        digest.update(body)
        left -= len(body)
        buffer = bytearray(1 << 20)
        while left:
            count = s.recv_into(buffer)
            if not count:
                raise AssertionError(f"ended {left} bytes early")
            digest.update(memoryview(buffer)[:count])
            left -= count
        return digest.hexdigest()


def fetch_all(address, port, size, count):
    """The same, count times at once: every checksum."""
    sums, threads = [None] * count, []

    def one(i):
        try:
            sums[i] = fetch(address, port, size)
        except (OSError, AssertionError) as error:
            sums[i] = str(error)

    for i in range(count):
        threads.append(threading.Thread(target=one, args=(i,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return set(sums)


class Nginx:
    """nginx in a namespace, with one file."""
    def __init__(self, namespace, directory, path):
        self.root = tempfile.mkdtemp(dir=directory)
        os.symlink(path, os.path.join(self.root, "file"))
        with open(os.path.join(self.root, "nginx.conf"), "w", encoding="ascii") as conf:
            conf.write(f"""daemon off; master_process off; user root root; pid {self.root}/pid; error_log {self.root}/error;
                events {{ worker_connections 1024; }}
                http {{ access_log off; sendfile on; client_body_temp_path {self.root}; proxy_temp_path {self.root};
                fastcgi_temp_path {self.root}; uwsgi_temp_path {self.root}; scgi_temp_path {self.root};
                server {{ listen 80; listen [::]:80; root {self.root}; }} }}""")
        self.process = subprocess.Popen(["nsenter", "-t", str(namespace.pid), "-n", "nginx", "-e", f"{self.root}/error", "-p",
                                         self.root, "-c", f"{self.root}/nginx.conf"])
        namespace.call(wait_for_port, 80)

    def end(self):
        self.process.terminate()
        self.process.wait()


def wait_for_port(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("no server")


class Ports(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = w.World(["8.8.8.8", "10.7.7.7", "2606:4700::1111"])
        cls.jobs = []
        cls.file = os.path.join(cls.world.runtime, "file")
        cls.sums = {}
        digest, block = hashlib.sha256(), os.urandom(1 << 20)
        with open(cls.file, "wb") as file:
            for i in range(FILE_SIZE >> 20):
                part = i.to_bytes(8, "big") + block[8:]
                file.write(part)
                digest.update(part)
                if i + 1 in (16, FILE_SIZE >> 20):
                    cls.sums[(i + 1) << 20] = digest.hexdigest()

    @classmethod
    def tearDownClass(cls):
        for job in cls.jobs:
            job.kill()
        cls.world.end()

    def guest(self, *arguments, **options):
        guest = w.Guest(self.world, *arguments, **options)
        if not guest.failed:
            self.addCleanup(guest.end)
        return guest

    def serve(self, namespace, function, *arguments):
        job = namespace.serve(function, *arguments)
        self.addCleanup(job.kill)

    def nginx(self, namespace):
        server = Nginx(namespace, self.world.runtime, self.file)
        self.addCleanup(server.end)

    def test_forms(self):
        """TCP and UDP, IPv4 and IPv6, with and without an address, several at once, in every scope."""
        for scope in SCOPES:
            with self.subTest(scope):
                guest = self.guest(f"scope={scope}", f"port=0:{PORT}", f"port=0:{PORT}/udp", f"port=[::1]:0:{PORT}",
                                   f"port=[::1]:0:{PORT}/udp", f"port=18080:{PORT + 1}", f"port={w.HOST4}:18081:{PORT + 2}/udp")
                self.serve(guest, w.echo_server, PORT)
                self.serve(guest, w.echo_server, PORT + 1)
                self.serve(guest, w.echo_server, PORT + 2)
                self.assertEqual(guest.ports[4:], [18080, 18081])
                self.assertEqual(w.tcp("127.0.0.1", guest.ports[0]), HELLO)
                self.assertEqual(w.udp("127.0.0.1", guest.ports[1]), HELLO)
                self.assertEqual(w.tcp("::1", guest.ports[2]), HELLO)
                self.assertEqual(w.udp("::1", guest.ports[3]), HELLO)
                self.assertEqual(w.tcp("127.0.0.1", 18080), HELLO)
                self.assertEqual(self.world.internet.call(w.udp, w.HOST4, 18081), HELLO)
                # On 127.0.0.1 alone, unless an address is given.
                self.assertEqual(self.world.internet.call(w.tcp, w.HOST4, 18080), w.REFUSED)
                # A port that is not published is closed.
                self.assertEqual(w.tcp("127.0.0.1", PORT), w.REFUSED)
                self.doCleanups()

    def test_early(self):
        """What comes before the guest is configured waits, and is served then."""
        guest = self.guest("scope=group", "late", f"port=0:{PORT}", f"port=0:{PORT}/udp")
        with socket.create_connection(("127.0.0.1", guest.ports[0]), timeout=60) as tcp, \
             socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.sendall(HELLO)
            udp.settimeout(60)
            udp.connect(("127.0.0.1", guest.ports[1]))
            udp.send(HELLO)
            # Nothing listens in the guest: who took them now would have them refused.
            self.assertEqual(select.select([tcp, udp], [], [], 0.3)[0], [])
            self.serve(guest, w.echo_server, PORT)
            guest.configured()
            self.assertEqual(tcp.recv(100), HELLO)
            self.assertEqual(udp.recv(100), HELLO)

    def test_clients(self):
        """Who the guest sees: the client, or the gateway for the host's own loopback. Private clients are answered in every scope."""
        for scope in SCOPES:
            with self.subTest(scope):
                guest = self.guest(f"scope={scope}", f"port=0.0.0.0:0:{PORT}", f"port=[::]:0:{PORT}", f"port=0.0.0.0:0:{PORT}/udp")
                self.serve(guest, w.peer_server, PORT)
                v4, v6, _ = guest.ports
                self.assertEqual(w.tcp("127.0.0.1", v4), GATEWAY4.encode())
                self.assertEqual(w.tcp("::1", v6), GATEWAY6.encode())
                self.assertEqual(self.world.internet.call(w.tcp, w.HOST4, v4), w.INTERNET4.encode())
                self.assertEqual(self.world.internet.call(w.tcp, w.HOST6, v6), w.INTERNET6.encode())
                self.assertEqual(self.world.internet.call(from_address, "10.7.7.7", w.HOST4, v4), b"10.7.7.7")
                self.doCleanups()

    def test_udp_clients(self):
        """Many UDP clients of one port, whose datagrams are answered by the address that they asked, each to its own client."""
        guest = self.guest("scope=group", f"port=0.0.0.0:0:{PORT}/udp", f"port=[::]:0:{PORT}/udp")
        self.serve(guest, w.echo_server, PORT)
        for address, port in (("127.0.0.1", guest.ports[0]), ("127.0.0.5", guest.ports[0]), (w.HOST4, guest.ports[0]),
                              ("::1", guest.ports[1]), (w.HOST6, guest.ports[1])):
            sockets = []
            for i in range(100):
                s = socket.socket(w.family_of(address), socket.SOCK_DGRAM)
                self.addCleanup(s.close)
                s.settimeout(5)
                s.connect((address, port))
                s.send(b"%d" % i)
                sockets.append(s)
            for i, s in enumerate(sockets):
                self.assertEqual(s.recv(100), b"%d" % i)
        message = os.urandom(30000)
        self.assertEqual(w.udp("127.0.0.1", guest.ports[0], message), message)
        # Two clients with one port, on two addresses that both look like the gateway's to the guest.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as a, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as b:
            a.bind(("127.0.0.1", 0))
            b.bind(("127.0.0.2", a.getsockname()[1]))
            for s in (a, b):
                s.settimeout(5)
                s.connect(("127.0.0.1", guest.ports[0]))
            a.send(b"a")
            b.send(b"b")
            self.assertEqual((a.recv(10), b.recv(10)), (b"a", b"b"))

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            guest = self.guest(f"port={port}:80", expect_failure=True)
            self.assertTrue(guest.failed)
            self.assertIn(f"host port {port}/tcp on 127.0.0.1 is in use", guest.refusal)
        first = self.guest("port=0:80")
        guest = self.guest(f"port={first.ports[0]}:80", expect_failure=True)
        self.assertIn("is in use", guest.refusal)
        guest = self.guest("port=9.9.9.9:8080:80", expect_failure=True)
        self.assertIn("this host does not have that address", guest.refusal)

    def test_before_the_workload_listens(self):
        """The port is open at once; a connection before the workload listens is refused, and the next one served."""
        guest = self.guest(f"port=0:{PORT}")
        self.assertIn(w.tcp("127.0.0.1", guest.ports[0], HELLO, 5), (w.REFUSED, b""))
        self.serve(guest, w.echo_server, PORT)
        self.assertEqual(w.tcp("127.0.0.1", guest.ports[0]), HELLO)

    def test_file_by_published_port(self):
        """nginx in the guest serves a large file to one client, and parts of it to many at once."""
        guest = self.guest("scope=group", "port=0:80", "port=[::1]:0:80")
        self.nginx(guest)
        self.assertEqual(fetch("127.0.0.1", guest.ports[0], FILE_SIZE), self.sums[FILE_SIZE])
        size = min(self.sums)
        self.assertEqual(fetch_all("127.0.0.1", guest.ports[0], size, CLIENTS), {self.sums[size]})
        self.assertEqual(fetch_all("::1", guest.ports[1], size, 4), {self.sums[size]})

    def test_file_from_outside(self):
        """The guest fetches a large file from a server outside, and parts of it many times at once."""
        guest = self.guest("scope=public")
        self.nginx(self.world.internet)
        self.assertEqual(guest.call(fetch, "8.8.8.8", 80, FILE_SIZE, timeout=120), self.sums[FILE_SIZE])
        size = min(self.sums)
        self.assertEqual(guest.call(fetch_all, "8.8.8.8", 80, size, CLIENTS, timeout=120), {self.sums[size]})
        self.assertEqual(guest.call(fetch, "2606:4700::1111", 80, size, timeout=120), self.sums[size])

    def test_upload(self):
        """The guest sends a lot, to somebody who reads slowly at first."""
        guest = self.guest("scope=public")
        message = os.urandom(64 << 20)
        self.serve(self.world.internet, w.echo_server, PORT)
        self.assertEqual(guest.call(w.tcp, "8.8.8.8", PORT, message, 30), message)

    def test_hang_ups(self):
        """Clients that hang up half-way, in every way, harm nobody: the next one is served, and nothing is left open."""
        guest = self.guest("scope=public", "port=0:80")
        self.nginx(guest)
        before = num_fds(guest.info["device"])
        for i in range(60):
            s = socket.create_connection(("127.0.0.1", guest.ports[0]))
            if i % 3:
                s.sendall(b"GET /file HTTP/1.0\r\n\r\n")
                s.recv(100000)
            if i % 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()
        size = min(self.sums)
        self.assertEqual(fetch("127.0.0.1", guest.ports[0], size), self.sums[size])
        deadline = time.monotonic() + 20
        while num_fds(guest.info["device"]) > before and time.monotonic() < deadline:
            time.sleep(0.2)
        self.assertLessEqual(num_fds(guest.info["device"]), before)

    def test_half_close(self):
        """A client that has said everything still gets the whole answer."""
        guest = self.guest("scope=public", f"port=0:{PORT}")
        self.serve(guest, w.echo_server, PORT)
        message = os.urandom(16 << 20)
        self.assertEqual(w.tcp("127.0.0.1", guest.ports[0], message, 20), message)

    def test_too_many_connections(self):
        """More connections than there may be: the rest waits, and memory stays bounded."""
        guest = self.guest("scope=group", f"port=0:{PORT}")
        self.serve(guest, w.echo_server, PORT)
        sockets = []
        try:
            for _ in range(1200):
                s = socket.create_connection(("127.0.0.1", guest.ports[0]), timeout=10)
                s.settimeout(20)
                sockets.append(s)
            for s in sockets[:900]:
                s.sendall(HELLO)
            for s in sockets[:900]:
                self.assertEqual(s.recv(10), HELLO)
            for s in sockets[:900]:
                s.close()
            for s in sockets[900:]:
                s.sendall(HELLO)
            for s in sockets[900:]:
                self.assertEqual(s.recv(10), HELLO)
        finally:
            for s in sockets:
                s.close()
        self.assertLess(num_fds(guest.info["device"]), 1024)

    def test_flood_of_flows(self):
        """A guest that opens flows without end is limited, others are not, and it recovers."""
        self.serve(self.world.internet, w.echo_server, PORT)
        self.serve(self.world.internet, w.echo_server, PORT + 1)  # what floods the one loses datagrams in its queue, whoever sent them
        flooder, other = self.guest("scope=public"), self.guest("scope=public")
        flooder.call(open_flows, "8.8.8.8", PORT)
        self.assertLessEqual(num_fds(flooder.info["device"]), 1024)
        self.assertEqual(other.call(w.tcp, "8.8.8.8", PORT + 1), HELLO)
        self.assertLess(resident(flooder.info["device"]), 512 << 20)
        deadline = time.monotonic() + 30
        while flooder.call(w.tcp, "8.8.8.8", PORT) != HELLO:
            self.assertLess(time.monotonic(), deadline)
        # Datagrams from more ports than there may be sockets.
        flooder.call(send_from_ports, "8.8.8.8", PORT, 3000)
        self.assertLessEqual(num_fds(flooder.info["device"]), 1024)
        self.assertLess(resident(flooder.info["device"]), 512 << 20)
        self.assertEqual(other.call(w.udp, "8.8.8.8", PORT + 1), HELLO)


def from_address(source, address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.settimeout(5)
        s.bind((source, 0))
        s.connect((address, port))
        s.sendall(HELLO)
        s.shutdown(socket.SHUT_WR)
        return s.recv(100)


def open_flows(address, port):
    """TCP connections until no more succeed."""
    sockets = []
    for _ in range(1500):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.settimeout(0.5)
        try:
            s.connect((address, port))
        except OSError:
            s.close()
            break
        sockets.append(s)
    for s in sockets:
        s.close()


def send_from_ports(address, port, count):
    for i in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("", 2000 + i))
            s.sendto(HELLO, (address, port))


def num_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        fields = file.read().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGESIZE")


if __name__ == "__main__":
    if not shutil.which("nginx"):
        sys.exit("needs nginx")
    w.enter()
    unittest.main(verbosity=2)
