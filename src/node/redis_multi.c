/*
 * Transactions: MULTI queues what follows, translated, and EXEC makes one command of it, a batch.
 *
 *     WATCH key        the key's revision is read and noted
 *     KV.FENCE key n   the same with a revision that the client knows: a lock's token
 *     EXEC             guard: key 1 has that revision │ guard: key 2 ... │ the queued commands
 *
 * The guards are compared when the batch is applied, on every server alike, so nothing can come
 * between. The revision is enough: a key that was written, expired, or deleted and made anew has
 * another one. A key that was not there, came and went again is as it was.
 */
#include "node/node.h"

enum {
    WATCHES_MAX = 1024,
    QUEUED_BYTES_MAX = 256 * 1024, /* of requests that no command of the store stands for, */
    QUEUED_LOCAL_MAX = 64,         /* and so many of them: their answers may be long */
};

void multi_reset(struct redis *redis)
{
    redis->multi = false;
    redis->aborted = false;
    redis->unwatched = false;
    unit_clear(&redis->queued);
    redis->queued_local = 0;
    buf_clear(&redis->watched);
    buf_shrink(&redis->watched, 0);
    redis->watched_count = 0;
}

void multi_wrong(struct redis *redis, const struct redis_command *row)
{
    if (row != NULL && row->id == REDIS_EXEC) {
        multi_reset(redis);
    }
    redis->aborted = redis->aborted || redis->multi;
}

/* ---- what is watched ---- */

static void watch(struct redis *redis, struct slice key, uint64_t revision)
{
    buf_put_u64(&redis->watched, revision);
    buf_put_sized(&redis->watched, key);
    redis->watched_count++;
}

void multi_noted(struct redis *redis, const struct redis_piece *piece, struct slice keys,
                 struct redis_replies *replies)
{
    struct reader reader = reader_of(keys);
    for (uint32_t i = 0; i < piece->call.count; i++) {
        const struct reply reply = redis_next_reply(replies);
        bool known = reply.status == 0 || reply.status == KV_ERR_NOT_FOUND;
        redis->unwatched = redis->unwatched || !known;
        watch(redis, reader_sized(&reader), reply.status == 0 ? reply.revision : 0);
    }
}

static enum redis_taken take_watch(struct client *client, const struct resp_request *request,
                                   const struct resp_writer *writer)
{
    struct redis *redis = client->redis;
    struct redis_unit *unit = &redis->unit;
    if (redis->multi) {
        resp_error(writer, "ERR WATCH inside MULTI is not allowed");
        return REDIS_TAKEN;
    }
    if (redis->watched_count + request->count > WATCHES_MAX) {
        redis->unwatched = true;
        resp_error(writer, "ERR at most %d keys can be watched", WATCHES_MAX);
        return REDIS_TAKEN;
    }
    if (unit->count > 0) {
        return REDIS_LATER;
    }
    for (size_t i = 1; i < request->count; i++) {
        const struct command command = {.operation = OPERATION_STAT, .key = request->words[i]};
        if (command_check(&command) != 0) {
            resp_error(writer, "ERR a watched key must have 1 to %d bytes", KEY_SIZE_MAX);
            return REDIS_TAKEN;
        }
    }
    size_t before = unit->bytes.size;
    for (size_t i = 1; i < request->count; i++) {
        const struct command command = {.operation = OPERATION_STAT, .key = request->words[i]};
        command_encode_into_batch(&command, &unit->commands);
        buf_put_sized(&unit->bytes, request->words[i]);
    }
    unit->count += (uint32_t)request->count - 1;
    unit->ends = true;
    const struct redis_piece piece = {
        .kind = REDIS_PIECE_WATCH,
        .size = (uint32_t)(unit->bytes.size - before),
        .call = {.id = REDIS_WATCH, .count = (uint32_t)request->count - 1},
    };
    unit_add(unit, redis, piece);
    return REDIS_TAKEN;
}

static void take_fence(struct redis *redis, const struct resp_request *request,
                       const struct resp_writer *writer)
{
    struct slice key = request->words[1];
    uint64_t revision = 0;
    if (redis->multi) {
        resp_error(writer, "ERR KV.FENCE inside MULTI is not allowed");
    } else if (!redis_parse_number(request->words[2], &revision)) {
        resp_error(writer, "ERR value is not an integer or out of range");
    } else if (key.size < 1 || key.size > KEY_SIZE_MAX) {
        resp_error(writer, "ERR a watched key must have 1 to %d bytes", KEY_SIZE_MAX);
    } else if (redis->watched_count >= WATCHES_MAX) {
        resp_error(writer, "ERR at most %d keys can be watched", WATCHES_MAX);
    } else {
        watch(redis, key, revision);
        resp_status(writer, "OK");
    }
}

/* ---- the transaction ---- */

