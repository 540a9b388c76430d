/* Snapshots: each call, on a disk in memory, when all goes well and when the caller errs. */
#include "bench.h"

#include "kvapp/err.h"

#include <string.h>

/* ---- taking and reading back ---- */

static void a_snapshot_comes_back_as_it_was_and_the_log_behind_it(void **state)
{
    struct bench *bench = *state;
    struct storage_restored restored;
    storage_restored(bench->scene.storage, &restored);
    assert_int_equal(restored.snapshot_index, 0);
    fill(bench, 60);
    take(bench, 48);
    shots_check(&bench->shots, 48);
    storage_trim(bench->scene.storage, 49);
    run_some(bench);
    reopen(bench, &restored);
    assert_int_equal(restored.snapshot_index, 48);
    assert_int_equal(restored.snapshot_term, term_of(48));
    assert_int_equal(restored.snapshot_digest, shots_digest(48));
    struct buf membership = {0};
    shots_membership(48, &membership);
    assert_true(slice_equal(restored.membership, buf_slice(&membership)));
    buf_done(&membership);
    assert_true(restored.first_index > 1);
    assert_true(restored.first_index <= 49);
    assert_int_equal(restored.previous_term, term_of(restored.first_index - 1));
    assert_int_equal(restored.last_index, 60);
    shots_check(&bench->shots, 48);
}

static void chunks_of_any_size_come_back(void **state)
{
    struct bench *bench = *state;
    static const size_t sizes[] = {1, 15, 4096, 65536, SNAPSHOT_CHUNK_SIZE_MAX - 16};
    fill(bench, 9);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bench->shots.chunk_size = sizes[i];
        bench->shots.chunks = i + 1;
        take(bench, i + 1);
        shots_check(&bench->shots, i + 1);
    }
    bench->shots.chunks = 0;
    take(bench, 10);
    shots_check(&bench->shots, 10);
}

static void a_reader_may_stop_early_and_begin_again(void **state)
{
    struct bench *bench = *state;
    take(bench, 3);
    bench->shots.done = false;
    storage_snapshot_read_next(bench->scene.storage, &bench->shots.read);
    assert_true(shots_wait(&bench->shots));
    storage_snapshot_read_stop(bench->scene.storage, &bench->shots.read);
    shots_check(&bench->shots, 3);
}

static void without_a_snapshot_there_is_nothing_to_read_or_to_send(void **state)
{
    struct bench *bench = *state;
    bench->shots.done = false;
    storage_snapshot_read_next(bench->scene.storage, &bench->shots.read);
    assert_true(shots_wait(&bench->shots));
    assert_int_equal(bench->shots.err, KV_ERR_NOT_FOUND);
    bench->shots.done = false;
    storage_snapshot_source_open(bench->scene.storage, &bench->shots.source);
    assert_true(shots_wait(&bench->shots));
    assert_int_equal(bench->shots.err, KV_ERR_NOT_FOUND);
}

static const char *path_of(uint64_t index)
{
    static char path[64];
    (void)snprintf(path, sizeof path, "data/snapshot-%016lx", (unsigned long)index);
    return path;
}

static void the_newest_two_are_kept(void **state)
{
    struct bench *bench = *state;
    fill(bench, 9);
    assert_int_equal(storage_snapshot_newest(bench->scene.storage), 0);
    take(bench, 2);
    assert_int_equal(storage_snapshot_newest(bench->scene.storage), 2);
    assert_int_equal(storage_snapshot_oldest(bench->scene.storage), 0);
    take(bench, 5);
    assert_int_equal(storage_snapshot_oldest(bench->scene.storage), 2);
    take(bench, 9);
    assert_int_equal(storage_snapshot_oldest(bench->scene.storage), 5);
    assert_null(disk_bytes(bench->disk, path_of(2)));
    assert_non_null(disk_bytes(bench->disk, path_of(5)));
    struct storage_restored restored;
    reopen(bench, &restored);
    assert_int_equal(storage_snapshot_newest(bench->scene.storage), 9);
    assert_int_equal(storage_snapshot_oldest(bench->scene.storage), 5);
}

