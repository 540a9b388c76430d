/*
 * The state machine: the tree, the sessions, and how each command changes them.
 *
 *     kv_apply ──► decode, check ──► session: known? duplicate? ──► put, delete, delete range
 *                       │                     │                               │
 *                       └──── the reply ◄─────┴──────── stored for it ◄───────┘
 *
 * The digest is the sum, modulo 2^64, of the digests of all items and of all sessions, mixed with
 * the time and the applied index when asked for. A sum does not depend on the order, and an item
 * that changes is taken out and put back in.
 */
#include "kv/kv.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "kv/state.h"

#include <stdlib.h>

/* The largest item of a scan: sizes of key and value, both, the revision. */
STATIC_CHECK(FRAME_SIZE_MAX / 2 >= 4 + KEY_SIZE_MAX + 4 + VALUE_SIZE_MAX + 8,
             "every item fits a page, so that every page goes on");

enum { PAGE_SIZE_MAX = FRAME_SIZE_MAX / 2 };

/* Seeds that keep the digests of different things apart. */
static const uint64_t seed_item = 0x6974656d00000000;
static const uint64_t seed_state = 0x7374617465000000;

const struct kv_options kv_options_default = {
    .sessions_max = 10000,
    .replies_max = SESSION_WINDOW_MAX,
    .replies_size_max = 64 * 1024 * 1024,
    .session_ttl_ms = 60 * 60 * 1000,
};

struct kv *kv_new(const struct kv_options *options)
{
    struct kv *kv = memory_new(1, sizeof *kv);
    kv->tree = tree_new();
    sessions_init(&kv->sessions, options);
    return kv;
}

void kv_free(struct kv *kv)
{
    if (kv != NULL) {
        bool gone = kv_release(kv, SIZE_MAX);
        CHECK(gone);
    }
}

bool kv_release(struct kv *kv, size_t nodes)
{
    CHECK(kv->sessions.frozen == NULL);
    if (!tree_release(kv->tree, nodes)) {
        return false;
    }
    sessions_done(&kv->sessions);
    buf_done(&kv->page);
    free(kv);
    return true;
}

/* ---- the map, with its digest ---- */

/* Key and value are hashed one after the other, each seeding the next, so their border counts. */
uint64_t kv_item_digest(struct slice key, struct slice value, const struct revisions *revisions)
{
    uint8_t bytes[24];
    put_u64(bytes, revisions->create);
    put_u64(bytes + 8, revisions->modify);
    put_u64(bytes + 16, revisions->version);
    uint64_t digest = hash_bytes_seeded(bytes, sizeof bytes, seed_item);
    digest = hash_bytes_seeded(key.data, key.size, digest);
    return hash_bytes_seeded(value.data, value.size, digest);
}

static uint64_t digest_of(const struct item *item)
{
    return kv_item_digest(item_key(item), item_value(item), &item->revisions);
}

static void map_put(struct kv *kv, struct slice key, struct slice value, const struct item *before)
{
    struct revisions revisions = {.create = kv->applied, .modify = kv->applied, .version = 1};
    if (before != NULL) {
        revisions.create = before->revisions.create;
        revisions.version = before->revisions.version + 1;
        kv->items_digest -= digest_of(before);
    }
    kv->items_digest += kv_item_digest(key, value, &revisions);
    tree_put(kv->tree, key, value, &revisions);
}

static void map_delete(struct kv *kv, const struct item *item)
{
    kv->items_digest -= digest_of(item);
    bool deleted = tree_delete(kv->tree, item_key(item));
    CHECK(deleted);
}

/* ---- ranges ---- */

/* Points at the first key of the command's range, or at the first behind it. */
static void range_seek(const struct kv *kv, const struct command *command,
                       struct tree_cursor *cursor)
{
    bool from_prefix = slice_compare(command->prefix, command->key) > 0;
    tree_seek(kv->tree, from_prefix ? command->prefix : command->key, cursor);
}

/* The item at the cursor while it is in the range; NULL from the first that is not. */
static const struct item *range_item(const struct command *command,
                                     const struct tree_cursor *cursor)
{
    const struct item *item = tree_cursor_item(cursor);
    if (item == NULL) {
        return NULL;
    }
    struct slice key = item_key(item);
    bool before_end = command->end.size == 0 || slice_compare(key, command->end) < 0;
    return before_end && slice_has_prefix(key, command->prefix) ? item : NULL;
}

