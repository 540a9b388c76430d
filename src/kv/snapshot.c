/*
 * A snapshot of the state machine: a frozen tree, the frozen sessions, and the place in them up to
 * which chunks were made. The format is in state.h.
 */
#include "base/memory.h"
#include "base/mutation.h"
#include "kv/state.h"

#include <stdlib.h>

struct kv_snapshot {
    struct tree *tree;
    struct tree_cursor cursor;
    struct sessions_frozen sessions;
    uint64_t index;
    uint64_t time_ms;
    uint64_t clock_ms;
    uint64_t digest;
    uint64_t key_count;
    uint64_t session_count;
    uint64_t keys_left; /* not yet in a chunk, as the sessions */
    uint64_t sessions_left;
    bool has_state; /* the first chunk was made */
};

struct kv_snapshot *kv_freeze(struct kv *kv)
{
    struct kv_snapshot *snapshot = memory_new(1, sizeof *snapshot);
    snapshot->tree = tree_freeze(kv->tree);
    tree_seek(snapshot->tree, slice_of(NULL, 0), &snapshot->cursor);
    sessions_freeze(&kv->sessions, &snapshot->sessions);
    snapshot->index = kv->applied;
    snapshot->time_ms = kv->time_ms;
    snapshot->clock_ms = kv->sessions.clock_ms;
    snapshot->digest = kv_digest(kv);
    snapshot->key_count = tree_count(kv->tree);
    snapshot->session_count = kv->sessions.count;
    if (MUTATION(sessions_out_of_snapshot)) {
        snapshot->digest = kv_state_digest(kv, kv->items_digest, 0);
        snapshot->session_count = 0;
    }
    snapshot->keys_left = snapshot->key_count;
    snapshot->sessions_left = snapshot->session_count;
    return snapshot;
}

uint64_t kv_snapshot_index(const struct kv_snapshot *snapshot)
{
    return snapshot->index;
}

uint64_t kv_snapshot_digest(const struct kv_snapshot *snapshot)
{
    return snapshot->digest;
}

/* ---- chunks ---- */

/* Begins a piece; returns where it is in the buffer. */
static size_t piece_begin(struct buf *chunk, uint8_t kind)
{
    size_t at = chunk->size;
    buf_put_u8(chunk, kind);
    buf_put_u8(chunk, 0);
    buf_put_u16(chunk, 0);
    buf_put_u32(chunk, 0); /* until piece_end */
    return at;
}

static void piece_end(struct buf *chunk, size_t at, uint32_t count)
{
    CHECK(count > 0);
    CHECK(chunk->size - at <= KV_CHUNK_SIZE_MAX);
    put_u32(chunk->data + at + 4, count);
}

/* Whether a piece that begins at `at` and has `count` records takes one more, of that size. */
static bool piece_takes(const struct buf *chunk, size_t at, uint32_t count, size_t size)
{
    return count == 0 || chunk->size - at + size <= KV_CHUNK_SIZE;
}

static void put_state(const struct kv_snapshot *snapshot, struct buf *chunk)
{
    size_t at = piece_begin(chunk, PIECE_STATE);
    buf_put_u32(chunk, SNAPSHOT_FORMAT);
    buf_put_u32(chunk, 0);
    buf_put_u64(chunk, snapshot->index);
    buf_put_u64(chunk, snapshot->time_ms);
    buf_put_u64(chunk, snapshot->clock_ms);
    buf_put_u64(chunk, snapshot->key_count);
    buf_put_u64(chunk, snapshot->session_count);
    piece_end(chunk, at, 1);
}

static void put_item(const struct item *item, struct buf *chunk)
{
    buf_put_u16(chunk, item->key_size);
    buf_put_u16(chunk, 0);
    buf_put_u32(chunk, item->value_size);
    buf_put_u64(chunk, item->facts.create);
    buf_put_u64(chunk, item->facts.modify);
    buf_put_u64(chunk, item->facts.version);
    buf_put_u64(chunk, item->facts.expires_ms);
    buf_append_slice(chunk, item_key(item));
    buf_append_slice(chunk, item_value(item));
}

static void put_items(struct kv_snapshot *snapshot, struct buf *chunk)
{
    size_t at = piece_begin(chunk, PIECE_ITEMS);
    uint32_t count = 0;
    while (snapshot->keys_left > 0) {
        const struct item *item = tree_cursor_item(&snapshot->cursor);
        CHECK(item != NULL);
        size_t size = ITEM_HEADER_SIZE + (size_t)item->key_size + item->value_size;
        if (!piece_takes(chunk, at, count, size)) {
            break;
        }
        put_item(item, chunk);
        tree_cursor_next(&snapshot->cursor);
        snapshot->keys_left--;
        count++;
    }
    piece_end(chunk, at, count);
}

static void put_sessions(struct kv_snapshot *snapshot, struct buf *chunk)
{
    size_t at = piece_begin(chunk, PIECE_SESSIONS);
    uint32_t count = 0;
    while (snapshot->sessions_left > 0) {
        size_t size = sessions_frozen_size(&snapshot->sessions);
        CHECK(size > 0);
        if (!piece_takes(chunk, at, count, size)) {
            break;
        }
        sessions_frozen_take(&snapshot->sessions, chunk);
        snapshot->sessions_left--;
        count++;
    }
    piece_end(chunk, at, count);
}

bool kv_snapshot_next(struct kv_snapshot *snapshot, struct buf *chunk)
{
    CHECK(snapshot->sessions.sessions != NULL);
    if (!snapshot->has_state) {
        put_state(snapshot, chunk);
        snapshot->has_state = true;
    } else if (snapshot->keys_left > 0) {
        put_items(snapshot, chunk);
    } else if (snapshot->sessions_left > 0) {
        put_sessions(snapshot, chunk);
    } else {
        return false;
    }
    return true;
}

/* ---- the end ---- */

bool kv_snapshot_release(struct kv_snapshot *snapshot, size_t nodes)
{
    if (!sessions_frozen_release(&snapshot->sessions, &nodes)) {
        return false;
    }
    if (!tree_release(snapshot->tree, &nodes)) {
        return false;
    }
    free(snapshot);
    return true;
}
