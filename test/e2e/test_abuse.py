"""
Peers and clients that do not follow the protocol: each is told so or cut off, and everybody else is
served as before.
"""

import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import native  # pylint: disable=wrong-import-position
from tap import case, expect, expect_equal, run, wait_until  # pylint: disable=wrong-import-position

MEMORY_KIB_MAX = 100 * 1024


def put_frame(key=b"k", value=b"v", request_id=1):
    return native.request(request_id, native.command(native.PUT, key=key, value=value))


def with_byte(data, offset, change):
    return data[:offset] + bytes([data[offset] ^ change]) + data[offset + 1:]


def header(reserved=0, size=0):
    """A header that is wrong although its hash is right."""
    return native.with_hashes(struct.pack("<BBBBI", 0xCB, 1, 4, reserved, size), b"")


def malformed_frames():
    """(what is wrong, bytes): each must end the connection."""
    good = put_frame()
    body = good[native.HEADER_SIZE:]
    yield "unknown version", native.frame(native.CLIENT_REQUEST, body, version=9)
    yield "reserved byte", header(reserved=1)
    yield "size beyond the limit", header(size=4 * 1024 * 1024 + 1)
    yield "size of four GiB", header(size=0xffffffff)
    yield "damaged size", with_byte(good, 6, 0x20)
    yield "wrong hash of the payload", with_byte(good, 9, 0x80)
    yield "wrong hash of the header", with_byte(good, 17, 0x80)
    yield "flipped payload", with_byte(good, len(good) - 1, 1)
    yield "unknown type", native.frame(99, body)
    yield "a type that only servers send", native.frame(native.CLIENT_RESPONSE, body)
    yield "empty payload", native.frame(native.CLIENT_REQUEST, b"")
    yield "short payload", native.frame(native.CLIENT_REQUEST, b"\1\0\0")
    yield "a list that changes", native.admin_request(1, native.ADMIN_LIST,
                                                      edits=[(native.REMOVE, 1, b"")])
    yield "a change of nothing", native.admin_request(1, native.ADMIN_CHANGE)
    yield "an unknown verb", native.admin_request(1, 9)
    yield "an address that is none", native.admin_request(1, native.ADMIN_CHANGE,
                                                          edits=[(native.MOVE, 1, b"h")])
    yield "random bytes", b"\xcb" + random.randbytes(500)


def is_cut_off(address, data, timeout=5.0):
    """Sends and reads to the end: True when the server closed, after whatever it said."""
    with native.Connection(address, timeout) as connection:
        try:
            connection.send(data)
            while connection.receive_raw():
                pass
            return True
        except native.Closed:
            return True
        except native.NoAnswer:
            return False


def expect_served(cluster, what):
    with cluster.client(timeout=10.0) as client:
        client.put(b"still", what.encode())
        expect_equal(client.get(b"still")[0], what.encode(), "served after " + what)


