"""What the store does while nothing breaks: every operation, on every member, to its limits."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import native  # pylint: disable=wrong-import-position
from cluster import check_all_there  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position


def ask_leader(cluster, body):
    with native.Connection(cluster.wait_leader().client_address) as connection:
        return connection.ask(body)


@case()
def three_servers_elect_one_leader_and_all_know_it(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()

    def all_agree():
        states = [server.status() for server in cluster.servers]
        return all(state and state.leader == leader.id for state in states) and states

    states = wait_until(all_agree, 5, "all members name the same leader")
    expect_equal([state.id for state in states], [1, 2, 3], "ids")
    expect_equal([state.address for state in states], [s.address for s in cluster.servers],
                 "addresses")
    expect_equal(sorted(state.role for state in states), ["follower", "follower", "leader"],
                 "roles")
    expect_equal(len({state.cluster_id for state in states}), 1, "cluster ids")
    expect(states[0].cluster_id != 0, "the cluster has an id")
    backend = {"uring": "io_uring", "portable": "portable"}[env.io]
    expect_equal({state.io_backend for state in states}, {backend}, "backends")


@case()
def put_get_delete_list_work_with_any_member_as_the_first_address(env):
    cluster = env.cluster()
    for server in cluster.servers:
        others = [other for other in cluster.servers if other is not server]
        text = ",".join("%d=%s" % (one.id, one.address) for one in [server] + others)
        for words, status, output in (
                (("put", "fruit", "apple"), 0, b"OK\n"),
                (("get", "fruit"), 0, b"apple\n"),
                (("list",), 0, b"fruit\n"),
                (("list", "fr"), 0, b"fruit\n"),
                (("delete", "fruit"), 0, b"OK\n"),
                (("get", "fruit"), 1, b"Key not found\n"),
                (("delete", "fruit"), 1, b"Key not found\n"),
                (("list",), 0, b"No keys found\n")):
            done = env.run("client", "--cluster", text, *words)
            expect_equal((done.returncode, done.stdout), (status, output), " ".join(words))


@case()
def follower_redirects_a_raw_client_to_the_leaders_client_address(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    for follower in cluster.followers():
        for body in (native.command(native.PUT, key=b"k", value=b"v"),
                     native.command(native.GET, key=b"k"),
                     native.command(native.LIST),
                     native.command(native.OPEN_SESSION)):
            with native.Connection(follower.client_address) as connection:
                answer = connection.ask(body)
            expect(isinstance(answer, native.Redirect), "a redirect", answer)
            expect(answer.has_leader, "the follower knows the leader", answer)
            expect_equal(answer.leader, leader.id, "leader id")
            expect_equal(answer.address, leader.client_address, "leader address")
            expect(answer.text, "the redirect has words")


@case()
def pipelined_requests_are_each_answered_once_and_writes_keep_their_order(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    count = 500
    with native.Connection(leader.client_address) as connection:
        connection.send(b"".join(
            native.request(1000 + n, native.command(native.PUT, key=b"same", value=b"%d" % n))
            for n in range(count)))
        answers = [connection.receive() for _ in range(count)]
        expect(all(isinstance(answer, native.Reply) for answer in answers), "replies")
        by_id = {answer.id: answer for answer in answers}
        expect_equal(len(by_id), count, "answers with different ids")
        revisions = [by_id[1000 + n].revision for n in range(count)]
        expect(all(answer.status == 0 for answer in answers), "every put is done")
        expect_equal(revisions, sorted(set(revisions)), "revisions rise in the order of sending")
        last = connection.ask(native.command(native.GET, key=b"same"))
        expect_equal(last.data, b"%d" % (count - 1), "the last write")
        expect_equal(last.revision, revisions[-1], "its revision")


@case()
def a_read_pipelined_behind_a_write_sees_it(env):
    cluster = env.cluster()
    with native.Connection(cluster.wait_leader().client_address) as connection:
        for n in range(50):
            connection.send(native.request(1, native.command(native.PUT, key=b"k",
                                                             value=b"%d" % n)))
            answer = connection.receive()
            expect_equal((answer.id, answer.status), (1, 0), "put")
            connection.send(native.request(2, native.command(native.GET, key=b"k")))
            answer = connection.receive()
            expect_equal((answer.id, answer.data), (2, b"%d" % n), "get")


@case()
def keys_and_values_are_bytes_to_their_limits(env):
    cluster = env.cluster()
    everything = bytes(range(256))
    biggest = everything * (native.VALUE_SIZE_MAX // 256)
    with cluster.client() as client:
        for key, value in ((b"k", b""), (b"\0", b"\0"), (everything, everything),
                           (b"k" * native.KEY_SIZE_MAX, b"long key"), (b"big", biggest)):
            client.put(key, value)
            found, _ = client.get(key)
            expect(found == value, "%d bytes under a key of %d come back" % (len(value), len(key)))
        found = client.list()
        expect_equal(found, sorted(found), "keys in the order of their bytes")
        expect_equal(len(found), 5, "keys")
    cluster.wait_equal()


@case()
def a_batch_with_a_session_tells_whether_its_guard_held(env):
    cluster = env.cluster()
    with native.Connection(cluster.wait_leader().client_address) as connection:
        session = connection.ask(native.command(native.OPEN_SESSION)).revision
        token = connection.ask(native.command(
            native.PUT, key=b"lock", value=b"me", session=(session, 1, 0), options=native.ABSENT,
            expiry=(native.AFTER, 60000))).revision

        def batch(expected, number, with_session=True):
            stamp = {"session": (session, number, number - 1)} if with_session else {}
            return connection.ask(native.command(native.BATCH, commands=[
                native.command(native.GUARD, key=b"lock", expected=expected, number=2),
                native.command(native.ADD, key=b"n", number=-3),
                native.command(native.APPEND, key=b"n", value=b"0")], **stamp))

        done = batch(token, 2)
        expect_equal((done.status, done.count, done.data), (0, 3, b""), "it held")
        expect_equal(batch(token, 2), done._replace(id=done.id + 1), "the same once more")
        late = batch(token - 1, 3)
        expect_equal((late.status, late.revision, late.count), (native.CONDITION, token, 0), "late")
        expect_equal(connection.ask(native.command(native.GET, key=b"n")).data, b"-30", "once")
        replies = native.replies_of(batch(token, 0, with_session=False))
        expect_equal([(one.status, one.count) for one in replies],
                     [(0, 0), (0, 2 ** 64 - 33), (0, 4)], "without a session")
        stat = native.stat_of(connection.ask(native.command(native.STAT, key=b"lock")))
        expect_equal((stat.create, stat.modify, stat.version), (token, token, 1), "stat")
        expect(50000 < stat.expires - stat.now <= 60000, "the time left", stat)
        text = connection.ask(native.command(native.PUT, key=b"n", value=b"x"))
        expect_equal(text.status, 0, "put")
        refused = connection.ask(native.command(native.ADD, key=b"n", number=1))
        expect_equal(refused.status, native.NOT_INTEGER, "no number")
    cluster.wait_equal()


@case()
def one_byte_over_a_limit_and_an_empty_key_are_refused_and_nothing_changes(env):
    cluster = env.cluster()
    long_key = b"k" * (native.KEY_SIZE_MAX + 1)
    long_value = b"v" * (native.VALUE_SIZE_MAX + 1)
    leader = cluster.wait_settled()
    before = leader.status()
    with native.Connection(leader.client_address) as connection:
        for body, status in (
                (native.command(native.PUT, key=long_key, value=b"v"), native.KEY_TOO_LARGE),
                (native.command(native.GET, key=long_key), native.KEY_TOO_LARGE),
                (native.command(native.DELETE, key=long_key), native.KEY_TOO_LARGE),
                (native.command(native.PUT, key=b"k", value=long_value), native.VALUE_TOO_LARGE),
                (native.command(native.PUT, key=b"", value=b"v"), native.KEY_EMPTY),
                (native.command(native.GET, key=b""), native.KEY_EMPTY),
                (native.command(native.DELETE, key=b""), native.KEY_EMPTY)):
            answer = connection.ask(body)
            expect_equal(answer.status, status, "status")
        expect_equal(connection.ask(native.command(native.LIST)).count, 0, "keys")
    expect_equal(leader.status().last_index, before.last_index, "nothing was logged")


@case()
def command_line_tells_limits_in_words(env):
    cluster = env.cluster()
    for words, text in ((("put", "", "v"), b"empty"),
                        (("put", "k" * 4097, "v"), b"4096"),
                        (("get", ""), b"empty")):
        done = env.client(cluster, *words)
        expect(done.returncode != 0, "refused")
        expect(b"Error: " in done.stderr + done.stdout, "an error is told", done)
        expect(text in done.stderr + done.stdout, "naming the limit", done)
    # A value beyond the limit does not fit an argument; the shell reads it from a pipe.
    done = env.client(cluster, stdin=b"put k " + b"v" * (1024 * 1024 + 1) + b"\nget k\nquit\n")
    expect(b"1048576" in done.stderr + done.stdout, "naming the limit",
           done.stdout[-300:], done.stderr[-300:])
    expect(b"Key not found" in done.stdout, "nothing was stored", done.stdout[-300:])


@case()
def compare_and_set_takes_the_right_revision_only(env):
    cluster = env.cluster()
    with cluster.client() as client:
        first = client.put_if(b"k", b"one", 0)
        expect(first is not None, "0 means: not there")
        expect_equal(client.put_if(b"k", b"two", 0), None, "a second time")
        refused = client.call(native.PUT, key=b"k", value=b"two", expected=first + 1000)
        expect_equal((refused.status, refused.revision), (native.CONDITION, first), "refusal")
        second = client.put_if(b"k", b"two", first)
        expect(second > first, "revisions rise")
        expect_equal(client.get(b"k"), (b"two", second), "get")
        expect_equal(client.call(native.DELETE, key=b"k", expected=first).status,
                     native.CONDITION, "delete with an old revision")
        expect_equal(client.call(native.DELETE, key=b"k", expected=second).status, 0, "delete")
        expect_equal(client.get(b"k"), (None, 0), "get")


@case()
def same_session_and_sequence_sent_again_is_applied_once(env):
    cluster = env.cluster()
    session = ask_leader(cluster, native.command(native.OPEN_SESSION)).revision
    body = native.command(native.PUT, key=b"counter", value=b"1", expected=0,
                          session=(session, 1, 0))
    first = ask_leader(cluster, body)
    expect_equal(first.status, 0, "first")
    for _ in range(3):
        again = ask_leader(cluster, body)
        expect_equal((again.status, again.revision), (0, first.revision), "the stored reply")
    for sequence, applied in ((1, 1), (2, 0)):
        answer = ask_leader(cluster, native.command(native.OUTCOME,
                                                    session=(session, sequence, 0)))
        expect_equal((answer.status, answer.count), (0, applied), "outcome")
    # Another leader knows the session too.
    cluster.wait_leader().kill()
    again = ask_leader(cluster, body)
    expect_equal((again.status, again.revision), (0, first.revision), "after a change of leader")
    # What was acknowledged may be forgotten, but is never applied again.
    ask_leader(cluster, native.command(native.PUT, key=b"x", value=b"y", session=(session, 2, 1)))
    late = ask_leader(cluster, body)
    expect(late.status in (native.SEQUENCE_STALE, 0), "a late duplicate", late)
    found = ask_leader(cluster, native.command(native.GET, key=b"counter"))
    expect_equal(found.revision, first.revision, "revision of the key")


@case()
def unknown_session_is_refused(env):
    cluster = env.cluster()
    answer = ask_leader(cluster, native.command(native.PUT, key=b"k", value=b"v",
                                                session=(987654321, 1, 0)))
    expect_equal(answer.status, native.SESSION_UNKNOWN, "status")
    answer = ask_leader(cluster, native.command(native.OUTCOME, session=(987654321, 1, 0)))
    expect_equal(answer.status, native.SESSION_UNKNOWN, "outcome")
    expect_equal(ask_leader(cluster, native.command(native.LIST)).count, 0, "keys")


@case()
def list_and_scan_go_through_pages_in_order(env):
    cluster = env.cluster()
    wanted = [b"a%04d" % n for n in range(300)] + [b"b%04d" % n for n in range(40)]
    with native.Connection(cluster.wait_leader().client_address) as connection:
        connection.send(b"".join(
            native.request(n, native.command(native.PUT, key=key, value=b"v" + key))
            for n, key in enumerate(wanted)))
        for _ in wanted:
            expect_equal(connection.receive().status, 0, "put")
        page = connection.ask(native.command(native.LIST, limit=7))
        expect_equal((page.count, page.more, native.keys_of(page)), (7, True, wanted[:7]), "page")
        half = connection.ask(native.command(native.LIST, key=b"a0290", end=b"b0010"))
        expect_equal(native.keys_of(half), wanted[290:310], "from start to end")
        expect(not half.more, "a whole answer says so")
    with cluster.client() as client:
        expect_equal(client.list(limit=11), wanted, "all pages")
        expect_equal(client.list(prefix=b"b", limit=7), wanted[300:], "pages of a prefix")
        items = client.scan(limit=13)
        expect_equal([(item.key, item.value) for item in items],
                     [(key, b"v" + key) for key in wanted], "scan")
        expect_equal(client.list(prefix=b"c"), [], "a prefix of nothing")


@case()
def scan_of_large_values_stays_within_a_frame(env):
    cluster = env.cluster()
    value = bytes(1000000)
    with cluster.client() as client:
        for n in range(6):
            client.put(b"large%d" % n, value)
        page = client.call(native.SCAN)
        expect(page.more and page.count < 6, "the page was cut", page.count, page.more)
        expect_equal([item.key for item in client.scan()], [b"large%d" % n for n in range(6)],
                     "keys")


@case()
def delete_range_takes_exactly_the_range(env):
    cluster = env.cluster()
    with cluster.client() as client:
        for n in range(20):
            client.put(b"k%02d" % n, b"")
        client.put(b"other", b"")
        expect_equal(client.call(native.DELETE_RANGE, key=b"k05", end=b"k10").count, 5, "range")
        expect_equal(client.call(native.DELETE_RANGE, prefix=b"k1").count, 10, "prefix")
        expect_equal(client.list(), [b"k%02d" % n for n in range(5)] + [b"other"], "left")
    cluster.wait_equal()


@case()
def commands_that_make_no_sense_are_answered_and_not_logged(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    before = leader.status().last_index
    with native.Connection(leader.client_address) as connection:
        answer = connection.ask(native.command(200, key=b"k"))
        expect_equal(answer.status, native.COMMAND_UNKNOWN, "unknown operation")
        answer = connection.ask(native.command(native.DELETE_RANGE))
        expect(answer.status < 0, "a delete of everything by mistake is refused", answer)
        expect_equal(connection.ask(native.command(native.LIST)).status, 0, "still served")
    expect_equal(leader.status().last_index, before, "last index")


@case()
def status_prints_a_table_and_json_of_all_members(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    with cluster.client() as client:
        client.put(b"k", b"v")
    cluster.wait_equal()
    table = env.client(cluster, "status")
    expect_equal(table.returncode, 0, "status")
    for word in ["id", "address", "role", "term", "commit", "applied", "last index", "leader",
                 "digest", "reachable"]:
        expect(word in table.stdout.decode().lower(), "the table has a column " + word,
               table.stdout)
    for server in cluster.servers:
        expect(server.address.encode() in table.stdout, "the table has " + server.address)
    report = env.json(cluster, "status")
    expect_equal(report["leader"], leader.id, "leader")
    expect_equal([member["id"] for member in report["members"]], [1, 2, 3], "ids")
    for member, server in zip(report["members"], cluster.servers):
        state = server.status()
        expect_equal(member["address"], server.address, "address")
        expect_equal(member["role"], state.role, "role")
        expect_equal(member["reachable"], True, "reachable")
        for name in ("term", "leader"):
            expect_equal(member[name], getattr(state, name), name)
        for name in ("commit", "applied", "last_index"):
            expect(isinstance(member[name], int), name, member)
        expect(isinstance(member["digest"], str) or isinstance(member["digest"], int), "digest")
    digests = {str(member["digest"]) for member in report["members"]}
    expect_equal(len(digests), 1, "different digests")


@case()
def status_tells_who_is_not_reachable(env):
    cluster = env.cluster()
    follower = cluster.followers()[0]
    follower.kill()
    report = env.json(cluster, "status")
    reachable = {member["id"]: member["reachable"] for member in report["members"]}
    expect_equal(reachable, {server.id: server is not follower for server in cluster.servers},
                 "reachable")
    table = env.client(cluster, "status")
    expect_equal(table.returncode, 0, "exit status")


@case()
def members_can_have_ids_of_their_own(env):
    cluster = env.cluster(ids=[5, 7, 9])
    expect_equal([server.status().id for server in cluster.servers], [5, 7, 9], "ids")
    done = env.client(cluster, "put", "k", "v")
    expect_equal((done.returncode, done.stdout), (0, b"OK\n"), "put")
    expect_equal([member["id"] for member in env.json(cluster, "status")["members"]], [5, 7, 9],
                 "ids of status")
    cluster.wait_leader().kill()
    done = env.client(cluster, "get", "k")
    expect_equal((done.returncode, done.stdout), (0, b"v\n"), "get from another leader")


@case()
def server_finds_its_own_id_by_its_address(env):
    cluster = env.cluster(start=False)
    for server in cluster.servers:
        del server.arguments[:2]
    cluster.start()
    expect_equal([server.status().id for server in cluster.servers], [1, 2, 3], "ids")


@case()
def cluster_of_one_serves_and_keeps_its_writes_over_kill_9(env):
    server = env.lone_server([])
    server.arguments = ["--bind", server.address, "--data-dir", server.data, "--io", env.io]
    server.start()
    acknowledged = {}
    with native.Client([server.client_address]) as client:
        for life in range(5):
            for n in range(20):
                key = b"life%d-%d" % (life, n)
                client.put(key, b"v" + key)
                acknowledged[key] = b"v" + key
            server.kill()
            server.start()
            found = {item.key: item.value for item in client.scan()}
            expect_equal(found, acknowledged, "everything acknowledged")
    done = env.run("client", "--cluster", server.address, "get", "life0-0")
    expect_equal((done.returncode, done.stdout), (0, b"vlife0-0\n"), "get")
    expect_equal(server.status().role, "leader", "role")


@case()
def five_servers_serve_with_two_down_and_stop_with_three_down(env):
    cluster = env.cluster(size=5)
    load = env.writers(cluster, count=2)
    wait_until(lambda: load.count > 50, 10, "writes flow")
    cluster.wait_leader().kill()
    cluster.wait_leader()
    cluster.followers()[0].kill()
    before = load.count
    wait_until(lambda: load.count > before + 50, 10, "writes flow with two down")
    acknowledged = load.stop()
    check_all_there(cluster, acknowledged)
    third = cluster.followers()[0]
    third.kill()
    with cluster.client(timeout=2.0) as client:
        try:
            client.put(b"refused", b"v")
            raise AssertionError("a write was acknowledged without a majority")
        except native.NoAnswer:
            pass
    third.start()
    cluster.wait_leader()
    for server in cluster.servers:
        if not server.running:
            server.start()
    check_all_there(cluster, acknowledged)
    cluster.wait_equal()


@case()
def digests_are_equal_after_load_on_all_members(env):
    cluster = env.cluster()
    load = env.writers(cluster, count=6)
    wait_until(lambda: load.count > 500, 20, "500 writes")
    acknowledged = load.stop()
    states = cluster.wait_equal()
    expect(states[0].key_count >= len(acknowledged), "keys", states[0].key_count)
    check_all_there(cluster, acknowledged)


run()
