/* Writing and reading in detail, on a disk in memory whose completions can be held back. */
#include "disk.h"
#include "scene.h"

#include "base/memory.h"
#include "kvapp/err.h"
#include "storage/layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char directory[] = "data";

struct bench {
    struct disk *disk;
    struct scene scene;
};

static int set_up(void **state)
{
    struct bench *bench = memory_new(1, sizeof *bench);
    bench->disk = disk_new();
    scene_init(&bench->scene, disk_io(bench->disk), directory);
    *state = bench;
    return scene_open(&bench->scene);
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    disk_control(bench->disk)->hold_writes = false;
    if (bench->scene.storage != NULL) {
        scene_close(&bench->scene);
    }
    io_free(bench->scene.io);
    disk_free(bench->disk);
    free(bench);
    return 0;
}

static void run_some(struct scene *scene)
{
    for (int turn = 0; turn < 50; turn++) {
        scene_run_once(scene);
    }
}

static struct storage_stats stats_of(struct scene *scene)
{
    struct storage_stats stats;
    storage_stats(scene->storage, &stats);
    return stats;
}

static void nothing_is_stored_before_its_write_completed(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    run_some(scene);
    disk_control(bench->disk)->hold_writes = true;
    scene_append(scene, 1, 100);
    scene_flush(scene);
    run_some(scene);
    assert_int_equal(scene->stored, 0);
    assert_int_equal(stats_of(scene).durable_index, 0);
    disk_control(bench->disk)->hold_writes = false;
    run_some(scene);
    assert_int_equal(scene->stored, 1);
    assert_int_equal(stats_of(scene).durable_index, 1);
}

static void what_is_flushed_during_a_write_becomes_one_write(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    run_some(scene);
    disk_control(bench->disk)->hold_writes = true;
    uint64_t before = stats_of(scene).writes;
    for (int i = 0; i < 20; i++) {
        scene_append(scene, 1, 100);
        scene_flush(scene);
        run_some(scene);
    }
    disk_control(bench->disk)->hold_writes = false;
    scene_settle(scene);
    assert_int_equal(scene->stored, 20);
    assert_int_equal(scene->stored_count, 2);
    assert_int_equal(stats_of(scene).writes, before + 2);
}

static void log_and_vote_are_written_side_by_side_and_stored_together(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    run_some(scene);
    struct disk_control *control = disk_control(bench->disk);
    control->hold_writes = true;
    uint64_t before = control->write_count;
    storage_vote(scene->storage, 5, 7);
    scene_append(scene, 5, 100);
    scene_flush(scene);
    run_some(scene);
    assert_int_equal(control->write_count, before + 2);
    assert_int_equal(scene->stored, 0);
    control->hold_writes = false;
    scene_settle(scene);
    assert_int_equal(scene->stored_count, 1);
}

static void a_ticket_with_nothing_to_write_is_still_reported(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    run_some(scene);
    uint64_t before = stats_of(scene).writes;
    scene_flush(scene);
    assert_int_equal(scene->stored, 0);
    scene_settle(scene);
    assert_int_equal(scene->stored, 1);
    assert_int_equal(stats_of(scene).writes, before);
}

static void entries_truncated_in_mid_write_are_replaced_by_the_next(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    run_some(scene);
    disk_control(bench->disk)->hold_writes = true;
    for (int i = 0; i < 10; i++) {
        scene_append(scene, 1, 50);
    }
    scene_flush(scene);
    run_some(scene);
    storage_truncate(scene->storage, 4);
    scene_append(scene, 2, 60);
    scene_append(scene, 2, 61);
    scene_flush(scene);
    disk_control(bench->disk)->hold_writes = false;
    scene_settle(scene);
    scene_close(scene);
    assert_int_equal(scene_open(scene), 0);
    assert_int_equal(storage_last_index(scene->storage), 5);
    struct slice encoded;
    assert_int_equal(storage_get(scene->storage, 3, &encoded), 0);
    scene_check_entry(encoded, 3, 1, 50);
    assert_int_equal(storage_get(scene->storage, 5, &encoded), 0);
    scene_check_entry(encoded, 5, 2, 61);
}

static void closing_stores_what_was_flushed_and_only_that(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    scene_append(scene, 1, 50);
    scene_flush(scene);
    scene_append(scene, 1, 51);
    scene_flush(scene);
    scene_append(scene, 1, 52);
    scene_close(scene);
    assert_int_equal(scene->stored, 2);
    assert_int_equal(scene_open(scene), 0);
    assert_int_equal(storage_last_index(scene->storage), 2);
}

