/*
 * The table of Redis's commands, as two arrays: those that are about the connection or the server,
 * and those about keys. Who wants one row asks redis_row or redis_find; this is for going through
 * all of them.
 */
#ifndef WIRE_REDIS_TABLE_H
#define WIRE_REDIS_TABLE_H

#include "wire/redis.h"

enum { REDIS_LOCAL_COUNT = REDIS_APPEND }; /* the ids below are local, the others are not */

/* Each sorted by name, and the row of an id at its place. */
extern const struct redis_command redis_table_connection[REDIS_LOCAL_COUNT];
extern const struct redis_command redis_table_keys[REDIS_ID_COUNT - REDIS_LOCAL_COUNT];

/* The row with the name, which may be a subcommand's, "client|list". Any case. NULL: none. */
const struct redis_command *redis_find_name(struct slice name);

/* Whether the command is nothing but a container of subcommands. */
bool redis_is_container(const struct redis_command *row);

/* Whether `count` words are as many as the command takes, its name included. */
bool redis_fits_arity(const struct redis_command *row, size_t count);

/* The places of a request's keys: `count` of them from `first` on, each `step` words from the one
 * before. */
struct redis_key_range {
    size_t first;
    size_t step;
    size_t count;
};

/* Of a request of so many words; without keys when these are not as many as the command takes. */
struct redis_key_range redis_key_range(const struct redis_command *row, size_t words);

#endif
