"""How the program is called: options and what is wrong with them, exit statuses, modes, thrift."""

import json
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import native  # pylint: disable=wrong-import-position
from tap import Skip, case, expect, expect_equal  # pylint: disable=wrong-import-position
from tap import run, wait_until  # pylint: disable=wrong-import-position

IDLE_SECONDS = 5.0
IDLE_CPU_MAX = 0.01
IDLE_KIB_MAX = 20 * 1024


def expect_refusal(env, words, status, *sentences):
    """The words end the program at once, with the status and each of the sentences."""
    done = env.run(*words)
    text = (done.stderr + done.stdout).decode()
    expect_equal(done.returncode, status, "exit status of %s: %s" % (" ".join(words), text))
    for sentence in sentences:
        expect(sentence.lower() in text.lower(), "%s should say %r:" % (words, sentence), text)


@case()
def first_word_must_be_a_subcommand_else_usage_and_status_1(env):
    for words in ((), ("serve",), ("8080",)):
        done = env.run(*words)
        expect_equal(done.returncode, 1, "exit status of %r" % (words,))
        expect(b"Usage:" in done.stderr + done.stdout, "the usage is printed", done)


@case()
def help_and_version_are_printed_with_status_0(env):
    for words in (("--help",), ("help",), ("server", "--help"), ("client", "--help"),
                  ("bench", "--help"), ("server", "-h")):
        done = env.run(*words)
        expect_equal(done.returncode, 0, "exit status of %r" % (words,))
        expect(b"Usage:" in done.stdout, "usage on standard output", words, done.stdout[:200])
    server = env.run("server", "--help").stdout.decode()
    for flag in """--node-id --bind --cluster --data-dir --timing-mode --fast-mode --debug-mode
            --demo-mode --event-loop-delay --heartbeat-interval --election-timeout-min
            --election-timeout-max --network-delay --client-delay --client-port-offset --io
            --verbose -v""".split():
        expect(flag in server, "help of the server names " + flag)
    done = env.run("--version")
    expect_equal(done.returncode, 0, "exit status")
    expect(re.search(rb"\d+\.\d+\.\d+", done.stdout), "a version", done.stdout)


@case(timeout=60)
def bad_server_options_each_have_their_sentence(env):
    three = "127.0.0.1:25001,127.0.0.1:25002,127.0.0.1:25003"
    data = os.path.join(env.folder, "never")
    base = ("server", "--data-dir", data)
    member = base + ("--cluster", three, "--node-id", "1")
    for words, sentences in (
            (base + ("--node-id", "x"), ("--node-id", "x", "not a number")),
            (base + ("--node-id", "0"), ("--node-id", "0")),
            (base + ("--node-id",), ("--node-id needs a value",)),
            (base + ("--bind", "nonsense"), ("--bind", "nonsense", "host:port")),
            (base + ("--bind", "127.0.0.1:70000"), ("--bind", "70000")),
            (base + ("--bind", "127.0.0.1:65000"), ("65535", "1000")),
            (member + ("--client-port-offset", "60000"), ("65535", "60000")),
            (base + ("--cluster", "127.0.0.1:25001,,"), ("--cluster", "empty part")),
            (base + ("--cluster", "127.0.0.1:25001,127.0.0.1:25001"), ("given twice",)),
            (base + ("--cluster", "1=127.0.0.1:25001,1=127.0.0.1:25002"), ("given twice",)),
            (base + ("--cluster", "1=127.0.0.1:25001,127.0.0.1:25002"), ("name all or none",)),
            (base + ("--cluster", ",".join("127.0.0.1:%d" % (25001 + n) for n in range(10))),
             ("at most 9",)),
            (base + ("--cluster", three, "--node-id", "4"), ("4", "not")),
            (base + ("--cluster", three, "--bind", "127.0.0.1:25009"), ("127.0.0.1:25009",)),
            (base + ("--cluster", three, "--node-id", "1", "--bind", "127.0.0.1:25002"),
             ("127.0.0.1:25002",)),
            (base + ("--cluster", three), ("--node-id", "--bind")),
            (member + ("--timing-mode", "slow"), ("slow", "fast", "debug", "demo")),
            (member + ("--heartbeat-interval", "0"), ("--heartbeat-interval",)),
            (member + ("--heartbeat-interval", "-5"), ("--heartbeat-interval",)),
            (member + ("--heartbeat-interval", "150"), ("heartbeat", "150")),
            (member + ("--election-timeout-min", "300"), ("300", "election")),
            (member + ("--election-timeout-min", "900", "--election-timeout-max", "800"),
             ("900", "800")),
            (member + ("--election-timeout-min", "40"), ("40", "50", "heartbeat")),
            (member + ("--io", "epoll"), ("--io", "epoll", "uring", "portable")),
            (member + ("--segment-size", "1"), ("--segment-size",)),
            (member + ("--no-such-option",), ("unknown option --no-such-option",)),
            (member + ("word",), ("word",)),
            (member + ("--verbose=yes",), ("--verbose takes no value",)),
            (member + ("--clients", "5"), ("--clients", "bench"))):
        expect_refusal(env, words, 2, *sentences)
    expect(not os.path.exists(data), "a wrong call makes no data directory")


