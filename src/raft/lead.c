/*
 * What does a leader do? It appends what is proposed, brings every follower's log to equal its
 * own, and commits what a majority has stored.
 *
 * Entries go to the own disk and to the followers at the same time; the leader's vote for an
 * entry counts when its ticket returns. An index is committed by counting only when its entry is
 * of the own term (§5.4.2): what came before is committed with it, and the no-op at the beginning
 * of the term makes sure that there is such an entry.
 *
 *     proposed ─► trail, store ──────────────────────────► stored ─┐
 *                   └─► an append to each follower ─► answers ─────┴─► commit ─► reads
 *
 * Nothing is resent on a timer. A heartbeat is an append without entries after the last one that
 * was sent: when something on the way was lost it is refused, and the follower is probed. One that
 * waits for a snapshot gets heartbeats before all entries, to which it can always agree; its
 * answers tell when it holds enough.
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "base/mutation.h"

#include <inttypes.h>

enum {
    /* Appends with entries to one follower in one step. */
    APPENDS_AFTER_PROPOSAL = 1,
    APPENDS_AFTER_HEARTBEAT = 4,
    APPENDS_AFTER_ANSWER = 32,

    /* One step may begin a read round, offer a snapshot, send a heartbeat, tell those who were
     * removed, and say farewell, each a message to every other member, and hand over. Appends leave
     * that much room; the next answer or heartbeat continues them. */
    OTHERS_MAX = 5 * (RAFT_MEMBERS_MAX - 1) + 1,
};

STATIC_CHECK(OTHERS_MAX + 2 * (RAFT_MEMBERS_MAX - 1) <= RAFT_MESSAGES_MAX,
             "some appends to every follower fit a step");

static struct raft_append_request *add_append(struct raft *raft, const struct peer *peer)
{
    uint64_t prev = peer->progress.state == PROGRESS_SNAPSHOT ? 0 : peer->progress.next - 1;
    CHECK(prev == 0 || prev >= raft->trail.base.index);
    struct raft_message *message = effects_message(raft, RAFT_APPEND_REQUEST, peer->id);
    struct raft_append_request *request = &message->append_request;
    request->prev_index = prev;
    request->prev_term = trail_term(&raft->trail, prev);
    request->commit_index = raft->commit_index;
    request->read_round = raft->reads.round;
    request->entry_count = 0;
    request->run_count = 0;
    return request;
}

void lead_send_empty(struct raft *raft, struct peer *peer)
{
    CHECK(raft->role == RAFT_LEADER);
    (void)add_append(raft, peer);
}

void lead_send_round(struct raft *raft)
{
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (!peer_is_self(raft, &raft->peers[i])) {
            lead_send_empty(raft, &raft->peers[i]);
        }
    }
}

static void send_entries(struct raft *raft, struct peer *peer)
{
    const struct raft_config *config = &raft->config;
    struct progress *progress = &peer->progress;
    uint64_t first = progress->next;
    uint64_t last = raft->trail.last;
    CHECK(first <= last);
    if (last - first >= config->append_entries_max) {
        last = first + config->append_entries_max - 1;
    }
    struct raft_append_request *request = add_append(raft, peer);
    last = trail_runs(&raft->trail, first, last, request->runs, &request->run_count);
    if (config->fit != NULL) {
        uint64_t fitting = config->fit(config->fit_context, first, last);
        CHECK(fitting >= first && fitting <= last);
        last = trail_runs(&raft->trail, first, fitting, request->runs, &request->run_count);
    }
    request->entry_count = last - first + 1;
    progress_sent(progress, last);
    STORY(raft,
          "append to %" PRIu64 " in term %" PRIu64 ": %" PRIu64 "..%" PRIu64 " after %" PRIu64
          ":%" PRIu64,
          peer->id, raft->term, first, last, request->prev_index, request->prev_term);
}

/* Sends what the follower lacks: as much as its window and `appends` allow. */
static void replicate(struct raft *raft, struct peer *peer, size_t appends)
{
    while (appends > 0 && peer->progress.next <= raft->trail.last &&
           progress_may_send(&peer->progress) &&
           raft->effects->message_count + OTHERS_MAX < RAFT_MESSAGES_MAX) {
        send_entries(raft, peer);
        appends--;
    }
}

static void replicate_all(struct raft *raft, size_t appends)
{
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (!peer_is_self(raft, &raft->peers[i])) {
            replicate(raft, &raft->peers[i], appends);
        }
    }
}

