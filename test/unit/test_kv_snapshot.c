/* Snapshots: what comes back is what was frozen, and behaves like it. */
#include "base/limits.h"
#include "base/memory.h"
#include "kv_snapshots.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct history *history_new(uint64_t seed)
{
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct history *history = memory_new(1, sizeof *history);
    prng_init(&history->prng, seed);
    return history;
}

static void step_many(struct history *history, struct driver *driver, struct driver *other,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(history_step(history, driver, other));
    }
}

/* Freezes, reads to the end, gives it back. */
static struct buf bytes_of(struct kv *kv)
{
    struct kv_snapshot *snapshot = kv_freeze(kv);
    assert_true(kv_snapshot_index(snapshot) == kv_applied_index(kv));
    assert_true(kv_snapshot_digest(snapshot) == kv_digest(kv));
    struct buf bytes = {0};
    read_snapshot(snapshot, &bytes);
    assert_true(kv_snapshot_release(snapshot, SIZE_MAX));
    return bytes;
}

static void a_restored_state_behaves_like_the_one_it_came_from(void **state)
{
    (void)state;
    const struct kv_options options = small_options();
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct history *history = history_new(seed);
        struct driver one = driver_with(&options);
        step_many(history, &one, NULL, 4000 * seed);
        struct buf bytes = bytes_of(one.kv);
        int err;
        struct driver two = {.time_ms = one.time_ms};
        two.kv = restore_bytes(&options, buf_slice(&bytes), kv_applied_index(one.kv),
                               kv_digest(one.kv), &err);
        assert_int_equal(err, 0);
        kv_check(two.kv);
        assert_true(kv_key_count(two.kv) == kv_key_count(one.kv));
        assert_true(kv_session_count(two.kv) == kv_session_count(one.kv));
        assert_true(kv_session_count(two.kv) > 10);
        step_many(history, &one, &two, 4000);
        assert_true(kv_digest(one.kv) == kv_digest(two.kv));
        buf_done(&bytes);
        driver_done(&one);
        driver_done(&two);
        free(history);
    }
}

/* Sessions are used, opened, closed, evicted and expire between one chunk and the next. */
static void writes_between_the_chunks_do_not_change_a_snapshot(void **state)
{
    (void)state;
    const struct kv_options options = small_options();
    struct history *history = history_new(77);
    struct driver driver = driver_with(&options);
    for (size_t round = 0; round < 20; round++) {
        step_many(history, &driver, NULL, 2000);
        uint64_t index = kv_applied_index(driver.kv);
        uint64_t digest = kv_digest(driver.kv);
        struct kv_snapshot *snapshot = kv_freeze(driver.kv);
        struct buf bytes = {0};
        size_t chunks = 0;
        do {
            step_many(history, &driver, NULL, round * 15);
            chunks++;
        } while (kv_snapshot_next(snapshot, &bytes));
        assert_true(chunks > 4);
        assert_true(kv_snapshot_index(snapshot) == index);
        assert_true(kv_snapshot_digest(snapshot) == digest);
        assert_true(kv_snapshot_release(snapshot, SIZE_MAX));
        int err;
        struct kv *kv = restore_bytes(&options, buf_slice(&bytes), index, digest, &err);
        assert_int_equal(err, 0);
        kv_check(kv);
        kv_free(kv);
        buf_done(&bytes);
        kv_check(driver.kv);
    }
    driver_done(&driver);
    free(history);
}

/* Whatever was read of it, while the state machine goes on; a leak would end the test. */
static void a_snapshot_is_released_in_steps(void **state)
{
    (void)state;
    const struct kv_options options = small_options();
    struct history *history = history_new(78);
    struct driver driver = driver_with(&options);
    step_many(history, &driver, NULL, 5000);
    for (size_t chunks = 0; chunks < 8; chunks++) {
        struct kv_snapshot *snapshot = kv_freeze(driver.kv);
        struct buf bytes = {0};
        step_many(history, &driver, NULL, 1000);
        for (size_t i = 0; i < chunks; i++) {
            (void)kv_snapshot_next(snapshot, &bytes);
        }
        size_t steps = 1;
        while (!kv_snapshot_release(snapshot, 2)) {
            step_many(history, &driver, NULL, 3);
            steps++;
        }
        assert_true(steps > 2);
        buf_done(&bytes);
        kv_check(driver.kv);
    }
    driver_done(&driver);
    free(history);
}

/* The first step has cut it off. */
static void the_state_machine_may_go_before_its_snapshot(void **state)
{
    (void)state;
    const struct kv_options options = small_options();
    struct history *history = history_new(79);
    struct driver driver = driver_with(&options);
    step_many(history, &driver, NULL, 5000);
    struct kv_snapshot *snapshot = kv_freeze(driver.kv);
    step_many(history, &driver, NULL, 1000);
    assert_false(kv_snapshot_release(snapshot, 1));
    /* The next one may begin. */
    struct kv_snapshot *other = kv_freeze(driver.kv);
    assert_true(kv_snapshot_release(other, SIZE_MAX));
    driver_done(&driver);
    assert_true(kv_snapshot_release(snapshot, SIZE_MAX));
    free(history);
}

