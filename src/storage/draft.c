#include "storage/draft.h"

#include "base/mutation.h"
#include "storage/store.h"

#include <errno.h>
#include <stdlib.h>

enum { SYNC_SIZE = 4 * 1024 * 1024 };

static void op_done(struct io_file_op *op, int64_t result);
static void stop_due(struct io_timer *timer);
static void rename_start(struct draft *draft);

void draft_init(struct draft *draft, struct storage *storage, const char *name,
                void (*done)(struct draft *draft, int64_t result))
{
    *draft = (struct draft){.storage = storage, .name = name, .done = done};
    io_timer_init(&draft->timer, stop_due);
}

/* Calls `done`; another one that waited to be renamed goes on. */
static void answer(struct draft *draft, int64_t result)
{
    struct snapshots *snapshots = &draft->storage->snapshots;
    struct draft *next = NULL;
    if (snapshots->renaming == draft) {
        snapshots->renaming = NULL;
        next = snapshots->waiting;
        snapshots->waiting = NULL;
    }
    draft->done(draft, result);
    if (next != NULL) {
        rename_start(next);
    }
}

static void stop_due(struct io_timer *timer)
{
    struct draft *draft = CONTAINER_OF(timer, struct draft, timer);
    struct storage *storage = draft->storage;
    answer(draft, -ECANCELED);
    storage_moved(storage);
}

/* True when nothing may be written any more; the answer comes. */
static bool is_stopped(struct draft *draft)
{
    bool stopped = !snapshot_may_write(draft->storage);
    if (stopped) {
        io_timer_set(draft->storage->io, &draft->timer, 0);
    }
    return stopped;
}

static void forget_names(struct draft *draft)
{
    free(draft->from);
    free(draft->to);
    draft->from = NULL;
    draft->to = NULL;
}

static void close_file(struct draft *draft)
{
    io_file_close(draft->storage->io, draft->file);
    draft->file = NULL;
}

void draft_done(struct draft *draft)
{
    close_file(draft);
    forget_names(draft);
}

static struct io_file_op *begin(struct draft *draft, const char *what,
                                void (*step)(struct draft *draft, int64_t result))
{
    forget_names(draft);
    draft->what = what;
    draft->step = step;
    draft->op = (struct io_file_op){.done = op_done};
    return &draft->op;
}

static void opened(struct draft *draft, int64_t result)
{
    (void)result;
    draft->file = draft->op.file;
    answer(draft, 0);
}

static void removed(struct draft *draft, int64_t result);
static void discarded(struct draft *draft, int64_t result);
static void old_unlinked(struct draft *draft, int64_t result);

static void op_done(struct io_file_op *op, int64_t result)
{
    struct draft *draft = CONTAINER_OF(op, struct draft, op);
    struct storage *storage = draft->storage;
    bool may_fail =
        draft->step == removed || draft->step == discarded || draft->step == old_unlinked;
    bool opens = draft->step == opened;
    if (result >= 0 && opens) {
        draft->file = op->file;
    }
    if (!snapshot_may_write(storage) && draft->step != discarded && draft->step != old_unlinked) {
        answer(draft, -ECANCELED);
    } else if (result < 0 && !may_fail) {
        answer(draft, result);
    } else {
        draft->step(draft, result);
    }
    storage_moved(storage);
}

/* ---- beginning ---- */

static void open_named(struct draft *draft, unsigned flags)
{
    struct io_file_op *op = begin(draft, "opening", opened);
    draft->from = storage_path(draft->storage, draft->name);
    io_open(draft->storage->io, op, draft->from, flags);
}

static void removed(struct draft *draft, int64_t result)
{
    if (result < 0 && result != -ENOENT) {
        answer(draft, result);
        return;
    }
    open_named(draft, IO_OPEN_CREATE);
}

void draft_create(struct draft *draft)
{
    if (is_stopped(draft)) {
        return;
    }
    struct io_file_op *op = begin(draft, "removing an old one", removed);
    draft->from = storage_path(draft->storage, draft->name);
    io_unlink(draft->storage->io, op, draft->from);
}

void draft_resume(struct draft *draft, uint64_t size)
{
    if (is_stopped(draft)) {
        return;
    }
    draft->size = size;
    open_named(draft, 0);
}

