"""
What every fuzzer begins with, given to its target without a fuzzer (replay.c): whole, cut and
changed. So a target that no longer fits what it tests is noticed by every run of the tests.

Usage: test_seeds.py PROGRAM...     each named fuzz_X_replay
"""

import glob
import os
import subprocess
import sys
import tempfile

import seeds


def main():
    programs = sys.argv[1:]
    print("1..%d" % len(programs))
    failed = False
    for number, program in enumerate(programs, 1):
        target = os.path.basename(program).removesuffix("_replay")
        with tempfile.TemporaryDirectory() as folder:
            seeds.write(target, folder)
            files = glob.glob(os.path.join(folder, "*"))
            done = subprocess.run([program] + files, capture_output=True, text=True, check=False)
        passed = done.returncode == 0 and files
        failed = failed or not passed
        print("%s %d - %s_takes_%d_seeds_cut_and_changed" %
              ("ok" if passed else "not ok", number, target, len(files)))
        if not passed:
            print("\n".join("# " + line for line in done.stderr.splitlines()[-40:]))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
