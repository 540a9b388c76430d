/*
 * Starts on files that are whole by themselves but not what they should be, that change under the
 * start, and starts that are closed while an operation fails.
 */
#include "bench.h"

#include "kvapp/err.h"
#include "storage/batch.h"
#include "storage/segment.h"
#include "storage/vote.h"

#include <errno.h>
#include <string.h>

enum { LAST = 60 };

static const char *segment_path(unsigned number)
{
    static char path[64];
    (void)snprintf(path, sizeof path, "data/log-%016x", number);
    return path;
}

/* A closed log of several segments. */
static struct bench *begin(void **state)
{
    struct bench *bench = *state;
    fill(bench, LAST);
    run_some(bench);
    scene_close(&bench->scene);
    return bench;
}

/* The same, behind a snapshot and trimmed; returns its first segment, which was another before. */
static unsigned begin_trimmed(struct bench *bench)
{
    fill(bench, LAST);
    take(bench, LAST - 5);
    storage_trim(bench->scene.storage, LAST - 4);
    run_some(bench);
    scene_close(&bench->scene);
    struct identity identity = {.cluster_id = 0xc1, .node_id = 7};
    struct vote vote;
    unsigned slot;
    bool echoed;
    struct slice file = buf_slice(disk_bytes(bench->disk, "data/VOTE"));
    assert_int_equal(vote_choose(file, &identity, &vote, &slot, &echoed), 0);
    assert_true(vote.first_segment > 1);
    return (unsigned)vote.first_segment;
}

/* Nothing is changed by it, and it names `what`. */
static void check_damaged(struct bench *bench, const char *what)
{
    struct disk *before = disk_copy(bench->disk);
    assert_int_equal(scene_open(&bench->scene), KV_ERR_DAMAGED);
    assert_non_null(strstr(bench->scene.sentence, what));
    scene_close(&bench->scene);
    assert_true(disk_equal(before, bench->disk));
    disk_free(before);
}

static void segments_whose_names_were_swapped_are_damaged(void **state)
{
    struct bench *bench = begin(state);
    struct buf *first = disk_bytes(bench->disk, segment_path(1));
    struct buf *second = disk_bytes(bench->disk, segment_path(2));
    struct buf kept = *first;
    *first = *second;
    *second = kept;
    check_damaged(bench, segment_path(1));
    kept = *first;
    *first = *second;
    *second = kept;
    assert_int_equal(scene_open(&bench->scene), 0);
    assert_int_equal(storage_last_index(bench->scene.storage), LAST);
}

/* Under a checksum that is right at this very place. */
static void a_batch_of_another_segment_is_not_taken(void **state)
{
    struct bench *bench = begin(state);
    struct identity identity = {.cluster_id = 0xc1, .node_id = 7};
    uint8_t *bytes = disk_bytes(bench->disk, segment_path(2))->data;
    struct segment segment;
    assert_int_equal(segment_decode(bytes, &identity, &segment), 0);
    struct batch_place place = {.salt = segment.salt, .offset = SECTOR_SIZE};
    struct batch batch;
    assert_int_equal(batch_decode(bytes + SECTOR_SIZE, place, &batch), 0);
    assert_int_equal(batch.segment, 2);
    batch.segment = 3;
    batch_encode(&batch, place, bytes + SECTOR_SIZE);
    check_damaged(bench, "so it was stored");
    batch.segment = 2;
    batch_encode(&batch, place, bytes + SECTOR_SIZE);
    assert_int_equal(scene_open(&bench->scene), 0);
    assert_int_equal(storage_last_index(bench->scene.storage), LAST);
}

/* Cut after so many turns of the start: either it has been read, or it is damaged. */
static void a_segment_that_is_cut_during_the_start_is_not_read_beyond_its_end(void **state)
{
    struct bench *bench = begin(state);
    bool read = false;
    bool noticed = false;
    for (int turns = 0; !read; turns++) {
        assert_true(turns < 200);
        struct disk *disk = disk_copy(bench->disk);
        struct io *io = disk_io(disk);
        struct scene scene;
        scene_init(&scene, io, "data");
        scene_start(&scene);
        for (int turn = 0; turn < turns; turn++) {
            scene_run_once(&scene);
        }
        read = scene.opened;
        disk_bytes(disk, segment_path(1))->size = 3000;
        for (int turn = 0; turn < 1000 && !scene.opened; turn++) {
            scene_run_once(&scene);
        }
        assert_true(scene.opened);
        if (scene.opened_err == 0) {
            assert_int_equal(storage_last_index(scene.storage), LAST);
        } else {
            assert_int_equal(scene.opened_err, KV_ERR_DAMAGED);
            assert_non_null(strstr(scene.sentence, segment_path(1)));
            noticed = noticed || strstr(scene.sentence, "before its size") != NULL;
        }
        scene_close(&scene);
        io_free(io);
        disk_free(disk);
    }
    assert_true(noticed);
    assert_int_equal(scene_open(&bench->scene), 0);
}

