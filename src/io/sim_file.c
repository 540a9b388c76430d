/*
 * File operations of a simulated process: each takes a drawn time and then happens at once, whole,
 * or fails.
 *
 *     started ──► its time ──► happens, result ──► done, in the process's next turn
 *                    │  ▲
 *                    ▼  │ healed
 *                  held up by a stall
 *
 * A write happens at its completion; when the process dies before that, a prefix of it may be in
 * the page cache. A sync of a file covers what was written before it started; what completed
 * meanwhile it covers in half of the cases.
 */
#include "io/sim_world.h"

#include "base/hash.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>

struct io_file {
    struct list node; /* in sim_io.files */
    struct sim_io *io;
    struct sim_inode *inode; /* NULL: the process was cut off */
    unsigned flags;
};

struct sim_file_work {
    struct list node; /* in sim_io.works */
    struct list held; /* in sim_host.disk_waiting */
    struct sim_io *io;
    struct io_file_op *op;
    struct io_file_request request;
    char *path;
    char *path_to;
    struct sim_event event;
    struct io_ready ready;
    bool finished;
    bool synced; /* the sync has already happened */
    struct io_file *opened;
    struct buf names;
    int64_t result;
};

/* ---- what happens ---- */

static struct io_file *file_new(struct sim_io *io, struct sim_inode *inode, unsigned flags)
{
    struct io_file *file = memory_new(1, sizeof *file);
    *file = (struct io_file){.io = io, .inode = inode, .flags = flags};
    list_init(&file->node);
    list_push(&io->files, &file->node);
    return file;
}

static int64_t do_open(struct sim_file_work *work)
{
    struct sim_inode *inode = NULL;
    int err = sim_disk_open(&work->io->host->disk, work->path, work->request.flags, &inode);
    if (err == 0) {
        work->opened = file_new(work->io, inode, work->request.flags);
    }
    return err;
}

static int64_t do_read(struct sim_file_work *work)
{
    struct sim_host *host = work->io->host;
    const struct sim_inode *inode = work->request.file->inode;
    host->world->counters.reads++;
    if (inode->directory) {
        return -EISDIR;
    }
    if (sim_chance(&host->disk_chance, host->disk_faults.read_error_ppm)) {
        sim_fault(host->world, host, SIM_FAULT_READ_ERROR);
        return -EIO;
    }
    return (int64_t)sim_content_read(&inode->content, work->request.offset, work->request.bytes,
                                     work->request.size);
}

/* Writes at most `most` bytes of the parts to the page cache; less when the disk is full. */
static uint64_t write_parts(struct sim_file_work *work, uint64_t most)
{
    struct sim_host *host = work->io->host;
    struct sim_inode *inode = work->request.file->inode;
    uint64_t done = 0;
    for (size_t i = 0; i < work->request.part_count && done < most; i++) {
        const struct iovec *part = &work->request.parts[i];
        size_t size = part->iov_len < most - done ? part->iov_len : (size_t)(most - done);
        size_t written = sim_disk_write(&host->disk, inode, work->request.offset + done,
                                        part->iov_base, size, host->disk_faults.space);
        done += written;
        if (written < size) {
            break;
        }
    }
    return done;
}

static uint64_t parts_size(const struct sim_file_work *work)
{
    uint64_t size = 0;
    for (size_t i = 0; i < work->request.part_count; i++) {
        size += work->request.parts[i].iov_len;
    }
    return size;
}

/* Brings a span of a file to rest, or does not. */
static int64_t sync_content(struct sim_host *host, struct sim_inode *inode, uint64_t offset,
                            uint64_t size)
{
    const struct sim_disk_faults *faults = &host->disk_faults;
    struct prng *chance = &host->disk_chance;
    if (sim_chance(chance, faults->sync_error_ppm)) {
        sim_content_sync_failed(&inode->content, chance);
        sim_fault(host->world, host, SIM_FAULT_SYNC_ERROR);
        SIM_TELL(host->world, host, "a sync fails");
        return -EIO;
    }
    enum sim_sync_fault fault = SIM_SYNC_GOOD;
    fault = sim_chance(chance, faults->lost_write_ppm) ? SIM_SYNC_LOSES : fault;
    fault = sim_chance(chance, faults->misdirect_ppm) ? SIM_SYNC_MISDIRECTS : fault;
    if (sim_content_sync(&inode->content, offset, size, fault, chance)) {
        host->disk.damage++;
        bool lost = fault == SIM_SYNC_LOSES;
        sim_fault(host->world, host, lost ? SIM_FAULT_LOST_WRITE : SIM_FAULT_MISDIRECTED_WRITE);
        SIM_TELL(host->world, host, lost ? "loses a write" : "misdirects a write");
    }
    return 0;
}

