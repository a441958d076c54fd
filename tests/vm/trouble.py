# SPDX-License-Identifier: Apache-2.0
"""Hosts in trouble: full, over quota, broken, read-only, without xattrs, or gone. Where a file system has to be mounted, only as root."""
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time

from harness import equal, expect, need_root, only, skip, test


@contextlib.contextmanager
def mounted(path, *arguments):
    os.mkdir(path)
    subprocess.run(["mount", *arguments, path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@test
def a_full_disk_is_reported(t):
    need_root()
    script = r"""
import errno, os, sys, time
os.chdir(sys.argv[1])
def error(call):
    try:
        call()
    except OSError as e:
        return errno.errorcode[e.errno]
def fill():
    with open("big", "wb", buffering=0) as file:
        for i in range(100):
            file.write(b"x" * 100000)
            os.fsync(file.fileno())
assert error(fill) == "ENOSPC", error(fill)
fd = os.open("other", os.O_CREAT | os.O_RDWR)
assert error(lambda: os.posix_fallocate(fd, 0, 10000000)) == "ENOSPC"
def many():
    for i in range(100000):
        os.mkdir(f"d{i}")
assert error(many) == "ENOSPC"
before = os.statvfs(".")
assert before.f_bavail * before.f_frsize < 100000, before
# Room again: all goes on.
os.unlink("big")
# Linux says to a FUSE server that a file is forgotten when it has time to.
end = time.monotonic() + 10
while os.statvfs(".").f_bavail * os.statvfs(".").f_frsize < 400000 and time.monotonic() < end:
    time.sleep(0.01)
with open("again", "wb") as file:
    file.write(b"y" * 300000)
    file.flush()
    os.fsync(file.fileno())
assert os.path.getsize("again") == 300000
print("good")
"""
    with mounted(t.path("disk"), "-t", "tmpfs", "-o", "size=1M,nr_inodes=500", "none"):
        equal(t.output("-v", f"{t.path('disk')}:/disk", "python3", "-c", script, "/disk"), b"good\n")
        equal(os.path.getsize(t.path("disk/again")), 300000)
    with mounted(t.path("disk2"), "-t", "tmpfs", "-o", "size=4M,nr_inodes=500", "none"):
        shutil.copytree(t.make_root(), t.path("disk2/root"), symlinks=True)
        done = t.run("--rootfs", t.path("disk2/root"), "--", "sh", "-c",
                     "busybox dd if=/dev/zero of=/big bs=100k count=100 conv=fsync 2>&1; echo $?; rm /big; "
                     "until busybox dd if=/dev/zero of=/small bs=100k count=2 conv=fsync 2>/dev/null; do :; done; echo $?")
        assert b"No space left" in done.stdout and done.stdout.endswith(b"\n0\n"), done


F_SEAL_FUTURE_WRITE = 0x10  # Python has it from 3.13 on
LOOP_SET_FD, LOOP_CLR_FD, LOOP_CTL_GET_FREE = 0x4c00, 0x4c01, 0x4c82


@contextlib.contextmanager
def disk(size, *format_command):
    """A block device over a file in memory: its path, and the file."""
    if not shutil.which(format_command[0], path="/usr/sbin:/sbin"):
        skip(f"no {format_command[0]}")
    with contextlib.ExitStack() as stack:
        memory = os.memfd_create("disk", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        stack.callback(os.close, memory)
        os.truncate(memory, size)
        try:
            control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, control)
            path = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            skip(f"no loop device: {error}")
        stack.callback(os.close, device)
        fcntl.ioctl(device, LOOP_SET_FD, memory)
        # It goes when the last one who uses it has closed it.
        stack.callback(fcntl.ioctl, device, LOOP_CLR_FD)
        subprocess.run([*format_command, path], check=True, capture_output=True)
        yield path, memory


def has_file_system(name):
    subprocess.run(["modprobe", "--quiet", name], check=False)
    with open("/proc/filesystems", encoding="ascii") as file:
        if name not in file.read().split():
            skip(f"no {name} in this kernel")


# What is written there is told to have failed at once or, on a root, which is written back, by fsync.
WRITE = r"""
for place in /share /root; do
    busybox dd if=/dev/zero of=$place/big bs=100k count=COUNT conv=fsync && echo "$place took it"
    WHAT
done 2>&1 | busybox grep -v records
"""


def expect_lines(said, *expected):
    """In this order, each with these words in it, and no others."""
    lines = said.decode().splitlines()
    assert len(lines) == len(expected) and all(all(word in line for word in words) for line, words in zip(lines, expected)), said


@test
def a_quota_is_reported(t):
    need_root()
    has_file_system("btrfs")
    with disk(256 << 20, "mkfs.btrfs", "--mixed") as (device, _), mounted(t.path("disk"), device):
        place = t.path("disk/limited")
        subprocess.run(["btrfs", "quota", "enable", t.path("disk")], check=True)
        subprocess.run(["btrfs", "subvolume", "create", place], check=True, capture_output=True)
        shutil.copytree(t.make_root(), f"{place}/root", symlinks=True)
        os.mkdir(f"{place}/share")
        subprocess.run(["btrfs", "qgroup", "limit", "16M", place], check=True)
        options = "--rootfs", f"{place}/root", "-v", f"{place}/share:/share", "--", "sh", "-c"
        done = t.run(*options, WRITE.replace("COUNT", "300").replace("WHAT", "mkdir $place/d"))
        said = "Disk quota exceeded"
        expect_lines(done.stdout, ["/share/big", said], ["/share/d", said], ["/root/big", said], ["/root/d", said])
        subprocess.run(["btrfs", "qgroup", "limit", "none", place], check=True)
        done = t.run(*options, "mkdir /share/e && echo x >/share/e/f && sync && cat /share/e/f")
        equal((done.stdout, done.stderr), (b"x\n", b""))


@test
def a_broken_disk_is_reported(t):
    need_root()
    with disk(64 << 20, "mkfs.ext4", "-q", "-F", "-O", "^has_journal") as (device, memory):
        with mounted(t.path("disk"), device) as where:
            shutil.copytree(t.make_root(), f"{where}/root", symlinks=True)
            os.makedirs(f"{where}/share")
            with t.running("--rootfs", f"{where}/root", "-v", f"{where}/share:/share", "--", "sh", "-c",
                           "echo up; read -r _" + WRITE.replace("COUNT", "3").replace("WHAT", "busybox dd if=$place/data of=/dev/null"),
                           ) as process:
                for place in f"{where}/share", f"{where}/root/root":
                    with open(f"{place}/data", "wb", buffering=0) as file:
                        file.write(bytes(12 << 20))
                        os.fsync(file.fileno())
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                # From here on it takes no more writes, and has nothing behind its first part.
                fcntl.fcntl(memory, fcntl.F_ADD_SEALS, F_SEAL_FUTURE_WRITE)
                os.truncate(memory, 8 << 20)
                said, errors = process.communicate(b"\n", timeout=60)
    words = "Input/output error"
    expect_lines(said, ["/share/big", words], ["/share/data", words], ["/root/big", words], ["/root/data", words])
    equal(errors, b"")


@test
def a_read_only_file_system_of_the_host_refuses_changes(t):
    need_root()
    os.mkdir(t.path("source"))
    with open(t.path("source/file"), "w", encoding="ascii") as file:
        file.write("content")
    os.symlink("file", t.path("source/link"))
    with mounted(t.path("disk"), "-t", "tmpfs", "none") as disk:
        shutil.copytree(t.path("source"), disk, symlinks=True, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        # Not asked to be read-only, so that it is the host's kernel that says so.
        done = t.host("-v", f"{disk}:/disk", "--", "sh", "-c",
                      "cd /disk; cat file; echo x >file; echo x >new; rm file; mkdir d; mv file e; ln file e; ln -s a b; chmod 600 file; "
                      "chown 1 file; chown -h 1 link; touch file; mkfifo f; truncate -s 1 file; setfattr -n user.a file 2>/dev/null; "
                      "python3 -c 'import os; os.setxattr(\"file\", \"user.a\", b\"\")'; cat file")
        equal(done.stdout, b"contentcontent")
        equal(done.stderr.count(b"Read-only file system"), 14)


@test
def without_xattrs_ownership_lasts_as_long_as_the_vm(t):
    need_root()
    with mounted(t.path("plain"), "-t", "ramfs", "none") as plain:
        os.mkdir(os.path.join(plain, "upper"))
        done = t.host("-v", f"{plain}:/plain", "--", "sh", "-c",
                      "cd /plain; touch f; chown 33:44 f; chmod 4755 f; mkfifo p; stat -c '%u:%g %a %F' f p")
        expect(done, 0, "without user xattrs")
        equal(done.stdout, b"33:44 4755 regular empty file\n0:0 644 fifo\n")
        equal(os.stat(os.path.join(plain, "f")).st_mode, 0o100755)
        done = t.run("--layer", t.make_root(), "--upper", os.path.join(plain, "upper"), "true")
        expect(done, 125, "without user xattrs")
        # What is only read needs none.
        equal(t.host("-v", f"{plain}:/plain:ro", "true").stderr, b"")


@test
def a_directory_that_goes_away_is_an_error_and_no_more(t):
    os.makedirs(t.path("share/inner/deep"))
    with open(t.path("share/inner/deep/file"), "w", encoding="ascii") as file:
        file.write("content\n")
    script = r"""
cd /share/inner/deep; exec 3<file; cat file; echo up; read -r _
cat <&3; cat file; ls .; echo x >new; mkdir d; stat file; cd /share && ls; echo new >again && cat again; echo end
"""
    with t.running("--rootfs", "host", "-v", f"{t.path('share')}:/share", "sh", "-c", script, until=b"content\nup\n") as process:
        shutil.rmtree(t.path("share/inner"))
        process.stdin.write(b"\n")
        process.stdin.flush()
        said, errors = process.communicate(timeout=60)
    # What is open is still there.
    equal(said, b"content\nnew\nend\n")
    assert errors.count(b"No such file") + errors.count(b"Stale file handle") >= 3 and b"cannot create new" in errors, errors
    # The mapped directory itself.
    with t.running("--rootfs", "host", "-v", f"{t.path('share')}:/share", "sh", "-c",
                   "cd /share; echo up; read -r _; ls; cat again; echo x >new; ls /usr >/dev/null && echo end") as process:
        shutil.rmtree(t.path("share"))
        time.sleep(0.1)
        process.stdin.write(b"\n")
        process.stdin.flush()
        said, errors = process.communicate(timeout=60)
    assert said.endswith(b"end\n") and errors.count(b"No such file") + errors.count(b"Stale file handle") >= 1, (said, errors)


NOBODY = 65534  # who devices and engines are where root starts them

HOLD = r"""
import os, resource, socket, sys
uid, count = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
os.setresuid(uid, uid, uid)
here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
for _ in range(count // 200):
    socket.send_fds(here, [b"x"], [0] * 200)
print("held", flush=True)
sys.stdin.read()
"""  # until its input is closed


@contextlib.contextmanager
def descriptors_on_their_way(count):
    """Of the user's and of the one that devices and engines are, in sockets that nobody reads."""
    with contextlib.ExitStack() as stack:
        for uid in {os.getuid(), os.getuid() or NOBODY}:
            holder = stack.enter_context(subprocess.Popen([sys.executable, "-c", HOLD, str(uid), str(count)], stdin=subprocess.PIPE,
                                                          stdout=subprocess.PIPE))
            equal(holder.stdout.readline(), b"held\n")
        yield


def with_limit(t, option, limit):
    return subprocess.run(["sh", "-c", f'ulimit {option} {limit}; exec "$@"', "sh",
                           *t.command("--rootfs", "host", "--scope", "none", "echo", "hello")],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)


@test
def descriptors_on_their_way_elsewhere_keep_no_machine_from_starting(t):
    """Linux counts those in all sockets of a user against the sender's limit of open files: a socket that nobody reads, or that
    somebody floods, must not keep devices and engines from sending each other theirs."""
    with descriptors_on_their_way(600):
        done = with_limit(t, "-Sn", 256)
    expect(done, 0)
    equal(done.stdout, b"hello\n")


@test
@only("uml")
def a_guest_without_its_devices_says_so(t):
    """Its kernel cannot send them the descriptors that they need, since nobody may go beyond the hard limit."""
    with descriptors_on_their_way(600):
        done = with_limit(t, "-n", 512)
    expect(done, 125, "the guest ended before its workload did: init: connect to the host's vsock port 1: No such device")
    expect(done, 125, "probe with driver virtio-uml failed with error -109")
