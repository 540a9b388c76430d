#include "storage/opening.h"

#include "base/memory.h"
#include "storage/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void op_done(struct io_file_op *op, int64_t result);
static void listed(struct opening *opening, int64_t result);
static void make_next_directory(struct opening *opening);

/* ---- the machinery ---- */

bool opening_busy(const struct opening *opening)
{
    return opening != NULL && (opening->busy || opening->walk.busy);
}

void opening_free(struct storage *storage)
{
    struct opening *opening = storage->opening;
    if (opening == NULL) {
        return;
    }
    CHECK(!opening_busy(opening));
    snapshot_walk_done(&opening->walk);
    free(opening->snapshots);
    free(opening->aside_name);
    if (opening->file != opening->tail_file) {
        io_file_close(storage->io, opening->file);
    }
    io_file_close(storage->io, opening->tail_file);
    buf_done(&opening->names);
    buf_done(&opening->bytes);
    free(opening->path);
    free(opening->path_to);
    free(opening);
    storage->opening = NULL;
}

struct io_file_op *opening_begin(struct opening *opening,
                                 void (*step)(struct opening *opening, int64_t result))
{
    CHECK(!opening->busy);
    free(opening->path);
    free(opening->path_to);
    opening->path = NULL;
    opening->path_to = NULL;
    opening->busy = true;
    opening->opens = false;
    opening->step = step;
    opening->op = (struct io_file_op){.done = op_done};
    return &opening->op;
}

void opening_open(struct opening *opening, void (*step)(struct opening *opening, int64_t result),
                  const char *name, unsigned flags)
{
    struct io_file_op *op = opening_begin(opening, step);
    opening->opens = true;
    opening->path = storage_path(opening->storage, name);
    io_open(opening->storage->io, op, opening->path, flags);
}

static void op_done(struct io_file_op *op, int64_t result)
{
    struct opening *opening = CONTAINER_OF(op, struct opening, op);
    opening->busy = false;
    if (opening->storage->state != STORAGE_OPENING) {
        /* Closed meanwhile: a file that was just opened must not be forgotten. */
        if (opening->opens && result >= 0) {
            io_file_close(opening->storage->io, op->file);
        }
        storage_moved(opening->storage);
        return;
    }
    opening->step(opening, result);
}

void opening_fail(struct opening *opening, int err, const char *format, ...)
{
    struct storage *storage = opening->storage;
    va_list arguments;
    va_start(arguments, format);
    /* clang-tidy 14 sees va_start only in the first of several files that it is given. */
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    (void)vsnprintf(storage->sentence, sizeof storage->sentence, format, arguments);
    va_end(arguments);
    storage_opened(storage, err);
}

void opening_fail_io(struct opening *opening, int64_t result, const char *what, const char *name)
{
    opening_fail(opening, storage_io_error(result), "%s/%s: %s failed: %s", opening->storage->path,
                 name, what, io_error_sentence(result));
}

void opening_fail_segment(struct opening *opening, int64_t result, const char *what,
                          uint64_t number)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(number, name);
    opening_fail_io(opening, result, what, name);
}

