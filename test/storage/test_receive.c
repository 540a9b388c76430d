/* Receiving snapshots: broken off, resumed, refused, not what was offered. */
#include "bench.h"

#include "kvapp/err.h"

#include <string.h>

/* ---- a receive that is broken off ---- */

static void a_receive_goes_on_where_it_broke_off(void **state)
{
    struct bench *bench = *state;
    struct shots *shots = &bench->shots;
    struct storage_snapshot_offer offer = shots_make(0xc1, 7, 2, &bench->file);
    for (size_t size = 1; size < bench->file.size; size += 61) {
        assert_true(shots_receive_begin(shots, &offer));
        uint64_t from = shots->receive.offset;
        assert_true(from <= size);
        if (from < size) {
            struct slice rest = slice_of(bench->file.data + from, size - (size_t)from);
            assert_true(shots_receive_bytes(shots, from, rest));
            assert_int_equal(shots->receive.offset, size);
        }
        storage_receive_abandon(bench->scene.storage);
        if (size % 2 == 0) {
            struct storage_restored restored;
            reopen(bench, &restored);
        }
        /* At most one chunk comes again. */
        assert_true(shots_receive_begin(shots, &offer));
        assert_true(shots->receive.offset <= size);
        assert_true(shots->receive.offset + 512 >= size);
        storage_receive_abandon(bench->scene.storage);
    }
    /* Another file of the same index begins anew. */
    struct storage_snapshot_offer other = offer;
    other.salt++;
    assert_true(shots_receive_begin(shots, &other));
    assert_int_equal(shots->receive.offset, 0);
    storage_receive_abandon(bench->scene.storage);
    assert_true(shots_receive(shots, &offer, buf_slice(&bench->file), 100));
    check_installed(bench, 7, 2);
}

static void a_receive_may_begin_while_another_is_broken_off(void **state)
{
    struct bench *bench = *state;
    struct shots *shots = &bench->shots;
    struct storage *storage = bench->scene.storage;
    struct storage_snapshot_offer offer = shots_make(0xc1, 7, 2, &bench->file);
    assert_true(shots_receive_begin(shots, &offer));
    shots->done = false;
    storage_receive_bytes(storage, 0, slice_of(bench->file.data, 600));
    storage_receive_abandon(storage);
    storage_receive_begin(storage, &shots->receive, &offer);
    storage_receive_abandon(storage);
    assert_true(shots_receive(shots, &offer, buf_slice(&bench->file), 100));
    check_installed(bench, 7, 2);
}

/* While it looks at what is there, in each turn of it. */
static void a_receive_may_be_abandoned_at_any_moment_of_its_beginning(void **state)
{
    struct bench *bench = *state;
    struct shots *shots = &bench->shots;
    struct storage *storage = bench->scene.storage;
    struct storage_snapshot_offer offer = shots_make(0xc1, 7, 2, &bench->file);
    assert_true(shots_receive_begin(shots, &offer));
    assert_true(shots_receive_bytes(shots, 0, slice_of(bench->file.data, 900)));
    storage_receive_abandon(storage);
    int turns = 0;
    do {
        shots->done = false;
        storage_receive_begin(storage, &shots->receive, &offer);
        for (int turn = 0; turn < turns; turn++) {
            scene_run_once(&bench->scene);
        }
        bool begun = shots->done;
        storage_receive_abandon(storage);
        run_some(bench);
        assert_int_equal(shots->done, begun);
        turns++;
    } while (!shots->done);
    assert_true(turns > 3);
    /* One of another snapshot, too, before it has looked. */
    struct storage_snapshot_offer other = offer;
    other.salt++;
    storage_receive_begin(storage, &shots->receive, &other);
    storage_receive_abandon(storage);
    run_some(bench);
    assert_true(shots_receive_begin(shots, &offer));
    assert_true(shots->receive.offset > 0);
    storage_receive_abandon(storage);
    assert_true(shots_receive(shots, &offer, buf_slice(&bench->file), 100));
    check_installed(bench, 7, 2);
}

/* More has come than the snapshot that is offered has: it is not the same. */
static void a_receive_does_not_go_on_from_a_longer_file(void **state)
{
    struct bench *bench = *state;
    struct shots *shots = &bench->shots;
    struct storage *storage = bench->scene.storage;
    struct storage_snapshot_offer offer = shots_make(0xc1, 7, 2, &bench->file);
    for (uint64_t less = 0; less < 2; less++) {
        assert_true(shots_receive_begin(shots, &offer));
        size_t at = (size_t)shots->receive.offset;
        struct slice rest = slice_of(bench->file.data + at, bench->file.size - at);
        assert_true(rest.size == 0 || shots_receive_bytes(shots, at, rest));
        storage_receive_abandon(storage);
        struct storage_snapshot_offer shorter = offer;
        shorter.size -= less;
        assert_true(shots_receive_begin(shots, &shorter));
        assert_int_equal(shots->err, 0);
        assert_int_equal(shots->receive.offset == 0, less != 0);
        storage_receive_abandon(storage);
    }
}

