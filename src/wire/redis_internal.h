/*
 * What the files of the translation share: a request on its way into the store's vocabulary, and
 * what a call says about how its replies are to be rendered.
 */
#ifndef WIRE_REDIS_INTERNAL_H
#define WIRE_REDIS_INTERNAL_H

#include "wire/redis.h"

/* The bits of a call's flags. A call's number is the key's size, of MEMORY USAGE; else 0. */
enum redis_call_flag {
    REDIS_CALL_VALUE_BEFORE = 1 << 0, /* SET: the reply is the value before: GET */
    REDIS_CALL_SAME_KEY = 1 << 1,     /* RENAME, RENAMENX: to itself */
    REDIS_CALL_LENGTH = 1 << 2,       /* LCS: LEN */
    REDIS_CALL_MATCHES = 1 << 3,      /* LCS: IDX */
    REDIS_CALL_MATCH_SIZES = 1 << 4,  /* LCS: WITHMATCHLEN */
};

/* A request that is being translated. */
struct translation {
    const struct redis_command *row;
    enum operation operation; /* what it becomes, where the function leaves that open */
    const struct slice *words;
    size_t count;
    const struct redis_chance *chance;
    const struct resp_writer *writer;
    struct buf *commands;
    struct redis_call *call;
};

/* False: the error was appended. Commands that were added before are taken back by the caller. */
typedef bool translate_function(struct translation *translation);

/* ---- redis_translate.c: what every group needs ---- */

/* Adds a command; or the error, when it breaks a limit of the store. */
bool translation_add(struct translation *translation, const struct command *command);

/* Appends the error and returns false. */
bool translation_fail(const struct translation *translation, const char *text);

/* "ERR syntax error" */
bool translation_fail_syntax(const struct translation *translation);

/* The integer that the word is; else the error. */
bool translation_integer(const struct translation *translation, struct slice word,
                         int64_t *ret_number);

/* ---- redis_expiry.c ---- */

/* How a time is meant. */
enum time_form {
    TIME_SECONDS = 1 << 0,  /* else ms */
    TIME_ABSOLUTE = 1 << 1, /* since 1970; else from now on */
    TIME_POSITIVE = 1 << 2, /* 0 or less is an error; else it is a time that is over */
};

/* The expiry that the word says; else the error. `form`: bits of enum time_form. */
bool translation_expiry(const struct translation *translation, struct slice word, unsigned form,
                        struct expiry *ret_expiry);

bool translate_expire(struct translation *translation);
bool translate_persist(struct translation *translation);

/* ---- redis_strings.c, redis_numbers.c ---- */

bool translate_append(struct translation *translation);
bool translate_getdel(struct translation *translation);
bool translate_getex(struct translation *translation);
bool translate_getrange(struct translation *translation);
bool translate_getset(struct translation *translation);
bool translate_lcs(struct translation *translation);
bool translate_mset(struct translation *translation);
bool translate_msetnx(struct translation *translation);
bool translate_set(struct translation *translation);
bool translate_setex(struct translation *translation);
bool translate_setnx(struct translation *translation);
bool translate_setrange(struct translation *translation);

bool translate_incr(struct translation *translation);
bool translate_incrby(struct translation *translation);
bool translate_incrbyfloat(struct translation *translation);

/* ---- redis_keyspace.c ---- */

bool translate_copy(struct translation *translation);
bool translate_each_key(struct translation *translation);
bool translate_flush(struct translation *translation);
bool translate_keys(struct translation *translation);
bool translate_memory_usage(struct translation *translation);
bool translate_no_key(struct translation *translation);
bool translate_randomkey(struct translation *translation);
bool translate_rename(struct translation *translation);

#endif
