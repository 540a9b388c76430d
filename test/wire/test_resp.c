/*
 * RESP: what bytes mean, however they are cut, what is refused and with which words, and what
 * replies look like. resp.txt holds the cases, which the fuzzer begins from too.
 *
 * Usage: test_resp DIRECTORY
 */
#include "wire/resp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- text and bytes ---- */

static void put_string(struct buf *out, const char *string)
{
    buf_append(out, string, strlen(string));
}

static void put_escaped(struct buf *out, struct slice bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = bytes.data[i];
        char text[8];
        switch (byte) {
        case '\r':
            put_string(out, "\\r");
            break;
        case '\n':
            put_string(out, "\\n");
            break;
        case '\t':
            put_string(out, "\\t");
            break;
        case '\\':
        case '"':
            buf_put_u8(out, '\\');
            buf_put_u8(out, byte);
            break;
        default:
            snprintf(text, sizeof text, byte >= ' ' && byte < 0x7f ? "%c" : "\\x%02x", byte);
            put_string(out, text);
        }
    }
}

static void put_unescaped(struct buf *out, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        unsigned value = (uint8_t)*at;
        if (*at == '\\') {
            at++;
            switch (*at) {
            case 'r':
                value = '\r';
                break;
            case 'n':
                value = '\n';
                break;
            case 't':
                value = '\t';
                break;
            case 'x':
                assert_int_equal(sscanf(at + 1, "%2x", &value), 1);
                at += 2;
                break;
            default:
                assert_non_null(strchr("\\\"", *at));
                value = (uint8_t)*at;
            }
        }
        buf_put_u8(out, (uint8_t)value);
    }
}

/* ---- decoding a stream that arrives in pieces ---- */

/* The first piece has so many bytes, and every other one. */
struct pieces {
    size_t first;
    size_t others;
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* An exact copy elsewhere at each call, so that the sanitizer sees a byte that is looked at and is
 * not there, and a place that is remembered. */
static int decode_copy(struct resp_decoder *decoder, struct slice bytes, struct slice *copy,
                       struct resp_request *ret_request, size_t *ret_size)
{
    free((void *)copy->data);
    uint8_t *data = malloc(bytes.size == 0 ? 1 : bytes.size);
    assert_non_null(data);
    if (bytes.size > 0) {
        memcpy(data, bytes.data, bytes.size);
    }
    *copy = slice_of(data, bytes.size);
    return resp_decode(decoder, *copy, ret_request, ret_size);
}

static void put_request(struct buf *out, const struct resp_request *request)
{
    put_string(out, ">");
    for (size_t i = 0; i < request->count; i++) {
        put_string(out, " \"");
        put_escaped(out, request->words[i]);
        put_string(out, "\"");
    }
    put_string(out, "\n");
}

/* What comes of the bytes, as resp.txt has it. */
static void transcribe(struct slice stream, struct pieces pieces, struct buf *out)
{
    struct resp_decoder decoder = {0};
    struct slice copy = {0};
    size_t at = 0;
    size_t there = smaller(pieces.first, stream.size);
    buf_clear(out);
    while (true) {
        struct resp_request request = {0};
        size_t size = 0;
        int err =
            decode_copy(&decoder, slice_of(stream.data + at, there - at), &copy, &request, &size);
        if (err == KV_ERR_INCOMPLETE && there < stream.size) {
            there += smaller(pieces.others, stream.size - there);
        } else if (err == 0) {
            assert_in_range(size, 1, there - at);
            put_request(out, &request);
            at += size;
        } else {
            const char prefix[] = "Protocol error: ";
            if (err == KV_ERR_MALFORMED) {
                assert_int_equal(strncmp(decoder.error, prefix, strlen(prefix)), 0);
                put_string(out, "! ");
                put_escaped(out, slice_of_string(decoder.error + strlen(prefix)));
                put_string(out, "\n");
            } else if (at < stream.size) {
                put_string(out, "~\n");
            }
            break;
        }
    }
    free((void *)copy.data);
    resp_decoder_done(&decoder);
}

static void assert_outcome(struct slice stream, struct pieces pieces, const struct buf *expected)
{
    struct buf got = {0};
    transcribe(stream, pieces, &got);
    if (!slice_equal(buf_slice(&got), buf_slice(expected))) {
        struct buf shown = {0};
        put_escaped(&shown, stream);
        fail_msg("%.*s\nin pieces of %zu, then %zu:\n%.*s\nand not\n%.*s", (int)shown.size,
                 (const char *)shown.data, pieces.first, pieces.others, (int)got.size,
                 (const char *)got.data, (int)expected->size, (const char *)expected->data);
    }
    buf_done(&got);
}

/* ---- the recorded cases ---- */

static void read_file(const char *directory, const char *name, struct buf *out)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size;
    do {
        size = fread(buf_reserve(out, 4096), 1, 4096, file);
        buf_extend(out, size);
    } while (size > 0);
    fclose(file);
    buf_put_u8(out, 0);
}

