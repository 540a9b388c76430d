/*
 * Writes: what clients sent in this turn becomes entries, staged in the storage's memory and
 * proposed to the core as one count. Nothing is logged that the state machine would refuse to
 * decode: that was checked when it arrived.
 *
 * A queued write is a record in node->writes: struct waiter, u32 size, the command's bytes.
 *
 * What is proposed in one turn is a round, and gather.h says when one begins: what comes while one
 * is under way waits for its end, and a little longer, unless it is enough for a round of its own.
 */
#include "node/node.h"

/* Of the queue: with so much more, a round costs no less for each of its writes. */
enum { ROUND_BYTES = 64 * 1024 };

void propose_queue(struct kvapp_node *node, const struct waiter *waiter, struct slice command)
{
    if (waiter->client != NULL) {
        gather_ask(&node->write_gather, &waiter->client->write_round);
    }
    buf_append(&node->writes, waiter, sizeof *waiter);
    buf_put_sized(&node->writes, command);
}

/* The first record of the queue; false when it is empty. */
static bool peek(const struct kvapp_node *node, struct waiter *ret_waiter,
                 struct slice *ret_command, size_t *ret_size)
{
    struct reader reader = reader_of(
        slice_of(node->writes.data + node->writes_first, node->writes.size - node->writes_first));
    if (reader.left == 0) {
        return false;
    }
    memcpy(ret_waiter, reader_bytes(&reader, sizeof *ret_waiter).data, sizeof *ret_waiter);
    *ret_command = reader_sized(&reader);
    CHECK(!reader.failed);
    *ret_size = sizeof *ret_waiter + 4 + ret_command->size;
    return true;
}

/* Gives the queue's memory back to the front once it is empty, or mostly read. */
static void tidy_queue(struct kvapp_node *node)
{
    if (node->writes_first == node->writes.size) {
        buf_clear(&node->writes);
        node->writes_first = 0;
        buf_shrink(&node->writes, 1024 * 1024);
    } else if (node->writes_first > node->writes.size / 2) {
        buf_consume(&node->writes, node->writes_first);
        node->writes_first = 0;
    }
}

static void redirect_all(struct kvapp_node *node)
{
    struct waiter waiter;
    struct slice command;
    size_t size = 0;
    while (peek(node, &waiter, &command, &size)) {
        node->writes_first += size;
        reply_redirect(node, &waiter);
    }
}

void propose_stop(struct kvapp_node *node)
{
    struct waiter waiter;
    struct slice command;
    size_t size = 0;
    while (peek(node, &waiter, &command, &size)) {
        node->writes_first += size;
        reply_error(node, &waiter, KV_ERR_STOPPED);
    }
    tidy_queue(node);
}

static void stage(struct kvapp_node *node, uint64_t index, uint64_t time_ms, struct slice command)
{
    const struct entry entry = {
        .index = index,
        .term = raft_term(node->raft),
        .time_ms = time_ms,
        .kind = ENTRY_COMMAND,
        .payload = command,
    };
    storage_append(node->storage, &entry);
}

/*
 * Keys go by the log's time. When that of the next one has come, some entry has to say so, before a
 * read could still see the key: one that is staged anyway, else a PURGE. What has gone and is still
 * stored is removed by PURGEs, one after the other.
 */
static uint64_t stage_purge(struct kvapp_node *node, uint64_t first, uint64_t count,
                            uint64_t time_ms)
{
    uint64_t expires_ms = kv_next_expiry(node->kv);
    if (expires_ms > time_ms || node->purge_index > kv_applied_index(node->kv)) {
        return 0;
    }
    node->purge_index = first + count;
    if (count > 0 && expires_ms > kv_time_ms(node->kv)) {
        node->purge_index = first;
        return 0;
    }
    const struct command purge = {.operation = OPERATION_PURGE};
    struct buf bytes = {0};
    command_encode(&purge, &bytes);
    stage(node, node->purge_index, time_ms, buf_slice(&bytes));
    buf_done(&bytes);
    return 1;
}

/* Stages as many queued writes as there is room for; returns their number. */
static uint64_t stage_writes(struct kvapp_node *node, uint64_t room)
{
    const uint64_t first = raft_last_index(node->raft) + 1;
    const uint64_t now_ms = node_now_ms(node);
    const uint64_t time_ms = clock_now_ms(node);
    uint64_t count = 0;
    struct waiter waiter;
    struct slice command;
    size_t size = 0;
    while (peek(node, &waiter, &command, &size)) {
        if (full_refuses(node, &waiter, command)) {
            node->writes_first += size;
            continue;
        }
        if (count == room) {
            break;
        }
        const uint64_t index = first + count;
        stage(node, index, time_ms, command);
        waiter.deadline_ms = now_ms + REQUEST_TIMEOUT_MS;
        tracker_add(&node->tracker, index, &waiter);
        if (waiter.client != NULL) {
            waiter.client->write_index = index;
        }
        node->writes_first += size;
        count++;
    }
    return count < room ? count + stage_purge(node, first, count, time_ms) : count;
}

/* Whether what is queued waits for more. */
static bool gathers(struct kvapp_node *node)
{
    const uint64_t now_us = io_now_us(node->io);
    if (node->commit_index == raft_last_index(node->raft)) {
        gather_over(&node->write_gather, now_us);
    }
    size_t queued = node->writes.size - node->writes_first;
    return queued > 0 && queued < ROUND_BYTES && gather_waits(&node->write_gather, now_us);
}

static void propose(struct kvapp_node *node)
{
    uint64_t room = raft_room(node->raft);
    uint64_t slots = tracker_room(&node->tracker, raft_last_index(node->raft) + 1);
    uint64_t count = stage_writes(node, room < slots ? room : slots);
    if (count == 0) {
        return;
    }
    gather_begin(&node->write_gather, io_now_us(node->io));
    const struct raft_event event = {
        .type = RAFT_PROPOSED,
        .now_ms = node_now_ms(node),
        .propose_count = count,
    };
    CHECK(step_event(node, &event, slice_of(NULL, 0)) == 0);
}

void propose_all(struct kvapp_node *node)
{
    node->write_gather.until_us = 0;
    if (raft_role(node->raft) != RAFT_LEADER) {
        redirect_all(node);
    } else if (!gathers(node)) {
        propose(node);
    }
    tidy_queue(node);
}

int kvapp_node_propose(struct kvapp_node *node, const void *command, size_t command_size,
                       struct kvapp_proposal *proposal)
{
    if (node->state != NODE_SERVING || raft_role(node->raft) != RAFT_LEADER) {
        return KV_ERR_NOT_LEADER;
    }
    struct command decoded;
    struct slice bytes = slice_of(command, command_size);
    int err = command_decode(bytes, &decoded);
    if (err == 0) {
        err = command_check(&decoded);
    }
    if (err == 0 && !operation_is_write(decoded.operation)) {
        err = KV_ERR_INVALID;
    }
    if (err == 0 && node->waiting_bytes > NODE_WAITING_MAX) {
        err = KV_ERR_BUSY;
    }
    if (err != 0) {
        return err;
    }
    const struct waiter waiter = {.proposal = proposal, .cost = command_size + REQUEST_COST};
    node->waiting_bytes += waiter.cost;
    propose_queue(node, &waiter, bytes);
    node->more_work = true;
    return 0;
}
