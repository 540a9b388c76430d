/* Values made from the ones before, keys that move, and the reads besides get and list. */
#include "base/limits.h"
#include "base/memory.h"
#include "base/prng.h"
#include "kv_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void put_expiring(struct driver *driver, const char *key, const char *value)
{
    (void)apply(driver, (struct command){.operation = OPERATION_PUT,
                                         .key = text(key),
                                         .value = text(value),
                                         .expiry = {EXPIRY_AT, 5000}});
}

static struct key_stat stat_of(struct driver *driver, const char *key)
{
    struct reply reply =
        query(driver, (struct command){.operation = OPERATION_STAT, .key = text(key)});
    assert_int_equal(reply.status, 0);
    struct key_stat stat;
    assert_int_equal(key_stat_decode(reply.data, &stat), 0);
    return stat;
}

/* Nothing but a status, and nothing changed. */
static void assert_refused(struct driver *driver, struct command command, int status)
{
    struct reply before = get(driver, "a");
    struct reply reply = apply(driver, command);
    assert_int_equal(reply.status, status);
    assert_true(reply.revision == 0 && reply.count == 0 && reply.data.size == 0);
    struct reply after = get(driver, "a");
    assert_int_equal(before.status, after.status);
    assert_true(before.status != 0 || before.revision == after.revision);
}

/* ---- numbers ---- */

static void add_counts_from_nothing_and_answers_the_new_value(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command add = {.operation = OPERATION_ADD, .key = text("a"), .number = -3};
    struct reply reply = apply(&driver, add);
    assert_int_equal((int64_t)reply.count, -3);
    assert_int_equal(reply.revision, 1);
    add.number = 10;
    reply = apply(&driver, add);
    assert_int_equal(reply.count, 7);
    assert_text(get(&driver, "a").data, "7");
    assert_int_equal(stat_of(&driver, "a").version, 2);
    driver_done(&driver);
}

static void add_takes_nothing_but_a_plain_number(void **state)
{
    (void)state;
    static const char *const values[] = {"",  " 1", "1 ", "+1", "01",  "1.0",
                                         "x", "-",  "-0", "1e", "0x1", "9223372036854775808"};
    struct driver driver = driver_new(1, 1);
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        put(&driver, "a", values[i]);
        struct command add = {.operation = OPERATION_ADD, .key = text("a"), .number = 1};
        assert_refused(&driver, add, KV_ERR_NOT_INTEGER);
    }
    driver_done(&driver);
}

static void add_never_wraps_around(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command add = {.operation = OPERATION_ADD, .key = text("a"), .number = 1};
    put(&driver, "a", "9223372036854775807");
    assert_refused(&driver, add, KV_ERR_OVERFLOW);
    put(&driver, "a", "-9223372036854775808");
    add.number = -1;
    assert_refused(&driver, add, KV_ERR_OVERFLOW);
    add.number = INT64_MAX;
    assert_int_equal((int64_t)apply(&driver, add).count, -1);
    driver_done(&driver);
}

static void add_float_answers_the_text_it_stores(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command add = {
        .operation = OPERATION_ADD_FLOAT, .key = text("a"), .value = text("10.5")};
    assert_text(apply(&driver, add).data, "10.5");
    add.value = text("-0.25");
    assert_text(apply(&driver, add).data, "10.25");
    add.value = text("1.5e3");
    struct reply reply = apply(&driver, add);
    assert_text(reply.data, "1510.25");
    assert_int_equal(reply.revision, 3);
    assert_text(get(&driver, "a").data, "1510.25");
    driver_done(&driver);
}

static void add_float_refuses_what_is_no_number_or_gives_none(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command add = {.operation = OPERATION_ADD_FLOAT, .key = text("a"), .value = text("x")};
    assert_refused(&driver, add, KV_ERR_NOT_FLOAT);
    put(&driver, "a", "word");
    add.value = text("1");
    assert_refused(&driver, add, KV_ERR_NOT_FLOAT);
    put(&driver, "a", "1");
    add.value = text("inf");
    assert_refused(&driver, add, KV_ERR_OVERFLOW);
    driver_done(&driver);
}

/* ---- bytes ---- */

