/*
 * Everything at once, by chance: pairs of streams that send, pause, resume and close in any order,
 * from callbacks and from outside, next to connections that are cancelled and to file operations.
 * Every byte has a value given by its stream and its place, so the receiver knows what must come.
 */
#include "io_end.h"

#include "base/memory.h"
#include "base/prng.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAIRS = 12,
    STEPS = 3000,
    SEEDS = 3,
    SEND_SIZE_MAX = 300 * 1000,
    FLOOD = 6000, /* more than either queue of a ring holds */
    PAUSED_SIZE_MAX = 64 * 1024,
};

struct storm;

/* One end of a pair, with what it sent and what it got. */
struct side {
    struct storm *storm;
    struct side *other;
    struct io_stream *stream;
    struct io_connect connect;
    struct io_receive receive;
    struct io_send send;
    struct io_close close;
    uint64_t stream_id; /* of the bytes it sends */
    uint64_t sent;      /* bytes whose send has completed */
    uint64_t got;
    uint64_t got_paused; /* since the pause */
    uint8_t *bytes;      /* being sent */
    bool connecting;
    bool receiving;
    bool sending;
    bool closing;
    bool ended;
};

struct storm {
    struct world *world;
    struct io *io;
    struct prng prng;
    struct side sides[PAIRS][2]; /* the connecting one, the accepted one */
    struct io_accept accept;
    struct io_listener *listener;
    struct io_address address;
    uint64_t stream_ids;
    size_t connected;
    size_t cancelled;
    size_t closed;
    size_t sends;
    size_t resets;
    uint64_t bytes;
};

static uint8_t byte_at(uint64_t stream_id, uint64_t place)
{
    return (uint8_t)(stream_id * 101 + place * 7 + place / 255);
}

/* ---- what a side may do ---- */

static void side_send(struct side *side)
{
    struct storm *storm = side->storm;
    size_t size =
        prng_between(&storm->prng, 0, prng_chance(&storm->prng, 1, 10) ? SEND_SIZE_MAX : 5000);
    side->bytes = memory_new(1, size);
    for (size_t i = 0; i < size; i++) {
        side->bytes[i] = byte_at(side->stream_id, side->sent + i);
    }
    size_t at = 0;
    side->send.part_count = prng_between(&storm->prng, 1, IO_SEND_PARTS_MAX);
    for (size_t i = 0; i < side->send.part_count; i++) {
        bool last = i + 1 == side->send.part_count;
        size_t part = last ? size - at : prng_between(&storm->prng, 0, size - at);
        side->send.parts[i] = (struct iovec){.iov_base = side->bytes + at, .iov_len = part};
        at += part;
    }
    side->sending = true;
    storm->sends++;
    io_send_start(storm->io, side->stream, &side->send);
    assert_true(side->sending);
}

static void side_receive(struct side *side, bool on)
{
    side->receiving = on;
    if (on) {
        io_receive_start(side->storm->io, side->stream, &side->receive);
    } else {
        side->got_paused = 0;
        io_receive_pause(side->storm->io, side->stream);
    }
}

static void side_close(struct side *side)
{
    side->closing = true;
    side->receiving = false;
    io_stream_close(side->storm->io, side->stream, &side->close);
    assert_non_null(side->stream);
}

static bool side_open(const struct side *side)
{
    return side->stream != NULL && !side->closing;
}

static void side_act(struct side *side)
{
    struct prng *prng = &side->storm->prng;
    if (!side_open(side)) {
        return;
    }
    switch (prng_between(prng, 0, 9)) {
    case 0:
    case 1:
    case 2:
        if (!side->sending) {
            side_send(side);
        }
        return;
    case 3:
    case 4:
        side_receive(side, false);
        return;
    case 5:
    case 6:
    case 7:
        side_receive(side, true);
        return;
    case 8:
        side_receive(side, false);
        side_receive(side, true);
        return;
    default:
        if (prng_chance(prng, 1, 8)) {
            side_close(side);
        }
    }
}

/* ---- what happens to a side ---- */

static void on_received(struct io_receive *receive, struct slice bytes, int64_t result)
{
    struct side *side = CONTAINER_OF(receive, struct side, receive);
    assert_true(side_open(side));
    assert_false(side->ended);
    if (bytes.size == 0) {
        side->ended = true;
        side->storm->resets += result < 0;
        /* Neither end ends a stream that the other has not closed. */
        assert_true(side->other->closing || side->other->stream == NULL);
        return;
    }
    for (size_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] != byte_at(side->other->stream_id, side->got + i)) {
            fail_msg("stream %u has a wrong byte at %u", (unsigned)side->other->stream_id,
                     (unsigned)(side->got + i));
        }
    }
    side->got += bytes.size;
    side->storm->bytes += bytes.size;
    if (!side->receiving) {
        side->got_paused += bytes.size;
        assert_true(side->got_paused <= PAUSED_SIZE_MAX);
    }
    if (prng_chance(&side->storm->prng, 1, 3)) {
        side_act(side);
    }
}

