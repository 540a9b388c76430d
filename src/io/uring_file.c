/*
 * Files by io_uring: one record per operation, one request at a time until it is whole.
 *
 *   READ, WRITE ──► a short count ──► the rest ──► ... ──► done
 *   WRITE, durable and of more parts than one request takes ──► all parts ──► fdatasync ──► done
 *   WRITE, durable and of whole sectors ──► past the page cache (direct.h) ──► done
 *                                              └─ refused ──► as above
 *
 * SIZE and LIST are plain system calls, made at once and completed through the ready queue: the
 * one needs no waiting, the other has no operation in io_uring and is for start-up.
 */
#include "io/uring.h"

#include "base/memory.h"
#include "io/file.h"
#include "io/system.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

/* The most that the system reads or writes at once, rounded down to whole pages. */
enum { ONCE_SIZE_MAX = 1 << 30 };

struct uring_file {
    struct uring_file *next_idle; /* in uring.idle_files */
    struct uring *uring;
    struct io_file_op *op;
    struct file_task task;
    uint64_t transferred;
    bool durable_each; /* each write is durable by itself */
    bool syncing;      /* the fdatasync after the writes */
    bool direct;       /* past the page cache: `work` is then one part, `plain` what was asked */
    struct iovec direct_part;
    struct iovec *plain_parts;
    size_t plain_count;
    struct uring_request request;
    struct io_ready ready;
};

static void finish(struct uring_file *own, int64_t result)
{
    struct io_file_op *op = own->op;
    if (own->direct) {
        direct_release(&own->task.request.file->direct);
    }
    own->task.result = result;
    (void)file_task_finish(&own->task, op);
    own->next_idle = own->uring->idle_files;
    own->uring->idle_files = own;
    op->backend = NULL;
    op->done(op, result);
}

/* ---- preparing ---- */

static void prepare_write(struct uring_file *own, struct io_uring_sqe *sqe)
{
    const struct io_file_request *work = &own->task.request;
    unsigned count = work->part_count < IOV_MAX ? (unsigned)work->part_count : IOV_MAX;
    int fd = own->direct ? work->file->direct.fd : work->file->fd;
    io_uring_prep_writev2(sqe, fd, work->parts, count, work->offset + own->transferred,
                          own->durable_each ? RWF_DSYNC : 0);
    /* It will wait for the disk: no use in trying without a worker first. */
    if (own->durable_each && !own->direct) {
        sqe->flags |= IOSQE_ASYNC;
    }
}

static void prepare_read(struct uring_file *own, struct io_uring_sqe *sqe)
{
    const struct io_file_request *work = &own->task.request;
    size_t left = work->size - own->transferred;
    unsigned size = left < ONCE_SIZE_MAX ? (unsigned)left : ONCE_SIZE_MAX;
    io_uring_prep_read(sqe, work->file->fd, (uint8_t *)work->bytes + own->transferred, size,
                       work->offset + own->transferred);
}

static void prepare_sync(struct uring_file *own, struct io_uring_sqe *sqe)
{
    const struct io_file *file = own->task.request.file;
    io_uring_prep_fsync(sqe, file->fd, file->directory ? 0 : IORING_FSYNC_DATASYNC);
}

static void prepare(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_file *own = CONTAINER_OF(request, struct uring_file, request);
    const struct io_file_request *work = &own->task.request;
    if (own->syncing || work->kind == IO_FILE_SYNC) {
        prepare_sync(own, sqe);
    } else if (work->kind == IO_FILE_WRITE) {
        prepare_write(own, sqe);
    } else if (work->kind == IO_FILE_READ) {
        prepare_read(own, sqe);
    } else if (work->kind == IO_FILE_OPEN) {
        io_uring_prep_openat(sqe, AT_FDCWD, work->path, file_open_flags(work->flags), 0600);
    } else if (work->kind == IO_FILE_RENAME) {
        io_uring_prep_renameat(sqe, AT_FDCWD, work->path, AT_FDCWD, work->path_to, 0);
    } else if (work->kind == IO_FILE_UNLINK) {
        io_uring_prep_unlinkat(sqe, AT_FDCWD, work->path, 0);
    } else {
        CHECK(work->kind == IO_FILE_MAKE_DIRECTORY);
        io_uring_prep_mkdirat(sqe, AT_FDCWD, work->path, 0700);
    }
}

/* ---- completing ---- */

/* Goes on the plain way, with what is not written yet. */
static void leave_direct(struct uring_file *own)
{
    struct io_file_request *work = &own->task.request;
    own->direct = false;
    direct_release(&work->file->direct);
    work->parts = own->plain_parts;
    work->part_count = own->plain_count;
    parts_advance(&work->parts, &work->part_count, own->transferred);
}

