/*
 * Who takes part? The newest membership of the log is in force, and the peers follow it; here too
 * is how a leader changes it (§6, thesis 4).
 *
 *     proposed ─► the same servers vote ─────────────────────► simple entry ─► committed
 *             └─► others vote ─► joint entry ─► committed ─┐        ▲
 *                                                          └────────┘ the leader, by itself
 *     a learner has caught up ─► as if its promotion had been proposed
 *
 * One change at a time: none before the last is committed, and none before the leader's no-op is.
 * Where voters change one by one, without a joint membership, two leaders could else find disjoint
 * majorities (Ongaro's bug of 2015); here the rule costs nothing, and nobody has to show that it is
 * not needed. A leader that finds a committed joint membership leaves it, whoever entered it, so a
 * lost leave entry is made again.
 *
 * A membership says who counts and whom a leader writes to. It does not say who is listened to:
 * votes are granted to, and appends taken from, servers that are not in the own newest membership
 * (thesis 4.2.2). It may be old: a learner may have been made a voter, and a new server knows
 * nobody at all. Majorities are counted by those who ask, so nothing unsafe comes of it; and
 * pre-vote and stickiness keep those who were removed from disturbing anybody. Only answers from
 * strangers are ignored, since nothing was asked of them.
 *
 * Who has no vote in its newest membership does not campaign, once that is committed. Before, it
 * must (thesis 4.2.2): it may be the only one that has the entry, and refuse its vote to those who
 * still need it. It does not count itself, and goes when the entry is committed.
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "base/mutation.h"
#include "kvapp/err.h"

#include <inttypes.h>
#include <string.h>

/* ---- the peers follow ---- */

/* A part of the windows that none of the peers has. */
static uint64_t *free_window(const struct raft *raft, const struct peer *peers, size_t count)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        uint64_t *window = raft->windows + i * raft->config.window_appends;
        bool taken = false;
        for (size_t j = 0; j < count; j++) {
            taken = taken || peers[j].progress.window == window;
        }
        if (!taken) {
            return window;
        }
    }
    UNREACHABLE();
}

/* Those who stay keep their progress; those who are new begin with the newest entry. */
static void match_peers(struct raft *raft)
{
    const struct raft_membership *membership = &memberships_newest(&raft->memberships)->membership;
    struct peer peers[RAFT_MEMBERS_MAX] = {{.id = 0}};
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        const struct peer *before = peer_find(raft, member->id);
        if (before != NULL) {
            peers[i] = *before;
        }
        peers[i].id = member->id;
        peers[i].voter = member->voter;
        peers[i].voter_old = member->voter_old;
    }
    uint64_t next = raft->trail.last == 0 ? 1 : raft->trail.last;
    for (size_t i = 0; i < membership->count; i++) {
        struct progress *progress = &peers[i].progress;
        if (progress->window == NULL) {
            progress->window = free_window(raft, peers, membership->count);
            progress->window_capacity = raft->config.window_appends;
            progress_reset(progress, next, raft->now_ms);
        }
    }
    memcpy(raft->peers, peers, sizeof peers);
    raft->peer_count = membership->count;
}

void member_start(struct raft *raft)
{
    raft->peer_count = 0;
    match_peers(raft);
}

static void changed(struct raft *raft)
{
    match_peers(raft);
    raft->effects->membership_changed = true;
}

void member_log(struct raft *raft, uint64_t index, const struct raft_membership *membership)
{
    char text[MEMBERSHIP_TEXT_SIZE];
    memberships_push(&raft->memberships, index, membership);
    NEWS(raft, "membership %" PRIu64 " in term %" PRIu64 ": %s", index, raft->term,
         membership_text(membership, text));
    changed(raft);
}

void member_truncate(struct raft *raft, uint64_t from)
{
    char text[MEMBERSHIP_TEXT_SIZE];
    if (!memberships_truncate(&raft->memberships, from)) {
        return;
    }
    const struct raft_logged_membership *newest = memberships_newest(&raft->memberships);
    NEWS(raft, "back to membership %" PRIu64 " in term %" PRIu64 ": %s", newest->index, raft->term,
         membership_text(&newest->membership, text));
    changed(raft);
}

