/*
 * Patterns, numbers and common subsequences, each against something simpler that is plainly right.
 * What is odd about them was observed on redis-server 7.0.15.
 */
#include "base/assert.h"
#include "base/bytes.h"
#include "base/glob.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/prng.h"
#include "kv/command.h"
#include "kv/lcs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Bytes of a string literal, which may hold zeros. */
#define BYTES(literal) slice_of(literal, sizeof(literal) - 1)

enum { RANDOM_SIZE_MAX = 400 };

static struct prng seeded(uint64_t seed)
{
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    return prng;
}

/* Up to size_max bytes of the alphabet. */
static struct slice random_bytes(struct prng *prng, const char *alphabet, size_t size_max,
                                 uint8_t room[RANDOM_SIZE_MAX])
{
    size_t size = prng_between(prng, 0, size_max);
    for (size_t i = 0; i < size; i++) {
        room[i] = (uint8_t)alphabet[prng_between(prng, 0, strlen(alphabet) - 1)];
    }
    return slice_of(room, size);
}

static struct slice rest_of(struct slice bytes, size_t from)
{
    return slice_of(bytes.data + from, bytes.size - from);
}

/* ---- patterns ---- */

/* Which bytes fit the element that the pattern begins with, and its size. */
static size_t reference_element(struct slice pattern, bool fits[256])
{
    const uint8_t *at = pattern.data;
    memset(fits, 0, 256);
    if (at[0] == '?') {
        memset(fits, 1, 256);
        return 1;
    }
    if (at[0] != '[') {
        size_t size = at[0] == '\\' && pattern.size > 1 ? 2 : 1;
        fits[at[size - 1]] = true;
        return size;
    }
    size_t i = 1;
    bool negated = pattern.size > 1 && at[1] == '^';
    i += negated;
    while (i < pattern.size && at[i] != ']') {
        if (at[i] == '\\' && i + 1 < pattern.size) {
            fits[at[i + 1]] = true;
            i += 2;
        } else if (i + 2 < pattern.size && at[i + 1] == '-') {
            for (int value = -128; value < 128; value++) {
                int one = (int8_t)at[i];
                int other = (int8_t)at[i + 2];
                bool within = (one <= value && value <= other) || (other <= value && value <= one);
                fits[(uint8_t)value] = fits[(uint8_t)value] || within;
            }
            i += 3;
        } else {
            fits[at[i]] = true;
            i++;
        }
    }
    for (size_t value = 0; value < 256; value++) {
        fits[value] = fits[value] != negated;
    }
    return i < pattern.size ? i + 1 : i;
}

/* Tries everything. The pattern and the text are a few bytes, so this may call itself. */
static bool reference_matches(struct slice pattern, struct slice text)
{
    if (pattern.size == 0) {
        return text.size == 0;
    }
    if (pattern.data[0] == '*') {
        return reference_matches(rest_of(pattern, 1), text) ||
               (text.size > 0 && reference_matches(pattern, rest_of(text, 1)));
    }
    bool fits[256];
    size_t size = reference_element(pattern, fits);
    return text.size > 0 && fits[text.data[0]] &&
           reference_matches(rest_of(pattern, size), rest_of(text, 1));
}

static void a_pattern_fits_what_trying_everything_finds(void **state)
{
    (void)state;
    static const char *const patterns[] = {"ab*", "ab*?", "abc*?[]^-\\", "[]^-\\ab",
                                           "\x01\x7f\x80\xff[]-^*"};
    static const char *const texts[] = {"ab", "abc", "abcd[]^-\\*?", "\x01\x7f\x80\xff"};
    struct prng prng = seeded(601);
    unsigned fitting = 0;
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t pattern_room[RANDOM_SIZE_MAX];
        uint8_t text_room[RANDOM_SIZE_MAX];
        struct slice pattern =
            random_bytes(&prng, patterns[prng_between(&prng, 0, 4)], 9, pattern_room);
        struct slice text = random_bytes(&prng, texts[prng_between(&prng, 0, 3)], 8, text_room);
        if (text.size > 0) {
            bool fits = reference_matches(pattern, text);
            fitting += fits;
            assert_int_equal(glob_matches(pattern, text), fits);
        }
    }
    assert_in_range(fitting, 5000, 195000);
}

