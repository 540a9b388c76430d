/* Exactly-once writes: retries, late and stale ones, limits, eviction. */
#include "kv_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct reply close_session(struct driver *driver, uint64_t session)
{
    return apply(driver,
                 (struct command){.operation = OPERATION_CLOSE_SESSION, .session = session});
}

static void assert_value(struct driver *driver, const char *key, const char *expected)
{
    struct reply reply = get(driver, key);
    assert_int_equal(reply.status, 0);
    assert_true(slice_equal(reply.data, slice_of_string(expected)));
}

static void a_session_is_named_by_its_entry(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    put(&driver, "a", "x");
    assert_int_equal(open_session(&driver), 2);
    assert_int_equal(open_session(&driver), 3);
    assert_int_equal(kv_session_count(driver.kv), 2);
    driver_done(&driver);
}

static void a_retry_gets_the_first_reply_and_changes_nothing(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t session = open_session(&driver);
    struct stamp stamp = {.session = session, .sequence = 1};
    struct reply first = put_once(&driver, stamp, "a", "one");
    put(&driver, "a", "by another");
    struct reply second = put_once(&driver, stamp, "a", "one");
    assert_int_equal(first.status, 0);
    assert_int_equal(second.status, 0);
    assert_int_equal(first.revision, 2);
    assert_int_equal(second.revision, 2);
    assert_value(&driver, "a", "by another");
    driver_done(&driver);
}

/* Bug 40: redirected and sent again anywhere, a write is in the log many times and counts once. */
static void a_write_logged_many_times_is_applied_once(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t session = open_session(&driver);
    put(&driver, "a", "x");
    struct command delete = {.operation = OPERATION_DELETE,
                             .session = session,
                             .sequence = 9,
                             .key = slice_of_string("a")};
    for (int i = 0; i < 10; i++) {
        struct reply reply = apply(&driver, delete);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.count, 1);
        assert_int_equal(reply.revision, 3);
    }
    driver_done(&driver);
}

static void errors_are_stored_replies_too(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t session = open_session(&driver);
    struct command conditional = {.operation = OPERATION_PUT,
                                  .session = session,
                                  .sequence = 1,
                                  .key = slice_of_string("a"),
                                  .value = slice_of_string("v"),
                                  .has_expected = true,
                                  .expected_revision = 3};
    struct command missing = {.operation = OPERATION_DELETE,
                              .session = session,
                              .sequence = 2,
                              .key = slice_of_string("b")};
    assert_int_equal(apply(&driver, conditional).status, KV_ERR_CONDITION);
    put(&driver, "a", "now at revision three");
    assert_int_equal(apply(&driver, missing).status, KV_ERR_NOT_FOUND);
    put(&driver, "b", "x");

    struct reply reply = apply(&driver, conditional);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 0);
    assert_value(&driver, "a", "now at revision three");
    reply = apply(&driver, missing);
    assert_int_equal(reply.status, KV_ERR_NOT_FOUND);
    assert_int_equal(reply.revision, 4);
    assert_value(&driver, "b", "x");
    driver_done(&driver);
}

static void a_delete_range_is_retried_to_the_same_count(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t session = open_session(&driver);
    put(&driver, "a1", "");
    put(&driver, "a2", "");
    struct command delete_all = {.operation = OPERATION_DELETE_RANGE,
                                 .session = session,
                                 .sequence = 1,
                                 .prefix = slice_of_string("a")};
    assert_int_equal(apply(&driver, delete_all).count, 2);
    put(&driver, "a3", "");
    assert_int_equal(apply(&driver, delete_all).count, 2);
    assert_int_equal(kv_key_count(driver.kv), 1);
    driver_done(&driver);
}

static void that_there_are_more_is_part_of_the_stored_reply(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t session = open_session(&driver);
    char key[16];
    for (int i = 0; i <= DELETE_LIMIT_MAX; i++) {
        (void)snprintf(key, sizeof key, "a%d", i);
        put(&driver, key, "");
    }
    struct command delete_all = {.operation = OPERATION_DELETE_RANGE,
                                 .session = session,
                                 .sequence = 1,
                                 .prefix = slice_of_string("a")};
    for (int i = 0; i < 2; i++) {
        struct reply reply = apply(&driver, delete_all);
        assert_int_equal(reply.count, DELETE_LIMIT_MAX);
        assert_true(reply.more);
        assert_int_equal(kv_key_count(driver.kv), 1);
    }
    driver_done(&driver);
}

static void writes_that_arrive_out_of_order_are_each_applied_once(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 8);
    uint64_t session = open_session(&driver);
    static const uint64_t order[] = {5, 2, 8, 1, 7, 3, 6, 4};
    uint64_t revisions[9] = {0};
    char key[8];
    for (size_t i = 0; i < 8; i++) {
        (void)snprintf(key, sizeof key, "k%d", (int)order[i]);
        struct stamp stamp = {.session = session, .sequence = order[i]};
        struct reply reply = put_once(&driver, stamp, key, "first");
        assert_int_equal(reply.status, 0);
        revisions[order[i]] = reply.revision;
    }
    assert_int_equal(kv_key_count(driver.kv), 8);
    for (uint64_t sequence = 1; sequence <= 8; sequence++) {
        struct stamp stamp = {.session = session, .sequence = sequence};
        struct reply reply = put_once(&driver, stamp, "k", "again");
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.revision, revisions[sequence]);
    }
    assert_int_equal(get(&driver, "k").status, KV_ERR_NOT_FOUND);
    driver_done(&driver);
}

