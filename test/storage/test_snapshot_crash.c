/*
 * Crashes and failing operations while snapshots are taken and received and the log is trimmed and
 * reset: after each operation of the disk, and for each of them.
 */
#include "life.h"
#include "shots.h"

#include "base/memory.h"
#include "kvapp/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const enum disk_loss losses[] = {
    DISK_LOSE_ALL,
    DISK_LOSE_NONE,
    DISK_LOSE_SOME,
    DISK_LOSE_SPOIL,
};

/* The snapshot that is received: behind the log's end, contradicting it, or held by it. */
enum received { AHEAD, CONTRADICTING, HELD };

static const struct {
    uint64_t index;
    uint64_t term;
} received[] = {
    [AHEAD] = {30, 5},
    [CONTRADICTING] = {14, 5},
    [HELD] = {14, 2},
};

struct trial {
    struct life life;
    struct shots shots;
    enum received received;
    struct storage_snapshot_offer offer;
    struct buf file;
    uint64_t newest;  /* snapshot that was reported */
    uint64_t pending; /* that may be there already; 0: none */
    bool resets;      /* with it the log may have begun anew */
};

static bool append_some(struct trial *trial, int count, size_t size)
{
    for (int i = 0; i < count; i++) {
        model_append(trial->life.model, &trial->life.scene, size);
    }
    model_flush(trial->life.model, &trial->life.scene);
    return run_until_stored(&trial->life);
}

static bool take(struct trial *trial, uint64_t index)
{
    trial->pending = index;
    if (!shots_take(&trial->shots, index, model_now(trial->life.model)->terms[index])) {
        return false;
    }
    assert_int_equal(trial->shots.err, 0);
    trial->newest = index;
    trial->pending = 0;
    struct storage *storage = trial->life.scene.storage;
    storage_trim(storage, storage_snapshot_oldest(storage) + 1);
    return true;
}

static bool receive(struct trial *trial)
{
    uint64_t index = received[trial->received].index;
    trial->pending = index;
    trial->resets = trial->received != HELD;
    if (!shots_receive(&trial->shots, &trial->offer, buf_slice(&trial->file), 400)) {
        return false;
    }
    assert_int_equal(trial->shots.err, 0);
    trial->newest = index;
    trial->pending = 0;
    if (trial->resets) {
        model_reset(trial->life.model, &trial->life.scene, index, received[trial->received].term);
        trial->resets = false;
    }
    return true;
}

/* False when it was stopped on the way. */
static bool script(struct trial *trial)
{
    struct model *model = trial->life.model;
    struct scene *scene = &trial->life.scene;
    model_vote(model, scene, 2, 7);
    if (!append_some(trial, 6, 700) || !take(trial, 4) || !append_some(trial, 5, 900) ||
        !take(trial, 9) || !append_some(trial, 5, 300) || !take(trial, 13)) {
        return false;
    }
    model_vote(model, scene, 5, 3);
    model_append(model, scene, 800);
    model_flush(model, scene);
    if (!receive(trial) || !append_some(trial, 3, 700)) {
        return false;
    }
    return take(trial, received[trial->received].index + 1) && append_some(trial, 3, 1500) &&
           take(trial, received[trial->received].index + 3) && append_some(trial, 1, 0);
}

static void trial_begin(struct trial *trial, enum received which, uint64_t stop_at)
{
    struct moment now = {0};
    *trial = (struct trial){.received = which, .life.stop_at = stop_at};
    trial->life.model = memory_new(1, sizeof *trial->life.model);
    trial->offer = shots_make(0xc1, received[which].index, received[which].term, &trial->file);
    model_begin(trial->life.model, &now);
    struct disk *disk = disk_new();
    life_begin(&trial->life, disk);
    shots_init(&trial->shots, &trial->life.scene);
    trial->shots.disk = stop_at == 0 ? NULL : disk;
    trial->shots.stop_at = stop_at;
}

