# SPDX-License-Identifier: Apache-2.0
"""Mapped directories and files, and native roots."""
import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import struct
import subprocess

import work
from harness import equal, expect, need_root, only, skip, test

FS_IOC_GETFLAGS = 0x80086601
FS_IMMUTABLE_FL, FS_NODUMP_FL, FS_NOATIME_FL = 0x10, 0x40, 0x80


@test
def a_read_only_share_refuses_writes(t):
    os.mkdir(t.path("share"))
    with open(t.path("share/file"), "w", encoding="ascii") as file:
        file.write("content")
    done = t.host("-v", f"{t.path('share')}:/data:ro", "sh", "-c",
                  "cat /data/file; echo x > /data/file; echo x > /data/new; rm /data/file; chmod 777 /data/file; "
                  "mount -o remount,rw /data 2>/dev/null; echo x > /data/new2; ls /data")
    equal(done.stdout, b"contentfile\n")
    assert done.stderr.count(b"Read-only") >= 4, done.stderr
    equal(os.listdir(t.path("share")), ["file"])
    with open(t.path("share/file"), encoding="ascii") as file:
        equal(file.read(), "content")


@test
def changes_are_seen_at_once_both_ways(t):
    os.mkdir(t.path("share"))
    script = "echo up; while read -r name; do cat /deep/er/$name; echo \"guest $name\" > /deep/er/$name; echo written; done"
    with t.running("--rootfs", "host", "-v", f"{t.path('share')}:/deep/er", "sh", "-c", script) as process:
        for i in range(20):
            # A new file, and the same one changed again and again.
            name = "same" if i % 2 else f"new{i}"
            content = f"host {i} {'x' * i}\n"
            with open(t.path(f"share/{name}"), "w", encoding="ascii") as file:
                file.write(content)
            process.stdin.write(name.encode() + b"\n")
            process.stdin.flush()
            equal(process.stdout.readline().decode(), content)
            equal(process.stdout.readline(), b"written\n")
            with open(t.path(f"share/{name}"), encoding="ascii") as file:
                equal(file.read(), f"guest {name}\n")


@test
def a_single_file_is_mapped(t):
    with open(t.path("one"), "w", encoding="ascii") as file:
        file.write("one file\n")
    with open(t.path("other"), "w", encoding="ascii") as file:
        file.write("not for the guest\n")
    equal(t.output("-v", f"{t.path('one')}:/etc/mapped/one", "-v", f"{t.path('one')}:/ro:ro", "sh", "-c",
                   "cat /etc/mapped/one /ro; ls /etc/mapped; echo more >> /etc/mapped/one; echo x >> /ro || echo refused",
                   ), b"one file\none file\none\nrefused\n")
    with open(t.path("one"), encoding="ascii") as file:
        equal(file.read(), "one file\nmore\n")


@test
def what_the_guest_writes_belongs_to_the_caller(t):
    os.mkdir(t.path("share"))
    t.output("-v", f"{t.path('share')}:/data", "sh", "-c",
             "echo '#!/bin/sh' > /data/script; chmod 755 /data/script; mkdir /data/d; touch /data/d/f; chown 33:44 /data/d/f; "
             "stat -c %u:%g /data/d/f")
    status = os.stat(t.path("share/script"))
    equal((status.st_uid, stat.S_IMODE(status.st_mode)), (os.getuid(), 0o755))
    if os.getuid() != 0:
        equal(os.stat(t.path("share/d/f")).st_uid, os.getuid())


@test
def a_native_root_is_written_in_place(t):
    root = t.make_root()
    done = t.run("--rootfs", root, "--", "/bin/sh", "-c", "echo kept > /root/file; ln -s /root/file /root/link; cat /root/link; id -u")
    equal((done.returncode, done.stdout), (0, b"kept\n0\n"))
    with open(os.path.join(root, "root/file"), encoding="ascii") as file:
        equal(file.read(), "kept\n")
    equal(os.readlink(os.path.join(root, "root/link")), "/root/file")
    # And is there the next time.
    equal(t.run("--rootfs", root, "cat", "/root/file").stdout, b"kept\n")


@test
def files_are_on_the_host_when_the_vm_has_ended(t):
    os.mkdir(t.path("share"))
    t.output("-v", f"{t.path('share')}:/data", "sh", "-c", "head -c 30000000 /dev/zero | tr '\\0' 'a' > /data/big")
    with open(t.path("share/big"), "rb") as file:
        assert file.read() == b"a" * 30000000


