/*
 * From the words of a request to commands of the store: which function translates which command,
 * and what all of these functions need. They only look at the words. So a mistake in the words is
 * an error even where redis-server would look at the key first, and give null because there is
 * none; that matters to GETEX alone.
 *
 * The store has limits that Redis has not: keys are 1 to KEY_SIZE_MAX bytes, values at most
 * VALUE_SIZE_MAX, a pattern PATTERN_SIZE_MAX, and a request becomes at most BATCH_COUNT_MAX
 * commands. translation_add() holds them all, so that what it lets through passes command_check().
 */
#include "wire/redis_internal.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/number.h"

struct translator {
    translate_function *function;
    enum operation operation;
};

/* Rows of commands that are local are empty. */
static const struct translator translators[REDIS_ID_COUNT] = {
    [REDIS_APPEND] = {translate_append, OPERATION_APPEND},
    [REDIS_COPY] = {translate_copy, OPERATION_COPY},
    [REDIS_DBSIZE] = {translate_no_key, OPERATION_COUNT},
    [REDIS_DECR] = {translate_incr, OPERATION_ADD},
    [REDIS_DECRBY] = {translate_incrby, OPERATION_ADD},
    [REDIS_DEL] = {translate_each_key, OPERATION_DELETE},
    [REDIS_EXISTS] = {translate_each_key, OPERATION_STAT},
    [REDIS_EXPIRE] = {translate_expire, OPERATION_EXPIRE},
    [REDIS_EXPIREAT] = {translate_expire, OPERATION_EXPIRE},
    [REDIS_EXPIRETIME] = {translate_each_key, OPERATION_STAT},
    [REDIS_FLUSHALL] = {translate_flush, OPERATION_CLEAR},
    [REDIS_FLUSHDB] = {translate_flush, OPERATION_CLEAR},
    [REDIS_GET] = {translate_each_key, OPERATION_GET},
    [REDIS_GETDEL] = {translate_getdel, OPERATION_DELETE},
    [REDIS_GETEX] = {translate_getex, OPERATION_EXPIRE},
    [REDIS_GETRANGE] = {translate_getrange, OPERATION_GET_RANGE},
    [REDIS_GETSET] = {translate_getset, OPERATION_PUT},
    [REDIS_INCR] = {translate_incr, OPERATION_ADD},
    [REDIS_INCRBY] = {translate_incrby, OPERATION_ADD},
    [REDIS_INCRBYFLOAT] = {translate_incrbyfloat, OPERATION_ADD_FLOAT},
    [REDIS_KEYS] = {translate_keys, OPERATION_MATCH},
    [REDIS_KV_REVISION] = {translate_each_key, OPERATION_STAT},
    [REDIS_LCS] = {translate_lcs, OPERATION_LCS},
    [REDIS_MEMORY_USAGE] = {translate_memory_usage, OPERATION_STAT},
    [REDIS_MGET] = {translate_each_key, OPERATION_GET},
    [REDIS_MSET] = {translate_mset, OPERATION_PUT},
    [REDIS_MSETNX] = {translate_msetnx, OPERATION_PUT},
    [REDIS_PERSIST] = {translate_persist, OPERATION_EXPIRE},
    [REDIS_PEXPIRE] = {translate_expire, OPERATION_EXPIRE},
    [REDIS_PEXPIREAT] = {translate_expire, OPERATION_EXPIRE},
    [REDIS_PEXPIRETIME] = {translate_each_key, OPERATION_STAT},
    [REDIS_PSETEX] = {translate_setex, OPERATION_PUT},
    [REDIS_PTTL] = {translate_each_key, OPERATION_STAT},
    [REDIS_RANDOMKEY] = {translate_randomkey, OPERATION_RANDOM},
    [REDIS_RENAME] = {translate_rename, OPERATION_RENAME},
    [REDIS_RENAMENX] = {translate_rename, OPERATION_RENAME},
    [REDIS_SET] = {translate_set, OPERATION_PUT},
    [REDIS_SETEX] = {translate_setex, OPERATION_PUT},
    [REDIS_SETNX] = {translate_setnx, OPERATION_PUT},
    [REDIS_SETRANGE] = {translate_setrange, OPERATION_SET_RANGE},
    [REDIS_STRLEN] = {translate_each_key, OPERATION_STAT},
    [REDIS_SUBSTR] = {translate_getrange, OPERATION_GET_RANGE},
    [REDIS_TOUCH] = {translate_each_key, OPERATION_STAT},
    [REDIS_TTL] = {translate_each_key, OPERATION_STAT},
    [REDIS_TYPE] = {translate_each_key, OPERATION_STAT},
    [REDIS_UNLINK] = {translate_each_key, OPERATION_DELETE},
};

