"""
The same random requests to kvapp and to a real redis-server 7.0.15, whose replies are compared
byte for byte: normal.py says what may differ. By hand:

    /usr/bin/python3 test/redis/differential.py --kvapp build/kvapp --count 100000
    (--seed N, --protocol 2 or 3, --servers 3, --differences 20)

It prints its seed, and for a difference the last requests that lead to it from an empty store.
"""

import argparse
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

# pylint: disable=wrong-import-position
import cluster as library
import commands
import normal
import resp

CONNECTIONS = 3
STEP_REQUESTS_MAX = 40
SHRINK_S = 15.0
TIMEOUT_S = 5.0


# The server is in Debian's redis-tools under this name, and is what it is called. The package
# redis-server holds a link to it, and starts a service, which nobody wants who tests.
REDIS_SERVER = "/usr/bin/redis-check-rdb"


class RedisServer:
    """The real one, on loopback, which keeps nothing and is as limited as kvapp is."""

    def __init__(self, port, folder):
        self.address = "%s:%d" % (library.HOST, port)
        log = os.path.join(folder, "redis-server.log")
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", library.HOST, "--save", "",
             "--appendonly", "no", "--databases", "1", "--proto-max-bulk-len", "1mb",
             "--dir", folder, "--logfile", log, "--daemonize", "no"],
            executable=REDIS_SERVER, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=library.die_with_parent)
        deadline = time.monotonic() + 10
        while True:
            try:
                resp.ask(self.address, "PING")
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError("redis-server does not start") from None
                time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


# ---- what is sent ----

class Part:
    """Bytes, the request they are (None: none), and what comes back."""

    def __init__(self, data, words=None, replies=1, closes=False):
        self.data, self.words, self.replies, self.closes = data, words, replies, closes

    def __repr__(self):
        if self.words is not None and self.data == resp.encode(*self.words):
            return " ".join(repr(word)[1:] for word in self.words)
        return "bytes %r" % self.data


class Step:
    """What one connection sends at once. With `scan`: the words after SCAN 0, all pages."""

    def __init__(self, connection, parts, scan=None):
        self.connection, self.parts, self.scan = connection, parts, scan

    def __repr__(self):
        lines = ["all pages of SCAN %r" % self.scan] if self.scan is not None else self.parts
        return "".join("  [%d] %s\n" % (self.connection, line) for line in lines)


def part(*words):
    words = resp.words_of(words)
    return Part(resp.encode(*words), words)


INLINE = [
    (b"PING\r\n", [b"PING"]), (b"ping\n", [b"PING"]), (b"  SET a inline  \r\n", [b"SET"]),
    (b"SET a \"x\\x41\\n\\\"\"\r\n", [b"SET"]), (b"SET b 'it\\'s'\r\n", [b"SET"]),
    (b"GET a\r\n", [b"GET"]), (b"GET\r\n", [b"GET"]), (b"nosuch a b\r\n", [b"nosuch"]),
    (b"SET a ''\r\n", [b"SET"]), (b"ECHO \"\\t\\b\\a\\q\\xzz\"\r\n", [b"ECHO"]),
]
NOTHING = [b"\r\n", b"\n", b"*0\r\n", b"*-1\r\n", b"   \r\n", b"*-10\r\n"]
SENSELESS = [
    b"*1\r\n:3\r\n", b"*x\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$x\r\n", b"*1\r\n$3000000\r\n",
    b"GET \"a\r\n", b"GET 'a'b\r\n", b"*2\r\n$3\r\nGET\r\n+a\r\n", b"*99999999999\r\n",
    b"*1\r\n$99999999999\r\n", b"SET a \"b\"c\r\n", b"*1\r\n\r\n",
    b"*" + b"1" * 70000, b"a" * 70000,
]