/* The newest one may have been damaged since; what is taken anew reads back, and only that. */
static void the_newest_can_be_taken_anew(void **state)
{
    struct bench *bench = *state;
    fill(bench, 9);
    take(bench, 2);
    take(bench, 5);
    disk_bytes(bench->disk, path_of(5))->data[600] ^= 1;
    take(bench, 5);
    assert_int_equal(storage_snapshot_newest(bench->scene.storage), 5);
    assert_int_equal(storage_snapshot_oldest(bench->scene.storage), 2);
    assert_non_null(disk_bytes(bench->disk, path_of(2)));
    struct storage_restored restored;
    reopen(bench, &restored);
    assert_int_equal(restored.snapshot_index, 5);
}

static void an_abandoned_snapshot_leaves_nothing(void **state)
{
    struct bench *bench = *state;
    struct shots *shots = &bench->shots;
    struct storage *storage = bench->scene.storage;
    for (int in_flight = 0; in_flight < 2; in_flight++) {
        for (size_t chunks = 0; chunks < 3; chunks++) {
            assert_true(shots_begin(shots, 4, 1));
            for (size_t i = 0; i < chunks; i++) {
                assert_true(shots_add(shots, 4, i));
            }
            if (in_flight != 0) {
                storage_snapshot_chunk(storage, slice_of_string("in flight"));
            }
            shots->done = false;
            storage_snapshot_abandon(storage);
            assert_true(shots_wait(shots));
            assert_int_equal(shots->err, 0);
            assert_null(disk_bytes(bench->disk, "data/snapshot.tmp"));
        }
    }
    take(bench, 4);
    shots_check(shots, 4);
}

static void a_snapshot_that_was_overtaken_is_given_up(void **state)
{
    struct bench *bench = *state;
    fill(bench, 5);
    assert_true(shots_begin(&bench->shots, 5, term_of(5)));
    struct storage_snapshot_offer offer = shots_make(0xc1, 20, 9, &bench->file);
    struct shots other;
    shots_init(&other, &bench->scene);
    assert_true(shots_receive(&other, &offer, buf_slice(&bench->file), 500));
    assert_int_equal(other.err, 0);
    shots_done(&other);
    assert_true(shots_commit(&bench->shots));
    assert_int_equal(bench->shots.err, KV_ERR_INVALID);
    assert_int_equal(storage_snapshot_newest(bench->scene.storage), 20);
    assert_null(disk_bytes(bench->disk, "data/snapshot.tmp"));
}

/* One taken and one received, of one index, that end in the same turn: the one that wins is the one
 * whose file stays. */
static void of_two_snapshots_that_end_together_one_counts(void **state)
{
    struct bench *bench = *state;
    struct shots *shots = &bench->shots;
    struct storage *storage = bench->scene.storage;
    fill(bench, 20);
    struct storage_snapshot_offer offer = shots_make(0xc1, 20, term_of(20), &bench->file);
    struct shots other;
    shots_init(&other, &bench->scene);
    assert_true(shots_begin(shots, 20, term_of(20)));
    for (size_t i = 0; i < shots->chunks; i++) {
        assert_true(shots_add(shots, 20, i));
    }
    assert_true(shots_receive_begin(&other, &offer));
    assert_true(shots_receive_bytes(&other, 0, buf_slice(&bench->file)));
    shots->done = false;
    other.done = false;
    storage_snapshot_commit(storage);
    storage_receive_end(storage);
    assert_true(shots_wait(shots));
    assert_true(shots_wait(&other));
    assert_true((shots->err == 0 && other.err == KV_ERR_INVALID) ||
                (shots->err == KV_ERR_INVALID && other.err == 0));
    shots_done(&other);
    shots->done = false;
    storage_snapshot_source_open(storage, &shots->source);
    assert_true(shots_wait(shots));
    const struct buf *file = disk_bytes(bench->disk, path_of(20));
    assert_int_equal(shots->source.offer.salt, get_u64(file->data + 16));
    assert_int_equal(shots->source.offer.size, file->size);
    storage_snapshot_source_close(storage, &shots->source);
    assert_int_equal(storage_snapshot_oldest(storage), 0);
}

/* ---- from one server to another ---- */

