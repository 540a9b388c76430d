/*
 * A connection that speaks Redis's protocol.
 *
 *     bytes ─► requests ─► a unit: all that has come, up to a bound ─► one command of the store
 *                            │ what needs no store is answered on the spot
 *     bytes ◄─ the pieces' answers, in their order ◄─ the store's reply
 *
 * One unit of a connection is under way at a time, and what comes meanwhile is the next one. So
 * replies are in order and each command sees those before it, without any bookkeeping; and a
 * pipeline, or all the load that gathers behind a round, costs one log entry and one reply. A unit
 * that only reads takes the way of all reads; in one that writes the reads are in the log too.
 *
 *                 submitted                    answered
 *     IDLE ──────────────────────► BUSY ────────────────────► IDLE
 *       │ no leader to send to ▲    │ it was certainly not logged
 *       └────► HOMELESS ───────┘◄───┘
 *
 * A unit whose outcome is unknown is answered so, and never sent again.
 */
#include "node/node.h"

#include "base/memory.h"

#include <stdlib.h>

enum {
    UNIT_COMMANDS_MAX = 1024,
    UNIT_BYTES_MAX = 256 * 1024,      /* of commands, or of answers, unless one request has more */
    KEPT_MAX = 1024 * 1024,           /* bytes that come while a unit is under way */
    READ_BYTES_MAX = 8 * 1024 * 1024, /* of the values that one unit reads, unless one has more */
    KEPT_CAPACITY = 16 * 1024,        /* of buffers of an idle connection */
};

STATIC_CHECK((int)UNIT_COMMANDS_MAX <= (int)BATCH_COUNT_MAX, "a unit fits a batch");

struct redis *redis_new(struct client *client)
{
    struct kvapp_node *node = client->node;
    struct redis *redis = memory_new(1, sizeof *redis);
    redis->client = client;
    list_init(&redis->waiting);
    list_init(&redis->ready);
    redis->version = 2;
    redis->id = ++node->redis_ids;
    redis->began_ms = node_now_ms(node);
    redis->last = "NULL";
    return redis;
}

void unit_done(struct redis_unit *unit)
{
    buf_done(&unit->commands);
    buf_done(&unit->pieces);
    buf_done(&unit->bytes);
}

void redis_free(struct redis *redis)
{
    if (redis == NULL) {
        return;
    }
    list_remove(&redis->waiting);
    list_remove(&redis->ready);
    redis->state = REDIS_IDLE;
    redis_account(redis);
    resp_decoder_done(&redis->decoder);
    unit_done(&redis->unit);
    unit_done(&redis->queued);
    buf_done(&redis->command);
    buf_done(&redis->words);
    buf_done(&redis->kept);
    buf_done(&redis->name);
    buf_done(&redis->library);
    buf_done(&redis->library_version);
    buf_done(&redis->watched);
    free(redis);
}

/* ---- units ---- */

void redis_empty(struct buf *buf)
{
    buf_clear(buf);
    buf_shrink(buf, KEPT_CAPACITY);
}

void unit_clear(struct redis_unit *unit)
{
    redis_empty(&unit->commands);
    redis_empty(&unit->pieces);
    redis_empty(&unit->bytes);
    unit->count = 0;
    unit->reads = 0;
    unit->writes = false;
    unit->ends = false;
}

void unit_add(struct redis_unit *unit, const struct redis *redis, struct redis_piece piece)
{
    piece.version = (uint8_t)redis->version;
    piece.silent = redis->reply_off || redis->reply_skip;
    buf_append(&unit->pieces, &piece, sizeof piece);
}

void unit_add_words(struct redis_unit *unit, const struct redis *redis,
                    const struct resp_request *request)
{
    size_t before = unit->bytes.size;
    for (size_t i = 0; i < request->count; i++) {
        buf_put_sized(&unit->bytes, request->words[i]);
    }
    const struct redis_piece piece = {
        .kind = REDIS_PIECE_WORDS,
        .size = (uint32_t)(unit->bytes.size - before),
    };
    unit_add(unit, redis, piece);
}

void unit_move(struct redis_unit *unit, struct redis_unit *other)
{
    buf_append_slice(&unit->commands, buf_slice(&other->commands));
    buf_append_slice(&unit->pieces, buf_slice(&other->pieces));
    buf_append_slice(&unit->bytes, buf_slice(&other->bytes));
    unit->count += other->count;
    unit->reads += other->reads;
    unit->writes = unit->writes || other->writes;
    unit_clear(other);
}