@test
def this_machine_as_the_root(t):
    said = t.output("sh", "-c",
                    "touch /usr/new /etc/new /var/new && echo writable; ls -A /home /root; test -e /proc/1/exe && echo proc; "
                    "cat /etc/shadow /etc/gshadow /etc/sudoers 2>/dev/null | wc -c; ls /etc/ssl/private 2>/dev/null | wc -l")
    equal(said, b"writable\n/home:\n\n/root:\nproc\n0\n0\n")
    assert not os.path.exists("/usr/new") and not os.path.exists("/etc/new")


@test
def secrets_are_hidden_from_who_may_read_them(t):
    """An ordinary user in the group that owns the password hashes; only root can make one."""
    need_root()
    import grp  # pylint: disable=import-outside-toplevel

    shadow = grp.getgrnam("shadow").gr_gid
    as_member = {"user": 65534, "group": 65534, "extra_groups": [shadow], "env": {"XDG_RUNTIME_DIR": t.path("run")}}
    os.mkdir(t.path("run"), 0o700)
    os.chown(t.path("run"), 65534, 65534)
    read = ["python3", "-c", "print(len(open('/etc/shadow').read()))"]
    assert int(subprocess.run(read, stdout=subprocess.PIPE, check=True, **as_member).stdout) > 0
    done = t.host(*read, **as_member)
    expect(done, 0)
    equal(done.stdout, b"0\n")


@test
def an_overlay_of_layers(t):
    root = t.make_root()
    upper_layer = t.path("second")
    os.makedirs(os.path.join(upper_layer, "etc"))
    with open(os.path.join(upper_layer, "etc/second"), "w", encoding="ascii") as file:
        file.write("second\n")
    done = t.run("--layer", root, "--layer", upper_layer, "--", "sh", "-c", "cat /etc/second; echo x > /etc/second; echo y > /bin/new; ls /bin/new")
    expect(done, 0)
    equal(done.stdout, b"second\n/bin/new\n")
    with open(os.path.join(upper_layer, "etc/second"), encoding="ascii") as file:
        equal(file.read(), "second\n")
    assert not os.path.exists(os.path.join(root, "bin/new"))


@test
def an_upper_directory_keeps_what_is_written(t):
    root = t.make_root()
    upper = t.path("upper")
    os.mkdir(upper)
    layers = ["--layer", root, "--upper", upper, "--"]
    script = "echo new > /new; rm /bin/env; mkdir /d; mv /d /moved; chown 12:34 /new; echo x > /etc/file; mv /etc/file /root/file; sync"
    expect(t.run(*layers, "sh", "-c", script), 0, "")
    done = t.run(*layers, "sh", "-c", "cat /new /root/file; ls /bin/env /moved /etc/file; stat -c %u:%g /new")
    equal(done.stdout, b"new\nx\n/moved:\n12:34\n")
    assert os.path.lexists(os.path.join(root, "bin/env")) and not os.path.exists(os.path.join(root, "new"))
    with open(os.path.join(upper, "upper/new"), encoding="ascii") as file:
        equal(file.read(), "new\n")