static int64_t do_write(struct sim_file_work *work)
{
    struct sim_host *host = work->io->host;
    struct sim_world *world = host->world;
    const struct io_file *file = work->request.file;
    if (file->inode->directory || (file->flags & IO_OPEN_READ_ONLY) != 0) {
        return -EBADF;
    }
    uint64_t size = parts_size(work);
    world->counters.writes++;
    if (sim_chance(&host->disk_chance, host->disk_faults.write_error_ppm)) {
        (void)write_parts(work, prng_between(&host->disk_chance, 0, size));
        sim_fault(world, host, SIM_FAULT_WRITE_ERROR);
        SIM_TELL(world, host, "a write fails");
        return -EIO;
    }
    uint64_t written = write_parts(work, size);
    world->counters.bytes_written += written;
    if (written < size) {
        sim_fault(world, host, SIM_FAULT_NO_SPACE);
        SIM_TELL(world, host, "has no space for a write");
        return -ENOSPC;
    }
    if ((work->request.flags & IO_WRITE_DURABLE) != 0 && size > 0) {
        world->counters.syncs++;
        int64_t err = sync_content(host, file->inode, work->request.offset, size);
        if (err < 0) {
            return err;
        }
    }
    return (int64_t)size;
}

static int64_t do_sync(struct sim_file_work *work)
{
    struct sim_host *host = work->io->host;
    struct sim_inode *inode = work->request.file->inode;
    if (work->synced) {
        return work->result;
    }
    host->world->counters.syncs++;
    if (!inode->directory) {
        return sync_content(host, inode, 0, UINT64_MAX);
    }
    if (sim_chance(&host->disk_chance, host->disk_faults.sync_error_ppm)) {
        sim_fault(host->world, host, SIM_FAULT_SYNC_ERROR);
        return -EIO;
    }
    sim_disk_sync_names(&host->disk, inode);
    return 0;
}

/* What changes or reads names. */
static int64_t do_named(struct sim_file_work *work)
{
    struct sim_disk *disk = &work->io->host->disk;
    switch (work->request.kind) {
    case IO_FILE_OPEN:
        return do_open(work);
    case IO_FILE_RENAME:
        return sim_disk_rename(disk, work->path, work->path_to);
    case IO_FILE_UNLINK:
        return sim_disk_unlink(disk, work->path);
    case IO_FILE_MAKE_DIRECTORY:
        return sim_disk_make_directory(disk, work->path);
    case IO_FILE_LIST:
        return sim_disk_list(disk, work->path, &work->names);
    case IO_FILE_READ:
    case IO_FILE_WRITE:
    case IO_FILE_SYNC:
    case IO_FILE_SIZE:
        break;
    }
    UNREACHABLE();
}

static int64_t perform(struct sim_file_work *work)
{
    switch (work->request.kind) {
    case IO_FILE_READ:
        return do_read(work);
    case IO_FILE_WRITE:
        return do_write(work);
    case IO_FILE_SYNC:
        return do_sync(work);
    case IO_FILE_SIZE:
        return (int64_t)work->request.file->inode->content.size;
    case IO_FILE_OPEN:
    case IO_FILE_RENAME:
    case IO_FILE_UNLINK:
    case IO_FILE_MAKE_DIRECTORY:
    case IO_FILE_LIST:
        return do_named(work);
    }
    UNREACHABLE();
}

/* ---- the way of an operation ---- */

static const char *kind_words(const struct sim_file_work *work)
{
    static const char *const words[] = {"opens",   "reads",   "writes",          "syncs", "sizes",
                                        "renames", "unlinks", "makes directory", "lists"};
    return words[work->request.kind];
}

