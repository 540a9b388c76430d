#include "entry_log.h"

#include "base/assert.h"
#include "base/memory.h"

void log_put(struct entry_log *log, struct entry entry)
{
    if (log->last == log->capacity) {
        log->capacity = log->capacity == 0 ? 64 : log->capacity * 2;
        log->at = memory_grow(log->at, log->capacity * sizeof *log->at);
    }
    log->at[log->last++] = entry;
}

struct entry log_get(const struct entry_log *log, uint64_t index)
{
    CHECK(index > 0 && index <= log->last);
    return log->at[index - 1];
}

bool log_has(const struct entry_log *log, uint64_t index, struct entry entry)
{
    return index <= log->last && log->at[index - 1].term == entry.term &&
           log->at[index - 1].value == entry.value &&
           log->at[index - 1].membership == entry.membership;
}

uint64_t log_term(const struct entry_log *log, uint64_t index)
{
    return index == 0 || index > log->last ? 0 : log->at[index - 1].term;
}

void log_truncate(struct entry_log *log, uint64_t from)
{
    CHECK(from > log->base);
    if (from <= log->last) {
        log->last = from - 1;
    }
}

void log_copy(struct entry_log *to, const struct entry_log *from, uint64_t last)
{
    CHECK(last <= from->last);
    to->last = 0;
    for (uint64_t i = 1; i <= last; i++) {
        log_put(to, log_get(from, i));
    }
    to->base = from->base;
}

void log_reset(struct entry_log *log, const struct entry_log *committed, uint64_t index)
{
    log_copy(log, committed, index);
    log->base = index;
}
