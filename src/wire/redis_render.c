/*
 * What the store's replies look like to a client of Redis. A call has the flags and the number that
 * enum redis_call_flag (redis_internal.h) names; the rest follows from the command.
 *
 * A call has one value, however many replies it takes, so the first status that is none of the
 * command's own makes an error of the whole, and what was appended before is taken back.
 */
#include "wire/redis_internal.h"

#include "base/assert.h"

enum {
    /* What the map keeps of a key besides its bytes and the value's, about: the item, the slot in
     * the tree, what the heap adds. */
    KEY_MEMORY = 80,
    MATCH_SIZE = 16, /* bytes of an encoded struct lcs_match */
    MS_PER_SECOND = 1000,
};

/* Statuses that a command has a value for. */
enum accepted {
    ACCEPT_NOT_FOUND = 1 << 0,
    ACCEPT_CONDITION = 1 << 1,
};

struct rendering {
    const struct redis_call *call;
    struct redis_replies *replies;
    uint32_t taken; /* replies */
    uint64_t now_ms;
    const struct resp_writer *writer;
    int status; /* the first that was not accepted */
};

typedef void render_function(struct rendering *rendering);

struct reply redis_next_reply(struct redis_replies *replies)
{
    struct reply reply = {.status = KV_ERR_MALFORMED};
    if (replies->alone != NULL) {
        reply = *replies->alone;
        replies->alone = NULL;
    } else if (replies->reader.left > 0) {
        struct slice bytes = reader_sized(&replies->reader);
        /* A reply that cannot be read stays the malformed one. */
        (void)reply_decode(bytes, &reply);
    }
    return reply;
}

/* The next reply. Its status is 0 or accepted, or the rendering has failed. */
static struct reply next(struct rendering *rendering, unsigned accepted)
{
    struct reply reply = redis_next_reply(rendering->replies);
    rendering->taken++;
    bool fine = reply.status == 0 ||
                (reply.status == KV_ERR_NOT_FOUND && (accepted & ACCEPT_NOT_FOUND) != 0) ||
                (reply.status == KV_ERR_CONDITION && (accepted & ACCEPT_CONDITION) != 0);
    if (!fine && rendering->status == 0) {
        rendering->status = reply.status;
    }
    return reply;
}

/* ---- one reply ---- */

static void render_ok(struct rendering *rendering)
{
    (void)next(rendering, 0);
    resp_status(rendering->writer, "OK");
}

/* APPEND, STRLEN, ...: the count, and 0 of a key that is not there. */
static void render_count(struct rendering *rendering)
{
    struct reply reply = next(rendering, ACCEPT_NOT_FOUND);
    resp_integer(rendering->writer, (int64_t)reply.count);
}

/* EXPIRE, COPY, RENAMENX, SETNX: whether it was done. */
static void render_done(struct rendering *rendering)
{
    enum redis_id id = rendering->call->id;
    bool needs_key = id == REDIS_RENAMENX;
    struct reply reply = next(rendering, ACCEPT_CONDITION | (needs_key ? 0 : ACCEPT_NOT_FOUND));
    bool done = reply.status == 0 && (id == REDIS_SETNX || reply.count != 0);
    bool same_key = (rendering->call->flags & REDIS_CALL_SAME_KEY) != 0;
    resp_integer(rendering->writer, done && !same_key);
}

static void put_value(const struct rendering *rendering, const struct reply *reply)
{
    if (reply->status == 0) {
        resp_bulk(rendering->writer, reply->data);
    } else {
        resp_null(rendering->writer);
    }
}

/* GET, GETEX, RANDOMKEY: the data, or null. */
static void render_value(struct rendering *rendering)
{
    struct reply reply = next(rendering, ACCEPT_NOT_FOUND);
    put_value(rendering, &reply);
}

/* GETRANGE, INCRBYFLOAT: the data, whatever was there before. */
static void render_bytes(struct rendering *rendering)
{
    struct reply reply = next(rendering, ACCEPT_NOT_FOUND);
    resp_bulk(rendering->writer, reply.data);
}

