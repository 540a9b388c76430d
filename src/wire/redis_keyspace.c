/*
 * The commands about keys whatever their values are, and those about all keys. There is one
 * database, number 0, and one type of value.
 */
#include "wire/redis_internal.h"

#include <limits.h>

/* The row's operation, of each key in the words. */
bool translate_each_key(struct translation *translation)
{
    for (size_t i = 1; i < translation->count; i++) {
        struct command command = {
            .operation = translation->operation,
            .key = translation->words[i],
        };
        if (!translation_add(translation, &command)) {
            return false;
        }
    }
    return true;
}

bool translate_no_key(struct translation *translation)
{
    struct command command = {.operation = translation->operation};
    return translation_add(translation, &command);
}

bool translate_keys(struct translation *translation)
{
    struct command command = {.operation = OPERATION_MATCH, .pattern = translation->words[1]};
    return translation_add(translation, &command);
}

/* Which key it is to be is decided here, and follows from the map wherever that is looked at. */
bool translate_randomkey(struct translation *translation)
{
    struct command command = {
        .operation = OPERATION_RANDOM,
        .number = (int64_t)translation->chance->random,
    };
    return translation_add(translation, &command);
}

/* FLUSHDB, FLUSHALL. ASYNC or SYNC: the store has one way to do it. */
bool translate_flush(struct translation *translation)
{
    bool known = translation->count == 1 ||
                 (translation->count == 2 && (redis_word_is(translation->words[1], "async") ||
                                              redis_word_is(translation->words[1], "sync")));
    return known ? translate_no_key(translation) : translation_fail_syntax(translation);
}

/* RENAME, RENAMENX. To itself nothing changes, but the key has to be there. */
bool translate_rename(struct translation *translation)
{
    struct command command = {
        .operation = OPERATION_RENAME,
        .key = translation->words[1],
        .target = translation->words[2],
        .options = translation->row->id == REDIS_RENAMENX ? OPTION_ABSENT : 0,
    };
    if (slice_equal(command.key, command.target)) {
        translation->call->flags |= REDIS_CALL_SAME_KEY;
        command = (struct command){.operation = OPERATION_STAT, .key = command.key};
    }
    return translation_add(translation, &command);
}

/* The number of a database, which can only be 0. */
static bool check_database(const struct translation *translation, struct slice word)
{
    int64_t number = 0;
    if (!translation_integer(translation, word, &number)) {
        return false;
    }
    if (number < INT_MIN || number > INT_MAX) {
        resp_error(translation->writer, "ERR value is out of range, value must between %d and %d",
                   INT_MIN, INT_MAX);
        return false;
    }
    return number == 0 || translation_fail(translation, "ERR DB index is out of range");
}

bool translate_copy(struct translation *translation)
{
    struct command command = {
        .operation = OPERATION_COPY,
        .key = translation->words[1],
        .target = translation->words[2],
    };
    for (size_t i = 3; i < translation->count; i++) {
        if (redis_word_is(translation->words[i], "replace")) {
            command.options |= OPTION_REPLACE;
        } else if (redis_word_is(translation->words[i], "db") && i + 1 < translation->count) {
            i++;
            if (!check_database(translation, translation->words[i])) {
                return false;
            }
        } else {
            return translation_fail_syntax(translation);
        }
    }
    if (slice_equal(command.key, command.target)) {
        return translation_fail(translation, "ERR source and destination objects are the same");
    }
    return translation_add(translation, &command);
}

/* Samples are for values made of many parts, which there are none of. */
bool translate_memory_usage(struct translation *translation)
{
    for (size_t i = 3; i < translation->count; i += 2) {
        int64_t samples = 0;
        if (!redis_word_is(translation->words[i], "samples") || i + 1 == translation->count) {
            return translation_fail_syntax(translation);
        }
        if (!translation_integer(translation, translation->words[i + 1], &samples)) {
            return false;
        }
        if (samples < 0) {
            return translation_fail_syntax(translation);
        }
    }
    struct command command = {.operation = OPERATION_STAT, .key = translation->words[2]};
    translation->call->number = (int64_t)command.key.size;
    return translation_add(translation, &command);
}
