/*
 * The answers to a pipeline, in the order of its requests, and whether they are right.
 *
 * A request that is in the log must be answered what applying its entry gave. A read that is not is
 * answered from some state that is not older than what was known to be committed when it was asked,
 * nor than what the requests before it were answered from.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "sim/ledger.h"
#include "sim/pipeline.h"
#include "sim/redis_value.h"

#include <inttypes.h>

/* ---- judging ---- */

static void fail(const struct operation_note *note, const char *property, const char *why)
{
    simulation_fail(note->pipeline->simulation, property,
                    "operation %" PRIu64
                    " of client %zu, %s of key %zu, answered %s, count %" PRIu64
                    "; asked at %" PRIu64 ", logged at %" PRIu64 ": %s",
                    note->number, note->actor + 1, operation_name(note->operation), note->key,
                    kvapp_err_name(note->status), note->count, note->floor, note->logged, why);
}

/* From an entry. */
static void judge_logged(struct operation_note *note)
{
    struct pipeline *pipeline = note->pipeline;
    const struct reply *result = &note->result;
    bool same = note->status == result->status && note->count == result->count &&
                slice_equal(note->data, result->data);
    if (note->skipped) {
        fail(note, "linearizability", "its transaction was not executed");
    } else if (note->logged <= note->floor || note->logged < pipeline->newest) {
        fail(note, "linearizability", "the index is not one that it could have");
    } else if (!same) {
        fail(note, "linearizability", "applying it should have answered otherwise");
    } else {
        pipeline->newest = note->logged;
        linear_prove(pipeline->simulation, note->logged);
    }
}

static bool is_what(const struct operation_note *note, const struct version *version)
{
    bool present = version != NULL && version->present;
    return present ? note->status == 0 && slice_equal(version->value, note->data)
                   : note->status == KV_ERR_NOT_FOUND;
}

/* From some state. */
static void judge_read(struct operation_note *note)
{
    struct simulation *simulation = note->pipeline->simulation;
    struct slice key = workload_key(simulation->workload, note->key);
    uint64_t from = note->pipeline->newest > note->floor ? note->pipeline->newest : note->floor;
    uint64_t until = from - 1;
    const struct version *found = NULL;
    bool fits = false;
    do {
        const struct version *version = model_at(simulation->ledger->model, key, until + 1, &until);
        if (is_what(note, version)) {
            fits = true;
            found = version;
        }
    } while (until < simulation->ledger->committed_count);
    if (!fits) {
        fail(note, "linearizability", "the key was not like that since it was asked for");
    } else if (found != NULL && found->present) {
        clocks_found(simulation->clocks, &note->asked, key, found, true);
    }
}

static void judge(struct operation_note *note)
{
    if (note->logged != 0) {
        judge_logged(note);
    } else if (operation_is_write(note->operation)) {
        fail(note, "durability", "no entry that is committed holds it");
    } else {
        judge_read(note);
    }
}

/* ---- one answer ---- */

static const struct {
    const char *word;
    int status;
} errors[] = {
    {"UNKNOWN", KV_ERR_OUTCOME_UNKNOWN}, {"CLUSTERDOWN", KV_ERR_NO_LEADER},
    {"TRYAGAIN", KV_ERR_BUSY},           {"OOM", KV_ERR_FULL},
    {"LOADING", KV_ERR_STOPPED},         {"READONLY", KV_ERR_NOT_LEADER},
    {"MOVED", KV_ERR_NOT_LEADER},        {"EXECABORT", KV_ERR_CONDITION},
};

