"""
Who takes part, and who leads, on real servers: members are added, promoted, removed, replaced and
moved, also while clients write; leaders hand over; snapshots are taken on demand.
"""

import json
import os
import re
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import native  # pylint: disable=wrong-import-position
from cluster import CLIENT_OFFSET, check_all_there, fill  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position


def members(env, cluster):
    """What `member list` says, by id."""
    answer = env.json(cluster, "member", "list")
    return {member["id"]: member for member in answer["members"]} if answer["ok"] else {}


def roles(env, cluster):
    return {number: member["role"] for number, member in members(env, cluster).items()}


def voters(env, cluster):
    return sorted(number for number, member in members(env, cluster).items() if member["voter"])


def change(env, cluster, *words, status=0, timeout=20.0):
    """A change by the client; gives what it printed. It is asked for again while it is refused
    because a voter, perhaps held up by another test, is behind at the moment."""
    deadline = time.monotonic() + 10
    while True:
        done = env.client(cluster, "member", *words, timeout=timeout)
        text = done.stdout.decode() + done.stderr.decode()
        behind = "would be reachable and caught up" in text or "has not caught up" in text
        if done.returncode == status or not behind or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    expect_equal(done.returncode, status, "exit status of %s (%s)" % (" ".join(words), text))
    return text


def add(env, cluster, number, *more):
    """A new member, which is started; not yet a voter."""
    server = env.joiner(cluster, number)
    change(env, cluster, "add", "%d=%s" % (number, server.address), *more)
    server.start()
    cluster.servers.append(server)
    return server


def elsewhere(env, cluster, server, address=None):
    """The same server with its directory, at another address; not started."""
    there = env.joiner(cluster, server.id)
    there.data = server.data
    there.arguments[there.arguments.index("--data-dir") + 1] = server.data
    if address is not None:
        there.arguments[there.arguments.index("--bind") + 1] = there.address = address
        there.port = int(address.rsplit(":", 1)[1])
        there.client_address = "%s:%d" % (address.rsplit(":", 1)[0], there.port + CLIENT_OFFSET)
    return there


def leave(cluster, server):
    """A server that was removed ends by itself, cleanly, and says so."""
    expect_equal(server.wait(), 0, "exit status")
    expect("was removed from the cluster" in server.log(), "it says so", server.log()[-300:])
    cluster.servers.remove(server)


# ---- coming and going ----

@case(timeout=60)
def a_new_server_catches_up_and_votes(env):
    cluster = env.cluster()
    load = env.writers(cluster, 2)
    wait_until(lambda: load.count > 200, 20, "writes")
    server = env.joiner(cluster, 4)
    text = change(env, cluster, "add", "4=" + server.address)
    expect("kvapp server --node-id 4 --bind %s --join " % server.address in text, "how", text)
    expect_equal(roles(env, cluster)[4], "learner", "role of one that is not there")
    server.start()
    cluster.servers.append(server)
    wait_until(lambda: voters(env, cluster) == [1, 2, 3, 4], 20, "four voters")
    written = load.stop()
    cluster.wait_equal()
    check_all_there(cluster, written)


@case(timeout=60)
def a_kept_learner_votes_when_it_is_promoted(env):
    cluster = env.cluster()
    add(env, cluster, 4, "--learner")
    with cluster.client() as client:
        client.put(b"k", b"v")
    cluster.wait_equal()
    wait_until(lambda: members(env, cluster)[4]["connected"], 10, "it is there")
    expect_equal(roles(env, cluster)[4], "kept learner", "role")
    expect_equal(voters(env, cluster), [1, 2, 3], "voters")
    change(env, cluster, "promote", "4")
    expect_equal(voters(env, cluster), [1, 2, 3, 4], "voters")


