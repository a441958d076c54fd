# SPDX-License-Identifier: Apache-2.0
"""What a guest's kernel under an attacker's control can do, with the uml engine, whose wall is its cell."""
import os

from harness import equal, expect, test


@test
def the_kernel_s_process_can_do_nothing_else(t):
    if t.engine != "uml":
        return  # the other engines' kernels are not programs of the host
    attack = os.path.join(t.build, "tests/vm/attack")
    done = t.host("--log-level", "debug", "--kernel", attack, "true")
    expect(done, 125)
    lines = [line.removeprefix("kernel: ") for line in done.stderr.decode().splitlines() if line.startswith("kernel: ")]
    results = dict(line.rsplit(": ", 1) for line in lines if ": " in line)
    equal({name: result for name, result in results.items() if result == "DONE"}, {})
    equal(sum(result == "refused" for result in results.values()), int(results["attempts"]))
    # Standard streams, and the devices' sockets: root, vsock, entropy, balloon.
    equal(results["descriptors"], "0 1 2 4 5 6 7")
