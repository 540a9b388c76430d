/*
 * The answers to a unit: its pieces in their order, each with what was there at once, or with as
 * many of the store's replies as it asked for. Each is written in the protocol's version that the
 * connection spoke when the request came.
 */
#include "node/node.h"

/* Where in the unit and in the store's reply the answering is. */
struct answering {
    struct client *client;
    const struct redis_unit *unit;
    size_t piece;
    size_t byte;
    struct redis_replies *replies; /* NULL: there are none, */
    int status;                    /* but this */
    const char *sentence;
    uint64_t now_ms; /* the cluster's time */
};

static struct slice next_bytes(struct answering *answering, const struct redis_piece *piece)
{
    bool has_bytes = piece->kind == REDIS_PIECE_BYTES || piece->kind == REDIS_PIECE_WORDS ||
                     piece->kind == REDIS_PIECE_WATCH;
    size_t size = has_bytes ? piece->size : 0;
    CHECK(size <= answering->unit->bytes.size - answering->byte);
    struct slice bytes = slice_of(answering->unit->bytes.data + answering->byte, size);
    answering->byte += size;
    return bytes;
}

static bool next_piece(struct answering *answering, struct redis_piece *ret_piece)
{
    if (answering->piece * sizeof *ret_piece == answering->unit->pieces.size) {
        return false;
    }
    memcpy(ret_piece, answering->unit->pieces.data + answering->piece * sizeof *ret_piece,
           sizeof *ret_piece);
    answering->piece++;
    return true;
}

/* A request about the connection that was queued, in its turn. */
static void put_words(struct client *client, struct slice bytes, const struct resp_writer *writer)
{
    struct buf *words = &client->redis->words;
    struct reader reader = reader_of(bytes);
    buf_clear(words);
    size_t count = 0;
    while (reader.left > 0) {
        struct slice word = reader_sized(&reader);
        buf_append(words, &word, sizeof word);
        count++;
    }
    client->redis->executing = true;
    const struct resp_request request = {.words = (const struct slice *)words->data,
                                         .count = count};
    redis_local(client, redis_find(&request), &request, writer);
    client->redis->executing = false;
}

/* One piece that is no EXEC. */
static void put_piece(struct answering *answering, const struct redis_piece *piece,
                      const struct resp_writer *writer)
{
    struct client *client = answering->client;
    struct slice bytes = next_bytes(answering, piece);
    bool asks = piece->kind != REDIS_PIECE_BYTES && piece->kind != REDIS_PIECE_WORDS;
    if (asks && answering->replies == NULL) {
        client->redis->unwatched = client->redis->unwatched || piece->kind == REDIS_PIECE_WATCH;
        redis_error_of(answering->status, answering->sentence, writer);
        return;
    }
    switch (piece->kind) {
    case REDIS_PIECE_BYTES:
        buf_append_slice(writer->out, bytes);
        break;
    case REDIS_PIECE_WORDS:
        put_words(client, bytes, writer);
        break;
    case REDIS_PIECE_CALL:
        redis_render(&piece->call, answering->replies, answering->now_ms, writer);
        break;
    case REDIS_PIECE_WATCH:
        multi_noted(client->redis, piece, bytes, answering->replies);
        resp_status(writer, "OK");
        break;
    case REDIS_PIECE_SCAN:
        scan_end(client, piece, answering->replies, writer);
        break;
    default:
        UNREACHABLE();
    }
}

/* The pieces of a transaction that was not executed. */
static void skip_pieces(struct answering *answering, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct redis_piece piece;
        CHECK(next_piece(answering, &piece));
        (void)next_bytes(answering, &piece);
        bool asks = piece.kind != REDIS_PIECE_BYTES && piece.kind != REDIS_PIECE_WORDS;
        for (uint32_t n = 0; asks && answering->replies != NULL && n < piece.call.count; n++) {
            (void)redis_next_reply(answering->replies);
        }
    }
}