void unit_add_answer(struct redis_unit *unit, const struct redis *redis, struct buf *answer)
{
    const struct redis_piece piece = {.kind = REDIS_PIECE_BYTES, .size = (uint32_t)answer->size};
    if (answer->size > 0) {
        unit_add(unit, redis, piece);
        buf_append_slice(&unit->bytes, buf_slice(answer));
        redis_empty(answer);
    }
}

/* The replies of so many commands that may reply a value fit the reply that they share. */
static bool replies_fit(const struct kvapp_node *node, uint32_t reads, bool writes)
{
    size_t size_max = writes ? REPLY_SIZE_MAX / 2 : READ_BYTES_MAX;
    return (uint64_t)reads * (kv_value_size_max(node->kv) + 64) <= size_max;
}

bool unit_takes(const struct kvapp_node *node, const struct redis_unit *unit,
                const struct redis_unit *other)
{
    if (unit->pieces.size == 0) {
        return true; /* Alone it may be as large as it is. */
    }
    if (unit->count + other->count > UNIT_COMMANDS_MAX ||
        unit->commands.size + other->commands.size > UNIT_BYTES_MAX) {
        return false;
    }
    uint32_t reads = unit->reads + other->reads;
    return reads == 0 || replies_fit(node, reads, unit->writes || other->writes);
}

/* The same of a transaction that is being queued: a reply too large is then an error of its own. */
static bool queue_takes(const struct redis_unit *queued, const struct redis_unit *other)
{
    return queued->count + other->count <= BATCH_COUNT_MAX &&
           queued->commands.size + other->commands.size <= COMMAND_SIZE_MAX - 1024;
}

/* What one request became goes to the unit, or is to come again. */
static enum redis_taken settle(const struct client *client, struct redis_unit *unit,
                               struct redis_unit *one, const struct resp_writer *writer)
{
    enum redis_taken taken = REDIS_TAKEN;
    if (one->commands.size > COMMAND_SIZE_MAX - 1024 || one->count > BATCH_COUNT_MAX) {
        resp_error(writer,
                   "ERR the request is too large: it may have %d keys, and %d bytes of keys and "
                   "values",
                   BATCH_COUNT_MAX, COMMAND_SIZE_MAX - 1024);
    } else if (unit == &client->redis->queued ? queue_takes(unit, one)
                                              : unit_takes(client->node, unit, one)) {
        unit_move(unit, one);
    } else {
        taken = REDIS_LATER;
    }
    unit_clear(one);
    return taken;
}

/* What the commands may do: not every request that may write becomes one that does. */
static void judge(struct redis_unit *one)
{
    struct reader reader = reader_of(buf_slice(&one->commands));
    while (reader.left > 0) {
        struct slice command = reader_sized(&reader);
        bool has_options = (get_u16(command.data + 1) & COMMAND_OPTIONS) != 0;
        switch (command.data[0]) {
        case OPERATION_GET:
        case OPERATION_GET_RANGE:
        case OPERATION_LCS:
        case OPERATION_MATCH:
            one->reads++;
            break;
        case OPERATION_PUT:
        case OPERATION_DELETE:
        case OPERATION_EXPIRE:
            one->reads += has_options ? 1 : 0; /* It may be RETURN. */
            one->writes = true;
            break;
        default:
            one->writes = one->writes || operation_is_write((enum operation)command.data[0]);
            break;
        }
    }
}

bool redis_sends_away(const struct client *client, const struct redis_command *row,
                      const struct resp_request *request, const struct resp_writer *writer)
{
    const struct kvapp_node *node = client->node;
    bool writes = (row->flags & REDIS_WRITES) != 0;
    if (!writes || node->options.redis_writes == KVAPP_REDIS_FORWARD ||
        raft_role(node->raft) == RAFT_LEADER) {
        return false;
    }
    char address[ADDRESS_SIZE_MAX];
    if (!redis_leader_address(node, address)) {
        resp_error(writer, "CLUSTERDOWN the cluster has no leader at the moment");
    } else if (node->options.redis_writes == KVAPP_REDIS_MOVED) {
        size_t place = 0;
        size_t keys = redis_keys(row, request, &place, 1);
        unsigned slot = keys == 0 ? 0 : redis_slot(request->words[place]);
        resp_error(writer, "MOVED %u %s", slot, address);
    } else {
        resp_error(writer, "READONLY You can't write against a read only replica.");
    }
    return true;
}

