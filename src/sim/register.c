/*
 * Linearizability, second way: each key as a black box, by what clients saw and when, without a
 * look at the log. Wing and Gong's search with Lowe's cache of states: find an order of the
 * requests that respects real time and in which every answer is right. A request without an answer
 * may take its place at any time after it was asked, or never.
 *
 * A key's state is the number of the operation that wrote its value, 0 when it is not there.
 * Revisions are opaque tokens here: what a token stands for is learnt from answers that name both.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "sim/ledger.h"
#include "sim/workload.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    STEPS_MAX = 60 * 1000, /* of one key's search */
    CACHE_BITS = 16,
};

#define ANY UINT64_MAX /* a state that is not known */

enum step_kind {
    STEP_IS,      /* the state was `a` */
    STEP_IS_SET,  /* the key was there */
    STEP_IS_NOT,  /* the state was not `a` */
    STEP_SET,     /* blindly to `b` */
    STEP_SWAP,    /* from `a` to `b` */
    STEP_SWAP_IF, /* from `a` to `b`, or nothing when it was not `a` */
    STEP_TAKE,    /* the key was there, and is gone */
};

/* What one request did to this key. */
struct step {
    uint64_t began;
    uint64_t ended; /* UINT64_MAX: no answer */
    enum step_kind kind;
    uint64_t a;
    uint64_t b;
    uint64_t mark; /* its part of a set's hash */
    bool placed;
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

struct tokens {
    uint64_t *writers; /* by revision: the operation, plus 1; 0: not known */
    uint64_t count;
};

/* ---- the history of one key ---- */

static void learn(struct tokens *tokens, uint64_t revision, uint64_t writer)
{
    if (revision > 0 && revision < tokens->count) {
        tokens->writers[revision] = writer + 1;
    }
}

static uint64_t meaning(const struct tokens *tokens, uint64_t revision)
{
    if (revision == 0) {
        return 0;
    }
    uint64_t known = revision < tokens->count ? tokens->writers[revision] : 0;
    return known == 0 ? ANY : known - 1;
}

static void learn_all(const struct simulation *simulation, struct tokens *tokens)
{
    const struct workload *workload = simulation->workload;
    tokens->count = simulation->ledger->committed_count + 1;
    tokens->writers = memory_new(tokens->count, sizeof *tokens->writers);
    for (uint64_t i = 0; i < workload->note_count; i++) {
        const struct operation_note *note = workload->notes[i];
        if (note->outcome == OUTCOME_OK && note->status == 0) {
            if (note->operation == OPERATION_PUT) {
                learn(tokens, note->revision, note->number);
            } else if (note->operation == OPERATION_GET) {
                learn(tokens, note->revision, workload_writer(workload, note->data));
            }
        }
    }
}

/* What the page says of the key. False: nothing. */
static bool step_of_page(const struct workload *workload, const struct operation_note *note,
                         size_t key, struct step *step)
{
    struct reader reader = reader_of(note->data);
    struct slice wanted = workload_key(workload, key);
    while (reader.left > 0) {
        struct slice found = reader_sized(&reader);
        uint64_t writer = ANY;
        if (note->operation == OPERATION_SCAN) {
            writer = workload_writer(workload, reader_sized(&reader));
            (void)reader_u64(&reader);
        }
        int order = slice_compare(found, wanted);
        if (order == 0) {
            step->kind = writer == ANY ? STEP_IS_SET : STEP_IS;
            step->a = writer;
            return true;
        }
        if (order > 0) {
            break;
        }
        if (reader.left == 0 && note->more) {
            return false;
        }
    }
    step->kind = STEP_IS;
    step->a = 0;
    return true;
}

static bool step_of_write(const struct tokens *tokens, const struct operation_note *note,
                          struct step *step)
{
    uint64_t expected = note->has_expected ? meaning(tokens, note->expected_revision) : ANY;
    uint64_t written = note->operation == OPERATION_PUT ? note->number : 0;
    bool known = note->outcome == OUTCOME_OK;
    step->a = expected;
    step->b = written;
    if (known && note->status == KV_ERR_CONDITION) {
        uint64_t present = meaning(tokens, note->revision);
        step->kind = present != ANY ? STEP_IS : STEP_IS_NOT;
        step->a = present != ANY ? present : expected;
        return step->a != ANY;
    }
    if (known && note->status == KV_ERR_NOT_FOUND) {
        step->kind = STEP_IS;
        step->a = 0;
        return true;
    }
    if (note->has_expected && expected != ANY) {
        step->kind = known ? STEP_SWAP : STEP_SWAP_IF;
    } else if (known && note->operation == OPERATION_DELETE) {
        step->kind = STEP_TAKE;
    } else {
        step->kind = STEP_SET;
    }
    return true;
}

/* False: the request says nothing about this key. */
static bool step_of(const struct workload *workload, const struct tokens *tokens,
                    const struct operation_note *note, size_t key, struct step *ret_step)
{
    bool unknown = note->outcome == OUTCOME_UNKNOWN || note->outcome == OUTCOME_OPEN;
    bool covers =
        note->range_end == 0 ? note->key == key : key >= note->key && key < note->range_end;
    if (!covers || note->outcome == OUTCOME_NOT || note->reads == KVAPP_READS_STALE ||
        (unknown && !operation_is_write(note->operation))) {
        return false;
    }
    struct step step = {
        .began = note->began,
        .ended = unknown ? UINT64_MAX : note->ended,
        .mark = hash_bytes(&note->number, sizeof note->number),
    };
    bool tells = true;
    switch (note->operation) {
    case OPERATION_GET:
        step.kind = STEP_IS;
        step.a = note->status == 0 ? workload_writer(workload, note->data) : 0;
        break;
    case OPERATION_LIST:
    case OPERATION_SCAN:
        tells = step_of_page(workload, note, key, &step);
        break;
    case OPERATION_DELETE_RANGE:
        step.kind = STEP_SET;
        step.b = 0;
        break;
    default:
        tells = step_of_write(tokens, note, &step);
        break;
    }
    *ret_step = step;
    return tells;
}

/* ---- the search ---- */

static bool allows(const struct step *step, uint64_t state)
{
    switch (step->kind) {
    case STEP_IS:
    case STEP_SWAP:
        return state == step->a;
    case STEP_IS_SET:
    case STEP_TAKE:
        return state != 0;
    case STEP_IS_NOT:
        return state != step->a;
    case STEP_SET:
    case STEP_SWAP_IF:
        return true;
    }
    UNREACHABLE();
}

static bool only_looks(const struct step *step)
{
    return step->kind == STEP_IS || step->kind == STEP_IS_SET || step->kind == STEP_IS_NOT;
}

static uint64_t after(const struct step *step, uint64_t state)
{
    switch (step->kind) {
    case STEP_SET:
    case STEP_SWAP:
    case STEP_TAKE:
        return step->kind == STEP_TAKE ? 0 : step->b;
    case STEP_SWAP_IF:
        return state == step->a ? step->b : state;
    default:
        return state;
    }
}

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
    uint64_t state = after(step, search->state);
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
    uint64_t state = after(step, search->state);
    if (!allows(step, search->state) || (step->ended == UINT64_MAX && state == search->state) ||
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
            if (!step->placed && only_looks(step) && allows(step, search->state)) {
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

static void check_key(struct simulation *simulation, const struct tokens *tokens, size_t key,
                      struct search *search)
{
    const struct workload *workload = simulation->workload;
    search->count = 0;
    search->answered = 0;
    for (uint64_t i = 0; i < workload->note_count; i++) {
        struct step *step = &search->steps[search->count];
        if (step_of(workload, tokens, workload->notes[i], key, step)) {
            search->answered += step->ended != UINT64_MAX;
            search->count++;
        }
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
    struct tokens tokens = {0};
    learn_all(simulation, &tokens);
    struct search search = {0};
    search.steps = memory_new(workload->note_count + 1, sizeof *search.steps);
    search.choices = memory_new(workload->note_count + 1, sizeof *search.choices);
    search.cache = memory_new((size_t)1 << CACHE_BITS, sizeof *search.cache);
    for (size_t key = 0; key < workload->key_count && !simulation_failed(simulation); key++) {
        check_key(simulation, &tokens, key, &search);
    }
    free(search.steps);
    free(search.choices);
    free(search.cache);
    free(tokens.writers);
}