/* Calls for each case, and returns how many there are. */
static int each_case(const char *directory,
                     void (*call)(struct slice stream, const struct buf *expected))
{
    struct buf text = {0};
    read_file(directory, "resp.txt", &text);
    char *rest = (char *)text.data;
    struct buf stream = {0};
    struct buf expected = {0};
    bool in_case = false;
    int count = 0;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        if (in_case && line[0] != '\0') {
            assert_non_null(strchr(">!~", line[0]));
            put_string(&expected, line);
            put_string(&expected, "\n");
        } else if (in_case) {
            call(buf_slice(&stream), &expected);
            count++;
            in_case = false;
        } else if (line[0] == '<') {
            buf_clear(&stream);
            buf_clear(&expected);
            put_unescaped(&stream, line + 2);
            in_case = true;
        }
    }
    buf_done(&text);
    buf_done(&stream);
    buf_done(&expected);
    return count;
}

static void check_at_once(struct slice stream, const struct buf *expected)
{
    assert_outcome(stream, (struct pieces){.first = stream.size, .others = 1}, expected);
}

static void bytes_mean_what_they_are_recorded_to_mean(void **state)
{
    assert_true(each_case(*state, check_at_once) >= 70);
}

static void check_in_pieces(struct slice stream, const struct buf *expected)
{
    for (size_t first = 0; first < stream.size; first++) {
        for (size_t others = 1; others <= stream.size - first; others++) {
            assert_outcome(stream, (struct pieces){.first = first, .others = others}, expected);
        }
    }
}

static void how_bytes_are_cut_changes_nothing(void **state)
{
    assert_true(each_case(*state, check_in_pieces) >= 70);
}

static void an_error_stays(void **state)
{
    (void)state;
    struct resp_decoder decoder = {0};
    struct resp_request request;
    size_t size;
    struct slice wrong = slice_of_string("*x\r\n");
    assert_int_equal(resp_decode(&decoder, wrong, &request, &size), KV_ERR_MALFORMED);
    struct slice right = slice_of_string("PING\r\n");
    assert_int_equal(resp_decode(&decoder, right, &request, &size), KV_ERR_MALFORMED);
    assert_string_equal(decoder.error, "Protocol error: invalid multibulk length");
    resp_decoder_done(&decoder);
    resp_decoder_done(NULL);
}

/* Each time, all that the decoder has gone past is spoilt: the words, whose places it knows, keep
 * their places all the same. */
static void what_was_looked_at_is_not_looked_at_again(void **state)
{
    (void)state;
    uint8_t stream[] = "*4\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\nhello, world\r\n$1\r\n9\r\n";
    const size_t sizes[] = {3, 0, 12, 1};
    const size_t offsets[] = {8, 17, 24, 42};
    struct resp_decoder decoder = {0};
    struct resp_request request = {0};
    int err = KV_ERR_INCOMPLETE;
    size_t size = 0;
    for (size_t there = 1; err == KV_ERR_INCOMPLETE && there < sizeof stream; there++) {
        if (decoder.from > 1) {
            memset(stream + 1, '?', decoder.from - 1);
        }
        err = resp_decode(&decoder, slice_of(stream, there), &request, &size);
    }
    assert_int_equal(err, 0);
    assert_int_equal(size, sizeof stream - 1);
    assert_int_equal(request.count, 4);
    for (size_t i = 0; i < request.count; i++) {
        assert_int_equal(request.words[i].size, sizes[i]);
        assert_ptr_equal(request.words[i].data, stream + offsets[i]);
    }
    resp_decoder_done(&decoder);
}

/* ---- caps ---- */

static void put_header(struct buf *out, char type, size_t number)
{
    char text[32];
    int size = snprintf(text, sizeof text, "%c%zu\r\n", type, number);
    buf_append(out, text, (size_t)size);
}

static void put_filled(struct buf *out, char byte, size_t size)
{
    memset(buf_extend(out, size), byte, size);
}

