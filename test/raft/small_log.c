#include "small.h"

#include "base/assert.h"

void small_log_put(struct small_log *log, struct small_entry entry)
{
    CHECK(log->last < SMALL_LOG_MAX);
    log->at[log->last++] = entry;
}

bool small_log_has(const struct small_log *log, uint64_t index, struct small_entry entry)
{
    return index <= log->last && log->at[index - 1].term == entry.term &&
           log->at[index - 1].value == entry.value &&
           log->at[index - 1].membership == entry.membership;
}

void small_log_truncate(struct small_log *log, uint64_t from)
{
    CHECK(from > log->base);
    while (log->last >= from) {
        log->at[--log->last] = (struct small_entry){.term = 0};
    }
}

void small_log_reset(struct small_log *log, const struct small_log *committed, uint64_t index)
{
    CHECK(index <= committed->last);
    log->base = 0;
    small_log_truncate(log, 1);
    for (uint64_t i = 0; i < index; i++) {
        small_log_put(log, committed->at[i]);
    }
    log->base = (uint8_t)index;
}

uint64_t small_log_term(const struct small_log *log, uint64_t index)
{
    return index == 0 || index > log->last ? 0 : log->at[index - 1].term;
}
