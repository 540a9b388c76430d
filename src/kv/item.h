/*
 * An item: one key with its value and what is known of it, in one allocation, shared between the
 * live tree and frozen ones by counting references. The tree's separators are items without a
 * value.
 */
#ifndef KV_ITEM_H
#define KV_ITEM_H

#include "base/bytes.h"
#include "base/limits.h"

/* The tree of expiries has keys that begin with a time: see map.h. */
enum { TREE_KEY_SIZE_MAX = 8 + KEY_SIZE_MAX };

enum { CACHE_LINE = 64 }; /* bytes; where it is another size, prefetching does less or too much */

/* What the store knows of a key besides its value. The revisions are log indexes. */
struct item_facts {
    uint64_t create;     /* the write that made the key */
    uint64_t modify;     /* the write that set the present value */
    uint64_t version;    /* writes since it was made, that one included: from 1 */
    uint64_t expires_ms; /* by the log's time; 0: never */
};

struct item {
    uint32_t references;
    uint32_t value_size;
    struct item_facts facts;
    uint16_t key_size;
    uint8_t bytes[]; /* the key, then the value */
};

/* A new item with one reference; the bytes are copied. */
struct item *item_new(struct slice key, struct slice value, const struct item_facts *facts);

static inline struct item *item_ref(struct item *item)
{
    item->references++;
    return item;
}

/* Asks for the cache lines of an item of usual size, and does not wait for them. */
static inline void item_prefetch(const struct item *item)
{
    enum { USUAL_SIZE = 256 };
    for (size_t at = 0; at < USUAL_SIZE; at += CACHE_LINE) {
        __builtin_prefetch((const char *)item + at);
    }
}

/* Gives one reference back and frees the item with the last. */
void item_unref(struct item *item);

static inline struct slice item_key(const struct item *item)
{
    return slice_of(item->bytes, item->key_size);
}

static inline struct slice item_value(const struct item *item)
{
    return slice_of(item->bytes + item->key_size, item->value_size);
}

/* Bytes of memory that an allocation of `size` takes from the heap of the C library. */
size_t allocation_footprint(size_t size);

/* The same of an item with such a key and value. */
size_t item_footprint(size_t key_size, size_t value_size);

#endif