void member_reset(struct raft *raft, uint64_t index, const struct raft_membership *membership)
{
    char text[MEMBERSHIP_TEXT_SIZE];
    if (!membership_equal(&memberships_newest(&raft->memberships)->membership, membership)) {
        NEWS(raft, "membership of the snapshot at %" PRIu64 " in term %" PRIu64 ": %s", index,
             raft->term, membership_text(membership, text));
    }
    memberships_reset(&raft->memberships, index, membership);
    changed(raft);
}

/* ---- what was received ---- */

static bool are_valid(const struct raft_logged_membership *logged, size_t count, uint64_t first,
                      uint64_t last)
{
    uint64_t index = first - 1;
    for (size_t i = 0; i < count; i++) {
        if (logged[i].index <= index || logged[i].index > last ||
            !membership_is_valid(&logged[i].membership)) {
            return false;
        }
        index = logged[i].index;
    }
    return true;
}

/* Whether each may stand in a log behind the one before it. Behind the initial one any may: a
 * server that joins begins with another one than the cluster did. */
static bool is_chain(const struct raft_logged_membership *before,
                     const struct raft_logged_membership *logged, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (before->index >= logged[i].index) {
            continue;
        }
        if (before->index > 0 &&
            !membership_may_follow(&before->membership, &logged[i].membership)) {
            return false;
        }
        before = &logged[i];
    }
    return true;
}

bool member_restored_is_valid(const struct raft_logged_membership *base,
                              const struct raft_restored *restored, uint64_t last)
{
    const struct raft_logged_membership *logged = restored->memberships;
    return (base->membership.count == 0 || membership_is_valid(&base->membership)) &&
           are_valid(logged, restored->membership_count, restored->first_index, last) &&
           is_chain(base, logged, restored->membership_count);
}

bool member_received_is_valid(const struct raft *raft, const struct raft_event *event)
{
    if (event->membership_count == 0) {
        return true;
    }
    if (event->message->type != RAFT_APPEND_REQUEST) {
        return false;
    }
    const struct raft_append_request *request = &event->message->append_request;
    uint64_t prev = request->prev_index;
    if (!are_valid(event->memberships, event->membership_count, prev + 1,
                   prev + request->entry_count)) {
        return false;
    }
    if (event->message->term < raft->term || prev > raft->trail.last ||
        (prev >= raft->trail.base.index && trail_term(&raft->trail, prev) != request->prev_term)) {
        return true; /* It will be refused. */
    }
    /* Of those that are in the log already nothing is taken. */
    uint64_t first_new = trail_first_new(&raft->trail, prev + 1, request->runs, request->run_count);
    const struct raft_logged_membership *logged = event->memberships;
    size_t count = event->membership_count;
    while (count > 0 && logged->index < first_new) {
        logged++;
        count--;
    }
    return is_chain(memberships_at(&raft->memberships, first_new - 1), logged, count);
}

void member_received(struct raft *raft, const struct raft_event *event, uint64_t from)
{
    for (size_t i = 0; i < event->membership_count; i++) {
        if (event->memberships[i].index >= from) {
            member_log(raft, event->memberships[i].index, &event->memberships[i].membership);
        }
    }
}

/* ---- this server ---- */

bool member_votes(const struct raft *raft)
{
    return membership_has_voter(&memberships_newest(&raft->memberships)->membership,
                                raft->config.id);
}

bool member_may_campaign(const struct raft *raft)
{
    const struct memberships *memberships = &raft->memberships;
    if (repair_is_due(raft)) {
        return false;
    }
    if (member_votes(raft)) {
        return true;
    }
    size_t count = memberships->count;
    return count > 1 && memberships->at[count - 1].index > raft->commit_index &&
           membership_has_voter(&memberships->at[count - 2].membership, raft->config.id);
}

