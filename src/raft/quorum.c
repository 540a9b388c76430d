/*
 * What does a majority of the voters agree on? One question serves all that is counted: votes,
 * stored entries, answered read rounds, leases and the times of the last answers.
 *
 * Majorities of one membership always share a server, which is what every argument of Raft rests
 * on. While voters change there are two sets of them (§6), and the answer is the smaller of theirs.
 * Learners are in neither, and so is a leader that is about to be removed: it does not count.
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "base/mutation.h"

uint64_t quorum_value(const uint64_t *values, size_t count)
{
    CHECK(count > 0 && count <= RAFT_MEMBERS_MAX);
    uint64_t sorted[RAFT_MEMBERS_MAX]; /* falling */
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        while (at > 0 && sorted[at - 1] < values[i]) {
            sorted[at] = sorted[at - 1];
            at--;
        }
        sorted[at] = values[i];
    }
    size_t majority = count / 2 + 1;
    if (MUTATION(quorum_of_half) && count > 1) {
        majority = count / 2;
    }
    return sorted[majority - 1];
}

/* One field of every peer, for quorum_value. */
enum field { FIELD_VOTE, FIELD_MATCH, FIELD_ROUND, FIELD_LEASE, FIELD_HEARD };

static uint64_t value_of(const struct peer *peer, enum field field)
{
    switch (field) {
    case FIELD_VOTE:
        return peer->granted;
    case FIELD_MATCH:
        return peer->progress.match;
    case FIELD_ROUND:
        return peer->progress.round;
    case FIELD_LEASE:
        return peer->progress.lease_until_ms;
    case FIELD_HEARD:
        return peer->progress.heard_ms;
    }
    UNREACHABLE();
}

static uint64_t quorum_of(const struct raft *raft, enum field field, uint64_t own)
{
    uint64_t values[RAFT_MEMBERS_MAX] = {0};
    uint64_t values_old[RAFT_MEMBERS_MAX] = {0};
    size_t count = 0;
    size_t count_old = 0;
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct peer *peer = &raft->peers[i];
        uint64_t value = own;
        if (field == FIELD_VOTE || !peer_is_self(raft, peer)) {
            value = value_of(peer, field);
        }
        if (peer->voter || MUTATION(count_learners)) {
            values[count++] = value;
        }
        if (peer->voter_old) {
            values_old[count_old++] = value;
        }
    }
    uint64_t reached = quorum_value(values, count);
    if (count_old == 0 || MUTATION(ignore_old_voters)) {
        return reached;
    }
    uint64_t reached_old = quorum_value(values_old, count_old);
    return reached_old < reached ? reached_old : reached;
}

bool quorum_granted(const struct raft *raft)
{
    return quorum_of(raft, FIELD_VOTE, 0) == 1;
}

uint64_t quorum_match(const struct raft *raft)
{
    return quorum_of(raft, FIELD_MATCH, raft->durable.index);
}

uint64_t quorum_round(const struct raft *raft)
{
    return quorum_of(raft, FIELD_ROUND, UINT64_MAX);
}

uint64_t quorum_lease_until(const struct raft *raft)
{
    return quorum_of(raft, FIELD_LEASE, UINT64_MAX);
}

uint64_t quorum_heard_ms(const struct raft *raft, uint64_t now_ms)
{
    return quorum_of(raft, FIELD_HEARD, now_ms);
}
