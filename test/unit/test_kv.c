/* The map of the state machine: what each command does and what it answers. */
#include "base/limits.h"
#include "base/memory.h"
#include "kv_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- put, get, delete ---- */

static void put_answers_its_revision_and_get_the_value(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct reply reply = put(&driver, "a", "one");
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.revision, 1);
    reply = put(&driver, "b", "two");
    assert_int_equal(reply.revision, 2);
    reply = get(&driver, "a");
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.revision, 1);
    assert_text(reply.data, "one");
    reply = put(&driver, "a", "another");
    assert_int_equal(reply.revision, 3);
    reply = get(&driver, "a");
    assert_int_equal(reply.revision, 3);
    assert_text(reply.data, "another");
    assert_int_equal(kv_key_count(driver.kv), 2);
    driver_done(&driver);
}

static void get_of_nothing_answers_the_applied_index(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put(&driver, "a", "one");
    put(&driver, "b", "two");
    struct reply reply = get(&driver, "c");
    assert_int_equal(reply.status, KV_ERR_NOT_FOUND);
    assert_int_equal(reply.revision, 2);
    assert_int_equal(reply.data.size, 0);
    driver_done(&driver);
}

static void delete_answers_once_and_then_not_found(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command delete = {.operation = OPERATION_DELETE, .key = text("a")};
    put(&driver, "a", "one");
    struct reply reply = apply(&driver, delete);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.revision, 2);
    assert_int_equal(reply.count, 1);
    assert_int_equal(get(&driver, "a").status, KV_ERR_NOT_FOUND);
    reply = apply(&driver, delete);
    assert_int_equal(reply.status, KV_ERR_NOT_FOUND);
    assert_int_equal(reply.revision, 3);
    assert_int_equal(reply.count, 0);
    assert_int_equal(kv_key_count(driver.kv), 0);
    driver_done(&driver);
}

static void an_entry_without_a_command_only_moves_the_index(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put(&driver, "a", "one");
    struct reply reply = apply_bytes(&driver, slice_of(NULL, 0));
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.revision, 0);
    assert_int_equal(kv_applied_index(driver.kv), 2);
    assert_int_equal(kv_key_count(driver.kv), 1);
    assert_int_equal(get(&driver, "a").revision, 1);
    driver_done(&driver);
}

static void reads_in_the_log_and_writes_in_a_query_are_invalid(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command get_a = {.operation = OPERATION_GET, .key = text("a")};
    struct command list = {.operation = OPERATION_LIST};
    struct command put_a = {.operation = OPERATION_PUT, .key = text("a")};
    struct command open = {.operation = OPERATION_OPEN_SESSION};
    assert_int_equal(apply(&driver, get_a).status, KV_ERR_INVALID);
    assert_int_equal(apply(&driver, list).status, KV_ERR_INVALID);
    assert_int_equal(query(&driver, put_a).status, KV_ERR_INVALID);
    assert_int_equal(query(&driver, open).status, KV_ERR_INVALID);
    assert_int_equal(kv_key_count(driver.kv), 0);
    assert_int_equal(kv_session_count(driver.kv), 0);
    driver_done(&driver);
}

/* Encodes without the check that a proposer makes, as a faulty or newer one might. */
static struct reply apply_unchecked(struct driver *driver, struct slice key, struct slice value)
{
    struct command command = {.operation = OPERATION_PUT, .key = key, .value = value};
    return apply(driver, command);
}

static void limits_hold_at_their_edges(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX + 1);
    memset(bytes, 0xff, VALUE_SIZE_MAX + 1);
    struct slice longest = slice_of(bytes, KEY_SIZE_MAX);
    assert_int_equal(apply_unchecked(&driver, longest, slice_of(bytes, VALUE_SIZE_MAX)).status, 0);
    struct reply reply =
        query(&driver, (struct command){.operation = OPERATION_GET, .key = longest});
    assert_int_equal(reply.data.size, VALUE_SIZE_MAX);
    assert_int_equal(apply_unchecked(&driver, longest, slice_of(NULL, 0)).status, 0);
    reply = query(&driver, (struct command){.operation = OPERATION_GET, .key = longest});
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.data.size, 0);

    struct slice too_long = slice_of(bytes, KEY_SIZE_MAX + 1);
    struct slice too_large = slice_of(bytes, VALUE_SIZE_MAX + 1);
    assert_int_equal(apply_unchecked(&driver, too_long, text("v")).status, KV_ERR_KEY_TOO_LARGE);
    assert_int_equal(apply_unchecked(&driver, text("k"), too_large).status, KV_ERR_VALUE_TOO_LARGE);
    assert_int_equal(apply_unchecked(&driver, text(""), text("v")).status, KV_ERR_KEY_EMPTY);
    reply = query(&driver, (struct command){.operation = OPERATION_GET, .key = too_long});
    assert_int_equal(reply.status, KV_ERR_KEY_TOO_LARGE);
    assert_int_equal(get(&driver, "").status, KV_ERR_KEY_EMPTY);
    assert_int_equal(kv_key_count(driver.kv), 1);
    assert_int_equal(kv_applied_index(driver.kv), 5);
    free(bytes);
    driver_done(&driver);
}

