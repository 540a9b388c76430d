"""
Real servers on loopback, each with a directory and a log of its own, started and stopped and shot
at by the end-to-end tests, the demo and the benchmark.

    Environment   what one case started; clean_up() stops it and tells what was wrong
    Cluster       members, how to find their leader, how to wait until they agree
    Server        one process; its standard output and error go to one log file

Ports: a raft port P in PORT_FIRST ... PORT_FIRST + 999 with the client port P + 1000. A file lock
for each port keeps tests that run at the same time apart.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import native

PORT_FIRST = int(os.environ.get("KVAPP_TEST_PORT", "25000"))
PORT_COUNT = 1000
CLIENT_OFFSET = 1000
HOST = "127.0.0.1"

# Twice those of fast mode: three servers under a sanitizer, next to another test's, may well be
# held up for longer than its shortest. A test of timing says its own.
ELECTIONS = ["--election-timeout-min", "300", "--election-timeout-max", "600"]
TIMINGS = ("--election-timeout-min", "--timing-mode", "--fast-mode", "--debug-mode", "--demo-mode")

REPORTS = re.compile(r"ERROR: AddressSanitizer|LeakSanitizer|runtime error:|kvapp: bug:")
LOG_TAIL_LINES = 40
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """Runs in the child: no server outlives a test that was killed."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def environment_of(**more):
    """The environment for the binary: without options that whoever runs the tests may have set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KVAPP_")}
    # AddressSanitizer keeps freed memory for a while, which is not the server's own growth.
    kept["ASAN_OPTIONS"] = ":".join(filter(None, [kept.get("ASAN_OPTIONS"),
                                                  "quarantine_size_mb=16"]))
    kept.update(more)
    return kept


def uring_is_allowed():
    """Asks the kernel itself, not the program under test."""
    system_call = 425
    parameters = ctypes.create_string_buffer(120)
    result = LIBC.syscall(system_call, 4, parameters)
    if result < 0:
        return False
    os.close(result)
    return True


# ---- ports ----

class Ports:
    """Pairs of free ports, held until given back."""

    def __init__(self):
        self.locks = []
        self.folder = os.path.join(tempfile.gettempdir(), "kvapp-ports-%d" % os.getuid())
        os.makedirs(self.folder, exist_ok=True)

    @staticmethod
    def is_free(port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
        return True

    def take(self):
        for port in random.Random().sample(range(PORT_FIRST, PORT_FIRST + PORT_COUNT), PORT_COUNT):
            lock = os.open(os.path.join(self.folder, str(port)), os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            self.locks.append(lock)
            if self.is_free(port) and self.is_free(port + CLIENT_OFFSET):
                return port
        raise RuntimeError("no free port from %d on" % PORT_FIRST)

    def give_back(self):
        for lock in self.locks:
            os.close(lock)
        self.locks = []


# ---- one server ----

class Server:
    """One member. `start` may be called again after it ended."""

    def __init__(self, binary, number, port, folder, arguments):
        self.binary, self.id, self.port = binary, number, port
        self.address = "%s:%d" % (HOST, port)
        self.client_address = "%s:%d" % (HOST, port + CLIENT_OFFSET)
        self.data = os.path.join(folder, "data%d" % number)
        self.log_path = os.path.join(folder, "server%d.log" % number)
        self.arguments = arguments
        self.process = None
        self.paused = False
        self.expected_end = True

    def start(self, *more):
        command = [self.binary, "server"] + self.arguments + list(more)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, env=environment_of(),
                                            preexec_fn=die_with_parent)
        self.expected_end = False
        self.paused = False

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """kill -9, as by a power cut of the process."""
        self.expected_end = True
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.paused = True
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def terminate(self, timeout=10.0):
        """SIGTERM; gives the exit status."""
        self.expected_end = True
        if self.paused:
            self.resume()
        self.process.terminate()
        return self.wait(timeout)

    def wait(self, timeout=10.0):
        self.expected_end = True
        return self.process.wait(timeout)

    def status(self, timeout=1.0):
        return native.status_of(self.client_address, timeout)

    def log(self):
        if not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def resident_kib(self):
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def place_for_benchmarks():
    """A folder and ports, given back. The system's temporary directory may live in memory, where a
    sync costs nothing."""
    folder = os.path.abspath(tempfile.mkdtemp(prefix="build-bench-", dir="."))
    ports = Ports()
    try:
        yield folder, ports
    finally:
        ports.give_back()
        shutil.rmtree(folder, ignore_errors=True)


# ---- a cluster ----

class Cluster:
    """Members with ids 1..N, or with the ids given."""

    def __init__(self, binary, folder, ports, size=3, ids=None, arguments=()):
        self.binary = binary
        numbers = ids or list(range(1, size + 1))
        addresses = [(number, ports.take()) for number in numbers]
        text = ",".join(("%d=" % number if ids else "") + "%s:%d" % (HOST, port)
                        for number, port in addresses)
        self.text = text
        self.servers = []
        for number, port in addresses:
            server = Server(binary, number, port, folder, [])
            server.arguments = ["--node-id", str(number), "--bind", server.address,
                                "--cluster", text, "--data-dir", server.data] + list(arguments)
            self.servers.append(server)

    def start(self, wait=True):
        for server in self.servers:
            server.start()
        if wait:
            self.wait_leader()
        return self

    def server(self, number):
        return next(server for server in self.servers if server.id == number)

    @property
    def running(self):
        return [server for server in self.servers if server.running and not server.paused]

    @property
    def client_addresses(self):
        return [server.client_address for server in self.servers]

    def client(self, **options):
        return native.Client(self.client_addresses, **options)

    def find_leader(self):
        """The server that leads by its own word and by that of a majority of the members."""
        states = [(server, server.status()) for server in self.running]
        states = [(server, state) for server, state in states if state is not None]
        for server, state in states:
            if state.role != "leader":
                continue
            agree = [other for _, other in states
                     if other.leader == server.id and other.term == state.term]
            if len(agree) * 2 > len(self.servers):
                return server
        return None

    def wait_leader(self, timeout=15.0):
        deadline = time.monotonic() + timeout
        while True:
            leader = self.find_leader()
            if leader is not None:
                return leader
            for server in self.servers:
                if server.process is not None and not server.running and not server.expected_end:
                    raise AssertionError("server %d ended by itself with status %d"
                                         % (server.id, server.process.returncode))
            if time.monotonic() > deadline:
                raise AssertionError("no leader within %.1f s" % timeout)
            time.sleep(0.02)

    def wait_settled(self, timeout=15.0):
        """
        Until all running members name the same leader, and it has logged what it logs by itself:
        its no-op, and the membership that says which data directory each has. Gives the leader.
        """
        deadline = time.monotonic() + timeout
        while True:
            leader = self.wait_leader(timeout)
            states = self.wait_equal(timeout)
            if all(state.leader == leader.id for state in states) and self.is_recorded(leader):
                self.wait_equal(timeout)
                return leader
            if time.monotonic() > deadline:
                raise AssertionError("not settled within %.1f s: %s" % (timeout, states))
            time.sleep(0.02)

    @staticmethod
    def is_recorded(leader):
        """Whether the newest membership names everybody's data directory, and is committed."""
        with native.Connection(leader.client_address) as connection:
            answer = connection.admin(native.ADMIN_LIST)
        return (isinstance(answer, native.Admin) and answer.index <= leader.status().commit
                and all(member.incarnation != 0 for member in answer.members))

    def followers(self):
        leader = self.wait_leader()
        return [server for server in self.running if server is not leader]

    def wait_equal(self, timeout=15.0):
        """Until all running members applied the same whole log; their digests must be equal."""
        deadline = time.monotonic() + timeout
        while True:
            states = [server.status() for server in self.running]
            if None not in states and len({state.applied for state in states}) == 1:
                digests = {state.digest for state in states}
                if len(digests) != 1:
                    raise AssertionError("digests differ at index %d: %s" % (
                        states[0].applied, ["%016x" % state.digest for state in states]))
                if {state.last_index for state in states} == {states[0].applied}:
                    return states
            if time.monotonic() > deadline:
                raise AssertionError("members did not come to agree: %s" % (states,))
            time.sleep(0.05)

    def stop(self, timeout=15.0):
        """SIGTERM to all; gives the exit statuses by id."""
        for server in self.servers:
            if server.running:
                server.expected_end = True
                if server.paused:
                    server.resume()
                server.process.terminate()
        return {server.id: server.process.wait(timeout)
                for server in self.servers if server.process is not None}


