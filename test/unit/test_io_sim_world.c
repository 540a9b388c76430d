/* The simulated world as a whole: one story for each seed, turns, clocks, crashes. */
#include "sim_cast.h"

#include "base/memory.h"
#include "base/prng.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* ---- one seed, one story ---- */

enum { STORY_STEPS = 300 };

static const uint64_t STORY_7_HASH = 0x8a1f314eedd92103;

static void story_faults(struct cast *cast)
{
    struct sim_link link = {.delay_min_us = 50,
                            .delay_mean_us = 500,
                            .delay_max_us = 20000,
                            .break_max_us = 5 * SECOND,
                            .loss_ppm = 50 * 1000,
                            .clog_ppm = 10 * 1000,
                            .clog_max_us = SECOND,
                            .fragment_ppm = 200 * 1000,
                            .corrupt_ppm = 20 * 1000,
                            .cut_ppm = 20 * 1000,
                            .refuse_ppm = 20 * 1000};
    for (size_t i = 0; i < cast->count; i++) {
        struct sim_host *host = cast->actors[i].host;
        struct sim_disk_faults faults = *sim_disk_get(host);
        faults.spike_ppm = 50 * 1000;
        faults.spike_max_us = 100 * 1000;
        faults.stall_ppm = 10 * 1000;
        faults.stall_max_us = SECOND;
        faults.read_error_ppm = 10 * 1000;
        faults.write_error_ppm = 10 * 1000;
        faults.sync_error_ppm = 10 * 1000;
        faults.lost_write_ppm = 10 * 1000;
        faults.misdirect_ppm = 10 * 1000;
        faults.garbage_ppm = 10 * 1000;
        faults.any_names = true;
        sim_disk_set(host, &faults);
        sim_host_accept_errors(host, 100 * 1000);
        for (size_t j = 0; j < cast->count; j++) {
            sim_link_set(host, cast->actors[j].host, &link);
        }
    }
}

static void write_something(struct actor *actor, struct prng *chance)
{
    char path[] = "/d/0";
    char bytes[900];
    path[3] = (char)('0' + prng_between(chance, 0, 4));
    memset(bytes, (int)prng_between(chance, 0, 255), sizeof bytes);
    struct io_file *file = actor_open(actor, path, IO_OPEN_CREATE);
    unsigned flags = prng_chance(chance, 1, 2) ? IO_WRITE_DURABLE : 0;
    (void)actor_write(actor, file, prng_between(chance, 0, 9999), bytes, sizeof bytes, flags);
    if (prng_chance(chance, 1, 3)) {
        (void)actor_sync(actor, file);
    }
    (void)actor_read(actor, file, prng_between(chance, 0, 9999), bytes, sizeof bytes);
    actor_close(actor, file);
}

static void talk(struct actor *from, struct actor *to)
{
    if (to->listener == NULL) {
        actor_listen(to);
    }
    if (from->stream != NULL && from->ended) {
        actor_leave(from);
    }
    if (from->stream == NULL && (from->connected || from->connect.done == NULL)) {
        actor_connect(from, to);
    }
    for (int i = 0; i < 5 && from->stream != NULL && from->sent; i++) {
        actor_send(from, "something to talk about", 23);
        cast_run(from->cast, 1000);
    }
}

static void disturb(struct actor *actor, struct prng *chance)
{
    struct cast *cast = actor->cast;
    struct sim_place place;
    switch (prng_between(chance, 0, 7)) {
    case 0:
        sim_host_pause(actor->host, sim_world_now(cast->world) + SECOND / 2);
        return;
    case 1:
        sim_clock_rate(actor->host, (int32_t)prng_between(chance, 0, 400000) - 200000);
        return;
    case 2:
        sim_clock_jump(actor->host, (int64_t)prng_between(chance, 0, 7200000) - 3600000);
        return;
    case 3:
        (void)sim_disk_rot(actor->host, &place);
        return;
    case 4:
    case 5:
        actor_crash(actor, prng_chance(chance, 1, 2) ? SIM_CRASH_POWER : SIM_CRASH_KILL);
        cast_run(cast, prng_between(chance, 0, SECOND));
        actor_boot(actor);
        assert_int_equal(sim_disk_make_path(actor->host, "/d"), 0);
        return;
    default:
        sim_link_block(actor->host, cast->actors[0].host, prng_chance(chance, 1, 4));
    }
}