class Writer:
    """Steps from the generator's requests, with what only makes sense together."""

    def __init__(self, seed, protocol):
        self.random = random.Random(seed)
        self.make = commands.Generator(self.random)
        self.make.protocol = b"%d" % protocol
        self.protocol = protocol
        self.open = set()  # connections with a transaction that has not ended

    def request(self):
        return part(*self.make.request())

    def some(self, most=STEP_REQUESTS_MAX):
        count = self.random.choice([1, 1, 2, 3, 5, 10, 20, 40])
        return [self.request() for _ in range(self.random.randrange(1, min(count, most) + 1))]

    def steps(self):
        """The next steps, on connections of their choice."""
        number = self.random.randrange(CONNECTIONS)
        if number in self.open:
            self.open.discard(number)
            return [Step(number, self.some(5) + [part(self.random.choice(["EXEC", "DISCARD"]))])]
        makers, weights = zip(*(
            (self.plain, 60), (self.transaction, 20), (self.watch, 8), (self.watch_absent, 3),
            (self.scan, 5), (self.size, 4), (self.silent, 2), (self.inline, 4),
            (self.senseless, 1.5), (self.leave, 1), (self.reset, 1), (self.huge, 0.3)))
        maker, = self.random.choices(makers, weights)
        return maker(number)

    def plain(self, number):
        return [Step(number, self.some())]

    def transaction(self, number):
        parts = [part("MULTI")] + self.some(12)
        how = self.random.random()
        if how < 0.05:
            self.open.add(number)
        else:
            parts.append(part("EXEC" if how < 0.9 else "DISCARD"))
        return [Step(number, parts + (self.some(5) if how > 0.5 else []))]

    def watch(self, number):
        parts = []
        keys = self.make.keys(3)
        for key in keys:
            parts.append(part("SETNX", key, self.make.value()))
        parts.append(part("WATCH", *keys))
        steps = [Step(number, parts)]
        if self.random.random() < 0.7:
            steps.append(Step(self.random.randrange(CONNECTIONS), self.some(3)))
        if self.random.random() < 0.15:
            steps.append(Step(number, [part("UNWATCH")]))
        return steps + [Step(number, [part("MULTI")] + self.some(5) + [part("EXEC")])]

    def watch_absent(self, number):
        key = commands.ABSENT_KEY
        steps = [Step(number, [part("DEL", key), part("WATCH", key)])]
        if self.random.random() < 0.5:
            steps.append(Step(self.random.randrange(CONNECTIONS), [part("SET", key, "v")]))
        return steps + [Step(number, [part("MULTI"), part("GET", "a"), part("EXEC"),
                                      part("DEL", key)])]

    def scan(self, number):
        words = []
        if self.random.random() < 0.5:
            words += [b"MATCH", self.make.pattern()]
        if self.random.random() < 0.7:
            words += [b"COUNT", self.random.choice([b"1", b"2", b"3", b"1000"])]
        return [Step(number, [], words)]

    def size(self, number):
        # Redis counts what is over until somebody looks.
        return [Step(number, [part("SCAN", 0, "COUNT", 1000), part("DBSIZE")])]

    def silent(self, number):
        def some(most):  # CLIENT REPLY ON would be answered.
            return [one for one in self.some(most) if one.words[0].lower() != b"client"]
        if self.random.random() < 0.5:
            parts = []
            for one in some(3):
                parts += [Part(resp.encode("CLIENT", "REPLY", "SKIP"), replies=0),
                          Part(one.data, one.words, replies=0)]
            return [Step(number, parts + [part("PING")])]
        hushed = [Part(one.data, one.words, replies=0) for one in some(5)]
        return [Step(number, [Part(resp.encode("CLIENT", "REPLY", "OFF"), replies=0)] + hushed +
                     [part("CLIENT", "REPLY", "ON"), part("PING")])]

    def inline(self, number):
        data, words = self.random.choice(INLINE)
        return [Step(number, self.some(3) + [Part(self.random.choice(NOTHING), replies=0),
                                             Part(data, words)] + self.some(3))]

    def senseless(self, number):
        return [Step(number, self.some(5) + [Part(self.random.choice(SENSELESS), closes=True)])]

    def leave(self, number):
        words = resp.words_of(["QUIT"])
        return [Step(number, self.some(5) + [Part(resp.encode(*words), words, closes=True)])]

    def reset(self, number):
        return [Step(number, [part("MULTI")] + self.some(2) +
                     [part("RESET"), part("HELLO", self.protocol)])]

    def huge(self, number):
        key = self.make.key()
        size = self.random.choice([1048575, 1048576, 1000000])
        return [Step(number, [part("SET", key, b"x" * size), part("APPEND", key, "y"),
                              part("STRLEN", key), part("GETRANGE", key, -5, -1),
                              part("SETRANGE", key, 1048570, "123456"),
                              part("SETRANGE", key, 1048570, "1234567"), part("STRLEN", key),
                              part("DEL", key)])]