/* ---- writes ---- */

/* False when the command expects another revision of the key; the reply then says so. */
static bool expectation_holds(const struct command *command, const struct item *item,
                              struct reply *reply)
{
    uint64_t revision = item == NULL ? 0 : item->revisions.modify;
    if (!command->has_expected || command->expected_revision == revision) {
        return true;
    }
    reply->status = KV_ERR_CONDITION;
    reply->revision = revision;
    return false;
}

static void apply_put(struct kv *kv, const struct command *command, struct reply *reply)
{
    const struct item *item = tree_get(kv->tree, command->key);
    if (expectation_holds(command, item, reply)) {
        map_put(kv, command->key, command->value, item);
        reply->revision = kv->applied;
    }
}

static void apply_delete(struct kv *kv, const struct command *command, struct reply *reply)
{
    const struct item *item = tree_get(kv->tree, command->key);
    if (!expectation_holds(command, item, reply)) {
        return;
    }
    reply->revision = kv->applied;
    if (item == NULL) {
        reply->status = KV_ERR_NOT_FOUND;
        return;
    }
    map_delete(kv, item);
    reply->count = 1;
}

static void apply_delete_range(struct kv *kv, const struct command *command, struct reply *reply)
{
    for (;;) {
        struct tree_cursor cursor;
        range_seek(kv, command, &cursor);
        const struct item *item = range_item(command, &cursor);
        if (item == NULL) {
            break;
        }
        if (reply->count == DELETE_LIMIT_MAX) {
            reply->more = true;
            break;
        }
        map_delete(kv, item);
        reply->count++;
    }
    reply->revision = kv->applied;
}

/* A write to the map; its session, if it names one, has admitted it. */
static void apply_to_map(struct kv *kv, const struct command *command, struct reply *reply)
{
    switch (command->operation) {
    case OPERATION_PUT:
        apply_put(kv, command, reply);
        break;
    case OPERATION_DELETE:
        apply_delete(kv, command, reply);
        break;
    case OPERATION_DELETE_RANGE:
        apply_delete_range(kv, command, reply);
        break;
    default:
        UNREACHABLE();
    }
}

static void apply_write(struct kv *kv, const struct command *command, struct reply *reply)
{
    if (command->operation == OPERATION_OPEN_SESSION) {
        sessions_open(&kv->sessions, kv->applied);
        reply->revision = kv->applied;
    } else if (command->operation == OPERATION_CLOSE_SESSION) {
        reply->status = sessions_close(&kv->sessions, command->session);
    } else if (command->session == 0) {
        apply_to_map(kv, command, reply);
    } else if (sessions_admit(&kv->sessions, command, kv->applied, reply)) {
        apply_to_map(kv, command, reply);
        sessions_store(&kv->sessions, command, reply);
    }
}

void kv_apply(struct kv *kv, uint64_t index, uint64_t time_ms, struct slice command,
              struct reply *ret_reply)
{
    CHECK(index == kv->applied + 1);
    kv->applied = index;
    uint64_t elapsed_ms = time_ms > kv->time_ms ? time_ms - kv->time_ms : 0;
    kv->time_ms += elapsed_ms;
    sessions_advance(&kv->sessions, elapsed_ms);
    struct reply reply = {0};
    if (command.size > 0) {
        struct command decoded;
        int err = command_decode(command, &decoded);
        if (err == 0) {
            err = command_check(&decoded);
        }
        if (err == 0 && !operation_is_write(decoded.operation)) {
            err = KV_ERR_INVALID;
        }
        if (err == 0) {
            apply_write(kv, &decoded, &reply);
        } else {
            reply.status = err;
        }
    }
    *ret_reply = reply;
}

/* ---- reads ---- */

static void query_get(const struct kv *kv, const struct command *command, struct reply *reply)
{
    const struct item *item = tree_get(kv->tree, command->key);
    if (item == NULL) {
        reply->status = KV_ERR_NOT_FOUND;
        reply->revision = kv->applied;
        return;
    }
    reply->revision = item->revisions.modify;
    reply->data = item_value(item);
}

