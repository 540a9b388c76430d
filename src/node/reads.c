/*
 * Reads (Ongaro's thesis, 6.4). All reads of a turn and of a kind form one batch with one tag; of a
 * leader, all that have gathered (read_gather.h). There the core confirms, by a round of its
 * followers, that this server was still the leader after they arrived, and says from which applied
 * index on they may be served. Elsewhere the leader is asked (read_index.c).
 *
 *     asked in this turn ──reads_ask──► waiting for the index ──reads_release──► waiting for the
 *     index to be applied ──reads_serve──► answered
 *
 * With a lease the first wait is over at once; stale reads know none of them. How old the state is
 * that a stale read sees is known from the other batches: once one is served, the state is not
 * older than the moment at which it was asked. So that there are such batches, an empty one is
 * asked from time to time, and more often where stale reads come.
 *
 * A read is a record: struct read_record, then the command's bytes.
 */
#include "node/node.h"

#include "base/memory.h"
#include "base/mutation.h"

#include <stdlib.h>

enum { REFRESH_HEARTBEATS = 20 }; /* where nobody asks for stale reads */

struct read_record {
    enum read_kind kind;
    struct client *client;
    uint64_t request_id;
    size_t cost;
    uint32_t size;
};

void reads_init(struct reads *reads)
{
    *reads = (struct reads){.fresh_ms = UINT64_MAX};
    list_init(&reads->waiting);
    list_init(&reads->spare);
}

void reads_start(struct reads *reads, uint64_t chance)
{
    reads->first_tag = chance / 2 + 1;
    reads->next_tag = reads->first_tag;
}

static void free_batches(struct list *list)
{
    struct list *at = list->next;
    while (at != list) {
        struct read_batch *batch = CONTAINER_OF(at, struct read_batch, link);
        at = at->next;
        buf_done(&batch->bytes);
        free(batch);
    }
    list_init(list);
}

void reads_done(struct reads *reads)
{
    free_batches(&reads->waiting);
    free_batches(&reads->spare);
    for (size_t kind = 0; kind < READ_KINDS; kind++) {
        buf_done(&reads->asked[kind]);
    }
}

/* Nobody waits for what is only to be known, or for another server's reads. */
bool reads_none(const struct kvapp_node *node)
{
    const struct reads *reads = &node->reads;
    for (size_t kind = 0; kind < READ_REMOTE; kind++) {
        if (reads->asked[kind].size > 0) {
            return false;
        }
    }
    for (const struct list *at = reads->waiting.next; at != &reads->waiting; at = at->next) {
        const struct read_batch *batch = CONTAINER_OF(at, struct read_batch, link);
        if (batch->kind != READ_REMOTE && batch->bytes.size > 0) {
            return false;
        }
    }
    return true;
}

static struct read_batch *take_spare(struct reads *reads)
{
    struct list *spare = list_pop(&reads->spare);
    if (spare != NULL) {
        return CONTAINER_OF(spare, struct read_batch, link);
    }
    struct read_batch *batch = memory_new(1, sizeof *batch);
    list_init(&batch->link);
    return batch;
}

static void put_spare(struct reads *reads, struct read_batch *batch)
{
    list_remove(&batch->link);
    buf_clear(&batch->bytes);
    buf_shrink(&batch->bytes, 256 * 1024);
    list_push(&reads->spare, &batch->link);
}

/* The next record of `reader`; false at the end. */
static bool next_record(struct reader *reader, struct read_record *ret_record,
                        struct slice *ret_command)
{
    if (reader->left == 0) {
        return false;
    }
    memcpy(ret_record, reader_bytes(reader, sizeof *ret_record).data, sizeof *ret_record);
    *ret_command = reader_bytes(reader, ret_record->size);
    CHECK(!reader->failed);
    return true;
}

static struct waiter waiter_of(const struct read_record *record)
{
    return (struct waiter){
        .client = record->client,
        .request_id = record->request_id,
        .cost = record->cost,
    };
}

static enum read_kind kind_of(const struct kvapp_node *node, enum kvapp_reads how)
{
    switch (how == KVAPP_READS_DEFAULT ? node->options.reads : how) {
    case KVAPP_READS_LINEARIZABLE:
        return READ_HERE;
    case KVAPP_READS_LEASE:
        return READ_LEASE;
    case KVAPP_READS_STALE:
        return READ_STALE;
    default:
        return READ_LEADER;
    }
}

void reads_queue(struct kvapp_node *node, const struct waiter *waiter, enum kvapp_reads how,
                 struct slice command)
{
    const struct read_record record = {
        .kind = kind_of(node, how),
        .client = waiter->client,
        .request_id = waiter->request_id,
        .cost = waiter->cost,
        .size = (uint32_t)command.size,
    };
    if (record.kind == READ_LEADER || record.kind == READ_HERE) {
        read_gather_ask(&node->reads.gather, io_now_us(node->io), &waiter->client->read_asked);
    }
    struct buf *asked = &node->reads.asked[record.kind];
    buf_append(asked, &record, sizeof record);
    buf_append_slice(asked, command);
}

