/*
 *                 connection_open          on_connected
 *        ┌──► IDLE ───────────► CONNECTING ────────────► OPEN
 *        │                          │                     │
 *        │ on_connected (failed,    │ connection_close,   │ connection_close,
 *        │ cancelled), on_closed    │ on_connected        │ broken, bad bytes
 *        │                          ▼                     │
 *        └─────────────────────── CLOSING ◄───────────────┘
 *
 * `closed` is told on the way into CLOSING, before the socket is gone, so that the owner can move
 * on at once. A connect that failed passes through CLOSING without staying there.
 */
#include "client/connection.h"

#include <stdio.h>

enum { BUFFER_KEPT_MAX = 256 * 1024 }; /* an empty buffer that is larger is given back */

static void become_idle(struct connection *connection)
{
    connection->state = CONNECTION_IDLE;
    connection->stream = NULL;
    connection->events->idle(connection);
}

static void on_closed(struct io_close *close)
{
    become_idle(CONTAINER_OF(close, struct connection, close));
}

/* Enters CLOSING and tells the owner. */
static void leave(struct connection *connection, const char *reason)
{
    CHECK(connection->state == CONNECTION_CONNECTING || connection->state == CONNECTION_OPEN);
    (void)snprintf(connection->trouble, sizeof connection->trouble, "%s", reason);
    connection->state = CONNECTION_CLOSING;
    connection->events->closed(connection);
}

static void close_stream(struct connection *connection)
{
    connection->close.done = on_closed;
    io_stream_close(connection->io, connection->stream, &connection->close);
}

void connection_close(struct connection *connection, const char *reason)
{
    if (connection->state == CONNECTION_CONNECTING) {
        io_connect_cancel(connection->io, &connection->connect);
        leave(connection, reason);
    } else if (connection->state == CONNECTION_OPEN) {
        close_stream(connection);
        leave(connection, reason);
    }
}

/* ---- receiving ---- */

static void fail(struct connection *connection, int err)
{
    char reason[sizeof connection->trouble];
    (void)snprintf(reason, sizeof reason, "sent what is no answer: %s", kvapp_err_sentence(err));
    connection_close(connection, reason);
}

/* Hands out every whole frame at the front of `bytes`; returns the size of them all. */
static size_t take_frames(struct connection *connection, struct slice bytes)
{
    size_t taken = 0;
    while (connection->state == CONNECTION_OPEN) {
        struct frame frame;
        size_t size = 0;
        int err = frame_decode(slice_of(bytes.data + taken, bytes.size - taken), &frame, &size);
        if (err == KV_ERR_INCOMPLETE) {
            break;
        }
        if (err == 0) {
            connection->heard = true;
            taken += size;
            err = connection->events->received(connection, &frame);
        }
        if (err != 0) {
            fail(connection, err);
        }
    }
    return taken;
}

static void on_received(struct io_receive *receive, struct slice bytes, int64_t result)
{
    struct connection *connection = CONTAINER_OF(receive, struct connection, receive);
    if (connection->state != CONNECTION_OPEN) {
        return;
    }
    if (result < 0) {
        connection_close(connection, io_error_sentence(result));
        return;
    }
    if (bytes.size == 0) {
        connection_close(connection, "the server closed the connection");
        return;
    }
    struct buf *in = &connection->in;
    if (in->size == 0) {
        size_t taken = take_frames(connection, bytes);
        buf_append(in, bytes.data + taken, bytes.size - taken);
        return;
    }
    buf_append_slice(in, bytes);
    buf_consume(in, take_frames(connection, buf_slice(in)));
    buf_shrink(in, BUFFER_KEPT_MAX);
}

/* ---- sending ---- */

static void on_sent(struct io_send *send, int64_t result)
{
    struct connection *connection = CONTAINER_OF(send, struct connection, send);
    connection->sending = false;
    buf_clear(&connection->out);
    buf_shrink(&connection->out, BUFFER_KEPT_MAX);
    if (connection->state != CONNECTION_OPEN) {
        return;
    }
    if (result < 0) {
        connection_close(connection, io_error_sentence(result));
        return;
    }
    connection->events->sent(connection);
}

void connection_send(struct connection *connection)
{
    CHECK(connection->state == CONNECTION_OPEN);
    CHECK(!connection->sending);
    if (connection->out.size == 0) {
        return;
    }
    connection->sending = true;
    connection->send.done = on_sent;
    connection->send.parts[0] =
        (struct iovec){.iov_base = connection->out.data, .iov_len = connection->out.size};
    connection->send.part_count = 1;
    io_send_start(connection->io, connection->stream, &connection->send);
}

/* ---- opening ---- */

static void on_connected(struct io_connect *connect, struct io_stream *stream, int64_t result)
{
    struct connection *connection = CONTAINER_OF(connect, struct connection, connect);
    connection->stream = stream;
    if (connection->state == CONNECTION_CLOSING && stream != NULL) {
        close_stream(connection); /* made in the moment in which it was given up */
        return;
    }
    if (stream == NULL) {
        if (connection->state == CONNECTION_CONNECTING) {
            leave(connection, io_error_sentence(result));
        }
        become_idle(connection);
        return;
    }
    connection->state = CONNECTION_OPEN;
    connection->receive.done = on_received;
    io_receive_start(connection->io, stream, &connection->receive);
    connection->events->opened(connection);
}

void connection_open(struct connection *connection)
{
    CHECK(connection->state == CONNECTION_IDLE);
    CHECK(!connection->sending);
    if (connection->trouble[0] != '\0') {
        /* A name may have moved since; when it no longer resolves, where it pointed is tried. */
        (void)io_resolve(connection->io, connection->address, &connection->resolved);
    }
    buf_clear(&connection->in);
    buf_clear(&connection->out);
    connection->state = CONNECTION_CONNECTING;
    connection->heard = false;
    connection->connect.done = on_connected;
    io_connect_start(connection->io, &connection->connect, &connection->resolved);
}

/* ---- life ---- */

void connection_init(struct connection *connection, struct io *io, const char *address,
                     const struct io_address *resolved, const struct connection_events *events)
{
    CHECK(strlen(address) < ADDRESS_SIZE_MAX);
    *connection = (struct connection){.io = io, .events = events, .resolved = *resolved};
    (void)snprintf(connection->address, sizeof connection->address, "%s", address);
}

void connection_done(struct connection *connection)
{
    CHECK(connection->state == CONNECTION_IDLE);
    buf_done(&connection->in);
    buf_done(&connection->out);
}
