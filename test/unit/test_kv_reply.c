/* The bytes of replies, and of what is in their data. */
#include "kv/command.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct slice text(const char *string)
{
    return slice_of_string(string);
}

static void replies_decode_to_what_was_encoded(void **state)
{
    (void)state;
    struct reply replies[] = {
        {0},
        {.status = KV_ERR_NOT_FOUND, .revision = 5},
        {.more = true, .revision = UINT64_MAX, .count = 3, .data = text("data")},
        {.status = INT32_MIN},
    };
    for (size_t i = 0; i < COUNT_OF(replies); i++) {
        struct buf buf = {0};
        reply_encode(&replies[i], &buf);
        struct reply decoded;
        assert_int_equal(reply_decode(buf_slice(&buf), &decoded), 0);
        assert_int_equal(decoded.status, replies[i].status);
        assert_int_equal(decoded.more, replies[i].more);
        assert_true(decoded.revision == replies[i].revision);
        assert_true(decoded.count == replies[i].count);
        assert_true(slice_equal(decoded.data, replies[i].data));
        for (size_t size = 0; size < buf.size; size++) {
            assert_int_equal(reply_decode(slice_of(buf.data, size), &decoded), KV_ERR_MALFORMED);
        }
        buf_put_u8(&buf, 0);
        assert_int_equal(reply_decode(buf_slice(&buf), &decoded), KV_ERR_MALFORMED);
        buf_done(&buf);
    }
}

static void replies_with_a_positive_status_or_unknown_bits_are_malformed(void **state)
{
    (void)state;
    struct reply reply = {.revision = 1};
    struct buf buf = {0};
    reply_encode(&reply, &buf);
    static const uint8_t bad[][2] = {{0, 1}, {4, 2}, {4, 0x80}, {5, 1}, {6, 1}, {7, 1}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        buf.data[bad[i][0]] = bad[i][1];
        assert_int_equal(reply_decode(buf_slice(&buf), &reply), KV_ERR_MALFORMED);
        buf.data[bad[i][0]] = 0;
    }
    assert_int_equal(reply_decode(buf_slice(&buf), &reply), 0);
    buf_done(&buf);
}

static void what_is_known_of_a_key_decodes_to_what_was_encoded(void **state)
{
    (void)state;
    struct key_stat stat = {1, 2, 3, UINT64_MAX, 5};
    struct buf buf = {0};
    key_stat_encode(&stat, &buf);
    assert_int_equal(buf.size, 40);
    struct key_stat decoded;
    uint8_t later[KEY_STAT_SIZE];
    assert_int_equal(key_stat_decode(key_stat_later(buf_slice(&buf), 4, later), &decoded), 0);
    assert_true(decoded.now_ms == stat.now_ms); /* that is no later */
    assert_int_equal(
        key_stat_decode(key_stat_later(buf_slice(&buf), stat.now_ms + 1, later), &decoded), 0);
    assert_true(decoded.now_ms == stat.now_ms + 1 && decoded.expires_ms == stat.expires_ms);
    assert_int_equal(key_stat_decode(buf_slice(&buf), &decoded), 0);
    assert_memory_equal(&decoded, &stat, sizeof stat);
    for (size_t size = 0; size < buf.size; size++) {
        assert_int_equal(key_stat_decode(slice_of(buf.data, size), &decoded), KV_ERR_MALFORMED);
    }
    buf_put_u8(&buf, 0);
    assert_int_equal(key_stat_decode(buf_slice(&buf), &decoded), KV_ERR_MALFORMED);
    buf_done(&buf);
}

static void matches_of_a_subsequence_are_read_one_by_one(void **state)
{
    (void)state;
    struct lcs_match matches[] = {{{1, 2}, {3, 4}}, {{5, UINT32_MAX}, {7, 0}}};
    struct buf buf = {0};
    for (size_t i = 0; i < COUNT_OF(matches); i++) {
        lcs_match_encode(&matches[i], &buf);
    }
    struct reader reader = reader_of(buf_slice(&buf));
    struct lcs_match match;
    for (size_t i = 0; i < COUNT_OF(matches); i++) {
        assert_true(lcs_match_next(&reader, &match));
        assert_memory_equal(&match, &matches[i], sizeof match);
    }
    assert_false(lcs_match_next(&reader, &match));
    reader = reader_of(slice_of(buf.data, 15));
    assert_false(lcs_match_next(&reader, &match));
    buf_done(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_decode_to_what_was_encoded),
        cmocka_unit_test(replies_with_a_positive_status_or_unknown_bits_are_malformed),
        cmocka_unit_test(what_is_known_of_a_key_decodes_to_what_was_encoded),
        cmocka_unit_test(matches_of_a_subsequence_are_read_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
