"""Redis's protocol with three servers: any of them answers, in order, and tells what it knows."""

import os
import random
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

# pylint: disable=wrong-import-position
import resp
from cluster import HOST
from tap import case, expect, expect_equal, run, wait_until

TOLERANCE_S = 0.15  # of a key's end
CONTENTION_S = 0.35  # what a busy machine adds
NOT_DONE = ("CLUSTERDOWN", "TRYAGAIN")


def connect(server, **options):
    return resp.Connection(server.client_address, **options)


def ask(server, *words, timeout=10.0):
    return resp.ask(server.client_address, *words, timeout=timeout)


def error_of(answer, code):
    expect(isinstance(answer, resp.Error) and answer.code == code, "an error " + code, answer)


def host_and_port(server):
    host, port = server.client_address.rsplit(":", 1)
    return [host.encode(), port.encode()]


# ---- any server ----

@case()
def any_server_answers_writes_and_reads(env):
    cluster = env.cluster()
    for writer in cluster.servers:
        expect_equal(ask(writer, "SET", "k", "by %d" % writer.id), b"OK", "set")
        for reader in cluster.servers:
            expect_equal(ask(reader, "GET", "k"), b"by %d" % writer.id, "get")
    for server in cluster.servers:
        ask(server, "INCR", "n")
    expect_equal([ask(server, "GET", "n") for server in cluster.servers], [b"3"] * 3, "sum")
    cluster.wait_equal()


@case()
def a_pipeline_of_reads_and_writes_is_answered_in_its_order(env):
    cluster = env.cluster()
    cluster.wait_leader()
    for server in cluster.servers:
        with connect(server) as connection:
            connection.ask("SET", "k", "old")
            requests, wanted = [], []
            for n in range(300):
                requests += [("GET", "k"), ("SET", "k", n), ("GET", "k"), ("PING",),
                             ("STRLEN", "k")]
                wanted += [b"old" if n == 0 else b"%d" % (n - 1), b"OK", b"%d" % n, b"PONG",
                           len(str(n))]
            expect_equal(connection.pipeline(requests), wanted, "answers")


@case()
def both_protocols_of_the_port_are_spoken_at_once(env):
    cluster = env.cluster()
    with cluster.client() as native_client:
        native_client.put(b"native", b"1")
        expect_equal([ask(server, "INCR", "native") for server in cluster.servers], [2, 3, 4],
                     "incremented")
        expect_equal(native_client.get(b"native")[0], b"4", "get")


@case()
def a_connection_changes_between_resp2_and_resp3(env):
    cluster = env.cluster(size=1)
    with connect(cluster.servers[0]) as connection:
        expect_equal(connection.ask_raw("GET", "nosuch"), b"$-1\r\n", "null")
        connection.send(resp.encode("HELLO", 3) + resp.encode("GET", "nosuch"))
        hello = connection.receive()
        expect(isinstance(hello, resp.Map), "a map", hello)
        expect_equal(dict(hello)[b"proto"], 3, "proto")
        expect_equal(connection.receive_raw(), b"_\r\n", "null")
        expect_equal(connection.ask("CLIENT", "SETINFO", "lib-name", "x"), b"OK", "setinfo")
        expect(b"lib-name=x" in connection.ask("CLIENT", "INFO"), "it is remembered")
        expect_equal(connection.ask("CLIENT", "LIST", "ID", "-17"), b"", "nobody has that id")
        expect_equal(connection.ask("RESET"), b"RESET", "reset")
        expect_equal(connection.ask_raw("GET", "nosuch"), b"$-1\r\n", "null")


# ---- transactions ----

@case()
def a_watched_key_that_any_server_wrote_aborts_the_transaction(env):
    cluster = env.cluster()
    cluster.wait_leader()
    for watcher in cluster.servers:
        for writer in cluster.servers:
            with connect(watcher) as one:
                one.ask("SET", "k", "1")
                expect_equal(one.ask("WATCH", "k"), b"OK", "watch")
                ask(writer, "SET", "k", "2")
                expect_equal(one.pipeline([("MULTI",), ("SET", "k", "3"), ("EXEC",)]),
                             [b"OK", b"QUEUED", None], "aborted")
                expect_equal(one.ask("GET", "k"), b"2", "unchanged")
                expect_equal(one.pipeline([("WATCH", "k"), ("MULTI",), ("INCR", "k"), ("PING",),
                                           ("EXEC",)])[-1], [3, b"PONG"], "executed")


