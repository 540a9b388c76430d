/* TCP streams through io.h, the same on every backend. */
#include "io_world.h"

#include "base/memory.h"
#include "base/prng.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- one end of a connection ---- */

struct end {
    struct world *world;
    struct io *io;
    struct io_stream *stream;
    struct io_connect connect;
    bool connected;
    int64_t connect_result;
    struct io_receive receive;
    struct buf got;
    size_t pieces;
    bool pause_each; /* pause after each piece */
    bool close_in_receive;
    bool ended; /* the end or an error came */
    int64_t end_result;
    struct io_send send;
    bool sent;
    int64_t sent_result;
    struct io_close close;
    bool closed;
};

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

static void end_init(struct end *end, struct world *world, struct io *io)
{
    *end = (struct end){.world = world,
                        .io = io,
                        .connect = {.done = on_connected},
                        .receive = {.done = on_received},
                        .send = {.done = on_sent},
                        .close = {.done = on_closed}};
}

static void end_send(struct end *end, const void *bytes, size_t size)
{
    end->sent = false;
    end->send.parts[0] = (struct iovec){.iov_base = (void *)bytes, .iov_len = size};
    end->send.part_count = 1;
    io_send_start(end->io, end->stream, &end->send);
    assert_false(end->sent);
}

static void end_receive(struct end *end)
{
    size_t pieces = end->pieces;
    io_receive_start(end->io, end->stream, &end->receive);
    assert_int_equal(end->pieces, pieces);
}

static void end_close(struct end *end)
{
    if (end->stream != NULL) {
        io_stream_close(end->io, end->stream, &end->close);
        assert_false(end->closed);
        turn_until(end->world, &end->closed);
    }
    buf_done(&end->got);
}

static void receive_bytes(struct end *end, size_t size)
{
    for (int i = 0; i < 100000 && end->got.size < size && !end->ended; i++) {
        assert_int_equal(io_run(end->io, io_now_us(end->io) + 10000), 0);
    }
    assert_int_equal(end->got.size, size);
}

/* ---- a listener that keeps what it accepts ---- */

enum { ACCEPTED_MAX = 600 };

struct accepting {
    struct io_accept accept;
    struct io_listener *listener;
    struct io_address address;
    struct io_stream *streams[ACCEPTED_MAX];
    size_t count;
    size_t errors;
    int64_t error;
    bool any;
    bool failed;
};

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

static int listen_on(struct io *io, struct accepting *accepting, const char *host_port)
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

static struct accepting *accepting_new(struct io *io, const char *host_port)
{
    struct accepting *accepting = memory_new(1, sizeof *accepting);
    assert_int_equal(listen_on(io, accepting, host_port), 0);
    return accepting;
}

static void accepting_free(struct io *io, struct accepting *accepting)
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

/* Two ends that are connected to each other, on one io. */
static void connect_pair(struct world *world, const char *host_port, struct end *client,
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

static void local_pair(struct world *world, struct end *client, struct end *server)
{
    connect_pair(world, "127.0.0.1:0", client, server);
}

/* A plain blocking socket connected to the address, for what io.h cannot do by itself. */
static int raw_connect(const struct io_address *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)address->bytes, address->size), 0);
    return fd;
}

static uint8_t *pattern_new(size_t size)
{
    uint8_t *bytes = memory_new(1, size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 251 + i / 65536);
    }
    return bytes;
}

/* ---- sending and receiving ---- */

static void messages_of_every_size_arrive_whole(void **state)
{
    struct world *world = *state;
    static const size_t sizes[] = {1, 2, 100, 4096, 65535, 65536, 65537, 1 << 20, 5000001};
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    end_receive(&server);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *bytes = pattern_new(sizes[i]);
        buf_clear(&server.got);
        end_send(&client, bytes, sizes[i]);
        receive_bytes(&server, sizes[i]);
        if (!client.sent) {
            turn_until(world, &client.sent);
        }
        assert_int_equal(client.sent_result, sizes[i]);
        assert_memory_equal(server.got.data, bytes, sizes[i]);
        free(bytes);
    }
    end_close(&client);
    end_close(&server);
}