static void trial_end(struct trial *trial)
{
    life_end(&trial->life);
    shots_done(&trial->shots);
    buf_done(&trial->file);
    free(trial->life.model);
}

/* Opens what was found and checks it against what was promised. */
static void check_found(struct trial *trial, struct disk *found)
{
    struct life life = {0};
    life_begin(&life, found);
    if (!run_until_opened(&life)) {
        fail_msg("refused: %s", life.scene.sentence);
    }
    struct storage_restored restored;
    storage_restored(life.scene.storage, &restored);
    uint64_t index = restored.snapshot_index;
    assert_true(index == trial->newest || (trial->pending != 0 && index == trial->pending));
    if (trial->resets && index == trial->pending) {
        model_note_reset(trial->life.model, index, received[trial->received].term);
    }
    struct moment now;
    model_check(trial->life.model, &life.scene, trial->life.scene.stored, &now);
    assert_true(restored.first_index <= index + 1);
    assert_null(disk_bytes(found, "data/snapshot.tmp"));
    struct shots shots;
    shots_init(&shots, &life.scene);
    if (index != 0) {
        shots_check(&shots, index);
    }
    shots_done(&shots);
    life_end(&life);
}

/* Returns false when the script ended before the crash. */
static bool crash_after(uint64_t stop_at, enum received which, enum disk_loss loss,
                        struct prng *prng)
{
    struct trial trial;
    trial_begin(&trial, which, stop_at);
    bool ended = run_until_opened(&trial.life) && script(&trial);
    struct disk *found = disk_crash(trial.life.disk, loss, prng);
    /* The recovery is interrupted too. */
    struct life second = {.stop_at = prng_between(prng, 1, 60)};
    life_begin(&second, found);
    (void)run_until_opened(&second);
    struct disk *found_again = disk_crash(found, loss, prng);
    life_end(&second);
    check_found(&trial, found_again);
    trial_end(&trial);
    return !ended;
}

/* Bugs 5, 15, 18 and 24. */
static void a_crash_after_any_operation_leaves_snapshot_and_log_that_fit(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 30);
    static const int repeats[] = {1, 1, 2, 2};
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        for (int repeat = 0; repeat < repeats[i]; repeat++) {
            for (enum received which = AHEAD; which <= HELD; which++) {
                uint64_t stop_at = 1;
                while (crash_after(stop_at, which, losses[i], &prng)) {
                    stop_at++;
                }
                assert_true(stop_at > 150);
            }
        }
    }
}

/* ---- operations that fail ---- */

struct bench {
    struct disk *disk;
    struct io *io;
    struct scene scene;
    struct shots shots;
    uint64_t before; /* operations of the disk */
};

/* Two snapshots are there, and nothing is in flight; the operation behind them fails. */
static void bench_begin(struct bench *bench, uint64_t number, int64_t error)
{
    bench->disk = disk_new();
    bench->io = disk_io(bench->disk);
    scene_init(&bench->scene, bench->io, "data");
    assert_int_equal(scene_open(&bench->scene), 0);
    for (int i = 0; i < 5; i++) {
        scene_append(&bench->scene, 1, 100);
    }
    scene_flush(&bench->scene);
    scene_settle(&bench->scene);
    shots_init(&bench->shots, &bench->scene);
    assert_true(shots_take(&bench->shots, 2, 1));
    assert_true(shots_take(&bench->shots, 3, 1));
    for (int turn = 0; turn < 100; turn++) {
        scene_run_once(&bench->scene);
    }
    bench->before = disk_control(bench->disk)->started;
    disk_control(bench->disk)->fail_at = bench->before + number;
    disk_control(bench->disk)->fail_with = error;
}

/* No operation fails any more; returns whether the one that does was reached. */
static bool heal(struct bench *bench)
{
    struct disk_control *control = disk_control(bench->disk);
    bool reached = control->started >= control->fail_at;
    control->fail_at = 0;
    return reached;
}