/* Bytes that a crash lost from the part that had come are asked for again. */
static void what_a_crash_left_of_a_receive_is_not_believed(void **state)
{
    struct bench *bench = *state;
    struct storage_snapshot_offer offer = shots_make(0xc1, 7, 2, &bench->file);
    struct prng prng;
    prng_init(&prng, 3);
    assert_true(shots_receive_begin(&bench->shots, &offer));
    size_t most = bench->file.size - 40;
    assert_true(shots_receive_bytes(&bench->shots, 0, slice_of(bench->file.data, most)));
    for (int repeat = 0; repeat < 50; repeat++) {
        struct disk *found = disk_crash(bench->disk, DISK_LOSE_SPOIL, &prng);
        struct io *io = disk_io(found);
        struct scene scene;
        scene_init(&scene, io, "data");
        assert_int_equal(scene_open(&scene), 0);
        struct shots shots;
        shots_init(&shots, &scene);
        assert_true(shots_receive(&shots, &offer, buf_slice(&bench->file), 200));
        assert_int_equal(shots.err, 0);
        shots_check(&shots, 7);
        shots_done(&shots);
        scene_close(&scene);
        io_free(io);
        disk_free(found);
    }
    storage_receive_abandon(bench->scene.storage);
}

/* ---- what may not be received ---- */

static void check_refused(struct bench *bench, struct storage_snapshot_offer offer)
{
    assert_true(shots_receive_begin(&bench->shots, &offer));
    assert_int_equal(bench->shots.err, KV_ERR_INVALID);
    assert_non_null(strstr(bench->shots.sentence, "snapshot.part"));
}

static void an_offer_that_cannot_be_right_is_refused(void **state)
{
    struct bench *bench = *state;
    take(bench, 7);
    struct storage_snapshot_offer good = shots_make(0xc1, 8, 2, &bench->file);
    struct storage_snapshot_offer offer = good;
    offer.index = 7;
    check_refused(bench, offer);
    offer.index = UINT64_MAX;
    check_refused(bench, offer);
    offer = good;
    offer.size = 500;
    check_refused(bench, offer);
    offer.size = UINT64_MAX;
    check_refused(bench, offer);

    /* Bytes from elsewhere, more than there are, an end that is none. */
    struct slice some = slice_of(bench->file.data, 100);
    assert_true(shots_receive_begin(&bench->shots, &good));
    assert_true(shots_receive_bytes(&bench->shots, 1, some));
    assert_int_equal(bench->shots.err, KV_ERR_INVALID);
    assert_true(shots_receive_begin(&bench->shots, &good));
    assert_true(shots_receive_bytes(&bench->shots, 0, buf_slice(&bench->file)));
    assert_int_equal(bench->shots.err, 0);
    assert_true(shots_receive_bytes(&bench->shots, good.size, some));
    assert_int_equal(bench->shots.err, KV_ERR_INVALID);
    offer = good;
    offer.size++;
    assert_true(shots_receive_begin(&bench->shots, &offer));
    assert_true(shots_receive_end(&bench->shots));
    assert_int_equal(bench->shots.err, KV_ERR_INVALID);
    assert_int_equal(storage_snapshot_newest(bench->scene.storage), 7);
}

static void check_not_taken(struct bench *bench, struct storage_snapshot_offer offer)
{
    assert_true(shots_receive(&bench->shots, &offer, buf_slice(&bench->file), 700));
    assert_int_equal(bench->shots.err, KV_ERR_DAMAGED);
    assert_non_null(strstr(bench->shots.sentence, "offset"));
    assert_null(disk_bytes(bench->disk, "data/snapshot.part"));
    assert_int_equal(storage_snapshot_newest(bench->scene.storage), 0);
}

/* Bug 31: also one of another cluster. */
static void what_does_not_verify_is_removed(void **state)
{
    struct bench *bench = *state;
    struct storage_snapshot_offer offer = shots_make(0xc2, 7, 2, &bench->file);
    check_not_taken(bench, offer);
    offer = shots_make(0xc1, 7, 2, &bench->file);
    struct storage_snapshot_offer wrong = offer;
    wrong.index++;
    check_not_taken(bench, wrong);
    wrong = offer;
    wrong.term++;
    check_not_taken(bench, wrong);
    wrong = offer;
    wrong.salt++;
    check_not_taken(bench, wrong);
    for (size_t at = 0; at < bench->file.size; at++) {
        bench->file.data[at] ^= 1;
        check_not_taken(bench, offer);
        bench->file.data[at] ^= 1;
    }
    assert_true(shots_receive(&bench->shots, &offer, buf_slice(&bench->file), 700));
    check_installed(bench, 7, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_receive_goes_on_where_it_broke_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_receive_may_begin_while_another_is_broken_off, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_receive_may_be_abandoned_at_any_moment_of_its_beginning,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_receive_does_not_go_on_from_a_longer_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_a_crash_left_of_a_receive_is_not_believed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_offer_that_cannot_be_right_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_verify_is_removed, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("storage_receive", tests, NULL, NULL);
}