@case()
def transactions_of_many_clients_lose_no_increment(env):
    cluster = env.cluster()
    cluster.wait_leader()
    ask(cluster.servers[0], "SET", "n", "0")
    connections = [connect(server) for server in cluster.servers for _ in range(2)]
    done = 0
    while done < 60:
        one, other = random.sample(connections, 2)
        found = []
        for connection in (one, other):
            connection.ask("WATCH", "n")
            found.append(int(connection.ask("GET", "n")))
        answers = [connection.pipeline([("MULTI",), ("SET", "n", value + 1), ("EXEC",)])[-1]
                   for connection, value in zip((one, other), found)]
        expect_equal(answers, [[b"OK"], None], "the first one wins")
        done += 1
    expect_equal(ask(cluster.servers[0], "GET", "n"), b"60", "sum")
    for connection in connections:
        connection.close()


@case()
def a_lock_is_fenced_by_the_revision_it_was_taken_with(env):
    cluster = env.cluster()
    cluster.wait_leader()
    with connect(cluster.servers[0]) as owner, connect(cluster.servers[1]) as other:
        taken = owner.pipeline([("MULTI",), ("SET", "lock", "me", "NX", "PX", "300"),
                                ("KV.REVISION", "lock"), ("EXEC",)])[-1]
        expect(taken[0] == b"OK" and taken[1] > 0, "taken", taken)
        token = taken[1]
        expect_equal(other.ask("KV.REVISION", "lock"), token, "anybody can read it")
        refused = other.pipeline([("MULTI",), ("SET", "lock", "you", "NX", "PX", "100000"),
                                  ("EXEC",)])[-1]
        expect_equal(refused, [None], "it is taken")

        def write(connection, token, value):
            return connection.pipeline([("KV.FENCE", "lock", token), ("MULTI",),
                                        ("SET", "data", value), ("EXEC",)])
        expect_equal(write(owner, token, "1"), [b"OK", b"OK", b"QUEUED", [b"OK"]], "the owner")
        wait_until(lambda: other.ask("SET", "lock", "you", "NX", "PX", "100000"), 5,
                   "the lock goes")
        later = other.ask("KV.REVISION", "lock")
        expect(later > token, "tokens rise", token, later)
        expect_equal(write(owner, token, "2")[-1], None, "the owner that slept")
        expect_equal(write(other, later, "3")[-1], [b"OK"], "the new owner")
        expect_equal(owner.ask("GET", "data"), b"3", "data")
        expect_equal(owner.ask("KV.REVISION", "nosuch"), None, "of nothing")
        error_of(owner.ask("KV.FENCE", "lock", "x"), "ERR")
        error_of(owner.ask("KV.FENCE", "lock"), "ERR")


# ---- who leads ----

@case()
def writes_elsewhere_are_moved_when_the_option_says_so(env):
    cluster = env.cluster(arguments=["--redis-writes", "moved"])
    leader = cluster.wait_settled()
    for follower in cluster.followers():
        for words, slot in ((("SET", "foo", "1"), 12182), (("SET", "{foo}bar", "1"), 12182),
                            (("DEL", "123456789"), 12739),
                            (("MSET", "foo", "1", "bar", "2"), 12182)):
            expect_equal(ask(follower, *words),
                         b"MOVED %d %s" % (slot, leader.client_address.encode()), words[0])
        expect_equal(ask(follower, "GET", "foo"), None, "reads are answered")
        with connect(follower) as connection:
            answers = connection.pipeline([("MULTI",), ("SET", "foo", "1"), ("EXEC",)])
        expect_equal([isinstance(answer, resp.Error) and answer.code for answer in answers],
                     [False, "MOVED", "EXECABORT"], "in a transaction")
        expect_equal(ask(follower, "CLUSTER", "KEYSLOT", "foo"), 12182, "slot")
    expect_equal(ask(leader, "SET", "foo", "1"), b"OK", "on the leader")


