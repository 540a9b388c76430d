/*
 * The terms of a log, without its entries: runs of consecutive entries of one term.
 *
 *     index   1  2  3  4  5  6  7            runs  {first 1, term 1} {first 4, term 2}
 *     term    1  1  1  2  2  5  5                  {first 6, term 5}     last 7
 *
 * When the beginning of the log gave way to a snapshot, the base is the entry before the first,
 * of which only index and term are known. It is committed, and so is all before it:
 *
 *     index         3  4  5  6  7            base  {index 3, term 1}
 *     term         (1) 2  2  5  5            runs  {first 4, term 2} {first 6, term 5}     last 7
 *
 * Invariants: firsts and terms rise strictly; the first run begins after the base with a term that
 * is at least the base's; no run is empty. So a log of any length costs sixteen bytes for each
 * term in which something was appended.
 */
#ifndef RAFT_TRAIL_H
#define RAFT_TRAIL_H

#include "kvapp/raft.h"

#include <stddef.h>
#include <stdint.h>

struct trail_run {
    uint64_t first;
    uint64_t term;
};

/* An entry of which only its place is known. Both zero: before all entries. */
struct trail_place {
    uint64_t index;
    uint64_t term;
};

struct trail {
    struct trail_place base; /* the entry before the first */
    struct trail_run *runs;
    size_t count;
    size_t capacity;
    uint64_t last; /* index of the last entry; the base's when the log is empty */
};

/*
 * Makes the trail of a recovered log that begins after `base`. Neighbouring runs of one term become
 * one. KV_ERR_INVALID when a run is empty, terms fall or are 0, or an index is larger than can be
 * counted.
 */
int trail_init(struct trail *trail, struct trail_place base, const struct raft_run *runs,
               size_t count);
void trail_done(struct trail *trail);

/* Makes room for `more` new runs, so that appending cannot fail; 0 or KV_ERR_NO_MEMORY. */
int trail_reserve(struct trail *trail, size_t more);

/* The term of an entry, or of the base; 0 when there is none, or it is before the base. */
uint64_t trail_term(const struct trail *trail, uint64_t index);

/* Appends `count` entries of a term that is at least the last one. Room must be reserved. */
void trail_append(struct trail *trail, uint64_t term, uint64_t count);

/* Forgets the entries from `from` on, which is after the base. */
void trail_truncate(struct trail *trail, uint64_t from);

/* The entry at `index` becomes the base: those before it are forgotten. */
void trail_compact(struct trail *trail, uint64_t index);

/* Forgets all entries: the log begins anew after `base`. */
void trail_reset(struct trail *trail, struct trail_place base);

/*
 * Compares the log with a leader's entries, of which the first has the index `first`: the index of
 * the first one that is not in the log, be it that another entry is there or none. When all are
 * in the log: the index after the last of them. What is before the base is taken to be equal.
 */
uint64_t trail_first_new(const struct trail *trail, uint64_t first, const struct raft_run *runs,
                         size_t run_count);

/*
 * The largest index that is at most `index` and whose term is at most `term`. Terms never fall
 * along a log, so whatever matches a log that has `term` at `index` lies at or below the answer.
 * Terms before the base are not known and may be any: the answer is there when even the base's
 * term is larger, or when `index` is.
 */
uint64_t trail_at_most(const struct trail *trail, uint64_t index, uint64_t term);

/*
 * Writes the runs of entries first ... last, at most RAFT_RUNS_MAX of them, and returns the index
 * of the last entry that they describe. The entries must exist, after the base.
 */
uint64_t trail_runs(const struct trail *trail, uint64_t first, uint64_t last,
                    struct raft_run *ret_runs, size_t *ret_count);

#endif