/* Sends what has arrived and was not sent yet. */
static void echo_more(struct end *end, size_t *echoed, struct buf *sending)
{
    if (!end->sent || end->got.size == *echoed) {
        return;
    }
    buf_clear(sending);
    buf_append(sending, end->got.data + *echoed, end->got.size - *echoed);
    *echoed = end->got.size;
    end_send(end, sending->data, sending->size);
}

static void randomly_cut_stream_comes_back_from_an_echo(void **state)
{
    struct world *world = *state;
    enum { SIZE = 4 * 1024 * 1024 };
    struct prng prng;
    prng_init(&prng, 7);
    uint8_t *bytes = pattern_new(SIZE);
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    struct buf sending = {0};
    size_t given = 0;
    size_t echoed = 0;
    client.sent = true;
    server.sent = true;
    end_receive(&client);
    end_receive(&server);
    for (int i = 0; i < 1000000 && client.got.size < SIZE; i++) {
        if (client.sent && given < SIZE) {
            size_t size = prng_between(&prng, 1, prng_chance(&prng, 1, 2) ? 200 : 200000);
            size = size < SIZE - given ? size : SIZE - given;
            end_send(&client, bytes + given, size);
            given += size;
        }
        echo_more(&server, &echoed, &sending);
        assert_int_equal(io_run(world->io, io_now_us(world->io) + 10000), 0);
    }
    assert_int_equal(client.got.size, SIZE);
    assert_memory_equal(client.got.data, bytes, SIZE);
    buf_done(&sending);
    free(bytes);
    end_close(&client);
    end_close(&server);
}

static void parts_are_sent_in_order(void **state)
{
    struct world *world = *state;
    enum { SIZE = 3000000 };
    uint8_t *bytes = pattern_new(SIZE);
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    static const size_t sizes[IO_SEND_PARTS_MAX] = {1, 0, 70000, 2, 1500000, 0, 3, 1429994};
    size_t at = 0;
    for (size_t i = 0; i < IO_SEND_PARTS_MAX; i++) {
        client.send.parts[i] = (struct iovec){.iov_base = bytes + at, .iov_len = sizes[i]};
        at += sizes[i];
    }
    assert_int_equal(at, SIZE);
    client.send.part_count = IO_SEND_PARTS_MAX;
    io_send_start(world->io, client.stream, &client.send);
    assert_false(client.sent);
    end_receive(&server);
    receive_bytes(&server, SIZE);
    turn_until(world, &client.sent);
    assert_int_equal(client.sent_result, SIZE);
    assert_memory_equal(server.got.data, bytes, SIZE);
    free(bytes);
    end_close(&client);
    end_close(&server);
}

static void send_of_nothing_completes_with_0(void **state)
{
    struct world *world = *state;
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    end_send(&client, "", 0);
    turn_until(world, &client.sent);
    assert_int_equal(client.sent_result, 0);
    client.sent = false;
    client.send.part_count = 0;
    io_send_start(world->io, client.stream, &client.send);
    turn_until(world, &client.sent);
    assert_int_equal(client.sent_result, 0);
    end_close(&client);
    end_close(&server);
}

/* ---- how connections end ---- */

static void close_of_the_peer_is_told_once_after_the_data(void **state)
{
    struct world *world = *state;
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    end_send(&client, "last words", 10);
    turn_until(world, &client.sent);
    end_close(&client);
    end_receive(&server);
    turn_until(world, &server.ended);
    assert_int_equal(server.end_result, 0);
    assert_int_equal(server.got.size, 10);
    io_receive_start(world->io, server.stream, &server.receive);
    turn_for(world, 20);
    end_close(&server);
}