void opening_lose(struct opening *opening, const char *format, ...)
{
    struct storage *storage = opening->storage;
    char what[SENTENCE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    /* As in opening_fail. */
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (!storage->may_repair || opening->repaired) {
        opening_fail(opening, KV_ERR_DAMAGED, "%s; nothing was changed; " REPAIR, what);
        return;
    }
    TRACE(storage->trace, TRACE_WARN, "%s", what);
    survey_start(opening);
}

/* What the steps up to now left in the storage. */
static void forget_found(struct storage *storage)
{
    io_file_close(storage->io, storage->vote.file);
    storage->vote.file = NULL;
    segments_done(&storage->segments);
    terms_reset(&storage->terms, 1, 0);
    membership_list_truncate(&storage->memberships, 0);
    cache_restart(&storage->cache, 1);
    extents_clear(&storage->extents);
    snapshots_done(&storage->snapshots);
    snapshots_init(&storage->snapshots);
    storage->torn_bytes = 0;
}

static void list_names(struct opening *opening)
{
    struct storage *storage = opening->storage;
    io_list(storage->io, opening_begin(opening, listed), storage->path, &opening->names);
}

static struct opening *opening_new(struct storage *storage)
{
    struct opening *opening = memory_new(1, sizeof *opening);
    opening->storage = storage;
    storage->opening = opening;
    return opening;
}

void opening_again(struct opening *opening)
{
    struct storage *storage = opening->storage;
    opening_free(storage);
    forget_found(storage);
    opening = opening_new(storage);
    opening->repaired = true;
    list_names(opening);
}

/* ---- VOTE ---- */

void opening_fail_vote(struct opening *opening, uint64_t record, const char *name)
{
    opening_fail(opening, KV_ERR_DAMAGED,
                 "%s/VOTE: damaged: it holds record %" PRIu64 ", and %s knows of record %" PRIu64
                 "; a vote that this server gave may be lost; " REPAIR,
                 opening->storage->path, opening->vote.sequence, name, record);
}

/* One that was set aside has left nothing but a term. */
static bool log_is_missing(const struct opening *opening)
{
    const struct vote *vote = &opening->vote;
    bool used = vote->synced_sequence != 0 || (vote->term != 0 && vote->lost_until == 0);
    return opening->segment_count == 0 && (used || opening->snapshot_count > 0);
}

static void vote_read(struct opening *opening, int64_t result)
{
    struct storage *storage = opening->storage;
    if (result < 0) {
        opening_fail_io(opening, result, "reading", "VOTE");
        return;
    }
    unsigned slot;
    bool echoed;
    int err = vote_choose(slice_of(opening->bytes.data, (size_t)result), &storage->identity,
                          &opening->vote, &slot, &echoed);
    if (err == KV_ERR_VERSION) {
        opening_fail(opening, err,
                     "%s/VOTE: was written in a format that this version does not know; start the "
                     "version that wrote it",
                     storage->path);
        return;
    }
    if (err != 0) {
        opening_fail(opening, KV_ERR_DAMAGED,
                     "%s/VOTE: damaged: neither of its two copies (at offsets 0 and %d) is whole; "
                     "the votes this server gave are not known, so it must not take part again: "
                     "leave it stopped, the others go on without it",
                     storage->path, VOTE_SLOT_SPACING);
        return;
    }
    storage->vote.file = opening->file;
    opening->file = NULL;
    storage->vote.slot = slot;
    storage->vote.newest = opening->vote;
    storage->vote.wanted = opening->vote;
    storage->vote.content = opening->vote.sequence;
    storage->vote.echo_wanted = !echoed;
    if (opening->vote.outdated && !storage->takes_outdated) {
        opening_fail(opening, KV_ERR_OUTDATED,
                     "%s: is an older copy of what it was, as its leader once found: what this "
                     "server acknowledged later is not in it; put another server in its place",
                     storage->path);
    } else if (opening->vote.aside != 0) {
        aside_resume(opening);
    } else if (log_is_missing(opening)) {
        opening_lose(opening,
                     "%s: the log is missing: VOTE knows of batch %" PRIu64
                     ", but there is no file log-*",
                     storage->path, opening->vote.synced_sequence);
    } else {
        choose_start(opening);
    }
}

static void vote_synced(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "syncing", "VOTE");
        return;
    }
    io_forget(opening->storage->io, opening->file);
    buf_clear(&opening->bytes);
    uint8_t *bytes = buf_extend(&opening->bytes, VOTE_FILE_SIZE + 1);
    io_read(opening->storage->io, opening_begin(opening, vote_read), opening->file, 0, bytes,
            VOTE_FILE_SIZE + 1);
}

