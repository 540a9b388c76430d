"""
The simulator as its users run it: fixed seeds, seeds of past bugs, fresh seeds, equal hashes on
every build, and every rare branch reached. Prints TAP.
"""

import argparse
import os
import re
import subprocess
import sys
import time

FIXED_SEEDS = "1..8"         # under the sanitizers
BRANCH_SEEDS = "1..600"      # in the release build
HASH_SEEDS = (1, 2, 3)
BEYOND_SEEDS = "1..120"
CRASHED = (("2", "2", "none"), ("5", "3", "power"))
FRESH_SECONDS = 5

options = None


class Skip(Exception):
    pass


def sim(binary, *words, timeout=150):
    done = subprocess.run((binary, "sim") + words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=timeout, check=False, text=True)
    return done.returncode, done.stdout, done.stderr


def expect_well(binary, *words):
    status, out, err = sim(binary, *words)
    if status != 0 or err:
        raise AssertionError("\n".join([" ".join(words), out[-3000:], err[-3000:]]))
    return out


def release():
    if not os.path.exists(options.release):
        raise Skip("no release build")
    return options.release


def fixed_seeds_are_well():
    expect_well(options.kvapp, "--seeds", FIXED_SEEDS)


def seeds_of_past_bugs_are_well():
    binary = options.release if os.path.exists(options.release) else options.kvapp
    with open(os.path.join(os.path.dirname(__file__), "seeds.txt"), encoding="utf-8") as file:
        lines = [line.split("#")[0].split() for line in file]
    for words in filter(None, lines):
        expect_well(binary, *words)


def fresh_seeds_are_well():
    first = int(time.time() * 1000) % 1000000000 * 1000
    print("# fresh seeds from %d on" % first)
    expect_well(options.kvapp, "--seeds", "%d..%d" % (first, first + 999),
                "--for", str(FRESH_SECONDS))


def the_same_seed_is_the_same_run_on_every_build():
    for seed in HASH_SEEDS:
        lines = [expect_well(binary, "--seed", str(seed))
                 for binary in (options.kvapp, options.kvapp, release())]
        if len(set(lines)) != 1 or "hash" not in lines[0]:
            raise AssertionError("\n".join(lines))


def every_rare_branch_is_reached():
    out = expect_well(release(), "--seeds", BRANCH_SEEDS)
    counts = re.findall(r"^ +(\d+)  (.*)$", out.split("\nreached\n")[1], re.MULTILINE)
    missed = [words for count, words in counts if count == "0"]
    if missed or len(counts) < 20:
        raise AssertionError("never reached: " + ", ".join(missed))


def every_crash_point_is_survived():
    for seed, seconds, faults in CRASHED:
        out = expect_well(release(), "--seed", seed, "--duration", seconds, "--faults", faults,
                          "--crash-points")
        runs, crashes = (int(re.search(what, out).group(1))
                         for what in (r"^runs +(\d+)", r"elections, (\d+) crashes"))
        if runs < 1000 or crashes < runs / 2:
            raise AssertionError(out)


def beyond_the_budget_no_answer_is_wrong():
    out = expect_well(release(), "--seeds", BEYOND_SEEDS, "--beyond",
                      "--faults", "io-error,rot,power,kill,stall")
    for words, least in (("a damaged log set aside", 1),
                         ("a server ended by its failing disk", 20)):
        if int(re.search(r"(\d+)  " + words, out).group(1)) < least:
            raise AssertionError(out)


def a_seed_does_enough():
    out = expect_well(options.kvapp, "--seed", "1", "--faults", "none")
    operations, answered = map(int, re.search(r"(\d+) operations, (\d+) answered", out).groups())
    if operations < 500 or answered < 0.95 * operations:
        raise AssertionError(out)


def a_trace_tells_the_story():
    out = expect_well(options.kvapp, "--seed", "2", "--duration", "4", "--trace")
    for word in ("leads term", "commit", "client 1: operation", "everything heals"):
        if word not in out:
            raise AssertionError("the story has no " + word)


def wrong_options_are_refused():
    for words in (("--seeds", "5"), ("--seeds", "9..3"), ("--nodes", "2"),
                  ("--faults", "rain"), ("--crash-points",), ("--seeds", "1..2", "--trace")):
        status, out, err = sim(options.kvapp, *words)
        if status != 2 or out or not err.startswith("kvapp sim: "):
            raise AssertionError("%r: %d, %r, %r" % (words, status, out, err))


CASES = (wrong_options_are_refused, a_seed_does_enough, a_trace_tells_the_story,
         fixed_seeds_are_well, seeds_of_past_bugs_are_well, fresh_seeds_are_well,
         the_same_seed_is_the_same_run_on_every_build, every_rare_branch_is_reached,
         every_crash_point_is_survived, beyond_the_budget_no_answer_is_wrong)


def main():
    global options  # pylint: disable=global-statement
    parser = argparse.ArgumentParser()
    parser.add_argument("--kvapp", required=True)
    parser.add_argument("--release", required=True)
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    print("1..%d" % len(CASES))
    failed = False
    for number, case in enumerate(CASES, 1):
        began = time.monotonic()
        try:
            case()
            print("ok %d - %s" % (number, case.__name__))
        except Skip as skip:
            print("ok %d - %s # SKIP %s" % (number, case.__name__, skip))
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failed = True
            print("not ok %d - %s" % (number, case.__name__))
            print("\n".join("# " + line for line in str(error).split("\n")))
        print("# %.1f s" % (time.monotonic() - began))
    sys.exit(1 if failed else 0)


main()
