/* Keys that go when their time has come, and how what is gone is removed. */
#include "base/limits.h"
#include "base/memory.h"
#include "kv_snapshots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct expiry never = {EXPIRY_NEVER, 0};

static struct expiry at(int64_t ms)
{
    return (struct expiry){EXPIRY_AT, ms};
}

static struct expiry after(int64_t ms)
{
    return (struct expiry){EXPIRY_AFTER, ms};
}

static struct reply put_until(struct driver *driver, const char *key, const char *value,
                              struct expiry expiry)
{
    return apply(driver, (struct command){.operation = OPERATION_PUT,
                                          .key = text(key),
                                          .value = text(value),
                                          .expiry = expiry});
}

static struct reply expire(struct driver *driver, const char *key, struct expiry expiry,
                           uint32_t options)
{
    return apply(driver, (struct command){.operation = OPERATION_EXPIRE,
                                          .key = text(key),
                                          .expiry = expiry,
                                          .options = options});
}

static struct reply purge(struct driver *driver)
{
    return apply(driver, (struct command){.operation = OPERATION_PURGE});
}

static void numbered_put(struct driver *driver, unsigned number, struct expiry expiry)
{
    char key[16];
    (void)snprintf(key, sizeof key, "key-%05u", number);
    assert_int_equal(put_until(driver, key, "v", expiry).status, 0);
}

static void assert_stat(struct driver *driver, const char *key, struct key_stat expected)
{
    struct reply reply =
        query(driver, (struct command){.operation = OPERATION_STAT, .key = text(key)});
    assert_int_equal(reply.status, 0);
    struct key_stat stat;
    assert_int_equal(key_stat_decode(reply.data, &stat), 0);
    assert_true(reply.revision == stat.modify);
    assert_true(stat.create == expected.create);
    assert_true(stat.modify == expected.modify);
    assert_true(stat.version == expected.version);
    assert_true(stat.expires_ms == expected.expires_ms);
    assert_true(stat.now_ms == kv_time_ms(driver->kv));
}

/* ---- when a key is there ---- */

static void a_key_is_gone_from_the_entry_whose_time_is_its_expiry(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put_until(&driver, "a", "v", at(2000));
    put_until(&driver, "b", "v", after(1000));
    assert_true(kv_next_expiry(driver.kv) == 2000);
    driver.time_ms = 1999;
    apply_bytes(&driver, slice_of(NULL, 0));
    assert_int_equal(get(&driver, "a").status, 0);
    assert_int_equal(get(&driver, "b").status, 0);
    driver.time_ms = 2000;
    apply_bytes(&driver, slice_of(NULL, 0));
    assert_int_equal(get(&driver, "a").status, KV_ERR_NOT_FOUND);
    assert_int_equal(get(&driver, "b").status, KV_ERR_NOT_FOUND);
    assert_true(kv_next_expiry(driver.kv) == UINT64_MAX);
    driver_done(&driver);
}

static void an_earlier_time_brings_nothing_back(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put_until(&driver, "a", "v", at(2000));
    driver.time_ms = 2500;
    put(&driver, "b", "v");
    driver.time_ms = 1500;
    put_until(&driver, "c", "v", after(10));
    assert_true(kv_time_ms(driver.kv) == 2500);
    assert_int_equal(get(&driver, "a").status, KV_ERR_NOT_FOUND);
    assert_true(kv_next_expiry(driver.kv) == 2510);
    driver_done(&driver);
}

/* Seventeen are gone at once and sixteen are removed, so that the last one is still stored. */
static void leave_one_stored(struct driver *driver)
{
    for (unsigned i = 0; i < 16; i++) {
        numbered_put(driver, i, at(2000));
    }
    put_until(driver, "late", "value", at(2001));
    driver->time_ms = 5000;
}