bool redis_translate(const struct redis_command *row, const struct resp_request *request,
                     const struct redis_chance *chance, const struct resp_writer *writer,
                     struct buf *commands, struct redis_call *ret_call)
{
    const struct translator *translator = &translators[row->id];
    CHECK(translator->function != NULL);
    struct redis_call call = {.id = row->id};
    struct translation translation = {
        .row = row,
        .operation = translator->operation,
        .words = request->words,
        .count = request->count,
        .chance = chance,
        .writer = writer,
        .commands = commands,
        .call = &call,
    };
    size_t mark = commands->size;
    if (!translator->function(&translation)) {
        commands->size = mark;
        return false;
    }
    CHECK(call.count >= 1);
    *ret_call = call;
    return true;
}

static bool check_key(const struct translation *translation, struct slice key)
{
    if (key.size == 0) {
        return translation_fail(translation, "ERR the key is empty, which kvapp does not allow");
    }
    if (key.size > KEY_SIZE_MAX) {
        resp_error(translation->writer,
                   "ERR the key is larger than %d bytes, which kvapp does not allow", KEY_SIZE_MAX);
        return false;
    }
    return true;
}

/* The store's limits, of the parts that commands of Redis come to have. */
static bool check_limits(const struct translation *translation, const struct command *command)
{
    bool has_key = command->operation != OPERATION_CLEAR && command->operation != OPERATION_COUNT &&
                   command->operation != OPERATION_RANDOM && command->operation != OPERATION_MATCH;
    bool has_target = command->operation == OPERATION_RENAME ||
                      command->operation == OPERATION_COPY || command->operation == OPERATION_LCS;
    if ((has_key && !check_key(translation, command->key)) ||
        (has_target && !check_key(translation, command->target))) {
        return false;
    }
    const struct resp_writer *writer = translation->writer;
    if (command->value.size > VALUE_SIZE_MAX) {
        resp_error(writer, "ERR the value is larger than %d bytes, which kvapp does not allow",
                   VALUE_SIZE_MAX);
        return false;
    }
    if (command->pattern.size > PATTERN_SIZE_MAX) {
        resp_error(writer, "ERR the pattern is larger than %d bytes, which kvapp does not allow",
                   PATTERN_SIZE_MAX);
        return false;
    }
    if (translation->call->count == BATCH_COUNT_MAX) {
        resp_error(writer, "ERR the command takes more than %d steps, which kvapp does not allow",
                   BATCH_COUNT_MAX);
        return false;
    }
    return true;
}

bool translation_add(struct translation *translation, const struct command *command)
{
    if (!check_limits(translation, command)) {
        return false;
    }
    /* A guard has a meaning only among other commands. */
    CHECK(command->operation == OPERATION_GUARD || command_check(command) == 0);
    command_encode_into_batch(command, translation->commands);
    translation->call->count++;
    return true;
}

bool translation_fail(const struct translation *translation, const char *text)
{
    resp_error(translation->writer, "%s", text);
    return false;
}

bool translation_fail_syntax(const struct translation *translation)
{
    return translation_fail(translation, "ERR syntax error");
}

bool translation_integer(const struct translation *translation, struct slice word,
                         int64_t *ret_number)
{
    return number_parse(word, ret_number) ||
           translation_fail(translation, "ERR value is not an integer or out of range");
}

bool redis_word_is(struct slice word, const char *option)
{
    for (size_t i = 0; i < word.size; i++) {
        uint8_t letter = word.data[i];
        letter = letter >= 'A' && letter <= 'Z' ? (uint8_t)(letter + ('a' - 'A')) : letter;
        if (option[i] == '\0' || letter != (uint8_t)option[i]) {
            return false;
        }
    }
    return option[word.size] == '\0';
}

bool redis_parse_number(struct slice word, uint64_t *ret_number)
{
    int64_t number = 0;
    if (!number_parse(word, &number) || number < 0) {
        return false;
    }
    *ret_number = (uint64_t)number;
    return true;
}
