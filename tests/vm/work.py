# SPDX-License-Identifier: Apache-2.0
"""Real work on a native root, an overlay root and in a share. The quick ones always, the long ones with MSB_TEST_LONG."""
import os
import shutil
import subprocess

from harness import expect, need_long, skip, test

LONG = bool(os.environ.get("MSB_TEST_LONG"))
USR = ["-v", "/usr:/usr:ro"]


def make_host_like_root(t):
    """A root that has this machine's programs in a share, so that everything else is the root's own."""
    root = t.path("root")
    for name in "etc", "tmp", "var/tmp", "root", "home", "proc", "sys", "dev", "run", "usr", "work":
        os.makedirs(os.path.join(root, name))
    for name in "bin", "sbin", "lib", "lib64":
        os.symlink(f"usr/{name}", os.path.join(root, name))
    for name in "passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.conf":
        shutil.copy(f"/etc/{name}", os.path.join(root, "etc"))
    shutil.copytree("/etc/alternatives", os.path.join(root, "etc/alternatives"), symlinks=True)
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    return root


def places(t):
    """The three kinds of tree, as options; each is tried in /work."""
    root = make_host_like_root(t)
    os.mkdir(t.path("upper"))
    os.mkdir(t.path("share"))
    return {
        "native": ["--rootfs", root, *USR],
        "overlay": ["--layer", root, "--upper", t.path("upper"), *USR],
        "share": ["--rootfs", "host", "-v", f"{t.path('share')}:/work"],
    }


def do(t, options, script, timeout=120, memory="2G"):
    done = t.run(*options, "-m", memory, "-w", "/work", "-e", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "-e", "HOME=/root", "--",
                 "sh", "-euc", script, timeout=timeout)
    expect(done, 0)
    return done.stdout


def everywhere(t, script, more=(), **options):
    if t.engine == "qemu" and not LONG:
        skip("emulated, it takes many times as long, and shows nothing else: MSB_TEST_LONG")
    for name, place in places(t).items():
        # The native root is the overlay's layer.
        do(t, [*place, *more], f"mkdir {name} && cd {name}\n" + script, **options)


# A tree with everything that tar and rsync can carry.
TREE = r"""
mkdir tree && cd tree
mkdir -p a/b/c 'with space' "$(printf 'bytes\377\001')"
for i in 1 2 3 4 5 6 7 8 9; do head -c ${i}000 /dev/urandom >a/f$i; done
ln a/f1 a/b/hard; ln a/f1 hard2; ln -s ../f2 a/b/soft; ln -s /nowhere dangling; ln -s a directory-link
truncate -s 100M sparse; echo end >>sparse
mkfifo fifo; mknod char c 1 5; mknod block b 7 300
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
chown 33:44 a/f2; chown 1000:1000 a/b; chown -h 1000:2000 a/b/soft; chown 55:66 fifo char
chmod 4755 a/f3; chmod 2755 a/b; chmod 1777 a/b/c; chmod 0 a/f4; chmod 0640 fifo
cp /usr/bin/true capable; setcap cap_net_raw+ep capable 2>/dev/null || :
python3 - <<END
import os
os.setxattr("a/f5", "user.text", b"value\0with nul")
os.setxattr("a/b", "user.on.directory", b"x" * 1000)
os.setxattr("a/f6", "trusted.t", b"trusted")
END
touch -d '1999-12-31 23:59:59.123456789' a/f7 a/b/c; touch -h -d '2001-01-01 00:00:00.5' a/b/soft
cd ..
"""

# What differs between two trees, in everything.
COMPARE = r"""
cat >/tmp/compare.py <<'END'
import os, stat, sys
def entry(path):
    st = os.lstat(path)
    value = [stat.S_IFMT(st.st_mode), st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime_ns]
    if stat.S_ISREG(st.st_mode):
        value += [st.st_size, st.st_nlink, open(path, "rb").read()]
    if stat.S_ISLNK(st.st_mode):
        value += [os.readlink(path)]
    elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        value += [st.st_rdev]
    if stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode):
        value += [{name: os.getxattr(path, name) for name in os.listxattr(path)}]
    return value
def tree(top):
    found = {b".": entry(top)}
    for place, directories, names in os.walk(top):
        for name in directories + names:
            path = os.path.join(place, name)
            found[os.path.relpath(path, top)] = entry(path)
    return found
a, b = tree(sys.argv[1].encode()), tree(sys.argv[2].encode())
for name in sorted(a.keys() | b.keys()):
    x, y = a.get(name), b.get(name)
    if x != y:
        print(name, "differs:", [(p, q) for p, q in zip(x or [None] * 9, y or [None] * 9) if p != q][:3])
assert a == b
END
"""


