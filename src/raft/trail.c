/*
 * Which entry has which term? A sorted array of runs, searched by halving. It grows only when a
 * new term begins, and room for that is reserved before a step changes anything, so that running
 * out of memory refuses an event instead of breaking a step in the middle.
 */
#include "raft/trail.h"

#include "base/assert.h"
#include "kvapp/err.h"

#include <stdlib.h>
#include <string.h>

enum { TRAIL_RUNS_FIRST = 64 };

int trail_init(struct trail *trail, struct trail_place base, const struct raft_run *runs,
               size_t count)
{
    if ((base.index == 0) != (base.term == 0) || base.index > UINT64_MAX / 2) {
        return KV_ERR_INVALID;
    }
    struct trail made = {.base = base, .last = base.index};
    int err = trail_reserve(&made, count + 1);
    if (err != 0) {
        return err;
    }
    uint64_t term = base.term > 0 ? base.term : 1;
    for (size_t i = 0; i < count; i++) {
        if (runs[i].count == 0 || runs[i].term < term || runs[i].count > UINT64_MAX / 2 ||
            made.last > UINT64_MAX / 2 - runs[i].count) {
            trail_done(&made);
            return KV_ERR_INVALID;
        }
        term = runs[i].term;
        trail_append(&made, term, runs[i].count);
    }
    *trail = made;
    return 0;
}

void trail_done(struct trail *trail)
{
    free(trail->runs);
    *trail = (struct trail){.runs = NULL};
}

int trail_reserve(struct trail *trail, size_t more)
{
    if (trail->count + more <= trail->capacity) {
        return 0;
    }
    size_t capacity = trail->capacity == 0 ? TRAIL_RUNS_FIRST : trail->capacity;
    while (capacity < trail->count + more) {
        capacity *= 2;
    }
    struct trail_run *runs = realloc(trail->runs, capacity * sizeof *runs);
    if (runs == NULL) {
        return KV_ERR_NO_MEMORY;
    }
    trail->runs = runs;
    trail->capacity = capacity;
    return 0;
}

/* The number of runs that begin at or before `index`. */
static size_t runs_up_to(const struct trail *trail, uint64_t index)
{
    if (trail->count > 0 && trail->runs[trail->count - 1].first <= index) {
        return trail->count;
    }
    size_t low = 0;
    size_t high = trail->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (trail->runs[middle].first <= index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The last index of the run at `position`. */
static uint64_t run_last(const struct trail *trail, size_t position)
{
    CHECK(position < trail->count);
    return position + 1 < trail->count ? trail->runs[position + 1].first - 1 : trail->last;
}

uint64_t trail_term(const struct trail *trail, uint64_t index)
{
    if (index < trail->base.index || index > trail->last) {
        return 0;
    }
    if (index == trail->base.index) {
        return trail->base.term;
    }
    size_t count = runs_up_to(trail, index);
    CHECK(count > 0);
    return trail->runs[count - 1].term;
}

void trail_append(struct trail *trail, uint64_t term, uint64_t count)
{
    CHECK(count > 0);
    uint64_t last_term = trail_term(trail, trail->last);
    CHECK(term >= last_term);
    if (term > last_term || trail->count == 0) {
        CHECK(trail->count < trail->capacity);
        trail->runs[trail->count++] = (struct trail_run){.first = trail->last + 1, .term = term};
    }
    trail->last += count;
}

void trail_truncate(struct trail *trail, uint64_t from)
{
    CHECK(from > trail->base.index);
    if (from > trail->last) {
        return;
    }
    trail->last = from - 1;
    trail->count = runs_up_to(trail, trail->last);
}

void trail_compact(struct trail *trail, uint64_t index)
{
    CHECK(index >= trail->base.index && index <= trail->last);
    trail->base = (struct trail_place){.index = index, .term = trail_term(trail, index)};
    if (index == trail->last) {
        trail->count = 0;
        return;
    }
    /* The run that holds the first entry that stays. */
    size_t first = runs_up_to(trail, index + 1) - 1;
    trail->count -= first;
    memmove(trail->runs, trail->runs + first, trail->count * sizeof *trail->runs);
    trail->runs[0].first = index + 1;
}

void trail_reset(struct trail *trail, struct trail_place base)
{
    trail->base = base;
    trail->count = 0;
    trail->last = base.index;
}

uint64_t trail_first_new(const struct trail *trail, uint64_t first, const struct raft_run *runs,
                         size_t run_count)
{
    CHECK(first > 0);
    uint64_t index = first;
    for (size_t i = 0; i < run_count; i++) {
        uint64_t end = index + runs[i].count;
        if (index < trail->base.index) {
            index = trail->base.index < end ? trail->base.index : end;
        }
        if (index == trail->base.index && index < end) {
            if (trail->base.term != runs[i].term) {
                return index;
            }
            index++;
        }
        while (index < end) {
            if (index > trail->last) {
                return index;
            }
            size_t position = runs_up_to(trail, index) - 1;
            if (trail->runs[position].term != runs[i].term) {
                return index;
            }
            uint64_t next = run_last(trail, position) + 1;
            index = next < end ? next : end;
        }
    }
    return index;
}

uint64_t trail_at_most(const struct trail *trail, uint64_t index, uint64_t term)
{
    if (index > trail->last) {
        index = trail->last;
    }
    if (index < trail->base.index) {
        return index;
    }
    size_t count = runs_up_to(trail, index);
    if (count > 0 && trail->runs[count - 1].term <= term) {
        return index;
    }
    while (count > 0 && trail->runs[count - 1].term > term) {
        count--;
    }
    if (count > 0) {
        return run_last(trail, count - 1);
    }
    return trail->base.term <= term ? trail->base.index : trail->base.index - 1;
}

uint64_t trail_runs(const struct trail *trail, uint64_t first, uint64_t last,
                    struct raft_run *ret_runs, size_t *ret_count)
{
    CHECK(first > trail->base.index && first <= last);
    CHECK(last <= trail->last);
    size_t count = 0;
    uint64_t index = first;
    for (size_t i = runs_up_to(trail, first) - 1; index <= last && count < RAFT_RUNS_MAX; i++) {
        uint64_t end = run_last(trail, i) < last ? run_last(trail, i) : last;
        ret_runs[count++] =
            (struct raft_run){.term = trail->runs[i].term, .count = end - index + 1};
        index = end + 1;
    }
    *ret_count = count;
    return index - 1;
}
