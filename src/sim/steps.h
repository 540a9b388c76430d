/*
 * A key's history as a black box: what each request did to it, by what clients saw and when.
 *
 * A key's state is 0 when it is not there. Of most keys it is the number of the operation that
 * wrote the value, of a counter the value itself, of a log a hash of the pieces that were appended.
 * A request that lets a key live for a while only is followed by a step that nobody asked for,
 * which may take its place from the end of that while on, or never.
 *
 * Revisions are opaque tokens here: what a token stands for is learnt from answers that name both.
 */
#ifndef SIM_STEPS_H
#define SIM_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct simulation;

enum step_kind {
    STEP_IS,      /* the state was `a` */
    STEP_IS_SET,  /* the key was there */
    STEP_IS_NOT,  /* the state was not `a` */
    STEP_SET,     /* blindly to `b` */
    STEP_SWAP,    /* from `a` to `b` */
    STEP_SWAP_IF, /* from `a` to `b`, or nothing when it was not `a` */
    STEP_TAKE,    /* the key was there, and is gone */
    STEP_GOES,    /* the key goes, if it is there; no request but time does that */
    STEP_ADD,     /* `b` more */
    STEP_APPEND,  /* the piece `b`; it is the `a`-th then, unless that is not known */
};

/* What one request did to a key. */
struct step {
    uint64_t began;
    uint64_t ended; /* UINT64_MAX: no answer */
    enum step_kind kind;
    uint64_t a;
    uint64_t b;
    uint64_t mark; /* its part of a set's hash */
    bool placed;
};

struct tokens {
    uint64_t *writers; /* by revision: the operation, plus 1; 0: not known */
    uint64_t count;
};

/* Of one key: an entry may write several, and their tokens are the same then. */
void tokens_learn(const struct simulation *simulation, size_t key, struct tokens *tokens);
void tokens_done(struct tokens *tokens);

/* The most steps that a key can have. */
size_t steps_most(const struct simulation *simulation);
/* The steps of a key, by `began`; returns their number. */
size_t steps_gather(const struct simulation *simulation, const struct tokens *tokens, size_t key,
                    struct step *steps);

bool step_allows(const struct step *step, uint64_t state);
bool step_only_looks(const struct step *step);
uint64_t step_after(const struct step *step, uint64_t state);

#endif
