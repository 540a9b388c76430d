"""Locks that are right: examples/lock.c, the same from the command line and by Redis's protocol."""

import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cluster as library  # pylint: disable=wrong-import-position
import native  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position


class Holder:
    """examples/lock.c: holds the lock until it is told to write."""

    def __init__(self, env, cluster, ttl_ms, value):
        program = os.path.join(os.path.dirname(env.binary), "examples", "lock")
        self.process = subprocess.Popen(
            [program, cluster.text, str(ttl_ms), value], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=library.environment_of(),
            preexec_fn=library.die_with_parent)

    def token(self):
        line = self.process.stdout.readline().decode()
        expect(line.startswith("locked, token "), "it has the lock", line)
        return int(line.split()[-1])

    def write(self):
        """Its exit status, and what it said."""
        output, complaints = self.process.communicate(b"\n", timeout=20)
        expect_equal(complaints, b"", "complaints")
        return self.process.returncode, output.decode()


@case()
def who_holds_the_lock_writes_and_the_next_one_waits(env):
    cluster = env.cluster()
    first = Holder(env, cluster, 30000, "first")
    token = first.token()
    second = Holder(env, cluster, 30000, "second")
    time.sleep(0.3)
    expect(second.process.poll() is None, "the second waits")
    expect_equal(first.write(), (0, "written\n"), "the first")
    expect(second.token() > token, "tokens rise")
    expect_equal(env.client(cluster, "get", "data").stdout, b"first\n", "data")
    expect_equal(second.write(), (0, "written\n"), "the second")
    expect_equal(env.client(cluster, "get", "data").stdout, b"second\n", "data")
    expect_equal(env.client(cluster, "get", "lock").returncode, 1, "the lock is given back")


@case()
def a_writer_whose_lock_is_over_is_refused(env):
    cluster = env.cluster()
    late = Holder(env, cluster, 300, "late")
    token = late.token()
    # As if it were stopped, it does not see that its time is up; somebody else takes the lock.
    next_one = Holder(env, cluster, 30000, "next")
    expect(next_one.token() > token, "tokens rise")
    expect_equal(late.write(), (1, "refused: the lock was lost\n"), "the late one, before")
    expect_equal(env.client(cluster, "get", "data").returncode, 1, "nothing was written")
    expect_equal(next_one.write(), (0, "written\n"), "the next one keeps its lock")
    expect_equal(env.client(cluster, "get", "data").stdout, b"next\n", "data")
    # Also when nobody took it.
    alone = Holder(env, cluster, 100, "alone")
    alone.token()
    wait_until(lambda: env.client(cluster, "get", "lock").returncode == 1, 10, "the lock goes")
    expect_equal(alone.write(), (1, "refused: the lock was lost\n"), "the one that is alone")
    cluster.wait_equal()


@case()
def a_lock_survives_its_leader(env):
    cluster = env.cluster()
    holder = Holder(env, cluster, 60000, "value")
    holder.token()
    cluster.wait_leader().kill()
    expect_equal(env.client(cluster, "put", "lock", "x", "--if-absent").returncode, 1, "it is held")
    expect_equal(holder.write(), (0, "written\n"), "the holder")


@case()
def the_same_from_the_command_line(env):
    cluster = env.cluster()
    done = env.client(cluster, "put", "lock", "me", "--ttl", "60000", "--if-absent")
    expect_equal((done.returncode, done.stdout), (0, b"OK\n"), "taken")
    done = env.client(cluster, "put", "lock", "you", "--ttl", "60000", "--if-absent")
    expect_equal(done.returncode, 1, "held")
    stat = env.json(cluster, "ttl", "lock")
    expect(50000 < stat["ttl_ms"] <= 60000, "the time left", stat)
    renewed = env.json(cluster, "put-if", "lock", str(stat["revision"]), "me", "--ttl", "90000")
    expect(env.json(cluster, "ttl", "lock")["ttl_ms"] > 80000, "renewed")
    expect(renewed["revision"] > stat["revision"], "a new token")
    expect_equal(env.client(cluster, "expire", "lock", "200").stdout, b"OK\n", "expire")
    wait_until(lambda: env.client(cluster, "ttl", "lock").returncode == 1, 10, "it goes")
    expect_equal(env.client(cluster, "incr", "n").stdout, b"1\n", "incr")
    expect_equal(env.client(cluster, "incr", "n", "-3").stdout, b"-2\n", "incr by")
    expect_equal(env.client(cluster, "append", "n", "!").stdout, b"OK, 3 bytes\n", "append")
    expect_equal(env.client(cluster, "incr", "n").returncode, 1, "no number")
    expect_equal(env.client(cluster, "ttl", "n").stdout, b"never\n", "it stays")
    cluster.wait_equal()


@case()
def the_time_left_passes_while_nothing_is_written(env):
    cluster = env.cluster()
    env.client(cluster, "put", "k", "v", "--ttl", "60000")
    before = env.json(cluster, "ttl", "k")["ttl_ms"]
    time.sleep(0.5)
    after = env.json(cluster, "ttl", "k")["ttl_ms"]
    expect(300 <= before - after < 10000, "it passes", before, after)


# ---- Redis ----

class Redis:
    """A client of Redis that reads simple replies, nulls and one level of arrays."""

    def __init__(self, address):
        self.socket = socket.create_connection(native.split(address), timeout=10)
        self.file = self.socket.makefile("rb")

    def reply(self):
        line = self.file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def ask(self, *words):
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(
            b"$%d\r\n%s\r\n" % (len(word), word) for word in (str(w).encode() for w in words)))
        return self.reply()

    def close(self):
        self.file.close()
        self.socket.close()

    def together(self, *commands):
        expect_equal(self.ask("MULTI"), b"OK", "MULTI")
        for command in commands:
            expect_equal(self.ask(*command), b"QUEUED", " ".join(str(word) for word in command))
        return self.ask("EXEC")

    def take(self, ttl_ms):
        """The revision of the lock that was taken; None: it is held."""
        taken, revision = self.together(("SET", "lock", "token", "NX", "PX", ttl_ms),
                                        ("KV.REVISION", "lock"))
        return revision if taken is not None else None

    def write(self, revision, value):
        """Whether the lock was still at that revision."""
        expect_equal(self.ask("KV.FENCE", "lock", revision), b"OK", "KV.FENCE")
        return self.together(("SET", "data", value)) is not None


@case()
def the_same_with_a_client_of_redis(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    follower = cluster.followers()[0]
    one, other = Redis(leader.client_address), Redis(follower.client_address)
    token = one.take(300)
    expect(token is not None and int(token) > 0, "taken", token)
    expect_equal(other.take(60000), None, "held")
    expect(one.write(token, "one"), "the holder writes")
    later = wait_until(lambda: other.take(60000), 10, "the lock goes")
    expect(int(later) > int(token), "tokens rise", token, later)
    expect(not one.write(token, "late"), "a late writer is refused")
    expect(other.write(later, "other"), "the next holder writes")
    expect_equal(one.ask("GET", "data"), b"other", "data")
    one.close()
    other.close()
    cluster.wait_equal()


run()
