# SPDX-License-Identifier: Apache-2.0
"""A small world for tests of the network: network namespaces for a host, the internet behind it, and guests without VMs.

This process is the host: enter() puts it into namespaces of its own first. Behind a veth lies the internet, which has addresses of
every class. A guest is a namespace whose eth0 leads through a virtio driver to a real msb-net (wire.c). Functions run in another
namespace with Namespace.call(), in a child process.
"""
import ctypes
import json
import os
import pickle
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
HOST4, HOST6 = "5.5.5.1", "2a00:5::1"
INTERNET4, INTERNET6 = "5.5.5.2", "2a00:5::2"
HOST_LAN4, HOST_LAN6 = "192.168.7.1", "fd07::1"
TIMEOUT = 10
NOBODY = 65534
REFUSED = "refused"
SILENT = "silent"


def become_user():
    """An ordinary user, who can open tap devices, as everybody can where udev makes them."""
    directory = tempfile.mkdtemp(prefix="msb-net.")
    os.chmod(directory, 0o755)
    os.environ["NET_TUN"] = os.path.join(directory, "tun")
    os.mknod(os.environ["NET_TUN"], 0o666 | stat.S_IFCHR, os.makedev(10, 200))
    os.chmod(os.environ["NET_TUN"], 0o666)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def enter():
    """Runs this program again in new network and mount namespaces; for an ordinary user in a new user namespace, too."""
    if os.environ.get("MSB_TEST_WORLD"):
        return
    os.environ["MSB_TEST_WORLD"] = "1"
    if os.environ.get("MSB_TEST_AS_USER") and os.geteuid() != 0:
        sys.exit(77)  # that is who runs the tests anyway
    if os.environ.get("MSB_TEST_AS_USER") and os.geteuid() == 0:
        become_user()
    flags = "-nm" if os.geteuid() == 0 else "-Urnm"
    # The interpreter may be where the ordinary user cannot reach it.
    python = sys.executable if os.access(sys.executable, os.X_OK) else "/usr/bin/python3"
    os.execvp("unshare", ["unshare", flags, python] + sys.argv)


def sh(command):
    subprocess.run(command, shell=True, check=True)


