"""
The native protocol of docs/PROTOCOL.md, written a second time and independently of src/wire: what
the server says is checked by other code than the one that says it.

    Connection   one socket: frames out, frames in, any number in flight
    Client       follows the leader, retries with its session until the deadline: exactly-once
"""

import collections
import random
import socket
import struct
import time

import xxhash

MAGIC, VERSION, HEADER_SIZE = 0xCB, 1, 24
FRAME_SIZE_MAX = 4 * 1024 * 1024
KEY_SIZE_MAX, VALUE_SIZE_MAX, LIST_LIMIT_MAX = 4096, 1024 * 1024, 10000

CLIENT_REQUEST, CLIENT_RESPONSE, LEADER_REDIRECT = 4, 5, 6
PEER_HELLO, PEER_WELCOME, STATUS_REQUEST, STATUS_RESPONSE = 7, 8, 9, 10
BACKUP_REQUEST, BACKUP_RESPONSE = 22, 23
BACKUP_BEGIN, BACKUP_READ, BACKUP_END = range(3)
BACKUP_PIECE_MAX = 256 * 1024
ADMIN_REQUEST, ADMIN_RESPONSE = 20, 21
ADMIN_LIST, ADMIN_CHANGE, ADMIN_TRANSFER, ADMIN_SNAPSHOT = 0, 1, 2, 3
ADD_LEARNER, ADD_KEPT, PROMOTE, REMOVE, MOVE = 0, 1, 2, 3, 4
DRY_RUN, FORCE = 1, 2
READ_REQUEST, STALE_RESPONSE = 24, 25
# How a read is answered.
DEFAULT, LEADER, LINEARIZABLE, LEASE, STALE = range(5)

(GET, PUT, DELETE, LIST, SCAN, DELETE_RANGE, OPEN_SESSION, CLOSE_SESSION, OUTCOME, ADD, ADD_FLOAT,
 APPEND, SET_RANGE, EXPIRE, RENAME, COPY, CLEAR, PURGE, BATCH, GUARD, STAT, GET_RANGE, COUNT,
 RANDOM, MATCH, LCS, READ_BATCH) = range(27)
# Options, and kinds of expiries.
ABSENT, PRESENT, RETURN = 1, 2, 4
NEVER, AFTER, AT, KEEP = range(4)

OK, NOT_FOUND, CONDITION, KEY_EMPTY, KEY_TOO_LARGE, VALUE_TOO_LARGE = 0, -3, -4, -5, -6, -7
COMMAND_UNKNOWN, SESSION_UNKNOWN, SEQUENCE_STALE = -8, -9, -10
NOT_LEADER, NO_LEADER, OUTCOME_UNKNOWN, BUSY, TIMEOUT = -11, -12, -13, -14, -15
STOPPED = -29
INVALID, NOT_INTEGER, OVERFLOW = -2, -35, -37
# Answers after which the same request, with its session, may be sent again.
AGAIN = (NOT_LEADER, NO_LEADER, OUTCOME_UNKNOWN, BUSY, TIMEOUT, STOPPED)

ROLES = ("follower", "pre-candidate", "candidate", "leader")


class Malformed(Exception):
    """The peer sent something that the protocol does not allow."""


class Closed(Exception):
    """The connection was refused, closed or reset."""


class NoAnswer(Exception):
    """The deadline passed; a write may or may not have been applied."""


class Failed(Exception):
    """The server refused the command for good."""

    def __init__(self, status, text):
        super().__init__("status %d %s" % (status, text))
        self.status = status


def with_hashes(start, payload):
    """A frame's whole header: its first 8 bytes, the payload's hash, the hash of these 16."""
    seed, = struct.unpack("<Q", start)
    start += struct.pack("<Q", xxhash.xxh3_64_intdigest(payload, seed=seed))
    return start + struct.pack("<Q", xxhash.xxh3_64_intdigest(start))


def frame(kind, payload, version=VERSION):
    start = struct.pack("<BBBBI", MAGIC, version, kind, 0, len(payload))
    return with_hashes(start, payload) + payload


def sized(data):
    return struct.pack("<I", len(data)) + data


