#include "disk.h"

#include "base/list.h"
#include "base/memory.h"
#include "storage/layout.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 128, SNAPSHOTS_MAX = 32 };

enum { LOST = 2 };

struct inode {
    struct inode *next; /* of all that the disk ever had */
    struct buf now;
    struct buf synced;
    struct buf dirty; /* a byte a sector of `now`: 0, 1, or LOST, since its sync failed */
    bool directory;
    bool locked;
};

struct name {
    char path[48];
    struct inode *inode;
};

struct names {
    size_t count;
    struct name at[NAMES_MAX];
};

struct disk {
    struct inode *inodes;
    struct names now;
    /* The names as they were synced, then as after each change since. */
    struct names *history[SNAPSHOTS_MAX];
    size_t history_count;
    struct disk_control control;
};

struct io_file {
    struct inode *inode;
    bool holds_lock;
};

struct pending {
    struct list node;
    struct io_file_op *op;
    struct io_file_request request;
    struct io_file *opened;
    int64_t result;
};

struct disk_io {
    struct io base;
    struct disk *disk;
    struct list pending;
};

/* ---- names and inodes ---- */

static struct name *find(struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->at[i].path, path) == 0) {
            return &names->at[i];
        }
    }
    return NULL;
}

static struct inode *inode_new(struct disk *disk)
{
    struct inode *inode = memory_new(1, sizeof *inode);
    inode->next = disk->inodes;
    disk->inodes = inode;
    return inode;
}

static void add_name(struct names *names, const char *path, struct inode *inode)
{
    CHECK(names->count < NAMES_MAX);
    CHECK(strlen(path) < sizeof names->at[0].path);
    struct name *name = &names->at[names->count++];
    (void)snprintf(name->path, sizeof name->path, "%s", path);
    name->inode = inode;
}

static void remove_name(struct names *names, struct name *name)
{
    *name = names->at[--names->count];
}

static void names_changed(struct disk *disk)
{
    /* Beyond the room for moments between, only the newest is told apart. */
    if (disk->history_count == SNAPSHOTS_MAX) {
        free(disk->history[--disk->history_count]);
    }
    size_t used = offsetof(struct names, at) + disk->now.count * sizeof disk->now.at[0];
    struct names *names = memory_grow(NULL, used);
    memcpy(names, &disk->now, used);
    disk->history[disk->history_count++] = names;
}

static void history_clear(struct disk *disk)
{
    while (disk->history_count > 0) {
        free(disk->history[--disk->history_count]);
    }
}

static void names_synced(struct disk *disk)
{
    history_clear(disk);
    names_changed(disk);
}

struct disk *disk_new(void)
{
    struct disk *disk = memory_new(1, sizeof *disk);
    prng_init(&disk->control.prng, 1);
    names_synced(disk);
    return disk;
}

void disk_free(struct disk *disk)
{
    while (disk->inodes != NULL) {
        struct inode *inode = disk->inodes;
        disk->inodes = inode->next;
        buf_done(&inode->now);
        buf_done(&inode->synced);
        buf_done(&inode->dirty);
        free(inode);
    }
    history_clear(disk);
    free(disk);
}

static void set_size(struct buf *buf, size_t size)
{
    if (size > buf->size) {
        size_t more = size - buf->size;
        memset(buf_extend(buf, more), 0, more);
    }
    buf->size = size;
}

static bool is_lost(const struct inode *inode, size_t sector)
{
    return sector < inode->dirty.size && inode->dirty.data[sector] == LOST;
}

static void inode_synced(struct inode *inode)
{
    set_size(&inode->synced, inode->now.size);
    for (size_t at = 0; at < inode->now.size; at += SECTOR_SIZE) {
        size_t end = at + SECTOR_SIZE < inode->now.size ? at + SECTOR_SIZE : inode->now.size;
        if (!is_lost(inode, at / SECTOR_SIZE)) {
            memcpy(inode->synced.data + at, inode->now.data + at, end - at);
        }
    }
    for (size_t s = 0; s < inode->dirty.size; s++) {
        inode->dirty.data[s] = is_lost(inode, s) ? LOST : 0;
    }
}

/* What was to be synced stays to be seen, but no sync takes it to the disk any more. */
static void inode_sync_failed(struct inode *inode, size_t first, size_t last)
{
    for (size_t s = first; s <= last && s < inode->dirty.size; s++) {
        inode->dirty.data[s] = inode->dirty.data[s] == 0 ? 0 : LOST;
    }
}

