/*
 * Receiving a snapshot that a leader sends: bytes into a draft, verified as a whole at the end.
 *
 *     begin ─► walk what an earlier receive left ──same file──► resume behind its last whole chunk
 *                         └──nothing, or another──► create
 *     bytes ─► append ─► ... ─► end: sync ─► walk the whole file ─► draft_finish
 *                                                     └──bad──► draft_discard
 *
 * What a crash left of the file may have holes, so nothing of it is believed before its checksums.
 */
#include "storage/snapshot.h"

#include "base/memory.h"
#include "storage/draft.h"
#include "storage/snapshot_walk.h"
#include "storage/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum receiving_state {
    RECEIVING_LOOKING, /* at what is there */
    RECEIVING_BYTES,
    RECEIVING_SYNCING,
    RECEIVING_VERIFYING,
    RECEIVING_FINISHING,
    RECEIVING_DISCARDING,
};

struct receiving {
    struct snapshot_work work;
    struct storage_receive *owner;
    struct storage_snapshot_offer offer;
    enum receiving_state state;
    struct draft draft;
    struct snapshot_walk walk;
    struct io_timer timer; /* answers a call that is refused */
    struct buf bytes;      /* of the write in flight */
    bool started;
    bool ending; /* storage_receive_end was called */
    bool abandoned;
    int err;
    char sentence[SENTENCE_SIZE];
};

static void start(struct receiving *receiving);

static void receiving_free(struct snapshot_work *work)
{
    struct receiving *receiving = CONTAINER_OF(work, struct receiving, work);
    io_timer_cancel(work->storage->io, &receiving->timer);
    draft_done(&receiving->draft);
    snapshot_walk_done(&receiving->walk);
    buf_done(&receiving->bytes);
    free(receiving);
}

/* Everything is over; one that waited for the file begins. */
static void leave(struct receiving *receiving)
{
    struct snapshots *snapshots = &receiving->work.storage->snapshots;
    struct receiving *next = NULL;
    if (snapshots->receiving == receiving) {
        snapshots->receiving = NULL;
    } else {
        snapshots->receiving_leaves = false;
        next = snapshots->receiving;
    }
    snapshot_work_end(&receiving->work);
    if (next != NULL) {
        start(next);
    }
}

static void end(struct receiving *receiving, int err, const char *sentence)
{
    struct storage_receive *owner = receiving->owner;
    if (receiving->abandoned) {
        leave(receiving);
        return;
    }
    char text[SENTENCE_SIZE];
    memcpy(text, sentence, strlen(sentence) + 1);
    owner->backend = NULL;
    leave(receiving);
    owner->done(owner, err, text);
}

static void end_stopped(struct receiving *receiving)
{
    end(receiving, KV_ERR_STOPPED, kvapp_err_sentence(KV_ERR_STOPPED));
}

/* Refuses a call; what has come stays. The answer comes from io_run. */
static void refuse(struct receiving *receiving, const char *what)
{
    receiving->err = KV_ERR_INVALID;
    snapshot_sentence(receiving->sentence, sizeof receiving->sentence, receiving->work.storage,
                      SNAPSHOT_RECEIVING_NAME, ": %s", what);
    io_timer_set(receiving->work.storage->io, &receiving->timer, 0);
}

static void refusal_due(struct io_timer *timer)
{
    struct receiving *receiving = CONTAINER_OF(timer, struct receiving, timer);
    struct storage *storage = receiving->work.storage;
    end(receiving, receiving->err, receiving->sentence);
    storage_moved(storage);
}

static void discard(struct receiving *receiving, int err)
{
    receiving->err = err;
    receiving->state = RECEIVING_DISCARDING;
    snapshot_walk_done(&receiving->walk);
    draft_discard(&receiving->draft);
}

/* ---- beginning ---- */

static bool is_offered(const struct receiving *receiving)
{
    const struct snapshot_walk *walk = &receiving->walk;
    const struct storage_snapshot_offer *offer = &receiving->offer;
    return walk->has_header && walk->header.salt == offer->salt &&
           walk->header.index == offer->index && walk->header.term == offer->term &&
           walk->size <= offer->size;
}

