/*
 * Crashes and failing operations on a disk in memory: at every operation of a script, and at random
 * moments of random lives, checked against a model of what was promised.
 */
#include "disk.h"
#include "model.h"
#include "scene.h"

#include "base/memory.h"
#include "kvapp/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char directory[] = "data";

/* A life of a server on a disk: storage, its io, and the model. */
struct life {
    struct disk *disk;
    struct io *io;
    struct scene scene;
    struct model *model;
    uint64_t stop_at; /* operations of the disk after which the script ends; 0: never */
};

static void life_begin(struct life *life, struct disk *disk)
{
    life->disk = disk;
    life->io = disk_io(disk);
    scene_init(&life->scene, life->io, directory);
    life->scene.options.segment_size = 4096;
    life->scene.options.cache_size = 0;
    scene_start(&life->scene);
}

static bool stopped(const struct life *life)
{
    return life->stop_at != 0 && disk_control(life->disk)->started >= life->stop_at;
}

/* Closes and frees the life and its disk. */
static void life_end(struct life *life)
{
    disk_control(life->disk)->hold_writes = false;
    scene_close(&life->scene);
    io_free(life->io);
    disk_free(life->disk);
}

static bool run_until_opened(struct life *life)
{
    while (!life->scene.opened && !stopped(life)) {
        scene_run_once(&life->scene);
    }
    return life->scene.opened && life->scene.opened_err == 0;
}

static bool run_until_stored(struct life *life)
{
    while (life->scene.stored < life->scene.ticket && life->scene.failed_count == 0) {
        if (stopped(life)) {
            return false;
        }
        scene_run_once(&life->scene);
    }
    return life->scene.failed_count == 0;
}

/* ---- every operation of a script ---- */

/* A little of everything; false when it was stopped on the way. */
static bool script(struct life *life)
{
    struct scene *scene = &life->scene;
    struct model *model = life->model;
    uint64_t term = model_now(model)->term;
    model_vote(model, scene, term + 1, 7);
    model_flush(model, scene);
    model_append(model, scene, 0);
    model_append(model, scene, 100);
    model_flush(model, scene);
    if (!run_until_stored(life)) {
        return false;
    }
    model_append(model, scene, 900);
    model_append(model, scene, 600);
    model_flush(model, scene);
    model_vote(model, scene, term + 2, 3);
    model_truncate(model, scene, model_now(model)->last);
    model_append(model, scene, 1500);
    model_flush(model, scene);
    if (!run_until_stored(life)) {
        return false;
    }
    model_truncate(model, scene, model_now(model)->last);
    model_flush(model, scene);
    if (!run_until_stored(life)) {
        return false;
    }
    model_append(model, scene, 2000);
    model_append(model, scene, 1000);
    model_append(model, scene, 10);
    model_flush(model, scene);
    return run_until_stored(life);
}

/* Opens what was found after a crash, checks it, and ends. */
static void check_found(struct life *before, struct disk *found, struct moment *ret_now)
{
    struct life life = {.model = before->model};
    life_begin(&life, found);
    assert_true(run_until_opened(&life));
    model_check(before->model, &life.scene, before->scene.stored, ret_now);
    life_end(&life);
}

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
    bool ended = run_until_opened(&life) && script(&life) && script(&life) && script(&life);
    struct disk *found = disk_crash(life.disk, loss, prng);
    /* The recovery is interrupted too, at one operation or another. */
    struct life second = {.model = life.model, .stop_at = prng_between(prng, 1, 40)};
    life_begin(&second, found);
    (void)run_until_opened(&second);
    struct disk *found_again = disk_crash(found, loss, prng);
    life_end(&second);
    check_found(&life, found_again, &now);
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
    bool ended = opened && script(&life) && script(&life) && script(&life);
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
    check_found(&life, found, &now);
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
        (void)script(&life);
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
    check_found(&life, found, &now);
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
    assert_true(run_until_opened(&life) && script(&life) && script(&life));
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
        check_found(&first, disk_copy(torn), &now);
        reached = fail_second_life(torn, &now, number++, &prng);
    }
    assert_true(number > 40);
    life_end(&life);
    free(life.model);
}

/* ---- random lives ---- */

static uint64_t random_size(struct prng *prng)
{
    switch (prng_between(prng, 0, 3)) {
    case 0:
        return 0;
    case 1:
        return prng_between(prng, 1, 60);
    case 2:
        return prng_between(prng, 380, 480); /* around a sector */
    default:
        return prng_between(prng, 1, 2500);
    }
}

struct walker {
    struct life life;
    struct prng prng;
    uint64_t first; /* below it was trimmed */
    struct scene_read read;
    bool reading;
    uint64_t read_first;
};

static void finish_read(struct walker *walker)
{
    struct scene_read *read = &walker->read;
    if (!walker->reading || !read->done) {
        return;
    }
    walker->reading = false;
    assert_true(read->err == 0 || read->err == KV_ERR_NOT_FOUND);
    size_t at = 0;
    for (uint64_t i = 0; i < read->count; i++) {
        struct slice rest = slice_of(read->entries.data + at, read->entries.size - at);
        scene_check_made(rest, walker->read_first + i);
        at += entry_encoded_size(get_u32(rest.data + ENTRY_SIZE_OFFSET));
    }
}

static void start_read(struct walker *walker)
{
    uint64_t last = model_now(walker->life.model)->last;
    if (walker->reading || last < walker->first) {
        return;
    }
    walker->read_first = prng_between(&walker->prng, walker->first, last);
    walker->reading = true;
    scene_read_start(&walker->life.scene, &walker->read, walker->read_first,
                     prng_between(&walker->prng, walker->read_first, last),
                     prng_between(&walker->prng, 0, 6000));
}

