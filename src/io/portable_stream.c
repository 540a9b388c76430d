/*
 * TCP streams of the portable backend.
 *
 *   connecting ──► open ──► closing ──► gone
 *        │ portable_connect_cancel  ▲
 *        └──────────────────────────┘
 *
 * The end of a stream is always the same: uv_close, on_stream_closed, and then a place in the ready
 * queue, behind a send that is still there. So a send completes before the close, and the record is
 * freed when nothing points to it.
 */
#include "base/memory.h"
#include "io/portable.h"
#include "io/system.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct portable_stream {
    struct io_stream base;
    struct portable *portable;
    uv_tcp_t tcp;
    struct io_receive *receive; /* NULL: paused */
    bool ended;                 /* the end or an error was told */
    struct io_send *send;       /* NULL: none in flight */
    uv_write_t write;
    int64_t send_total;  /* bytes of all parts */
    int64_t send_result; /* once known */
    struct io_ready send_ready;
    bool closing;
    struct io_close *close;
    struct io_ready close_ready;
};

static struct portable_stream *stream_of(struct io_stream *stream)
{
    return CONTAINER_OF(stream, struct portable_stream, base);
}

/* ---- the life of a stream ---- */

static struct portable_stream *stream_new(struct portable *portable)
{
    struct portable_stream *stream = memory_new(1, sizeof *stream);
    stream->portable = portable;
    int err = uv_tcp_init(&portable->loop, &stream->tcp);
    CHECK(err == 0);
    (void)uv_tcp_nodelay(&stream->tcp, 1);
    return stream;
}

static void finish_close(struct io_ready *ready)
{
    struct portable_stream *stream = CONTAINER_OF(ready, struct portable_stream, close_ready);
    CHECK(stream->send == NULL);
    struct io_close *close = stream->close;
    free(stream);
    if (close != NULL) {
        close->done(close);
    }
}

static void on_stream_closed(uv_handle_t *handle)
{
    struct portable_stream *stream = CONTAINER_OF(handle, struct portable_stream, tcp);
    io_ready_push(&stream->portable->io, &stream->close_ready, finish_close);
}

static void stream_end(struct portable_stream *stream, struct io_close *close)
{
    CHECK(!stream->closing);
    stream->closing = true;
    stream->close = close;
    stream->receive = NULL;
    uv_close((uv_handle_t *)&stream->tcp, on_stream_closed);
}

void portable_stream_close(struct io *io, struct io_stream *base, struct io_close *close)
{
    (void)io;
    CHECK(close == NULL || close->done != NULL);
    stream_end(stream_of(base), close);
}

int portable_stream_adopt(struct portable *portable, int fd, struct io_stream **ret_stream)
{
    struct portable_stream *stream = stream_new(portable);
    int err = uv_tcp_open(&stream->tcp, fd);
    if (err != 0) {
        (void)close(fd);
        stream_end(stream, NULL);
        return err;
    }
    socket_accepted(fd, &stream->base.peer);
    *ret_stream = &stream->base;
    return 0;
}

/* ---- connecting ---- */

struct portable_connect {
    uv_connect_t request;
    struct io_connect *connect;
    struct portable_stream *stream;
    int err; /* of a connection that failed at once */
    struct io_ready ready;
};

static void finish_connect(struct portable_connect *own, int err)
{
    struct io_connect *connect = own->connect;
    struct portable_stream *stream = own->stream;
    free(own);
    connect->backend = NULL;
    if (err == 0) {
        connect->done(connect, &stream->base, 0);
        return;
    }
    if (!stream->closing) {
        stream_end(stream, NULL);
    }
    connect->done(connect, NULL, err);
}

static void on_connect(uv_connect_t *request, int err)
{
    struct portable_connect *own = CONTAINER_OF(request, struct portable_connect, request);
    portable_turn(own->stream->portable);
    finish_connect(own, own->stream->closing ? -ECANCELED : err);
}

static void on_connect_failed(struct io_ready *ready)
{
    struct portable_connect *own = CONTAINER_OF(ready, struct portable_connect, ready);
    finish_connect(own, own->err);
}

void portable_connect_start(struct io *io, struct io_connect *connect,
                            const struct io_address *address)
{
    struct portable_connect *own = memory_new(1, sizeof *own);
    own->connect = connect;
    own->stream = stream_new(portable_of(io));
    own->stream->base.peer = *address;
    connect->backend = own;
    own->err = uv_tcp_connect(&own->request, &own->stream->tcp,
                              (const struct sockaddr *)address->bytes, on_connect);
    if (own->err != 0) {
        io_ready_push(io, &own->ready, on_connect_failed);
    }
}