static void written(struct uring_file *own, int result)
{
    struct io_file_request *work = &own->task.request;
    if (result == -EINVAL && own->direct) {
        leave_direct(own);
        direct_refuse(&work->file->direct);
        uring_start(own->uring, &own->request);
        return;
    }
    if (result < 0 && own->durable_each && result == -EOPNOTSUPP) {
        own->durable_each = false;
    } else if (result < 0) {
        finish(own, result);
        return;
    } else if (own->syncing) {
        finish(own, (int64_t)own->transferred);
        return;
    } else if (result == 0 && work->part_count > 0) {
        finish(own, -EIO);
        return;
    }
    own->transferred += result > 0 ? (uint64_t)result : 0;
    parts_advance(&work->parts, &work->part_count, result > 0 ? (size_t)result : 0);
    if (work->part_count == 0) {
        own->syncing = (work->flags & IO_WRITE_DURABLE) != 0 && !own->durable_each;
        if (!own->syncing) {
            finish(own, (int64_t)own->transferred);
            return;
        }
    }
    uring_start(own->uring, &own->request);
}

static void was_read(struct uring_file *own, int result)
{
    if (result < 0) {
        finish(own, result);
        return;
    }
    own->transferred += (uint64_t)result;
    if (result == 0 || own->transferred == own->task.request.size) {
        finish(own, (int64_t)own->transferred);
    } else {
        uring_start(own->uring, &own->request);
    }
}

static void on_request(struct uring_request *request, int result, unsigned flags)
{
    (void)flags;
    struct uring_file *own = CONTAINER_OF(request, struct uring_file, request);
    enum io_file_kind kind = own->task.request.kind;
    if (result == -EINTR || result == -EAGAIN) {
        uring_start(own->uring, request);
    } else if (kind == IO_FILE_WRITE) {
        written(own, result);
    } else if (kind == IO_FILE_READ) {
        was_read(own, result);
    } else if (kind == IO_FILE_OPEN && result >= 0) {
        own->task.opened = file_new(result, own->task.request.flags);
        finish(own, 0);
    } else {
        finish(own, result);
    }
}

static void on_ready(struct io_ready *ready)
{
    struct uring_file *own = CONTAINER_OF(ready, struct uring_file, ready);
    finish(own, own->task.result);
}

/* ---- starting ---- */

static struct uring_file *record_new(struct uring *uring)
{
    struct uring_file *own = uring->idle_files;
    if (own == NULL) {
        own = memory_new(1, sizeof *own);
    } else {
        uring->idle_files = own->next_idle;
    }
    *own = (struct uring_file){.uring = uring};
    return own;
}

void uring_file_release(struct uring *uring)
{
    while (uring->idle_files != NULL) {
        struct uring_file *own = uring->idle_files;
        uring->idle_files = own->next_idle;
        free(own);
    }
}

/* What needs no request: 0 bytes to move, and the plain system calls. */
static bool finished_at_once(struct uring_file *own)
{
    struct io_file_request *work = &own->task.request;
    if (work->kind == IO_FILE_WRITE) {
        parts_advance(&work->parts, &work->part_count, 0);
        return work->part_count == 0;
    }
    if (work->kind == IO_FILE_READ) {
        return work->size == 0;
    }
    if (work->kind == IO_FILE_SIZE || work->kind == IO_FILE_LIST) {
        file_task_run(&own->task);
        return true;
    }
    return false;
}

/* Takes the way past the page cache, if this write can. */
static void enter_direct(struct uring_file *own)
{
    struct io_file_request *work = &own->task.request;
    struct io_file *file = work->file;
    if (!direct_take(&file->direct, file->fd, work, &own->direct_part)) {
        return;
    }
    own->direct = true;
    own->plain_parts = work->parts;
    own->plain_count = work->part_count;
    work->parts = &own->direct_part;
    work->part_count = 1;
}

void uring_file_start(struct io *io, struct io_file_op *op, const struct io_file_request *request)
{
    struct uring_file *own = record_new(uring_of(io));
    own->op = op;
    own->request = (struct uring_request){.prepare = prepare, .complete = on_request};
    file_task_init(&own->task, request);
    op->backend = own;
    if (finished_at_once(own)) {
        io_ready_push(io, &own->ready, on_ready);
        return;
    }
    own->durable_each = request->kind == IO_FILE_WRITE &&
                        (request->flags & IO_WRITE_DURABLE) != 0 &&
                        own->task.request.part_count <= IOV_MAX;
    if (own->durable_each) {
        enter_direct(own);
    }
    uring_start(own->uring, &own->request);
}
