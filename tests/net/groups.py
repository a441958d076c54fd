#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Groups: who reaches whom, by address and by name, by broadcast; who dies and comes back; and what a hostile member cannot do."""
import os
import socket
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import world as w  # pylint: disable=wrong-import-position

PORT = 7777
RESOLVER4 = "169.254.1.2"
HELLO = b"hello"
SUBNET, OTHER = "10.1.2.0/24", "10.1.3.0/24"


def receive_broadcast(ready, port, timeout):
    """Who sent what to a port, within a time."""
    received = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", port))
        ready()
        deadline = time.monotonic() + timeout
        try:
            while True:
                s.settimeout(max(0.001, deadline - time.monotonic()))
                received.append((s.recvfrom(100)[1][0]))
        except socket.timeout:
            return received


def send_broadcast(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", b"\0" * 4, b"\0" * 4,
                                                                            socket.if_nametoindex("eth0")))
        s.sendto(HELLO, (address, port))


def neighbours():
    with os.popen("ip neigh show dev eth0") as file:
        return file.read()


def send_frames(frames):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("eth0", 0))
        for frame in frames:
            s.send(frame)


def sniff(seconds):
    """Every frame that comes in within a time."""
    frames = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:
        s.bind(("eth0", 3))
        deadline = time.monotonic() + seconds
        try:
            while True:
                s.settimeout(max(0.001, deadline - time.monotonic()))
                frame, sender = s.recvfrom(70000)
                if sender[2] != socket.PACKET_OUTGOING:
                    frames.append(frame)
        except socket.timeout:
            return frames


def mac_of(ip):
    return b"\x52\x54" + socket.inet_aton(ip)


def arp(operation, sender_mac, sender, target_mac, target, source_mac=None, destination=b"\xff" * 6):
    return (destination + (source_mac or sender_mac) + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, operation) + sender_mac +
            socket.inet_aton(sender) + target_mac + socket.inet_aton(target))


def udp_frame(source_mac, destination_mac, source, destination):
    udp = struct.pack("!HHHH", 9, PORT, 8 + len(HELLO), 0) + HELLO
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + socket.inet_aton(source) + socket.inet_aton(destination)
    header = header[:10] + struct.pack("!H", w.checksum(header)) + header[12:]
    return destination_mac + source_mac + b"\x08\0" + header + udp


def icmp6_frame(source_mac, destination_mac, source, destination, message):
    source, destination = socket.inet_pton(socket.AF_INET6, source), socket.inet_pton(socket.AF_INET6, destination)
    total = w.checksum(source + destination + struct.pack("!II", len(message), 58) + message)
    message = message[:2] + struct.pack("!H", total) + message[4:]
    return destination_mac + source_mac + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + source + destination + message


