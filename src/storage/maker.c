#include "storage/maker.h"

#include "storage/read.h"
#include "storage/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static const char spare_name[] = "spare.tmp";
static const uint8_t zeros[MAKER_ZEROS_SIZE];

static void op_done(struct io_file_op *op, int64_t result);
static void fresh_open(struct maker *maker, int64_t result);
static void fresh_fill(struct maker *maker, int64_t result);
static void recycle_open(struct maker *maker, int64_t result);
static void recycle_renamed(struct maker *maker, int64_t result);
static void unlinked(struct maker *maker, int64_t result);
static void header_write(struct maker *maker);

static void end(struct maker *maker)
{
    maker->busy = false;
    maker->step = NULL;
    free(maker->from);
    free(maker->to);
    maker->from = NULL;
    maker->to = NULL;
}

static void pause_over(struct io_timer *timer)
{
    struct maker *maker = CONTAINER_OF(timer, struct maker, pause);
    maker_start(maker);
}

void maker_init(struct maker *maker, struct storage *storage)
{
    maker->storage = storage;
    io_timer_init(&maker->pause, pause_over);
}

void maker_done(struct maker *maker)
{
    CHECK(!maker->busy);
    io_timer_cancel(maker->storage->io, &maker->pause);
    end(maker);
}

/* What the next operation's completion calls; names of the last operation are forgotten. */
static struct io_file_op *begin(struct maker *maker,
                                void (*step)(struct maker *maker, int64_t result))
{
    free(maker->from);
    free(maker->to);
    maker->from = NULL;
    maker->to = NULL;
    maker->step = step;
    maker->op = (struct io_file_op){.done = op_done};
    return &maker->op;
}

static void abandon(struct maker *maker)
{
    io_file_close(maker->storage->io, maker->file);
    maker->file = NULL;
    end(maker);
}

/* ---- no space ---- */

static void spare_unlinked(struct maker *maker, int64_t result)
{
    (void)result; /* When it is still there, the next trial goes on with it. */
    struct io *io = maker->storage->io;
    uint64_t now_us = io_now_us(io);
    uint64_t pause_us = (now_us - maker->began_us) * MAKER_PAUSE_FACTOR;
    pause_us = pause_us < MAKER_PAUSE_US ? MAKER_PAUSE_US : pause_us;
    pause_us = pause_us > MAKER_PAUSE_US_MAX ? MAKER_PAUSE_US_MAX : pause_us;
    io_timer_set(io, &maker->pause, now_us + pause_us);
    end(maker);
}

static void note_full(struct maker *maker)
{
    struct storage *storage = maker->storage;
    if (storage->state == STORAGE_OPENING && !maker->full) {
        TRACE(storage->trace, TRACE_WARN,
              "%s: no space is left for a log segment of %" PRIu64
              " bytes; the start waits until there is",
              storage->path, maker->segment.size);
    }
    maker->full = true;
}

static void give_way(struct maker *maker)
{
    struct storage *storage = maker->storage;
    note_full(maker);
    if (maker->step == recycle_renamed) {
        maker->freed_first--; /* It still has its name. */
    }
    io_file_close(storage->io, maker->file);
    maker->file = NULL;
    struct io_file_op *op = begin(maker, spare_unlinked);
    maker->from = storage_path(storage, spare_name);
    io_unlink(storage->io, op, maker->from);
}

/* ---- operations ---- */

static void op_done(struct io_file_op *op, int64_t result)
{
    struct maker *maker = CONTAINER_OF(op, struct maker, op);
    struct storage *storage = maker->storage;
    if (maker->stopped || storage->error != 0) {
        if (result >= 0 && (maker->step == fresh_open || maker->step == recycle_open)) {
            maker->file = op->file;
        }
        abandon(maker);
    } else if (maker->step == spare_unlinked) {
        spare_unlinked(maker, result);
    } else if (result < 0 && storage_io_error(result) == KV_ERR_FULL && maker->step != unlinked) {
        give_way(maker);
    } else if (result < 0) {
        storage_fail(storage, result, "preparing a log segment", spare_name);
        abandon(maker);
    } else {
        maker->step(maker, result);
    }
    storage_moved(storage);
}

/* ---- a new file ---- */

static void fresh_start(struct maker *maker)
{
    struct io_file_op *op = begin(maker, fresh_open);
    maker->filled = 0;
    maker->segment.recycled = false;
    maker->from = storage_path(maker->storage, spare_name);
    io_open(maker->storage->io, op, maker->from, IO_OPEN_CREATE);
}

static void fresh_open(struct maker *maker, int64_t result)
{
    CHECK(result == 0);
    maker->file = maker->op.file;
    fresh_fill(maker, 0);
}

static void fresh_fill(struct maker *maker, int64_t result)
{
    maker->filled += (uint64_t)result;
    uint64_t left = maker->segment.size - maker->filled;
    if (left == 0) {
        header_write(maker);
        return;
    }
    size_t count = 0;
    while (left > 0 && count < MAKER_PARTS_MAX) {
        size_t size = left < sizeof zeros ? (size_t)left : sizeof zeros;
        maker->parts[count++] =
            (struct iovec){.iov_base = (void *)(uintptr_t)zeros, .iov_len = size};
        left -= size;
    }
    io_write(maker->storage->io, begin(maker, fresh_fill), maker->file, maker->filled, maker->parts,
             count, IO_WRITE_DURABLE);
}

