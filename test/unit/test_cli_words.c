/* Lines into words, bytes into text and back, and what the tab key offers. */
#include "cli/completion.h"
#include "cli/words.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void assert_slice(struct slice actual, const char *expected, size_t size)
{
    assert_int_equal(actual.size, size);
    assert_memory_equal(actual.data, expected, size);
    assert_int_equal(actual.data[size], 0);
}

static void words_are_split_at_any_white_space(void **state)
{
    (void)state;
    struct words words = {0};
    char error[128];
    assert_int_equal(words_split(&words, slice_of_string("  put\tkey \v value "), error, 128), 0);
    assert_int_equal(words.count, 3);
    assert_slice(words.at[0], "put", 3);
    assert_slice(words.at[1], "key", 3);
    assert_slice(words.at[2], "value", 5);
    assert_int_equal(words_split(&words, slice_of(NULL, 0), error, 128), 0);
    assert_int_equal(words.count, 0);
    words_done(&words);
}

static void quotes_keep_spaces_and_empty_words(void **state)
{
    (void)state;
    struct words words = {0};
    char error[128];
    assert_int_equal(
        words_split(&words, slice_of_string("\"a  b\" 'c \"d\\n' \"\" ''"), error, 128), 0);
    assert_int_equal(words.count, 4);
    assert_slice(words.at[0], "a  b", 4);
    assert_slice(words.at[1], "c \"d\\n", 6);
    assert_slice(words.at[2], "", 0);
    assert_slice(words.at[3], "", 0);
    words_done(&words);
}

static void escapes_work_in_double_quotes_only(void **state)
{
    (void)state;
    struct words words = {0};
    char error[128];
    assert_int_equal(words_split(&words,
                                 slice_of_string("\"\\n\\r\\t\\\\\\\"\\x00\\xfF\" \\n 'a\\'"),
                                 error, 128),
                     0);
    assert_int_equal(words.count, 3);
    assert_slice(words.at[0], "\n\r\t\\\"\x00\xff", 7);
    assert_slice(words.at[1], "\\n", 2);
    assert_slice(words.at[2], "a\\", 2);
    words_done(&words);
}

static void quote_inside_a_word_is_a_letter(void **state)
{
    (void)state;
    struct words words = {0};
    char error[128];
    assert_int_equal(words_split(&words, slice_of_string("it's 5\" wide"), error, 128), 0);
    assert_int_equal(words.count, 3);
    assert_slice(words.at[0], "it's", 4);
    assert_slice(words.at[1], "5\"", 2);
    words_done(&words);
}

static void broken_quotes_and_escapes_get_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *sentence;
    } cases[] = {
        {"put \"a", "a quote is not closed"},
        {"put 'a\"", "a quote is not closed"},
        {"\"a\"b", "a space is needed after a closing quote"},
        {"\"\\q\"", "after a backslash in double quotes comes one of \\ \" n r t xNN"},
        {"\"\\", "after a backslash in double quotes comes one of \\ \" n r t xNN"},
        {"\"\\x1g\"", "\\x needs two hexadecimal digits, as in \\x0a"},
        {"\"\\x", "\\x needs two hexadecimal digits, as in \\x0a"},
    };
    struct words words = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char error[128];
        assert_int_equal(words_split(&words, slice_of_string(cases[i].line), error, sizeof error),
                         KV_ERR_INVALID);
        assert_string_equal(error, cases[i].sentence);
        assert_int_equal(words.count, 0);
    }
    words_done(&words);
}

static void joined_words_have_one_space_between_them(void **state)
{
    (void)state;
    struct words words = {0};
    struct buf joined = {0};
    char error[128];
    assert_int_equal(words_split(&words, slice_of_string("put k a   b \"c  d\""), error, 128), 0);
    words_join(words.at, 2, words.count, &joined);
    assert_true(slice_equal(buf_slice(&joined), slice_of_string("a b c  d")));
    buf_done(&joined);
    words_done(&words);
}