/* ---- a trimmed log ---- */

static void a_trimmed_log_that_lost_all_its_segments_is_refused(void **state)
{
    struct bench *bench = *state;
    unsigned first = begin_trimmed(bench);
    /* One that was trimmed is there still, to be the next one. */
    assert_non_null(disk_bytes(bench->disk, segment_path(first - 1)));
    for (unsigned number = first; number < first + 10; number++) {
        if (disk_bytes(bench->disk, segment_path(number)) != NULL) {
            disk_remove(bench->disk, segment_path(number));
        }
    }
    check_damaged(bench, segment_path(first));
}

/* No batch says where it begins. */
static void a_trimmed_log_whose_batches_are_all_gone_is_refused(void **state)
{
    struct bench *bench = *state;
    unsigned first = begin_trimmed(bench);
    for (unsigned number = first; number < first + 10; number++) {
        struct buf *bytes = disk_bytes(bench->disk, segment_path(number));
        if (bytes != NULL) {
            memset(bytes->data + SECTOR_SIZE, 0, bytes->size - SECTOR_SIZE);
        }
    }
    check_damaged(bench, "VOTE says that the log goes on there");
}

/* ---- directories that lack files ---- */

static void remove_segments(struct bench *bench)
{
    for (unsigned number = 1; number < 64; number++) {
        if (disk_bytes(bench->disk, segment_path(number)) != NULL) {
            disk_remove(bench->disk, segment_path(number));
        }
    }
}

static void votes_alone_are_not_taken_for_a_new_directory(void **state)
{
    struct bench *bench = begin(state);
    remove_segments(bench);
    disk_remove(bench->disk, "data/IDENTITY");
    check_damaged(bench, "holds votes");
}

/* Votes as a new directory has them do not make one of a directory that has a snapshot. */
static void a_snapshot_with_the_votes_of_a_new_directory_is_refused(void **state)
{
    struct bench *bench = *state;
    fill(bench, 5);
    take(bench, 5);
    scene_close(&bench->scene);
    remove_segments(bench);
    struct identity identity = {.cluster_id = 0xc1, .node_id = 7};
    struct vote vote = {.sequence = 1, .first_segment = 1};
    uint8_t *bytes = disk_bytes(bench->disk, "data/VOTE")->data;
    vote_encode(&vote, &identity, bytes);
    vote_encode(&vote, &identity, bytes + VOTE_SLOT_SPACING);
    check_damaged(bench, "the log is missing");
    disk_remove(bench->disk, "data/snapshot-0000000000000005");
    assert_int_equal(scene_open(&bench->scene), 0);
    assert_int_equal(storage_last_index(bench->scene.storage), 0);
}

/* ---- directories without an identity ---- */

static void an_empty_directory_is_made_only_for_a_cluster(void **state)
{
    (void)state;
    struct disk *disk = disk_new();
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, "data");
    scene.options.cluster_id = 0;
    assert_int_equal(scene_open(&scene), KV_ERR_NO_IDENTITY);
    assert_non_null(strstr(scene.sentence, "data: "));
    scene_close(&scene);
    const char *left[] = {"data/IDENTITY", "data/IDENTITY.tmp", "data/VOTE",
                          "data/log-0000000000000001"};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        assert_null(disk_bytes(disk, left[i]));
    }
    scene.options.cluster_id = 0xc1;
    assert_int_equal(scene_open(&scene), 0);
    scene_close(&scene);
    io_free(io);
    disk_free(disk);
}

static void a_directory_keeps_the_founders_that_it_was_made_with(void **state)
{
    struct bench *bench = *state;
    struct slice named[] = {slice_of_string("others"), {0}};
    for (size_t i = 0; i < 2; i++) {
        scene_close(&bench->scene);
        bench->scene.options.founders = named[i];
        assert_int_equal(scene_open(&bench->scene), 0);
        struct storage_restored restored;
        storage_restored(bench->scene.storage, &restored);
        assert_true(slice_equal(restored.founders, slice_of_string("those who began")));
    }
}

static void a_directory_that_is_an_older_copy_is_refused_for_ever(void **state)
{
    struct bench *bench = *state;
    storage_mark_outdated(bench->scene.storage);
    for (int i = 0; i < 2; i++) {
        scene_close(&bench->scene);
        assert_int_equal(scene_open(&bench->scene), KV_ERR_OUTDATED);
        assert_non_null(strstr(bench->scene.sentence, "data: is an older copy"));
    }
}

/* Made anew, a directory is another one, though of the same node and cluster. */
static void a_directory_that_was_emptied_has_another_incarnation(void **state)
{
    struct bench *bench = *state;
    struct storage_restored restored;
    storage_restored(bench->scene.storage, &restored);
    uint64_t before = restored.incarnation;
    scene_close(&bench->scene);
    disk_remove(bench->disk, "data/IDENTITY");
    disk_remove(bench->disk, "data/VOTE");
    remove_segments(bench);
    assert_int_equal(scene_open(&bench->scene), 0);
    storage_restored(bench->scene.storage, &restored);
    assert_true(restored.incarnation != before);
}