static void a_state_machine_is_released_in_steps(void **state)
{
    (void)state;
    const struct kv_options options = small_options();
    struct history *history = history_new(80);
    struct driver driver = driver_with(&options);
    step_many(history, &driver, NULL, 5000);
    size_t steps = 1;
    while (!kv_release(driver.kv, 2)) {
        steps++;
    }
    assert_true(steps > 3);
    buf_done(&driver.bytes);
    free(history);
}

static void an_empty_state_comes_back_empty(void **state)
{
    (void)state;
    struct kv *kv = kv_new(&kv_options_default);
    uint64_t digest = kv_digest(kv);
    struct buf bytes = bytes_of(kv);
    kv_free(kv);
    int err;
    struct driver driver = {
        .kv = restore_bytes(&kv_options_default, buf_slice(&bytes), 0, digest, &err)};
    assert_int_equal(err, 0);
    assert_int_equal(put(&driver, "a", "v").revision, 1);
    driver_done(&driver);
    buf_done(&bytes);
}

/* The keys are so large that a chunk has few, the values so different that some are alone. */
static void chunks_are_bounded_and_come_back_one_by_one(void **state)
{
    (void)state;
    static const size_t values[] = {0, 100, 59000, 65000, VALUE_SIZE_MAX, 3, VALUE_SIZE_MAX, 70000};
    struct driver driver = driver_new(4, 4);
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX);
    for (size_t i = 0; i < 8; i++) {
        bytes[KEY_SIZE_MAX - 1] = (uint8_t)('a' + i);
        struct command command = {.operation = OPERATION_PUT,
                                  .key = slice_of(bytes, KEY_SIZE_MAX),
                                  .value = slice_of(bytes, values[i])};
        assert_int_equal(apply(&driver, command).status, 0);
    }
    struct kv_snapshot *snapshot = kv_freeze(driver.kv);
    struct kv_restore *restore = kv_restore_begin(&kv_options_default);
    struct buf chunk = {0};
    size_t chunks = 0;
    size_t large = 0;
    while (kv_snapshot_next(snapshot, &chunk)) {
        assert_true(chunk.size <= KV_CHUNK_SIZE_MAX);
        large += chunk.size > KV_CHUNK_SIZE;
        chunks++;
        assert_int_equal(kv_restore_chunk(restore, buf_slice(&chunk)), 0);
        buf_clear(&chunk);
    }
    /* The state; 0 and 100; 59000; 65000; the largest; 3; the largest; 70000. */
    assert_int_equal(chunks, 8);
    assert_int_equal(large, 4);
    assert_int_equal(chunk.size, 0);
    struct kv *kv = NULL;
    assert_int_equal(kv_restore_end(restore, 8, kv_snapshot_digest(snapshot), &kv), 0);
    kv_check(kv);
    kv_free(kv);
    assert_true(kv_snapshot_release(snapshot, SIZE_MAX));
    buf_done(&chunk);
    driver_done(&driver);
    free(bytes);
}

static void the_next_entry_follows_the_snapshot_s_index(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t session = open_session(&driver);
    (void)put_once(&driver, (struct stamp){session, 1, 0}, "a", "v");
    struct buf bytes = bytes_of(driver.kv);
    int err;
    struct driver twin = {.time_ms = driver.time_ms};
    twin.kv = restore_bytes(&kv_options_default, buf_slice(&bytes), 2, kv_digest(driver.kv), &err);
    assert_int_equal(err, 0);
    assert_int_equal(kv_applied_index(twin.kv), 2);
    /* Mutation 18: a snapshot without sessions would apply this once more, or not know it. */
    assert_int_equal(put_once(&twin, (struct stamp){session, 1, 0}, "a", "w").revision, 2);
    assert_true(slice_equal(get(&twin, "a").data, slice_of_string("v")));
    assert_int_equal(put(&twin, "b", "w").revision, 4);
    buf_done(&bytes);
    driver_done(&twin);
    driver_done(&driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restored_state_behaves_like_the_one_it_came_from),
        cmocka_unit_test(writes_between_the_chunks_do_not_change_a_snapshot),
        cmocka_unit_test(a_snapshot_is_released_in_steps),
        cmocka_unit_test(the_state_machine_may_go_before_its_snapshot),
        cmocka_unit_test(a_state_machine_is_released_in_steps),
        cmocka_unit_test(an_empty_state_comes_back_empty),
        cmocka_unit_test(chunks_are_bounded_and_come_back_one_by_one),
        cmocka_unit_test(the_next_entry_follows_the_snapshot_s_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
