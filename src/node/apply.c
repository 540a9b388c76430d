/*
 * Committed entries into the state machine, in order, each once. Entries come from the storage's
 * cache; after a restart, and on a server that fell behind, from the disk in large pieces.
 */
#include "node/node.h"

#include <inttypes.h>

enum {
    /* Read at once, and applied in one turn: of batches a few thousand bytes are work for a
     * millisecond. */
    READ_BYTES = 1024 * 1024,
    PREFETCH_ENTRIES = 64,
    /* Applied in one turn. Few at first: who waits for them is answered, and works, while the rest
     * is applied. */
    FIRST_ENTRIES = 16,
    MORE_ENTRIES = 128,
};

/* Looks ahead from the entry that is applied next, which is in the cache. */
static void prefetch(struct kvapp_node *node)
{
    const uint64_t first = kv_applied_index(node->kv) + 1;
    struct slice commands[PREFETCH_ENTRIES];
    size_t count = 0;
    struct slice encoded;
    while (count < PREFETCH_ENTRIES && first + count <= node->commit_index &&
           storage_get(node->storage, first + count, &encoded) == 0) {
        commands[count] = slice_of(encoded.data + ENTRY_HEADER_SIZE,
                                   entry_size_at(encoded.data) - ENTRY_HEADER_SIZE);
        count++;
    }
    CHECK(count > 0);
    node->prefetched_index = first + kv_prefetch(node->kv, commands, count) - 1;
}

static void apply_entry(struct kvapp_node *node, struct slice encoded, size_t *ret_size)
{
    struct entry entry;
    CHECK(entry_decode(encoded, &entry, ret_size) == 0);
    CHECK(entry.index == kv_applied_index(node->kv) + 1);
    CHECK(entry.index <= node->commit_index);
    struct slice command = entry.kind == ENTRY_COMMAND ? entry.payload : slice_of(NULL, 0);
    struct reply reply;
    node->snapshot.log_bytes += *ret_size;
    kv_apply(node->kv, entry.index, entry.time_ms, command, &reply);
    struct waiter waiter;
    if (tracker_take(&node->tracker, entry.index, &waiter)) {
        reply_send(node, &waiter, &reply, NULL);
    }
}

static void read_done(struct storage_read *read, int err, struct slice entries, uint64_t count,
                      const char *sentence)
{
    struct kvapp_node *node = CONTAINER_OF(read, struct kvapp_node, apply_read);
    node->apply_reading = false;
    if (node->state != NODE_SERVING && node->state != NODE_DRAINING) {
        return;
    }
    if (kv_applied_index(node->kv) < raft_base_index(node->raft)) {
        return; /* A snapshot has replaced these entries meanwhile. */
    }
    if (err != 0) {
        node_fail(node, err, sentence);
        return;
    }
    size_t at = 0;
    for (uint64_t i = 0; i < count && digest_agrees(node); i++) {
        size_t size = 0;
        apply_entry(node, slice_of(entries.data + at, entries.size - at), &size);
        at += size;
    }
}

static void restored(struct kvapp_node *node)
{
    node->more_work = true;
}

void apply_committed(struct kvapp_node *node)
{
    if (node->apply_reading || node->restore.kv != NULL) {
        return;
    }
    if (kv_applied_index(node->kv) < raft_base_index(node->raft)) {
        if (node->restore.replaced != NULL) {
            return; /* One at a time. */
        }
        restore_begin(node, restored);
        return;
    }
    const int count = node->apply_more ? MORE_ENTRIES : FIRST_ENTRIES;
    size_t bytes = 0;
    node->apply_more = false;
    for (int n = 0; n < count && bytes < READ_BYTES; n++) {
        uint64_t index = kv_applied_index(node->kv) + 1;
        if (!digest_agrees(node) || index > node->commit_index) {
            return;
        }
        struct slice encoded;
        int err = storage_get(node->storage, index, &encoded);
        if (err == KV_ERR_NOT_CACHED) {
            node->apply_reading = true;
            node->apply_read.done = read_done;
            storage_read_start(node->storage, &node->apply_read, index, node->commit_index,
                               READ_BYTES);
            return;
        }
        CHECK(err == 0);
        if (index > node->prefetched_index) {
            prefetch(node);
        }
        size_t size = 0;
        apply_entry(node, encoded, &size);
        bytes += size;
    }
    node->apply_more = kv_applied_index(node->kv) < node->commit_index;
    node->more_work = true;
}
