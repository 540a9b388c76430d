#!/usr/bin/python3
"""
Does the simulator notice bugs? Each mutation of src/base/mutation.h is compiled into a release
binary of its own, in which raft_check is off, and the simulator runs random worlds on it until a
property is broken. A mutation that survives its time means that a checker is missing.

    mutations.py                     all of them, as a table
    mutations.py NAME...             these
    mutations.py --rotate N          N of the quick ones, by the day or by --seed; prints TAP

Only the libraries that hold mutations are compiled anew for each, in build-mutation. Exits 1 when
one survived.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build-mutation")
HEADER = os.path.join(ROOT, "src", "base", "mutation.h")
# Of wall time, in one process: at most as much CPU time.
SECONDS = 300
SEED_LAST = 10**9
# A minute or two each: not in rotation.
SLOW = ["ignore_sync_error", "no_step_down"]


def mutations():
    """Their names with their numbers, as the header lists them."""
    with open(HEADER, encoding="utf-8") as file:
        found = re.findall(r"^    MUTATION_(\w+) = (\d+),", file.read(), re.MULTILINE)
    return {name: int(number) for name, number in found if name != "none"}


def run(command, **options):
    """Runs a command; its output is shown only when it fails, which ends everything."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            stdin=subprocess.DEVNULL, text=True, check=False, **options)
    if result.returncode != 0:
        sys.exit("%s failed:\n%s" % (" ".join(command), result.stdout[-4000:]))
    return result.stdout


def mutation_of_build():
    """What the build directory is configured for; None: it is not."""
    try:
        for option in json.loads(run(["meson", "introspect", "--buildoptions", BUILD])):
            if option["name"] == "mutation":
                return option["value"]
    except (OSError, ValueError):
        pass
    return None


def build(mutation):
    """Returns the path of a release binary with this bug in it."""
    option = "-Dmutation=" + mutation
    if not os.path.exists(os.path.join(BUILD, "build.ninja")):
        run(["meson", "setup", BUILD, "-Dbuildtype=release", "-Db_ndebug=if-release", option],
            cwd=ROOT)
    elif mutation_of_build() != mutation:
        # Not `configure`: that knows only the mutations of when the directory was made.
        run(["meson", "setup", "--reconfigure", BUILD, option], cwd=ROOT)
    run(["ninja", "-C", BUILD, "kvapp"])
    return os.path.join(BUILD, "kvapp")


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def hunt(program, seconds):
    """Runs random worlds until one fails. Returns what became of it, as a dict."""
    begun = cpu_seconds()
    command = [program, "sim", "--seeds", "1..%d" % SEED_LAST, "--jobs", "1",
               "--for", str(seconds)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            stdin=subprocess.DEVNULL, check=False)
    found = {"cpu": cpu_seconds() - begun, "property": None, "seed": None, "sentence": ""}
    if result.returncode != 1:
        return found
    seed = re.search(r"^seed (\d+) FAILED", result.stdout, re.MULTILINE)
    broken = re.search(r"^property +(.*)\n +(.*)$", result.stdout, re.MULTILINE)
    if seed is None or broken is None:
        sys.exit("kvapp sim failed without saying why:\n" + result.stdout + result.stderr)
    found["seed"] = int(seed.group(1))
    found["property"] = broken.group(1)
    found["sentence"] = broken.group(2)
    # An assertion names itself on standard error.
    bug = re.search(r"bug: (.*)", result.stderr)
    if bug is not None:
        found["sentence"] = bug.group(1)
    return found


def chosen(names, count, seed):
    """`count` of the quick ones, others with the next seed, all of them in turn."""
    names = sorted(name for name in names if name not in SLOW)
    return [names[(seed * count + i) % len(names)] for i in range(count)]


def table(names, numbers, seconds):
    survived = []
    print("%-2s  %-24s %-14s %8s %8s  %s" %
          ("", "mutation", "killed by", "seeds", "CPU s", "how"))
    for name in names:
        found = hunt(build(name), seconds)
        if found["property"] is None:
            survived.append(name)
        print("%2d  %-24s %-14s %8s %8.1f  %s" %
              (numbers[name], name, found["property"] or "SURVIVED", found["seed"] or "",
               found["cpu"], found["sentence"]), flush=True)
    print("%d of %d killed" % (len(names) - len(survived), len(names)))
    return survived


def tap(names, seconds):
    survived = []
    print("1..%d" % len(names), flush=True)
    for number, name in enumerate(names, 1):
        found = hunt(build(name), seconds)
        killed = found["property"] is not None
        if not killed:
            survived.append(name)
        print("%sok %d - the simulator kills %s" % ("" if killed else "not ", number, name))
        print("# %s, seed %s, %.1f CPU-seconds: %s" %
              (found["property"], found["seed"], found["cpu"], found["sentence"]), flush=True)
    return survived


def main():
    parser = argparse.ArgumentParser(description="Does the simulator notice bugs?")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=int, default=SECONDS,
                        help="time for each (%(default)s)")
    parser.add_argument("--rotate", type=int, metavar="N", help="only N of the quick ones")
    parser.add_argument("--seed", type=int, default=int(time.time()) // 86400,
                        help="which N; the day when not given")
    options = parser.parse_args()
    numbers = mutations()
    unknown = [name for name in options.names if name not in numbers]
    if unknown:
        sys.exit("no such mutation: " + ", ".join(unknown))
    names = options.names or list(numbers)
    if options.rotate is not None:
        print("# seed %d" % options.seed, flush=True)
        survived = tap(chosen(names, options.rotate, options.seed), options.seconds)
    else:
        survived = table(names, numbers, options.seconds)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
