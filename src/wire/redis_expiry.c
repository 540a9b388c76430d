/*
 * When a key goes. What a client gives from now on stays relative (EXPIRY_AFTER): the log's time is
 * added where the command is applied, so that every server adds the same. Times that are over
 * already come as negative numbers or 0, which no command may have; they all become the first
 * millisecond of 1970, at which the store deletes the key just as well.
 */
#include "wire/redis_internal.h"

enum {
    MS_PER_SECOND = 1000,
    LONG_AGO_MS = 1, /* not 0: that is how key_stat says "never" */
};

bool translation_expiry(const struct translation *translation, struct slice word, unsigned form,
                        struct expiry *ret_expiry)
{
    int64_t ms = 0;
    if (!translation_integer(translation, word, &ms)) {
        return false;
    }
    bool absolute = (form & TIME_ABSOLUTE) != 0;
    bool in_range = true;
    if (form & TIME_SECONDS) {
        in_range = ms <= INT64_MAX / MS_PER_SECOND && ms >= INT64_MIN / MS_PER_SECOND;
        ms = in_range ? ms * MS_PER_SECOND : ms;
    }
    int64_t now_ms = absolute ? 0 : (int64_t)translation->chance->now_ms;
    in_range = in_range && ms <= INT64_MAX - now_ms;
    if (!in_range || (ms <= 0 && (form & TIME_POSITIVE) != 0)) {
        resp_error(translation->writer, "ERR invalid expire time in '%s' command",
                   translation->row->name);
        return false;
    }
    if (ms <= 0) {
        *ret_expiry = (struct expiry){.kind = EXPIRY_AT, .ms = LONG_AGO_MS};
    } else {
        *ret_expiry = (struct expiry){.kind = absolute ? EXPIRY_AT : EXPIRY_AFTER, .ms = ms};
    }
    return true;
}

/* EXPIRE's options: which expiry the key may have so far. */
static bool read_conditions(const struct translation *translation, uint32_t *ret_options)
{
    uint32_t options = 0;
    for (size_t i = 3; i < translation->count; i++) {
        struct slice word = translation->words[i];
        if (redis_word_is(word, "nx")) {
            options |= OPTION_UNLIMITED;
        } else if (redis_word_is(word, "xx")) {
            options |= OPTION_LIMITED;
        } else if (redis_word_is(word, "gt")) {
            options |= OPTION_LATER;
        } else if (redis_word_is(word, "lt")) {
            options |= OPTION_EARLIER;
        } else {
            resp_error(translation->writer, "ERR Unsupported option %.*s", (int)word.size,
                       (const char *)word.data);
            return false;
        }
    }
    uint32_t others = OPTION_LIMITED | OPTION_LATER | OPTION_EARLIER;
    if ((options & OPTION_UNLIMITED) != 0 && (options & others) != 0) {
        return translation_fail(
            translation, "ERR NX and XX, GT or LT options at the same time are not compatible");
    }
    if ((options & OPTION_LATER) != 0 && (options & OPTION_EARLIER) != 0) {
        return translation_fail(translation,
                                "ERR GT and LT options at the same time are not compatible");
    }
    *ret_options = options;
    return true;
}

/* EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT */
bool translate_expire(struct translation *translation)
{
    enum redis_id id = translation->row->id;
    unsigned form = 0;
    form |= id == REDIS_EXPIRE || id == REDIS_EXPIREAT ? TIME_SECONDS : 0;
    form |= id == REDIS_EXPIREAT || id == REDIS_PEXPIREAT ? TIME_ABSOLUTE : 0;
    struct command command = {.operation = OPERATION_EXPIRE, .key = translation->words[1]};
    return read_conditions(translation, &command.options) &&
           translation_expiry(translation, translation->words[2], form, &command.expiry) &&
           translation_add(translation, &command);
}

/* LIMITED makes the count of the reply tell whether there was something to take away. */
bool translate_persist(struct translation *translation)
{
    struct command command = {
        .operation = OPERATION_EXPIRE,
        .key = translation->words[1],
        .options = OPTION_LIMITED,
    };
    return translation_add(translation, &command);
}
