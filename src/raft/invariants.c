/*
 * What is always true of one core? Every invariant in one place: those of a state, and those of a
 * state against the one before it. What is true only of a whole cluster (one leader in a term,
 * equal committed logs) is checked where a whole cluster is in sight: in the tests.
 */
#include "raft/internal.h"

#include "base/assert.h"

static void check_trail(const struct raft *raft)
{
    const struct trail *trail = &raft->trail;
    CHECK((trail->base.index == 0) == (trail->base.term == 0));
    CHECK((trail->count == 0) == (trail->last == trail->base.index));
    for (size_t i = 0; i < trail->count; i++) {
        CHECK(trail->runs[i].term > 0);
        CHECK(trail->runs[i].first <= trail->last);
        if (i == 0) {
            CHECK(trail->runs[i].first == trail->base.index + 1);
            CHECK(trail->runs[i].term >= trail->base.term);
        } else {
            CHECK(trail->runs[i].first > trail->runs[i - 1].first);
            CHECK(trail->runs[i].term > trail->runs[i - 1].term);
        }
    }
    CHECK(trail_term(trail, trail->last) <= raft->term);
    CHECK(raft->commit_index <= trail->last);
    /* What left the log is in the snapshot, and what is in the snapshot is committed. */
    CHECK(trail->base.index <= raft->snapshot.index);
    CHECK(raft->snapshot.index <= raft->commit_index);
    CHECK(trail_term(trail, raft->snapshot.index) == raft->snapshot.term);
}

static void check_durable(const struct raft *raft)
{
    const struct durable *durable = &raft->durable;
    CHECK(durable->index <= raft->trail.last);
    CHECK(durable->ticket_stored <= durable->ticket_asked);
    CHECK(durable->ticket_vote <= durable->ticket_asked);
    uint64_t ticket = durable->ticket_stored;
    uint64_t index = durable->index;
    for (size_t i = 0; i < durable->count; i++) {
        const struct durable_waiting *waiting = durable_waiting(durable, i);
        CHECK(waiting->ticket > ticket);
        CHECK(waiting->last_index >= index);
        ticket = waiting->ticket;
        index = waiting->last_index;
    }
    /* Everything that was asked for is either stored or waited for. */
    CHECK(ticket == durable->ticket_asked);
    CHECK(index == raft->trail.last);
    /* Until the reset is stored, only the snapshot is durable, and the old log or none. */
    CHECK(durable->index >= raft->trail.base.index || durable->count > 0);
}

static void check_memberships(const struct raft *raft)
{
    const struct memberships *memberships = &raft->memberships;
    const struct raft_logged_membership *before = &memberships->at[0];
    CHECK(before->index == 0 || membership_is_valid(&before->membership));
    for (size_t i = 1; i < memberships->count; i++) {
        const struct raft_logged_membership *next = &memberships->at[i];
        CHECK(next->index > before->index);
        CHECK(next->index <= raft->trail.last);
        CHECK(membership_is_valid(&next->membership));
        CHECK(before->index == 0 || membership_may_follow(&before->membership, &next->membership));
        before = next;
    }
    const struct raft_membership *newest = &before->membership;
    CHECK(raft->peer_count == newest->count);
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct peer *peer = &raft->peers[i];
        CHECK(peer->id == newest->members[i].id);
        CHECK(peer->voter == newest->members[i].voter);
        CHECK(peer->voter_old == newest->members[i].voter_old);
        for (size_t j = 0; j < i; j++) {
            CHECK(raft->peers[j].progress.window != peer->progress.window);
        }
    }
}

/* A leader changes one thing at a time, and nothing while it hands over. */
static void check_changes(const struct raft *raft)
{
    const struct memberships *memberships = &raft->memberships;
    const struct peer *target = NULL;
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].id == raft->transfer.target) {
            target = &raft->peers[i];
        }
    }
    CHECK(raft->transfer.target == 0 || target != NULL);
    CHECK(target == NULL || (target->voter && !peer_is_self(raft, target)));
    if (memberships->count > 1 && raft->commit_index >= raft->noop_index) {
        CHECK(memberships->at[memberships->count - 2].index <= raft->commit_index);
    }
}

