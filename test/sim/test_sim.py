"""
Whole clusters on simulated machines: seeds that must hold, and hashes that must be the same in
every build. Prints TAP. A failing seed is told with the command that replays it.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import time

FIXED = (1, 16)       # under sanitizers
HASHED = (1, 4)       # in both builds
RANDOM_SECONDS = 10   # of the release build, from a drawn seed on
TIMEOUT = 200


def run(binary, *words):
    return subprocess.run([binary, "sim"] + list(words), capture_output=True, check=False,
                          timeout=TIMEOUT, stdin=subprocess.DEVNULL, text=True)


def expect_well(done):
    if done.returncode != 0:
        raise AssertionError((done.stdout + done.stderr)[:1500])


def fixed_seeds_hold(options):
    expect_well(run(options.kvapp, "--seeds", "%d..%d" % FIXED, "--jobs", "1"))


def seeds_of_bugs_hold(options):
    """Lines of seeds.txt: the words for kvapp sim, then # and what the bug was."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seeds.txt")
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split("#")[0].split()
            if words:
                expect_well(run(options.release, *words))


def fresh_random_seeds_hold(options):
    first = random.SystemRandom().randrange(1, 1 << 40)
    print("# seeds from %d on" % first)
    expect_well(run(options.release, "--seeds", "%d..%d" % (first, first + 100000), "--for",
                    str(RANDOM_SECONDS), "--jobs", "1"))


def hash_of(binary, seed):
    done = run(binary, "--seed", str(seed))
    expect_well(done)
    return re.search(r"hash ([0-9a-f]{16})", done.stdout).group(1)


def one_seed_is_one_run_in_every_build(options):
    for seed in range(HASHED[0], HASHED[1] + 1):
        hashes = {hash_of(binary, seed) for binary in
                  (options.kvapp, options.kvapp, options.release)}
        if len(hashes) != 1:
            raise AssertionError("seed %d has the hashes %s" % (seed, sorted(hashes)))


def an_unknown_fault_is_refused(options):
    done = run(options.kvapp, "--seed", "1", "--faults", "locusts")
    if done.returncode != 2 or "--faults" not in done.stderr:
        raise AssertionError("status %d: %s" % (done.returncode, done.stderr))


CASES = [fixed_seeds_hold, seeds_of_bugs_hold, fresh_random_seeds_hold,
         one_seed_is_one_run_in_every_build, an_unknown_fault_is_refused]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kvapp", required=True, help="the binary under sanitizers")
    parser.add_argument("--release", required=True, help="the release binary; else the same")
    options = parser.parse_args()
    if not os.path.exists(options.release):
        options.release = options.kvapp
    print("1..%d" % len(CASES))
    failed = False
    for number, case in enumerate(CASES, 1):
        start = time.monotonic()
        try:
            case(options)
            print("ok %d - %s" % (number, case.__name__))
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failed = True
            print("not ok %d - %s" % (number, case.__name__))
            for line in str(error).splitlines():
                print("# " + line)
        print("# %.1f s" % (time.monotonic() - start), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
