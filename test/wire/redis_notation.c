#include "redis_notation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- reading ---- */

/* Cuts off what stands before the separator, and the separator. */
static struct slice cut(struct slice *rest, const char *separator)
{
    size_t size = strlen(separator);
    for (size_t at = 0; at + size <= rest->size; at++) {
        if (memcmp(rest->data + at, separator, size) == 0) {
            struct slice before = slice_of(rest->data, at);
            *rest = slice_of(rest->data + at + size, rest->size - at - size);
            return before;
        }
    }
    struct slice all = *rest;
    *rest = slice_of(NULL, 0);
    return all;
}

static unsigned read_hex(struct slice digits)
{
    char text[3] = {(char)digits.data[0], (char)digits.data[1], 0};
    char *end = NULL;
    unsigned value = (unsigned)strtoul(text, &end, 16);
    assert_ptr_equal(end, text + 2);
    return value;
}

static void read_bytes(struct slice word, struct buf *out)
{
    if (slice_equal(word, slice_of_string("\"\""))) {
        return;
    }
    for (size_t i = 0; i < word.size; i++) {
        if (word.data[i] != '\\') {
            buf_put_u8(out, word.data[i]);
            continue;
        }
        i++;
        assert_true(i < word.size);
        switch (word.data[i]) {
        case 'r':
            buf_put_u8(out, '\r');
            break;
        case 'n':
            buf_put_u8(out, '\n');
            break;
        case 'x':
            assert_true(i + 2 < word.size);
            buf_put_u8(out, (uint8_t)read_hex(slice_of(word.data + i + 1, 2)));
            i += 2;
            break;
        default:
            buf_put_u8(out, word.data[i]);
        }
    }
}

size_t notation_read_words(struct slice line, struct buf *text, struct slice *ret_words)
{
    size_t sizes[NOTATION_WORDS_MAX];
    size_t count = 0;
    buf_clear(text);
    while (line.size > 0) {
        struct slice word = cut(&line, " ");
        if (word.size == 0) {
            continue;
        }
        assert_in_range(count, 0, NOTATION_WORDS_MAX - 1);
        size_t mark = text->size;
        read_bytes(word, text);
        sizes[count++] = text->size - mark;
    }
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        ret_words[i] = slice_of(text->data + at, sizes[i]);
        at += sizes[i];
    }
    return count;
}

/* Numbers with commas between them; how many there are. */
static size_t read_numbers(struct slice text, uint64_t *numbers, size_t max)
{
    size_t count = 0;
    while (text.size > 0) {
        struct slice number = cut(&text, ",");
        char digits[32] = {0};
        char *end = NULL;
        assert_in_range(number.size, 1, sizeof digits - 1);
        memcpy(digits, number.data, number.size);
        assert_in_range(count, 0, max - 1);
        /* Negative ones wrap around, as the count of an ADD does. */
        numbers[count++] = strtoull(digits, &end, 10);
        assert_ptr_equal(end, digits + number.size);
    }
    return count;
}

uint64_t notation_read_number(struct slice text)
{
    uint64_t number = 0;
    assert_int_equal(read_numbers(text, &number, 1), 1);
    return number;
}

int notation_status(struct slice name)
{
    for (int status = 0; status > -100; status--) {
        if (slice_equal(name, slice_of_string(kvapp_err_name(status)))) {
            return status;
        }
    }
    fail_msg("no status: %.*s", (int)name.size, (const char *)name.data);
    return 0;
}

static void read_part(struct slice part, struct buf *data, struct reply *reply)
{
    struct slice value = part;
    struct slice name = cut(&value, "=");
    if (slice_equal(name, slice_of_string("more"))) {
        reply->more = true;
    } else if (slice_equal(name, slice_of_string("revision"))) {
        reply->revision = notation_read_number(value);
    } else if (slice_equal(name, slice_of_string("count"))) {
        reply->count = notation_read_number(value);
    } else if (slice_equal(name, slice_of_string("data"))) {
        read_bytes(value, data);
    } else if (slice_equal(name, slice_of_string("item"))) {
        struct buf item = {0};
        read_bytes(value, &item);
        buf_put_sized(data, buf_slice(&item));
        buf_done(&item);
    } else if (slice_equal(name, slice_of_string("stat"))) {
        uint64_t n[5];
        assert_int_equal(read_numbers(value, n, 5), 5);
        struct key_stat stat = {n[0], n[1], n[2], n[3], n[4]};
        key_stat_encode(&stat, data);
    } else if (slice_equal(name, slice_of_string("match"))) {
        uint64_t n[4];
        assert_int_equal(read_numbers(value, n, 4), 4);
        struct lcs_match match = {
            .first = {(uint32_t)n[0], (uint32_t)n[2]},
            .last = {(uint32_t)n[1], (uint32_t)n[3]},
        };
        lcs_match_encode(&match, data);
    } else {
        fail_msg("no part of a reply: %.*s", (int)part.size, (const char *)part.data);
    }
}

