/*
 * What takes the place of entries that left the log? A snapshot (§7) holds all that entries up to
 * its last did. The driver makes, sends and keeps snapshots; here is decided who needs one, and
 * the log is kept consistent with it.
 *
 *     own snapshot durable ─► snapshot_compacted: base of the trail; who lags behind it?
 *                                                                      │ snapshot_begin
 *     leader    request ◄── snapshot_timer, after a failure ◄── SNAPSHOT (progress.h)
 *                  │                                               ▲ snapshot_ended
 *     follower     └─► snapshot_request: wanted? ─► the driver receives it
 *                                                       └─► durable ─► snapshot_installed
 *
 * An installed snapshot moves the commit index to its last entry, since it holds only committed
 * ones. When the log holds that entry (same index and term), what follows it stays, and the
 * beginning leaves with the next RAFT_COMPACTED; the memberships of the log are the snapshot's
 * then, and newer ones (RELIABILITY bug 25). Else all of the log is of no use: it ends before
 * that entry, or contradicts it. The answer to the leader then waits for the ticket of the reset.
 *
 * It does not matter who sent it and when: a follower uses a snapshot of a past term's leader as
 * well, and so does a candidate, which gives up if its log goes: it asked for votes with it. A
 * leader has no use for one: it holds every entry, and commits them with its no-op.
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "base/mutation.h"
#include "kvapp/err.h"

#include <inttypes.h>

/* ---- the own log ---- */

int snapshot_check_compacted(const struct raft *raft, const struct raft_compacted *compacted)
{
    uint64_t durable = raft->durable.index;
    if (durable < raft->trail.base.index) {
        durable = raft->trail.base.index; /* the reset is on its way, the snapshot durable */
    }
    return compacted->compacted_index <= compacted->snapshot_index &&
                   compacted->snapshot_index <= raft->commit_index &&
                   compacted->snapshot_index <= durable
               ? 0
               : KV_ERR_INVALID;
}

void snapshot_compacted(struct raft *raft, const struct raft_compacted *compacted)
{
    struct trail *trail = &raft->trail;
    if (compacted->snapshot_index > raft->snapshot.index) {
        raft->snapshot.index = compacted->snapshot_index;
        raft->snapshot.term = trail_term(trail, compacted->snapshot_index);
    }
    if (compacted->compacted_index <= trail->base.index) {
        return;
    }
    trail_compact(trail, compacted->compacted_index);
    memberships_compact(&raft->memberships, compacted->compacted_index);
    STORY(raft,
          "log begins after %" PRIu64 ":%" PRIu64 ", snapshot at %" PRIu64 ":%" PRIu64
          ", term %" PRIu64,
          trail->base.index, trail->base.term, raft->snapshot.index, raft->snapshot.term,
          raft->term);
    for (size_t i = 0; raft->role == RAFT_LEADER && i < raft->peer_count; i++) {
        struct peer *peer = &raft->peers[i];
        if (!peer_is_self(raft, peer) && peer->progress.state != PROGRESS_SNAPSHOT &&
            peer->progress.next <= trail->base.index) {
            snapshot_begin(raft, peer);
        }
    }
}

/* ---- leader ---- */

/* One at a time: while a snapshot is being sent, another waits for its end. */
static void offer(struct raft *raft, struct peer *peer)
{
    if (peer->progress.sending != 0) {
        return;
    }
    CHECK(raft->snapshot.index >= raft->trail.base.index);
    peer->progress.sending = raft->snapshot.index;
    struct raft_message *message = effects_message(raft, RAFT_SNAPSHOT_REQUEST, peer->id);
    message->snapshot_request = (struct raft_snapshot_request){
        .index = raft->snapshot.index,
        .term = raft->snapshot.term,
    };
    STORY(raft, "snapshot to %" PRIu64 " in term %" PRIu64 ": up to %" PRIu64 ":%" PRIu64, peer->id,
          raft->term, raft->snapshot.index, raft->snapshot.term);
}

void snapshot_begin(struct raft *raft, struct peer *peer)
{
    progress_snapshot(&peer->progress, raft->snapshot.index + 1);
    offer(raft, peer);
}

void snapshot_timer(struct raft *raft, struct peer *peer)
{
    if (peer->progress.state == PROGRESS_SNAPSHOT && peer->progress.sending == 0) {
        snapshot_begin(raft, peer);
    }
}