/* The log goes on. */
static void bench_end(struct bench *bench)
{
    scene_append(&bench->scene, 9, 100);
    scene_flush(&bench->scene);
    scene_settle(&bench->scene);
    assert_int_equal(bench->scene.failed_count, 0);
    assert_true(shots_take(&bench->shots, 40, 9));
    assert_int_equal(bench->shots.err, 0);
    scene_close(&bench->scene);
    assert_int_equal(scene_open(&bench->scene), 0);
    assert_int_equal(storage_snapshot_newest(bench->scene.storage), 40);
    shots_check(&bench->shots, 40);
    assert_null(disk_bytes(bench->disk, "data/snapshot-0000000000000002"));
    scene_close(&bench->scene);
    shots_done(&bench->shots);
    io_free(bench->io);
    disk_free(bench->disk);
}

static void check_error(const struct bench *bench, int64_t error)
{
    /* Only a read names an offset, and no read finds the disk full. */
    bool full = error != -EIO && strstr(bench->shots.sentence, "offset") == NULL;
    assert_int_equal(bench->shots.err, full ? KV_ERR_FULL : KV_ERR_IO);
    assert_non_null(strstr(bench->shots.sentence, "data/snapshot."));
    assert_non_null(strstr(bench->shots.sentence, io_error_sentence(error)));
}

static bool fail_taking(uint64_t number, int64_t error)
{
    struct bench bench;
    bench_begin(&bench, number, error);
    assert_true(shots_take(&bench.shots, 5, 1));
    bool reached = heal(&bench);
    if (bench.shots.err != 0) {
        check_error(&bench, error);
        assert_null(disk_bytes(bench.disk, "data/snapshot.tmp"));
        assert_int_equal(storage_snapshot_newest(bench.scene.storage), 3);
        assert_int_equal(storage_snapshot_oldest(bench.scene.storage), 2);
    } else {
        assert_int_equal(storage_snapshot_newest(bench.scene.storage), 5);
    }
    bench_end(&bench);
    return reached;
}

/* Bug 16: a full disk too, or a full quota. */
static void a_failing_operation_gives_the_snapshot_up_and_the_log_goes_on(void **state)
{
    (void)state;
    static const int64_t errors[] = {-ENOSPC, -EDQUOT, -EIO};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        uint64_t number = 1;
        while (fail_taking(number, errors[i])) {
            number++;
        }
        assert_true(number > 10);
    }
}

static bool fail_receiving(uint64_t number, int64_t error)
{
    struct bench bench;
    struct buf file = {0};
    struct storage_snapshot_offer offer = shots_make(0xc1, 30, 8, &file);
    bench_begin(&bench, number, error);
    assert_true(shots_receive(&bench.shots, &offer, buf_slice(&file), 400));
    bool reached = heal(&bench);
    if (bench.shots.err != 0) {
        check_error(&bench, error);
        assert_int_equal(storage_snapshot_newest(bench.scene.storage), 3);
        bool there = disk_bytes(bench.disk, "data/snapshot.part") != NULL;
        assert_true(bench.shots.err == KV_ERR_IO || !there);
        /* The next try, of the same file, succeeds. */
        assert_true(shots_receive(&bench.shots, &offer, buf_slice(&file), 400));
        assert_int_equal(bench.shots.err, 0);
    }
    assert_int_equal(storage_snapshot_newest(bench.scene.storage), 30);
    shots_check(&bench.shots, 30);
    storage_reset(bench.scene.storage, 30, 8);
    buf_done(&file);
    bench_end(&bench);
    return reached;
}

static void a_receive_that_fails_at_any_operation_can_be_tried_again(void **state)
{
    (void)state;
    static const int64_t errors[] = {-ENOSPC, -EDQUOT, -EIO};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        uint64_t number = 1;
        while (fail_receiving(number, errors[i])) {
            number++;
        }
        assert_true(number > 15);
    }
}