/* How much of what is there can stay is known. */
static void looked(struct receiving *receiving)
{
    uint64_t whole = is_offered(receiving) ? receiving->walk.offset : 0;
    snapshot_walk_done(&receiving->walk);
    receiving->state = RECEIVING_BYTES;
    if (whole == 0) {
        draft_create(&receiving->draft);
    } else {
        draft_resume(&receiving->draft, whole);
    }
}

/* ---- the end ---- */

static void give_up_overtaken(struct receiving *receiving)
{
    snapshot_sentence(receiving->sentence, sizeof receiving->sentence, receiving->work.storage,
                      SNAPSHOT_RECEIVING_NAME, ": a newer snapshot is there already");
    discard(receiving, KV_ERR_INVALID);
}

static void verified(struct receiving *receiving, bool whole)
{
    const struct snapshot_walk *walk = &receiving->walk;
    if (whole && is_offered(receiving)) {
        receiving->state = RECEIVING_FINISHING;
        draft_finish(&receiving->draft, &receiving->walk.header,
                     buf_slice(&receiving->walk.membership));
        return;
    }
    const char *what = whole ? "it is not the snapshot that was offered" : walk->what;
    snapshot_sentence(receiving->sentence, sizeof receiving->sentence, receiving->work.storage,
                      SNAPSHOT_RECEIVING_NAME,
                      ": what was received is not right at offset %" PRIu64 ": %s", walk->offset,
                      what);
    if (walk->err == KV_ERR_IO) {
        end(receiving, KV_ERR_IO, receiving->sentence);
    } else {
        discard(receiving, KV_ERR_DAMAGED);
    }
}

static void finished(struct receiving *receiving)
{
    struct storage_receive *owner = receiving->owner;
    const struct snapshots *snapshots = &receiving->work.storage->snapshots;
    owner->meta = (struct storage_snapshot_meta){
        .index = snapshots->newest.index,
        .term = snapshots->newest.term,
        .digest = snapshots->newest.digest,
        .membership = buf_slice(&snapshots->membership),
    };
    end(receiving, 0, "");
}

/* ---- what completes ---- */

static void walk_ready(struct snapshot_walk *walk)
{
    struct receiving *receiving = CONTAINER_OF(walk, struct receiving, walk);
    struct storage *storage = receiving->work.storage;
    if (!snapshot_may_write(storage) || receiving->abandoned) {
        end_stopped(receiving);
        storage_moved(storage);
        return;
    }
    enum snapshot_step step = SNAPSHOT_CHUNK;
    while (step == SNAPSHOT_CHUNK) {
        step = snapshot_walk_step(walk);
    }
    if (step != SNAPSHOT_WAIT) {
        if (receiving->state == RECEIVING_LOOKING) {
            looked(receiving);
        } else {
            verified(receiving, step == SNAPSHOT_END);
        }
    }
    storage_moved(storage);
}

static void walk_start(struct receiving *receiving)
{
    struct storage *storage = receiving->work.storage;
    snapshot_walk_init(&receiving->walk, storage->io,
                       storage_path(storage, SNAPSHOT_RECEIVING_NAME), storage->identity.cluster_id,
                       walk_ready);
    CHECK(snapshot_walk_step(&receiving->walk) == SNAPSHOT_WAIT);
}

static void failed(struct receiving *receiving, int64_t result)
{
    int err = storage_io_error(result);
    snapshot_sentence(receiving->sentence, sizeof receiving->sentence, receiving->work.storage,
                      SNAPSHOT_RECEIVING_NAME, ": %s failed: %s", receiving->draft.what,
                      io_error_sentence(result));
    /* On a full disk the log needs the space more; and after a write that failed, what a later
     * receive would read back and go on from need not be on the disk. */
    discard(receiving, err);
}

