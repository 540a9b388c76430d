/* Connecting and listening through io.h, the same on every backend. */
#include "io_end.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

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
    uint64_t start_us = io_now_us(world->io);
    for (int i = 0; i < 30; i++) {
        (void)io_run(world->io, io_now_us(world->io) + 10000);
    }
    uint64_t pauses = (io_now_us(world->io) - start_us) / 100000;
    size_t errors = accepting->errors;
    size_t count = accepting->count;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(count, 0);
    assert_int_equal(accepting->error, -EMFILE);
    assert_true(errors >= 1 && errors <= pauses + 1);
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
        cmocka_unit_test(many_connections_at_once),
        cmocka_unit_test(refused_connection_says_so),
        kernel_unit_test(connection_that_hangs_can_be_cancelled),
        cmocka_unit_test(connection_cancelled_at_once_completes_once),
        cmocka_unit_test(port_in_use_is_refused_and_free_after_close),
        kernel_unit_test(full_table_of_descriptors_only_pauses_the_listener),
        kernel_unit_test(closed_listener_calls_nobody),
        cmocka_unit_test(ipv6_works_where_the_system_has_it),
        cmocka_unit_test(peer_is_named_at_both_ends),
        kernel_unit_test(two_ios_in_one_thread_talk_to_each_other),
    };
    return run_on_backends("io_connect", cases, sizeof cases / sizeof cases[0]);
}
