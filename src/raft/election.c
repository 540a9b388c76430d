/*
 * Who shall lead?
 *
 *     timer due → pre-vote requests → a majority would vote → new term, own vote → stored →
 *     vote requests → a majority voted → leader
 *
 * A server grants a vote at most once in a term and only to a log at least as complete as its own
 * (§5.4.1). The grant leaves when it is on the disk; so do a candidate's requests, since they tell
 * of its vote for itself. Refusals promise nothing and leave at once.
 *
 * A server that heard a leader less than the shortest election timeout ago neither votes nor
 * learns of a candidate's term (thesis 4.2.3): nobody who merely missed some heartbeats, comes
 * back from behind a partition, or was removed, can depose a leader that a majority hears, unless
 * that leader wants to hand over. Refused pre-votes
 * carry the own term, so that a server behind in terms, but needed, catches up.
 *
 * With leases this is a promise that a leader counts on, so it is kept whatever becomes of that
 * leader: when a higher term is seen meanwhile, and after a restart, when it is not known whether
 * one was heard (thesis 6.4.1).
 *
 * A server whose disk lost its log has no part in elections until that is repaired (repair.c).
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "base/mutation.h"

#include <inttypes.h>

void election_reset_timer(struct raft *raft)
{
    raft->election_due_ms = raft->now_ms + prng_between(&raft->prng, raft->config.election_min_ms,
                                                        raft->config.election_max_ms);
}

/* The own (pre-)vote may already be the majority: a cluster of one. */
static void count_votes(struct raft *raft)
{
    if (!quorum_granted(raft)) {
        return;
    }
    if (raft->role == RAFT_PRE_CANDIDATE) {
        role_campaign(raft, false);
    } else if (raft->role == RAFT_CANDIDATE) {
        role_win(raft);
    }
}

static void grant_own_vote(struct raft *raft)
{
    struct peer *self = peer_find(raft, raft->config.id);
    if (self != NULL) {
        self->granted = true; /* else it was removed, and does not count */
    }
}

static void send_requests(struct raft *raft, bool pre)
{
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (peer_is_self(raft, &raft->peers[i])) {
            continue;
        }
        struct raft_message *message = effects_message(raft, RAFT_VOTE_REQUEST, raft->peers[i].id);
        message->term = raft->term + (pre ? 1 : 0);
        message->vote_request = (struct raft_vote_request){
            .pre = pre,
            .transfer = raft->transferred,
            .last_index = raft->trail.last,
            .last_term = trail_term(&raft->trail, raft->trail.last),
        };
    }
}

void election_timer(struct raft *raft)
{
    CHECK(raft->role != RAFT_LEADER);
    if (raft->now_ms < raft->election_due_ms) {
        return;
    }
    if (!member_may_campaign(raft)) {
        role_wait(raft);
        return;
    }
    if (disk_is_stalled(raft, raft->now_ms)) {
        /* It could not store its vote, and would not lead for long if it could. */
        STORY(raft, "does not campaign after term %" PRIu64 ": its disk is stalled", raft->term);
        election_reset_timer(raft);
        return;
    }
    role_lose_leader(raft);
}

void election_begin_pre_vote(struct raft *raft)
{
    CHECK(raft->role == RAFT_PRE_CANDIDATE);
    grant_own_vote(raft);
    send_requests(raft, true);
    count_votes(raft);
}

static bool log_is_as_complete(const struct raft *raft, const struct raft_vote_request *request)
{
    uint64_t last_term = trail_term(&raft->trail, raft->trail.last);
    if (MUTATION(skip_log_check)) {
        return true;
    }
    if (request->last_term != last_term) {
        return request->last_term > last_term;
    }
    return request->last_index >= raft->trail.last;
}

static bool hears_leader(const struct raft *raft)
{
    if (raft->role == RAFT_LEADER) {
        return true;
    }
    if (raft->config.lease && raft->now_ms < raft->withheld_until_ms) {
        return true;
    }
    return raft->leader != 0 && raft->now_ms - raft->heard_ms < raft->config.election_min_ms;
}

static void respond(struct raft *raft, uint64_t to, uint64_t term, bool pre, bool granted)
{
    struct raft_message *message = effects_message(raft, RAFT_VOTE_RESPONSE, to);
    message->term = term;
    message->vote_response = (struct raft_vote_response){.pre = pre, .granted = granted};
}

