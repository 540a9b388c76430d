"""
What kvapp answers otherwise than redis-server 7.0.15, on purpose, with the reason for each. All
else is compared byte for byte. An error must be the same error in any case, unless the row says
that errors differ too.
"""

import commands
import resp

TIME_TOLERANCE_S = 3


def integer(raw):
    return int(raw[1:-2]) if raw[:1] == b":" else None


def same_kind(_words, found, wanted):
    return found[:1] == wanted[:1]


def same_sorted(_words, found, wanted):
    return found.split(b"\r\n", 1)[0] == wanted.split(b"\r\n", 1)[0] and \
        sorted(resp.elements(found)) == sorted(resp.elements(wanted))


def same_page(words, found, wanted):
    """All keys, if both pages have all there are; otherwise differential.py walks all pages."""
    if found[:4] != b"*2\r\n" or wanted[:4] != b"*2\r\n":
        return False
    ours, theirs = resp.elements(found), resp.elements(wanted)
    if ours[0] == theirs[0] == b"$1\r\n0\r\n":
        return same_sorted(words, ours[1], theirs[1])
    return same_kind(words, ours[0], theirs[0]) and same_kind(words, ours[1], theirs[1])


def both_keys(_words, found, wanted):
    ours, theirs = resp.parse(found)[0], resp.parse(wanted)[0]
    pool = commands.KEYS + [commands.ABSENT_KEY]
    return (ours is None) == (theirs is None) and (ours is None or ours in pool)


def near(unit):
    """Times that depend on when the server was asked; those that were given absolutely do not."""
    def compare(words, found, wanted):
        ours, theirs = integer(found), integer(wanted)
        if ours is None or theirs is None or min(ours, theirs) < 0:
            return False
        if b"expiretime" in words[0].lower() and theirs // unit in commands.ABSOLUTE_S:
            return ours == theirs
        return abs(ours - theirs) <= TIME_TOLERANCE_S * unit
    return compare


def near_time(_words, found, wanted):
    ours, theirs = resp.parse(found)[0], resp.parse(wanted)[0]
    return len(ours) == len(theirs) == 2 and abs(int(ours[0]) - int(theirs[0])) <= TIME_TOLERANCE_S


def same_hello(_words, found, wanted):
    ours, theirs = resp.elements(found), resp.elements(wanted)
    role = {b"$6\r\nmaster\r\n", b"$7\r\nreplica\r\n"}
    return found[:1] == wanted[:1] and len(ours) == 14 and ours[11] in role and \
        ours[:7] + ours[8:11] + ours[12:] == theirs[:7] + theirs[8:11] + theirs[12:]


def beyond_redis(_words, _found, wanted):
    return wanted.startswith(b"-ERR Insufficient memory")


def same_kind_or_over(words, found, wanted):
    """Redis measures a key whose time is over, as long as it has not removed it."""
    return same_kind(words, found, wanted) or \
        (found in (b"$-1\r\n", b"_\r\n") and integer(wanted) is not None)


def null_or_error(_words, found, wanted):
    return is_error(found) and wanted in (b"$-1\r\n", b"_\r\n")


def same_but_blanks(_words, found, wanted):
    """The word that an error quotes."""
    return is_error(found) and found.split(b"\0")[0].split() == wanted.split(b"\0")[0].split()


def anything(_words, _found, _wanted):
    return True


ERRORS_DIFFER = True