@case(timeout=60)
def a_cluster_grows_from_one_server_and_shrinks_back_to_another(env):
    cluster = env.cluster(size=1)
    for number in (2, 3):
        add(env, cluster, number)
        wait_until(lambda: len(voters(env, cluster)) == len(cluster.servers), 20, "a voter")
    with cluster.client() as client:
        client.put(b"k", b"v")
    for number in (1, 2):
        change(env, cluster, "remove", str(number))
        # The client is told of the others by the list that it was given.
        cluster.text = ",".join("%d=%s" % (server.id, server.address)
                                for server in cluster.servers if server.id != number)
        leave(cluster, cluster.server(number))
    expect_equal(roles(env, cluster), {3: "leader"}, "roles")
    with cluster.client() as client:
        expect_equal(client.get(b"k")[0], b"v", "value")


@case(timeout=60)
def a_removed_follower_ends_and_writes_go_on(env):
    cluster = env.cluster()
    load = env.writers(cluster, 2)
    wait_until(lambda: load.count > 100, 20, "writes")
    follower = cluster.followers()[0]
    answer = json.loads(change(env, cluster, "--json", "remove", str(follower.id)))
    expect(answer["ok"] and not answer["joint"], "it was answered when it was over", answer)
    expect(follower.id not in [member["id"] for member in answer["members"]], "it is gone", answer)
    leave(cluster, follower)
    expect_equal(len(voters(env, cluster)), 2, "voters")
    before = load.count
    wait_until(lambda: load.count > before + 100, 20, "more writes")
    check_all_there(cluster, load.stop())


@case(timeout=60)
def a_removed_leader_hands_over_and_writes_go_on(env):
    cluster = env.cluster()
    load = env.writers(cluster, 2)
    wait_until(lambda: load.count > 100, 20, "writes")
    leader = cluster.wait_leader()
    change(env, cluster, "remove", str(leader.id))
    leave(cluster, leader)
    before = load.count
    wait_until(lambda: load.count > before + 100, 20, "more writes")
    written = load.stop()
    expect(leader.id not in members(env, cluster), "it is gone")
    cluster.wait_equal()
    check_all_there(cluster, written)


# ---- replacing and moving ----

@case(timeout=90)
def a_dead_server_is_replaced(env):
    cluster = env.cluster()
    load = env.writers(cluster, 2)
    wait_until(lambda: load.count > 200, 20, "writes")
    dead = cluster.followers()[0]
    dead.kill()
    new = env.joiner(cluster, 4)
    new.start()
    words = ("replace", str(dead.id), "4=" + new.address)
    change(env, cluster, *words, timeout=40)
    cluster.servers.remove(dead)
    cluster.servers.append(new)
    expect_equal(voters(env, cluster), sorted(server.id for server in cluster.servers), "voters")
    change(env, cluster, *words)  # once more: it is done already
    written = load.stop()
    cluster.wait_equal()
    check_all_there(cluster, written)


@case(timeout=60)
def a_replacement_that_was_given_up_goes_on(env):
    cluster = env.cluster()
    dead = cluster.followers()[0]
    dead.kill()
    new = env.joiner(cluster, 4)
    words = ("replace", str(dead.id), "4=" + new.address)
    text = change(env, cluster, *words, "--timeout", "1000", status=3)
    expect("the same command goes on from here" in text, "what to do", text)
    expect_equal(roles(env, cluster)[4], "kept learner", "role")
    expect(dead.id in voters(env, cluster), "the other one is still a voter")
    new.start()
    change(env, cluster, *words, timeout=40)
    expect(4 in voters(env, cluster) and dead.id not in voters(env, cluster), "it took its place")


@case(timeout=60)
def a_server_moves_to_another_port(env):
    cluster = env.cluster()
    moved = cluster.followers()[0]
    with cluster.client() as client:
        client.put(b"before", b"v")
    moved.terminate()
    there = elsewhere(env, cluster, moved)
    change(env, cluster, "move", str(moved.id), there.address)
    there.start()
    cluster.servers[cluster.servers.index(moved)] = there
    wait_until(lambda: members(env, cluster)[moved.id]["connected"], 20, "it is there")
    expect_equal(members(env, cluster)[moved.id]["address"], there.address, "address")
    with cluster.client() as client:
        client.put(b"after", b"v")
    cluster.wait_equal()
    # It counts: with it, one of the others may fail.
    next(server for server in cluster.followers() if server is not there).kill()
    with cluster.client() as client:
        client.put(b"still", b"v")


