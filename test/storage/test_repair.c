/*
 * A damaged log that is set aside, since there are peers to repair it: what is left, what is said
 * of it, for how long, and that a crash at any operation on the way changes none of that.
 */
#include "disk.h"
#include "scene.h"
#include "shots.h"

#include "kvapp/err.h"
#include "storage/layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    ENTRIES = 12,
    TERM = 3,
    VOTED_FOR = 5,
    SEGMENT_SIZE = 4096,
    DAMAGED = 2 * SECTOR_SIZE + 100, /* in the first batch that is no seal */
};

static const char first_path[] = "data/log-0000000000000001";
static const char second_path[] = "data/log-0000000000000002";

static void begin(struct scene *scene, struct disk *disk)
{
    scene_init(scene, disk_io(disk), "data");
    scene->options.segment_size = SEGMENT_SIZE;
    scene->options.may_repair = true;
}

static void end(struct scene *scene)
{
    scene_close(scene);
    io_free(scene->io);
}

static void write_entries(struct scene *scene, int count)
{
    for (int i = 0; i < count; i++) {
        scene_append(scene, TERM, 700);
        scene_flush(scene);
        scene_settle(scene);
    }
}

/* A new disk, with so many entries by an open storage. */
static struct disk *begin_with_entries(struct scene *scene, int count)
{
    struct disk *disk = disk_new();
    begin(scene, disk);
    assert_int_equal(scene_open(scene), 0);
    storage_vote(scene->storage, TERM, VOTED_FOR);
    write_entries(scene, count);
    return disk;
}

/* A disk with a log of several segments, sealed. */
static struct disk *subject_new(void)
{
    struct scene scene;
    struct disk *disk = begin_with_entries(&scene, ENTRIES);
    end(&scene);
    assert_non_null(disk_bytes(disk, second_path));
    return disk;
}

static void spoil(struct disk *disk, const char *path, size_t offset)
{
    disk_bytes(disk, path)->data[offset] ^= 1;
}

static struct storage_restored open_and_look(struct scene *scene, struct disk *disk)
{
    struct storage_restored restored;
    begin(scene, disk);
    assert_int_equal(scene_open(scene), 0);
    storage_restored(scene->storage, &restored);
    assert_int_equal(restored.term, TERM);
    assert_int_equal(restored.voted_for, VOTED_FOR);
    return restored;
}

static void assert_lost(const struct storage_restored *restored, uint64_t until)
{
    assert_int_equal(restored->lost_until, until);
    assert_int_equal(restored->lost_term, TERM);
    assert_int_equal(restored->last_index, 0);
    assert_int_equal(restored->snapshot_index, 0);
}

/* Damages a log and opens it; the damage is said once, and the log is gone. */
static void check_damage(struct disk *disk, uint64_t until)
{
    struct scene scene;
    struct storage_restored restored = open_and_look(&scene, disk);
    assert_lost(&restored, until);
    assert_null(disk_bytes(disk, second_path));
    end(&scene);
    disk_free(disk);
}

static void a_damaged_log_is_set_aside_and_its_end_is_known(void **state)
{
    (void)state;
    struct disk *disk = subject_new();
    spoil(disk, first_path, DAMAGED);
    check_damage(disk, ENTRIES);
}

static void without_peers_the_start_is_refused_and_nothing_changes(void **state)
{
    (void)state;
    struct disk *disk = subject_new();
    spoil(disk, first_path, DAMAGED);
    struct disk *before = disk_copy(disk);
    struct scene scene;
    begin(&scene, disk);
    scene.options.may_repair = false;
    assert_int_equal(scene_open(&scene), KV_ERR_DAMAGED);
    assert_non_null(strstr(scene.sentence, "nothing was changed"));
    end(&scene);
    assert_true(disk_equal(before, disk));
    disk_free(before);
    disk_free(disk);
}

static void a_log_that_is_not_all_there_has_no_bound(void **state)
{
    (void)state;
    struct disk *disk = subject_new();
    disk_remove(disk, first_path);
    check_damage(disk, UINT64_MAX);
    /* Its header holds what the checksums of its batches begin with. */
    disk = subject_new();
    spoil(disk, second_path, 100);
    spoil(disk, second_path, 10);
    check_damage(disk, UINT64_MAX);
}

