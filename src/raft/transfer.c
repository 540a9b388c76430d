/*
 * How does a leader hand over (thesis 3.10)? It takes no more proposals, brings the target up to
 * date, and tells it to campaign at once. The target's vote requests say that the leader wanted
 * this, so that nobody refuses because a leader is heard. The leader has no lease any more: not
 * until it gives up, because it may be about to be replaced, and once it has told, in this whole
 * term, because such a vote request may arrive at any later time.
 *
 *     asked ─► target lacks entries ─► match = last ─► timeout now ─► the target's vote request
 *                    └──── an election timeout later ────┴─► given up, proposals are taken again
 *
 * The target may be gone or lose: nothing is promised, and whoever wins, wins by votes. A leader
 * that is asked to step down does so at once; who has all of its log is told to campaign.
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "kvapp/err.h"

#include <inttypes.h>

static bool may_lead(const struct raft *raft, const struct peer *peer)
{
    return peer->voter && !peer_is_self(raft, peer);
}

/* The one with the longest match; of equal ones who was heard last. One whose log was lost would
 * not campaign. */
const struct peer *transfer_best(const struct raft *raft)
{
    const struct peer *best = NULL;
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct peer *peer = &raft->peers[i];
        if (!may_lead(raft, peer) || peer->progress.repairing) {
            continue;
        }
        if (best == NULL || peer->progress.match > best->progress.match ||
            (peer->progress.match == best->progress.match &&
             peer->progress.heard_ms > best->progress.heard_ms)) {
            best = peer;
        }
    }
    return best;
}

int transfer_check(const struct raft *raft, uint64_t to)
{
    bool possible = to == 0 && transfer_best(raft) != NULL;
    for (size_t i = 0; i < raft->peer_count; i++) {
        possible = possible || (raft->peers[i].id == to && may_lead(raft, &raft->peers[i]));
    }
    if (!possible) {
        return KV_ERR_INVALID;
    }
    return raft->transfer.target == 0 ? 0 : KV_ERR_BUSY;
}

void transfer_begin(struct raft *raft, uint64_t to)
{
    CHECK(raft->role == RAFT_LEADER);
    raft->transfer = (struct transfer){
        .target = to == 0 ? transfer_best(raft)->id : to,
        .due_ms = raft->now_ms + raft->config.election_max_ms,
    };
    NEWS(raft, "hands over to %" PRIu64 " in term %" PRIu64, raft->transfer.target, raft->term);
}

void transfer_lead(struct raft *raft)
{
    struct transfer *transfer = &raft->transfer;
    if (transfer->target == 0) {
        return;
    }
    if (raft->now_ms >= transfer->due_ms) {
        NEWS(raft, "still leader: handing over to %" PRIu64 " in term %" PRIu64 " took too long",
             transfer->target, raft->term);
        *transfer = (struct transfer){.target = 0};
        return;
    }
    const struct peer *peer = peer_find(raft, transfer->target);
    CHECK(peer != NULL && may_lead(raft, peer));
    if (!transfer->told && peer->progress.match == raft->trail.last) {
        transfer->told = true;
        raft->reads.lease_over = true;
        (void)effects_message(raft, RAFT_TIMEOUT_NOW, peer->id);
    }
}

void transfer_leave(struct raft *raft)
{
    const struct peer *peer = transfer_best(raft);
    if (peer != NULL && peer->progress.match == raft->trail.last) {
        (void)effects_message(raft, RAFT_TIMEOUT_NOW, peer->id);
    }
}

void transfer_timeout_now(struct raft *raft, const struct raft_message *message)
{
    if (message->term < raft->term || raft->role != RAFT_FOLLOWER ||
        raft->leader != message->from || !member_may_campaign(raft) ||
        disk_is_stalled(raft, raft->now_ms)) {
        STORY(raft,
              "is told by %" PRIu64 " of term %" PRIu64 " to campaign, and does not: term %" PRIu64,
              message->from, message->term, raft->term);
        return;
    }
    role_campaign(raft, true);
}