# ---- all of it under load ----

@case(timeout=150)
def members_come_and_go_under_load_and_nothing_is_lost(env):
    cluster = env.cluster()
    load = env.writers(cluster, 8, rate=1000)

    def expect_writes(when):
        before = load.count
        wait_until(lambda: load.count > before + 500, 30, "more writes " + when)

    expect_writes("by three servers")
    add(env, cluster, 4, "--learner")
    # Refused until it has caught up.
    wait_until(lambda: env.client(cluster, "member", "promote", "4").returncode == 0, 30,
               "node 4 is promoted")
    expect_writes("by four servers")
    leader = cluster.wait_leader()
    change(env, cluster, "remove", str(leader.id))
    leave(cluster, leader)
    expect_writes("without their leader")
    dead = cluster.followers()[0]
    dead.kill()
    new = env.joiner(cluster, 5)
    new.start()
    change(env, cluster, "replace", str(dead.id), "5=" + new.address, timeout=40)
    cluster.servers.remove(dead)
    cluster.servers.append(new)
    expect_writes("with the new server")
    written = load.stop()
    gap = load.longest_gap()
    print("# %d puts, %.0f a second; longest gap: %.0f ms" % (load.count, load.pace(), 1000 * gap))
    expect(gap < 5.0, "the longest gap", gap)
    expect_equal(voters(env, cluster), sorted(server.id for server in cluster.servers), "voters")
    cluster.wait_equal()
    check_all_there(cluster, written)


# ---- wiped disks ----

def wipe(cluster, server):
    """Starts it with an empty directory in the place of its own; waits until it is recognised."""
    cluster.wait_settled()
    server.kill()
    shutil.rmtree(server.data)
    server.start()
    others = [other for other in cluster.servers if other is not server]
    told = "node %d has another data directory than the cluster knows of it" % server.id
    wait_until(lambda: all(told in one.log() for one in others), 20, "the others say so")
    wait_until(lambda: "refused this one: node %d has another data directory" % server.id
               in server.log(), 20, "it says so itself")


@case(timeout=90)
def a_wiped_server_is_refused_until_it_is_replaced(env):
    cluster = env.cluster()
    load = env.writers(cluster, 2)
    wait_until(lambda: load.count > 200, 20, "writes")
    wiped = cluster.followers()[0]
    written = load.stop()
    wipe(cluster, wiped)
    load = env.writers(cluster, 2, prefix="later")
    wait_until(lambda: load.count > 200, 20, "writes without it")
    expect(not members(env, cluster)[wiped.id]["connected"], "it is not there")
    new = env.joiner(cluster, 4)
    new.start()
    change(env, cluster, "replace", str(wiped.id), "4=" + new.address, timeout=40)
    leave(cluster, wiped)
    cluster.servers.append(new)
    written.update(load.stop())
    cluster.wait_equal()
    check_all_there(cluster, written)


def put_back(server, copy):
    shutil.rmtree(server.data)
    shutil.copytree(copy, server.data)


def expect_refused_for_its_age(server):
    server.start()
    expect_equal(server.wait(), 1, "exit status")