static void assert_outcome_is(const struct buf *stream, const char *expected)
{
    struct buf outcome = {0};
    put_string(&outcome, expected);
    const size_t pieces[] = {stream->size, 16384, 4099};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        assert_outcome(buf_slice(stream), (struct pieces){.first = pieces[i], .others = pieces[i]},
                       &outcome);
    }
    buf_done(&outcome);
}

static void a_line_is_too_big_from_one_byte_on(void **state)
{
    (void)state;
    static const struct {
        const char *begin;
        const char *error;
    } lines[] = {
        {"", "! too big inline request\n"},
        {"*", "! too big mbulk count string\n"},
        {"*1\r\n$", "! too big bulk count string\n"},
        {"*1\r\n", "! too big bulk count string\n"},
    };
    struct buf stream = {0};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        buf_clear(&stream);
        put_string(&stream, lines[i].begin);
        const char *line = strrchr(lines[i].begin, '\n');
        size_t begun = line != NULL ? strlen(line + 1) : strlen(lines[i].begin);
        put_filled(&stream, '1', RESP_INLINE_MAX - begun);
        assert_outcome_is(&stream, "~\n");
        buf_put_u8(&stream, '1');
        assert_outcome_is(&stream, lines[i].error);
        /* Its end comes too late. */
        put_string(&stream, "\r\n");
        assert_outcome_is(&stream, lines[i].error);
    }
    buf_done(&stream);
}

static void the_longest_line_passes(void **state)
{
    (void)state;
    struct resp_decoder decoder = {0};
    struct buf stream = {0};
    for (size_t i = 0; i < RESP_INLINE_MAX / 2; i++) {
        put_string(&stream, "a ");
    }
    put_string(&stream, "\n");
    struct resp_request request;
    size_t size;
    assert_int_equal(resp_decode(&decoder, buf_slice(&stream), &request, &size), 0);
    assert_int_equal(request.count, RESP_INLINE_MAX / 2);
    buf_done(&stream);
    resp_decoder_done(&decoder);
}

static void the_largest_request_passes_and_one_byte_more_does_not(void **state)
{
    (void)state;
    struct buf stream = {0};
    struct resp_decoder decoder = {0};
    for (size_t more = 0; more <= 1; more++) {
        buf_clear(&stream);
        put_string(&stream, "*2\r\n$4\r\nECHO\r\n");
        size_t size = RESP_REQUEST_SIZE_MAX - stream.size - strlen("$1234567\r\n\r\n") + more;
        put_header(&stream, '$', size);
        if (more == 1) {
            assert_outcome_is(&stream, "! invalid bulk length\n");
            break;
        }
        put_filled(&stream, 'x', size);
        put_string(&stream, "\r\n");
        assert_int_equal(stream.size, RESP_REQUEST_SIZE_MAX);
        struct resp_request request;
        size_t whole;
        assert_int_equal(resp_decode(&decoder, buf_slice(&stream), &request, &whole), 0);
        assert_int_equal(whole, RESP_REQUEST_SIZE_MAX);
        assert_int_equal(request.words[1].size, size);
    }
    buf_done(&stream);
    resp_decoder_done(&decoder);
}

static void many_small_words_are_no_way_around_the_size_of_a_request(void **state)
{
    (void)state;
    struct buf stream = {0};
    put_header(&stream, '*', RESP_ARGUMENTS_MAX);
    size_t words = 0;
    while (stream.size <= RESP_REQUEST_SIZE_MAX) {
        put_header(&stream, '$', 120);
        put_filled(&stream, 'x', 120);
        put_string(&stream, "\r\n");
        words++;
    }
    assert_true(words < RESP_ARGUMENTS_MAX);
    assert_outcome_is(&stream, "! invalid bulk length\n");
    buf_done(&stream);
}

static void room_is_made_as_words_arrive_and_given_back(void **state)
{
    (void)state;
    struct resp_decoder decoder = {0};
    struct resp_request request;
    size_t size;
    struct buf stream = {0};
    put_header(&stream, '*', RESP_ARGUMENTS_MAX);
    assert_int_equal(resp_decode(&decoder, buf_slice(&stream), &request, &size), KV_ERR_INCOMPLETE);
    assert_int_equal(decoder.capacity, 0);
    for (size_t i = 0; i < RESP_ARGUMENTS_MAX; i++) {
        put_string(&stream, "$0\r\n\r\n");
    }
    assert_int_equal(resp_decode(&decoder, buf_slice(&stream), &request, &size), 0);
    assert_int_equal(request.count, RESP_ARGUMENTS_MAX);
    assert_true(decoder.capacity >= RESP_ARGUMENTS_MAX);

    buf_clear(&stream);
    put_string(&stream, "echo '");
    put_filled(&stream, 'x', RESP_INLINE_MAX / 2);
    put_string(&stream, "'\r\n");
    assert_int_equal(resp_decode(&decoder, buf_slice(&stream), &request, &size), 0);
    assert_true(decoder.capacity < 1000);
    assert_true(decoder.text.capacity >= RESP_INLINE_MAX / 2);

    assert_int_equal(resp_decode(&decoder, slice_of(NULL, 0), &request, &size), KV_ERR_INCOMPLETE);
    assert_true(decoder.text.capacity < 10000);
    buf_done(&stream);
    resp_decoder_done(&decoder);
}