static void a_snapshot_goes_over_byte_for_byte_even_when_it_is_removed_meanwhile(void **state)
{
    struct bench *bench = *state;
    struct shots *shots = &bench->shots;
    struct storage *storage = bench->scene.storage;
    fill(bench, 30);
    take(bench, 10);
    buf_append_slice(&bench->file, buf_slice(disk_bytes(bench->disk, path_of(10))));
    shots->done = false;
    storage_snapshot_source_open(storage, &shots->source);
    assert_true(shots_wait(shots));
    assert_int_equal(shots->err, 0);
    struct storage_snapshot_offer offer = shots->source.offer;
    assert_int_equal(offer.index, 10);
    assert_int_equal(offer.term, term_of(10));
    assert_int_equal(offer.size, bench->file.size);
    take(bench, 20);
    take(bench, 30);
    assert_null(disk_bytes(bench->disk, path_of(10)));
    for (uint64_t at = 0; at < offer.size; at += 100) {
        size_t size = offer.size - at < 100 ? (size_t)(offer.size - at) : 100;
        shots->done = false;
        storage_snapshot_source_read(storage, &shots->source, at, size);
        assert_true(shots_wait(shots));
        assert_true(slice_equal(buf_slice(&shots->bytes), slice_of(bench->file.data + at, size)));
    }
    /* Closed with an answer on its way, which then does not come. */
    shots->done = false;
    storage_snapshot_source_read(storage, &shots->source, 0, 10);
    storage_snapshot_source_close(storage, &shots->source);
    run_some(bench);
    assert_false(shots->done);
}

/* Bug 18, 24: behind the log's end, or contradicting it; what comes behind goes on from there. */
static void a_received_snapshot_replaces_a_log_that_does_not_lead_to_it(void **state)
{
    static const uint64_t indexes[] = {50, 15};
    for (size_t i = 0; i < 2; i++) {
        struct bench *bench = *state;
        fill(bench, 20);
        uint64_t index = indexes[i];
        struct storage_snapshot_offer offer = shots_make(0xc1, index, 40, &bench->file);
        assert_true(shots_receive(&bench->shots, &offer, buf_slice(&bench->file), 333));
        check_installed(bench, index, 40);
        storage_reset(bench->scene.storage, index, 40);
        assert_int_equal(storage_last_index(bench->scene.storage), index);
        struct scene_read read = {0};
        assert_int_equal(scene_read(&bench->scene, &read, 3, 9, 1000), KV_ERR_NOT_FOUND);
        scene_append(&bench->scene, 41, 100);
        scene_append(&bench->scene, 41, 200);
        scene_flush(&bench->scene);
        scene_settle(&bench->scene);
        buf_done(&read.entries);
        run_some(bench);
        struct storage_restored restored;
        reopen(bench, &restored);
        assert_null(disk_bytes(bench->disk, "data/log-0000000000000001"));
        assert_int_equal(restored.first_index, index + 1);
        assert_int_equal(restored.previous_term, 40);
        assert_int_equal(restored.last_index, index + 2);
        assert_int_equal(restored.term, 41);
        assert_int_equal(restored.snapshot_index, index);
        struct slice encoded;
        assert_int_equal(storage_get(bench->scene.storage, index + 1, &encoded), 0);
        scene_check_entry(encoded, index + 1, 41, 100);
        if (i == 0) {
            (void)tear_down(state);
            (void)set_up(state);
        }
    }
}

/* Bug 20: the suffix behind a snapshot that the log leads to stays. */
static void a_received_snapshot_leaves_a_log_that_leads_to_it(void **state)
{
    struct bench *bench = *state;
    fill(bench, 20);
    struct storage_snapshot_offer offer = shots_make(0xc1, 15, term_of(15), &bench->file);
    assert_true(shots_receive(&bench->shots, &offer, buf_slice(&bench->file), 333));
    check_installed(bench, 15, term_of(15));
    struct storage_restored restored;
    reopen(bench, &restored);
    assert_int_equal(restored.first_index, 1);
    assert_int_equal(restored.last_index, 20);
    assert_int_equal(restored.snapshot_index, 15);
}

static void a_reset_behind_a_write_in_flight_forgets_what_that_wrote(void **state)
{
    struct bench *bench = *state;
    fill(bench, 5);
    struct storage_snapshot_offer offer = shots_make(0xc1, 9, 30, &bench->file);
    assert_true(shots_receive(&bench->shots, &offer, buf_slice(&bench->file), 1000));
    disk_control(bench->disk)->hold_writes = true;
    scene_append(&bench->scene, 8, 1000);
    scene_flush(&bench->scene);
    run_some(bench);
    storage_reset(bench->scene.storage, 9, 30);
    scene_append(&bench->scene, 30, 500);
    scene_flush(&bench->scene);
    storage_trim(bench->scene.storage, 10);
    run_some(bench);
    assert_int_not_equal(bench->scene.stored, bench->scene.ticket);
    disk_control(bench->disk)->hold_writes = false;
    scene_settle(&bench->scene);
    struct prng prng;
    prng_init(&prng, 1);
    struct disk *found = disk_crash(bench->disk, DISK_LOSE_ALL, &prng);
    struct io *io = disk_io(found);
    struct scene scene;
    scene_init(&scene, io, "data");
    assert_int_equal(scene_open(&scene), 0);
    struct storage_restored restored;
    storage_restored(scene.storage, &restored);
    assert_int_equal(restored.first_index, 10);
    assert_int_equal(restored.last_index, 10);
    assert_int_equal(restored.previous_term, 30);
    scene_close(&scene);
    io_free(io);
    disk_free(found);
}