static void what_was_acknowledged_is_stale(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 8);
    uint64_t session = open_session(&driver);
    for (uint64_t sequence = 1; sequence <= 4; sequence++) {
        (void)put_once(&driver, (struct stamp){session, sequence, 0}, "a", "v");
    }
    (void)put_once(&driver, (struct stamp){session, 5, 3}, "a", "five");
    for (uint64_t sequence = 1; sequence <= 3; sequence++) {
        struct reply reply = put_once(&driver, (struct stamp){session, sequence, 0}, "a", "old");
        assert_int_equal(reply.status, KV_ERR_SEQUENCE_STALE);
        assert_int_equal(reply.revision, 0);
    }
    assert_int_equal(put_once(&driver, (struct stamp){session, 4, 0}, "a", "old").revision, 5);
    assert_int_equal(put_once(&driver, (struct stamp){session, 5, 3}, "a", "old").revision, 6);
    assert_value(&driver, "a", "five");
    driver_done(&driver);
}

static void an_old_acknowledgement_lowers_nothing(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 8);
    uint64_t session = open_session(&driver);
    (void)put_once(&driver, (struct stamp){session, 5, 4}, "a", "five");
    (void)put_once(&driver, (struct stamp){session, 6, 1}, "a", "six");
    struct reply reply = put_once(&driver, (struct stamp){session, 4, 0}, "a", "four");
    assert_int_equal(reply.status, KV_ERR_SEQUENCE_STALE);
    assert_value(&driver, "a", "six");
    driver_done(&driver);
}

static void a_stale_write_still_acknowledges_nothing_newer(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 8);
    uint64_t session = open_session(&driver);
    for (uint64_t sequence = 1; sequence <= 3; sequence++) {
        (void)put_once(&driver, (struct stamp){session, sequence, 0}, "a", "v");
    }
    (void)put_once(&driver, (struct stamp){session, 4, 2}, "a", "four");
    struct reply reply = put_once(&driver, (struct stamp){session, 2, 1}, "a", "two");
    assert_int_equal(reply.status, KV_ERR_SEQUENCE_STALE);
    assert_int_equal(put_once(&driver, (struct stamp){session, 3, 0}, "a", "three").revision, 4);
    assert_value(&driver, "a", "four");
    driver_done(&driver);
}

static void a_session_that_was_never_opened_is_unknown(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    (void)open_session(&driver);
    struct reply reply = put_once(&driver, (struct stamp){77, 1, 0}, "a", "v");
    assert_int_equal(reply.status, KV_ERR_SESSION_UNKNOWN);
    assert_int_equal(get(&driver, "a").status, KV_ERR_NOT_FOUND);
    assert_int_equal(close_session(&driver, 77).status, KV_ERR_SESSION_UNKNOWN);
    driver_done(&driver);
}

static void a_closed_session_is_unknown(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t session = open_session(&driver);
    (void)put_once(&driver, (struct stamp){session, 1, 0}, "a", "v");
    assert_int_equal(close_session(&driver, session).status, 0);
    assert_int_equal(kv_session_count(driver.kv), 0);
    struct reply reply = put_once(&driver, (struct stamp){session, 1, 0}, "a", "again");
    assert_int_equal(reply.status, KV_ERR_SESSION_UNKNOWN);
    assert_value(&driver, "a", "v");
    assert_int_equal(close_session(&driver, session).status, KV_ERR_SESSION_UNKNOWN);
    driver_done(&driver);
}

/* Bug 39: no server's clock ends a session; the log alone decides which one goes. */
static void the_least_recently_used_session_is_evicted(void **state)
{
    (void)state;
    struct driver driver = driver_new(3, 4);
    uint64_t a = open_session(&driver);
    uint64_t b = open_session(&driver);
    uint64_t c = open_session(&driver);
    (void)put_once(&driver, (struct stamp){a, 1, 0}, "a", "v");
    /* A duplicate counts as use as well. */
    (void)put_once(&driver, (struct stamp){c, 1, 0}, "c", "v");
    (void)put_once(&driver, (struct stamp){a, 1, 0}, "a", "v");
    uint64_t d = open_session(&driver);
    assert_int_equal(put_once(&driver, (struct stamp){b, 1, 0}, "b", "v").status,
                     KV_ERR_SESSION_UNKNOWN);
    uint64_t e = open_session(&driver);
    assert_int_equal(put_once(&driver, (struct stamp){c, 2, 0}, "c", "w").status,
                     KV_ERR_SESSION_UNKNOWN);
    assert_int_equal(put_once(&driver, (struct stamp){a, 2, 0}, "a", "w").status, 0);
    assert_int_equal(put_once(&driver, (struct stamp){d, 1, 0}, "d", "w").status, 0);
    assert_int_equal(put_once(&driver, (struct stamp){e, 1, 0}, "e", "w").status, 0);
    assert_int_equal(kv_session_count(driver.kv), 3);
    driver_done(&driver);
}

