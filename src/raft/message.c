/*
 * May this message be processed? Whatever arrives is input: a message that is not for this
 * server, contradicts itself, or claims what no correct server could, is refused before anything
 * changes. The rest of the core may then assert what follows from Raft. Strangers are listened to:
 * member.c says why.
 */
#include "raft/internal.h"

#include "kvapp/err.h"

#include <inttypes.h>

/* An index and the term there: both zero (before the first entry) or neither, and not of the
 * future. */
static bool place_is_valid(uint64_t index, uint64_t term, uint64_t term_max)
{
    return (index == 0) == (term == 0) && term <= term_max;
}

static bool runs_are_valid(const struct raft_append_request *request, uint64_t term_max)
{
    if (request->run_count > RAFT_RUNS_MAX || request->prev_index > UINT64_MAX / 4 ||
        request->entry_count > UINT64_MAX / 4) {
        return false;
    }
    uint64_t term = request->prev_term;
    uint64_t left = request->entry_count;
    for (size_t i = 0; i < request->run_count; i++) {
        const struct raft_run *run = &request->runs[i];
        bool rises = i == 0 ? run->term >= term : run->term > term;
        if (!rises || run->term == 0 || run->term > term_max || run->count == 0 ||
            run->count > left) {
            return false;
        }
        term = run->term;
        left -= run->count;
    }
    return left == 0;
}

/* Up to where must the log of a leader of this term equal the own one? All that is committed, and
 * all that it has shown to be there. */
static uint64_t fixed_up_to(const struct raft *raft, uint64_t term)
{
    uint64_t commit = raft->commit_index;
    return term == raft->term && raft->verified > commit ? raft->verified : commit;
}

/* Does the leader contradict what is known to be in its log? */
static bool contradicts_log(const struct raft *raft, const struct raft_message *message)
{
    const struct raft_append_request *request = &message->append_request;
    uint64_t fixed = fixed_up_to(raft, message->term);
    const struct trail_place *base = &raft->trail.base;
    uint64_t last = request->prev_index + request->entry_count;
    if (request->prev_index < base->index) {
        /* Of what left the log only that is known: terms never fall. */
        uint64_t last_term = request->run_count == 0 ? request->prev_term
                                                     : request->runs[request->run_count - 1].term;
        if (request->prev_term > base->term || (last < base->index && last_term > base->term)) {
            return true;
        }
    } else if (request->prev_index > raft->trail.last ||
               trail_term(&raft->trail, request->prev_index) != request->prev_term) {
        return request->prev_index <= fixed;
    }
    uint64_t first_new =
        trail_first_new(&raft->trail, request->prev_index + 1, request->runs, request->run_count);
    return first_new <= last && first_new <= fixed;
}

/* Whether nobody else is known to lead the message's term. */
static bool may_lead(const struct raft *raft, const struct raft_message *message)
{
    if (message->term == raft->term &&
        (raft->role == RAFT_LEADER ||
         (raft->term_leader != 0 && raft->term_leader != message->from))) {
        TRACE(raft->config.trace, TRACE_ERROR,
              "servers %" PRIu64 " and %" PRIu64 " both lead term %" PRIu64, raft->term_leader,
              message->from, raft->term);
        return false;
    }
    return true;
}

static bool append_request_is_valid(const struct raft *raft, const struct raft_message *message)
{
    const struct raft_append_request *request = &message->append_request;
    if (!place_is_valid(request->prev_index, request->prev_term, message->term) ||
        !runs_are_valid(request, message->term)) {
        return false;
    }
    if (message->term < raft->term) {
        return true;
    }
    if (!may_lead(raft, message)) {
        return false;
    }
    if (contradicts_log(raft, message)) {
        TRACE(raft->config.trace, TRACE_ERROR,
              "append of %" PRIu64 " in term %" PRIu64 " after %" PRIu64 ":%" PRIu64
              " contradicts the committed log, commit %" PRIu64,
              message->from, message->term, request->prev_index, request->prev_term,
              raft->commit_index);
        return false;
    }
    return true;
}

static bool append_response_is_valid(const struct raft *raft, const struct raft_message *message)
{
    const struct raft_append_response *response = &message->append_response;
    if (message->term != raft->term || raft->role != RAFT_LEADER) {
        return true;
    }
    if (response->prev_index > raft->trail.last || response->read_round > raft->reads.round) {
        return false;
    }
    if (response->success) {
        return response->match_index <= raft->trail.last;
    }
    if (response->prev_index == 0) {
        /* It tells of a term that was over, and of nothing else. */
        return response->hint_index == 0 && response->hint_term == 0 && response->read_round == 0;
    }
    return place_is_valid(response->hint_index, response->hint_term, message->term);
}

bool snapshot_is_possible(const struct raft *raft, uint64_t term, struct trail_place place)
{
    const struct trail *trail = &raft->trail;
    if (place.index == 0 || place.index > UINT64_MAX / 4 || place.term == 0 || place.term > term) {
        return false;
    }
    if (place.index < trail->base.index) {
        return place.term <= trail->base.term;
    }
    uint64_t fixed = fixed_up_to(raft, term);
    if (place.index <= fixed) {
        return place.term == trail_term(trail, place.index);
    }
    return place.term >= trail_term(trail, fixed);
}

static bool snapshot_request_is_valid(const struct raft *raft, const struct raft_message *message)
{
    const struct raft_snapshot_request *request = &message->snapshot_request;
    const struct trail_place place = {.index = request->index, .term = request->term};
    return message->term < raft->term ||
           (may_lead(raft, message) && snapshot_is_possible(raft, message->term, place));
}

int message_check(const struct raft *raft, const struct raft_message *message)
{
    const uint64_t self = raft->config.id;
    if (message->from == 0 || message->from == self || message->to != self || message->term == 0) {
        return KV_ERR_INVALID;
    }
    bool valid = false;
    switch (message->type) {
    case RAFT_VOTE_REQUEST:
        /* A candidate's log ends before the term that it campaigns in. */
        valid = place_is_valid(message->vote_request.last_index, message->vote_request.last_term,
                               message->term - 1) &&
                !(message->vote_request.pre && message->vote_request.transfer);
        break;
    case RAFT_VOTE_RESPONSE:
        valid = true;
        break;
    case RAFT_APPEND_REQUEST:
        valid = append_request_is_valid(raft, message);
        break;
    case RAFT_APPEND_RESPONSE:
        valid = append_response_is_valid(raft, message);
        break;
    case RAFT_SNAPSHOT_REQUEST:
        valid = snapshot_request_is_valid(raft, message);
        break;
    case RAFT_TIMEOUT_NOW:
        /* It comes from a leader that knows this server to be in its term. */
        valid = message->term <= raft->term &&
                !(message->term == raft->term && raft->role == RAFT_LEADER);
        break;
    }
    return valid ? 0 : KV_ERR_INVALID;
}
