/*
 * How a read is answered. What each costs, and what it relies on:
 *
 *     leader        the leader, once a majority has confirmed that it still leads   one round
 *     linearizable  any server, which has the leader do that and then waits until   one round, and
 *                   it has applied what was committed then                          one to the
 * leader lease         the leader at once, while a majority has promised to vote for   nothing
 *                   nobody else: relies on clocks (raft_config.lease)
 *     stale         any server at once, from what it has: may be old, and says how  nothing
 *
 * All but the last return the newest acknowledged value. A leader without a lease, since it was not
 * renewed in time or leases are off, answers as for `leader`. The numbers are those of the
 * protocol.
 */
#ifndef KVAPP_READS_H
#define KVAPP_READS_H

enum kvapp_reads {
    KVAPP_READS_DEFAULT = 0, /* what the server, or the client, was configured for */
    KVAPP_READS_LEADER = 1,
    KVAPP_READS_LINEARIZABLE = 2,
    KVAPP_READS_LEASE = 3,
    KVAPP_READS_STALE = 4,
    KVAPP_READS_COUNT,
};

#endif
