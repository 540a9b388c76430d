/*
 * One pass over the line. Words go into one buffer that may move while it grows, so their places
 * are kept as offsets until the end.
 *
 *                      ┌───────── space ◄────────┐
 *                      ▼                         │
 *     begin ──► between words ── other ──► bare ─┤
 *                      ├───────── " ───► quoted ─┤ split_quoted
 *                      └───────── ' ───► raw ────┘ split_raw
 */
#include "cli/words.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

struct splitter {
    struct words *words;
    struct slice line;
    size_t at;
    char *error;
    size_t error_size;
};

static bool is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    uint8_t lower = byte | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static int refuse(const struct splitter *splitter, const char *sentence)
{
    (void)snprintf(splitter->error, splitter->error_size, "%s", sentence);
    return KV_ERR_INVALID;
}

/* After the backslash. */
static int split_escape(struct splitter *splitter)
{
    struct slice line = splitter->line;
    struct buf *bytes = &splitter->words->bytes;
    uint8_t kind = splitter->at < line.size ? line.data[splitter->at] : 0;
    splitter->at++;
    switch (kind) {
    case '\\':
    case '"':
        buf_put_u8(bytes, kind);
        return 0;
    case 'n':
        buf_put_u8(bytes, '\n');
        return 0;
    case 'r':
        buf_put_u8(bytes, '\r');
        return 0;
    case 't':
        buf_put_u8(bytes, '\t');
        return 0;
    case 'x':
        break;
    default:
        return refuse(splitter, "after a backslash in double quotes comes one of \\ \" n r t xNN");
    }
    int high = splitter->at < line.size ? hex_digit(line.data[splitter->at]) : -1;
    int low = splitter->at + 1 < line.size ? hex_digit(line.data[splitter->at + 1]) : -1;
    if (high < 0 || low < 0) {
        return refuse(splitter, "\\x needs two hexadecimal digits, as in \\x0a");
    }
    buf_put_u8(bytes, (uint8_t)(high << 4 | low));
    splitter->at += 2;
    return 0;
}

/* After an opening quote; to behind the closing one. */
static int split_quoted(struct splitter *splitter, uint8_t quote)
{
    struct slice line = splitter->line;
    while (splitter->at < line.size) {
        uint8_t byte = line.data[splitter->at++];
        if (byte == quote) {
            if (splitter->at < line.size && !is_space(line.data[splitter->at])) {
                return refuse(splitter, "a space is needed after a closing quote");
            }
            return 0;
        }
        if (byte != '\\' || quote == '\'') {
            buf_put_u8(&splitter->words->bytes, byte);
            continue;
        }
        int err = split_escape(splitter);
        if (err != 0) {
            return err;
        }
    }
    return refuse(splitter, "a quote is not closed");
}

static void split_bare(struct splitter *splitter)
{
    struct slice line = splitter->line;
    size_t begin = splitter->at;
    while (splitter->at < line.size && !is_space(line.data[splitter->at])) {
        splitter->at++;
    }
    buf_append(&splitter->words->bytes, line.data + begin, splitter->at - begin);
}

static void add_word(struct words *words, size_t begin)
{
    if (words->count == words->capacity) {
        words->capacity = words->capacity == 0 ? 8 : 2 * words->capacity;
        words->at = memory_grow(words->at, words->capacity * sizeof *words->at);
    }
    words->at[words->count++] = slice_of(NULL, words->bytes.size - begin);
    buf_put_u8(&words->bytes, 0);
}

int words_split(struct words *words, struct slice line, char *error, size_t error_size)
{
    struct splitter splitter = {
        .words = words, .line = line, .error = error, .error_size = error_size};
    buf_clear(&words->bytes);
    words->count = 0;
    for (;;) {
        while (splitter.at < line.size && is_space(line.data[splitter.at])) {
            splitter.at++;
        }
        if (splitter.at == line.size) {
            break;
        }
        size_t begin = words->bytes.size;
        uint8_t first = line.data[splitter.at];
        if (first == '"' || first == '\'') {
            splitter.at++;
            int err = split_quoted(&splitter, first);
            if (err != 0) {
                words->count = 0;
                return err;
            }
        } else {
            split_bare(&splitter);
        }
        add_word(words, begin);
    }
    size_t offset = 0;
    for (size_t i = 0; i < words->count; i++) {
        words->at[i].data = words->bytes.data + offset;
        offset += words->at[i].size + 1;
    }
    CHECK(offset == words->bytes.size);
    return 0;
}

void words_done(struct words *words)
{
    buf_done(&words->bytes);
    free(words->at);
    *words = (struct words){0};
}

void words_join(const struct slice *at, size_t first, size_t count, struct buf *out)
{
    for (size_t i = first; i < count; i++) {
        if (i > first) {
            buf_put_u8(out, ' ');
        }
        buf_append_slice(out, at[i]);
    }
}

size_t text_utf8_next(struct slice bytes, uint32_t *ret_character)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (bytes.size == 0) {
        return 0;
    }
    uint8_t lead = bytes.data[0];
    size_t size = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (size == 0 || size > bytes.size || lead > 0xf4) {
        return 0;
    }
    uint32_t character = size == 1 ? lead : lead & (0x7fU >> size);
    for (size_t i = 1; i < size; i++) {
        if ((bytes.data[i] & 0xc0) != 0x80) {
            return 0;
        }
        character = character << 6 | (bytes.data[i] & 0x3f);
    }
    if (character < smallest[size] || character > 0x10ffff ||
        (character >= 0xd800 && character <= 0xdfff)) {
        return 0;
    }
    *ret_character = character;
    return size;
}

bool text_is_utf8(struct slice bytes)
{
    for (size_t at = 0; at < bytes.size;) {
        uint32_t character;
        size_t size = text_utf8_next(slice_of(bytes.data + at, bytes.size - at), &character);
        if (size == 0) {
            return false;
        }
        at += size;
    }
    return true;
}

static bool is_printable(uint32_t character)
{
    bool is_control = character < 0x20 || (character >= 0x7f && character < 0xa0);
    bool breaks_lines_or_direction = (character >= 0x2028 && character <= 0x202e) ||
                                     (character >= 0x2066 && character <= 0x2069) ||
                                     character == 0x200e || character == 0x200f ||
                                     character == 0x061c;
    return !is_control && !breaks_lines_or_direction && character != 0xfeff;
}

void text_escape(struct slice bytes, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t at = 0; at < bytes.size;) {
        uint32_t character = 0;
        size_t size = text_utf8_next(slice_of(bytes.data + at, bytes.size - at), &character);
        if (character == '\\') {
            buf_append(out, "\\\\", 2);
        } else if (size > 0 && is_printable(character)) {
            buf_append(out, bytes.data + at, size);
        } else {
            size = size == 0 ? 1 : size;
            for (size_t i = at; i < at + size; i++) {
                buf_append(out, "\\x", 2);
                buf_put_u8(out, (uint8_t)digits[bytes.data[i] >> 4]);
                buf_put_u8(out, (uint8_t)digits[bytes.data[i] & 15]);
            }
        }
        at += size;
    }
}