@case(timeout=90)
def an_older_copy_of_a_directory_is_refused_until_it_is_replaced(env):
    cluster = env.cluster()
    written = fill(cluster, 50, 20)
    behind = cluster.followers()[0]
    behind.terminate()
    copy = behind.data + ".copy"
    shutil.copytree(behind.data, copy)
    behind.start()
    cluster.wait_equal()
    written.update(fill(cluster, 50, 20, prefix=b"promised"))
    cluster.wait_equal()
    behind.terminate()
    put_back(behind, copy)
    expect_refused_for_its_age(behind)
    expect("its data directory is an older copy" in behind.log(), "why", behind.log()[-1500:])
    # It is known now for good, whoever leads.
    env.json(cluster, "leader", "transfer")
    expect_refused_for_its_age(behind)
    expect("is an older copy of what it was" in behind.log(), "why", behind.log()[-1500:])
    done = env.run("verify", behind.data)
    expect_equal(done.returncode, 1, "exit status of verify")
    expect(b"older copy" in done.stdout, "verify says it", done.stdout)
    # When nothing else were left, it would be better than nothing.
    left = behind.data + ".left"
    shutil.copytree(behind.data, left)
    for words in (("recover", left), ("recover", "--yes", left)):
        done = env.run(*words)
        expect_equal(done.returncode, 0, "exit status of %s: %r" % (words, done.stderr))
        expect(b"there was more: this is an older copy" in done.stdout, "it says so", done.stdout)
    expect_equal(env.run("verify", left).returncode, 0, "what was made of it")
    new = env.joiner(cluster, 4)
    new.start()
    change(env, cluster, "replace", str(behind.id), "4=" + new.address, timeout=40)
    cluster.servers.remove(behind)
    cluster.servers.append(new)
    cluster.wait_equal()
    check_all_there(cluster, written)


@case(timeout=60)
def a_copy_of_all_that_a_server_had_is_as_good_as_the_directory(env):
    cluster = env.cluster()
    written = fill(cluster, 50, 20)
    cluster.wait_equal()
    server = cluster.followers()[0]
    server.terminate()
    shutil.move(server.data, server.data + ".old")
    shutil.copytree(server.data + ".old", server.data)
    written.update(fill(cluster, 50, 20, prefix=b"meanwhile"))
    server.start()
    cluster.wait_equal()
    check_all_there(cluster, written)


@case(timeout=60)
def a_wiped_server_makes_no_majority(env):
    cluster = env.cluster()
    wiped, other = cluster.followers()
    wipe(cluster, wiped)
    other.kill()
    done = env.client(cluster, "--timeout", "2000", "put", "k", "v")
    expect_equal(done.returncode, 3, "exit status")
    other.start()
    with cluster.client() as client:
        client.put(b"k", b"with a majority")


@case(timeout=60)
def a_server_that_has_moved_is_found_before_anybody_says_so(env):
    cluster = env.cluster()
    moved = cluster.followers()[0]
    # It finds the others by the membership in its log.
    wait_until(lambda: env.json(cluster, "member", "list")["index"] > 0, 20, "it is logged")
    cluster.wait_equal()
    moved.terminate()
    there = elsewhere(env, cluster, moved)
    there.start()
    cluster.servers[cluster.servers.index(moved)] = there
    with cluster.client() as client:
        client.put(b"k", b"v")
    cluster.wait_equal()
    # It counts: with it, one of the others may fail.
    next(server for server in cluster.followers() if server is not there).kill()
    with cluster.client() as client:
        client.put(b"still", b"v")


# ---- who comes back ----

@case(timeout=60)
def a_server_that_missed_its_removal_is_told_when_it_comes_back(env):
    cluster = env.cluster()
    follower = cluster.followers()[0]
    follower.kill()
    change(env, cluster, "remove", str(follower.id))
    follower.start()
    leave(cluster, follower)


@case(timeout=90)
def a_server_of_another_cluster_at_a_recycled_address_is_refused(env):
    ours, theirs = env.cluster(), env.cluster()
    for cluster, value in ((ours, b"ours"), (theirs, b"theirs")):
        with cluster.client() as client:
            client.put(b"k", value)
        cluster.wait_equal()
    gone, stranger = ours.followers()[0], theirs.followers()[0]
    gone.kill()
    stranger.kill()
    here = elsewhere(env, theirs, stranger, gone.address)
    here.start()
    theirs.servers[theirs.servers.index(stranger)] = here
    wait_until(lambda: "belongs to cluster" in here.log(), 20, "our members are refused there")
    ours.servers.remove(gone)
    for cluster, value in ((ours, b"ours"), (theirs, b"theirs")):
        with cluster.client() as client:
            client.put(b"more", value)
        cluster.wait_equal()
    here.terminate()
    gone.start()
    ours.servers.append(gone)
    ours.wait_equal()
    with ours.client() as client:
        expect_equal(client.get(b"more")[0], b"ours", "value")


