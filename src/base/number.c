#include "base/number.h"

#include "base/assert.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    DIGITS_MAX = 19,             /* of INT64_MIN; so many nines fit a u64 */
    NUMBER_SIZE_MAX = 21,        /* with the sign and a NUL */
    FLOAT_SIZE_MAX = 5 * 1024,   /* with a NUL */
    FLOAT_DIGITS_AFTER_MAX = 17, /* behind the point */
};

STATIC_CHECK(FLOAT_SIZE_MAX > LDBL_MAX_10_EXP + FLOAT_DIGITS_AFTER_MAX + 4,
             "the largest number has a text");

bool number_parse(struct slice text, int64_t *ret_value)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    size_t at = negative ? 1 : 0;
    if (text.size == at || text.size - at > DIGITS_MAX) {
        return false;
    }
    if (text.data[at] == '0' && text.size > 1) {
        return false;
    }
    uint64_t magnitude = 0;
    for (; at < text.size; at++) {
        if (text.data[at] < '0' || text.data[at] > '9') {
            return false;
        }
        magnitude = magnitude * 10 + (uint64_t)(text.data[at] - '0');
    }
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    *ret_value = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

void number_format(int64_t value, struct buf *out)
{
    char text[NUMBER_SIZE_MAX];
    int size = snprintf(text, sizeof text, "%" PRId64, value);
    CHECK(size > 0);
    CHECK((size_t)size < sizeof text);
    buf_append(out, text, (size_t)size);
}

/* The locale whose point is a point. It is built into the C library: there is nothing to free. */
static locale_t plain_locale(void)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    CHECK(plain != (locale_t)0);
    return plain;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

bool number_parse_float(struct slice text, long double *ret_value)
{
    char copy[FLOAT_SIZE_MAX];
    if (text.size == 0 || text.size >= sizeof copy || is_blank(text.data[0])) {
        return false;
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    char *end;
    locale_t plain = plain_locale();
    errno = 0;
    long double value = strtold_l(copy, &end, plain);
    bool out_of_range = errno == ERANGE && (isinf(value) || value == 0);
    freelocale(plain);
    if (end != copy + text.size || out_of_range || isnan(value)) {
        return false;
    }
    *ret_value = value;
    return true;
}

bool number_format_float(long double value, struct buf *out)
{
    if (!isfinite(value)) {
        return false;
    }
    char text[FLOAT_SIZE_MAX];
    locale_t plain = plain_locale();
    locale_t before = uselocale(plain);
    int printed = snprintf(text, sizeof text, "%.*Lf", FLOAT_DIGITS_AFTER_MAX, value);
    (void)uselocale(before);
    freelocale(plain);
    CHECK(printed > FLOAT_DIGITS_AFTER_MAX);
    CHECK((size_t)printed < sizeof text);
    size_t size = (size_t)printed;
    while (text[size - 1] == '0') {
        size--;
    }
    /* The point is always there, so the zeros before it are safe. */
    if (text[size - 1] == '.') {
        size--;
    }
    bool is_negative_zero = size == 2 && text[0] == '-' && text[1] == '0';
    buf_append(out, is_negative_zero ? "0" : text, is_negative_zero ? 1 : size);
    return true;
}