void portable_connect_cancel(struct io *io, struct io_connect *connect)
{
    (void)io;
    struct portable_connect *own = connect->backend;
    if (own == NULL) {
        return;
    }
    if (own->err != 0) {
        own->err = -ECANCELED;
    } else if (!own->stream->closing) {
        stream_end(own->stream, NULL);
    }
}

/* ---- receiving ---- */

static void on_allocate(uv_handle_t *handle, size_t size, uv_buf_t *ret_buffer)
{
    (void)size;
    struct portable_stream *stream = CONTAINER_OF(handle, struct portable_stream, tcp);
    uint8_t *bytes = stream->portable->receive_buffer;
    *ret_buffer = uv_buf_init((char *)bytes, PORTABLE_RECEIVE_SIZE);
}

static void on_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *buffer)
{
    struct portable_stream *stream = CONTAINER_OF(handle, struct portable_stream, tcp);
    /* 0 is libuv's way to say that there was nothing after all. */
    if (size == 0 || stream->receive == NULL) {
        return;
    }
    portable_turn(stream->portable);
    struct io_receive *receive = stream->receive;
    if (size > 0) {
        receive->done(receive, slice_of(buffer->base, (size_t)size), 0);
        return;
    }
    stream->ended = true;
    stream->receive = NULL;
    (void)uv_read_stop(handle);
    receive->done(receive, slice_of(NULL, 0), size == UV_EOF ? 0 : size);
}

void portable_receive_start(struct io *io, struct io_stream *base, struct io_receive *receive)
{
    (void)io;
    struct portable_stream *stream = stream_of(base);
    CHECK(!stream->closing);
    if (stream->ended) {
        return;
    }
    if (stream->receive == NULL) {
        int err = uv_read_start((uv_stream_t *)&stream->tcp, on_allocate, on_read);
        CHECK(err == 0);
    }
    stream->receive = receive;
}

void portable_receive_pause(struct io *io, struct io_stream *base)
{
    (void)io;
    struct portable_stream *stream = stream_of(base);
    stream->receive = NULL;
    (void)uv_read_stop((uv_stream_t *)&stream->tcp);
}

/* ---- sending ---- */

static void finish_send(struct portable_stream *stream, int64_t result)
{
    struct io_send *send = stream->send;
    stream->send = NULL;
    send->backend = NULL;
    send->done(send, result);
}

static void on_send_ready(struct io_ready *ready)
{
    struct portable_stream *stream = CONTAINER_OF(ready, struct portable_stream, send_ready);
    finish_send(stream, stream->send_result);
}

static void on_written(uv_write_t *write, int status)
{
    struct portable_stream *stream = CONTAINER_OF(write, struct portable_stream, write);
    portable_turn(stream->portable);
    finish_send(stream, status == 0 ? stream->send_total : status);
}

static unsigned buffers_of(const struct iovec *parts, size_t count,
                           uv_buf_t ret_buffers[IO_SEND_PARTS_MAX])
{
    for (size_t i = 0; i < count; i++) {
        ret_buffers[i] = (uv_buf_t){.base = parts[i].iov_base, .len = parts[i].iov_len};
    }
    return (unsigned)count;
}

/* What the socket takes at once is sent at once; libuv waits for room for the rest. */
static int64_t send_now(struct portable_stream *stream, struct io_send *send)
{
    uv_stream_t *handle = (uv_stream_t *)&stream->tcp;
    uv_buf_t buffers[IO_SEND_PARTS_MAX];
    struct iovec *parts = send->parts;
    size_t count = send->part_count;
    unsigned buffer_count = buffers_of(parts, count, buffers);
    int taken = stream->send_total == 0 ? 0 : uv_try_write(handle, buffers, buffer_count);
    if (taken < 0 && taken != -EAGAIN) {
        return taken;
    }
    parts_advance(&parts, &count, taken > 0 ? (size_t)taken : 0);
    if (count == 0) {
        return stream->send_total;
    }
    buffer_count = buffers_of(parts, count, buffers);
    int err = uv_write(&stream->write, handle, buffers, buffer_count, on_written);
    return err == 0 ? -EINPROGRESS : err;
}

void portable_send_start(struct io *io, struct io_stream *base, struct io_send *send)
{
    struct portable_stream *stream = stream_of(base);
    CHECK(!stream->closing);
    CHECK(stream->send == NULL);
    stream->send = send;
    stream->send_total = 0;
    for (size_t i = 0; i < send->part_count; i++) {
        stream->send_total += (int64_t)send->parts[i].iov_len;
    }
    send->backend = stream;
    stream->send_result = send_now(stream, send);
    if (stream->send_result != -EINPROGRESS) {
        io_ready_push(io, &stream->send_ready, on_send_ready);
    }
}
