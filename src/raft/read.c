/*
 * Which reads may be served? A read must see every write that was acknowledged before it was
 * asked (thesis 6.4). The commit index of a leader covers those writes, once an entry of its own
 * term is committed (until then it may not know all that is committed), and if no newer leader
 * existed when the read was asked. The latter is what a round asks: whoever answers a round was
 * still in this term after the round began, and a majority of them leaves none for a newer leader.
 *
 *     asked ─► waiting ─► round in flight (index = commit index) ─► a majority answered ─► released
 *                 └─ while a round is in flight, reads wait for the next one
 *
 * Rounds are carried by appends; heartbeats repeat the newest, which repairs lost ones.
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "base/mutation.h"

#include <inttypes.h>

static bool begin_round(struct raft *raft)
{
    struct reads *reads = &raft->reads;
    if (reads->tag_waiting == 0 || reads->round_tag != 0) {
        return false;
    }
    if (raft->commit_index < raft->noop_index && !MUTATION(read_before_noop)) {
        return false;
    }
    reads->round++;
    reads->round_tag = reads->tag_waiting;
    reads->round_index = raft->commit_index;
    reads->tag_waiting = 0;
    STORY(raft,
          "read round %" PRIu64 " begins in term %" PRIu64 ": reads up to tag %" PRIu64
          " at %" PRIu64,
          reads->round, raft->term, reads->round_tag, reads->round_index);
    lead_send_round(raft);
    return true;
}

static void end_round(struct raft *raft)
{
    struct reads *reads = &raft->reads;
    bool confirmed = quorum_round(raft) >= reads->round || MUTATION(read_without_round);
    if (reads->round_tag == 0 || !confirmed) {
        return;
    }
    CHECK(reads->round_index <= raft->commit_index);
    STORY(raft,
          "read round %" PRIu64 " confirmed in term %" PRIu64 ": reads up to tag %" PRIu64
          " at %" PRIu64,
          reads->round, raft->term, reads->round_tag, reads->round_index);
    raft->effects->read_tag = reads->round_tag;
    raft->effects->read_index = reads->round_index;
    reads->round_tag = 0;
}

void read_advance(struct raft *raft)
{
    CHECK(raft->role == RAFT_LEADER);
    end_round(raft);
    /* Alone, a server is its own majority and the round ends where it begins. */
    if (begin_round(raft)) {
        end_round(raft);
    }
}

void read_ask(struct raft *raft, uint64_t tag)
{
    CHECK(raft->role == RAFT_LEADER);
    CHECK(tag > raft->reads.tag_last);
    raft->reads.tag_last = tag;
    raft->reads.tag_waiting = tag;
    if (raft->commit_index < raft->noop_index) {
        STORY(raft, "read tag %" PRIu64 " waits for no-op %" PRIu64 " of term %" PRIu64, tag,
              raft->noop_index, raft->term);
    }
    read_advance(raft);
}

void read_drop(struct raft *raft)
{
    raft->reads.tag_waiting = 0;
    raft->reads.round_tag = 0;
}