/* ---- a freed file ---- */

static void recycle_unlinked(struct maker *maker, int64_t result)
{
    CHECK(result == 0);
    fresh_start(maker);
}

static void recycle_size(struct maker *maker, int64_t result)
{
    if ((uint64_t)result == maker->segment.size) {
        header_write(maker);
        return;
    }
    /* Made under another segment size: of no use. */
    io_file_close(maker->storage->io, maker->file);
    maker->file = NULL;
    struct io_file_op *op = begin(maker, recycle_unlinked);
    maker->from = storage_path(maker->storage, spare_name);
    io_unlink(maker->storage->io, op, maker->from);
}

static void recycle_open(struct maker *maker, int64_t result)
{
    CHECK(result == 0);
    maker->file = maker->op.file;
    io_size(maker->storage->io, begin(maker, recycle_size), maker->file);
}

static void recycle_synced(struct maker *maker, int64_t result)
{
    CHECK(result == 0);
    struct io_file_op *op = begin(maker, recycle_open);
    maker->from = storage_path(maker->storage, spare_name);
    io_open(maker->storage->io, op, maker->from, 0);
}

static void recycle_renamed(struct maker *maker, int64_t result)
{
    CHECK(result == 0);
    io_sync(maker->storage->io, begin(maker, recycle_synced), maker->storage->directory);
}

static void recycle_start(struct maker *maker)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(maker->freed_first++, name);
    maker->segment.recycled = true;
    struct io_file_op *op = begin(maker, recycle_renamed);
    maker->from = storage_path(maker->storage, name);
    maker->to = storage_path(maker->storage, spare_name);
    io_rename(maker->storage->io, op, maker->from, maker->to);
}

/* ---- both ---- */

static void ready(struct maker *maker, int64_t result)
{
    CHECK(result == 0);
    struct storage *storage = maker->storage;
    struct io_file *file = maker->file;
    struct segment segment = maker->segment;
    maker->file = NULL;
    maker->full = false;
    end(maker);
    segments_push(&storage->segments, &segment);
    writer_segment_ready(&storage->writer, &segment, file);
    maker_start(maker);
}

static void renamed(struct maker *maker, int64_t result)
{
    CHECK(result == 0);
    io_sync(maker->storage->io, begin(maker, ready), maker->storage->directory);
}

static void header_written(struct maker *maker, int64_t result)
{
    CHECK(result == SECTOR_SIZE);
    char name[SEGMENT_NAME_SIZE];
    segment_name(maker->segment.number, name);
    struct io_file_op *op = begin(maker, renamed);
    maker->from = storage_path(maker->storage, spare_name);
    maker->to = storage_path(maker->storage, name);
    io_rename(maker->storage->io, op, maker->from, maker->to);
}

static void header_write(struct maker *maker)
{
    struct storage *storage = maker->storage;
    maker->segment.salt = io_random(storage->io);
    segment_encode(&maker->segment, &storage->identity, maker->header);
    maker->parts[0] = (struct iovec){.iov_base = maker->header, .iov_len = SECTOR_SIZE};
    io_write(storage->io, begin(maker, header_written), maker->file, 0, maker->parts, 1,
             IO_WRITE_DURABLE);
}

static void unlinked(struct maker *maker, int64_t result)
{
    CHECK(result == 0);
    end(maker);
    maker_start(maker);
}

void maker_start(struct maker *maker)
{
    struct storage *storage = maker->storage;
    if (maker->busy || maker->stopped || storage->error != 0 || io_timer_is_set(&maker->pause)) {
        return;
    }
    maker->began_us = io_now_us(storage->io);
    bool has_freed =
        maker->freed_first < maker->freed_end && !read_touches(storage, maker->freed_end);
    if (storage->writer.next_file == NULL) {
        size_t count = storage->segments.count;
        maker->busy = true;
        maker->segment = (struct segment){
            .number = count == 0 ? 1 : storage->segments.at[count - 1].number + 1,
            .size = storage->segment_size,
        };
        if (has_freed) {
            recycle_start(maker);
        } else {
            fresh_start(maker);
        }
    } else if (has_freed && maker->freed_end - maker->freed_first > 1) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(maker->freed_first++, name);
        maker->busy = true;
        struct io_file_op *op = begin(maker, unlinked);
        maker->from = storage_path(storage, name);
        io_unlink(storage->io, op, maker->from);
    }
}

void maker_hurry(struct maker *maker)
{
    io_timer_cancel(maker->storage->io, &maker->pause);
    maker_start(maker);
}

void maker_free_segments(struct maker *maker, uint64_t first, uint64_t number)
{
    if (maker->freed_first == maker->freed_end) {
        maker->freed_first = first;
    }
    CHECK(number >= maker->freed_end);
    maker->freed_end = number;
    maker_hurry(maker);
}