bool member_is_removed(const struct raft *raft)
{
    const struct memberships *memberships = &raft->memberships;
    const struct raft_logged_membership *newest = memberships_newest(memberships);
    if (memberships->count < 2 || newest->index > raft->commit_index || raft->behind ||
        membership_find(&newest->membership, raft->config.id) != NULL) {
        return false;
    }
    /* A server that joins finds memberships without it on the way to the one that has it. */
    const struct raft_logged_membership *before = &memberships->at[memberships->count - 2];
    return before->index > 0 && membership_find(&before->membership, raft->config.id) != NULL;
}

/* ---- changes, by the leader ---- */

/* Whether the next change may begin. */
static bool is_settled(const struct raft *raft)
{
    bool noop_committed =
        raft->commit_index >= raft->noop_index || MUTATION(reconfigure_before_noop);
    return noop_committed && raft->transfer.target == 0 &&
           memberships_newest(&raft->memberships)->index <= raft->commit_index;
}

int member_check(const struct raft *raft, const struct raft_membership *wanted)
{
    const struct raft_logged_membership *newest = memberships_newest(&raft->memberships);
    struct raft_membership sorted;
    struct raft_membership first;
    if (wanted->count > RAFT_MEMBERS_MAX || wanted->joint) {
        return KV_ERR_INVALID;
    }
    sorted = *wanted;
    membership_sort(&sorted);
    if (!membership_is_valid(&sorted)) {
        return KV_ERR_INVALID;
    }
    if (!is_settled(raft) || newest->membership.joint) {
        return KV_ERR_BUSY;
    }
    for (size_t i = 0; i < sorted.count; i++) {
        const struct raft_member *member = &sorted.members[i];
        const struct raft_member *before = membership_find(&newest->membership, member->id);
        if (before != NULL && before->voter && !member->voter && !member->keep_learner) {
            return KV_ERR_INVALID;
        }
    }
    if (membership_equal(&sorted, &newest->membership) ||
        !membership_enter(&newest->membership, &sorted, &first)) {
        return KV_ERR_INVALID;
    }
    return 0;
}

void member_propose(struct raft *raft, const struct raft_membership *wanted)
{
    struct raft_membership sorted = *wanted;
    struct raft_membership first;
    membership_sort(&sorted);
    bool enough =
        membership_enter(&memberships_newest(&raft->memberships)->membership, &sorted, &first);
    CHECK(enough);
    lead_log_membership(raft, &first);
}

/* Makes voters of the learners that have caught up: whose log reached what was committed at the
 * last heartbeat. A round of catching up (thesis 4.2.1) then takes less than an election timeout.
 */
static void promote(struct raft *raft)
{
    const struct raft_membership *present = &memberships_newest(&raft->memberships)->membership;
    struct raft_membership wanted = *present;
    bool any = false;
    for (size_t i = 0; i < wanted.count; i++) {
        struct raft_member *member = &wanted.members[i];
        const struct progress *progress = &raft->peers[i].progress;
        CHECK(raft->peers[i].id == member->id);
        if (!member->voter && !member->keep_learner && progress->match >= raft->caught_up &&
            raft->now_ms - progress->heard_ms < raft->config.election_min_ms) {
            STORY(raft, "learner %" PRIu64 " has caught up in term %" PRIu64 ": %" PRIu64,
                  member->id, raft->term, progress->match);
            member->voter = true;
            any = true;
        }
    }
    if (any) {
        struct raft_membership first;
        bool enough = membership_enter(present, &wanted, &first);
        CHECK(enough);
        lead_log_membership(raft, &first);
    }
}

void member_lead(struct raft *raft)
{
    CHECK(raft->role == RAFT_LEADER);
    const struct raft_membership *newest = &memberships_newest(&raft->memberships)->membership;
    /* One entry of the core's own in a step; the next step is soon. */
    if (!is_settled(raft) || (raft->effects->store.flags & RAFT_STORE_ENTRIES) != 0) {
        return;
    }
    if (newest->joint) {
        struct raft_membership left;
        membership_leave(newest, &left);
        lead_log_membership(raft, &left);
    } else if (!member_votes(raft)) {
        lead_send_round(raft);
        transfer_leave(raft);
        role_leave(raft);
    } else {
        promote(raft);
    }
}