def listing(top):
    """Everything below a directory that a write would change: name, type, mode, owner, links, size, times, xattrs, content."""
    found = {}
    for place, directories, names in os.walk(top):
        for path in [place, *(os.path.join(place, name) for name in names + directories)]:
            s = os.lstat(path)
            content = None
            if stat.S_ISREG(s.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            elif stat.S_ISLNK(s.st_mode):
                content = os.readlink(path)
            xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
            found[path] = (s.st_ino, s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns, xattrs, content)
    return found


# What a guest does to its tree, and then waits with; at the end it looks whether its own is still there, and nothing of the others'.
CHANGE = r"""
i=$1
echo "of $i" >/lower/file; echo "new $i" >/lower/dir/new$i; rm /lower/gone; mv /lower/dir/moved /lower/dir/moved$i
chmod 700 /lower/dir/mode; chown $i:$i /lower/dir/owner; ln /lower/linked /lower/link$i; echo "more $i" >>/second/data
mkdir /second/white && echo $i >/second/white/f; rm -r /lower/tree; mv /second/tree /second/tree$i
sync; echo up; read -r _
cat /lower/file /lower/dir/new*; ls /lower /lower/dir /second /second/white; tail -n 1 /second/data
stat -c '%a %u' /lower/dir/mode /lower/dir/owner
"""


@test
@only("uml")
def one_set_of_layers_serves_several_machines(t):
    """Four at once, two with an upper directory of their own, two that discard: each sees its own changes alone, and the layers are
    untouched."""
    root, second = t.make_root(), t.path("layer2")
    for path in "lower/dir", "lower/tree/a/b":
        os.makedirs(f"{root}/{path}")
    os.makedirs(f"{second}/second/tree/x")
    os.makedirs(f"{second}/lower/dir")
    for path in "file", "gone", "linked", "dir/moved", "dir/mode", "dir/owner", "tree/a/b/c":
        with open(f"{root}/lower/{path}", "w", encoding="ascii") as file:
            file.write(f"{path}\n")
    with open(f"{second}/second/data", "w", encoding="ascii") as file:
        file.write("data\n" * 50000)
    for name in "tail", "mv", "chmod", "chown":
        os.symlink("busybox", f"{root}/bin/{name}")
    before = listing(root), listing(second)

    def options(i):
        upper = []
        if i < 2:
            os.makedirs(t.path(f"upper{i}"), exist_ok=True)
            upper = ["--upper", t.path(f"upper{i}")]
        return ["--layer", root, "--layer", second, *upper, "-m", "128m", "--scope", "none", "--", "sh", "-c"]

    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(t.running(*options(i), CHANGE, "sh", str(i))) for i in range(4)]
        for i, process in enumerate(processes):
            said, errors = process.communicate(b"\n", timeout=60)
            equal(said.decode().split("\n"), [
                f"of {i}", f"new {i}", "/lower:", "dir", "file", f"link{i}", "linked", "", "/lower/dir:", "mode", f"moved{i}", f"new{i}",
                "owner", "", "/second:", "data", f"tree{i}", "white", "", "/second/white:", "f", f"more {i}", "700 0", f"644 {i}", ""])
            equal(errors, b"")
    equal((listing(root), listing(second)), before)
    # What was kept is there again, over the same layers; what was discarded is not.
    for i in range(4):
        said = t.run(*options(i), "cat /lower/file; ls /second").stdout.decode()
        equal(said, f"of {i}\ndata\ntree{i}\nwhite\n" if i < 2 else "file\ndata\ntree\n")


# What may happen to a file of a layer, all without or with only some of its data; it prints what is left of each.
METADATA = r"""
import hashlib, os, stat, sys
os.chdir("/files")
def names():
    return sorted(n for n in os.listdir(".") if os.path.isfile(n))
for i, name in enumerate(names()):
    os.chmod(name, 0o600 + i)
    os.chown(name, 100 + i, 200 + i)
    os.utime(name, (1000 + i, 2000 + i))
    os.setxattr(name, "trusted.i", b"%d" % i)
reader = os.open("a", os.O_RDONLY)
os.link("a", "a2")
os.rename("b", "b2")
with open("c", "r+b") as file:
    file.seek(100000)
    file.write(b"in the middle")
os.truncate("d", 50000)
with open("e", "ab") as file:
    file.write(b"at the end")
os.rename("dir", "moved")
os.chmod("moved/f", 0o640)
os.unlink("g")
os.posix_fallocate(os.open("h", os.O_RDWR), 0, 400000)
assert os.pread(reader, 10, 299990) == os.pread(os.open("a2", os.O_RDONLY), 10, 299990) == b"a" * 10
os.sync()
for name in [*names(), "moved/f"]:
    s = os.stat(name)
    with open(name, "rb") as file:
        content = file.read()
    print(name, oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink, s.st_size, hashlib.sha256(content).hexdigest()[:16],
          os.getxattr(name, "trusted.i") if "/" not in name else "", s.st_mtime_ns if name in "a a2 b2 i" else "")
"""