static void sector_synced(struct inode *inode, size_t sector)
{
    size_t at = sector * SECTOR_SIZE;
    size_t end = at + SECTOR_SIZE < inode->now.size ? at + SECTOR_SIZE : inode->now.size;
    if (inode->synced.size < end) {
        set_size(&inode->synced, end);
    }
    memcpy(inode->synced.data + at, inode->now.data + at, end - at);
    inode->dirty.data[sector] = 0;
}

struct disk *disk_copy(const struct disk *disk)
{
    struct disk *copy = disk_new();
    for (size_t i = 0; i < disk->now.count; i++) {
        struct inode *inode = inode_new(copy);
        inode->directory = disk->now.at[i].inode->directory;
        buf_append_slice(&inode->now, buf_slice(&disk->now.at[i].inode->now));
        inode_synced(inode);
        add_name(&copy->now, disk->now.at[i].path, inode);
    }
    names_synced(copy);
    return copy;
}

bool disk_equal(const struct disk *a, const struct disk *b)
{
    if (a->now.count != b->now.count) {
        return false;
    }
    for (size_t i = 0; i < a->now.count; i++) {
        const struct name *other = find(&((struct disk *)(uintptr_t)b)->now, a->now.at[i].path);
        if (other == NULL ||
            !slice_equal(buf_slice(&a->now.at[i].inode->now), buf_slice(&other->inode->now))) {
            return false;
        }
    }
    return true;
}

struct buf *disk_bytes(struct disk *disk, const char *path)
{
    struct name *name = find(&disk->now, path);
    return name == NULL ? NULL : &name->inode->now;
}

void disk_remove(struct disk *disk, const char *path)
{
    remove_name(&disk->now, find(&disk->now, path));
    names_synced(disk);
}

struct disk_control *disk_control(struct disk *disk)
{
    return &disk->control;
}

/* ---- losing power ---- */

static bool is_dirty(const struct inode *inode, size_t sector)
{
    return sector < inode->dirty.size && inode->dirty.data[sector] != 0;
}

static void crash_inode(const struct inode *from, struct inode *to, enum disk_loss loss,
                        struct prng *prng)
{
    to->directory = from->directory;
    buf_append_slice(&to->now, buf_slice(&from->synced));
    for (size_t at = 0; at < from->now.size; at += SECTOR_SIZE) {
        bool kept = loss == DISK_LOSE_NONE || (loss != DISK_LOSE_ALL && prng_chance(prng, 1, 2));
        if (!is_dirty(from, at / SECTOR_SIZE)) {
            continue;
        }
        bool spoiled = !kept && loss == DISK_LOSE_SPOIL && prng_chance(prng, 1, 4);
        if (!kept && !spoiled) {
            continue;
        }
        size_t end = at + SECTOR_SIZE < from->now.size ? at + SECTOR_SIZE : from->now.size;
        if (to->now.size < end) {
            set_size(&to->now, end);
        }
        memcpy(to->now.data + at, from->now.data + at, end - at);
        for (size_t i = at; spoiled && i < end; i++) {
            to->now.data[i] ^= (uint8_t)prng_next(prng);
        }
    }
    inode_synced(to);
}

/* The disk goes on as it is, with all that is not synced; only the process has gone. */
static void keep_unsynced(const struct inode *from, struct inode *to)
{
    to->directory = from->directory;
    buf_append_slice(&to->now, buf_slice(&from->now));
    buf_append_slice(&to->synced, buf_slice(&from->synced));
    buf_append_slice(&to->dirty, buf_slice(&from->dirty));
}

/* The copy of an inode: the copies were made in the order of the originals' list. */
static struct inode *copy_of(const struct disk *disk, struct inode *const *copies,
                             const struct inode *wanted)
{
    size_t at = 0;
    for (const struct inode *inode = disk->inodes; inode != wanted; inode = inode->next) {
        at++;
    }
    return copies[at];
}

struct disk *disk_crash(const struct disk *disk, enum disk_loss loss, struct prng *prng)
{
    struct disk *found = disk_new();
    struct inode *copies[4096];
    size_t count = 0;
    for (const struct inode *inode = disk->inodes; inode != NULL; inode = inode->next) {
        CHECK(count < 4096);
        copies[count] = inode_new(found);
        if (loss == DISK_LOSE_NONE) {
            keep_unsynced(inode, copies[count]);
        } else {
            crash_inode(inode, copies[count], loss, prng);
        }
        count++;
    }
    size_t first = 0;
    size_t last = disk->history_count - 1;
    if (loss != DISK_LOSE_NONE) {
        first = loss == DISK_LOSE_ALL ? 0 : prng_between(prng, 0, last);
        last = first;
    }
    history_clear(found);
    for (size_t moment = first; moment <= last; moment++) {
        const struct names *names = disk->history[moment];
        found->now.count = 0;
        for (size_t i = 0; i < names->count; i++) {
            struct inode *inode = copy_of(disk, copies, names->at[i].inode);
            add_name(&found->now, names->at[i].path, inode);
        }
        names_changed(found);
    }
    return found;
}