/* GETSET, GETDEL, SET with GET: what was there before; the write may have come to nothing. */
static void render_value_before(struct rendering *rendering)
{
    struct reply reply = next(rendering, ACCEPT_NOT_FOUND | ACCEPT_CONDITION);
    if (reply.count != 0) {
        resp_bulk(rendering->writer, reply.data);
    } else {
        resp_null(rendering->writer);
    }
}

static void render_set(struct rendering *rendering)
{
    if ((rendering->call->flags & REDIS_CALL_VALUE_BEFORE) != 0) {
        render_value_before(rendering);
        return;
    }
    struct reply reply = next(rendering, ACCEPT_CONDITION);
    if (reply.status == 0) {
        resp_status(rendering->writer, "OK");
    } else {
        resp_null(rendering->writer);
    }
}

/* ---- what is known of a key ---- */

/* Takes the one reply to a STAT. False: there is no such key, or the rendering has failed. */
static bool next_stat(struct rendering *rendering, struct reply *ret_reply,
                      struct key_stat *ret_stat)
{
    struct reply reply = next(rendering, ACCEPT_NOT_FOUND);
    if (reply.status != 0) {
        return false;
    }
    int err = key_stat_decode(reply.data, ret_stat);
    if (err != 0) {
        rendering->status = err;
        return false;
    }
    *ret_reply = reply;
    return true;
}

static void render_type(struct rendering *rendering)
{
    struct reply reply = next(rendering, ACCEPT_NOT_FOUND);
    resp_status(rendering->writer, reply.status == 0 ? "string" : "none");
}

static void render_revision(struct rendering *rendering)
{
    struct reply reply;
    struct key_stat stat;
    if (next_stat(rendering, &reply, &stat)) {
        resp_integer(rendering->writer, (int64_t)stat.modify);
    } else {
        resp_null(rendering->writer);
    }
}

static void render_memory_usage(struct rendering *rendering)
{
    struct reply reply;
    struct key_stat stat;
    if (next_stat(rendering, &reply, &stat)) {
        int64_t size = rendering->call->number + (int64_t)reply.count;
        resp_integer(rendering->writer, KEY_MEMORY + size);
    } else {
        resp_null(rendering->writer);
    }
}

/* TTL, PTTL, EXPIRETIME, PEXPIRETIME. Seconds are rounded, a half up. */
static void render_time(struct rendering *rendering)
{
    enum redis_id id = rendering->call->id;
    struct reply reply;
    struct key_stat stat;
    if (!next_stat(rendering, &reply, &stat)) {
        resp_integer(rendering->writer, -2);
        return;
    }
    if (stat.expires_ms == 0) {
        resp_integer(rendering->writer, -1);
        return;
    }
    uint64_t ms = stat.expires_ms;
    if (id == REDIS_TTL || id == REDIS_PTTL) {
        ms = ms > rendering->now_ms ? ms - rendering->now_ms : 0;
    }
    if (id == REDIS_TTL || id == REDIS_EXPIRETIME) {
        ms = ms / MS_PER_SECOND + (ms % MS_PER_SECOND >= MS_PER_SECOND / 2);
    }
    resp_integer(rendering->writer, (int64_t)ms);
}

/* ---- several keys ---- */

/* DEL, UNLINK, EXISTS, TOUCH: how many of them were there. */
static void render_found(struct rendering *rendering)
{
    int64_t found = 0;
    while (rendering->taken < rendering->call->count) {
        struct reply reply = next(rendering, ACCEPT_NOT_FOUND);
        found += reply.status == 0;
    }
    resp_integer(rendering->writer, found);
}

static void render_mget(struct rendering *rendering)
{
    resp_array(rendering->writer, rendering->call->count);
    while (rendering->taken < rendering->call->count) {
        struct reply reply = next(rendering, ACCEPT_NOT_FOUND);
        put_value(rendering, &reply);
    }
}

static void render_mset(struct rendering *rendering)
{
    while (rendering->taken < rendering->call->count) {
        (void)next(rendering, 0);
    }
    resp_status(rendering->writer, "OK");
}

/* A guard that found its key skips everything behind it, up to the last. */
static void render_msetnx(struct rendering *rendering)
{
    bool skipped = false;
    while (rendering->taken < rendering->call->count) {
        struct reply reply = next(rendering, ACCEPT_CONDITION);
        skipped = skipped || reply.status == KV_ERR_CONDITION;
    }
    resp_integer(rendering->writer, !skipped);
}

