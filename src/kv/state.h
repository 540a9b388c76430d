/* The state itself: what kv.c, snapshot.c and restore.c share. */
#ifndef KV_STATE_H
#define KV_STATE_H

#include "kv/session.h"
#include "kv/tree.h"

struct kv {
    struct tree *tree;
    struct sessions sessions;
    uint64_t applied;
    uint64_t time_ms;
    uint64_t items_digest; /* the sum of the items' digests */
    struct buf page;       /* data of the last LIST, SCAN or OUTCOME */
};

uint64_t kv_item_digest(struct slice key, struct slice value, const struct revisions *revisions);

/* The digest of the state, of which these two are the parts that are sums. */
uint64_t kv_state_digest(const struct kv *kv, uint64_t items, uint64_t sessions);

/*
 * The format of a snapshot: pieces, one of them a chunk as kv_snapshot_next makes it.
 *
 *     kind u8 │ zero u8 ×3 │ count u32 │ count records of that kind
 *
 *     STATE       format u32 │ zero u32 │ index u64 │ time_ms u64 │ sessions' clock_ms u64
 *                 │ keys u64 │ sessions u64
 *     ITEMS       key size u16 │ zero u16 │ value size u32 │ create u64 │ modify u64 │ version u64
 *                 │ key │ value
 *     SESSIONS    see session_snapshot.c
 *
 * One STATE, then the items in the order of their keys, then the sessions. No piece is empty.
 */
enum {
    PIECE_STATE = 1,
    PIECE_ITEMS = 2,
    PIECE_SESSIONS = 3,
    PIECE_HEADER_SIZE = 8,
    ITEM_HEADER_SIZE = 32,
    SNAPSHOT_FORMAT = 1,
};

STATIC_CHECK((int)KV_CHUNK_SIZE_MAX >=
                 (int)PIECE_HEADER_SIZE + ITEM_HEADER_SIZE + KEY_SIZE_MAX + VALUE_SIZE_MAX,
             "the largest item fits a chunk");

#endif