/* The status that an error stands for; 0: none that there may be. */
static int status_of(struct pipeline *pipeline, const struct redis_value *value)
{
    struct simulation *simulation = pipeline->simulation;
    pipeline->trouble = true;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (!redis_value_begins(value, errors[i].word)) {
            continue;
        }
        if (redis_value_begins(value, "CLUSTERDOWN")) {
            simulation_reached(simulation, REACHED_CLUSTERDOWN);
        } else if (redis_value_begins(value, "MOVED")) {
            struct slice text = value->text;
            size_t at = text.size;
            while (at > 0 && text.data[at - 1] != ' ') {
                at--;
            }
            size_t size = text.size - at < sizeof pipeline->moved ? text.size - at : 0;
            memcpy(pipeline->moved, text.data + at, size);
            pipeline->moved[size] = '\0';
        } else if (redis_value_begins(value, "UNKNOWN the leader was lost")) {
            simulation_reached(simulation, REACHED_LINK_LOST);
        }
        return errors[i].status;
    }
    simulation_fail(simulation, "redis", "a client is told: %.*s", (int)value->text.size,
                    (const char *)value->text.data);
    return 0;
}

static void end_with(struct operation_note *note, int status)
{
    bool unknown = status == KV_ERR_OUTCOME_UNKNOWN && operation_is_write(note->operation);
    workload_end(note->pipeline->simulation->workload, note,
                 unknown ? OUTCOME_UNKNOWN : OUTCOME_NOT, status);
    if (!unknown && note->applied != 0 && operation_is_write(note->operation)) {
        fail(note, "exactly-once", "it failed for certain, and yet took effect");
    }
}

/* Whether the value is of the kind that answers the request, and what it says. */
static bool read_answer(struct operation_note *note, const struct redis_value *value, int *status)
{
    *status = 0;
    switch (note->operation) {
    case OPERATION_GET: {
        uint8_t *data = memory_new(1, value->text.size + 1);
        memcpy(data, value->text.size == 0 ? (const void *)"" : value->text.data, value->text.size);
        note->data = slice_of(data, value->text.size);
        *status = value->null ? KV_ERR_NOT_FOUND : 0;
        return value->kind == '$';
    }
    case OPERATION_PUT:
        *status = value->null ? KV_ERR_CONDITION : 0;
        return value->null ? value->kind == '$' && note->options != 0
                           : value->kind == '+' && redis_value_begins(value, "OK");
    case OPERATION_DELETE:
        note->count = (uint64_t)value->number;
        *status = value->number == 0 ? KV_ERR_NOT_FOUND : 0;
        return value->kind == ':';
    default:
        note->count = (uint64_t)value->number;
        return value->kind == ':';
    }
}

/* False: that is no answer to this request. */
static bool end_note(struct pipeline *pipeline, const struct redis_value *value)
{
    struct operation_note *note = pipeline->notes[pipeline->notes_ended++];
    int status = 0;
    if (value->kind == '-') {
        status = status_of(pipeline, value);
        end_with(note, status);
        return status != KV_ERR_CONDITION;
    }
    if (!read_answer(note, value, &status)) {
        return false;
    }
    workload_end(pipeline->simulation->workload, note, OUTCOME_OK, status);
    judge(note);
    return true;
}

/* ---- transactions ---- */

static bool end_refused(struct pipeline *pipeline, const struct redis_value *value)
{
    int status = value->kind == '-' ? status_of(pipeline, value) : KV_ERR_CONDITION;
    bool aborted = pipeline->queue_failed || pipeline->watch_failed;
    if (value->kind == '-' && (status == KV_ERR_CONDITION) != aborted) {
        return false;
    }
    if (value->kind != '-') {
        simulation_reached(pipeline->simulation, REACHED_WATCH_CONFLICT);
    }
    for (size_t i = 0; i < pipeline->within; i++) {
        end_with(pipeline->notes[pipeline->notes_ended++], status);
    }
    return true;
}

/* All of it or nothing: 0, KV_ERR_INCOMPLETE or KV_ERR_MALFORMED. */
static int take_executed(struct pipeline *pipeline, struct slice bytes, size_t *ret_used)
{
    struct redis_value value;
    size_t used = 0;
    for (int pass = 0; pass < 2; pass++) {
        used = *ret_used;
        for (size_t i = 0; i < pipeline->within; i++) {
            size_t size = 0;
            int err =
                redis_value_take(slice_of(bytes.data + used, bytes.size - used), &value, &size);
            if (err == 0 && pass == 1 && (value.kind == '-' || !end_note(pipeline, &value))) {
                err = KV_ERR_MALFORMED;
            }
            if (err != 0) {
                return err;
            }
            used += size;
        }
    }
    simulation_reached(pipeline->simulation, REACHED_EXECUTED);
    *ret_used = used;
    return 0;
}

