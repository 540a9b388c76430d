/*
 * What must hold across the servers of cluster.c's cluster; each function ends the process with
 * CHECK where it does not.
 */
#ifndef TEST_RAFT_CLUSTER_CHECK_H
#define TEST_RAFT_CLUSTER_CHECK_H

#include "cluster.h"

/* An entry gets into some log, after one of term_before. */
void know_entry(struct cluster *cluster, uint64_t index, struct entry entry, uint64_t term_before);
/* The server leads the term. */
void check_leader(struct cluster *cluster, struct server *server, uint64_t term);
/* The newest membership among the first `last` entries, or the initial one. */
const struct raft_membership *newest_membership(const struct cluster *cluster,
                                                const struct entry_log *log, uint64_t last);
/* The core believes in the membership that its log says. */
void check_membership(const struct server *server);
void check_commit(struct cluster *cluster, struct server *server, uint64_t commit_index);
/* What the server's disk had lost, and is committed, is there again. */
void check_repaired(const struct server *server);
/* The server may promise what the message does. */
void check_message(const struct server *server, const struct raft_message *message);

#endif