/* ---- operations ---- */

static int64_t do_open(struct disk *disk, struct pending *pending)
{
    const struct io_file_request *request = &pending->request;
    size_t size = strlen(request->path);
    struct inode *inode;
    bool is_itself = size > 2 && strcmp(request->path + size - 2, "/.") == 0;
    struct name *name = find(&disk->now, request->path);
    if ((request->flags & IO_OPEN_DIRECTORY) != 0 || is_itself) {
        inode = inode_new(disk);
        inode->directory = true;
    } else if (name != NULL) {
        inode = name->inode;
    } else if ((request->flags & IO_OPEN_CREATE) != 0) {
        inode = inode_new(disk);
        add_name(&disk->now, request->path, inode);
        names_changed(disk);
    } else {
        return -ENOENT;
    }
    pending->opened = memory_new(1, sizeof *pending->opened);
    pending->opened->inode = inode;
    return 0;
}

static bool is_full(const struct disk *disk)
{
    return disk->control.full_from != 0 && disk->control.started >= disk->control.full_from;
}

static int64_t do_write(const struct disk *disk, struct pending *pending)
{
    const struct io_file_request *request = &pending->request;
    struct inode *inode = request->file->inode;
    uint64_t at = request->offset;
    uint64_t end = at;
    for (size_t i = 0; i < request->part_count; i++) {
        end += request->parts[i].iov_len;
    }
    if (end > inode->now.size && is_full(disk)) {
        return -ENOSPC;
    }
    for (size_t i = 0; i < request->part_count; i++) {
        const struct iovec *part = &request->parts[i];
        if (inode->now.size < at + part->iov_len) {
            set_size(&inode->now, at + part->iov_len);
        }
        memcpy(inode->now.data + at, part->iov_base, part->iov_len);
        at += part->iov_len;
    }
    size_t sectors = (inode->now.size + SECTOR_SIZE - 1) / SECTOR_SIZE;
    if (inode->dirty.size < sectors) {
        set_size(&inode->dirty, sectors);
    }
    for (uint64_t s = request->offset / SECTOR_SIZE; s * SECTOR_SIZE < at; s++) {
        inode->dirty.data[s] = 1;
    }
    pending->request.size = at - request->offset;
    return (int64_t)pending->request.size;
}

static int64_t do_rename(struct disk *disk, const struct io_file_request *request)
{
    struct name *from = find(&disk->now, request->path);
    if (from == NULL) {
        return -ENOENT;
    }
    struct inode *inode = from->inode;
    remove_name(&disk->now, from);
    struct name *to = find(&disk->now, request->path_to);
    if (to != NULL) {
        remove_name(&disk->now, to);
    }
    add_name(&disk->now, request->path_to, inode);
    names_changed(disk);
    return 0;
}

static int64_t do_unlink(struct disk *disk, const struct io_file_request *request)
{
    struct name *name = find(&disk->now, request->path);
    if (name == NULL) {
        return -ENOENT;
    }
    remove_name(&disk->now, name);
    names_changed(disk);
    return 0;
}

static int64_t do_make_directory(struct disk *disk, const struct io_file_request *request)
{
    if (find(&disk->now, request->path) != NULL) {
        return -EEXIST;
    }
    struct inode *inode = inode_new(disk);
    inode->directory = true;
    add_name(&disk->now, request->path, inode);
    names_changed(disk);
    return 0;
}