/* ---- going on ---- */

static void synced(struct draft *draft, int64_t result)
{
    (void)result;
    draft->unsynced = 0;
    answer(draft, 0);
}

void draft_sync(struct draft *draft)
{
    if (is_stopped(draft)) {
        return;
    }
    io_sync(draft->storage->io, begin(draft, "syncing", synced), draft->file);
}

static void appended(struct draft *draft, int64_t result)
{
    CHECK((uint64_t)result == draft->appending);
    draft->size += draft->appending;
    draft->unsynced += draft->appending;
    if (draft->unsynced >= SYNC_SIZE) {
        draft_sync(draft);
        return;
    }
    answer(draft, 0);
}

void draft_append(struct draft *draft, struct slice bytes)
{
    if (is_stopped(draft)) {
        return;
    }
    draft->appending = bytes.size;
    draft->part = (struct iovec){
        .iov_base = (void *)(uintptr_t)bytes.data,
        .iov_len = bytes.size,
    };
    io_write(draft->storage->io, begin(draft, "writing", appended), draft->file, draft->size,
             &draft->part, 1, 0);
}

/* ---- ending ---- */

/* That an old one could not be removed is no harm: the next start does it. */
static void old_unlinked(struct draft *draft, int64_t result)
{
    (void)result;
    answer(draft, 0);
}

static void directory_synced(struct draft *draft, int64_t result)
{
    (void)result;
    struct storage *storage = draft->storage;
    uint64_t gone =
        snapshots_add(&storage->snapshots, draft->header, draft->size, draft->membership);
    if (gone == 0) {
        answer(draft, 0);
        return;
    }
    char name[SNAPSHOT_NAME_SIZE];
    snapshot_name(gone, name);
    struct io_file_op *op = begin(draft, "removing an old one", old_unlinked);
    draft->from = storage_path(storage, name);
    io_unlink(storage->io, op, draft->from);
}

static void renamed(struct draft *draft, int64_t result)
{
    struct storage *storage = draft->storage;
    if (MUTATION(trim_before_sync)) {
        directory_synced(draft, result);
        return;
    }
    io_sync(storage->io, begin(draft, "syncing the directory", directory_synced),
            storage->directory);
}

static void rename_start(struct draft *draft)
{
    struct storage *storage = draft->storage;
    storage->snapshots.renaming = draft;
    if (!snapshot_may_write(storage)) {
        answer(draft, -ECANCELED);
        return;
    }
    uint64_t newest = storage->snapshots.newest.index;
    if (draft->header->index < newest || (draft->header->index == newest && !draft->renews)) {
        answer(draft, -EEXIST);
        return;
    }
    char name[SNAPSHOT_NAME_SIZE];
    snapshot_name(draft->header->index, name);
    struct io_file_op *op = begin(draft, "renaming", renamed);
    draft->from = storage_path(storage, draft->name);
    draft->to = storage_path(storage, name);
    io_rename(storage->io, op, draft->from, draft->to);
}

/* One at a time from here on: which file has a name, and which is the newest, must not depend on
 * whose operations end first. */
static void synced_at_end(struct draft *draft, int64_t result)
{
    (void)result;
    struct snapshots *snapshots = &draft->storage->snapshots;
    close_file(draft);
    if (snapshots->renaming != NULL) {
        CHECK(snapshots->waiting == NULL);
        snapshots->waiting = draft;
        return;
    }
    rename_start(draft);
}

void draft_finish(struct draft *draft, const struct snapshot_header *header,
                  struct slice membership)
{
    if (is_stopped(draft)) {
        return;
    }
    draft->header = header;
    draft->membership = membership;
    io_sync(draft->storage->io, begin(draft, "syncing", synced_at_end), draft->file);
}

static void discarded(struct draft *draft, int64_t result)
{
    (void)result;
    answer(draft, 0);
}

void draft_discard(struct draft *draft)
{
    if (is_stopped(draft)) {
        return;
    }
    close_file(draft);
    struct io_file_op *op = begin(draft, "removing", discarded);
    draft->from = storage_path(draft->storage, draft->name);
    io_unlink(draft->storage->io, op, draft->from);
}
