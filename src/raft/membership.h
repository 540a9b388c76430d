/*
 * Who takes part, as data: what can be said of a membership, and the memberships of a log.
 *
 *     index       ...   5          12      13         20
 *     membership  base  simple     joint   simple     simple        the newest is in force
 *
 * A membership takes effect as soon as its entry is in the log, committed or not (§6), so a
 * truncation brings the one before back into force. The base stands for everything up to where
 * the log begins: the initial membership with index 0, a snapshot's with the snapshot's index, or
 * the newest of the entries that left the log. It is never truncated.
 *
 * Voters change in two steps. The joint membership has both sets of voters, and whatever counts
 * needs a majority of each; its successor, once it is committed, drops the old set. In between,
 * no two majorities exist that do not share a server.
 */
#ifndef RAFT_MEMBERSHIP_H
#define RAFT_MEMBERSHIP_H

#include "kvapp/raft.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- one membership ---- */

/* NULL: no member. */
const struct raft_member *membership_find(const struct raft_membership *membership, uint64_t id);

/* Whether the server votes in one of the sets. */
bool membership_has_voter(const struct raft_membership *membership, uint64_t id);

/* Into the order of ids, in which memberships are compared, logged and encoded. */
void membership_sort(struct raft_membership *membership);

/*
 * Whether it can be one: ids rise, at least one voter in each set, a member of the new set is no
 * kept learner, and `joint` says whether there is an old set. An empty one is none.
 */
bool membership_is_valid(const struct raft_membership *membership);

bool membership_equal(const struct raft_membership *a, const struct raft_membership *b);

/*
 * What to log first on the way from `present`, which is not joint, to `wanted`: `wanted` itself
 * when the same servers vote, else the joint membership. False: together they are too many.
 */
bool membership_enter(const struct raft_membership *present, const struct raft_membership *wanted,
                      struct raft_membership *ret_first);

/*
 * What follows a joint membership. Whoever votes in the old set only goes, but for a voter that
 * becomes a learner: it is a kept one, or it would be promoted at once.
 */
void membership_leave(const struct raft_membership *joint, struct raft_membership *ret_left);

/* Whether a leader may log `next` after `before`. */
bool membership_may_follow(const struct raft_membership *before,
                           const struct raft_membership *next);

enum { MEMBERSHIP_TEXT_SIZE = 512 };

/* "1 2 3 -> 1 2 4, learners 5 6 (kept)", for the story. Returns text. */
const char *membership_text(const struct raft_membership *membership,
                            char text[MEMBERSHIP_TEXT_SIZE]);

/* ---- those of a log ---- */

struct memberships {
    struct raft_logged_membership *at; /* indexes rise; the first is the base */
    size_t count;
    size_t capacity;
};

/* KV_ERR_NO_MEMORY; the base is copied. */
int memberships_init(struct memberships *memberships, const struct raft_logged_membership *base);
void memberships_done(struct memberships *memberships);

/* Makes room for `more`, so that pushing cannot fail; 0 or KV_ERR_NO_MEMORY. */
int memberships_reserve(struct memberships *memberships, size_t more);

void memberships_push(struct memberships *memberships, uint64_t index,
                      const struct raft_membership *membership);

/* Forgets those of the entries from `from` on. True: another one is in force. */
bool memberships_truncate(struct memberships *memberships, uint64_t from);

/* Entries up to `index` leave the log: the newest membership of these is the base. */
void memberships_compact(struct memberships *memberships, uint64_t index);

/* The log begins anew after `index`. */
void memberships_reset(struct memberships *memberships, uint64_t index,
                       const struct raft_membership *membership);

const struct raft_logged_membership *memberships_newest(const struct memberships *memberships);

/* The one in force when the log ended at `index`; at or above the base. */
const struct raft_logged_membership *memberships_at(const struct memberships *memberships,
                                                    uint64_t index);

#endif
