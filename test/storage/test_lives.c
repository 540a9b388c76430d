/*
 * Random lives of a server on a disk in memory: everything that storage can be asked for, in any
 * order, crashes at any moment, checked against a model of what was promised.
 *
 * STORAGE_SEED=n runs one life again, STORAGE_SEED_COUNT=n more or fewer of them.
 */
#include "life.h"
#include "shots.h"

#include "base/memory.h"
#include "kvapp/err.h"

#include <stdlib.h>

static const enum disk_loss losses[] = {
    DISK_LOSE_ALL,
    DISK_LOSE_NONE,
    DISK_LOSE_SOME,
    DISK_LOSE_SPOIL,
};

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
    uint64_t first;     /* below it was trimmed */
    uint64_t committed; /* below or at it nothing is truncated: a snapshot holds it */
    uint64_t newest;    /* the newest snapshot that was reported */
    struct shots shots;
    size_t phase; /* of the snapshot that is being taken; 0: none is */
    uint64_t taking;
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
    uint64_t kept = walker->first > walker->committed ? walker->first : walker->committed;
    if (last > kept && prng_chance(&walker->prng, 2, 3)) {
        uint64_t low = last > kept + 6 ? last - 5 : kept + 1;
        model_truncate(model, scene, prng_between(&walker->prng, low, last));
    }
}

/* Begins a snapshot, or takes the one that is under way a step on. */
static void step_snapshot(struct walker *walker)
{
    struct shots *shots = &walker->shots;
    struct storage *storage = walker->life.scene.storage;
    struct storage_stats stats;
    storage_stats(storage, &stats);
    if (walker->phase > 0 && !shots->done) {
        return;
    }
    if (walker->phase > shots->chunks + 1) {
        bool overtaken = shots->err == KV_ERR_INVALID && walker->taking <= walker->newest;
        assert_true(shots->err == 0 || overtaken);
        walker->newest = storage_snapshot_newest(storage);
        walker->phase = 0;
        return;
    }
    if (walker->phase == 0 && stats.durable_index <= walker->committed) {
        return;
    }
    struct buf bytes = {0};
    shots->done = false;
    if (walker->phase == 0) {
        uint64_t index = prng_between(&walker->prng, walker->committed + 1, stats.durable_index);
        walker->taking = index;
        walker->committed = index;
        shots_membership(index, &bytes);
        struct storage_snapshot_meta meta = {
            .index = index,
            .term = model_now(walker->life.model)->terms[index],
            .digest = shots_digest(index),
            .membership = buf_slice(&bytes),
        };
        storage_snapshot_begin(storage, &shots->taking, &meta);
    } else if (walker->phase <= shots->chunks) {
        shots_chunk(shots, walker->taking, walker->phase - 1, &bytes);
        storage_snapshot_chunk(storage, buf_slice(&bytes));
    } else {
        storage_snapshot_commit(storage);
    }
    walker->phase++;
    buf_done(&bytes);
}

/* A leader sends a snapshot, which may be behind the log's end, in it, or contradict it. */
static void install(struct walker *walker)
{
    struct model *model = walker->life.model;
    struct scene *scene = &walker->life.scene;
    const struct moment *now = model_now(model);
    if (now->last + 6 >= MODEL_INDEX_MAX - 8 || now->term == 0) {
        return;
    }
    uint64_t index = prng_between(&walker->prng, walker->committed + 1, now->last + 6);
    bool held = index <= now->last && prng_chance(&walker->prng, 1, 2);
    uint64_t term = held ? now->terms[index] : now->term;
    struct buf file = {0};
    struct storage_snapshot_offer offer = shots_make(0xc1, index, term, &file);
    struct shots shots;
    shots_init(&shots, scene);
    assert_true(
        shots_receive(&shots, &offer, buf_slice(&file), prng_between(&walker->prng, 50, 2000)));
    assert_int_equal(shots.err, 0);
    assert_int_equal(storage_snapshot_newest(scene->storage), index);
    if (index > now->last || now->terms[index] != term) {
        model_reset(model, scene, index, term);
        walker->first = index + 1;
    }
    walker->committed = index;
    walker->newest = index;
    shots_done(&shots);
    buf_done(&file);
}

static void trim(struct walker *walker)
{
    struct storage *storage = walker->life.scene.storage;
    uint64_t newest = storage_snapshot_newest(storage);
    if (newest >= walker->first) {
        walker->first = prng_between(&walker->prng, walker->first, newest + 1);
        storage_trim(storage, walker->first);
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
        trim(walker);
    } else if (dice < 80) {
        step_snapshot(walker);
    } else if (dice < 81) {
        install(walker);
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

/* The snapshot that was reported, or the one whose end was on its way. */
static void check_snapshot(struct walker *walker)
{
    struct scene *scene = &walker->life.scene;
    struct storage_restored restored;
    storage_restored(scene->storage, &restored);
    uint64_t index = restored.snapshot_index;
    bool committing = walker->phase > walker->shots.chunks + 1 && index == walker->taking;
    assert_true(index == walker->newest || (committing && index > walker->newest));
    assert_int_equal(restored.snapshot_index, storage_snapshot_newest(scene->storage));
    shots_init(&walker->shots, scene);
    walker->phase = 0;
    walker->newest = index;
    walker->committed = index;
    if (restored.first_index > walker->first) {
        walker->first = restored.first_index;
    }
    if (index > 0) {
        shots_check(&walker->shots, index);
    }
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
    shots_done(&walker->shots);
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
    check_snapshot(walker);
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
    shots_init(&walker.shots, &walker.life.scene);
    for (int session = 0; session < 12 && !model_full(walker.life.model); session++) {
        random_session(&walker);
    }
    life_end(&walker.life);
    shots_done(&walker.shots);
    buf_done(&walker.read.entries);
    free(walker.life.model);
}

/* Bugs 6, 11, 13, 15, 18 and 24: any part of what was not synced survives, in any order. */
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
        cmocka_unit_test(random_lives_keep_every_promise),
    };
    return cmocka_run_group_tests_name("storage_lives", tests, NULL, NULL);
}