@case()
def writes_elsewhere_are_refused_when_the_option_says_so(env):
    cluster = env.cluster(arguments=["--redis-writes", "refuse"])
    leader = cluster.wait_settled()
    for follower in cluster.followers():
        expect_equal(ask(follower, "SET", "k", "1"),
                     b"READONLY You can't write against a read only replica.", "set")
        expect_equal(ask(follower, "GET", "k"), None, "get")
    expect_equal(ask(leader, "SET", "k", "1"), b"OK", "on the leader")


@case(timeout=60)
def every_way_to_find_the_master_finds_the_leader(env):
    cluster = env.cluster()

    def check(leader):
        for server in cluster.running:
            where = ("SENTINEL", "get-master-addr-by-name", "kvapp")
            wait_until(lambda server=server: ask(server, *where) == host_and_port(leader), 10,
                       "server %d names the leader" % server.id)
            slots = ask(server, "CLUSTER", "SLOTS")
            expect_equal(slots[0][:2] + [slots[-1][1]], [0, slots[0][1], 16383], "slots")
            expect_equal([bytes(word) if isinstance(word, bytes) else b"%d" % word
                          for word in slots[0][2][:2]], host_and_port(leader), "their master")
            role = ask(server, "ROLE")
            info = ask(server, "INFO", "replication")
            if server is leader:
                expect_equal(role[0], b"master", "role")
                expect(b"role:master" in info, "info", info)
            else:
                expect_equal([role[0], role[1], b"%d" % role[2]],
                             [b"slave"] + host_and_port(leader), "role")
                expect(b"role:slave" in info, "info", info)
            expect(b"cluster_state:ok" in ask(server, "CLUSTER", "INFO"), "cluster")
            expect_equal(ask(server, "SENTINEL", "get-master-addr-by-name", "other"),
                         host_and_port(leader), "by any name")
            expect_equal(len(ask(server, "SENTINEL", "sentinels", "kvapp")), 2, "sentinels")
            expect_equal(len(ask(server, "SENTINEL", "replicas", "kvapp")), 2, "replicas")
    leader = cluster.wait_settled()
    check(leader)
    leader.kill()
    check(cluster.wait_leader())