/* ---- replies ---- */

static void assert_written(struct buf *out, const char *expected)
{
    buf_put_u8(out, 0);
    assert_string_equal((const char *)out->data, expected);
    buf_clear(out);
}

static void replies_look_the_same_in_both_versions(void **state)
{
    (void)state;
    struct buf out = {0};
    for (unsigned version = 2; version <= 3; version++) {
        struct resp_writer writer = {.out = &out, .version = version};
        resp_status(&writer, "OK");
        assert_written(&out, "+OK\r\n");
        resp_integer(&writer, 0);
        resp_integer(&writer, -7);
        resp_integer(&writer, INT64_MAX);
        resp_integer(&writer, INT64_MIN);
        assert_written(&out, ":0\r\n:-7\r\n:9223372036854775807\r\n:-9223372036854775808\r\n");
        resp_bulk(&writer, slice_of("a\r\nb", 4));
        resp_bulk(&writer, slice_of(NULL, 0));
        resp_bulk_string(&writer, "0123456789");
        assert_written(&out, "$4\r\na\r\nb\r\n$0\r\n\r\n$10\r\n0123456789\r\n");
        resp_array(&writer, 0);
        resp_array(&writer, 12);
        assert_written(&out, "*0\r\n*12\r\n");
    }
    buf_done(&out);
}

static void put_values_of_a_version(const struct resp_writer *writer)
{
    resp_null(writer);
    resp_null_array(writer);
    resp_map(writer, 3);
    resp_set(writer, 3);
    resp_verbatim(writer, slice_of_string("x:1\r\n"));
}

static void some_replies_depend_on_the_version(void **state)
{
    (void)state;
    struct buf out = {0};
    put_values_of_a_version(&(struct resp_writer){.out = &out, .version = 2});
    assert_written(&out, "$-1\r\n*-1\r\n*6\r\n*3\r\n$5\r\nx:1\r\n\r\n");
    put_values_of_a_version(&(struct resp_writer){.out = &out, .version = 3});
    assert_written(&out, "_\r\n_\r\n%3\r\n~3\r\n=9\r\ntxt:x:1\r\n\r\n");
    buf_done(&out);
}

static void an_error_is_one_line_whatever_it_says(void **state)
{
    (void)state;
    struct buf out = {0};
    struct resp_writer writer = {.out = &out, .version = 2};
    resp_error(&writer, "ERR no such key '%s' %d", "a\r\nb\n", 7);
    assert_written(&out, "-ERR no such key 'a  b ' 7\r\n");

    /* One that fills the first guess exactly, and its neighbours. */
    for (size_t size = 250; size <= 262; size++) {
        char text[300];
        memset(text, 'x', size);
        text[size] = '\0';
        resp_error(&writer, "%s", text);
        assert_int_equal(out.size, size + 3);
        assert_memory_equal(out.data + 1, text, size);
        assert_memory_equal(out.data + 1 + size, "\r\n", 2);
        buf_clear(&out);
    }
    buf_done(&out);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(bytes_mean_what_they_are_recorded_to_mean, argv[1]),
        cmocka_unit_test_prestate(how_bytes_are_cut_changes_nothing, argv[1]),
        cmocka_unit_test(an_error_stays),
        cmocka_unit_test(what_was_looked_at_is_not_looked_at_again),
        cmocka_unit_test(a_line_is_too_big_from_one_byte_on),
        cmocka_unit_test(the_longest_line_passes),
        cmocka_unit_test(the_largest_request_passes_and_one_byte_more_does_not),
        cmocka_unit_test(many_small_words_are_no_way_around_the_size_of_a_request),
        cmocka_unit_test(room_is_made_as_words_arrive_and_given_back),
        cmocka_unit_test(replies_look_the_same_in_both_versions),
        cmocka_unit_test(some_replies_depend_on_the_version),
        cmocka_unit_test(an_error_is_one_line_whatever_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