def command(operation, key=None, value=None, end=None, prefix=None, limit=None, expected=None,
            session=None, options=None, expiry=None, number=None, last=None, target=None,
            pattern=None, commands=None):
    """
    The bytes of a command; session is (session, sequence, acknowledged), expiry (kind, ms), and
    commands are the bytes of several.
    """
    parts = (
        (1, session, lambda s: struct.pack("<QQQ", *s)),
        (2, expected, lambda e: struct.pack("<Q", e)),
        (4, limit, lambda n: struct.pack("<I", n)),
        (8, key, sized),
        (16, value, sized),
        (32, end, sized),
        (64, prefix, sized),
        (128, options, lambda n: struct.pack("<I", n)),
        (256, expiry, lambda e: struct.pack("<Bq", *e)),
        (512, number, lambda n: struct.pack("<q", n)),
        (1024, last, lambda n: struct.pack("<q", n)),
        (2048, target, sized),
        (4096, pattern, sized),
        (8192, commands, lambda bodies: sized(b"".join(sized(one) for one in bodies))),
    )
    flags, body = 0, b""
    for flag, part, encode in parts:
        if part is not None:
            flags |= flag
            body += encode(part)
    return struct.pack("<BHB", operation, flags, 0) + body


def request(request_id, body):
    return frame(CLIENT_REQUEST, struct.pack("<Q", request_id) + body)


def admin_request(request_id, verb, edits=(), flags=0, target=0):
    """Edits are (operation, id, address), the address b"" for none."""
    body = struct.pack("<QIIQI", request_id, verb, flags, target, len(edits))
    for operation, number, address in edits:
        body += struct.pack("<IQ", operation, number) + sized(address)
    return frame(ADMIN_REQUEST, body)


def read_request(request_id, reads, body):
    return frame(READ_REQUEST, struct.pack("<QB7x", request_id, reads) + body)