static void on_sent(struct io_send *send, int64_t result)
{
    struct side *side = CONTAINER_OF(send, struct side, send);
    assert_true(side->sending);
    assert_non_null(side->stream);
    side->sending = false;
    free(side->bytes);
    side->bytes = NULL;
    if (result >= 0) {
        side->sent += (uint64_t)result;
    } else {
        assert_true(side->closing || side->other->closing || side->other->stream == NULL);
        /* What of it arrived is not known: no more is sent on this stream. */
        if (!side->closing) {
            side_close(side);
        }
        return;
    }
    if (prng_chance(&side->storm->prng, 1, 3)) {
        side_act(side);
    }
}

static void on_closed(struct io_close *close)
{
    struct side *side = CONTAINER_OF(close, struct side, close);
    assert_true(side->closing);
    assert_false(side->sending);
    side->closing = false;
    side->stream = NULL;
    side->storm->closed++;
}

static void side_open_with(struct side *side, struct io_stream *stream)
{
    struct storm *storm = side->storm;
    assert_null(side->stream);
    side->stream = stream;
    side->stream_id = ++storm->stream_ids;
    side->sent = 0;
    side->got = 0;
    side->receiving = false;
    side->ended = false;
}

/* ---- connecting: one pair at a time, so that both ends know each other ---- */

static void on_accepted(struct io_accept *accept, struct io_stream *stream, int64_t error)
{
    struct storm *storm = CONTAINER_OF(accept, struct storm, accept);
    assert_int_equal(error, 0);
    for (size_t i = 0; i < PAIRS; i++) {
        struct side *side = &storm->sides[i][1];
        if (side->connecting) {
            side->connecting = false;
            side_open_with(side, stream);
            return;
        }
    }
    /* Its connection was cancelled, but had been made. */
    io_stream_close(storm->io, stream, NULL);
}

static void on_connected(struct io_connect *connect, struct io_stream *stream, int64_t result)
{
    struct side *side = CONTAINER_OF(connect, struct side, connect);
    assert_true(side->connecting);
    assert_true((stream != NULL) == (result == 0));
    side->connecting = false;
    if (stream == NULL) {
        assert_int_equal(result, -ECANCELED);
        side->storm->cancelled++;
        return;
    }
    side->storm->connected++;
    side_open_with(side, stream);
}

static void turns(struct storm *storm, int count)
{
    for (int i = 0; i < count; i++) {
        assert_int_equal(io_run(storm->io, io_now_us(storm->io) + 1000), 0);
    }
}

static void pair_connect(struct storm *storm, struct side *client, struct side *server)
{
    client->connecting = true;
    bool cancel = prng_chance(&storm->prng, 1, 6);
    server->connecting = !cancel;
    io_connect_start(storm->io, &client->connect, &storm->address);
    assert_true(client->connecting);
    if (cancel) {
        turns(storm, (int)prng_between(&storm->prng, 0, 2));
        io_connect_cancel(storm->io, &client->connect);
    }
    for (int i = 0; i < 1000 && (client->connecting || server->connecting); i++) {
        turns(storm, 1);
    }
    assert_false(client->connecting || server->connecting);
    if (cancel) {
        if (client->stream != NULL) {
            side_close(client);
        }
        turns(storm, 3);
    }
}

/* ---- the storm ---- */

static void storm_init(struct storm *storm, struct world *world, uint64_t seed)
{
    *storm = (struct storm){.world = world, .io = world->io, .accept = {.done = on_accepted}};
    prng_init(&storm->prng, seed);
    assert_int_equal(io_resolve(world->io, "127.0.0.1:0", &storm->address), 0);
    assert_int_equal(io_listen(world->io, &storm->address, &storm->accept, &storm->listener), 0);
    char text[32];
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", io_listener_port(storm->listener));
    assert_int_equal(io_resolve(world->io, text, &storm->address), 0);
    for (size_t i = 0; i < PAIRS; i++) {
        for (size_t k = 0; k < 2; k++) {
            struct side *side = &storm->sides[i][k];
            side->storm = storm;
            side->other = &storm->sides[i][1 - k];
            side->connect.done = on_connected;
            side->receive.done = on_received;
            side->send.done = on_sent;
            side->close.done = on_closed;
        }
    }
}

/* With both ends reading, everything that was sent arrives. */
static void storm_drain(struct storm *storm)
{
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        struct side *side = &storm->sides[i / 2][i % 2];
        if (side_open(side)) {
            side_receive(side, true);
        }
    }
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        struct side *side = &storm->sides[i / 2][i % 2];
        for (int k = 0; k < 5000; k++) {
            if (!side_open(side) || !side_open(side->other) ||
                (!side->sending && side->other->got == side->sent)) {
                break;
            }
            if (!side->other->receiving) {
                side_receive(side->other, true);
            }
            turns(storm, 1);
        }
        if (side_open(side) && side_open(side->other)) {
            assert_false(side->sending);
            assert_int_equal(side->other->got, side->sent);
        }
    }
}