# ---- sending and comparing ----

class Difference(Exception):
    """Two replies that should be alike."""

    def __init__(self, what, wanted, found):
        super().__init__("%s\n  redis: %.600r\n  kvapp: %.600r" % (what, wanted, found))
        unanswered = isinstance(found, bytes) and found[:1] not in b"+-:$*_#,(!=~>%"
        self.what = "no answer" if unanswered else str(what).split(" ", 1)[0].lower()


class Pair:
    """A connection to each of the two, which are sent the same."""

    def __init__(self, ours, theirs, protocol):
        self.ours = resp.Connection(ours, TIMEOUT_S, protocol)
        self.theirs = resp.Connection(theirs, TIMEOUT_S, protocol)
        self.queue = None

    def close(self):
        self.ours.close()
        self.theirs.close()

    def take(self, one):
        replies = []
        for connection in (self.theirs, self.ours):
            try:
                replies.append(connection.receive_raw())
            except (resp.Closed, resp.NoAnswer, resp.Malformed) as error:
                replies.append(repr(error).encode())
        wanted, found = replies
        if not normal.same(one.words, found, wanted, self.queue):
            raise Difference(one, wanted, found)
        self.follow(one.words, wanted)

    def follow(self, words, reply):
        """What of a transaction has been queued."""
        name = words[0].lower() if words else b""
        if name == b"multi" and reply == b"+OK\r\n":
            self.queue = []
        elif reply == b"+QUEUED\r\n" and self.queue is not None:
            self.queue.append(words)
        elif name in (b"exec", b"discard", b"reset"):
            self.queue = None

    def scan(self, words):
        found = []
        for connection in (self.theirs, self.ours):
            cursor, keys = b"0", []
            while True:
                answer = connection.ask("SCAN", cursor, *words)
                if not isinstance(answer, list):
                    return [answer]
                cursor = answer[0]
                keys += answer[1]
                if cursor == b"0":
                    break
            found.append(keys)
        if len(set(found[1])) != len(found[1]):
            raise Difference("SCAN gives a key twice", found[0], found[1])
        if set(found[0]) != set(found[1]):
            raise Difference("SCAN %r" % words, sorted(set(found[0])), found[1])
        return found


class Comparison:
    """Two servers from empty stores on. `ours`: a cluster; each connection takes one of it."""

    def __init__(self, ours, theirs, protocol):
        self.ours, self.theirs, self.protocol = ours, theirs, protocol
        self.crashes = 0
        self.pairs = {}
        self.random = random.Random(1)
        self.count = 0

    def begin(self):
        self.end()
        self.revive()
        for address in (self.ours.client_addresses[0], self.theirs):
            answer = resp.ask(address, "FLUSHALL")
            if answer != b"OK":
                raise AssertionError("FLUSHALL on %s: %r" % (address, answer))

    def revive(self):
        """A server that crashed is a difference; the search for what led to it goes on."""
        ended = [server for server in self.ours.servers if not server.running]
        self.crashes += len(ended)
        for server in ended:
            server.expected_end = True
            server.start()
        if ended:
            self.ours.wait_leader()

    def end(self):
        for pair in self.pairs.values():
            pair.close()
        self.pairs = {}

    def pair(self, number):
        if number not in self.pairs:
            self.pairs[number] = Pair(self.random.choice(self.ours.client_addresses),
                                      self.theirs, self.protocol)
        return self.pairs[number]

    def run(self, step):
        pair = self.pair(step.connection)
        if step.scan is not None:
            if pair.queue is None:
                pair.scan(step.scan)
            return
        data = b"".join(one.data for one in step.parts)
        cut = self.random.randrange(len(data) + 1) if self.random.random() < 0.3 else len(data)
        for connection in (pair.theirs, pair.ours):
            try:
                connection.send(data[:cut])
                connection.send(data[cut:])
            except resp.Closed:
                pass  # The replies tell.
        for one in step.parts:
            for _ in range(one.replies):
                pair.take(one)
                self.count += 1
            if one.closes:
                self.expect_end(pair, one)
                pair.close()
                del self.pairs[step.connection]

    @staticmethod
    def expect_end(pair, one):
        closed = pair.theirs.is_closed(), pair.ours.is_closed()
        if closed[0] != closed[1]:
            raise Difference(one, "closed: %s" % closed[0], "closed: %s" % closed[1])

    def fails(self, steps):
        """Whether the steps lead to a difference in the last of them; gives it."""
        self.begin()
        try:
            for step in steps:
                self.run(step)
        except Difference as difference:
            return difference
        return None


