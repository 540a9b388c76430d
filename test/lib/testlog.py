"""
Reads what `meson test` left behind, for ./dev test.

    testlog.py names DIR WORD...     names of the tests of DIR that contain one of the words
    testlog.py summary DIR [NAME...] the failed cases with the end of their output, then the line
                                     "N passed, N failed"; exit status 1 when one failed

Counted are cases, not programs: each "ok" and "not ok" line of TAP is one. A program that crashed,
ran out of time, or ended before its plan was fulfilled counts as one failed case more.
"""

import json
import os
import re
import sys

CASE = re.compile(r"^(ok|not ok)\b\s*(\d*)\s*(?:-\s*)?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)")
DIRECTIVE = re.compile(r"#\s*(SKIP|TODO)\b\s*(.*)$", re.IGNORECASE)
TAIL_LINES = 60
SAID_LINES = 40


def registered(directory):
    with open(os.path.join(directory, "meson-info", "intro-tests.json"), encoding="utf-8") as file:
        return [test["name"] for test in json.load(file)]


def runs(directory):
    path = os.path.join(directory, "meson-logs", "testlog.json")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


class Outcome:
    """What one test program gave."""

    def __init__(self, run):
        # Meson writes "project:suite / name".
        self.name = run["name"].rsplit(" / ", 1)[-1]
        self.output = (run.get("stdout") or "").splitlines()
        self.errors = [line for line in (run.get("stderr") or "").splitlines()
                       if line and not line.startswith("(test program exited")]
        self.passed = self.skipped = 0
        self.failed = []
        self.said = []
        self.skip_reasons = []
        planned = seen = 0
        failing = False
        for line in self.output:
            plan = PLAN.match(line)
            case = CASE.match(line)
            if plan:
                planned += int(plan.group(1))
            elif case:
                seen += 1
                failing = case.group(1) == "not ok"
                self.count(case.group(1), case.group(3))
            elif failing and line.startswith("#") and self.failed:
                self.said[-1].append(line)
        result = run["result"]
        if result == "SKIP" and seen == 0:
            self.skipped += 1
        elif result == "TIMEOUT":
            self.failed.append("(ran out of time)")
        elif result not in ("OK", "SKIP") and not self.failed:
            self.failed.append("(ended with status %s)" % run.get("returncode"))
        elif seen < planned:
            self.failed.append("(ended after %d of %d cases)" % (seen, planned))
        elif seen == 0 and result == "OK":
            self.passed += 1

    def count(self, verdict, rest):
        directive = DIRECTIVE.search(rest)
        if directive and directive.group(1).upper() == "SKIP" and verdict == "ok":
            self.skipped += 1
            self.skip_reasons.append(rest)
        elif verdict == "ok":
            self.passed += 1
        else:
            self.failed.append(rest)
            self.said.append([])


def print_lines(lines):
    for line in lines:
        print("      " + (line[2:] if line.startswith("# ") else line))


def summary(directory, names):
    expected = names or registered(directory)
    outcomes = [Outcome(run) for run in runs(directory)]
    ran = {outcome.name for outcome in outcomes}
    missing = [name for name in expected if name not in ran]
    for outcome in outcomes:
        if not outcome.failed:
            continue
        print("\nfailed in %s:" % outcome.name)
        for case, said in zip(outcome.failed, outcome.said + [[]]):
            print("    %s" % case)
            print_lines(said[:SAID_LINES])
        tails = [("standard error", outcome.errors)]
        if not any(outcome.said):
            tails.insert(0, ("output", outcome.output))
        for title, lines in tails:
            if lines:
                print("  the end of its %s:" % title)
                print_lines(lines[-TAIL_LINES:])
    for name in missing:
        print("did not run: %s" % name)
    reasons = sorted({reason for outcome in outcomes for reason in outcome.skip_reasons})
    for reason in reasons:
        print("skipped: %s" % reason)
    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(len(outcome.failed) for outcome in outcomes) + len(missing)
    skipped = sum(outcome.skipped for outcome in outcomes)
    line = "%d passed, %d failed" % (passed, failed)
    if skipped:
        line += ", %d skipped" % skipped
    sys.stdout.flush()
    print(line)
    return 1 if failed or passed == 0 else 0


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("names", "summary"):
        sys.exit(__doc__)
    directory, words = sys.argv[2], sys.argv[3:]
    if sys.argv[1] == "summary":
        sys.exit(summary(directory, words))
    for name in registered(directory):
        if any(word in name for word in words):
            print(name)


if __name__ == "__main__":
    main()
