/*
 * The checks of every step: what one server is now, against what it was, what the others are, and
 * what the ledger knows.
 *
 *   - at most one leader in a term, and it has every entry committed before (leader completeness)
 *   - while a leader has a lease nobody leads a later term
 *   - term and commit index only rise; one vote in a term
 *   - an index and a term name one entry, and all before it are the same too (log matching)
 *   - a committed entry never changes, and is on a majority of disks when it is committed: of the
 *     voters of the membership in force, and of both sets while it is joint; what a disk has lost
 *     counts as there, and its server votes only when it is there again
 *   - the membership in force is the newest of the log; a leader changes it only when the one
 * before and its own no-op are committed; it was elected by a majority of it
 *   - the digest of the state machine is the reference's at the same index
 */
#ifndef SIM_STATE_H
#define SIM_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server;
struct simulation;
struct record;

/* A server as it was last seen. Of one that is down: what its disk has promised. */
struct view {
    bool fresh;                /* started, and not yet seen since */
    bool recovered;            /* was seen since its start */
    const struct record **log; /* log[i]: entry i + 1 */
    uint64_t log_count;
    uint64_t log_capacity;
    const struct record **memberships; /* those of the log that are memberships */
    size_t membership_count;
    size_t membership_capacity;
    bool told_members; /* by a snapshot, of those before the first membership in the log too */
    const struct record *membership_seen; /* the newest, when it was looked at last */
    uint64_t membership_index;            /* and what the server takes its index for */
    uint64_t durable;                     /* entries up to here are reported to be on the disk */
    uint64_t term;
    uint64_t voted_for;
    uint64_t durable_term; /* reported to be on the disk, with the vote */
    uint64_t durable_vote;
    uint64_t commit;
    uint64_t applied;
    /* Entries that the disk had reported and lost, until they are repaired: as in `log`. */
    const struct record **lost;
    uint64_t lost_count;
    uint64_t led_term; /* the newest term that it was seen to lead */
    uint64_t ran_term; /* the newest term that it was seen to campaign in */
};

void view_done(struct view *view);

/* Until a server has recovered: before each turn, with what completed already there. */
void state_look_recovered(struct simulation *simulation, struct server *server);
/* After each turn of a server. */
void state_look(struct simulation *simulation, struct server *server);

/* durability.c: a server has recovered `log_count` entries, which the view holds; `before` is the
 * view of its life before. */
void durability_recovered(struct simulation *simulation, struct server *server,
                          const struct view *before, uint64_t term, uint64_t voted_for);
/* durability.c: after each turn: whether what the server's disk had lost is repaired. */
void durability_look(struct simulation *simulation, struct server *server);
/* durability.c: a new entry is committed by a server. */
void durability_committed(struct simulation *simulation, const struct record *record,
                          const struct server *by);

#endif
