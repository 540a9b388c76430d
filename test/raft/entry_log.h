/*
 * The entries of a log in memory. What is up to its base left the log for a snapshot, but is kept
 * here all the same: a snapshot is the entries that it holds.
 */
#ifndef TEST_RAFT_ENTRY_LOG_H
#define TEST_RAFT_ENTRY_LOG_H

#include <stdbool.h>
#include <stdint.h>

struct entry {
    uint64_t term;
    uint64_t value;      /* what was proposed, unique; 0: a no-op or a membership */
    uint64_t membership; /* its number, see struct cluster; 0: it is none */
};

struct entry_log {
    struct entry *at; /* index i stands at i - 1 */
    uint64_t last;
    uint64_t capacity;
    uint64_t base;
};

void log_put(struct entry_log *log, struct entry entry);
struct entry log_get(const struct entry_log *log, uint64_t index);
bool log_has(const struct entry_log *log, uint64_t index, struct entry entry);
/* 0: before all entries, or no such entry. */
uint64_t log_term(const struct entry_log *log, uint64_t index);
void log_truncate(struct entry_log *log, uint64_t from);
/* The first `last` entries, and the base. */
void log_copy(struct entry_log *to, const struct entry_log *from, uint64_t last);
/* Nothing but what a snapshot up to `index` holds. */
void log_reset(struct entry_log *log, const struct entry_log *committed, uint64_t index);

#endif