/* What does not fit is not left out: SCAN gives it in parts. */
static void render_keys(struct rendering *rendering)
{
    struct reply reply = next(rendering, 0);
    if (reply.more && rendering->status == 0) {
        rendering->status = KV_ERR_REPLY_TOO_LARGE;
    }
    if (rendering->status != 0) {
        return;
    }
    struct reader reader = reader_of(reply.data);
    if (reader.left > 0) {
        (void)reader_sized(&reader); /* The last key that was looked at: there are keys. */
    }
    resp_array(rendering->writer, reply.count);
    for (uint64_t i = 0; i < reply.count && !reader.failed; i++) {
        resp_bulk(rendering->writer, reader_sized(&reader));
    }
    if (!reader_finished(&reader)) {
        rendering->status = KV_ERR_MALFORMED;
    }
}

/* ---- LCS ---- */

static void put_match(const struct rendering *rendering, const struct lcs_match *match)
{
    bool has_size = (rendering->call->flags & REDIS_CALL_MATCH_SIZES) != 0;
    resp_array(rendering->writer, has_size ? 3 : 2);
    for (size_t side = 0; side < 2; side++) {
        resp_array(rendering->writer, 2);
        resp_integer(rendering->writer, match->first[side]);
        resp_integer(rendering->writer, match->last[side]);
    }
    if (has_size) {
        resp_integer(rendering->writer, (int64_t)match->last[0] - match->first[0] + 1);
    }
}

static void render_matches(struct rendering *rendering, const struct reply *reply)
{
    if (reply->data.size % MATCH_SIZE != 0) {
        rendering->status = KV_ERR_MALFORMED;
        return;
    }
    resp_map(rendering->writer, 2);
    resp_bulk_string(rendering->writer, "matches");
    resp_array(rendering->writer, reply->data.size / MATCH_SIZE);
    struct reader reader = reader_of(reply->data);
    struct lcs_match match;
    while (lcs_match_next(&reader, &match)) {
        put_match(rendering, &match);
    }
    resp_bulk_string(rendering->writer, "len");
    resp_integer(rendering->writer, (int64_t)reply->count);
}

static void render_lcs(struct rendering *rendering)
{
    struct reply reply = next(rendering, ACCEPT_NOT_FOUND);
    if (rendering->status != 0) {
        return;
    }
    if ((rendering->call->flags & REDIS_CALL_MATCHES) != 0) {
        render_matches(rendering, &reply);
    } else if ((rendering->call->flags & REDIS_CALL_LENGTH) != 0) {
        resp_integer(rendering->writer, (int64_t)reply.count);
    } else {
        resp_bulk(rendering->writer, reply.data);
    }
}

/* ---- which is whose ---- */

static render_function *const renderers[REDIS_ID_COUNT] = {
    [REDIS_APPEND] = render_count,
    [REDIS_COPY] = render_done,
    [REDIS_DBSIZE] = render_count,
    [REDIS_DECR] = render_count,
    [REDIS_DECRBY] = render_count,
    [REDIS_DEL] = render_found,
    [REDIS_EXISTS] = render_found,
    [REDIS_EXPIRE] = render_done,
    [REDIS_EXPIREAT] = render_done,
    [REDIS_EXPIRETIME] = render_time,
    [REDIS_FLUSHALL] = render_ok,
    [REDIS_FLUSHDB] = render_ok,
    [REDIS_GET] = render_value,
    [REDIS_GETDEL] = render_value_before,
    [REDIS_GETEX] = render_value,
    [REDIS_GETRANGE] = render_bytes,
    [REDIS_GETSET] = render_value_before,
    [REDIS_INCR] = render_count,
    [REDIS_INCRBY] = render_count,
    [REDIS_INCRBYFLOAT] = render_bytes,
    [REDIS_KEYS] = render_keys,
    [REDIS_KV_REVISION] = render_revision,
    [REDIS_LCS] = render_lcs,
    [REDIS_MEMORY_USAGE] = render_memory_usage,
    [REDIS_MGET] = render_mget,
    [REDIS_MSET] = render_mset,
    [REDIS_MSETNX] = render_msetnx,
    [REDIS_PERSIST] = render_done,
    [REDIS_PEXPIRE] = render_done,
    [REDIS_PEXPIREAT] = render_done,
    [REDIS_PEXPIRETIME] = render_time,
    [REDIS_PSETEX] = render_ok,
    [REDIS_PTTL] = render_time,
    [REDIS_RANDOMKEY] = render_value,
    [REDIS_RENAME] = render_ok,
    [REDIS_RENAMENX] = render_done,
    [REDIS_SET] = render_set,
    [REDIS_SETEX] = render_ok,
    [REDIS_SETNX] = render_done,
    [REDIS_SETRANGE] = render_count,
    [REDIS_STRLEN] = render_count,
    [REDIS_SUBSTR] = render_bytes,
    [REDIS_TOUCH] = render_found,
    [REDIS_TTL] = render_time,
    [REDIS_TYPE] = render_type,
    [REDIS_UNLINK] = render_found,
};