static void storm_end(struct storm *storm)
{
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        struct side *side = &storm->sides[i / 2][i % 2];
        if (side_open(side)) {
            side_close(side);
        }
    }
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        struct side *side = &storm->sides[i / 2][i % 2];
        for (int k = 0; k < 1000 && side->stream != NULL; k++) {
            turns(storm, 1);
        }
        assert_null(side->stream);
        assert_false(side->sending);
    }
    io_listener_close(storm->io, storm->listener);
}

static void storm_run(struct world *world, uint64_t seed)
{
    struct storm *storm = memory_new(1, sizeof *storm);
    (void)printf("# seed %u\n", (unsigned)seed);
    storm_init(storm, world, seed);
    for (int step = 0; step < STEPS; step++) {
        size_t i = prng_between(&storm->prng, 0, PAIRS - 1);
        struct side *client = &storm->sides[i][0];
        struct side *server = &storm->sides[i][1];
        if (client->stream == NULL && server->stream == NULL) {
            pair_connect(storm, client, server);
        } else if (client->stream == NULL && side_open(server)) {
            side_close(server);
        } else if (server->stream == NULL && side_open(client)) {
            side_close(client);
        } else {
            side_act(prng_chance(&storm->prng, 1, 2) ? client : server);
        }
        if (prng_chance(&storm->prng, 1, 3)) {
            assert_int_equal(io_run(world->io, 0), 0);
        }
    }
    storm_drain(storm);
    storm_end(storm);
    (void)printf("# %zu connected, %zu cancelled, %zu closed, %zu sends, %zu resets, %u KiB\n",
                 storm->connected, storm->cancelled, storm->closed, storm->sends, storm->resets,
                 (unsigned)(storm->bytes / 1024));
    assert_true(storm->connected >= PAIRS);
    assert_true(storm->sends > 100 && storm->bytes > 100 * 1024);
    free(storm);
}

static void streams_keep_their_promises_in_any_order_of_events(void **state)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        storm_run(*state, seed);
    }
}

/* ---- more at once than a ring holds ---- */

static void thousands_of_operations_start_in_one_turn(void **state)
{
    struct world *world = *state;
    struct io_file *file = open_file(world, "file", IO_OPEN_CREATE);
    struct file_wait *waits = memory_new(FLOOD, sizeof *waits);
    struct iovec *parts = memory_new(FLOOD, sizeof *parts);
    uint8_t *bytes = memory_new(2, FLOOD);
    for (size_t i = 0; i < FLOOD; i++) {
        bytes[i] = byte_at(5, i);
        parts[i] = (struct iovec){.iov_base = bytes + i, .iov_len = 1};
        io_write(world->io, file_op(&waits[i]), file, i, &parts[i], 1, 0);
        assert_false(waits[i].done);
    }
    for (size_t i = 0; i < FLOOD; i++) {
        if (!waits[i].done) {
            turn_until(world, &waits[i].done);
        }
        assert_int_equal(waits[i].result, 1);
    }
    for (size_t i = 0; i < FLOOD; i++) {
        io_read(world->io, file_op(&waits[i]), file, i, bytes + FLOOD + i, 1);
    }
    for (size_t i = 0; i < FLOOD; i++) {
        if (!waits[i].done) {
            turn_until(world, &waits[i].done);
        }
        assert_int_equal(waits[i].result, 1);
    }
    assert_memory_equal(bytes, bytes + FLOOD, FLOOD);
    free(bytes);
    free(parts);
    free(waits);
    io_file_close(world->io, file);
}

static void operations_started_before_the_first_turn_complete(void **state)
{
    struct world *world = *state;
    enum { COUNT = 700 }; /* more than the submission queue holds */
    char path[128];
    struct file_wait *waits = memory_new(COUNT, sizeof *waits);
    for (size_t i = 0; i < COUNT; i++) {
        io_unlink(world->io, file_op(&waits[i]), path_in(world, "absent", path));
    }
    for (size_t i = 0; i < COUNT; i++) {
        if (!waits[i].done) {
            turn_until(world, &waits[i].done);
        }
        assert_int_equal(waits[i].result, -ENOENT);
    }
    free(waits);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(streams_keep_their_promises_in_any_order_of_events),
        cmocka_unit_test(thousands_of_operations_start_in_one_turn),
        cmocka_unit_test(operations_started_before_the_first_turn_complete),
    };
    return run_on_backends("io_stress", cases, sizeof cases / sizeof cases[0]);
}