void snapshot_ended(struct raft *raft, const struct raft_snapshot_ended *ended)
{
    struct peer *peer = peer_find(raft, ended->id);
    if (raft->role != RAFT_LEADER || peer == NULL || peer->progress.sending == 0 ||
        peer->progress.sending != ended->index) {
        return; /* It tells of an earlier leadership. */
    }
    struct progress *progress = &peer->progress;
    progress->sending = 0;
    STORY(raft, "snapshot to %" PRIu64 " up to %" PRIu64 " %s, term %" PRIu64, peer->id,
          ended->index, ended->ok ? "is installed" : "was not sent", raft->term);
    /* When the log was compacted beyond it meanwhile, a newer one follows at the next heartbeat. */
    if (ended->ok && progress->state == PROGRESS_SNAPSHOT &&
        ended->index >= raft->trail.base.index) {
        lead_probe(raft, peer, ended->index + 1);
    }
}

void snapshot_acknowledged(struct raft *raft, struct peer *peer)
{
    struct progress *progress = &peer->progress;
    if (progress->state != PROGRESS_SNAPSHOT || progress->sending == 0 ||
        progress->match < progress->sending) {
        return;
    }
    STORY(raft,
          "snapshot to %" PRIu64 " up to %" PRIu64 ", and the log does not go on from there, term"
          " %" PRIu64,
          peer->id, progress->sending, raft->term);
    progress->sending = 0;
}

/* ---- follower ---- */

void snapshot_request(struct raft *raft, const struct raft_message *message)
{
    const struct raft_snapshot_request *request = &message->snapshot_request;
    if (message->term < raft->term) {
        follow_refuse_term(raft, message);
        return;
    }
    role_hear_leader(raft, message->term, message->from);
    if (request->index <= raft->commit_index) {
        follow_answer(raft, request->index);
        return;
    }
    /* With a snapshot comes what its leader committed. Were the leader's term forgotten in a
     * crash, and the snapshot not, an older leader could be listened to that lacks it. */
    raft->effects->snapshot_wanted = term_is_durable(raft);
    raft->effects->snapshot_index = request->index;
    raft->effects->snapshot_term = request->term;
    STORY(raft, "snapshot of %" PRIu64 " up to %" PRIu64 ":%" PRIu64 " is %s, term %" PRIu64,
          message->from, request->index, request->term,
          raft->effects->snapshot_wanted ? "wanted" : "too early", raft->term);
}

int snapshot_check_installed(const struct raft *raft, const struct raft_installed *installed)
{
    const struct trail_place place = {.index = installed->index, .term = installed->term};
    if (!snapshot_is_possible(raft, raft->term, place) ||
        !membership_is_valid(installed->membership)) {
        return KV_ERR_INVALID;
    }
    /* Whoever led this term has all that was committed before it, and nobody else adds to that. */
    bool led = raft->term_leader == raft->config.id;
    return led && place.index > raft->commit_index &&
                   trail_term(&raft->trail, place.index) != place.term
               ? KV_ERR_INVALID
               : 0;
}

static void take_over(struct raft *raft, struct trail_place place,
                      const struct raft_membership *membership)
{
    bool keeps = MUTATION(keep_conflicting_log) && place.index <= raft->trail.last;
    if (trail_term(&raft->trail, place.index) == place.term || keeps) {
        /* Also when the entry itself is still on its way to the disk. */
        durable_raise(&raft->durable, place.index);
    } else {
        if (raft->role != RAFT_FOLLOWER) {
            role_lose_log(raft);
        }
        effects_reset(raft, place, membership);
        raft->snapshot = place;
    }
    commit_to(raft, place.index);
    if (raft->verified < place.index) {
        raft->verified = place.index;
    }
}

void snapshot_installed(struct raft *raft, const struct raft_installed *installed)
{
    const struct trail_place place = {.index = installed->index, .term = installed->term};
    if (raft->role == RAFT_LEADER) {
        return;
    }
    if (place.index > raft->commit_index) {
        take_over(raft, place, installed->membership);
    }
    if (raft->role == RAFT_FOLLOWER && raft->leader != 0) {
        follow_answer(raft, place.index);
    }
}
