/*
 * Linearizability, second way: each key as a black box, by what clients saw and when, without a
 * look at the log. Wing and Gong's search with Lowe's cache of states: find an order of the
 * requests that respects real time and in which every answer is right. A request without an answer
 * may take its place at any time after it was asked, or never.
 */
#include "base/memory.h"
#include "sim/steps.h"
#include "sim/workload.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    STEPS_MAX = 60 * 1000, /* of one key's search */
    CACHE_BITS = 16,
};

struct choice { /* one step placed, and how to go back */
    size_t step;
    uint64_t state;
    size_t tried; /* candidates that were tried at this depth */
    bool free;    /* there is no reason to try another in its place */
};

struct search {
    struct step *steps; /* by `began` */
    size_t count;
    size_t first;    /* every step before it is placed */
    size_t answered; /* answered steps that are not placed */
    struct choice *choices;
    size_t depth;
    uint64_t state;
    uint64_t hash; /* of the set of placed steps */
    uint64_t *cache;
    size_t cached;
    uint64_t tried;
};

/* ---- the search ---- */

/* False: the search has been here before. */
static bool cache_add(struct search *search, uint64_t key)
{
    key = key == 0 ? 1 : key;
    size_t mask = ((size_t)1 << CACHE_BITS) - 1;
    size_t at = (size_t)(key * 0xff51afd7ed558ccdu >> (64 - CACHE_BITS));
    while (search->cache[at] != 0) {
        if (search->cache[at] == key) {
            return false;
        }
        at = (at + 1) & mask;
    }
    if (search->cached < mask / 2) {
        search->cache[at] = key;
        search->cached++;
    }
    return true;
}

/* What may come next was asked before this: before any step that is left was answered. */
static uint64_t next_limit(const struct search *search)
{
    uint64_t limit = UINT64_MAX;
    for (size_t i = search->first; i < search->count && search->steps[i].began < limit; i++) {
        const struct step *step = &search->steps[i];
        if (!step->placed && step->ended < limit) {
            limit = step->ended;
        }
    }
    return limit;
}

/*
 * The `skip`-th step that may come next. Steps with answers first, since those without are
 * seldom needed. count: none is left.
 */
static size_t candidate(const struct search *search, size_t skip)
{
    uint64_t limit = next_limit(search);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = search->first; i < search->count && search->steps[i].began < limit; i++) {
            const struct step *step = &search->steps[i];
            if (!step->placed && (step->ended == UINT64_MAX) == (pass == 1) && skip-- == 0) {
                return i;
            }
        }
    }
    return search->count;
}

static uint64_t mix(uint64_t hash, uint64_t state)
{
    hash ^= state * 0xc4ceb9fe1a85ec53u;
    hash ^= hash >> 31;
    return hash * 0x9e3779b97f4a7c15u;
}

static void place(struct search *search, size_t i, bool free, size_t tried)
{
    struct step *step = &search->steps[i];
    uint64_t state = step_after(step, search->state);
    search->choices[search->depth] =
        (struct choice){.step = i, .state = search->state, .tried = tried, .free = free};
    search->depth++;
    search->state = state;
    search->hash += step->mark;
    search->answered -= step->ended != UINT64_MAX;
    step->placed = true;
    while (search->first < search->count && search->steps[search->first].placed) {
        search->first++;
    }
}

/* Places a step, unless it does not fit, is of no use, or leads to where the search has been. */
static bool try_step(struct search *search, size_t i, size_t tried)
{
    const struct step *step = &search->steps[i];
    uint64_t state = step_after(step, search->state);
    if (!step_allows(step, search->state) ||
        (step->ended == UINT64_MAX && state == search->state) ||
        !cache_add(search, mix(search->hash + step->mark, state))) {
        return false;
    }
    place(search, i, false, tried);
    return true;
}

/*
 * Places every step that may come next, fits, and only looks: whatever order there is with such a
 * step later, there is one with it now.
 */
static void place_free(struct search *search)
{
    bool placed = true;
    while (placed) {
        placed = false;
        uint64_t limit = next_limit(search);
        for (size_t i = search->first; i < search->count && search->steps[i].began < limit; i++) {
            const struct step *step = &search->steps[i];
            if (!step->placed && step_only_looks(step) && step_allows(step, search->state)) {
                place(search, i, true, 0);
                placed = true;
            }
        }
    }
}

static void unplace(struct search *search)
{
    search->depth--;
    const struct choice *choice = &search->choices[search->depth];
    struct step *step = &search->steps[choice->step];
    search->state = choice->state;
    search->hash -= step->mark;
    search->answered += step->ended != UINT64_MAX;
    step->placed = false;
    if (choice->step < search->first) {
        search->first = choice->step;
    }
}

/* Back to the last step that another could stand in for; false: there is none. */
static bool go_back(struct search *search, size_t *ret_tried)
{
    while (search->depth > 0) {
        unplace(search);
        if (!search->choices[search->depth].free) {
            *ret_tried = search->choices[search->depth].tried;
            return true;
        }
    }
    return false;
}

enum verdict { FITS, DOES_NOT_FIT, UNDECIDED };

static enum verdict search_run(struct search *search)
{
    size_t tried = 0;
    place_free(search);
    while (search->answered > 0) {
        if (++search->tried > STEPS_MAX) {
            return UNDECIDED;
        }
        size_t next = candidate(search, tried);
        if (next == search->count) {
            if (!go_back(search, &tried)) {
                return DOES_NOT_FIT;
            }
            continue;
        }
        tried++;
        if (try_step(search, next, tried)) {
            place_free(search);
            tried = 0;
        }
    }
    return FITS;
}

static void check_key(struct simulation *simulation, size_t key, struct search *search)
{
    const struct workload *workload = simulation->workload;
    struct tokens tokens;
    tokens_learn(simulation, key, &tokens);
    search->count = steps_gather(simulation, &tokens, key, search->steps);
    tokens_done(&tokens);
    search->answered = 0;
    for (size_t i = 0; i < search->count; i++) {
        search->answered += search->steps[i].ended != UINT64_MAX;
    }
    search->first = 0;
    search->depth = 0;
    search->state = 0;
    search->hash = 0;
    search->tried = 0;
    search->cached = 0;
    memset(search->cache, 0, sizeof *search->cache << CACHE_BITS);
    switch (search_run(search)) {
    case DOES_NOT_FIT:
        simulation_fail(simulation, "linearizability",
                        "the history of %s, %zu requests, fits no order, as a black box",
                        workload->keys[key], search->count);
        break;
    case UNDECIDED:
        simulation->result->undecided++;
        break;
    case FITS:
        break;
    }
}

void register_check(struct simulation *simulation)
{
    const struct workload *workload = simulation->workload;
    struct search search = {0};
    const size_t steps_max = steps_most(simulation);
    search.steps = memory_new(steps_max, sizeof *search.steps);
    search.choices = memory_new(steps_max, sizeof *search.choices);
    search.cache = memory_new((size_t)1 << CACHE_BITS, sizeof *search.cache);
    for (size_t key = 0; key < KEYS_ALL && !simulation_failed(simulation); key++) {
        if (key < workload->key_count || key >= KEY_COUNTERS) {
            check_key(simulation, key, &search);
        }
    }
    free(search.steps);
    free(search.choices);
    free(search.cache);
}
