/*
 * What the walk through the log knows while it is under way. Internal to inspect_walk.c, which goes
 * from place to place, and inspect_order.c, which judges how one batch follows another.
 */
#ifndef APP_INSPECT_WALK_H
#define APP_INSPECT_WALK_H

#include "app/inspect.h"
#include "storage/terms.h"

/* Where the expected batch does not stand. */
struct gap {
    bool open;
    bool has_header; /* the batch's header is there, its entries are not */
    size_t position; /* of the segment in the table */
    uint64_t offset;
    uint64_t wrong; /* the first byte known to be wrong; 0: none is */
};

struct walk {
    struct inspection *inspection;
    struct pieces pieces;
    size_t segment;    /* in the table; of the one being read */
    uint64_t position; /* in its file */
    uint64_t limit;    /* of its file: batches end before it */
    uint64_t expected; /* the next batch's sequence; 0: not known, the log was trimmed */
    bool lost;         /* behind damage: the next batch is taken as it is */
    bool based;        /* the log's first index is known */
    bool reset_seen;   /* the log began anew behind a snapshot */
    bool vote_told;
    struct gap gap;
    /* The gap that was looked at a second time. */
    uint64_t retried_segment;
    uint64_t retried_offset;
    struct terms terms;
};

/* The segment being read. */
static inline struct log_segment *walk_segment(const struct walk *walk)
{
    return &walk->inspection->segments[walk->segment];
}

/* Adds a finding in the segment being read. */
__attribute__((format(printf, 4, 5))) void walk_find(const struct walk *walk, enum verdict verdict,
                                                     uint64_t offset, const char *format, ...);

/* Takes the batch at the position, whose checksums are right, and steps over it. */
void walk_take(struct walk *walk, const struct batch *batch, const uint8_t *at);

#endif