static void a_write_to_a_key_that_expired_makes_a_new_one(void **state)
{
    (void)state;
    static const enum operation writes[] = {OPERATION_PUT, OPERATION_ADD, OPERATION_APPEND,
                                            OPERATION_SET_RANGE, OPERATION_ADD_FLOAT};
    for (size_t i = 0; i < COUNT_OF(writes); i++) {
        struct driver driver = driver_new(1, 1);
        leave_one_stored(&driver);
        struct command write = {.operation = writes[i], .key = text("late")};
        write.value = text(writes[i] == OPERATION_ADD ? "" : "7");
        assert_int_equal(apply(&driver, write).status, 0);
        assert_int_equal(kv_key_count(driver.kv), 1);
        assert_stat(&driver, "late", (struct key_stat){18, 18, 1, 0, 0});
        driver_done(&driver);
    }
}

static void no_operation_sees_a_key_that_expired(void **state)
{
    (void)state;
    struct slice late = text("late");
    struct command blind[] = {
        {.operation = OPERATION_PUT, .key = late, .options = OPTION_PRESENT},
        {.operation = OPERATION_PUT, .key = late, .has_expected = true, .expected_revision = 17},
        {.operation = OPERATION_DELETE, .key = late, .options = OPTION_RETURN},
        {.operation = OPERATION_EXPIRE, .key = late, .expiry = {EXPIRY_AFTER, 10}},
        {.operation = OPERATION_RENAME, .key = late, .target = text("x")},
        {.operation = OPERATION_COPY, .key = late, .target = text("x")},
    };
    for (size_t i = 0; i < COUNT_OF(blind); i++) {
        struct driver driver = driver_new(1, 1);
        leave_one_stored(&driver);
        struct reply reply = apply(&driver, blind[i]);
        bool is_put = blind[i].operation == OPERATION_PUT;
        assert_int_equal(reply.status, is_put ? KV_ERR_CONDITION : KV_ERR_NOT_FOUND);
        assert_int_equal(reply.count, 0);
        assert_int_equal(reply.data.size, 0);
        assert_int_equal(kv_key_count(driver.kv), 1);
        driver_done(&driver);
    }
    struct driver driver = driver_new(1, 1);
    leave_one_stored(&driver);
    put(&driver, "there", "v");
    assert_int_equal(kv_key_count(driver.kv), 2);
    assert_int_equal(get(&driver, "late").status, KV_ERR_NOT_FOUND);
    struct command read = {.operation = OPERATION_STAT, .key = late};
    assert_int_equal(query(&driver, read).status, KV_ERR_NOT_FOUND);
    read = (struct command){.operation = OPERATION_GET_RANGE, .key = late, .last = -1};
    assert_int_equal(query(&driver, read).data.size, 0);
    static const enum operation walks[] = {OPERATION_LIST, OPERATION_SCAN, OPERATION_MATCH};
    for (size_t i = 0; i < COUNT_OF(walks); i++) {
        read = (struct command){.operation = walks[i]};
        read.pattern = text(walks[i] == OPERATION_MATCH ? "*" : "");
        assert_int_equal(query(&driver, read).count, 1);
    }
    for (int64_t i = 0; i < 20; i++) {
        read = (struct command){.operation = OPERATION_RANDOM, .number = i};
        assert_true(slice_equal(query(&driver, read).data, text("there")));
    }
    driver_done(&driver);
}

static void a_range_is_deleted_with_what_has_expired_in_it(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    leave_one_stored(&driver);
    put(&driver, "later", "v");
    struct command delete = {.operation = OPERATION_DELETE_RANGE, .prefix = text("l")};
    struct reply reply = apply(&driver, delete);
    assert_int_equal(reply.count, 1);
    assert_int_equal(kv_key_count(driver.kv), 0);
    driver_done(&driver);
}

/* ---- setting it ---- */