static void check_progress(const struct raft *raft, const struct progress *progress)
{
    CHECK(progress->state == PROGRESS_SNAPSHOT || progress->next > raft->trail.base.index);
    CHECK(progress->state != PROGRESS_SNAPSHOT || progress->match < raft->trail.base.index);
    CHECK(progress->sending <= raft->snapshot.index);
    CHECK(progress->match < progress->next);
    CHECK(progress->match <= raft->trail.last);
    CHECK(progress->next <= raft->trail.last + 1);
    CHECK(progress->round <= raft->reads.round);
    CHECK(progress->heard_ms <= raft->now_ms);
    CHECK(progress->window_count <= progress->window_capacity);
    CHECK(progress->state == PROGRESS_STREAM || progress->window_count == 0);
    CHECK(progress->state == PROGRESS_PROBE || progress->probe_last == 0);
    CHECK(progress->probe_last == 0 || progress->probe_last >= progress->next);
    CHECK(progress->probe_last <= raft->trail.last);
    uint64_t last = progress->match;
    for (size_t i = 0; i < progress->window_count; i++) {
        CHECK(progress_in_flight(progress, i) > last);
        last = progress_in_flight(progress, i);
    }
    CHECK(last < progress->next);
}

static void check_leader(const struct raft *raft)
{
    CHECK(raft->leader == raft->config.id);
    CHECK(raft->voted_for == raft->config.id);
    CHECK(term_is_durable(raft));
    CHECK(raft->noop_index > 0 && raft->noop_index <= raft->trail.last);
    CHECK(raft->noop_index < raft->trail.base.index ||
          trail_term(&raft->trail, raft->noop_index) == raft->term);
    CHECK(trail_term(&raft->trail, raft->noop_index - 1) < raft->term);
    CHECK(trail_term(&raft->trail, raft->trail.last) == raft->term);
    bool lost = false;
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (!peer_is_self(raft, &raft->peers[i])) {
            check_progress(raft, &raft->peers[i].progress);
            lost = lost || raft->peers[i].progress.lost;
        }
    }
    check_changes(raft);
    /* Committed in this term means stored by a majority of those who counted then, unless some of
     * it lost that again. */
    if (raft->commit_index >= raft->noop_index) {
        CHECK(raft->commit_index >= quorum_match(raft));
        CHECK(raft->commit_index == quorum_match(raft) || lost ||
              memberships_newest(&raft->memberships)->index > raft->noop_index);
    } else {
        CHECK(quorum_match(raft) < raft->noop_index);
    }
}

static void check_role(const struct raft *raft)
{
    CHECK(raft->role != RAFT_LEADER || raft->term_leader == raft->config.id);
    CHECK(raft->leader == 0 || raft->leader == raft->term_leader);
    CHECK(!raft->requests_owed || raft->role == RAFT_CANDIDATE);
    CHECK(!raft->transferred || raft->role == RAFT_CANDIDATE);
    CHECK(raft->transfer.target == 0 || raft->role == RAFT_LEADER);
    CHECK(!raft->grant_owed || raft->voted_for != 0);
    CHECK(!raft->grant_owed || raft->voted_for != raft->config.id);
    /* Whose log was lost promises nothing to candidates, and is none. */
    CHECK(!repair_is_due(raft) || (raft->role == RAFT_FOLLOWER && !raft->grant_owed));
    switch (raft->role) {
    case RAFT_FOLLOWER:
        CHECK(raft->leader != raft->config.id);
        CHECK(!raft->ack.due || raft->leader != 0);
        CHECK(raft->verified <= raft->trail.last);
        CHECK(raft->ack.match_sent <= raft->durable.index);
        CHECK(raft->ack.match_sent <= raft->verified);
        break;
    case RAFT_PRE_CANDIDATE:
        CHECK(raft->leader == 0);
        CHECK(!raft->ack.due);
        break;
    case RAFT_CANDIDATE:
        CHECK(raft->leader == 0);
        CHECK(raft->term_leader == 0);
        CHECK(raft->voted_for == raft->config.id);
        CHECK(raft->requests_owed || term_is_durable(raft));
        break;
    case RAFT_LEADER:
        check_leader(raft);
        break;
    }
}