static void only_printable_text_is_shown_as_it_is(void **state)
{
    (void)state;
    static const struct {
        struct slice bytes;
        const char *text;
    } cases[] = {
        {{(const uint8_t *)"plain text!", 11}, "plain text!"},
        {{(const uint8_t *)"a\\b", 3}, "a\\\\b"},
        {{(const uint8_t *)"a\nb\x7f", 4}, "a\\x0ab\\x7f"},
        {{(const uint8_t *)"\0", 1}, "\\x00"},
        {{(const uint8_t *)"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x99\x82", 15},
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x99\x82"},
        {{(const uint8_t *)"\xff\xc3", 2}, "\\xff\\xc3"},
        {{(const uint8_t *)"\xc0\x80", 2}, "\\xc0\\x80"},          /* not the shortest form */
        {{(const uint8_t *)"\xed\xa0\x80", 3}, "\\xed\\xa0\\x80"}, /* a surrogate */
        {{(const uint8_t *)"\xf4\x90\x80\x80", 4}, "\\xf4\\x90\\x80\\x80"}, /* too large */
        {{(const uint8_t *)"\xc2\x9b", 2}, "\\xc2\\x9b"},          /* a control character */
        {{(const uint8_t *)"\xe2\x80\xae", 3}, "\\xe2\\x80\\xae"}, /* turns the text round */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf text = {0};
        text_escape(cases[i].bytes, &text);
        assert_true(slice_equal(buf_slice(&text), slice_of_string(cases[i].text)));
        buf_done(&text);
    }
}

/* Text between double quotes, as someone would paste it into the shell. */
static void quote(const struct buf *text, struct buf *line)
{
    buf_put_u8(line, '"');
    for (size_t i = 0; i < text->size; i++) {
        if (text->data[i] == '"') {
            buf_put_u8(line, '\\');
        }
        buf_put_u8(line, text->data[i]);
    }
    buf_put_u8(line, '"');
}

static void any_bytes_come_back_from_their_text(void **state)
{
    (void)state;
    uint64_t seed = 20261123;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    struct words words = {0};
    struct buf bytes = {0};
    struct buf text = {0};
    struct buf line = {0};
    for (int round = 0; round < 20000; round++) {
        buf_clear(&bytes);
        buf_clear(&text);
        buf_clear(&line);
        size_t size = prng_between(&prng, 0, 24);
        uint64_t low = prng_chance(&prng, 1, 2) ? 0 : 0x70;
        uint64_t high = prng_chance(&prng, 1, 2) ? 0xff : 0xf4;
        for (size_t i = 0; i < size; i++) {
            buf_put_u8(&bytes, (uint8_t)prng_between(&prng, low, high));
        }
        text_escape(buf_slice(&bytes), &text);
        assert_true(text_is_utf8(buf_slice(&text)));
        quote(&text, &line);
        char error[128] = "";
        assert_int_equal(words_split(&words, buf_slice(&line), error, sizeof error), 0);
        assert_int_equal(words.count, 1);
        assert_true(slice_equal(words.at[0], buf_slice(&bytes)));
    }
    buf_done(&line);
    buf_done(&text);
    buf_done(&bytes);
    words_done(&words);
}

static void assert_offers(const char *line, size_t word_size, size_t common_size,
                          const char *expected)
{
    struct completion completion;
    completion_find(slice_of_string(line), &completion);
    char names[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < completion.count; i++) {
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : " ",
                                 completion.names[i]);
    }
    assert_string_equal(names, expected);
    if (completion.count > 0) {
        assert_int_equal(completion.word_size, word_size);
        assert_int_equal(completion.common_size, common_size);
    }
}

static void tab_takes_a_short_command_before_those_that_go_on_from_it(void **state)
{
    (void)state;
    struct completion completion;
    completion_find(slice_of_string("de"), &completion);
    assert_true(completion.whole);
    completion_find(slice_of_string("delete-"), &completion);
    assert_false(completion.whole);
    completion_find(slice_of_string("delete-r"), &completion);
    assert_true(completion.whole);
    completion_find(slice_of_string("s"), &completion);
    assert_false(completion.whole);
    completion_find(slice_of_string("nothing"), &completion);
    assert_false(completion.whole);
}

static void tab_offers_commands_and_their_options(void **state)
{
    (void)state;
    assert_offers("g", 1, 3, "get");
    assert_offers("  de", 2, 6, "delete delete-range delete-if");
    assert_offers("delete-", 7, 7, "delete-range delete-if");
    assert_offers("ex", 2, 2, "expire exit");
    assert_offers("x", 0, 0, "");
    assert_offers("get g", 0, 0, "");
    assert_offers("get --", 0, 0, "");
    assert_offers("list --", 0, 0, "limit start end values");
    assert_offers("list p --l", 1, 5, "limit");
    assert_offers("put k v --", 0, 0, "ttl if-absent");
    assert_offers("i", 1, 4, "incr");
    struct completion completion;
    completion_find(slice_of(NULL, 0), &completion);
    assert_true(completion.count >= 11);
    assert_int_equal(completion.common_size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_split_at_any_white_space),
        cmocka_unit_test(quotes_keep_spaces_and_empty_words),
        cmocka_unit_test(escapes_work_in_double_quotes_only),
        cmocka_unit_test(quote_inside_a_word_is_a_letter),
        cmocka_unit_test(broken_quotes_and_escapes_get_a_sentence),
        cmocka_unit_test(joined_words_have_one_space_between_them),
        cmocka_unit_test(only_printable_text_is_shown_as_it_is),
        cmocka_unit_test(any_bytes_come_back_from_their_text),
        cmocka_unit_test(tab_takes_a_short_command_before_those_that_go_on_from_it),
        cmocka_unit_test(tab_offers_commands_and_their_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