class Reader:
    """Takes a payload apart; at the end nothing may be left."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise Malformed("payload too short")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def zeros(self, size):
        if any(self.take(size)):
            raise Malformed("reserved bytes are not zero")

    def sized(self):
        return self.take(self.number("I"))

    def finish(self):
        if self.at != len(self.data):
            raise Malformed("%d bytes left over" % (len(self.data) - self.at))


Reply = collections.namedtuple("Reply", "id status more revision count data error")
StaleReply = collections.namedtuple("StaleReply", Reply._fields + ("age_ms", "applied"))
Redirect = collections.namedtuple("Redirect", "id has_leader leader address text")
Item = collections.namedtuple("Item", "key value revision")

STATUS_NUMBERS = """term leader commit applied last_index digest key_count uptime_ms log_writes
    log_syncs log_entries log_bytes""".split()
Status = collections.namedtuple(
    "Status", ["request_id", "cluster_id", "id", "role"] + STATUS_NUMBERS +
    ["address", "io_backend", "version"])


AGE_UNKNOWN = 2 ** 64 - 1


def read_reply(reader):
    """Status, more, revision, count and data, which end a payload."""
    status, flags = reader.number("i"), reader.number("B")
    reader.zeros(3)
    revision, count = reader.number("Q"), reader.number("Q")
    data = reader.sized()
    reader.finish()
    if flags & ~1:
        raise Malformed("unknown flags in a reply")
    return status, bool(flags & 1), revision, count, data


def decode_reply(payload):
    reader = Reader(payload)
    request_id = reader.number("Q")
    error = reader.sized().decode()
    return Reply(request_id, *read_reply(reader), error)


def decode_stale(payload):
    reader = Reader(payload)
    request_id, age_ms, applied = (reader.number("Q") for _ in range(3))
    return StaleReply(request_id, *read_reply(reader), "", age_ms, applied)


def decode_redirect(payload):
    reader = Reader(payload)
    request_id, has_leader = reader.number("Q"), reader.number("B")
    reader.zeros(3)
    leader, address, text = reader.number("Q"), reader.sized(), reader.sized()
    reader.finish()
    return Redirect(request_id, bool(has_leader), leader, address.decode(), text.decode())


def decode_status(payload):
    reader = Reader(payload)
    head = [reader.number("Q") for _ in range(3)]
    role = ROLES[reader.number("B")]
    reader.zeros(7)
    numbers = [reader.number("Q") for _ in STATUS_NUMBERS]
    texts = [reader.sized().decode() for _ in range(3)]
    reader.finish()
    return Status(*head, role, *numbers, *texts)


Piece = collections.namedtuple("Piece", "id index term file_size offset data")


def decode_backup(payload):
    reader = Reader(payload)
    numbers = [reader.number("Q") for _ in range(5)]
    data = reader.sized()
    reader.finish()
    return Piece(*numbers, data)


def backup_request(request_id, action, offset=0, size=0):
    return frame(BACKUP_REQUEST, struct.pack("<QIIQ", request_id, action, size, offset))



Member = collections.namedtuple("Member", "id incarnation flags address")
Seen = collections.namedtuple("Seen", "connected priority match")
Plan = collections.namedtuple("Plan", "joint before after wanted")
Admin = collections.namedtuple("Admin", "id server status index leader text members seen plan")


def decode_membership(payload):
    reader = Reader(payload)
    version, joint, count = reader.number("B"), reader.number("B"), reader.number("H")
    if version != 1 or joint > 1:
        raise Malformed("a membership of version %d, flags %d" % (version, joint))
    members = [Member(reader.number("Q"), reader.number("Q"), reader.number("I"),
                      reader.sized().decode()) for _ in range(count)]
    reader.finish()
    return members


def decode_admin(payload):
    reader = Reader(payload)
    head = [reader.number(code) for code in "QQi"]
    flags = reader.number("I")
    rest = [reader.number("Q"), reader.number("Q"), reader.sized().decode()]
    members, seen, plan = [], [], None
    if flags & 1:
        members = decode_membership(reader.sized())
        seen = [Seen(*[reader.number(code) for code in "IIQ"]) for _ in members]
    if flags & 2:
        joint = reader.number("I")
        before, after = ([reader.number("I") for _ in range(3)] for _ in range(2))
        plan = Plan(joint, before, after, decode_membership(reader.sized()))
    reader.finish()
    return Admin(*head, *rest, members, seen, plan)


DECODERS = {CLIENT_RESPONSE: decode_reply, LEADER_REDIRECT: decode_redirect,
            STATUS_RESPONSE: decode_status, ADMIN_RESPONSE: decode_admin,
            BACKUP_RESPONSE: decode_backup, STALE_RESPONSE: decode_stale}


def keys_of(reply):
    """The keys of a LIST."""
    reader = Reader(reply.data)
    keys = [reader.sized() for _ in range(reply.count)]
    reader.finish()
    return keys


def items_of(reply):
    """The items of a SCAN."""
    reader = Reader(reply.data)
    items = [Item(reader.sized(), reader.sized(), reader.number("Q")) for _ in range(reply.count)]
    reader.finish()
    return items


def replies_of(reply):
    """Those of the commands of a batch."""
    reader = Reader(reply.data)
    replies = [Reply(0, *read_reply(Reader(reader.sized())), "") for _ in range(reply.count)]
    reader.finish()
    return replies


Stat = collections.namedtuple("Stat", "create modify version expires now")


def stat_of(reply):
    reader = Reader(reply.data)
    stat = Stat(*[reader.number("Q") for _ in Stat._fields])
    reader.finish()
    return stat


def split(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


class Connection:
    """One socket. Every failure of it is Closed, running out of time is NoAnswer."""

    def __init__(self, address, timeout=5.0):
        try:
            self.socket = socket.create_connection(split(address), timeout=timeout)
        except OSError as error:
            raise Closed("%s: %s" % (address, error)) from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.next_id = 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error

    def receive_raw(self, size=65536):
        """Whatever comes next; b"" at the end of the stream."""
        try:
            return self.socket.recv(size)
        except socket.timeout as error:
            raise NoAnswer("nothing came") from error
        except OSError as error:
            raise Closed(str(error)) from error

    def fill(self, size):
        while len(self.buffer) < size:
            data = self.receive_raw()
            if not data:
                raise Closed("the server closed the connection")
            self.buffer += data

    def receive(self):
        """The next frame, decoded."""
        self.fill(HEADER_SIZE)
        magic, version, kind, zero, size = struct.unpack_from("<BBBBI", self.buffer)
        if magic != MAGIC or version != VERSION or zero != 0 or size > FRAME_SIZE_MAX:
            raise Malformed("a frame's header: %r" % self.buffer[:HEADER_SIZE])
        self.fill(HEADER_SIZE + size)
        payload = self.buffer[HEADER_SIZE:HEADER_SIZE + size]
        if self.buffer[:HEADER_SIZE] != with_hashes(self.buffer[:8], payload):
            raise Malformed("a frame's hashes")
        self.buffer = self.buffer[HEADER_SIZE + size:]
        if kind not in DECODERS:
            raise Malformed("a frame of type %d" % kind)
        return DECODERS[kind](payload)

    def ask(self, body, reads=None):
        """Sends one command and waits for its Reply, StaleReply or Redirect."""
        request_id = self.next_id
        self.next_id += 1
        self.send(request(request_id, body) if reads is None
                  else read_request(request_id, reads, body))
        answer = self.receive()
        if answer.id != request_id:
            raise Malformed("the answer to %d came for %d" % (answer.id, request_id))
        return answer

    def admin(self, verb, **parts):
        """Asks as an operator; gives an Admin or a Redirect."""
        self.send(admin_request(88, verb, **parts))
        answer = self.receive()
        if answer.id != 88:
            raise Malformed("the answer to 88 came for %d" % answer.id)
        return answer

    def status(self):
        self.send(frame(STATUS_REQUEST, struct.pack("<Q", 77)))
        answer = self.receive()
        if not isinstance(answer, Status) or answer.request_id != 77:
            raise Malformed("no status")
        return answer


def status_of(address, timeout=1.0):
    """A member's status, or None when it does not answer."""
    try:
        with Connection(address, timeout) as connection:
            return connection.status()
    except (Closed, NoAnswer):
        return None


