"""
Snapshots and the trimming of the log, on real servers: killed while they take, send, receive and
restore one, nothing that was acknowledged is lost.
"""

import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cluster import check_all_there, fill  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position

KILLS = 20
ENTRIES = 200


def snapshots_of(server):
    return sorted(name for name in os.listdir(server.data)
                  if re.fullmatch(r"snapshot-[0-9a-f]{16}", name))


def taken(server):
    return len(re.findall(r"snapshot at entry \d+ taken", server.log()))


def entries_between(server):
    """How many entries there are from one snapshot that it took to the next."""
    indexes = [int(index) for index in re.findall(r"snapshot at entry (\d+) taken", server.log())]
    return [later - earlier for earlier, later in zip([0] + indexes, indexes)]


def sent_to(cluster, follower):
    """How often a snapshot was sent to that server."""
    return sum(len(re.findall(r"node %d is too far behind" % follower.id, server.log()))
               for server in cluster.servers)


def one_behind(env, *arguments):
    """A cluster of which one follower is down and too far behind for the log; what was written."""
    cluster = env.cluster(arguments=["--snapshot-entries", str(ENTRIES)] + list(arguments))
    follower = cluster.followers()[0]
    follower.kill()
    return cluster, follower, fill(cluster, 600, 2000)


def damage_newest(server):
    """Flips a bit in the middle of its newest snapshot, and gives the file's name."""
    newest = os.path.join(server.data, snapshots_of(server)[-1])
    with open(newest, "r+b") as file:
        file.seek(os.path.getsize(newest) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x10]))
    return os.path.basename(newest)


@case(timeout=60)
def a_follower_that_slept_through_ten_snapshots_needs_one(env):
    cluster = env.cluster(arguments=["--snapshot-entries", str(ENTRIES)])
    follower = cluster.followers()[0]
    written = fill(cluster, 100, 50)
    cluster.wait_equal()
    follower.kill()
    leader = cluster.wait_leader()
    before = taken(leader)
    written.update(fill(cluster, 100, 50, rounds=24))
    wait_until(lambda: taken(leader) >= before + 10, 20, "ten snapshots")
    follower.start()
    cluster.wait_equal()
    expect_equal(sent_to(cluster, follower), 1, "snapshots sent")
    expect("keys restored from the snapshot" in follower.log(), "it restored its state",
           follower.log()[-500:])
    check_all_there(cluster, written)


@case(timeout=60)
def a_snapshot_comes_after_so_many_bytes(env):
    cluster = env.cluster(arguments=["--snapshot-bytes", "64K"])
    fill(cluster, 1, 1000, rounds=400)
    for server in cluster.servers:
        wait_until(lambda one=server: taken(one) >= 3, 10, "snapshots on each")
        expect(50 <= min(entries_between(server)) <= 70, "of 1,000 bytes and a header each",
               entries_between(server))


@case(timeout=60)
def a_snapshot_waits_until_the_log_has_as_many_bytes_as_the_state(env):
    cluster = env.cluster(arguments=["--snapshot-bytes", "64K"])
    fill(cluster, 200, 2000, rounds=5)
    for server in cluster.servers:
        # While the state grows to 400 KB its snapshots come sooner.
        wait_until(lambda one=server: taken(one) >= 4, 10, "snapshots on each")
        expect(all(180 <= count for count in entries_between(server)[-2:]),
               "of 2,000 bytes and a header each", entries_between(server))


@case(timeout=60)
def all_servers_restart_from_their_snapshots(env):
    cluster = env.cluster(arguments=["--snapshot-entries", str(ENTRIES)])
    written = fill(cluster, 150, 200, rounds=6)
    cluster.wait_equal()
    for server in cluster.servers:
        wait_until(lambda one=server: taken(one) >= 3, 10, "snapshots on each")
        expect(1 <= len(snapshots_of(server)) <= 2, "two are kept", snapshots_of(server))
    cluster.stop()
    cluster.start()
    cluster.wait_equal()
    for server in cluster.servers:
        expect("150 keys restored from the snapshot" in server.log(), "restored",
               server.log()[-500:])
    check_all_there(cluster, written)


