"""How reads are answered: by the leader, by any server, by a lease, from what is there."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import native  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position

GET = native.command(native.GET, key=b"k")


def ask(server, reads, body=GET, timeout=5.0):
    with native.Connection(server.client_address, timeout) as connection:
        return connection.ask(body, reads)


def is_answered(server, reads, timeout):
    try:
        return isinstance(ask(server, reads, timeout=timeout), native.Reply)
    except (native.Closed, native.NoAnswer):
        return False


def put(cluster, value):
    with cluster.client() as client:
        return client.put(b"k", value)


@case()
def every_server_shows_a_write_as_soon_as_it_is_acknowledged(env):
    cluster = env.cluster()
    connections = [native.Connection(server.client_address) for server in cluster.servers]
    with cluster.client() as client:
        for number in range(100):
            value = b"%d" % number
            revision = client.put(b"k", value)
            for connection in connections:
                answer = connection.ask(GET, native.LINEARIZABLE)
                expect_equal((answer.data, answer.revision), (value, revision), "what is read")
    for connection in connections:
        connection.close()


@case()
def reads_of_the_leader_are_redirected_elsewhere(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    put(cluster, b"v")
    for reads in (None, native.DEFAULT, native.LEADER, native.LEASE):
        expect_equal(ask(leader, reads).data, b"v", "at the leader")
        for follower in cluster.followers():
            answer = ask(follower, reads)
            expect(isinstance(answer, native.Redirect), "a redirect", answer)
            expect_equal(answer.address, leader.client_address, "the leader's address")


@case()
def many_reads_at_a_follower_are_each_answered_once(env):
    cluster = env.cluster()
    put(cluster, b"v")
    follower = cluster.followers()[0]
    count = 2000
    with native.Connection(follower.client_address, 20.0) as connection:
        connection.send(b"".join(native.read_request(number, native.LINEARIZABLE, GET)
                                 for number in range(1, count + 1)))
        answers = [connection.receive() for _ in range(count)]
    expect_equal(sorted(answer.id for answer in answers), list(range(1, count + 1)), "ids")
    expect_equal({answer.data for answer in answers}, {b"v"}, "values")


@case()
def lists_and_scans_are_read_at_any_server(env):
    cluster = env.cluster()
    put(cluster, b"v")
    for server in cluster.servers:
        for reads in (native.LINEARIZABLE, native.STALE):
            keys = native.keys_of(ask(server, reads, native.command(native.LIST)))
            items = native.items_of(ask(server, reads, native.command(native.SCAN)))
            expect_equal(keys, [b"k"], "keys")
            expect_equal([(item.key, item.value) for item in items], [(b"k", b"v")], "items")


@case()
def a_write_that_claims_to_be_a_read_is_refused(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    write = native.command(native.PUT, key=b"k", value=b"v")
    for reads in (native.LEADER, native.LINEARIZABLE, native.STALE):
        expect_equal(ask(leader, reads, write).status, -2, "status")
    expect_equal(ask(leader, None).status, native.NOT_FOUND, "the key")


@case(timeout=60)
def a_read_at_a_follower_waits_for_a_leader_and_misses_nothing(env):
    cluster = env.cluster()
    put(cluster, b"old")
    leader = cluster.wait_leader()
    follower, other = cluster.followers()
    leader.pause()
    other.pause()
    with native.Connection(follower.client_address, 30.0) as connection:
        # The follower may still believe in its leader, or know of none: both must wait.
        connection.send(native.read_request(1, native.LINEARIZABLE, GET))
        other.resume()
        with native.Client([follower.client_address, other.client_address]) as client:
            client.put(b"k", b"new")
        connection.send(native.read_request(2, native.LINEARIZABLE, GET))
        answers = {answer.id: answer for answer in (connection.receive(), connection.receive())}
    expect(answers[1].data in (b"old", b"new"), "the read that was asked before", answers[1])
    expect_equal(answers[2].data, b"new", "the read that was asked after")
    leader.resume()
    cluster.wait_equal()


@case(timeout=60)
def a_follower_that_is_alone_answers_stale_reads_only_and_says_how_old_they_are(env):
    cluster = env.cluster()
    put(cluster, b"v")
    cluster.wait_equal()
    leader = cluster.wait_leader()
    follower, other = cluster.followers()

    def is_fresh():
        answer = ask(follower, native.STALE)
        return answer.data == b"v" and answer.age_ms < 1000

    wait_until(is_fresh, 10, "an answer of known age")
    leader.pause()
    other.pause()
    began = time.monotonic()
    expect(not is_answered(follower, native.LINEARIZABLE, 0.5), "it waits for a leader")
    for _ in range(3):
        alone_ms = int((time.monotonic() - began) * 1000)
        answer = ask(follower, native.STALE)
        expect_equal(answer.data, b"v", "value")
        expect(answer.age_ms >= alone_ms, "it is older than its solitude", answer, alone_ms)
        expect(answer.age_ms < alone_ms + 10000, "but not much", answer, alone_ms)
        expect(answer.applied >= answer.revision, "the index is of the state", answer)
    leader.resume()
    other.resume()
    wait_until(is_fresh, 10, "it is up to date again")


@case(timeout=60)
def a_server_that_just_started_does_not_claim_to_be_up_to_date(env):
    cluster = env.cluster()
    put(cluster, b"v")
    for server in cluster.servers:
        server.kill()
    alone = cluster.servers[0]
    alone.start()
    wait_until(lambda: alone.status() is not None, 10, "it serves")
    answer = ask(alone, native.STALE)
    expect_equal(answer.age_ms, native.AGE_UNKNOWN, "age")


@case(timeout=60)
def a_lease_answers_and_a_leader_that_slept_through_its_own_has_none(env):
    cluster = env.cluster(arguments=["--reads", "lease"])
    put(cluster, b"old")
    leader = cluster.wait_leader()
    followers = cluster.followers()
    with native.Connection(leader.client_address, 10.0) as asked:
        for _ in range(50):
            expect_equal(asked.ask(GET, native.LEASE).data, b"old", "before")
        leader.pause()
        for follower in followers:
            follower.kill()
        for follower in followers:
            follower.start()
        cluster.wait_leader()
        put(cluster, b"new")
        asked.send(native.read_request(101, native.LEASE, GET))
        leader.resume()
        try:
            answer = asked.receive()
        except (native.Closed, native.NoAnswer):
            return
        refused = isinstance(answer, native.Redirect) or answer.status in native.AGAIN
        expect(refused or answer.data == b"new", "an answer from the past", answer)


@case()
def servers_answer_plain_reads_as_they_are_configured(env):
    cluster = env.cluster(arguments=["--reads", "linearizable"])
    put(cluster, b"v")
    for server in cluster.servers:
        expect_equal(ask(server, None).data, b"v", "a plain request")
        expect_equal(ask(server, native.DEFAULT).data, b"v", "one that leaves it to the server")


@case()
def a_server_does_not_answer_stale_by_itself(env):
    done = env.run("server", "--bind", "127.0.0.1:24999", "--data-dir", env.folder + "/none",
                   "--reads", "stale")
    expect_equal(done.returncode, 2, "exit status")
    expect(b"stale reads are for the clients" in done.stderr, "a sentence", done.stderr)


@case(timeout=60)
def the_client_reads_in_every_way_and_tells_the_age(env):
    cluster = env.cluster()
    put(cluster, b"v")
    cluster.wait_equal()
    for reads in ("default", "leader", "linearizable", "lease", "stale"):
        done = env.client(cluster, "--reads", reads, "get", "k")
        expect_equal((done.returncode, done.stdout), (0, b"v\n"), reads)
        told = b"ms old, at index" in done.stderr or b"of unknown age" in done.stderr
        expect_equal(told, reads == "stale", "whether an age is told by " + reads)
    for words in (("get", "k"), ("get", "nothing"), ("list",)):
        answer = env.json(cluster, "--reads", "stale", *words)
        expect(answer["age_ms"] is None or answer["age_ms"] >= 0, "an age", answer)
        expect(answer["applied_index"] > 0, "an index", answer)


@case(timeout=60)
def the_client_reads_elsewhere_when_its_first_server_is_silent(env):
    cluster = env.cluster()
    put(cluster, b"v")
    follower = cluster.followers()[0]
    others = [server for server in cluster.servers if server is not follower]
    text = ",".join("%d=%s" % (server.id, server.address) for server in [follower] + others)
    follower.pause()
    for reads in ("linearizable", "stale"):
        done = env.run("client", "--cluster", text, "--reads", reads, "get", "k")
        expect_equal((done.returncode, done.stdout), (0, b"v\n"), reads)
    follower.kill()
    for reads in ("linearizable", "stale"):
        done = env.run("client", "--cluster", text, "--reads", reads, "get", "k")
        expect_equal((done.returncode, done.stdout), (0, b"v\n"), reads)


if __name__ == "__main__":
    run()