enum redis_taken redis_gather(struct client *client, struct redis_unit *unit,
                              const struct redis_command *row, const struct resp_request *request,
                              const struct resp_writer *writer)
{
    struct kvapp_node *node = client->node;
    struct redis_unit *one = &node->redis_request;
    if (redis_sends_away(client, row, request, writer)) {
        return REDIS_TAKEN;
    }
    /* It looks at every key: nothing else waits for that. */
    bool is_alone = row->id == REDIS_KEYS && unit == &client->redis->unit;
    if (is_alone && unit->pieces.size > 0) {
        return REDIS_LATER;
    }
    unit->ends = unit->ends || is_alone;
    if (row->id == REDIS_SCAN) {
        if (!scan_begin(client, request, writer, one)) {
            return REDIS_TAKEN;
        }
    } else {
        const struct redis_chance chance = {
            .random = row->id == REDIS_RANDOMKEY ? io_random(node->io) : 0,
            .now_ms = kv_time_ms(node->kv),
        };
        struct redis_piece piece = {.kind = REDIS_PIECE_CALL};
        if (!redis_translate(row, request, &chance, writer, &one->commands, &piece.call)) {
            return REDIS_TAKEN;
        }
        one->count = piece.call.count;
        unit_add(one, client->redis, piece);
    }
    judge(one);
    return settle(client, unit, one, writer);
}

/* ---- requests ---- */

/* Whether what this does or says depends on the answers to what is in the unit already. */
static bool comes_after(const struct redis *redis, const struct redis_command *row)
{
    return redis->unit.pieces.size > 0 && row->id == REDIS_WAIT;
}

/* What a browser sends that a page made speak to this port. Nothing in it is carried out. */
static bool is_http(struct slice word)
{
    return redis_word_is(word, "post") || redis_word_is(word, "host:");
}

/* False: the request is to come again, in the next unit. */
static bool take_request(struct client *client, const struct resp_request *request)
{
    struct redis *redis = client->redis;
    struct redis_unit *unit = &redis->unit;
    struct buf *answer = &client->node->redis_text;
    const struct resp_writer writer = {.out = answer, .version = redis->version};
    if (is_http(request->words[0])) {
        redis->last_one = true;
        return true;
    }
    const struct redis_command *row = redis_find(request);
    enum redis_taken taken = REDIS_TAKEN;
    bool skip = redis->reply_skip;
    if (!redis_check(row, request, &writer)) {
        multi_wrong(redis, row);
    } else if (comes_after(redis, row)) {
        return false;
    } else {
        taken = multi_take(client, row, request, &writer);
        if (taken == REDIS_NOT_MINE && row->is_local && row->id != REDIS_SCAN) {
            redis_local(client, row, request, &writer);
            taken = REDIS_TAKEN;
        } else if (taken == REDIS_NOT_MINE) {
            taken = redis_gather(client, unit, row, request, &writer);
        }
    }
    if (taken == REDIS_LATER) {
        return false;
    }
    unit_add_answer(unit, redis, answer);
    redis->last = row == NULL ? "NULL" : row->name;
    if (skip) {
        redis->reply_skip = false;
    }
    return true;
}

static bool is_complete(const struct redis *redis)
{
    const struct redis_unit *unit = &redis->unit;
    return unit->ends || unit->commands.size >= UNIT_BYTES_MAX ||
           unit->bytes.size >= UNIT_BYTES_MAX || redis->last_one || redis->state != REDIS_IDLE;
}

/* Gathers a unit from the front of `bytes`, and how much of them it took. */
static void gather(struct client *client, struct slice bytes, size_t *ret_used)
{
    struct redis *redis = client->redis;
    size_t used = 0;
    while (used < bytes.size && !is_complete(redis)) {
        struct resp_request request;
        size_t size = 0;
        int err = resp_decode(&redis->decoder, slice_of(bytes.data + used, bytes.size - used),
                              &request, &size);
        if (err == KV_ERR_INCOMPLETE) {
            break;
        }
        if (err != 0) {
            struct buf *answer = &client->node->redis_text;
            const struct resp_writer writer = {.out = answer, .version = 2};
            resp_error(&writer, "ERR %s", redis->decoder.error);
            unit_add_answer(&redis->unit, redis, answer);
            redis->last_one = true;
            break;
        }
        if (request.count > 0 && !take_request(client, &request)) {
            break;
        }
        used += size;
    }
    *ret_used = used;
}

/* ---- to the store ---- */

static enum kvapp_reads reads_of(const struct kvapp_node *node)
{
    bool leads = raft_role(node->raft) == RAFT_LEADER;
    return leads && node->options.reads == KVAPP_READS_LEASE ? KVAPP_READS_LEASE
                                                             : KVAPP_READS_LINEARIZABLE;
}

