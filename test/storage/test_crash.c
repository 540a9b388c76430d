/*
 * Crashes and failing operations on a disk in memory: at every operation of a
 * script, checked against a model of what was promised.
 */
#include "life.h"

#include "base/memory.h"
#include "kvapp/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- every operation of a script ---- */

static const enum disk_loss losses[] = {
    DISK_LOSE_ALL,
    DISK_LOSE_NONE,
    DISK_LOSE_SOME,
    DISK_LOSE_SPOIL,
};

/* Runs the script three times over on a new disk, stopped by the crash after `stop_at` operations;
 * returns false when the script ended before. */
static bool crash_after(uint64_t stop_at, enum disk_loss loss, struct prng *prng)
{
    struct life life = {.model = memory_new(1, sizeof *life.model), .stop_at = stop_at};
    struct moment now = {0};
    model_begin(life.model, &now);
    life_begin(&life, disk_new());
    bool ended = run_until_opened(&life) && life_run_script(&life) && life_run_script(&life) &&
                 life_run_script(&life);
    struct disk *found = disk_crash(life.disk, loss, prng);
    /* The recovery is interrupted too, at one operation or another. */
    struct life second = {.model = life.model, .stop_at = prng_between(prng, 1, 40)};
    life_begin(&second, found);
    (void)run_until_opened(&second);
    struct disk *found_again = disk_crash(found, loss, prng);
    life_end(&second);
    life_check_found(&life, found_again, &now);
    life_end(&life);
    free(life.model);
    return !ended;
}

/* Bugs 6, 8 and 15: also in the middle of a truncation. */
static void a_crash_after_any_operation_loses_nothing_that_was_stored(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 20);
    /* Chance is asked several times; the two that leave nothing to it are asked once. */
    static const int repeats[] = {1, 1, 8, 8};
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        for (int repeat = 0; repeat < repeats[i]; repeat++) {
            uint64_t stop_at = 1;
            while (crash_after(stop_at, losses[i], &prng)) {
                stop_at++;
            }
            assert_true(stop_at > 80);
        }
    }
}

/*
 * Bug 5: the log reached the disk and the vote beside it did not. The term that the next start
 * speaks of must not fall again when the entries that showed it are truncated.
 */
static void a_term_learnt_from_the_log_stays_when_its_entries_go(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 1);
    struct life life = {.model = memory_new(1, sizeof *life.model)};
    struct moment now = {0};
    model_begin(life.model, &now);
    life_begin(&life, disk_new());
    assert_true(run_until_opened(&life));
    scene_run_once(&life.scene);
    struct disk *before = disk_crash(life.disk, DISK_LOSE_ALL, &prng);
    model_vote(life.model, &life.scene, 5, 7);
    model_append(life.model, &life.scene, 100);
    model_flush(life.model, &life.scene);
    struct disk *found = disk_copy(life.disk);
    life_end(&life);
    struct buf *vote = disk_bytes(found, "data/VOTE");
    memcpy(vote->data, disk_bytes(before, "data/VOTE")->data, vote->size);
    disk_free(before);

    life_begin(&life, found);
    assert_true(run_until_opened(&life));
    struct storage_restored restored;
    storage_restored(life.scene.storage, &restored);
    assert_int_equal(restored.last_index, 1);
    assert_int_equal(restored.term, 5);
    assert_int_equal(restored.voted_for, 0);
    storage_truncate(life.scene.storage, 1);
    scene_flush(&life.scene);
    assert_true(run_until_stored(&life));
    found = disk_crash(life.disk, DISK_LOSE_ALL, &prng);
    life_end(&life);

    life_begin(&life, found);
    assert_true(run_until_opened(&life));
    storage_restored(life.scene.storage, &restored);
    assert_int_equal(restored.last_index, 0);
    assert_int_equal(restored.term, 5);
    life_end(&life);
    free(life.model);
}

/* ---- every operation fails once ---- */

static void check_stopped(struct life *life)
{
    struct scene *scene = &life->scene;
    uint64_t changes = disk_control(life->disk)->changes;
    uint64_t stored = scene->stored;
    scene_append(scene, 99, 10);
    scene_flush(scene);
    for (int turn = 0; turn < 100; turn++) {
        scene_run_once(scene);
    }
    /* What was in flight may have ended, nothing new may have begun, nothing been reported. */
    assert_int_equal(disk_control(life->disk)->changes, changes);
    assert_int_equal(scene->stored, stored);
    assert_int_equal(scene->failed_count, 1);
}

static bool fail_operation(uint64_t number, int64_t error, struct prng *prng)
{
    struct life life = {.model = memory_new(1, sizeof *life.model)};
    struct moment now = {0};
    model_begin(life.model, &now);
    struct disk *disk = disk_new();
    disk_control(disk)->fail_at = number;
    disk_control(disk)->fail_with = error;
    life_begin(&life, disk);
    bool opened = run_until_opened(&life);
    bool ended =
        opened && life_run_script(&life) && life_run_script(&life) && life_run_script(&life);
    int expected = error == -ENOSPC ? KV_ERR_FULL : KV_ERR_IO;
    if (!opened) {
        assert_int_equal(life.scene.opened_err, expected);
    } else if (!ended) {
        assert_int_equal(life.scene.failed_err, expected);
        assert_non_null(strstr(life.scene.sentence, io_error_sentence(error)));
        check_stopped(&life);
    }
    bool happened = disk_control(disk)->started >= number;
    struct disk *found = disk_crash(disk, DISK_LOSE_SOME, prng);
    life_check_found(&life, found, &now);
    life_end(&life);
    free(life.model);
    return happened;
}