/* What the operation changes, it changes at once. */
static int64_t do_start(struct disk *disk, struct pending *pending)
{
    switch (pending->request.kind) {
    case IO_FILE_OPEN:
        return do_open(disk, pending);
    case IO_FILE_WRITE:
        disk->control.write_count++;
        return do_write(disk, pending);
    case IO_FILE_RENAME:
        return do_rename(disk, &pending->request);
    case IO_FILE_UNLINK:
        return do_unlink(disk, &pending->request);
    case IO_FILE_MAKE_DIRECTORY:
        return do_make_directory(disk, &pending->request);
    case IO_FILE_READ:
    case IO_FILE_SYNC:
    case IO_FILE_SIZE:
    case IO_FILE_LIST:
        return 0;
    }
    UNREACHABLE();
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

static int64_t do_list(struct disk *disk, struct pending *pending, const char *path)
{
    struct names sorted = disk->now;
    size_t prefix = strlen(path);
    qsort(sorted.at, sorted.count, sizeof sorted.at[0], compare_names);
    int64_t count = 0;
    for (size_t i = 0; i < sorted.count; i++) {
        const char *name = sorted.at[i].path;
        bool is_inside = strncmp(name, path, prefix) == 0 && name[prefix] == '/';
        if (is_inside && strchr(name + prefix + 1, '/') == NULL) {
            buf_append(pending->op->names, name + prefix + 1, strlen(name + prefix + 1) + 1);
            count++;
        }
    }
    return count;
}

static int64_t do_read(const struct io_file_request *request)
{
    const struct buf *now = &request->file->inode->now;
    if (request->offset >= now->size) {
        return 0;
    }
    size_t left = now->size - (size_t)request->offset;
    size_t size = request->size < left ? request->size : left;
    memcpy(request->bytes, now->data + request->offset, size);
    return (int64_t)size;
}

static bool bytes_stayed(const struct io_file_request *request)
{
    const uint8_t *at = request->file->inode->now.data + request->offset;
    for (size_t i = 0; i < request->part_count; i++) {
        const struct iovec *part = &request->parts[i];
        if (memcmp(at, part->iov_base, part->iov_len) != 0) {
            return false;
        }
        at += part->iov_len;
    }
    return true;
}

/* What the operation finds or makes durable, at its completion. */
static int64_t do_finish(struct disk *disk, struct pending *pending)
{
    const struct io_file_request *request = &pending->request;
    if (pending->result < 0) {
        return pending->result;
    }
    switch (request->kind) {
    case IO_FILE_READ:
        return do_read(request);
    case IO_FILE_SIZE:
        return (int64_t)request->file->inode->now.size;
    case IO_FILE_SYNC:
        if (request->file->inode->directory) {
            names_synced(disk);
        } else {
            inode_synced(request->file->inode);
        }
        return 0;
    case IO_FILE_WRITE:
        CHECK(bytes_stayed(request));
        if ((request->flags & IO_WRITE_DURABLE) != 0) {
            uint64_t end = request->offset + request->size;
            for (uint64_t s = request->offset / SECTOR_SIZE; s * SECTOR_SIZE < end; s++) {
                sector_synced(request->file->inode, s);
            }
        }
        return pending->result;
    case IO_FILE_LIST:
    case IO_FILE_OPEN:
    case IO_FILE_RENAME:
    case IO_FILE_UNLINK:
    case IO_FILE_MAKE_DIRECTORY:
        return pending->result;
    }
    UNREACHABLE();
}

static bool is_change(const struct io_file_request *request)
{
    return request->kind == IO_FILE_WRITE || request->kind == IO_FILE_RENAME ||
           request->kind == IO_FILE_UNLINK || request->kind == IO_FILE_MAKE_DIRECTORY ||
           request->kind == IO_FILE_SYNC;
}

static void disk_file_start(struct io *io, struct io_file_op *op,
                            const struct io_file_request *request)
{
    struct disk_io *disk_io = CONTAINER_OF(io, struct disk_io, base);
    struct disk *disk = disk_io->disk;
    struct disk_control *control = &disk->control;
    struct pending *pending = memory_new(1, sizeof *pending);
    list_init(&pending->node);
    pending->op = op;
    pending->request = *request;
    control->started++;
    control->changes += is_change(request);
    bool fails = control->fail_at != 0 && control->started == control->fail_at;
    bool after = control->fail_all_after && control->fail_at != 0 &&
                 control->started > control->fail_at && is_change(request);
    if (fails && request->kind == IO_FILE_WRITE) {
        /* A part of it may have got there. */
        uint64_t size = (uint64_t)do_write(disk, pending);
        if (control->fail_with == -EIO) {
            inode_sync_failed(request->file->inode, request->offset / SECTOR_SIZE,
                              (request->offset + size) / SECTOR_SIZE);
        }
    }
    if (fails && request->kind == IO_FILE_SYNC && control->fail_with == -EIO) {
        inode_sync_failed(request->file->inode, 0, SIZE_MAX - 1);
    }
    if (fails || after) {
        pending->result = control->fail_with;
    } else if (request->kind == IO_FILE_LIST) {
        pending->result = do_list(disk, pending, request->path);
    } else {
        pending->result = do_start(disk, pending);
    }
    op->backend = pending;
    list_push(&disk_io->pending, &pending->node);
}

static void complete(struct disk_io *disk_io, struct pending *pending)
{
    struct io_file_op *op = pending->op;
    int64_t result = do_finish(disk_io->disk, pending);
    op->file = pending->opened != NULL ? pending->opened : pending->request.file;
    op->backend = NULL;
    list_remove(&pending->node);
    free(pending);
    op->done(op, result);
}

static bool is_held(const struct disk *disk, const struct pending *pending)
{
    return (disk->control.hold_writes && pending->request.kind == IO_FILE_WRITE) ||
           (disk->control.hold_reads && pending->request.kind == IO_FILE_READ);
}

/* Collects what may complete now; returns how many. */
static size_t completable(struct disk_io *disk_io, struct pending **ret_pending, size_t max)
{
    size_t count = 0;
    for (struct list *at = disk_io->pending.next; at != &disk_io->pending && count < max;
         at = at->next) {
        struct pending *pending = CONTAINER_OF(at, struct pending, node);
        if (!is_held(disk_io->disk, pending)) {
            ret_pending[count++] = pending;
        }
    }
    return count;
}

static int disk_run(struct io *io, uint64_t until_us)
{
    struct disk_io *disk_io = CONTAINER_OF(io, struct disk_io, base);
    struct disk_control *control = &disk_io->disk->control;
    struct pending *ready[64];
    size_t count = completable(disk_io, ready, 64);
    io->now_us++;
    if (count == 0 && until_us != UINT64_MAX && until_us > io->now_us) {
        io->now_us = until_us;
    }
    if (count > 0 && control->one_by_one) {
        complete(disk_io, ready[prng_between(&control->prng, 0, count - 1)]);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        complete(disk_io, ready[i]);
    }
    return 0;
}

static void disk_io_free(struct io *io)
{
    struct disk_io *disk_io = CONTAINER_OF(io, struct disk_io, base);
    for (struct list *node = list_pop(&disk_io->pending); node != NULL;
         node = list_pop(&disk_io->pending)) {
        struct pending *pending = CONTAINER_OF(node, struct pending, node);
        free(pending->opened);
        free(pending);
    }
    io_base_done(io);
    free(disk_io);
}

static uint64_t disk_random(struct io *io)
{
    return prng_next(&CONTAINER_OF(io, struct disk_io, base)->disk->control.prng);
}

static int disk_lock(struct io *io, struct io_file *file)
{
    (void)io;
    if (file->inode->locked) {
        return -EWOULDBLOCK;
    }
    file->inode->locked = true;
    file->holds_lock = true;
    return 0;
}

static void disk_forget(struct io *io, struct io_file *file)
{
    (void)io;
    struct inode *inode = file->inode;
    for (size_t s = 0; s < inode->dirty.size; s++) {
        size_t at = s * SECTOR_SIZE;
        if (!is_lost(inode, s) || at >= inode->now.size) {
            continue;
        }
        size_t end = at + SECTOR_SIZE < inode->now.size ? at + SECTOR_SIZE : inode->now.size;
        set_size(&inode->synced, inode->synced.size < end ? end : inode->synced.size);
        memcpy(inode->now.data + at, inode->synced.data + at, end - at);
        inode->dirty.data[s] = 0;
    }
}

static void disk_file_close(struct io *io, struct io_file *file)
{
    struct disk_io *disk_io = CONTAINER_OF(io, struct disk_io, base);
    for (struct list *at = disk_io->pending.next; at != &disk_io->pending; at = at->next) {
        CHECK(CONTAINER_OF(at, struct pending, node)->request.file != file);
    }
    if (file->holds_lock) {
        file->inode->locked = false;
    }
    free(file);
}

static uint64_t disk_clock_us(const struct io *io)
{
    return io_now_us(io);
}

static const struct io_calls disk_calls = {
    .name = "disk",
    .free = disk_io_free,
    .run = disk_run,
    .clock_us = disk_clock_us,
    .random = disk_random,
    .file_start = disk_file_start,
    .lock = disk_lock,
    .forget = disk_forget,
    .file_close = disk_file_close,
};

struct io *disk_io(struct disk *disk)
{
    struct disk_io *disk_io = memory_new(1, sizeof *disk_io);
    io_base_init(&disk_io->base, &disk_calls, 1000);
    disk_io->disk = disk;
    list_init(&disk_io->pending);
    return &disk_io->base;
}
