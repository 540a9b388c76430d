#include "sim/peek.h"

#include "raft/internal.h"
#include "storage/store.h"

bool peek_term_is_durable(const struct raft *raft)
{
    return term_is_durable(raft);
}

void peek_vote(const struct storage *storage, uint64_t *ret_term, uint64_t *ret_voted_for)
{
    *ret_term = storage->vote.newest.term;
    *ret_voted_for = storage->vote.newest.voted_for;
}

uint64_t peek_snapshot_size(const struct storage *storage)
{
    return storage->snapshots.newest_size;
}

bool peek_window_is_full(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER) {
        return false;
    }
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct progress *progress = &raft->peers[i].progress;
        if (progress->window_capacity > 0 && progress->window_count == progress->window_capacity) {
            return true;
        }
    }
    return false;
}
