/*
 * A world of three cores that is small enough to be copied, compared and enumerated. It drives
 * the cores as cluster.c does, on the same honest disks and with the same checks across servers,
 * but all of its state is flat: small_save and small_load copy it, and small_key names it.
 *
 * There is no time in it. Every server has a clock of its own that moves only when something
 * waits for it: an election timer, a heartbeat, or the end of the time in which a follower that
 * heard its leader ignores candidates. So any order of expiries is possible, as if clocks ran at
 * any speed, and of the time only what a core can notice is part of the state.
 */
#ifndef TEST_RAFT_SMALL_H
#define TEST_RAFT_SMALL_H

#include "base/trace.h"
#include "kvapp/raft.h"
#include "raft/internal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SMALL_SERVERS = 3,
    SMALL_LOG_MAX = 8,
    SMALL_TERMS_MAX = 8,
    SMALL_WRITES_MAX = 8,
    SMALL_FLIGHTS_MAX = 48,
    SMALL_READS_MAX = 4,
    SMALL_WINDOW = 1, /* appends in flight to one follower */
    SMALL_EVENTS_MAX = 192,
    SMALL_ALL_VOTE = (1 << SMALL_SERVERS) - 1, /* the initial membership */
};

/* What may still happen; each event of a kind takes one away. */
struct small_budget {
    bool led;          /* begins where server 1 has just won term 1; its no-op is on its way */
    uint8_t elections; /* election timers that expire */
    uint8_t entries;   /* proposals of one entry, by whoever leads */
    uint8_t crashes;
    uint8_t heartbeats;
    uint8_t reads;
    uint8_t compactions; /* snapshots of all that is committed, by anybody */
    uint8_t changes;     /* of the membership: one server goes or comes back */
    uint8_t losses;      /* crashes in which the disk loses the log, but not term and vote */
};

struct small_entry {
    uint8_t term;
    uint8_t value;      /* 1, 2, ... in the order of proposals; 0: a no-op or a membership */
    uint8_t membership; /* see small_members.c; 0: it is none */
};

struct small_log {
    struct small_entry at[SMALL_LOG_MAX]; /* index i stands at i - 1 */
    uint8_t last;
    uint8_t base; /* entries up to here left the log; a snapshot holds them, as they are here */
};

struct small_write {
    struct raft_store store;
    struct small_entry entries[SMALL_LOG_MAX];
};

struct small_server {
    uint64_t clock_ms;
    uint8_t lives;
    struct small_log log; /* as the core believes it to be */
    struct {
        uint64_t term;
        uint64_t voted_for;
        struct small_log log;
        uint8_t snapshot; /* what was committed up to here */
    } disk;
    struct {
        uint64_t until; /* as in raft_restored; 0: nothing */
        uint64_t term;
        struct small_log log; /* what was on the disk */
    } lost;
    uint8_t receiving;                           /* the snapshot that the core wants; 0: none */
    struct small_write writes[SMALL_WRITES_MAX]; /* oldest first */
    size_t write_count;
    uint8_t commit_seen;
    uint8_t tag;
    uint8_t reads[SMALL_READS_MAX]; /* what was committed when the read was asked, by tag - 1 */
    uint8_t reads_served;           /* tags up to here were served, or died with a leadership */
};

/* A message on its way, with the entries that the sender's driver put in. */
struct small_flight {
    struct raft_message message;
    struct small_entry entries[SMALL_LOG_MAX];
};

/* What was ever seen at an index and term. */
struct small_known {
    bool seen;
    uint8_t value;
    uint8_t term_before;
};

struct small_world {
    struct small_server servers[SMALL_SERVERS];
    struct small_budget left;
    uint8_t values; /* proposed so far */

    /* Checked against by everything that comes later. */
    struct small_log committed;
    uint8_t commit_terms[SMALL_LOG_MAX]; /* by index - 1: the term in which it was committed */
    uint8_t leaders[SMALL_TERMS_MAX];    /* by term; 0: nobody */
    struct small_known known[SMALL_LOG_MAX][SMALL_TERMS_MAX]; /* by index - 1 and term */

    size_t flight_count;
    struct small_flight flights[SMALL_FLIGHTS_MAX]; /* last: only those in use are copied */
};

