/*
 * A pattern is a row of stars and of elements that take one byte each. So where a star follows
 * another one, how many bytes the first took does not matter any more for what follows the second:
 * when the rest does not fit, only the last star has to take one more.
 */
#include "base/glob.h"

#include "base/assert.h"

/* Signed, as Redis compares them; a range may be given backwards. */
static bool is_between(uint8_t byte, uint8_t from, uint8_t to)
{
    int8_t value = (int8_t)byte;
    int8_t low = (int8_t)from;
    int8_t high = (int8_t)to;
    return low <= high ? low <= value && value <= high : high <= value && value <= low;
}

/* The size of the class that the pattern begins with, and whether the byte is one of it. */
static size_t match_class(struct slice pattern, uint8_t byte, bool *ret_fits)
{
    bool negated = pattern.size > 1 && pattern.data[1] == '^';
    bool found = false;
    size_t at = negated ? 2 : 1;
    while (at < pattern.size && pattern.data[at] != ']') {
        const uint8_t *member = pattern.data + at;
        size_t left = pattern.size - at;
        if (member[0] == '\\' && left >= 2) {
            found = found || member[1] == byte;
            at += 2;
        } else if (left >= 3 && member[1] == '-') {
            found = found || is_between(byte, member[0], member[2]);
            at += 3;
        } else {
            found = found || member[0] == byte;
            at++;
        }
    }
    *ret_fits = found != negated;
    return at < pattern.size ? at + 1 : at;
}

/* The size of the element that the pattern begins with, no star, and whether it fits the byte. */
static size_t match_element(struct slice pattern, uint8_t byte, bool *ret_fits)
{
    CHECK(pattern.size > 0);
    switch (pattern.data[0]) {
    case '?':
        *ret_fits = true;
        return 1;
    case '[':
        return match_class(pattern, byte, ret_fits);
    case '\\':
        if (pattern.size >= 2) {
            *ret_fits = pattern.data[1] == byte;
            return 2;
        }
        break;
    default:
        break;
    }
    *ret_fits = pattern.data[0] == byte;
    return 1;
}

static bool is_star(struct slice pattern, size_t at)
{
    return at < pattern.size && pattern.data[at] == '*';
}

bool glob_matches(struct slice pattern, struct slice text)
{
    if (text.size == 0) {
        return pattern.size == 0 || (pattern.size == 1 && is_star(pattern, 0));
    }
    size_t at = 0;        /* in the pattern */
    size_t next = 0;      /* in the text */
    size_t star = 0;      /* behind the last star; 0: there was none so far */
    size_t star_next = 0; /* the first byte that this star does not take */
    while (next < text.size) {
        if (is_star(pattern, at)) {
            at++;
            star = at;
            star_next = next;
            continue;
        }
        bool fits = false;
        size_t size = 0;
        if (at < pattern.size) {
            size = match_element(slice_of(pattern.data + at, pattern.size - at), text.data[next],
                                 &fits);
        }
        if (fits) {
            at += size;
            next++;
        } else if (star > 0 && star < pattern.size) {
            star_next++;
            at = star;
            next = star_next;
        } else {
            /* A star at the end takes all that is left. */
            return star > 0;
        }
    }
    while (is_star(pattern, at)) {
        at++;
    }
    return at == pattern.size;
}
