/*
 * File operations by plain system calls, whole and blocking: what a worker thread of the portable
 * backend does, and the io_uring backend for the kinds that its kernel has no operation for.
 */
#ifndef IO_FILE_H
#define IO_FILE_H

#include "io/backend.h"
#include "io/direct.h"

/* An open file of either kernel backend. */
struct io_file {
    int fd;
    bool directory;
    struct direct direct; /* used by the io_uring backend */
};

/* The O_ flags for io_open_flags. */
int file_open_flags(unsigned flags);

/* An open descriptor as a new file; the descriptor goes with it. */
struct io_file *file_new(int fd, unsigned flags);

/* io_lock and io_file_close of either kernel backend. */
int file_lock(struct io *io, struct io_file *file);
void file_forget(struct io *io, struct io_file *file);
void file_close(struct io *io, struct io_file *file);

/* A request that owns its paths and can be carried out by any thread. */
struct file_task {
    struct io_file_request request;
    struct io_file *opened; /* by OPEN */
    struct buf names;       /* by LIST */
    int64_t result;
};

void file_task_init(struct file_task *task, const struct io_file_request *request);

/* Does the whole operation: continues short reads and writes, retries what a signal interrupted. */
void file_task_run(struct file_task *task);

/* Moves what the task produced into the op and releases the rest; returns the result. */
int64_t file_task_finish(struct file_task *task, struct io_file_op *op);

#endif