@case()
def wait_counts_the_followers_that_have_it(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    with connect(leader) as connection:
        expect_equal(connection.pipeline([("SET", "k", "v"), ("WAIT", 2, 5000)]), [b"OK", 2],
                     "both followers")
        cluster.followers()[0].kill()
        began = time.monotonic()
        expect_equal(connection.pipeline([("SET", "k", "w"), ("WAIT", 2, 300), ("PING",)]),
                     [b"OK", 1, b"PONG"], "one of them")
        took = time.monotonic() - began
        expect(0.29 <= took <= 0.3 + 2 * CONTENTION_S, "as long as it said", took)
    with connect(next(s for s in cluster.running if s is not leader)) as connection:
        expect(connection.pipeline([("SET", "k", "x"), ("WAIT", 1, 1000)])[1] >= 1,
               "what a follower answered is with a majority")


# ---- no leader ----

@case(timeout=60)
def without_a_majority_a_write_is_refused_with_words(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    ask(leader, "SET", "n", "1")
    left = cluster.followers()[0]
    with connect(left) as connection:
        expect_equal(connection.ask("INCR", "n"), 2, "before")
        for server in cluster.servers:
            if server is not left:
                server.kill()
        began = time.monotonic()
        answer = connection.ask("INCR", "n")
        took = time.monotonic() - began
        expect(isinstance(answer, resp.Error), "an error", answer)
        # The first one may have been on its way to the leader when that was killed.
        expect(answer.code in NOT_DONE + ("UNKNOWN",), "which", answer)
        expect(took < 10, "soon", took)
        done_most = 3 if answer.code == "UNKNOWN" else 2
        answer = connection.ask("INCR", "n")
        expect(isinstance(answer, resp.Error) and answer.code in NOT_DONE, "certainly not", answer)
        expect_equal(connection.ask("PING"), b"PONG", "the connection goes on")
        read = connection.ask("GET", "n")
        expect(isinstance(read, resp.Error) and read.code in NOT_DONE, "a read neither", read)
        for server in cluster.servers:
            if server is not left:
                server.start()
        cluster.wait_leader()
        expect(2 <= int(connection.ask("GET", "n")) <= done_most, "what came of it")


@case(timeout=60)
def the_outcome_is_unknown_when_the_leader_stalls_in_mid_write(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    follower = cluster.followers()[0]
    with connect(follower) as connection:
        expect_equal(connection.ask("SET", "n", "0"), b"OK", "before")
        leader.pause()
        requests = [("INCR", "n"), ("GET", "n"), ("PING",)]
        answers = connection.pipeline(requests)
        expect_equal(answers[2], b"PONG", "what needs no leader is answered")
        error_of(answers[0], "UNKNOWN")
        cluster.wait_leader()
        expect_equal(connection.ask("SET", "m", "1"), b"OK", "with the next leader")
        leader.resume()
        cluster.wait_equal()
        expect(int(connection.ask("GET", "n")) in (0, 1), "once at most")


@case(timeout=90)
def increments_through_followers_are_never_doubled(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    followers = cluster.followers()
    acknowledged = unknown = 0
    connections = [connect(server) for server in followers]
    for round_number in range(60):
        for connection in connections:
            connection.send(resp.encode("INCR", "n"))
        if round_number == 20:
            leader.kill()
        for connection in connections:
            answer = connection.receive()
            if not isinstance(answer, resp.Error):
                acknowledged += 1
            elif answer.code == "UNKNOWN":
                unknown += 1
            else:
                expect(answer.code in NOT_DONE, "which error", answer)
    found = int(ask(followers[0], "GET", "n"))
    expect(acknowledged <= found <= acknowledged + unknown, "counter", acknowledged, unknown, found)
    expect(acknowledged > 80, "most were done", acknowledged)
    for connection in connections:
        connection.close()


# ---- odd clients ----

@case()
def what_makes_no_sense_ends_the_connection_after_the_answers_before_it(env):
    cluster = env.cluster()
    for server in cluster.servers:
        with connect(server) as connection:
            connection.send(resp.encode("SET", "k", "v") + resp.encode("GET", "k") +
                            b"*1\r\n!3\r\nGET\r\n" + resp.encode("SET", "k", "never"))
            expect_equal([connection.receive_raw() for _ in range(3)],
                         [b"+OK\r\n", b"$1\r\nv\r\n",
                          b"-ERR Protocol error: expected '$', got '!'\r\n"], "answers")
            expect(connection.is_closed(), "closed")
        expect_equal(ask(server, "GET", "k"), b"v", "nothing behind it was done")


@case(timeout=60)
def a_hundred_clients_with_garbage_do_no_harm(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    sockets = []
    for number in range(100):
        server = cluster.servers[number % 3]
        one = socket.create_connection((HOST, int(host_and_port(server)[1])), timeout=5)
        sockets.append(one)
        kind = number % 5
        garbage = random.randbytes(random.randrange(1, 5000))
        try:
            one.sendall({0: garbage, 1: b"*" + garbage, 2: b"*3\r\n$3\r\nSET\r\n$" + garbage,
                         3: b"*1000000\r\n$1000000\r\n" + garbage,
                         4: b"GET " + garbage.replace(b"\n", b"")}[kind])
        except OSError:
            pass  # It was not taken to the end.
    for server in cluster.servers:
        expect_equal(ask(server, "SET", "k", "v"), b"OK", "others are served")
    for one in sockets:
        one.close()
    expect(cluster.wait_leader() is leader, "the leader has not changed")
    cluster.wait_equal()


@case()
def people_can_type_inline_commands(env):
    server = env.cluster(size=1).servers[0]
    with connect(server) as connection:
        connection.send(b"set k \"a b\\x00\"\r\n\r\nGET k\nget 'k'\r\n  PING  \r\n")
        expect_equal([connection.receive() for _ in range(4)],
                     [b"OK", b"a b\x00", b"a b\x00", b"PONG"], "answers")
        for letter in b"PING\r\n":
            connection.send(bytes([letter]))
            time.sleep(0.005)
        expect_equal(connection.receive(), b"PONG", "byte by byte")
        for letter in resp.encode("GET", "k"):
            connection.send(bytes([letter]))
        expect_equal(connection.receive(), b"a b\x00", "byte by byte")


@case(timeout=60)
def a_client_that_never_reads_costs_little_and_others_are_served(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    ask(leader, "SET", "large", b"x" * 100000)
    before = leader.resident_kib()
    deaf = []
    for server in [leader, leader, cluster.followers()[0]]:
        one = socket.create_connection((HOST, int(host_and_port(server)[1])))
        one.setblocking(False)
        deaf.append(one)
    request = resp.encode("GET", "large") * 2000
    until = time.monotonic() + 3
    sent = 0
    while time.monotonic() < until:
        for one in deaf:
            try:
                sent += one.send(request)
            except BlockingIOError:
                pass
            except OSError:
                pass  # It may be ended, too.
        began = time.monotonic()
        expect_equal(ask(leader, "INCR", "n", timeout=5) > 0, True, "served")
        expect(time.monotonic() - began < 2, "soon")
    grown = leader.resident_kib() - before
    # 2 x 200 MB and more were asked for.
    expect(grown < 100 * 1024, "memory grew by KiB", grown, sent)
    for one in deaf:
        one.close()


@case()
def many_clients_come_and_go_while_their_requests_are_under_way(env):
    cluster = env.cluster()
    cluster.wait_leader()
    for number in range(200):
        with connect(cluster.servers[number % 3]) as connection:
            connection.send(resp.encode("INCR", "n") * random.randrange(1, 20) +
                            resp.encode("WATCH", "n") + resp.encode("MULTI"))
    found = [ask(server, "GET", "n") for server in cluster.servers]
    expect(int(found[0]) <= int(found[2]) <= 200 * 20, "counter", found)
    cluster.wait_equal()


# ---- limits ----

@case()
def what_is_too_large_or_empty_is_refused_and_the_connection_goes_on(env):
    server = env.cluster(size=1).servers[0]
    with connect(server) as connection:
        for words in (("SET", "", "v"), ("GET", ""), ("DEL", ""), ("MSET", "a", "1", "", "2"),
                      ("SET", "k" * 4097, "v"), ("GET", "k" * 4097), ("WATCH", ""),
                      ("SET", "k", b"v" * (1024 * 1024 + 1))):
            error_of(connection.ask(*words), "ERR")
        expect_equal(connection.ask("DBSIZE"), 0, "nothing was stored")
        expect_equal(connection.ask("SET", "k" * 4096, b"v" * 1024 * 1024), b"OK", "the largest")
        expect_equal(connection.ask("STRLEN", "k" * 4096), 1024 * 1024, "it is there")
        error_of(connection.ask("APPEND", "k" * 4096, "v"), "ERR")


@case()
def each_request_of_a_pipeline_may_have_a_large_answer(env):
    server = env.cluster(size=1).servers[0]
    with connect(server, timeout=25) as connection:
        value = b"v" * 1024 * 1024
        connection.ask("SET", "large", value)
        for before in ([], [("SET", "k", "v")]):
            connection.send(b"".join(resp.encode(*words)
                                     for words in before + [("GET", "large")] * 100))
            for _ in before:
                expect_equal(connection.receive(), b"OK", "a write before them")
            for number in range(100):
                answer = connection.receive()
                expect(answer == value, "answer", number, answer[:60])
        expect_equal(connection.ask("MGET", *["large"] * 8), [value] * 8, "mget")


@case()
def a_transaction_reads_and_writes_while_there_are_large_values(env):
    server = env.cluster(size=1).servers[0]
    with connect(server) as connection:
        connection.ask("SET", "large", b"v" * 1024 * 1024)
        for _ in range(2):
            answers = connection.pipeline(
                [("MULTI",), ("INCR", "n")] + [("GET", "n"), ("GETRANGE", "large", 0, 2)] * 10 +
                [("EXEC",)])
            expect_equal(answers[2], b"QUEUED", "a read")
            expect(isinstance(answers[-1], list) and len(answers[-1]) == 21, "executed",
                   answers[-1])
            connection.ask("SETRANGE", "large", 0, "www")
            connection.ask("SET", "large", "small now")


@case()
def a_transaction_may_have_a_thousand_requests(env):
    server = env.cluster(size=1).servers[0]
    with connect(server) as connection:
        answers = connection.pipeline([("MULTI",)] + [("INCR", "n")] * 1000 + [("EXEC",)])
        expect_equal(answers[-1], list(range(1, 1001)), "executed")


# ---- time ----

@case(timeout=60)
def keys_go_at_their_time_on_every_server(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    with connect(leader) as connection:
        for number in range(50):
            connection.ask("SET", "k%d" % number, "v", "PX", 1500)
        ends = time.monotonic() + 1.5
    watching = [connect(server) for server in cluster.servers]
    gone = {}
    while len(gone) < 3 and time.monotonic() < ends + 5:
        for number, one in enumerate(watching):
            if number not in gone:
                exists = one.ask("EXISTS", "k49")
                now = time.monotonic()
                if exists == 0:
                    gone[number] = now - ends
    expect_equal(len(gone), 3, "on all servers")
    for number, late in gone.items():
        expect(-TOLERANCE_S <= late <= TOLERANCE_S + CONTENTION_S, "late by", number, late)
    wait_until(lambda: all(server.status().key_count == 0 for server in cluster.servers), 5,
               "and they take no place any more")
    for one in watching:
        one.close()
    cluster.wait_equal()


@case()
def absolute_times_are_kept_to_the_millisecond(env):
    server = env.cluster(size=1).servers[0]
    with connect(server) as connection:
        for moment in (4102444800001, 4102444800499, 4102444800500, 4102444800999):
            connection.ask("SET", "k", "v", "PXAT", moment)
            expect_equal(connection.ask("PEXPIRETIME", "k"), moment, "milliseconds")
            expect_equal(connection.ask("EXPIRETIME", "k"), (moment + 500) // 1000, "seconds")
        connection.ask("SET", "k", "v", "EX", 100)
        left = connection.ask("PTTL", "k")
        expect(99000 <= left <= 100000, "milliseconds left", left)
        expect(abs(connection.ask("PEXPIRETIME", "k") - time.time() * 1000 - left) < 1000,
               "the server's clock is that of people")


@case(timeout=90)
def times_to_live_survive_restarts_leader_changes_and_snapshots(env):
    cluster = env.cluster(arguments=["--snapshot-bytes", "64K"])
    leader = cluster.wait_settled()
    ask(leader, "SET", "long", "v", "PXAT", 4102444800123)
    ask(leader, "SET", "never", "v")
    ask(leader, "SET", "short", "v", "PX", 6000)
    ends = time.monotonic() + 6
    with connect(leader) as connection:
        for _ in range(20):
            connection.pipeline([("SET", "filling", random.randbytes(5000)) for _ in range(10)])
    wait_until(lambda: all("snapshot at entry" in server.log() for server in cluster.servers), 15,
               "snapshots")

    def check(server):
        expect_equal(ask(server, "PEXPIRETIME", "long"), 4102444800123, "long")
        expect_equal(ask(server, "TTL", "never"), -1, "never")
        left = ends - time.monotonic()
        found = ask(server, "PTTL", "short") / 1000
        if left > 0.5:
            expect(abs(found - left) < TOLERANCE_S + CONTENTION_S, "left", found, left)
    check(leader)
    leader.kill()
    for server in [cluster.wait_leader()] + cluster.followers():
        check(server)
    for server in cluster.servers:
        if server.running:
            server.kill()
    for server in cluster.servers:
        server.start()
    cluster.wait_leader()
    for server in cluster.servers:
        check(server)
    time.sleep(max(0.0, ends + TOLERANCE_S + CONTENTION_S - time.monotonic()))
    expect_equal([ask(server, "EXISTS", "short", "long", "never") for server in cluster.servers],
                 [2, 2, 2], "keys")
    cluster.wait_equal()


run()