/* Hands the unit's command over; without a leader it waits for one. */
void redis_send(struct client *client)
{
    struct kvapp_node *node = client->node;
    struct redis *redis = client->redis;
    struct slice command = buf_slice(&redis->command);
    const struct waiter waiter = {.client = client, .cost = command.size + REQUEST_COST};
    redis->state = REDIS_BUSY;
    if (!redis->unit.writes) {
        reads_queue(node, &waiter, reads_of(node), command);
    } else if (raft_role(node->raft) == RAFT_LEADER) {
        propose_queue(node, &waiter, command);
    } else if (!forward_send(node, &waiter, command)) {
        redis_wait_for_leader(client);
        return;
    }
    client->waiting++;
    node->waiting_bytes += waiter.cost;
    node->more_work = true;
}

static void submit(struct client *client)
{
    struct redis *redis = client->redis;
    const struct redis_unit *unit = &redis->unit;
    if (unit->count == 0) {
        redis_answer_alone(client, 0);
        return;
    }
    buf_clear(&redis->command);
    bool is_guard = unit->commands.data[4] == OPERATION_GUARD; /* That needs a batch around it. */
    redis->batched = unit->count > 1 || is_guard;
    if (!redis->batched) {
        buf_append(&redis->command, unit->commands.data + 4, unit->commands.size - 4);
    } else {
        const struct command batch = {
            .operation = unit->writes ? OPERATION_BATCH : OPERATION_READ_BATCH,
            .commands = buf_slice(&unit->commands),
        };
        command_encode(&batch, &redis->command);
    }
    redis->deadline_ms = node_now_ms(client->node) + REDIS_PATIENCE_MS;
    redis->retry_ms = 0;
    redis_send(client);
    redis_account(redis);
}

/* ---- the connection ---- */

bool redis_takes_more(const struct redis *redis)
{
    return redis->state == REDIS_IDLE || redis->kept.size < KEPT_MAX;
}

bool redis_is_done(const struct redis *redis)
{
    return redis->state == REDIS_IDLE && list_empty(&redis->ready);
}

/* What is answered is not taken, or too much is in flight: it goes on later. */
static bool is_held_back(const struct client *client)
{
    return outbox_size(&client->outbox) > CLIENT_OUT_MAX ||
           client->node->waiting_bytes > NODE_WAITING_MAX;
}

/* Units from the front of `bytes`, until one is under way; how much of them was taken. */
static size_t take_units(struct client *client, struct slice bytes)
{
    struct redis *redis = client->redis;
    size_t used = 0;
    while (redis->state == REDIS_IDLE && !redis->last_one && used < bytes.size) {
        if (is_held_back(client)) {
            redis_be_ready(client);
            break;
        }
        size_t size = 0;
        gather(client, slice_of(bytes.data + used, bytes.size - used), &size);
        used += size;
        if (redis->unit.pieces.size == 0) {
            break;
        }
        submit(client);
    }
    return used;
}

void redis_take(struct client *client, struct slice bytes)
{
    struct redis *redis = client->redis;
    if (client->closing || redis->last_one || client->node->state != NODE_SERVING) {
        return;
    }
    if (redis->kept.size == 0) {
        size_t used = take_units(client, bytes);
        buf_append(&redis->kept, bytes.data + used, bytes.size - used);
    } else {
        buf_append_slice(&redis->kept, bytes);
        size_t used = take_units(client, buf_slice(&redis->kept));
        buf_consume(&redis->kept, used);
        buf_shrink(&redis->kept, KEPT_CAPACITY);
    }
    redis_account(redis);
    if (redis->last_one && redis->state == REDIS_IDLE) {
        client_end(client);
    }
}

void redis_be_ready(struct client *client)
{
    list_remove(&client->redis->ready);
    list_push(&client->node->redis_ready, &client->redis->ready);
}

void redis_account(struct redis *redis)
{
    struct kvapp_node *node = redis->client->node;
    bool is_idle = redis->state == REDIS_IDLE;
    size_t size = is_idle ? 0 : redis->kept.size + redis->unit.commands.size + redis->command.size;
    CHECK(node->waiting_bytes >= redis->accounted);
    node->waiting_bytes += size - redis->accounted;
    redis->accounted = size;
}

void redis_go_on(struct kvapp_node *node)
{
    struct list turn;
    list_init(&turn);
    list_move(&turn, &node->redis_ready);
    for (struct list *at = list_pop(&turn); at != NULL; at = list_pop(&turn)) {
        struct client *client = CONTAINER_OF(at, struct redis, ready)->client;
        redis_take(client, slice_of(NULL, 0));
        if (client->ended || client->redis->last_one) {
            client_end(client);
        }
    }
}