/* The page's entry for an item, of a LIST or of a SCAN. */
static size_t entry_size(const struct item *item, bool with_value)
{
    size_t key = 4 + (size_t)item->key_size;
    return with_value ? key + 4 + item->value_size + 8 : key;
}

static void query_range(struct kv *kv, const struct command *command, struct reply *reply)
{
    bool with_value = command->operation == OPERATION_SCAN;
    uint64_t limit = command->limit;
    if (limit == 0 || limit > LIST_LIMIT_MAX) {
        limit = LIST_LIMIT_MAX;
    }
    buf_clear(&kv->page);
    struct tree_cursor cursor;
    range_seek(kv, command, &cursor);
    for (;;) {
        const struct item *item = range_item(command, &cursor);
        if (item == NULL) {
            break;
        }
        if (reply->count == limit || kv->page.size + entry_size(item, with_value) > PAGE_SIZE_MAX) {
            reply->more = true;
            break;
        }
        buf_put_sized(&kv->page, item_key(item));
        if (with_value) {
            buf_put_sized(&kv->page, item_value(item));
            buf_put_u64(&kv->page, item->revisions.modify);
        }
        reply->count++;
        tree_cursor_next(&cursor);
    }
    reply->revision = kv->applied;
    reply->data = buf_slice(&kv->page);
}

static void query_outcome(struct kv *kv, const struct command *command, struct reply *reply)
{
    struct reply stored;
    int outcome = sessions_outcome(&kv->sessions, command->session, command->sequence, &stored);
    if (outcome != 0 && outcome != KV_ERR_NOT_FOUND) {
        reply->status = outcome;
        return;
    }
    reply->revision = kv->applied;
    if (outcome == 0) {
        buf_clear(&kv->page);
        reply_encode(&stored, &kv->page);
        reply->count = 1;
        reply->data = buf_slice(&kv->page);
    }
}

void kv_query(struct kv *kv, const struct command *command, struct reply *ret_reply)
{
    struct reply reply = {.status = command_check(command)};
    if (reply.status == 0) {
        switch (command->operation) {
        case OPERATION_GET:
            query_get(kv, command, &reply);
            break;
        case OPERATION_LIST:
        case OPERATION_SCAN:
            query_range(kv, command, &reply);
            break;
        case OPERATION_OUTCOME:
            query_outcome(kv, command, &reply);
            break;
        default:
            reply.status = KV_ERR_INVALID;
            break;
        }
    }
    *ret_reply = reply;
}

/* ---- figures ---- */

uint64_t kv_applied_index(const struct kv *kv)
{
    return kv->applied;
}

uint64_t kv_key_count(const struct kv *kv)
{
    return tree_count(kv->tree);
}

uint64_t kv_session_count(const struct kv *kv)
{
    return kv->sessions.count;
}

uint64_t kv_memory(const struct kv *kv)
{
    return tree_memory(kv->tree);
}

uint64_t kv_state_digest(const struct kv *kv, uint64_t items, uint64_t sessions)
{
    uint8_t bytes[40];
    put_u64(bytes, items);
    put_u64(bytes + 8, sessions);
    put_u64(bytes + 16, kv->time_ms);
    put_u64(bytes + 24, kv->sessions.clock_ms);
    put_u64(bytes + 32, kv->applied);
    return hash_bytes_seeded(bytes, sizeof bytes, seed_state);
}

uint64_t kv_digest(const struct kv *kv)
{
    return kv_state_digest(kv, kv->items_digest, kv->sessions.digest);
}

uint64_t kv_digest_recompute(const struct kv *kv)
{
    uint64_t items = 0;
    struct tree_cursor cursor;
    tree_seek(kv->tree, slice_of(NULL, 0), &cursor);
    for (const struct item *item = tree_cursor_item(&cursor); item != NULL;
         item = tree_cursor_item(&cursor)) {
        items += digest_of(item);
        tree_cursor_next(&cursor);
    }
    return kv_state_digest(kv, items, sessions_digest(&kv->sessions));
}

void kv_check(const struct kv *kv)
{
    tree_check(kv->tree);
    sessions_check(&kv->sessions);
    CHECK(kv_digest(kv) == kv_digest_recompute(kv));
}
