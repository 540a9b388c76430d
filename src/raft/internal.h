/*
 * The core's state and the functions between its files. Each file answers one question; the
 * calls go role → election | lead → read, and raft.c sends each event to where it belongs.
 *
 */
#ifndef RAFT_INTERNAL_H
#define RAFT_INTERNAL_H

#include "base/prng.h"
#include "base/trace.h"
#include "kvapp/raft.h"
#include "raft/durable.h"
#include "raft/membership.h"
#include "raft/progress.h"
#include "raft/trail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer {
    uint64_t id;
    bool voter;     /* of the only, or the new, set */
    bool voter_old; /* of the old set */
    bool granted;   /* its vote, or its pre-vote, in the election that is under way */
    struct progress progress;
};

/* What a follower owes its leader once the disk has caught up. */
struct owed_ack {
    bool due;
    bool heartbeat; /* answers even when nothing new is durable */
    uint64_t prev_index;
    uint64_t read_round;
    uint64_t match_sent; /* the largest match that was acknowledged in this term */
};

enum { ROUNDS_KEPT = 8 };

/* Reads of a leader (thesis 6.4). Tags are 0 where there is none. */
struct reads {
    uint64_t tag_last;    /* the newest that was ever asked for */
    uint64_t tag_waiting; /* the newest that no round covers yet */
    uint64_t round;       /* the newest round; never reused while the core lives */
    uint64_t round_tag;   /* the newest read that the round in flight covers */
    uint64_t round_asked; /* that round */
    uint64_t round_index; /* the commit index when that round began */

    uint64_t
        sent_ms[ROUNDS_KEPT]; /* of the newest rounds, by round % ROUNDS_KEPT: when each began */
    bool lease_over;          /* the leader let another one campaign: no lease in this term */
};

/* A leadership that is being handed over. */
struct transfer {
    uint64_t target; /* 0: none is */
    uint64_t due_ms; /* when it is given up */
    bool told;       /* since the last heartbeat */
};

/* What the disk lost; see repair.c. */
struct lost {
    uint64_t until; /* 0: nothing, or it is repaired */
    uint64_t term;
};

/* The state at the last raft_check. */
struct shadow {
    bool valid;
    enum raft_role role;
    uint64_t now_ms;
    uint64_t term;
    uint64_t voted_for;
    uint64_t term_leader;
    uint64_t commit_index;
    uint64_t commit_term;
    uint64_t base_index;
    uint64_t snapshot_index;
    uint64_t last_index;
    uint64_t last_term;
    uint64_t read_round;
    uint64_t ticket_stored;
    bool repair_due;
};

struct raft {
    struct raft_config config;
    struct prng prng;
    uint64_t now_ms;
    struct raft_effects *effects; /* of the step under way, else NULL */

    /* Survives crashes (through tickets). */
    uint64_t term;
    uint64_t voted_for;
    struct trail trail;
    struct trail_place snapshot; /* the newest durable one ends here */
    struct memberships memberships;
    bool term_unstored; /* the term was taken from the log at the start; the first step stores it */
    struct lost lost;

    enum raft_role role;
    uint64_t leader;      /* 0: not known, or not heard for an election timeout */
    uint64_t term_leader; /* who was ever seen to lead this term; 0: nobody */
    uint64_t commit_index;
    struct durable durable;

    /* Everybody but a leader. */
    uint64_t heard_ms;          /* when `leader` was heard last */
    uint64_t withheld_until_ms; /* with leases: no vote before, for a leader may count on that */
    uint64_t election_due_ms;

    /* Follower. */
    uint64_t verified; /* equal to the log of this term's leader up to here; committed at least */
    struct owed_ack ack;
    bool behind;     /* the leader has committed more than is here, or was not heard yet */
    bool grant_owed; /* to voted_for, once the vote is stored */

    /* Candidate. */
    bool requests_owed; /* the own vote is not stored yet */
    bool transferred;   /* the leader asked for this election */

    /* Leader. */
    uint64_t noop_index; /* the first entry of its term */
    uint64_t heartbeat_due_ms;
    uint64_t caught_up; /* a learner that has stored up to here is promoted */
    struct reads reads;
    struct transfer transfer;

    struct peer peers[RAFT_MEMBERS_MAX]; /* the newest membership, in its order */
    size_t peer_count;
    uint64_t *windows; /* the memory of all peers' windows, RAFT_MEMBERS_MAX of them */

    struct shadow shadow;
};

