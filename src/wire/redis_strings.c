/*
 * The commands about strings, but for those that calculate: SET and what came before it, the
 * commands about several keys, parts of values, LCS.
 */
#include "wire/redis_internal.h"

/* The options of SET and GETEX. */
enum set_option {
    SET_NX = 1 << 0,
    SET_XX = 1 << 1,
    SET_GET = 1 << 2,
    SET_KEEPTTL = 1 << 3,
    SET_PERSIST = 1 << 4,
    SET_EX = 1 << 5,
    SET_PX = 1 << 6,
    SET_EXAT = 1 << 7,
    SET_PXAT = 1 << 8,

    SET_TIMES = SET_EX | SET_PX | SET_EXAT | SET_PXAT,
    SET_EXPIRIES = SET_TIMES | SET_KEEPTTL | SET_PERSIST, /* each the contrary of the others */
};

struct set_option_row {
    const char *name;
    unsigned option;
    unsigned contraries; /* may not come before it; itself it may */
    unsigned form;       /* of a time: bits of enum time_form */
};

static const struct set_option_row set_option_rows[] = {
    {"nx", SET_NX, SET_XX, 0},
    {"xx", SET_XX, SET_NX, 0},
    {"get", SET_GET, 0, 0},
    {"keepttl", SET_KEEPTTL, SET_EXPIRIES & ~SET_KEEPTTL, 0},
    {"persist", SET_PERSIST, SET_EXPIRIES & ~SET_PERSIST, 0},
    {"ex", SET_EX, SET_EXPIRIES & ~SET_EX, TIME_SECONDS},
    {"px", SET_PX, SET_EXPIRIES & ~SET_PX, 0},
    {"exat", SET_EXAT, SET_EXPIRIES & ~SET_EXAT, TIME_SECONDS | TIME_ABSOLUTE},
    {"pxat", SET_PXAT, SET_EXPIRIES & ~SET_PXAT, TIME_ABSOLUTE},
};

/* Of those the command takes, the one that the word is; NULL: none. */
static const struct set_option_row *set_option_find(struct slice word, unsigned taken)
{
    for (size_t i = 0; i < sizeof set_option_rows / sizeof set_option_rows[0]; i++) {
        const struct set_option_row *row = &set_option_rows[i];
        if ((row->option & taken) != 0 && redis_word_is(word, row->name)) {
            return row;
        }
    }
    return NULL;
}

/* The options from a place on. Of a time that is given twice, the last counts. */
static bool read_set_options(const struct translation *translation, size_t from, unsigned taken,
                             unsigned *ret_options, struct expiry *ret_expiry)
{
    unsigned options = 0;
    unsigned form = TIME_POSITIVE;
    const struct slice *time = NULL;
    for (size_t i = from; i < translation->count; i++) {
        const struct set_option_row *row = set_option_find(translation->words[i], taken);
        if (row == NULL || (options & row->contraries) != 0) {
            return translation_fail_syntax(translation);
        }
        options |= row->option;
        if ((row->option & SET_TIMES) != 0) {
            i++;
            if (i == translation->count) {
                return translation_fail_syntax(translation);
            }
            time = &translation->words[i];
            form = row->form | TIME_POSITIVE;
        }
    }
    struct expiry expiry = {.kind = (options & SET_KEEPTTL) != 0 ? EXPIRY_KEEP : EXPIRY_NEVER};
    if (time != NULL && !translation_expiry(translation, *time, form, &expiry)) {
        return false;
    }
    *ret_options = options;
    *ret_expiry = expiry;
    return true;
}

static struct command put_of(struct slice key, struct slice value)
{
    return (struct command){.operation = OPERATION_PUT, .key = key, .value = value};
}

bool translate_set(struct translation *translation)
{
    struct command put = put_of(translation->words[1], translation->words[2]);
    unsigned taken = SET_NX | SET_XX | SET_GET | SET_KEEPTTL | SET_TIMES;
    unsigned options = 0;
    if (!read_set_options(translation, 3, taken, &options, &put.expiry)) {
        return false;
    }
    put.options |= (options & SET_NX) != 0 ? OPTION_ABSENT : 0;
    put.options |= (options & SET_XX) != 0 ? OPTION_PRESENT : 0;
    if ((options & SET_GET) != 0) {
        put.options |= OPTION_RETURN;
        translation->call->flags |= REDIS_CALL_VALUE_BEFORE;
    }
    return translation_add(translation, &put);
}

/* Without an option it changes nothing, and is a read. */
bool translate_getex(struct translation *translation)
{
    struct command command = {.key = translation->words[1]};
    unsigned options = 0;
    if (!read_set_options(translation, 2, SET_PERSIST | SET_TIMES, &options, &command.expiry)) {
        return false;
    }
    command.operation = options == 0 ? OPERATION_GET : OPERATION_EXPIRE;
    command.options = options == 0 ? 0 : OPTION_RETURN;
    return translation_add(translation, &command);
}

bool translate_setnx(struct translation *translation)
{
    struct command put = put_of(translation->words[1], translation->words[2]);
    put.options = OPTION_ABSENT;
    return translation_add(translation, &put);
}

