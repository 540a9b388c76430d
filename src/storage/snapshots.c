#include "storage/snapshots.h"

#include "storage/snapshot.h"
#include "storage/store.h"

#include <stdarg.h>
#include <stdio.h>

void snapshots_init(struct snapshots *snapshots)
{
    *snapshots = (struct snapshots){0};
    list_init(&snapshots->works);
}

void snapshots_done(struct snapshots *snapshots)
{
    while (!list_empty(&snapshots->works)) {
        snapshot_work_end(CONTAINER_OF(snapshots->works.next, struct snapshot_work, node));
    }
    buf_done(&snapshots->membership);
}

bool snapshots_busy(const struct snapshots *snapshots)
{
    const struct list *works = &snapshots->works;
    for (const struct list *at = works->next; at != works; at = at->next) {
        if (CONTAINER_OF(at, struct snapshot_work, node)->busy) {
            return true;
        }
    }
    return false;
}

uint64_t snapshots_add(struct snapshots *snapshots, const struct snapshot_header *header,
                       uint64_t size, struct slice membership)
{
    CHECK(header->index >= snapshots->newest.index);
    uint64_t gone = 0;
    if (header->index > snapshots->newest.index) {
        gone = snapshots->older;
        snapshots->older = snapshots->newest.index;
    }
    snapshots->newest = *header;
    snapshots->newest_size = size;
    buf_clear(&snapshots->membership);
    buf_append_slice(&snapshots->membership, membership);
    return gone;
}

uint64_t storage_snapshot_newest(const struct storage *storage)
{
    return storage->snapshots.newest.index;
}

uint64_t storage_snapshot_oldest(const struct storage *storage)
{
    return storage->snapshots.older;
}

void snapshot_work_begin(struct snapshot_work *work, struct storage *storage,
                         void (*free_work)(struct snapshot_work *work))
{
    CHECK(storage->state == STORAGE_OPEN);
    work->storage = storage;
    work->free = free_work;
    list_init(&work->node);
    list_push(&storage->snapshots.works, &work->node);
}

void snapshot_work_end(struct snapshot_work *work)
{
    list_remove(&work->node);
    work->free(work);
}

bool snapshot_may_write(const struct storage *storage)
{
    return storage->state == STORAGE_OPEN && storage->error == 0;
}

void snapshot_sentence(char *text, size_t size, const struct storage *storage, const char *name,
                       const char *format, ...)
{
    int used = snprintf(text, size, "%s/%s", storage->path, name);
    if (used < 0 || (size_t)used >= size) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    /* clang-tidy 14 sees va_start only in the first of several files that it is given. */
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    (void)vsnprintf(text + used, size - (size_t)used, format, arguments);
    va_end(arguments);
}
