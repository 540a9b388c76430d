/* What the tests of the state machine share: entries with rising indexes, and replies by value. */
#ifndef TEST_KV_DRIVER_H
#define TEST_KV_DRIVER_H

#include "kv/kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static inline struct slice text(const char *string)
{
    return slice_of_string(string);
}

static inline void assert_text(struct slice bytes, const char *expected)
{
    assert_int_equal(bytes.size, strlen(expected));
    assert_memory_equal(bytes.data, expected, bytes.size);
}

struct driver {
    struct kv *kv;
    uint64_t time_ms;
    struct buf bytes;
};

static inline struct driver driver_with(const struct kv_options *options)
{
    return (struct driver){.kv = kv_new(options), .time_ms = 1000};
}

static inline struct driver driver_new(size_t sessions_max, size_t replies_max)
{
    struct kv_options options = kv_options_default;
    options.sessions_max = sessions_max;
    options.replies_max = replies_max;
    return driver_with(&options);
}

/* Checks the whole state before it goes. */
static inline void driver_done(struct driver *driver)
{
    kv_check(driver->kv);
    kv_free(driver->kv);
    buf_done(&driver->bytes);
}

/* Applies raw bytes as the next entry. */
static inline struct reply apply_bytes(struct driver *driver, struct slice bytes)
{
    struct reply reply;
    kv_apply(driver->kv, kv_applied_index(driver->kv) + 1, driver->time_ms, bytes, &reply);
    return reply;
}

/* Applies a command as the next entry. */
static inline struct reply apply(struct driver *driver, struct command command)
{
    buf_clear(&driver->bytes);
    command_encode(&command, &driver->bytes);
    return apply_bytes(driver, buf_slice(&driver->bytes));
}

static inline struct reply query(struct driver *driver, struct command command)
{
    struct reply reply;
    kv_query(driver->kv, &command, REPLY_SIZE_MAX, &reply);
    return reply;
}

static inline uint64_t open_session(struct driver *driver)
{
    return apply(driver, (struct command){.operation = OPERATION_OPEN_SESSION}).revision;
}

/* A write's place in its session. */
struct stamp {
    uint64_t session;
    uint64_t sequence;
    uint64_t acknowledged;
};

static inline struct reply put_once(struct driver *driver, struct stamp stamp, const char *key,
                                    const char *value)
{
    return apply(driver, (struct command){.operation = OPERATION_PUT,
                                          .session = stamp.session,
                                          .sequence = stamp.sequence,
                                          .acknowledged = stamp.acknowledged,
                                          .key = slice_of_string(key),
                                          .value = slice_of_string(value)});
}

static inline struct reply put(struct driver *driver, const char *key, const char *value)
{
    return apply(driver, (struct command){.operation = OPERATION_PUT,
                                          .key = slice_of_string(key),
                                          .value = slice_of_string(value)});
}

static inline struct reply get(struct driver *driver, const char *key)
{
    return query(driver, (struct command){.operation = OPERATION_GET, .key = slice_of_string(key)});
}

#endif