/* A core at some moment. Its pointers are those of the living core it was copied from. */
struct small_core {
    struct raft raft;
    struct trail_run runs[SMALL_TERMS_MAX];
    struct raft_logged_membership memberships[SMALL_LOG_MAX + 1];
    uint64_t windows[RAFT_MEMBERS_MAX * SMALL_WINDOW];
};

struct small {
    struct small_world world;
    struct raft *cores[SMALL_SERVERS];
    uint64_t ids[SMALL_SERVERS]; /* the traces' contexts */
    struct trace traces[SMALL_SERVERS];
    struct raft_effects effects; /* of the last step */
};

struct small_snapshot {
    struct small_core cores[SMALL_SERVERS];
    struct small_world world;
};

enum small_event_type {
    SMALL_DELIVER,     /* the message in `flight`, while its receiver holds on to its leader */
    SMALL_DELIVER_OFF, /* the same after the receiver has waited long enough to let go of it */
    SMALL_STORE,       /* the `writes` oldest writes are durable, and the newest is reported */
    SMALL_EXPIRE,      /* an election timer */
    SMALL_HEARTBEAT,
    SMALL_PROPOSE,
    SMALL_READ,
    SMALL_CHANGE, /* the leader is asked for the voters in `flight`, a bit for each server */
    SMALL_COMPACT,
    SMALL_SAVE,    /* the snapshot being received gets its final name */
    SMALL_INSTALL, /* ... and the core hears of it */
    SMALL_SENT,    /* a leader learns how the sending to the server `flight` ended */
    SMALL_CRASH,   /* ... and restart; `writes` whole writes and `entries` of the next survive */
    SMALL_LOSE,    /* the same, and then the log is lost; `flight` 1: nobody knows up to where */
};

struct small_event {
    uint8_t type;
    uint8_t server;
    uint8_t flight;
    uint8_t writes;
    uint8_t entries;
};

/* Starts three servers, new or led as the budget says. `sink` hears their stories, with the id as
 * context; NULL: nobody. */
void small_init(struct small *small, const struct small_budget *budget, trace_sink_fn sink);
void small_done(struct small *small);

/* Makes it happen; what must never be ends the process with CHECK. */
void small_step(struct small *small, const struct small_event *event);

/* ---- small_log.c: as entry_log.h, in place ---- */

void small_log_put(struct small_log *log, struct small_entry entry);
bool small_log_has(const struct small_log *log, uint64_t index, struct small_entry entry);
void small_log_truncate(struct small_log *log, uint64_t from);
void small_log_reset(struct small_log *log, const struct small_log *committed, uint64_t index);
uint64_t small_log_term(const struct small_log *log, uint64_t index);

/* ---- small_copy.c ---- */

void small_save(const struct small *small, struct small_snapshot *snapshot);
void small_load(struct small *small, const struct small_snapshot *snapshot);

void small_save_core(const struct raft *raft, struct small_core *copy);
/* The copy may be of another core of the same config: all pointers stay those of `raft`. */
void small_load_core(struct raft *raft, const struct small_core *copy);

/* ---- small_members.c ---- */

uint8_t small_encode(const struct raft_membership *membership);
struct raft_membership small_decode(uint8_t code);
/* The one in force when the log ends at `last`. */
uint8_t small_membership(const struct small_log *log, uint64_t last);
/* Those among these entries, of which the first has the index `first`; returns how many. */
size_t small_find_memberships(const struct small_entry *entries, uint64_t first, uint64_t count,
                              struct raft_logged_membership *ret_found);
/* Whether these servers, a bit for each, are a majority of each set of voters. */
bool small_is_majority(uint8_t membership, uint8_t servers);

/* ---- small_events.c ---- */

/* Everything that may happen next; returns how many. */
size_t small_events(const struct small *small, struct small_event events[SMALL_EVENTS_MAX]);

/* One line on what is about to happen. */
void small_describe(const struct small *small, const struct small_event *event, char *line,
                    size_t size);

/* ---- small_key.c ---- */

/* Removes messages that no receiver can ever take notice of again. */
void small_forget(struct small *small);

struct small_key {
    uint64_t state; /* equal only (but for 2^-64) for states that differ at most in names */
    size_t flight_count;
    uint32_t flights[SMALL_FLIGHTS_MAX]; /* the same of each message on its way, rising */
};

void small_key(const struct small *small, struct small_key *ret_key);

/* Whether all of the key's messages are among these. */
bool small_key_covers(const struct small_key *key, const uint32_t *flights, size_t count);

#endif
