/* A look into the consensus core, for what its public face does not tell. */
#ifndef SIM_PEEK_H
#define SIM_PEEK_H

#include <stdbool.h>

struct raft;

/* The present term and vote are reported to be on the disk. */
bool peek_term_is_durable(const struct raft *raft);
/* Some follower's window of appends is full. */
bool peek_window_is_full(const struct raft *raft);

#endif
