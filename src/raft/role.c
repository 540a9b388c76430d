/*
 * How does a server come to its role? Every transition, and nothing else changes role or term.
 *
 *                           (start)
 *                              │ role_start
 *     role_see_term,           ▼       role_lose_leader
 *     role_yield,          follower ───────────────────► pre-candidate ◄─┐ role_lose_leader:
 *     role_hear_leader:    ▲   ▲   ▲                       │   │     │   │ nobody won
 *     from every role ─────┘   │   └───────────────────────┘   │     │   │
 *     role_lose_log: from      │        role_see_term,         │     └───┤
 *     (pre-)candidate          │        role_hear_leader       │         │
 *       role_lose_quorum,      │                               │         │
 *       role_lose_disk,        │                 role_campaign ▼         │
 *       role_leave,         leader ◄─────────────────────── candidate ───┘
 *       role_step_down                    role_win
 *
 * A follower that the leader hands over to becomes a candidate without being a pre-candidate. One
 * without a vote, or whose log was lost, stays a follower (role_wait).
 *
 * The term rises in two places: when a higher one is seen (§5.1), and when a candidate begins its
 * own. The vote is cleared only there, so a server votes once in each term.
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "base/mutation.h"

#include <inttypes.h>

const char *raft_role_name(enum raft_role role)
{
    switch (role) {
    case RAFT_FOLLOWER:
        return "follower";
    case RAFT_PRE_CANDIDATE:
        return "pre-candidate";
    case RAFT_CANDIDATE:
        return "candidate";
    case RAFT_LEADER:
        return "leader";
    }
    return "unknown";
}

static void begin_term(struct raft *raft, uint64_t term, uint64_t vote)
{
    CHECK(term > raft->term);
    raft->term = term;
    raft->voted_for = vote;
    raft->leader = 0;
    raft->term_leader = 0;
    raft->verified = raft->commit_index;
    raft->ack = (struct owed_ack){.due = false};
    raft->grant_owed = false;
    effects_store_vote(raft);
}

static void enter(struct raft *raft, enum raft_role role)
{
    if (raft->role == RAFT_LEADER) {
        read_drop(raft);
    }
    raft->role = role;
    raft->requests_owed = false;
    raft->transferred = false;
    raft->transfer = (struct transfer){.target = 0};
    for (size_t i = 0; i < raft->peer_count; i++) {
        raft->peers[i].granted = false;
    }
}

/* A leader that was heard, by this life or the one before, may count on this server. */
static void withhold_vote(struct raft *raft)
{
    raft->withheld_until_ms = raft->now_ms + raft->config.election_min_ms;
}

void role_start(struct raft *raft)
{
    raft->role = RAFT_FOLLOWER;
    raft->verified = raft->commit_index;
    withhold_vote(raft);
    election_reset_timer(raft);
}

void role_see_term(struct raft *raft, uint64_t term, uint64_t from)
{
    if (MUTATION(no_step_down) && raft->role == RAFT_LEADER) {
        return;
    }
    if (raft->role == RAFT_FOLLOWER) {
        STORY(raft, "server %" PRIu64 " is in term %" PRIu64 ", own term was %" PRIu64, from, term,
              raft->term);
    } else {
        NEWS(raft,
             "%s -> follower: server %" PRIu64 " is in term %" PRIu64 ", own term was %" PRIu64,
             raft_role_name(raft->role), from, term, raft->term);
    }
    bool led = raft->role == RAFT_LEADER;
    enter(raft, RAFT_FOLLOWER);
    begin_term(raft, term, 0);
    /* A follower's timer goes on: a higher term is no reason to wait longer for a leader. */
    if (led) {
        election_reset_timer(raft);
    }
}

void role_hear_leader(struct raft *raft, uint64_t term, uint64_t leader)
{
    CHECK(term >= raft->term);
    CHECK(term > raft->term || raft->role != RAFT_LEADER);
    if (raft->role != RAFT_FOLLOWER) {
        NEWS(raft, "%s -> follower: server %" PRIu64 " leads term %" PRIu64,
             raft_role_name(raft->role), leader, term);
        enter(raft, RAFT_FOLLOWER);
    } else if (term > raft->term || raft->leader != leader) {
        NEWS(raft, "follows leader %" PRIu64 " in term %" PRIu64, leader, term);
    }
    if (term > raft->term) {
        begin_term(raft, term, 0);
    }
    CHECK(raft->term_leader == 0 || raft->term_leader == leader);
    raft->leader = leader;
    raft->term_leader = leader;
    raft->heard_ms = raft->now_ms;
    withhold_vote(raft);
    election_reset_timer(raft);
}