static void reset_by_the_peer_is_an_error(void **state)
{
    struct world *world = *state;
    struct accepting *accepting = accepting_new(world->io, "127.0.0.1:0");
    int fd = raw_connect(&accepting->address);
    turn_until(world, &accepting->any);
    struct end server;
    end_init(&server, world, world->io);
    server.stream = accepting->streams[0];
    accepting->streams[0] = NULL;
    end_receive(&server);
    turn_for(world, 5);
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    assert_int_equal(close(fd), 0);
    turn_until(world, &server.ended);
    assert_int_equal(server.end_result, -ECONNRESET);
    end_close(&server);
    accepting_free(world->io, accepting);
}

static void send_to_a_peer_that_is_gone_fails_without_a_signal(void **state)
{
    struct world *world = *state;
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    end_close(&server);
    client.sent_result = 0;
    for (int i = 0; i < 100 && client.sent_result >= 0; i++) {
        end_send(&client, "x", 1);
        turn_until(world, &client.sent);
        turn_for(world, 1);
    }
    assert_true(client.sent_result == -EPIPE || client.sent_result == -ECONNRESET);
    end_close(&client);
}

static void close_ends_a_send_that_the_peer_does_not_read(void **state)
{
    struct world *world = *state;
    enum { SIZE = 64 * 1024 * 1024 };
    uint8_t *bytes = memory_new(1, SIZE);
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    end_receive(&client);
    end_send(&client, bytes, SIZE);
    turn_for(world, 30);
    assert_false(client.sent);
    io_stream_close(world->io, client.stream, &client.close);
    assert_false(client.sent);
    turn_until(world, &client.closed);
    assert_true(client.sent);
    assert_int_equal(client.sent_result, -ECANCELED);
    end_close(&client);
    end_close(&server);
    free(bytes);
}

static void close_right_after_a_small_send_completes_both_in_order(void **state)
{
    struct world *world = *state;
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    end_send(&client, "abc", 3);
    io_stream_close(world->io, client.stream, &client.close);
    assert_false(client.sent || client.closed);
    turn_until(world, &client.closed);
    assert_true(client.sent);
    assert_true(client.sent_result == 3 || client.sent_result == -ECANCELED);
    end_close(&client);
    end_close(&server);
}

static void stream_may_be_closed_in_its_receive(void **state)
{
    struct world *world = *state;
    enum { SIZE = 1000000 };
    uint8_t *bytes = pattern_new(SIZE);
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    server.close_in_receive = true;
    end_receive(&server);
    end_send(&client, bytes, SIZE);
    turn_until(world, &server.closed);
    assert_int_equal(server.pieces, 1);
    if (!client.sent) {
        turn_until(world, &client.sent);
    }
    end_close(&client);
    end_close(&server);
    free(bytes);
}

static void stream_may_be_closed_at_its_end(void **state)
{
    struct world *world = *state;
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    server.close_in_receive = true;
    end_receive(&server);
    end_close(&client);
    turn_until(world, &server.closed);
    assert_true(server.ended);
    end_close(&server);
}

static void close_that_nobody_waits_for_is_allowed(void **state)
{
    struct world *world = *state;
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    end_receive(&client);
    end_receive(&server);
    io_stream_close(world->io, client.stream, NULL);
    turn_until(world, &server.ended);
    io_stream_close(world->io, server.stream, NULL);
}

/* ---- back-pressure ---- */

static void paused_stream_receives_no_more_than_was_read(void **state)
{
    struct world *world = *state;
    enum { SIZE = 1024 * 1024 };
    uint8_t *bytes = pattern_new(SIZE);
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    end_receive(&server);
    io_receive_pause(world->io, server.stream);
    end_send(&client, bytes, SIZE);
    turn_for(world, 30);
    assert_true(server.got.size <= 64 * 1024);
    end_receive(&server);
    receive_bytes(&server, SIZE);
    assert_memory_equal(server.got.data, bytes, SIZE);
    end_close(&client);
    end_close(&server);
    free(bytes);
}