/* A new term, some entries truncated, as a follower does when the leader changes. */
static void change_term(struct walker *walker)
{
    struct model *model = walker->life.model;
    struct scene *scene = &walker->life.scene;
    struct moment *now = model_now(model);
    model_vote(model, scene, now->term + 1, prng_between(&walker->prng, 0, 3));
    uint64_t last = model_now(model)->last;
    if (last > walker->first && prng_chance(&walker->prng, 2, 3)) {
        uint64_t low = last > walker->first + 6 ? last - 5 : walker->first + 1;
        model_truncate(model, scene, prng_between(&walker->prng, low, last));
    }
}

static void random_step(struct walker *walker)
{
    struct prng *prng = &walker->prng;
    struct model *model = walker->life.model;
    struct scene *scene = &walker->life.scene;
    uint64_t dice = prng_between(prng, 0, 99);
    if (dice < 35) {
        model_append(model, scene, random_size(prng));
    } else if (dice < 60) {
        model_flush(model, scene);
    } else if (dice < 67) {
        change_term(walker);
    } else if (dice < 72) {
        start_read(walker);
    } else if (dice < 75) {
        /* Only what is stored may be forgotten. */
        struct storage_stats stats;
        storage_stats(scene->storage, &stats);
        if (stats.durable_index >= walker->first) {
            walker->first = prng_between(prng, walker->first, stats.durable_index + 1);
            storage_trim(scene->storage, walker->first);
        }
    } else {
        scene_run_once(scene);
    }
    finish_read(walker);
}

/* What a start found is durable once it said so, and the torn remains are gone. */
static void check_settled(const struct walker *walker, const struct moment *now)
{
    struct prng prng;
    prng_init(&prng, 1);
    struct life life = {.model = memory_new(1, sizeof *life.model)};
    life_begin(&life, disk_crash(walker->life.disk, DISK_LOSE_ALL, &prng));
    assert_true(run_until_opened(&life));
    struct storage_restored restored;
    storage_restored(life.scene.storage, &restored);
    assert_int_equal(restored.torn_bytes, 0);
    assert_int_equal(restored.last_index, now->last);
    assert_int_equal(restored.term, now->term);
    assert_int_equal(restored.voted_for, now->voted_for);
    life_end(&life);
    free(life.model);
}

/* Some steps, then a crash or an end; leaves the disk that is found in walker->life.disk. */
static void random_session(struct walker *walker)
{
    struct life *life = &walker->life;
    uint64_t steps = prng_between(&walker->prng, 0, 250);
    for (uint64_t i = 0; i < steps && !model_full(life->model); i++) {
        random_step(walker);
    }
    struct disk *found;
    uint64_t stored = life->scene.stored;
    if (prng_chance(&walker->prng, 3, 4)) {
        enum disk_loss loss = losses[prng_between(&walker->prng, 0, 3)];
        found = disk_crash(life->disk, loss, &walker->prng);
        scene_close(&life->scene);
    } else {
        scene_close(&life->scene);
        found = disk_copy(life->disk);
        stored = life->scene.ticket;
        assert_int_equal(life->scene.stored, life->scene.ticket);
    }
    finish_read(walker);
    assert_false(walker->reading);
    assert_int_equal(life->scene.failed_count, 0);
    io_free(life->io);
    disk_free(life->disk);

    life_begin(life, found);
    disk_control(found)->one_by_one = true;
    disk_control(found)->prng = walker->prng;
    if (!run_until_opened(life)) {
        fail_msg("refused: %s", life->scene.sentence);
    }
    struct moment now;
    model_check(life->model, &life->scene, stored, &now);
    model_begin(life->model, &now);
    if (prng_chance(&walker->prng, 1, 4)) {
        check_settled(walker, &now);
    }
}

static void random_life(uint64_t seed)
{
    struct walker walker = {.life.model = memory_new(1, sizeof *walker.life.model), .first = 1};
    struct moment now = {0};
    prng_init(&walker.prng, seed);
    model_begin(walker.life.model, &now);
    life_begin(&walker.life, disk_new());
    assert_true(run_until_opened(&walker.life));
    for (int session = 0; session < 12 && !model_full(walker.life.model); session++) {
        random_session(&walker);
    }
    life_end(&walker.life);
    buf_done(&walker.read.entries);
    free(walker.life.model);
}

/* Bugs 6, 11 and 13: any part of what was not synced survives, in any order. */
static void random_lives_keep_every_promise(void **state)
{
    (void)state;
    const char *seed_text = getenv("STORAGE_SEED");
    const char *count_text = getenv("STORAGE_SEED_COUNT");
    uint64_t first = seed_text == NULL ? 1 : strtoull(seed_text, NULL, 10);
    uint64_t count = seed_text == NULL ? 200 : 1;
    count = count_text == NULL ? count : strtoull(count_text, NULL, 10);
    for (uint64_t seed = first; seed < first + count; seed++) {
        print_message("# STORAGE_SEED=%lu\n", (unsigned long)seed);
        random_life(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_after_any_operation_loses_nothing_that_was_stored),
        cmocka_unit_test(a_term_learnt_from_the_log_stays_when_its_entries_go),
        cmocka_unit_test(a_failing_operation_stops_storage_and_loses_nothing_that_was_stored),
        cmocka_unit_test(a_failure_in_recovery_or_closing_loses_nothing_that_was_stored),
        cmocka_unit_test(random_lives_keep_every_promise),
    };
    return cmocka_run_group_tests_name("storage_crash", tests, NULL, NULL);
}
