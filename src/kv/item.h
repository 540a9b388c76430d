/*
 * An item: one key with its value and revisions, in one allocation, shared between the live tree
 * and frozen ones by counting references. The tree's separators are items without a value.
 */
#ifndef KV_ITEM_H
#define KV_ITEM_H

#include "base/bytes.h"

/* What the store knows of a key besides its value. The revisions are log indexes. */
struct revisions {
    uint64_t create;  /* the write that made the key */
    uint64_t modify;  /* the write that set the present value */
    uint64_t version; /* writes since it was made, that one included: from 1 */
};

struct item {
    uint32_t references;
    uint32_t value_size;
    struct revisions revisions;
    uint16_t key_size;
    uint8_t bytes[]; /* the key, then the value */
};

/* A new item with one reference; the bytes are copied. */
struct item *item_new(struct slice key, struct slice value, const struct revisions *revisions);

static inline struct item *item_ref(struct item *item)
{
    item->references++;
    return item;
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