static void pause_in_each_receive_loses_nothing(void **state)
{
    struct world *world = *state;
    enum { SIZE = 1024 * 1024 };
    uint8_t *bytes = pattern_new(SIZE);
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    server.pause_each = true;
    end_send(&client, bytes, SIZE);
    for (int i = 0; i < 10000 && server.got.size < SIZE; i++) {
        size_t before = server.got.size;
        end_receive(&server);
        assert_int_equal(io_run(world->io, io_now_us(world->io) + 10000), 0);
        assert_int_equal(io_run(world->io, 0), 0);
        assert_true(server.got.size - before <= 128 * 1024);
    }
    assert_int_equal(server.got.size, SIZE);
    assert_memory_equal(server.got.data, bytes, SIZE);
    end_close(&client);
    end_close(&server);
    free(bytes);
}

static void end_that_comes_while_paused_is_told_after_the_resume(void **state)
{
    struct world *world = *state;
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    end_receive(&server);
    turn_for(world, 2);
    io_receive_pause(world->io, server.stream);
    turn_for(world, 2);
    end_close(&client);
    turn_for(world, 20);
    end_receive(&server);
    turn_until(world, &server.ended);
    assert_int_equal(server.end_result, 0);
    end_close(&server);
}

/* ---- connecting and listening ---- */

static void many_connections_at_once(void **state)
{
    struct world *world = *state;
    enum { COUNT = 500 };
    struct accepting *accepting = accepting_new(world->io, "127.0.0.1:0");
    struct end *clients = memory_new(COUNT, sizeof *clients);
    struct end *servers = memory_new(COUNT, sizeof *servers);
    for (int i = 0; i < COUNT; i++) {
        end_init(&clients[i], world, world->io);
        io_connect_start(world->io, &clients[i].connect, &accepting->address);
    }
    for (int i = 0; i < 1000 && accepting->count < COUNT; i++) {
        assert_int_equal(io_run(world->io, io_now_us(world->io) + 10000), 0);
    }
    assert_int_equal(accepting->count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        if (!clients[i].connected) {
            turn_until(world, &clients[i].connected);
        }
        assert_int_equal(clients[i].connect_result, 0);
        end_init(&servers[i], world, world->io);
        servers[i].stream = accepting->streams[i];
        accepting->streams[i] = NULL;
        end_receive(&servers[i]);
        end_send(&clients[i], "ping", 4);
    }
    for (int i = 0; i < COUNT; i++) {
        receive_bytes(&servers[i], 4);
    }
    for (int i = 0; i < COUNT; i++) {
        end_close(&clients[i]);
        end_close(&servers[i]);
    }
    accepting_free(world->io, accepting);
    free(clients);
    free(servers);
}

static void refused_connection_says_so(void **state)
{
    struct world *world = *state;
    struct accepting *accepting = accepting_new(world->io, "127.0.0.1:0");
    struct io_address address = accepting->address;
    accepting_free(world->io, accepting);
    assert_int_equal(io_run(world->io, 0), 0);
    struct end client;
    end_init(&client, world, world->io);
    io_connect_start(world->io, &client.connect, &address);
    assert_false(client.connected);
    turn_until(world, &client.connected);
    assert_int_equal(client.connect_result, -ECONNREFUSED);
    client.connected = false;
    io_connect_start(world->io, &client.connect, &address);
    turn_until(world, &client.connected);
    assert_int_equal(client.connect_result, -ECONNREFUSED);
}

/* A listener whose queue is full answers no further connection: it hangs until it is cancelled. */
static void connection_that_hangs_can_be_cancelled(void **state)
{
    struct world *world = *state;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(listener, 0), 0);
    struct io_address address = {.size = sizeof in};
    socklen_t size = sizeof in;
    assert_int_equal(getsockname(listener, (struct sockaddr *)&in, &size), 0);
    memcpy(address.bytes, &in, sizeof in);
    enum { COUNT = 4 };
    struct end ends[COUNT];
    for (int i = 0; i < COUNT; i++) {
        end_init(&ends[i], world, world->io);
        io_connect_start(world->io, &ends[i].connect, &address);
    }
    turn_for(world, 50);
    assert_false(ends[COUNT - 1].connected);
    for (int i = 0; i < COUNT; i++) {
        bool hanging = !ends[i].connected;
        io_connect_cancel(world->io, &ends[i].connect);
        assert_true(hanging == !ends[i].connected);
        if (hanging) {
            turn_until(world, &ends[i].connected);
            assert_int_equal(ends[i].connect_result, -ECANCELED);
        }
        end_close(&ends[i]);
    }
    assert_int_equal(close(listener), 0);
}

