"""The tools and libraries that people use with Redis, against kvapp."""

import fcntl
import hashlib
import json
import os
import pty
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

# pylint: disable=wrong-import-position
import resp
from cluster import HOST, die_with_parent
from tap import Skip, case, expect, expect_equal, run, wait_until

NPM_TIMEOUT_S = 180
UNDER_WAY = 4  # of clients.js
REFUSED = ("CLUSTERDOWN", "TRYAGAIN", "READONLY", "MOVED")  # certainly not done


def port_of(server):
    return server.client_address.rsplit(":", 1)[1]


def tool(name):
    path = shutil.which(name)
    if path is None:
        raise Skip("%s is not installed (Debian's redis-tools)" % name)
    return path


def run_tool(name, server, *words, stdin=b"", timeout=30):
    return subprocess.run([tool(name), "-h", HOST, "-p", port_of(server)] + list(words),
                          input=stdin, capture_output=True, timeout=timeout, check=False)


def on_terminal(words, lines, prompt=b"> "):
    """What a program shows that believes to speak with a person, who waits for its prompt."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs,
                               env=dict(os.environ, TERM="dumb"), preexec_fn=die_with_parent)
    os.close(theirs)
    shown = b""
    answer = b""
    try:
        while True:
            answer += os.read(ours, 4096)
            if lines and answer.endswith(prompt):
                shown += answer
                answer = b""
                os.write(ours, lines.pop(0) + b"\n")
    except OSError:
        pass  # That is how a terminal tells its end.
    finally:
        os.close(ours)
        process.wait(10)
    expect_equal(process.returncode, 0, "exit status; shown: %r" % shown)
    return shown + answer


def cli(server, *words, stdin=b""):
    done = run_tool("redis-cli", server, *words, stdin=stdin)
    expect_equal(done.returncode, 0, "redis-cli %s: %r" % (words, done.stderr))
    return done.stdout


# ---- redis-cli, redis-benchmark ----

@case(timeout=60)
def redis_cli_speaks_with_every_server(env):
    cluster = env.cluster()
    for server in cluster.servers:
        expect_equal(cli(server, "set", "k", "v%d" % server.id), b"OK\n", "set")
        expect_equal(cli(server, "get", "k"), b"v%d\n" % server.id, "get")
        expect_equal(cli(server, "-3", "get", "nosuch"), b"\n", "get in RESP3")
        expect_equal(cli(server, "--no-raw", "-3", "mget", "k", "nosuch"),
                     b'1) "v%d"\n2) (nil)\n' % server.id, "mget in RESP3")
        expect(b"not an integer" in cli(server, "incr", "k"), "an error is shown")
        expect(b"redis_version:7.0.15" in cli(server, "info"), "info")


@case(timeout=60)
def redis_cli_asks_for_documentation_as_it_does_for_people(env):
    server = env.cluster(size=1).servers[0]
    found = on_terminal([tool("redis-cli"), "-h", HOST, "-p", port_of(server)],
                        [b"set k v", b"get k", b"help get", b"quit"])
    expect(b'"v"' in found, "get", found)
    expect(b"The value of a key" in found, "what it says of GET", found)
    docs = cli(server, "-3", "--json", "command", "docs")
    expect(b'"get"' in docs and b'"summary"' in docs, "docs", docs[:300])
    expect_equal(cli(server, "command", "docs", "nosuch"), b"\n", "of nothing")


@case(timeout=60)
def redis_cli_loads_in_bulk_through_a_pipe(env):
    cluster = env.cluster()
    count = 20000
    data = b"".join(resp.encode("SET", "bulk:%d" % n, "value %d" % n) for n in range(count))
    for server in (cluster.wait_leader(), cluster.followers()[0]):
        found = cli(server, "--pipe", stdin=data)
        expect(b"errors: 0, replies: %d" % count in found, "replies", found)
        expect_equal(resp.ask(server.client_address, "DBSIZE"), count, "keys")
    expect_equal(cli(server, "get", "bulk:19999"), b"value 19999\n", "the last")
    cluster.wait_equal()


@case(timeout=120)
def redis_cli_scans_and_measures(env):
    server = env.cluster(size=1).servers[0]
    with resp.Connection(server.client_address) as connection:
        connection.pipeline([("SET", "scan:%03d" % n, "v") for n in range(250)])
    found = cli(server, "--scan", "--pattern", "scan:*").split()
    expect_equal((len(found), len(set(found))), (250, 250), "keys")
    expect_equal(cli(server, "-r", "3", "incr", "counter"), b"1\n2\n3\n", "repeated")
    expect_equal(cli(server, stdin=b"set a 1\nmulti\nincr a\nget a\nexec\n"),
                 b"OK\nOK\nQUEUED\nQUEUED\n2\n2\n", "commands of its input")


@case(timeout=180)
def redis_benchmark_finds_no_error(env):
    cluster = env.cluster()
    leader = cluster.wait_settled()
    for server in (leader, cluster.followers()[0]):
        # Of this version -e has no effect but a warning: it always ends at the first error.
        done = run_tool("redis-benchmark", server, "-t", "set,get,incr,mset", "-n", "20000", "-c",
                        "50", "-P", "16", "-q", timeout=80)
        text = (done.stdout + done.stderr).decode("utf-8", "replace")
        expect_equal(done.returncode, 0, "exit status; %s" % text[-500:])
        for word in ("error", "warning", "could not"):
            expect(word not in text.lower(), "redis-benchmark complains", text[-500:])
        expect(text.count("requests per second") == 4, "four tests", text[-500:])
    cluster.wait_equal()


# ---- libraries of C and Python ----

@case(timeout=60)
def hiredis_gets_what_it_expects(env):
    program = os.path.join(os.path.dirname(env.binary), "test", "redis", "hiredis_client")
    if not os.path.exists(program):
        raise Skip("hiredis_client was not built: libhiredis-dev was not there")
    for server in env.cluster().servers:
        done = subprocess.run([program, HOST, port_of(server)], capture_output=True, timeout=30,
                              check=False)
        expect_equal(done.returncode, 0, "exit status; %s" % done.stderr.decode())


def python_redis():
    try:
        import redis  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise Skip("Debian's package python3-redis is not installed") from error
    return redis


@case(timeout=60)
def python_redis_pipelines_and_watches(env):
    redis = python_redis()
    cluster = env.cluster()
    clients = [redis.Redis(HOST, int(port_of(server))) for server in cluster.servers]
    one, other = clients[0], clients[1]
    expect(one.ping(), "ping")
    one.set("k", b"\x00\xff\r\n", px=100000)
    expect_equal(other.get("k"), b"\x00\xff\r\n", "get")
    expect(0 < other.pttl("k") <= 100000, "time to live")
    with one.pipeline(transaction=False) as pipe:
        pipe.set("n", 1).incr("n").get("n").mget("n", "nosuch")
        expect_equal(pipe.execute(), [True, 2, b"2", [b"2", None]], "pipeline")
    with one.pipeline() as pipe:
        pipe.watch("n")
        expect_equal(pipe.get("n"), b"2", "while watching")
        pipe.multi()
        pipe.incr("n")
        pipe.incr("n")
        expect_equal(pipe.execute(), [3, 4], "transaction")
    with one.pipeline() as pipe:
        pipe.watch("n")
        other.incr("n")
        pipe.multi()
        pipe.incr("n")
        try:
            pipe.execute()
            raise AssertionError("a write of another server's client was not noticed")
        except redis.WatchError:
            pass
    expect_equal(sorted(one.scan_iter(count=1)), [b"k", b"n"], "scan")
    lock = one.lock("lock", timeout=10)
    expect(lock.acquire(blocking=False), "lock")
    expect(not other.lock("lock", timeout=10).acquire(blocking=False), "it is taken")


class Counting:
    """A thread that increments through one server, and reconnects to it as often as it must."""

    def __init__(self, redis, server):
        self.redis = redis
        self.client = redis.Redis(HOST, int(port_of(server)), socket_timeout=10,
                                  retry_on_timeout=False)
        self.acknowledged = self.unknown = self.dropped = 0
        self.wrong = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.stopping.is_set():
            try:
                self.client.incr("counter")
                self.acknowledged += 1
            except self.redis.exceptions.ConnectionError:
                self.dropped += 1
                time.sleep(0.02)
            except self.redis.RedisError as error:
                self.sort(str(error))
                time.sleep(0.02)

    def sort(self, text):
        if text.startswith("UNKNOWN"):
            self.unknown += 1
        elif not text.startswith(REFUSED):
            self.wrong.append(text)

    def stop(self):
        self.stopping.set()
        self.thread.join(20)


@case(timeout=90)
def python_redis_counts_through_a_change_of_leader(env):
    redis = python_redis()
    cluster = env.cluster()
    leader = cluster.wait_settled()
    follower = next(server for server in cluster.servers if server is not leader)
    counting = [Counting(redis, server) for server in (leader, leader, follower, follower)]

    def progress(count):
        before = [one.acknowledged for one in counting]
        wait_until(lambda: all(one.acknowledged >= so_far + count
                               for one, so_far in zip(counting, before)), 20, "all go on")
    progress(50)
    leader.kill()
    cluster.wait_leader()
    time.sleep(0.5)
    leader.start()
    progress(50)
    for one in counting:
        one.stop()
    expect_equal([text for one in counting for text in one.wrong], [], "other errors")
    expect_equal([one.dropped for one in counting[2:]], [0, 0],
                 "connections of the follower that were dropped")
    acknowledged = sum(one.acknowledged for one in counting)
    unknown = sum(one.unknown + one.dropped for one in counting)
    found = int(redis.Redis(HOST, int(port_of(follower))).get("counter"))
    expect(acknowledged <= found <= acknowledged + unknown, "counter", acknowledged, found,
           acknowledged + unknown)
    cluster.wait_equal()


# ---- npm ----

def packages(env):
    """Where npm's packages are; they are fetched once for each build directory."""
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            raise Skip("%s is not installed" % name)
    with open(os.path.join(HERE, "package-lock.json"), "rb") as file:
        version = hashlib.sha256(file.read()).hexdigest()[:16]
    folder = os.path.join(os.path.dirname(env.binary), "npm-" + version)
    with open(folder + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(folder, "done")):
            install(folder)
    return os.path.join(folder, "node_modules")


