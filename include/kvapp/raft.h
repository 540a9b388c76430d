/*
 * The pure core of Raft: an event goes in, effects come out. No I/O, no clock, no payloads, no
 * globals; time comes in with each event and chance from a seeded generator, so that the same
 * events always give the same effects.
 *
 *     driver:   io completes ──► event ──► raft_step ──► effects ──► disk, peers, state machine
 *
 * "§" numbers are sections of the Raft paper (Ongaro and Ousterhout, extended version), "thesis"
 * means Ongaro's dissertation.
 *
 * What the driver must do with the effects of a step, in this order, before the next step:
 *   1. take `store` into its queue to the disk: first the reset or truncation, then the new
 *      entries, and the term and vote; report RAFT_STORED with the ticket once all of it (and all
 * of every earlier ticket) is durable. Tickets are reported in rising order; reporting only the
 *      newest of several is right.
 *   2. send `messages` whenever it likes, or lose them. Entries of an append are read from the
 *      driver's log. Messages that need something on the disk first are withheld by the core.
 *   3. apply entries up to `commit_index`; serve the reads that `read_tag` releases.
 *
 * Snapshots are the driver's; the core decides who needs one and keeps the log consistent with it:
 *
 *     own        state machine ─► file ─► durable ─► RAFT_COMPACTED ─► the log is trimmed
 *     leader     RAFT_SNAPSHOT_REQUEST to one that lags ─► stream the file ─► RAFT_SNAPSHOT_ENDED
 *     follower   the same message ─► snapshot_wanted ─► file ─► durable ─► RAFT_INSTALLED
 *
 *   - An own snapshot gets its final name only when the tickets that were asked for before it was
 *     begun are stored: the term in which its last entry was committed is then on the disk too, so
 *     that no leader this server listens to after a restart lacks an entry of the snapshot.
 *   - Each RAFT_SNAPSHOT_REQUEST that a step sends ends in one RAFT_SNAPSHOT_ENDED while leader.
 *   - A recovered log that does not hold the last entry of the recovered snapshot (index and term)
 *     is of no use and is discarded before raft_new, as RAFT_STORE_RESET would have: the crash came
 *     between the snapshot's final name and the reset.
 */
#ifndef KVAPP_RAFT_H
#define KVAPP_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct raft;
struct trace;

enum {
    RAFT_MEMBERS_MAX = 9,    /* voters of both sets and learners together */
    RAFT_RUNS_MAX = 16,      /* runs of terms in one append */
    RAFT_MESSAGES_MAX = 64,  /* messages that one step may send */
    RAFT_ADDRESS_SIZE = 264, /* "host:port" with its NUL */
    RAFT_LEASE_PERCENT = 60, /* of the shortest election timeout; below two thirds: config.lease */
};

enum raft_role {
    RAFT_FOLLOWER,
    RAFT_PRE_CANDIDATE, /* thesis 9.6: asks whether it would win, without disturbing anybody */
    RAFT_CANDIDATE,
    RAFT_LEADER,
};

const char *raft_role_name(enum raft_role role); /* "follower", "pre-candidate", ... */

/* `count` consecutive entries of one term. Where a run begins is known from its place. */
struct raft_run {
    uint64_t term;
    uint64_t count;
};

/* ---- membership ---- */

/*
 * A voter counts in majorities. A learner receives the log and counts nowhere; when it has caught
 * up the leader makes it a voter, unless it is a kept one. While voters change (§6, joint
 * consensus) there are two sets of them, and everything needs a majority of each.
 *
 * A new server is best added as a learner: as a voter it counts before it has the log. The core
 * makes the entries of joint memberships, of those that follow them, and of promotions by itself.
 * Whatever entry holds a membership, own or received, the driver gives back after a restart.
 */
struct raft_member {
    uint64_t id;       /* not 0 */
    bool voter;        /* of the only, or the new, set */
    bool voter_old;    /* of the old set; only while joint */
    bool keep_learner; /* never promoted; not together with `voter` */

    /* The driver's: the core keeps them, and takes a difference for a change of the membership. */
    uint64_t incarnation; /* of its data directory; 0: not known yet */
    char address[RAFT_ADDRESS_SIZE];
};

struct raft_membership {
    size_t count;
    struct raft_member members[RAFT_MEMBERS_MAX]; /* ids rise */
    bool joint;                                   /* somebody is a voter_old */
};

/* A membership is an entry of the log. It is in force from when it is there, committed or not. */
struct raft_logged_membership {
    uint64_t index;
    struct raft_membership membership;
};

/* ---- messages ---- */