@case()
def bad_client_options_and_words_end_with_status_2(env):
    cluster = env.cluster(size=1)
    base = ("client", "--cluster", cluster.text)
    for words, sentences in (
            (base + ("frobnicate", "x"), ("unknown command: frobnicate",)),
            (base + ("put", "k"), ("usage: put",)),
            (base + ("get",), ("usage: get",)),
            (base + ("get", "a", "b"), ("usage: get",)),
            (base + ("delete",), ("usage: delete",)),
            (base + ("list", "a", "b"), ("usage: list",)),
            (base + ("--timeout", "0", "get", "k"), ("--timeout",)),
            (base + ("--nope", "get", "k"), ("unknown option --nope",)),
            (("client", "--cluster", "here", "get", "k"), ("here", "host:port"))):
        expect_refusal(env, words, 2, *sentences)


@case()
def environment_sets_options_and_the_command_line_wins(env):
    cluster = env.cluster(size=1)
    done = env.run("client", "put", "k", "v", environment={"KVAPP_CLUSTER": cluster.text})
    expect_equal((done.returncode, done.stdout), (0, b"OK\n"), "from the environment")
    done = env.run("client", "--cluster", cluster.text, "get", "k",
                   environment={"KVAPP_CLUSTER": "127.0.0.1:1"})
    expect_equal((done.returncode, done.stdout), (0, b"v\n"), "the command line wins")


@case()
def host_name_and_another_port_offset_work(env):
    server = env.lone_server([])
    server.address = "localhost:%d" % server.port
    server.client_address = "127.0.0.1:%d" % (server.port + 777)
    server.arguments = ["--bind", server.address, "--data-dir", server.data, "--io", env.io,
                        "--client-port-offset", "777"]
    server.start()
    wait_until(lambda: server.status() is not None, 10, "it is up")
    done = env.run("client", "--cluster", server.address, "--client-port-offset", "777",
                   "put", "k", "v")
    expect_equal((done.returncode, done.stdout), (0, b"OK\n"), "put")


@case()
def later_short_form_of_a_mode_wins(env):
    cluster = env.cluster(size=1, start=False, arguments=["--demo-mode", "--fast-mode"])
    started = time.monotonic()
    cluster.start()
    expect(time.monotonic() - started < 4, "fast mode elects fast")


@case()
def port_in_use_is_told_with_the_address_and_status_1(env):
    server = env.lone_server([])
    for taken in (server.port, server.port + 1000):
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", taken))
            holder.listen()
            expect_refusal(env, ("server", "--bind", server.address, "--data-dir", server.data,
                                 "--io", env.io), 1, str(taken), "in use")


@case()
def second_server_on_the_same_data_directory_is_refused(env):
    first = env.cluster(size=1).servers[0]
    second = env.lone_server([])
    # The same identity at the same address cannot start because of the port; so it is another
    # address, and the directory's lock must be what stops it.
    expect_refusal(env, ("server", "--bind", second.address, "--data-dir", first.data,
                         "--io", env.io), 1, first.data, "another server uses")
    expect(first.status() is not None, "the first goes on")