static void append_makes_the_key_and_answers_the_size(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command append = {.operation = OPERATION_APPEND, .key = text("a")};
    struct reply reply = apply(&driver, append);
    assert_int_equal(reply.count, 0);
    assert_int_equal(get(&driver, "a").status, 0);
    append.value = text("one");
    assert_int_equal(apply(&driver, append).count, 3);
    append.value = text("two");
    assert_int_equal(apply(&driver, append).count, 6);
    assert_text(get(&driver, "a").data, "onetwo");
    driver_done(&driver);
}

static void set_range_overwrites_and_fills_a_gap_with_zeros(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command set = {
        .operation = OPERATION_SET_RANGE, .key = text("a"), .value = text("xy"), .number = 2};
    assert_int_equal(apply(&driver, set).count, 4);
    assert_true(slice_equal(get(&driver, "a").data, slice_of("\0\0xy", 4)));
    set.number = 1;
    assert_int_equal(apply(&driver, set).count, 4);
    assert_true(slice_equal(get(&driver, "a").data, slice_of("\0xyy", 4)));
    set.number = 3;
    assert_int_equal(apply(&driver, set).count, 5);
    assert_true(slice_equal(get(&driver, "a").data, slice_of("\0xyxy", 5)));
    driver_done(&driver);
}

static void setting_an_empty_range_changes_nothing(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command set = {.operation = OPERATION_SET_RANGE, .key = text("a"), .number = INT64_MAX};
    struct reply reply = apply(&driver, set);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 0);
    assert_int_equal(kv_key_count(driver.kv), 0);
    put(&driver, "a", "value");
    assert_int_equal(apply(&driver, set).count, 5);
    assert_int_equal(get(&driver, "a").revision, 2);
    driver_done(&driver);
}

static void a_value_that_would_be_too_large_stays_as_it_is(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX);
    struct command command = {.operation = OPERATION_APPEND,
                              .key = text("a"),
                              .value = slice_of(bytes, VALUE_SIZE_MAX - 1)};
    assert_int_equal(apply(&driver, command).status, 0);
    command.value.size = 2;
    assert_refused(&driver, command, KV_ERR_VALUE_TOO_LARGE);
    command.operation = OPERATION_SET_RANGE;
    static const int64_t offsets[] = {VALUE_SIZE_MAX - 1, VALUE_SIZE_MAX, INT64_MAX};
    for (size_t i = 0; i < COUNT_OF(offsets); i++) {
        command.number = offsets[i];
        assert_refused(&driver, command, KV_ERR_VALUE_TOO_LARGE);
    }
    command.number = VALUE_SIZE_MAX - 2;
    assert_int_equal(apply(&driver, command).count, VALUE_SIZE_MAX);
    free(bytes);
    driver_done(&driver);
}

static void values_that_change_keep_their_expiry(void **state)
{
    (void)state;
    static const enum operation writes[] = {OPERATION_ADD, OPERATION_ADD_FLOAT, OPERATION_APPEND,
                                            OPERATION_SET_RANGE};
    struct driver driver = driver_new(1, 1);
    for (size_t i = 0; i < COUNT_OF(writes); i++) {
        put_expiring(&driver, "a", "1");
        struct command write = {.operation = writes[i], .key = text("a")};
        write.value = text(writes[i] == OPERATION_ADD ? "" : "2");
        assert_int_equal(apply(&driver, write).status, 0);
        assert_int_equal(stat_of(&driver, "a").expires_ms, 5000);
    }
    driver_done(&driver);
}

/* ---- conditions, and the value before ---- */

static void a_put_may_want_the_key_to_be_there_or_not(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command put_a = {.operation = OPERATION_PUT, .key = text("a"), .value = text("one")};
    put_a.options = OPTION_PRESENT;
    struct reply reply = apply(&driver, put_a);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 0);
    put_a.options = OPTION_ABSENT;
    assert_int_equal(apply(&driver, put_a).status, 0);
    reply = apply(&driver, put_a);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 2);
    assert_int_equal(reply.count, 0);
    put_a.options = OPTION_PRESENT;
    assert_int_equal(apply(&driver, put_a).status, 0);
    driver_done(&driver);
}