# ---- what one case started ----

class Environment:
    """Makes clusters, runs clients, and cleans up."""

    def __init__(self, options):
        self.binary = os.path.abspath(options.kvapp)
        self.release = os.path.abspath(options.release) if options.release else None
        self.io = options.io
        self.keep = options.keep
        self.folder = tempfile.mkdtemp(prefix="kvapp-test-")
        self.ports = Ports()
        self.servers = []
        self.load = []
        self.clusters = 0

    def cluster(self, size=3, ids=None, arguments=(), start=True, binary=None, wait=True):
        self.clusters += 1
        folder = os.path.join(self.folder, "cluster%d" % self.clusters)
        os.mkdir(folder)
        timing = [] if set(arguments) & set(TIMINGS) else ELECTIONS
        made = Cluster(binary or self.binary, folder, self.ports, size, ids,
                       ["--io", self.io] + timing + list(arguments))
        self.servers += made.servers
        if start:
            made.start(wait)
        return made

    def joiner(self, cluster, number, *arguments):
        """A new server for a cluster, of which it is to become a member; not started."""
        folder = os.path.dirname(cluster.servers[0].data)
        server = Server(self.binary, number, self.ports.take(), folder, [])
        server.arguments = self.joining(server, cluster.running[0]) + list(arguments)
        self.servers.append(server)
        return server

    def joining(self, server, known):
        """The command line of a server that joins by another one."""
        return ["--node-id", str(server.id), "--bind", server.address, "--join", known.address,
                "--data-dir", server.data, "--io", self.io] + ELECTIONS

    def lone_server(self, arguments):
        """A server with exactly these arguments; not started."""
        number = len(self.servers) + 1
        server = Server(self.binary, number, self.ports.take(), self.folder, list(arguments))
        self.servers.append(server)
        return server

    def run(self, *words, stdin=b"", timeout=20.0, environment=None):
        """The binary with these words; gives a CompletedProcess with bytes."""
        if isinstance(stdin, str):
            stdin = stdin.encode()
        done = subprocess.run([self.binary] + list(words), input=stdin, capture_output=True,
                              timeout=timeout, check=False,
                              env=environment_of(**(environment or {})))
        if REPORTS.search(done.stderr.decode("utf-8", "replace")):
            raise AssertionError("a report of the client:\n" + done.stderr.decode())
        return done

    def storage(self, data, *words):
        """The storage alone: what storage_tool printed when it opened the directory."""
        tool = os.path.join(os.path.dirname(self.binary), "test", "e2e", "storage_tool")
        done = subprocess.run([tool, data] + list(words), capture_output=True, timeout=20,
                              check=False)
        if done.returncode not in (0, 1) or done.stderr:
            raise AssertionError("storage_tool: %s" % (done,))
        return done.stdout.decode()

    def client(self, cluster, *words, stdin=b"", timeout=20.0):
        return self.run("client", "--cluster", cluster.text, *words, stdin=stdin, timeout=timeout)

    def json(self, cluster, *words):
        """The one JSON object that the client prints for these words."""
        done = self.client(cluster, "--json", *words)
        lines = done.stdout.decode().splitlines()
        if len(lines) != 1:
            raise AssertionError("not one line of JSON: %r %r" % (done.stdout, done.stderr))
        return json.loads(lines[0])

    def writers(self, cluster, count=4, prefix="w", rate=None):
        load = Writers(cluster, count, prefix, rate)
        self.load.append(load)
        load.start()
        return load

    def clean_up(self):
        """Stops everything; gives what was wrong, line by line."""
        complaints = []
        for load in self.load:
            load.stop_quietly()
        for server in self.servers:
            if server.process is None:
                continue
            if not server.running and not server.expected_end:
                complaints.append("server %d ended by itself with status %s"
                                  % (server.id, server.process.returncode))
        for server in self.servers:
            if server.running:
                if server.paused:
                    server.resume()
                server.process.terminate()
        for server in self.servers:
            if server.process is None:
                continue
            try:
                status = server.process.wait(15)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
                complaints.append("server %d did not end on SIGTERM" % server.id)
                continue
            if status != 0 and not server.expected_end:
                complaints.append("server %d ended with status %s" % (server.id, status))
        for server in self.servers:
            found = REPORTS.search(server.log())
            if found:
                complaints.append("a report in the log of server %d: %s"
                                  % (server.id, found.group(0)))
        self.ports.give_back()
        return complaints

    def log_tails(self):
        lines = []
        for server in self.servers:
            lines.append("---- end of the log of server %d (%s)" % (server.id, server.address))
            text = server.log()
            found = REPORTS.search(text)
            if found:
                lines += text[found.start():].splitlines()[:LOG_TAIL_LINES]
            else:
                lines += text.splitlines()[-LOG_TAIL_LINES:]
        return lines

    def forget(self):
        if self.keep:
            print("# kept %s" % self.folder, file=sys.stderr)
            return
        shutil.rmtree(self.folder, ignore_errors=True)


