"""
A damaged data directory, on real servers: of a cluster the server comes back and is repaired by the
others; alone it refuses to start.
"""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cluster import check_all_there, fill  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position

REPAIRED = "holds again what it had lost"


def files_of(server, kind):
    return sorted(os.path.join(server.data, name) for name in os.listdir(server.data)
                  if re.fullmatch(kind + r"-[0-9a-f]{16}", name))


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x10]))


def repair(cluster, victim, written):
    """Starts the damaged server, and waits until it has everything and its vote again."""
    before = victim.log().count(REPAIRED)
    victim.start()
    cluster.wait_equal(30)
    written.update(fill(cluster, 20, 10, b"after"))
    cluster.wait_equal(30)
    check_all_there(cluster, written)
    return before


def expect_set_aside(victim, words):
    log = victim.log()
    expect(words in log, "it says what is wrong", log[-1500:])
    expect("were moved to" in log, "it says where the files are", log[-1500:])
    expect(os.path.isdir(os.path.join(victim.data, "damaged-0001")), "they are there",
           os.listdir(victim.data))


@case(timeout=90)
def a_flipped_bit_in_the_log_is_repaired_and_the_server_votes_again(env):
    cluster = env.cluster()
    written = fill(cluster, 300, 500)
    cluster.wait_equal()
    victim = cluster.followers()[0]
    victim.terminate()
    flip(files_of(victim, "log")[0], 20000)
    before = repair(cluster, victim, written)
    expect_set_aside(victim, "damaged at offset")
    wait_until(lambda: victim.log().count(REPAIRED) > before, 10, "it is repaired")
    # With the old leader gone its vote, or it, is needed.
    cluster.wait_leader().kill()
    cluster.wait_leader()
    check_all_there(cluster, written)


@case(timeout=90)
def a_lost_segment_is_repaired_and_a_new_term_tells_so(env):
    cluster = env.cluster()
    written = fill(cluster, 300, 500)
    cluster.wait_equal()
    victim = cluster.followers()[0]
    victim.terminate()
    os.unlink(files_of(victim, "log")[0])
    before = repair(cluster, victim, written)
    expect_set_aside(victim, "missing")
    # Nobody knows what the segment held: the leader hands over, so that a new term begins.
    wait_until(lambda: victim.log().count(REPAIRED) > before, 20, "it is repaired")
    handed_over = [server.id for server in cluster.servers
                   if "only a new term tells it so" in server.log()]
    expect_equal(len(handed_over), 1, "leaders that handed over")


@case(timeout=90)
def a_lost_snapshot_is_repaired(env):
    cluster = env.cluster(arguments=["--snapshot-entries", "100", "--segment-size", "4M"])
    written = fill(cluster, 500, 30000)
    cluster.wait_equal()
    victim = cluster.followers()[0]
    wait_until(lambda: len(files_of(victim, "snapshot")) == 2, 10, "two snapshots")
    victim.terminate()
    for path in files_of(victim, "snapshot"):
        os.unlink(path)
    repair(cluster, victim, written)
    expect_set_aside(victim, "entries are missing")


@case(timeout=60)
def a_server_that_is_killed_while_it_is_repaired_goes_on(env):
    cluster = env.cluster()
    written = fill(cluster, 400, 2000)
    cluster.wait_equal()
    victim = cluster.followers()[0]
    victim.terminate()
    flip(files_of(victim, "log")[0], 20000)
    for _ in range(5):
        victim.start()
        wait_until(lambda: "recovered" in victim.log(), 10, "it runs")
        victim.kill()
    repair(cluster, victim, written)
    expect(not os.path.exists(os.path.join(victim.data, "damaged-0002")), "it was damaged once",
           os.listdir(victim.data))


@case(timeout=60)
def a_server_alone_refuses_a_damaged_log(env):
    cluster = env.cluster(size=1)
    fill(cluster, 100, 500)
    only = cluster.servers[0]
    only.terminate()
    flip(files_of(only, "log")[0], 20000)
    only.start()
    expect(only.wait() != 0, "it ends", only.log()[-800:])
    expect("nothing was changed" in only.log(), "it says so", only.log()[-800:])
    expect_equal([name for name in os.listdir(only.data) if name.startswith("damaged")], [],
                 "directories")


run()
