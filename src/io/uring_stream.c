/*
 * TCP streams of the io_uring backend.
 *
 * Receiving is one request that goes on by itself (multishot) and takes its buffers from the ring.
 * What is wanted and what is in flight may differ for a while; stream_update compares the two after
 * every change and starts what is missing:
 *
 *     wanted, not in flight    start to receive
 *     in flight, not wanted    cancel it, once
 *     closing                  cancel all on this descriptor, once; when nothing is left in flight,
 *                              close the descriptor and complete the close
 *
 * Until a cancel has taken effect the kernel may still deliver. Then the stream keeps the bytes,
 * and the end, for the next io_receive_start. The ring's buffers bound how much that can be.
 *
 * Every request is waited for, the cancels too: a descriptor is closed, and a record freed, only
 * when no request can name it any more.
 */
#include "base/memory.h"
#include "io/system.h"
#include "io/uring.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KEPT_PIECE_SIZE = 64 * 1024 };

struct uring_stream {
    struct io_stream base;
    struct uring *uring;
    int fd;

    struct io_receive *receive; /* NULL: paused */
    struct uring_request receiving;
    struct uring_request receive_cancel;
    bool cancelled; /* the receive in flight is being cancelled */
    bool ended;     /* the peer's end or an error came from the kernel */
    bool end_told;
    int end_result;
    struct buf kept; /* what came while paused */
    bool kept_queued;
    struct io_ready kept_ready;

    struct io_send *send; /* NULL: none in flight */
    struct uring_request sending;
    struct msghdr message;
    int64_t sent;
    struct io_ready send_ready;

    bool closing;
    bool closed;
    bool all_cancelled;
    struct io_close *close;
    struct uring_request close_cancel;
    struct io_ready close_ready;
};

static void stream_update(struct uring_stream *stream);

static struct uring_stream *stream_of(struct io_stream *stream)
{
    return CONTAINER_OF(stream, struct uring_stream, base);
}

/* ---- receiving ---- */

/* Gives the callee what was kept, as long as it wants it, and then the end if that came too. */
static void deliver_kept(struct io_ready *ready)
{
    struct uring_stream *stream = CONTAINER_OF(ready, struct uring_stream, kept_ready);
    stream->kept_queued = false;
    size_t given = 0;
    while (stream->receive != NULL && given < stream->kept.size) {
        size_t size = stream->kept.size - given;
        size = size < KEPT_PIECE_SIZE ? size : KEPT_PIECE_SIZE;
        struct slice piece = slice_of(stream->kept.data + given, size);
        given += size;
        stream->receive->done(stream->receive, piece, 0);
    }
    buf_consume(&stream->kept, given);
    if (stream->kept.size > 0) {
        return;
    }
    buf_done(&stream->kept);
    if (stream->ended && !stream->end_told && stream->receive != NULL) {
        struct io_receive *receive = stream->receive;
        stream->end_told = true;
        stream->receive = NULL;
        receive->done(receive, slice_of(NULL, 0), stream->end_result);
    }
}

static void queue_kept(struct uring_stream *stream)
{
    bool something = stream->kept.size > 0 || (stream->ended && !stream->end_told);
    if (something && stream->receive != NULL && !stream->kept_queued) {
        stream->kept_queued = true;
        io_ready_push(&stream->uring->io, &stream->kept_ready, deliver_kept);
    }
}

static void received_bytes(struct uring_stream *stream, const uint8_t *bytes, size_t size)
{
    if (stream->closing) {
        return;
    }
    if (stream->receive != NULL && stream->kept.size == 0) {
        stream->receive->done(stream->receive, slice_of(bytes, size), 0);
    } else {
        buf_append(&stream->kept, bytes, size);
    }
}

static void on_receiving(struct uring_request *request, int result, unsigned flags)
{
    struct uring_stream *stream = CONTAINER_OF(request, struct uring_stream, receiving);
    if (result > 0) {
        received_bytes(stream, uring_buffer(stream->uring, flags), (size_t)result);
    }
    if ((flags & IORING_CQE_F_BUFFER) != 0) {
        uring_buffer_return(stream->uring, flags);
    }
    if (!request->in_flight) {
        /* Without buffers it just starts again: by then all of them are back. */
        bool again = result == -ENOBUFS || result == -EINTR || result == -EAGAIN ||
                     (result == -ECANCELED && stream->cancelled);
        stream->cancelled = false;
        if (result <= 0 && !again) {
            stream->ended = true;
            stream->end_result = result;
            if (!stream->closing) {
                queue_kept(stream);
            }
        }
    }
    stream_update(stream);
}

