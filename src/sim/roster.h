/*
 * Who counts, seen from outside: the memberships in the servers' logs, their majorities, and what
 * they can bear. Sets of servers are masks: bit `number` for each.
 */
#ifndef SIM_ROSTER_H
#define SIM_ROSTER_H

#include "kvapp/raft.h"

#include <stdbool.h>
#include <stdint.h>

struct cluster;
struct ledger;
struct record;
struct server;

/* The newest in a server's log, below that the initial one; NULL: it knows of none. */
const struct record *roster_newest(const struct ledger *ledger, const struct server *server);

/* Whether these are a majority of the voters; while it is joint, of both sets. */
bool roster_is_quorum(const struct raft_membership *membership, uint32_t servers);

/* Whether each set of voters can bear that these of the members are broken for good, learners too:
 * they may be voters soon. */
bool roster_bears(const struct raft_membership *membership, uint32_t broken);

/* Those whose disks are, or may be, broken for good. */
uint32_t roster_broken(const struct cluster *cluster);

/* Whether one more disk may be: every membership that is in force somewhere, or may soon be, bears
 * it. */
bool roster_may_hurt(const struct cluster *cluster, const struct server *victim);

/*
 * Whether its disk may be wiped: the budget bears it, and every server that could ever count this
 * one has its directory's incarnation, committed. Before, nobody can notice. Nor may those who
 * start again with the list of the first members, as if the cluster were new, be a majority of it.
 */
bool roster_may_wipe(const struct cluster *cluster, const struct server *victim);

enum { ROSTER_TEXT_SIZE = 256 };

/* The list of the members, "1=host:port,...", as clients take it. Returns text. */
const char *roster_text(const struct cluster *cluster, char text[ROSTER_TEXT_SIZE]);

#endif
