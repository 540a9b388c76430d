/*
 * Appends to a member. Entries that are in the storage's cache are encoded at once; a member that
 * is farther behind is fed from the disk: the append waits, and those after it wait behind it, so
 * that they leave in order.
 */
#include "node/node.h"

#include "base/memory.h"

#include <stdlib.h>

enum { FEED_WAITING_MAX = 2 * APPEND_WINDOW };

static void read_more(struct link *link);

/* Encodes the append when all its entries are cached. */
static bool encode_cached(struct link *link, const struct raft_message *message)
{
    struct kvapp_node *node = link->node;
    const struct raft_append_request *append = &message->append_request;
    if (append->entry_count > 0 && append->prev_index + 1 < storage_cached_from(node->storage)) {
        return false;
    }
    struct buf *out = outbox_begin(&link->outbox);
    size_t mark = peer_message_begin(message, out);
    for (uint64_t i = 1; i <= append->entry_count; i++) {
        struct slice entry;
        CHECK(storage_get(node->storage, append->prev_index + i, &entry) == 0);
        buf_append_slice(out, entry);
    }
    frame_end(out, mark);
    outbox_end(&link->outbox);
    return true;
}

static void encode_gathered(struct link *link, const struct raft_message *message)
{
    struct buf *out = outbox_begin(&link->outbox);
    size_t mark = peer_message_begin(message, out);
    buf_append_slice(out, buf_slice(&link->gathered));
    frame_end(out, mark);
    outbox_end(&link->outbox);
}

static void pop_waiting(struct link *link)
{
    link->waiting_first = (link->waiting_first + 1) % FEED_WAITING_MAX;
    link->waiting_count--;
    buf_clear(&link->gathered);
    link->gathered_count = 0;
}

/* An append is still worth sending while this server leads in the term in which it was made:
 * until then its log is not cut. */
static bool is_current(const struct link *link, const struct raft_message *message)
{
    const struct raft *raft = link->node->raft;
    return raft_role(raft) == RAFT_LEADER && raft_term(raft) == message->term;
}

/* Sends what can be sent from the front of the line; starts a read where one is needed. */
static void advance(struct link *link)
{
    while (link->waiting_count > 0) {
        const struct raft_message *message = &link->waiting[link->waiting_first];
        if (link->gathered_count == 0 &&
            (!is_current(link, message) || encode_cached(link, message))) {
            pop_waiting(link);
            continue;
        }
        read_more(link);
        return;
    }
    buf_done(&link->gathered);
}

static void read_done(struct storage_read *read, int err, struct slice entries, uint64_t count,
                      const char *sentence)
{
    struct link *link = CONTAINER_OF(read, struct link, read);
    struct kvapp_node *node = link->node;
    link->reading = false;
    if (node->state != NODE_SERVING && node->state != NODE_DRAINING) {
        return;
    }
    if (err == KV_ERR_DAMAGED || err == KV_ERR_IO) {
        node_fail(node, err, sentence);
        return;
    }
    if (link->discard) {
        link->discard = false;
        advance(link);
        return;
    }
    const struct raft_message *message = &link->waiting[link->waiting_first];
    if (err != 0 || !is_current(link, message)) {
        pop_waiting(link);
        advance(link);
        return;
    }
    buf_append_slice(&link->gathered, entries);
    link->gathered_count += count;
    CHECK(link->gathered_count <= message->append_request.entry_count);
    if (link->gathered_count == message->append_request.entry_count) {
        encode_gathered(link, message);
        pop_waiting(link);
    }
    advance(link);
}

static void read_more(struct link *link)
{
    const struct raft_append_request *append = &link->waiting[link->waiting_first].append_request;
    link->reading = true;
    link->read.done = read_done;
    storage_read_start(link->node->storage, &link->read,
                       append->prev_index + 1 + link->gathered_count,
                       append->prev_index + append->entry_count, APPEND_BYTES);
}

void feed_init(struct link *link)
{
    link->waiting = memory_new(FEED_WAITING_MAX, sizeof *link->waiting);
}

void feed_append(struct link *link, const struct raft_message *message)
{
    if (link->waiting_count == 0 && !link->reading && encode_cached(link, message)) {
        return;
    }
    if (link->waiting_count == FEED_WAITING_MAX) {
        return;
    }
    link->waiting[(link->waiting_first + link->waiting_count) % FEED_WAITING_MAX] = *message;
    link->waiting_count++;
    if (!link->reading) {
        advance(link);
    }
}

void feed_drop(struct link *link)
{
    link->waiting_count = 0;
    buf_done(&link->gathered);
    link->gathered_count = 0;
    link->discard = link->reading;
}

void feed_done(struct link *link)
{
    buf_done(&link->gathered);
    free(link->waiting);
}
