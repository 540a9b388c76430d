/*
 * Staging and looking: the calls of storage.h that work in memory. What they change reaches the
 * disk by rounds (storage.c).
 */
#include "base/memory.h"
#include "storage/read.h"
#include "storage/store.h"

uint64_t storage_last_index(const struct storage *storage)
{
    return storage->cache.next - 1;
}

/* Room for the next entry's encoding; drops old blocks whenever a new one was begun. */
static uint8_t *stage(struct storage *storage, size_t size)
{
    CHECK(2 * SECTOR_SIZE + sector_round_up(size) <= storage->segment_size);
    uint8_t *at = cache_extend(&storage->cache, size);
    bool new_block = storage->cache.newest->used == size;
    if (new_block && !storage->writer.torn) {
        cache_evict(&storage->cache, storage->synced_last);
    }
    return at;
}

void storage_append(struct storage *storage, const struct entry *entry)
{
    CHECK(storage->state == STORAGE_OPEN);
    CHECK(entry->index == storage->cache.next);
    CHECK(terms_add(&storage->terms, entry->term));
    entry_encode(entry, stage(storage, entry_encoded_size(entry->payload.size)));
}

void storage_append_encoded(struct storage *storage, struct slice encoded)
{
    CHECK(storage->state == STORAGE_OPEN);
    CHECK(encoded.size >= ENTRY_HEADER_SIZE);
    CHECK(get_u64(encoded.data + ENTRY_INDEX_OFFSET) == storage->cache.next);
    CHECK(terms_add(&storage->terms, get_u64(encoded.data + ENTRY_TERM_OFFSET)));
    memcpy(stage(storage, encoded.size), encoded.data, encoded.size);
}

static void lower(uint64_t *index, uint64_t last)
{
    if (*index > last) {
        *index = last;
    }
}

void storage_truncate(struct storage *storage, uint64_t from)
{
    CHECK(storage->state == STORAGE_OPEN);
    CHECK(from > 0);
    CHECK(from < storage->cache.next);
    cache_truncate(&storage->cache, from);
    terms_truncate(&storage->terms, from);
    lower(&storage->synced_last, from - 1);
    lower(&storage->flushed_last, from - 1);
    lower(&storage->round.last, from - 1);
    writer_truncate(&storage->writer, from);
    read_truncate(storage, from);
}

void storage_restart_log(struct storage *storage, uint64_t index, uint64_t term)
{
    cache_restart(&storage->cache, index + 1);
    terms_reset(&storage->terms, index + 1, term);
    extents_clear(&storage->extents);
    storage->synced_last = index;
    storage->flushed_last = index;
    storage->round.last = index;
    storage->reset_staged = true;
}

void storage_reset(struct storage *storage, uint64_t index, uint64_t term)
{
    CHECK(storage->state == STORAGE_OPEN);
    CHECK(index == storage->snapshots.newest.index);
    CHECK(term == storage->snapshots.newest.term);
    storage_restart_log(storage, index, term);
    writer_reset(&storage->writer, index);
    read_truncate(storage, 1);
}

void storage_vote(struct storage *storage, uint64_t term, uint64_t voted_for)
{
    CHECK(storage->state == STORAGE_OPEN);
    CHECK(term >= storage->staged_vote.term);
    storage->staged_vote.term = term;
    storage->staged_vote.voted_for = voted_for;
    storage->vote_staged = true;
}

void storage_flush(struct storage *storage, uint64_t ticket)
{
    CHECK(storage->state == STORAGE_OPEN);
    CHECK(ticket > storage->ticket);
    if (storage->error != 0) {
        return;
    }
    storage->ticket = ticket;
    storage->flushed_last = storage->cache.next - 1;
    if (storage->vote_staged) {
        storage->vote.wanted.term = storage->staged_vote.term;
        storage->vote.wanted.voted_for = storage->staged_vote.voted_for;
        storage->vote_staged = false;
        storage->vote_flushed = true;
    }
    if (!storage->round.active) {
        storage_round_begin(storage);
    }
}

bool storage_is_full(const struct storage *storage)
{
    return storage->maker.full && storage->writer.next_file == NULL;
}

int storage_get(const struct storage *storage, uint64_t index, struct slice *ret_encoded)
{
    if (index == 0 || index >= storage->cache.next) {
        return KV_ERR_NOT_FOUND;
    }
    if (index < storage->cache.first) {
        return KV_ERR_NOT_CACHED;
    }
    *ret_encoded = cache_entry(&storage->cache, index);
    return 0;
}

uint64_t storage_cached_from(const struct storage *storage)
{
    return storage->cache.first;
}

