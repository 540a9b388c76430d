/* Reads of entries that the cache may not have any more; storage_read_start is the door. */
#ifndef STORAGE_READ_H
#define STORAGE_READ_H

#include "storage/storage.h"

/* The entries from `from` on were truncated: reads in flight may not give them. */
void read_truncate(struct storage *storage, uint64_t from);

/* Whether a read in flight uses a segment with a number below `number`. */
bool read_touches(const struct storage *storage, uint64_t number);

#endif
