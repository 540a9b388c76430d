/*
 * A state machine from the chunks of a snapshot. Nothing in them is trusted: what does not follow
 * the format (state.h), could not have come from a log, or would break a limit is damage. Items
 * come in the order of their keys, so each goes to the right edge of the tree, where a node splits
 * unevenly and stays three quarters full.
 */
#include "base/limits.h"
#include "base/memory.h"
#include "kv/map.h"

#include <stdlib.h>

struct kv_restore {
    struct kv *kv;
    unsigned kind; /* of the last piece; 0: nothing has come */
    uint64_t key_count;
    uint64_t session_count;
    struct buf last_key;
};

struct kv_restore *kv_restore_begin(const struct kv_options *options)
{
    struct kv_restore *restore = memory_new(1, sizeof *restore);
    restore->kv = kv_new(options);
    return restore;
}

void kv_restore_free(struct kv_restore *restore)
{
    if (restore == NULL) {
        return;
    }
    kv_free(restore->kv);
    buf_done(&restore->last_key);
    free(restore);
}

static int take_state(struct kv_restore *restore, struct reader *reader)
{
    uint32_t format = reader_u32(reader);
    uint32_t zero = reader_u32(reader);
    if (!reader->failed && format != SNAPSHOT_FORMAT) {
        return KV_ERR_VERSION;
    }
    struct kv *kv = restore->kv;
    kv->applied = reader_u64(reader);
    kv->time_ms = reader_u64(reader);
    kv->sessions.clock_ms = reader_u64(reader);
    restore->key_count = reader_u64(reader);
    restore->session_count = reader_u64(reader);
    bool sound = !reader->failed && zero == 0;
    /* The clock follows the time. */
    return sound && kv->sessions.clock_ms <= kv->time_ms ? 0 : KV_ERR_DAMAGED;
}

/* Whether the log up to `applied` can have made such an item. An entry writes a key at most as
 * often as a batch has commands. */
static bool facts_are_sound(const struct item_facts *facts, uint64_t applied)
{
    return facts->create >= 1 && facts->create <= facts->modify && facts->modify <= applied &&
           facts->version >= 1 &&
           (facts->version - 1) / BATCH_COUNT_MAX <= facts->modify - facts->create &&
           facts->expires_ms <= INT64_MAX;
}

static int take_item(struct kv_restore *restore, struct reader *reader)
{
    struct kv *kv = restore->kv;
    size_t key_size = reader_u16(reader);
    uint32_t zero = reader_u16(reader);
    size_t value_size = reader_u32(reader);
    struct item_facts facts;
    facts.create = reader_u64(reader);
    facts.modify = reader_u64(reader);
    facts.version = reader_u64(reader);
    facts.expires_ms = reader_u64(reader);
    struct slice key = reader_bytes(reader, key_size);
    struct slice value = reader_bytes(reader, value_size);
    bool sound = !reader->failed && zero == 0 && key_size >= 1 && key_size <= KEY_SIZE_MAX &&
                 value_size <= VALUE_SIZE_MAX && facts_are_sound(&facts, kv->applied);
    if (!sound || slice_compare(buf_slice(&restore->last_key), key) >= 0) {
        return KV_ERR_DAMAGED;
    }
    map_restore(kv, key, value, &facts);
    buf_clear(&restore->last_key);
    buf_append_slice(&restore->last_key, key);
    return 0;
}

static int take_record(struct kv_restore *restore, struct reader *reader)
{
    switch (restore->kind) {
    case PIECE_STATE:
        return take_state(restore, reader);
    case PIECE_ITEMS:
        return take_item(restore, reader);
    case PIECE_SESSIONS:
        return sessions_restore(&restore->kv->sessions, reader, restore->kv->applied);
    default:
        return KV_ERR_DAMAGED;
    }
}

static int take_piece(struct kv_restore *restore, struct reader *reader)
{
    unsigned kind = reader_u8(reader);
    unsigned zero = reader_u8(reader);
    zero |= reader_u16(reader);
    uint32_t count = reader_u32(reader);
    bool is_state = kind == PIECE_STATE;
    bool in_order = is_state ? restore->kind == 0 : restore->kind != 0 && kind >= restore->kind;
    if (reader->failed || zero != 0 || count == 0 || (is_state && count != 1) || !in_order) {
        return KV_ERR_DAMAGED;
    }
    restore->kind = kind;
    int err = 0;
    for (uint32_t i = 0; i < count && err == 0; i++) {
        err = take_record(restore, reader);
    }
    return err;
}

int kv_restore_chunk(struct kv_restore *restore, struct slice chunk)
{
    struct reader reader = reader_of(chunk);
    int err = chunk.size == 0 ? KV_ERR_DAMAGED : 0;
    while (err == 0 && reader.left > 0) {
        err = take_piece(restore, &reader);
    }
    return err;
}

int kv_restore_end(struct kv_restore *restore, uint64_t index, uint64_t digest, struct kv **ret_kv)
{
    struct kv *kv = restore->kv;
    bool complete = restore->kind != 0 && kv->applied == index &&
                    tree_count(kv->tree) == restore->key_count &&
                    kv->sessions.count == restore->session_count;
    if (!complete || sessions_restore_end(&kv->sessions) != 0 || kv_digest(kv) != digest) {
        return KV_ERR_DAMAGED;
    }
    buf_done(&restore->last_key);
    free(restore);
    *ret_kv = kv;
    return 0;
}
