/*
 * The vocabulary: what can be asked of the store and what it answers, and the bytes of both. Every
 * protocol translates to and from it; the bytes of a write are the payload of a log entry, and the
 * bytes of any command are the body of a native ClientRequest.
 *
 * Bytes of a command, little-endian; the parts in brackets are there when their flag is set:
 *
 *     operation u8 │ flags u8 │ zero u16
 *     │ [SESSION: session u64, sequence u64, acknowledged u64]
 *     │ [EXPECT: expected_revision u64]
 *     │ [LIMIT: limit u32]
 *     │ [KEY: size u32, bytes] │ [VALUE: size u32, bytes] │ [END: size u32, bytes] │ [PREFIX: ...]
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
 * The writes PUT, DELETE and DELETE_RANGE may name a session.
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
};

/* False for an operation that is not in the enum. */
bool operation_is_write(enum operation operation);

/* "get", "put", "delete", "list", "scan", "delete-range", ...; "unknown" for any other. */
const char *operation_name(enum operation operation);

/* Appends the command's bytes. The command has passed command_check. */
void command_encode(const struct command *command, struct buf *out);

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
 * range without a range. A command that fails here is answered so and never logged. The bounds of
 * a range may be one byte longer than a key: see how a list goes on.
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
 * DELETE_RANGE: revision = this write's, count = keys deleted; `more` as of LIST. OPEN_SESSION:
 * revision = session id. OUTCOME: applied: count = 1, data = the write's reply, encoded like this
 * one; not applied so far: count = 0; revision = the applied index the answer was taken at. Status
 * SESSION_UNKNOWN or SEQUENCE_STALE: it may have been applied, nobody knows any more; it will not
 * be from now on. Any other status: everything else is 0.
 */
struct reply {
    int status; /* 0 or KV_ERR_* */
    bool more;
    uint64_t revision;
    uint64_t count;
    struct slice data; /* borrowed */
};

void reply_encode(const struct reply *reply, struct buf *out);
int reply_decode(struct slice bytes, struct reply *ret_reply); /* 0 or KV_ERR_MALFORMED */

#endif
