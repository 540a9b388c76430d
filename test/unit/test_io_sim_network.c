/* The network of the simulated world: what arrives, when, and what does not. */
#include "sim_cast.h"

#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 1024 * 1024 };

static struct sim_link plain(void)
{
    return (struct sim_link){.delay_min_us = 100, .delay_mean_us = 200, .delay_max_us = 1000};
}

/* Both directions. */
static void set_link(struct actor *a, struct actor *b, const struct sim_link *link)
{
    sim_link_set(a->host, b->host, link);
    sim_link_set(b->host, a->host, link);
}

static void block(struct actor *a, struct actor *b, bool blocked)
{
    sim_link_block(a->host, b->host, blocked);
    sim_link_block(b->host, a->host, blocked);
}

static uint8_t *pattern_new(size_t size)
{
    uint8_t *bytes = memory_new(1, size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 11 + i / 253);
    }
    return bytes;
}

static uint64_t faults_of(const struct cast *cast, enum sim_fault fault)
{
    return sim_world_counters(cast->world)->faults[fault];
}

/* ---- delays ---- */

static void bytes_arrive_in_order_within_the_delay(void **state)
{
    (void)state;
    struct cast *cast = cast_new(31, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    struct sim_link link = {.delay_min_us = 5000, .delay_mean_us = 6000, .delay_max_us = 9000};
    set_link(from, to, &link);
    actors_meet(from, to);
    for (int i = 0; i < 20; i++) {
        buf_clear(&to->got);
        actor_send(from, "message", 7);
        cast_run(cast, 4999);
        assert_true(from->sent);
        assert_int_equal(to->got.size, 0);
        cast_run(cast, 4200);
        assert_int_equal(to->got.size, 7);
        assert_memory_equal(to->got.data, "message", 7);
    }
    cast_free(cast);
}

static void large_send_waits_for_the_reader(void **state)
{
    (void)state;
    struct cast *cast = cast_new(32, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    struct sim_link link = plain();
    link.fragment_ppm = SIM_PPM;
    set_link(from, to, &link);
    actors_meet(from, to);
    uint8_t *bytes = pattern_new(LARGE);
    io_receive_pause(to->io, to->stream);
    actor_send(from, bytes, LARGE);
    cast_run(cast, SECOND);
    assert_false(from->sent);
    assert_int_equal(to->got.size, 0);
    io_receive_start(to->io, to->stream, &to->receive);
    assert_true(cast_run_until(cast, &from->sent));
    assert_int_equal(from->sent_result, LARGE);
    cast_run(cast, SECOND);
    assert_int_equal(to->got.size, LARGE);
    assert_memory_equal(to->got.data, bytes, LARGE);
    assert_true(faults_of(cast, SIM_FAULT_FRAGMENT) > 0);
    cast_free(cast);
    free(bytes);
}

static void fragments_arrive_apart_and_neighbours_together(void **state)
{
    (void)state;
    struct cast *cast = cast_new(33, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    struct sim_link link = plain();
    link.fragment_ppm = SIM_PPM;
    set_link(from, to, &link);
    for (int i = 0; i < 50; i++) {
        actor_send(from, "0123456789", 10);
        cast_run(cast, 10 * 1000);
    }
    assert_int_equal(to->got.size, 500);
    assert_true(to->pieces > 60);
    /* A process that sleeps finds everything in one piece. */
    unsigned before = to->pieces;
    sim_host_pause(to->host, UINT64_MAX);
    for (int i = 0; i < 10; i++) {
        actor_send(from, "0123456789", 10);
        cast_run(cast, 10 * 1000);
    }
    sim_host_resume(to->host);
    cast_run(cast, 1000);
    assert_int_equal(to->got.size, 600);
    assert_int_equal(to->pieces, before + 1);
    cast_free(cast);
}

static void lost_segments_come_late(void **state)
{
    (void)state;
    struct cast *cast = cast_new(34, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    struct sim_link link = plain();
    link.loss_ppm = SIM_PPM / 4;
    set_link(from, to, &link);
    unsigned late = 0;
    for (int i = 0; i < 100; i++) {
        size_t before = to->got.size;
        actor_send(from, "x", 1);
        cast_run(cast, 50 * 1000);
        late += to->got.size == before;
        cast_run(cast, 20 * (uint64_t)SECOND);
        assert_int_equal(to->got.size, before + 1);
    }
    assert_true(late > 10 && late < 45);
    cast_free(cast);
}

/* ---- partitions ---- */

static void blocked_link_holds_bytes_until_it_opens(void **state)
{
    (void)state;
    struct cast *cast = cast_new(35, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    block(from, to, true);
    actor_send(from, "held", 4);
    cast_run(cast, 100 * (uint64_t)SECOND);
    assert_true(from->sent);
    assert_int_equal(to->got.size, 0);
    assert_int_equal(faults_of(cast, SIM_FAULT_BLOCK), 1);
    block(from, to, false);
    cast_run(cast, SECOND);
    assert_memory_equal(to->got.data, "held", 4);
    assert_false(from->ended);
    cast_free(cast);
}

static void one_blocked_direction_leaves_the_other_open(void **state)
{
    (void)state;
    struct cast *cast = cast_new(36, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    sim_link_block(from->host, to->host, true);
    actor_send(from, "there", 5);
    actor_send(to, "back", 4);
    cast_run(cast, SECOND);
    assert_int_equal(to->got.size, 0);
    assert_memory_equal(from->got.data, "back", 4);
    sim_link_block(from->host, to->host, false);
    cast_run(cast, SECOND);
    assert_memory_equal(to->got.data, "there", 5);
    cast_free(cast);
}

static void one_blocked_direction_is_enough_to_connect_no_more(void **state)
{
    (void)state;
    for (size_t blocked = 0; blocked < 2; blocked++) {
        struct cast *cast = cast_new(37, 2);
        struct actor *from = &cast->actors[0];
        struct actor *to = &cast->actors[1];
        actor_listen(to);
        struct sim_host *hosts[2] = {from->host, to->host};
        sim_link_block(hosts[blocked], hosts[1 - blocked], true);
        actor_connect(from, to);
        assert_true(cast_run_until(cast, &from->connected));
        assert_int_equal(from->connect_result, -ETIMEDOUT);
        assert_null(to->stream);
        assert_int_equal(faults_of(cast, SIM_FAULT_CONNECT_TIMEOUT), 1);
        /* It goes on by itself when the link opens in time. */
        actor_connect(from, to);
        cast_run(cast, 5 * (uint64_t)SECOND);
        assert_false(from->connected);
        sim_link_block(hosts[blocked], hosts[1 - blocked], false);
        assert_true(cast_run_until(cast, &from->connected));
        assert_int_equal(from->connect_result, 0);
        cast_free(cast);
    }
}

static void connection_that_waits_too_long_breaks_for_its_sender(void **state)
{
    (void)state;
    struct cast *cast = cast_new(38, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    struct sim_link link = plain();
    link.blocked = true;
    link.break_max_us = 10 * SECOND;
    sim_link_set(from->host, to->host, &link);
    actor_send(from, "lost", 4);
    cast_run(cast, 11 * (uint64_t)SECOND);
    assert_true(from->ended);
    assert_int_equal(from->end_result, -ETIMEDOUT);
    assert_false(to->ended);
    actor_send(from, "more", 4);
    assert_true(cast_run_until(cast, &from->sent));
    assert_int_equal(from->sent_result, -EPIPE);
    /* The other end hears of it when it sends. */
    link.blocked = false;
    sim_link_set(from->host, to->host, &link);
    actor_send(to, "hello?", 6);
    cast_run(cast, SECOND);
    assert_true(to->ended);
    assert_int_equal(to->end_result, -ECONNRESET);
    assert_int_equal(to->got.size, 0);
    cast_free(cast);
}

static void idle_connection_survives_a_partition(void **state)
{
    (void)state;
    struct cast *cast = cast_new(39, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    struct sim_link link = plain();
    link.blocked = true;
    link.break_max_us = SECOND;
    set_link(from, to, &link);
    cast_run(cast, 100 * (uint64_t)SECOND);
    link.blocked = false;
    set_link(from, to, &link);
    actor_send(from, "alive", 5);
    cast_run(cast, SECOND);
    assert_memory_equal(to->got.data, "alive", 5);
    cast_free(cast);
}

/* ---- old bytes ---- */

/* What was sent, and given up, long ago arrives after the newer connection's bytes. */
static void clogged_connection_delivers_after_a_newer_one(void **state)
{
    (void)state;
    struct cast *cast = cast_new(40, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    struct sim_link link = plain();
    link.clog_ppm = SIM_PPM;
    link.clog_max_us = 60 * SECOND;
    set_link(from, to, &link);
    actor_send(from, "old", 3);
    cast_run(cast, 1000);
    actor_leave(from);
    set_link(from, to, &(struct sim_link){.delay_max_us = 1000});
    /* The listener keeps the old stream beside the new one. */
    struct io_stream *old = to->stream;
    to->stream = NULL;
    actor_connect(from, to);
    assert_true(cast_run_until(cast, &from->connected));
    cast_run(cast, 10 * 1000);
    assert_int_equal(to->got.size, 0);
    actor_send(from, "new", 3);
    cast_run(cast, 100 * 1000);
    assert_memory_equal(to->got.data, "new", 3);
    io_receive_start(to->io, old, &to->receive);
    cast_run(cast, 61 * (uint64_t)SECOND);
    assert_int_equal(to->got.size, 6);
    assert_memory_equal(to->got.data, "newold", 6);
    assert_true(to->ended);
    assert_int_equal(to->end_result, 0);
    assert_int_equal(faults_of(cast, SIM_FAULT_LATE), 1);
    io_stream_close(to->io, old, NULL);
    to->ended = false;
    cast_free(cast);
}

/* ---- cuts and corruption ---- */

static void cut_leaves_a_prefix_and_resets_both_ends(void **state)
{
    (void)state;
    enum { SIZE = 1000, SEEDS = 40 };
    uint8_t *bytes = pattern_new(SIZE);
    size_t inside = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct cast *cast = cast_new(seed, 2);
        struct actor *from = &cast->actors[0];
        struct actor *to = &cast->actors[1];
        actors_meet(from, to);
        struct sim_link link = plain();
        link.cut_ppm = SIM_PPM;
        sim_link_set(from->host, to->host, &link);
        actor_send(from, bytes, SIZE);
        cast_run(cast, SECOND);
        assert_true(from->sent);
        assert_true(from->ended);
        assert_int_equal(from->end_result, -ECONNRESET);
        assert_true(to->ended);
        assert_int_equal(to->end_result, -ECONNRESET);
        assert_true(to->got.size < SIZE);
        inside += to->got.size > 0;
        if (to->got.size > 0) {
            assert_memory_equal(to->got.data, bytes, to->got.size);
        }
        assert_int_equal(faults_of(cast, SIM_FAULT_CUT), 1);
        cast_free(cast);
    }
    assert_true(inside > SEEDS / 2);
    free(bytes);
}

/* Its reset cannot pass, gives up, and the machine at the other end loses power. */
static void sender_of_a_cut_connection_hears_of_it_in_the_end(void **state)
{
    (void)state;
    enum { SIZE = 512 * 1024 };
    uint8_t *bytes = pattern_new(SIZE);
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct cast *cast = cast_new(seed, 2);
        struct actor *from = &cast->actors[0];
        struct actor *to = &cast->actors[1];
        actors_meet(from, to);
        struct sim_link link = plain();
        link.blocked = true;
        link.break_max_us = SECOND;
        sim_link_set(to->host, from->host, &link);
        link.blocked = false;
        link.cut_ppm = SIM_PPM;
        sim_link_set(from->host, to->host, &link);
        actor_send(from, "cut", 3);
        cast_run(cast, 10 * (uint64_t)SECOND);
        assert_true(to->ended);
        assert_false(from->ended);
        set_link(from, to, &(struct sim_link){.delay_max_us = 1000});
        sim_link_block(to->host, from->host, true);
        if (seed % 2 == 0) {
            actor_crash(to, SIM_CRASH_POWER);
            actor_boot(to);
        }
        actor_send(from, bytes, SIZE);
        cast_run(cast, 10 * (uint64_t)SECOND);
        assert_false(from->ended);
        sim_link_block(to->host, from->host, false);
        cast_run(cast, SECOND);
        assert_true(from->sent);
        assert_int_equal(from->sent_result, -ECONNRESET);
        assert_true(from->ended);
        assert_int_equal(from->end_result, -ECONNRESET);
        cast_free(cast);
    }
    free(bytes);
}

/* The end of a connection gave up on its way; whoever still sends is told that nobody is there. */
static void connection_whose_end_was_lost_is_reset_when_it_is_used(void **state)
{
    (void)state;
    struct cast *cast = cast_new(48, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    struct sim_link link = plain();
    link.blocked = true;
    link.break_max_us = SECOND;
    set_link(from, to, &link);
    actor_leave(to);
    cast_run(cast, 10 * (uint64_t)SECOND);
    set_link(from, to, &(struct sim_link){.delay_max_us = 1000});
    cast_run(cast, 10 * (uint64_t)SECOND);
    assert_false(from->ended);
    actor_send(from, "x", 1);
    cast_run(cast, SECOND);
    assert_true(from->ended);
    assert_int_equal(from->end_result, -ECONNRESET);
    cast_free(cast);
}

static void corruption_flips_one_bit(void **state)
{
    (void)state;
    struct cast *cast = cast_new(41, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    struct sim_link link = plain();
    link.corrupt_ppm = SIM_PPM;
    sim_link_set(from->host, to->host, &link);
    static const uint8_t zeros[100];
    actor_send(from, zeros, sizeof zeros);
    cast_run(cast, SECOND);
    assert_int_equal(to->got.size, sizeof zeros);
    int bits = 0;
    for (size_t i = 0; i < sizeof zeros; i++) {
        bits += __builtin_popcount(to->got.data[i]);
    }
    assert_int_equal(bits, 1);
    cast_free(cast);
}

static void all_connections_of_a_link_can_be_reset(void **state)
{
    (void)state;
    struct cast *cast = cast_new(42, 3);
    struct actor *actors = cast->actors;
    actors_meet(&actors[0], &actors[1]);
    sim_link_reset(actors[0].host, actors[2].host);
    cast_run(cast, SECOND);
    assert_false(actors[0].ended);
    sim_link_reset(actors[1].host, actors[0].host);
    cast_run(cast, SECOND);
    for (int i = 0; i < 2; i++) {
        assert_true(actors[i].ended);
        assert_int_equal(actors[i].end_result, -ECONNRESET);
    }
    cast_free(cast);
}

/* ---- connecting ---- */

static void connects_are_refused_on_request(void **state)
{
    (void)state;
    struct cast *cast = cast_new(43, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actor_connect(from, to);
    assert_true(cast_run_until(cast, &from->connected));
    assert_int_equal(from->connect_result, -ECONNREFUSED);
    actor_listen(to);
    struct sim_link link = plain();
    link.refuse_ppm = SIM_PPM;
    sim_link_set(from->host, to->host, &link);
    actor_connect(from, to);
    assert_true(cast_run_until(cast, &from->connected));
    assert_int_equal(from->connect_result, -ECONNREFUSED);
    assert_int_equal(faults_of(cast, SIM_FAULT_REFUSE), 1);
    sim_link_set(from->host, to->host, &(struct sim_link){.delay_max_us = 1000});
    actors_meet(from, to);
    cast_free(cast);
}

static void unknown_machine_times_out_unless_cancelled(void **state)
{
    (void)state;
    struct cast *cast = cast_new(44, 2);
    struct actor *from = &cast->actors[0];
    struct io_address address;
    assert_int_equal(io_resolve(from->io, "10.9.9.9:7000", &address), 0);
    actor_connect(from, &cast->actors[1]);
    assert_true(cast_run_until(cast, &from->connected));
    from->connected = false;
    io_connect_start(from->io, &from->connect, &address);
    assert_true(cast_run_until(cast, &from->connected));
    assert_int_equal(from->connect_result, -ETIMEDOUT);
    from->connected = false;
    io_connect_start(from->io, &from->connect, &address);
    cast_run(cast, SECOND);
    io_connect_cancel(from->io, &from->connect);
    assert_true(cast_run_until(cast, &from->connected));
    assert_int_equal(from->connect_result, -ECANCELED);
    cast_free(cast);
}

/* At every moment of the handshake. */
static void cancelled_connect_leaves_nothing_behind(void **state)
{
    (void)state;
    for (uint64_t wait_us = 0; wait_us < 3000; wait_us += 50) {
        struct cast *cast = cast_new(wait_us, 2);
        struct actor *from = &cast->actors[0];
        struct actor *to = &cast->actors[1];
        actor_listen(to);
        actor_connect(from, to);
        cast_run(cast, wait_us);
        io_connect_cancel(from->io, &from->connect);
        assert_true(cast_run_until(cast, &from->connected));
        assert_true(from->connect_result == 0 || from->connect_result == -ECANCELED);
        cast_run(cast, SECOND);
        if (from->connect_result == -ECANCELED && to->stream != NULL) {
            assert_true(to->ended);
            assert_int_equal(to->end_result, -ECONNRESET);
        }
        cast_free(cast);
    }
}

static void accept_errors_only_delay(void **state)
{
    (void)state;
    struct cast *cast = cast_new(45, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actor_listen(to);
    sim_host_accept_errors(to->host, SIM_PPM);
    actor_connect(from, to);
    cast_run(cast, SECOND);
    assert_true(from->connected);
    assert_null(to->stream);
    assert_true(to->accept_errors >= 5 && to->accept_errors <= 11);
    sim_host_accept_errors(to->host, 0);
    cast_run(cast, SECOND);
    assert_non_null(to->stream);
    cast_free(cast);
}

/* ---- peers that are gone ---- */

static void killed_peer_ends_the_connection(void **state)
{
    (void)state;
    size_t resets = 0;
    size_t ends = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct cast *cast = cast_new(seed, 2);
        struct actor *from = &cast->actors[0];
        struct actor *to = &cast->actors[1];
        actors_meet(from, to);
        actor_crash(to, SIM_CRASH_KILL);
        cast_run(cast, SECOND);
        assert_true(from->ended);
        resets += from->end_result == -ECONNRESET;
        ends += from->end_result == 0;
        /* The machine is on, but nobody listens. */
        actor_leave(from);
        actor_connect(from, to);
        assert_true(cast_run_until(cast, &from->connected));
        assert_int_equal(from->connect_result, -ECONNREFUSED);
        cast_free(cast);
    }
    assert_int_equal(resets + ends, 40);
    assert_true(resets > 5);
    assert_true(ends > 5);
}

static void peer_without_power_resets_or_leaves_a_half_open_connection(void **state)
{
    (void)state;
    size_t resets = 0;
    size_t half_open = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct cast *cast = cast_new(seed, 2);
        struct actor *from = &cast->actors[0];
        struct actor *to = &cast->actors[1];
        actors_meet(from, to);
        actor_crash(to, SIM_CRASH_POWER);
        cast_run(cast, 100 * (uint64_t)SECOND);
        if (from->ended) {
            assert_int_equal(from->end_result, -ECONNRESET);
            resets++;
        } else {
            half_open++;
            /* Silence, until the machine is on again and hears what it does not know. */
            actor_send(from, "anybody?", 8);
            cast_run(cast, 100 * (uint64_t)SECOND);
            assert_true(from->sent);
            assert_int_equal(from->sent_result, 8);
            assert_false(from->ended);
            actor_boot(to);
            cast_run(cast, SECOND);
            assert_true(from->ended);
            assert_int_equal(from->end_result, -ECONNRESET);
        }
        assert_int_equal(faults_of(cast, SIM_FAULT_HALF_OPEN),
                         half_open > 0 && from->sent_result == 8);
        cast_free(cast);
    }
    assert_true(resets > 8);
    assert_true(half_open > 20);
}

static void machine_without_power_accepts_nobody(void **state)
{
    (void)state;
    struct cast *cast = cast_new(46, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actor_crash(to, SIM_CRASH_POWER);
    actor_connect(from, to);
    cast_run(cast, 10 * (uint64_t)SECOND);
    assert_false(from->connected);
    actor_boot(to);
    actor_listen(to);
    assert_true(cast_run_until(cast, &from->connected));
    assert_int_equal(from->connect_result, 0);
    cast_free(cast);
}

static void close_with_bytes_unread_is_a_reset(void **state)
{
    (void)state;
    struct cast *cast = cast_new(47, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    io_receive_pause(to->io, to->stream);
    actor_send(from, "unread", 6);
    cast_run(cast, SECOND);
    actor_leave(to);
    cast_run(cast, SECOND);
    assert_true(from->ended);
    assert_int_equal(from->end_result, -ECONNRESET);
    cast_free(cast);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(bytes_arrive_in_order_within_the_delay),
        cmocka_unit_test(large_send_waits_for_the_reader),
        cmocka_unit_test(fragments_arrive_apart_and_neighbours_together),
        cmocka_unit_test(lost_segments_come_late),
        cmocka_unit_test(blocked_link_holds_bytes_until_it_opens),
        cmocka_unit_test(one_blocked_direction_leaves_the_other_open),
        cmocka_unit_test(one_blocked_direction_is_enough_to_connect_no_more),
        cmocka_unit_test(connection_that_waits_too_long_breaks_for_its_sender),
        cmocka_unit_test(idle_connection_survives_a_partition),
        cmocka_unit_test(clogged_connection_delivers_after_a_newer_one),
        cmocka_unit_test(cut_leaves_a_prefix_and_resets_both_ends),
        cmocka_unit_test(sender_of_a_cut_connection_hears_of_it_in_the_end),
        cmocka_unit_test(connection_whose_end_was_lost_is_reset_when_it_is_used),
        cmocka_unit_test(corruption_flips_one_bit),
        cmocka_unit_test(all_connections_of_a_link_can_be_reset),
        cmocka_unit_test(connects_are_refused_on_request),
        cmocka_unit_test(unknown_machine_times_out_unless_cancelled),
        cmocka_unit_test(cancelled_connect_leaves_nothing_behind),
        cmocka_unit_test(accept_errors_only_delay),
        cmocka_unit_test(killed_peer_ends_the_connection),
        cmocka_unit_test(peer_without_power_resets_or_leaves_a_half_open_connection),
        cmocka_unit_test(machine_without_power_accepts_nobody),
        cmocka_unit_test(close_with_bytes_unread_is_a_reset),
    };
    return cmocka_run_group_tests_name("io_sim_network", cases, NULL, NULL);
}