/* The numbers are those of the peer protocol. */
enum raft_message_type {
    RAFT_VOTE_REQUEST = 0, /* §5.2, §5.4.1; with `pre` set: thesis 9.6 */
    RAFT_VOTE_RESPONSE = 1,
    RAFT_APPEND_REQUEST = 2, /* §5.3; without entries: the heartbeat */
    RAFT_APPEND_RESPONSE = 3,
    RAFT_SNAPSHOT_REQUEST = 11, /* §7: the leader offers its newest snapshot */
    RAFT_TIMEOUT_NOW = 14,      /* thesis 3.10: campaign at once; has nothing but the term */
};

struct raft_vote_request {
    bool pre;
    bool transfer;       /* the leader asked for this election: hearing it is no reason to refuse */
    uint64_t last_index; /* of the candidate's log */
    uint64_t last_term;
};

struct raft_vote_response {
    bool pre;
    bool granted;
};

struct raft_append_request {
    uint64_t prev_index;
    uint64_t prev_term;
    uint64_t commit_index;
    uint64_t read_round;  /* echoed by the response; thesis 6.4 */
    uint64_t entry_count; /* entries prev_index + 1 ... prev_index + entry_count */
    size_t run_count;
    struct raft_run runs[RAFT_RUNS_MAX]; /* the entries' terms; counts add up to entry_count */
};

/* A refusal with all zeros answers an append whose term is over: only the message's term counts. */
struct raft_append_response {
    bool success;
    bool lost;            /* the sender's disk lost its log, which is not repaired yet */
    uint64_t prev_index;  /* of the request that is answered: tells stale answers apart */
    uint64_t match_index; /* success: durable here and equal to the leader's log up to here */
    uint64_t hint_index;  /* failure: the follower's log can only match the leader's at or below */
    uint64_t hint_term;   /* failure: the term of the entry at hint_index */
    uint64_t read_round;
    bool lease; /* the sender votes for nobody within election_min_ms of when it got this round */
};

struct raft_snapshot_request {
    uint64_t index; /* of the last entry that the snapshot holds */
    uint64_t term;  /* of that entry */
};

struct raft_message {
    enum raft_message_type type;
    uint64_t from;
    uint64_t to;
    uint64_t term; /* the sender's; for a pre-vote and its grant: the term it would campaign in */
    union {
        struct raft_vote_request vote_request;
        struct raft_vote_response vote_response;
        struct raft_append_request append_request;
        struct raft_append_response append_response;
        struct raft_snapshot_request snapshot_request;
    };
};

/* ---- events ---- */

enum raft_event_type {
    RAFT_TICKED,   /* time passed */
    RAFT_RECEIVED, /* a message arrived; its entries' checksums are right */
    RAFT_PROPOSED, /* the driver has entries to append; only while leader */
    RAFT_READ_ASKED,
    RAFT_STORED,         /* everything up to the ticket is durable */
    RAFT_COMPACTED,      /* a snapshot is durable, and entries that it holds leave the log */
    RAFT_SNAPSHOT_ENDED, /* leader: the sending of a snapshot that a step asked for is over */
    RAFT_INSTALLED,      /* a received snapshot is durable under its final name */
    RAFT_MEMBERSHIP_PROPOSED,
    RAFT_TRANSFER_ASKED,  /* let another voter lead */
    RAFT_STEP_DOWN_ASKED, /* lead no more, whether anybody can take over or not */
};

struct raft_compacted {
    uint64_t snapshot_index;  /* of the newest durable snapshot, committed and on the own disk */
    uint64_t compacted_index; /* entries up to here leave the log; at most snapshot_index */
};

struct raft_snapshot_ended {
    uint64_t id;    /* of the follower */
    uint64_t index; /* of the snapshot, as it was asked for */
    bool ok;        /* the follower said that it is installed */
};

/*
 * A snapshot holds committed entries only, so it is right for a server in any role and term; one
 * that holds nothing new is ignored, and so is any by a leader. It was taken over when the step's
 * commit_index has reached it: the state machine is then restored from it before further entries
 * are applied. The log holds those up to it only if the step does not say RAFT_STORE_RESET.
 */
struct raft_installed {
    uint64_t index;                           /* of the last entry that the snapshot holds */
    uint64_t term;                            /* of that entry */
    const struct raft_membership *membership; /* raft_membership_at that index, of who made it;
                                                 borrowed for the step */
};

struct raft_event {
    enum raft_event_type type;
    uint64_t now_ms; /* monotonic; never less than in the event before */
    union {
        const struct raft_message *message; /* RAFT_RECEIVED; borrowed for the step */
        uint64_t propose_count;             /* RAFT_PROPOSED: entries last_index + 1 ... */
        uint64_t read_tag;                  /* RAFT_READ_ASKED: greater than any before */
        uint64_t ticket;                    /* RAFT_STORED */
        struct raft_compacted compacted;
        struct raft_snapshot_ended snapshot_ended;
        struct raft_installed installed;
        uint64_t transfer_to; /* RAFT_TRANSFER_ASKED; 0: the most up to date voter */
        /* RAFT_MEMBERSHIP_PROPOSED: who shall take part in the end; in any order, not joint. A
         * voter that becomes a learner must be a kept one. Borrowed for the step. */
        const struct raft_membership *membership;
    };
    /* RAFT_RECEIVED: those among an append's entries, indexes rising. Borrowed for the step. */
    const struct raft_logged_membership *memberships;
    size_t membership_count;
};