/* The story, for whoever watches. */
#define STORY(raft, ...) TRACE((raft)->config.trace, TRACE_DEBUG, __VA_ARGS__)
#define NEWS(raft, ...) TRACE((raft)->config.trace, TRACE_INFO, __VA_ARGS__)

/* ---- raft.c: effects ---- */

/* Adds a message to the step's effects: from, to, and the own term are filled in. */
struct raft_message *effects_message(struct raft *raft, enum raft_message_type type, uint64_t to);

/* Term or vote changed: the step's ticket will cover them. */
void effects_store_vote(struct raft *raft);
/* Entries first ... trail.last were appended. */
void effects_store_entries(struct raft *raft, uint64_t first);
/* The log and what is known of its durability are cut back; the entries from `from` on go. */
void effects_truncate(struct raft *raft, uint64_t from);
/* The log is discarded and begins anew after `base`, which a durable snapshot holds. */
void effects_reset(struct raft *raft, struct trail_place base,
                   const struct raft_membership *membership);

/* Whether the present term and vote are on the disk. */
bool term_is_durable(const struct raft *raft);
/* Whether the oldest unstored ticket is older than disk_stall_ms. */
bool disk_is_stalled(const struct raft *raft, uint64_t now_ms);
/* NULL: a stranger. */
struct peer *peer_find(struct raft *raft, uint64_t id);
bool peer_is_self(const struct raft *raft, const struct peer *peer);
void commit_to(struct raft *raft, uint64_t index);

/* ---- message.c: may this message be processed at all? ---- */

/* 0 or KV_ERR_INVALID; changes nothing. */
int message_check(const struct raft *raft, const struct raft_message *message);

/* Whether a leader of this term can have a snapshot up to this place. */
bool snapshot_is_possible(const struct raft *raft, uint64_t term, struct trail_place place);

/* ---- role.c: every transition, see the diagram there ---- */

void role_start(struct raft *raft);
void role_see_term(struct raft *raft, uint64_t term, uint64_t from);
void role_hear_leader(struct raft *raft, uint64_t term, uint64_t leader);
void role_yield(struct raft *raft, uint64_t candidate);
void role_lose_leader(struct raft *raft);
void role_lose_log(struct raft *raft);
void role_wait(struct raft *raft);
/* transferred: the leader asked for it. */
void role_campaign(struct raft *raft, bool transferred);
void role_win(struct raft *raft);
void role_lose_quorum(struct raft *raft);
void role_lose_disk(struct raft *raft);
void role_leave(struct raft *raft);
void role_step_down(struct raft *raft);

/* ---- election.c: who shall lead? ---- */

void election_reset_timer(struct raft *raft);
void election_timer(struct raft *raft);
void election_begin_pre_vote(struct raft *raft);
void election_vote_request(struct raft *raft, const struct raft_message *message);
void election_vote_response(struct raft *raft, const struct raft_message *message);
/* Tickets were stored: what waited for term and vote may leave. */
void election_stored(struct raft *raft);

/* ---- lead.c: what does a leader do? ---- */

void lead_begin(struct raft *raft);
void lead_propose(struct raft *raft, uint64_t count);
void lead_append_response(struct raft *raft, const struct raft_message *message);
void lead_stored(struct raft *raft);
void lead_timer(struct raft *raft);
/* Whether no quorum answered for an election timeout. */
bool lead_is_lapsed(const struct raft *raft, uint64_t now_ms);
uint64_t lead_wake_ms(const struct raft *raft);
/* An append without entries after everything that was sent: heartbeat, and carrier of rounds. */
void lead_send_empty(struct raft *raft, struct peer *peer);
/* What is known to match ends before `next`: continues there, by the log or by a snapshot. */
void lead_probe(struct raft *raft, struct peer *peer, uint64_t next);
/* ... to everybody. */
void lead_send_round(struct raft *raft);
/* Appends a membership that the core made. */
void lead_log_membership(struct raft *raft, const struct raft_membership *membership);

/* ---- repair.c: what may a server do whose disk lost its log? ---- */

void repair_start(struct raft *raft, const struct raft_restored *restored);
/* Whether it neither votes nor campaigns. */
bool repair_is_due(const struct raft *raft);
/* At the end of each step: something may have been committed or stored. */
void repair_advance(struct raft *raft);
/* Leader, at each heartbeat: somebody may need a new term to be repaired. */
void repair_lead(struct raft *raft);

/* ---- follow.c: what does a follower do with an append? ---- */

void follow_append(struct raft *raft, const struct raft_event *event);
/* Tickets were stored: send the acknowledgement that waited for them. */
void follow_stored(struct raft *raft);