static void the_value_before_comes_back_when_it_is_asked_for(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command put_a = {.operation = OPERATION_PUT,
                            .key = text("a"),
                            .value = text("one"),
                            .options = OPTION_RETURN};
    struct reply reply = apply(&driver, put_a);
    assert_int_equal(reply.count, 0);
    assert_int_equal(reply.data.size, 0);
    put_a.value = text("two");
    reply = apply(&driver, put_a);
    assert_int_equal(reply.count, 1);
    assert_int_equal(reply.revision, 2);
    assert_text(reply.data, "one");
    put_a.options |= OPTION_ABSENT;
    reply = apply(&driver, put_a);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.count, 1);
    assert_text(reply.data, "two");
    struct command delete = {
        .operation = OPERATION_DELETE, .key = text("a"), .options = OPTION_RETURN};
    reply = apply(&driver, delete);
    assert_int_equal(reply.count, 1);
    assert_text(reply.data, "two");
    assert_int_equal(apply(&driver, delete).status, KV_ERR_NOT_FOUND);
    driver_done(&driver);
}

/* ---- from key to key ---- */

static void rename_moves_the_value_and_the_expiry(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command rename = {.operation = OPERATION_RENAME, .key = text("a"), .target = text("b")};
    assert_int_equal(apply(&driver, rename).status, KV_ERR_NOT_FOUND);
    put_expiring(&driver, "a", "one");
    struct reply reply = apply(&driver, rename);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 1);
    assert_int_equal(reply.revision, 3);
    assert_int_equal(get(&driver, "a").status, KV_ERR_NOT_FOUND);
    assert_text(get(&driver, "b").data, "one");
    struct key_stat stat = stat_of(&driver, "b");
    assert_int_equal(stat.create, 3);
    assert_int_equal(stat.version, 1);
    assert_int_equal(stat.expires_ms, 5000);
    /* Over one that is there, which keeps when it was made. */
    put(&driver, "a", "another");
    assert_int_equal(apply(&driver, rename).status, 0);
    stat = stat_of(&driver, "b");
    assert_int_equal(stat.create, 3);
    assert_int_equal(stat.modify, 5);
    assert_int_equal(stat.version, 2);
    assert_int_equal(stat.expires_ms, 0);
    assert_int_equal(kv_key_count(driver.kv), 1);
    driver_done(&driver);
}

static void a_rename_may_want_the_new_key_to_be_free(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command rename = {.operation = OPERATION_RENAME,
                             .key = text("a"),
                             .target = text("b"),
                             .options = OPTION_ABSENT};
    put(&driver, "a", "one");
    put(&driver, "b", "two");
    struct reply reply = apply(&driver, rename);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 2);
    assert_int_equal(reply.count, 0);
    rename.target = text("a");
    assert_int_equal(apply(&driver, rename).status, KV_ERR_CONDITION);
    rename.options = 0;
    reply = apply(&driver, rename);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 1);
    assert_int_equal(stat_of(&driver, "a").version, 1);
    rename.target = text("c");
    rename.options = OPTION_ABSENT;
    assert_int_equal(apply(&driver, rename).status, 0);
    driver_done(&driver);
}

static void copy_leaves_the_key_and_replaces_only_when_told(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command copy = {.operation = OPERATION_COPY, .key = text("a"), .target = text("b")};
    assert_int_equal(apply(&driver, copy).status, KV_ERR_NOT_FOUND);
    put_expiring(&driver, "a", "one");
    assert_int_equal(apply(&driver, copy).count, 1);
    assert_text(get(&driver, "a").data, "one");
    assert_text(get(&driver, "b").data, "one");
    assert_int_equal(stat_of(&driver, "b").expires_ms, 5000);
    put(&driver, "a", "two");
    assert_int_equal(apply(&driver, copy).status, KV_ERR_CONDITION);
    copy.options = OPTION_REPLACE;
    assert_int_equal(apply(&driver, copy).count, 1);
    assert_text(get(&driver, "b").data, "two");
    assert_int_equal(stat_of(&driver, "b").expires_ms, 0);
    driver_done(&driver);
}

/* ---- reads ---- */

