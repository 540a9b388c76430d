"""
Nothing acknowledged is lost and nothing stale is read, while servers are killed, stopped and
started again under load.
"""

import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import native  # pylint: disable=wrong-import-position
from cluster import check_all_there  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position

LEADER_KILLS = 20


class Counters:
    """
    Threads that add one to a shared counter by compare-and-set, each attempt retried under its
    session until it is answered. Exactly-once means: the counter ends at the number of successes.
    """

    def __init__(self, cluster, count):
        self.cluster = cluster
        self.successes = 0
        self.lock = threading.Lock()
        self.errors = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def work(self):
        try:
            with self.cluster.client() as client:
                while not self.stopping.is_set():
                    value, revision = client.get(b"counter")
                    number = int(value or b"0") + 1
                    if client.put_if(b"counter", b"%d" % number, revision) is not None:
                        with self.lock:
                            self.successes += 1
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(error)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(40)
        if self.errors:
            raise AssertionError("a counter failed: %r" % self.errors[0])
        return self.successes


class Register:
    """
    One thread writes rising numbers to one key; several readers, each begun after it looked at the
    newest acknowledged number, must never read an older one. `how` is the way of the readers that
    ask each member in turn.
    """

    def __init__(self, cluster, readers, how=None):
        self.cluster = cluster
        self.how = how
        self.acknowledged = 0
        self.reads = 0
        self.stale = []
        self.errors = []
        self.stopping = threading.Event()
        work = [self.write] + [self.read] * readers + [self.read_from_each]
        self.threads = [threading.Thread(target=self.guard, args=(function,), daemon=True)
                        for function in work]
        for thread in self.threads:
            thread.start()

    def guard(self, function):
        try:
            function()
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(error)

    def write(self):
        with self.cluster.client() as client:
            number = 0
            while not self.stopping.is_set():
                number += 1
                client.put(b"register", b"%d" % number)
                self.acknowledged = number

    def check(self, floor, answer):
        found = int(answer.data or b"0") if answer.status == native.OK else 0
        self.reads += 1
        if found < floor:
            self.stale.append("read %d after %d was acknowledged" % (found, floor))

    def read(self):
        with self.cluster.client() as client:
            while not self.stopping.is_set():
                floor = self.acknowledged
                self.check(floor, client.call(native.GET, key=b"register"))

    def read_from_each(self):
        """Asks members in turn on connections that stay open: also one that was just resumed."""
        connections = {}
        while not self.stopping.is_set():
            for address in self.cluster.client_addresses:
                floor = self.acknowledged
                try:
                    if address not in connections:
                        connections[address] = native.Connection(address, 0.3)
                    answer = connections[address].ask(native.command(native.GET, key=b"register"),
                                                      self.how)
                except (native.Closed, native.NoAnswer):
                    if address in connections:
                        connections.pop(address).close()
                    continue
                if isinstance(answer, native.Reply) and answer.status in (native.OK,
                                                                          native.NOT_FOUND):
                    self.check(floor, answer)
        for connection in connections.values():
            connection.close()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(40)
        expect(not self.errors, "a reader or writer failed", self.errors)
        expect(not self.stale, "stale reads", self.stale[:5])
        expect(self.reads > 100, "there were reads", self.reads)


@case(timeout=100)
def twenty_leaders_killed_under_load_lose_nothing_and_apply_once(env):
    cluster = env.cluster()
    load = env.writers(cluster, count=2)
    counters = Counters(cluster, 2)
    for _ in range(LEADER_KILLS):
        before = load.count
        leader = cluster.wait_leader()
        wait_until(lambda enough=before + 10: load.count > enough, 20, "writes flow")
        leader.kill()
        cluster.wait_leader()
        leader.start()
    acknowledged = load.stop()
    successes = counters.stop()
    expect(len(acknowledged) > 10 * LEADER_KILLS, "there was load", len(acknowledged))
    check_all_there(cluster, acknowledged, b"w")
    with cluster.client() as client:
        value, _ = client.get(b"counter")
    expect_equal(int(value), successes, "the counter against the successes")
    cluster.wait_equal()


@case(timeout=60)
def reads_never_go_back_while_leaders_are_killed(env):
    cluster = env.cluster()
    register = Register(cluster, readers=2)
    for _ in range(6):
        leader = cluster.wait_leader()
        time.sleep(0.3)
        leader.kill()
        cluster.wait_leader()
        leader.start()
    register.stop()
    cluster.wait_equal()