/* ---- effects ---- */

enum raft_store_flags {
    RAFT_STORE_VOTE = 1 << 0,       /* term and voted_for changed */
    RAFT_STORE_TRUNCATE = 1 << 1,   /* forget entries from truncate_from on, before appending */
    RAFT_STORE_ENTRIES = 1 << 2,    /* append entries append_first ... append_first + count - 1 */
    RAFT_STORE_NOOP = 1 << 3,       /* the one entry to append is the leader's no-op: make it */
    RAFT_STORE_RESET = 1 << 4,      /* forget the whole log: it begins anew after reset_index */
    RAFT_STORE_MEMBERSHIP = 1 << 5, /* the one entry to append is `membership`: make it */
};

struct raft_store {
    unsigned flags; /* 0: nothing to store */
    uint64_t ticket;
    uint64_t term;
    uint64_t voted_for; /* 0: nobody */
    uint64_t truncate_from;
    uint64_t reset_index;  /* the log's first entry will be the one after it */
    uint64_t reset_term;   /* of the entry reset_index, which only the snapshot holds */
    uint64_t append_first; /* of a received append: its entries from this index on */
    uint64_t append_count;
    struct raft_membership membership;
};

/* Filled in by every raft_step that returns 0. Large: keep one and reuse it. */
struct raft_effects {
    struct raft_store store;
    size_t message_count;
    struct raft_message messages[RAFT_MESSAGES_MAX];

    /* Reads: every read with a tag up to read_tag may be served once the entry read_index is
     * applied. The tag is 0 when nothing was released in this step. */
    uint64_t read_tag;
    uint64_t read_index;

    /* The snapshot that the leader offers in the received RAFT_SNAPSHOT_REQUEST shall be received.
     * Else it holds nothing new, or cannot be trusted before this step's term is on the disk. */
    bool snapshot_wanted;
    uint64_t snapshot_index;
    uint64_t snapshot_term;

    /* The state after the step. */
    uint64_t commit_index;
    uint64_t term;
    uint64_t leader; /* 0: not known */
    enum raft_role role;
    bool role_changed; /* role, term or leader differ from those before the step. A leader that
                          steps down takes its unreleased reads with it: they must be failed. */
    /* Another membership is in force, or the one in force is now committed. Links to new members
     * are opened at once; those to who is gone are closed once it is committed, after this step's
     * messages: they tell who was removed of it. */
    bool membership_changed;
    bool removed;     /* this server was a member, and the committed newest membership is without
                         it: it may stop */
    bool repaired;    /* what raft_restored.lost_until tells of is on the disk again: the driver may
                         forget that it was lost */
    uint64_t wake_ms; /* when to send RAFT_TICKED at the latest; after what was received by then,
                         so that a leader that was heard is not missed */
};

/* ---- life ---- */

struct raft_config {
    uint64_t id; /* of this server; not 0 */

    /* In force while the log has none: the same on every server of a new cluster; nobody on one
     * that joins a cluster later. In any order, not joint. */
    struct raft_membership membership;

    uint64_t seed; /* election timeouts */
    uint64_t heartbeat_ms;
    uint64_t election_min_ms; /* heartbeat < min < max */
    uint64_t election_max_ms;
    uint64_t disk_stall_ms; /* a leader whose oldest ticket is older than this steps down */

    /*
     * Leases (thesis 6.4.1): as a voter this server promises its leaders not to vote for another
     * one for election_min_ms, also after a restart; as a leader it counts on those who promise,
     * for RAFT_LEASE_PERCENT of election_min_ms from when it sent what they answer. That is right
     * while election_min_ms is the same everywhere and no two clocks of the cluster differ in speed
     * by more than a half (one 20 % too slow and one 20 % too fast do), pauses included: a clock
     * that stands still while others go on breaks it.
     */
    bool lease;

    uint64_t window_appends;     /* appends with entries in flight to one follower, 1...256 */
    uint64_t append_entries_max; /* entries in one append */
    uint64_t uncommitted_max;    /* entries a leader accepts beyond its commit index */

    /*
     * How many of the entries first ... last fit one append: returns the last index that does,
     * at least `first`. Pure. Entries that the driver has not got yet count as small. NULL: all.
     */
    uint64_t (*fit)(void *context, uint64_t first, uint64_t last);
    void *fit_context;

    const struct trace *trace; /* the story, at TRACE_DEBUG and above; may be NULL */
};