@test
@only("uml")
def what_changes_of_a_layer_s_file_is_not_more_than_it_should_be(t):
    """Without its data being copied, or with, a file is what it would be on any file system."""
    os.makedirs(t.path("layer/files/dir"))
    for name in "abcdefghi":
        with open(t.path(f"layer/files/{'dir/' if name == 'f' else ''}{name}"), "wb") as file:
            file.write(name.encode() * 300000)
    shutil.copytree(t.path("layer/files"), t.path("share"))
    before = listing(t.path("layer"))
    os.mkdir(t.path("upper"))
    root = ["--layer", work.make_host_like_root(t), "--layer", t.path("layer"), *work.USR]
    said = [expect(done, 0) or done.stdout for done in [
        t.run(*options, "--", "python3", "-c", METADATA)
        for options in (root, [*root, "--upper", t.path("upper")], ["--rootfs", "host", "-v", f"{t.path('share')}:/files"])]]
    equal(said[0].count(b"\n"), 9)
    equal(said[:2], [said[2], said[2]])
    equal(listing(t.path("layer")), before)
    # A kept upper directory has all of it, on the host too.
    with open(t.path("upper/upper/files/b2"), "rb") as file:
        equal(file.read(), b"b" * 300000)


@test
def a_change_of_mode_takes_no_memory_for_the_data(t):
    """Of a file in a layer, where the changes are kept in the guest's memory."""
    root = t.make_root()
    with open(f"{root}/large", "wb") as file:
        for _ in range(96):
            file.write(os.urandom(1 << 20))
    os.symlink("busybox", f"{root}/bin/chmod")
    done = t.run("--layer", root, "-m", "128m", "--scope", "none", "--", "sh", "-c", "chmod 700 /large && stat -c '%a %s' /large")
    equal((done.stdout, done.stderr), (b"700 100663296\n", b""))


# Lists, looks at some of what is there, makes and removes some; and lists again.
MANY = r"""
import os, sys
os.chdir(sys.argv[1])
count = int(sys.argv[2])
def listed():
    with os.scandir(".") as entries:
        return {entry.name for entry in entries}
assert listed() == {str(i) for i in range(count)}
for i in range(0, count, count // 1000):
    s = os.stat(str(i))
    assert (s.st_size, s.st_nlink) == (0, 1), (i, s)
for i in range(0, count, count // 100):
    os.unlink(str(i))
    open(f"new{i}", "x").close()
names = listed()
assert len(names) == count and sum(name.startswith("new") for name in names) == 100 and not os.path.exists("0"), len(names)
print("good")
"""


@test
@only("uml")
def a_directory_of_very_many_entries(t):
    """On an overlay's layer, a native root, and in a share; a million each with MSB_TEST_LONG."""
    count = 1000000 if os.environ.get("MSB_TEST_LONG") else 10000
    # One after the other: a file in memory takes a kilobyte of it.
    for kind in "layer", "root", "share":
        with t.in_memory(count, count << 10) as m:
            root = work.make_host_like_root(m)
            os.mkdir(m.path("share"))
            options, place, guest_place = {
                "layer": (["--layer", root, *work.USR], m.path("root/work"), "/work"),
                "root": (["--rootfs", root, *work.USR], m.path("root/work"), "/work"),
                "share": (["--rootfs", "host", "-v", f"{m.path('share')}:/share"], m.path("share"), "/share"),
            }[kind]
            directory = os.open(place, os.O_RDONLY)
            for i in range(count):
                os.close(os.open(str(i), os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=directory))
            os.close(directory)
            done = t.run(*options, "-m", "1g", "--", "python3", "-c", MANY, guest_place, str(count), timeout=300)
            expect(done, 0)
            equal(done.stdout, b"good\n")


@test
def file_flags_are_the_host_s(t):
    """lsattr and chattr; nothing that the host's user could not remove comes of it."""
    os.mkdir(t.path("share"))
    with open(t.path("share/file"), "w", encoding="ascii") as file:
        try:
            fcntl.ioctl(file, FS_IOC_GETFLAGS, bytes(8))
        except OSError as error:
            skip(f"a file system without flags: {error}")
    script = "chattr +dA /data/file /root/own; lsattr -d /data/file /root/own; chattr +i /data/file || chattr +a /data || echo refused"
    done = t.host("-v", f"{t.path('share')}:/data", "--", "sh", "-c", f"touch /root/own; {script}")
    expect(done, 0, "Operation not permitted")
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 3 and all("d" in line.split()[0] and "A" in line.split()[0] for line in lines[:2]), done
    equal(lines[2], "refused")
    with open(t.path("share/file"), encoding="ascii") as file:
        flags = struct.unpack("I", fcntl.ioctl(file, FS_IOC_GETFLAGS, bytes(8))[:4])[0]
    equal(flags & (FS_NODUMP_FL | FS_NOATIME_FL | FS_IMMUTABLE_FL), FS_NODUMP_FL | FS_NOATIME_FL)


