/*
 * VOTE: the term and the vote, and what must be known about the log from outside of it.
 *
 *     slot 0 at 0, slot 1 at 4096, each 512 bytes:
 *
 *      0        8     12      16       24   32        40     48            56         64      72
 *      ├────────┼─────┼───────┼────────┼────┼─────────┼──────┼─────────────┼──────────┼───────┤
 *      │checksum│magic│version│sequence│term│voted for│synced│first segment│cluster id│node id│
 *      └────────┴─────┴───────┴────────┴────┴─────────┴──────┴─────────────┴──────────┴───────┘
 *      72         80        88    96       104
 *      ├──────────┼─────────┼─────┼────────┤
 *      │lost until│lost term│aside│outdated│
 *      └──────────┴─────────┴─────┴────────┘
 *
 * The valid slot with the higher sequence counts, so a torn write costs nothing. `synced` is the
 * newest batch of the log that was known to be synced: a log that ends before it was damaged.
 * `first segment` is the lowest one that must be there. `lost until` and `lost term` tell what
 * storage_restored does of a log that was lost, and `aside` is the number of the directory that its
 * files are being moved to (aside.c). `outdated` is 1 once it is known that all of this is an older
 * copy: no server starts with it any more.
 *
 *     idle ──vote_store──► writing slot A ──done──► echoing to slot B ──done──► idle
 *                              ▲                         │
 *                              └──── vote_store waits ───┘
 *
 * Every change is written to the other slot too, once its first write is done and without anyone
 * waiting for it: when later the one slot rots, the other still has the newest vote. A vote that
 * went back to an older one would let this node vote twice in a term.
 */
#ifndef STORAGE_VOTE_H
#define STORAGE_VOTE_H

#include "io/io.h"
#include "storage/identity.h"
#include "storage/layout.h"

#include <stdbool.h>

enum {
    VOTE_RECORD_SIZE = 104,
    VOTE_SLOT_SPACING = 4096,
    VOTE_FILE_SIZE = 2 * VOTE_SLOT_SPACING,
};

struct vote {
    uint64_t sequence;
    uint64_t term;
    uint64_t voted_for;
    uint64_t synced_sequence;
    uint64_t first_segment;
    uint64_t lost_until; /* 0: nothing is lost */
    uint64_t lost_term;
    uint64_t aside; /* 0: nothing is being moved */
    bool outdated;
};

/* The log is lost: no entry had an index above `last`, which for what was lost before is kept. Its
 * files are to be moved to the directory with the number `aside`. */
void vote_lose_log(struct vote *vote, uint64_t last, uint64_t aside);

void vote_encode(const struct vote *vote, const struct identity *identity, uint8_t at[SECTOR_SIZE]);
/* Returns 0, KV_ERR_DAMAGED, KV_ERR_VERSION, or KV_ERR_MISMATCH for another node's; an identity of
 * NULL takes anybody's. */
int vote_decode(const uint8_t at[SECTOR_SIZE], const struct identity *identity,
                struct vote *ret_vote);

/*
 * Both slots of a whole file's bytes: gives the newest valid one, which slot it is, and whether the
 * other says the same. Returns 0, or the error of a slot when neither is valid. KV_ERR_VERSION of
 * either slot comes before all.
 */
int vote_choose(struct slice file, const struct identity *identity, struct vote *ret_vote,
                unsigned *ret_slot, bool *ret_echoed);

struct storage;

struct vote_file {
    struct storage *storage;
    struct io_file *file;
    struct io_file_op op;
    struct iovec part;
    uint8_t bytes[SECTOR_SIZE];
    bool busy;
    bool echoing;
    unsigned slot;            /* that the newest record stands in */
    struct vote wanted;       /* what should be on the disk; its sequence is not used */
    struct vote newest;       /* the newest record that is durable */
    uint64_t content;         /* sequence of the newest durable record that was no echo */
    uint64_t generation;      /* counts vote_store */
    uint64_t generation_sent; /* of the write in flight */
    uint64_t generation_done; /* durable up to here */
    bool echo_wanted;
};

/*
 * Writes `wanted` to the disk as soon as the file is free; returns the generation, which
 * generation_done reaches once it is durable. storage_moved is called then.
 */
uint64_t vote_store(struct vote_file *vote);

/* Begins what is still to be written, such as the echo that echo_wanted asks for. */
void vote_pump(struct vote_file *vote);

#endif