static void draft_moved(struct draft *draft, int64_t result)
{
    struct receiving *receiving = CONTAINER_OF(draft, struct receiving, draft);
    if (result == -ECANCELED) {
        end_stopped(receiving);
    } else if (receiving->state == RECEIVING_DISCARDING) {
        end(receiving, receiving->err, receiving->sentence);
    } else if (receiving->abandoned) {
        end_stopped(receiving);
    } else if (result == -EEXIST && receiving->state == RECEIVING_FINISHING) {
        give_up_overtaken(receiving);
    } else if (result < 0) {
        failed(receiving, result);
    } else if (receiving->state == RECEIVING_SYNCING) {
        receiving->state = RECEIVING_VERIFYING;
        walk_start(receiving);
    } else if (receiving->state == RECEIVING_FINISHING) {
        finished(receiving);
    } else {
        receiving->owner->offset = draft->size;
        receiving->work.busy = false;
        receiving->owner->done(receiving->owner, 0, "");
    }
}

static void start(struct receiving *receiving)
{
    const struct storage_snapshot_offer *offer = &receiving->offer;
    receiving->started = true;
    uint64_t newest = storage_snapshot_newest(receiving->work.storage);
    if (offer->index <= newest || offer->index > INT64_MAX) {
        refuse(receiving, "the snapshot that is offered is not newer than the one that is here");
    } else if (offer->size < SNAPSHOT_SIZE_MIN || offer->size > INT64_MAX) {
        refuse(receiving, "the size that is offered cannot be that of a snapshot");
    } else {
        walk_start(receiving);
    }
}

/* ---- the calls ---- */

void storage_receive_begin(struct storage *storage, struct storage_receive *owner,
                           const struct storage_snapshot_offer *offer)
{
    struct snapshots *snapshots = &storage->snapshots;
    CHECK(snapshots->receiving == NULL);
    struct receiving *receiving = memory_new(1, sizeof *receiving);
    receiving->owner = owner;
    receiving->offer = *offer;
    owner->backend = receiving;
    owner->offset = 0;
    io_timer_init(&receiving->timer, refusal_due);
    draft_init(&receiving->draft, storage, SNAPSHOT_RECEIVING_NAME, draft_moved);
    snapshot_work_begin(&receiving->work, storage, receiving_free);
    receiving->work.busy = true;
    snapshots->receiving = receiving;
    if (!snapshots->receiving_leaves) {
        start(receiving);
    }
}

static struct receiving *idle_receiving(struct storage *storage)
{
    struct receiving *receiving = storage->snapshots.receiving;
    CHECK(receiving != NULL);
    CHECK(!receiving->work.busy);
    receiving->work.busy = true;
    return receiving;
}

void storage_receive_bytes(struct storage *storage, uint64_t offset, struct slice bytes)
{
    CHECK(bytes.size > 0);
    CHECK(bytes.size <= SNAPSHOT_CHUNK_SIZE_MAX);
    struct receiving *receiving = idle_receiving(storage);
    uint64_t size = receiving->draft.size;
    if (offset != size || bytes.size > receiving->offer.size - size) {
        refuse(receiving, "bytes came that are not the next ones of the snapshot");
        return;
    }
    buf_clear(&receiving->bytes);
    buf_append_slice(&receiving->bytes, bytes);
    draft_append(&receiving->draft, buf_slice(&receiving->bytes));
}

void storage_receive_end(struct storage *storage)
{
    struct receiving *receiving = idle_receiving(storage);
    receiving->ending = true;
    if (receiving->draft.size != receiving->offer.size) {
        refuse(receiving, "the end came before the last bytes of the snapshot");
        return;
    }
    receiving->state = RECEIVING_SYNCING;
    draft_sync(&receiving->draft);
}

void storage_receive_abandon(struct storage *storage)
{
    struct receiving *receiving = storage->snapshots.receiving;
    CHECK(receiving != NULL);
    CHECK(!receiving->ending);
    receiving->abandoned = true;
    receiving->owner->backend = NULL;
    receiving->owner = NULL;
    if (!receiving->work.busy || !receiving->started) {
        leave(receiving);
        return;
    }
    storage->snapshots.receiving = NULL;
    storage->snapshots.receiving_leaves = true;
}
