/*
 * The decoder goes through a request once. An array is a line with the number of words, then for
 * each word a line with its size and its bytes:
 *
 *     ─► line "*n" ──► line "$size" ──► bytes CR LF ──┬─► all words there: the request
 *          │  ▲             ▲                         │
 *          │  └ n <= 0: a   └─────────────────────────┘
 *          │    request of no words
 *     anything else: a line of words (read_words), up to LF
 *
 * `at` is how far it looked, `from` where the line or the word it is in began. Words are kept as
 * offsets, since the bytes may lie elsewhere at the next call; only a finished request gets slices.
 */
#include "wire/resp.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    /* Words, and bytes of text, that an idle decoder keeps room for. */
    WORDS_KEPT_MAX = 256,
    TEXT_KEPT_MAX = 4096,

    NUMBER_SIZE = 32, /* of a type, a number, CR and LF */
};

/* A line holds one word for each two bytes at most. */
STATIC_CHECK(RESP_INLINE_MAX / 2 + 1 <= RESP_ARGUMENTS_MAX, "the words of a line fit a request");

void resp_decoder_done(struct resp_decoder *decoder)
{
    if (decoder == NULL) {
        return;
    }
    free(decoder->offsets);
    free(decoder->words);
    buf_done(&decoder->text);
    *decoder = (struct resp_decoder){0};
}

/* ---- what both kinds of request need ---- */

static int malformed(struct resp_decoder *decoder, const char *why)
{
    int size = snprintf(decoder->error, sizeof decoder->error, "Protocol error: %s", why);
    CHECK(size > 0 && (size_t)size < sizeof decoder->error);
    return KV_ERR_MALFORMED;
}

static void add_word(struct resp_decoder *decoder, size_t offset, size_t size)
{
    CHECK(decoder->count < RESP_ARGUMENTS_MAX);
    if (decoder->count == decoder->capacity) {
        size_t capacity = decoder->capacity == 0 ? 8 : 2 * decoder->capacity;
        decoder->offsets = memory_grow(decoder->offsets, 2 * capacity * sizeof(size_t));
        decoder->words = memory_grow(decoder->words, capacity * sizeof(struct slice));
        decoder->capacity = capacity;
    }
    decoder->offsets[2 * decoder->count] = offset;
    decoder->offsets[2 * decoder->count + 1] = size;
    decoder->count++;
}

/* Moves `at` to the first `byte` of the line, which is `too_big` if that is too far away. */
static int find(struct resp_decoder *decoder, struct slice bytes, uint8_t byte, const char *too_big)
{
    size_t end = decoder->from + RESP_INLINE_MAX + 1;
    if (end > bytes.size) {
        end = bytes.size;
    }
    CHECK(decoder->at <= end);
    const uint8_t *found = memchr(bytes.data + decoder->at, byte, end - decoder->at);
    decoder->at = found != NULL ? (size_t)(found - bytes.data) : end;
    if (found != NULL) {
        return 0;
    }
    return end - decoder->from > RESP_INLINE_MAX ? malformed(decoder, too_big) : KV_ERR_INCOMPLETE;
}

/* ---- arrays ---- */

/* Moves `at` to the CR of the line and waits for the byte behind it. */
static int find_line(struct resp_decoder *decoder, struct slice bytes, const char *too_big)
{
    int err = find(decoder, bytes, '\r', too_big);
    return err == 0 && decoder->at + 1 == bytes.size ? KV_ERR_INCOMPLETE : err;
}

/* The number of the line whose CR is at `at`, behind the byte that says what it counts. */
static bool read_line_number(const struct resp_decoder *decoder, struct slice bytes,
                             int64_t *ret_number)
{
    size_t first = decoder->from + 1;
    if (first > decoder->at || bytes.data[decoder->at + 1] != '\n') {
        return false;
    }
    return number_parse(slice_of(bytes.data + first, decoder->at - first), ret_number);
}

/* What follows begins `size` bytes behind `at`. */
static void go_on(struct resp_decoder *decoder, size_t size)
{
    decoder->at += size;
    decoder->from = decoder->at;
}

static int read_count(struct resp_decoder *decoder, struct slice bytes, bool *ret_is_empty)
{
    int err = find_line(decoder, bytes, "too big mbulk count string");
    if (err != 0) {
        return err;
    }
    int64_t count;
    if (!read_line_number(decoder, bytes, &count) || count > RESP_ARGUMENTS_MAX) {
        return malformed(decoder, "invalid multibulk length");
    }
    go_on(decoder, 2);
    *ret_is_empty = count <= 0;
    decoder->expected = count <= 0 ? 0 : (size_t)count;
    return 0;
}

