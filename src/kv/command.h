/*
 * The vocabulary: what can be asked of the store and what it answers, and the bytes of both. Every
 * protocol translates to and from it; the bytes of a write are the payload of a log entry, and the
 * bytes of any command are the body of a native ClientRequest.
 *
 * Bytes of a command, little-endian; the parts in brackets are there when their flag is set:
 *
 *     operation u8 │ flags u16 │ zero u8
 *     │ [SESSION: session u64, sequence u64, acknowledged u64]
 *     │ [EXPECT: expected_revision u64]
 *     │ [LIMIT: limit u32]
 *     │ [KEY: size u32, bytes] │ [VALUE: size u32, bytes] │ [END: size u32, bytes] │ [PREFIX: ...]
 *     │ [OPTIONS: options u32] │ [EXPIRY: kind u8, ms i64] │ [NUMBER: i64] │ [LAST: i64]
 *     │ [TARGET: size u32, bytes] │ [PATTERN: size u32, bytes] │ [COMMANDS: size u32, bytes]
 *
 * Which parts an operation needs and which it may have is a table in command.c.
 */
#ifndef KV_COMMAND_H
#define KV_COMMAND_H

#include "base/bytes.h"
#include "kvapp/err.h"

/* The numbers are part of the protocol and of the log. */
enum operation {
    OPERATION_GET = 0,
    OPERATION_PUT = 1,
    OPERATION_DELETE = 2,
    OPERATION_LIST = 3, /* keys of a range, in order, in pages */
    OPERATION_SCAN = 4, /* as LIST, with values and revisions */
    OPERATION_DELETE_RANGE = 5,
    OPERATION_OPEN_SESSION = 6, /* the reply's revision is the session's id */
    OPERATION_CLOSE_SESSION = 7,
    OPERATION_OUTCOME = 8, /* what became of a write of a session */
    OPERATION_ADD = 9,
    OPERATION_ADD_FLOAT = 10,
    OPERATION_APPEND = 11,
    OPERATION_SET_RANGE = 12, /* overwrites a part of the value */
    OPERATION_EXPIRE = 13,    /* sets or takes away the time at which the key goes */
    OPERATION_RENAME = 14,
    OPERATION_COPY = 15,
    OPERATION_CLEAR = 16, /* deletes every key */
    OPERATION_PURGE = 17, /* only moves the time on, and removes what has expired */
    OPERATION_BATCH = 18, /* commands that are applied together, among them writes */
    OPERATION_GUARD = 19, /* in a batch: a condition for the commands that follow */
    OPERATION_STAT = 20,  /* what is known of a key besides its value */
    OPERATION_GET_RANGE = 21,
    OPERATION_COUNT = 22,
    OPERATION_RANDOM = 23,
    OPERATION_MATCH = 24, /* keys of the whole map that fit a pattern */
    OPERATION_LCS = 25,   /* the longest common subsequence of two values */
    OPERATION_READ_BATCH = 26,
};

/* The flags of a command's bytes: which parts follow, in this order. */
enum command_flag {
    COMMAND_SESSION = 1 << 0,
    COMMAND_EXPECT = 1 << 1,
    COMMAND_LIMIT = 1 << 2,
    COMMAND_KEY = 1 << 3,
    COMMAND_VALUE = 1 << 4,
    COMMAND_END = 1 << 5,
    COMMAND_PREFIX = 1 << 6,
    COMMAND_OPTIONS = 1 << 7,
    COMMAND_EXPIRY = 1 << 8,
    COMMAND_NUMBER = 1 << 9,
    COMMAND_LAST = 1 << 10,
    COMMAND_TARGET = 1 << 11,
    COMMAND_PATTERN = 1 << 12,
    COMMAND_COMMANDS = 1 << 13,
};

/* The bits of a command's options; which of them an operation takes is in the table. */
enum command_option {
    OPTION_ABSENT = 1 << 0,  /* PUT, RENAME: only if the (new) key is not there */
    OPTION_PRESENT = 1 << 1, /* PUT, GUARD: only if the key is there */
    OPTION_RETURN = 1 << 2,  /* the reply's data are the value that was there before */
    OPTION_REPLACE = 1 << 3, /* COPY: also over a key that is there */
    /* EXPIRE, only: */
    OPTION_UNLIMITED = 1 << 4, /* a key that does not expire */
    OPTION_LIMITED = 1 << 5,   /* one that does */
    OPTION_LATER = 1 << 6,     /* if that is later than now; no expiry is the latest of all */
    OPTION_EARLIER = 1 << 7,   /* if that is earlier */
    /* LCS: */
    OPTION_MATCHES = 1 << 8, /* the reply's data are the matching ranges, not the bytes */
};

