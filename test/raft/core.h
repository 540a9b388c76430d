/* One core by itself, as several tests begin with it. */
#ifndef TEST_RAFT_CORE_H
#define TEST_RAFT_CORE_H

#include "kvapp/raft.h"

/* Server 1 of voters 1 ... `voters`. Timings as in fast mode; windows small enough to fill. */
struct raft_config core_config(size_t voters);

/* raft_step; the effects may be NULL. */
int core_step(struct raft *raft, const struct raft_event *event, struct raft_effects *ret_effects);

#endif