def stop_leaders_and_wake_them(cluster, register, count):
    for _ in range(count):
        leader = cluster.wait_leader()
        time.sleep(0.2)
        leader.pause()
        cluster.wait_leader()
        before = register.acknowledged
        wait_until(lambda floor=before: register.acknowledged > floor + 5, 15,
                   "writes under the new leader")
        leader.resume()
        time.sleep(0.3)
    register.stop()
    cluster.wait_equal()


@case(timeout=60)
def reads_never_go_back_when_a_stopped_leader_wakes(env):
    cluster = env.cluster()
    stop_leaders_and_wake_them(cluster, Register(cluster, readers=2), 5)


@case(timeout=60)
def reads_at_any_server_never_go_back_when_a_stopped_leader_wakes(env):
    cluster = env.cluster()
    stop_leaders_and_wake_them(cluster, Register(cluster, readers=1, how=native.LINEARIZABLE), 2)


@case(timeout=60)
def reads_by_lease_never_go_back_when_a_stopped_leader_wakes(env):
    cluster = env.cluster(arguments=["--reads", "lease"])
    stop_leaders_and_wake_them(cluster, Register(cluster, readers=1, how=native.LEASE), 2)


@case(timeout=60)
def reads_at_any_server_never_go_back_while_servers_are_killed(env):
    cluster = env.cluster()
    register = Register(cluster, readers=1, how=native.LINEARIZABLE)
    for number in range(6):
        victim = cluster.wait_leader() if number % 2 == 0 else cluster.followers()[0]
        time.sleep(0.3)
        victim.kill()
        cluster.wait_leader()
        victim.start()
    register.stop()
    cluster.wait_equal()


@case(timeout=60)
def leader_that_wakes_into_the_past_answers_nothing_from_it(env):
    cluster = env.cluster()
    with cluster.client() as client:
        client.put(b"k", b"old")
    leader = cluster.wait_leader()
    followers = cluster.followers()
    with native.Connection(leader.client_address, 5.0) as asked:
        expect_equal(asked.ask(native.command(native.GET, key=b"k")).data, b"old", "before")
        leader.pause()
        # New processes on new connections: nothing of what they send can wait in the sleeper's
        # sockets except greetings, so that it wakes believing that it still leads.
        for follower in followers:
            follower.kill()
        for follower in followers:
            follower.start()
        cluster.wait_leader()
        with cluster.client() as client:
            client.put(b"k", b"new")
        asked.send(native.request(1, native.command(native.GET, key=b"k")))
        asked.send(native.request(2, native.command(native.PUT, key=b"lonely", value=b"v")))
        leader.resume()
        for _ in range(2):
            try:
                answer = asked.receive()
            except (native.Closed, native.NoAnswer):
                break
            refused = isinstance(answer, native.Redirect) or answer.status in native.AGAIN
            expect(refused or answer.data == b"new", "an answer from the past", answer)
    cluster.wait_equal()
    with cluster.client() as client:
        expect_equal(client.get(b"k")[0], b"new", "after")


@case(timeout=60)
def kill_9_of_all_three_at_once_loses_nothing(env):
    cluster = env.cluster()
    everything = {}
    for life in range(4):
        load = env.writers(cluster, count=3, prefix="life%d-" % life)
        wait_until(lambda load=load: load.count > 60, 20, "writes flow")
        for server in cluster.servers:
            server.kill()
        for server in cluster.servers:
            server.start()
        cluster.wait_leader()
        everything.update(load.stop())
        check_all_there(cluster, everything)
    cluster.wait_equal()


@case(timeout=60)
def random_kills_of_any_minority_lose_nothing(env):
    cluster = env.cluster(size=5)
    load = env.writers(cluster, count=3)
    for _ in range(6):
        victims = random.sample(cluster.servers, 2)
        for victim in victims:
            victim.kill()
        cluster.wait_leader()
        before = load.count
        wait_until(lambda floor=before: load.count > floor + 20, 20, "writes flow")
        for victim in victims:
            victim.start()
        # The next minority may only fail once this one is a part of the majority again.
        cluster.wait_leader()
        wait_until(lambda: all(server.status() for server in cluster.servers), 10, "all are back")
    acknowledged = load.stop()
    check_all_there(cluster, acknowledged)
    cluster.wait_equal()