static void prepare_receiving(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_stream *stream = CONTAINER_OF(request, struct uring_stream, receiving);
    io_uring_prep_recv_multishot(sqe, stream->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUFFER_GROUP;
}

static void prepare_receive_cancel(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_stream *stream = CONTAINER_OF(request, struct uring_stream, receive_cancel);
    io_uring_prep_cancel(sqe, &stream->receiving, 0);
}

static void on_receive_cancel(struct uring_request *request, int result, unsigned flags)
{
    (void)result;
    (void)flags;
    stream_update(CONTAINER_OF(request, struct uring_stream, receive_cancel));
}

void uring_receive_start(struct io *io, struct io_stream *base, struct io_receive *receive)
{
    (void)io;
    struct uring_stream *stream = stream_of(base);
    CHECK(!stream->closing);
    if (!stream->end_told) {
        stream->receive = receive;
        queue_kept(stream);
        stream_update(stream);
    }
}

void uring_receive_pause(struct io *io, struct io_stream *base)
{
    (void)io;
    struct uring_stream *stream = stream_of(base);
    CHECK(!stream->closing);
    stream->receive = NULL;
    stream_update(stream);
}

/* ---- sending ---- */

static void finish_send(struct uring_stream *stream, int64_t result)
{
    struct io_send *send = stream->send;
    stream->send = NULL;
    send->backend = NULL;
    send->done(send, result);
}

static void on_nothing_sent(struct io_ready *ready)
{
    finish_send(CONTAINER_OF(ready, struct uring_stream, send_ready), 0);
}

static void prepare_sending(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_stream *stream = CONTAINER_OF(request, struct uring_stream, sending);
    enum { FLAGS = MSG_NOSIGNAL | MSG_WAITALL };
    if (stream->message.msg_iovlen == 1) {
        const struct iovec *part = stream->message.msg_iov;
        io_uring_prep_send(sqe, stream->fd, part->iov_base, part->iov_len, FLAGS);
    } else {
        io_uring_prep_sendmsg(sqe, stream->fd, &stream->message, FLAGS);
    }
}

static void on_sending(struct uring_request *request, int result, unsigned flags)
{
    (void)flags;
    struct uring_stream *stream = CONTAINER_OF(request, struct uring_stream, sending);
    bool again = result == -EINTR || result == -EAGAIN;
    if (result < 0 && !again) {
        finish_send(stream, result);
        stream_update(stream);
        return;
    }
    if (result > 0) {
        stream->sent += result;
        parts_advance(&stream->message.msg_iov, &stream->message.msg_iovlen, (size_t)result);
    }
    if (stream->message.msg_iovlen == 0) {
        finish_send(stream, stream->sent);
    } else if (stream->closing) {
        finish_send(stream, -ECANCELED);
    } else {
        uring_start(stream->uring, request);
    }
    stream_update(stream);
}

void uring_send_start(struct io *io, struct io_stream *base, struct io_send *send)
{
    struct uring_stream *stream = stream_of(base);
    CHECK(!stream->closing);
    CHECK(stream->send == NULL);
    stream->send = send;
    send->backend = stream;
    stream->sent = 0;
    stream->message = (struct msghdr){.msg_iov = send->parts, .msg_iovlen = send->part_count};
    parts_advance(&stream->message.msg_iov, &stream->message.msg_iovlen, 0);
    if (stream->message.msg_iovlen == 0) {
        io_ready_push(io, &stream->send_ready, on_nothing_sent);
    } else {
        uring_start(stream->uring, &stream->sending);
    }
}

/* ---- the life of a stream ---- */

static void finish_close(struct io_ready *ready)
{
    struct uring_stream *stream = CONTAINER_OF(ready, struct uring_stream, close_ready);
    CHECK(stream->send == NULL);
    struct io_close *close = stream->close;
    buf_done(&stream->kept);
    free(stream);
    if (close != NULL) {
        close->done(close);
    }
}

static void update_closing(struct uring_stream *stream)
{
    bool working = stream->receiving.in_flight || stream->sending.in_flight;
    if (working && !stream->all_cancelled) {
        stream->all_cancelled = true;
        uring_start(stream->uring, &stream->close_cancel);
    }
    if (working || stream->receive_cancel.in_flight || stream->close_cancel.in_flight ||
        stream->closed) {
        return;
    }
    stream->closed = true;
    (void)close(stream->fd);
    /* Behind a delivery or a send of nothing that is still in the ready queue. */
    io_ready_push(&stream->uring->io, &stream->close_ready, finish_close);
}

static void stream_update(struct uring_stream *stream)
{
    if (stream->closing) {
        update_closing(stream);
        return;
    }
    bool wanted = stream->receive != NULL && !stream->ended;
    if (wanted && !stream->receiving.in_flight) {
        uring_start(stream->uring, &stream->receiving);
    }
    if (!wanted && stream->receiving.in_flight && !stream->cancelled &&
        !stream->receive_cancel.in_flight) {
        stream->cancelled = true;
        uring_start(stream->uring, &stream->receive_cancel);
    }
}

static void prepare_close_cancel(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_stream *stream = CONTAINER_OF(request, struct uring_stream, close_cancel);
    io_uring_prep_cancel_fd(sqe, stream->fd, IORING_ASYNC_CANCEL_ALL);
}

static void on_close_cancel(struct uring_request *request, int result, unsigned flags)
{
    (void)result;
    (void)flags;
    stream_update(CONTAINER_OF(request, struct uring_stream, close_cancel));
}

struct io_stream *uring_stream_new(struct uring *uring, int fd, const struct io_address *peer)
{
    CHECK(fd >= 0);
    struct uring_stream *stream = memory_new(1, sizeof *stream);
    stream->base.peer = *peer;
    stream->uring = uring;
    stream->fd = fd;
    stream->receiving =
        (struct uring_request){.prepare = prepare_receiving, .complete = on_receiving};
    stream->receive_cancel =
        (struct uring_request){.prepare = prepare_receive_cancel, .complete = on_receive_cancel};
    stream->sending = (struct uring_request){.prepare = prepare_sending, .complete = on_sending};
    stream->close_cancel =
        (struct uring_request){.prepare = prepare_close_cancel, .complete = on_close_cancel};
    return &stream->base;
}

void uring_stream_close(struct io *io, struct io_stream *base, struct io_close *close)
{
    (void)io;
    CHECK(close == NULL || close->done != NULL);
    struct uring_stream *stream = stream_of(base);
    CHECK(!stream->closing);
    stream->closing = true;
    stream->close = close;
    stream->receive = NULL;
    stream_update(stream);
}
