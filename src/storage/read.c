/*
 * Reading entries back.
 *
 *     start ──in the cache──► copy ──timer──► done
 *       └──on the disk──► open segment ──► read ──► check and compact ──► done
 *
 * One read takes consecutive extents of one segment. Each batch header and entry in them is
 * checked again, and headers, padding and replaced entries are squeezed out, so that `done` gets
 * the entries' encodings back to back. A file is opened for each read: a read fetches about as
 * much as one append carries, and a long log must not need a descriptor for each of its files.
 */
#include "storage/read.h"

#include "base/memory.h"
#include "storage/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct read_job {
    struct list node;
    struct storage *storage;
    struct storage_read *read;
    struct io_timer timer;
    struct io_file_op op;
    struct io_file *file;
    struct segment segment;
    uint64_t first;
    uint64_t last; /* lowered by truncation */
    uint64_t size_max;
    uint64_t offset;
    uint8_t *bytes;
    size_t size;  /* of `bytes` */
    size_t taken; /* bytes of entries already squeezed to the front */
    uint64_t count;
    bool filled; /* from the cache */
    size_t extent_count;
    struct extent extents[];
};

static void job_end(struct read_job *job, int err, const char *sentence)
{
    struct storage *storage = job->storage;
    struct storage_read *read = job->read;
    list_remove(&job->node);
    io_file_close(storage->io, job->file);
    read->backend = NULL;
    read->done(read, err, slice_of(job->bytes, err == 0 ? job->taken : 0),
               err == 0 ? job->count : 0, sentence);
    free(job->bytes);
    free(job);
    storage_moved(storage);
}

/* The end of a read whose bytes are there: truncation may have taken some of them meanwhile. */
static void job_finish(struct read_job *job)
{
    if (job->last < job->first) {
        job_end(job, KV_ERR_NOT_FOUND, "the entries were truncated meanwhile");
        return;
    }
    uint64_t count = job->last - job->first + 1;
    if (job->count > count) {
        size_t size = 0;
        for (uint64_t i = 0; i < count; i++) {
            size += entry_encoded_size(get_u32(job->bytes + size + ENTRY_SIZE_OFFSET));
        }
        job->count = count;
        job->taken = size;
    }
    CHECK(job->count > 0);
    job_end(job, 0, "");
}

static void job_fail(struct read_job *job, int err, uint64_t offset, const char *what)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(job->segment.number, name);
    char sentence[SENTENCE_SIZE];
    (void)snprintf(sentence, sizeof sentence, "%s/%s at offset %" PRIu64 ": %s", job->storage->path,
                   name, offset, what);
    job_end(job, err, sentence);
}

/* ---- from the disk ---- */

/* Takes one entry at `at` if it is wanted; returns its size, or 0 when it is damaged. */
static size_t take_entry(struct read_job *job, size_t at, size_t end, uint64_t index)
{
    struct entry entry;
    size_t size;
    if (entry_decode(slice_of(job->bytes + at, end - at), &entry, &size) != 0 ||
        entry.index != index) {
        return 0;
    }
    bool wanted = index == job->first + job->count && index <= job->last &&
                  (job->count == 0 || job->taken + size <= job->size_max);
    if (wanted) {
        memmove(job->bytes + job->taken, job->bytes + at, size);
        job->taken += size;
        job->count++;
    }
    return size;
}

/*
 * Takes the entries of one extent, which stands at `at` in the bytes read. Returns true, or false
 * with the place of the damage. What stands behind the last entry that is asked for is not looked
 * at: it may be a batch that is being written.
 */
static bool take_extent(struct read_job *job, const struct extent *extent, size_t at,
                        size_t *ret_damage)
{
    size_t end = at + extent->size;
    uint64_t index = extent->first;
    uint64_t batch_end = extent->raw ? extent->end : extent->first;
    while (index < extent->end && index <= job->last) {
        if (index == batch_end) {
            struct batch batch;
            at = sector_round_up(job->offset + at) - job->offset;
            struct batch_place place = {.salt = job->segment.salt, .offset = job->offset + at};
            if (end - at < BATCH_HEADER_SIZE || batch_decode(job->bytes + at, place, &batch) != 0 ||
                batch.first_index != index) {
                *ret_damage = at;
                return false;
            }
            at += BATCH_HEADER_SIZE;
            batch_end = index + batch.count;
            continue;
        }
        size_t size = take_entry(job, at, end, index);
        if (size == 0) {
            *ret_damage = at;
            return false;
        }
        at += size;
        index++;
    }
    return true;
}

static void bytes_read(struct io_file_op *op, int64_t result)
{
    struct read_job *job = CONTAINER_OF(op, struct read_job, op);
    if (result < 0) {
        job_fail(job, KV_ERR_IO, job->offset, io_error_sentence(result));
        return;
    }
    if ((uint64_t)result < job->size) {
        job_fail(job, KV_ERR_DAMAGED, job->offset, "the file is shorter than its header says");
        return;
    }
    for (size_t i = 0; i < job->extent_count; i++) {
        const struct extent *extent = &job->extents[i];
        size_t damage;
        if (!take_extent(job, extent, (size_t)(extent->offset - job->offset), &damage)) {
            job_fail(job, KV_ERR_DAMAGED, job->offset + damage,
                     "an entry was written there and cannot be read back: its checksum does not "
                     "match");
            return;
        }
    }
    job_finish(job);
}

