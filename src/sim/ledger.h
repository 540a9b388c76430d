/*
 * What the run knows of the log, from outside the servers: every entry that any server ever had
 * (an index and a term name one entry, for ever), which of them are committed, and what the state
 * machine must be after each: the digest by a reference state machine, the replies by a model of
 * its own that shares no code with it.
 */
#ifndef SIM_LEDGER_H
#define SIM_LEDGER_H

#include "kv/command.h"
#include "kvapp/raft.h"
#include "sim/clocks.h"
#include "sim/model.h"
#include "sim/run.h"

struct server;

struct record {
    struct record *other; /* another entry of the same index */
    uint64_t index;
    uint64_t term;
    uint64_t previous_term;
    uint64_t checksum;
    struct raft_membership *membership; /* NULL: it is none */
    struct stamp stamp;
    struct slice encoded; /* stays until the ledger goes */
};

struct committed {
    const struct record *record;
    uint64_t term;            /* in which it was committed: every later leader has it */
    uint64_t time_us;         /* when, by the world's clock */
    uint64_t digest;          /* after it */
    struct model_reply reply; /* what applying it must have answered */
    bool claimed;             /* a client was told that its write is this entry */
};

struct term_note {
    size_t leader; /* number of the server, plus 1; 0: nobody */
    size_t candidates;
};

struct ledger {
    struct simulation *simulation;
    struct record initial;           /* the membership that is in force while a log has none */
    const struct record *membership; /* the newest that is committed */
    struct record **seen;            /* by index, chained */
    uint64_t seen_count;             /* indexes 0 ... seen_count - 1; 0 is not used */
    uint64_t seen_capacity;
    struct committed *committed; /* by index; 0 is the empty beginning */
    uint64_t committed_count;    /* the newest committed index */
    uint64_t committed_capacity;
    struct term_note *terms;
    uint64_t term_count;
    uint64_t term_max;
    struct kv *reference;
    struct model *model;
};

struct ledger *ledger_new(struct simulation *simulation);
void ledger_free(struct ledger *ledger);

/* Whether this very entry is committed, or the initial membership. */
bool ledger_has_committed(const struct ledger *ledger, const struct record *record);

/* The entry of that index and term, or NULL. */
const struct record *ledger_find(const struct ledger *ledger, uint64_t index, uint64_t term);
/*
 * A server has this entry behind one of previous_term. NULL when that breaks log matching, which
 * has been told then.
 */
const struct record *ledger_see(struct ledger *ledger, struct slice encoded, uint64_t index,
                                uint64_t previous_term, const char *who);
/* The entry committed_count + 1 is committed by this server. */
void ledger_commit(struct ledger *ledger, const struct record *record, const struct server *by);

/* What was committed at that time of the world. */
uint64_t ledger_committed_at(const struct ledger *ledger, uint64_t time_us);

struct term_note *ledger_term(struct ledger *ledger, uint64_t term);

#endif