def shrink(comparison, steps, difference):
    """Fewer steps with the same difference, as long as there is patience."""
    deadline = time.monotonic() + SHRINK_S
    best = steps

    def is_same(candidate):
        found = comparison.fails(candidate)
        return found is not None and found.what == difference.what

    length = 1
    while time.monotonic() < deadline and length < len(steps):
        if is_same(steps[-length:]):
            best = steps[-length:]
            break
        length *= 2
    # Then one request fewer at a time, from the end on.
    for place in reversed(range(len(best))):
        for at in reversed(range(len(best[place].parts))):
            if time.monotonic() > deadline:
                return [step for step in best if step.parts or step.scan is not None]
            step = best[place]
            fewer = Step(step.connection, step.parts[:at] + step.parts[at + 1:])
            candidate = best[:place] + [fewer] + best[place + 1:]
            if is_same(candidate):
                best = candidate
    return [step for step in best if step.parts or step.scan is not None]


def describe(comparison, steps, difference):
    few = shrink(comparison, steps, difference)
    text = "".join(repr(step) for step in few[-40:])
    found = comparison.fails(few)
    return "%s\nafter, with RESP%d, from an empty store (connection in brackets):\n%s" % (
        found or "(it does not come again; the last requests were)\n%s" % difference,
        comparison.protocol, text if found else "".join(repr(step) for step in steps[-3:]))


def compare(ours, theirs, seed, count, protocol, differences_max=1, tell=lambda text: None):
    """Sends about `count` requests; gives the differences as texts."""
    comparison = Comparison(ours, theirs, protocol)
    writer = Writer(seed, protocol)
    told = {}
    comparison.begin()
    steps = []
    done = 0
    while done < count:
        for step in writer.steps():
            steps.append(step)
            try:
                comparison.run(step)
            except Difference as difference:
                done += comparison.count
                if difference.what not in told:
                    told[difference.what] = describe(comparison, steps, difference)
                    tell("difference: " + told[difference.what])
                comparison.count = 0
                if len(told) >= differences_max:
                    comparison.end()
                    return list(told.values())
                comparison.begin()
                writer.open.clear()
                steps = []
                break
        if comparison.count > 2000:  # So that what leads to a difference stays short.
            done += comparison.count
            comparison.count = 0
            comparison.begin()
            writer.open.clear()
            steps = []
    comparison.end()
    return list(told.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kvapp", required=True)
    parser.add_argument("--io", default="auto")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--protocol", type=int, choices=[2, 3], default=None)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--differences", type=int, default=20, help="stop after so many")
    options = parser.parse_args()
    options.release, options.keep = None, False
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "little")
    print("seed %d" % seed, flush=True)
    env = library.Environment(options)
    redis = RedisServer(env.ports.take(), env.folder)
    failed = False
    try:
        servers = env.cluster(size=options.servers)
        for protocol in [options.protocol] if options.protocol else [2, 3]:
            found = compare(servers, redis.address, seed, options.count, protocol,
                            options.differences, lambda text: print(text, flush=True))
            print("RESP%d: %d requests, %d differences" % (protocol, options.count, len(found)))
            failed = failed or bool(found)
    finally:
        redis.stop()
        complaints = env.clean_up()
        if complaints:
            print("\n".join(complaints + env.log_tails()))
        env.forget()
    sys.exit(1 if failed or complaints else 0)


if __name__ == "__main__":
    main()
