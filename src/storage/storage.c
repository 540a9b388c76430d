/*
 * The whole of storage: staging, flushing, rounds, closing. The parts do the work (cache, writer,
 * vote file, maker, reads, opening); this file decides what comes next whenever one of them moved.
 *
 *     flush ─► round: ┬─ batch, batch, ... until the round's last index is synced ─┬─► stored
 *                     └─ vote slot, when the vote changed ─────────────────────────┘
 *     seal  ─► round:    empty batch ─► vote slot that knows it to be synced ────────► finished
 *
 * All that is flushed while a round is under way becomes the one next round.
 */
#include "storage/storage.h"

#include "base/memory.h"
#include "storage/opening.h"
#include "storage/read.h"
#include "storage/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void later_due(struct io_timer *timer);

/* ---- small services to the parts ---- */

char *storage_path(const struct storage *storage, const char *name)
{
    size_t size = strlen(storage->path) + 1 + strlen(name) + 1;
    char *path = memory_new(1, size);
    (void)snprintf(path, size, "%s/%s", storage->path, name);
    return path;
}

int storage_io_error(int64_t result)
{
    CHECK(result < 0);
    return result == -ENOSPC || result == -EDQUOT ? KV_ERR_FULL : KV_ERR_IO;
}

void storage_fail(struct storage *storage, int64_t result, const char *what, const char *file)
{
    if (storage->error != 0) {
        return;
    }
    storage->error = storage_io_error(result);
    (void)snprintf(storage->sentence, sizeof storage->sentence,
                   "%s/%s: %s failed: %s; nothing more is written to this data directory",
                   storage->path, file, what, io_error_sentence(result));
}

/* ---- life ---- */

struct storage *storage_open(struct io *io, const struct storage_options *options)
{
    CHECK(options->segment_size >= SEGMENT_SIZE_MIN);
    CHECK(options->handler != NULL);
    struct storage *storage = memory_new(1, sizeof *storage);
    storage->io = io;
    storage->trace = options->trace;
    storage->handler = options->handler;
    storage->context = options->context;
    storage->path = memory_copy_string(options->path);
    storage->identity = (struct identity){
        .cluster_id = options->cluster_id,
        .node_id = options->node_id,
    };
    buf_append_slice(&storage->founders, options->founders);
    storage->segment_size = sector_round_down(options->segment_size);
    storage->may_repair = options->may_repair;
    storage->takes_outdated = options->takes_outdated;
    storage->vote.storage = storage;
    maker_init(&storage->maker, storage);
    storage->writer.storage = storage;
    terms_reset(&storage->terms, 1, 0);
    snapshots_init(&storage->snapshots);
    list_init(&storage->reads);
    cache_init(&storage->cache, options->cache_size, 1);
    io_timer_init(&storage->later, later_due);
    opening_start(storage);
    return storage;
}

static bool idle(const struct storage *storage)
{
    bool writer_busy = storage->writer.busy && !storage->writer.waiting;
    return !writer_busy && !storage->vote.busy && !storage->maker.busy &&
           list_empty(&storage->reads) && !opening_busy(storage->opening) &&
           !snapshots_busy(&storage->snapshots);
}

/* Frees everything; nothing is in flight. */
static void storage_end(struct storage *storage)
{
    const struct storage_handler *handler = storage->handler;
    void *context = storage->context;
    struct io *io = storage->io;
    opening_free(storage);
    io_file_close(io, storage->writer.file);
    io_file_close(io, storage->writer.next_file);
    io_file_close(io, storage->vote.file);
    io_file_close(io, storage->directory);
    /* The lock goes last: until here the directory is this server's. */
    io_file_close(io, storage->lock);
    maker_done(&storage->maker);
    cache_done(&storage->cache);
    extents_done(&storage->extents);
    segments_done(&storage->segments);
    terms_done(&storage->terms);
    membership_list_done(&storage->memberships);
    snapshots_done(&storage->snapshots);
    buf_done(&storage->founders);
    free(storage->path);
    free(storage);
    handler->closed(context);
}

void storage_close(struct storage *storage)
{
    CHECK(storage->state != STORAGE_CLOSING);
    CHECK(storage->state != STORAGE_ENDING);
    bool open = storage->state == STORAGE_OPEN && storage->error == 0;
    storage->state = open ? STORAGE_CLOSING : STORAGE_ENDING;
    storage->maker.stopped = !open;
    if (open && storage->maker.full) {
        maker_hurry(&storage->maker);
    }
    io_timer_set(storage->io, &storage->later, 0);
}

void storage_opened(struct storage *storage, int err)
{
    CHECK(storage->state == STORAGE_OPENING);
    opening_free(storage);
    if (err != 0) {
        storage->error = err;
        storage->state = STORAGE_REFUSED;
        storage->handler->opened(storage->context, err, storage->sentence);
        return;
    }
    storage->state = STORAGE_OPEN;
    vote_pump(&storage->vote);
    maker_start(&storage->maker);
    storage->handler->opened(storage->context, 0, "");
}

void storage_repaired(struct storage *storage)
{
    storage->vote.wanted.lost_until = 0;
    storage->vote.wanted.lost_term = 0;
    if (storage->error == 0) {
        (void)vote_store(&storage->vote);
    }
}

/* The last record of this life, but for what the caller changes in it. */
static struct vote *last_vote(struct storage *storage)
{
    struct vote *vote = &storage->vote.wanted;
    vote->term = storage->staged_vote.term;
    vote->voted_for = storage->staged_vote.voted_for;
    return vote;
}

static void store_last_vote(struct storage *storage)
{
    if (storage->error == 0) {
        (void)vote_store(&storage->vote);
    }
}

void storage_mark_outdated(struct storage *storage)
{
    last_vote(storage)->outdated = true;
    store_last_vote(storage);
}