@case(timeout=60)
def malformed_frames_on_the_client_port_end_only_their_connection(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    with native.Connection(leader.client_address) as bystander:
        for what, data in malformed_frames():
            for server in cluster.servers:
                expect(is_cut_off(server.client_address, data), "cut off: " + what)
            answer = bystander.ask(native.command(native.LIST))
            expect(isinstance(answer, (native.Reply, native.Redirect)), "bystander " + what)
    expect_served(cluster, "malformed frames")


@case(timeout=60)
def malformed_frames_on_the_raft_port_end_only_their_connection(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    term = leader.status().term
    for what, data in malformed_frames():
        for server in cluster.servers:
            expect(is_cut_off(server.address, data), "cut off: " + what)
    for kind in range(16):
        for server in cluster.servers:
            data = native.frame(kind, random.randbytes(80))
            expect(is_cut_off(server.address, data), "cut off: frame of type %d" % kind)
    expect_served(cluster, "malformed peer frames")
    state = cluster.wait_leader().status()
    expect(state.term <= term + 2, "strangers do not drive the term up", term, state.term)


@case(timeout=60)
def raft_messages_without_a_handshake_are_not_listened_to(env):
    cluster = env.cluster()
    term = cluster.wait_leader().status().term
    # A vote request of member 2 with an enormous term, laid out in every plausible way.
    for size in range(0, 129, 8):
        payload = struct.pack("<Q", 1 << 40) * (size // 8)
        for kind in range(4):
            for server in cluster.servers:
                expect(is_cut_off(server.address, native.frame(kind, payload)), "cut off", kind)
    expect(cluster.wait_leader().status().term < term + 100, "the term stays")
    expect_served(cluster, "unsolicited raft messages")


@case(timeout=60)
def truncated_frames_and_disconnects_in_mid_request_harm_nobody(env):
    cluster = env.cluster()
    frame = put_frame(key=b"truncated", value=b"x" * 100)
    for server in cluster.servers:
        for address in (server.client_address, server.address):
            for size in list(range(0, 30)) + [len(frame) - 1]:
                with native.Connection(address) as connection:
                    connection.send(frame[:size])
    expect_served(cluster, "truncated frames")
    with cluster.client() as client:
        expect_equal(client.get(b"truncated")[0], None, "half a request does nothing")


@case(timeout=60)
def clients_that_leave_before_the_answer_harm_nobody(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    for n in range(100):
        with native.Connection(leader.client_address) as connection:
            connection.send(b"".join(put_frame(b"leaver%d" % n, b"v", i) for i in range(20)))
            if n % 2:
                # A reset instead of an orderly end.
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                             struct.pack("ii", 1, 0))
    expect_served(cluster, "leaving clients")
    cluster.wait_equal()


@case()
def requests_in_single_bytes_are_understood(env):
    cluster = env.cluster()
    with native.Connection(cluster.wait_leader().client_address) as connection:
        for byte in put_frame(b"slow", b"typist"):
            connection.send(bytes([byte]))
        expect_equal(connection.receive().status, 0, "put")
        expect_equal(connection.ask(native.command(native.GET, key=b"slow")).data, b"typist",
                     "get")


@case()
def other_protocols_on_the_client_port_are_refused(env):
    """What is not the native protocol is Redis's, or nothing that it knows."""
    cluster = env.cluster()
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n",
                 b"*x\r\n", b"*1\r\n\x16\x03\x01\r\n", b"\0" * 70000, b'"\r\n'):
        for server in cluster.servers:
            expect(is_cut_off(server.client_address, data), "cut off", data[:20])
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"\n", b"\0" * 64):
        for server in cluster.servers:
            expect(not is_cut_off(server.client_address, data, timeout=0.2), "waits", data)
    expect_served(cluster, "other protocols")


@case(timeout=60)
def reader_that_never_reads_does_not_grow_the_server(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    with cluster.client() as client:
        client.put(b"large", b"x" * 500000)
    before = leader.resident_kib()
    bodies = b"".join(native.request(n, native.command(native.GET, key=b"large"))
                      for n in range(2000))
    with native.Connection(leader.client_address, 1.0) as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # A gigabyte of answers is asked for; the server must stop reading instead of keeping them.
        for _ in range(20):
            try:
                connection.send(bodies)
            except native.Closed:
                break
        time.sleep(1.0)
        grown = leader.resident_kib() - before
        expect(grown < MEMORY_KIB_MAX, "the server grew by KiB", grown)
        expect_served(cluster, "a reader that never reads")
    expect_served(cluster, "its end")


@case(timeout=60)
def writer_that_never_reads_does_not_stop_others(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    before = leader.resident_kib()
    with native.Connection(leader.client_address, 1.0) as connection:
        data = b"".join(put_frame(b"k%d" % (n % 10), b"y" * 1000, n) for n in range(1000))
        for _ in range(30):
            try:
                connection.send(data)
            except native.Closed:
                break
            expect_served(cluster, "a writer that never reads")
        grown = leader.resident_kib() - before
    # The log's cache of recent entries is a bounded part of this.
    expect(grown < 2 * MEMORY_KIB_MAX, "the server grew by KiB", grown)
    cluster.wait_equal(30)


@case(timeout=60)
def flood_of_connections_leaves_the_leader_in_place(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    connections = [native.Connection(leader.client_address) for _ in range(400)]
    connections += [native.Connection(leader.address) for _ in range(50)]
    expect_served(cluster, "a flood of connections")
    for connection in connections:
        connection.close()
    expect_served(cluster, "the flood's end")
    wait_until(lambda: len(os.listdir("/proc/%d/fd" % leader.process.pid)) < 200, 10,
               "the connections are given back")


@case(timeout=60)
def member_of_another_cluster_is_not_listened_to(env):
    cluster = env.cluster()
    leader = cluster.wait_leader()
    term = leader.status().term
    victim = cluster.servers[0]
    # A stranger that believes to be in a cluster with our first member.
    stranger = env.lone_server([])
    stranger.arguments = ["--node-id", "2", "--bind", stranger.address, "--cluster",
                          "%s,%s" % (victim.address, stranger.address),
                          "--data-dir", stranger.data, "--io", env.io]
    stranger.start()
    wait_until(lambda: stranger.status() is not None, 10, "the stranger is up")
    time.sleep(1.5)
    expect_equal(stranger.status().leader, 0, "the stranger finds no majority")
    state = cluster.wait_leader().status()
    expect(state.term <= term + 1, "the stranger does not drive the term up", term, state.term)
    expect_served(cluster, "a stranger")


run()
