/*
 * The commands that calculate. The store reads the numbers that are in values; here are only those
 * in the words.
 */
#include "wire/redis_internal.h"

enum {
    FLOAT_TEXT_SIZE_MAX = 5 * 1024 - 1, /* bytes that redis-server takes for a float */
};

static bool add_number(struct translation *translation, int64_t number)
{
    struct command command = {
        .operation = OPERATION_ADD,
        .key = translation->words[1],
        .number = number,
    };
    return translation_add(translation, &command);
}

/* INCR, DECR */
bool translate_incr(struct translation *translation)
{
    return add_number(translation, translation->row->id == REDIS_DECR ? -1 : 1);
}

/* INCRBY, DECRBY */
bool translate_incrby(struct translation *translation)
{
    int64_t number = 0;
    if (!translation_integer(translation, translation->words[2], &number)) {
        return false;
    }
    if (translation->row->id == REDIS_INCRBY) {
        return add_number(translation, number);
    }
    if (number == INT64_MIN) {
        return translation_fail(translation, "ERR decrement would overflow");
    }
    return add_number(translation, -number);
}

/* The store finds out whether it is a number, after it has looked at the value, as Redis does. */
bool translate_incrbyfloat(struct translation *translation)
{
    struct slice word = translation->words[2];
    if (word.size == 0 || word.size > FLOAT_TEXT_SIZE_MAX) {
        return translation_fail(translation, "ERR value is not a valid float");
    }
    struct command command = {
        .operation = OPERATION_ADD_FLOAT,
        .key = translation->words[1],
        .value = word,
    };
    return translation_add(translation, &command);
}