static void get_range_cuts_as_redis_does(void **state)
{
    (void)state;
    static const struct {
        int64_t first;
        int64_t last;
        const char *part;
    } rows[] = {
        {0, 3, "This"},
        {-3, -1, "ing"},
        {0, -1, "This is a string"},
        {10, 100, "string"},
        {16, 20, ""},
        {5, 2, ""},
        {-1, -3, ""},
        {-100, 3, "This"},
        {-100, -50, "T"}, /* both before the first byte, which is the end then */
        {0, -100, "T"},
        {INT64_MIN, INT64_MAX, "This is a string"},
        {INT64_MAX, INT64_MIN, ""},
        {0, 0, "T"},
        {15, 15, "g"},
    };
    struct driver driver = driver_new(1, 1);
    put(&driver, "a", "This is a string");
    put(&driver, "empty", "");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct command part = {.operation = OPERATION_GET_RANGE,
                               .key = text("a"),
                               .number = rows[i].first,
                               .last = rows[i].last};
        struct reply reply = query(&driver, part);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.revision, 1);
        assert_text(reply.data, rows[i].part);
        part.key = text("empty");
        assert_int_equal(query(&driver, part).data.size, 0);
        part.key = text("nothing");
        reply = query(&driver, part);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.data.size, 0);
    }
    driver_done(&driver);
}

static void stat_says_what_is_known_of_a_key(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put(&driver, "a", "one");
    put_expiring(&driver, "a", "three");
    struct key_stat stat = stat_of(&driver, "a");
    assert_true(stat.create == 1 && stat.modify == 2 && stat.version == 2);
    assert_true(stat.expires_ms == 5000 && stat.now_ms == 1000);
    struct command of_a = {.operation = OPERATION_STAT, .key = text("a")};
    assert_int_equal(query(&driver, of_a).count, 5);
    of_a.key = text("b");
    assert_int_equal(query(&driver, of_a).status, KV_ERR_NOT_FOUND);
    driver_done(&driver);
}

static void every_key_may_come_up_at_random(void **state)
{
    (void)state;
    enum { KEYS = 500 };
    struct driver driver = driver_new(1, 1);
    struct command random = {.operation = OPERATION_RANDOM};
    assert_int_equal(query(&driver, random).status, KV_ERR_NOT_FOUND);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "%04u", i);
        put(&driver, key, "");
    }
    struct prng prng;
    prng_init(&prng, 7);
    bool seen[KEYS] = {false};
    unsigned count = 0;
    for (int64_t i = 0; i < KEYS * 40; i++) {
        random.number = (int64_t)prng_next(&prng);
        struct reply reply = query(&driver, random);
        assert_int_equal(reply.data.size, 4);
        char key[5] = {0};
        memcpy(key, reply.data.data, 4);
        unsigned number = (unsigned)strtoul(key, NULL, 10);
        count += !seen[number];
        seen[number] = true;
    }
    assert_int_equal(count, KEYS);
    driver_done(&driver);
}

static void match_goes_on_from_the_last_key_it_looked_at(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    for (unsigned i = 0; i < 100; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%s%02u", i % 3 == 0 ? "hit" : "no", i);
        put(&driver, key, "");
    }
    struct buf from = {0};
    struct command match = {.operation = OPERATION_MATCH, .pattern = text("h?t*"), .limit = 7};
    uint64_t hits = 0;
    unsigned pages = 0;
    struct reply reply;
    do {
        match.key = buf_slice(&from);
        reply = query(&driver, match);
        struct reader reader = reader_of(reply.data);
        struct slice last = reader_sized(&reader);
        buf_clear(&from);
        buf_append_slice(&from, last);
        buf_put_u8(&from, 0);
        for (uint64_t i = 0; i < reply.count; i++) {
            assert_true(slice_has_prefix(reader_sized(&reader), text("hit")));
            hits++;
        }
        assert_true(reader_finished(&reader));
        pages++;
    } while (reply.more);
    assert_int_equal(hits, 34);
    assert_int_equal(pages, 15);
    match = (struct command){.operation = OPERATION_MATCH, .pattern = text("*")};
    reply = query(&driver, match);
    assert_int_equal(reply.count, 100);
    assert_false(reply.more);
    buf_done(&from);
    driver_done(&driver);
}