/* A client's reads see the writes that it sent before them: the newest proposed of these. */
static uint64_t newest_write(const struct buf *records)
{
    struct reader reader = reader_of(buf_slice(records));
    struct read_record record;
    struct slice command;
    uint64_t newest = 0;
    while (next_record(&reader, &record, &command)) {
        if (record.client->write_index > newest) {
            newest = record.client->write_index;
        }
    }
    return newest;
}

static void redirect_records(struct kvapp_node *node, const struct buf *records)
{
    struct reader reader = reader_of(buf_slice(records));
    struct read_record record;
    struct slice command;
    while (next_record(&reader, &record, &command)) {
        const struct waiter waiter = waiter_of(&record);
        reply_redirect(node, &waiter);
    }
}

/* ---- asking ---- */

/* What was asked in this turn, of one kind, waits from now on. */
static struct read_batch *begin_batch(struct kvapp_node *node, enum read_kind kind)
{
    struct reads *reads = &node->reads;
    struct read_batch *batch = take_spare(reads);
    struct buf empty = batch->bytes;
    batch->bytes = reads->asked[kind];
    reads->asked[kind] = empty;
    batch->kind = kind;
    batch->tag = reads->next_tag++;
    batch->index = 0;
    batch->time_ms = 0;
    batch->redis_told = false;
    batch->asked_ms = node_now_ms(node);
    batch->deadline_ms = batch->asked_ms + REQUEST_TIMEOUT_MS;
    list_push(&reads->waiting, &batch->link);
    return batch;
}

/* The newest tag that waits for its index; 0: none does. */
static uint64_t newest_waiting(const struct reads *reads)
{
    for (const struct list *at = reads->waiting.prev; at != &reads->waiting; at = at->prev) {
        const struct read_batch *batch = CONTAINER_OF(at, struct read_batch, link);
        if (batch->index == 0) {
            return batch->tag;
        }
    }
    return 0;
}

/* Whether how new the state is shall be asked for without a read that does. */
static bool refresh_is_due(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    uint64_t now_ms = node_now_ms(node);
    if (node->state != NODE_SERVING || node->leader == 0 || newest_waiting(reads) != 0) {
        return false;
    }
    uint64_t heartbeat_ms = node->config.timing.heartbeat_ms;
    uint64_t due_ms = reads->stale_served ? reads->refresh_ms
                                          : reads->refresh_ms + REFRESH_HEARTBEATS * heartbeat_ms;
    if (now_ms < due_ms) {
        return false;
    }
    reads->stale_served = false;
    reads->refresh_ms = now_ms + heartbeat_ms;
    return true;
}

static void begin_batches(struct kvapp_node *node)
{
    static const enum read_kind kinds[] = {READ_LEADER, READ_HERE, READ_REMOTE};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (node->reads.asked[kinds[i]].size > 0) {
            (void)begin_batch(node, kinds[i]);
        }
    }
    if (refresh_is_due(node)) {
        (void)begin_batch(node, READ_HERE);
    }
}

/* Leader: the core has named the index. Besides, the batch's clients' own writes must be applied,
 * and, however late these are committed, what tells of the keys that have expired by now. */
static void release(struct kvapp_node *node, struct read_batch *batch, uint64_t index)
{
    uint64_t write = batch->kind == READ_REMOTE ? 0 : newest_write(&batch->bytes);
    batch->index = write > index ? write : index;
    batch->time_ms = clock_now_ms(node);
}

/* Whether a key may be there whose time had come when the batch was released: stage_purge tells of
 * it as soon as there is room. */
static bool waits_for_expiry(const struct kvapp_node *node, const struct read_batch *batch)
{
    return !MUTATION(read_expired) && kv_time_ms(node->kv) < batch->time_ms &&
           kv_next_expiry(node->kv) <= batch->time_ms;
}

static bool is_ready(const struct kvapp_node *node, const struct read_batch *batch)
{
    return batch->index != 0 && batch->index <= kv_applied_index(node->kv) &&
           !waits_for_expiry(node, batch);
}

/* The clock was read after all that waits had arrived: io_now_us. */
static void ask_lease(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    struct buf *asked = &reads->asked[READ_LEASE];
    if (asked->size == 0) {
        return;
    }
    if (raft_lease_holds(node->raft, node_now_ms(node))) {
        struct read_batch *batch = begin_batch(node, READ_LEASE);
        release(node, batch, node->commit_index);
        return;
    }
    buf_append_slice(&reads->asked[READ_LEADER], buf_slice(asked));
    buf_clear(asked);
}

