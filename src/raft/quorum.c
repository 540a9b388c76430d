/*
 * What does a majority of the voters agree on? One question serves all that is counted: votes,
 * stored entries, answered read rounds and the times of the last answers.
 *
 * Majorities of one membership always share a server, which is what every argument of Raft rests
 * on. With joint consensus (§6) the answer becomes the smaller of two memberships' answers.
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
enum field { FIELD_VOTE, FIELD_MATCH, FIELD_ROUND, FIELD_HEARD };

static uint64_t quorum_of(const struct raft *raft, enum field field, uint64_t own)
{
    uint64_t values[RAFT_MEMBERS_MAX] = {0};
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct peer *peer = &raft->peers[i];
        switch (field) {
        case FIELD_VOTE:
            values[i] = peer->granted;
            break;
        case FIELD_MATCH:
            values[i] = peer->progress.match;
            break;
        case FIELD_ROUND:
            values[i] = peer->progress.round;
            break;
        case FIELD_HEARD:
            values[i] = peer->progress.heard_ms;
            break;
        }
        if (field != FIELD_VOTE && peer->id == raft->config.id) {
            values[i] = own;
        }
    }
    return quorum_value(values, raft->peer_count);
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

uint64_t quorum_heard_ms(const struct raft *raft, uint64_t now_ms)
{
    return quorum_of(raft, FIELD_HEARD, now_ms);
}