/* ---- compare and set ---- */

static struct reply put_expecting(struct driver *driver, const char *key, uint64_t revision)
{
    return apply(driver, (struct command){.operation = OPERATION_PUT,
                                          .key = text(key),
                                          .value = text("new"),
                                          .has_expected = true,
                                          .expected_revision = revision});
}

static struct reply delete_expecting(struct driver *driver, const char *key, uint64_t revision)
{
    return apply(driver, (struct command){.operation = OPERATION_DELETE,
                                          .key = text(key),
                                          .has_expected = true,
                                          .expected_revision = revision});
}

static void a_put_that_expects_a_revision_needs_that_one(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put(&driver, "a", "one");
    put(&driver, "a", "two");
    struct reply reply = put_expecting(&driver, "a", 1);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 2);
    assert_text(get(&driver, "a").data, "two");
    reply = put_expecting(&driver, "a", 2);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.revision, 4);
    assert_text(get(&driver, "a").data, "new");
    assert_int_equal(put_expecting(&driver, "a", 2).status, KV_ERR_CONDITION);
    driver_done(&driver);
}

static void a_put_that_expects_nothing_makes_a_key_once(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    assert_int_equal(put_expecting(&driver, "a", 0).status, 0);
    struct reply reply = put_expecting(&driver, "a", 0);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 1);
    reply = put_expecting(&driver, "b", 1);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 0);
    assert_int_equal(kv_key_count(driver.kv), 1);
    driver_done(&driver);
}

static void a_delete_may_expect_a_revision(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put(&driver, "a", "one");
    struct reply reply = delete_expecting(&driver, "a", 7);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 1);
    assert_int_equal(delete_expecting(&driver, "a", 0).status, KV_ERR_CONDITION);
    assert_int_equal(delete_expecting(&driver, "a", 1).status, 0);
    reply = delete_expecting(&driver, "a", 1);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 0);
    assert_int_equal(delete_expecting(&driver, "a", 0).status, KV_ERR_NOT_FOUND);
    driver_done(&driver);
}

/* ---- ranges ---- */

/* In order. Zeros and 0xff stand where a careless successor or comparison goes wrong. */
static const struct {
    const char *bytes;
    size_t size;
} nasty[] = {
    {"\x00", 1},     {"\x00\x00", 2},  {"\x00\xff", 2},     {"a", 1},
    {"a\x00", 2},    {"a\x00\x00", 3}, {"a\x00\x01", 3},    {"a\x01", 2},
    {"a\xff", 2},    {"a\xff\x00", 3}, {"a\xff\xff", 3},    {"a\xff\xff\x01", 4},
    {"b", 1},        {"\xfe", 1},      {"\xff", 1},         {"\xff\x00", 2},
    {"\xff\x7f", 2}, {"\xff\xff", 2},  {"\xff\xff\x00", 3}, {"\xff\xff\xff", 3},
};

static struct slice nasty_key(size_t i)
{
    return slice_of(nasty[i].bytes, nasty[i].size);
}

static void put_nasty_keys(struct driver *driver)
{
    /* Out of order: 7 has no common divisor with 20. */
    for (size_t i = 0; i < COUNT_OF(nasty); i++) {
        size_t at = i * 7 % COUNT_OF(nasty);
        (void)apply(driver, (struct command){.operation = OPERATION_PUT,
                                             .key = nasty_key(at),
                                             .value = slice_of(&nasty[at].bytes[0], 1)});
    }
}

static bool in_range(const struct command *command, struct slice key)
{
    return slice_compare(key, command->key) >= 0 &&
           (command->end.size == 0 || slice_compare(key, command->end) < 0) &&
           slice_has_prefix(key, command->prefix);
}

