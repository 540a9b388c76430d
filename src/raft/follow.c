/*
 * What does a follower do with an append? It makes its log equal to the leader's (§5.3) and
 * acknowledges what is then on its disk.
 *
 * `verified` is the end of the prefix that this term's leader has shown to equal its own log. Only
 * that prefix is acknowledged and committed: entries beyond it may be of a log that the leader is
 * about to overwrite. Entries are removed only where they contradict the leader's; an old append
 * that arrives late removes nothing. What is committed equals the log of every leader whose term
 * is not over (§5.4.3), so it is verified from the start; that includes all that has left the log
 * for a snapshot, and whose terms are not known any more.
 *
 * An acknowledgement speaks of the disk, so it waits for the ticket of the entries; one answers
 * all the appends that were received meanwhile. A heartbeat asks only who is there and is
 * answered at once with what is durable by then. Refusals never wait.
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "base/mutation.h"

#include <inttypes.h>

static struct raft_append_response *add_response(struct raft *raft, uint64_t to)
{
    struct raft_message *message = effects_message(raft, RAFT_APPEND_RESPONSE, to);
    message->append_response = (struct raft_append_response){.success = false};
    return &message->append_response;
}

void follow_refuse_term(struct raft *raft, const struct raft_message *message)
{
    /* It only tells of the own term. Whoever asked may have crashed since and lead this term:
     * a place or a round that was asked about in another life would mean something else. */
    (void)add_response(raft, message->from);
    STORY(raft, "%s of %" PRIu64 " refused: term %" PRIu64 " is over, own term %" PRIu64,
          message->type == RAFT_APPEND_REQUEST ? "append" : "snapshot", message->from,
          message->term, raft->term);
}

static void refuse(struct raft *raft, const struct raft_message *message)
{
    const struct raft_append_request *request = &message->append_request;
    struct raft_append_response *response = add_response(raft, message->from);
    CHECK(request->prev_index > 0);
    response->lost = repair_is_due(raft);
    response->prev_index = request->prev_index;
    response->read_round = request->read_round;
    response->lease = raft->config.lease;
    uint64_t hint = trail_at_most(&raft->trail, request->prev_index - 1, request->prev_term);
    if (hint < raft->trail.base.index) {
        hint = raft->trail.base.index;
    }
    response->hint_index = hint;
    response->hint_term = trail_term(&raft->trail, hint);
    STORY(raft,
          "append of %" PRIu64 " refused in term %" PRIu64 ": no entry %" PRIu64 ":%" PRIu64
          ", hint %" PRIu64 ":%" PRIu64,
          message->from, raft->term, request->prev_index, request->prev_term, hint,
          response->hint_term);
}

static uint64_t durable_match(const struct raft *raft)
{
    if (MUTATION(ack_before_sync)) {
        return raft->verified;
    }
    return raft->durable.index < raft->verified ? raft->durable.index : raft->verified;
}

/* Sends the acknowledgement that is due, once it covers `match_min` or answers a heartbeat. */
static void acknowledge(struct raft *raft, uint64_t match_min)
{
    struct owed_ack *ack = &raft->ack;
    uint64_t match = durable_match(raft);
    if (!ack->due || !term_is_durable(raft) || (!ack->heartbeat && match < match_min)) {
        return;
    }
    CHECK(raft->leader != 0);
    struct raft_append_response *response = add_response(raft, raft->leader);
    response->success = true;
    response->lost = repair_is_due(raft);
    response->prev_index = ack->prev_index;
    response->match_index = match;
    response->read_round = ack->read_round;
    response->lease = raft->config.lease;
    ack->match_sent = match;
    ack->heartbeat = false;
    ack->due = match < raft->verified;
}

/* Takes over the entries that are new, after removing the first that contradicts, and all after. */
static void take_entries(struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    const struct raft_append_request *request = &message->append_request;
    uint64_t first = request->prev_index + 1;
    uint64_t last = request->prev_index + request->entry_count;
    uint64_t from = trail_first_new(&raft->trail, first, request->runs, request->run_count);
    if (from > last) {
        STORY(raft,
              "append of %" PRIu64 " in term %" PRIu64 ": has %" PRIu64 "..%" PRIu64 " already",
              message->from, raft->term, first, last);
        return;
    }
    if (from <= raft->trail.last) {
        CHECK(from > raft->commit_index);
        CHECK(from > raft->verified);
        STORY(raft,
              "truncates %" PRIu64 "..%" PRIu64 " of term %" PRIu64 " for leader %" PRIu64
              " of term %" PRIu64,
              from, raft->trail.last, trail_term(&raft->trail, from), message->from, raft->term);
        effects_truncate(raft, from);
    }
    uint64_t run_first = first;
    for (size_t i = 0; i < request->run_count; i++) {
        uint64_t run_end = run_first + request->runs[i].count;
        if (run_end > from) {
            uint64_t begin = run_first > from ? run_first : from;
            trail_append(&raft->trail, request->runs[i].term, run_end - begin);
        }
        run_first = run_end;
    }
    CHECK(raft->trail.last == last);
    effects_store_entries(raft, from);
    member_received(raft, event, from);
    STORY(raft,
          "append of %" PRIu64 " in term %" PRIu64 ": takes %" PRIu64 "..%" PRIu64 " after %" PRIu64
          ":%" PRIu64,
          message->from, raft->term, from, last, from - 1, trail_term(&raft->trail, from - 1));
}

void follow_append(struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    const struct raft_append_request *request = &message->append_request;
    if (message->term < raft->term) {
        follow_refuse_term(raft, message);
        return;
    }
    role_hear_leader(raft, message->term, message->from);
    if (request->prev_index > raft->trail.last ||
        (request->prev_index >= raft->trail.base.index &&
         trail_term(&raft->trail, request->prev_index) != request->prev_term)) {
        refuse(raft, message);
        return;
    }
    if (request->entry_count > 0) {
        take_entries(raft, event);
    }
    uint64_t last = request->prev_index + request->entry_count;
    if (MUTATION(truncate_on_any_append) && last < raft->trail.last && last >= raft->commit_index) {
        effects_truncate(raft, last + 1);
        raft->verified = last;
    }
    if (raft->verified < last) {
        raft->verified = last;
    }
    uint64_t commit =
        request->commit_index < raft->verified ? request->commit_index : raft->verified;
    if (MUTATION(unclamped_commit)) {
        commit =
            request->commit_index < raft->trail.last ? request->commit_index : raft->trail.last;
    }
    if (commit > raft->commit_index) {
        commit_to(raft, commit);
    }
    raft->behind = raft->commit_index < request->commit_index;
    raft->ack.due = true;
    raft->ack.heartbeat = raft->ack.heartbeat || request->entry_count == 0;
    raft->ack.prev_index = request->prev_index;
    if (raft->ack.read_round < request->read_round) {
        raft->ack.read_round = request->read_round;
    }
    acknowledge(raft, last);
}

void follow_answer(struct raft *raft, uint64_t prev)
{
    CHECK(raft->role == RAFT_FOLLOWER && raft->leader != 0);
    CHECK(prev <= raft->verified);
    raft->ack.due = true;
    raft->ack.prev_index = prev;
    acknowledge(raft, prev);
}

void follow_stored(struct raft *raft)
{
    CHECK(raft->role == RAFT_FOLLOWER || !raft->ack.due);
    /* Every step forward is worth telling: the leader's window moves on. */
    uint64_t news = raft->ack.match_sent + 1;
    acknowledge(raft, news < raft->verified ? news : raft->verified);
}
