/*
 * One end of a connection, as its process sees it.
 *
 *     open ──► broken (reset, timed out, cut off) ──► closing ──► gone
 *       └─────────────────────────────────────────────▲
 *
 * Bytes that arrived before the end or the break are received first. A stream that is closed with
 * bytes unread resets the connection, as TCP does. Invariants: a closing stream has no connection;
 * of each kind of completion at most one is queued.
 */
#include "io/sim_world.h"

#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>

static struct sim_stream *stream_of(struct io_stream *stream)
{
    return CONTAINER_OF(stream, struct sim_stream, base);
}

static struct sim_pipe *pipe_in(const struct sim_stream *stream)
{
    return &stream->connection->pipes[1 - stream->side];
}

static struct sim_pipe *pipe_out(const struct sim_stream *stream)
{
    return &stream->connection->pipes[stream->side];
}

struct sim_stream *sim_stream_new(struct sim_io *io, struct sim_connection *connection, int side)
{
    CHECK(connection->ends[side] == NULL);
    struct sim_stream *stream = memory_new(1, sizeof *stream);
    list_init(&stream->node);
    stream->io = io;
    stream->connection = connection;
    stream->side = side;
    stream->base.peer = connection->addresses[1 - side];
    connection->ends[side] = stream;
    return stream;
}

/* ---- receiving ---- */

static size_t arrived(const struct sim_stream *stream)
{
    return stream->connection == NULL ? 0 : pipe_in(stream)->arrived;
}

static bool has_news(const struct sim_stream *stream)
{
    bool ended = stream->connection != NULL && pipe_in(stream)->end_arrived;
    return arrived(stream) > 0 || stream->broken != 0 || ended;
}

static void on_receive_ready(struct io_ready *ready);

static void receive_wake(struct sim_stream *stream)
{
    if (stream->receive != NULL && !stream->receive_pending && has_news(stream)) {
        stream->receive_pending = true;
        sim_ready(stream->io, &stream->receive_ready, on_receive_ready);
    }
}

static void on_receive_ready(struct io_ready *ready)
{
    struct sim_stream *stream = CONTAINER_OF(ready, struct sim_stream, receive_ready);
    struct io_receive *receive = stream->receive;
    stream->receive_pending = false;
    if (receive == NULL || !has_news(stream)) {
        return;
    }
    if (arrived(stream) > 0) {
        struct sim_io *io = stream->io;
        if (io->receive_buffer == NULL) {
            io->receive_buffer = memory_grow(NULL, SIM_RECEIVE_SIZE);
        }
        size_t size = sim_pipe_take(pipe_in(stream), io->receive_buffer, SIM_RECEIVE_SIZE);
        /* First, since the callee may close the stream. */
        receive_wake(stream);
        receive->done(receive, slice_of(io->receive_buffer, size), 0);
        return;
    }
    stream->told_end = true;
    stream->receive = NULL;
    receive->done(receive, slice_of(NULL, 0), stream->broken);
}

void sim_stream_arrival(struct sim_stream *stream)
{
    receive_wake(stream);
}

void sim_receive_start(struct io *io, struct io_stream *base, struct io_receive *receive)
{
    (void)io;
    struct sim_stream *stream = stream_of(base);
    CHECK(!stream->closing);
    if (!stream->told_end) {
        stream->receive = receive;
        receive_wake(stream);
    }
}

void sim_receive_pause(struct io *io, struct io_stream *base)
{
    (void)io;
    stream_of(base)->receive = NULL;
}

/* ---- sending ---- */

static void on_send_ready(struct io_ready *ready)
{
    struct sim_stream *stream = CONTAINER_OF(ready, struct sim_stream, send_ready);
    struct io_send *send = stream->send;
    stream->send = NULL;
    stream->send_pending = false;
    send->backend = NULL;
    send->done(send, stream->send_result);
}

