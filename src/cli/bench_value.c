#include "cli/bench.h"

static const char hex_digits[] = "0123456789abcdef";

enum { NUMBER_SIZE = 16, LETTER_COUNT = 26 };

void bench_key_fill(char *key, uint64_t key_number)
{
    static const char prefix[] = {'k', 'e', 'y', '-'};
    memcpy(key, prefix, sizeof prefix);
    for (size_t i = 0; i < NUMBER_SIZE; i++) {
        key[BENCH_KEY_SIZE - 1 - i] = hex_digits[key_number >> (4 * i) & 15];
    }
}

static uint8_t letter(uint64_t write_number, size_t at)
{
    return (uint8_t)('a' + (write_number + at) % LETTER_COUNT);
}

/* As many of the number's digits as fit into `size`; returns how many. */
static size_t put_number(uint8_t *at, size_t size, uint64_t number)
{
    size_t count = size < NUMBER_SIZE ? size : NUMBER_SIZE;
    for (size_t i = 0; i < count; i++) {
        at[i] = (uint8_t)hex_digits[number >> (4 * i) & 15];
    }
    return count;
}

void bench_value_fill(uint8_t *value, size_t size, uint64_t key_number, uint64_t write_number)
{
    size_t used = put_number(value, size, key_number);
    used += put_number(value + used, size - used, write_number);
    for (size_t i = 0; used + i < size && i < LETTER_COUNT; i++) {
        value[used + i] = letter(write_number, i);
    }
    for (size_t i = used + LETTER_COUNT; i < size; i++) {
        value[i] = value[i - LETTER_COUNT];
    }
}

/* Lowest digit first; false when one of the 16 bytes is none. */
static bool get_number(const uint8_t *at, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < NUMBER_SIZE; i++) {
        const char *digit = at[i] == 0 ? NULL : strchr(hex_digits, at[i]);
        if (digit == NULL) {
            return false;
        }
        number |= (uint64_t)(digit - hex_digits) << (4 * i);
    }
    *ret_number = number;
    return true;
}

bool bench_value_fits(const uint8_t *value, size_t size, uint64_t key_number)
{
    uint8_t expected[NUMBER_SIZE];
    size_t used = put_number(expected, size, key_number);
    if (memcmp(value, expected, used) != 0) {
        return false;
    }
    if (size < 2 * NUMBER_SIZE) {
        return true;
    }
    uint64_t write_number;
    if (!get_number(value + NUMBER_SIZE, &write_number)) {
        return false;
    }
    const uint8_t *letters = value + 2 * NUMBER_SIZE;
    size -= 2 * NUMBER_SIZE;
    for (size_t i = 0; i < size && i < LETTER_COUNT; i++) {
        if (letters[i] != letter(write_number, i)) {
            return false;
        }
    }
    return size <= LETTER_COUNT ||
           memcmp(letters, letters + LETTER_COUNT, size - LETTER_COUNT) == 0;
}
