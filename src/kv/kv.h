/*
 * The state machine: an ordered map of versioned keys, and the sessions. Deterministic: the same
 * entries in the same order give the same state, the same replies and the same digest everywhere.
 */
#ifndef KV_KV_H
#define KV_KV_H

#include "kv/command.h"

struct kv;

struct kv_options {
    size_t sessions_max; /* beyond it the least recently used session is evicted */
    size_t replies_max;  /* per session, not yet acknowledged; beyond it the oldest is dropped, and
                            it and everything before it is stale: see kv/session.h */
};

/* Both options are at least 1 and the same on all replicas. */
struct kv *kv_new(const struct kv_options *options);
void kv_free(struct kv *kv);

/*
 * Applies the entry `index`, which follows the last one applied. `command` is an entry's payload;
 * empty for an entry without a command (a no-op), which only moves the applied index. Applying
 * cannot fail: what is wrong with a command is its reply. time_ms is the leader's; the state
 * machine takes the largest it has seen. The first index of a new state machine is 1. The reply's
 * data are borrowed until the next call.
 */
void kv_apply(struct kv *kv, uint64_t index, uint64_t time_ms, struct slice command,
              struct reply *ret_reply);

/* Answers a command that is not a write from the present state. Data borrowed as above. */
void kv_query(struct kv *kv, const struct command *command, struct reply *ret_reply);

uint64_t kv_applied_index(const struct kv *kv);
uint64_t kv_key_count(const struct kv *kv);
uint64_t kv_session_count(const struct kv *kv);

/*
 * A 64-bit digest of the whole state: keys with values and revisions, sessions with their replies,
 * the time. Kept up incrementally, so asking costs nothing; equal on two replicas that applied the
 * same index. Independent of the tree's shape.
 */
uint64_t kv_digest(const struct kv *kv);

/* The digest computed anew from everything that is stored: equal to kv_digest. O(n). */
uint64_t kv_digest_recompute(const struct kv *kv);

/* Asserts every invariant of the tree and the sessions, and the digest. O(n); for tests. */
void kv_check(const struct kv *kv);

/* Bytes of memory held by keys and values, an estimate of the allocator's overhead included. */
uint64_t kv_memory(const struct kv *kv);

#endif
