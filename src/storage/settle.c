/*
 * The writing that ends an opening, after everything was found right: makes a new directory's
 * files; or removes leftovers, makes names durable, and takes away what a crash tore.
 *
 * Files were synced before they were read (opening.h); their names are synced here, before anything
 * is said about them.
 */
#include "storage/opening.h"

#include "base/memory.h"
#include "storage/store.h"

#include <errno.h>
#include <stdio.h>

enum { ZEROS_SIZE = 64 * 1024 };

static void make_open(struct opening *opening);
static void unlink_next(struct opening *opening);
static void zero_next(struct opening *opening, int64_t result);

/* ---- a new directory's IDENTITY and VOTE: under a temporary name, synced, renamed, synced ---- */

static const char *made_name(const struct opening *opening)
{
    return opening->has_identity ? "VOTE" : "IDENTITY";
}

static const char *made_temporary_name(const struct opening *opening)
{
    return opening->has_identity ? "VOTE.tmp" : "IDENTITY.tmp";
}

/* The new files are there. */
static void make_end(struct opening *opening)
{
    struct storage *storage = opening->storage;
    storage->vote.newest = opening->vote;
    storage->vote.wanted = opening->vote;
    storage->vote.content = opening->vote.sequence;
    storage->vote.slot = 1;
    settle_start(opening);
}

static void make_synced(struct opening *opening, int64_t result)
{
    struct storage *storage = opening->storage;
    if (result < 0) {
        opening_fail_io(opening, result, "syncing the directory for", made_name(opening));
        return;
    }
    if (!opening->has_identity) {
        io_file_close(storage->io, opening->file);
        opening->file = NULL;
        opening->has_identity = true;
        make_open(opening);
        return;
    }
    storage->vote.file = opening->file;
    opening->file = NULL;
    make_end(opening);
}

static void make_renamed(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "renaming", made_temporary_name(opening));
        return;
    }
    io_sync(opening->storage->io, opening_begin(opening, make_synced), opening->storage->directory);
}

static void make_written(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "writing", made_temporary_name(opening));
        return;
    }
    struct io_file_op *op = opening_begin(opening, make_renamed);
    opening->path = storage_path(opening->storage, made_temporary_name(opening));
    opening->path_to = storage_path(opening->storage, made_name(opening));
    io_rename(opening->storage->io, op, opening->path, opening->path_to);
}

static void make_opened(struct opening *opening, int64_t result)
{
    struct storage *storage = opening->storage;
    if (result < 0) {
        opening_fail_io(opening, result, "making", made_temporary_name(opening));
        return;
    }
    opening->file = opening->op.file;
    buf_clear(&opening->bytes);
    if (!opening->has_identity) {
        /* Any number but 0. */
        storage->identity.incarnation = io_random(storage->io) | 1;
        identity_encode(&storage->identity, buf_slice(&storage->founders), &opening->bytes);
    } else {
        opening->vote = (struct vote){.first_segment = 1};
        uint8_t *at = buf_extend(&opening->bytes, VOTE_FILE_SIZE);
        memset(at, 0, VOTE_FILE_SIZE);
        for (unsigned slot = 0; slot < 2; slot++) {
            opening->vote.sequence = slot + 1;
            vote_encode(&opening->vote, &storage->identity, at + slot * VOTE_SLOT_SPACING);
        }
    }
    opening->part = (struct iovec){
        .iov_base = opening->bytes.data,
        .iov_len = opening->bytes.size,
    };
    io_write(storage->io, opening_begin(opening, make_written), opening->file, 0, &opening->part, 1,
             IO_WRITE_DURABLE);
}

static void make_open(struct opening *opening)
{
    opening_open(opening, make_opened, made_temporary_name(opening), IO_OPEN_CREATE);
}

void settle_new(struct opening *opening)
{
    make_open(opening);
}

/* ---- the end ---- */

/*
 * Log and vote are written side by side, so after a crash the log may know a later term than VOTE.
 * The term of the last entry is then this server's term, in which it has not answered any vote. It
 * is written down before anyone hears of it: that entry may be truncated, the term must not fall.
 * Returns whether it was lifted.
 */
static bool lift_term(struct storage *storage)
{
    struct vote *vote = &storage->vote.wanted;
    uint64_t last_term = terms_at(&storage->terms, storage->terms.next - 1);
    bool lifted = last_term > vote->term;
    if (lifted) {
        vote->term = last_term;
        vote->voted_for = 0;
    }
    storage->staged_vote = *vote;
    return lifted;
}

static void take_tail(struct opening *opening)
{
    struct writer *writer = &opening->storage->writer;
    writer->file = opening->tail_file;
    writer->segment = opening->tail;
    writer->offset = opening->tail_offset;
    writer->sequence = opening->expected - 1;
    writer->synced_sequence = writer->sequence;
    writer->synced_segment = opening->tail.number;
    if (opening->file == opening->tail_file) {
        opening->file = NULL;
    }
    opening->tail_file = NULL;
}

/* Gives the writer its place; when nothing is new since the last seal, that is all. */
static void settle_end(struct opening *opening)
{
    struct storage *storage = opening->storage;
    uint64_t last = storage->cache.next - 1;
    storage->synced_last = last;
    storage->disk_last = last;
    storage->flushed_last = last;
    if (opening->tail_file != NULL) {
        take_tail(opening);
    }
    if (opening->discard) {
        const struct snapshot_header *newest = &storage->snapshots.newest;
        storage_restart_log(storage, newest->index, newest->term);
        membership_list_truncate(&storage->memberships, 0);
    }
    membership_list_trim(&storage->memberships, storage->snapshots.newest.index);
    bool lifted = lift_term(storage);
    uint64_t sequence = storage->writer.sequence;
    bool sealed = sequence > 0 && opening->vote.synced_sequence >= sequence;
    if (sealed && !lifted && !opening->discard && storage->torn_bytes == 0) {
        storage_opened(storage, 0);
        return;
    }
    storage_seal(storage);
}

