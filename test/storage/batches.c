#include "batches.h"

#include "base/assert.h"
#include "storage/vote.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct identity identity = {.cluster_id = 0xc1, .node_id = 7};

static void replay(struct batches *batches, struct placed_batch *placed, const uint8_t *entries)
{
    const struct placed_batch *before = batches->count == 0 ? NULL : placed - 1;
    if (before != NULL) {
        memcpy(placed->terms, before->terms, sizeof placed->terms);
    }
    placed->last = placed->batch.first_index - 1 + placed->batch.count;
    for (uint64_t i = 0; i < placed->batch.count; i++) {
        struct entry entry;
        size_t size;
        CHECK(entry_decode(slice_of(entries, SIZE_MAX / 2), &entry, &size) == 0);
        CHECK(entry.index == placed->batch.first_index + i);
        CHECK(entry.index <= TERMS_MAX);
        placed->terms[entry.index - 1] = entry.term;
        entries += size;
    }
}

static void read_segment(struct batches *batches, const struct buf *bytes,
                         const struct placed_segment *placed_segment)
{
    struct segment segment;
    CHECK(segment_decode(bytes->data, &identity, &segment) == 0);
    uint64_t at = SECTOR_SIZE;
    while (at < bytes->size) {
        struct batch batch;
        struct batch_place place = {.salt = segment.salt, .offset = at};
        if (batch_decode(bytes->data + at, place, &batch) != 0) {
            return;
        }
        CHECK(batches->count < BATCHES_MAX);
        struct placed_batch *placed = &batches->at[batches->count];
        placed->batch = batch;
        placed->offset = at;
        placed->used = BATCH_HEADER_SIZE + batch.size;
        memcpy(placed->path, placed_segment->path, sizeof placed->path);
        CHECK(batches->count == 0 || batch.sequence == placed[-1].batch.sequence + 1);
        if (batches->count == 0) {
            batches->first_index = batch.first_index;
        }
        replay(batches, placed, bytes->data + at + BATCH_HEADER_SIZE);
        batches->count++;
        at += batch_disk_size(&batch);
    }
}

void batches_read(struct batches *batches, struct disk *disk, const char *directory)
{
    memset(batches, 0, sizeof *batches);
    char path[64];
    (void)snprintf(path, sizeof path, "%s/VOTE", directory);
    struct vote vote;
    unsigned slot;
    bool echoed;
    CHECK(vote_choose(buf_slice(disk_bytes(disk, path)), &identity, &vote, &slot, &echoed) == 0);
    batches->synced_sequence = vote.synced_sequence;
    batches->term = vote.term;
    batches->voted_for = vote.voted_for;
    for (uint64_t number = vote.first_segment;; number++) {
        (void)snprintf(path, sizeof path, "%s/log-%016" PRIx64, directory, number);
        const struct buf *bytes = disk_bytes(disk, path);
        if (bytes == NULL) {
            return;
        }
        CHECK(batches->segment_count < SEGMENTS_MAX);
        struct placed_segment *segment = &batches->segments[batches->segment_count++];
        memcpy(segment->path, path, sizeof segment->path);
        segment->size = bytes->size;
        read_segment(batches, bytes, segment);
    }
}

/* The first `size` bytes at the batch are those of the original. */
static bool same(const struct placed_batch *placed, struct disk *original, struct disk *damaged,
                 size_t size)
{
    const struct buf *before = disk_bytes(original, placed->path);
    const struct buf *after = disk_bytes(damaged, placed->path);
    return memcmp(before->data + placed->offset, after->data + placed->offset, size) == 0;
}

enum verdict batches_verdict(const struct batches *batches, struct disk *original,
                             struct disk *damaged, size_t *ret_left)
{
    for (size_t i = 0; i < batches->segment_count; i++) {
        const struct placed_segment *segment = &batches->segments[i];
        const struct buf *before = disk_bytes(original, segment->path);
        const struct buf *after = disk_bytes(damaged, segment->path);
        if (after == NULL || after->size < segment->size ||
            memcmp(before->data, after->data, SEGMENT_HEADER_SIZE) != 0) {
            return VERDICT_DAMAGED;
        }
    }
    size_t left = 0;
    while (left < batches->count &&
           same(&batches->at[left], original, damaged, batches->at[left].used)) {
        left++;
    }
    *ret_left = left;
    if (left == batches->count) {
        return VERDICT_WHOLE;
    }
    if (batches->synced_sequence >= batches->at[left].batch.sequence) {
        return VERDICT_DAMAGED;
    }
    for (size_t i = left + 1; i < batches->count; i++) {
        if (same(&batches->at[i], original, damaged, BATCH_HEADER_SIZE)) {
            return VERDICT_DAMAGED;
        }
    }
    return VERDICT_TORN;
}