/* Walks the pages of a LIST or SCAN and compares them with the table above. */
static void assert_pages(struct driver *driver, struct command command)
{
    const struct command whole = command;
    uint8_t next[KEY_SIZE_MAX + 1];
    size_t at = 0;
    bool more = true;
    while (more) {
        struct reply reply = query(driver, command);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.revision, COUNT_OF(nasty));
        assert_true(command.limit == 0 || reply.count <= command.limit);
        struct reader reader = reader_of(reply.data);
        for (uint64_t i = 0; i < reply.count; i++) {
            while (at < COUNT_OF(nasty) && !in_range(&whole, nasty_key(at))) {
                at++;
            }
            assert_true(at < COUNT_OF(nasty));
            struct slice key = reader_sized(&reader);
            assert_true(slice_equal(key, nasty_key(at)));
            if (command.operation == OPERATION_SCAN) {
                assert_true(slice_equal(reader_sized(&reader), slice_of(nasty[at].bytes, 1)));
                uint64_t revision = reader_u64(&reader);
                assert_int_equal((revision - 1) * 7 % COUNT_OF(nasty), at);
            }
            memcpy(next, key.data, key.size);
            next[key.size] = 0;
            command.key = slice_of(next, key.size + 1);
            at++;
        }
        assert_true(reader_finished(&reader));
        more = reply.more;
        assert_true(!more || reply.count == command.limit);
    }
    while (at < COUNT_OF(nasty) && !in_range(&whole, nasty_key(at))) {
        at++;
    }
    assert_int_equal(at, COUNT_OF(nasty));
}

static void pages_of_every_size_give_every_key_once_and_in_order(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put_nasty_keys(&driver);
    for (uint32_t limit = 0; limit <= COUNT_OF(nasty) + 1; limit++) {
        assert_pages(&driver, (struct command){.operation = OPERATION_LIST, .limit = limit});
        assert_pages(&driver, (struct command){.operation = OPERATION_SCAN, .limit = limit});
    }
    driver_done(&driver);
}

static void every_range_and_prefix_gives_exactly_its_keys(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put_nasty_keys(&driver);
    for (size_t key = 0; key <= COUNT_OF(nasty); key++) {
        for (size_t end = 0; end <= COUNT_OF(nasty); end++) {
            for (size_t prefix = 0; prefix <= COUNT_OF(nasty); prefix++) {
                struct slice none = slice_of(NULL, 0);
                struct command command = {
                    .operation = prefix % 2 == 0 ? OPERATION_LIST : OPERATION_SCAN,
                    .limit = 3,
                    .key = key < COUNT_OF(nasty) ? nasty_key(key) : none,
                    .end = end < COUNT_OF(nasty) ? nasty_key(end) : none,
                    .prefix = prefix < COUNT_OF(nasty) ? nasty_key(prefix) : none,
                };
                assert_pages(&driver, command);
            }
        }
    }
    driver_done(&driver);
}

static void more_is_said_only_when_keys_of_the_range_are_left(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    put_nasty_keys(&driver);
    struct command list = {.operation = OPERATION_LIST, .limit = 4, .prefix = slice_of("a\xff", 2)};
    struct reply reply = query(&driver, list);
    assert_int_equal(reply.count, 4);
    assert_false(reply.more);
    list.limit = 3;
    reply = query(&driver, list);
    assert_int_equal(reply.count, 3);
    assert_true(reply.more);
    driver_done(&driver);
}

static void a_list_of_nothing_has_no_keys_and_the_applied_index(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    struct command list = {.operation = OPERATION_LIST};
    assert_int_equal(query(&driver, list).revision, 0);
    put_nasty_keys(&driver);
    list.prefix = text("nothing");
    struct reply reply = query(&driver, list);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 0);
    assert_int_equal(reply.data.size, 0);
    assert_false(reply.more);
    assert_int_equal(reply.revision, COUNT_OF(nasty));
    driver_done(&driver);
}

static void a_page_has_at_most_ten_thousand_keys(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    char key[16];
    for (int i = 0; i < LIST_LIMIT_MAX + 5; i++) {
        (void)snprintf(key, sizeof key, "%08d", i);
        put(&driver, key, "");
    }
    static const uint32_t limits[] = {0, LIST_LIMIT_MAX, LIST_LIMIT_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        struct reply reply =
            query(&driver, (struct command){.operation = OPERATION_LIST, .limit = limits[i]});
        assert_int_equal(reply.count, LIST_LIMIT_MAX);
        assert_true(reply.more);
    }
    driver_done(&driver);
}

/* Large items: each page stays below its size in bytes, has at least one, and none is lost. */
static void pages_of_large_items_end_early_but_go_on(void **state)
{
    (void)state;
    enum { COUNT = 1200 };
    struct driver driver = driver_new(1, 1);
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX);
    memset(bytes, 'x', VALUE_SIZE_MAX);
    for (uint32_t i = 0; i < COUNT; i++) {
        put_u32(bytes + KEY_SIZE_MAX - 4, i);
        size_t value = i % 300 == 0 ? VALUE_SIZE_MAX : 1000;
        (void)apply_unchecked(&driver, slice_of(bytes, KEY_SIZE_MAX), slice_of(bytes, value));
    }
    static const enum operation ranges[] = {OPERATION_LIST, OPERATION_SCAN};
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        uint8_t next[KEY_SIZE_MAX + 1];
        struct command command = {.operation = ranges[i]};
        uint64_t count = 0;
        uint64_t pages = 0;
        struct reply reply = {.more = true};
        while (reply.more) {
            reply = query(&driver, command);
            assert_true(reply.count > 0);
            assert_true(reply.data.size <= FRAME_SIZE_MAX / 2);
            struct reader reader = reader_of(reply.data);
            for (uint64_t k = 0; k < reply.count; k++) {
                memcpy(next, reader_sized(&reader).data, KEY_SIZE_MAX);
                if (ranges[i] == OPERATION_SCAN) {
                    (void)reader_sized(&reader);
                    (void)reader_u64(&reader);
                }
            }
            assert_true(reader_finished(&reader));
            next[KEY_SIZE_MAX] = 0;
            command.key = slice_of(next, sizeof next);
            count += reply.count;
            pages++;
        }
        assert_int_equal(count, COUNT);
        assert_true(pages >= 3);
    }
    free(bytes);
    driver_done(&driver);
}