uint64_t reads_ask_round(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    reads->core_tag = reads->next_tag++;
    const struct raft_event event = {
        .type = RAFT_READ_ASKED,
        .now_ms = node_now_ms(node),
        .read_tag = reads->core_tag,
    };
    int err = step_event(node, &event, slice_of(NULL, 0));
    /* Time may have shown the core that it leads no more: step_time comes before, so it did not. */
    CHECK(err == 0);
    return reads->core_tag;
}

static void send_away(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    redirect_records(node, &reads->asked[READ_LEADER]);
    redirect_records(node, &reads->asked[READ_LEASE]);
    read_index_answer(node, &reads->asked[READ_REMOTE], 0);
    buf_clear(&reads->asked[READ_LEADER]);
    buf_clear(&reads->asked[READ_LEASE]);
    buf_clear(&reads->asked[READ_REMOTE]);
}

/* Leader: whether what was asked waits for more of it. */
static bool gathers(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    const uint64_t now_us = io_now_us(node->io);
    if (newest_waiting(reads) == 0) {
        read_gather_over(&reads->gather, now_us);
    }
    bool any = reads->asked[READ_LEADER].size > 0 || reads->asked[READ_HERE].size > 0 ||
               reads->asked[READ_REMOTE].size > 0;
    return any && read_gather_waits(&reads->gather, now_us);
}

/* Leader: what has gathered becomes a round. */
static void begin_round(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    begin_batches(node);
    if (newest_waiting(reads) > reads->core_tag) {
        read_gather_begin(&reads->gather, io_now_us(node->io));
        (void)reads_ask_round(node);
    }
}

void reads_ask(struct kvapp_node *node)
{
    node->reads.gather.until_us = 0;
    if (raft_role(node->raft) == RAFT_LEADER) {
        ask_lease(node);
        if (!gathers(node)) {
            begin_round(node);
        }
        return;
    }
    send_away(node);
    begin_batches(node);
    uint64_t tag = newest_waiting(&node->reads);
    if (tag != 0) {
        read_index_ask(node, tag);
    }
}

/* ---- being told ---- */

void reads_release(struct kvapp_node *node, uint64_t tag, uint64_t index)
{
    struct list *waiting = &node->reads.waiting;
    struct list *at = waiting->next;
    while (at != waiting) {
        struct read_batch *batch = CONTAINER_OF(at, struct read_batch, link);
        at = at->next;
        if (batch->tag > tag) {
            break;
        }
        if (batch->index != 0) {
            continue;
        }
        release(node, batch, index);
    }
}

void reads_release_here(struct kvapp_node *node, uint64_t tag, uint64_t index)
{
    struct list *waiting = &node->reads.waiting;
    for (struct list *at = waiting->next; at != waiting; at = at->next) {
        struct read_batch *batch = CONTAINER_OF(at, struct read_batch, link);
        if (batch->tag > tag) {
            break;
        }
        if (batch->kind == READ_HERE && batch->index == 0) {
            batch->index = index;
        }
    }
}

/* ---- serving ---- */

static uint64_t age_ms(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    reads->stale_served = true;
    return reads->fresh_ms == UINT64_MAX ? UINT64_MAX : node_now_ms(node) - reads->fresh_ms;
}

static void answer(struct kvapp_node *node, const struct read_record *record, struct slice bytes)
{
    struct command command;
    struct reply reply;
    CHECK(command_decode(bytes, &command) == 0);
    bool framed = record->client->redis == NULL;
    kv_query(node->kv, &command, framed ? REPLY_SIZE_MAX : LOCAL_REPLY_SIZE_MAX, &reply);
    uint8_t stat[KEY_STAT_SIZE];
    if (command.operation == OPERATION_STAT && reply.status == 0) {
        reply.data = key_stat_later(reply.data, clock_now_ms(node), stat);
    }
    const struct waiter waiter = waiter_of(record);
    if (record->kind == READ_STALE) {
        reply_stale(node, &waiter, &reply, age_ms(node));
    } else {
        reply_send(node, &waiter, &reply, NULL);
    }
}

static bool clogged(const struct client *client)
{
    return client->held.size > 0 || outbox_size(&client->outbox) > CLIENT_OUT_MAX;
}

static void serve_records(struct kvapp_node *node, const struct buf *records)
{
    struct reader reader = reader_of(buf_slice(records));
    struct read_record record;
    struct slice command;
    while (next_record(&reader, &record, &command)) {
        if (record.client->stream != NULL && clogged(record.client)) {
            buf_append(&record.client->held, &record, sizeof record);
            buf_append_slice(&record.client->held, command);
        } else {
            answer(node, &record, command);
        }
    }
}