# ---- the bytes ----

@case(timeout=60)
def another_implementation_lists_and_changes_the_members(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    follower = cluster.followers()[0]
    with native.Connection(leader.client_address) as connection:
        answer = connection.admin(native.ADMIN_LIST)
        expect_equal((answer.status, answer.server, answer.leader), (0, leader.id, leader.id))
        expect_equal([(member.id, member.flags, member.address) for member in answer.members],
                     [(server.id, 1, server.address) for server in cluster.servers], "members")
        expect(all(member.incarnation != 0 for member in answer.members), "incarnations", answer)
        expect(all(seen.connected and seen.priority == 1 for seen in answer.seen), "seen", answer)
        edits = [(native.ADD_KEPT, 4, b"127.0.0.1:1"), (native.REMOVE, follower.id, b"")]
        answer = connection.admin(native.ADMIN_CHANGE, edits=edits, flags=native.DRY_RUN)
        expect_equal((answer.status, answer.plan.joint), (0, 1), "status")
        expect_equal((answer.plan.before, answer.plan.after), ([3, 2, 3], [2, 2, 2]), "voters")
        expect_equal([(member.id, member.flags) for member in answer.plan.wanted if member.id == 4],
                     [(4, 4)], "the kept learner")
        answer = connection.admin(native.ADMIN_CHANGE, edits=edits[:1])
        expect_equal((answer.status, answer.plan), (0, None), "status")
        expect_equal(answer.members[-1].address, "127.0.0.1:1", "address")
    with native.Connection(follower.client_address) as connection:
        answer = connection.admin(native.ADMIN_CHANGE, edits=edits[1:])
        expect_equal(answer.address, leader.client_address, "who leads")
        answer = connection.admin(native.ADMIN_LIST)
        expect_equal((answer.server, answer.leader), (follower.id, leader.id), "who answers")
        expect_equal({seen.match for seen in answer.seen}, {0}, "what a follower knows")


@case(timeout=60)
def more_operators_than_there_is_room_for_are_told_so(env):
    timing = ["--election-timeout-min", "3000", "--election-timeout-max", "4000"]
    cluster = env.cluster(arguments=timing)
    leader = cluster.wait_leader()
    target = cluster.followers()[0]
    target.pause()
    edit = [(native.PROMOTE, target.id, b"")]
    with native.Connection(leader.client_address, 10.0) as connection:
        # All but the first are refused at once; no place is lost by it.
        connection.send(b"".join(native.admin_request(number, native.ADMIN_TRANSFER,
                                                      target=target.id) for number in range(1, 41)))
        answers = [connection.receive() for _ in range(39)]
        expect_equal({answer.status for answer in answers}, {native.BUSY}, "the others")
        answer = connection.receive()
        expect_equal((answer.id, answer.status), (1, native.TIMEOUT), "the first")
        answer = connection.admin(native.ADMIN_CHANGE, edits=edit)
        expect("is a voter already" in answer.text, "served again", answer)
    target.resume()


# ---- what is refused ----

@case(timeout=60)
def what_would_cost_the_quorum_is_refused(env):
    cluster = env.cluster()
    dead, alive = cluster.followers()
    dead.kill()
    wait_until(lambda: not members(env, cluster)[dead.id]["connected"], 10, "it is missed")
    before = members(env, cluster)
    text = change(env, cluster, "remove", str(alive.id), status=1)
    expect("not node %d" % dead.id in text and "--force" in text, "why", text)
    text = change(env, cluster, "move", str(alive.id), "127.0.0.1:%d" % env.ports.take(), status=1)
    expect("2 of 3 voters must answer" in text, "why", text)
    expect_equal(sorted(members(env, cluster)), sorted(before), "members")
    with cluster.client() as client:
        client.put(b"k", b"v")
    change(env, cluster, "remove", str(dead.id))
    expect_equal(len(voters(env, cluster)), 2, "voters")


@case(timeout=60)
def what_is_impossible_says_why(env):
    cluster = env.cluster()
    address = cluster.servers[0].address
    for words, part in [
            (("promote", "2"), "node 2 is a voter already"),
            (("remove", "7"), "node 7 is no member"),
            (("add", "2=127.0.0.1:1"), "node 2 is a member already"),
            (("add", "4=" + address), "is the address of node 1"),
            (("move", "2", address), "is the address of node 1"),
            (("add", "4=127.0.0.1:65000"), "cannot be used"),
    ]:
        text = change(env, cluster, *words, status=2)
        expect(part in text, "why", words, text)
    expect_equal(voters(env, cluster), [1, 2, 3], "voters")


@case(timeout=60)
def a_dry_run_changes_nothing(env):
    cluster = env.cluster()
    before = cluster.wait_settled().status().last_index
    plan = env.json(cluster, "member", "remove", "3", "--dry-run")
    expect_equal(plan["before"], {"voters": 3, "quorum": 2, "ready": 3}, "before")
    expect_equal(plan["after"], {"voters": 2, "quorum": 2, "ready": 2}, "after")
    expect(plan["joint"], "it is joint")
    text = change(env, cluster, "replace", "3", "4=127.0.0.1:1", "--dry-run")
    expect("Afterwards: 3 voters (1, 2, 4 not connected)" in text, "what it comes to", text)
    expect_equal(voters(env, cluster), [1, 2, 3], "voters")
    expect_equal(cluster.wait_equal()[0].last_index, before, "last index")


@case(timeout=60)
def a_change_that_no_majority_stores_ends_with_its_outcome_unknown(env):
    timing = ["--election-timeout-min", "3000", "--election-timeout-max", "4000"]
    cluster = env.cluster(arguments=timing)
    # The leader logs a membership of its own first, and there is only one change at a time.
    leader = cluster.wait_settled()
    paused = cluster.followers()
    for server in paused:
        server.pause()
    address = "127.0.0.1:%d" % env.ports.take()
    done = env.run("client", "--cluster", leader.address, "--timeout", "15000",
                   "member", "add", "4=" + address, "--force", timeout=40)
    expect_equal(done.returncode, 3, "exit status")
    expect(b"leadership was lost, outcome unknown" in done.stderr and
           b"list the members to see" in done.stderr, "why", done.stderr)
    for server in paused:
        server.resume()
    wait_until(lambda: voters(env, cluster) == [1, 2, 3], 20, "the members are listed")


# ---- who leads ----

@case(timeout=60)
def leadership_is_transferred(env):
    cluster = env.cluster()
    load = env.writers(cluster, 2)
    wait_until(lambda: load.count > 100, 20, "writes")
    for _ in range(3):
        follower = cluster.followers()[0]
        answer = env.json(cluster, "leader", "transfer", str(follower.id))
        expect_equal(answer, {"ok": True, "leader": follower.id}, "answer")
        expect_equal(cluster.wait_leader().id, follower.id, "leader")
    answer = env.json(cluster, "leader", "transfer")
    expect(answer["ok"] and answer["leader"] != follower.id, "another one leads", answer)
    done = env.client(cluster, "leader", "transfer", "9")
    expect_equal(done.returncode, 2, "exit status")
    expect(b"node 9 is no voter" in done.stderr, "why", done.stderr)
    check_all_there(cluster, load.stop())


@case(timeout=60)
def a_founder_knows_the_first_members_from_its_directory(env):
    """Started with --join from its second start on, before any log says who the members are."""
    cluster = env.cluster(start=False)
    for server in cluster.servers:
        server.start()
        wait_until(server.status, 10, "it serves")
        expect_equal(server.terminate(), 0, "exit status")
        found = json.loads(env.run("inspect", "--json", server.data).stdout)
        founders = found["identity"]["founders"]["members"]
        expect_equal([member["address"] for member in founders],
                     [other.address for other in cluster.servers], "founders")
        known = next(other for other in cluster.servers if other is not server)
        server.arguments = env.joining(server, known)
    cluster.start()
    with cluster.client() as client:
        client.put(b"k", b"v")


@case(timeout=90)
def a_leader_that_cannot_hand_over_leads_on(env):
    cluster = env.cluster()
    follower = cluster.followers()[0]
    leader = cluster.wait_leader()
    follower.pause()
    done = env.client(cluster, "leader", "transfer", str(follower.id))
    expect_equal(done.returncode, 3, "exit status")
    expect(b"did not take over in time" in done.stderr, "why", done.stderr)
    with cluster.client() as client:
        client.put(b"k", b"v")
    expect_equal(leader.status().leader, leader.id, "leader")
    follower.resume()
    cluster.wait_leader()  # what it was asked may reach it only now, and then it leads


@case(timeout=120)
def a_rolling_restart_waits_for_no_election_timeout(env):
    """Elections would take 4 s and more: only handing over is faster."""
    timing = ["--election-timeout-min", "4000", "--election-timeout-max", "6000"]
    cluster = env.cluster(arguments=timing)
    load = env.writers(cluster, 3)
    wait_until(lambda: load.count > 100, 20, "writes")
    restarts = 0
    for server in list(cluster.servers):
        if server is cluster.wait_leader():
            restarts += 1
        expect_equal(server.terminate(), 0, "exit status")
        before = load.count
        wait_until(lambda at=before: load.count > at + 50, 20, "writes without it")
        server.start()
        wait_until(lambda one=server: one.status() is not None and one.status().leader != 0, 20,
                   "it is back")
        cluster.wait_leader()
    written = load.stop()
    expect(restarts > 0, "a leader was among them")
    gap = load.longest_gap()
    print("# longest gap: %.0f ms" % (1000 * gap))
    expect(gap < 4.0, "the longest gap is shorter than an election timeout", gap)
    cluster.wait_equal()
    check_all_there(cluster, written)


@case(timeout=90)
def the_highest_priority_leads_when_it_can(env):
    cluster = env.cluster(start=False)
    for server, priority in zip(cluster.servers, (0, 1, 5)):
        server.arguments += ["--priority", str(priority)]
    cluster.start()
    preferred = cluster.server(3)
    wait_until(lambda: cluster.wait_leader() is preferred, 20, "node 3 leads")
    expect_equal({number: member["priority"] for number, member in members(env, cluster).items()},
                 {1: 0, 2: 1, 3: 5}, "priorities")
    preferred.kill()
    wait_until(lambda: cluster.wait_leader() is cluster.server(2), 20, "node 2 leads")
    with cluster.client() as client:
        client.put(b"k", b"v")
    preferred.start()
    wait_until(lambda: cluster.wait_leader() is preferred, 20, "node 3 leads again")
    expect(any("whose priority is 5" in server.log() for server in cluster.servers),
           "the priority was the reason")


# ---- snapshots ----

@case(timeout=60)
def every_member_takes_a_snapshot_when_asked(env):
    cluster = env.cluster()
    with cluster.client() as client:
        for number in range(50):
            client.put(b"k%d" % number, b"v")
    applied = cluster.wait_equal()[0].applied
    answer = env.json(cluster, "snapshot")
    expect_equal(answer, {"ok": True, "snapshots": [{"id": number, "index": applied}
                                                    for number in (1, 2, 3)]}, "answer")
    for server in cluster.servers:
        names = [name for name in os.listdir(server.data)
                 if re.fullmatch(r"snapshot-[0-9a-f]{16}", name)]
        expect_equal(len(names), 1, "snapshots of node %d" % server.id)
    # Nothing new: the one that is there will do.
    expect_equal(env.json(cluster, "snapshot"), answer, "answer")
    cluster.server(2).kill()
    answer = env.json(cluster, "--timeout", "1000", "snapshot")
    expect(not answer["ok"] and "error" in answer["snapshots"][1], "one is missing", answer)


if __name__ == "__main__":
    run()