/* What happens to three hosts under every fault there is. */
static uint64_t story(uint64_t seed, struct sim_counters *ret_counters)
{
    struct cast *cast = cast_new(seed, 3);
    struct prng chance;
    prng_init(&chance, seed);
    story_faults(cast);
    for (int i = 0; i < STORY_STEPS; i++) {
        struct actor *actor = &cast->actors[prng_between(&chance, 0, 2)];
        struct actor *other = &cast->actors[prng_between(&chance, 0, 2)];
        uint64_t draw = prng_between(&chance, 0, 9);
        if (draw < 4) {
            write_something(actor, &chance);
        } else if (draw < 9 && actor != other) {
            talk(actor, other);
        } else {
            disturb(actor, &chance);
        }
        cast_run(cast, prng_between(&chance, 0, SECOND));
    }
    uint64_t hash = sim_world_hash(cast->world);
    *ret_counters = *sim_world_counters(cast->world);
    cast_free(cast);
    return hash;
}

static void same_seed_tells_the_same_story(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_counters first;
        struct sim_counters second;
        uint64_t hash = story(seed, &first);
        assert_true(story(seed, &second) == hash);
        assert_memory_equal(&first, &second, sizeof first);
        assert_true(hash != last);
        last = hash;
    }
}

/* Every compiler, every build. A change of what the world does changes the number. */
static void story_of_seed_7_is_the_recorded_one(void **state)
{
    (void)state;
    struct sim_counters counters;
    uint64_t hash = story(7, &counters);
    print_message("# %llu events, hash %016llx\n", (unsigned long long)counters.events,
                  (unsigned long long)hash);
    assert_true(hash == STORY_7_HASH);
}

static void every_fault_comes_to_pass_in_some_story(void **state)
{
    (void)state;
    uint64_t faults[SIM_FAULT_COUNT] = {0};
    for (uint64_t seed = 100; seed < 140; seed++) {
        struct sim_counters counters;
        (void)story(seed, &counters);
        for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
            faults[i] += counters.faults[i];
        }
    }
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        /* These have tests of their own. */
        bool elsewhere = i == SIM_FAULT_NO_SPACE || i == SIM_FAULT_WIPE || i == SIM_FAULT_RESTORE ||
                         i == SIM_FAULT_CONNECT_TIMEOUT;
        if (faults[i] == 0 && !elsewhere) {
            fail_msg("no %s", sim_fault_words((enum sim_fault)i));
        }
    }
}

/* ---- events and turns ---- */

struct note {
    struct sim_event event;
    struct sim_world *world;
    uint64_t at_us;
    unsigned count;
};

static void on_note(struct sim_event *event)
{
    struct note *note = CONTAINER_OF(event, struct note, event);
    note->at_us = sim_world_now(note->world);
    note->count++;
}

static void events_of_the_driver_happen_on_time(void **state)
{
    (void)state;
    struct cast *cast = cast_new(61, 1);
    struct note note = {.event = {.run = on_note}, .world = cast->world};
    struct note never = {.event = {.run = on_note}, .world = cast->world};
    sim_world_schedule(cast->world, &note.event, 1000);
    sim_world_schedule(cast->world, &note.event, 2500);
    sim_world_schedule(cast->world, &never.event, 2500);
    sim_world_cancel(cast->world, &never.event);
    cast_run(cast, 2499);
    assert_int_equal(note.count, 0);
    cast_run(cast, 10);
    assert_int_equal(note.count, 1);
    assert_int_equal(note.at_us, 2500);
    assert_int_equal(never.count, 0);
    sim_world_schedule(cast->world, &note.event, 0);
    cast_run(cast, 1);
    assert_int_equal(note.count, 2);
    assert_int_equal(note.at_us, 2509);
    cast_free(cast);
}

static void io_run_alone_moves_no_time(void **state)
{
    (void)state;
    struct cast *cast = cast_new(62, 1);
    struct actor *actor = &cast->actors[0];
    cast_run(cast, 1000);
    assert_int_equal(io_run(actor->io, 0), 0);
    uint64_t before_us = io_now_us(actor->io);
    io_timer_set(actor->io, &actor->timer, before_us + 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(io_run(actor->io, UINT64_MAX), 0);
    }
    assert_int_equal(io_now_us(actor->io), before_us);
    assert_int_equal(sim_world_now(cast->world), 1000);
    assert_int_equal(actor->fired, 0);
    cast_run(cast, 100);
    assert_int_equal(actor->fired, 1);
    cast_free(cast);
}

