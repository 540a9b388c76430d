"""
A small runner of end-to-end cases that prints TAP.

    @case(timeout=20)
    def behaviour_in_words(env): ...

    run()   # at the end of the file

`env` makes clusters (env.cluster(...)) and runs the client; whatever it started is stopped after
the case, and a sanitizer's report or a crash of any of it fails the case. A failure shows the
traceback and the end of each server's log. Case names can be given as words to run only those.
"""

import argparse
import os
import random
import signal
import sys
import time
import traceback

import cluster

CASES = []


class Skip(Exception):
    """Raised by a case that has no meaning here; the reason is printed."""


class CaseTimeout(BaseException):
    """Not an Exception, so that no case can swallow it."""


def case(timeout=30, only=None):
    """Registers a case; `only` names the one backend for which it has a meaning."""
    def register(function):
        CASES.append((function, timeout, only))
        return function
    return register


def expect(condition, sentence="expectation failed", *shown):
    if not condition:
        raise AssertionError(sentence + "".join(" %r" % (value,) for value in shown))


def expect_equal(found, wanted, what="value"):
    if found != wanted:
        raise AssertionError("%s: wanted %r, found %r" % (what, wanted, found))


def wait_until(condition, timeout, what):
    """Polls until the condition gives something true, and returns it."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError("not within %.1f s: %s" % (timeout, what))
        time.sleep(0.02)


def on_alarm(_number, _frame):
    raise CaseTimeout()


def run_case(function, timeout, env):
    """None when it passed, else (kind, lines)."""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(timeout)
    failure = None
    try:
        try:
            function(env)
        finally:
            signal.alarm(0)
    except Skip as skip:
        failure = ("skip", [str(skip)])
    except CaseTimeout:
        failure = ("failed", ["ran longer than %d s" % timeout] + where())
    except Exception:  # pylint: disable=broad-except
        failure = ("failed", where())
    complaints = env.clean_up()
    if complaints and (failure is None or failure[0] == "skip"):
        failure = ("failed", [])
    if failure is not None and failure[0] == "failed":
        failure[1].extend(complaints)
        failure[1].extend(env.log_tails())
    env.forget()
    return failure


def where():
    """The way to the exception that is handled now, a line for each call, then what it says."""
    kind, error, trace = sys.exc_info()
    lines = ["%s:%d: %s" % (os.path.basename(frame.filename), frame.lineno, frame.line)
             for frame in traceback.extract_tb(trace)[1:]]
    return lines[-6:] + ["%s: %s" % (kind.__name__, str(error)[:2000])]


def run():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kvapp", required=True, help="the binary to test")
    parser.add_argument("--release", default=None, help="the release binary, for measurements")
    parser.add_argument("--io", default="portable", choices=["uring", "portable"])
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", action="store_true", help="leave the temporary directories")
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    chosen = [entry for entry in CASES
              if entry[2] in (None, options.io)
              and (not options.cases or any(word in entry[0].__name__ for word in options.cases))]
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "little")
    print("1..%d" % len(chosen))
    print("# seed %d, backend %s" % (seed, options.io))
    if options.io == "uring" and not cluster.uring_is_allowed():
        for number, (function, _, _) in enumerate(chosen, 1):
            print("ok %d - %s # SKIP io_uring is forbidden here" % (number, function.__name__))
        return
    failed = False
    for number, (function, timeout, _) in enumerate(chosen, 1):
        name = function.__name__
        random.seed(seed)
        env = cluster.Environment(options)
        started = time.monotonic()
        failure = run_case(function, timeout, env)
        took = time.monotonic() - started
        if failure is None:
            print("ok %d - %s" % (number, name))
        elif failure[0] == "skip":
            print("ok %d - %s # SKIP %s" % (number, name, failure[1][0]))
        else:
            failed = True
            print("not ok %d - %s" % (number, name))
            print("\n".join("# " + line for line in failure[1]))
        print("# %.1f s" % took)
    sys.exit(1 if failed else 0)
