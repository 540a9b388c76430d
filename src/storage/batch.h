/*
 * A batch: what one write adds to the log. It begins at a sector, so that a torn write never
 * touches a batch that was synced before it.
 *
 *      0        8     12      16    20    24       32          40      48            56      64
 *      ├────────┼─────┼───────┼─────┼─────┼────────┼───────────┼───────┼─────────────┼───────┤
 *      │checksum│magic│version│size │count│sequence│first index│segment│vote sequence│binding│
 *      └────────┴─────┴───────┴─────┴─────┴────────┴───────────┴───────┴─────────────┴───────┘
 *      64            72    76
 *      ├─────────────┼─────┼────┐
 *      │previous term│flags│zero│
 *      └─────────────┴─────┴────┘
 *      then `size` bytes of `count` entries in the encoding of entry.h, then zeros to the sector.
 *
 * The header's checksum is seeded with the segment's salt and the batch's offset: bytes of another
 * place, another life of the same file, or somebody's payload can never pass for a batch. The
 * binding folds the checksums of the entries together, so that a header and entries of two
 * different writes to one place cannot pass for one batch either.
 *
 * A batch replaces everything from its first index on. Without entries it is a truncation, or,
 * when it begins behind the last index, a seal: it changes nothing, and proves by its sequence
 * that every batch before it was synced. One with the flag `reset` (1) forgets the whole log, which
 * begins anew with it, wherever its first index is.
 *
 * The term before the first entry stands in every batch, because the entry that had it may be
 * trimmed away.
 */
#ifndef STORAGE_BATCH_H
#define STORAGE_BATCH_H

#include "base/bytes.h"

#include <stdbool.h>

enum { BATCH_HEADER_SIZE = 80 };

struct batch {
    uint32_t size;          /* bytes of the entries */
    uint32_t count;         /* entries */
    uint64_t sequence;      /* one more than the batch before it */
    uint64_t first_index;   /* of the first entry, or of what is forgotten */
    uint64_t segment;       /* the number of the segment it stands in */
    uint64_t vote_sequence; /* the newest vote that was synced when this was written */
    uint64_t binding;       /* fold of the entries' checksums, see batch_bind */
    uint64_t previous_term; /* of entry first_index - 1; 0 when there is none */
    bool reset;             /* the log begins anew */
};

/* Where a batch stands: what its checksum is seeded with. */
struct batch_place {
    uint64_t salt;
    uint64_t offset;
};

/* The bytes that the batch takes on the disk, padding included. */
uint64_t batch_disk_size(const struct batch *batch);

/* One more entry's checksum folded into a binding; begins with 0. */
uint64_t batch_bind(uint64_t binding, uint64_t entry_checksum);

void batch_encode(const struct batch *batch, struct batch_place place,
                  uint8_t at[BATCH_HEADER_SIZE]);

/*
 * Returns 0 when `at` begins with the header of a batch written at that place; otherwise
 * KV_ERR_CHECKSUM, or KV_ERR_VERSION for a right header of another version.
 */
int batch_decode(const uint8_t at[BATCH_HEADER_SIZE], struct batch_place place,
                 struct batch *ret_batch);

/* Returns 0 when `entries` are exactly those the header announces, else KV_ERR_CHECKSUM. */
int batch_check(const struct batch *batch, struct slice entries);

#endif
