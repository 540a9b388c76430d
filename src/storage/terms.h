/*
 * The terms of the log's entries, as runs, from the first entry on: kept in step with what is
 * staged, so that the term before any batch is known however far its entries are from memory.
 */
#ifndef STORAGE_TERMS_H
#define STORAGE_TERMS_H

#include "storage/storage.h"

#include <stdbool.h>

struct terms {
    struct storage_run *runs;
    size_t count;
    size_t capacity;
    uint64_t first;    /* the first entry's index */
    uint64_t next;     /* behind the last entry */
    uint64_t previous; /* the term of entry first - 1; 0 when first is 1 */
};

/* No entries; the first to come has the index `first`. */
void terms_reset(struct terms *terms, uint64_t first, uint64_t previous);
void terms_done(struct terms *terms);

/* Adds the next entry's term; false, and nothing is changed, when it is below the last one's. */
bool terms_add(struct terms *terms, uint64_t term);

/* Forgets the entries from `from` on; first <= from <= next. */
void terms_truncate(struct terms *terms, uint64_t from);

/* Forgets the entries below `first`; terms->first <= first <= next. */
void terms_trim(struct terms *terms, uint64_t first);

/* The term of an entry first - 1 <= index < next. */
uint64_t terms_at(const struct terms *terms, uint64_t index);

#endif
