/*
 * Segments: the log's files, log-%016x with rising numbers. Each has its full size from the start,
 * so that a write into it changes no metadata. The first sector is the header, batches follow.
 *
 *      0        8     12      16     24   32   40         48      56    64
 *      ├────────┼─────┼───────┼──────┼────┼────┼──────────┼───────┼─────┤
 *      │checksum│magic│version│number│size│salt│cluster id│node id│flags│ zeros to the sector
 *      └────────┴─────┴───────┴──────┴────┴────┴──────────┴───────┴─────┘
 *
 * The salt is drawn anew whenever the file gets a number, so that what a recycled file held before
 * is no batch of the new segment. This module is the format and the table; maker.h makes files.
 */
#ifndef STORAGE_SEGMENT_H
#define STORAGE_SEGMENT_H

#include "base/bytes.h"
#include "storage/identity.h"
#include "storage/layout.h"

#include <stdbool.h>

enum {
    SEGMENT_HEADER_SIZE = 64,
    SEGMENT_NAME_SIZE = 24, /* "log-", 16 digits, NUL */
};

struct segment {
    uint64_t number;
    uint64_t size; /* of the file */
    uint64_t salt;
    bool recycled; /* behind the last batch stand remains, not zeros */
};

void segment_name(uint64_t number, char ret_name[SEGMENT_NAME_SIZE]);
/* The number in a file's name, or 0 when the name is not a segment's; numbers begin with 1. */
uint64_t segment_number(const char *name);

void segment_encode(const struct segment *segment, const struct identity *identity,
                    uint8_t at[SECTOR_SIZE]);
/* Returns 0, KV_ERR_DAMAGED, KV_ERR_VERSION, or KV_ERR_MISMATCH for another node's; an identity of
 * NULL takes anybody's. */
int segment_decode(const uint8_t at[SECTOR_SIZE], const struct identity *identity,
                   struct segment *ret_segment);

/* The segments that exist, numbers without a gap. The current one is the last but the spares. */
struct segments {
    struct segment *at;
    size_t count;
    size_t capacity;
};

void segments_done(struct segments *segments);
/* Adds the one whose number follows the last one's. */
void segments_push(struct segments *segments, const struct segment *segment);
/* NULL when there is none. */
const struct segment *segments_find(const struct segments *segments, uint64_t number);
/* Forgets those with numbers below `number`. */
void segments_trim(struct segments *segments, uint64_t number);

#endif
