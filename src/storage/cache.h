/*
 * The newest entries in memory, in the one encoding, back to back in blocks: appended once, then
 * written to the disk and sent to peers from here.
 *
 *     ring[index] ──► entry in a block
 *     oldest block ─► ... ─► newest block (being filled)
 *
 * Invariants: exactly the entries first <= index < next are here; in the order of the blocks their
 * indexes rise, because an append goes to the newest block and a truncation only takes from the
 * end. Bytes in a block never move and are never rewritten while the block is in use, so a write
 * in flight may point into it; truncated entries leave a hole.
 */
#ifndef STORAGE_CACHE_H
#define STORAGE_CACHE_H

#include "base/bytes.h"

/* Blocks are an eighth of the cache, within these bounds; a larger entry gets one of its own. */
enum {
    CACHE_BLOCK_SIZE_MIN = 4 * 1024,
    CACHE_BLOCK_SIZE_MAX = 256 * 1024,
};

struct cache_block {
    struct cache_block *next;
    size_t capacity;
    size_t used;
    uint8_t bytes[];
};

struct cache {
    struct cache_block *oldest;
    struct cache_block *newest;
    struct cache_block *spare; /* freed blocks of the usual size, for reuse */
    size_t spare_count;
    const uint8_t **ring; /* slot = index modulo the capacity, a power of two */
    uint64_t ring_capacity;
    uint64_t first;
    uint64_t next;
    uint64_t bytes; /* capacity of the blocks in use */
    uint64_t size_max;
    size_t block_size;
};

/* Empty; the first entry to come has the index `next`. */
void cache_init(struct cache *cache, uint64_t size_max, uint64_t next);
void cache_done(struct cache *cache);

/* Room for the encoding of entry cache->next, which the caller fills in at once. */
uint8_t *cache_extend(struct cache *cache, size_t size);

/* Forgets the entries from `from` on; the next one has that index. */
void cache_truncate(struct cache *cache, uint64_t from);

/* Forgets all entries; the next one has the index `next`. */
void cache_restart(struct cache *cache, uint64_t next);

/* The encoding of an entry that is here. */
struct slice cache_entry(const struct cache *cache, uint64_t index);

/*
 * Drops oldest blocks beyond size_max, as long as they hold only entries up to `durable`. Must not
 * be called while a write points at entries that were truncated since.
 */
void cache_evict(struct cache *cache, uint64_t durable);

#endif
