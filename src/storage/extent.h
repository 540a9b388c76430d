/*
 * Where the entries lie on the disk: a table of extents, ordered by index, without overlap.
 *
 * An extent is a run of bytes of one segment that holds the entries first <= index < end in order.
 * Neighbouring small batches share one, a large batch is split into several, so that a read of any
 * entry touches about EXTENT_SIZE bytes. Bytes of entries that were replaced since may stand at
 * its end: `end` says where to stop.
 */
#ifndef STORAGE_EXTENT_H
#define STORAGE_EXTENT_H

#include "base/bytes.h"

enum { EXTENT_SIZE = 64 * 1024 };

struct extent {
    uint64_t first;
    uint64_t end; /* exclusive */
    uint64_t segment;
    uint64_t offset;
    uint32_t size;
    bool raw;     /* begins with an entry, not with a batch's header */
    bool clamped; /* entries behind `end` were replaced: nothing may be added */
};

struct extents {
    struct extent *at;
    size_t count;
    size_t capacity;
    uint64_t position; /* of the next entry of the batch being added */
};

void extents_done(struct extents *extents);

/*
 * Adds a batch: begin, each of its entries' sizes in order, end. Beginning forgets what the batch
 * replaces.
 */
void extents_batch_begin(struct extents *extents, uint64_t segment, uint64_t offset,
                         uint64_t first_index);
void extents_batch_entry(struct extents *extents, size_t size);
void extents_batch_end(struct extents *extents);

/* The position in `at` of the extent that holds the entry, or `count` when none does. */
size_t extents_find(const struct extents *extents, uint64_t index);

/* Forgets all of them. */
void extents_clear(struct extents *extents);

/* Forgets the extents in segments below `segment`. */
void extents_trim(struct extents *extents, uint64_t segment);

#endif