static void send_finish(struct sim_stream *stream, int64_t result)
{
    CHECK(stream->send != NULL);
    CHECK(!stream->send_pending);
    stream->send_pending = true;
    stream->send_result = result;
    sim_ready(stream->io, &stream->send_ready, on_send_ready);
}

/* Sends what there is room for. */
static void send_more(struct sim_stream *stream)
{
    const struct io_send *send = stream->send;
    struct sim_pipe *pipe = pipe_out(stream);
    while (stream->send_part < send->part_count) {
        const struct iovec *part = &send->parts[stream->send_part];
        size_t left = part->iov_len - stream->send_offset;
        size_t room = sim_pipe_room(pipe);
        size_t size = left < room ? left : room;
        if (size > 0) {
            sim_pipe_send(pipe, (const uint8_t *)part->iov_base + stream->send_offset, size);
            stream->send_offset += size;
        }
        if (size < left) {
            return;
        }
        stream->send_part++;
        stream->send_offset = 0;
    }
    send_finish(stream, stream->send_total);
}

void sim_stream_room(struct sim_stream *stream)
{
    if (stream->send != NULL && !stream->send_pending) {
        send_more(stream);
    }
}

void sim_send_start(struct io *io, struct io_stream *base, struct io_send *send)
{
    (void)io;
    struct sim_stream *stream = stream_of(base);
    CHECK(!stream->closing);
    CHECK(stream->send == NULL);
    stream->send = send;
    stream->send_part = 0;
    stream->send_offset = 0;
    stream->send_total = 0;
    for (size_t i = 0; i < send->part_count; i++) {
        stream->send_total += (int64_t)send->parts[i].iov_len;
    }
    send->backend = stream;
    if (stream->broken != 0) {
        send_finish(stream, -EPIPE);
    } else {
        send_more(stream);
    }
}

/* ---- the end ---- */

void sim_stream_break(struct sim_stream *stream, int64_t error)
{
    CHECK(error < 0);
    if (stream->broken != 0) {
        return;
    }
    stream->broken = error;
    if (stream->send != NULL && !stream->send_pending) {
        send_finish(stream, error);
    }
    receive_wake(stream);
}

void sim_stream_cut_off(struct sim_stream *stream)
{
    stream->connection = NULL;
    if (stream->closing) {
        return;
    }
    if (stream->send_pending) {
        stream->send_result = -ECONNRESET;
    }
    if (stream->broken == 0) {
        sim_stream_break(stream, -ECONNRESET);
    }
}

static void on_close_ready(struct io_ready *ready)
{
    struct sim_stream *stream = CONTAINER_OF(ready, struct sim_stream, close_ready);
    CHECK(stream->send == NULL);
    struct io_close *close = stream->close;
    list_remove(&stream->node);
    free(stream);
    if (close != NULL) {
        close->done(close);
    }
}

static void leave_connection(struct sim_stream *stream)
{
    struct sim_connection *connection = stream->connection;
    bool unread = arrived(stream) > 0;
    connection->ends[stream->side] = NULL;
    if (unread) {
        sim_pipe_reset(pipe_out(stream));
    } else {
        sim_pipe_end(pipe_out(stream));
    }
    stream->connection = NULL;
    sim_connection_release(connection);
}

void sim_stream_close(struct io *io, struct io_stream *base, struct io_close *close)
{
    (void)io;
    struct sim_stream *stream = stream_of(base);
    CHECK(!stream->closing);
    CHECK(close == NULL || close->done != NULL);
    stream->closing = true;
    stream->close = close;
    stream->receive = NULL;
    if (stream->receive_pending) {
        list_remove(&stream->receive_ready.node);
        stream->receive_pending = false;
    }
    if (stream->connection != NULL) {
        leave_connection(stream);
    }
    if (stream->send != NULL && !stream->send_pending) {
        send_finish(stream, -ECANCELED);
    }
    sim_ready(stream->io, &stream->close_ready, on_close_ready);
}
