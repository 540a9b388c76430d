#include "io_end.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- one end of a connection ---- */

static void on_connected(struct io_connect *connect, struct io_stream *stream, int64_t result)
{
    struct end *end = CONTAINER_OF(connect, struct end, connect);
    assert_false(end->connected);
    assert_true((stream != NULL) == (result == 0));
    end->connected = true;
    end->connect_result = result;
    end->stream = stream;
}

static void on_closed(struct io_close *close)
{
    struct end *end = CONTAINER_OF(close, struct end, close);
    assert_false(end->closed);
    end->closed = true;
    end->stream = NULL;
}

static void on_received(struct io_receive *receive, struct slice bytes, int64_t result)
{
    struct end *end = CONTAINER_OF(receive, struct end, receive);
    assert_false(end->ended);
    assert_non_null(end->stream);
    if (bytes.size > 0) {
        assert_int_equal(result, 0);
        buf_append_slice(&end->got, bytes);
        end->pieces++;
    } else {
        end->ended = true;
        end->end_result = result;
    }
    if (end->pause_each) {
        io_receive_pause(end->io, end->stream);
    }
    if (end->close_in_receive) {
        io_stream_close(end->io, end->stream, &end->close);
        end->stream = NULL;
    }
}

static void on_sent(struct io_send *send, int64_t result)
{
    struct end *end = CONTAINER_OF(send, struct end, send);
    assert_false(end->sent);
    assert_false(end->closed);
    end->sent = true;
    end->sent_result = result;
}

void end_init(struct end *end, struct world *world, struct io *io)
{
    *end = (struct end){.world = world,
                        .io = io,
                        .connect = {.done = on_connected},
                        .receive = {.done = on_received},
                        .send = {.done = on_sent},
                        .close = {.done = on_closed}};
}

void end_send(struct end *end, const void *bytes, size_t size)
{
    end->sent = false;
    end->send.parts[0] = (struct iovec){.iov_base = (void *)bytes, .iov_len = size};
    end->send.part_count = 1;
    io_send_start(end->io, end->stream, &end->send);
    assert_false(end->sent);
}

void end_receive(struct end *end)
{
    size_t pieces = end->pieces;
    io_receive_start(end->io, end->stream, &end->receive);
    assert_int_equal(end->pieces, pieces);
}

void end_close(struct end *end)
{
    if (end->stream != NULL) {
        io_stream_close(end->io, end->stream, &end->close);
        assert_false(end->closed);
        turn_until(end->world, &end->closed);
    }
    buf_done(&end->got);
}

void receive_bytes(struct end *end, size_t size)
{
    for (int i = 0; i < 100000 && end->got.size < size && !end->ended; i++) {
        assert_int_equal(io_run(end->io, io_now_us(end->io) + 10000), 0);
    }
    assert_int_equal(end->got.size, size);
}

/* ---- a listener that keeps what it accepts ---- */

static void on_accepted(struct io_accept *accept, struct io_stream *stream, int64_t error)
{
    struct accepting *accepting = CONTAINER_OF(accept, struct accepting, accept);
    assert_non_null(accepting->listener);
    assert_true((stream == NULL) == (error < 0));
    if (stream == NULL) {
        accepting->error = error;
        accepting->errors++;
        accepting->failed = true;
        return;
    }
    assert_true(accepting->count < ACCEPTED_MAX);
    accepting->streams[accepting->count++] = stream;
    accepting->any = true;
}

int listen_on(struct io *io, struct accepting *accepting, const char *host_port)
{
    accepting->accept.done = on_accepted;
    assert_int_equal(io_resolve(io, host_port, &accepting->address), 0);
    int err = io_listen(io, &accepting->address, &accepting->accept, &accepting->listener);
    if (err == 0) {
        struct sockaddr_in in;
        memcpy(&in, accepting->address.bytes, sizeof in);
        in.sin_port = htons(io_listener_port(accepting->listener));
        assert_int_not_equal(in.sin_port, 0);
        memcpy(accepting->address.bytes, &in, sizeof in);
    }
    return err;
}

struct accepting *accepting_new(struct io *io, const char *host_port)
{
    struct accepting *accepting = memory_new(1, sizeof *accepting);
    assert_int_equal(listen_on(io, accepting, host_port), 0);
    return accepting;
}

void accepting_free(struct io *io, struct accepting *accepting)
{
    struct io_listener *listener = accepting->listener;
    accepting->listener = NULL;
    io_listener_close(io, listener);
    for (size_t i = 0; i < accepting->count; i++) {
        if (accepting->streams[i] != NULL) {
            io_stream_close(io, accepting->streams[i], NULL);
        }
    }
    free(accepting);
}

void connect_pair(struct world *world, const char *host_port, struct end *client,
                  struct end *server)
{
    end_init(client, world, world->io);
    end_init(server, world, world->io);
    struct accepting *accepting = accepting_new(world->io, host_port);
    io_connect_start(world->io, &client->connect, &accepting->address);
    assert_false(client->connected);
    turn_until(world, &client->connected);
    assert_int_equal(client->connect_result, 0);
    if (!accepting->any) {
        turn_until(world, &accepting->any);
    }
    server->stream = accepting->streams[0];
    accepting->streams[0] = NULL;
    assert_int_equal(accepting->count, 1);
    accepting_free(world->io, accepting);
}

void local_pair(struct world *world, struct end *client, struct end *server)
{
    connect_pair(world, "127.0.0.1:0", client, server);
}

int raw_connect(const struct io_address *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)address->bytes, address->size), 0);
    return fd;
}

uint8_t *pattern_new(size_t size)
{
    uint8_t *bytes = memory_new(1, size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 251 + i / 65536);
    }
    return bytes;
}
