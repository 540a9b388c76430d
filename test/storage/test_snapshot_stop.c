/*
 * What ends snapshots that are under way: a log that failed, a close. And starts on what a crash
 * left of snapshots, when an operation fails.
 */
#include "bench.h"

#include "kvapp/err.h"

#include <errno.h>
#include <string.h>

/* Two snapshots are there, and nothing is in flight. */
static struct bench *bench_new(void)
{
    void *state;
    (void)set_up(&state);
    struct bench *bench = state;
    fill(bench, 5);
    take(bench, 2);
    take(bench, 3);
    run_some(bench);
    return bench;
}

static void bench_free(struct bench *bench)
{
    void *state = bench;
    (void)tear_down(&state);
}

/* ---- what ends the snapshots ---- */

enum work { BEGIN, ADD, COMMIT, ABANDON, RECEIVE_BEGIN, RECEIVE_BYTES, RECEIVE_END, WORK_COUNT };

/* All that comes before the work itself. */
static void prepare(struct bench *bench, enum work work, struct storage_snapshot_offer offer,
                    struct slice file)
{
    if (work == ADD || work == COMMIT || work == ABANDON) {
        assert_true(shots_begin(&bench->shots, 5, term_of(5)));
    } else if (work == RECEIVE_BYTES || work == RECEIVE_END) {
        assert_true(shots_receive_begin(&bench->shots, &offer));
    }
    if (work == RECEIVE_END) {
        assert_true(shots_receive_bytes(&bench->shots, 0, file));
    }
}

static void start(struct bench *bench, enum work work, struct storage_snapshot_offer offer,
                  struct slice file)
{
    struct shots *shots = &bench->shots;
    struct storage_snapshot_meta meta = {.index = 5, .term = term_of(5)};
    shots->done = false;
    switch (work) {
    case BEGIN:
        storage_snapshot_begin(bench->scene.storage, &shots->taking, &meta);
        break;
    case ADD:
        storage_snapshot_chunk(bench->scene.storage, slice_of_string("some bytes"));
        break;
    case COMMIT:
        storage_snapshot_commit(bench->scene.storage);
        break;
    case ABANDON:
        storage_snapshot_abandon(bench->scene.storage);
        break;
    case RECEIVE_BEGIN:
        storage_receive_begin(bench->scene.storage, &shots->receive, &offer);
        break;
    case RECEIVE_BYTES:
        storage_receive_bytes(bench->scene.storage, 0, file);
        break;
    case RECEIVE_END:
        storage_receive_end(bench->scene.storage);
        break;
    case WORK_COUNT:
        fail();
    }
    assert_false(shots->done);
}

static void fail_log(struct bench *bench)
{
    disk_control(bench->disk)->fail_at = disk_control(bench->disk)->started + 1;
    disk_control(bench->disk)->fail_with = -EIO;
    scene_append(&bench->scene, 9, 100);
    scene_flush(&bench->scene);
    scene_settle(&bench->scene);
    assert_int_equal(bench->scene.failed_count, 1);
}

/* After a failure of the log nothing is written any more, to a snapshot neither. */
static void a_failed_log_ends_the_snapshots_too(void **state)
{
    (void)state;
    struct buf file = {0};
    struct storage_snapshot_offer offer = shots_make(0xc1, 30, 8, &file);
    for (enum work work = BEGIN; work < WORK_COUNT; work++) {
        struct bench *bench = bench_new();
        prepare(bench, work, offer, buf_slice(&file));
        fail_log(bench);
        uint64_t changes = disk_control(bench->disk)->changes;
        start(bench, work, offer, buf_slice(&file));
        assert_true(shots_wait(&bench->shots));
        assert_int_equal(bench->shots.err, KV_ERR_STOPPED);
        assert_int_equal(disk_control(bench->disk)->changes, changes);
        scene_close(&bench->scene);
        assert_int_equal(disk_control(bench->disk)->changes, changes);
        bench->scene.failed_count = 0;
        bench_free(bench);
    }
    buf_done(&file);
}

/* Fails; both snapshots end, and nothing is changed any more. */
static void fail_and_close(struct bench *bench)
{
    fail_log(bench);
    uint64_t changes = disk_control(bench->disk)->changes;
    run_some(bench);
    scene_close(&bench->scene);
    assert_int_equal(disk_control(bench->disk)->changes, changes);
    assert_int_equal(bench->scene.failed_count, 1);
}

/* Closes, or fails, `turns` turns after the end of a snapshot, which came `lead` turns behind
 * another's. */
