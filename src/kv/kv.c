/*
 * The state machine's door: entries and queries come in, replies go out.
 *
 *     kv_apply ──► the time moves on ──► what has expired goes ──► decode, check
 *                                                                        │
 *         the reply ◄── stored for it ◄── session: known? duplicate? ◄───┘
 *             ▲                                   │
 *             └── write.c, batch.c: the map ◄─────┘
 *
 *     kv_query ──► check ──► read.c, batch.c ──► the reply
 *
 * The digest is the sum, modulo 2^64, of the digests of all items and of all sessions, mixed with
 * the time and the applied index when asked for. A sum does not depend on the order, and an item
 * that changes is taken out and put back in.
 */
#include "kv/kv.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "kv/lcs.h"
#include "kv/operations.h"

#include <stdlib.h>

enum {
    /* Expired keys that one entry removes: some 30 µs, and more keys than an entry makes that is no
     * batch. PURGE is for what is left. */
    EXPIRED_PER_ENTRY = 16,
    /* The same of a PURGE: two or three milliseconds. */
    PURGE_LIMIT_MAX = 1000,
};

/* A seed that keeps the digests of different things apart. */
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
    kv->expiries = tree_new();
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
    if (kv->tree != NULL) {
        map_retire(kv, kv->tree);
        map_retire(kv, kv->expiries);
        kv->tree = NULL;
        kv->expiries = NULL;
    }
    if (!map_tidy(kv, nodes)) {
        return false;
    }
    sessions_done(&kv->sessions);
    buf_done(&kv->page);
    buf_done(&kv->value);
    buf_done(&kv->replies);
    free(kv);
    return true;
}

bool kv_tidy(struct kv *kv, size_t nodes)
{
    return map_tidy(kv, nodes);
}

/* ---- entries ---- */

/* A write to the map; its session, if it names one, has admitted it. */
static void apply_to_map(struct kv *kv, const struct command *command, struct reply *reply)
{
    kv->room = REPLY_SIZE_MAX;
    kv->lcs_cells = LCS_CELLS_MAX;
    kv->keys = BATCH_KEYS_MAX;
    if (command->operation == OPERATION_BATCH) {
        batch_run(kv, command, reply);
    } else {
        write_apply(kv, command, reply);
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

static int decode_write(struct slice bytes, struct command *command)
{
    int err = command_decode(bytes, command);
    if (err == 0) {
        err = command_check(command);
    }
    if (err == 0 && !operation_is_write(command->operation)) {
        err = KV_ERR_INVALID;
    }
    return err;
}

/* What expires goes before the command is carried out; of a PURGE that is all it does. */
static void apply_command(struct kv *kv, struct slice bytes, struct reply *reply)
{
    struct command command;
    int err = decode_write(bytes, &command);
    if (err == 0 && command.operation == OPERATION_PURGE) {
        reply->count = map_purge(kv, PURGE_LIMIT_MAX);
        reply->more = map_next_expiry(kv) <= kv->time_ms;
        reply->revision = kv->applied;
        return;
    }
    (void)map_purge(kv, EXPIRED_PER_ENTRY);
    if (err == 0) {
        apply_write(kv, &command, reply);
    } else {
        reply->status = err;
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
    (void)map_tidy(kv, 1);
    struct reply reply = {0};
    if (command.size > 0) {
        apply_command(kv, command, &reply);
    } else {
        (void)map_purge(kv, EXPIRED_PER_ENTRY);
    }
    *ret_reply = reply;
}

/* ---- queries ---- */

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

void kv_query(struct kv *kv, const struct command *command, size_t reply_size_max,
              struct reply *ret_reply)
{
    CHECK(reply_size_max <= LOCAL_REPLY_SIZE_MAX);
    struct reply reply = {.status = command_check(command)};
    if (reply.status == 0 && operation_is_write(command->operation)) {
        reply.status = KV_ERR_INVALID;
    }
    if (reply.status == 0) {
        kv->room = reply_size_max;
        kv->lcs_cells = LCS_CELLS_MAX;
        kv->keys = command->operation == OPERATION_READ_BATCH ? BATCH_KEYS_MAX : UINT64_MAX;
        switch (command->operation) {
        case OPERATION_OUTCOME:
            query_outcome(kv, command, &reply);
            break;
        case OPERATION_READ_BATCH:
            batch_run(kv, command, &reply);
            break;
        default:
            read_answer(kv, command, &reply);
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

uint64_t kv_time_ms(const struct kv *kv)
{
    return kv->time_ms;
}

uint64_t kv_next_expiry(const struct kv *kv)
{
    return map_next_expiry(kv);
}

uint64_t kv_key_count(const struct kv *kv)
{
    return tree_count(kv->tree);
}

uint64_t kv_expiring_count(const struct kv *kv)
{
    return tree_count(kv->expiries);
}

uint64_t kv_value_size_max(const struct kv *kv)
{
    return kv->value_size_max;
}

uint64_t kv_session_count(const struct kv *kv)
{
    return kv->sessions.count;
}

uint64_t kv_memory(const struct kv *kv)
{
    return tree_memory(kv->tree) + tree_memory(kv->expiries);
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
    return kv_state_digest(kv, map_digest(kv), sessions_digest(&kv->sessions));
}

void kv_check(const struct kv *kv)
{
    map_check(kv);
    sessions_check(&kv->sessions);
    CHECK(kv_digest(kv) == kv_digest_recompute(kv));
}