static void closing_in_mid_opening_ends_it(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    scene_append(scene, 1, 50);
    scene_flush(scene);
    scene_close(scene);
    for (int turns = 0; turns < 40; turns++) {
        scene_start(scene);
        for (int turn = 0; turn < turns; turn++) {
            scene_run_once(scene);
        }
        scene_close(scene);
    }
    assert_int_equal(scene_open(scene), 0);
    assert_int_equal(storage_last_index(scene->storage), 1);
}

static void the_cache_keeps_to_its_size_and_the_rest_is_read_from_the_disk(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    scene_close(scene);
    scene->options.segment_size = 1024 * 1024;
    scene->options.cache_size = 8 * 64 * 1024;
    assert_int_equal(scene_open(scene), 0);
    for (int i = 0; i < 3000; i++) {
        scene_append(scene, 1, 1000);
        if (i % 7 == 0) {
            scene_flush(scene);
            scene_settle(scene);
        }
    }
    scene_flush(scene);
    scene_settle(scene);
    assert_true(stats_of(scene).cache_bytes <= 9 * 64 * 1024);
    uint64_t cached = storage_cached_from(scene->storage);
    assert_true(cached > 2000);
    struct slice encoded;
    assert_int_equal(storage_get(scene->storage, cached - 1, &encoded), KV_ERR_NOT_CACHED);
    assert_int_equal(storage_get(scene->storage, cached, &encoded), 0);
    struct scene_read read = {0};
    for (uint64_t first = 1; first <= 3000; first += 61) {
        assert_int_equal(scene_read(scene, &read, first, 3000, 5000), 0);
        assert_true(read.count >= 1);
        assert_true(read.entries.size <= 5000);
        scene_check_entry(slice_of(read.entries.data, 1040), first, 1, 1000);
    }
    buf_done(&read.entries);
}

static void fit_never_promises_too_much(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    scene_close(scene);
    scene->options.segment_size = 1024 * 1024;
    scene->options.cache_size = 8 * 64 * 1024;
    assert_int_equal(scene_open(scene), 0);
    for (int i = 0; i < 1000; i++) {
        scene_append(scene, 1, 960); /* 1000 bytes each */
        if (i % 10 == 9) {
            scene_flush(scene);
            scene_settle(scene);
        }
    }
    uint64_t cached = storage_cached_from(scene->storage);
    assert_true(cached > 300);
    assert_true(cached < 998);
    assert_int_equal(storage_fit(scene->storage, cached, 1000, 2500), cached + 1);
    assert_int_equal(storage_fit(scene->storage, cached, 1000, 10), cached);
    assert_int_equal(storage_fit(scene->storage, cached, cached + 1, 1000000), cached + 1);
    assert_int_equal(storage_fit(scene->storage, 1001, 1010, 1000), 1001);
    assert_int_equal(storage_fit(scene->storage, 1, 1000, 100 * 1000 * 1000), 1000);
    for (uint64_t size = 0; size < 400000; size += 7777) {
        for (uint64_t first = 1; first < 1000; first += 97) {
            uint64_t last = storage_fit(scene->storage, first, 1000, size);
            assert_true(last >= first);
            assert_true(last == first || (last - first + 1) * 1000 <= size);
        }
    }
    /* Whole extents of the disk are of use. */
    assert_true(storage_fit(scene->storage, 1, 1000, 200000) >= 60);
}

static void a_read_gives_nothing_that_was_truncated_meanwhile(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    scene_close(scene);
    scene->options.cache_size = 0;
    scene->options.segment_size = 1024 * 1024;
    assert_int_equal(scene_open(scene), 0);
    for (int i = 0; i < 600; i++) {
        scene_append(scene, 1, 1000);
    }
    scene_flush(scene);
    scene_settle(scene);
    assert_true(storage_cached_from(scene->storage) > 10);
    struct scene_read all = {0};
    struct scene_read part = {0};
    scene_read_start(scene, &all, 5, 9, 100000);
    scene_read_start(scene, &part, 2, 9, 100000);
    storage_truncate(scene->storage, 4);
    scene_read_wait(scene, &all);
    scene_read_wait(scene, &part);
    assert_int_equal(all.err, KV_ERR_NOT_FOUND);
    assert_int_equal(part.err, 0);
    assert_int_equal(part.count, 2);
    assert_int_equal(part.entries.size, 2 * 1040);
    scene_check_entry(slice_of(part.entries.data + 1040, 1040), 3, 1, 1000);
    assert_int_equal(scene_read(scene, &all, 4, 4, 1000), KV_ERR_NOT_FOUND);
    buf_done(&all.entries);
    buf_done(&part.entries);
}

