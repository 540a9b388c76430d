/* Clients that change who takes part and who leads, for random worlds. */
#ifndef TEST_RAFT_CHURN_H
#define TEST_RAFT_CHURN_H

#include "cluster.h"

/* Asks the server for any membership of the cluster's servers, or to hand over to any of them. */
void churn(struct prng *prng, struct server *server);

/* What must be after a world has calmed down: nothing is under way, nobody waits for promotion,
 * and every member has all that the leader has. */
void churn_check_calm(struct cluster *cluster, const struct server *leader);

/* How many joint memberships were committed. */
uint64_t churn_changes(const struct cluster *cluster);

#endif