# ---- load ----

class Writers:
    """
    Threads that put keys of their own, in turn, and remember what was acknowledged. With a `rate`
    all of them together put no more than so many a second.
    """

    def __init__(self, cluster, count, prefix, rate):
        self.cluster, self.prefix = cluster, prefix
        self.interval = count / rate if rate else 0.0
        self.acknowledged = [{} for _ in range(count)]
        self.errors = []
        self.times = []  # of every acknowledgement
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(number,), daemon=True)
                        for number in range(count)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def work(self, number):
        mine = self.acknowledged[number]
        count = 0
        due = time.monotonic()
        try:
            with self.cluster.client() as client:
                while not self.stopping.is_set():
                    count += 1
                    key = b"%s%d-%06d" % (self.prefix.encode(), number, count)
                    value = b"value of " + key
                    client.put(key, value)
                    mine[key] = value
                    now = time.monotonic()
                    self.times.append(now)
                    due = max(due + self.interval, now)
                    if due > now:
                        time.sleep(due - now)
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(error)

    def stop_quietly(self):
        self.stopping.set()

    def stop(self):
        """Ends the load and gives everything that was acknowledged."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(40)
        if self.errors:
            raise AssertionError("a writer failed: %r" % self.errors[0])
        everything = {}
        for mine in self.acknowledged:
            everything.update(mine)
        return everything

    def longest_gap(self):
        """Seconds between two acknowledgements of anybody, at most."""
        times = sorted(self.times)
        return max(after - before for before, after in zip(times, times[1:]))

    def pace(self):
        """Acknowledgements a second, from the first to the last."""
        return len(self.times) / (max(self.times) - min(self.times))

    @property
    def count(self):
        return sum(len(mine) for mine in self.acknowledged)


def fill(cluster, keys, size, prefix=b"f", rounds=1):
    """Random values, which do not compress; gives what was acknowledged."""
    written = {}
    with cluster.client() as client:
        for _ in range(rounds):
            for number in range(keys):
                key = b"%s%05d" % (prefix, number)
                written[key] = random.randbytes(size)
                client.put(key, written[key])
    return written


def check_all_there(cluster, acknowledged, prefix=b""):
    """Reads every acknowledged key back, through scans and, for some, one by one."""
    with cluster.client() as client:
        found = {item.key: item.value for item in client.scan(prefix=prefix or None)}
        lost = [key for key in acknowledged if found.get(key) != acknowledged[key]]
        if lost:
            raise AssertionError("%d of %d acknowledged writes are gone, such as %r: %r" % (
                len(lost), len(acknowledged), lost[0], found.get(lost[0])))
        for key in random.sample(sorted(acknowledged), min(50, len(acknowledged))):
            value, _ = client.get(key)
            if value != acknowledged[key]:
                raise AssertionError("get %r gives %r" % (key, value))
