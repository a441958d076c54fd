# SPDX-License-Identifier: Apache-2.0
"""Ports of virtio-vsock in a guest, reached from the host through the sandbox's socket."""
import os
import socket

from harness import equal, test

SERVER = """
import socket
listener = socket.socket(socket.AF_VSOCK)
listener.bind((socket.VMADDR_CID_ANY, 5000))
listener.listen()
print("up", flush=True)
while True:
    client, _ = listener.accept()
    while data := client.recv(65536):
        client.sendall(data.upper())
    client.close()
"""


def connect(t, name, port):
    """A connection through the socket, and the first line of the answer; the path may be too long for an address."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    directory = os.open(t.path(f"run/microsandbox/{name}"), os.O_PATH)
    try:
        client.connect(f"/proc/self/fd/{directory}/vsock")
    finally:
        os.close(directory)
    client.sendall(f"CONNECT {port}\n".encode())
    line = b""
    while not line.endswith(b"\n"):
        byte = client.recv(1)
        if not byte:
            break
        line += byte
    return client, line


@test
def the_host_connects_to_a_port_of_the_guest(t):
    os.mkdir(t.path("run"), 0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": t.path("run")}
    with t.running("--rootfs", "host", "--name", "listener", "--", "python3", "-c", SERVER, env=environment) as process:
        for _ in range(3):
            client, line = connect(t, "listener", 5000)
            assert line.startswith(b"OK "), line
            client.sendall(b"from the host")
            client.shutdown(socket.SHUT_WR)
            equal(client.makefile("rb").read(), b"FROM THE HOST")
            client.close()
        client, line = connect(t, "listener", 5001)
        equal(line, b"")
        client.close()
        process.terminate()
        process.wait(60)
    equal(os.path.exists(t.path("run/microsandbox/listener/vsock")), False)