/* Nothing is executed without what guards it, and nothing that was refused half. */
static int take_exec(struct pipeline *pipeline, struct slice bytes, const struct redis_value *value,
                     size_t *ret_used)
{
    bool guarded = pipeline->watched != KEYS_ALL && !pipeline->watch_failed;
    bool refused = value->kind == '-' || (value->kind == '*' && value->null && guarded);
    if (refused) {
        return end_refused(pipeline, value) ? 0 : KV_ERR_MALFORMED;
    }
    if (value->kind != '*' || value->null || (size_t)value->number != pipeline->within ||
        pipeline->queue_failed || pipeline->watch_failed) {
        return KV_ERR_MALFORMED;
    }
    return take_executed(pipeline, bytes, ret_used);
}

/* ---- all of them ---- */

static bool take_word(struct pipeline *pipeline, const struct redis_value *value, const char *word)
{
    return value->kind == '+' ? redis_value_begins(value, word)
                              : value->kind == '-' && status_of(pipeline, value) != 0;
}

/* The next answer: as redis_value_take. */
static int take_next(struct pipeline *pipeline, struct slice bytes, size_t *ret_used)
{
    struct redis_value value;
    int err = redis_value_take(bytes, &value, ret_used);
    if (err != 0) {
        return err;
    }
    bool fits = true;
    switch (pipeline->answers[pipeline->answered]) {
    case ANSWER_NOTE:
        fits = end_note(pipeline, &value);
        break;
    case ANSWER_WATCH:
        fits = take_word(pipeline, &value, "OK");
        pipeline->watch_failed = value.kind == '-';
        pipeline->watch_confirmed = !pipeline->watch_failed;
        fits = fits && !(pipeline->watch_confirmed && pipeline->exec_missing);
        break;
    case ANSWER_MULTI:
        fits = value.kind == '+' && redis_value_begins(&value, "OK");
        break;
    case ANSWER_QUEUED:
        fits = take_word(pipeline, &value, "QUEUED");
        pipeline->queue_failed = pipeline->queue_failed || value.kind == '-';
        break;
    case ANSWER_EXEC:
        err = take_exec(pipeline, bytes, &value, ret_used);
        break;
    }
    return fits ? err : KV_ERR_MALFORMED;
}

bool pipeline_take(struct pipeline *pipeline, struct slice bytes, size_t *ret_used)
{
    size_t used = 0;
    int err = 0;
    while (err == 0 && used < bytes.size && !simulation_failed(pipeline->simulation)) {
        size_t size = 0;
        err = pipeline_is_done(pipeline)
                  ? KV_ERR_MALFORMED
                  : take_next(pipeline, slice_of(bytes.data + used, bytes.size - used), &size);
        if (err == 0) {
            used += size;
            pipeline->answered++;
        }
    }
    *ret_used = used;
    return err == 0 || err == KV_ERR_INCOMPLETE;
}

bool pipeline_is_done(const struct pipeline *pipeline)
{
    return pipeline->answered == pipeline->answer_count;
}

void pipeline_lose(struct pipeline *pipeline, size_t sent)
{
    /* What comes behind the pause was not sent, if that is so. */
    size_t first = pipeline->first_size < pipeline->request.size ? 0 : pipeline->count;
    bool all = sent >= pipeline->request.size || sent > pipeline->first_size;
    while (pipeline->notes_ended < pipeline->count) {
        bool may_be = sent > 0 && (all || pipeline->notes_ended < first);
        end_with(pipeline->notes[pipeline->notes_ended++],
                 may_be ? KV_ERR_OUTCOME_UNKNOWN : KV_ERR_CONNECTION);
    }
    pipeline->answered = pipeline->answer_count;
}