static void turn_takes_time_and_then_finds_all_that_came(void **state)
{
    (void)state;
    struct cast *cast = cast_new(63, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    sim_host_turn_time(to->host, 50 * 1000, 50 * 1000);
    sim_host_wake(to->host);
    cast_run(cast, 100);
    uint64_t before = to->turns;
    for (int i = 0; i < 10; i++) {
        actor_send(from, "x", 1);
        cast_run(cast, 2500);
    }
    assert_int_equal(to->turns, before);
    cast_run(cast, 30 * 1000);
    assert_int_equal(to->turns, before + 1);
    assert_int_equal(to->got.size, 10);
    cast_free(cast);
}

static void paused_process_finds_its_events_later(void **state)
{
    (void)state;
    struct cast *cast = cast_new(64, 2);
    struct actor *from = &cast->actors[0];
    struct actor *to = &cast->actors[1];
    actors_meet(from, to);
    sim_host_pause(to->host, sim_world_now(cast->world) + 10 * SECOND);
    io_timer_set(to->io, &to->timer, io_now_us(to->io) + SECOND);
    uint64_t before_us = io_now_us(to->io);
    actor_send(from, "wake up", 7);
    cast_run(cast, 9 * (uint64_t)SECOND);
    assert_int_equal(to->got.size, 0);
    assert_int_equal(to->fired, 0);
    cast_run(cast, SECOND + 1000);
    assert_int_equal(to->got.size, 7);
    assert_int_equal(to->fired, 1);
    assert_true(io_now_us(to->io) - before_us >= 10 * SECOND);
    cast_free(cast);
}

static void driver_can_wake_a_process(void **state)
{
    (void)state;
    struct cast *cast = cast_new(65, 1);
    struct actor *actor = &cast->actors[0];
    cast_run(cast, SECOND);
    uint64_t turns = actor->turns;
    cast_run(cast, SECOND);
    assert_int_equal(actor->turns, turns);
    sim_host_wake(actor->host);
    sim_host_wake(actor->host);
    cast_run(cast, 100);
    assert_int_equal(actor->turns, turns + 1);
    cast_free(cast);
}

/* ---- clocks ---- */

/* How long a timer of ten seconds takes, in milliseconds of the world. */
static uint64_t ten_seconds_ms(int32_t ppm)
{
    struct cast *cast = cast_new(66, 1);
    struct actor *actor = &cast->actors[0];
    cast_run(cast, SECOND);
    sim_clock_rate(actor->host, ppm);
    sim_host_wake(actor->host);
    cast_run(cast, 1000);
    uint64_t start_us = io_now_us(actor->io);
    uint64_t begin_us = sim_world_now(cast->world);
    io_timer_set(actor->io, &actor->timer, start_us + 10 * SECOND);
    while (actor->fired == 0 && sim_world_now(cast->world) < 60 * (uint64_t)SECOND) {
        cast_run(cast, 1000);
    }
    assert_true(actor->fired == 0 || io_now_us(actor->io) >= start_us + 10 * SECOND);
    uint64_t took_ms = (sim_world_now(cast->world) - begin_us) / 1000;
    cast_free(cast);
    return took_ms;
}

static void timers_follow_the_rate_of_the_clock(void **state)
{
    (void)state;
    uint64_t plain = ten_seconds_ms(0);
    uint64_t fast = ten_seconds_ms(200 * 1000);
    uint64_t slow = ten_seconds_ms(-200 * 1000);
    assert_true(plain >= 9999 && plain < 10010);
    assert_true(fast > 8300 && fast < 8345);
    assert_true(slow > 12490 && slow < 12510);
    assert_true(ten_seconds_ms(-SIM_PPM) >= 58 * 1000);
}

static void clock_goes_on_after_it_stood_still(void **state)
{
    (void)state;
    struct cast *cast = cast_new(67, 1);
    struct actor *actor = &cast->actors[0];
    cast_run(cast, 1000);
    io_timer_set(actor->io, &actor->timer, io_now_us(actor->io) + SECOND);
    cast_run(cast, SECOND / 2);
    sim_clock_rate(actor->host, -SIM_PPM);
    cast_run(cast, 100 * (uint64_t)SECOND);
    assert_int_equal(actor->fired, 0);
    sim_clock_rate(actor->host, 0);
    cast_run(cast, SECOND / 2 - 2000);
    assert_int_equal(actor->fired, 0);
    cast_run(cast, 4000);
    assert_int_equal(actor->fired, 1);
    cast_free(cast);
}

static void wall_clock_jumps_and_the_other_does_not(void **state)
{
    (void)state;
    struct cast *cast = cast_new(68, 1);
    struct actor *actor = &cast->actors[0];
    cast_run(cast, SECOND);
    sim_host_wake(actor->host);
    cast_run(cast, 100);
    uint64_t wall_ms = io_wall_ms(actor->io);
    uint64_t now_us = io_now_us(actor->io);
    sim_clock_jump(actor->host, 3600 * 1000);
    assert_int_equal(io_wall_ms(actor->io), wall_ms + 3600 * 1000);
    sim_clock_jump(actor->host, -2 * 3600 * 1000);
    assert_int_equal(io_wall_ms(actor->io), wall_ms - 3600 * 1000);
    assert_int_equal(io_run(actor->io, 0), 0);
    assert_int_equal(io_now_us(actor->io) / 1000, now_us / 1000);
    cast_free(cast);
}

static void processes_draw_their_own_chance(void **state)
{
    (void)state;
    struct cast *cast = cast_new(69, 2);
    uint64_t first = io_random(cast->actors[0].io);
    assert_true(first != io_random(cast->actors[0].io));
    assert_true(first != io_random(cast->actors[1].io));
    cast_free(cast);
}

/* ---- cut off ---- */

/* Everything that a process can have in flight. */
struct busy {
    struct actor *actor;
    struct errand write;
    struct errand open;
    struct errand late_write;
    struct errand late_open;
    struct iovec part;
    struct io_connect connect;
    int64_t connected;
    bool connect_done;
    struct io_file *file;
};

static void on_busy_connect(struct io_connect *connect, struct io_stream *stream, int64_t result)
{
    struct busy *busy = CONTAINER_OF(connect, struct busy, connect);
    assert_null(stream);
    busy->connect_done = true;
    busy->connected = result;
}

static void busy_start(struct busy *busy, struct actor *actor, struct actor *other)
{
    *busy = (struct busy){.actor = actor, .connect = {.done = on_busy_connect}};
    struct io_address address;
    busy->part = (struct iovec){.iov_base = "late", .iov_len = 4};
    busy->file = actor_open(actor, "/d/file", IO_OPEN_CREATE);
    assert_int_equal(actor_write(actor, busy->file, 0, "kept", 4, IO_WRITE_DURABLE), 4);
    actor_sync_names(actor, "/d");
    assert_int_equal(io_resolve(actor->io, "10.0.0.2:7000", &address), 0);
    (void)other;
    io_connect_start(actor->io, &busy->connect, &address);
    io_write(actor->io, errand(&busy->write), busy->file, 4, &busy->part, 1, 0);
    io_open(actor->io, errand(&busy->open), "/d/other", IO_OPEN_READ_ONLY);
    io_timer_set(actor->io, &actor->timer, io_now_us(actor->io) + 3600 * (uint64_t)SECOND);
    actor_send(actor, "before", 6);
}

static void on_nobody(struct io_accept *accept, struct io_stream *stream, int64_t error)
{
    (void)accept;
    (void)stream;
    (void)error;
    fail_msg("a process that was cut off accepted a connection");
}

/* Works on after it was cut off. */
static void busy_go_on(struct busy *busy)
{
    struct io *io = busy->actor->io;
    struct io_address address;
    struct io_listener *listener = NULL;
    struct io_accept accept = {.done = on_nobody};
    assert_int_equal(io_resolve(io, "0.0.0.0:7001", &address), 0);
    assert_int_equal(io_listen(io, &address, &accept, &listener), -ENETDOWN);
    assert_int_equal(io_lock(io, busy->file), -EIO);
    busy->part = (struct iovec){.iov_base = "late", .iov_len = 4};
    io_write(io, errand(&busy->late_write), busy->file, 0, &busy->part, 1, IO_WRITE_DURABLE);
    io_open(io, errand(&busy->late_open), "/d/late", IO_OPEN_CREATE);
    busy->connect_done = false;
    io_connect_start(io, &busy->connect, &address);
    assert_false(busy->late_write.done);
    sim_io_drain(io, 100);
    assert_int_equal(busy->late_write.result, -EIO);
    assert_int_equal(busy->late_open.result, -EIO);
    assert_true(busy->connect_done);
    assert_int_equal(busy->connected, -ENETDOWN);
    actor_send(busy->actor, "after", 5);
    sim_io_drain(io, 100);
    assert_true(busy->actor->sent);
    assert_int_equal(busy->actor->sent_result, -EPIPE);
}

static void process_that_was_cut_off_winds_down_without_effect(void **state)
{
    (void)state;
    struct cast *cast = cast_new(70, 2);
    struct actor *actor = &cast->actors[0];
    struct actor *peer = &cast->actors[1];
    actors_meet(actor, peer);
    struct busy busy;
    busy_start(&busy, actor, peer);
    struct io *io = actor->io;
    sim_host_crash(actor->host, SIM_CRASH_KILL);
    uint64_t hash = sim_world_hash(cast->world);
    sim_io_drain(io, 100);
    assert_int_equal(busy.write.result, -EIO);
    assert_int_equal(busy.open.result, -EIO);
    assert_true(busy.connect_done);
    assert_int_equal(busy.connected, -ENETDOWN);
    assert_true(actor->ended);
    assert_int_equal(actor->end_result, -ECONNRESET);
    /* An hour passed on its own clock only. */
    assert_int_equal(actor->fired, 1);
    assert_true(sim_world_now(cast->world) < 10 * SECOND);
    busy_go_on(&busy);
    assert_true(sim_world_hash(cast->world) == hash);
    /* A new process runs on the machine before the old one has been freed. */
    struct io *next = NULL;
    sim_host_boot(actor->host, &next);
    actor->io = next;
    cast_run(cast, SECOND);
    struct io_stream *stream = actor->stream;
    actor->stream = NULL;
    assert_false(actor_has(actor, "/d/late"));
    assert_true(peer->ended);
    assert_true(peer->got.size <= 6);
    char bytes[4];
    struct io_file *file = actor_open(actor, "/d/file", 0);
    assert_int_equal(actor_read(actor, file, 0, bytes, 4), 4);
    assert_memory_equal(bytes, "kept", 4);
    io_stream_close(io, stream, NULL);
    actor->files[0] = NULL;
    io_file_close(io, busy.file);
    io_free(io);
    actor->files[0] = file;
    actor->files[1] = NULL;
    cast_free(cast);
}

static void io_that_was_cut_off_outlives_the_world(void **state)
{
    (void)state;
    struct cast *cast = cast_new(71, 1);
    struct actor *actor = &cast->actors[0];
    struct io *io = actor->io;
    io_timer_set(io, &actor->timer, io_now_us(io) + SECOND);
    sim_host_crash(actor->host, SIM_CRASH_POWER);
    actor->io = NULL;
    sim_world_free(cast->world);
    sim_io_drain(io, 10);
    assert_int_equal(actor->fired, 1);
    (void)io_wall_ms(io);
    (void)io_random(io);
    io_free(io);
    free(cast);
}

static void process_that_ends_well_leaves_the_machine_to_the_next(void **state)
{
    (void)state;
    struct cast *cast = cast_new(72, 1);
    struct actor *actor = &cast->actors[0];
    struct io_file *file = actor_open(actor, "/d/file", IO_OPEN_CREATE);
    assert_int_equal(actor_write(actor, file, 0, "abc", 3, 0), 3);
    actor_close(actor, file);
    io_free(actor->io);
    assert_null(sim_host_io(actor->host));
    cast_run(cast, SECOND);
    actor_boot(actor);
    assert_true(actor_has(actor, "/d/file"));
    cast_free(cast);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(same_seed_tells_the_same_story),
        cmocka_unit_test(story_of_seed_7_is_the_recorded_one),
        cmocka_unit_test(every_fault_comes_to_pass_in_some_story),
        cmocka_unit_test(events_of_the_driver_happen_on_time),
        cmocka_unit_test(io_run_alone_moves_no_time),
        cmocka_unit_test(turn_takes_time_and_then_finds_all_that_came),
        cmocka_unit_test(paused_process_finds_its_events_later),
        cmocka_unit_test(driver_can_wake_a_process),
        cmocka_unit_test(timers_follow_the_rate_of_the_clock),
        cmocka_unit_test(clock_goes_on_after_it_stood_still),
        cmocka_unit_test(wall_clock_jumps_and_the_other_does_not),
        cmocka_unit_test(processes_draw_their_own_chance),
        cmocka_unit_test(process_that_was_cut_off_winds_down_without_effect),
        cmocka_unit_test(io_that_was_cut_off_outlives_the_world),
        cmocka_unit_test(process_that_ends_well_leaves_the_machine_to_the_next),
    };
    return cmocka_run_group_tests_name("io_sim_world", cases, NULL, NULL);
}