@test
def tar_and_rsync_carry_everything(t):
    everywhere(t, TREE + COMPARE + r"""
tar --xattrs --xattrs-include='*' --numeric-owner --sparse -cf tar tree
mkdir fromtar && tar --xattrs --xattrs-include='*' --numeric-owner -xpf tar -C fromtar
test "$(stat -c %b fromtar/tree/sparse)" -lt 10000
mkdir away && mv tree/socket away && touch -r fromtar/tree tree
python3 /tmp/compare.py tree fromtar/tree
mv away/socket tree
# rsync takes times within one second as equal, and leaves what it has just made.
find tree -depth -mmin -60 -exec touch -h -d '2001-02-03 04:05:06.789' {} +
rsync -aAXH --numeric-ids tree/ fromrsync/
python3 /tmp/compare.py tree fromrsync
test -z "$(rsync -aAXHni --numeric-ids --delete tree/ fromrsync/)"
""")


GIT = r"""
export GIT_CONFIG_GLOBAL=/tmp/gitconfig
git config --global user.name n; git config --global user.email e@localhost; git config --global init.defaultBranch main
git config --global gc.auto 0; git config --global core.fsync FSYNC
mkdir repository && cd repository && git init -q
python3 - <<END
import os
for i in range(COUNT):
    os.makedirs(f"d{i % 100}/e{i % 7}", exist_ok=True)
    with open(f"d{i % 100}/e{i % 7}/f{i}", "w") as file:
        file.write(f"file {i}\n" * (1 + i % 50))
END
git add . && git commit -qm first
test -z "$(git status --porcelain)"
echo changed >>d1/e1/f1 && test "$(git status --porcelain | wc -l)" = 1 && git commit -qam second
git clone -q --no-local . ../clone && cd ../clone && test -z "$(git status --porcelain)"
git gc -q && git fsck --strict >/dev/null && test "$(git ls-files | wc -l)" = COUNT
git log --oneline | wc -l | grep -qx 2 && git checkout -q HEAD~1 && test "$(tail -n 1 d1/e1/f1)" != changed
git stash list && git worktree add -q ../tree main && git mv d2 moved && git rm -rq d3 && git commit -qm third
test -z "$(git status --porcelain)"
"""


@test
def git_works_on_many_files(t):
    # Waiting for the host's disk hundreds of times shows nothing of the device.
    everywhere(t, GIT.replace("COUNT", "10000" if LONG else "300").replace("FSYNC", "committed" if LONG else "none"), timeout=1800)


@test
def sqlite_works_with_a_write_ahead_log(t):
    everywhere(t, r"""
cat >/tmp/job.py <<'END'
import sqlite3, sys
db = sqlite3.connect("db", timeout=60)
for i in range(COUNT):
    with db:
        db.execute("insert into t values (?, ?)", (int(sys.argv[1]) * 1000000 + i, "x" * (i % 500)))
    (n,) = db.execute("select count(*) from t where k / 1000000 = ?", (int(sys.argv[1]),)).fetchone()
    assert n == i + 1, (n, i)
END
python3 -c '
import sqlite3
db = sqlite3.connect("db")
assert db.execute("pragma journal_mode = wal").fetchone() == ("wal",)
db.execute("create table t (k integer primary key, v text)")'
python3 /tmp/job.py 1 & a=$!; python3 /tmp/job.py 2 & b=$!; python3 /tmp/job.py 3; wait $a; wait $b
test "$(sqlite3 db 'pragma integrity_check; select count(*) from t')" = "ok
TOTAL"
""".replace("COUNT", "400" if LONG else "30").replace("TOTAL", "1200" if LONG else "90"), timeout=600)


@test
def npm_installs_a_local_package(t):
    need_long()
    if not shutil.which("npm", path="/usr/bin"):
        skip("no npm in /usr/bin")
    everywhere(t, r"""
mkdir -p package/bin && cd package
echo '{"name": "thing", "version": "1.2.3", "main": "index.js", "bin": {"thing": "bin/thing.js"}}' >package.json
echo 'module.exports = 42;' >index.js
printf '#!/usr/bin/env node\nconsole.log("ran", require("../index.js"));\n' >bin/thing.js && chmod 755 bin/thing.js
npm pack --silent >/dev/null && cd .. && mkdir app && cd app
echo '{"name": "app", "version": "1.0.0", "private": true}' >package.json
npm install --offline --no-audit --no-fund --silent ../package/thing-1.2.3.tgz
test "$(./node_modules/.bin/thing)" = "ran 42" && test -L node_modules/.bin/thing
npm ls --silent >/dev/null && npm uninstall --offline --silent thing && ! test -e node_modules/thing
""", timeout=600)


