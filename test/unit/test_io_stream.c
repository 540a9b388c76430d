/* Sending, receiving and closing through io.h, the same on every backend. */
#include "io_end.h"

#include "base/memory.h"
#include "base/prng.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

static void what_is_submitted_leaves_before_the_next_turn(void **state)
{
    struct world *world = *state;
    struct accepting *accepting = accepting_new(world->io, "127.0.0.1:0");
    int fd = raw_connect(&accepting->address);
    turn_until(world, &accepting->any);
    struct end end;
    end_init(&end, world, world->io);
    end.stream = accepting->streams[0];
    accepting->streams[0] = NULL;
    end_send(&end, "now", 3);
    io_submit(world->io);
    io_submit(world->io); /* There is nothing left to hand over. */
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 5000), 1);
    char got[4] = "";
    assert_int_equal(read(fd, got, sizeof got), 3);
    assert_string_equal(got, "now");
    assert_false(end.sent); /* Only a turn tells. */
    turn_until(world, &end.sent);
    assert_int_equal(end.sent_result, 3);
    assert_int_equal(close(fd), 0);
    end_close(&end);
    accepting_free(world->io, accepting);
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
    enum { SIZE = 32 * 1024 * 1024 };
    uint8_t *bytes = pattern_new(SIZE);
    struct end client;
    struct end server;
    local_pair(world, &client, &server);
    end_receive(&server);
    io_receive_pause(world->io, server.stream);
    end_send(&client, bytes, SIZE);
    turn_for(world, 30);
    assert_true(server.got.size <= 64 * 1024);
    /* More than the sockets' buffers hold: the sender feels the pause. */
    assert_false(client.sent);
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

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(messages_of_every_size_arrive_whole),
        cmocka_unit_test(randomly_cut_stream_comes_back_from_an_echo),
        cmocka_unit_test(parts_are_sent_in_order),
        cmocka_unit_test(send_of_nothing_completes_with_0),
        kernel_unit_test(what_is_submitted_leaves_before_the_next_turn),
        cmocka_unit_test(close_of_the_peer_is_told_once_after_the_data),
        kernel_unit_test(reset_by_the_peer_is_an_error),
        cmocka_unit_test(send_to_a_peer_that_is_gone_fails_without_a_signal),
        cmocka_unit_test(close_ends_a_send_that_the_peer_does_not_read),
        cmocka_unit_test(close_right_after_a_small_send_completes_both_in_order),
        cmocka_unit_test(stream_may_be_closed_in_its_receive),
        cmocka_unit_test(stream_may_be_closed_at_its_end),
        cmocka_unit_test(close_that_nobody_waits_for_is_allowed),
        cmocka_unit_test(paused_stream_receives_no_more_than_was_read),
        cmocka_unit_test(pause_in_each_receive_loses_nothing),
        cmocka_unit_test(end_that_comes_while_paused_is_told_after_the_resume),
    };
    return run_on_backends("io_stream", cases, sizeof cases / sizeof cases[0]);
}