void notation_read_replies(struct slice line, struct buf *replies)
{
    struct buf data = {0};
    struct buf bytes = {0};
    while (line.size > 0) {
        struct slice rest = cut(&line, " | ");
        struct reply reply = {.status = notation_status(cut(&rest, " "))};
        buf_clear(&data);
        while (rest.size > 0) {
            read_part(cut(&rest, " "), &data, &reply);
        }
        reply.data = buf_slice(&data);
        buf_clear(&bytes);
        reply_encode(&reply, &bytes);
        buf_put_sized(replies, buf_slice(&bytes));
    }
    buf_done(&bytes);
    buf_done(&data);
}

/* ---- writing ---- */

void notation_put_bytes(struct buf *out, struct slice bytes, bool plain_blanks)
{
    if (bytes.size == 0) {
        buf_print(out, "\"\"");
    }
    for (size_t i = 0; i < bytes.size; i++) {
        unsigned byte = bytes.data[i];
        if (byte == '\r') {
            buf_print(out, "\\r");
        } else if (byte == '\n') {
            buf_print(out, "\\n");
        } else if (byte == '\\') {
            buf_print(out, "\\\\");
        } else if (byte < ' ' || byte > '~' || (byte == ' ' && !plain_blanks)) {
            buf_print(out, "\\x%02x", byte);
        } else {
            buf_print(out, "%c", (char)byte);
        }
    }
}

static void put_part(struct buf *out, const char *name, struct slice bytes, bool always)
{
    if (bytes.size > 0 || always) {
        buf_print(out, " %s=", name);
        notation_put_bytes(out, bytes, false);
    }
}

static void put_options(struct buf *out, uint32_t options)
{
    static const char *const names[] = {"absent",  "present", "return",  "replace", "unlimited",
                                        "limited", "later",   "earlier", "matches"};
    const char *before = " options=";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (options & (1U << i)) {
            buf_print(out, "%s%s", before, names[i]);
            before = ",";
        }
    }
}

static void put_expiry(struct buf *out, const struct expiry *expiry)
{
    static const char *const names[EXPIRY_KINDS] = {"never", "after", "at", "keep"};
    buf_print(out, " expiry=%s", names[expiry->kind]);
    if (expiry->kind == EXPIRY_AFTER || expiry->kind == EXPIRY_AT) {
        buf_print(out, ":%lld", (long long)expiry->ms);
    }
}

void notation_put_command(struct buf *out, const struct command *command)
{
    enum operation operation = command->operation;
    bool has_value = operation == OPERATION_PUT || operation == OPERATION_APPEND ||
                     operation == OPERATION_SET_RANGE;
    buf_print(out, "%s", operation_name(operation));
    put_part(out, "key", command->key, false);
    put_part(out, "target", command->target, false);
    put_part(out, "value", command->value, has_value);
    put_part(out, "pattern", command->pattern, operation == OPERATION_MATCH);
    if (command->has_expected) {
        buf_print(out, " expect=%llu", (unsigned long long)command->expected_revision);
    }
    put_options(out, command->options);
    if (command->expiry.kind != EXPIRY_NEVER || operation == OPERATION_EXPIRE) {
        put_expiry(out, &command->expiry);
    }
    bool has_number = operation == OPERATION_SET_RANGE || operation == OPERATION_GET_RANGE;
    if (command->number != 0 || has_number) {
        buf_print(out, " number=%lld", (long long)command->number);
    }
    if (operation == OPERATION_GET_RANGE) {
        buf_print(out, " last=%lld", (long long)command->last);
    }
}