def install(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(os.path.join(HERE, name), folder)
    try:
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts",
                               "--loglevel=error", "--fetch-retries=1"], cwd=folder,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=NPM_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise Skip("npm's registry did not answer within %d s" % NPM_TIMEOUT_S) from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Skip("npm could not fetch the clients: %s" % (lines[-1:] or ["no reason given"])[0])
    with open(os.path.join(folder, "done"), "w", encoding="ascii"):
        pass


def node_is_new():
    text = subprocess.run(["node", "--version"], capture_output=True, check=True).stdout.decode()
    return int(text.lstrip("v").split(".")[0]) >= 20


def names(*wanted):
    """The newest versions need a newer node than Debian 12 has; the one before runs anywhere."""
    return [name if node_is_new() else name + "5" for name in wanted]


def start_node(env, folder, name, what, place, servers):
    process = subprocess.Popen(
        ["node", os.path.join(HERE, "clients.js"), name, what, place]
        + [server.client_address for server in servers],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=dict(os.environ, NODE_PATH=folder), preexec_fn=die_with_parent)
    env.load.append(Ending(process))
    return process


class Ending:
    """So that nothing is left of a case that failed."""

    def __init__(self, process):
        self.process = process

    def stop_quietly(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def check_basic(env, places, arguments=()):
    folder = packages(env)
    cluster = env.cluster(arguments=arguments)
    leader = cluster.wait_settled()
    order = [server for server in cluster.servers if server is not leader] + [leader]
    for name, place in places:
        process = start_node(env, folder, name, "basic", place, order)
        output, _ = process.communicate(timeout=30)
        expect_equal(process.returncode, 0, "%s as %s: %s" % (name, place, output))
        resp.ask(leader.client_address, "FLUSHALL")
    cluster.wait_equal()


def check_failover(env, name, place, arguments=(), revive=False):
    """The leader is killed while the client counts; it starts again if only it is known."""
    folder = packages(env)
    cluster = env.cluster(arguments=arguments)
    leader = cluster.wait_settled()
    order = [leader] + [server for server in cluster.servers if server is not leader]
    process = start_node(env, folder, name, "count", place, order)
    lines = []
    reader = threading.Thread(target=collect, args=(process.stdout, lines), daemon=True)
    reader.start()

    def progress():
        told = [line for line in lines if line.startswith("acknowledged")]
        return int(told[-1].split()[1]) if told else 0

    def going_on(what):
        before = progress()
        wait_until(lambda: progress() > before + 100 or process.poll() is not None, 20, what)
        expect(process.poll() is None, what, lines[-20:])
    going_on("it counts")
    leader.kill()
    cluster.wait_leader()
    if revive:
        time.sleep(0.5)
        leader.start()
    going_on("it counts again")
    process.stdin.write("enough\n")
    process.stdin.flush()
    process.wait(20)
    reader.join(5)
    told = json.loads(lines[-1])
    found = int(resp.ask(cluster.running[0].client_address, "GET", "counter"))
    least, most = told["acknowledged"], told["acknowledged"] + told["unknown"]
    # As a Cluster, ioredis sends again what was under way when the connection ended.
    most += UNDER_WAY if place == "cluster" else 0
    expect(least <= found <= most, "counter", found, told)


def collect(stream, lines):
    for line in stream:
        lines.append(line)


@case(timeout=260)
def clients_of_npm_get_what_they_expect(env):
    check_basic(env, [(name, "plain") for name in set(names("ioredis", "redis"))
                      | {"ioredis5", "redis5"}])


@case(timeout=260)
def clients_of_npm_know_a_cluster_and_sentinels(env):
    ioredis, redis = names("ioredis", "redis")
    check_basic(env, [(ioredis, "sentinel"), (ioredis, "cluster"), (redis, "cluster")])


@case(timeout=260)
def clients_of_npm_follow_moved(env):
    ioredis, redis = names("ioredis", "redis")
    check_basic(env, [(ioredis, "cluster"), (redis, "cluster")], ["--redis-writes", "moved"])


@case(timeout=260)
def ioredis_reconnects_to_a_server_that_was_killed(env):
    check_failover(env, names("ioredis")[0], "plain", revive=True)


@case(timeout=260)
def node_redis_reconnects_to_a_server_that_was_killed(env):
    check_failover(env, names("redis")[0], "plain", revive=True)


@case(timeout=260)
def ioredis_asks_sentinels_for_the_new_leader(env):
    check_failover(env, names("ioredis")[0], "sentinel")


@case(timeout=260)
def ioredis_as_cluster_finds_the_new_leader(env):
    check_failover(env, names("ioredis")[0], "cluster", ["--redis-writes", "moved"])


run()