/*
 * The part of storage_fit that is only on the disk: whole extents, whose sizes bound those of the
 * entries in them. Returns the last index that surely fits and takes its bytes from *size_left.
 */
static uint64_t fit_on_disk(const struct storage *storage, uint64_t first, uint64_t last,
                            uint64_t *size_left)
{
    uint64_t fit = first;
    for (size_t i = extents_find(&storage->extents, first); i < storage->extents.count; i++) {
        const struct extent *extent = &storage->extents.at[i];
        if (extent->first > last) {
            break;
        }
        if (extent->size > *size_left) {
            *size_left = 0;
            break;
        }
        *size_left -= extent->size;
        fit = extent->end - 1;
    }
    return fit < last ? fit : last;
}

uint64_t storage_fit(const struct storage *storage, uint64_t first, uint64_t last,
                     uint64_t size_max)
{
    CHECK(first > 0);
    CHECK(first <= last);
    uint64_t end = storage->cache.next;
    if (first >= end) {
        return first;
    }
    if (last >= end) {
        last = end - 1;
    }
    uint64_t size_left = size_max;
    uint64_t next = first;
    if (first < storage->cache.first) {
        uint64_t disk_last = last < storage->cache.first ? last : storage->cache.first - 1;
        uint64_t fit = fit_on_disk(storage, first, disk_last, &size_left);
        if (fit < storage->cache.first - 1 || fit == last) {
            return fit;
        }
        next = fit + 1;
    }
    while (next <= last) {
        size_t size = cache_entry(&storage->cache, next).size;
        if (size > size_left) {
            break;
        }
        size_left -= size;
        next++;
    }
    return next == first ? first : next - 1;
}

/* Whether what is on the disk is about to be replaced: the old entries are what a crash would
 * leave, so they stay until the new ones are synced. */
static bool is_being_replaced(const struct storage *storage)
{
    return storage->reset_staged || storage->disk_last > storage->synced_last ||
           (storage->writer.busy && storage->writer.batch.reset);
}

void storage_trim_pump(struct storage *storage)
{
    uint64_t index = storage->trim_index;
    if (index == 0 || is_being_replaced(storage)) {
        return;
    }
    storage->trim_index = 0;
    /* A segment with a synced batch always stays: it says where the log goes on. */
    uint64_t keep = storage->writer.synced_segment;
    for (size_t i = 0; i < storage->extents.count; i++) {
        if (storage->extents.at[i].end > index) {
            uint64_t segment = storage->extents.at[i].segment;
            keep = segment < keep ? segment : keep;
            break;
        }
    }
    storage_keep_segments(storage, keep);
}

void storage_trim(struct storage *storage, uint64_t index)
{
    CHECK(storage->state == STORAGE_OPEN);
    if (index > storage->trim_index) {
        storage->trim_index = index;
    }
    storage_trim_pump(storage);
}

void storage_keep_segments(struct storage *storage, uint64_t number)
{
    if (number > storage->vote.wanted.first_segment && storage->error == 0) {
        storage->vote.wanted.first_segment = number;
        (void)vote_store(&storage->vote);
    }
}

void storage_restored(struct storage *storage, struct storage_restored *ret_restored)
{
    CHECK(storage->state == STORAGE_OPEN);
    const struct snapshot_header *newest = &storage->snapshots.newest;
    *ret_restored = (struct storage_restored){
        .path = storage->path,
        .cluster_id = storage->identity.cluster_id,
        .incarnation = storage->identity.incarnation,
        .founders = buf_slice(&storage->founders),
        .memberships = storage->memberships.at,
        .membership_count = storage->memberships.count,
        .lost_until = storage->vote.wanted.lost_until,
        .lost_term = storage->vote.wanted.lost_term,
        .term = storage->staged_vote.term,
        .voted_for = storage->staged_vote.voted_for,
        .runs = storage->terms.runs,
        .run_count = storage->terms.count,
        .first_index = storage->terms.first,
        .previous_term = storage->terms.previous,
        .last_index = storage->cache.next - 1,
        .torn_bytes = storage->torn_bytes,
        .snapshot_index = newest->index,
        .snapshot_term = newest->term,
        .snapshot_digest = newest->digest,
        .membership = buf_slice(&storage->snapshots.membership),
    };
}

void storage_stats(const struct storage *storage, struct storage_stats *ret_stats)
{
    *ret_stats = storage->stats;
    ret_stats->durable_index = storage->synced_last;
    ret_stats->segment_count = storage->segments.count;
    ret_stats->cache_bytes = storage->cache.bytes;
}