static const char *too_large(enum redis_id id)
{
    switch (id) {
    case REDIS_KEYS:
        return "ERR the keys are too many for one reply, take SCAN for them";
    case REDIS_LCS:
        return "ERR the values are too large for LCS";
    default:
        return "ERR the reply would be too large";
    }
}

/* The error of a status that the command has no value for. */
static void render_error(const struct rendering *rendering)
{
    enum redis_id id = rendering->call->id;
    const struct resp_writer *writer = rendering->writer;
    switch (rendering->status) {
    case KV_ERR_NOT_INTEGER:
        resp_error(writer, "ERR value is not an integer or out of range");
        return;
    case KV_ERR_NOT_FLOAT:
        resp_error(writer, "ERR value is not a valid float");
        return;
    case KV_ERR_OVERFLOW:
        resp_error(writer, "%s",
                   id == REDIS_INCRBYFLOAT ? "ERR increment would produce NaN or Infinity"
                                           : "ERR increment or decrement would overflow");
        return;
    case KV_ERR_VALUE_TOO_LARGE:
        resp_error(writer, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        return;
    case KV_ERR_NOT_FOUND:
        resp_error(writer, "ERR no such key");
        return;
    case KV_ERR_REPLY_TOO_LARGE:
        resp_error(writer, "%s", too_large(id));
        return;
    default:
        redis_error_of(rendering->status, NULL, writer);
    }
}

void redis_render(const struct redis_call *call, struct redis_replies *replies, uint64_t now_ms,
                  const struct resp_writer *writer)
{
    struct rendering rendering = {
        .call = call, .replies = replies, .now_ms = now_ms, .writer = writer};
    CHECK(call->id < REDIS_ID_COUNT);
    CHECK(renderers[call->id] != NULL);
    size_t mark = writer->out->size;
    renderers[call->id](&rendering);
    CHECK(rendering.taken == call->count);
    if (rendering.status != 0) {
        writer->out->size = mark;
        render_error(&rendering);
    }
}

/*
 * The first word tells a client whether it may send the command again: it may after CLUSTERDOWN,
 * TRYAGAIN, LOADING and OOM, since the command was not logged; after UNKNOWN it may take effect
 * twice. Whoever waits for a write to be logged therefore gives OUTCOME_UNKNOWN, not TIMEOUT.
 */
static const char *error_word(int status)
{
    switch (status) {
    case KV_ERR_OUTCOME_UNKNOWN:
    case KV_ERR_SESSION_UNKNOWN:
    case KV_ERR_SEQUENCE_STALE:
    case KV_ERR_CONNECTION:
    case KV_ERR_IO:
        return "UNKNOWN";
    case KV_ERR_NO_LEADER:
    case KV_ERR_NOT_LEADER:
    case KV_ERR_REMOVED:
        return "CLUSTERDOWN";
    case KV_ERR_BUSY:
    case KV_ERR_TIMEOUT:
        return "TRYAGAIN";
    case KV_ERR_FULL:
    case KV_ERR_NO_MEMORY:
        return "OOM";
    case KV_ERR_STOPPED:
        return "LOADING";
    default:
        return "ERR";
    }
}

void redis_error_of(int status, const char *sentence, const struct resp_writer *writer)
{
    const char *text = sentence != NULL ? sentence : kvapp_err_sentence(status);
    resp_error(writer, "%s %s", error_word(status), text);
}