static void beyond_the_replies_that_are_kept_the_oldest_becomes_stale(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 3);
    uint64_t session = open_session(&driver);
    for (uint64_t sequence = 1; sequence <= 5; sequence++) {
        struct reply reply = put_once(&driver, (struct stamp){session, sequence, 0}, "a", "v");
        assert_int_equal(reply.status, 0);
    }
    put(&driver, "a", "kept");
    for (uint64_t sequence = 1; sequence <= 5; sequence++) {
        struct reply reply = put_once(&driver, (struct stamp){session, sequence, 0}, "a", "bad");
        assert_int_equal(reply.status, sequence <= 2 ? KV_ERR_SEQUENCE_STALE : 0);
        assert_int_equal(reply.revision, sequence <= 2 ? 0 : sequence + 1);
    }
    assert_value(&driver, "a", "kept");
    driver_done(&driver);
}

/* It is lower than everything kept, so its own reply is the one that is dropped. */
static void a_late_write_beyond_the_replies_is_applied_once_and_then_stale(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 3);
    uint64_t session = open_session(&driver);
    for (uint64_t sequence = 10; sequence <= 12; sequence++) {
        (void)put_once(&driver, (struct stamp){session, sequence, 0}, "a", "v");
    }
    struct reply reply = put_once(&driver, (struct stamp){session, 5, 0}, "late", "first");
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.revision, 5);
    put(&driver, "late", "by another");
    reply = put_once(&driver, (struct stamp){session, 5, 0}, "late", "first");
    assert_int_equal(reply.status, KV_ERR_SEQUENCE_STALE);
    assert_value(&driver, "late", "by another");
    assert_int_equal(put_once(&driver, (struct stamp){session, 10, 0}, "a", "x").revision, 2);
    assert_int_equal(put_once(&driver, (struct stamp){session, 6, 0}, "six", "x").status, 0);
    driver_done(&driver);
}

static void a_command_that_breaks_a_limit_uses_no_sequence(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t session = open_session(&driver);
    struct stamp stamp = {.session = session, .sequence = 1};
    assert_int_equal(put_once(&driver, stamp, "", "v").status, KV_ERR_KEY_EMPTY);
    assert_int_equal(put_once(&driver, stamp, "a", "v").status, 0);
    assert_value(&driver, "a", "v");
    driver_done(&driver);
}

static void sessions_do_not_see_each_others_sequences(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t one = open_session(&driver);
    uint64_t two = open_session(&driver);
    assert_int_equal(put_once(&driver, (struct stamp){one, 1, 0}, "a", "one").revision, 3);
    assert_int_equal(put_once(&driver, (struct stamp){two, 1, 0}, "a", "two").revision, 4);
    assert_value(&driver, "a", "two");
    driver_done(&driver);
}

static void the_largest_sequences_work(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t session = open_session(&driver);
    struct stamp last = {session, UINT64_MAX, UINT64_MAX - 1};
    assert_int_equal(put_once(&driver, last, "a", "v").revision, 2);
    assert_int_equal(put_once(&driver, last, "a", "w").revision, 2);
    assert_value(&driver, "a", "v");
    driver_done(&driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_is_named_by_its_entry),
        cmocka_unit_test(a_retry_gets_the_first_reply_and_changes_nothing),
        cmocka_unit_test(a_write_logged_many_times_is_applied_once),
        cmocka_unit_test(errors_are_stored_replies_too),
        cmocka_unit_test(a_delete_range_is_retried_to_the_same_count),
        cmocka_unit_test(that_there_are_more_is_part_of_the_stored_reply),
        cmocka_unit_test(writes_that_arrive_out_of_order_are_each_applied_once),
        cmocka_unit_test(what_was_acknowledged_is_stale),
        cmocka_unit_test(an_old_acknowledgement_lowers_nothing),
        cmocka_unit_test(a_stale_write_still_acknowledges_nothing_newer),
        cmocka_unit_test(a_session_that_was_never_opened_is_unknown),
        cmocka_unit_test(a_closed_session_is_unknown),
        cmocka_unit_test(the_least_recently_used_session_is_evicted),
        cmocka_unit_test(beyond_the_replies_that_are_kept_the_oldest_becomes_stale),
        cmocka_unit_test(a_late_write_beyond_the_replies_is_applied_once_and_then_stale),
        cmocka_unit_test(a_command_that_breaks_a_limit_uses_no_sequence),
        cmocka_unit_test(sessions_do_not_see_each_others_sequences),
        cmocka_unit_test(the_largest_sequences_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
