#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scopes, with Linux's stack as the guest: what each reaches and what it does not, whatever a guest tries."""
import os
import socket
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import world as w  # pylint: disable=wrong-import-position

PORT = 7777
PUBLIC = ["8.8.8.8", "1.2.3.4", "2606:4700::1111", "2001:4860:4860::8888"]
PRIVATE = ["10.7.7.7", "172.20.0.1", "192.168.9.9", "100.64.3.3", "169.254.169.254", "192.0.2.8", "198.18.9.9", "203.0.113.7",
           "240.0.0.9", "fc00::7", "fd00:ec2::254", "2001:db8::5", "64:ff9b::a00:1", "2002:a07:707::1"]
PUBLIC_FORMS = ["64:ff9b::808:808", "2002:808:808::1"]
GATEWAY4, GATEWAY6 = "169.254.1.1", "fd6d:7362:ffff:ffff::1"
RESOLVER4, RESOLVER6 = "169.254.1.2", "fd6d:7362:ffff:ffff::2"
SCOPES = ["group", "public", "any"]
HELLO = b"hello"


class Scopes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = w.World(PUBLIC + PRIVATE + PUBLIC_FORMS)
        cls.log = os.path.join(cls.world.runtime, "packets")
        cls.jobs = [cls.world.internet.serve(w.echo_server, PORT), cls.world.host.serve(w.echo_server, PORT),
                    cls.world.internet.serve(w.watch_packets, cls.log)]

    @classmethod
    def tearDownClass(cls):
        for job in cls.jobs:
            job.kill()
        cls.world.end()

    def guest(self, *arguments):
        guest = w.Guest(self.world, *arguments)
        self.addCleanup(guest.end)
        return guest

    def seen(self):
        """Where packets went that came to the internet since the last call."""
        with open(self.log, encoding="ascii") as file:
            seen = set(file.read().split())
        with open(self.log, "w", encoding="ascii"):
            pass
        return seen

    def assert_reaches(self, guest, address, reaches):
        expected = HELLO if reaches else w.REFUSED
        for protocol in (lambda: w.tcp(address, PORT), lambda: w.udp(address, PORT), lambda: w.ping(address)):
            self.assertEqual(guest.call(protocol), expected, address)

    def test_classes(self):
        for scope in SCOPES:
            with self.subTest(scope):
                guest = self.guest(f"scope={scope}")
                self.seen()
                for address in PUBLIC + PUBLIC_FORMS:
                    self.assert_reaches(guest, address, scope != "group")
                for address in PRIVATE:
                    self.assert_reaches(guest, address, scope == "any")
                forbidden = set(PRIVATE if scope == "public" else [] if scope == "any" else PRIVATE + PUBLIC + PUBLIC_FORMS)
                self.assertEqual(self.seen() & forbidden, set())

    def test_host(self):
        """The host's loopback by way of the gateway; its own private address."""
        for scope in SCOPES:
            with self.subTest(scope):
                guest = self.guest(f"scope={scope}")
                for address in (GATEWAY4, GATEWAY6, w.HOST_LAN4, w.HOST_LAN6):
                    self.assert_reaches(guest, address, scope == "any")

    def test_resolver(self):
        """The host's resolver, private as it may be, under public and any, and only by way of the built-in one."""
        records = {"public.test": ["8.8.8.8", "2606:4700::1111"], "rebind.test": ["8.8.8.8", "10.7.7.7"],
                   "private6.test": ["fc00::7"], "metadata.test": ["169.254.169.254"]}
        job = self.world.internet.serve(w.dns_server, "10.7.7.7", records)
        self.addCleanup(job.kill)
        job = self.world.internet.serve(w.echo_server_at, "10.7.7.7", 53)
        self.addCleanup(job.kill)
        self.world.set_resolver("10.7.7.7")
        for scope in SCOPES:
            with self.subTest(scope):
                guest = self.guest(f"scope={scope}")
                outside = scope != "group"
                self.assertEqual(guest.info["resolvers"], [RESOLVER4] if outside else [])
                self.assertEqual(guest.call(w.resolve, "public.test", RESOLVER4), ["8.8.8.8"] if outside else w.REFUSED)
                self.assertEqual(guest.call(w.resolve, "public.test", RESOLVER4, 28), ["2606:4700::1111"] if outside else w.REFUSED)
                self.assertEqual(guest.call(w.resolve, "none.test", RESOLVER4), 3 if outside else w.REFUSED)
                self.assertEqual(guest.call(w.tcp, RESOLVER4, 53), HELLO if outside else w.REFUSED)
                self.assertEqual(guest.call(w.tcp, RESOLVER4, PORT), w.REFUSED)
                direct = guest.call(w.resolve, "public.test", "10.7.7.7")
                self.assertEqual(direct, ["8.8.8.8"] if scope == "any" else w.REFUSED)
                if not outside:
                    continue
                # A name that turns private is as private as its address.
                turns = [guest.call(w.resolve, "rebind.test", RESOLVER4)[0] for _ in range(2)]
                self.assertEqual(sorted(turns), ["10.7.7.7", "8.8.8.8"])
                for address in turns + guest.call(w.resolve, "private6.test", RESOLVER4, 28) + \
                        guest.call(w.resolve, "metadata.test", RESOLVER4):
                    self.assert_reaches(guest, address, scope == "any" or address == "8.8.8.8")

    def test_resolver_of_the_other_family(self):
        job = self.world.internet.serve(w.dns_server, "2606:4700::1111", {"public.test": ["8.8.8.8"]})
        self.addCleanup(job.kill)
        self.world.set_resolver("2606:4700::1111")
        guest = self.guest("scope=public")
        self.assertEqual(guest.info["resolvers"], [RESOLVER6])
        self.assertEqual(guest.call(w.resolve, "public.test", RESOLVER6), ["8.8.8.8"])

    def test_host_name(self):
        guest = self.guest("scope=any")
        self.assertEqual(guest.info["hosts"], [f"{address} host.microsandbox.internal" for address in (GATEWAY4, GATEWAY6)])
        self.assertEqual(guest.call(w.resolve, "host.microsandbox.internal", RESOLVER4), [GATEWAY4])
        self.assertEqual(guest.call(w.resolve, "Host.Microsandbox.Internal", RESOLVER4, 28), [GATEWAY6])
        self.assertEqual(self.guest("scope=public").info["hosts"], [])

    def test_fragments(self):
        """A guest with a small MTU: what it sends in fragments arrives whole where it may, and not at all where it may not."""
        message = os.urandom(9000)
        for scope in ("public", "any"):
            with self.subTest(scope):
                guest = self.guest(f"scope={scope}", "mtu=1500")
                self.seen()
                for address in ("8.8.8.8", "2606:4700::1111", "10.7.7.7", "fc00::7"):
                    reaches = scope == "any" or address in PUBLIC
                    self.assertEqual(guest.call(w.udp, address, PORT, message), message if reaches else w.REFUSED, address)
                    self.assertEqual(guest.call(w.ping, address, message[:4000]), message[:4000] if reaches else w.REFUSED, address)
                self.assertEqual(self.seen() & {"10.7.7.7", "fc00::7"}, {"10.7.7.7", "fc00::7"} if scope == "any" else set())

    def test_options_and_extension_headers(self):
        self.world.internet.sh("ip route add local 9.9.9.9 dev lo")
        guest = self.guest("scope=public")
        self.seen()
        self.assertEqual(guest.call(udp_with_options, "8.8.8.8"), HELLO)
        self.assertEqual(guest.call(udp_with_options, "10.7.7.7"), w.REFUSED)
        for kind in (socket.IPV6_HOPOPTS, socket.IPV6_DSTOPTS):
            self.assertEqual(guest.call(udp_with_extension, "2606:4700::1111", kind), HELLO)
            self.assertEqual(guest.call(udp_with_extension, "fc00::7", kind), w.REFUSED)
        self.assertEqual(self.seen() & set(PRIVATE), set())

    def test_mapped(self):
        """IPv4-mapped IPv6 addresses on the wire, which only raw sockets can send: they are the IPv4 addresses that they hold."""
        guest = self.guest("scope=public")
        self.seen()
        self.assertEqual(guest.call(syn, guest.ip6, "::ffff:8.8.8.8"), "accepted")
        for address in ("10.7.7.7", "169.254.169.254"):
            self.assertEqual(guest.call(syn, guest.ip6, f"::ffff:{address}"), "reset")
        self.assertEqual(guest.call(syn, guest.ip6, "::ffff:127.0.0.1"), "silent")
        self.assertEqual(self.seen() & set(PRIVATE), set())

    def test_loopback_on_the_wire(self):
        """The host's loopback by its own address, under the scope that reaches everything."""
        guest = self.guest("scope=any")
        for own, address in ((guest.ip, "127.0.0.1"), (guest.ip, "0.0.0.0"), (guest.ip6, "::1"), (guest.ip6, "::127.0.0.1")):
            self.assertEqual(guest.call(syn, own, address), "silent", address)
        self.assertIn("to 127.0.0.1, port 40000 to 7777: to no address that is on a wire", guest.log())
        self.assertEqual(guest.call(syn, guest.ip, GATEWAY4), "accepted")

    def test_log(self):
        """One line for each refused flow, and what was counted at the end."""
        guest = w.Guest(self.world, "scope=public")
        for port in (9, 10):
            self.assertEqual(guest.call(send_datagrams, "10.7.7.7", port, 5), [w.REFUSED] * 5)
        lines = [line for line in guest.log().splitlines() if f"refused: UDP from {guest.ip} to 10.7.7.7, port 4444 to " in line]
        self.assertEqual([line.rsplit("to ", 1)[1] for line in lines], ["9: outside of the scope", "10: outside of the scope"])
        self.assertIn("refused 10 packets: outside of the scope", guest.end())