/* A request while one is being queued. */
static void queue(struct client *client, const struct redis_command *row,
                  const struct resp_request *request, const struct resp_writer *writer)
{
    struct redis *redis = client->redis;
    size_t before = writer->out->size;
    size_t queued = redis->queued.pieces.size / sizeof(struct redis_piece);
    if (redis->queued.bytes.size > QUEUED_BYTES_MAX || queued > BATCH_COUNT_MAX ||
        (row->is_local && redis->queued_local == QUEUED_LOCAL_MAX)) {
        resp_error(writer, "ERR the transaction is too large");
    } else if ((row->flags & REDIS_NO_MULTI) != 0) {
        resp_error(writer, "ERR Command not allowed inside a transaction");
    } else if (row->is_local && row->id != REDIS_SCAN) {
        unit_add_words(&redis->queued, redis, request);
        redis->queued_local++;
    } else if (!redis_sends_away(client, row, request, writer)) {
        size_t pieces = redis->queued.pieces.size;
        struct buf answer = {0};
        const struct resp_writer aside = {.out = &answer, .version = writer->version};
        if (redis_gather(client, &redis->queued, row, request, &aside) == REDIS_LATER) {
            resp_error(writer, "ERR the transaction is too large");
        } else if (redis->queued.pieces.size == pieces) {
            /* What Redis finds out when it executes the request. */
            unit_add_answer(&redis->queued, redis, &answer);
        }
        buf_done(&answer);
    }
    if (writer->out->size > before) {
        redis->aborted = true;
    } else {
        resp_status(writer, "QUEUED");
    }
}

/* The guards of what is watched, for so many commands behind them. */
static void put_guards(const struct redis *redis, struct redis_unit *unit, uint32_t commands)
{
    struct reader reader = reader_of(buf_slice(&redis->watched));
    for (uint32_t left = redis->watched_count; left > 0; left--) {
        struct command guard = {
            .operation = OPERATION_GUARD,
            .has_expected = true,
            .expected_revision = reader_u64(&reader),
            .number = (int64_t)left - 1 + commands,
        };
        guard.key = reader_sized(&reader);
        guard.number = guard.number == 0 ? 1 : guard.number; /* There is nothing behind it. */
        command_encode_into_batch(&guard, &unit->commands);
        unit->count++;
    }
}

static enum redis_taken take_exec(struct client *client, const struct resp_writer *writer)
{
    struct redis *redis = client->redis;
    struct redis_unit *unit = &redis->unit;
    struct redis_unit *queued = &redis->queued;
    if (!redis->multi) {
        resp_error(writer, "ERR EXEC without MULTI");
        return REDIS_TAKEN;
    }
    if (redis->unwatched) {
        multi_reset(redis);
        resp_error(writer, "EXECABORT Transaction discarded because a WATCH before it failed.");
        return REDIS_TAKEN;
    }
    if (redis->aborted) {
        multi_reset(redis);
        resp_error(writer, "EXECABORT Transaction discarded because of previous errors.");
        return REDIS_TAKEN;
    }
    size_t watched_size = redis->watched.size + (size_t)redis->watched_count * 32;
    if (queued->commands.size + watched_size > COMMAND_SIZE_MAX - 1024 ||
        queued->count + redis->watched_count > BATCH_COUNT_MAX) {
        multi_reset(redis);
        resp_error(writer,
                   "EXECABORT Transaction discarded because it is too large: its keys and "
                   "values may have %d bytes",
                   COMMAND_SIZE_MAX - 1024);
        return REDIS_TAKEN;
    }
    /* A transaction has its unit alone when it has guards: they reach to the end. */
    if (unit->count > 0 && (redis->watched_count > 0 || !unit_takes(client->node, unit, queued))) {
        return REDIS_LATER;
    }
    const struct redis_piece piece = {
        .kind = REDIS_PIECE_EXEC,
        .size = (uint32_t)(queued->pieces.size / sizeof piece),
        .call = {.id = REDIS_EXEC, .count = redis->watched_count},
    };
    unit->ends = redis->watched_count > 0;
    unit_add(unit, redis, piece);
    put_guards(redis, unit, queued->count);
    bool ends = unit->ends;
    unit_move(unit, queued);
    unit->ends = ends;
    multi_reset(redis);
    return REDIS_TAKEN;
}

enum redis_taken multi_take(struct client *client, const struct redis_command *row,
                            const struct resp_request *request, const struct resp_writer *writer)
{
    struct redis *redis = client->redis;
    switch (row->id) {
    case REDIS_MULTI:
        if (redis->multi) {
            resp_error(writer, "ERR MULTI calls can not be nested");
        } else {
            redis->multi = true;
            resp_status(writer, "OK");
        }
        return REDIS_TAKEN;
    case REDIS_EXEC:
        return take_exec(client, writer);
    case REDIS_DISCARD:
        if (!redis->multi) {
            resp_error(writer, "ERR DISCARD without MULTI");
        } else {
            multi_reset(redis);
            resp_status(writer, "OK");
        }
        return REDIS_TAKEN;
    case REDIS_WATCH:
        return take_watch(client, request, writer);
    case REDIS_KV_FENCE:
        take_fence(redis, request, writer);
        return REDIS_TAKEN;
    case REDIS_QUIT:
    case REDIS_RESET:
        return REDIS_NOT_MINE;
    default:
        break;
    }
    if (!redis->multi) {
        return REDIS_NOT_MINE;
    }
    queue(client, row, request, writer);
    return REDIS_TAKEN;
}