@case(timeout=100)
def twenty_kills_while_snapshots_are_taken_lose_nothing(env):
    cluster = env.cluster(arguments=["--snapshot-entries", "60"])
    load = env.writers(cluster, count=3)
    for _ in range(KILLS):
        before = load.count
        victim = random.choice(cluster.servers)
        seen = taken(victim)
        wait_until(lambda floor=before, one=victim, old=seen:
                   load.count > floor + 60 and taken(one) > old, 20, "writes and a snapshot")
        time.sleep(random.random() * 0.03)
        victim.kill()
        cluster.wait_leader()
        victim.start()
        wait_until(lambda one=victim: one.status() is not None, 10, "it is back")
    check_all_there(cluster, load.stop())
    cluster.wait_equal()


@case(timeout=100)
def twenty_kills_while_a_snapshot_is_received_lose_nothing(env):
    cluster, follower, written = one_behind(env, "--snapshot-rate", "1M")
    follower.start()
    for _ in range(KILLS):
        time.sleep(0.05 + random.random() * 0.25)
        follower.kill()
        follower.start()
    cluster.wait_equal(30)
    expect("keys restored from the snapshot" in follower.log(), "it restored its state")
    check_all_there(cluster, written)
    expect_equal(follower.terminate(), 0, "exit status")
    follower.start()
    cluster.wait_equal()


@case(timeout=60)
def leaders_killed_while_they_send_a_snapshot_are_replaced(env):
    cluster, follower, written = one_behind(env, "--snapshot-rate", "1M")
    for _ in range(3):
        follower.start()
        leader = cluster.wait_leader()
        time.sleep(0.2 + random.random() * 0.5)
        leader.kill()
        cluster.wait_leader()
        leader.start()
        follower.kill()
    follower.start()
    cluster.wait_equal(30)
    check_all_there(cluster, written)


@case(timeout=60)
def a_damaged_newest_snapshot_is_replaced_by_the_one_before(env):
    cluster = env.cluster(arguments=["--snapshot-entries", str(ENTRIES)])
    written = fill(cluster, 150, 200, rounds=6)
    cluster.wait_equal()
    victim = cluster.followers()[0]
    wait_until(lambda: len(snapshots_of(victim)) == 2, 10, "two snapshots")
    victim.terminate()
    newest = damage_newest(victim)
    victim.start()
    cluster.wait_equal()
    expect(newest in victim.log() and "damaged" in victim.log(),
           "it says so", victim.log()[-600:])
    check_all_there(cluster, written)


@case(timeout=60)
def a_leader_whose_snapshot_rots_takes_it_anew_for_a_follower(env):
    cluster = env.cluster(arguments=["--snapshot-entries", str(ENTRIES)])
    follower = cluster.followers()[0]
    follower.kill()
    written = fill(cluster, 150, 200, rounds=6)
    for server in cluster.running:
        damage_newest(server)
    follower.start()
    cluster.wait_equal(30)
    expect("does not verify" in follower.log() or "not right" in follower.log(), "it noticed",
           follower.log()[-600:])
    check_all_there(cluster, written)


@case(timeout=60)
def a_server_whose_state_differs_from_the_leaders_stops_and_is_rebuilt(env):
    cluster = env.cluster(arguments=["--snapshot-entries", str(ENTRIES)])
    written = fill(cluster, 150, 200, rounds=3)
    states = cluster.wait_equal()
    victim = cluster.followers()[0]
    wait_until(lambda: len(snapshots_of(victim)) == 2, 10, "two snapshots")
    victim.terminate()
    env.storage(victim.data, "of", str(states[0].cluster_id), str(victim.id), "forge")
    victim.start()
    # Nobody writes: it has applied everything when the leader's digest comes.
    expect_equal(victim.wait(), 1, "exit status")
    expect("one of the two is wrong" in victim.log(), "it says why", victim.log()[-800:])
    load = env.writers(cluster)
    victim.start()
    written.update(load.stop())
    check_all_there(cluster, written)
    cluster.wait_equal()
    expect("damaged-0001" in os.listdir(victim.data), "what it had was set aside",
           os.listdir(victim.data))
    expect_equal(victim.log().count("one of the two is wrong"), 2, "the log and the last words")


run()