class WithoutRoute(unittest.TestCase):
    def test_without_route(self):
        """No default route: a message, and a sandbox that runs, whose connections fail at once."""
        world = w.World([])
        self.addCleanup(world.end)
        w.sh("ip route del default; ip -6 route del default")
        guest = w.Guest(world, "scope=public")
        self.addCleanup(guest.end)
        self.assertIn("this host has no route to the internet", guest.log())
        self.assertEqual(guest.call(w.tcp, "8.8.8.8", PORT), w.REFUSED)
        self.assertEqual(guest.call(w.tcp, "2606:4700::1111", PORT), w.REFUSED)
        self.assertEqual(guest.call(w.ping, "8.8.8.8"), w.REFUSED)


def send_datagrams(address, port, count):
    """One after the other, each when the one before was refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", 4444))
        return [converse(s, address, port) for _ in range(count)]


def udp_with_options(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x07\x07\x04\0\0\0\0\0")  # record route
        return converse(s, address)


def udp_with_extension(address, kind):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_IPV6, kind, b"\0\0\x01\x04\0\0\0\0")
        return converse(s, address)


def converse(s, address, port=PORT):
    s.settimeout(10)
    try:
        s.connect((address, port))
        s.send(HELLO)
        return s.recv(1000)
    except OSError as error:
        return w.classify_error(error)


def syn(own, address):
    """One TCP segment with SYN, made by hand for the gateway: what comes back from that address."""
    v6 = ":" in address
    source, destination = (socket.inet_pton(w.family_of(address), a) for a in (own, address))
    tcp = struct.pack("!HHIIBBHHH", 40000, PORT, 1, 0, 0x50, 2, 1000, 0, 0)
    total = w.checksum(source + destination + struct.pack("!II", len(tcp), 6) + tcp)
    tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
    if v6:
        header = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + source + destination
    else:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + source + destination
        header = header[:10] + struct.pack("!H", w.checksum(header)) + header[12:]
    ethertype, at = (b"\x86\xdd", 14 + 8) if v6 else (b"\x08\0", 14 + 12)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:
        s.bind(("eth0", 3))
        mac = s.getsockname()[4]
        s.settimeout(2)
        s.send(bytes.fromhex("525500000001") + mac + ethertype + header + tcp)
        try:
            while True:
                frame = s.recv(2000)
                if frame[12:14] == ethertype and frame[at:at + len(destination)] == destination:
                    return "reset" if frame[14 + len(header) + 13] & 4 else "accepted"
        except socket.timeout:
            return "silent"


if __name__ == "__main__":
    w.enter()
    unittest.main(verbosity=2)
