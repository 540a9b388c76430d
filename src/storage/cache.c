#include "storage/cache.h"

#include "base/memory.h"
#include "storage/entry.h"

#include <stdlib.h>

enum {
    RING_CAPACITY_MIN = 64,
    SPARE_MAX = 4, /* blocks: what a burst gives back is mostly returned to the system */
};

static const uint8_t **ring_slot(const struct cache *cache, uint64_t index)
{
    return &cache->ring[index & (cache->ring_capacity - 1)];
}

void cache_init(struct cache *cache, uint64_t size_max, uint64_t next)
{
    uint64_t block_size = size_max / 8;
    if (block_size < CACHE_BLOCK_SIZE_MIN) {
        block_size = CACHE_BLOCK_SIZE_MIN;
    } else if (block_size > CACHE_BLOCK_SIZE_MAX) {
        block_size = CACHE_BLOCK_SIZE_MAX;
    }
    *cache = (struct cache){
        .size_max = size_max,
        .block_size = (size_t)block_size,
        .first = next,
        .next = next,
    };
}

static void free_blocks(struct cache_block *block)
{
    while (block != NULL) {
        struct cache_block *next = block->next;
        free(block);
        block = next;
    }
}

void cache_done(struct cache *cache)
{
    free_blocks(cache->oldest);
    free_blocks(cache->spare);
    free(cache->ring);
    *cache = (struct cache){0};
}

static void ring_grow(struct cache *cache)
{
    uint64_t capacity = cache->ring_capacity == 0 ? RING_CAPACITY_MIN : cache->ring_capacity * 2;
    const uint8_t **ring = memory_new(capacity, sizeof ring[0]);
    for (uint64_t index = cache->first; index < cache->next; index++) {
        ring[index & (capacity - 1)] = *ring_slot(cache, index);
    }
    free(cache->ring);
    cache->ring = ring;
    cache->ring_capacity = capacity;
}

static struct cache_block *block_new(struct cache *cache, size_t size)
{
    if (size <= cache->block_size && cache->spare != NULL) {
        struct cache_block *block = cache->spare;
        cache->spare = block->next;
        cache->spare_count--;
        block->next = NULL;
        block->used = 0;
        return block;
    }
    size_t capacity = size > cache->block_size ? size : cache->block_size;
    /* Not zeroed: a block becomes resident only as far as it is filled. */
    struct cache_block *block = memory_grow(NULL, sizeof *block + capacity);
    *block = (struct cache_block){.capacity = capacity};
    return block;
}

uint8_t *cache_extend(struct cache *cache, size_t size)
{
    CHECK(size >= ENTRY_HEADER_SIZE);
    struct cache_block *block = cache->newest;
    if (block == NULL || block->capacity - block->used < size) {
        struct cache_block *added = block_new(cache, size);
        if (block == NULL) {
            cache->oldest = added;
        } else {
            block->next = added;
        }
        cache->newest = added;
        cache->bytes += added->capacity;
        block = added;
    }
    if (cache->next - cache->first == cache->ring_capacity) {
        ring_grow(cache);
    }
    uint8_t *at = block->bytes + block->used;
    block->used += size;
    *ring_slot(cache, cache->next) = at;
    cache->next++;
    return at;
}

void cache_truncate(struct cache *cache, uint64_t from)
{
    CHECK(from <= cache->next);
    cache->next = from;
    if (cache->first > from) {
        cache->first = from;
    }
}

void cache_restart(struct cache *cache, uint64_t next)
{
    cache->first = next;
    cache->next = next;
}

struct slice cache_entry(const struct cache *cache, uint64_t index)
{
    CHECK(index >= cache->first);
    CHECK(index < cache->next);
    const uint8_t *at = *ring_slot(cache, index);
    return slice_of(at, entry_encoded_size(get_u32(at + ENTRY_SIZE_OFFSET)));
}

static bool block_holds(const struct cache_block *block, const uint8_t *at)
{
    return (uintptr_t)at - (uintptr_t)block->bytes < block->used;
}

static void block_drop_oldest(struct cache *cache)
{
    struct cache_block *block = cache->oldest;
    cache->oldest = block->next;
    cache->bytes -= block->capacity;
    if (block->capacity == cache->block_size && cache->spare_count < SPARE_MAX) {
        block->next = cache->spare;
        cache->spare = block;
        cache->spare_count++;
    } else {
        free(block);
    }
}

void cache_evict(struct cache *cache, uint64_t durable)
{
    while (cache->bytes > cache->size_max && cache->oldest != cache->newest) {
        uint64_t after = cache->first;
        while (after < cache->next && block_holds(cache->oldest, *ring_slot(cache, after))) {
            if (after > durable) {
                return;
            }
            after++;
        }
        cache->first = after;
        block_drop_oldest(cache);
    }
}