/* When a key goes, by the log's time. */
enum expiry_kind {
    EXPIRY_NEVER = 0,
    EXPIRY_AFTER = 1, /* so many ms after this command is applied */
    EXPIRY_AT = 2,    /* at that time, ms since 1970 */
    EXPIRY_KEEP = 3,  /* PUT: when it was to go before */
    EXPIRY_KINDS,
};

struct expiry {
    enum expiry_kind kind;
    int64_t ms; /* of AFTER and AT; else 0 */
};

/*
 * One command. Unused slices are empty. Slices are borrowed.
 *
 * GET            key
 * PUT            key, value; [expect]
 * DELETE         key; [expect]
 * LIST, SCAN     key: first key, included (empty: from the start); end: excluded (empty: no end);
 *                prefix: only keys that begin so; limit: keys in the page, 0 or more than
 *                LIST_LIMIT_MAX: LIST_LIMIT_MAX. To go on, key = the last key followed by a zero
 *                byte. A page ends early when it would pass FRAME_SIZE_MAX / 2 bytes.
 * DELETE_RANGE   key, end, prefix as above; at least one of them; [no limit]. Deletes the first
 *                DELETE_LIMIT_MAX keys of the range; to go on, the same once more, as a new write
 * OPEN_SESSION   nothing
 * CLOSE_SESSION  session; its sequence and acknowledged are not looked at
 * OUTCOME        session and sequence of the write; acknowledged: 0. A read
 *
 * PUT besides:   [expiry; else it never goes], [options ABSENT or PRESENT, RETURN]
 * DELETE besides: [RETURN]
 * ADD            key, number: to its value, a decimal number of 64 bits; 0 when it is not there
 * ADD_FLOAT      key, value: a decimal text, added as a long double
 * APPEND         key, value
 * SET_RANGE      key, value, number: the offset; zero bytes fill a gap. An empty value makes no key
 * EXPIRE         key, expiry; [options UNLIMITED, LIMITED, LATER, EARLIER, RETURN]
 * RENAME, COPY   key, target; [ABSENT; REPLACE]. The expiry goes with the value
 * CLEAR, PURGE   nothing
 * STAT           key
 * GET_RANGE      key, number, last: offsets of the first and the last byte, negative: from the end
 * COUNT          nothing
 * RANDOM         number: chance; which key it gives follows from it
 * MATCH          pattern; [key: the first to look at], [limit: keys to look at, 0: all of them]
 * LCS            key, target; [option MATCHES, number: ranges shorter than this are left out]
 * BATCH, READ_BATCH  commands: each u32 size + bytes, at least one, at most BATCH_COUNT_MAX; none
 *                with a session, no batch, none about sessions. In a READ_BATCH no writes
 * GUARD          key, number: how many of the commands that follow it are skipped if the key's
 *                modify revision is not expect, or it is not PRESENT as wanted
 *
 * A pattern is of * ? [a-z] [^a-z] and \ before what is to be taken for itself.
 *
 * The writes PUT, DELETE, DELETE_RANGE, ADD, APPEND, EXPIRE and BATCH may name a session, then
 * without RETURN; a batch then has another reply, without data.
 */
struct command {
    enum operation operation;

    /* Exactly-once writes (Ongaro's thesis 6.3). session 0: none. Sequences begin at 1;
     * every sequence <= acknowledged was answered and may be forgotten by the store. */
    uint64_t session;
    uint64_t sequence;
    uint64_t acknowledged;

    bool has_expected;          /* only if the key's modify revision is the expected one; */
    uint64_t expected_revision; /* 0: only if the key is not there */

    uint32_t limit;
    struct slice key;
    struct slice value;
    struct slice end;
    struct slice prefix;

    uint32_t options; /* bits of enum command_option */
    struct expiry expiry;
    int64_t number;
    int64_t last;
    struct slice target;
    struct slice pattern;
    struct slice commands;
};

/* False for an operation that is not in the enum. */
bool operation_is_write(enum operation operation);

/* "get", "put", "delete", "list", "scan", "delete-range", ...; "unknown" for any other. */
const char *operation_name(enum operation operation);

/* Appends the command's bytes. The command has passed command_check. */
void command_encode(const struct command *command, struct buf *out);

/* Appends the command to the commands of a batch. */
void command_encode_into_batch(const struct command *command, struct buf *commands);

/* The next command of a batch that command_check has passed; false at the end. */
bool command_next(struct reader *commands, struct command *ret_command);

/*
 * Decodes a whole command; slices are borrowed from `bytes`. Returns 0, KV_ERR_MALFORMED (also for
 * bytes left over, an unknown flag, a flag that the operation does not have, one that it needs and
 * that is not set) or KV_ERR_COMMAND_UNKNOWN. Does not look at limits: that is command_check.
 */
int command_decode(struct slice bytes, struct command *ret_command);