/* Would this server vote for the candidate? Nothing is promised and nothing changes. */
static void pre_vote_request(struct raft *raft, const struct raft_message *message)
{
    const char *refusal = NULL;
    if (hears_leader(raft)) {
        refusal = "a leader is heard";
    } else if (message->term < raft->term) {
        refusal = "the term is over";
    } else if (message->term == raft->term &&
               (raft->term_leader != 0 ||
                (raft->voted_for != 0 && raft->voted_for != message->from))) {
        refusal = "the term is taken";
    } else if (repair_is_due(raft)) {
        refusal = "the own log was lost";
    } else if (!log_is_as_complete(raft, &message->vote_request)) {
        refusal = "the own log is more complete";
    }
    if (refusal != NULL) {
        STORY(raft, "pre-vote refused to %" PRIu64 " for term %" PRIu64 ": %s, own term %" PRIu64,
              message->from, message->term, refusal, raft->term);
        respond(raft, message->from, raft->term, true, false);
        return;
    }
    STORY(raft, "pre-vote for %" PRIu64 " for term %" PRIu64, message->from, message->term);
    respond(raft, message->from, message->term, true, true);
}

void election_vote_request(struct raft *raft, const struct raft_message *message)
{
    if (message->vote_request.pre) {
        pre_vote_request(raft, message);
        return;
    }
    if (hears_leader(raft) && !message->vote_request.transfer) {
        STORY(raft,
              "vote request of %" PRIu64 " in term %" PRIu64 " ignored: leader %" PRIu64
              " is heard in term %" PRIu64,
              message->from, message->term, raft->leader, raft->term);
        return;
    }
    if (message->term > raft->term) {
        role_see_term(raft, message->term, message->from);
    }
    if (MUTATION(reset_vote_in_term) && raft->role == RAFT_FOLLOWER) {
        raft->voted_for = 0;
    }
    const char *refusal = NULL;
    if (message->term < raft->term) {
        refusal = "the term is over";
    } else if (repair_is_due(raft)) {
        refusal = "the own log was lost";
    } else if (raft->voted_for != 0 && raft->voted_for != message->from) {
        refusal = "voted for another";
    } else if (!log_is_as_complete(raft, &message->vote_request)) {
        refusal = "the own log is more complete";
    }
    if (refusal != NULL) {
        STORY(raft, "vote refused to %" PRIu64 " in term %" PRIu64 ": %s, own term %" PRIu64,
              message->from, message->term, refusal, raft->term);
        respond(raft, message->from, raft->term, false, false);
        return;
    }
    role_yield(raft, message->from);
    if (raft->voted_for == 0) {
        STORY(raft, "vote for %" PRIu64 " in term %" PRIu64, message->from, raft->term);
        raft->voted_for = message->from;
        effects_store_vote(raft);
    }
    raft->grant_owed = true;
    election_stored(raft);
}

void election_vote_response(struct raft *raft, const struct raft_message *message)
{
    const struct raft_vote_response *response = &message->vote_response;
    struct peer *peer = peer_find(raft, message->from);
    if (peer == NULL) {
        return;
    }
    bool pre_granted = response->pre && response->granted;
    if (message->term > raft->term && !pre_granted) {
        role_see_term(raft, message->term, message->from);
        return;
    }
    enum raft_role asked_as = response->pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE;
    uint64_t asked_term = raft->term + (response->pre ? 1 : 0);
    if (raft->role != asked_as || raft->requests_owed) {
        return;
    }
    if (!response->granted) {
        STORY(raft, "%s refused by %" PRIu64 " in term %" PRIu64,
              response->pre ? "pre-vote" : "vote", message->from, message->term);
        return;
    }
    if (message->term != asked_term) {
        return;
    }
    STORY(raft, "%s granted by %" PRIu64 " for term %" PRIu64, response->pre ? "pre-vote" : "vote",
          message->from, message->term);
    peer->granted = true;
    count_votes(raft);
}

void election_stored(struct raft *raft)
{
    if (!term_is_durable(raft) && !MUTATION(vote_without_sync)) {
        return;
    }
    if (raft->grant_owed) {
        CHECK(raft->role == RAFT_FOLLOWER || raft->role == RAFT_PRE_CANDIDATE);
        raft->grant_owed = false;
        respond(raft, raft->voted_for, raft->term, false, true);
    }
    if (raft->requests_owed) {
        CHECK(raft->role == RAFT_CANDIDATE);
        raft->requests_owed = false;
        grant_own_vote(raft);
        send_requests(raft, false);
        count_votes(raft);
    }
}
