/* Sending a snapshot: its file's bytes, at the offsets that are asked for. */
#include "storage/snapshot.h"

#include "base/memory.h"
#include "storage/store.h"

#include <inttypes.h>
#include <stdlib.h>

struct source {
    struct snapshot_work work;
    struct storage_snapshot_source *owner; /* NULL: closed, but an operation is in flight */
    struct io_timer timer;                 /* answers that there is none */
    struct io_file_op op;
    struct io_file *file;
    char name[SNAPSHOT_NAME_SIZE];
    struct buf bytes;
    uint64_t offset;
    size_t size;
};

static void source_free(struct snapshot_work *work)
{
    struct source *source = CONTAINER_OF(work, struct source, work);
    io_file_close(work->storage->io, source->file);
    buf_done(&source->bytes);
    free(source);
}

static void end(struct source *source, int err, const char *sentence)
{
    struct storage_snapshot_source *owner = source->owner;
    snapshot_work_end(&source->work);
    if (owner != NULL) {
        owner->backend = NULL;
        owner->done(owner, err, (struct slice){0}, sentence);
    }
}

static void fail(struct source *source, int err, const char *what)
{
    char sentence[SENTENCE_SIZE];
    snapshot_sentence(sentence, sizeof sentence, source->work.storage, source->name,
                      " at offset %" PRIu64 ": %s", source->offset, what);
    end(source, err, sentence);
}

/* True when the answer is still wanted; else the source has been freed. */
static bool wanted(struct source *source)
{
    source->work.busy = false;
    if (source->owner == NULL || source->work.storage->state != STORAGE_OPEN) {
        end(source, KV_ERR_STOPPED, kvapp_err_sentence(KV_ERR_STOPPED));
        return false;
    }
    return true;
}

static void file_read(struct io_file_op *op, int64_t result)
{
    struct source *source = CONTAINER_OF(op, struct source, op);
    struct storage *storage = source->work.storage;
    if (wanted(source)) {
        if (result < 0) {
            fail(source, KV_ERR_IO, io_error_sentence(result));
        } else if ((uint64_t)result < source->size) {
            fail(source, KV_ERR_DAMAGED, "the file is shorter than it was");
        } else {
            struct slice bytes = slice_of(source->bytes.data, source->size);
            source->owner->done(source->owner, 0, bytes, "");
        }
    }
    storage_moved(storage);
}

static void opened(struct io_file_op *op, int64_t result)
{
    struct source *source = CONTAINER_OF(op, struct source, op);
    struct storage *storage = source->work.storage;
    source->file = result < 0 ? NULL : op->file;
    if (wanted(source)) {
        if (result < 0) {
            fail(source, KV_ERR_IO, io_error_sentence(result));
        } else {
            source->owner->done(source->owner, 0, (struct slice){0}, "");
        }
    }
    storage_moved(storage);
}

static void none_due(struct io_timer *timer)
{
    struct source *source = CONTAINER_OF(timer, struct source, timer);
    struct storage *storage = source->work.storage;
    end(source, KV_ERR_NOT_FOUND, "there is no snapshot");
    storage_moved(storage);
}

void storage_snapshot_source_open(struct storage *storage, struct storage_snapshot_source *owner)
{
    const struct snapshot_header *newest = &storage->snapshots.newest;
    struct source *source = memory_new(1, sizeof *source);
    source->owner = owner;
    owner->backend = source;
    owner->offer = (struct storage_snapshot_offer){
        .index = newest->index,
        .term = newest->term,
        .size = storage->snapshots.newest_size,
        .salt = newest->salt,
    };
    snapshot_work_begin(&source->work, storage, source_free);
    source->work.busy = true;
    if (newest->index == 0) {
        io_timer_init(&source->timer, none_due);
        io_timer_set(storage->io, &source->timer, 0);
        return;
    }
    snapshot_name(newest->index, source->name);
    char *path = storage_path(storage, source->name);
    source->op.done = opened;
    io_open(storage->io, &source->op, path, IO_OPEN_READ_ONLY);
    free(path);
}

void storage_snapshot_source_read(struct storage *storage, struct storage_snapshot_source *owner,
                                  uint64_t offset, size_t size)
{
    struct source *source = owner->backend;
    CHECK(source != NULL);
    CHECK(!source->work.busy);
    CHECK(size > 0);
    CHECK(size <= SNAPSHOT_CHUNK_SIZE_MAX);
    CHECK(offset <= owner->offer.size);
    CHECK(size <= owner->offer.size - offset);
    source->work.busy = true;
    source->offset = offset;
    source->size = size;
    buf_clear(&source->bytes);
    uint8_t *bytes = buf_reserve(&source->bytes, size);
    source->op.done = file_read;
    io_read(storage->io, &source->op, source->file, offset, bytes, size);
}

void storage_snapshot_source_close(struct storage *storage, struct storage_snapshot_source *owner)
{
    (void)storage;
    struct source *source = owner->backend;
    if (source == NULL) {
        return;
    }
    owner->backend = NULL;
    source->owner = NULL;
    if (!source->work.busy) {
        snapshot_work_end(&source->work);
    }
}