static void connection_cancelled_at_once_completes_once(void **state)
{
    struct world *world = *state;
    struct accepting *accepting = accepting_new(world->io, "127.0.0.1:0");
    struct end client;
    end_init(&client, world, world->io);
    io_connect_start(world->io, &client.connect, &accepting->address);
    io_connect_cancel(world->io, &client.connect);
    io_connect_cancel(world->io, &client.connect);
    assert_false(client.connected);
    turn_until(world, &client.connected);
    assert_true(client.connect_result == 0 || client.connect_result == -ECANCELED);
    turn_for(world, 10);
    end_close(&client);
    accepting_free(world->io, accepting);
}

static void port_in_use_is_refused_and_free_after_close(void **state)
{
    struct world *world = *state;
    struct accepting *first = accepting_new(world->io, "127.0.0.1:0");
    struct accepting *second = memory_new(1, sizeof *second);
    char text[32];
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", io_listener_port(first->listener));
    assert_int_equal(listen_on(world->io, second, text), -EADDRINUSE);
    struct end client;
    end_init(&client, world, world->io);
    io_connect_start(world->io, &client.connect, &first->address);
    turn_until(world, &client.connected);
    accepting_free(world->io, first);
    turn_for(world, 2);
    assert_int_equal(listen_on(world->io, second, text), 0);
    end_close(&client);
    accepting_free(world->io, second);
}

static void full_table_of_descriptors_only_pauses_the_listener(void **state)
{
    struct world *world = *state;
    struct accepting *accepting = accepting_new(world->io, "127.0.0.1:0");
    int client = raw_connect(&accepting->address);
    int spare = dup(client);
    assert_true(spare >= 0);
    assert_int_equal(close(spare), 0);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit limit = {.rlim_cur = (rlim_t)spare, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < 30; i++) {
        (void)io_run(world->io, io_now_us(world->io) + 10000);
    }
    size_t errors = accepting->errors;
    size_t count = accepting->count;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(count, 0);
    assert_int_equal(accepting->error, -EMFILE);
    assert_true(errors >= 1 && errors <= 5);
    turn_until(world, &accepting->any);
    assert_int_equal(close(client), 0);
    accepting_free(world->io, accepting);
}

static void closed_listener_calls_nobody(void **state)
{
    struct world *world = *state;
    struct accepting *accepting = accepting_new(world->io, "127.0.0.1:0");
    int client = raw_connect(&accepting->address);
    accepting_free(world->io, accepting);
    turn_for(world, 10);
    assert_int_equal(close(client), 0);
}

static void ipv6_works_where_the_system_has_it(void **state)
{
    struct world *world = *state;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool usable = probe >= 0 && bind(probe, (struct sockaddr *)&in6, sizeof in6) == 0;
    if (probe >= 0) {
        (void)close(probe);
    }
    if (!usable) {
        return;
    }
    struct end client;
    struct end server;
    connect_pair(world, "[::1]:0", &client, &server);
    char text[ADDRESS_SIZE_MAX];
    io_stream_peer(server.stream, text);
    assert_memory_equal(text, "[::1]:", 6);
    end_receive(&server);
    end_send(&client, "six", 3);
    receive_bytes(&server, 3);
    end_close(&client);
    end_close(&server);
}