# command, how it is compared, why it differs
TABLE = [
    ("keys", same_sorted, "the order of keys: kvapp gives them sorted, Redis in no order"),
    ("scan", same_page, "order as with KEYS; a cursor is any number"),
    ("randomkey", both_keys, "chance"),
    ("ttl", near(1), "when the server was asked"),
    ("pttl", near(1000), "when the server was asked"),
    ("expiretime", near(1), "when the server was asked; kvapp's clock is the leader's"),
    ("pexpiretime", near(1000), "when the server was asked; kvapp's clock is the leader's"),
    ("time", near_time, "when the server was asked"),
    ("info", same_kind, "tells what is true of kvapp"),
    ("role", same_kind, "kvapp's position is its log's, its replicas are its followers"),
    ("wait", same_kind, "kvapp has replicas: a write that was answered is with a majority"),
    ("hello", same_hello, "the connection's id; a follower says that it is a replica"),
    ("client|id", same_kind, "the connection's id"),
    ("client|list", same_kind, "addresses and numbers"),
    ("client|info", same_kind, "addresses and numbers"),
    ("command", same_kind, "kvapp has fewer commands"),
    ("command|count", same_kind, "kvapp has fewer commands"),
    ("command|list", same_kind, "kvapp has fewer commands"),
    ("command|info", same_kind, "kvapp has fewer commands; the first six fields of those it has "
                                "are compared by test_differential.py"),
    ("command|docs", same_kind, "texts are kvapp's own"),
    ("config|get", same_kind, "tells what is true of kvapp"),
    ("config|set", anything, "nothing can be set", ERRORS_DIFFER),
    ("cluster", anything, "kvapp answers as a cluster, the Redis next to it is none",
     ERRORS_DIFFER),
    ("readonly", anything, "as CLUSTER", ERRORS_DIFFER),
    ("readwrite", anything, "as CLUSTER", ERRORS_DIFFER),
    ("lcs", beyond_redis, "Redis's limit follows from proto-max-bulk-len; kvapp's is higher",
     ERRORS_DIFFER),
    ("memory|usage", same_kind_or_over, "another store, and keys that are over are gone"),
    ("getex", null_or_error, "kvapp finds a wrong time before it looks for the key", ERRORS_DIFFER),
] + [
    (name, same_but_blanks, "Redis cuts the word that it quotes at a zero byte, and line ends off",
     ERRORS_DIFFER) for name in ("expire", "pexpire", "expireat", "pexpireat")
]
# Never asked, since the two would go apart for good:
#   an empty key            kvapp refuses it: a key has 1 to 4096 bytes
#   SCAN with a cursor that no SCAN gave    kvapp refuses it; Redis goes on somewhere
#   WATCH of a key that is not there, comes and goes    kvapp compares revisions: none is none.
#                           Redis counts that as a change
#   values beyond 1 MiB     kvapp's limit is for values, and 2 MiB for a request, so that such a
#                           value gets an error; Redis runs with proto-max-bulk-len 1mb, and ends
#                           the connection
#   requests of more than 32776 words, or of 2 MiB      kvapp's limits
#   CLIENT SETINFO          of Redis 7.2, which today's clients expect
#   more than one database  Redis runs with one

RULES = {row[0]: row for row in TABLE}


def rule_of(words):
    name = words[0].lower().decode("latin-1")
    if len(words) > 1:
        found = RULES.get(name + "|" + words[1].lower().decode("latin-1"))
        if found:
            return found
    found = RULES.get(name)
    if found and name == "command" and len(words) > 1:
        return None
    return found


def is_error(raw):
    return raw[:1] in (b"-", b"!")


def same(words, found, wanted, queue=None):
    """
    Whether kvapp's reply is right next to Redis's. `queue`: the requests of the transaction that
    this EXEC ends.
    """
    if found == wanted:
        return True
    if words is None:
        return False
    if words[0].lower() == b"exec" and queue is not None:
        return same_exec(found, wanted, queue)
    rule = rule_of(words)
    if rule is None:
        return False
    if (is_error(found) or is_error(wanted)) and ERRORS_DIFFER not in rule[3:]:
        return False
    return rule[1](words, found, wanted)


def same_exec(found, wanted, queue):
    if found[:1] != b"*" or wanted[:1] != b"*":
        return False
    ours, theirs = resp.elements(found), resp.elements(wanted)
    return len(ours) == len(theirs) == len(queue) and all(
        same(words, one, other) for words, one, other in zip(queue, ours, theirs))
