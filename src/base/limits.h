/*
 * Limits of the formats and protocols, in one place so that they can be related to each other.
 * Tunable sizes are options (src/cli/options.c) and not here.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include "base/assert.h"

enum {
    KEY_SIZE_MAX = 4096,              /* bytes; at least 1 */
    VALUE_SIZE_MAX = 1024 * 1024,     /* bytes; 0 is a value */
    COMMAND_SIZE_MAX = 1280 * 1024,   /* bytes of one encoded command: a log entry's payload */
    FRAME_SIZE_MAX = 4 * 1024 * 1024, /* bytes of one frame's payload on either port */
    REPLY_SIZE_MAX = FRAME_SIZE_MAX - 64 * 1024, /* bytes of one reply's data */
    LOCAL_REPLY_SIZE_MAX = 64 * 1024 * 1024,     /* the same of one that goes into no frame */
    APPEND_SIZE_MAX = 2 * 1024 * 1024,           /* bytes of entries in one AppendEntries */
    LIST_LIMIT_MAX = 10000,                      /* keys in one page of a list */
    DELETE_LIMIT_MAX = 10000,                    /* keys that one delete range removes */
    BATCH_COUNT_MAX = 16384,                     /* commands in one batch */
    BATCH_KEYS_MAX = 1000 * 1000,                /* keys that the MATCHes of one batch look at */
    PATTERN_SIZE_MAX = 4096,                     /* bytes of a pattern that keys are matched with */
    SESSION_WINDOW_MAX = 4096, /* writes of one session from the oldest that is not
                                  answered to the newest; servers keep so many replies */
    MEMBERS_MAX = 9,           /* servers in one cluster */
    ADDRESS_SIZE_MAX = 264,    /* "host:port" with its NUL: 255 + 1 + 5, rounded up */
};

STATIC_CHECK(COMMAND_SIZE_MAX > VALUE_SIZE_MAX + 2 * KEY_SIZE_MAX + 256, "a put fits an entry");
STATIC_CHECK(REPLY_SIZE_MAX > VALUE_SIZE_MAX, "every value fits a reply");
STATIC_CHECK(REPLY_SIZE_MAX > BATCH_COUNT_MAX * 64, "every batch has room for its empty replies");
STATIC_CHECK(APPEND_SIZE_MAX > COMMAND_SIZE_MAX + 64, "an entry fits an append");
STATIC_CHECK(FRAME_SIZE_MAX >= APPEND_SIZE_MAX + 4096, "an append fits a frame");

#endif
