/*
 * What may a server do whose disk lost its log? Term and vote are known, entries that it had
 * acknowledged are not there any more. It is fed again like a new follower: it takes appends and
 * snapshots, and acknowledges what is durable. But until it holds again whatever it may have
 * acknowledged it neither votes nor campaigns: a majority counted on those entries, and its vote
 * could elect a leader that lacks them.
 *
 *     raft_new(lost_until > 0) ─► appends, snapshots ─► repair_advance ─► `repaired`
 *
 * It is repaired when what is both committed and durable here ends at a place p with
 *   p >= lost_until, where no entry that was ever acknowledged had a higher index; or
 *   term(p) > lost_term, where no vote and no acknowledgement before the loss was of a higher term.
 *
 * Why that is enough. The proof that a leader holds all that is committed (§5.4.3) takes an entry
 * e, with index i, that the leader of term T committed, and the first later leader, of term U, that
 * lacks it. Some server v acknowledged e in T and then voted in U. Only a v that lost e in between
 * is new. Its term survived the loss, so it listened after the loss to leaders of T or later only;
 * all of them up to U hold e, for U is the first that does not. It voted in U only when repaired:
 *   - p >= lost_until >= i: what is committed here was compared with such a leader's log, or came
 *     in a snapshot of committed entries, up to i: it is e that stands there;
 *   - term(p) = W > lost_term >= T: v did not vote in W, since its term then was no higher than
 *     lost_term and it has not voted since. So the usual argument holds for W, with another member
 *     of the majority: the leader of W has e, below its own first entry, and with an entry of W
 *     all of that leader's log before it is here.
 * So v has e, on its disk, and grants its vote to no log without it. What v acknowledges after the
 * loss it holds, as ever.
 *
 * The first condition ends the repair while the same leader leads on. The second needs no bound
 * (lost_until of UINT64_MAX), but an election. The leader brings one about when it sees that a
 * server has everything and is still not repaired: it hands over to another one that has everything
 * too. If there is none it leads on, since nobody else could win; it and the one being repaired may
 * be the only ones that are up.
 */
#include "raft/internal.h"

#include "base/assert.h"

#include <inttypes.h>

enum { PATIENCE_HEARTBEATS = 10 };

void repair_start(struct raft *raft, const struct raft_restored *restored)
{
    raft->lost = (struct lost){.until = restored->lost_until, .term = restored->lost_term};
    if (raft->lost.until == UINT64_MAX) {
        NEWS(raft,
             "its log was lost: neither votes nor campaigns in term %" PRIu64
             " until it holds an entry of a term after %" PRIu64,
             raft->term, raft->lost.term);
    } else if (repair_is_due(raft)) {
        NEWS(raft,
             "its log was lost: neither votes nor campaigns in term %" PRIu64
             " until it holds entry %" PRIu64 " or one of a term after %" PRIu64,
             raft->term, raft->lost.until, raft->lost.term);
    }
}

bool repair_is_due(const struct raft *raft)
{
    return raft->lost.until != 0;
}

void repair_advance(struct raft *raft)
{
    if (!repair_is_due(raft)) {
        return;
    }
    uint64_t held =
        raft->durable.index < raft->commit_index ? raft->durable.index : raft->commit_index;
    if (held < raft->lost.until && trail_term(&raft->trail, held) <= raft->lost.term) {
        return;
    }
    NEWS(raft,
         "holds again what it had lost, up to %" PRIu64 ":%" PRIu64 ": votes in term %" PRIu64,
         held, trail_term(&raft->trail, held), raft->term);
    raft->lost = (struct lost){.until = 0};
    raft->effects->repaired = true;
}

/* Counts for how many heartbeats a voter has had all that it can be repaired with. */
static bool waits_for_a_term(const struct raft *raft, struct peer *peer)
{
    struct progress *progress = &peer->progress;
    if (!peer->voter || !progress->repairing || progress->match < raft->caught_up) {
        progress->repair_heartbeats = 0;
        return false;
    }
    progress->repair_heartbeats++;
    return progress->repair_heartbeats >= PATIENCE_HEARTBEATS;
}

void repair_lead(struct raft *raft)
{
    CHECK(raft->role == RAFT_LEADER);
    uint64_t waiting = 0;
    for (size_t i = 0; i < raft->peer_count; i++) {
        struct peer *peer = &raft->peers[i];
        if (!peer_is_self(raft, peer) && waits_for_a_term(raft, peer)) {
            waiting = peer->id;
            peer->progress.repair_heartbeats = 0;
        }
    }
    const struct peer *next = transfer_best(raft);
    if (waiting == 0 || raft->transfer.target != 0 || next == NULL ||
        next->progress.match < raft->caught_up ||
        raft->now_ms - next->progress.heard_ms >= raft->config.election_min_ms) {
        return;
    }
    NEWS(raft, "server %" PRIu64 " has all, and only a new term tells it so: term %" PRIu64 " ends",
         waiting, raft->term);
    transfer_begin(raft, next->id);
}