static void vote_opened(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "opening", "VOTE");
        return;
    }
    opening->file = opening->op.file;
    io_sync(opening->storage->io, opening_begin(opening, vote_synced), opening->file);
}

/* ---- IDENTITY ---- */

static void check_files(struct opening *opening)
{
    struct storage *storage = opening->storage;
    /* A snapshot without a log is the same case: this directory has been used. */
    bool has_log = opening->segment_count > 0 || opening->snapshot_count > 0;
    if (!opening->has_identity && (opening->has_vote || has_log)) {
        opening_fail(opening, KV_ERR_DAMAGED,
                     "%s/IDENTITY is missing, though the directory holds %s; it is not taken for a "
                     "new one: restore the file from a copy, or name another directory",
                     storage->path, has_log ? "a log" : "votes");
        return;
    }
    if (!opening->has_identity && storage->identity.cluster_id == 0) {
        opening_fail(opening, KV_ERR_NO_IDENTITY,
                     "%s: holds no server's files yet, and it is not known to which cluster they "
                     "are to belong",
                     storage->path);
        return;
    }
    if (!opening->has_vote && has_log) {
        opening_fail(opening, KV_ERR_DAMAGED,
                     "%s/VOTE is missing, though the directory holds a log; the votes this server "
                     "gave are not known, so it must not take part again: put the file back, or "
                     "leave it stopped, the others go on without it",
                     storage->path);
        return;
    }
    if (!opening->has_vote) {
        settle_new(opening);
        return;
    }
    opening_open(opening, vote_opened, "VOTE", 0);
}

static void identity_read(struct opening *opening, int64_t result)
{
    struct storage *storage = opening->storage;
    if (result < 0) {
        opening_fail_io(opening, result, "reading", "IDENTITY");
        return;
    }
    io_file_close(storage->io, opening->file);
    opening->file = NULL;
    struct identity found;
    struct slice founders;
    int err = identity_decode(slice_of(opening->bytes.data, (size_t)result), &found, &founders);
    if (err != 0) {
        opening_fail(opening, err, "%s/IDENTITY: %s", storage->path,
                     err == KV_ERR_VERSION
                         ? "was written in a format that this version does not know; start the "
                           "version that wrote it"
                         : "damaged, so it is not known to which server the directory belongs; "
                           "restore the file from a copy");
        return;
    }
    if (found.node_id != storage->identity.node_id) {
        opening_fail(opening, KV_ERR_MISMATCH,
                     "%s belongs to node %" PRIu64 " of cluster %016" PRIx64
                     ", but was asked to serve node %" PRIu64
                     "; name the right directory, or the node it belongs to",
                     storage->path, found.node_id, found.cluster_id, storage->identity.node_id);
        return;
    }
    storage->identity = found;
    buf_clear(&storage->founders);
    buf_append_slice(&storage->founders, founders);
    check_files(opening);
}

static void identity_opened(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "opening", "IDENTITY");
        return;
    }
    opening->file = opening->op.file;
    buf_clear(&opening->bytes);
    uint8_t *bytes = buf_extend(&opening->bytes, IDENTITY_SIZE_MAX + 1);
    io_read(opening->storage->io, opening_begin(opening, identity_read), opening->file, 0, bytes,
            IDENTITY_SIZE_MAX + 1);
}

/* ---- the directory ---- */

static void classify(struct opening *opening)
{
    const struct buf *names = &opening->names;
    size_t at = 0;
    while (at < names->size) {
        const char *name = (const char *)names->data + at;
        at += strlen(name) + 1;
        uint64_t number = segment_number(name);
        uint64_t index = snapshot_name_index(name);
        if (index != 0) {
            opening->snapshots = memory_grow(opening->snapshots, (opening->snapshot_count + 1) *
                                                                     sizeof opening->snapshots[0]);
            opening->snapshots[opening->snapshot_count++] = index;
        }
        uint64_t aside = aside_number(name);
        if (aside > opening->storage->aside_newest) {
            opening->storage->aside_newest = aside;
        }
        if (strcmp(name, "IDENTITY") == 0) {
            opening->has_identity = true;
        } else if (strcmp(name, "VOTE") == 0) {
            opening->has_vote = true;
        } else if (number != 0) {
            /* The names come sorted, and their digits are of one width. */
            if (opening->segment_count == 0) {
                opening->segment_lowest = number;
            }
            opening->segment_highest = number;
            opening->segment_count++;
        }
    }
}

