/*
 * The bytes of a snapshot file.
 *
 *     header ─ chunk 0: the membership ─ chunk 1 ─ chunk 2 ─ ... ─ end
 *
 *     header, 512 bytes:
 *      0        8     12      16   24         32    40   48     56
 *      ├────────┼─────┼───────┼────┼──────────┼─────┼────┼──────┤
 *      │checksum│magic│version│salt│cluster id│index│term│digest│ zeros to the sector
 *      └────────┴─────┴───────┴────┴──────────┴─────┴────┴──────┘
 *     chunk:
 *      0        8     12   16       24       28          32
 *      ├────────┼─────┼────┼────────┼────────┼───────────┼─────────────────────┐
 *      │checksum│magic│zero│sequence│raw size│stored size│ stored bytes (zstd) │
 *      └────────┴─────┴────┴────────┴────────┴───────────┴─────────────────────┘
 *     end:
 *      0        8     12   16     24        32
 *      ├────────┼─────┼────┼──────┼─────────┤
 *      │checksum│magic│zero│chunks│raw bytes│
 *      └────────┴─────┴────┴──────┴─────────┘
 *
 * A checksum covers everything behind it; that of a chunk and of the end is seeded with the salt,
 * drawn for this very file, plus the place in it: no chunk of another file, or from elsewhere in
 * this one, passes.
 */
#ifndef STORAGE_SNAPSHOT_FORMAT_H
#define STORAGE_SNAPSHOT_FORMAT_H

#include "base/bytes.h"
#include "storage/layout.h"

#include <stdbool.h>

enum {
    SNAPSHOT_HEADER_SIZE = SECTOR_SIZE,
    SNAPSHOT_CHUNK_HEADER_SIZE = 32,
    SNAPSHOT_STORED_SIZE_MAX = 2 * 1024 * 1024 + 16 * 1024, /* what the largest chunk may become */
    SNAPSHOT_SIZE_MIN = SNAPSHOT_HEADER_SIZE + 2 * SNAPSHOT_CHUNK_HEADER_SIZE,
    SNAPSHOT_NAME_SIZE = 32, /* "snapshot-", 16 digits, NUL */
};

#define SNAPSHOT_TAKING_NAME "snapshot.tmp"
#define SNAPSHOT_RECEIVING_NAME "snapshot.part"

void snapshot_name(uint64_t index, char ret_name[SNAPSHOT_NAME_SIZE]);
/* The index in a file's name, or 0 when the name is not a whole snapshot's. */
uint64_t snapshot_name_index(const char *name);

struct snapshot_header {
    uint64_t salt;
    uint64_t cluster_id;
    uint64_t index;
    uint64_t term;
    uint64_t digest;
};

void snapshot_header_encode(const struct snapshot_header *header, uint8_t at[SNAPSHOT_HEADER_SIZE]);
/* Returns 0, KV_ERR_DAMAGED or KV_ERR_VERSION. */
int snapshot_header_decode(const uint8_t at[SNAPSHOT_HEADER_SIZE],
                           struct snapshot_header *ret_header);

/* Where a chunk stands: what its checksum is seeded with. */
struct snapshot_place {
    uint64_t salt;
    uint64_t offset;
};

struct snapshot_chunk {
    bool end;
    uint64_t sequence; /* of the end: how many chunks there were */
    uint64_t raw_size; /* of the end: of all chunks together */
    uint32_t stored_size;
};

/* Fills in the header before `chunk->stored_size` bytes that stand behind it. */
void snapshot_chunk_encode(const struct snapshot_chunk *chunk, struct snapshot_place place,
                           uint8_t *at);

/*
 * Decodes the header alone, whose sizes are within their limits but not to be believed before
 * snapshot_chunk_check. Returns 0 or KV_ERR_MALFORMED.
 */
int snapshot_chunk_decode(const uint8_t at[SNAPSHOT_CHUNK_HEADER_SIZE],
                          struct snapshot_chunk *ret_chunk);

/* Whether the checksum of the chunk at `at`, header and stored bytes, is right. */
bool snapshot_chunk_check(const uint8_t *at, uint32_t stored_size, struct snapshot_place place);

#endif