/* Bug 15: entries that are about to be replaced are what a crash leaves, so they may not go yet. */
static void a_log_that_is_being_rewritten_is_trimmed_only_after(void **state)
{
    struct bench *bench = *state;
    fill(bench, 30);
    take(bench, 18);
    run_some(bench);
    disk_control(bench->disk)->hold_writes = true;
    storage_truncate(bench->scene.storage, 19);
    scene_append(&bench->scene, 40, 1000);
    scene_flush(&bench->scene);
    storage_trim(bench->scene.storage, 19);
    run_some(bench);
    struct prng prng;
    prng_init(&prng, 4);
    for (int repeat = 0; repeat < 30; repeat++) {
        struct disk *found = disk_crash(bench->disk, DISK_LOSE_SOME, &prng);
        struct io *io = disk_io(found);
        struct scene scene;
        scene_init(&scene, io, "data");
        assert_int_equal(scene_open(&scene), 0);
        uint64_t last = storage_last_index(scene.storage);
        assert_true(last == 19 || last == 30);
        scene_close(&scene);
        io_free(io);
        disk_free(found);
    }
    disk_control(bench->disk)->hold_writes = false;
    scene_settle(&bench->scene);
    run_some(bench);
    struct storage_restored restored;
    reopen(bench, &restored);
    assert_true(restored.first_index > 1);
    assert_int_equal(restored.last_index, 19);
}

/* ---- the end ---- */

static void closing_answers_what_is_in_flight_and_ends_the_rest(void **state)
{
    struct bench *bench = *state;
    struct storage_snapshot_offer offer = shots_make(0xc1, 9, 3, &bench->file);
    for (int what = 0; what < 6; what++) {
        struct shots *shots = &bench->shots;
        struct storage *storage = bench->scene.storage;
        bool answered = what % 2 == 1;
        if (what < 2) {
            assert_true(shots_begin(shots, 5, 2));
            shots->done = false;
            if (answered) {
                storage_snapshot_chunk(storage, slice_of_string("some bytes"));
            }
        } else if (what < 4) {
            assert_true(shots_receive_begin(shots, &offer));
            shots->done = false;
            if (answered) {
                storage_receive_bytes(storage, 0, slice_of(bench->file.data, 10));
            }
        } else {
            take(bench, (uint64_t)what);
            shots->done = false;
            storage_snapshot_source_open(storage, &shots->source);
            if (!answered) {
                assert_true(shots_wait(shots));
                shots->done = false;
            }
        }
        scene_close(&bench->scene);
        assert_int_equal(shots->done, answered);
        if (answered) {
            assert_int_equal(shots->err, KV_ERR_STOPPED);
        }
        assert_int_equal(scene_open(&bench->scene), 0);
        assert_null(disk_bytes(bench->disk, "data/snapshot.tmp"));
        shots->taking.backend = NULL;
        shots->receive.backend = NULL;
        shots->source.backend = NULL;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_snapshot_comes_back_as_it_was_and_the_log_behind_it,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(chunks_of_any_size_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reader_may_stop_early_and_begin_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_snapshot_there_is_nothing_to_read_or_to_send,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_newest_two_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_newest_can_be_taken_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_abandoned_snapshot_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_snapshot_that_was_overtaken_is_given_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(of_two_snapshots_that_end_together_one_counts, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_snapshot_goes_over_byte_for_byte_even_when_it_is_removed_meanwhile, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(a_received_snapshot_replaces_a_log_that_does_not_lead_to_it,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_received_snapshot_leaves_a_log_that_leads_to_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_reset_behind_a_write_in_flight_forgets_what_that_wrote,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_that_is_being_rewritten_is_trimmed_only_after, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(closing_answers_what_is_in_flight_and_ends_the_rest, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("storage_snapshot", tests, NULL, NULL);
}
