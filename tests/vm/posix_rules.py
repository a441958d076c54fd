# SPDX-License-Identifier: Apache-2.0
"""POSIX's rules (posix.c), and random operations against tmpfs (../fs/model.c), on every kind of tree."""
import os
import shutil

from harness import equal, test

LONG = bool(os.environ.get("MSB_TEST_LONG"))
SECONDS = 120 if LONG else 4


def root_with(t, *programs):
    """A native root with programs of this build in /bin."""
    root = t.make_root()
    for program in programs:
        shutil.copy(os.path.join(t.build, "tests/vm", program), os.path.join(root, "bin", program))
    return root


def succeed(done, *ends):
    """The run went well, and its output has these lines in any order."""
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    for end in ends:
        assert end in done.stdout, done.stdout


@test
def posix_rules_hold_on_a_native_root_and_in_a_share(t):
    root = root_with(t, "posix")
    os.mkdir(t.path("share"))
    done = t.run("--rootfs", root, "-v", f"{t.path('share')}:/share", "--", "sh", "-c",
                 "posix /root & one=$!; posix /share || exit; wait $one", timeout=300)
    succeed(done)
    equal(done.stdout.count(b" 0 failures\n"), 2)
    # Nothing of it is dangerous on the host.
    for top in root, t.path("share"):
        for place, _, names in os.walk(top):
            for name in names:
                equal(os.lstat(os.path.join(place, name)).st_mode & 0o6000, 0)


def model(directory, on_tmpfs, seed):
    """The shell command; links lead out of a tested directory, but not out of what was made for it."""
    return (f"mkdir -p {directory}/p/q/r /dev/shm/{on_tmpfs}/p/q/r && "
            f"fs-model {directory}/p/q/r /dev/shm/{on_tmpfs}/p/q/r {SECONDS} {seed}")


@test
def random_operations_do_what_they_do_on_tmpfs(t):
    """On a native root and in a share at once."""
    root = root_with(t, "fs-model")
    os.mkdir(t.path("share"))
    done = t.run("--rootfs", root, "-v", f"{t.path('share')}:/share", "--", "sh", "-c",
                 f"({model('/root', 'a', 1)}) & one=$!; ({model('/share', 'b', 2)}) || exit; wait $one", timeout=SECONDS + 200)
    succeed(done)
    equal(done.stdout.count(b" operations agree\n"), 2)



@test
def posix_rules_hold_on_an_overlay(t):
    os.mkdir(t.path("upper"))
    done = t.run("--layer", root_with(t, "posix"), "--upper", t.path("upper"), "--", "posix", "/root", timeout=300)
    succeed(done, b" 0 failures\n")


@test
def random_operations_on_an_overlay_do_what_they_do_on_tmpfs(t):
    os.mkdir(t.path("upper"))
    done = t.run("--layer", root_with(t, "fs-model"), "--upper", t.path("upper"), "--", "sh", "-c", model("/root", "a", 3),
                 timeout=SECONDS + 200)
    succeed(done, b" operations agree\n")