static int read_word_size(struct resp_decoder *decoder, struct slice bytes)
{
    int err = find_line(decoder, bytes, "too big bulk count string");
    if (err != 0) {
        return err;
    }
    uint8_t type = bytes.data[decoder->from];
    if (type != '$') {
        char why[] = "expected '$', got '?'";
        bool breaks = type == '\0' || type == '\r' || type == '\n';
        why[sizeof why - 3] = breaks ? ' ' : (char)type;
        return malformed(decoder, why);
    }
    int64_t size;
    /* The number's CR LF and the word's. */
    size_t taken = decoder->at + 4;
    if (!read_line_number(decoder, bytes, &size) || size < 0 || taken > RESP_REQUEST_SIZE_MAX ||
        (uint64_t)size > RESP_REQUEST_SIZE_MAX - taken) {
        return malformed(decoder, "invalid bulk length");
    }
    go_on(decoder, 2);
    decoder->in_word = true;
    decoder->word_size = (size_t)size;
    return 0;
}

static int read_word_bytes(struct resp_decoder *decoder, struct slice bytes)
{
    size_t end = decoder->from + decoder->word_size;
    if (bytes.size < end + 2) {
        return KV_ERR_INCOMPLETE;
    }
    if (bytes.data[end] != '\r' || bytes.data[end + 1] != '\n') {
        return malformed(decoder, "invalid bulk length");
    }
    add_word(decoder, decoder->from, decoder->word_size);
    go_on(decoder, decoder->word_size + 2);
    decoder->in_word = false;
    return 0;
}

static int decode_array(struct resp_decoder *decoder, struct slice bytes)
{
    if (decoder->expected == 0) {
        bool is_empty;
        int err = read_count(decoder, bytes, &is_empty);
        if (err != 0 || is_empty) {
            return err;
        }
    }
    while (decoder->count < decoder->expected) {
        int err = decoder->in_word ? 0 : read_word_size(decoder, bytes);
        if (err == 0) {
            err = read_word_bytes(decoder, bytes);
        }
        if (err != 0) {
            return err;
        }
    }
    return 0;
}

/* ---- lines ---- */

/* Between words any of these may stand, and behind a closing quote; but only ends_word ends one. */
static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static bool ends_word(uint8_t byte)
{
    return is_blank(byte) && byte != '\v' && byte != '\f';
}

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    uint8_t lower = byte | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static uint8_t escaped(uint8_t byte)
{
    switch (byte) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return byte;
    }
}

/* Appends what a backslash stands for, and returns how many bytes behind it that took. */
static size_t put_escaped(struct slice rest, uint8_t quote, struct buf *text)
{
    if (rest.size < 2 || (quote == '\'' && rest.data[1] != '\'')) {
        buf_put_u8(text, '\\');
        return 0;
    }
    int high = rest.size >= 4 ? hex_digit(rest.data[2]) : -1;
    int low = rest.size >= 4 ? hex_digit(rest.data[3]) : -1;
    if (quote == '"' && rest.data[1] == 'x' && high >= 0 && low >= 0) {
        buf_put_u8(text, (uint8_t)(16 * high + low));
        return 3;
    }
    buf_put_u8(text, escaped(rest.data[1]));
    return 1;
}

/* Appends the word at `at` of a line; false: its quotes are not closed, or end inside of it. */
static bool put_unquoted(struct slice line, size_t *at, struct buf *text)
{
    uint8_t quote = 0;
    size_t i = *at;
    for (; i < line.size; i++) {
        uint8_t byte = line.data[i];
        if (quote == 0 && ends_word(byte)) {
            break;
        }
        if (quote == 0 && (byte == '"' || byte == '\'')) {
            quote = byte;
        } else if (quote != 0 && byte == quote) {
            *at = i + 1;
            return *at == line.size || is_blank(line.data[*at]);
        } else if (quote != 0 && byte == '\\') {
            i += put_escaped(slice_of(line.data + i, line.size - i), quote, text);
        } else {
            buf_put_u8(text, byte);
        }
    }
    *at = i;
    return quote == 0;
}

static bool has_quotes(struct slice line)
{
    return memchr(line.data, '"', line.size) != NULL || memchr(line.data, '\'', line.size) != NULL;
}

/* The words of a line: places in it, or in the decoder's text when there are quotes. */
static bool read_words(struct resp_decoder *decoder, struct slice line)
{
    bool quoted = line.size > 0 && has_quotes(line);
    size_t at = 0;
    while (true) {
        while (at < line.size && is_blank(line.data[at])) {
            at++;
        }
        if (at == line.size) {
            return true;
        }
        size_t begin = quoted ? decoder->text.size : at;
        if (quoted) {
            if (!put_unquoted(line, &at, &decoder->text)) {
                return false;
            }
            add_word(decoder, begin, decoder->text.size - begin);
        } else {
            while (at < line.size && !ends_word(line.data[at])) {
                at++;
            }
            add_word(decoder, begin, at - begin);
        }
    }
}

