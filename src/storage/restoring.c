/*
 * Reading a snapshot back for the state machine: chunk by chunk, checked and decompressed.
 *
 *     next ─► walk to the next chunk ─► decompress ─► answer, from io_run
 */
#include "storage/snapshot.h"

#include "base/memory.h"
#include "storage/snapshot_walk.h"
#include "storage/store.h"

#include <inttypes.h>
#include <stdlib.h>

struct restoring {
    struct snapshot_work work;
    struct storage_snapshot_read *owner;
    struct snapshot_walk walk;
    struct io_timer timer; /* answers when nothing had to be read */
    char name[SNAPSHOT_NAME_SIZE];
    struct buf raw;
};

static void restoring_free(struct snapshot_work *work)
{
    struct restoring *restoring = CONTAINER_OF(work, struct restoring, work);
    snapshot_walk_done(&restoring->walk);
    buf_done(&restoring->raw);
    free(restoring);
}

/* The last answer. */
static void end(struct restoring *restoring, int err, const char *sentence)
{
    struct storage_snapshot_read *owner = restoring->owner;
    owner->backend = NULL;
    owner->meta.membership = (struct slice){0};
    snapshot_work_end(&restoring->work);
    owner->done(owner, err, (struct slice){0}, sentence);
}

static void fail(struct restoring *restoring, int err, const char *what)
{
    char sentence[SENTENCE_SIZE];
    snapshot_sentence(sentence, sizeof sentence, restoring->work.storage, restoring->name,
                      " at offset %" PRIu64 ": %s", restoring->walk.offset, what);
    end(restoring, err, sentence);
}

static void give_meta(struct restoring *restoring)
{
    const struct snapshot_walk *walk = &restoring->walk;
    restoring->owner->meta = (struct storage_snapshot_meta){
        .index = walk->header.index,
        .term = walk->header.term,
        .digest = walk->header.digest,
        .membership = buf_slice(&walk->membership),
    };
}

static void give_chunk(struct restoring *restoring)
{
    struct storage_snapshot_read *owner = restoring->owner;
    const struct snapshot_walk *walk = &restoring->walk;
    if (!snapshot_decompress(walk->stored, walk->chunk.raw_size, &restoring->raw)) {
        fail(restoring, KV_ERR_DAMAGED, "the chunk before it cannot be decompressed");
        return;
    }
    give_meta(restoring);
    restoring->work.busy = false;
    owner->done(owner, 0, buf_slice(&restoring->raw), "");
}

static void advance(struct restoring *restoring)
{
    switch (snapshot_walk_step(&restoring->walk)) {
    case SNAPSHOT_WAIT:
        return;
    case SNAPSHOT_CHUNK:
        give_chunk(restoring);
        return;
    case SNAPSHOT_END:
        give_meta(restoring);
        end(restoring, 0, "");
        return;
    case SNAPSHOT_BAD:
        fail(restoring, restoring->walk.err == KV_ERR_IO ? KV_ERR_IO : KV_ERR_DAMAGED,
             restoring->walk.what);
        return;
    }
    UNREACHABLE();
}

static void go_on(struct restoring *restoring)
{
    struct storage *storage = restoring->work.storage;
    if (storage->state != STORAGE_OPEN) {
        end(restoring, KV_ERR_STOPPED, kvapp_err_sentence(KV_ERR_STOPPED));
    } else if (storage->snapshots.newest.index == 0) {
        end(restoring, KV_ERR_NOT_FOUND, "there is no snapshot");
    } else {
        advance(restoring);
    }
    storage_moved(storage);
}

static void walk_ready(struct snapshot_walk *walk)
{
    go_on(CONTAINER_OF(walk, struct restoring, walk));
}

static void timer_due(struct io_timer *timer)
{
    go_on(CONTAINER_OF(timer, struct restoring, timer));
}

void storage_snapshot_read_next(struct storage *storage, struct storage_snapshot_read *owner)
{
    struct restoring *restoring = owner->backend;
    if (restoring == NULL) {
        restoring = memory_new(1, sizeof *restoring);
        restoring->owner = owner;
        owner->backend = restoring;
        snapshot_work_begin(&restoring->work, storage, restoring_free);
        snapshot_name(storage->snapshots.newest.index, restoring->name);
        io_timer_init(&restoring->timer, timer_due);
        snapshot_walk_init(&restoring->walk, storage->io, storage_path(storage, restoring->name),
                           storage->identity.cluster_id, walk_ready);
    }
    CHECK(!restoring->work.busy);
    restoring->work.busy = true;
    io_timer_set(storage->io, &restoring->timer, 0);
}

void storage_snapshot_read_stop(struct storage *storage, struct storage_snapshot_read *owner)
{
    (void)storage;
    struct restoring *restoring = owner->backend;
    if (restoring == NULL) {
        return;
    }
    CHECK(!restoring->work.busy);
    owner->backend = NULL;
    snapshot_work_end(&restoring->work);
}
