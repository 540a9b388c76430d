#include "sim/steps.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "sim/ledger.h"
#include "sim/workload.h"

#include <stdlib.h>

#define ANY UINT64_MAX /* a state that is not known */

/* ---- logs: values to which pieces are appended ---- */

/* The lowest byte counts the pieces, so that none is 0. */
static uint64_t log_state(uint64_t state, uint64_t piece)
{
    const uint64_t both[2] = {state, piece};
    return (hash_bytes(both, sizeof both) & ~(uint64_t)0xff) | ((state + 1) & 0xff);
}

static uint64_t state_of_log(struct slice value)
{
    uint64_t state = 0;
    for (size_t at = 0; at + PIECE_SIZE <= value.size; at += PIECE_SIZE) {
        state = log_state(state, workload_piece(slice_of(value.data + at, PIECE_SIZE)));
    }
    return state;
}

/* ---- tokens ---- */

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

void tokens_learn(const struct simulation *simulation, size_t key, struct tokens *tokens)
{
    const struct workload *workload = simulation->workload;
    tokens->count = simulation->ledger->committed_count + 1;
    tokens->writers = memory_new(tokens->count, sizeof *tokens->writers);
    for (uint64_t i = 0; i < workload->note_count; i++) {
        const struct operation_note *note = workload->notes[i];
        if (note->key == key && note->outcome == OUTCOME_OK && note->status == 0) {
            if (note->operation == OPERATION_PUT) {
                learn(tokens, note->revision, note->number);
            } else if (note->operation == OPERATION_GET) {
                learn(tokens, note->revision, workload_writer(workload, note->data));
            }
        }
    }
}

void tokens_done(struct tokens *tokens)
{
    free(tokens->writers);
}

/* ---- what requests did ---- */

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
                          bool touched, struct step *step)
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
        /* A key that was only touched has another token, and the same value. */
        return step->a != ANY && (present != ANY || !touched);
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

/* What a client of Redis did, who is told no tokens. */
static void step_of_redis(const struct workload *workload, const struct operation_note *note,
                          struct step *step)
{
    bool known = note->outcome == OUTCOME_OK;
    bool is_counter = workload_is_counter(note->key);
    bool is_string = !is_counter && !workload_is_log(note->key);
    bool only_absent = (note->options & OPTION_ABSENT) != 0;
    step->a = ANY;
    switch (note->operation) {
    case OPERATION_PUT:
        step->a = 0;
        step->b = workload_is_log(note->key) ? log_state(0, note->number) : note->number;
        step->kind = !only_absent ? STEP_SET : known ? STEP_SWAP : STEP_SWAP_IF;
        if (known && note->status == KV_ERR_CONDITION) {
            step->kind = STEP_IS_SET;
        }
        break;
    case OPERATION_ADD:
        step->a = note->count - note->number;
        step->b = known ? note->count : note->number;
        step->kind = known ? STEP_SWAP : STEP_ADD;
        break;
    case OPERATION_APPEND:
        step->a = known ? note->count / PIECE_SIZE : ANY;
        step->b = note->number;
        step->kind = STEP_APPEND;
        break;
    case OPERATION_DELETE:
        step->a = 0;
        step->kind = !known ? STEP_SET : note->status == KV_ERR_NOT_FOUND ? STEP_IS : STEP_TAKE;
        break;
    default:
        step->kind = STEP_IS;
        if (note->status != 0) {
            step->a = 0;
        } else {
            step->a = is_string    ? workload_writer(workload, note->data)
                      : is_counter ? workload_number(note->data)
                                   : state_of_log(note->data);
        }
        break;
    }
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
    if (note->redis) {
        step_of_redis(workload, note, &step);
        *ret_step = step;
        return true;
    }
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
    case OPERATION_EXPIRE:
        step.kind = note->status == KV_ERR_NOT_FOUND ? STEP_IS : STEP_IS_SET;
        tells = !unknown;
        break;
    default:
        tells = step_of_write(tokens, note, workload->touched[key], &step);
        break;
    }
    *ret_step = step;
    return tells;
}

/* An `order` that is not behind what came at that time of the world: the last asking before. */
static uint64_t order_at(const struct workload *workload, uint64_t us)
{
    uint64_t low = 0;
    uint64_t high = workload->note_count;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (workload->notes[middle]->began_us < us) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : workload->notes[low - 1]->began;
}

/* What time does to the key after the request. False: nothing. */
static bool step_of_time(const struct simulation *simulation, const struct operation_note *note,
                         size_t key, struct step *ret_step)
{
    bool writes = note->operation == OPERATION_PUT || note->operation == OPERATION_EXPIRE;
    if (!writes || note->key != key || note->outcome == OUTCOME_NOT ||
        note->expiry.kind == EXPIRY_NEVER) {
        return false;
    }
    uint64_t ms = 0;
    uint64_t now_ms = note->asked.right_us / 1000;
    if (note->expiry.kind == EXPIRY_AFTER) {
        ms = (uint64_t)note->expiry.ms;
    } else if (note->expiry.kind == EXPIRY_AT && (uint64_t)note->expiry.ms > now_ms) {
        ms = (uint64_t)note->expiry.ms - now_ms;
    }
    uint64_t us = clocks_earliest(simulation->clocks, note->began_us, ms);
    uint64_t began = order_at(simulation->workload, us);
    /* What is made from a value lives as long as that. */
    bool puts = note->operation == OPERATION_PUT && key < KEY_COUNTERS;
    *ret_step = (struct step){
        .began = began > note->began ? began : note->began,
        .ended = UINT64_MAX,
        .kind = puts ? STEP_SWAP_IF : STEP_GOES,
        .a = note->number,
        .mark = hash_bytes_seeded(&note->number, sizeof note->number, STEP_GOES),
    };
    return true;
}

/* ---- all of them ---- */

static int compare_steps(const void *a, const void *b)
{
    const struct step *one = a;
    const struct step *other = b;
    if (one->began != other->began) {
        return one->began < other->began ? -1 : 1;
    }
    return one->mark < other->mark ? -1 : one->mark > other->mark;
}

size_t steps_most(const struct simulation *simulation)
{
    return 2 * (size_t)simulation->workload->note_count + 2;
}

size_t steps_gather(const struct simulation *simulation, const struct tokens *tokens, size_t key,
                    struct step *steps)
{
    const struct workload *workload = simulation->workload;
    size_t count = 0;
    for (uint64_t i = 0; i < workload->note_count; i++) {
        const struct operation_note *note = workload->notes[i];
        count += step_of(workload, tokens, note, key, &steps[count]);
        count += step_of_time(simulation, note, key, &steps[count]);
    }
    qsort(steps, count, sizeof *steps, compare_steps);
    return count;
}

/* ---- in a search ---- */

bool step_allows(const struct step *step, uint64_t state)
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
    case STEP_GOES:
    case STEP_ADD:
        return true;
    case STEP_APPEND:
        return step->a == ANY || ((state + 1) & 0xff) == (step->a & 0xff);
    }
    UNREACHABLE();
}

bool step_only_looks(const struct step *step)
{
    return step->kind == STEP_IS || step->kind == STEP_IS_SET || step->kind == STEP_IS_NOT;
}

uint64_t step_after(const struct step *step, uint64_t state)
{
    switch (step->kind) {
    case STEP_SET:
    case STEP_SWAP:
        return step->b;
    case STEP_TAKE:
    case STEP_GOES:
        return 0;
    case STEP_SWAP_IF:
        return state == step->a ? step->b : state;
    case STEP_ADD:
        return state + step->b;
    case STEP_APPEND:
        return log_state(state, step->b);
    default:
        return state;
    }
}
