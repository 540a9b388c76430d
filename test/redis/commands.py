"""
Random requests of Redis's protocol for differential.py: every command that kvapp knows, with every
option, right and wrong.

What is made is such that two right servers must answer the same, whatever time it is: times to
live are long and hardly ever alike, or long over.
"""

import resp

KEYS = [b"a", b"b", b"c", b"key:1", b"key:2", b"{t}x", b"\r\n\x00\xff", b"k" * 200]
# Only for keys that are watched while they are not there; nothing else writes them.
ABSENT_KEY = b"absent"
INTEGERS = [b"0", b"1", b"-1", b"10", b"41", b"-17", b"9223372036854775807",
            b"-9223372036854775808", b"9223372036854775806", b"1000000000000"]
NO_INTEGERS = [b"", b"x", b"1.5", b" 1", b"1 ", b"01", b"+1", b"-0", b"0x10", b"1e3", b"--1", b"-",
               b"9223372036854775808", b"-9223372036854775809", b"99999999999999999999999",
               b"1\x00"]
FLOATS = [b"1.5", b"-2.25", b"3.0e3", b"0.1", b"1e-5", b"5.0e10", b"123456789.123", b"inf",
          b"-inf", b"nan", b"+1.5", b".5", b"5.", b" 1.5", b"1.5 ", b"0x1p3", b"1e400", b"1e5000",
          b"3.14159265358979323846", b"-0", b"1e17", b"1e18", b"0.1e-20", b"infinity", b"1_0"]
TEXTS = [b"", b"hello", b"Hello World", b"with\r\nlines\r\n", b"\x00\x01\xfe\xff", b"ohmytext",
         b"mynewtext", b"abc" * 40, b"+OK\r\n", b"$-1\r\n", b"12345678901234567890"]
ABSOLUTE_S = [4102444800, 4102444801, 9999999999, 33000000000]
PAST_S = [1, 2, 1000000000, 0, -1, -1000000000]
PATTERNS = [b"*", b"a", b"?", b"key:*", b"key:?", b"[ab]", b"[^a]", b"[a-c]", b"[c-a]", b"\\a",
            b"k*k", b"**", b"*\r\n*", b"[", b"[a", b"[^", b"\\", b"", b"*:1", b"*[12]", b"k?y:1",
            b"[\\a]", b"{t}*", b"nosuch*", b"[]", b"a[]"]
INDEXES = [0, 1, 2, 3, 5, 10, -1, -2, -3, -10, 100, -100, 2147483648, 9223372036854775807]
LONG = 10_000_000  # seconds or milliseconds that no run takes

# How many words of a request are keys: first, last (negative: from the end), step.
KEYS_AT = {
    b"mget": (1, -1, 1), b"del": (1, -1, 1), b"unlink": (1, -1, 1), b"exists": (1, -1, 1),
    b"touch": (1, -1, 1), b"watch": (1, -1, 1), b"mset": (1, -1, 2), b"msetnx": (1, -1, 2),
    b"rename": (1, 2, 1), b"renamenx": (1, 2, 1), b"copy": (1, 2, 1), b"lcs": (1, 2, 1),
    b"memory": (2, 2, 1),
}
ONE_KEY = {word.encode() for word in (
    "get set setnx setex psetex getset getdel getex type expire pexpire expireat pexpireat "
    "expiretime pexpiretime ttl pttl persist incr incrby incrbyfloat decr decrby append strlen "
    "getrange substr setrange").split()}
TIME_AT_2 = (b"expire", b"pexpire", b"setex", b"psetex")


def cased(random, word):
    """The same word in any case of letters."""
    how = random.randrange(6)
    if how == 0:
        return word.lower()
    if how == 1:
        return bytes(random.choice((letter, letter ^ 0x20)) if chr(letter).isalpha() else letter
                     for letter in word)
    return word.upper()


