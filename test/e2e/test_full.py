"""
Full disks: servers whose directories lie on small file systems of their own, filled up by a file
and given room again.
"""

import contextlib
import errno
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import native  # pylint: disable=wrong-import-position
from tap import (  # pylint: disable=wrong-import-position
    Skip, case, expect, expect_equal, run, wait_until)

# The log alone fills the disk: no snapshot is taken that would let it be trimmed.
SMALL = ["--segment-size", "4M", "--snapshot-entries", "1000000", "--snapshot-bytes", "1G"]
DISK_MIB = 64
VALUE = b"v" * 65536
SEGMENT_PUTS = 4 * 1024 * 1024 // len(VALUE)
STATUS_FULL = -24
FULL = "the disk is full"
AGAIN = "the disk has space again"


@contextlib.contextmanager
def small_disks(cluster):
    """The cluster's directories as file systems of DISK_MIB."""
    folders = [server.data for server in cluster.servers]
    mounted = []
    try:
        for folder in folders:
            os.makedirs(folder)
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=%dM" % DISK_MIB, "kvapp-test", folder],
                capture_output=True, check=False)
            if done.returncode != 0:
                raise Skip("no file system can be mounted: %s" % done.stderr.decode().strip())
            mounted.append(folder)
        yield
    finally:
        for folder in mounted:
            subprocess.run(["umount", "--lazy", folder], check=False)


def ballast(server):
    return os.path.join(server.data, "ballast")


def fill(server):
    """Takes all the space that is left."""
    file = os.open(ballast(server), os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            os.write(file, bytes(4096))
    except OSError as error:
        expect_equal(error.errno, errno.ENOSPC, "the error")
    finally:
        os.close(file)


def make_room(server):
    os.remove(ballast(server))


def segments(server):
    return sum(name.startswith("log-") for name in os.listdir(server.data))


def put_until(client, condition, prefix):
    """Puts until the condition holds; two segments must be enough. Gives the keys."""
    keys = []
    while not condition():
        expect(len(keys) < 2 * SEGMENT_PUTS, "%d puts were enough" % len(keys))
        keys.append(b"%s%04d" % (prefix, len(keys)))
        client.put(keys[-1], VALUE)
    return keys


def refused(call):
    """The sentence with which it was refused for want of space; None: it was not."""
    try:
        call()
    except native.Failed as error:
        expect_equal(error.status, STATUS_FULL, "the status")
        return str(error)
    return None


@case(timeout=90)
def a_leader_whose_disk_is_full_hands_over_and_catches_up_when_it_has_space(env):
    cluster = env.cluster(arguments=SMALL, start=False)
    with small_disks(cluster), cluster.client() as client:
        cluster.start()
        old = cluster.wait_leader()
        fill(old)
        keys = put_until(client, lambda: FULL in old.log(), b"a")
        wait_until(lambda: cluster.find_leader() not in (None, old), 10, "another leader")
        # More than the log of the full server has room for.
        for number in range(2 * SEGMENT_PUTS):
            keys.append(b"b%04d" % number)
            client.put(keys[-1], VALUE)
        expect(old.running, "the full server runs")
        expect(segments(old) < segments(cluster.find_leader()), "its log waits")
        expect(AGAIN not in old.log(), "it is full still")
        make_room(old)
        wait_until(lambda: AGAIN in old.log(), 15, "space is found")
        cluster.wait_equal()
        expect_equal(client.list(), keys, "the keys")
        expect_equal(old.log().count(FULL), 1, "lines that say so")
        expect_equal(set(cluster.stop().values()), {0}, "exit statuses")


@case(timeout=90)
def a_full_server_that_waits_ends_cleanly_and_starts_again(env):
    cluster = env.cluster(arguments=SMALL, start=False)
    with small_disks(cluster), cluster.client() as client:
        cluster.start()
        full = cluster.followers()[0]
        fill(full)
        for number in range(3 * SEGMENT_PUTS):
            client.put(b"%04d" % number, VALUE)
        expect(FULL in full.log(), "it says so")
        expect(segments(full) < segments(cluster.find_leader()), "its log waits")
        expect_equal(full.terminate(), 0, "exit status")
        full.start()
        cluster.wait_leader()
        make_room(full)
        wait_until(lambda: full.status() is not None, 15, "it serves")
        cluster.wait_equal()
        expect_equal(set(cluster.stop().values()), {0}, "exit statuses")


@case(timeout=60)
def alone_a_full_server_refuses_puts_and_goes_on_with_reads_and_deletes(env):
    cluster = env.cluster(size=1, arguments=SMALL, start=False)
    server = cluster.servers[0]
    with small_disks(cluster), cluster.client() as client:
        cluster.start()
        fill(server)
        keys = []

        def put():
            client.put(b"%04d" % len(keys), VALUE)
            keys.append(b"%04d" % len(keys))

        sentence = wait_until(lambda: refused(put), 30, "a refusal")
        expect("the leader's disk is full" in sentence, "the sentence says so:", sentence)
        expect_equal(client.list(), keys, "what is there")
        expect(client.delete(keys[0]), "a delete passes")
        done = env.client(cluster, "put", "planet", "earth")
        expect(done.returncode != 0 and b"disk is full" in done.stderr, "the client says so", done)
        done = env.client(cluster, "delete", keys[1].decode())
        expect_equal(done.returncode, 0, "one with a new session too")
        server.kill()
        cluster.start()
        expect_equal(client.list(), keys[2:], "after a start on the full disk")
        wait_until(lambda: server.log().count(FULL) == 2, 10, "it says so again")
        expect(refused(lambda: client.put(b"planet", b"earth")), "still refused")
        make_room(server)
        wait_until(lambda: refused(lambda: client.put(b"planet", b"earth")) is None, 15, "a put")
        expect_equal(client.list(), keys[2:] + [b"planet"], "at the end")
        expect_equal(server.terminate(), 0, "exit status")


if __name__ == "__main__":
    run()
