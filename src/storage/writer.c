#include "storage/writer.h"

#include "base/mutation.h"
#include "storage/store.h"

static const uint8_t padding[SECTOR_SIZE];

static void batch_written(struct io_file_op *op, int64_t result);

/* Adds bytes behind the last part, or as a part of their own; false when there is no room. */
static bool add_part(struct writer *writer, const uint8_t *bytes, size_t size)
{
    struct iovec *last = &writer->parts[writer->part_count - 1];
    if ((const uint8_t *)last->iov_base + last->iov_len == bytes && writer->part_count > 1) {
        last->iov_len += size;
        return true;
    }
    /* The padding needs the last one. */
    if (writer->part_count == WRITER_PARTS_MAX - 1) {
        return false;
    }
    writer->parts[writer->part_count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    return true;
}

/* Takes as many of the entries first ... last as fit into `room` bytes on the disk. */
static void gather(struct writer *writer, uint64_t last, uint64_t room)
{
    struct storage *storage = writer->storage;
    struct batch *batch = &writer->batch;
    *batch = (struct batch){
        .sequence = writer->sequence + 1,
        .first_index = storage->synced_last + 1,
        .segment = writer->segment.number,
        .vote_sequence = storage->vote.content,
        .previous_term = terms_at(&storage->terms, storage->synced_last),
        .reset = storage->reset_staged,
    };
    storage->reset_staged = false;
    writer->parts[0] = (struct iovec){.iov_base = writer->header, .iov_len = BATCH_HEADER_SIZE};
    writer->part_count = 1;
    uint64_t size_max = (room < BATCH_SIZE_MAX ? room : BATCH_SIZE_MAX) - BATCH_HEADER_SIZE;
    for (uint64_t index = batch->first_index; index <= last; index++) {
        struct slice entry = cache_entry(&storage->cache, index);
        if (batch->size + entry.size > size_max || !add_part(writer, entry.data, entry.size)) {
            break;
        }
        batch->size += (uint32_t)entry.size;
        batch->count++;
        batch->binding = batch_bind(batch->binding, get_u64(entry.data));
    }
    uint64_t used = BATCH_HEADER_SIZE + (uint64_t)batch->size;
    if (used % SECTOR_SIZE != 0) {
        writer->parts[writer->part_count++] = (struct iovec){
            .iov_base = (void *)(uintptr_t)padding,
            .iov_len = (size_t)(sector_round_up(used) - used),
        };
    }
}

static void note_extents(struct writer *writer)
{
    struct storage *storage = writer->storage;
    const struct batch *batch = &writer->batch;
    extents_batch_begin(&storage->extents, writer->segment.number, writer->offset,
                        batch->first_index);
    for (uint64_t i = 0; i < batch->count; i++) {
        extents_batch_entry(&storage->extents,
                            cache_entry(&storage->cache, batch->first_index + i).size);
    }
    extents_batch_end(&storage->extents);
}

/* Goes on in the prepared segment; false when there is none. */
static bool next_segment(struct writer *writer)
{
    if (writer->next_file == NULL) {
        return false;
    }
    io_file_close(writer->storage->io, writer->file);
    writer->file = writer->next_file;
    writer->segment = writer->next_segment;
    writer->offset = SECTOR_SIZE;
    writer->next_file = NULL;
    return true;
}

/* Whether the first thing to write fits behind what the segment holds. */
static bool has_room(const struct writer *writer, uint64_t last)
{
    uint64_t needed = BATCH_HEADER_SIZE;
    uint64_t first = writer->storage->synced_last + 1;
    if (!writer->sealing && first <= last) {
        needed += cache_entry(&writer->storage->cache, first).size;
    }
    CHECK(SECTOR_SIZE + sector_round_up(needed) <= writer->storage->segment_size);
    return writer->file != NULL && writer->segment.size - writer->offset >= needed;
}

static void write_batch(struct writer *writer, uint64_t last)
{
    struct storage *storage = writer->storage;
    if (!has_room(writer, last)) {
        bool moved = next_segment(writer);
        maker_start(&storage->maker);
        if (!moved) {
            writer->waiting = true;
            return;
        }
        CHECK(has_room(writer, last));
    }
    writer->waiting = false;
    gather(writer, writer->sealing ? storage->synced_last : last,
           writer->segment.size - writer->offset);
    struct batch *batch = &writer->batch;
    writer->batch_last = batch->first_index + batch->count - 1;
    struct batch_place place = {.salt = writer->segment.salt, .offset = writer->offset};
    batch_encode(batch, place, writer->header);
    /* Nobody looks up an entry here before it is synced, so the table may know it early. */
    note_extents(writer);
    writer->op.done = batch_written;
    io_write(storage->io, &writer->op, writer->file, writer->offset, writer->parts,
             writer->part_count, IO_WRITE_DURABLE);
}

void writer_write(struct writer *writer, uint64_t last)
{
    CHECK(!writer->busy);
    CHECK(writer->storage->error == 0);
    writer->busy = true;
    writer->sealing = false;
    writer->batch_last = last;
    write_batch(writer, last);
}

void writer_seal(struct writer *writer)
{
    CHECK(!writer->busy);
    CHECK(writer->storage->error == 0);
    writer->busy = true;
    writer->sealing = true;
    writer->batch_last = writer->storage->synced_last;
    write_batch(writer, writer->batch_last);
}

/* What the log on the disk is after the batch that was just written. */
static void note_written(struct writer *writer)
{
    struct storage *storage = writer->storage;
    const struct batch *batch = &writer->batch;
    if (writer->stale) {
        writer->stale = false;
        return;
    }
    storage->disk_last = batch->first_index + batch->count - 1;
    if (writer->batch_last >= batch->first_index) {
        storage->synced_last = writer->batch_last;
    }
    if (batch->reset) {
        storage_keep_segments(storage, batch->segment);
    }
}

static void batch_written(struct io_file_op *op, int64_t result)
{
    struct writer *writer = CONTAINER_OF(op, struct writer, op);
    struct storage *storage = writer->storage;
    const struct batch *batch = &writer->batch;
    writer->busy = false;
    writer->torn = false;
    if (MUTATION(ignore_sync_error) && result < 0) {
        result = (int64_t)batch_disk_size(batch);
    }
    if (result < 0) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(writer->segment.number, name);
        storage_fail(storage, result, "writing", name);
        storage_moved(storage);
        return;
    }
    CHECK((uint64_t)result == batch_disk_size(batch));
    writer->offset += batch_disk_size(batch);
    writer->sequence = batch->sequence;
    writer->synced_sequence = batch->sequence;
    writer->synced_segment = batch->segment;
    note_written(writer);
    storage->stats.writes++;
    storage->stats.syncs++;
    storage->stats.entries += batch->count;
    storage->stats.bytes += batch_disk_size(batch);
    cache_evict(&storage->cache, storage->synced_last);
    storage_moved(storage);
}

void writer_truncate(struct writer *writer, uint64_t from)
{
    if (!writer->busy || writer->batch_last < from) {
        return;
    }
    writer->batch_last = from - 1;
    writer->torn = !writer->waiting;
}

void writer_reset(struct writer *writer, uint64_t last)
{
    if (!writer->busy) {
        return;
    }
    writer->batch_last = last;
    writer->torn = !writer->waiting;
    writer->stale = !writer->waiting;
}

void writer_segment_ready(struct writer *writer, const struct segment *segment,
                          struct io_file *file)
{
    CHECK(writer->next_file == NULL);
    writer->next_file = file;
    writer->next_segment = *segment;
    if (writer->waiting && writer->storage->error == 0) {
        write_batch(writer, writer->batch_last);
    }
}
