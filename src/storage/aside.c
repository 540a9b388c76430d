/*
 * Sets a damaged log and its snapshots aside, so that the peers can feed this server again.
 *
 *     opening_lose ─► survey.c ─► VOTE: lost until, lost term, aside N ─┐
 *     storage_mark_diverged, in an earlier life ─► the same ────────────┤
 *       ┌───────────────────────────────────────────────────────────────┘
 *       └─► make DIR/damaged-N ─► move the files ─► sync both ─► VOTE: aside 0 ─► opening_again
 *
 * Nothing is deleted. That the log is lost is durable before the first file moves; after a crash
 * the next start finds `aside` and moves the rest. VOTE is written to both slots each time: were
 * the older record to count later, it would miss the log whose loss it does not know, and then lose
 * it without a bound.
 *
 * Term and vote stay. Nothing was promised in a term that only the log knows: promises wait for
 * VOTE.
 */
#include "storage/opening.h"

#include "base/memory.h"
#include "storage/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char PREFIX[] = "damaged-";

enum { NAME_SIZE = 32 };

static void move_next(struct opening *opening);

uint64_t aside_number(const char *name)
{
    bool is_one = strncmp(name, PREFIX, strlen(PREFIX)) == 0;
    return is_one ? strtoull(name + strlen(PREFIX), NULL, 10) : 0;
}

/* ---- VOTE, both slots ---- */

static void write_slot(struct opening *opening,
                       void (*step)(struct opening *opening, int64_t result))
{
    struct vote_file *vote = &opening->storage->vote;
    opening->vote.sequence = vote->newest.sequence + 1;
    vote_encode(&opening->vote, &opening->storage->identity, vote->bytes);
    opening->part = (struct iovec){.iov_base = vote->bytes, .iov_len = SECTOR_SIZE};
    io_write(opening->storage->io, opening_begin(opening, step), vote->file,
             (uint64_t)(vote->slot ^ 1) * VOTE_SLOT_SPACING, &opening->part, 1, IO_WRITE_DURABLE);
}

static bool slot_is_written(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "writing", "VOTE");
        return false;
    }
    opening->storage->vote.newest = opening->vote;
    opening->storage->vote.slot ^= 1;
    return true;
}

/* ---- the end: the directory is as one that never had a log ---- */

static void end_echoed(struct opening *opening, int64_t result)
{
    if (slot_is_written(opening, result)) {
        TRACE(opening->storage->trace, TRACE_WARN,
              "log and snapshots were moved to %s/%s; this server gets them from the others, and "
              "does not vote until it has them",
              opening->storage->path, opening->aside_name);
        opening_again(opening);
    }
}

static void end_written(struct opening *opening, int64_t result)
{
    if (slot_is_written(opening, result)) {
        write_slot(opening, end_echoed);
    }
}

static void names_synced(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "syncing the directory", "");
        return;
    }
    opening->vote.aside = 0;
    opening->vote.synced_sequence = 0;
    opening->vote.first_segment = 1;
    write_slot(opening, end_written);
}

static void aside_synced(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "syncing", opening->aside_name);
        return;
    }
    io_file_close(opening->storage->io, opening->file);
    opening->file = NULL;
    io_sync(opening->storage->io, opening_begin(opening, names_synced),
            opening->storage->directory);
}

static void aside_opened(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "opening", opening->aside_name);
        return;
    }
    opening->file = opening->op.file;
    io_sync(opening->storage->io, opening_begin(opening, aside_synced), opening->file);
}

/* ---- moving ---- */

static bool is_of_the_log(const char *name)
{
    static const char snapshot[] = "snapshot";
    return segment_number(name) != 0 || strncmp(name, snapshot, strlen(snapshot)) == 0 ||
           strcmp(name, "spare.tmp") == 0;
}

static void moved(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "moving a damaged file to", opening->aside_name);
        return;
    }
    move_next(opening);
}

static void move_next(struct opening *opening)
{
    struct storage *storage = opening->storage;
    const struct buf *names = &opening->names;
    while (opening->name_at < names->size) {
        const char *name = (const char *)names->data + opening->name_at;
        opening->name_at += strlen(name) + 1;
        if (!is_of_the_log(name)) {
            continue;
        }
        struct io_file_op *op = opening_begin(opening, moved);
        char *directory = storage_path(storage, opening->aside_name);
        size_t size = strlen(directory) + 1 + strlen(name) + 1;
        opening->path = storage_path(storage, name);
        opening->path_to = memory_new(1, size);
        (void)snprintf(opening->path_to, size, "%s/%s", directory, name);
        free(directory);
        io_rename(storage->io, op, opening->path, opening->path_to);
        return;
    }
    opening_open(opening, aside_opened, opening->aside_name, IO_OPEN_DIRECTORY | IO_OPEN_READ_ONLY);
}

static void name_synced(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "syncing the directory", "");
        return;
    }
    opening->name_at = 0;
    move_next(opening);
}

static void made(struct opening *opening, int64_t result)
{
    if (result < 0 && result != -EEXIST) {
        opening_fail_io(opening, result, "making", opening->aside_name);
        return;
    }
    io_sync(opening->storage->io, opening_begin(opening, name_synced), opening->storage->directory);
}

void aside_resume(struct opening *opening)
{
    CHECK(opening->vote.aside != 0);
    opening->aside_name = memory_new(1, NAME_SIZE);
    (void)snprintf(opening->aside_name, NAME_SIZE, "%s%04" PRIu64, PREFIX, opening->vote.aside);
    struct io_file_op *op = opening_begin(opening, made);
    opening->path = storage_path(opening->storage, opening->aside_name);
    io_make_directory(opening->storage->io, op, opening->path);
}

/* ---- the mark ---- */

static void mark_echoed(struct opening *opening, int64_t result)
{
    if (slot_is_written(opening, result)) {
        aside_resume(opening);
    }
}

static void mark_written(struct opening *opening, int64_t result)
{
    if (slot_is_written(opening, result)) {
        write_slot(opening, mark_echoed);
    }
}

void aside_mark(struct opening *opening, uint64_t last)
{
    vote_lose_log(&opening->vote, last, opening->storage->aside_newest + 1);
    write_slot(opening, mark_written);
}