static void put_exec(struct answering *answering, const struct redis_piece *exec,
                     const struct resp_writer *writer)
{
    bool holds = true;
    for (uint32_t i = 0; answering->replies != NULL && i < exec->call.count; i++) {
        holds = redis_next_reply(answering->replies).status == 0 && holds;
    }
    if (answering->replies == NULL || !holds) {
        skip_pieces(answering, exec->size);
        if (answering->replies == NULL) {
            redis_error_of(answering->status, answering->sentence, writer);
        } else {
            resp_null_array(writer);
        }
        return;
    }
    resp_array(writer, exec->size);
    for (uint32_t i = 0; i < exec->size; i++) {
        struct redis_piece piece;
        CHECK(next_piece(answering, &piece));
        put_piece(answering, &piece, writer);
    }
}

/* Appends the answers of the whole unit, which is done with then. */
static void put_unit(struct answering answering)
{
    struct client *client = answering.client;
    answering.now_ms = clock_now_ms(client->node);
    struct buf *out = outbox_begin(&client->outbox);
    struct redis_piece piece;
    while (next_piece(&answering, &piece)) {
        const struct resp_writer writer = {.out = out, .version = piece.version};
        size_t before = out->size;
        if (piece.kind == REDIS_PIECE_EXEC) {
            put_exec(&answering, &piece, &writer);
        } else {
            put_piece(&answering, &piece, &writer);
        }
        if (piece.silent) {
            out->size = before;
        }
    }
    outbox_end(&client->outbox);
    unit_clear(&client->redis->unit);
    redis_empty(&client->redis->command);
    redis_account(client->redis);
    client_mark_dirty(client);
}

/* Whether the command was certainly not logged, and may be sent once more. */
static bool may_come_again(int status)
{
    return status == KV_ERR_NOT_LEADER || status == KV_ERR_NO_LEADER || status == KV_ERR_BUSY;
}

/* Whether the state machine answered, and not a server in its place. */
static bool is_answered(int status)
{
    switch (status) {
    case KV_ERR_OUTCOME_UNKNOWN:
    case KV_ERR_NOT_LEADER:
    case KV_ERR_NO_LEADER:
    case KV_ERR_BUSY:
    case KV_ERR_TIMEOUT:
    case KV_ERR_FULL:
    case KV_ERR_STOPPED:
        return false;
    default:
        return true;
    }
}

void redis_answer(struct client *client, const struct reply *reply, const char *sentence)
{
    struct redis *redis = client->redis;
    CHECK(redis->state == REDIS_BUSY);
    redis->state = REDIS_IDLE;
    if (client->stream == NULL || client->closing) {
        unit_clear(&redis->unit);
        redis_account(redis);
        return;
    }
    if (may_come_again(reply->status) && node_now_ms(client->node) < redis->deadline_ms) {
        /* Whoever refused it needs a moment. */
        redis->retry_ms = node_now_ms(client->node) + client->node->config.timing.heartbeat_ms;
        redis_wait_for_leader(client);
        return;
    }
    if (redis->unit.writes && reply->revision > redis->write_index) {
        redis->write_index = reply->revision;
    }
    struct redis_replies replies = {.reader = reader_of(reply->data), .alone = reply};
    if (redis->batched) {
        replies.alone = NULL;
    }
    const struct answering answering = {
        .client = client,
        .unit = &redis->unit,
        .replies = is_answered(reply->status) ? &replies : NULL,
        .status = reply->status,
        .sentence = sentence,
    };
    put_unit(answering);
    redis_be_ready(client);
}

void redis_answer_alone(struct client *client, int status)
{
    client->redis->state = REDIS_IDLE;
    struct redis_replies none = {.reader = reader_of(slice_of(NULL, 0))};
    const struct answering answering = {
        .client = client,
        .unit = &client->redis->unit,
        .replies = status == 0 ? &none : NULL, /* Nothing asks for one then. */
        .status = status,
    };
    put_unit(answering);
}
