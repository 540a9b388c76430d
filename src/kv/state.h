/* The state itself, which all of the state machine shares, and the format of a snapshot. */
#ifndef KV_STATE_H
#define KV_STATE_H

#include "kv/session.h"
#include "kv/tree.h"

struct kv {
    struct tree *tree;     /* the items; see map.h, also for the next two */
    struct tree *expiries; /* which key goes when */
    struct tree *retired;  /* not used any more, to be given back: the first of a list */
    struct sessions sessions;
    uint64_t applied;
    uint64_t time_ms;
    uint64_t items_digest; /* the sum of the items' digests */
    size_t value_size_max; /* no value is larger; not part of the state */

    /* Of the command that is being carried out. */
    size_t room;        /* so many bytes its reply's data may have */
    uint64_t lcs_cells; /* so many may still be computed, */
    uint64_t keys;      /* and so many keys looked at by MATCH: a batch's commands share them */
    struct buf page;    /* the reply's data, when they are no item's */
    struct buf value;   /* a value that is being made */
    struct buf replies; /* of a batch */
};

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
 *                 │ expires_ms u64, 0: never │ key │ value
 *     SESSIONS    see session_snapshot.c
 *
 * One STATE, then the items in the order of their keys, then the sessions. No piece is empty. The
 * tree of expiries is made anew from the items. Format 1 had no expiries; it is not read any more.
 */
enum {
    PIECE_STATE = 1,
    PIECE_ITEMS = 2,
    PIECE_SESSIONS = 3,
    PIECE_HEADER_SIZE = 8,
    ITEM_HEADER_SIZE = 40,
    SNAPSHOT_FORMAT = 2,
};

STATIC_CHECK((int)KV_CHUNK_SIZE_MAX >=
                 (int)PIECE_HEADER_SIZE + ITEM_HEADER_SIZE + KEY_SIZE_MAX + VALUE_SIZE_MAX,
             "the largest item fits a chunk");

#endif
