/*
 * The state machine: an ordered map of versioned keys, and the sessions. Deterministic: the same
 * entries in the same order give the same state, the same replies and the same digest everywhere.
 */
#ifndef KV_KV_H
#define KV_KV_H

#include "base/limits.h"
#include "kv/command.h"

struct kv;

/* Each at least 1, and the same on all replicas: what is forgotten is part of the state. */
struct kv_options {
    size_t sessions_max; /* beyond it the least recently used session is evicted */
    size_t replies_max;  /* per session, not yet acknowledged, at most SESSION_WINDOW_MAX; beyond
                            it the oldest is dropped, and it and everything before it is stale */
    size_t replies_size_max; /* bytes of the replies of all sessions, KV_REPLY_SIZE each; beyond it
                                the least recently used sessions lose theirs, the oldest first */
    uint64_t session_ttl_ms; /* a session that was not used for so long has expired; by the log's
                                time, no step of which counts for more than a minute */
};

enum { KV_REPLY_SIZE = 32 };

/* 10,000 sessions, SESSION_WINDOW_MAX replies each, 64 MiB of them, one hour. */
extern const struct kv_options kv_options_default;

struct kv *kv_new(const struct kv_options *options);

/* No snapshot of it is left that is not being released. Takes NULL. */
void kv_free(struct kv *kv);

/*
 * The same in steps of bounded work, about `nodes` nodes of the tree with their items each. True:
 * it is gone. After the first step only further ones are allowed.
 */
bool kv_release(struct kv *kv, size_t nodes);

/*
 * Gives back memory of what CLEAR deleted, about `nodes` nodes of the tree with their items. True:
 * nothing is left. Every entry also does one node's worth, so it need not be called.
 */
bool kv_tidy(struct kv *kv, size_t nodes);

/*
 * Applies the entry `index`, which follows the last one applied. `command` is an entry's payload;
 * empty for an entry without a command (a no-op), which only moves the applied index. Applying
 * cannot fail: what is wrong with a command is its reply. time_ms is the leader's; the state
 * machine takes the largest it has seen. The first index of a new state machine is 1. The reply's
 * data are borrowed until the next call.
 */
void kv_apply(struct kv *kv, uint64_t index, uint64_t time_ms, struct slice command,
              struct reply *ret_reply);

/*
 * Asks for the memory that these commands, writes or reads as bytes, will touch, so that carrying
 * them out need not wait for it. Changes nothing; bytes that are no command are passed over.
 * Returns how many of them it looked at, at least one: more would drive each other out of the
 * cache.
 */
size_t kv_prefetch(const struct kv *kv, const struct slice commands[], size_t count);

/*
 * Answers a command that is not a write from the present state. Data borrowed as above, and at most
 * reply_size_max bytes, which is at most LOCAL_REPLY_SIZE_MAX: what has more is
 * KV_ERR_REPLY_TOO_LARGE.
 */
void kv_query(struct kv *kv, const struct command *command, size_t reply_size_max,
              struct reply *ret_reply);

uint64_t kv_applied_index(const struct kv *kv);

/* The largest time that an entry had: what expiries are compared with. */
uint64_t kv_time_ms(const struct kv *kv);

/*
 * When the earliest expiry is that is still stored, which may be over; UINT64_MAX: there is none.
 * Every entry removes a few keys whose time has come, and PURGE many. Somebody has to propose one
 * for what expires while nothing else is written.
 */
uint64_t kv_next_expiry(const struct kv *kv);

/* Keys that are stored. Some may have expired without being removed yet. */
uint64_t kv_key_count(const struct kv *kv);
/* Those of them that expire. */
uint64_t kv_expiring_count(const struct kv *kv);
/* No value that is stored is larger; the largest may be gone. */
uint64_t kv_value_size_max(const struct kv *kv);
uint64_t kv_session_count(const struct kv *kv);

/*
 * A 64-bit digest of the whole state: keys with values, revisions and expiries, sessions with
 * their replies, the time. Kept up incrementally, so asking costs nothing; equal on two replicas
 * that applied the same index. Independent of the tree's shape.
 */
uint64_t kv_digest(const struct kv *kv);

/* The digest computed anew from everything that is stored: equal to kv_digest. O(n). */
uint64_t kv_digest_recompute(const struct kv *kv);

/* Asserts every invariant of the tree and the sessions, and the digest. O(n); for tests. */
void kv_check(const struct kv *kv);

/* Bytes of memory held by keys, values and expiries, an estimate of the allocator's overhead
 * included; without what a CLEAR deleted and was not given back yet. */
uint64_t kv_memory(const struct kv *kv);

/*
 * Snapshots: the state at one index, as a sequence of chunks of bytes (their format is in
 * kv/state.h), while the state machine goes on. A chunk has no checksum of its own; whoever
 * stores and sends it adds one.
 */
struct kv_snapshot;

enum {
    KV_CHUNK_SIZE = 64 * 1024,                              /* a chunk has at most so many bytes, */
    KV_CHUNK_SIZE_MAX = KEY_SIZE_MAX + VALUE_SIZE_MAX + 64, /* or else one large item alone */
};

/* Freezes the present state, in constant time. One at a time: the one before is being released. */
struct kv_snapshot *kv_freeze(struct kv *kv);

/* The applied index and the digest at the time of freezing. */
uint64_t kv_snapshot_index(const struct kv_snapshot *snapshot);
uint64_t kv_snapshot_digest(const struct kv_snapshot *snapshot);

/* Appends the next chunk; false: there was none left. Never false at the first call. */
bool kv_snapshot_next(struct kv_snapshot *snapshot, struct buf *chunk);

/*
 * Gives back memory, about `nodes` nodes of the tree with their items, SIZE_MAX: all of it. True:
 * everything is gone, the snapshot itself too. The first call ends the snapshot, whether it was
 * read to its end or not: from then on nothing but another release may be asked of it, another one
 * may be taken, and the state machine may be freed.
 */
bool kv_snapshot_release(struct kv_snapshot *snapshot, size_t nodes);

/*
 * The way back: a new state machine from the chunks, in their order; what is given at once may be
 * several of them one after the other. After an error only kv_restore_free is allowed.
 */
struct kv_restore;

struct kv_restore *kv_restore_begin(const struct kv_options *options);

/* 0, KV_ERR_DAMAGED, or KV_ERR_VERSION: made by a later version. Borrows `chunk` for the call. */
int kv_restore_chunk(struct kv_restore *restore, struct slice chunk);

/*
 * 0 when nothing is missing and what was restored has this index and digest, computed anew; else
 * KV_ERR_DAMAGED. With 0 `restore` is gone, and the next entry to apply is index + 1.
 */
int kv_restore_end(struct kv_restore *restore, uint64_t index, uint64_t digest, struct kv **ret_kv);

/* Gives up. Takes NULL. */
void kv_restore_free(struct kv_restore *restore);

#endif