class Generator:
    """Requests as lists of words; `random` decides."""

    def __init__(self, random):
        self.random = random
        self.makers = [(maker, weight) for maker, weight in self.table() if weight > 0]
        self.weights = [weight for _, weight in self.makers]

    # ---- words ----

    def key(self):
        return self.random.choice(KEYS)

    def integer(self):
        if self.random.random() < 0.12:
            return self.random.choice(NO_INTEGERS)
        if self.random.random() < 0.4:
            return b"%d" % self.random.randrange(-1000, 1000)
        return self.random.choice(INTEGERS)

    def number(self):
        return self.random.choice(FLOATS) if self.random.random() < 0.5 else self.integer()

    def value(self):
        how = self.random.randrange(20)
        if how < 7:
            return self.integer()
        if how < 10:
            return self.random.choice(FLOATS)
        if how < 17:
            return self.random.choice(TEXTS)
        if how < 19:
            return self.random.randbytes(self.random.randrange(1, 60))
        return bytes(self.random.choices(b"abcd", k=self.random.randrange(100, 600)))

    def index(self):
        if self.random.random() < 0.05:
            return self.random.choice(NO_INTEGERS)
        return b"%d" % self.random.choice(INDEXES)

    def pattern(self):
        return self.random.choice(PATTERNS)

    def wrong_time(self):
        return self.random.choice(NO_INTEGERS + [b"0", b"-5", b"9223372036854775807",
                                                 b"9223372036854775", b"-9223372036854775808",
                                                 b"9223372036854776"])

    def span(self):
        """From now on, in seconds or milliseconds: long, or wrong."""
        if self.random.random() < 0.12:
            return self.wrong_time()
        return b"%d" % self.random.randrange(LONG, 100 * LONG)

    def moment(self, unit):
        """Seconds (1) or milliseconds (1000) since 1970: long over, far ahead, or wrong."""
        how = self.random.random()
        if how < 0.1:
            return self.wrong_time()
        seconds = self.random.choice(PAST_S if how < 0.25 else ABSOLUTE_S)
        return b"%d" % (seconds * unit + (self.random.choice((0, 1, 499, 500)) if unit > 1 else 0))

    # ---- requests ----

    def options(self, choices, chance=0.5):
        """Some of the choices, one after the other; each is a function that gives words."""
        words = []
        while self.random.random() < chance:
            words += self.random.choice(choices)()
        return words

    def times(self):
        return [lambda: [b"EX", self.span()], lambda: [b"PX", self.span()],
                lambda: [b"EXAT", self.moment(1)], lambda: [b"PXAT", self.moment(1000)]]

    def set_options(self):
        return self.options(self.times() + [lambda: [b"NX"], lambda: [b"XX"], lambda: [b"GET"],
                                            lambda: [b"KEEPTTL"]])

    def expire_options(self):
        return self.options([lambda: [b"NX"], lambda: [b"XX"], lambda: [b"GT"], lambda: [b"LT"]],
                            0.35)

    def keys(self, most=5):
        return [self.key() for _ in range(self.random.randrange(1, most + 1))]

    def pairs(self):
        return [word for key in self.keys() for word in (key, self.value())]

    def lcs_options(self):
        return self.options([lambda: [b"LEN"], lambda: [b"IDX"], lambda: [b"IDX"],
                             lambda: [b"MINMATCHLEN", self.index()], lambda: [b"WITHMATCHLEN"]],
                            0.55)

    def scan_options(self):
        return self.options([
            lambda: [b"MATCH", self.pattern()],
            lambda: [b"COUNT", self.random.choice([b"1", b"5", b"1000", b"0", b"-1", b"x"])],
            lambda: [b"TYPE", self.random.choice([b"string", b"STRING", b"list", b"x"])]])

    def table(self):
        """(a function that gives a request, its weight)"""
        key, value, choice = self.key, self.value, self.random.choice
        return [
            (lambda: [b"GET", key()], 8),
            (lambda: [b"SET", key(), value()], 6),
            (lambda: [b"SET", key(), value()] + self.set_options(), 10),
            (lambda: [b"SETNX", key(), value()], 2),
            (lambda: [b"SETEX", key(), self.span(), value()], 2),
            (lambda: [b"PSETEX", key(), self.span(), value()], 2),
            (lambda: [b"GETSET", key(), value()], 2),
            (lambda: [b"GETDEL", key()], 2),
            (lambda: [b"GETEX", key()] + self.options(self.times() + [lambda: [b"PERSIST"]]), 4),
            (lambda: [b"MGET"] + self.keys(), 3),
            (lambda: [b"MSET"] + self.pairs(), 3),
            (lambda: [b"MSETNX"] + self.pairs(), 3),
            (lambda: [choice([b"DEL", b"UNLINK"])] + self.keys(3), 4),
            (lambda: [choice([b"EXISTS", b"TOUCH"])] + self.keys(), 3),
            (lambda: [b"TYPE", key()], 1),
            (lambda: [choice([b"EXPIRE", b"PEXPIRE"]), key(), self.span()] + self.expire_options(),
             6),
            (lambda: [b"EXPIREAT", key(), self.moment(1)] + self.expire_options(), 4),
            (lambda: [b"PEXPIREAT", key(), self.moment(1000)] + self.expire_options(), 4),
            (lambda: [choice([b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"]), key()], 6),
            (lambda: [b"PERSIST", key()], 2),
            (lambda: [choice([b"INCR", b"DECR"]), key()], 4),
            (lambda: [choice([b"INCRBY", b"DECRBY"]), key(), self.integer()], 5),
            (lambda: [b"INCRBYFLOAT", key(), self.number()], 5),
            (lambda: [b"APPEND", key(), value()], 3),
            (lambda: [b"STRLEN", key()], 2),
            (lambda: [choice([b"GETRANGE", b"SUBSTR"]), key(), self.index(), self.index()], 4),
            (lambda: [b"SETRANGE", key(), b"%d" % self.random.randrange(-1, 40), value()], 3),
            (lambda: [b"SETRANGE", key(), choice(
                [b"1048576", b"1048577", b"536870912", b"9223372036854775807", b"x"]), value()], 1),
            (lambda: [b"SCAN", choice([b"0", b"0", b"x", b"1x"])] + self.scan_options(), 2),
            (lambda: [b"KEYS", self.pattern()], 3),
            (lambda: [b"RANDOMKEY"], 1),
            (lambda: [choice([b"RENAME", b"RENAMENX"]), key(), key()], 4),
            (lambda: [b"COPY", key(), key()] + self.options(
                [lambda: [b"REPLACE"], lambda: [b"DB", choice([b"0", b"1", b"x"])]]), 4),
            (lambda: [choice([b"FLUSHDB", b"FLUSHALL"])] + choice(
                [[], [], [b"ASYNC"], [b"SYNC"], [b"x"], [b"SYNC", b"ASYNC"]]), 0.4),
            (lambda: [b"LCS", key(), key()] + self.lcs_options(), 4),
            (lambda: choice(self.about_the_server()), 6),
            (self.about_the_connection, 6),
            (self.nonsense, 1.5),
            (lambda: [choice([b"EXEC", b"DISCARD", b"UNWATCH"])], 0.5),
        ]

    @staticmethod
    def about_the_server():
        return [[b"INFO"], [b"INFO", b"replication"], [b"INFO", b"server", b"clients"],
                [b"INFO", b"nosuch"], [b"COMMAND"], [b"COMMAND", b"COUNT"], [b"COMMAND", b"LIST"],
                [b"COMMAND", b"DOCS", b"nosuch"], [b"COMMAND", b"DOCS", b"get"],
                [b"COMMAND", b"INFO", b"nosuch"], [b"COMMAND", b"INFO"],
                [b"COMMAND", b"GETKEYS", b"MSET", b"a", b"1", b"b", b"2"],
                [b"COMMAND", b"GETKEYS", b"GET", b"a"], [b"COMMAND", b"GETKEYS", b"PING"],
                [b"COMMAND", b"GETKEYS", b"GET"], [b"COMMAND", b"GETKEYS", b"nosuch", b"x"],
                [b"COMMAND", b"nosuch"], [b"COMMAND", b"COUNT", b"x"],
                [b"CONFIG", b"GET", b"save"], [b"CONFIG", b"GET", b"nosuch"],
                [b"CONFIG", b"GET", b"*"], [b"CONFIG", b"SET", b"nosuch", b"1"],
                [b"CONFIG", b"GET"], [b"CONFIG", b"nosuch"], [b"CONFIG"],
                [b"CLUSTER", b"INFO"], [b"CLUSTER", b"KEYSLOT", b"a"], [b"CLUSTER", b"nosuch"],
                [b"ROLE"], [b"ROLE", b"x"], [b"READONLY"], [b"READWRITE"], [b"TIME"],
                [b"WAIT", b"0", b"0"], [b"WAIT", b"x", b"0"], [b"WAIT", b"0", b"x"],
                [b"WAIT", b"0", b"-1"], [b"WAIT", b"0"], [b"MEMORY", b"USAGE", b"a"],
                [b"MEMORY", b"USAGE", b"nosuchkey"], [b"MEMORY", b"USAGE", b"a", b"SAMPLES", b"5"],
                [b"MEMORY", b"USAGE", b"a", b"SAMPLES"], [b"MEMORY", b"USAGE", b"a", b"x", b"5"],
                [b"MEMORY", b"USAGE", b"a", b"SAMPLES", b"x"], [b"MEMORY", b"nosuch"]]

    def about_the_connection(self):
        choice = self.random.choice
        return choice([
            lambda: [b"PING"], lambda: [b"PING", self.value()], lambda: [b"ECHO", self.value()],
            lambda: [b"PING", b"a", b"b"], lambda: [b"SELECT", choice(
                [b"0", b"1", b"-1", b"x", b"15", b"", b"99999999999"])],
            lambda: [b"AUTH", b"x"], lambda: [b"AUTH", b"default", b"x"],
            lambda: [b"AUTH", b"bob", b"x"], lambda: [b"AUTH", b"a", b"b", b"c"],
            lambda: [b"HELLO"], lambda: [b"HELLO", choice([b"1", b"4", b"x", b"", b"-3"])],
            lambda: [b"HELLO", self.protocol, b"AUTH", choice([b"default", b"bob"]), b"x"],
            lambda: [b"HELLO", self.protocol, b"SETNAME", choice([b"name", b"na me", b""])],
            lambda: [b"HELLO", self.protocol, choice([b"AUTH", b"SETNAME", b"nosuch"])],
            lambda: [b"CLIENT", choice([b"ID", b"GETNAME", b"LIST", b"INFO", b"nosuch"])],
            lambda: [b"CLIENT", b"SETNAME", choice([b"n1", b"", b"with space", b"n\n",
                                                    b"\xc3\xa4"])],
            lambda: [b"CLIENT", b"LIST"] + choice([
                [b"TYPE", b"normal"], [b"TYPE", b"x"], [b"ID", b"99999999"], [b"ID", b"x"],
                [b"ID", b"-17"], [b"ID", b"+1"], [b"ID", b"18446744073709551615"],
                [b"ID"], [b"x"], [b"TYPE", b"pubsub"]]),
            lambda: [b"CLIENT", b"NO-EVICT", choice([b"on", b"OFF", b"x"])],
            lambda: [b"CLIENT", b"REPLY", choice([b"on", b"x"])],
            lambda: [b"CLIENT"], lambda: [b"CLIENT", b"ID", b"x"],
        ])()

    protocol = b"2"  # that the connections speak; HELLO does not change it

    def nonsense(self):
        return self.random.choice([
            [b"nosuch"], [b"NoSuch", b"a", b"b"], [b""], [b"nosuch", b"x" * 300],
            [b"no\r\nsuch", b"a\r\nb"], [b"n" * 200, b"a"], [b"get|x"], [b"config|get", b"a"],
            [b"nosuch"] + [b"word%d" % n for n in range(30)], [b"nosuch", b""], [b"GET ", b"a"],
            [b"nosuch", b"\x00\xff'\"\\"]])

    def mutate(self, words):
        """Something is missing, too much, twice, elsewhere, or wrong."""
        words = list(words)
        how = self.random.randrange(5)
        place = self.random.randrange(1, len(words)) if len(words) > 1 else 0
        if how == 0 and place:
            del words[place]
        elif how == 1:
            words.insert(self.random.randrange(1, len(words) + 1), self.random.choice(
                NO_INTEGERS + INTEGERS + [b"NX", b"EX", b"GET", b"REPLACE"]))
        elif how == 2 and place:
            words.insert(place, words[place])
        elif how == 3 and place:
            other = self.random.randrange(1, len(words))
            words[place], words[other] = words[other], words[place]
        elif place:
            words[place] = self.random.choice(NO_INTEGERS + TEXTS[:4])
        return words

    def request(self):
        maker, = self.random.choices(self.makers, self.weights)
        words = maker[0]()
        if self.random.random() < 0.06:
            words = self.mutate(words)
        return self.tame(words)

    def tame(self, words):
        """Takes out what may differ for good: see the head of this file and normal.py."""
        words = list(words)
        name = words[0].lower()
        first, last, step = KEYS_AT.get(name, (1, 1, 1) if name in ONE_KEY else (0, -1, 1))
        if first:
            for place in range(first, len(words) if last < 0 else last + 1, step):
                # A key of kvapp is not empty; no other is to come about, which SCAN would tell.
                if place < len(words) and words[place] not in KEYS:
                    words[place] = self.key()
        for place in range(2, len(words)):
            before = words[place - 1].lower()
            relative = name in TIME_AT_2 and place == 2 or \
                name in (b"set", b"getex", b"hello") and before in (b"ex", b"px")
            if relative and words[place].isdigit() and 0 < int(words[place]) < LONG:
                words[place] = b"%d" % self.random.randrange(LONG, 100 * LONG)
        words = [cased(self.random, words[0])] + words[1:]
        if name == b"client" and len(words) > 2 and words[1].lower() == b"reply" and \
                words[2].lower() in (b"off", b"skip"):
            words[2] = b"on"
        if name == b"config" and len(words) > 1 and words[1].lower() == b"set":
            words[2:] = [b"nosuch", b"1"]
        if name == b"hello" and len(words) > 1 and words[1] in (b"2", b"3"):
            words[1] = self.protocol
        if name == b"scan" and len(words) > 1 and words[1] not in (b"x", b"1x"):
            words[1] = b"0"
        if name == b"wait" and len(words) > 2:
            words[1:] = [word if not word.isdigit() else b"0" for word in words[1:]]
        return words
