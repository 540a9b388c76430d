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
 *
 * A lease (thesis 6.4.1) answers the same question by the clock. Who answers a round votes for
 * nobody else for election_min_ms from when it got the round, so when a majority of them has
 * answered a round that was *sent* less than that ago, no newer leader can exist yet. With leases
 * each heartbeat begins a round. The lease is over for good when the leader itself asks another
 * server to campaign: who votes for that one keeps no promise.
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "base/mutation.h"

#include <inttypes.h>

enum {
    /* Both clocks are read in whole milliseconds: each may show up to one too little. */
    LEASE_ROUNDING_MS = 2,
};

/* One voter's clock may go half as fast again as the leader's: config.lease. */
STATIC_CHECK(RAFT_LEASE_PERCENT * 3 < 100 * 2, "the slowest leader's lease ends before a promise");

void read_begin(struct raft *raft)
{
    raft->reads.lease_over = false;
}

void read_next_round(struct raft *raft)
{
    struct reads *reads = &raft->reads;
    reads->round++;
    reads->sent_ms[reads->round % ROUNDS_KEPT] = raft->now_ms;
}

uint64_t read_lease_until(const struct raft *raft, uint64_t round)
{
    const struct reads *reads = &raft->reads;
    uint64_t length_ms = raft->config.election_min_ms * RAFT_LEASE_PERCENT / 100;
    if (round == 0 || round + ROUNDS_KEPT <= reads->round || length_ms < LEASE_ROUNDING_MS) {
        return 0;
    }
    return reads->sent_ms[round % ROUNDS_KEPT] + length_ms - LEASE_ROUNDING_MS;
}

bool read_lease_holds(const struct raft *raft, uint64_t now_ms)
{
    CHECK(raft->role == RAFT_LEADER);
    return raft->config.lease && !raft->reads.lease_over && raft->transfer.target == 0 &&
           raft->commit_index >= raft->noop_index && now_ms < quorum_lease_until(raft);
}

static bool begin_round(struct raft *raft)
{
    struct reads *reads = &raft->reads;
    if (reads->tag_waiting == 0 || reads->round_tag != 0) {
        return false;
    }
    if (raft->commit_index < raft->noop_index && !MUTATION(read_before_noop)) {
        return false;
    }
    read_next_round(raft);
    reads->round_asked = reads->round;
    reads->round_tag = reads->tag_waiting;
    reads->round_index = raft->commit_index;
    reads->tag_waiting = 0;
    STORY(raft,
          "read round %" PRIu64 " begins in term %" PRIu64 ": reads up to tag %" PRIu64
          " at %" PRIu64,
          reads->round_asked, raft->term, reads->round_tag, reads->round_index);
    lead_send_round(raft);
    return true;
}

static void end_round(struct raft *raft)
{
    struct reads *reads = &raft->reads;
    bool confirmed = quorum_round(raft) >= reads->round_asked || MUTATION(read_without_round);
    if (reads->round_tag == 0 || !confirmed) {
        return;
    }
    CHECK(reads->round_index <= raft->commit_index);
    STORY(raft,
          "read round %" PRIu64 " confirmed in term %" PRIu64 ": reads up to tag %" PRIu64
          " at %" PRIu64,
          reads->round_asked, raft->term, reads->round_tag, reads->round_index);
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