static void what_does_not_fit_a_reply_is_refused_or_cut(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    for (unsigned i = 0; i < 100; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "key-%02u", i);
        put(&driver, key, "value");
    }
    struct command match = {.operation = OPERATION_MATCH, .pattern = text("*")};
    struct reply reply;
    kv_query(driver.kv, &match, 10 + 100 * 10, &reply);
    assert_int_equal(reply.count, 100);
    kv_query(driver.kv, &match, 10 + 100 * 10 - 1, &reply);
    assert_int_equal(reply.status, KV_ERR_REPLY_TOO_LARGE);
    assert_true(reply.count == 0 && reply.revision == 0 && reply.data.size == 0 && !reply.more);
    match.limit = UINT32_MAX;
    kv_query(driver.kv, &match, 10 + 100 * 10 - 1, &reply);
    assert_int_equal(reply.count, 99);
    assert_true(reply.more);
    struct command list = {.operation = OPERATION_LIST};
    kv_query(driver.kv, &list, 35, &reply);
    assert_int_equal(reply.count, 3);
    assert_true(reply.more);
    kv_query(driver.kv, &list, 9, &reply);
    assert_int_equal(reply.status, KV_ERR_REPLY_TOO_LARGE);
    struct command get_one = {.operation = OPERATION_GET, .key = text("key-00")};
    kv_query(driver.kv, &get_one, 5, &reply);
    assert_text(reply.data, "value");
    kv_query(driver.kv, &get_one, 4, &reply);
    assert_int_equal(reply.status, KV_ERR_REPLY_TOO_LARGE);
    driver_done(&driver);
}

static void a_common_subsequence_is_given_as_bytes_or_as_ranges(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put(&driver, "a", "ohmytext");
    put(&driver, "b", "mynewtext");
    struct command lcs = {.operation = OPERATION_LCS, .key = text("a"), .target = text("b")};
    struct reply reply = query(&driver, lcs);
    assert_int_equal(reply.count, 6);
    assert_text(reply.data, "mytext");
    lcs.options = OPTION_MATCHES;
    lcs.number = 4;
    reply = query(&driver, lcs);
    assert_int_equal(reply.count, 6);
    struct reader reader = reader_of(reply.data);
    struct lcs_match match;
    assert_true(lcs_match_next(&reader, &match));
    assert_true(match.first[0] == 4 && match.last[0] == 7);
    assert_true(match.first[1] == 5 && match.last[1] == 8);
    assert_false(lcs_match_next(&reader, &match));
    lcs.target = text("nothing");
    assert_int_equal(query(&driver, lcs).count, 0);
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX);
    struct command large = {
        .operation = OPERATION_PUT, .key = text("large"), .value = slice_of(bytes, VALUE_SIZE_MAX)};
    (void)apply(&driver, large);
    lcs.key = lcs.target = text("large");
    assert_int_equal(query(&driver, lcs).status, KV_ERR_REPLY_TOO_LARGE);
    free(bytes);
    driver_done(&driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_counts_from_nothing_and_answers_the_new_value),
        cmocka_unit_test(add_takes_nothing_but_a_plain_number),
        cmocka_unit_test(add_never_wraps_around),
        cmocka_unit_test(add_float_answers_the_text_it_stores),
        cmocka_unit_test(add_float_refuses_what_is_no_number_or_gives_none),
        cmocka_unit_test(append_makes_the_key_and_answers_the_size),
        cmocka_unit_test(set_range_overwrites_and_fills_a_gap_with_zeros),
        cmocka_unit_test(setting_an_empty_range_changes_nothing),
        cmocka_unit_test(a_value_that_would_be_too_large_stays_as_it_is),
        cmocka_unit_test(values_that_change_keep_their_expiry),
        cmocka_unit_test(a_put_may_want_the_key_to_be_there_or_not),
        cmocka_unit_test(the_value_before_comes_back_when_it_is_asked_for),
        cmocka_unit_test(rename_moves_the_value_and_the_expiry),
        cmocka_unit_test(a_rename_may_want_the_new_key_to_be_free),
        cmocka_unit_test(copy_leaves_the_key_and_replaces_only_when_told),
        cmocka_unit_test(get_range_cuts_as_redis_does),
        cmocka_unit_test(stat_says_what_is_known_of_a_key),
        cmocka_unit_test(every_key_may_come_up_at_random),
        cmocka_unit_test(match_goes_on_from_the_last_key_it_looked_at),
        cmocka_unit_test(what_does_not_fit_a_reply_is_refused_or_cut),
        cmocka_unit_test(a_common_subsequence_is_given_as_bytes_or_as_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
