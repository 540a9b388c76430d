#include "storage/extent.h"

#include "base/memory.h"
#include "storage/batch.h"
#include "storage/layout.h"

#include <stdlib.h>

STATIC_CHECK(BATCH_SIZE_MAX + EXTENT_SIZE < UINT32_MAX, "an extent's size fits 32 bits");

void extents_done(struct extents *extents)
{
    free(extents->at);
    *extents = (struct extents){0};
}

static struct extent *newest(struct extents *extents)
{
    CHECK(extents->count > 0);
    return &extents->at[extents->count - 1];
}

static void push(struct extents *extents, const struct extent *extent)
{
    if (extents->count == extents->capacity) {
        extents->capacity = extents->capacity == 0 ? 64 : extents->capacity * 2;
        extents->at = memory_grow(extents->at, extents->capacity * sizeof extents->at[0]);
    }
    extents->at[extents->count++] = *extent;
}

static void truncate_from(struct extents *extents, uint64_t from)
{
    while (extents->count > 0 && newest(extents)->first >= from) {
        extents->count--;
    }
    if (extents->count > 0 && newest(extents)->end > from) {
        newest(extents)->end = from;
        newest(extents)->clamped = true;
    }
}

void extents_batch_begin(struct extents *extents, uint64_t segment, uint64_t offset,
                         uint64_t first_index)
{
    truncate_from(extents, first_index);
    extents->position = offset + BATCH_HEADER_SIZE;
    if (extents->count > 0) {
        const struct extent *last = newest(extents);
        if (last->segment == segment && last->offset + last->size == offset &&
            last->end == first_index && last->size < EXTENT_SIZE && !last->raw && !last->clamped) {
            return;
        }
    }
    push(extents, &(struct extent){
                      .first = first_index,
                      .end = first_index,
                      .segment = segment,
                      .offset = offset,
                  });
}

void extents_batch_entry(struct extents *extents, size_t size)
{
    struct extent *last = newest(extents);
    if (last->end > last->first && extents->position - last->offset >= EXTENT_SIZE) {
        last->size = (uint32_t)(extents->position - last->offset);
        push(extents, &(struct extent){
                          .first = last->end,
                          .end = last->end,
                          .segment = last->segment,
                          .offset = extents->position,
                          .raw = true,
                      });
        last = newest(extents);
    }
    last->end++;
    extents->position += size;
}

void extents_batch_end(struct extents *extents)
{
    struct extent *last = newest(extents);
    extents->position = sector_round_up(extents->position);
    last->size = (uint32_t)(extents->position - last->offset);
    if (last->first == last->end) {
        extents->count--;
    }
}

size_t extents_find(const struct extents *extents, uint64_t index)
{
    size_t low = 0;
    size_t high = extents->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (extents->at[middle].end <= index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < extents->count && extents->at[low].first <= index) {
        return low;
    }
    return extents->count;
}

void extents_clear(struct extents *extents)
{
    extents->count = 0;
}

void extents_trim(struct extents *extents, uint64_t segment)
{
    size_t gone = 0;
    while (gone < extents->count && extents->at[gone].segment < segment) {
        gone++;
    }
    extents->count -= gone;
    memmove(extents->at, extents->at + gone, extents->count * sizeof extents->at[0]);
}