/* Six hundred entries of 1040 bytes, of which the first stand only on the disk, in log-...3. */
static void fill_without_a_cache(struct bench *bench)
{
    struct scene *scene = &bench->scene;
    scene_close(scene);
    scene->options.cache_size = 0;
    scene->options.segment_size = 1024 * 1024;
    assert_int_equal(scene_open(scene), 0);
    for (int i = 0; i < 600; i++) {
        scene_append(scene, 1, 1000);
    }
    scene_flush(scene);
    scene_settle(scene);
}

static void a_damaged_entry_is_named_when_it_is_read(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    fill_without_a_cache(bench);
    /* The first two segments are of the size that set_up asked for. */
    struct buf *bytes = disk_bytes(bench->disk, "data/log-0000000000000003");
    bytes->data[100000] ^= 1;
    struct scene_read read = {0};
    assert_int_equal(scene_read(scene, &read, 50, 300, 400000), KV_ERR_DAMAGED);
    assert_non_null(strstr(read.sentence, "data/log-0000000000000003 at offset"));
    assert_int_equal(scene->failed_count, 0);
    buf_done(&read.entries);
}

static void a_read_that_fails_at_any_operation_says_where_and_harms_nothing(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    struct scene_read read = {0};
    fill_without_a_cache(bench);
    struct disk_control *control = disk_control(bench->disk);
    int failures = 0;
    control->fail_with = -EIO;
    do {
        failures++;
        control->fail_at = control->started + (uint64_t)failures;
        (void)scene_read(scene, &read, 50, 60, 400000);
        if (read.err != 0) {
            assert_int_equal(read.err, KV_ERR_IO);
            assert_non_null(strstr(read.sentence, "data/log-"));
            assert_non_null(strstr(read.sentence, io_error_sentence(-EIO)));
        }
    } while (read.err != 0);
    /* To open the segment, and to read from it. */
    assert_int_equal(failures, 3);
    assert_int_equal(read.count, 11);
    control->fail_at = 0;
    assert_int_equal(scene->failed_count, 0);
    buf_done(&read.entries);
}

static void a_segment_that_lost_its_end_is_damaged_when_it_is_read(void **state)
{
    struct bench *bench = *state;
    struct scene_read read = {0};
    fill_without_a_cache(bench);
    disk_bytes(bench->disk, "data/log-0000000000000003")->size = 60000;
    assert_int_equal(scene_read(&bench->scene, &read, 50, 300, 400000), KV_ERR_DAMAGED);
    assert_non_null(strstr(read.sentence, "shorter than its header says"));
    buf_done(&read.entries);
}

static void what_is_not_in_the_log_is_not_found_and_does_not_fit(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    fill_without_a_cache(bench);
    struct slice encoded;
    assert_int_equal(storage_get(scene->storage, 0, &encoded), KV_ERR_NOT_FOUND);
    assert_int_equal(storage_get(scene->storage, 601, &encoded), KV_ERR_NOT_FOUND);
    assert_int_equal(storage_get(scene->storage, 600, &encoded), 0);
    assert_int_equal(storage_fit(scene->storage, 600, 700, 1000000), 600);
    assert_int_equal(storage_fit(scene->storage, 1, 700, 1000000), 600);
    assert_int_equal(storage_fit(scene->storage, 1, 2, 1000000), 2);
    struct scene_read read = {0};
    assert_int_equal(scene_read(scene, &read, 1, 700, 1000000), 0);
    assert_true(read.count <= 600);
    assert_int_equal(scene_read(scene, &read, 600, 700, 1000000), 0);
    assert_int_equal(read.count, 1);
    buf_done(&read.entries);
}

