#include "sim/redis_value.h"

#include "base/limits.h"
#include "kvapp/err.h"

enum { LINE_MAX_SIZE = 4096 };

/* The line at the front, without its end. */
static int take_line(struct slice bytes, struct slice *ret_line)
{
    for (size_t i = 0; i + 1 < bytes.size; i++) {
        if (bytes.data[i] == '\r') {
            *ret_line = slice_of(bytes.data, i);
            return bytes.data[i + 1] == '\n' ? 0 : KV_ERR_MALFORMED;
        }
    }
    return bytes.size > LINE_MAX_SIZE ? KV_ERR_MALFORMED : KV_ERR_INCOMPLETE;
}

static bool parse(struct slice text, int64_t *ret_number)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t number = 0;
    if (text.size == negative || text.size > 19) {
        return false;
    }
    for (size_t i = negative; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret_number = negative ? -(int64_t)number : (int64_t)number;
    return true;
}

static int take_bulk(struct slice bytes, size_t from, struct redis_value *value, size_t *ret_size)
{
    size_t size = (size_t)value->number;
    if (value->number == -1) {
        value->null = true;
        *ret_size = from;
        return 0;
    }
    if (value->number < 0 || size > VALUE_SIZE_MAX) {
        return KV_ERR_MALFORMED;
    }
    if (bytes.size < from + size + 2) {
        return KV_ERR_INCOMPLETE;
    }
    value->text = slice_of(bytes.data + from, size);
    *ret_size = from + size + 2;
    return memcmp(bytes.data + from + size, "\r\n", 2) == 0 ? 0 : KV_ERR_MALFORMED;
}

int redis_value_take(struct slice bytes, struct redis_value *ret_value, size_t *ret_size)
{
    struct slice line;
    int err = take_line(bytes, &line);
    if (err != 0) {
        return err;
    }
    struct redis_value value = {.kind = line.size == 0 ? '\0' : (char)line.data[0]};
    struct slice rest = slice_of(line.data + 1, line.size == 0 ? 0 : line.size - 1);
    size_t size = line.size + 2;
    switch (value.kind) {
    case '+':
    case '-':
        value.text = rest;
        break;
    case ':':
    case '*':
    case '$':
        err = parse(rest, &value.number) ? 0 : KV_ERR_MALFORMED;
        value.null = value.kind == '*' && value.number == -1;
        if (err == 0 && value.kind == '$') {
            err = take_bulk(bytes, line.size + 2, &value, &size);
        }
        break;
    default:
        err = KV_ERR_MALFORMED;
        break;
    }
    if (err == 0) {
        *ret_value = value;
        *ret_size = size;
    }
    return err;
}

bool redis_value_begins(const struct redis_value *value, const char *word)
{
    size_t size = strlen(word);
    return slice_has_prefix(value->text, slice_of_string(word)) &&
           (value->text.size == size || value->text.data[size] == ' ');
}