static uint64_t work_hash(const struct sim_file_work *work)
{
    uint64_t hash = work->request.offset;
    bool write = work->request.kind == IO_FILE_WRITE;
    for (size_t i = 0; write && i < work->request.part_count; i++) {
        const struct iovec *part = &work->request.parts[i];
        hash = hash_bytes_seeded(part->iov_base, part->iov_len, hash);
    }
    return work->path == NULL ? hash : hash_bytes_seeded(work->path, strlen(work->path), hash);
}

static void on_done(struct io_ready *ready)
{
    struct sim_file_work *work = CONTAINER_OF(ready, struct sim_file_work, ready);
    struct io_file_op *op = work->op;
    int64_t result = work->result;
    if (work->request.kind == IO_FILE_OPEN) {
        op->file = work->opened;
    }
    if (work->request.kind == IO_FILE_LIST && result >= 0) {
        buf_append_slice(op->names, buf_slice(&work->names));
    }
    list_remove(&work->node);
    buf_done(&work->names);
    free(work->path);
    free(work->path_to);
    free(work);
    op->backend = NULL;
    op->done(op, result);
}

static void work_finish(struct sim_file_work *work, int64_t result)
{
    CHECK(!work->finished);
    work->finished = true;
    work->result = result;
    sim_ready(work->io, &work->ready, on_done);
}

static void on_work(struct sim_event *event)
{
    struct sim_file_work *work = CONTAINER_OF(event, struct sim_file_work, event);
    struct sim_host *host = work->io->host;
    struct sim_world *world = host->world;
    if (host->disk_stalled_until_us > world->now_us &&
        (!host->disk_stalls_reads || work->request.kind == IO_FILE_READ)) {
        list_push(&host->disk_waiting, &work->held);
        return;
    }
    int64_t result = perform(work);
    uint64_t kind = (uint64_t)work->request.kind;
    sim_note(world, host, SIM_RECORD_FILE, kind, work_hash(work) ^ (uint64_t)result);
    SIM_TELL(world, host, "%s %s at %llu: %lld", kind_words(work),
             work->path == NULL ? "a file" : work->path, (unsigned long long)work->request.offset,
             (long long)result);
    work_finish(work, result);
}

static uint64_t work_time(struct sim_host *host, const struct io_file_request *request)
{
    const struct sim_disk_faults *faults = &host->disk_faults;
    struct prng *chance = &host->disk_chance;
    bool durable = request->kind == IO_FILE_WRITE && (request->flags & IO_WRITE_DURABLE) != 0;
    bool device = durable || request->kind == IO_FILE_SYNC;
    uint64_t time_us = sim_latency_draw(chance, device ? faults->device : faults->memory);
    if (sim_chance(chance, faults->spike_ppm)) {
        time_us += prng_between(chance, 0, faults->spike_max_us);
        sim_fault(host->world, host, SIM_FAULT_SPIKE);
    }
    if (sim_chance(chance, faults->stall_ppm)) {
        sim_disk_stall(host, host->world->now_us + prng_between(chance, 0, faults->stall_max_us));
    }
    return time_us;
}

static char *copy_path(const char *path)
{
    return path == NULL ? NULL : memory_copy_string(path);
}

void sim_file_start(struct io *base, struct io_file_op *op, const struct io_file_request *request)
{
    struct sim_io *io = sim_io_of(base);
    struct sim_host *host = io->host;
    struct sim_file_work *work = memory_new(1, sizeof *work);
    work->io = io;
    work->op = op;
    work->request = *request;
    work->path = copy_path(request->path);
    work->path_to = copy_path(request->path_to);
    work->event.run = on_work;
    list_init(&work->node);
    list_init(&work->held);
    list_push(&io->works, &work->node);
    op->backend = work;
    if (host == NULL) {
        work_finish(work, -EIO);
        return;
    }
    sim_schedule(host->world, &work->event, host->world->now_us + work_time(host, request));
    bool file_sync = request->kind == IO_FILE_SYNC && !request->file->inode->directory;
    if (file_sync && prng_chance(&host->disk_chance, 1, 2)) {
        work->result = do_sync(work);
        work->synced = true;
    }
}

/* ---- stalls ---- */