@case()
def data_directory_of_another_node_or_cluster_is_refused(env):
    cluster = env.cluster()
    with cluster.client() as client:
        client.put(b"k", b"v")
    cluster.stop()
    two = cluster.server(2)
    expect_refusal(env, ("server", "--node-id", "1", "--cluster", cluster.text, "--data-dir",
                         two.data, "--io", env.io), 1, two.data, "belongs to node 2")
    # The refused start has changed nothing.
    cluster.start()
    with cluster.client() as client:
        expect_equal(client.get(b"k")[0], b"v", "value")


@case()
def data_directory_that_cannot_be_made_is_told(env):
    blocker = os.path.join(env.folder, "file")
    with open(blocker, "w", encoding="ascii") as file:
        file.write("not a directory")
    server = env.lone_server([])
    expect_refusal(env, ("server", "--bind", server.address, "--data-dir", blocker + "/data",
                         "--io", env.io), 1, blocker)


@case()
def one_shot_exit_statuses_are_0_done_1_not_found_2_usage_3_no_answer(env):
    cluster = env.cluster()
    for words, status in ((("put", "k", "v"), 0), (("get", "k"), 0), (("get", "none"), 1),
                          (("delete", "none"), 1), (("delete", "k"), 0), (("list",), 0),
                          (("status",), 0), (("put",), 2)):
        expect_equal(env.client(cluster, *words).returncode, status, " ".join(words))
    cluster.stop()
    done = env.client(cluster, "--timeout", "1000", "get", "k")
    expect_equal(done.returncode, 3, "no answer")


@case()
def json_prints_one_object_for_each_reply(env):
    cluster = env.cluster()
    put = env.json(cluster, "put", "k", "v w")
    expect_equal((put["ok"], put["key"]), (True, "k"), "put")
    expect(isinstance(put["revision"], int) and put["revision"] > 0, "revision", put)
    found = env.json(cluster, "get", "k")
    expect_equal((found["ok"], found["value"], found["revision"]), (True, "v w", put["revision"]),
                 "get")
    missing = env.json(cluster, "get", "none")
    expect_equal((missing["ok"], missing["error"]), (False, "not_found"), "get of nothing")
    env.json(cluster, "put", "l", "w")
    expect_equal(env.json(cluster, "list")["keys"], ["k", "l"], "list")
    expect_equal(env.json(cluster, "list", "x")["keys"], [], "list of nothing")
    expect_equal(env.json(cluster, "delete", "k")["ok"], True, "delete")
    usage = env.json(cluster, "put")
    expect_equal(usage["ok"], False, "usage")
    done = env.client(cluster, "--json", stdin="get l\nget none\nstatus\nquit\n")
    objects = [json.loads(line) for line in done.stdout.decode().splitlines()
               if line.startswith("{")]
    expect_equal(len(objects), 3, "objects from a shell")
    with cluster.client() as client:
        client.put(b"\xff\x00", b"\xfe")
    found = env.json(cluster, "list")
    expect_equal(len(found["keys"]), 2, "keys")


@case()
def verbose_logs_more_in_any_position(env):
    quiet = env.cluster(size=1)
    loud = env.cluster(size=1, start=False)
    loud.servers[0].arguments.insert(0, "-v")
    loud.start()
    both = []
    for cluster in (quiet, loud):
        with cluster.client() as client:
            client.put(b"k", b"v")
        both.append(len(cluster.servers[0].log().splitlines()))
        expect_equal(cluster.stop(), {1: 0}, "exit status")
    expect(both[1] > both[0], "lines without and with -v", both)


@case()
def log_says_which_backend_was_chosen(env):
    cluster = env.cluster(size=1)
    text = cluster.servers[0].log()
    wanted = "io_uring" if env.io == "uring" else "portable"
    lines = [line for line in text.splitlines() if wanted in line]
    expect(len(lines) == 1, "one line names the backend", text)