/* A read that fails is said, and does no harm. */
static void a_snapshot_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    for (uint64_t number = 1; number <= 3; number++) {
        struct bench bench;
        bench_begin(&bench, number, -EIO);
        bench.shots.done = false;
        storage_snapshot_read_next(bench.scene.storage, &bench.shots.read);
        assert_true(shots_wait(&bench.shots));
        assert_int_equal(bench.shots.err, KV_ERR_IO);
        assert_non_null(strstr(bench.shots.sentence, "snapshot-0000000000000003"));
        assert_true(heal(&bench));
        shots_check(&bench.shots, 3);
        bench_end(&bench);
    }
}

/* Before the end "exists" is an error like any other, and does not mean a newer snapshot. */
static void an_early_operation_that_says_exists_is_an_error(void **state)
{
    (void)state;
    for (uint64_t number = 1; number <= 4; number++) {
        struct bench bench;
        bench_begin(&bench, number, -EEXIST);
        assert_true(shots_take(&bench.shots, 5, 1));
        assert_true(heal(&bench));
        assert_int_equal(bench.shots.err, KV_ERR_IO);
        assert_non_null(strstr(bench.shots.sentence, io_error_sentence(-EEXIST)));
        bench_end(&bench);
    }
    for (uint64_t number = 2; number <= 4; number++) {
        struct bench bench;
        struct buf file = {0};
        struct storage_snapshot_offer offer = shots_make(0xc1, 30, 8, &file);
        bench_begin(&bench, number, -EEXIST);
        assert_true(shots_receive(&bench.shots, &offer, buf_slice(&file), 400));
        assert_true(heal(&bench));
        assert_int_equal(bench.shots.err, KV_ERR_IO);
        assert_non_null(strstr(bench.shots.sentence, io_error_sentence(-EEXIST)));
        buf_done(&file);
        bench_end(&bench);
    }
}

/* Returns false once the chunk's failure was told before. */
static bool abandon_after(int turns)
{
    struct bench bench;
    bench_begin(&bench, 0, 0);
    assert_true(shots_begin(&bench.shots, 5, 1));
    disk_control(bench.disk)->fail_at = disk_control(bench.disk)->started + 1;
    disk_control(bench.disk)->fail_with = -ENOSPC;
    bench.shots.done = false;
    storage_snapshot_chunk(bench.scene.storage, slice_of_string("does not fit"));
    for (int turn = 0; turn < turns; turn++) {
        scene_run_once(&bench.scene);
    }
    bool abandoned = !bench.shots.done;
    if (abandoned) {
        storage_snapshot_abandon(bench.scene.storage);
        assert_true(shots_wait(&bench.shots));
    }
    assert_int_equal(bench.shots.err, abandoned ? 0 : KV_ERR_FULL);
    assert_null(disk_bytes(bench.disk, "data/snapshot.tmp"));
    bench_end(&bench);
    return abandoned;
}

static void a_snapshot_that_fails_while_it_is_abandoned_is_answered_once(void **state)
{
    (void)state;
    int turns = 0;
    while (abandon_after(turns)) {
        turns++;
    }
    assert_true(turns > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_after_any_operation_leaves_snapshot_and_log_that_fit),
        cmocka_unit_test(a_failing_operation_gives_the_snapshot_up_and_the_log_goes_on),
        cmocka_unit_test(a_receive_that_fails_at_any_operation_can_be_tried_again),
        cmocka_unit_test(a_snapshot_that_cannot_be_read_is_named),
        cmocka_unit_test(an_early_operation_that_says_exists_is_an_error),
        cmocka_unit_test(a_snapshot_that_fails_while_it_is_abandoned_is_answered_once),
    };
    return cmocka_run_group_tests_name("storage_snapshot_crash", tests, NULL, NULL);
}
