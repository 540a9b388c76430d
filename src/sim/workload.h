/*
 * The clients of a run: each an instance of the client library on a host of its own, with a window
 * of requests in flight, few keys, and values that name the request that wrote them. Everything
 * asked and answered is the history that linear.c and register.c judge.
 */
#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "client/client.h"
#include "sim/clocks.h"
#include "sim/model.h"
#include "sim/run.h"

enum {
    ACTORS_MAX = 6,
    WINDOW_MAX = 8,
    KEYS_MAX = 12,
    KEY_COUNTERS = KEYS_MAX + 1, /* keys of clients of Redis: numbers, */
    KEY_LOGS = KEY_COUNTERS + 2, /* and values to which pieces are appended */
    KEYS_ALL = KEY_LOGS + 2,
    KEY_SIZE = 16,
    PIECE_SIZE = 8,
    VALUE_HEADER = 8, /* of each value: the number of the operation that wrote it */
};

enum outcome {
    OUTCOME_OPEN,    /* no answer yet */
    OUTCOME_OK,      /* answered; reply.status says what */
    OUTCOME_UNKNOWN, /* may have happened, may yet happen, may not */
    OUTCOME_NOT,     /* has not happened and will not */
};

struct pipeline;

/* One request of a client, with its answer. Plain; lives as long as the run. */
struct operation_note {
    uint64_t number; /* from 1 on: its value's name */
    enum operation operation;
    enum kvapp_reads reads; /* of a read: how it was asked for */
    size_t actor;
    size_t key; /* of the workload's keys; of a range: see command */
    bool has_expected;
    uint64_t expected_revision;
    uint32_t limit;
    size_t range_end; /* a range: keys `key` ... range_end - 1 */
    size_t value_size;
    struct expiry expiry; /* of a put, or an expire */
    uint32_t options;     /* of a put */
    struct pipeline *pipeline;
    bool redis;          /* asked by a client of Redis; how it went, as the log says: */
    uint64_t logged;     /* the entry that holds it; 0: none yet */
    bool skipped;        /* the transaction was not executed */
    struct reply result; /* its data owned by the workload */

    struct stamp asked; /* what was right when it was asked */
    uint64_t began_us;  /* the world's time when it was asked */
    uint64_t began;     /* `order` when it was asked */
    uint64_t ended;     /* and when it was answered */
    uint64_t floor;     /* an index that the answer must not be older than */
    enum outcome outcome;
    int status;
    uint64_t revision;
    uint64_t count;
    bool more;
    uint64_t age_ms;   /* of a stale read, as the server said */
    uint64_t applied;  /* the index at which it took effect, as the log says; 0: has not */
    struct slice data; /* the answer's, owned by the workload */
};

struct actor;
struct callers;

struct workload {
    struct simulation *simulation;
    size_t actor_count;
    struct actor *actors[ACTORS_MAX];
    struct callers *callers; /* clients of Redis */
    size_t key_count;
    char keys[KEYS_ALL][KEY_SIZE]; /* in this order, those of key_count first */
    bool touched[KEYS_ALL]; /* a request may have written the key without changing its value */
    struct operation_note **notes; /* notes[number - 1] */
    uint64_t note_count;
    uint64_t note_capacity;
    uint64_t order; /* counts askings and answers */
    uint64_t mark;  /* an `order`: the healed cluster had a leader */
    uint64_t floor; /* what the answers so far prove to be committed */
    size_t value_size_max;
    uint32_t large_percent; /* of puts, that have values up to that size */
    uint64_t pause_us;      /* between two requests of one client, on average */
    bool quiet;             /* no new requests */
    struct sim_event flooded;
};

struct workload *workload_new(struct simulation *simulation);
void workload_free(struct workload *workload);
void workload_begin(struct workload *workload);

/* One turn of a client's host. */
void workload_turn(struct workload *workload, const struct sim_host *host);

/* A client dies and comes back; those of Redis count behind the others. */
void workload_crash(struct workload *workload, size_t number);
/* Every client asks for as many writes as it may; after `us` most clients die, and nobody asks for
 * them again. */
void workload_flood(struct workload *workload, uint64_t us);
/* Starts every client that is down, at once, and anew each one that knows none of the members. */
void workload_heal(struct workload *workload);
struct sim_host *workload_host(struct workload *workload, size_t actor);

/* Requests without an answer. */
size_t workload_open(const struct workload *workload);
/* The longest time that a client gives a request. */
uint64_t workload_timeout_us(const struct workload *workload);
/* Every client that runs asks for one more thing, whatever its window. */
void workload_probe(struct workload *workload);

/* Entry `index` was committed and applied (by the model). */
void workload_applied(struct workload *workload, uint64_t index, struct slice command,
                      const struct model_reply *reply);

/* The key as bytes; key key_count is behind all. */
struct slice workload_key(const struct workload *workload, size_t key);
/* The number of the operation that wrote this value; 0: nobody could have. */
uint64_t workload_writer(const struct workload *workload, struct slice value);

static inline bool workload_is_counter(size_t key)
{
    return key >= KEY_COUNTERS && key < KEY_LOGS;
}
static inline bool workload_is_log(size_t key)
{
    return key >= KEY_LOGS;
}
/* The number that a counter's value, or a piece of a log, is; 0: none. */
uint64_t workload_number(struct slice value);
uint64_t workload_piece(struct slice piece);
void workload_put_piece(struct buf *value, uint64_t number);
/* As the values of puts are. */
void workload_fill(struct buf *value, uint64_t number, size_t size);
/* A new request of this actor, ACTORS_MAX and beyond: of a client of Redis. */
struct operation_note *workload_note(struct workload *workload, size_t actor);
/* It was answered, or never will be. */
void workload_end(struct workload *workload, struct operation_note *note, enum outcome outcome,
                  int status);

/* linear.c: an answer came; against the order of commits. */
void linear_answered(struct simulation *simulation, struct operation_note *note);
/* linear.c: that index is committed, as an answer says. */
void linear_prove(struct simulation *simulation, uint64_t index);
/* register.c: at the end; each key's history as a black box. */
void register_check(struct simulation *simulation);

#endif