static void on_healed(struct sim_event *event)
{
    struct sim_host *host = CONTAINER_OF(event, struct sim_host, disk_healed);
    host->disk_stalled_until_us = 0;
    for (struct list *node = list_pop(&host->disk_waiting); node != NULL;
         node = list_pop(&host->disk_waiting)) {
        struct sim_file_work *work = CONTAINER_OF(node, struct sim_file_work, held);
        uint64_t time_us = sim_latency_draw(&host->disk_chance, host->disk_faults.memory);
        sim_schedule(host->world, &work->event, host->world->now_us + time_us);
    }
}

static void stall(struct sim_host *host, uint64_t until_us, bool reads)
{
    struct sim_world *world = host->world;
    bool stalls = until_us > world->now_us;
    host->disk_stalled_until_us = until_us;
    host->disk_stalls_reads = reads;
    sim_world_cancel(world, &host->disk_healed);
    if (stalls) {
        sim_fault(world, host, SIM_FAULT_STALL);
        SIM_TELL(world, host, reads ? "its disk stalls for reads" : "its disk stalls");
    }
    if (until_us != UINT64_MAX) {
        sim_schedule(world, &host->disk_healed, until_us);
    }
}

void sim_disk_stall(struct sim_host *host, uint64_t until_us)
{
    stall(host, until_us, false);
}

void sim_disk_stall_reads(struct sim_host *host, uint64_t until_us)
{
    stall(host, until_us, true);
}

void sim_files_init(struct sim_host *host)
{
    static const struct sim_disk_faults faults = {
        .memory = {.min_us = 1, .mean_us = 5, .max_us = 100},
        .device = {.min_us = 60, .mean_us = 200, .max_us = 5000},
        .keep_ppm = 500 * 1000,
        .torn_ppm = 50 * 1000,
    };
    sim_disk_init(&host->disk);
    list_init(&host->disk_waiting);
    host->disk_healed.run = on_healed;
    host->disk_faults = faults;
}

/* ---- locks, closing, the end of a process ---- */

int sim_lock(struct io *io, struct io_file *file)
{
    (void)io;
    if (file->inode == NULL) {
        return -EIO;
    }
    if (file->inode->locked_by != NULL && file->inode->locked_by != file) {
        return -EWOULDBLOCK;
    }
    file->inode->locked_by = file;
    return 0;
}

void sim_forget(struct io *io, struct io_file *file)
{
    (void)io;
    if (file->inode != NULL) {
        sim_content_forget(&file->inode->content);
    }
}

/* What the kernel does with an open file, whoever closes it. */
static void file_release(struct io_file *file)
{
    if (file->inode == NULL) {
        return;
    }
    if (file->inode->locked_by == file) {
        file->inode->locked_by = NULL;
    }
    sim_inode_unref(file->inode);
    file->inode = NULL;
}

void sim_file_close(struct io *io, struct io_file *file)
{
    (void)io;
    file_release(file);
    list_remove(&file->node);
    free(file);
}

/* What had been started may have come to pass, or some of it. */
static void perform_perhaps(struct sim_file_work *work)
{
    struct prng *chance = &work->io->host->disk_chance;
    bool happens = prng_chance(chance, 1, 2);
    const struct io_file *file = work->request.file;
    bool writes = work->request.kind == IO_FILE_WRITE && !file->inode->directory &&
                  (file->flags & IO_OPEN_READ_ONLY) == 0;
    if (happens && writes) {
        (void)write_parts(work, prng_between(chance, 0, parts_size(work)));
    } else if (happens && work->path != NULL) {
        (void)do_named(work);
    }
}

void sim_files_cut_off(struct sim_io *io)
{
    for (struct list *node = io->works.next; node != &io->works; node = node->next) {
        struct sim_file_work *work = CONTAINER_OF(node, struct sim_file_work, node);
        if (!work->finished) {
            sim_world_cancel(io->host->world, &work->event);
            list_remove(&work->held);
            perform_perhaps(work);
            work_finish(work, -EIO);
        }
        work->result = -EIO;
        if (work->opened != NULL) {
            sim_file_close(&io->io, work->opened);
            work->opened = NULL;
        }
    }
    for (struct list *node = io->files.next; node != &io->files; node = node->next) {
        file_release(CONTAINER_OF(node, struct io_file, node));
    }
}
