/*
 * Linearizable reads (Ongaro's thesis, 6.4). All reads of a turn form one batch with one tag; the
 * core confirms, by a round of its followers, that this server was still the leader after they
 * arrived, and says from which applied index on they may be served.
 *
 *     asked in this turn ──reads_ask──► waiting for the round ──reads_release──► waiting for the
 *     index to be applied ──reads_serve──► answered
 *
 * A read is a record: struct read_record, then the command's bytes.
 */
#include "node/node.h"

#include "base/memory.h"

#include <stdlib.h>

struct read_record {
    struct client *client;
    uint64_t request_id;
    size_t cost;
    uint32_t size;
};

void reads_init(struct reads *reads)
{
    *reads = (struct reads){.next_tag = 1};
    list_init(&reads->waiting);
    list_init(&reads->spare);
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
    buf_done(&reads->asked);
}

bool reads_none(const struct kvapp_node *node)
{
    return list_empty(&node->reads.waiting) && node->reads.asked.size == 0;
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

void reads_queue(struct kvapp_node *node, struct client *client, uint64_t request_id,
                 struct slice command, size_t cost)
{
    const struct read_record record = {
        .client = client,
        .request_id = request_id,
        .cost = cost,
        .size = (uint32_t)command.size,
    };
    buf_append(&node->reads.asked, &record, sizeof record);
    buf_append_slice(&node->reads.asked, command);
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

void reads_ask(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    if (reads->asked.size == 0) {
        return;
    }
    if (raft_role(node->raft) != RAFT_LEADER) {
        redirect_records(node, &reads->asked);
        buf_clear(&reads->asked);
        return;
    }
    struct read_batch *batch = take_spare(reads);
    struct buf empty = batch->bytes;
    batch->bytes = reads->asked;
    reads->asked = empty;
    batch->tag = reads->next_tag++;
    batch->index = 0;
    batch->deadline_ms = node_now_ms(node) + REQUEST_TIMEOUT_MS;
    list_push(&reads->waiting, &batch->link);
    const struct raft_event event = {
        .type = RAFT_READ_ASKED,
        .now_ms = node_now_ms(node),
        .read_tag = batch->tag,
    };
    int err = step_event(node, &event, slice_of(NULL, 0));
    /* Time may have shown the core that it leads no more: step_time comes before, so it did not. */
    CHECK(err == 0);
}

void reads_release(struct kvapp_node *node, uint64_t tag, uint64_t index)
{
    struct list *waiting = &node->reads.waiting;
    for (struct list *at = waiting->next; at != waiting; at = at->next) {
        struct read_batch *batch = CONTAINER_OF(at, struct read_batch, link);
        if (batch->tag > tag) {
            break;
        }
        if (batch->index == 0) {
            uint64_t write = newest_write(&batch->bytes);
            batch->index = write > index ? write : index;
        }
    }
}

static void answer(struct kvapp_node *node, const struct read_record *record, struct slice bytes)
{
    struct command command;
    struct reply reply;
    CHECK(command_decode(bytes, &command) == 0);
    kv_query(node->kv, &command, &reply);
    const struct waiter waiter = waiter_of(record);
    reply_send(node, &waiter, &reply, NULL);
}

static bool clogged(const struct client *client)
{
    return client->held.size > 0 || outbox_size(&client->outbox) > CLIENT_OUT_MAX;
}

static void serve_batch(struct kvapp_node *node, struct read_batch *batch)
{
    struct reader reader = reader_of(buf_slice(&batch->bytes));
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
    struct list *waiting = &node->reads.waiting;
    while (!list_empty(waiting)) {
        struct read_batch *batch = CONTAINER_OF(waiting->next, struct read_batch, link);
        if (batch->index == 0 || batch->index > kv_applied_index(node->kv)) {
            break;
        }
        serve_batch(node, batch);
        put_spare(&node->reads, batch);
    }
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

void reads_fail(struct kvapp_node *node)
{
    struct list *waiting = &node->reads.waiting;
    struct list *at = waiting->next;
    while (at != waiting) {
        struct read_batch *batch = CONTAINER_OF(at, struct read_batch, link);
        at = at->next;
        /* A batch that was confirmed stays: it waits only for entries that are committed. */
        if (batch->index == 0 || batch->index > node->commit_index) {
            redirect_records(node, &batch->bytes);
            put_spare(&node->reads, batch);
        }
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

void reads_stop(struct kvapp_node *node)
{
    struct reads *reads = &node->reads;
    error_records(node, &reads->asked, KV_ERR_STOPPED);
    buf_clear(&reads->asked);
    while (!list_empty(&reads->waiting)) {
        struct read_batch *batch = CONTAINER_OF(reads->waiting.next, struct read_batch, link);
        error_records(node, &batch->bytes, KV_ERR_STOPPED);
        put_spare(reads, batch);
    }
}

void reads_expire(struct kvapp_node *node)
{
    struct list *waiting = &node->reads.waiting;
    while (!list_empty(waiting)) {
        struct read_batch *batch = CONTAINER_OF(waiting->next, struct read_batch, link);
        if (batch->deadline_ms > node_now_ms(node)) {
            break;
        }
        error_records(node, &batch->bytes, KV_ERR_TIMEOUT);
        put_spare(&node->reads, batch);
    }
}