static void every_file_that_is_gone_has_no_bound(void **state)
{
    (void)state;
    struct disk *disk = subject_new();
    char path[64];
    for (unsigned number = 1; number < 20; number++) {
        (void)snprintf(path, sizeof path, "data/log-%016x", number);
        if (disk_bytes(disk, path) != NULL) {
            disk_remove(disk, path);
        }
    }
    check_damage(disk, UINT64_MAX);
}

/* It looks as the remains of a torn write do, and was acknowledged all the same. */
static void damage_at_the_end_too_leaves_no_bound(void **state)
{
    (void)state;
    struct disk *disk = subject_new();
    struct buf *bytes = NULL;
    char path[64];
    for (unsigned number = 1; number < 20; number++) {
        (void)snprintf(path, sizeof path, "data/log-%016x", number);
        struct buf *found = disk_bytes(disk, path);
        if (found != NULL && found->data[SECTOR_SIZE] != 0) {
            bytes = found;
        }
    }
    size_t last = 0;
    for (size_t at = 0; at < bytes->size; at += SECTOR_SIZE) {
        last = bytes->data[at] != 0 ? at : last;
    }
    bytes->data[last] ^= 1;
    spoil(disk, first_path, DAMAGED);
    check_damage(disk, UINT64_MAX);
}

static void the_files_that_were_set_aside_are_as_they_were(void **state)
{
    (void)state;
    struct disk *disk = subject_new();
    spoil(disk, first_path, DAMAGED);
    struct disk *before = disk_copy(disk);
    struct scene scene;
    (void)open_and_look(&scene, disk);
    end(&scene);
    const struct buf *was = disk_bytes(before, first_path);
    const struct buf *is = disk_bytes(disk, "data/damaged-0001/log-0000000000000001");
    assert_non_null(is);
    assert_int_equal(is->size, was->size);
    assert_memory_equal(is->data, was->data, was->size);
    disk_free(before);
    disk_free(disk);
}

static void a_loss_is_told_until_it_is_repaired(void **state)
{
    (void)state;
    struct disk *disk = subject_new();
    spoil(disk, first_path, DAMAGED);
    struct scene scene;
    (void)open_and_look(&scene, disk);
    write_entries(&scene, 4);
    end(&scene);
    struct storage_restored restored = open_and_look(&scene, disk);
    assert_int_equal(restored.last_index, 4);
    assert_int_equal(restored.lost_until, ENTRIES);
    storage_repaired(scene.storage);
    end(&scene);
    restored = open_and_look(&scene, disk);
    assert_int_equal(restored.last_index, 4);
    assert_int_equal(restored.lost_until, 0);
    assert_int_equal(restored.lost_term, 0);
    end(&scene);
    disk_free(disk);
}

/* The bound of the first stays; the files of the second go to a directory of their own. */
static void a_log_may_be_lost_again_before_it_is_repaired(void **state)
{
    (void)state;
    struct disk *disk = subject_new();
    spoil(disk, first_path, DAMAGED);
    struct scene scene;
    (void)open_and_look(&scene, disk);
    write_entries(&scene, 4);
    end(&scene);
    spoil(disk, first_path, DAMAGED);
    struct storage_restored restored = open_and_look(&scene, disk);
    assert_lost(&restored, ENTRIES);
    assert_non_null(disk_bytes(disk, "data/damaged-0001/log-0000000000000001"));
    assert_non_null(disk_bytes(disk, "data/damaged-0002/log-0000000000000001"));
    end(&scene);
    disk_free(disk);
}

static void a_log_that_was_marked_is_set_aside_by_the_next_start(void **state)
{
    (void)state;
    struct disk *disk = subject_new();
    struct scene scene;
    (void)open_and_look(&scene, disk);
    write_entries(&scene, 3);
    storage_mark_diverged(scene.storage);
    end(&scene);
    struct storage_restored restored = open_and_look(&scene, disk);
    assert_lost(&restored, ENTRIES + 3);
    end(&scene);
    assert_non_null(disk_bytes(disk, "data/damaged-0001/log-0000000000000001"));
    /* Once is enough. */
    restored = open_and_look(&scene, disk);
    assert_lost(&restored, ENTRIES + 3);
    end(&scene);
    assert_null(disk_bytes(disk, "data/damaged-0002/log-0000000000000001"));
    disk_free(disk);
}