/* Answers a message of a leader whose term is over. */
void follow_refuse_term(struct raft *raft, const struct raft_message *message);
/* The leader is owed an answer: the log equals its log up to `prev`, in memory at least. */
void follow_answer(struct raft *raft, uint64_t prev);

/* ---- snapshot.c: what takes the place of entries that left the log? ---- */

/* 0 or KV_ERR_INVALID; these change nothing. */
int snapshot_check_compacted(const struct raft *raft, const struct raft_compacted *compacted);
int snapshot_check_installed(const struct raft *raft, const struct raft_installed *installed);

void snapshot_compacted(struct raft *raft, const struct raft_compacted *compacted);
void snapshot_request(struct raft *raft, const struct raft_message *message);
void snapshot_installed(struct raft *raft, const struct raft_installed *installed);
void snapshot_ended(struct raft *raft, const struct raft_snapshot_ended *ended);
/* The follower's next entry left the log. */
void snapshot_begin(struct raft *raft, struct peer *peer);
/* The follower has what is being sent, by its own word, which may be all that ever comes of it; it
 * needs a newer snapshot, which goes to it with the next heartbeat. */
void snapshot_acknowledged(struct raft *raft, struct peer *peer);
/* A heartbeat is due: what failed is tried again. */
void snapshot_timer(struct raft *raft, struct peer *peer);

/* ---- read.c: which reads may be served? ---- */

void read_ask(struct raft *raft, uint64_t tag);
/* Something changed that reads wait for: an answer, or the commit index. */
void read_advance(struct raft *raft);
/* A leader begins, without a lease. */
void read_begin(struct raft *raft);
bool read_lease_holds(const struct raft *raft, uint64_t now_ms);
/* Begins another round, which the next appends carry, for the lease. */
void read_next_round(struct raft *raft);
/* Until when, by the own clock, who answers this round and promises a lease votes for nobody else;
 * 0: not known any more. */
uint64_t read_lease_until(const struct raft *raft, uint64_t round);
/* Leadership ends: whatever was not released never will be. */
void read_drop(struct raft *raft);

/* ---- member.c: who takes part? ---- */

/* The peers are those of the newest membership. */
void member_start(struct raft *raft);
/* A membership was appended, or entries were cut off. */
void member_log(struct raft *raft, uint64_t index, const struct raft_membership *membership);
void member_truncate(struct raft *raft, uint64_t from);

/* The log begins anew after a snapshot. */
void member_reset(struct raft *raft, uint64_t index, const struct raft_membership *membership);

bool member_restored_is_valid(const struct raft_logged_membership *base,
                              const struct raft_restored *restored, uint64_t last);
bool member_received_is_valid(const struct raft *raft, const struct raft_event *event);
/* Takes over those of the event's that are at or above `from`. */
void member_received(struct raft *raft, const struct raft_event *event, uint64_t from);

/* Whether this server votes; may ask for votes; is told to go. */
bool member_votes(const struct raft *raft);
bool member_may_campaign(const struct raft *raft);
bool member_is_removed(const struct raft *raft);

/* 0, KV_ERR_BUSY or KV_ERR_INVALID. */
int member_check(const struct raft *raft, const struct raft_membership *wanted);
void member_propose(struct raft *raft, const struct raft_membership *wanted);
/* What a leader does by itself: leaves a joint membership, promotes, goes when it was removed. */
void member_lead(struct raft *raft);

/* ---- transfer.c: how does a leader hand over? ---- */

/* 0, KV_ERR_BUSY or KV_ERR_INVALID. */
int transfer_check(const struct raft *raft, uint64_t to);
void transfer_begin(struct raft *raft, uint64_t to);
/* The voter that is best to lead next; NULL: there is none. */
const struct peer *transfer_best(const struct raft *raft);
/* Tells the target once it is up to date, or gives up. */
void transfer_lead(struct raft *raft);
/* A leader goes: who is as far as it may campaign at once. */
void transfer_leave(struct raft *raft);
void transfer_timeout_now(struct raft *raft, const struct raft_message *message);

/* ---- quorum.c: what do majorities agree on? ---- */

/* The largest value that a majority reaches. */
uint64_t quorum_value(const uint64_t *values, size_t count);
bool quorum_granted(const struct raft *raft);
uint64_t quorum_match(const struct raft *raft);
uint64_t quorum_round(const struct raft *raft);
uint64_t quorum_lease_until(const struct raft *raft);
uint64_t quorum_heard_ms(const struct raft *raft, uint64_t now_ms);

#endif