@test
def postgresql_runs_under_its_own_user(t):
    binaries = sorted(os.path.join("/usr/lib/postgresql", version, "bin") for version in os.listdir("/usr/lib/postgresql")) \
        if os.path.isdir("/usr/lib/postgresql") else []
    need_long()
    if not binaries:
        skip("no PostgreSQL")
    everywhere(t, rf"""
PATH={binaries[-1]}:$PATH
mkdir data && chown 999:999 data && chmod 700 data && data=$PWD/data
as() {{ setpriv --reuid 999 --regid 999 --clear-groups -- "$@"; }}
grep -q ':x:999:' /etc/passwd || echo 'pg:x:999:999::/tmp:/bin/sh' >>/etc/passwd
cd /tmp && as initdb -D $data -A trust -U pg >/dev/null
as pg_ctl -D $data -o '-k /tmp -h ""' -l /tmp/log -w start >/dev/null || {{ cat /tmp/log >&2; exit 1; }}
as pgbench -h /tmp -U pg -i -s 2 -q postgres >/dev/null 2>&1
as pgbench -h /tmp -U pg -c 2 -t 100 postgres >/dev/null
as psql -h /tmp -U pg -Atc 'select count(*) from pgbench_history' postgres | grep -qx 200
as pg_ctl -D $data -m immediate stop >/dev/null
as pg_ctl -D $data -o '-k /tmp -h ""' -l /tmp/log -w start >/dev/null
as psql -h /tmp -U pg -Atc 'select count(*) from pgbench_history' postgres | grep -qx 200
as pg_ctl -D $data -w stop >/dev/null
as pg_checksums -D $data >/dev/null 2>&1 || as pg_controldata -D $data | grep -q 'shut down'
""", timeout=900)


PACKAGES = ["gcc-12-base", "libgcc-s1", "libc6", "libcrypt1", "dash", "libselinux1", "libpcre2-8-0", "libacl1", "libattr1", "libgmp10",
            "coreutils", "debianutils", "sed", "grep", "perl-base", "dpkg", "libmd0", "zlib1g", "libbz2-1.0", "liblzma5", "libzstd1",
            "tar", "base-files", "util-linux", "mount"]


@test
def dpkg_installs_real_packages(t):
    need_long()
    os.mkdir(t.path("debs"))
    subprocess.run(["apt-get", "-qq", "download", *PACKAGES], cwd=t.path("debs"), check=True, capture_output=True)
    everywhere(t, r"""
mkdir -p r/var/lib/dpkg/info r/var/lib/dpkg/updates r/etc r/tmp r/usr/bin r/usr/lib r/usr/lib64 r/usr/sbin
ln -s usr/bin r/bin; ln -s usr/lib r/lib; ln -s usr/lib64 r/lib64; ln -s usr/sbin r/sbin
touch r/var/lib/dpkg/status r/var/lib/dpkg/available; cp /etc/passwd /etc/group r/etc
export DEBIAN_FRONTEND=noninteractive
# As debootstrap does: what the packages' scripts need is there before they run.
for package in /debs/*.deb; do dpkg-deb --extract $package r; done
dpkg --root=$PWD/r --force-depends -i /debs/*.deb >/tmp/log 2>&1 || { tail -n 30 /tmp/log >&2; exit 1; }
test -z "$(dpkg --root=$PWD/r --verify)"
test "$(stat -c %A r/bin/su r/bin/mount r/bin/umount | sort -u)" = -rwsr-xr-x
test "$(stat -c %G:%A r/var/mail)" = mail:drwxrwsr-x
chroot r /bin/sh -c 'ls / >/dev/null && dpkg --version >/dev/null && LC_ALL=C perl -e "exit 0"'
dpkg --root=$PWD/r --force-depends --force-remove-essential -r tar >/dev/null 2>&1 && ! test -e r/bin/tar
dpkg --root=$PWD/r --force-depends -i /debs/tar_*.deb >/dev/null 2>&1 && chroot r tar --version >/dev/null
""", ["-v", f"{t.path('debs')}:/debs:ro"], timeout=900)


@test
def this_project_builds(t):
    need_long()
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    subprocess.run(f"mkdir '{t.path('source')}' && tar -C '{source}' --exclude='./build*' --exclude=./.git -cf - . | "
                   f"tar -C '{t.path('source')}' -xf -", shell=True, check=True)
    everywhere(t, r"""
cp -a /source project && cd project && meson setup build >/dev/null && ninja -C build >/tmp/log 2>&1 || { tail -n 30 /tmp/log >&2; exit 1; }
build/msb --version >/dev/null && test "$(ninja -C build | tail -n 1)" = 'ninja: no work to do.'
""", ["-v", f"{t.path('source')}:/source:ro"], timeout=3000, memory="3G")