/* SETEX, PSETEX */
bool translate_setex(struct translation *translation)
{
    struct command put = put_of(translation->words[1], translation->words[3]);
    unsigned form = translation->row->id == REDIS_SETEX ? TIME_SECONDS : 0;
    return translation_expiry(translation, translation->words[2], form | TIME_POSITIVE,
                              &put.expiry) &&
           translation_add(translation, &put);
}

bool translate_getset(struct translation *translation)
{
    struct command put = put_of(translation->words[1], translation->words[2]);
    put.options = OPTION_RETURN;
    return translation_add(translation, &put);
}

bool translate_getdel(struct translation *translation)
{
    struct command command = {
        .operation = OPERATION_DELETE,
        .key = translation->words[1],
        .options = OPTION_RETURN,
    };
    return translation_add(translation, &command);
}

/* ---- several keys ---- */

/* Whether the words behind the name are pairs; else the error. */
static bool check_pairs(const struct translation *translation)
{
    if (translation->count % 2 == 0) {
        resp_error(translation->writer, "ERR wrong number of arguments for '%s' command",
                   translation->row->name);
        return false;
    }
    return true;
}

static bool add_puts(struct translation *translation)
{
    for (size_t i = 1; i < translation->count; i += 2) {
        struct command put = put_of(translation->words[i], translation->words[i + 1]);
        if (!translation_add(translation, &put)) {
            return false;
        }
    }
    return true;
}

bool translate_mset(struct translation *translation)
{
    return check_pairs(translation) && add_puts(translation);
}

/* A guard for each key, that it is not there; each covers everything behind it. */
bool translate_msetnx(struct translation *translation)
{
    if (!check_pairs(translation)) {
        return false;
    }
    size_t pairs = (translation->count - 1) / 2;
    for (size_t i = 0; i < pairs; i++) {
        struct command guard = {
            .operation = OPERATION_GUARD,
            .key = translation->words[1 + 2 * i],
            .number = (int64_t)(2 * pairs - 1 - i),
            .has_expected = true,
            .expected_revision = 0,
        };
        if (!translation_add(translation, &guard)) {
            return false;
        }
    }
    return add_puts(translation);
}

/* ---- parts of values ---- */

bool translate_append(struct translation *translation)
{
    struct command command = {
        .operation = OPERATION_APPEND,
        .key = translation->words[1],
        .value = translation->words[2],
    };
    return translation_add(translation, &command);
}

/* GETRANGE, SUBSTR */
bool translate_getrange(struct translation *translation)
{
    struct command command = {.operation = OPERATION_GET_RANGE, .key = translation->words[1]};
    return translation_integer(translation, translation->words[2], &command.number) &&
           translation_integer(translation, translation->words[3], &command.last) &&
           translation_add(translation, &command);
}

bool translate_setrange(struct translation *translation)
{
    struct command command = {
        .operation = OPERATION_SET_RANGE,
        .key = translation->words[1],
        .value = translation->words[3],
    };
    if (!translation_integer(translation, translation->words[2], &command.number)) {
        return false;
    }
    if (command.number < 0) {
        return translation_fail(translation, "ERR offset is out of range");
    }
    return translation_add(translation, &command);
}

/* ---- LCS ---- */

/* The flags of the call, and the size that a match has at least. */
static bool read_lcs_options(const struct translation *translation, uint32_t *ret_flags,
                             int64_t *ret_size_min)
{
    uint32_t flags = 0;
    int64_t size_min = 0;
    for (size_t i = 3; i < translation->count; i++) {
        struct slice word = translation->words[i];
        if (redis_word_is(word, "idx")) {
            flags |= REDIS_CALL_MATCHES;
        } else if (redis_word_is(word, "len")) {
            flags |= REDIS_CALL_LENGTH;
        } else if (redis_word_is(word, "withmatchlen")) {
            flags |= REDIS_CALL_MATCH_SIZES;
        } else if (redis_word_is(word, "minmatchlen") && i + 1 < translation->count) {
            i++;
            if (!translation_integer(translation, translation->words[i], &size_min)) {
                return false;
            }
        } else {
            return translation_fail_syntax(translation);
        }
    }
    if ((flags & REDIS_CALL_MATCHES) != 0 && (flags & REDIS_CALL_LENGTH) != 0) {
        return translation_fail(
            translation, "ERR If you want both the length and indexes, please just use IDX.");
    }
    *ret_flags = flags;
    *ret_size_min = size_min;
    return true;
}

bool translate_lcs(struct translation *translation)
{
    struct command command = {
        .operation = OPERATION_LCS,
        .key = translation->words[1],
        .target = translation->words[2],
    };
    int64_t size_min = 0;
    uint32_t flags = 0;
    if (!read_lcs_options(translation, &flags, &size_min)) {
        return false;
    }
    if ((flags & REDIS_CALL_MATCHES) != 0) {
        command.options = OPTION_MATCHES;
        command.number = size_min > 0 ? size_min : 0;
    }
    translation->call->flags = flags;
    return translation_add(translation, &command);
}