static void delete_range_deletes_exactly_the_range(void **state)
{
    (void)state;
    for (size_t key = 0; key <= COUNT_OF(nasty); key++) {
        for (size_t end = 0; end <= COUNT_OF(nasty); end++) {
            size_t prefix = (key + end) % (COUNT_OF(nasty) + 1);
            struct slice none = slice_of(NULL, 0);
            struct command command = {
                .operation = OPERATION_DELETE_RANGE,
                .key = key < COUNT_OF(nasty) ? nasty_key(key) : none,
                .end = end < COUNT_OF(nasty) ? nasty_key(end) : none,
                .prefix = prefix < COUNT_OF(nasty) ? nasty_key(prefix) : none,
            };
            if (command.key.size + command.end.size + command.prefix.size == 0) {
                continue;
            }
            struct driver driver = driver_new(1, 1);
            put_nasty_keys(&driver);
            struct reply reply = apply(&driver, command);
            uint64_t expected = 0;
            for (size_t i = 0; i < COUNT_OF(nasty); i++) {
                bool gone = in_range(&command, nasty_key(i));
                expected += gone;
                struct command get_it = {.operation = OPERATION_GET, .key = nasty_key(i)};
                assert_int_equal(query(&driver, get_it).status, gone ? KV_ERR_NOT_FOUND : 0);
            }
            assert_int_equal(reply.status, 0);
            assert_int_equal(reply.count, expected);
            assert_int_equal(reply.revision, COUNT_OF(nasty) + 1);
            assert_int_equal(kv_key_count(driver.kv), COUNT_OF(nasty) - expected);
            driver_done(&driver);
        }
    }
}

static void deleting_every_key_gives_the_memory_back(void **state)
{
    (void)state;
    struct driver driver = driver_new(1, 1);
    uint64_t empty = kv_memory(driver.kv);
    char key[16];
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        put(&driver, key, "some value");
    }
    assert_true(kv_memory(driver.kv) > 20000 * (5 + 10));
    struct command all = {.operation = OPERATION_DELETE_RANGE, .prefix = text("k")};
    assert_int_equal(DELETE_LIMIT_MAX, 10000);
    struct reply reply = apply(&driver, all);
    assert_int_equal(reply.count, DELETE_LIMIT_MAX);
    assert_true(reply.more);
    /* The keys are the first of the range. */
    assert_int_equal(get(&driver, "k0").status, KV_ERR_NOT_FOUND);
    assert_int_equal(get(&driver, "k9999").status, 0);
    reply = apply(&driver, all);
    assert_int_equal(reply.count, DELETE_LIMIT_MAX);
    assert_false(reply.more);
    assert_true(kv_memory(driver.kv) == empty);
    driver_done(&driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_answers_its_revision_and_get_the_value),
        cmocka_unit_test(get_of_nothing_answers_the_applied_index),
        cmocka_unit_test(delete_answers_once_and_then_not_found),
        cmocka_unit_test(an_entry_without_a_command_only_moves_the_index),
        cmocka_unit_test(reads_in_the_log_and_writes_in_a_query_are_invalid),
        cmocka_unit_test(limits_hold_at_their_edges),
        cmocka_unit_test(a_put_that_expects_a_revision_needs_that_one),
        cmocka_unit_test(a_put_that_expects_nothing_makes_a_key_once),
        cmocka_unit_test(a_delete_may_expect_a_revision),
        cmocka_unit_test(pages_of_every_size_give_every_key_once_and_in_order),
        cmocka_unit_test(every_range_and_prefix_gives_exactly_its_keys),
        cmocka_unit_test(more_is_said_only_when_keys_of_the_range_are_left),
        cmocka_unit_test(a_list_of_nothing_has_no_keys_and_the_applied_index),
        cmocka_unit_test(a_page_has_at_most_ten_thousand_keys),
        cmocka_unit_test(pages_of_large_items_end_early_but_go_on),
        cmocka_unit_test(delete_range_deletes_exactly_the_range),
        cmocka_unit_test(deleting_every_key_gives_the_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
