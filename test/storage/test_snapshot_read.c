/*
 * Reading a snapshot back, and sending it, when the file cannot be read, changed after the start,
 * or when the storage is closed meanwhile. The log goes on in every case.
 */
#include "bench.h"

#include "base/hash.h"
#include "kvapp/err.h"
#include "storage/snapshot_format.h"

#include <errno.h>
#include <string.h>

enum { INDEX = 8, CLOSE_TURNS_MAX = 12 };

static const char path[] = "data/snapshot-0000000000000008";

/* A storage with the snapshot; `file` holds its bytes. */
static struct bench *begin(void **state)
{
    struct bench *bench = *state;
    fill(bench, INDEX);
    take(bench, INDEX);
    run_some(bench);
    buf_clear(&bench->file);
    buf_append_slice(&bench->file, buf_slice(disk_bytes(bench->disk, path)));
    return bench;
}

static void restore(struct bench *bench)
{
    struct buf *bytes = disk_bytes(bench->disk, path);
    buf_clear(bytes);
    buf_append_slice(bytes, buf_slice(&bench->file));
}

static void read_next(struct bench *bench)
{
    bench->shots.done = false;
    storage_snapshot_read_next(bench->scene.storage, &bench->shots.read);
    assert_false(bench->shots.done);
}

/* Reads until one answer is the last. */
static void read_all(struct bench *bench)
{
    do {
        read_next(bench);
        assert_true(shots_wait(&bench->shots));
    } while (bench->shots.err == 0 && bench->shots.bytes.size > 0);
    assert_null(bench->shots.read.backend);
}

static void open_source(struct bench *bench)
{
    bench->shots.done = false;
    storage_snapshot_source_open(bench->scene.storage, &bench->shots.source);
    assert_false(bench->shots.done);
}

static void read_source(struct bench *bench, uint64_t offset, size_t size)
{
    bench->shots.done = false;
    storage_snapshot_source_read(bench->scene.storage, &bench->shots.source, offset, size);
    assert_false(bench->shots.done);
}

static void check_answer(struct bench *bench, int err)
{
    assert_true(shots_wait(&bench->shots));
    assert_int_equal(bench->shots.err, err);
    assert_int_equal(bench->shots.bytes.size, 0);
    if (err != 0 && err != KV_ERR_STOPPED) {
        assert_non_null(strstr(bench->shots.sentence, path));
    }
}

static void fail_next(struct bench *bench, uint64_t number)
{
    struct disk_control *control = disk_control(bench->disk);
    control->fail_at = control->started + number;
    control->fail_with = -EIO;
}

/* ---- reading back ---- */

static void every_byte_that_changed_after_the_start_is_named_when_it_is_read(void **state)
{
    struct bench *bench = begin(state);
    for (size_t at = 0; at < bench->file.size; at++) {
        disk_bytes(bench->disk, path)->data[at] ^= (uint8_t)(1 << at % 8);
        read_all(bench);
        check_answer(bench, KV_ERR_DAMAGED);
        assert_non_null(strstr(bench->shots.sentence, "offset"));
        restore(bench);
    }
    shots_check(&bench->shots, INDEX);
}

/* The start would have refused it as such; afterwards it is no snapshot of this server's. */
static void a_later_format_that_shows_when_it_is_read_is_damage(void **state)
{
    struct bench *bench = begin(state);
    uint8_t *at = disk_bytes(bench->disk, path)->data;
    put_u32(at + 12, LAYOUT_VERSION + 1);
    put_u64(at, hash_bytes(at + 8, SNAPSHOT_HEADER_SIZE - 8));
    read_all(bench);
    check_answer(bench, KV_ERR_DAMAGED);
    assert_non_null(strstr(bench->shots.sentence, "format"));
    restore(bench);
    shots_check(&bench->shots, INDEX);
}

static void a_file_that_is_cut_before_or_while_it_is_read_is_damaged(void **state)
{
    struct bench *bench = begin(state);
    for (size_t size = 0; size < bench->file.size; size += 53) {
        disk_bytes(bench->disk, path)->size = size;
        read_all(bench);
        check_answer(bench, KV_ERR_DAMAGED);
        assert_non_null(strstr(bench->shots.sentence, "ends"));
        restore(bench);
        /* After its size was asked for. */
        disk_control(bench->disk)->hold_reads = true;
        read_next(bench);
        run_some(bench);
        assert_false(bench->shots.done);
        disk_bytes(bench->disk, path)->size = size;
        disk_control(bench->disk)->hold_reads = false;
        assert_true(shots_wait(&bench->shots));
        while (bench->shots.err == 0 && bench->shots.bytes.size > 0) {
            read_next(bench);
            assert_true(shots_wait(&bench->shots));
        }
        check_answer(bench, KV_ERR_DAMAGED);
        assert_non_null(strstr(bench->shots.sentence, "ends before its size"));
        restore(bench);
    }
    shots_check(&bench->shots, INDEX);
}

static void a_file_that_is_gone_is_an_error_of_the_system(void **state)
{
    struct bench *bench = begin(state);
    disk_remove(bench->disk, path);
    read_all(bench);
    check_answer(bench, KV_ERR_IO);
    open_source(bench);
    check_answer(bench, KV_ERR_IO);
    assert_null(bench->shots.source.backend);
}