@case(timeout=60)
def restart_of_one_at_a_time_keeps_serving(env):
    cluster = env.cluster()
    load = env.writers(cluster, count=3)
    for server in cluster.servers:
        before = load.count
        expect_equal(server.terminate(), 0, "exit status of SIGTERM")
        cluster.wait_leader()
        wait_until(lambda floor=before: load.count > floor + 20, 20, "writes flow with two")
        server.start()
        cluster.wait_leader()
        wait_until(lambda one=server: one.status() is not None, 10, "it is back")
    acknowledged = load.stop()
    check_all_there(cluster, acknowledged)
    cluster.wait_equal()


@case()
def sigterm_ends_all_with_status_0_and_everything_acknowledged_is_there_after(env):
    cluster = env.cluster()
    load = env.writers(cluster, count=3)
    wait_until(lambda: load.count > 100, 20, "writes flow")
    expect_equal(cluster.stop(), {1: 0, 2: 0, 3: 0}, "exit statuses")
    load.stopping.set()
    cluster.start()
    check_all_there(cluster, load.stop())
    cluster.wait_equal()


@case()
def sigint_ends_a_server_as_sigterm_does(env):
    cluster = env.cluster(size=1)
    server = cluster.servers[0]
    with cluster.client() as client:
        client.put(b"k", b"v")
    server.expected_end = True
    server.process.send_signal(2)
    expect_equal(server.wait(), 0, "exit status")
    server.start()
    cluster.wait_leader()
    with cluster.client() as client:
        expect_equal(client.get(b"k")[0], b"v", "value")


@case()
def a_follower_that_was_away_catches_up_with_equal_digest(env):
    cluster = env.cluster()
    follower = cluster.followers()[0]
    follower.kill()
    value = b"x" * 20000
    with cluster.client() as client:
        for n in range(400):
            client.put(b"k%d" % (n % 150), value)
    follower.start()
    states = cluster.wait_equal()
    expect_equal(len(states), 3, "members")
    expect_equal(states[0].key_count, 150, "keys")


@case()
def leader_that_was_cut_off_acknowledges_nothing_and_its_tail_is_replaced(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    followers = cluster.followers()
    for follower in followers:
        follower.pause()
    # Nobody can acknowledge: whatever is sent now may only be answered with a failure.
    with native.Connection(leader.client_address, 3.0) as connection:
        for n in range(5):
            connection.send(native.request(n, native.command(native.PUT, key=b"lonely%d" % n,
                                                             value=b"v")))
        for _ in range(5):
            try:
                answer = connection.receive()
            except (native.NoAnswer, native.Closed):
                break
            expect(not isinstance(answer, native.Reply) or answer.status != 0,
                   "no acknowledgement without a majority", answer)
    leader.kill()
    for follower in followers:
        follower.resume()
    cluster.wait_leader()
    with cluster.client() as client:
        client.put(b"after", b"v")
    leader.start()
    cluster.wait_equal()
    with cluster.client() as client:
        expect_equal(client.get(b"after")[0], b"v", "the new leader's write")


@case()
def leader_without_a_majority_steps_down_and_says_that_the_outcome_is_unknown(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    for follower in cluster.followers():
        follower.kill()
    with native.Connection(leader.client_address, 5.0) as connection:
        answer = connection.ask(native.command(native.PUT, key=b"k", value=b"v"))
    if isinstance(answer, native.Redirect):
        expect(not answer.has_leader, "nobody leads", answer)
    else:
        expect(answer.status in (native.OUTCOME_UNKNOWN, native.NO_LEADER), "status", answer)
        expect(answer.error, "a sentence")
    wait_until(lambda: leader.status().role != "leader", 5, "it steps down")


@case()
def command_line_gives_up_with_status_3_when_nobody_answers(env):
    cluster = env.cluster(start=False)
    done = env.client(cluster, "get", "k")
    expect_equal(done.returncode, 3, "exit status")
    expect(b"Error: " in done.stderr + done.stdout, "an error is told", done)
    expect_equal(env.client(cluster, "put", "k", "v").returncode, 3, "exit status of a put")


run()