/* What recovery found on the disk. A new server: all zeros, but first_index 1. */
struct raft_restored {
    uint64_t term; /* below the last entry's when the crash came between the two: that one counts */
    uint64_t voted_for;
    uint64_t snapshot_index; /* last entry of the newest snapshot, the commit index at the start;
                                0: no snapshot */
    uint64_t snapshot_term;  /* of that entry */
    uint64_t first_index;    /* of the log: 1 ... snapshot_index + 1 */
    uint64_t previous_term;  /* of the entry first_index - 1; 0 when first_index is 1 */
    const struct raft_run *runs; /* the terms of entries first_index ... last, borrowed for the
                                    call; they hold the snapshot's last entry or begin after it */
    size_t run_count;
    const struct raft_membership *snapshot_membership; /* NULL: no snapshot */
    const struct raft_logged_membership *memberships;  /* in the log, indexes rising; borrowed */
    size_t membership_count;

    /*
     * The disk lost entries that this server had acknowledged, and until a step says `repaired` it
     * neither votes nor campaigns. Given at every start until then, with the same numbers.
     */
    uint64_t lost_until; /* no entry that it acknowledged before had a higher index; UINT64_MAX: no
                            bound is known; 0: nothing is lost */
    uint64_t lost_term;  /* its term on the disk when it lost them */
};

/*
 * Makes a core, a follower at the restored term, as of now_ms. All memory is taken here, except
 * that the table of terms grows when a new term begins. Returns 0, KV_ERR_INVALID or
 * KV_ERR_NO_MEMORY.
 */
int raft_new(const struct raft_config *config, const struct raft_restored *restored,
             uint64_t now_ms, struct raft **ret_raft);
void raft_free(struct raft *raft);

/*
 * The one door. Returns 0 with *ret_effects filled in; or, with nothing changed and *ret_effects
 * untouched,
 *   KV_ERR_NOT_LEADER  a proposal, read, membership, transfer or step-down while not leader
 *   KV_ERR_BUSY        a proposal beyond uncommitted_max or during a transfer; a membership before
 *                      this term's no-op and the membership in force are committed, or during a
 *                      transfer; a second transfer
 *   KV_ERR_INVALID     a message that is not for this server or contradicts itself or what is
 *                      committed; a compaction of what is not committed, not on the own disk, or in
 *                      no snapshot; a
 *                      membership that is none, changes nothing, or takes too many members on the
 *                      way; a transfer to who is no other voter
 *   KV_ERR_NO_MEMORY
 */
int raft_step(struct raft *raft, const struct raft_event *event, struct raft_effects *ret_effects);

/* ---- looking in ---- */

enum raft_role raft_role(const struct raft *raft);
uint64_t raft_id(const struct raft *raft);
uint64_t raft_term(const struct raft *raft);
uint64_t raft_voted_for(const struct raft *raft);
uint64_t raft_leader(const struct raft *raft); /* 0: not known */
uint64_t raft_commit_index(const struct raft *raft);
uint64_t raft_last_index(const struct raft *raft);
uint64_t raft_durable_index(const struct raft *raft); /* entries known to be on the own disk */
uint64_t raft_base_index(const struct raft *raft); /* the entry before the log's first; 0: none */
/* The term of an entry from raft_base_index on; 0: no such entry, or one before that. */
uint64_t raft_term_at(const struct raft *raft, uint64_t index);
/* Leader: what is known to be stored on `id`; 0 when unknown or not leader. */
uint64_t raft_match_index(const struct raft *raft, uint64_t id);
/* Proposals that would be accepted now: uncommitted_max less what is in flight; 0: not leader, or
 * about to hand over. */
uint64_t raft_room(const struct raft *raft);
/* The newest, which is in force; with the index of its entry, 0: the initial one. Both are
 * borrowed until the next step. */
const struct raft_logged_membership *raft_membership(const struct raft *raft);
/* The one in force when the log ended at `index`: at or above where the log begins. */
const struct raft_membership *raft_membership_at(const struct raft *raft, uint64_t index);
/* Whether the disk lost what is not repaired yet. */
bool raft_is_repairing(const struct raft *raft);
/* Whom a leader is handing over to; 0: nobody. */
/*
 * Whether nobody else can lead at now_ms, so that a read may be served at the present commit index
 * without a round. now_ms must have been read after the read was asked, and is not below that of
 * the last event.
 */
bool raft_lease_holds(const struct raft *raft, uint64_t now_ms);
uint64_t raft_transfer_target(const struct raft *raft);

/*
 * Asserts every invariant of the state, and of the state against the one at the last call (term
 * and commit index monotone, no vote changed within a term, ...). Runs by itself after every step
 * in builds with assertions (NDEBUG not defined).
 */
void raft_check(struct raft *raft);

#endif