struct glob_case {
    struct slice pattern;
    struct slice text;
    bool fits;
};

static void odd_patterns_mean_what_redis_takes_them_for(void **state)
{
    (void)state;
    const struct glob_case cases[] = {
        /* An empty text. */
        {BYTES(""), BYTES(""), true},
        {BYTES("*"), BYTES(""), true},
        {BYTES("**"), BYTES(""), false},
        {BYTES(""), BYTES("a"), false},
        {BYTES("a**"), BYTES("a"), true},
        /* Classes that are not closed, and empty ones. */
        {BYTES("["), BYTES("["), false},
        {BYTES("[^"), BYTES("x"), true},
        {BYTES("[^"), BYTES("xy"), false},
        {BYTES("[abc"), BYTES("c"), true},
        {BYTES("[]"), BYTES("]"), false},
        {BYTES("[^]"), BYTES("]"), true},
        {BYTES("[]a]"), BYTES("a]"), false},
        {BYTES("[\\]]"), BYTES("]"), true},
        {BYTES("[\\"), BYTES("\\"), true},
        {BYTES("[a^]"), BYTES("^"), true},
        /* Ranges: backwards, at an end, with a bracket for a bound, with a backslash. */
        {BYTES("[c-a]"), BYTES("b"), true},
        {BYTES("[a-"), BYTES("-"), true},
        {BYTES("[-a]"), BYTES("-"), true},
        {BYTES("[a-]"), BYTES("^"), true},
        {BYTES("[a-]"), BYTES("-"), false},
        {BYTES("[\\a-c]"), BYTES("b"), false},
        {BYTES("[\\a-c]"), BYTES("-"), true},
        /* A range between 0x7f and 0x80 goes through 0. */
        {BYTES("[\x7f-\x80]"), BYTES("\x00"), true},
        {BYTES("[a-\xff]"), BYTES("z"), false},
        {BYTES("[\x80-\xff]"), BYTES("\xc3"), true},
        /* Backslashes and zeros. */
        {BYTES("a\\"), BYTES("a\\"), true},
        {BYTES("\\*"), BYTES("*"), true},
        {BYTES("\\*"), BYTES("a"), false},
        {BYTES("\\\\"), BYTES("\\"), true},
        {BYTES("a\0?"), BYTES("a\0\0"), true},
        {BYTES("a\0b"), BYTES("a\0c"), false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (glob_matches(cases[i].pattern, cases[i].text) != cases[i].fits) {
            fail_msg("case %zu: %.*s", i, (int)cases[i].pattern.size, cases[i].pattern.data);
        }
    }
}

/* With a branch for each star this would not end in a lifetime. */
static void many_stars_take_no_longer_than_one(void **state)
{
    (void)state;
    enum { STARS = 2000, TEXT = 4096 };
    uint8_t pattern[2 * STARS + 1];
    uint8_t text[TEXT];
    for (size_t i = 0; i < STARS; i++) {
        pattern[2 * i] = '*';
        pattern[2 * i + 1] = 'a';
    }
    pattern[sizeof pattern - 1] = 'b';
    memset(text, 'a', sizeof text);
    assert_false(glob_matches(slice_of(pattern, sizeof pattern), slice_of(text, TEXT)));
    text[TEXT - 1] = 'b';
    assert_true(glob_matches(slice_of(pattern, sizeof pattern), slice_of(text, TEXT)));
}

/* ---- numbers ---- */

static void assert_text(const struct buf *buf, const char *text)
{
    assert_int_equal(buf->size, strlen(text));
    assert_memory_equal(buf->data, text, buf->size);
}

static void a_number_comes_back_from_its_text(void **state)
{
    (void)state;
    struct prng prng = seeded(602);
    struct buf text = {0};
    for (unsigned i = 0; i < 200000; i++) {
        int64_t value = (int64_t)(prng_next(&prng) >> prng_between(&prng, 0, 63));
        value = prng_chance(&prng, 1, 2) ? value : (int64_t)(0 - (uint64_t)value);
        char expected[32];
        (void)snprintf(expected, sizeof expected, "%lld", (long long)value);
        buf_clear(&text);
        number_format(value, &text);
        assert_text(&text, expected);
        int64_t parsed = 0;
        assert_true(number_parse(buf_slice(&text), &parsed));
        assert_true(parsed == value);
    }
    buf_done(&text);
}

/* Any other text of a number than its own would change when the number is stored again. */
static void only_the_very_text_of_a_number_is_one(void **state)
{
    (void)state;
    static const char *const numbers[] = {"0", "1", "-1", "9223372036854775807",
                                          "-9223372036854775808"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int64_t value;
        struct buf text = {0};
        assert_true(number_parse(slice_of_string(numbers[i]), &value));
        number_format(value, &text);
        assert_text(&text, numbers[i]);
        buf_done(&text);
    }
    const struct slice others[] = {
        BYTES(""),     BYTES("-"),
        BYTES("-0"),   BYTES("00"),
        BYTES("01"),   BYTES("-01"),
        BYTES("+1"),   BYTES(" 1"),
        BYTES("1 "),   BYTES("1\n"),
        BYTES("--1"),  BYTES("1-"),
        BYTES("1.0"),  BYTES("1e3"),
        BYTES("0x10"), BYTES("1\0"),
        BYTES("\0"),   BYTES("9223372036854775808"),
        BYTES("/"),    BYTES("-9223372036854775809"),
        BYTES(":"),    BYTES("9999999999999999999"),
        BYTES("a"),    BYTES("18446744073709551617"),
        BYTES("\xb1"), BYTES("99999999999999999999"),
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        int64_t value = 77;
        if (number_parse(others[i], &value) || value != 77) {
            fail_msg("taken for a number: %.*s", (int)others[i].size, others[i].data);
        }
    }
}

struct float_case {
    const char *text;
    const char *result; /* NULL: it has no text */
};

static void floats_are_read_like_strtold_and_written_with_17_digits(void **state)
{
    (void)state;
    static const struct float_case cases[] = {
        {"0", "0"},
        {"-0", "0"},
        {"-0.0", "0"},
        {"+1", "1"},
        {"1.", "1"},
        {".5", "0.5"},
        {"007", "7"},
        {"100", "100"},
        {"-10.50", "-10.5"},
        {"5.0e3", "5000"},
        {"0x10", "16"},
        {"0x1p-3", "0.125"},
        {"3.14", "3.14"},
        {"0.1", "0.1"},
        {"1e-17", "0.00000000000000001"},
        {"1e-18", "0"},
        {"-1e-18", "0"},
        {"-1e-4940", "0"},
        {"1e22", "10000000000000000000000"},
        {"9223372036854775807", "9223372036854775807"},
        {"inf", NULL},
        {"-Infinity", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        long double value = 77;
        struct buf text = {0};
        if (!number_parse_float(slice_of_string(cases[i].text), &value)) {
            fail_msg("not taken for a number: %s", cases[i].text);
        }
        assert_int_equal(number_format_float(value, &text), cases[i].result != NULL);
        assert_text(&text, cases[i].result == NULL ? "" : cases[i].result);
        buf_done(&text);
    }
}

static void what_is_no_float_is_refused(void **state)
{
    (void)state;
    const struct slice others[] = {
        BYTES(""),       BYTES(" "),       BYTES(" 1"),  BYTES("1 "),    BYTES("\t1"),
        BYTES("\n1"),    BYTES("\v1"),     BYTES("\f1"), BYTES("\r1"),   BYTES("\0"),
        BYTES("1\0"),    BYTES("\0001"),   BYTES("."),   BYTES("-"),     BYTES("1e"),
        BYTES("1e+"),    BYTES("0x"),      BYTES("1,5"), BYTES("1.5.2"), BYTES("--1"),
        BYTES("1e5000"), BYTES("-1e5000"), BYTES("nan"), BYTES("-nan"),  BYTES("nan(1)"),
        BYTES("1f"),     BYTES("1e-5000"), BYTES("ten"),
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        long double value = 77;
        if (number_parse_float(others[i], &value) || value != 77) {
            fail_msg("taken for a number: %.*s", (int)others[i].size, others[i].data);
        }
    }
    struct buf text = {0};
    assert_false(number_format_float(__builtin_nanl(""), &text));
    assert_int_equal(text.size, 0);
}

static void the_longest_and_the_largest_float_have_their_text(void **state)
{
    (void)state;
    uint8_t zeros[5120];
    memset(zeros, '0', sizeof zeros);
    long double value = 77;
    assert_false(number_parse_float(slice_of(zeros, 5120), &value));
    assert_true(number_parse_float(slice_of(zeros, 5119), &value));
    assert_true(value == 0);
    struct buf text = {0};
    assert_true(number_format_float(-__LDBL_MAX__, &text));
    assert_int_equal(text.size, 1 + 4933);
    assert_true(number_parse_float(buf_slice(&text), &value));
    assert_true(value == -__LDBL_MAX__);
    buf_done(&text);
}

/* ---- common subsequences ---- */

enum { ROW = RANDOM_SIZE_MAX + 1 };

/* The textbook's table, a number for each cell. */
static void reference_table(struct slice a, struct slice b, uint32_t table[ROW][ROW])
{
    for (size_t i = 0; i <= a.size; i++) {
        for (size_t j = 0; j <= b.size; j++) {
            if (i == 0 || j == 0) {
                table[i][j] = 0;
            } else if (a.data[i - 1] == b.data[j - 1]) {
                table[i][j] = table[i - 1][j - 1] + 1;
            } else {
                uint32_t above = table[i - 1][j];
                uint32_t left = table[i][j - 1];
                table[i][j] = above > left ? above : left;
            }
        }
    }
}

/*
 * The way back through that table, from its end, towards the left where both ways are as good: the
 * matches, joined as long as they follow each other.
 */
static void reference_matches_of(struct slice a, struct slice b, uint32_t table[ROW][ROW],
                                 uint32_t size_min, struct buf *out)
{
    size_t i = a.size;
    size_t j = b.size;
    uint32_t size = 0; /* of the range that begins at (i, j) */
    while (true) {
        bool match = i > 0 && j > 0 && a.data[i - 1] == b.data[j - 1];
        if (match) {
            i--;
            j--;
            size++;
            continue;
        }
        if (size > 0 && size >= size_min) {
            lcs_match_encode(
                &(struct lcs_match){
                    .first = {(uint32_t)i, (uint32_t)j},
                    .last = {(uint32_t)i + size - 1, (uint32_t)j + size - 1},
                },
                out);
        }
        size = 0;
        if (i == 0 || j == 0) {
            return;
        }
        bool up = table[i - 1][j] > table[i][j - 1];
        i -= up;
        j -= !up;
    }
}

/* What all ranges of `a` spell, last first in `matches`, must be `bytes`, and so for `b`. */
static void assert_matches_spell(struct slice matches, const struct slice sides[2],
                                 struct slice bytes)
{
    struct reader reader = reader_of(matches);
    struct lcs_match match;
    size_t left = bytes.size;
    while (lcs_match_next(&reader, &match)) {
        size_t size = match.last[0] + 1 - match.first[0];
        assert_int_equal(match.last[1] + 1 - match.first[1], size);
        assert_true(size <= left);
        left -= size;
        for (size_t side = 0; side < 2; side++) {
            assert_true(match.last[side] < sides[side].size);
            assert_memory_equal(sides[side].data + match.first[side], bytes.data + left, size);
        }
    }
    assert_int_equal(left, 0);
}

static void check_lcs(struct slice a, struct slice b, uint32_t size_min, uint32_t table[ROW][ROW])
{
    struct buf bytes = {0};
    struct buf all = {0};
    struct buf some = {0};
    struct buf expected = {0};
    reference_table(a, b, table);
    uint32_t size = table[a.size][b.size];
    assert_int_equal(lcs_find(a, b, 0, NULL, NULL), size);
    assert_int_equal(lcs_find(a, b, 0, &bytes, &all), size);
    assert_int_equal(bytes.size, size);
    assert_matches_spell(buf_slice(&all), (struct slice[]){a, b}, buf_slice(&bytes));
    assert_int_equal(lcs_find(a, b, size_min, NULL, &some), size);
    reference_matches_of(a, b, table, size_min, &expected);
    assert_true(slice_equal(buf_slice(&some), buf_slice(&expected)));
    buf_done(&bytes);
    buf_done(&all);
    buf_done(&some);
    buf_done(&expected);
}

static void the_subsequence_is_the_one_of_the_whole_table(void **state)
{
    (void)state;
    static const char *const alphabets[] = {"a", "ab", "abcd", "abcdefghijklmnopqrstuvwxyz"};
    static const size_t sizes[] = {3, 20, 64, 65, 130};
    struct prng prng = seeded(603);
    uint32_t(*table)[ROW] = memory_new(ROW, sizeof *table);
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t a_room[RANDOM_SIZE_MAX];
        uint8_t b_room[RANDOM_SIZE_MAX];
        const char *alphabet = alphabets[prng_between(&prng, 0, 3)];
        struct slice a = random_bytes(&prng, alphabet, sizes[prng_between(&prng, 0, 4)], a_room);
        struct slice b = random_bytes(&prng, alphabet, sizes[prng_between(&prng, 0, 4)], b_room);
        check_lcs(a, b, (uint32_t)prng_between(&prng, 0, 4), table);
        check_lcs(a, a, (uint32_t)a.size, table);
    }
    free(table);
}

static void of_equally_long_subsequences_redis_has_this_one(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct buf matches = {0};
    assert_int_equal(lcs_find(BYTES("ohmytext"), BYTES("mynewtext"), 4, &bytes, &matches), 6);
    assert_text(&bytes, "mytext");
    struct reader reader = reader_of(buf_slice(&matches));
    struct lcs_match match;
    assert_true(lcs_match_next(&reader, &match));
    assert_int_equal(match.first[0], 4);
    assert_int_equal(match.last[0], 7);
    assert_int_equal(match.first[1], 5);
    assert_int_equal(match.last[1], 8);
    assert_false(lcs_match_next(&reader, &match));
    buf_clear(&bytes);
    assert_int_equal(lcs_find(BYTES("ab"), BYTES("ba"), 0, &bytes, NULL), 1);
    assert_text(&bytes, "b");
    buf_done(&bytes);
    buf_done(&matches);
}

/* Other bytes in what is appended to stay. */
static void the_largest_table_is_filled(void **state)
{
    (void)state;
    enum { SIZE = 11584 };
    STATIC_CHECK((SIZE + 1) * (SIZE + 1) <= LCS_CELLS_MAX, "it may be asked for");
    STATIC_CHECK((SIZE + 2) * (SIZE + 2) > LCS_CELLS_MAX, "it is the largest");
    struct prng prng = seeded(604);
    uint8_t *room = memory_new(1, SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        room[i] = (uint8_t)prng_next(&prng);
    }
    struct slice a = slice_of(room, SIZE);
    struct buf bytes = {0};
    buf_put_u8(&bytes, 'x');
    assert_int_equal(lcs_find(a, a, 0, &bytes, NULL), SIZE);
    assert_int_equal(bytes.size, 1 + SIZE);
    assert_int_equal(bytes.data[0], 'x');
    assert_memory_equal(bytes.data + 1, room, SIZE);
    buf_done(&bytes);
    free(room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_fits_what_trying_everything_finds),
        cmocka_unit_test(odd_patterns_mean_what_redis_takes_them_for),
        cmocka_unit_test(many_stars_take_no_longer_than_one),
        cmocka_unit_test(a_number_comes_back_from_its_text),
        cmocka_unit_test(only_the_very_text_of_a_number_is_one),
        cmocka_unit_test(floats_are_read_like_strtold_and_written_with_17_digits),
        cmocka_unit_test(what_is_no_float_is_refused),
        cmocka_unit_test(the_longest_and_the_largest_float_have_their_text),
        cmocka_unit_test(the_subsequence_is_the_one_of_the_whole_table),
        cmocka_unit_test(of_equally_long_subsequences_redis_has_this_one),
        cmocka_unit_test(the_largest_table_is_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
