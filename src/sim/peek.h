/* A look into the consensus core and the storage, for what their public faces do not tell. */
#ifndef SIM_PEEK_H
#define SIM_PEEK_H

#include <stdbool.h>
#include <stdint.h>

struct raft;
struct storage;

/* The present term and vote are reported to be on the disk. */
bool peek_term_is_durable(const struct raft *raft);
/* The newest term and vote that are on the disk. */
void peek_vote(const struct storage *storage, uint64_t *ret_term, uint64_t *ret_voted_for);
/* Of the newest snapshot's file; 0: there is none. */
uint64_t peek_snapshot_size(const struct storage *storage);
/* Some follower's window of appends is full. */
bool peek_window_is_full(const struct raft *raft);

#endif
