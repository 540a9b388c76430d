"""
Redis's protocol, RESP2 and RESP3, as small as tests need it: what a reply means, and its very
bytes.

    with resp.Connection(address) as connection:
        connection.ask("SET", "k", "v")        b"OK" as a Status
        connection.pipeline([("GET", "k")])    [b"v"]
        connection.send(b"*1\r\n$4\r\nPING\r\n")
        connection.receive_raw()               b"+PONG\r\n"
"""

import socket
import time

RECEIVED_AT_ONCE = 256 * 1024


class Status(bytes):
    """+OK"""


class Error(bytes):
    """-ERR ...; an answer like any other, which is not raised."""

    @property
    def code(self):
        return bytes(self).split(b" ", 1)[0].decode()


class Double(bytes):
    """RESP3's ,3.14 as it was written."""


class Verbatim(bytes):
    """RESP3's =15\r\ntxt:..., without the format."""


class Map(list):
    """RESP3's %: pairs in their order."""


class Set(list):
    """RESP3's ~."""


class Push(list):
    """RESP3's >."""


class Incomplete(Exception):
    """The bytes end within a reply."""


class Malformed(Exception):
    """Bytes that are no reply."""


class Closed(Exception):
    """The server ended the connection."""


class NoAnswer(Exception):
    """Nothing came in time."""


def words_of(words):
    return [word if isinstance(word, bytes) else str(word).encode() for word in words]


def encode(*words):
    """A request as clients write it: an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words_of(words):
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


# ---- replies ----

def line_end(data, at):
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete()
    return end


def parse_blob(data, at, size):
    end = at + size + 2
    if len(data) < end:
        raise Incomplete()
    if data[end - 2:end] != b"\r\n":
        raise Malformed("a string does not end where it should: %r" % data[at:end + 20])
    return bytes(data[at:end - 2]), end


def parse(data, at=0):
    """(value, where it ends); a null of either kind is None."""
    if at >= len(data):
        raise Incomplete()
    kind = bytes(data[at:at + 1])
    end = line_end(data, at)
    line = bytes(data[at + 1:end])
    after = end + 2
    if kind == b"+":
        return Status(line), after
    if kind == b"-":
        return Error(line), after
    if kind == b":":
        return int(line), after
    if kind == b"_":
        return None, after
    if kind == b"#":
        return line == b"t", after
    if kind == b",":
        return Double(line), after
    if kind == b"(":
        return int(line), after
    if kind not in (b"$", b"=", b"!", b"*", b"~", b">", b"%"):
        raise Malformed("no reply begins like %r" % bytes(data[at:at + 40]))
    size = int(line)
    if size < 0:
        return None, after
    if kind in (b"$", b"=", b"!"):
        blob, after = parse_blob(data, after, size)
        return {b"$": bytes(blob), b"=": Verbatim(blob[4:]), b"!": Error(blob)}[kind], after
    return parse_many(data, after, kind, size)


def parse_many(data, at, kind, size):
    items = []
    for _ in range(size * (2 if kind == b"%" else 1)):
        item, at = parse(data, at)
        items.append(item)
    if kind == b"%":
        return Map(zip(items[0::2], items[1::2])), at
    return {b"*": list, b"~": Set, b">": Push}[kind](items), at


def elements(raw):
    """The bytes of each element of an aggregate reply."""
    at = line_end(raw, 0) + 2
    found = []
    while at < len(raw):
        _, end = parse(raw, at)
        found.append(bytes(raw[at:end]))
        at = end
    return found


# ---- connections ----

class Connection:
    """One client of one server; `address` is "host:port". Answers come in the order of requests."""

    def __init__(self, address, timeout=10.0, protocol=2):
        host, port = address.rsplit(":", 1)
        self.timeout = timeout
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.at = 0
        if protocol != 2:
            answer = self.ask("HELLO", protocol)
            if isinstance(answer, Error):
                raise Malformed("HELLO: %r" % answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        """Raw bytes."""
        self.socket.settimeout(self.timeout)
        try:
            self.socket.sendall(data)
        except socket.timeout as error:
            raise NoAnswer("the server takes nothing more") from error
        except OSError as error:
            raise Closed(str(error)) from error

    def more(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise NoAnswer("no answer in %.1f s; so far: %r" % (
                self.timeout, bytes(self.received[self.at:self.at + 200])))
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(RECEIVED_AT_ONCE)
        except socket.timeout:
            return
        except OSError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("the server closed the connection; left: %r"
                         % bytes(self.received[self.at:self.at + 200]))
        self.received += data

    def take(self, timeout=None):
        """The next reply: (value, bytes)."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            try:
                value, end = parse(self.received, self.at)
            except Incomplete:
                self.more(deadline)
                continue
            raw = bytes(self.received[self.at:end])
            self.at = end
            if self.at > RECEIVED_AT_ONCE or self.at == len(self.received):
                del self.received[:self.at]
                self.at = 0
            return value, raw

    def receive(self, timeout=None):
        return self.take(timeout)[0]

    def receive_raw(self, timeout=None):
        return self.take(timeout)[1]

    def ask(self, *words):
        self.send(encode(*words))
        return self.receive()

    def ask_raw(self, *words):
        self.send(encode(*words))
        return self.receive_raw()

    def pipeline(self, requests):
        """Sends all requests at once, then takes their answers."""
        self.send(b"".join(encode(*words) for words in requests))
        return [self.receive() for _ in requests]

    def is_silent(self, seconds=0.2):
        """Whether nothing comes for a while."""
        try:
            self.receive(seconds)
        except NoAnswer:
            return True
        return False

    def is_closed(self, timeout=5.0):
        """Whether the server ends the connection, with nothing more before it."""
        try:
            self.receive(timeout)
        except Closed:
            return self.at == len(self.received)
        except NoAnswer:
            return False
        return False


def ask(address, *words, timeout=10.0):
    """One request on a connection of its own."""
    with Connection(address, timeout) as connection:
        return connection.ask(*words)