void reads_serve(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    struct list *at = reads->waiting.next;
    while (at != &reads->waiting) {
        struct read_batch *batch = CONTAINER_OF(at, struct read_batch, link);
        at = at->next;
        if (!is_ready(node, batch)) {
            continue;
        }
        if (reads->fresh_ms == UINT64_MAX || reads->fresh_ms < batch->asked_ms) {
            reads->fresh_ms = batch->asked_ms;
        }
        if (batch->kind == READ_REMOTE) {
            read_index_answer(node, &batch->bytes, kv_applied_index(node->kv));
        } else {
            serve_records(node, &batch->bytes);
        }
        put_spare(reads, batch);
    }
    serve_records(node, &reads->asked[READ_STALE]);
    buf_clear(&reads->asked[READ_STALE]);
}

/* Later is as right as at once: the state only moves on. Without a stream: only released. */
void reads_serve_held(struct client *client)
{
    size_t used = 0;
    struct reader reader = reader_of(buf_slice(&client->held));
    struct read_record record;
    struct slice command;
    while ((client->stream == NULL || outbox_size(&client->outbox) <= CLIENT_OUT_MAX) &&
           next_record(&reader, &record, &command)) {
        used = client->held.size - reader.left;
        answer(client->node, &record, command);
    }
    buf_consume(&client->held, used);
    if (client->held.size == 0) {
        buf_done(&client->held);
    }
}

/* ---- ending ---- */

/* Leadership is lost. */
void reads_fail(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    uint64_t first_new = reads->next_tag;
    struct list *at = reads->waiting.next;
    while (at != &reads->waiting) {
        struct read_batch *batch = CONTAINER_OF(at, struct read_batch, link);
        at = at->next;
        if (batch->tag >= first_new) {
            break;
        }
        /* A batch that was confirmed stays: it waits only for entries that are committed. */
        if (batch->index != 0 && batch->index <= node->commit_index &&
            !waits_for_expiry(node, batch)) {
            batch->time_ms = 0;
            continue;
        }
        if (batch->kind == READ_HERE) {
            /* The next leader is asked, be it this server. */
            batch->index = 0;
            batch->time_ms = 0;
            batch->tag = reads->next_tag++;
            list_remove(&batch->link);
            list_push(&reads->waiting, &batch->link);
            continue;
        }
        if (batch->kind == READ_REMOTE) {
            read_index_answer(node, &batch->bytes, 0);
        } else {
            redirect_records(node, &batch->bytes);
        }
        put_spare(reads, batch);
    }
}

static void error_records(struct kvapp_node *node, const struct buf *records, int err)
{
    struct reader reader = reader_of(buf_slice(records));
    struct read_record record;
    struct slice command;
    while (next_record(&reader, &record, &command)) {
        const struct waiter waiter = waiter_of(&record);
        reply_error(node, &waiter, err);
    }
}

static void drop_batch(struct kvapp_node *node, struct read_batch *batch, int err)
{
    if (batch->kind != READ_REMOTE) {
        error_records(node, &batch->bytes, err);
    }
    put_spare(&node->reads, batch);
}

void reads_stop(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    for (size_t kind = 0; kind < READ_REMOTE; kind++) {
        error_records(node, &reads->asked[kind], KV_ERR_STOPPED);
        buf_clear(&reads->asked[kind]);
    }
    while (!list_empty(&reads->waiting)) {
        drop_batch(node, CONTAINER_OF(reads->waiting.next, struct read_batch, link),
                   KV_ERR_STOPPED);
    }
}

/* Clients of Redis are told sooner that there is no leader: their own patience is short. */
static void drop_redis(struct kvapp_node *node, struct read_batch *batch)
{
    struct buf left = {0};
    struct reader reader = reader_of(buf_slice(&batch->bytes));
    struct read_record record;
    struct slice command;
    while (next_record(&reader, &record, &command)) {
        if (record.client->redis == NULL) {
            buf_append(&left, &record, sizeof record);
            buf_append_slice(&left, command);
        } else {
            const struct waiter waiter = waiter_of(&record);
            reply_error(node, &waiter, KV_ERR_NO_LEADER);
        }
    }
    buf_done(&batch->bytes);
    batch->bytes = left;
    batch->redis_told = true;
}

/* Tags rise along the list, deadlines need not: a read that is asked again keeps its own. */
void reads_expire(struct kvapp_node *node)
{
    struct list *waiting = &node->reads.waiting;
    struct list *at = waiting->next;
    while (at != waiting) {
        struct read_batch *batch = CONTAINER_OF(at, struct read_batch, link);
        at = at->next;
        uint64_t now_ms = node_now_ms(node);
        if (batch->deadline_ms <= now_ms) {
            drop_batch(node, batch, KV_ERR_TIMEOUT);
        } else if (batch->index == 0 && batch->kind != READ_REMOTE && !batch->redis_told &&
                   now_ms >= batch->asked_ms + REDIS_PATIENCE_MS) {
            drop_redis(node, batch);
        }
    }
}