class Client:
    """
    Follows the leader among `addresses` (client ports). Every call runs until it is answered or
    `timeout` seconds are over (NoAnswer); writes carry the session, so that a retry counts once.
    """

    def __init__(self, addresses, timeout=30.0, attempt=1.5, sessions=True):
        self.addresses = list(addresses)
        self.timeout, self.attempt = timeout, attempt
        self.connection = None
        self.hint = None
        self.use_session = sessions
        self.session = None
        self.sequence = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.drop()

    def drop(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def run(self, body, deadline):
        """Asks until somebody answers for good."""
        while True:
            if time.monotonic() > deadline:
                raise NoAnswer("no answer in %.1f s" % self.timeout)
            try:
                if self.connection is None:
                    address = self.hint or random.choice(self.addresses)
                    self.connection = Connection(address, self.attempt)
                answer = self.connection.ask(body)
            except (Closed, NoAnswer):
                self.drop()
                self.hint = None
                time.sleep(0.02)
                continue
            if isinstance(answer, Redirect):
                if not answer.has_leader:
                    time.sleep(0.02)
                self.drop()
                self.hint = answer.address if answer.has_leader else None
                continue
            if answer.status in AGAIN:
                self.drop()
                self.hint = None
                time.sleep(0.02)
                continue
            return answer

    def call(self, operation, **parts):
        deadline = time.monotonic() + self.timeout
        if operation in (PUT, DELETE, DELETE_RANGE) and self.use_session:
            if self.session is None:
                self.session = self.run(command(OPEN_SESSION), deadline).revision
            self.sequence += 1
            parts["session"] = (self.session, self.sequence, self.sequence - 1)
        answer = self.run(command(operation, **parts), deadline)
        if answer.status not in (OK, NOT_FOUND, CONDITION):
            raise Failed(answer.status, answer.error)
        return answer

    def get(self, key):
        """(value, revision), or (None, 0)."""
        answer = self.call(GET, key=key)
        return (answer.data, answer.revision) if answer.status == OK else (None, 0)

    def put(self, key, value):
        return self.call(PUT, key=key, value=value).revision

    def put_if(self, key, value, expected):
        """The new revision, or None when the key's revision is another one."""
        answer = self.call(PUT, key=key, value=value, expected=expected)
        return answer.revision if answer.status == OK else None

    def delete(self, key):
        return self.call(DELETE, key=key).status == OK

    def list(self, prefix=None, limit=None):
        """All keys, page by page."""
        keys, start = [], None
        while True:
            answer = self.call(LIST, key=start, prefix=prefix, limit=limit)
            page = keys_of(answer)
            keys += page
            if not answer.more:
                return keys
            start = page[-1] + b"\0"

    def scan(self, prefix=None, limit=None):
        items, start = [], None
        while True:
            answer = self.call(SCAN, key=start, prefix=prefix, limit=limit)
            page = items_of(answer)
            items += page
            if not answer.more:
                return items
            start = page[-1].key + b"\0"