static void segment_opened(struct io_file_op *op, int64_t result)
{
    struct read_job *job = CONTAINER_OF(op, struct read_job, op);
    if (result < 0) {
        job_fail(job, KV_ERR_IO, 0, io_error_sentence(result));
        return;
    }
    job->file = op->file;
    job->bytes = memory_new(1, job->size);
    op->done = bytes_read;
    io_read(job->storage->io, op, job->file, job->offset, job->bytes, job->size);
}

/* How many extents from `position` on one read takes: neighbours in one segment. */
static size_t count_extents(const struct storage *storage, size_t position, uint64_t last,
                            uint64_t size_max)
{
    const struct extent *first = &storage->extents.at[position];
    uint64_t size = first->size;
    size_t count = 1;
    while (position + count < storage->extents.count) {
        const struct extent *next = first + count;
        if (next->first > last || next->segment != first->segment ||
            next->offset != first->offset + size || size + next->size > size_max) {
            break;
        }
        size += next->size;
        count++;
    }
    return count;
}

static void start_from_disk(struct read_job *job)
{
    struct storage *storage = job->storage;
    const struct extent *first = &job->extents[0];
    const struct extent *last = &job->extents[job->extent_count - 1];
    job->offset = first->offset;
    job->size = (size_t)(last->offset + last->size - first->offset);
    const struct segment *segment = segments_find(&storage->segments, first->segment);
    CHECK(segment != NULL);
    job->segment = *segment;
    char name[SEGMENT_NAME_SIZE];
    segment_name(segment->number, name);
    char *path = storage_path(storage, name);
    job->op.done = segment_opened;
    io_open(storage->io, &job->op, path, IO_OPEN_READ_ONLY);
    free(path);
}

/* ---- from the cache ---- */

static void timer_due(struct io_timer *timer)
{
    struct read_job *job = CONTAINER_OF(timer, struct read_job, timer);
    if (job->filled) {
        job_finish(job);
    } else {
        job_end(job, KV_ERR_NOT_FOUND, "the entry is not in the log");
    }
}

static void fill_from_cache(struct read_job *job)
{
    struct storage *storage = job->storage;
    uint64_t last = storage_fit(storage, job->first, job->last, job->size_max);
    for (uint64_t index = job->first; index <= last; index++) {
        job->size += cache_entry(&storage->cache, index).size;
    }
    job->bytes = memory_new(1, job->size);
    for (uint64_t index = job->first; index <= last; index++) {
        struct slice entry = cache_entry(&storage->cache, index);
        memcpy(job->bytes + job->taken, entry.data, entry.size);
        job->taken += entry.size;
    }
    job->count = last - job->first + 1;
    job->filled = true;
}

void storage_read_start(struct storage *storage, struct storage_read *read, uint64_t first,
                        uint64_t last, uint64_t size_max)
{
    CHECK(first > 0);
    CHECK(first <= last);
    bool cached = first >= storage->cache.first && first < storage->cache.next;
    size_t position = cached ? storage->extents.count : extents_find(&storage->extents, first);
    if (first > storage->synced_last) {
        position = storage->extents.count;
    }
    uint64_t last_synced = last < storage->synced_last ? last : storage->synced_last;
    size_t extent_count = position == storage->extents.count
                              ? 0
                              : count_extents(storage, position, last_synced, size_max);
    struct read_job *job = memory_new(1, sizeof *job + extent_count * sizeof job->extents[0]);
    *job = (struct read_job){
        .storage = storage,
        .read = read,
        .first = first,
        .last = last,
        .size_max = size_max,
        .extent_count = extent_count,
    };
    list_init(&job->node);
    list_push(&storage->reads, &job->node);
    read->backend = job;
    io_timer_init(&job->timer, timer_due);
    if (extent_count > 0) {
        memcpy(job->extents, &storage->extents.at[position], extent_count * sizeof job->extents[0]);
        job->last = last_synced;
        start_from_disk(job);
        return;
    }
    if (cached) {
        job->last = last < storage->cache.next ? last : storage->cache.next - 1;
        fill_from_cache(job);
    }
    io_timer_set(storage->io, &job->timer, 0);
}

void read_truncate(struct storage *storage, uint64_t from)
{
    for (struct list *at = storage->reads.next; at != &storage->reads; at = at->next) {
        struct read_job *job = CONTAINER_OF(at, struct read_job, node);
        if (job->last >= from) {
            job->last = from - 1;
        }
    }
}

bool read_touches(const struct storage *storage, uint64_t number)
{
    for (struct list *at = storage->reads.next; at != &storage->reads; at = at->next) {
        const struct read_job *job = CONTAINER_OF(at, struct read_job, node);
        if (job->extent_count > 0 && job->segment.number < number) {
            return true;
        }
    }
    return false;
}