static void bytes_in_flight_stay_in_place_when_their_entries_are_truncated(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    scene_close(scene);
    scene->options.path = "other";
    scene->options.cache_size = 0;
    scene->options.segment_size = 4 * 1024 * 1024;
    assert_int_equal(scene_open(scene), 0);
    run_some(scene);
    disk_control(bench->disk)->hold_writes = true;
    for (int i = 0; i < 6; i++) {
        scene_append(scene, 1, 200 * 1024);
    }
    scene_flush(scene);
    run_some(scene);
    /* Blocks that hold nothing alive are dropped, but not while they are being written. */
    storage_truncate(scene->storage, 1);
    for (int i = 0; i < 6; i++) {
        scene_append(scene, 2, 200 * 1024);
    }
    scene_flush(scene);
    disk_control(bench->disk)->hold_writes = false;
    scene_settle(scene);
    assert_int_equal(scene->stored, 2);
    struct scene_read read = {0};
    assert_int_equal(scene_read(scene, &read, 1, 1, 1), 0);
    scene_check_entry(buf_slice(&read.entries), 1, 2, 200 * 1024);
    buf_done(&read.entries);
}

static void a_segment_that_is_being_read_is_not_used_again(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    scene_close(scene);
    scene->options.cache_size = 0;
    assert_int_equal(scene_open(scene), 0);
    for (int i = 0; i < 600; i++) {
        scene_append(scene, 1, 1000);
        scene_flush(scene);
        scene_settle(scene);
    }
    assert_true(storage_cached_from(scene->storage) > 5);
    disk_control(bench->disk)->hold_reads = true;
    struct scene_read read = {0};
    scene_read_start(scene, &read, 5, 6, 3000);
    run_some(scene);
    storage_trim(scene->storage, 500);
    for (int i = 0; i < 60; i++) {
        scene_append(scene, 1, 1000);
        scene_flush(scene);
        scene_settle(scene);
    }
    assert_non_null(disk_bytes(bench->disk, "data/log-0000000000000001"));
    disk_control(bench->disk)->hold_reads = false;
    scene_read_wait(scene, &read);
    assert_int_equal(read.err, 0);
    assert_int_equal(read.count, 2);
    scene_check_entry(slice_of(read.entries.data, 1040), 5, 1, 1000);
    for (int i = 0; i < 60; i++) {
        scene_append(scene, 1, 1000);
        scene_flush(scene);
        scene_settle(scene);
    }
    assert_null(disk_bytes(bench->disk, "data/log-0000000000000001"));
    buf_done(&read.entries);
}

static void entries_received_from_a_leader_are_stored_byte_for_byte(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    uint8_t bytes[2][64];
    for (uint64_t i = 0; i < 2; i++) {
        struct entry entry = {
            .index = i + 1,
            .term = 3,
            .kind = ENTRY_COMMAND,
            .payload = slice_of_string("sent"),
        };
        entry_encode(&entry, bytes[i]);
        storage_append_encoded(scene->storage, slice_of(bytes[i], entry_encoded_size(4)));
    }
    scene_flush(scene);
    scene_close(scene);
    assert_int_equal(scene_open(scene), 0);
    struct slice encoded;
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(storage_get(scene->storage, i + 1, &encoded), 0);
        assert_true(slice_equal(encoded, slice_of(bytes[i], entry_encoded_size(4))));
    }
}

static void segments_of_another_size_are_not_used_again(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    scene_close(scene);
    scene->options.segment_size = 8 * 1024;
    assert_int_equal(scene_open(scene), 0);
    for (int i = 0; i < 100; i++) {
        scene_append(scene, 1, 1000);
        scene_flush(scene);
        scene_settle(scene);
        storage_trim(scene->storage, storage_last_index(scene->storage));
        run_some(scene);
    }
    scene_snapshot(scene, 100, 1);
    char path[64];
    int old = 0;
    for (unsigned number = 1; number < 64; number++) {
        (void)snprintf(path, sizeof path, "data/log-%016x", number);
        const struct buf *bytes = disk_bytes(bench->disk, path);
        old += bytes != NULL && bytes->size != 8 * 1024;
    }
    assert_int_equal(old, 0);
    scene_close(scene);
    assert_int_equal(scene_open(scene), 0);
    assert_int_equal(storage_last_index(scene->storage), 100);
}

