/*
 * How far is a follower? What the leader knows of one follower's log, and which appends are on
 * their way to it.
 *
 *              a probe is answered with success
 *     PROBE ────────────────────────────────────► STREAM
 *       ▲ one append at a time, its place            │ up to a window of appends, each sent
 *       │ not known to match                         │ in the hope that those before arrive
 *       └────────────────────────────────────────────┘
 *       ▲      a refusal: something was lost, or the follower's log differs
 *       │                                            │
 *       │ the snapshot's sending ended well, or      │ next is an entry that left the log, from
 *       │ the follower holds what left the log       ▼ PROBE too
 *       └──────────────────────────────────────── SNAPSHOT
 *                                                  nothing but heartbeats; one snapshot at a time
 *
 * A sending that failed is tried again at the next heartbeat, with the newest snapshot.
 *
 * A refusal at match, when nothing is on its way, tells that the follower has lost what it had
 * acknowledged: another disk, or an older state of the same. Match begins anew then, so that it is
 * fed again. That can only make the leader count less: what is committed stays committed, and
 * nothing new is committed by what the follower no longer has.
 *
 * Invariants: match < next; the window holds the last indexes of the appends in flight, rising,
 * all above match and below next; in PROBE and SNAPSHOT it is empty.
 */
#ifndef RAFT_PROGRESS_H
#define RAFT_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum progress_state {
    PROGRESS_PROBE,
    PROGRESS_STREAM,
    PROGRESS_SNAPSHOT,
};

struct progress {
    enum progress_state state;
    uint64_t probe_last; /* PROBE: the append on its way ends here, and only heartbeats follow it
                            until an answer; 0: none */
    uint64_t match;      /* durable on the follower and equal to the own log up to here */
    uint64_t next;       /* the first entry of the next append; SNAPSHOT: at least that */
    uint64_t sending;    /* the snapshot up to this index is being sent; 0: none. It may go on when
                            the log turned out to be enough. */
    bool lost;           /* the follower lost acknowledged entries, in this term */
    bool repairing;      /* it said in its last answer that it does not vote for that */
    uint64_t repair_heartbeats; /* for how many it has said so, though it has everything */
    uint64_t heard_ms;          /* when the follower answered last in this term */
    uint64_t round;             /* the newest read round that it answered */
    uint64_t lease_until_ms;    /* it votes for nobody else before; 0: it has not promised that */

    uint64_t *window; /* a ring; borrowed from the core */
    size_t window_capacity;
    size_t window_head;
    size_t window_count;
};

/* A new leader knows nothing but hopes that the follower's log ends like its own: `next`. */
void progress_reset(struct progress *progress, uint64_t next, uint64_t now_ms);

/* Whether an append with entries may leave now. */
bool progress_may_send(const struct progress *progress);

/* An append with entries up to `last` leaves. */
void progress_sent(struct progress *progress, uint64_t last);

/* The follower's log equals the own up to `prev`, durably up to `match`. True: match rose. */
bool progress_succeeded(struct progress *progress, uint64_t prev, uint64_t match);

/*
 * The follower refused an append after `prev`. False: the refusal is stale and changes nothing.
 * Else it is to be probed from `next`, which the caller sets with progress_probe.
 */
bool progress_refused(const struct progress *progress, uint64_t prev);
void progress_probe(struct progress *progress, uint64_t next);

/* Whether a refusal after `prev` tells that acknowledged entries were lost. */
bool progress_has_lost(const struct progress *progress, uint64_t prev);
/* They were: the follower is to be probed, with nothing known of its log. */
void progress_forget(struct progress *progress);

/* Only a snapshot helps; what follows the one on offer begins at `next`. */
void progress_snapshot(struct progress *progress, uint64_t next);

/* The i-th oldest append in flight; i < window_count. */
uint64_t progress_in_flight(const struct progress *progress, size_t i);

const char *progress_state_name(enum progress_state state);

#endif