static void stop_after(int lead, int turns, bool fails, struct storage_snapshot_offer offer,
                       struct slice file)
{
    struct bench *bench = bench_new();
    struct shots other;
    shots_init(&other, &bench->scene);
    assert_true(shots_begin(&bench->shots, 5, term_of(5)));
    assert_true(shots_add(&bench->shots, 5, 0));
    assert_true(shots_receive_begin(&other, &offer));
    assert_true(shots_receive_bytes(&other, 0, file));
    other.done = false;
    bench->shots.done = false;
    storage_receive_end(bench->scene.storage);
    for (int turn = 0; turn < lead; turn++) {
        scene_run_once(&bench->scene);
    }
    storage_snapshot_commit(bench->scene.storage);
    for (int turn = 0; turn < turns; turn++) {
        scene_run_once(&bench->scene);
    }
    if (fails) {
        fail_and_close(bench);
    } else {
        scene_close(&bench->scene);
    }
    assert_true(other.done && bench->shots.done);
    assert_true(other.err == 0 || other.err == KV_ERR_STOPPED);
    /* The other one may have been there first. */
    int err = bench->shots.err;
    assert_true(err == 0 || err == KV_ERR_STOPPED || err == KV_ERR_INVALID);
    shots_done(&other);
    assert_int_equal(scene_open(&bench->scene), 0);
    uint64_t newest = storage_snapshot_newest(bench->scene.storage);
    assert_true(other.err != 0 || newest == 30);
    assert_true(err != 0 || newest >= 5);
    assert_true(err != KV_ERR_INVALID || newest == 30);
    bench->shots.chunks = newest == 5 ? 1 : 3;
    shots_check(&bench->shots, newest);
    bench_free(bench);
}

static void a_stop_while_two_snapshots_end_keeps_what_was_reported(void **state)
{
    (void)state;
    struct buf file = {0};
    struct storage_snapshot_offer offer = shots_make(0xc1, 30, 8, &file);
    for (int lead = 0; lead < 8; lead++) {
        for (int turns = 0; turns < 16; turns++) {
            stop_after(lead, turns, false, offer, buf_slice(&file));
            stop_after(lead, turns, true, offer, buf_slice(&file));
        }
    }
    buf_done(&file);
}

/* ---- starts that fail ---- */

struct start {
    int err;
    bool reached; /* the operation that fails */
    uint64_t newest;
    uint64_t last;
    uint64_t torn;
    char sentence[1024];
};

/* Starts on the disk, whose operation `number` from now fails. */
static struct start start_on(struct disk *disk, uint64_t number, int64_t error)
{
    struct start start = {0};
    struct disk_control *control = disk_control(disk);
    control->fail_at = number == 0 ? 0 : control->started + number;
    control->fail_with = error;
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, "data");
    start.err = scene_open(&scene);
    start.reached = control->fail_at != 0 && control->started >= control->fail_at;
    control->fail_at = 0;
    memcpy(start.sentence, scene.sentence, sizeof start.sentence);
    if (start.err == 0) {
        struct storage_restored restored;
        storage_restored(scene.storage, &restored);
        start.newest = restored.snapshot_index;
        start.last = restored.last_index;
        start.torn = restored.torn_bytes;
        struct shots shots;
        shots_init(&shots, &scene);
        shots_check(&shots, start.newest);
        shots_done(&shots);
    }
    scene_close(&scene);
    io_free(io);
    return start;
}

/* Two snapshots, remains of a third, and of a batch; by chance none of it, or all. */
static struct disk *crashed_new(uint64_t seed, bool damaged)
{
    struct prng prng;
    prng_init(&prng, seed);
    struct bench *bench = bench_new();
    assert_true(shots_begin(&bench->shots, 5, term_of(5)));
    disk_control(bench->disk)->hold_writes = true;
    scene_append(&bench->scene, 9, 4000);
    scene_flush(&bench->scene);
    scene_run_once(&bench->scene);
    struct disk *found = disk_crash(bench->disk, DISK_LOSE_SOME, &prng);
    struct disk *copy = disk_copy(found);
    disk_free(found);
    if (damaged) {
        disk_bytes(copy, "data/snapshot-0000000000000003")->data[600] ^= 1;
    }
    disk_control(bench->disk)->hold_writes = false;
    bench_free(bench);
    return copy;
}

static bool fail_starting(const struct disk *crashed, uint64_t number, const struct start *expected)
{
    struct disk *disk = disk_copy(crashed);
    struct start start = start_on(disk, number, -EIO);
    bool reached = start.reached;
    if (start.err != 0) {
        assert_int_equal(start.err, KV_ERR_IO);
        assert_non_null(strstr(start.sentence, "data"));
        assert_non_null(strstr(start.sentence, io_error_sentence(-EIO)));
        start = start_on(disk, 0, 0);
        assert_int_equal(start.err, 0);
    }
    assert_int_equal(start.newest, expected->newest);
    assert_int_equal(start.last, expected->last);
    disk_free(disk);
    return reached;
}

/* What cannot be read is not damaged: nothing is set aside or cut for that. */
static void a_start_that_fails_at_any_operation_loses_nothing(void **state)
{
    (void)state;
    bool torn = false;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        for (int damaged = 0; damaged < 2; damaged++) {
            struct disk *crashed = crashed_new(seed, damaged != 0);
            struct disk *disk = disk_copy(crashed);
            struct start expected = start_on(disk, 0, 0);
            disk_free(disk);
            assert_int_equal(expected.err, 0);
            assert_int_equal(expected.newest, damaged != 0 ? 2 : 3);
            torn = torn || expected.torn > 0;
            uint64_t number = 1;
            while (fail_starting(crashed, number, &expected)) {
                number++;
            }
            assert_true(number > 15);
            disk_free(crashed);
        }
    }
    assert_true(torn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_log_ends_the_snapshots_too),
        cmocka_unit_test(a_stop_while_two_snapshots_end_keeps_what_was_reported),
        cmocka_unit_test(a_start_that_fails_at_any_operation_loses_nothing),
    };
    return cmocka_run_group_tests_name("storage_snapshot_stop", tests, NULL, NULL);
}