def setns(pid):
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if LIBC.setns(fd, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(fd)


def close_others(*keep):
    """A child keeps nothing of its parent's: pipes must end when their owner says so."""
    for fd in range(3, 1024):
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass


class Job:
    """A function at work in a child process."""

    def __init__(self, pid, fd):
        self.pid, self.fd = pid, fd

    def wait_ready(self):
        """Until the function called its argument ready()."""
        if os.read(self.fd, 1) != b"R":
            raise AssertionError("a server did not start")
        return self

    def result(self, timeout=60):
        data = b""
        deadline = time.monotonic() + timeout
        while True:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                self.kill()
                raise AssertionError("timeout")
            more = os.read(self.fd, 1 << 16)
            if not more:
                break
            data += more
        os.close(self.fd)
        os.waitpid(self.pid, 0)
        ok, value = pickle.loads(data)
        if not ok:
            raise AssertionError(value)
        return value

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


class Namespace:
    def __init__(self, pid=None):
        self.pid = pid
        self.holder = None
        if pid is None:
            self.holder = self.hold()
            self.pid = self.holder.pid

    @staticmethod
    def hold():
        """A child in a new network namespace that does nothing else."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            close_others(write)
            LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)
            os.write(write, b"R" if LIBC.unshare(CLONE_NEWNET) == 0 else b"E")
            while True:
                signal.pause()
        os.close(write)
        return Job(pid, read).wait_ready()

    def start(self, function, *args, keep=None):
        """Begins function(*args) there; it may use the descriptor kept."""
        read, write = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                close_others(write, keep)
                LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)
                setns(self.pid)
                answer = (True, function(*args))
            except BaseException as error:  # pylint: disable=broad-except
                answer = (False, f"{type(error).__name__}: {error}")
            data = pickle.dumps(answer)
            while data:
                data = data[os.write(write, data):]
            os._exit(0)
        os.close(write)
        return Job(pid, read)

    def serve(self, function, *args):
        """Begins function(ready, *args) there, which calls ready() when others may go on, and runs until it is killed."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                close_others(write)
                LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)
                setns(self.pid)
                function(lambda: os.write(write, b"R"), *args)
            except BaseException as error:  # pylint: disable=broad-except
                print(f"server: {type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os.close(write)
        return Job(pid, read).wait_ready()

    def serve_result(self, function, *args):
        """The same for a function that ends by itself: its result is the job's."""
        read, write = os.pipe()
        job = self.start(lambda: function(lambda: os.write(write, b"R"), *args), keep=write)
        os.close(write)
        Job(job.pid, read).wait_ready()
        os.close(read)
        return job

    def call(self, function, *args, timeout=60):
        return self.start(function, *args).result(timeout)

    def sh(self, command):
        subprocess.run(["nsenter", "-t", str(self.pid), "-n", "sh", "-c", command], check=True)

    def end(self):
        if self.holder:
            self.holder.kill()


class Host(Namespace):
    def __init__(self):
        super().__init__(os.getpid())


class World:
    """The host (this process), and the internet with the addresses given."""

    def __init__(self, addresses):
        self.has_resolver = False
        self.host = Host()
        self.internet = Namespace()
        sh("ip link set lo up")
        sh(f"ip link add veth0 type veth peer name veth1 && ip link set veth1 netns {self.internet.pid}")
        sh("echo 0 >/proc/sys/net/ipv6/conf/veth0/accept_dad; ip link set veth0 up")
        sh(f"ip addr add {HOST4}/24 dev veth0; ip addr add {HOST6}/64 dev veth0 nodad")
        sh(f"ip addr add {HOST_LAN4}/24 dev veth0; ip addr add {HOST_LAN6}/64 dev veth0 nodad")
        self.internet.sh("ip link set lo up; echo 0 >/proc/sys/net/ipv6/conf/veth1/accept_dad; ip link set veth1 up; "
                         f"ip addr add {INTERNET4}/24 dev veth1; ip addr add {INTERNET6}/64 dev veth1 nodad; "
                         f"ip route add {HOST_LAN4} dev veth1; ip -6 route add {HOST_LAN6} dev veth1; "
                         "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
        for address in addresses:
            width = "128 dev lo nodad" if ":" in address else "32 dev lo"
            self.internet.sh(f"ip addr add {address}/{width} 2>/dev/null || ip route add local {address} dev lo")
        sh(f"ip route add default via {INTERNET4} && ip -6 route add default via {INTERNET6}")
        # Ping sockets for everybody who has a group here.
        sh("echo 0 $(awk '{ n = $3 - 1 } END { print n < 2147483647 ? n : 2147483647 }' /proc/self/gid_map) "
           ">/proc/sys/net/ipv4/ping_group_range")
        self.runtime = tempfile.mkdtemp(prefix="msb-net.")

    def set_resolver(self, *addresses):
        path = os.path.join(self.runtime, "resolv.conf")
        with open(path, "w", encoding="ascii") as file:
            file.writelines(f"nameserver {address}\n" for address in addresses)
        if not self.has_resolver:
            sh(f"mount --bind {path} /etc/resolv.conf")
        self.has_resolver = True

    def end(self):
        if self.has_resolver:
            sh("umount -l /etc/resolv.conf")
        self.internet.end()
        sh("ip link del veth0 2>/dev/null || true")
        shutil.rmtree(self.runtime, ignore_errors=True)


class Guest(Namespace):
    """A guest behind msb-net; arguments as wire.c takes them."""

    def __init__(self, world, *arguments, expect_failure=False):
        self.errors = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        self.wire = subprocess.Popen([os.environ["NET_WIRE"], os.environ["MSB_NET"], world.runtime, "log=debug", *arguments],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        line = self.wire.stdout.readline()
        self.failed = not line
        if self.failed:
            self.wire.wait()
            self.refusal = self.log()
            self.kill()
            if not expect_failure:
                raise AssertionError(f"net-wire: {self.refusal}")
            return
        self.info = json.loads(line)
        self.ip, self.ip6, self.ports = self.info["ip"], self.info["ip6"], self.info["ports"]
        super().__init__(self.info["pid"])

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode()

    def configured(self):
        """To be said of a guest that is "late"."""
        self.wire.stdin.write(b"\n")
        self.wire.stdin.flush()

    def end(self):
        """Hangs up; msb-net must end well."""
        self.wire.stdin.close()
        status = self.wire.wait(timeout=TIMEOUT)
        self.wire.stdout.close()
        log = self.log()
        self.errors.close()
        if status != 0:
            raise AssertionError(f"msb-net ended with {status}: {log}")
        return log

    def kill(self):
        """Dies as a monitor that is killed does: without leaving the group."""
        self.wire.kill()
        self.wire.wait()
        self.wire.stdin.close()
        self.wire.stdout.close()
        self.errors.close()


# ---- What a program in a namespace does ------------------------------------------------------------------------------------------

def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


REFUSALS = (ConnectionRefusedError, ConnectionResetError, PermissionError)


def classify_error(error):
    if isinstance(error, REFUSALS) or error.errno in (113, 101, 13, 1):  # EHOSTUNREACH, ENETUNREACH, EACCES, EPERM
        return REFUSED
    if isinstance(error, (socket.timeout, TimeoutError)):
        return SILENT
    raise error


def send_and_end(s, message):
    try:
        s.sendall(message)
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the reader sees it, too


def tcp(address, port, message=b"hello", timeout=10):
    """Connects and has a message echoed: what came back, or how it failed."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as s:
        s.settimeout(timeout)
        try:
            s.connect((address, port))
            sender = threading.Thread(target=send_and_end, args=(s, message), daemon=True)
            sender.start()
            data = bytearray()
            while True:
                more = s.recv(1 << 20)
                if not more:
                    return bytes(data)
                data += more
        except OSError as error:
            return classify_error(error)


def udp(address, port, message=b"hello", timeout=10):
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        try:
            s.connect((address, port))
            s.send(message)
            return s.recv(65536)
        except OSError as error:
            return classify_error(error)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ping(address, payload=b"hello", timeout=10):
    """Echoes by a raw socket, which sees refusals, too."""
    v6 = ":" in address
    with socket.socket(family_of(address), socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP) as s:
        identifier = struct.pack("!HH", os.getpid() & 0xffff, 1)
        request = struct.pack("!BBH", 128 if v6 else 8, 0, 0) + identifier + payload
        if not v6:
            request = request[:2] + struct.pack("!H", checksum(request)) + request[4:]
        deadline = time.monotonic() + timeout
        try:
            s.sendto(request, (address, 0))
            while True:
                s.settimeout(max(0.001, deadline - time.monotonic()))
                data, sender = s.recvfrom(65536)
                if not v6:
                    data = data[(data[0] & 15) * 4:]
                if data[0] == (129 if v6 else 0) and data[4:8] == identifier and sender[0] == address:
                    return data[8:]
                if data[0] == (1 if v6 else 3) and identifier + payload[:4] in data:
                    return REFUSED
        except OSError as error:
            return classify_error(error)


def resolve(name, server, kind=1, timeout=10):
    """A DNS query as a stub resolver sends it: the addresses, or the response code, or how it failed."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0" + struct.pack("!HH", kind, 1)
    answer = udp(server, 53, struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + question, timeout)
    if isinstance(answer, str):
        return answer
    if answer[3] & 15:
        return answer[3] & 15
    at, addresses = 12 + len(question), []
    for _ in range(struct.unpack("!H", answer[6:8])[0]):
        size = struct.unpack("!H", answer[at + 10:at + 12])[0]
        data = answer[at + 12:at + 12 + size]
        addresses.append(socket.inet_ntop(socket.AF_INET if size == 4 else socket.AF_INET6, data))
        at += 12 + size
    return addresses


# ---- Servers ---------------------------------------------------------------------------------------------------------------------

def in_thread(function, *args):
    threading.Thread(target=function, args=args, daemon=True).start()


def listen_tcp(port, address=None):
    if address is None:
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    return socket.create_server((address, port), family=family_of(address), backlog=4096)


def echo_connection(connection, _peer):
    with connection:
        try:
            while True:
                data = connection.recv(1 << 16)
                if not data:
                    return
                connection.sendall(data)
        except OSError:
            pass


def tell_peer(connection, peer):
    with connection:
        while connection.recv(1 << 16):
            pass
        connection.sendall(peer[0].replace("::ffff:", "").encode())


def accept_loop(server, handle):
    while True:
        in_thread(handle, *server.accept())


def listen_udp(address, port):
    """A socket that learns which address a datagram was for."""
    s = socket.socket(family_of(address), socket.SOCK_DGRAM)
    if ":" in address:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        s.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    s.bind((address, port))
    return s


def echo_datagrams(server):
    """Answers from the address that was asked, and says who asked."""
    v6 = server.family == socket.AF_INET6
    with server as s:
        while True:
            data, control, _, peer = s.recvmsg(65536, 256)
            if v6:
                reply = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, control[0][2])]
            else:
                interface, destination, _ = struct.unpack("=i4s4s", control[0][2])
                reply = [(socket.IPPROTO_IP, 8, struct.pack("=i4s4s", interface, destination, b"\0" * 4))]
            try:
                s.sendmsg([data], reply, 0, peer)
            except OSError:
                pass


def echo_server(ready, port):
    """TCP and UDP, every address of the namespace."""
    server = listen_tcp(port)
    for address in ("0.0.0.0", "::"):
        in_thread(echo_datagrams, listen_udp(address, port))
    ready()
    accept_loop(server, echo_connection)


def echo_server_at(ready, address, port):
    """TCP, one address."""
    server = listen_tcp(port, address)
    ready()
    accept_loop(server, echo_connection)


def peer_server(ready, port):
    server = listen_tcp(port)
    ready()
    accept_loop(server, tell_peer)


def dns_server(ready, address, records):
    """Answers from a table: name to a list of addresses, of which each question takes the next."""
    turns = {}
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as s:
        s.bind((address, 53))
        ready()
        while True:
            query, peer = s.recvfrom(512)
            at, labels = 12, []
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            end, kind = at + 5, struct.unpack("!H", query[at + 1:at + 3])[0]
            name = ".".join(labels)
            addresses = [a for a in records.get(name, []) if family_of(a) == (socket.AF_INET if kind == 1 else socket.AF_INET6)]
            turn = turns.get(name, 0)
            turns[name] = turn + 1
            if name not in records:
                s.sendto(query[:2] + struct.pack("!5H", 0x8183, 1, 0, 0, 0) + query[12:end], peer)
                continue
            answer = query[:2] + struct.pack("!5H", 0x8180, 1, 1 if addresses else 0, 0, 0) + query[12:end]
            if addresses:
                packed = socket.inet_pton(socket.AF_INET if kind == 1 else socket.AF_INET6, addresses[turn % len(addresses)])
                answer += struct.pack("!HHHIH", 0xc00c, kind, 1, 0, len(packed)) + packed
            s.sendto(answer, peer)


def watch_packets(ready, path):
    """Notes the destination of every IP packet that comes in, one per line."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as s, open(path, "a", encoding="ascii") as log:
        s.bind(("veth1", 3))
        ready()
        while True:
            data, sender = s.recvfrom(65536)
            if sender[2] == socket.PACKET_OUTGOING:
                continue
            if sender[1] == 0x0800:
                log.write(socket.inet_ntop(socket.AF_INET, data[16:20]) + "\n")
            elif sender[1] == 0x86dd:
                log.write(socket.inet_ntop(socket.AF_INET6, data[24:40]) + "\n")
            log.flush()