/*
 * Limits and meaning: 0, KV_ERR_COMMAND_UNKNOWN, KV_ERR_KEY_EMPTY, KV_ERR_KEY_TOO_LARGE,
 * KV_ERR_VALUE_TOO_LARGE or KV_ERR_INVALID: a part that the operation does not have, a session's
 * write whose sequence is 0 or not above `acknowledged`, these two without a session, a delete
 * range without a range, options that contradict each other; KV_ERR_MALFORMED: the commands of a
 * batch. A command that fails here is answered so and never logged. The bounds of a range may be
 * one byte longer than a key: see how a list goes on.
 */
int command_check(const struct command *command);

/*
 * What a command gave.
 *
 *     status i32 │ flags u8 (1: more) │ zero u8 ×3 │ revision u64 │ count u64 │ size u32, data
 *
 * GET: data = value, revision = modify revision; status NOT_FOUND otherwise.
 * PUT: revision = this write's. DELETE: likewise, count 1; or NOT_FOUND, count 0.
 * CONDITION: revision = the key's present modify revision, 0: not there.
 * LIST: count keys in data, each u32 size + bytes; `more` when keys of the range are left.
 * SCAN: count items in data, each key (u32 size + bytes), value (likewise), modify revision u64.
 * LIST, SCAN, GET of nothing: revision = the applied index the answer was taken at.
 * DELETE_RANGE: revision = this write's, count = keys deleted; `more` as of LIST, or when only keys
 * that have expired are left. OPEN_SESSION:
 * revision = session id. OUTCOME: applied: count = 1, data = the write's reply, encoded like this
 * one; not applied so far: count = 0; revision = the applied index the answer was taken at. Status
 * SESSION_UNKNOWN or SEQUENCE_STALE: it may have been applied, nobody knows any more; it will not
 * be from now on.
 *
 * With RETURN, of PUT, DELETE, EXPIRE: data = the value before, count = 1 when there was one,
 * whatever else count says without it; also with CONDITION.
 * ADD: count = the new value, an i64. ADD_FLOAT: data = the new value's text.
 * APPEND, SET_RANGE: count = the new size of the value.
 * EXPIRE: count = 1 when the expiry was set, or taken away; NOT_FOUND: no such key. An expiry that
 * is over deletes the key.
 * RENAME, COPY: count = 1; NOT_FOUND: there is no such key; CONDITION: the target is there.
 * CLEAR: count = keys deleted. PURGE: count = keys removed, `more` when others have expired.
 * STAT: data = struct key_stat's bytes, count = size of the value, revision as of GET.
 * GET_RANGE: data; a key that is not there is empty. COUNT: count. RANDOM: data = a key; NOT_FOUND.
 * MATCH: data = the last key looked at (u32 size + bytes), then `count` keys; `more` when keys are
 * left behind it. LCS: data = the bytes, or struct lcs_match by struct lcs_match; count = its
 * length. BATCH, READ_BATCH: data = a reply for each command: u32 size + bytes; count = the
 * commands. One that a guard skipped has CONDITION. Where a reply does not fit any more it is
 * REPLY_TOO_LARGE, and that command has no effect.
 * BATCH with a session: count = the commands that succeeded, guards that held among them; revision
 * = this write's. CONDITION: a guard failed, and nothing but guards was carried out; revision = the
 * present modify revision of the key of the first guard that failed, 0: not there.
 *
 * Any other status: everything else is 0.
 */
struct reply {
    int status; /* 0 or KV_ERR_* */
    bool more;
    uint64_t revision;
    uint64_t count;
    struct slice data; /* borrowed */
};

/* What STAT gives. */
struct key_stat {
    uint64_t create; /* revisions */
    uint64_t modify;
    uint64_t version;
    uint64_t expires_ms; /* by the log's time; 0: never */
    uint64_t now_ms;     /* the log's time, which stands still while nothing is written */
};

enum { KEY_STAT_SIZE = 40 };

void key_stat_encode(const struct key_stat *stat, struct buf *out);
int key_stat_decode(struct slice bytes, struct key_stat *ret_stat); /* 0 or KV_ERR_MALFORMED */

/* The bytes with now_ms as it has become since, copied to `out`. */
struct slice key_stat_later(struct slice bytes, uint64_t now_ms, uint8_t out[KEY_STAT_SIZE]);

/* Ranges of both values that are equal, from the back to the front: offsets, the last included. */
struct lcs_match {
    uint32_t first[2]; /* in the key's value, in the target's */
    uint32_t last[2];
};

void lcs_match_encode(const struct lcs_match *match, struct buf *out);
bool lcs_match_next(struct reader *reader, struct lcs_match *ret_match); /* false at the end */

void reply_encode(const struct reply *reply, struct buf *out);
int reply_decode(struct slice bytes, struct reply *ret_reply); /* 0 or KV_ERR_MALFORMED */

#endif