@case(only="portable")
def automatic_backend_is_io_uring_where_the_kernel_allows_it(env):
    cluster = env.cluster(size=1, start=False)
    arguments = cluster.servers[0].arguments
    place = arguments.index("--io")
    del arguments[place:place + 2]
    cluster.start()
    import cluster as library  # pylint: disable=import-outside-toplevel
    wanted = "io_uring" if library.uring_is_allowed() else "portable"
    expect_equal(cluster.servers[0].status().io_backend, wanted, "backend")


@case(timeout=40)
def debug_mode_elects_in_its_time_and_tells_a_story(env):
    started = time.monotonic()
    cluster = env.cluster(arguments=["--debug-mode"])
    took = time.monotonic() - started
    expect(1.4 < took < 12, "an election takes 1.5 to 3 s a round", took)
    leader = cluster.wait_leader()
    with cluster.client() as client:
        started = time.monotonic()
        client.put(b"k", b"v")
        expect(time.monotonic() - started > 0.1, "network and client delays are there")
    story = leader.log().lower()
    for word in ("follower", "candidate", "vote", "leader", "term"):
        expect(word in story, "the story tells of " + word, leader.log()[-2000:])
    voters = " ".join(server.log().lower() for server in cluster.servers if server is not leader)
    expect("vote" in voters, "a voter tells of its vote")


@case(timeout=60)
def demo_mode_elects_in_its_time(env):
    started = time.monotonic()
    cluster = env.cluster(arguments=["--timing-mode", "demo"], wait=False)
    leader = cluster.wait_leader(timeout=40)
    took = time.monotonic() - started
    expect(5 < took < 40, "an election takes 5 to 10 s a round", took)
    expect("leader" in leader.log().lower(), "the story")


@case()
def single_numbers_override_the_mode(env):
    cluster = env.cluster(arguments=["--demo-mode", "--event-loop-delay", "5",
                                     "--heartbeat-interval", "30", "--election-timeout-min", "100",
                                     "--election-timeout-max", "200", "--network-delay", "0",
                                     "--client-delay", "0"], wait=False)
    started = time.monotonic()
    cluster.wait_leader()
    expect(time.monotonic() - started < 5, "elected fast")


@case(timeout=40)
def idle_servers_use_little_of_the_machine(env):
    if env.release is None or not os.path.exists(env.release):
        raise Skip("no release build")
    cluster = env.cluster(binary=env.release)
    with cluster.client() as client:
        client.put(b"k", b"v")
    time.sleep(1.0)
    before = [server.cpu_seconds() for server in cluster.servers]
    time.sleep(IDLE_SECONDS)
    for server, start in zip(cluster.servers, before):
        share = (server.cpu_seconds() - start) / IDLE_SECONDS
        print("# server %d: %.2f %% of a core, %.1f MiB" % (
            server.id, 100 * share, server.resident_kib() / 1024))
        expect(share <= IDLE_CPU_MAX, "share of a core", share)
        expect(server.resident_kib() < IDLE_KIB_MAX, "KiB resident", server.resident_kib())


@case(timeout=40)
def bench_checks_and_reports(env):
    cluster = env.cluster()
    base = ("bench", "--cluster", cluster.text, "--clients", "8", "--requests", "400",
            "--key-space", "50", "--value-size", "64")
    for kind, more in (("put", ()), ("get", ()), ("mixed", ("--pipeline", "4"))):
        done = env.run(*base, *more, "--json", kind)
        expect_equal(done.returncode, 0, "exit status: %r" % done.stderr)
        report = json.loads(done.stdout.decode().splitlines()[-1])
        expect(any("ops" in name for name in report), "speed", report)
        text = json.dumps(report)
        for name in ("mean", "p50", "p99", "max"):
            expect(name in text, "has " + name, report)
    done = env.run(*base, "put")
    text = done.stdout.decode()
    for word in ("ops/s", "p50", "p99", "p99.9", "max"):
        expect(word in text, "prints " + word, text)
    expect(not done.stderr, "no progress line without a terminal", done.stderr)
    cluster.wait_equal()
    done = env.run(*base[:3], "--timeout", "500", "nonsense")
    expect_equal(done.returncode, 2, "a wrong word")


run()