static void check_reads(const struct raft *raft)
{
    const struct reads *reads = &raft->reads;
    if (raft->role != RAFT_LEADER) {
        CHECK(reads->tag_waiting == 0);
        CHECK(reads->round_tag == 0);
        return;
    }
    CHECK(reads->tag_waiting <= reads->tag_last);
    CHECK(reads->tag_waiting == 0 || reads->tag_waiting > reads->round_tag);
    if (reads->round_tag != 0) {
        CHECK(reads->round_asked > 0);
        CHECK(reads->round_asked <= reads->round);
        CHECK(reads->round_index >= raft->noop_index);
        CHECK(reads->round_index <= raft->commit_index);
        CHECK(quorum_round(raft) < reads->round_asked);
    } else {
        CHECK(reads->tag_waiting == 0 || raft->commit_index < raft->noop_index);
    }
}

static void check_against(const struct raft *raft, const struct shadow *before)
{
    CHECK(raft->now_ms >= before->now_ms);
    CHECK(raft->term >= before->term);
    CHECK(raft->commit_index >= before->commit_index);
    CHECK(raft->trail.base.index >= before->base_index);
    CHECK(raft->snapshot.index >= before->snapshot_index);
    CHECK(before->commit_index < raft->trail.base.index ||
          trail_term(&raft->trail, before->commit_index) == before->commit_term);
    CHECK(raft->reads.round >= before->read_round);
    CHECK(raft->durable.ticket_stored >= before->ticket_stored);
    CHECK(before->repair_due || !repair_is_due(raft));
    if (raft->term > before->term) {
        return;
    }
    CHECK(before->voted_for == 0 || raft->voted_for == before->voted_for);
    CHECK(before->term_leader == 0 || raft->term_leader == before->term_leader);
    if (before->role == RAFT_LEADER) {
        CHECK(raft->role != RAFT_CANDIDATE);
        /* A leader only appends (§5.2), and nobody else appends in its term afterwards. */
        CHECK(raft->trail.last >= before->last_index);
        CHECK(before->last_index < raft->trail.base.index ||
              trail_term(&raft->trail, before->last_index) == before->last_term);
        if (raft->role == RAFT_LEADER && raft->commit_index > before->commit_index) {
            CHECK(trail_term(&raft->trail, raft->commit_index) == raft->term);
        }
    } else if (raft->role == RAFT_LEADER) {
        CHECK(before->role == RAFT_CANDIDATE);
    }
}

void raft_check(struct raft *raft)
{
    CHECK(raft->effects == NULL);
    check_trail(raft);
    check_durable(raft);
    check_memberships(raft);
    check_role(raft);
    check_reads(raft);
    if (raft->shadow.valid) {
        check_against(raft, &raft->shadow);
    }
    raft->shadow = (struct shadow){
        .valid = true,
        .role = raft->role,
        .now_ms = raft->now_ms,
        .term = raft->term,
        .voted_for = raft->voted_for,
        .term_leader = raft->term_leader,
        .commit_index = raft->commit_index,
        .commit_term = trail_term(&raft->trail, raft->commit_index),
        .base_index = raft->trail.base.index,
        .snapshot_index = raft->snapshot.index,
        .last_index = raft->trail.last,
        .last_term = trail_term(&raft->trail, raft->trail.last),
        .read_round = raft->reads.round,
        .ticket_stored = raft->durable.ticket_stored,
        .repair_due = repair_is_due(raft),
    };
}