/* Bugs 10 and 16: nothing is written after a failed sync, and nothing after a full disk. */
static void a_failing_operation_stops_storage_and_loses_nothing_that_was_stored(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 21);
    uint64_t number = 1;
    while (fail_operation(number, number % 2 == 0 ? -EIO : -ENOSPC, &prng)) {
        number++;
    }
    assert_true(number > 80);
}

/*
 * A directory with two sessions behind it, whose last one crashed in mid-write, is opened, used and
 * closed, and one operation of all that fails. Returns whether it was reached.
 */
static bool fail_second_life(struct disk *disk, const struct moment *before, uint64_t number,
                             struct prng *prng)
{
    struct life life = {.model = memory_new(1, sizeof *life.model)};
    model_begin(life.model, before);
    disk_control(disk)->fail_at = number;
    disk_control(disk)->fail_with = -EIO;
    life_begin(&life, disk);
    bool opened = run_until_opened(&life);
    if (opened) {
        (void)life_run_script(&life);
    } else {
        assert_int_equal(life.scene.opened_err, KV_ERR_IO);
        assert_non_null(strstr(life.scene.sentence, io_error_sentence(-EIO)));
    }
    disk_control(disk)->hold_writes = false;
    uint64_t stored = life.scene.stored;
    scene_close(&life.scene);
    assert_true(life.scene.stored >= stored);
    struct disk *found = disk_crash(disk, DISK_LOSE_SOME, prng);
    struct moment now;
    life_check_found(&life, found, &now);
    bool reached = disk_control(disk)->started >= number;
    io_free(life.io);
    disk_free(disk);
    free(life.model);
    return reached;
}

static void a_failure_in_recovery_or_closing_loses_nothing_that_was_stored(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 22);
    struct life life = {.model = memory_new(1, sizeof *life.model)};
    struct moment now = {0};
    model_begin(life.model, &now);
    life_begin(&life, disk_new());
    assert_true(run_until_opened(&life) && life_run_script(&life) && life_run_script(&life));
    disk_control(life.disk)->hold_writes = true;
    for (int i = 0; i < 3; i++) {
        model_append(life.model, &life.scene, 700);
    }
    model_flush(life.model, &life.scene);
    for (int turn = 0; turn < 20; turn++) {
        scene_run_once(&life.scene);
    }
    uint64_t number = 1;
    bool reached = true;
    while (reached) {
        struct disk *torn = disk_crash(life.disk, DISK_LOSE_SPOIL, &prng);
        /* What a start makes of it is what the second life begins with. */
        struct life first = {.model = life.model, .scene.stored = life.scene.stored};
        life_check_found(&first, disk_copy(torn), &now);
        reached = fail_second_life(torn, &now, number++, &prng);
    }
    assert_true(number > 40);
    life_end(&life);
    free(life.model);
}

/* A start, on what a process left that was killed: how much it says to be stored. */
static void start_again(struct disk *disk, struct life *ret_life,
                        struct storage_restored *ret_found)
{
    *ret_life = (struct life){.disk = NULL};
    life_begin(ret_life, disk);
    assert_true(run_until_opened(ret_life));
    storage_restored(ret_life->scene.storage, ret_found);
}

static bool fail_and_lose_power_later(uint64_t number, struct prng *prng)
{
    struct life first = {.model = memory_new(1, sizeof *first.model)};
    struct moment now = {0};
    model_begin(first.model, &now);
    struct disk *disk = disk_new();
    disk_control(disk)->fail_at = number;
    disk_control(disk)->fail_with = -EIO;
    life_begin(&first, disk);
    if (run_until_opened(&first) && life_run_script(&first)) {
        (void)life_run_script(&first);
    }
    bool reached = disk_control(disk)->started >= number;
    struct life second;
    struct life third;
    struct storage_restored told;
    struct storage_restored found;
    start_again(disk_crash(disk, DISK_LOSE_NONE, prng), &second, &told);
    start_again(disk_crash(second.disk, DISK_LOSE_ALL, prng), &third, &found);
    assert_true(found.term > told.term ||
                (found.term == told.term && found.voted_for == told.voted_for));
    assert_int_equal(found.last_index, told.last_index);
    life_end(&third);
    life_end(&second);
    life_end(&first);
    free(first.model);
    return reached;
}

/* Bug 10, the other half: what could not be synced is still read by the next start, from memory. */
static void what_a_failed_sync_left_in_memory_is_stored_before_it_is_told(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 23);
    uint64_t number = 1;
    while (fail_and_lose_power_later(number, &prng)) {
        number++;
    }
    assert_true(number > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_after_any_operation_loses_nothing_that_was_stored),
        cmocka_unit_test(a_term_learnt_from_the_log_stays_when_its_entries_go),
        cmocka_unit_test(a_failing_operation_stops_storage_and_loses_nothing_that_was_stored),
        cmocka_unit_test(a_failure_in_recovery_or_closing_loses_nothing_that_was_stored),
        cmocka_unit_test(what_a_failed_sync_left_in_memory_is_stored_before_it_is_told),
    };
    return cmocka_run_group_tests_name("storage_crash", tests, NULL, NULL);
}
