"""
A three-member etcd on loopback, and load for it, in two ways: by etcd's own client library
(etcd_load, in Go), which is what a program that uses etcd gets, and by h2load, which costs next to
nothing and so shows what etcd's servers can do when they have the machine almost to themselves.

etcd speaks gRPC, which is HTTP/2 with a five-byte prefix before each message; h2load posts the one
message it is given on any number of connections and is fast enough not to be what is measured. That
the answers were right is checked on etcd's own counters, since gRPC tells errors in trailers, which
h2load does not read.
"""

import base64
import json
import os
import re
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cluster as library  # pylint: disable=wrong-import-position

MEMBERS = 3
KEY = b"key-0000000000000000"


def field(number, data):
    """A protobuf field of bytes."""
    size, prefix = len(data), b""
    while size >= 0x80:
        prefix += bytes([size & 0x7f | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + prefix + bytes([size]) + data


def grpc(message):
    return b"\0" + struct.pack(">I", len(message)) + message


class Etcd:
    """Started by start(), ended by stop()."""

    def __init__(self, folder, ports):
        self.folder = folder
        self.peers = [ports.take() for _ in range(MEMBERS)]
        self.clients = [port + library.CLIENT_OFFSET for port in self.peers]
        self.processes = []
        self.program = None

    def start(self):
        cluster = ",".join("e%d=http://127.0.0.1:%d" % (n, port)
                           for n, port in enumerate(self.peers))
        for number, (peer, client) in enumerate(zip(self.peers, self.clients)):
            with open(os.path.join(self.folder, "etcd%d.log" % number), "ab") as log:
                self.processes.append(subprocess.Popen(
                    ["etcd", "--name", "e%d" % number,
                     "--data-dir", os.path.join(self.folder, "etcd%d" % number),
                     "--listen-peer-urls", "http://127.0.0.1:%d" % peer,
                     "--initial-advertise-peer-urls", "http://127.0.0.1:%d" % peer,
                     "--listen-client-urls", "http://127.0.0.1:%d" % client,
                     "--advertise-client-urls", "http://127.0.0.1:%d" % client,
                     "--initial-cluster", cluster, "--initial-cluster-state", "new",
                     "--log-level", "error"],
                    stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                    preexec_fn=library.die_with_parent))
        deadline = time.monotonic() + 20
        while self.leader() is None:
            if time.monotonic() > deadline:
                raise RuntimeError("etcd has no leader; its logs are in %s" % self.folder)
            time.sleep(0.2)

    def control(self, *words):
        endpoints = ",".join("127.0.0.1:%d" % port for port in self.clients)
        done = subprocess.run(["etcdctl", "--endpoints", endpoints, "--write-out", "json"]
                              + list(words), capture_output=True, check=False, timeout=20,
                              env=dict(os.environ, ETCDCTL_API="3"))
        return json.loads(done.stdout) if done.returncode == 0 else None

    def leader(self):
        """The client port of the leader."""
        for member in self.control("endpoint", "status") or []:
            status = member["Status"]
            if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                return int(member["Endpoint"].rsplit(":", 1)[1])
        return None

    def revision(self):
        """How many writes there have been."""
        return self.control("get", "nothing")["header"]["revision"]

    def load(self, kind, clients, requests, value_size):
        """(requests per second, p50 ms, p99 ms) of puts or linearizable gets, checked."""
        value = b"v" * value_size
        if kind == "put":
            method, message = "Put", field(1, KEY) + field(2, value)
        else:
            method, message = "Range", field(1, KEY)
            self.control("put", KEY.decode(), value.decode())
        body = os.path.join(self.folder, "body")
        log = os.path.join(self.folder, "h2load.log")
        with open(body, "wb") as file:
            file.write(grpc(message))
        if os.path.exists(log):
            os.remove(log)
        before = self.revision()
        done = subprocess.run(
            ["h2load", "-c", str(clients), "-m", "1", "-t", "1", "-n", str(requests), "-d", body,
             "-H", "content-type: application/grpc", "-H", "te: trailers", "--log-file", log,
             "http://127.0.0.1:%d/etcdserverpb.KV/%s" % (self.leader(), method)],
            capture_output=True, check=True, timeout=300, text=True)
        rate = float(re.search(r"finished in [^,]+, ([\d.]+) req/s", done.stdout).group(1))
        succeeded = int(re.search(r"(\d+) succeeded", done.stdout).group(1))
        if succeeded != requests:
            raise RuntimeError("etcd answered %d of %d requests" % (succeeded, requests))
        if kind == "put" and self.revision() - before != requests:
            raise RuntimeError("etcd stored %d of %d writes" % (self.revision() - before, requests))
        received = int(re.search(r"traffic: .*\((\d+)\) total.*\((\d+)\) data",
                                 done.stdout).group(2))
        if kind == "get" and received < requests * value_size:
            raise RuntimeError("etcd's answers are too short to hold the value")
        with open(log, encoding="ascii") as file:
            times = sorted(int(line.split()[2]) / 1000 for line in file)
        return rate, times[len(times) // 2], times[len(times) * 99 // 100]

    def build_load(self):
        """Builds etcd_load from Debian's sources of etcd's client."""
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "etcd_load", "main.go")
        self.program = os.path.join(self.folder, "etcd_load")
        subprocess.run(["go", "build", "-o", self.program, source], check=True, timeout=600,
                       env=dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode",
                                GOCACHE=os.path.join(self.folder, "go-cache")))

    def load_own(self, kind, clients, requests, value_size):
        """As load(), through etcd's own client."""
        endpoints = ",".join("127.0.0.1:%d" % port for port in self.clients)
        before = self.revision()
        done = subprocess.run([self.program, endpoints, kind, str(clients), str(requests),
                               str(value_size)],
                              capture_output=True, check=True, timeout=300, text=True)
        if kind == "put" and self.revision() - before != requests // clients * clients:
            raise RuntimeError("etcd stored %d of %d writes" % (self.revision() - before, requests))
        return tuple(float(word) for word in done.stdout.split())

    def stored_value(self):
        found = self.control("get", KEY.decode())
        return base64.b64decode(found["kvs"][0]["value"])

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)