/* ---- memberships in the log ---- */

enum { MEMBERSHIP_SIZE = 44, COMMAND_SIZE = 40 };

static void append(struct bench *bench, size_t payload_size)
{
    scene_append(&bench->scene, 1, payload_size);
    scene_flush(&bench->scene);
    scene_settle(&bench->scene);
}

static void check_memberships(struct bench *bench, const uint64_t *indexes, size_t count)
{
    struct storage_restored restored;
    reopen(bench, &restored);
    assert_int_equal(restored.membership_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(restored.memberships[i].index, indexes[i]);
        assert_int_equal(restored.memberships[i].payload.size, MEMBERSHIP_SIZE);
        struct slice encoded;
        struct entry entry;
        size_t size;
        assert_int_equal(storage_get(bench->scene.storage, indexes[i], &encoded), 0);
        assert_int_equal(entry_decode(encoded, &entry, &size), 0);
        assert_true(slice_equal(restored.memberships[i].payload, entry.payload));
    }
}

static void memberships_are_those_of_the_log_behind_the_snapshot(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < 4; i++) {
        append(bench, MEMBERSHIP_SIZE);
        append(bench, COMMAND_SIZE);
    }
    check_memberships(bench, (const uint64_t[]){1, 3, 5, 7}, 4);
    /* Truncated by a record, replaced by a batch. */
    storage_truncate(bench->scene.storage, 7);
    scene_flush(&bench->scene);
    scene_settle(&bench->scene);
    check_memberships(bench, (const uint64_t[]){1, 3, 5}, 3);
    storage_truncate(bench->scene.storage, 4);
    append(bench, MEMBERSHIP_SIZE);
    append(bench, COMMAND_SIZE);
    check_memberships(bench, (const uint64_t[]){1, 3, 4}, 3);
    scene_snapshot(&bench->scene, 3, 1);
    check_memberships(bench, (const uint64_t[]){4}, 1);
    /* The log begins anew. */
    struct storage_snapshot_offer offer = shots_make(0xc1, 9, 2, &bench->file);
    assert_true(shots_receive(&bench->shots, &offer, buf_slice(&bench->file), 1000));
    assert_int_equal(bench->shots.err, 0);
    storage_reset(bench->scene.storage, 9, 2);
    scene_append(&bench->scene, 2, MEMBERSHIP_SIZE);
    scene_flush(&bench->scene);
    scene_settle(&bench->scene);
    check_memberships(bench, (const uint64_t[]){10}, 1);
}

/* ---- closed in the middle ---- */

/* Returns false once it was opened before the operation that fails. */
static bool close_at(struct bench *bench, uint64_t number)
{
    struct disk *disk = disk_copy(bench->disk);
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, "data");
    disk_control(disk)->fail_at = number;
    disk_control(disk)->fail_with = -EIO;
    scene_start(&scene);
    while (!scene.opened && disk_control(disk)->started < number) {
        scene_run_once(&scene);
    }
    bool before = !scene.opened;
    scene_close(&scene);
    assert_int_equal(scene.opened, !before);
    disk_control(disk)->fail_at = 0;
    assert_int_equal(scene_open(&scene), 0);
    assert_int_equal(storage_last_index(scene.storage), LAST);
    scene_close(&scene);
    io_free(io);
    disk_free(disk);
    return before;
}

static void a_start_that_is_closed_does_not_answer_though_its_operation_fails(void **state)
{
    struct bench *bench = begin(state);
    uint64_t number = 1;
    while (close_at(bench, number)) {
        number++;
    }
    assert_true(number > 15);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(segments_whose_names_were_swapped_are_damaged),
        CASE(a_batch_of_another_segment_is_not_taken),
        CASE(a_segment_that_is_cut_during_the_start_is_not_read_beyond_its_end),
        CASE(a_trimmed_log_that_lost_all_its_segments_is_refused),
        CASE(a_trimmed_log_whose_batches_are_all_gone_is_refused),
        CASE(votes_alone_are_not_taken_for_a_new_directory),
        CASE(a_snapshot_with_the_votes_of_a_new_directory_is_refused),
        CASE(an_empty_directory_is_made_only_for_a_cluster),
        CASE(a_directory_keeps_the_founders_that_it_was_made_with),
        CASE(a_directory_that_is_an_older_copy_is_refused_for_ever),
        CASE(a_directory_that_was_emptied_has_another_incarnation),
        CASE(memberships_are_those_of_the_log_behind_the_snapshot),
        CASE(a_start_that_is_closed_does_not_answer_though_its_operation_fails),
    };
    return cmocka_run_group_tests_name("storage_start", tests, NULL, NULL);
}