void lead_begin(struct raft *raft)
{
    uint64_t next = raft->trail.last + 1;
    for (size_t i = 0; i < raft->peer_count; i++) {
        progress_reset(&raft->peers[i].progress, next, raft->now_ms);
    }
    raft->noop_index = next;
    trail_append(&raft->trail, raft->term, 1);
    effects_store_entries(raft, next);
    raft->effects->store.flags |= RAFT_STORE_NOOP;
    STORY(raft, "no-op %" PRIu64 " opens term %" PRIu64, next, raft->term);
    raft->heartbeat_due_ms = raft->now_ms + raft->config.heartbeat_ms;
    raft->caught_up = raft->noop_index;
    read_begin(raft);
    replicate_all(raft, APPENDS_AFTER_PROPOSAL);
}

void lead_propose(struct raft *raft, uint64_t count)
{
    CHECK(raft->role == RAFT_LEADER);
    CHECK(count > 0);
    uint64_t first = raft->trail.last + 1;
    trail_append(&raft->trail, raft->term, count);
    effects_store_entries(raft, first);
    STORY(raft, "proposed %" PRIu64 "..%" PRIu64 " in term %" PRIu64, first, raft->trail.last,
          raft->term);
    replicate_all(raft, APPENDS_AFTER_PROPOSAL);
}

/*
 * The newest membership is committed: those who are not in it any more get its entry a last time,
 * committed. If that is lost, nobody misses them; they hear nobody, and ask in vain for votes.
 */
static void tell_removed(struct raft *raft)
{
    const struct memberships *memberships = &raft->memberships;
    const struct raft_logged_membership *newest = memberships_newest(memberships);
    CHECK(memberships->count > 1);
    const struct raft_membership *before = &memberships->at[memberships->count - 2].membership;
    for (size_t i = 0; i < before->count; i++) {
        uint64_t id = before->members[i].id;
        if (id == raft->config.id || membership_find(&newest->membership, id) != NULL) {
            continue;
        }
        struct raft_message *message = effects_message(raft, RAFT_APPEND_REQUEST, id);
        message->append_request = (struct raft_append_request){
            .prev_index = newest->index - 1,
            .prev_term = trail_term(&raft->trail, newest->index - 1),
            .commit_index = newest->index,
            .entry_count = 1,
            .run_count = 1,
            .runs = {{.term = trail_term(&raft->trail, newest->index), .count = 1}},
        };
        STORY(raft, "server %" PRIu64 " is told in term %" PRIu64 " that it was removed", id,
              raft->term);
    }
}

static void advance_commit(struct raft *raft)
{
    uint64_t stored = quorum_match(raft);
    if (stored <= raft->commit_index) {
        return;
    }
    if (trail_term(&raft->trail, stored) != raft->term && !MUTATION(commit_older_terms)) {
        STORY(raft,
              "not committed: %" PRIu64 " is stored by a majority but of term %" PRIu64
              ", not of %" PRIu64,
              stored, trail_term(&raft->trail, stored), raft->term);
        return;
    }
    uint64_t membership_index = memberships_newest(&raft->memberships)->index;
    bool membership_commits = raft->commit_index < membership_index && membership_index <= stored;
    commit_to(raft, stored);
    if (membership_commits) {
        tell_removed(raft);
    }
    read_advance(raft);
}

void lead_log_membership(struct raft *raft, const struct raft_membership *membership)
{
    CHECK(raft->role == RAFT_LEADER);
    trail_append(&raft->trail, raft->term, 1);
    effects_store_entries(raft, raft->trail.last);
    raft->effects->store.flags |= RAFT_STORE_MEMBERSHIP;
    raft->effects->store.membership = *membership;
    member_log(raft, raft->trail.last, membership);
    replicate_all(raft, APPENDS_AFTER_PROPOSAL);
    /* Others count now. What waited for those who count no more waits no longer. */
    advance_commit(raft);
    read_advance(raft);
}

void lead_probe(struct raft *raft, struct peer *peer, uint64_t next)
{
    if (next <= raft->trail.base.index) {
        snapshot_begin(raft, peer);
        return;
    }
    progress_probe(&peer->progress, next);
    replicate(raft, peer, APPENDS_AFTER_ANSWER);
}

/* Whether a refusal tells that what was acknowledged is gone: the follower says so, or refuses
 * the very place up to which it was known to match. */
static bool tells_of_a_loss(const struct progress *progress,
                            const struct raft_append_response *response)
{
    if (progress->state == PROGRESS_SNAPSHOT) {
        return false; /* Nothing is sent that could be refused: it is late. */
    }
    return (response->lost && response->hint_index < progress->match) ||
           progress_has_lost(progress, response->prev_index);
}