/* ---- zeroing what was torn ---- */

static void zero_next(struct opening *opening, int64_t result)
{
    struct storage *storage = opening->storage;
    if (result < 0) {
        opening_fail_segment(opening, result, "writing", opening->tail.number);
        return;
    }
    opening->position += (uint64_t)result;
    uint64_t left = opening->tail_torn_end - opening->position;
    if (left == 0) {
        settle_end(opening);
        return;
    }
    buf_clear(&opening->bytes);
    size_t size = left < ZEROS_SIZE ? (size_t)left : ZEROS_SIZE;
    memset(buf_extend(&opening->bytes, size), 0, size);
    opening->part = (struct iovec){.iov_base = opening->bytes.data, .iov_len = size};
    io_write(storage->io, opening_begin(opening, zero_next), opening->tail_file, opening->position,
             &opening->part, 1, IO_WRITE_DURABLE);
}

/* ---- making names durable ---- */

static void directory_synced(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "syncing the directory", "");
        return;
    }
    opening->position = opening->tail_offset;
    zero_next(opening, 0);
}

static void sync_directory(struct opening *opening)
{
    io_sync(opening->storage->io, opening_begin(opening, directory_synced),
            opening->storage->directory);
}

static void spare_opened(struct opening *opening, int64_t result)
{
    struct storage *storage = opening->storage;
    if (result < 0) {
        opening_fail_segment(opening, result, "opening", opening->tail.number + 1);
        return;
    }
    storage->writer.next_file = opening->op.file;
    storage->writer.next_segment = *segments_find(&storage->segments, opening->tail.number + 1);
    sync_directory(opening);
}

/* Nothing is left over; the prepared segment, if it is there and clean, is kept. */
static void leftovers_gone(struct opening *opening)
{
    struct storage *storage = opening->storage;
    if (opening->tail_file == NULL) {
        settle_end(opening);
        return;
    }
    char name[SEGMENT_NAME_SIZE];
    segment_name(opening->tail.number + 1, name);
    if (segments_find(&storage->segments, opening->tail.number + 1) != NULL) {
        opening_open(opening, spare_opened, name, 0);
        return;
    }
    sync_directory(opening);
}

/* ---- leftovers ---- */

static void unlinked(struct opening *opening, int64_t result)
{
    if (result < 0 && result != -ENOENT) {
        opening_fail_io(opening, result, "removing a file left over in", "");
        return;
    }
    unlink_next(opening);
}

static bool is_leftover(const struct opening *opening, const char *name)
{
    uint64_t number = segment_number(name);
    uint64_t index = snapshot_name_index(name);
    return (index != 0 && index < opening->storage->snapshots.older) ||
           strcmp(name, SNAPSHOT_TAKING_NAME) == 0 || strcmp(name, "spare.tmp") == 0 ||
           strcmp(name, "VOTE.tmp") == 0 || strcmp(name, "IDENTITY.tmp") == 0 ||
           (number != 0 && number < opening->vote.first_segment);
}

/* Segments behind the tail that are not to be kept; from the last one on, so that no gap appears
 * at any time. Returns true when one is being unlinked. */
static bool unlink_spare(struct opening *opening)
{
    struct segments *segments = &opening->storage->segments;
    uint64_t keep = opening->tail.number + (opening->spare_torn > 0 ? 0 : 1);
    if (opening->tail_file == NULL || segments->at[segments->count - 1].number <= keep) {
        return false;
    }
    char name[SEGMENT_NAME_SIZE];
    segment_name(segments->at[--segments->count].number, name);
    struct io_file_op *op = opening_begin(opening, unlinked);
    opening->path = storage_path(opening->storage, name);
    io_unlink(opening->storage->io, op, opening->path);
    return true;
}

static void damaged_renamed(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "renaming a damaged snapshot in", "");
        return;
    }
    unlink_next(opening);
}

/* Out of the way, but not gone: it may be looked into. */
static void rename_damaged(struct opening *opening, const char *name)
{
    struct storage *storage = opening->storage;
    char to[SNAPSHOT_NAME_SIZE + sizeof ".damaged"];
    (void)snprintf(to, sizeof to, "%s.damaged", name);
    TRACE(storage->trace, TRACE_WARN, "%s/%s is damaged and was renamed to %s", storage->path, name,
          to);
    struct io_file_op *op = opening_begin(opening, damaged_renamed);
    opening->path = storage_path(storage, name);
    opening->path_to = storage_path(storage, to);
    io_rename(storage->io, op, opening->path, opening->path_to);
}

static void unlink_next(struct opening *opening)
{
    const struct buf *names = &opening->names;
    while (opening->name_at < names->size) {
        const char *name = (const char *)names->data + opening->name_at;
        opening->name_at += strlen(name) + 1;
        if (snapshot_name_index(name) > opening->storage->snapshots.newest.index) {
            rename_damaged(opening, name);
            return;
        }
        if (is_leftover(opening, name)) {
            struct io_file_op *op = opening_begin(opening, unlinked);
            opening->path = storage_path(opening->storage, name);
            io_unlink(opening->storage->io, op, opening->path);
            return;
        }
    }
    if (!unlink_spare(opening)) {
        leftovers_gone(opening);
    }
}

void settle_start(struct opening *opening)
{
    unlink_next(opening);
}