static void a_read_that_ended_needs_no_stop_and_bears_one(void **state)
{
    struct bench *bench = begin(state);
    read_all(bench);
    check_answer(bench, 0);
    storage_snapshot_read_stop(bench->scene.storage, &bench->shots.read);
    shots_check(&bench->shots, INDEX);
}

static void closing_at_any_moment_of_a_read_answers_it(void **state)
{
    struct bench *bench = begin(state);
    bool answered_before = false;
    for (int turns = 0; !answered_before; turns++) {
        assert_true(turns < CLOSE_TURNS_MAX);
        read_next(bench);
        for (int turn = 0; turn < turns; turn++) {
            scene_run_once(&bench->scene);
        }
        answered_before = bench->shots.done;
        scene_close(&bench->scene);
        assert_true(bench->shots.done);
        assert_int_equal(bench->shots.err, answered_before ? 0 : KV_ERR_STOPPED);
        bench->shots.read.backend = NULL;
        assert_int_equal(scene_open(&bench->scene), 0);
        shots_check(&bench->shots, INDEX);
    }
}

/* ---- sending ---- */

static void a_source_that_fails_to_open_or_to_read_is_closed_and_opens_anew(void **state)
{
    struct bench *bench = begin(state);
    struct storage *storage = bench->scene.storage;
    for (uint64_t number = 1; number <= 2; number++) {
        fail_next(bench, number);
        open_source(bench);
        check_answer(bench, number == 1 ? KV_ERR_IO : 0);
        if (number == 2) {
            read_source(bench, 32, 100);
            check_answer(bench, KV_ERR_IO);
            assert_non_null(strstr(bench->shots.sentence, "offset 32"));
        }
        assert_non_null(strstr(bench->shots.sentence, io_error_sentence(-EIO)));
        assert_null(bench->shots.source.backend);
        storage_snapshot_source_close(storage, &bench->shots.source);
        disk_control(bench->disk)->fail_at = 0;
        open_source(bench);
        check_answer(bench, 0);
        read_source(bench, 0, bench->file.size);
        assert_true(shots_wait(&bench->shots));
        assert_true(slice_equal(buf_slice(&bench->shots.bytes), buf_slice(&bench->file)));
        storage_snapshot_source_close(storage, &bench->shots.source);
    }
}

static void a_source_whose_file_was_cut_gives_no_bytes_that_are_not_there(void **state)
{
    struct bench *bench = begin(state);
    for (size_t size = 200; size < 300; size++) {
        open_source(bench);
        check_answer(bench, 0);
        disk_bytes(bench->disk, path)->size = size;
        read_source(bench, 200, 100);
        check_answer(bench, KV_ERR_DAMAGED);
        assert_null(bench->shots.source.backend);
        restore(bench);
    }
    open_source(bench);
    check_answer(bench, 0);
    disk_bytes(bench->disk, path)->size = 300;
    read_source(bench, 200, 100);
    assert_true(shots_wait(&bench->shots));
    assert_int_equal(bench->shots.err, 0);
    assert_true(slice_equal(buf_slice(&bench->shots.bytes), slice_of(bench->file.data + 200, 100)));
    restore(bench);
    storage_snapshot_source_close(bench->scene.storage, &bench->shots.source);
}

/* Closed at once; with an answer of the system, good or bad, still to come. */
static void a_source_that_is_closed_while_it_is_opened_does_not_answer(void **state)
{
    struct bench *bench = begin(state);
    for (int fails = 0; fails < 2; fails++) {
        if (fails != 0) {
            fail_next(bench, 1);
        }
        open_source(bench);
        storage_snapshot_source_close(bench->scene.storage, &bench->shots.source);
        run_some(bench);
        assert_false(bench->shots.done);
    }
    open_source(bench);
    check_answer(bench, 0);
    storage_snapshot_source_close(bench->scene.storage, &bench->shots.source);
}

static void closing_the_storage_answers_a_source_that_reads(void **state)
{
    struct bench *bench = begin(state);
    for (int fails = 0; fails < 2; fails++) {
        open_source(bench);
        check_answer(bench, 0);
        if (fails != 0) {
            fail_next(bench, 1);
        }
        read_source(bench, 0, 100);
        scene_close(&bench->scene);
        check_answer(bench, KV_ERR_STOPPED);
        bench->shots.source.backend = NULL;
        assert_int_equal(scene_open(&bench->scene), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            every_byte_that_changed_after_the_start_is_named_when_it_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_later_format_that_shows_when_it_is_read_is_damage, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_cut_before_or_while_it_is_read_is_damaged,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_gone_is_an_error_of_the_system, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_read_that_ended_needs_no_stop_and_bears_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(closing_at_any_moment_of_a_read_answers_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_source_that_fails_to_open_or_to_read_is_closed_and_opens_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_source_whose_file_was_cut_gives_no_bytes_that_are_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_source_that_is_closed_while_it_is_opened_does_not_answer,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(closing_the_storage_answers_a_source_that_reads, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("storage_snapshot_read", tests, NULL, NULL);
}