static void a_put_takes_the_expiry_away_or_keeps_it(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put_until(&driver, "a", "one", at(9000));
    put_until(&driver, "a", "two", (struct expiry){EXPIRY_KEEP, 0});
    assert_stat(&driver, "a", (struct key_stat){1, 2, 2, 9000, 0});
    put_until(&driver, "a", "three", at(8000));
    assert_true(kv_next_expiry(driver.kv) == 8000);
    put(&driver, "a", "four");
    assert_stat(&driver, "a", (struct key_stat){1, 4, 4, 0, 0});
    assert_true(kv_next_expiry(driver.kv) == UINT64_MAX);
    put_until(&driver, "new", "v", (struct expiry){EXPIRY_KEEP, 0});
    assert_stat(&driver, "new", (struct key_stat){5, 5, 1, 0, 0});
    driver_done(&driver);
}

static void an_expiry_that_is_over_deletes_the_key(void **state)
{
    (void)state;
    static const struct expiry over[] = {
        {EXPIRY_AT, 0}, {EXPIRY_AT, 1}, {EXPIRY_AT, 1000}, {EXPIRY_AFTER, 0}};
    for (size_t i = 0; i < COUNT_OF(over); i++) {
        struct driver driver = driver_new(1, 1);
        struct reply reply = put_until(&driver, "new", "v", over[i]);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.revision, 1);
        put(&driver, "a", "v");
        reply = put_until(&driver, "a", "v", over[i]);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.revision, 3);
        assert_int_equal(kv_key_count(driver.kv), 0);
        put(&driver, "a", "v");
        reply = expire(&driver, "a", over[i], 0);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.count, 1);
        assert_int_equal(kv_key_count(driver.kv), 0);
        driver_done(&driver);
    }
}

static void a_delay_that_is_too_long_ends_at_the_last_moment(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put_until(&driver, "a", "v", after(INT64_MAX));
    assert_true(kv_next_expiry(driver.kv) == INT64_MAX);
    put_until(&driver, "b", "v", after(INT64_MAX - 1001));
    assert_true(kv_next_expiry(driver.kv) == INT64_MAX - 1);
    driver.time_ms = UINT64_MAX;
    put_until(&driver, "c", "v", after(1));
    put(&driver, "d", "v");
    assert_int_equal(kv_key_count(driver.kv), 1);
    assert_int_equal(get(&driver, "d").status, 0);
    driver_done(&driver);
}

static void expiring_is_a_write_and_keeps_the_value(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put(&driver, "a", "value");
    struct reply reply = expire(&driver, "a", at(5000), 0);
    assert_int_equal(reply.revision, 2);
    assert_int_equal(reply.count, 1);
    assert_stat(&driver, "a", (struct key_stat){1, 2, 2, 5000, 0});
    reply = expire(&driver, "a", at(5000), OPTION_RETURN);
    assert_true(slice_equal(reply.data, text("value")));
    assert_int_equal(reply.count, 1);
    reply = expire(&driver, "a", never, 0);
    assert_int_equal(reply.count, 1);
    assert_stat(&driver, "a", (struct key_stat){1, 4, 4, 0, 0});
    reply = expire(&driver, "a", never, 0);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 0);
    assert_stat(&driver, "a", (struct key_stat){1, 4, 4, 0, 0});
    assert_true(slice_equal(get(&driver, "a").data, text("value")));
    reply = expire(&driver, "a", after(0), OPTION_RETURN);
    assert_true(slice_equal(reply.data, text("value")));
    assert_int_equal(expire(&driver, "a", after(5), 0).status, KV_ERR_NOT_FOUND);
    driver_done(&driver);
}