static void listed(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "listing the directory", "");
        return;
    }
    classify(opening);
    if (!opening->has_identity) {
        check_files(opening);
        return;
    }
    opening_open(opening, identity_opened, "IDENTITY", IO_OPEN_READ_ONLY);
}

static void directory_opened(struct opening *opening, int64_t result)
{
    struct storage *storage = opening->storage;
    if (result < 0) {
        opening_fail_io(opening, result, "opening the directory", "");
        return;
    }
    storage->directory = opening->op.file;
    list_names(opening);
}

static void lock_opened(struct opening *opening, int64_t result)
{
    struct storage *storage = opening->storage;
    if (result < 0) {
        opening_fail_io(opening, result, "opening", "LOCK");
        return;
    }
    storage->lock = opening->op.file;
    int locked = io_lock(storage->io, storage->lock);
    if (locked == -EWOULDBLOCK) {
        opening_fail(opening, KV_ERR_LOCKED, "another server uses the data directory %s",
                     storage->path);
        return;
    }
    if (locked < 0) {
        opening_fail_io(opening, locked, "locking", "LOCK");
        return;
    }
    opening_open(opening, directory_opened, ".", IO_OPEN_DIRECTORY | IO_OPEN_READ_ONLY);
}

/* ---- making the directory and its parents ---- */

static void parent_synced(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "syncing the parent directory", "");
        return;
    }
    io_file_close(opening->storage->io, opening->file);
    opening->file = NULL;
    make_next_directory(opening);
}

static void parent_opened(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_io(opening, result, "opening the parent directory", "");
        return;
    }
    opening->file = opening->op.file;
    io_sync(opening->storage->io, opening_begin(opening, parent_synced), opening->file);
}

static void directory_made(struct opening *opening, int64_t result)
{
    struct storage *storage = opening->storage;
    if (result == -EEXIST) {
        make_next_directory(opening);
        return;
    }
    if (result < 0) {
        opening_fail_io(opening, result, "making the directory", "");
        return;
    }
    /* The new name must last as long as what will be stored under it. */
    struct io_file_op *op = opening_begin(opening, parent_opened);
    opening->opens = true;
    size_t parent = opening->path_at;
    while (parent > 0 && storage->path[parent - 1] != '/') {
        parent--;
    }
    if (parent == 0) {
        opening->path = memory_copy_string(".");
    } else {
        opening->path = memory_copy_string(storage->path);
        opening->path[parent] = '\0';
    }
    io_open(storage->io, op, opening->path, IO_OPEN_DIRECTORY | IO_OPEN_READ_ONLY);
}

static void make_next_directory(struct opening *opening)
{
    struct storage *storage = opening->storage;
    const char *path = storage->path;
    size_t at = opening->path_at;
    while (path[at] == '/') {
        at++;
    }
    if (path[at] == '\0') {
        opening_open(opening, lock_opened, "LOCK", IO_OPEN_CREATE);
        return;
    }
    while (path[at] != '/' && path[at] != '\0') {
        at++;
    }
    opening->path_at = at;
    struct io_file_op *op = opening_begin(opening, directory_made);
    opening->path = memory_copy_string(path);
    opening->path[at] = '\0';
    io_make_directory(storage->io, op, opening->path);
}

void opening_start(struct storage *storage)
{
    make_next_directory(opening_new(storage));
}