static void append_refused(struct raft *raft, struct peer *peer,
                           const struct raft_append_response *response)
{
    struct progress *progress = &peer->progress;
    if (tells_of_a_loss(progress, response)) {
        NEWS(raft,
             "server %" PRIu64 " refuses after %" PRIu64
             " what it had acknowledged: its log is taken for lost, term %" PRIu64,
             peer->id, response->prev_index, raft->term);
        progress_forget(progress);
    } else if (!progress_refused(progress, response->prev_index)) {
        return;
    }
    /* The follower's log matches at or below its hint; the own log may narrow that further. */
    uint64_t below = response->prev_index - 1;
    uint64_t hint = response->hint_index < below ? response->hint_index : below;
    uint64_t match = trail_at_most(&raft->trail, hint, response->hint_term);
    if (match < progress->match) {
        match = progress->match;
    }
    STORY(raft,
          "append after %" PRIu64 " refused by %" PRIu64 " in term %" PRIu64 " with hint %" PRIu64
          ":%" PRIu64 ", probing after %" PRIu64,
          response->prev_index, peer->id, raft->term, response->hint_index, response->hint_term,
          match);
    lead_probe(raft, peer, match + 1);
}

void lead_append_response(struct raft *raft, const struct raft_message *message)
{
    struct peer *peer = peer_find(raft, message->from);
    if (peer == NULL) {
        return;
    }
    if (message->term > raft->term) {
        role_see_term(raft, message->term, message->from);
        return;
    }
    if (message->term < raft->term || raft->role != RAFT_LEADER) {
        return;
    }
    const struct raft_append_response *response = &message->append_response;
    if (!response->success && response->prev_index == 0) {
        return; /* It answers an append of an earlier term, and tells of this one. */
    }
    peer->progress.heard_ms = raft->now_ms;
    peer->progress.repairing = response->lost;
    if (response->lease) {
        uint64_t until_ms = read_lease_until(raft, response->read_round);
        if (peer->progress.lease_until_ms < until_ms) {
            peer->progress.lease_until_ms = until_ms;
        }
    }
    if (peer->progress.round < response->read_round) {
        peer->progress.round = response->read_round;
        read_advance(raft);
    }
    if (!response->success) {
        append_refused(raft, peer, response);
        return;
    }
    if (progress_succeeded(&peer->progress, response->prev_index, response->match_index)) {
        STORY(raft, "stored on %" PRIu64 " in term %" PRIu64 ": up to %" PRIu64, peer->id,
              raft->term, peer->progress.match);
        advance_commit(raft);
    }
    if (peer->progress.state == PROGRESS_SNAPSHOT &&
        peer->progress.match >= raft->trail.base.index) {
        lead_probe(raft, peer, peer->progress.match + 1);
        return;
    }
    snapshot_acknowledged(raft, peer);
    replicate(raft, peer, APPENDS_AFTER_ANSWER);
}

void lead_stored(struct raft *raft)
{
    CHECK(raft->role == RAFT_LEADER);
    advance_commit(raft);
}

void lead_timer(struct raft *raft)
{
    CHECK(raft->role == RAFT_LEADER);
    if (raft->now_ms < raft->heartbeat_due_ms) {
        return;
    }
    raft->heartbeat_due_ms = raft->now_ms + raft->config.heartbeat_ms;
    raft->transfer.told = false;
    repair_lead(raft);
    if (raft->caught_up < raft->commit_index) {
        raft->caught_up = raft->commit_index;
    }
    if (raft->config.lease) {
        read_next_round(raft);
    }
    replicate_all(raft, APPENDS_AFTER_HEARTBEAT);
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (!peer_is_self(raft, &raft->peers[i])) {
            snapshot_timer(raft, &raft->peers[i]);
            lead_send_empty(raft, &raft->peers[i]);
        }
    }
}

bool lead_is_lapsed(const struct raft *raft, uint64_t now_ms)
{
    return now_ms - quorum_heard_ms(raft, now_ms) >= raft->config.election_max_ms;
}

uint64_t lead_wake_ms(const struct raft *raft)
{
    uint64_t wake_ms = raft->heartbeat_due_ms;
    /* In a cluster of one the quorum's last answer is always now. */
    uint64_t lapse_ms = quorum_heard_ms(raft, raft->now_ms) + raft->config.election_max_ms;
    if (lapse_ms < wake_ms) {
        wake_ms = lapse_ms;
    }
    if (raft->transfer.target != 0 && raft->transfer.due_ms < wake_ms) {
        wake_ms = raft->transfer.due_ms;
    }
    if (raft->durable.count > 0) {
        uint64_t asked_ms = durable_waiting(&raft->durable, 0)->asked_ms;
        uint64_t stall_ms = asked_ms + raft->config.disk_stall_ms;
        if (stall_ms < wake_ms) {
            wake_ms = stall_ms;
        }
    }
    return wake_ms;
}