static void trimmed_files_that_are_left_go_at_the_next_start(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    for (int i = 0; i < 100; i++) {
        scene_append(scene, 1, 1000);
        scene_flush(scene);
        scene_settle(scene);
    }
    scene_snapshot(scene, 94, 1);
    storage_trim(scene->storage, 95);
    run_some(scene);
    scene_close(scene);
    /* One is kept while the server runs, to be the next segment. */
    const char *kept = "data/log-0000000000000009";
    assert_null(disk_bytes(bench->disk, "data/log-0000000000000008"));
    assert_non_null(disk_bytes(bench->disk, kept));
    assert_int_equal(scene_open(scene), 0);
    assert_null(disk_bytes(bench->disk, kept));
    assert_non_null(disk_bytes(bench->disk, "data/log-000000000000000a"));
    assert_int_equal(storage_last_index(scene->storage), 100);
}

/* Two batches: one stored, one in flight when the power fails; any set of its sectors is there. */
static void any_part_of_a_torn_batch_is_cut_whole(void **state)
{
    struct bench *bench = *state;
    struct scene *scene = &bench->scene;
    enum { SECTORS = 7 };
    run_some(scene);
    scene_append(scene, 1, 700);
    scene_flush(scene);
    scene_settle(scene);
    disk_control(bench->disk)->hold_writes = true;
    for (int i = 0; i < 6; i++) {
        scene_append(scene, 1, 512 - ENTRY_HEADER_SIZE);
    }
    scene_flush(scene);
    run_some(scene);
    struct prng prng;
    prng_init(&prng, 1);
    struct disk *without = disk_crash(bench->disk, DISK_LOSE_ALL, &prng);
    struct disk *with = disk_crash(bench->disk, DISK_LOSE_NONE, &prng);
    const char *path = "data/log-0000000000000001";
    const uint8_t *old = disk_bytes(without, path)->data;
    const uint8_t *new = disk_bytes(with, path)->data;
    size_t start = 0;
    while (memcmp(old + start, new + start, SECTOR_SIZE) == 0) {
        start += SECTOR_SIZE;
    }
    for (unsigned mask = 0; mask < 1U << SECTORS; mask++) {
        struct disk *disk = disk_copy(without);
        uint8_t *bytes = disk_bytes(disk, path)->data + start;
        for (unsigned i = 0; i < SECTORS; i++) {
            if ((mask & 1U << i) != 0) {
                size_t at = i * SECTOR_SIZE;
                memcpy(bytes + at, new + start + at, SECTOR_SIZE);
            }
        }
        struct scene found;
        scene_init(&found, disk_io(disk), directory);
        assert_int_equal(scene_open(&found), 0);
        bool whole = mask == (1U << SECTORS) - 1;
        assert_int_equal(storage_last_index(found.storage), whole ? 7 : 1);
        struct storage_restored restored;
        storage_restored(found.storage, &restored);
        assert_int_equal(restored.torn_bytes != 0, mask != 0 && !whole);
        scene_close(&found);
        io_free(found.io);
        disk_free(disk);
    }
    disk_free(with);
    disk_free(without);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_stored_before_its_write_completed),
        CASE(what_is_flushed_during_a_write_becomes_one_write),
        CASE(log_and_vote_are_written_side_by_side_and_stored_together),
        CASE(a_ticket_with_nothing_to_write_is_still_reported),
        CASE(entries_truncated_in_mid_write_are_replaced_by_the_next),
        CASE(closing_stores_what_was_flushed_and_only_that),
        CASE(closing_in_mid_opening_ends_it),
        CASE(the_cache_keeps_to_its_size_and_the_rest_is_read_from_the_disk),
        CASE(fit_never_promises_too_much),
        CASE(a_read_gives_nothing_that_was_truncated_meanwhile),
        CASE(a_damaged_entry_is_named_when_it_is_read),
        CASE(a_read_that_fails_at_any_operation_says_where_and_harms_nothing),
        CASE(a_segment_that_lost_its_end_is_damaged_when_it_is_read),
        CASE(what_is_not_in_the_log_is_not_found_and_does_not_fit),
        CASE(bytes_in_flight_stay_in_place_when_their_entries_are_truncated),
        CASE(a_segment_that_is_being_read_is_not_used_again),
        CASE(entries_received_from_a_leader_are_stored_byte_for_byte),
        CASE(segments_of_another_size_are_not_used_again),
        CASE(trimmed_files_that_are_left_go_at_the_next_start),
        CASE(any_part_of_a_torn_batch_is_cut_whole),
    };
    return cmocka_run_group_tests_name("storage_write", tests, NULL, NULL);
}
