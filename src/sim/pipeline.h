/*
 * What a client of Redis asks for at once, what the log made of it, and what it was answered.
 *
 *     WATCH k │ SET a │ GET b │ MULTI │ INCRBY c │ DEL d │ EXEC │ ...       as it was sent
 *               └──── entry ───┘        └─── entry ──────┘                  in the log
 *
 * A server logs what comes in one piece as one entry, and may cut anywhere but in a transaction
 * that watches. Each write says which request it was: by its value, by how much it adds, by a
 * second key that nobody else names. Beginning with that one an entry must be these requests, one
 * after the other, and its replies are what each of them is to be answered.
 *
 * A write has no session. So it takes effect at most once, exactly once when it was answered, and
 * never when the answer says so; when there is none, or it begins with UNKNOWN, it may have.
 */
#ifndef SIM_PIPELINE_H
#define SIM_PIPELINE_H

#include "sim/workload.h"

enum {
    PIPELINE_NOTES_MAX = 8,
    PIPELINE_COMMANDS_MAX = 2 * PIPELINE_NOTES_MAX + 1,
    PIPELINE_ANSWERS_MAX = PIPELINE_NOTES_MAX + 3,
};

enum answer_kind {
    ANSWER_NOTE,  /* to the next request that is not in the transaction */
    ANSWER_WATCH, /* OK */
    ANSWER_MULTI,
    ANSWER_QUEUED,
    ANSWER_EXEC, /* to all requests in the transaction */
};

/* A command of the store as an entry must have it. */
struct wanted {
    struct operation_note *note; /* NULL: a guard, or a key that only names the request before */
    bool is_guard;
    size_t offset; /* in the pipeline's bytes */
    size_t size;
};

struct pipeline {
    struct simulation *simulation;
    struct buf request; /* to send */
    size_t first_size;  /* of it, before a pause */
    struct operation_note *notes[PIPELINE_NOTES_MAX];
    size_t count;
    size_t before; /* the transaction, */
    size_t within; /* in it */
    struct wanted commands[PIPELINE_COMMANDS_MAX];
    size_t command_count;
    struct buf bytes;
    enum answer_kind answers[PIPELINE_ANSWERS_MAX];
    size_t answer_count;
    size_t answered;      /* of them */
    size_t notes_ended;   /* of the notes */
    size_t watched;       /* key */
    bool watch_failed;    /* it was answered with an error */
    bool watch_confirmed; /* it was answered */
    size_t guard_place;   /* of the transaction's guard among the commands; SIZE_MAX: it has none */
    size_t exec_end;      /* the place behind the transaction */
    bool exec_missing;    /* the log has what is behind the transaction, and not the transaction */
    bool queue_failed;    /* a request was not queued */
    bool trouble;         /* an answer was an error */
    uint64_t floor;       /* what was known to be committed when it was asked */
    uint64_t newest;      /* the newest index that one of its answers names */
    char moved[64];       /* where MOVED sends the client */
};

struct pipeline *pipeline_new(struct simulation *simulation, size_t actor);
void pipeline_free(struct pipeline *pipeline);

/* Takes the answers at the front of `bytes`, and says how much of them. False: that is no answer
 * to what was asked. */
bool pipeline_take(struct pipeline *pipeline, struct slice bytes, size_t *ret_used);
bool pipeline_is_done(const struct pipeline *pipeline);
/* No more answers come; `sent` bytes of the request may have arrived. */
void pipeline_lose(struct pipeline *pipeline, size_t sent);

/* Entry `index` was applied. False: it is no client's of Redis. */
bool pipeline_logged(struct workload *workload, uint64_t index, const struct command *command,
                     const struct model_reply *reply);

#endif