static void options_decide_as_those_of_redis(void **state)
{
    (void)state;
    enum { U = OPTION_UNLIMITED, L = OPTION_LIMITED, GT = OPTION_LATER, LT = OPTION_EARLIER };
    static const struct {
        int64_t before; /* 0: never */
        int64_t after;
        uint32_t options;
        bool done;
    } rows[] = {
        {0, 5000, U, true},         {4000, 5000, U, false},   {0, 5000, L, false},
        {4000, 5000, L, true},      {0, 5000, GT, false},     {4000, 5000, GT, true},
        {4000, 4000, GT, false},    {4000, 3000, GT, false},  {0, 5000, LT, true},
        {4000, 5000, LT, false},    {4000, 4000, LT, false},  {4000, 3000, LT, true},
        {4000, 5000, L | GT, true}, {0, 5000, L | LT, false}, {4000, 3000, L | LT, true},
        {4000, 500, GT, false},     {4000, 500, LT, true},    {0, 500, LT, true},
        {4000, 0, GT, true},        {4000, 0, LT, false},     {4000, 0, L, true},
        {0, 0, LT, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct driver driver = driver_new(1, 1);
        put_until(&driver, "a", "v", rows[i].before == 0 ? never : at(rows[i].before));
        uint64_t before = kv_next_expiry(driver.kv);
        struct expiry expiry = rows[i].after == 0 ? never : at(rows[i].after);
        struct reply reply = expire(&driver, "a", expiry, rows[i].options);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.count, rows[i].done);
        if (!rows[i].done) {
            assert_true(kv_next_expiry(driver.kv) == before);
            assert_int_equal(get(&driver, "a").revision, 1);
        } else if (rows[i].after > 1000) {
            assert_true(kv_next_expiry(driver.kv) == (uint64_t)rows[i].after);
        } else {
            assert_true(kv_next_expiry(driver.kv) == UINT64_MAX);
        }
        driver_done(&driver);
    }
}

/* ---- removal ---- */

static void an_entry_removes_sixteen_and_a_purge_a_thousand(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    for (unsigned i = 0; i < 2500; i++) {
        numbered_put(&driver, i, at(2000 + (i * 7) % 2500));
    }
    put(&driver, "stays", "v");
    driver.time_ms = 10000;
    (void)apply_bytes(&driver, slice_of(NULL, 0));
    assert_int_equal(kv_key_count(driver.kv), 2501 - 16);
    /* In the order of the times. */
    assert_true(kv_next_expiry(driver.kv) == 2016);
    (void)apply_bytes(&driver, slice_of("garbage", 7));
    assert_int_equal(kv_key_count(driver.kv), 2501 - 32);
    struct reply reply = purge(&driver);
    assert_int_equal(reply.count, 1000);
    assert_true(reply.more);
    assert_int_equal(kv_key_count(driver.kv), 2501 - 1032);
    (void)purge(&driver);
    reply = purge(&driver);
    assert_int_equal(reply.count, 468);
    assert_false(reply.more);
    assert_int_equal(kv_key_count(driver.kv), 1);
    reply = purge(&driver);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 0);
    assert_int_equal(reply.revision, kv_applied_index(driver.kv));
    driver_done(&driver);
}

static void expiries_of_the_longest_keys_are_kept(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    uint8_t *bytes = memory_new(1, KEY_SIZE_MAX);
    memset(bytes, 0xff, KEY_SIZE_MAX);
    for (size_t size = KEY_SIZE_MAX - 99; size <= KEY_SIZE_MAX; size++) {
        struct command command = {.operation = OPERATION_PUT,
                                  .key = slice_of(bytes, size),
                                  .expiry = after((int64_t)size)};
        assert_int_equal(apply(&driver, command).status, 0);
    }
    kv_check(driver.kv);
    driver.time_ms += KEY_SIZE_MAX - 1;
    assert_int_equal(purge(&driver).count, 99);
    driver_done(&driver);
    free(bytes);
}

/* ---- clearing ---- */

static uint64_t clear(struct driver *driver)
{
    return apply(driver, (struct command){.operation = OPERATION_CLEAR}).count;
}

static void a_clear_deletes_everything_and_memory_comes_back_in_steps(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct driver driver = driver_new(1, 1);
    uint64_t empty = kv_memory(driver.kv);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            numbered_put(&driver, i, i % 2 == 0 ? never : at(90000));
        }
        assert_true(clear(&driver) == COUNT);
        assert_int_equal(kv_key_count(driver.kv), 0);
        assert_true(kv_next_expiry(driver.kv) == UINT64_MAX);
        assert_true(kv_memory(driver.kv) == empty);
        kv_check(driver.kv);
        assert_int_equal(clear(&driver), 0);
    }
    numbered_put(&driver, 1, never);
    unsigned steps = 1;
    while (!kv_tidy(driver.kv, 10)) {
        steps++;
    }
    assert_in_range(steps, 10, COUNT);
    assert_true(kv_tidy(driver.kv, 10));
    assert_int_equal(kv_key_count(driver.kv), 1);
    driver_done(&driver);
}

