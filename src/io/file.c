/*
 * Each file operation as one straight, blocking function.
 *
 * Durable writes: RWF_DSYNC on each call while everything fits one call. A write of more parts
 * than one call takes is written plainly and made durable by one fdatasync at the end, as is one
 * on a kernel that does not know RWF_DSYNC.
 */
#include "io/file.h"

#include "base/assert.h"
#include "base/memory.h"
#include "io/system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int file_open_flags(unsigned flags)
{
    int open_flags = O_CLOEXEC;
    if (flags & IO_OPEN_DIRECTORY) {
        return open_flags | O_RDONLY | O_DIRECTORY;
    }
    open_flags |= flags & IO_OPEN_READ_ONLY ? O_RDONLY : O_RDWR;
    open_flags |= flags & IO_OPEN_CREATE ? O_CREAT : 0;
    open_flags |= flags & IO_OPEN_EXCLUSIVE ? O_EXCL : 0;
    return open_flags;
}

struct io_file *file_new(int fd, unsigned flags)
{
    CHECK(fd >= 0);
    struct io_file *file = memory_new(1, sizeof *file);
    *file = (struct io_file){.fd = fd, .directory = (flags & IO_OPEN_DIRECTORY) != 0};
    direct_init(&file->direct);
    return file;
}

int file_lock(struct io *io, struct io_file *file)
{
    (void)io;
    return flock(file->fd, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno;
}

void file_forget(struct io *io, struct io_file *file)
{
    (void)io;
    (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
}

void file_close(struct io *io, struct io_file *file)
{
    (void)io;
    /* What had to be durable was synced; close can say nothing that would change that. */
    (void)close(file->fd);
    direct_done(&file->direct);
    free(file);
}

/* ---- the operations ---- */

static int64_t do_open(struct file_task *task)
{
    const struct io_file_request *request = &task->request;
    int fd;
    do {
        fd = open(request->path, file_open_flags(request->flags), 0600);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return -errno;
    }
    task->opened = file_new(fd, request->flags);
    return 0;
}

static int64_t do_read(struct file_task *task)
{
    const struct io_file_request *request = &task->request;
    size_t done = 0;
    while (done < request->size) {
        ssize_t size = pread(request->file->fd, (uint8_t *)request->bytes + done,
                             request->size - done, (off_t)(request->offset + done));
        if (size < 0 && errno != EINTR) {
            return -errno;
        }
        if (size == 0) {
            break;
        }
        done += size > 0 ? (size_t)size : 0;
    }
    return (int64_t)done;
}

static int64_t do_sync(const struct io_file *file)
{
    int err;
    do {
        err = file->directory ? fsync(file->fd) : fdatasync(file->fd);
    } while (err != 0 && errno == EINTR);
    return err == 0 ? 0 : -errno;
}

static int64_t do_write(struct file_task *task)
{
    struct io_file_request *request = &task->request;
    bool durable = (request->flags & IO_WRITE_DURABLE) != 0;
    bool each = durable && request->part_count <= IOV_MAX;
    uint64_t done = 0;
    parts_advance(&request->parts, &request->part_count, 0);
    while (request->part_count > 0) {
        int count = request->part_count < IOV_MAX ? (int)request->part_count : IOV_MAX;
        ssize_t size = pwritev2(request->file->fd, request->parts, count,
                                (off_t)(request->offset + done), each ? RWF_DSYNC : 0);
        if (size < 0 && each && (errno == EOPNOTSUPP || errno == ENOSYS)) {
            each = false;
        } else if (size < 0 && errno != EINTR) {
            return -errno;
        } else if (size == 0) {
            return -EIO;
        } else if (size > 0) {
            done += (uint64_t)size;
            parts_advance(&request->parts, &request->part_count, (size_t)size);
        }
    }
    if (durable && !each) {
        int64_t synced = do_sync(request->file);
        if (synced < 0) {
            return synced;
        }
    }
    return (int64_t)done;
}

static int64_t do_size(const struct io_file *file)
{
    struct stat status;
    return fstat(file->fd, &status) == 0 ? (int64_t)status.st_size : -errno;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts `count` names that stand one after the other, each with its NUL. */
static void sort_names(struct buf *names, size_t count)
{
    char **pointers = memory_new(count, sizeof *pointers);
    char *at = (char *)names->data;
    for (size_t i = 0; i < count; i++) {
        pointers[i] = at;
        at += strlen(at) + 1;
    }
    qsort(pointers, count, sizeof *pointers, compare_names);
    struct buf sorted = {0};
    for (size_t i = 0; i < count; i++) {
        buf_append(&sorted, pointers[i], strlen(pointers[i]) + 1);
    }
    free(pointers);
    buf_done(names);
    *names = sorted;
}

static int64_t do_list(struct file_task *task)
{
    DIR *directory = opendir(task->request.path);
    if (directory == NULL) {
        return -errno;
    }
    size_t count = 0;
    const struct dirent *entry;
    for (errno = 0; (entry = readdir(directory)) != NULL; errno = 0) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            buf_append(&task->names, entry->d_name, strlen(entry->d_name) + 1);
            count++;
        }
    }
    int err = errno;
    (void)closedir(directory);
    if (err != 0) {
        return -err;
    }
    sort_names(&task->names, count);
    return (int64_t)count;
}

static int64_t do_named(const struct io_file_request *request)
{
    int err = -1;
    if (request->kind == IO_FILE_RENAME) {
        err = rename(request->path, request->path_to);
    } else if (request->kind == IO_FILE_UNLINK) {
        err = unlink(request->path);
    } else {
        CHECK(request->kind == IO_FILE_MAKE_DIRECTORY);
        err = mkdir(request->path, 0700);
    }
    return err == 0 ? 0 : -errno;
}

/* ---- a task ---- */

void file_task_init(struct file_task *task, const struct io_file_request *request)
{
    *task = (struct file_task){.request = *request};
    if (request->path != NULL) {
        task->request.path = memory_copy_string(request->path);
    }
    if (request->path_to != NULL) {
        task->request.path_to = memory_copy_string(request->path_to);
    }
}

void file_task_run(struct file_task *task)
{
    switch (task->request.kind) {
    case IO_FILE_OPEN:
        task->result = do_open(task);
        return;
    case IO_FILE_READ:
        task->result = do_read(task);
        return;
    case IO_FILE_WRITE:
        task->result = do_write(task);
        return;
    case IO_FILE_SYNC:
        task->result = do_sync(task->request.file);
        return;
    case IO_FILE_SIZE:
        task->result = do_size(task->request.file);
        return;
    case IO_FILE_LIST:
        task->result = do_list(task);
        return;
    case IO_FILE_RENAME:
    case IO_FILE_UNLINK:
    case IO_FILE_MAKE_DIRECTORY:
        task->result = do_named(&task->request);
        return;
    }
    UNREACHABLE();
}

int64_t file_task_finish(struct file_task *task, struct io_file_op *op)
{
    if (task->request.kind == IO_FILE_OPEN) {
        op->file = task->opened;
    }
    if (task->request.kind == IO_FILE_LIST && task->result >= 0) {
        buf_append_slice(op->names, buf_slice(&task->names));
    }
    buf_done(&task->names);
    free((char *)task->request.path);
    free((char *)task->request.path_to);
    return task->result;
}