class Groups(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = w.World(["8.8.8.8", "10.7.7.7"])
        cls.jobs = [cls.world.internet.serve(w.echo_server, PORT)]

    @classmethod
    def tearDownClass(cls):
        for job in cls.jobs:
            job.kill()
        cls.world.end()

    def guest(self, *arguments, **options):
        guest = w.Guest(self.world, *arguments, **options)
        if not guest.failed:
            self.addCleanup(lambda: guest.wire.poll() is None and guest.end())
        return guest

    def server(self, guest):
        job = guest.serve(w.echo_server, PORT)
        self.addCleanup(job.kill)

    def assert_reaches(self, guest, address, reaches=True):
        for protocol in (w.tcp, w.udp):
            self.assertEqual(guest.call(protocol, address, PORT, HELLO, 5 if reaches else 0.5) == HELLO, reaches, address)
        self.assertEqual(guest.call(w.ping, address, HELLO, 5 if reaches else 0.5) == HELLO, reaches, address)

    def test_two_groups(self):
        """Three sandboxes in one group, two in another: everyone reaches whom they should, by address and name, and nobody else."""
        scopes = ["group", "public", "any"]
        group = [self.guest(f"subnet={SUBNET}", f"scope={scopes[i]}", f"name=One{i}") for i in range(3)]
        other = [self.guest(f"subnet={OTHER}", f"scope={scopes[i]}", f"name=two{i}") for i in range(2)]
        for guest in group + other:
            self.server(guest)
        self.assertEqual([guest.ip for guest in group], ["10.1.2.2", "10.1.2.3", "10.1.2.4"])
        for members, others, prefix, foreign in ((group, other, "one", "two"), (other, group, "two", "one")):
            for i, guest in enumerate(members):
                for j, member in enumerate(members):
                    self.assertEqual(guest.call(w.resolve, f"{prefix}{j}", RESOLVER4), [member.ip])
                    self.assertEqual(guest.call(w.resolve, f"{prefix}{j}".upper(), RESOLVER4, 28), [member.ip6])
                    if i != j:
                        self.assert_reaches(guest, member.ip)
                        self.assert_reaches(guest, member.ip6)
                for j, stranger in enumerate(others):
                    self.assertNotEqual(guest.call(w.resolve, f"{foreign}{j}", RESOLVER4, 1, 0.5), [stranger.ip])
                    self.assert_reaches(guest, stranger.ip, False)
                    self.assert_reaches(guest, stranger.ip6, False)
        self.assertEqual(group[0].call(w.resolve, "public.test", RESOLVER4), 3)
        self.assert_reaches(group[0], "8.8.8.8", False)
        self.assert_reaches(group[1], "8.8.8.8")

    def test_broadcast(self):
        group = [self.guest(f"subnet={SUBNET}") for _ in range(3)]
        other = self.guest(f"subnet={OTHER}", "scope=any")
        for destination in ("10.1.2.255", "255.255.255.255", "224.0.0.251"):
            listeners = [guest.serve_result(receive_broadcast, PORT + 1, 1) for guest in group[1:] + [other]]
            for guest in group[1:] + [other]:
                guest.sh("ip addr add 224.0.0.251/32 dev eth0 autojoin 2>/dev/null || true")
            group[0].call(send_broadcast, destination, PORT + 1)
            self.assertEqual([job.result() for job in listeners], [[group[0].ip]] * 2 + [[]], destination)

    def test_large_frames(self):
        """Nothing on the wire between members is cut."""
        group = [self.guest(f"subnet={SUBNET}") for _ in range(2)]
        self.server(group[1])
        message = os.urandom(60000)
        self.assertEqual(group[0].call(w.udp, group[1].ip, PORT, message), message)
        self.assertEqual(group[0].call(w.udp, group[1].ip6, PORT, message), message)
        message = os.urandom(32 << 20)
        self.assertEqual(group[0].call(w.tcp, group[1].ip, PORT, message, 30), message)

    def test_small_mtu(self):
        """Segments larger than the receiver's MTU, and fragments."""
        group = [self.guest(f"subnet={SUBNET}", "mtu=1500") for _ in range(2)]
        self.server(group[1])
        message = os.urandom(9000)
        for address in (group[1].ip, group[1].ip6):
            self.assertEqual(group[0].call(w.udp, address, PORT, message), message)
        message = os.urandom(8 << 20)
        self.assertEqual(group[0].call(w.tcp, group[1].ip, PORT, message, 30), message)

    def test_without_offloads(self):
        """A driver without checksum offload and mergeable buffers."""
        group = [self.guest(f"subnet={SUBNET}", "plain"), self.guest(f"subnet={SUBNET}")]
        message = os.urandom(4 << 20)
        for i in range(2):
            self.server(group[1 - i])
            self.assertEqual(group[i].call(w.tcp, group[1 - i].ip, PORT, message, 30), message)

    def test_one_dies_and_comes_back(self):
        group = [self.guest(f"subnet={SUBNET}", f"name=n{i}") for i in range(3)]
        self.server(group[0])
        self.assert_reaches(group[1], group[0].ip)
        dead = group[0].ip
        group[0].kill()
        self.assertNotEqual(group[1].call(w.udp, dead, PORT, HELLO, 0.5), HELLO)
        again = self.guest(f"subnet={SUBNET}", f"ip={dead}", "name=n0")
        self.server(again)
        for guest in group[1:]:
            self.assertEqual(guest.call(w.resolve, "n0", RESOLVER4), [dead])
            self.assert_reaches(guest, dead)

    def test_dead_sockets_are_cleaned_up(self):
        first, second = self.guest(f"subnet={SUBNET}"), self.guest(f"subnet={SUBNET}")
        sockets = os.path.join(self.world.runtime, ".net", "10.1.2.0-24", "sockets")
        self.assertEqual(sorted(os.listdir(sockets)), [first.ip, second.ip])
        first.kill()
        third = self.guest(f"subnet={SUBNET}", "ip=10.1.2.77")
        self.assertEqual(sorted(os.listdir(sockets)), [second.ip, third.ip])
        second.end()
        third.end()
        self.assertEqual(os.listdir(os.path.join(self.world.runtime, ".net")), ["lock"])

    @unittest.skipIf(os.environ.get("MSB_TEST_AS_USER"), "there is only one user")
    def test_other_users(self):
        """Nobody but the user gets at the group's directory, whatever they know."""
        guest = self.guest(f"subnet={SUBNET}")
        group = os.path.join(self.world.runtime, ".net", "10.1.2.0-24")
        for path in (os.path.dirname(group), group, os.path.join(group, "sockets")):
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o700, path)
        os.chmod(self.world.runtime, 0o755)
        frame = udp_frame(mac_of("10.1.2.9"), mac_of(guest.ip), "10.1.2.9", guest.ip)
        self.assertEqual(self.world.host.call(send_as_nobody, os.path.join(group, "sockets", guest.ip), frame), "PermissionError")

    def test_address_and_name_taken(self):
        guest = self.guest(f"subnet={SUBNET}", "ip=10.1.2.9", "name=web")
        refused = self.guest(f"subnet={SUBNET}", "ip=10.1.2.9", expect_failure=True)
        self.assertTrue(refused.failed)
        self.assertIn('ip "10.1.2.9" is taken', refused.refusal)
        refused = self.guest(f"subnet={SUBNET}", "name=WEB", expect_failure=True)
        self.assertTrue(refused.failed)
        self.assertIn('name "web" is taken', refused.refusal)
        self.assertNotEqual(self.guest(f"subnet={SUBNET}").ip, guest.ip)

    def test_spoofing(self):
        """Frames of a hostile guest reach nobody: neither the group nor the outside, and no table of neighbours changes."""
        evil, victim, third = [self.guest(f"subnet={SUBNET}", "scope=any") for _ in range(3)]
        self.server(third)
        self.assert_reaches(victim, third.ip)
        self.assert_reaches(victim, third.ip6)
        own, gateway = mac_of(evil.ip), b"\x52\x55\0\0\0\1"
        frames = [
            arp(2, own, third.ip, mac_of(victim.ip), victim.ip, destination=mac_of(victim.ip)),
            arp(2, own, "169.254.1.1", mac_of(victim.ip), victim.ip, destination=mac_of(victim.ip)),
            arp(1, own, third.ip, b"\0" * 6, third.ip),
            arp(1, own, third.ip, b"\0" * 6, victim.ip),
            arp(2, mac_of(third.ip), third.ip, mac_of(victim.ip), victim.ip, destination=mac_of(victim.ip)),
            arp(2, b"\x02\0\0\0\0\1", third.ip, mac_of(victim.ip), victim.ip, source_mac=own, destination=mac_of(victim.ip)),
            udp_frame(own, mac_of(victim.ip), third.ip, victim.ip),
            udp_frame(mac_of(third.ip), mac_of(victim.ip), third.ip, victim.ip),
            udp_frame(own, mac_of(victim.ip), "8.8.8.8", victim.ip),
            udp_frame(own, mac_of(victim.ip), evil.ip, third.ip),
            udp_frame(own, mac_of(victim.ip), evil.ip, "8.8.8.8"),
            udp_frame(own, gateway, third.ip, "10.7.7.7"),
            udp_frame(mac_of(third.ip), gateway, third.ip, "10.7.7.7"),
        ]
        target = socket.inet_pton(socket.AF_INET6, third.ip6)
        advert = b"\x88\0\0\0\x60\0\0\0" + target + b"\2\1" + own
        solicit = b"\x87\0\0\0\0\0\0\0" + socket.inet_pton(socket.AF_INET6, victim.ip6) + b"\1\1" + own
        router = b"\x86\0\0\0\x40\0\xff\xff" + b"\0" * 8 + b"\1\1" + own
        redirect = b"\x89\0\0\0\0\0\0\0" + target + socket.inet_pton(socket.AF_INET6, "2606:4700::1")
        for message in (advert, router, redirect):
            for source in (evil.ip6, third.ip6, "fe80::1"):
                frames.append(icmp6_frame(own, mac_of(victim.ip), source, victim.ip6, message))
                frames.append(icmp6_frame(own, b"\x33\x33\0\0\0\1", source, "ff02::1", message))
        frames.append(icmp6_frame(own, mac_of(victim.ip), third.ip6, victim.ip6, solicit))
        before = victim.call(neighbours), third.call(neighbours)
        sniffers = [guest.start(sniff, 1.5) for guest in (victim, third)]
        outside = self.world.internet.start(sniff_veth, 1.5)
        time.sleep(0.5)
        evil.call(send_frames, frames)
        for job in sniffers:
            self.assertEqual([frame for frame in job.result() if own in frame[:42] or HELLO in frame], [])
        self.assertEqual([frame for frame in outside.result() if HELLO in frame], [])
        for guest, table in zip((victim, third), before):
            for line in guest.call(neighbours).splitlines():
                self.assertNotIn(own.hex(":"), line.replace(evil.ip, "") if not line.startswith(evil.ip + " ") else "")
            self.assertEqual(sorted(entry(line) for line in guest.call(neighbours).splitlines()),
                             sorted(entry(line) for line in table.splitlines()))
        self.assert_reaches(victim, third.ip)
        # What is its own still passes.
        listener = victim.serve_result(receive_broadcast, PORT, 1)
        evil.call(send_frames, [udp_frame(own, mac_of(victim.ip), evil.ip, victim.ip)])
        self.assertEqual(listener.result(), [evil.ip])

    def test_flood(self):
        """A member that floods another disturbs neither the others nor the one, and memory stays bounded."""
        flooder, victim, third = [self.guest(f"subnet={SUBNET}") for _ in range(3)]
        self.server(third)
        self.server(victim)
        self.assert_reaches(third, victim.ip)
        job = flooder.start(flood, victim.ip, 3)
        time.sleep(0.5)
        for _ in range(5):
            self.assertEqual(third.call(w.tcp, victim.ip, PORT, HELLO, 5), HELLO)
            self.assertEqual(victim.call(w.tcp, third.ip, PORT, HELLO, 5), HELLO)
        job.result()
        for guest in (flooder, victim, third):
            self.assertLess(resident(guest.info["device"]), 96 << 20)


def send_as_nobody(path, frame):
    os.setresuid(w.NOBODY, w.NOBODY, w.NOBODY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        try:
            s.sendto(frame, path)
            return "sent"
        except OSError as error:
            return type(error).__name__


def entry(line):
    """A neighbour's address and MAC address, without its state."""
    words = line.split()
    return words[0], words[words.index("lladdr") + 1] if "lladdr" in words else ""


def sniff_veth(seconds):
    frames = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:
        s.bind(("veth1", 3))
        deadline = time.monotonic() + seconds
        try:
            while True:
                s.settimeout(max(0.001, deadline - time.monotonic()))
                frames.append(s.recv(70000))
        except socket.timeout:
            return frames


def flood(address, seconds):
    message, deadline = b"\0" * 60000, time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        while time.monotonic() < deadline:
            s.sendto(message, (address, 9))


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        fields = file.read().split()
    # Not what is shared: guest memory.
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGESIZE")


if __name__ == "__main__":
    w.enter()
    unittest.main(verbosity=2)