@test
def writers_do_not_wait_for_a_distrusted_server(t):
    """Linux's limits for FUSE servers are lifted for the root and the shares: a writer would be slowed to a tenth."""
    os.mkdir(t.path("share"))
    said = t.output("-v", f"{t.path('share')}:/data", "sh", "-c",
                    "for d in $(cat /proc/self/mountinfo | grep virtiofs | cut -d' ' -f3); do cat /sys/class/bdi/$d/max_ratio; done; "
                    "cat /sys/class/bdi/*/read_ahead_kb /sys/class/bdi/*/strict_limit")
    equal(said.split(), [b"100", b"512", b"512", b"0", b"0"])


XATTRS = """
import os
def xattrs():
    return sorted((name, xattr, os.getxattr(name, xattr)) for name in ("none", "some", "dir") for xattr in os.listxattr(name))
def ask(name, xattr):
    try:
        return os.getxattr(name, xattr)
    except OSError as error:
        return error.errno
os.chdir("/files")
print("up", flush=True)
print(xattrs(), ask("none", "user.late"), ask("none", "security.capability"), ask("none", "system.posix_acl_access"), flush=True)
input()
print(ask("none", "user.late"), flush=True)
os.setxattr("none", "user.first", b"1")
os.setxattr("dir", "trusted.second", b"2")
os.removexattr("some", "user.some")
open("/proc/sys/vm/drop_caches", "w").write("3")
print(xattrs())
"""


@test
@only("uml")
def xattrs_are_asked_for_where_there_are_some(t):
    """What has none when it is looked up gets them from the guest alone."""
    os.makedirs(t.path("layer/files/dir"))
    os.mkdir(t.path("upper"))
    for name in "none", "some":
        with open(t.path(f"layer/files/{name}"), "w", encoding="ascii"):
            pass
    os.setxattr(t.path("layer/files/some"), "user.some", b"0")
    root = ["--layer", work.make_host_like_root(t), "--layer", t.path("layer"), *work.USR]
    for options in root, [*root, "--upper", t.path("upper")]:
        with t.running(*options, "--", "python3", "-c", XATTRS) as process:
            equal(process.stdout.readline(), b"[('some', 'user.some', b'0')] 61 61 95\n")
            os.setxattr(t.path("layer/files/none"), "user.late", b"not asked for")
            process.stdin.write(b"\n")
            process.stdin.flush()
            equal(process.stdout.readline(), b"61\n")
            equal(process.stdout.readline(), b"[('dir', 'trusted.second', b'2'), ('none', 'user.first', b'1')]\n")
        os.removexattr(t.path("layer/files/none"), "user.late")


@test
def as_many_layers_as_there_may_be(t):
    """128 layers: later ones on top, whiteouts of unpacked images in between, none of them written."""
    root = t.make_root()
    layers = ["--layer", root]
    for i in range(127):
        layer = t.path(f"layer{i}")
        os.makedirs(f"{layer}/files/d{i}")
        for name in "top", f"f{i}":
            with open(f"{layer}/files/{name}", "w", encoding="ascii") as file:
                file.write(f"{i}\n")
        if i % 10 == 5:
            open(f"{layer}/files/.wh.f{i - 1}", "w", encoding="ascii").close()
        if i == 100:
            open(f"{layer}/files/.wh..wh..opq", "w", encoding="ascii").close()
        layers += ["--layer", layer]
    done = t.run(*layers, "--", "sh", "-c", "cat /files/top; ls /files; echo new >/files/f126; rm /files/f125; cat /files/f126")
    expect(done, 0)
    shown = {"top"} | {f"{kind}{i}" for i in range(100, 127) for kind in "df"} - {"f104", "f114", "f124"}
    lines = done.stdout.decode().split()
    equal((lines[0], lines[-1]), ("126", "new"))
    equal(set(lines[1:-1]), shown)
    equal(sorted(os.listdir(t.path("layer126/files"))), ["d126", "f126", "top"])
    assert os.path.exists(t.path("layer125/files/f125")) and os.path.exists(t.path("layer5/files/.wh.f4"))
