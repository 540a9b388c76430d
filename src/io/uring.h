/*
 * The parts of the io_uring backend to each other.
 */
#ifndef IO_URING_H
#define IO_URING_H

#include "io/backend.h"

#include <liburing.h>

enum {
    URING_BUFFERS = 256, /* lent by the kernel to whoever receives; a power of two */
    URING_BUFFER_SIZE = 16 * 1024,
    URING_BUFFER_GROUP = 0,
};

struct uring_file;

struct uring {
    struct io io;
    struct io_uring ring;
    struct list waiting;           /* of uring_request.node: the submission queue was full */
    size_t in_flight;              /* requests that have not had their last completion */
    bool enabled;                  /* the first io_run has made its thread the ring's */
    struct uring_file *idle_files; /* records of file operations, for the next ones */
    struct io_uring_buf_ring *buffer_ring;
    uint8_t *buffers;
};

/*
 * One entry of the submission queue, embedded in whatever it works for. `prepare` fills the entry
 * in, when there is room for it; `complete` is called with each completion, `more` saying that it
 * is not the last one. The request may be started again from its last `complete`.
 */
struct uring_request {
    struct list node; /* in uring.waiting */
    bool in_flight;
    void (*prepare)(struct uring_request *request, struct io_uring_sqe *sqe);
    void (*complete)(struct uring_request *request, int result, unsigned flags);
};

static inline struct uring *uring_of(struct io *io)
{
    return CONTAINER_OF(io, struct uring, io);
}

/* Queues a request that is not in flight; it is submitted by the next io_run, in order. */
void uring_start(struct uring *uring, struct uring_request *request);

/* The bytes of the buffer that a completion with IORING_CQE_F_BUFFER names. */
uint8_t *uring_buffer(struct uring *uring, unsigned flags);
/* Gives that buffer back to the kernel. */
void uring_buffer_return(struct uring *uring, unsigned flags);

/* uring_signal.c */
int uring_signal_start(struct io *io, struct io_signal *signal);
void uring_signal_stop(struct io *io, struct io_signal *signal);

/* uring_file.c */
void uring_file_release(struct uring *uring);
void uring_file_start(struct io *io, struct io_file_op *op, const struct io_file_request *request);

/* uring_listen.c */
int uring_listen(struct io *io, const struct io_address *address, struct io_accept *accept,
                 struct io_listener **ret_listener);
void uring_listener_close(struct io *io, struct io_listener *listener);
void uring_connect_start(struct io *io, struct io_connect *connect,
                         const struct io_address *address);
void uring_connect_cancel(struct io *io, struct io_connect *connect);

/* uring_stream.c */
/* A stream of a connected socket, which goes with it. */
struct io_stream *uring_stream_new(struct uring *uring, int fd, const struct io_address *peer);
void uring_receive_start(struct io *io, struct io_stream *stream, struct io_receive *receive);
void uring_receive_pause(struct io *io, struct io_stream *stream);
void uring_send_start(struct io *io, struct io_stream *stream, struct io_send *send);
void uring_stream_close(struct io *io, struct io_stream *stream, struct io_close *close);

#endif
