/*
 * Items and what they cost. The fields take 42 bytes before the key; the estimate of the heap's
 * overhead is exact with glibc on 64-bit machines, and near enough elsewhere.
 */
#include "kv/item.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"

#include <stdlib.h>

STATIC_CHECK(TREE_KEY_SIZE_MAX <= UINT16_MAX, "a key's size fits its field");

/* Less than sizeof: the bytes begin where the last field ends, before the padding. */
static size_t item_size(size_t key_size, size_t value_size)
{
    return offsetof(struct item, bytes) + key_size + value_size;
}

struct item *item_new(struct slice key, struct slice value, const struct item_facts *facts)
{
    CHECK(key.size <= TREE_KEY_SIZE_MAX);
    CHECK(value.size <= UINT32_MAX);
    struct item *item = memory_grow(NULL, item_size(key.size, value.size));
    item->references = 1;
    item->value_size = (uint32_t)value.size;
    item->facts = *facts;
    item->key_size = (uint16_t)key.size;
    if (key.size > 0) {
        memcpy(item->bytes, key.data, key.size);
    }
    if (value.size > 0) {
        memcpy(item->bytes + key.size, value.data, value.size);
    }
    return item;
}

void item_unref(struct item *item)
{
    CHECK(item->references > 0);
    item->references--;
    if (item->references == 0) {
        free(item);
    }
}

size_t allocation_footprint(size_t size)
{
    /* As glibc does on 64-bit machines: one word before the bytes, multiples of 16, at least 32. */
    size_t rounded = (size + sizeof(size_t) + 15) / 16 * 16;
    return rounded < 32 ? 32 : rounded;
}

size_t item_footprint(size_t key_size, size_t value_size)
{
    return allocation_footprint(item_size(key_size, value_size));
}