void storage_mark_diverged(struct storage *storage)
{
    vote_lose_log(last_vote(storage), storage->terms.next - 1, storage->aside_newest + 1);
    store_last_vote(storage);
}

/* ---- rounds ---- */

static void report(struct storage *storage, uint64_t ticket)
{
    if (ticket > storage->ticket_done) {
        storage->ticket_done = ticket;
        storage->handler->stored(storage->context, ticket);
    }
}

static bool log_is_dirty(const struct storage *storage, uint64_t last)
{
    return last > storage->synced_last || storage->disk_last > storage->synced_last ||
           storage->reset_staged;
}

/* Takes the round one step on; true when it is at its end. */
static bool round_advance(struct storage *storage)
{
    struct round *round = &storage->round;
    if (storage->writer.busy) {
        return false;
    }
    if (round->seal && round->vote_generation == 0) {
        round->vote_generation = vote_store(&storage->vote);
    } else if (!round->seal && log_is_dirty(storage, round->last)) {
        writer_write(&storage->writer, round->last);
        return false;
    }
    return storage->vote.generation_done >= round->vote_generation;
}

void storage_round_begin(struct storage *storage)
{
    CHECK(!storage->round.active);
    storage->round = (struct round){
        .active = true,
        .ticket = storage->ticket,
        .last = storage->flushed_last,
    };
    if (storage->vote_flushed) {
        storage->vote_flushed = false;
        storage->round.vote_generation = vote_store(&storage->vote);
    }
    if (log_is_dirty(storage, storage->round.last)) {
        writer_write(&storage->writer, storage->round.last);
    } else if (storage->round.vote_generation == 0) {
        /* Nothing to write: the ticket is still reported from io_run, not from here. */
        io_timer_set(storage->io, &storage->later, 0);
    }
}

void storage_seal(struct storage *storage)
{
    CHECK(!storage->round.active);
    storage->round = (struct round){
        .active = true,
        .seal = true,
        .ticket = storage->ticket,
        .last = storage->flushed_last,
    };
    writer_seal(&storage->writer);
}

/* True when the newest batch is known to be synced by the vote file too. */
static bool is_sealed(const struct storage *storage)
{
    return storage->vote.newest.synced_sequence >= storage->writer.sequence;
}

/* What is to be written waits for space that may never come. */
static bool is_stuck(const struct storage *storage)
{
    return storage->writer.waiting && storage->maker.full && !storage->maker.busy;
}

/* Closing: seals what is not sealed, waits for what is in flight, ends. */
static void close_advance(struct storage *storage)
{
    bool writable = storage->state == STORAGE_CLOSING && storage->error == 0;
    if (writable && !storage->round.active && !is_sealed(storage)) {
        storage_seal(storage);
    }
    if (writable && storage->round.active && !is_stuck(storage)) {
        return;
    }
    /* Nobody was told that what is stuck is stored. */
    storage->maker.stopped = true;
    if (writable) {
        vote_pump(&storage->vote);
    }
    if (!idle(storage)) {
        return;
    }
    storage->state = STORAGE_ENDING;
    /* The one that moved may still be on the stack. */
    io_timer_set(storage->io, &storage->later, 0);
}

/* The last step of an opening is the round that seals what was found. */
static void opening_advance(struct storage *storage)
{
    if (storage->error != 0) {
        storage_opened(storage, storage->error);
    } else if (storage->round.active && round_advance(storage)) {
        storage->round.active = false;
        storage_opened(storage, 0);
    }
}

/* Once the vote file says that the first segments are not needed, their files may go. */
static void trim_advance(struct storage *storage)
{
    uint64_t first = storage->vote.newest.first_segment;
    if (storage->segments.count == 0 || storage->segments.at[0].number >= first) {
        return;
    }
    uint64_t lowest = storage->segments.at[0].number;
    extents_trim(&storage->extents, first);
    segments_trim(&storage->segments, first);
    uint64_t left =
        storage->extents.count == 0 ? storage->synced_last + 1 : storage->extents.at[0].first;
    if (left > storage->terms.first) {
        terms_trim(&storage->terms, left);
    }
    maker_free_segments(&storage->maker, lowest, first);
}

static void fail_advance(struct storage *storage)
{
    storage->round.active = false;
    if (!storage->failure_reported) {
        storage->failure_reported = true;
        storage->handler->failed(storage->context, storage->error, storage->sentence);
    }
    if (storage->state == STORAGE_CLOSING) {
        close_advance(storage);
    }
}

void storage_moved(struct storage *storage)
{
    if (storage->state == STORAGE_OPENING) {
        opening_advance(storage);
        return;
    }
    if (storage->state == STORAGE_REFUSED) {
        return;
    }
    if (storage->state == STORAGE_ENDING) {
        if (idle(storage)) {
            io_timer_set(storage->io, &storage->later, 0);
        }
        return;
    }
    if (storage->error != 0) {
        fail_advance(storage);
        return;
    }
    storage_trim_pump(storage);
    trim_advance(storage);
    maker_start(&storage->maker);
    if (storage->round.active && round_advance(storage)) {
        storage->round.active = false;
        report(storage, storage->round.ticket);
    }
    /* The report may have flushed, which began a round. */
    if (!storage->round.active && storage->ticket > storage->round.ticket) {
        storage_round_begin(storage);
    }
    if (storage->state == STORAGE_CLOSING) {
        close_advance(storage);
    }
}

static void later_due(struct io_timer *timer)
{
    struct storage *storage = CONTAINER_OF(timer, struct storage, later);
    if (storage->state == STORAGE_ENDING && idle(storage)) {
        storage_end(storage);
        return;
    }
    storage_moved(storage);
}