static void peer_is_named_at_both_ends(void **state)
{
    struct world *world = *state;
    struct accepting *accepting = accepting_new(world->io, "127.0.0.1:0");
    struct end client;
    end_init(&client, world, world->io);
    io_connect_start(world->io, &client.connect, &accepting->address);
    turn_until(world, &client.connected);
    if (!accepting->any) {
        turn_until(world, &accepting->any);
    }
    char expected[64];
    char text[ADDRESS_SIZE_MAX];
    (void)snprintf(expected, sizeof expected, "127.0.0.1:%u",
                   io_listener_port(accepting->listener));
    io_stream_peer(client.stream, text);
    assert_string_equal(text, expected);
    io_stream_peer(accepting->streams[0], text);
    assert_memory_equal(text, "127.0.0.1:", 10);
    assert_string_not_equal(text, expected);
    end_close(&client);
    accepting_free(world->io, accepting);
}

static void two_ios_in_one_thread_talk_to_each_other(void **state)
{
    struct world *world = *state;
    char reason[200];
    struct io *other = NULL;
    assert_int_equal(io_new(world->backend, reason, sizeof reason, &other), 0);
    struct accepting *accepting = accepting_new(other, "127.0.0.1:0");
    struct end client;
    struct end server;
    end_init(&client, world, world->io);
    end_init(&server, world, other);
    io_connect_start(world->io, &client.connect, &accepting->address);
    for (int i = 0; i < 10000 && !(client.connected && accepting->any); i++) {
        assert_int_equal(io_run(world->io, io_now_us(world->io) + 100), 0);
        assert_int_equal(io_run(other, io_now_us(other) + 100), 0);
    }
    assert_int_equal(client.connect_result, 0);
    server.stream = accepting->streams[0];
    accepting->streams[0] = NULL;
    end_receive(&server);
    end_send(&client, "across", 6);
    for (int i = 0; i < 10000 && server.got.size < 6; i++) {
        assert_int_equal(io_run(world->io, io_now_us(world->io) + 100), 0);
        assert_int_equal(io_run(other, io_now_us(other) + 100), 0);
    }
    assert_memory_equal(server.got.data, "across", 6);
    io_stream_close(other, server.stream, NULL);
    buf_done(&server.got);
    accepting_free(other, accepting);
    io_free(other);
    end_close(&client);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(messages_of_every_size_arrive_whole),
        cmocka_unit_test(randomly_cut_stream_comes_back_from_an_echo),
        cmocka_unit_test(parts_are_sent_in_order),
        cmocka_unit_test(send_of_nothing_completes_with_0),
        cmocka_unit_test(close_of_the_peer_is_told_once_after_the_data),
        cmocka_unit_test(reset_by_the_peer_is_an_error),
        cmocka_unit_test(send_to_a_peer_that_is_gone_fails_without_a_signal),
        cmocka_unit_test(close_ends_a_send_that_the_peer_does_not_read),
        cmocka_unit_test(close_right_after_a_small_send_completes_both_in_order),
        cmocka_unit_test(stream_may_be_closed_in_its_receive),
        cmocka_unit_test(stream_may_be_closed_at_its_end),
        cmocka_unit_test(close_that_nobody_waits_for_is_allowed),
        cmocka_unit_test(paused_stream_receives_no_more_than_was_read),
        cmocka_unit_test(pause_in_each_receive_loses_nothing),
        cmocka_unit_test(end_that_comes_while_paused_is_told_after_the_resume),
        cmocka_unit_test(many_connections_at_once),
        cmocka_unit_test(refused_connection_says_so),
        cmocka_unit_test(connection_that_hangs_can_be_cancelled),
        cmocka_unit_test(connection_cancelled_at_once_completes_once),
        cmocka_unit_test(port_in_use_is_refused_and_free_after_close),
        cmocka_unit_test(full_table_of_descriptors_only_pauses_the_listener),
        cmocka_unit_test(closed_listener_calls_nobody),
        cmocka_unit_test(ipv6_works_where_the_system_has_it),
        cmocka_unit_test(peer_is_named_at_both_ends),
        cmocka_unit_test(two_ios_in_one_thread_talk_to_each_other),
    };
    return run_on_backends("io_stream", cases, sizeof cases / sizeof cases[0]);
}