static int decode_line(struct resp_decoder *decoder, struct slice bytes)
{
    int err = find(decoder, bytes, '\n', "too big inline request");
    if (err != 0) {
        return err;
    }
    size_t size = decoder->at;
    if (size > 0 && bytes.data[size - 1] == '\r') {
        size--;
    }
    if (!read_words(decoder, slice_of(bytes.data, size))) {
        return malformed(decoder, "unbalanced quotes in request");
    }
    go_on(decoder, 1);
    return 0;
}

/* ---- requests ---- */

/* What the last request was lent is given back; of much memory that takes for a large one. */
static void begin(struct resp_decoder *decoder)
{
    buf_clear(&decoder->text);
    buf_shrink(&decoder->text, TEXT_KEPT_MAX);
    if (decoder->capacity > WORDS_KEPT_MAX) {
        resp_decoder_done(decoder);
    }
}

int resp_decode(struct resp_decoder *decoder, struct slice bytes, struct resp_request *ret_request,
                size_t *ret_size)
{
    if (decoder->error[0] != '\0') {
        return KV_ERR_MALFORMED;
    }
    if (decoder->at == 0) {
        begin(decoder);
    }
    if (bytes.size == 0) {
        return KV_ERR_INCOMPLETE;
    }
    CHECK(decoder->at <= bytes.size);
    int err = bytes.data[0] == '*' ? decode_array(decoder, bytes) : decode_line(decoder, bytes);
    if (err != 0) {
        return err;
    }
    /* If there are quotes and yet no text, all words are empty, and it does not matter where. */
    const uint8_t *base = decoder->text.size > 0 ? decoder->text.data : bytes.data;
    for (size_t i = 0; i < decoder->count; i++) {
        decoder->words[i] = slice_of(base + decoder->offsets[2 * i], decoder->offsets[2 * i + 1]);
    }
    *ret_request = (struct resp_request){.words = decoder->words, .count = decoder->count};
    *ret_size = decoder->at;
    decoder->at = 0;
    decoder->from = 0;
    decoder->expected = 0;
    decoder->count = 0;
    return 0;
}

/* ---- replies ---- */

static void put_string(struct buf *out, const char *string)
{
    buf_append(out, string, strlen(string));
}

/* A type, a number, CR and LF: what most replies are, or begin with. */
static void put_number(struct buf *out, char type, int64_t number)
{
    char text[NUMBER_SIZE];
    char *at = text + sizeof text;
    *--at = '\n';
    *--at = '\r';
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) {
        *--at = '-';
    }
    *--at = type;
    buf_append(out, at, (size_t)(text + sizeof text - at));
}

void resp_status(const struct resp_writer *writer, const char *word)
{
    buf_put_u8(writer->out, '+');
    put_string(writer->out, word);
    put_string(writer->out, "\r\n");
}

void resp_error(const struct resp_writer *writer, const char *format, ...)
{
    struct buf *out = writer->out;
    buf_put_u8(out, '-');
    size_t from = out->size;
    va_list arguments;
    va_start(arguments, format);
    buf_vprint(out, format, arguments);
    va_end(arguments);
    for (size_t i = from; i < out->size; i++) {
        if (out->data[i] == '\r' || out->data[i] == '\n') {
            out->data[i] = ' ';
        }
    }
    put_string(out, "\r\n");
}

void resp_integer(const struct resp_writer *writer, int64_t value)
{
    put_number(writer->out, ':', value);
}

void resp_bulk(const struct resp_writer *writer, struct slice bytes)
{
    put_number(writer->out, '$', (int64_t)bytes.size);
    buf_append_slice(writer->out, bytes);
    put_string(writer->out, "\r\n");
}

void resp_bulk_string(const struct resp_writer *writer, const char *string)
{
    resp_bulk(writer, slice_of_string(string));
}

void resp_verbatim(const struct resp_writer *writer, struct slice text)
{
    if (writer->version < 3) {
        resp_bulk(writer, text);
        return;
    }
    put_number(writer->out, '=', (int64_t)text.size + 4);
    put_string(writer->out, "txt:");
    buf_append_slice(writer->out, text);
    put_string(writer->out, "\r\n");
}

void resp_null(const struct resp_writer *writer)
{
    put_string(writer->out, writer->version < 3 ? "$-1\r\n" : "_\r\n");
}

void resp_null_array(const struct resp_writer *writer)
{
    put_string(writer->out, writer->version < 3 ? "*-1\r\n" : "_\r\n");
}

void resp_array(const struct resp_writer *writer, size_t count)
{
    put_number(writer->out, '*', (int64_t)count);
}

void resp_map(const struct resp_writer *writer, size_t count)
{
    bool is_flat = writer->version < 3;
    put_number(writer->out, is_flat ? '*' : '%', (int64_t)(is_flat ? 2 * count : count));
}

void resp_set(const struct resp_writer *writer, size_t count)
{
    put_number(writer->out, writer->version < 3 ? '*' : '~', (int64_t)count);
}
