#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""msb without a VM: msb.py MSB SOURCE. The configuration that options make, what is said of mistakes, and that help, completion and
manual page tell of every option."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

MSB = os.path.abspath(sys.argv[1])
SOURCE = os.path.abspath(sys.argv[2])
COMMANDS = ["run", "exec", "attach", "logs", "ps", "inspect", "port", "stats", "cp", "wait", "stop", "kill", "rm", "doctor"]


def msb(*args, **kwargs):
    kwargs.setdefault("env", {"PATH": "/bin", "CALLERS": "value"})
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([MSB, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20, **kwargs)


def help_of(command):
    return msb(command, "--help").stdout.decode()


def options_of(command):
    """The long options and their letters, as --help has them."""
    return re.findall(r"^  (?:-(\w), |    )--([a-z-]+)", help_of(command), re.M)


class Scratch(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="msb-cli-")
        self.addCleanup(self.directory.cleanup)
        self.root = os.path.realpath(self.directory.name)
        for name in ("root", "layer", "upper", "data"):
            os.mkdir(os.path.join(self.root, name))
        with open(os.path.join(self.root, "file"), "w", encoding="utf-8") as file:
            file.write("FROM_FILE=1\nCALLERS\nBOTH=file\n")

    def dry_run(self, *args):
        result = msb("run", "--dry-run", *args, cwd=self.root)
        self.assertEqual((result.stderr, result.returncode), (b"", 0), args)
        config = json.loads(result.stdout)
        self.would_run = config.pop("would_run")
        return config

    def refused(self, *args):
        """The one line on standard error."""
        result = msb("run", *args, cwd=self.root)
        self.assertEqual((result.stdout, result.returncode), (b"", 125), args)
        text = result.stderr.decode("utf-8", "surrogateescape")
        self.assertEqual(text.count("\n"), 1, text)
        self.assertTrue(text.startswith("msb: ") and text.endswith("\n"), text)
        return text[len("msb: "):-1]


class DryRun(Scratch):
    def test_defaults(self):
        self.assertEqual(
            self.dry_run("--rootfs", "root", "true"),
            {
                "log_level": "off", "rootfs": {"native": self.root + "/root"}, "num_vcpus": 1, "memory_mib": 1024,
                "mapped_dirs": [], "port_map": [], "scope": "group", "ip": None, "subnet": None, "rlimits": [],
                "workdir_path": "/", "exec_path": "true", "args": [], "env": [], "user": None, "tty": False,
                "console_output": None, "engine": "auto", "kernel": None, "hostname": None, "nested": False,
                "name": None, "keep": False, "timeout_ms": None, "idle_timeout_ms": None, "warnings": [],
            })

    def test_addresses(self):
        """Those that would be assigned now; none without a network card."""
        for options, addresses in (
                ([], (None, None)),
                (["--scope", "none"], (None, None)),
                (["--scope", "public"], ("10.0.2.15", "10.0.2.15/32")),
                (["--publish", "0:80"], ("10.0.2.15", "10.0.2.15/32")),
                (["--subnet", "10.77.9.0/24"], ("10.77.9.2", "10.77.9.0/24")),
                (["--subnet", "10.77.9.0/24", "--ip", "10.77.9.9"], ("10.77.9.9", "10.77.9.0/24"))):
            self.dry_run("--rootfs", "root", *options, "true")
            self.assertEqual((self.would_run["ip"], self.would_run["subnet"]), addresses, options)

    def test_engine(self):
        """As msb doctor finds them, the engine that would run the VM, and why no better one."""
        engines = ["kvm", "uml", "qemu"]
        found = {f["what"].split()[1]: f for f in json.loads(msb("doctor", "--json").stdout)["findings"] if f["what"].startswith("engine ")}
        works = [name for name in engines if found[name]["ok"]]
        self.dry_run("--rootfs", "root", "true")
        self.assertEqual(self.would_run["engine"], works[0] if works else None)
        for name in engines[:engines.index(works[0])] if works else engines:
            self.assertIn(f"the {name} engine cannot: {found[name]['detail']}"[:60], self.would_run["because"])
        for name in engines:
            self.dry_run("--rootfs", "root", "--engine", name, "true")
            self.assertEqual(self.would_run["engine"], name if name in works else None)
            self.assertEqual("cannot" in self.would_run["because"], name not in works)
        self.dry_run("--rootfs", "root", "--engine", "uml", "--cpus", "2", "true")
        self.assertEqual((self.would_run["engine"], self.would_run["kernel"]), (None, None))
        if "uml" in works:
            self.assertIn("num_vcpus 2: the uml engine has one vCPU; the kvm and qemu engines have more", self.would_run["because"])

    def test_engine_that_was_asked_for(self):
        """Where it cannot run nothing runs in its place, though others could."""
        findings = json.loads(msb("doctor", "--json").stdout)["findings"]
        unfit = [f["what"].split()[1] for f in findings if f["what"] in ("engine kvm", "engine uml") and not f["ok"]]
        if not unfit:
            self.skipTest("both work here")
        for name in unfit:
            self.assertRegex(self.refused("--rootfs", "host", "--engine", name, "echo", "it ran"), "the (kvm |uml )?engine")

    def test_each_option(self):
        cases = [
            (["--log-level", "debug"], "log_level", "debug"),
            (["--cpus", "1"], "num_vcpus", 1),
            (["-m", "64m"], "memory_mib", 64),
            (["--memory=1g"], "memory_mib", 1024),
            (["-v", "data:/x:ro", "--volume", "file:/y"], "mapped_dirs", [f"{self.root}/data:/x:ro", f"{self.root}/file:/y"]),
            (["-v", self.root + "/data"], "mapped_dirs", [f"{self.root}/data:{self.root}/data"]),
            (["-p8080", "--publish", "[::1]:53/udp"], "port_map", ["8080:8080", "[::1]:53:53/udp"]),
            (["--scope", "none"], "scope", "none"),
            (["--subnet", "10.0.0.0/24", "--ip", "10.0.0.9"], "ip", "10.0.0.9"),
            (["--subnet=10.0.0.0/24"], "subnet", "10.0.0.0/24"),
            (["--rlimit", "RLIMIT_NOFILE=1:2", "--rlimit=0=3:4"], "rlimits", ["7=1:2", "0=3:4"]),
            (["-w", "/a/../b"], "workdir_path", "/b"),
            (["-e", "A=1", "-e", "CALLERS", "--env=NOT_SET"], "env", ["A=1", "CALLERS=value"]),
            (["-e", "BOTH=line", "--env-file", "file"], "env", ["FROM_FILE=1", "CALLERS=value", "BOTH=line"]),
            (["-u", "nobody:0"], "user", "nobody:0"),
            (["-h", "guest"], "hostname", "guest"),
            (["-t"], "tty", True),
            (["-it"], "tty", True),
            (["-tT"], "tty", False),
            (["--console-output", "out"], "console_output", self.root + "/out"),
            (["--engine", "qemu"], "engine", "qemu"),
            (["--kernel", "file"], "kernel", self.root + "/file"),
            (["--nested"], "nested", True),
            (["--name", "web-1"], "name", "web-1"),
            (["--no-rm", "--name=web"], "keep", True),
            (["-d"], "keep", True),
            (["--detach", "--rm"], "keep", False),
            (["--timeout", "1.5s"], "timeout_ms", 1500),
            (["--idle-timeout=1h30m"], "idle_timeout_ms", 5400000),
        ]
        seen = {"--rootfs", "--layer", "--upper", "--dry-run", "--help"}
        letters = {"-" + letter: "--" + name for letter, name in options_of("run") if letter}
        for args, key, value in cases:
            self.assertEqual(self.dry_run("--rootfs=root", *args, "true")[key], value, args)
            for arg in (arg for arg in args if arg.startswith("-")):
                seen.update([arg.split("=")[0]] if arg.startswith("--") else [letters["-" + letter] for letter in re.findall("^-([a-z]+)", arg, re.I)[0]
                                                                              if "-" + letter in letters])
        self.assertEqual(seen, {"--" + name for _, name in options_of("run")})

    def test_roots(self):
        self.assertEqual(self.dry_run("--rootfs", "host", "x")["rootfs"], "host")
        self.assertEqual(self.dry_run("--rootfs", "./root", "x")["rootfs"], {"native": self.root + "/root"})
        self.assertEqual(
            self.dry_run("--layer", "root", "--layer=layer", "--upper", "upper", "x")["rootfs"],
            {"layers": [self.root + "/root", self.root + "/layer"], "upper": self.root + "/upper"})
        self.assertEqual(self.dry_run("--layer", "root", "x")["rootfs"], {"layers": [self.root + "/root"], "upper": None})

    def test_the_command_is_left_alone(self):
        odd = ["-c", "--", "", "a b", "\n\"'\\", "--dry-run", "--help", "é"]
        for dashes in ([], ["--"]):
            json_out = self.dry_run("--rootfs=root", *dashes, "/bin/sh", *odd)
            self.assertEqual((json_out["exec_path"], json_out["args"]), ("/bin/sh", odd))

    def test_bytes_that_are_not_text(self):
        odd = b"\xff\x80\x01z"
        result = msb("run", "--dry-run", "--rootfs=root", "-e", b"A=" + odd, "true", odd, cwd=self.root)
        out = json.loads(result.stdout.decode("utf-8"))
        self.assertEqual(base64.b64decode(out["args"][0]["base64"]), odd)
        self.assertEqual(base64.b64decode(out["env"][0]["base64"]), b"A=" + odd)

    def test_large(self):
        args = ["x" * 100] * 10000
        value = "y" * 100000
        out = self.dry_run("--rootfs=root", "-e", "BIG=" + value, "true", *args)
        self.assertEqual(out["args"], args)
        self.assertEqual(out["env"], ["BIG=" + value])

    def test_warnings_are_told(self):
        cpus = str(os.cpu_count() + 1)
        result = msb("run", "--dry-run", "--rootfs=/", "--cpus", cpus, "true")
        self.assertEqual(result.returncode, 0)
        warnings = json.loads(result.stdout)["warnings"]
        self.assertEqual(len(warnings), 1)
        self.assertEqual(result.stderr.decode(), f"msb: warning: {warnings[0]}\n")

    def test_a_full_disk_is_told(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([MSB, "run", "--dry-run", "--rootfs=/", "true"], stdout=full, stderr=subprocess.PIPE, timeout=20, check=False)
        self.assertEqual((result.returncode, result.stderr), (125, b"msb: write to standard output: No space left on device\n"))


class Mistakes(Scratch):
    def test_options(self):
        see = ' (see "msb run --help")'
        cases = [
            ([], "there is no command; name one to run in the guest"),
            (["--rootfs", "root"], "there is no command; name one to run in the guest"),
            (["true"], "the guest has no root; give --rootfs DIR, --rootfs host or --layer DIR"),
            (["--rootfs", "root", "--layer", "layer", "true"], "--rootfs and --layer exclude each other; give one of them"),
            (["--rootfs", "root", "-t", "--console-output", "x", "true"], "--tty and --console-output exclude each other; give one of them"),
            (["--rotfs", "root", "true"], 'unknown option "--rotfs"; did you mean "--rootfs"?'),
            (["--rootfs"], "--rootfs needs a value, DIR|host"),
            (["--cpus", "0"], '--cpus: number "0" is no whole number from 1 on'),
            (["--cpus=two"], '--cpus: number "two" is no whole number from 1 on'),
            (["--cpus=4294967296"], '--cpus: number "4294967296" is no whole number from 1 on'),
            (["-m", "lots"], '-m: memory size "lots" is no size; write a whole number with a suffix b, k, m or g, such as 512m'),
            (["-v", ":/x"], '-v: mapped directory ":/x" has no host path; write HOST[:GUEST][:ro]'),
            (["-p", "0"], '-p: port "0" has a guest port that is no number from 1 to 65535; '
             'write [ADDRESS:]HOST[:GUEST][/tcp|/udp], with ports from 1 to 65535'),
            (["--scope", "all"], '--scope: scope "all" is none of none, group, public and any'),
            (["--ip", "1.2.3"], '--ip: address "1.2.3" is no IPv4 address; write four numbers, such as 10.0.0.2'),
            (["--subnet", "10.0.0.1/24"], '--subnet: subnet "10.0.0.1/24" has an address with bits beyond the network\'s; write 10.0.0.0/24'),
            (["--rlimit", "nofile=1"], '--rlimit: rlimit "nofile=1" names no resource: neither one of setrlimit(2) nor a number from 0 to 15; '
             'write RLIMIT_NAME=SOFT:HARD, such as RLIMIT_NOFILE=1024:2048'),
            (["-w", "x"], '-w: path "x" is relative; write an absolute one, which begins with \'/\''),
            (["-e", "=x"], '-e: environment variable "=x" has no name before the \'=\'; write KEY=VALUE'),
            (["--env-file", "none"], '--env-file: file "none": open: No such file or directory'),
            (["--log-level", "loud"], '--log-level: log level "loud" is none of off, error, warn, info, debug and trace'),
            (["--engine", "bochs"], '--engine: engine "bochs" is none of auto, kvm, qemu and uml'),
        ]
        for args, message in cases:
            self.assertEqual(self.refused(*args), message + see)

    def test_what_only_the_whole_shows(self):
        cases = [
            (["--rootfs", "none"], 'rootfs "none" cannot be used: No such file or directory'),
            (["--rootfs", "file"], 'rootfs "file" is no directory; name one'),
            (["--rootfs", "root", "--upper", "upper"],
             'rootfs upper "upper" needs an overlay root, but rootfs is one directory, which is written in place'),
            (["--rootfs", "root", "-p", "80", "--scope", "none"],
             'port_map "80" needs a network, but scope is "none"; use another scope, or publish no port'),
            (["--rootfs", "root", "-u", "a b"],
             'user "a b" is no user; write NAME or UID, optionally with :GROUP or :GID, numbers below 4294967295'),
            (["--rootfs", "root", "-h", "a_b"],
             'hostname "a_b" is no host name; write letters, digits and inner hyphens, at most 63 between two dots (RFC 1123)'),
            (["--rootfs", "root", "--kernel", "none"], 'kernel "none" cannot be used: No such file or directory'),
            (["--rootfs", "root", "--console-output", "none/x"],
             'console_output "none/x" cannot be made: its directory "none/" is not there; make it first'),
        ]
        for args, message in cases:
            self.assertEqual(self.refused(*args, "true"), message)
        self.assertEqual(
            self.refused("--rootfs", "root", "bin/true"),
            'exec_path "bin/true" is a relative path; write an absolute one, or a name without \'/\' to be looked up in the guest\'s PATH')

    def test_commands(self):
        cases = [
            (["rn"], 'msb: unknown command "rn"; did you mean "run"?\n'),
            (["frobnicate\n"], 'msb: unknown command "frobnicate\\n"; "msb --help" lists those that there are\n'),
            (["--verson"], 'msb: unknown command "--verson"; "msb --help" lists those that there are\n'),
        ]
        for args, message in cases:
            result = msb(*args)
            self.assertEqual((result.returncode, result.stdout, result.stderr.decode()), (125, b"", message))
        result = msb()
        self.assertEqual((result.returncode, result.stdout), (125, b""))
        self.assertEqual(result.stderr, msb("--help").stdout)


class Doctor(unittest.TestCase):
    REQUIRED = {"engine", "programs", "guest kernel", "guest's PID 1", "packages", "user namespaces", "seccomp", "guest memory"}
    OPTIONAL = {"engine kvm", "engine qemu", "engine uml", "open files", "processors", "memory"}

    def findings(self, *before):
        """What is found, by name, behind a command that makes it so."""
        result = subprocess.run([*before, MSB, "doctor", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20, check=False)
        out = json.loads(result.stdout)
        found = {finding["what"]: finding for finding in out["findings"]}
        self.assertEqual(out["fit"], all(finding["ok"] for finding in out["findings"] if finding["required"]))
        self.assertEqual(result.returncode, 0 if out["fit"] else 1)
        self.assertEqual(out["version"], msb("--version").stdout.decode().split()[1])
        for finding in out["findings"]:
            self.assertEqual(set(finding), {"what", "required", "ok", "detail", "mend"})
            self.assertIn(finding["what"], self.REQUIRED if finding["required"] else self.OPTIONAL)
        self.assertEqual(found["engine"]["ok"], out["engine"] is not None)
        if out["engine"]:
            self.assertTrue(found["engine " + out["engine"]]["ok"])
        return found

    def test_text_and_json_say_the_same(self):
        def words(text):  # without what is measured anew each time
            return re.sub(r"[0-9.]+", "N", " ".join(text.split()))

        found = self.findings()
        text = words(msb("doctor").stdout.decode())
        for what, finding in found.items():
            mark = "ok" if finding["ok"] else "BAD" if finding["required"] else "-"
            self.assertIn(words(f"{mark} {what} {finding['detail']} {finding['mend'] or ''}"), text)

    def test_namespaces(self):
        self.assertTrue(self.findings()["user namespaces"]["ok"])
        found = self.findings("unshare", "--user", "--map-root-user", "sh", "-c", 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"', "sh")
        self.assertFalse(found["user namespaces"]["ok"])
        self.assertEqual(found["user namespaces"]["detail"], "cannot be made: No space left on device")
        self.assertEqual(found["user namespaces"]["mend"], "As root: sysctl user.max_user_namespaces=10000")

    def test_limits(self):
        found = self.findings("bash", "-c", 'ulimit -f 2048; ulimit -n 100; exec "$@"', "bash")
        self.assertFalse(found["guest memory"]["ok"])
        self.assertEqual(found["guest memory"]["detail"], "is a file to the host, and files have at most 2 MiB")
        self.assertFalse(found["open files"]["ok"])
        self.assertEqual(found["open files"]["detail"], "100 for a process, and 100 at most")

    def test_our_own_files(self):
        """A build tree of the test's own, that lacks one thing after the other."""
        with tempfile.TemporaryDirectory(prefix="msb-doctor-") as tree:
            tree = os.path.realpath(tree)
            program = shutil.copy(MSB, tree)

            def put(path, text="", mode=0o755):
                os.makedirs(os.path.dirname(os.path.join(tree, path)), exist_ok=True)
                with open(os.path.join(tree, path), "w", encoding="utf-8") as file:
                    file.write(text)
                os.chmod(os.path.join(tree, path), mode)

            def found():
                result = subprocess.run([program, "doctor", "--json"], stdout=subprocess.PIPE, timeout=20, check=False)
                out = json.loads(result.stdout)
                return {finding["what"]: finding for finding in out["findings"]}, result.returncode

            put("src/sandbox/msb-monitor")
            put("src/fs/msb-fs")
            put("src/vsock/msb-vsock")
            findings, status = found()
            self.assertEqual(status, 1)
            self.assertRegex(findings["programs"]["detail"], "msb-net.*: No such file or directory$")
            self.assertEqual(findings["programs"]["mend"], "Build them with ninja, or install them with meson install.")
            put("src/net/msb-net")
            findings, status = found()
            self.assertTrue(findings["programs"]["ok"])
            self.assertRegex(findings["engine qemu"]["detail"], "^no guest kernel for the qemu engine in .*kernel/fetch")
            self.assertFalse(findings["engine"]["ok"])
            self.assertNotIn("guest kernel", findings)
            self.assertIn("No sandbox can run here", subprocess.run([program, "doctor"], stdout=subprocess.PIPE, timeout=20, check=False).stdout.decode())
            put("kernel/cloud/vmlinux")
            findings, status = found()
            self.assertRegex(findings["guest kernel"]["detail"], "/kernel/cloud/vmlinux, of an unknown release$")
            self.assertTrue(findings["guest kernel"]["ok"])
            self.assertFalse(findings["guest's PID 1"]["ok"])
            put("src/guest/init.cpio")
            put("kernel/cloud/version", "other=x\nrelease=6.1.0-x\npackage=linux-image-x\nversion=6.1.1-1\n")
            findings, status = found()
            self.assertRegex(findings["guest kernel"]["detail"], "^Linux 6.1.0-x, linux-image-x 6.1.1-1 [(].*/kernel/cloud/vmlinux[)]$")
            self.assertTrue(findings["guest's PID 1"]["ok"])
            self.assertEqual(status, 0 if findings["engine"]["ok"] and findings["packages"]["ok"] and findings["user namespaces"]["ok"] else 1)

    def test_arguments(self):
        result = msb("doctor", "x")
        self.assertEqual((result.returncode, result.stderr), (125, b'msb: argument "x" is one too many (see "msb doctor --help")\n'))
        self.assertEqual(msb("doctor", "--jsn").stderr, b'msb: unknown option "--jsn"; did you mean "--json"? (see "msb doctor --help")\n')


class Sandboxes(Scratch):
    """The commands that deal with sandboxes, where there are none."""

    def msb(self, *args):
        return msb(*args, cwd=self.root, env={"PATH": "/bin", "XDG_RUNTIME_DIR": self.root + "/data", "XDG_STATE_HOME": self.root + "/upper"})

    def test_there_are_none(self):
        for args, out in ((["ps"], b"NAME   COMMAND   CREATED   STATUS   PORTS\n"), (["ps", "-aq"], b""), (["ps", "--json"], b"[]\n"),
                          (["stats", "--once", "--json"], b"[]\n"), (["rm", "-f", "none"], b"")):
            result = self.msb(*args)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, out, b""), args)
        for args in (["exec", "none", "true"], ["attach", "none"], ["logs", "none"], ["inspect", "none"], ["port", "none"], ["stats", "none"],
                     ["cp", "none:/x", "."], ["wait", "none"], ["stop", "none"], ["kill", "none"], ["rm", "none"]):
            result = self.msb(*args)
            self.assertEqual((result.returncode, result.stderr), (125, b'msb: there is no sandbox "none"\n'), args)

    def test_mistakes(self):
        cases = [
            (["exec"], "name a sandbox and a command"),
            (["exec", "one"], "name a sandbox and a command"),
            (["exec", "--tmeout=1", "one", "true"], 'unknown option "--tmeout"; did you mean "--timeout"?'),
            (["exec", "--timeout=soon", "one", "true"], '--timeout: duration "soon" is none; write it as 10s, 5m or 1h30m'),
            (["attach"], "name a sandbox"),
            (["attach", "one", "two"], 'argument "two" is one too many'),
            (["attach", "--detach-keys=ab", "one"], '--detach-keys: keys "ab" are none; write characters or ctrl- and a letter or one of @[\\]^_, '
             'with commas between, such as ctrl-p,ctrl-q'),
            (["logs", "one", "two"], 'argument "two" is one too many'),
            (["logs", "-n", "-1", "one"], '-n: number "-1" is no number of lines; write one, or "all"'),
            (["ps", "one"], 'argument "one" is one too many'),
            (["cp", "one:/x"], "name a source and a target"),
            (["cp", "x", "y"], "neither of the two is in a sandbox; write NAME:PATH"),
            (["cp", "one:/x", "two:/x"], "one of the two must be on this machine"),
            (["cp", "one:", "x"], 'place "one:" has no path; write NAME:PATH'),
            (["stop"], "name a sandbox"),
            (["stop", "-t", "-1", "one"], '-t: duration "-1" is none; write it as 10s, 5m or 1h30m'),
            (["kill", "-s", "TERMINATE", "one"], '-s: signal "TERMINATE" is none; write a name, such as TERM, or a number from 1 to 64'),
            (["rm"], "name a sandbox"),
        ]
        for args, message in cases:
            result = self.msb(*args)
            self.assertEqual((result.returncode, result.stderr.decode()), (125, f'msb: {message} (see "msb {args[0]} --help")\n'), args)


class Documentation(unittest.TestCase):
    def test_help(self):
        self.assertEqual(msb("--help").returncode, 0)
        main = msb("--help").stdout.decode()
        for command in COMMANDS:
            self.assertRegex(main, rf"(?m)^  {command} ")
            text = help_of(command)
            self.assertTrue(text.startswith(f"Usage: msb {command} "))
            for line in text.split("\nExamples:")[0].splitlines():
                self.assertLessEqual(len(line), 80, line)
        self.assertEqual(set(re.findall(r"(?m)^  (\w+) +[A-Z]", main.split("Commands:")[1])), set(COMMANDS))
        for group in ("Files", "Resources", "Network", "Workload", "Input and output", "Machine"):
            self.assertIn(f"\n{group}:\n", help_of("run"))
        self.assertIn("\nExamples:\n  msb run ", help_of("run"))

    def test_version(self):
        result = msb("--version")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout.decode(), r"^msb \d+\.\d+\.\d+\n$")

    def test_examples_are_right(self):
        """Each example's options, as far as they name files, made to exist."""
        with tempfile.TemporaryDirectory() as directory:
            for name in ("debian", "base", "app", "state"):
                os.mkdir(os.path.join(directory, name))
            examples = re.findall(r"(?m)^  (?:echo data \| )?msb run (.*)$", help_of("run").split("Examples:")[1])
            self.assertEqual(len(examples), 5)
            for example in examples:
                result = subprocess.run(["/bin/sh", "-c", f'"$0" run --dry-run {example}', MSB], cwd=directory, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=20, check=False)
                self.assertEqual(result.returncode, 0, result.stderr)

    def test_manual_page(self):
        with open(os.path.join(SOURCE, "man/msb.1"), encoding="utf-8") as file:
            page = file.read()
        for command in COMMANDS:
            section = page.split(f".Ss msb {command}\n")[1].split("\n.S")[0]
            told = set(re.findall(r"(?m)^\.It Fl (?:\w , )?-([a-z-]+)", section)) | set(re.findall(r"(?m)^\.It Fl .* , -([a-z-]{2,})$", section))
            self.assertEqual(told, {name for _, name in options_of(command)} - {"help"})
            letters = set(re.findall(r"(?m)^\.It Fl (\w) , -([a-z-]+)", section))
            self.assertEqual(letters, {(letter, name) for letter, name in options_of(command) if letter})
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", os.path.join(SOURCE, "man/msb.1")], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=20, check=False)
        self.assertEqual((lint.stdout, lint.returncode), (b"", 0))

    def test_options_document(self):
        with open(os.path.join(SOURCE, "docs/options.md"), encoding="utf-8") as file:
            text = file.read()
        for _, name in options_of("run"):
            if name not in ("tty", "no-tty", "interactive", "help"):
                self.assertIn("--" + name, text)


class Completion(unittest.TestCase):
    """bash's own completion, asked as the shell does."""

    def complete(self, *words):
        script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _msb; printf "%s\\n" "${COMPREPLY[@]}"'
        result = subprocess.run(["bash", "--norc", "-c", script, os.path.join(SOURCE, "completions/msb"), *words], cwd="/",
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20, check=False)
        self.assertEqual(result.stderr, b"")
        return set(result.stdout.decode().split())

    def test_commands(self):
        self.assertEqual(self.complete("msb", ""), set(COMMANDS) | {"--help", "--version"})
        self.assertEqual(self.complete("msb", "d"), {"doctor"})
        self.assertEqual(self.complete("msb", "st"), {"stats", "stop"})

    def test_every_option(self):
        for command in COMMANDS:
            self.assertEqual(self.complete("msb", command, "-"), {"--" + name for _, name in options_of(command)})

    def test_values(self):
        self.assertEqual(self.complete("msb", "run", "--scope", ""), {"none", "group", "public", "any"})
        self.assertEqual(self.complete("msb", "run", "--scope", "=", "p"), {"public"})
        self.assertEqual(self.complete("msb", "run", "--scope", "="), {"none", "group", "public", "any"})
        self.assertEqual(self.complete("msb", "run", "--engine", "q"), {"qemu"})
        self.assertEqual(self.complete("msb", "run", "-t", "--log-level", "t"), {"trace"})
        self.assertIn("host", self.complete("msb", "run", "--rootfs", ""))
        self.assertIn("usr", self.complete("msb", "run", "--rootfs", ""))
        self.assertEqual(self.complete("msb", "run", "-v", "/et"), {"/etc"})
        self.assertIn("RLIMIT_NOFILE=", self.complete("msb", "run", "--rlimit", "RLIMIT_NO"))
        self.assertEqual(self.complete("msb", "run", "--cpus", ""), set())

    def test_short_options_have_the_values_of_the_long(self):
        for command in COMMANDS:
            for letter, name in options_of(command):
                if letter:
                    self.assertEqual(self.complete("msb", command, "-" + letter, ""), self.complete("msb", command, "--" + name, ""), name)

    def test_nothing_behind_the_options(self):
        self.assertEqual(self.complete("msb", "run", "--rootfs", "/", "ls", "-"), set())
        self.assertEqual(self.complete("msb", "run", "--", "-"), set())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