void role_yield(struct raft *raft, uint64_t candidate)
{
    CHECK(raft->role == RAFT_FOLLOWER || raft->role == RAFT_PRE_CANDIDATE);
    if (raft->role == RAFT_PRE_CANDIDATE) {
        NEWS(raft, "pre-candidate -> follower: server %" PRIu64 " campaigns in term %" PRIu64,
             candidate, raft->term);
        enter(raft, RAFT_FOLLOWER);
    }
    election_reset_timer(raft);
}

void role_lose_log(struct raft *raft)
{
    CHECK(raft->role == RAFT_PRE_CANDIDATE || raft->role == RAFT_CANDIDATE);
    NEWS(raft, "%s -> follower: a snapshot replaced the log that it campaigned with",
         raft_role_name(raft->role));
    enter(raft, RAFT_FOLLOWER);
    election_reset_timer(raft);
}

void role_lose_leader(struct raft *raft)
{
    CHECK(raft->role != RAFT_LEADER);
    if (raft->role == RAFT_PRE_CANDIDATE) {
        STORY(raft, "still pre-candidate: no majority answered in term %" PRIu64, raft->term);
    } else if (raft->role == RAFT_CANDIDATE) {
        NEWS(raft, "candidate -> pre-candidate: nobody won term %" PRIu64 " in time", raft->term);
    } else if (raft->leader != 0) {
        NEWS(raft,
             "follower -> pre-candidate: leader %" PRIu64 " not heard for %" PRIu64
             " ms in term %" PRIu64,
             raft->leader, raft->now_ms - raft->heard_ms, raft->term);
    } else {
        NEWS(raft, "follower -> pre-candidate: no leader known in term %" PRIu64, raft->term);
    }
    enter(raft, RAFT_PRE_CANDIDATE);
    raft->leader = 0;
    raft->ack.due = false;
    raft->ack.heartbeat = false;
    election_reset_timer(raft);
    election_begin_pre_vote(raft);
}

void role_wait(struct raft *raft)
{
    CHECK(raft->role == RAFT_FOLLOWER);
    if (raft->leader != 0) {
        NEWS(raft,
             "leader %" PRIu64 " not heard for %" PRIu64 " ms in term %" PRIu64 ": waits, for %s",
             raft->leader, raft->now_ms - raft->heard_ms, raft->term,
             repair_is_due(raft) ? "its log was lost" : "it has no vote");
    }
    raft->leader = 0;
    raft->ack.due = false;
    raft->ack.heartbeat = false;
    election_reset_timer(raft);
}

void role_campaign(struct raft *raft, bool transferred)
{
    CHECK(raft->role == (transferred ? RAFT_FOLLOWER : RAFT_PRE_CANDIDATE));
    NEWS(raft,
         "%s -> candidate: campaigns in term %" PRIu64 " with the log up to %" PRIu64 ":%" PRIu64
         "%s",
         raft_role_name(raft->role), raft->term + 1, raft->trail.last,
         trail_term(&raft->trail, raft->trail.last), transferred ? ", as its leader wants" : "");
    enter(raft, RAFT_CANDIDATE);
    raft->transferred = transferred;
    begin_term(raft, raft->term + 1, raft->config.id);
    raft->requests_owed = true;
    election_reset_timer(raft);
}

void role_win(struct raft *raft)
{
    CHECK(raft->role == RAFT_CANDIDATE);
    CHECK(raft->voted_for == raft->config.id);
    NEWS(raft, "candidate -> leader: elected in term %" PRIu64, raft->term);
    enter(raft, RAFT_LEADER);
    raft->leader = raft->config.id;
    raft->term_leader = raft->config.id;
    raft->behind = false;
    lead_begin(raft);
}

static void resign(struct raft *raft)
{
    CHECK(raft->role == RAFT_LEADER);
    enter(raft, RAFT_FOLLOWER);
    raft->leader = 0;
    election_reset_timer(raft);
}

void role_lose_quorum(struct raft *raft)
{
    NEWS(raft, "leader -> follower: no majority answered for %" PRIu64 " ms in term %" PRIu64,
         raft->now_ms - quorum_heard_ms(raft, raft->now_ms), raft->term);
    resign(raft);
}

void role_lose_disk(struct raft *raft)
{
    const struct durable_waiting *oldest = durable_waiting(&raft->durable, 0);
    NEWS(raft,
         "leader -> follower: ticket %" PRIu64 " not stored for %" PRIu64 " ms in term %" PRIu64,
         oldest->ticket, raft->now_ms - oldest->asked_ms, raft->term);
    resign(raft);
}

void role_leave(struct raft *raft)
{
    NEWS(raft, "leader -> follower: has no vote since membership %" PRIu64 ", in term %" PRIu64,
         memberships_newest(&raft->memberships)->index, raft->term);
    resign(raft);
}

void role_step_down(struct raft *raft)
{
    NEWS(raft, "leader -> follower: was asked to step down in term %" PRIu64, raft->term);
    resign(raft);
}