static void the_only_snapshot_of_a_trimmed_log_may_be_lost(void **state)
{
    (void)state;
    struct scene scene;
    struct disk *disk = begin_with_entries(&scene, 30);
    struct shots shots;
    shots_init(&shots, &scene);
    assert_true(shots_take(&shots, 24, TERM));
    shots_done(&shots);
    storage_trim(scene.storage, 25);
    for (int turn = 0; turn < 200; turn++) {
        scene_run_once(&scene);
    }
    end(&scene);
    disk_remove(disk, "data/snapshot-0000000000000018");
    struct storage_restored restored = open_and_look(&scene, disk);
    assert_true(restored.lost_until >= 30);
    assert_lost(&restored, restored.lost_until);
    end(&scene);
    disk_free(disk);
}

/* Simulated seed 134560: the start went on with the one that it had set aside. */
static void a_snapshot_is_set_aside_with_the_log_behind_it(void **state)
{
    (void)state;
    struct scene scene;
    struct disk *disk = begin_with_entries(&scene, ENTRIES);
    struct shots shots;
    shots_init(&shots, &scene);
    assert_true(shots_take(&shots, 2, TERM));
    assert_true(shots_take(&shots, 4, TERM));
    shots_done(&shots);
    end(&scene);
    spoil(disk, first_path, DAMAGED);
    struct storage_restored restored = open_and_look(&scene, disk);
    assert_lost(&restored, ENTRIES);
    assert_int_equal(restored.membership.size, 0);
    assert_int_equal(storage_snapshot_newest(scene.storage), 0);
    assert_int_equal(storage_snapshot_oldest(scene.storage), 0);
    end(&scene);
    assert_non_null(disk_bytes(disk, "data/damaged-0001/snapshot-0000000000000004"));
    disk_free(disk);
}

/* ---- crashes ---- */

static void a_crash_on_the_way_changes_nothing_of_what_is_said(void **state)
{
    (void)state;
    static const enum disk_loss losses[] = {DISK_LOSE_ALL, DISK_LOSE_NONE, DISK_LOSE_SOME};
    struct prng prng;
    prng_init(&prng, 7);
    size_t crashes = 0;
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        bool stopped = true;
        for (uint64_t stop_at = 1; stopped; stop_at++) {
            struct disk *whole = subject_new();
            spoil(whole, first_path, DAMAGED);
            struct disk *disk = disk_copy(whole); /* with the damage at rest */
            disk_free(whole);
            struct scene scene;
            begin(&scene, disk);
            scene_start(&scene);
            uint64_t begun = disk_control(disk)->started;
            for (int turn = 0;
                 turn < 10000 && !scene.opened && disk_control(disk)->started - begun < stop_at;
                 turn++) {
                scene_run_once(&scene);
            }
            stopped = !scene.opened;
            struct disk *found = disk_crash(disk, losses[i], &prng);
            end(&scene);
            disk_free(disk);
            crashes += stopped;
            check_damage(found, ENTRIES);
        }
    }
    assert_true(crashes > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_log_is_set_aside_and_its_end_is_known),
        cmocka_unit_test(without_peers_the_start_is_refused_and_nothing_changes),
        cmocka_unit_test(a_log_that_is_not_all_there_has_no_bound),
        cmocka_unit_test(every_file_that_is_gone_has_no_bound),
        cmocka_unit_test(damage_at_the_end_too_leaves_no_bound),
        cmocka_unit_test(the_files_that_were_set_aside_are_as_they_were),
        cmocka_unit_test(a_loss_is_told_until_it_is_repaired),
        cmocka_unit_test(a_log_may_be_lost_again_before_it_is_repaired),
        cmocka_unit_test(a_log_that_was_marked_is_set_aside_by_the_next_start),
        cmocka_unit_test(the_only_snapshot_of_a_trimmed_log_may_be_lost),
        cmocka_unit_test(a_snapshot_is_set_aside_with_the_log_behind_it),
        cmocka_unit_test(a_crash_on_the_way_changes_nothing_of_what_is_said),
    };
    return cmocka_run_group_tests_name("a log that is repaired", tests, NULL, NULL);
}