static void entries_alone_give_back_what_was_cleared(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    for (unsigned i = 0; i < 20000; i++) {
        numbered_put(&driver, i, never);
    }
    (void)clear(&driver);
    assert_false(kv_tidy(driver.kv, 0));
    for (unsigned i = 0; i < 20000 / 16; i++) {
        (void)apply_bytes(&driver, slice_of(NULL, 0));
    }
    assert_true(kv_tidy(driver.kv, 0));
    driver_done(&driver);
}

static void a_state_machine_may_go_with_what_was_cleared(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 20000; i++) {
            numbered_put(&driver, i, at(90000));
        }
        (void)clear(&driver);
    }
    unsigned steps = 1;
    while (!kv_release(driver.kv, 10)) {
        steps++;
    }
    assert_true(steps > 50);
    buf_done(&driver.bytes);
}

/* ---- snapshots ---- */

static void a_clear_does_not_change_a_snapshot(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    for (unsigned i = 0; i < 10000; i++) {
        numbered_put(&driver, i, i % 3 == 0 ? never : at(2000 + i));
    }
    struct kv_snapshot *snapshot = kv_freeze(driver.kv);
    uint64_t index = kv_snapshot_index(snapshot);
    uint64_t digest = kv_snapshot_digest(snapshot);
    struct buf bytes = {0};
    (void)kv_snapshot_next(snapshot, &bytes);
    (void)kv_snapshot_next(snapshot, &bytes);
    numbered_put(&driver, 5000, never);
    assert_int_equal(clear(&driver), 10000);
    for (unsigned i = 0; i < 1000; i++) {
        numbered_put(&driver, i, at(5000));
    }
    (void)clear(&driver);
    while (!kv_tidy(driver.kv, 3)) {
    }
    driver.time_ms = 4000;
    numbered_put(&driver, 3, at(5000));
    read_snapshot(snapshot, &bytes);
    assert_true(kv_snapshot_release(snapshot, SIZE_MAX));
    int err;
    struct kv *kv = restore_bytes(&kv_options_default, buf_slice(&bytes), index, digest, &err);
    assert_non_null(kv);
    kv_check(kv);
    assert_int_equal(kv_key_count(kv), 10000);
    assert_true(kv_next_expiry(kv) == 2001);
    assert_true(kv_digest_recompute(kv) == digest);
    kv_free(kv);
    buf_done(&bytes);
    driver_done(&driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_gone_from_the_entry_whose_time_is_its_expiry),
        cmocka_unit_test(an_earlier_time_brings_nothing_back),
        cmocka_unit_test(a_write_to_a_key_that_expired_makes_a_new_one),
        cmocka_unit_test(no_operation_sees_a_key_that_expired),
        cmocka_unit_test(a_range_is_deleted_with_what_has_expired_in_it),
        cmocka_unit_test(a_put_takes_the_expiry_away_or_keeps_it),
        cmocka_unit_test(an_expiry_that_is_over_deletes_the_key),
        cmocka_unit_test(a_delay_that_is_too_long_ends_at_the_last_moment),
        cmocka_unit_test(expiring_is_a_write_and_keeps_the_value),
        cmocka_unit_test(options_decide_as_those_of_redis),
        cmocka_unit_test(an_entry_removes_sixteen_and_a_purge_a_thousand),
        cmocka_unit_test(expiries_of_the_longest_keys_are_kept),
        cmocka_unit_test(a_clear_deletes_everything_and_memory_comes_back_in_steps),
        cmocka_unit_test(entries_alone_give_back_what_was_cleared),
        cmocka_unit_test(a_state_machine_may_go_with_what_was_cleared),
        cmocka_unit_test(a_clear_does_not_change_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
