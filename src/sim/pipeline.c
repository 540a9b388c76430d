#include "sim/pipeline.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/ledger.h"
#include "sim/redis_value.h"
#include "wire/resp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    VALUE_SIZE_USUAL = 64,
    VALUE_SIZE_LARGE = 4096,
    MARK_SIZE = 32,
};

static const char mark_prefix[] = "mark-";

/* ---- what is asked ---- */

static void put_request(struct pipeline *pipeline, const struct slice *words, size_t count)
{
    const struct resp_writer writer = {.out = &pipeline->request, .version = 2};
    resp_array(&writer, count);
    for (size_t i = 0; i < count; i++) {
        resp_bulk(&writer, words[i]);
    }
}

static void put_word(struct pipeline *pipeline, const char *word, enum answer_kind kind)
{
    const struct slice words[] = {slice_of_string(word)};
    put_request(pipeline, words, 1);
    pipeline->answers[pipeline->answer_count++] = kind;
}

static void want(struct pipeline *pipeline, struct operation_note *note,
                 const struct command *command)
{
    CHECK(pipeline->command_count < PIPELINE_COMMANDS_MAX);
    struct wanted *wanted = &pipeline->commands[pipeline->command_count++];
    wanted->note = note;
    wanted->is_guard = command->operation == OPERATION_GUARD;
    wanted->offset = pipeline->bytes.size;
    command_encode(command, &pipeline->bytes);
    wanted->size = pipeline->bytes.size - wanted->offset;
}

static void draw_put(struct simulation *simulation, struct operation_note *note)
{
    note->operation = OPERATION_PUT;
    if (simulation_chance(simulation, 30)) {
        note->expiry = (struct expiry){
            .kind = EXPIRY_AFTER,
            .ms = (int64_t)simulation_draw_wide(simulation, 2, 8000),
        };
    }
    if (simulation_chance(simulation, 20)) {
        note->options = OPTION_ABSENT;
    }
    if (note->key < KEY_COUNTERS) {
        uint64_t max = simulation_chance(simulation, 5) ? VALUE_SIZE_LARGE : VALUE_SIZE_USUAL;
        note->value_size = simulation_draw(simulation, VALUE_HEADER, max);
    }
}

static void draw_request(struct simulation *simulation, struct operation_note *note)
{
    uint64_t kind = simulation_draw(simulation, 0, 4);
    if (kind < 3) {
        note->key = simulation_draw(simulation, 0, simulation->workload->key_count - 1);
    } else {
        note->key = (kind == 3 ? KEY_COUNTERS : KEY_LOGS) + simulation_draw(simulation, 0, 1);
    }
    bool makes = kind >= 3 && simulation_chance(simulation, 50);
    uint64_t drawn = simulation_draw(simulation, 0, 99);
    if (makes) {
        note->operation = kind == 3 ? OPERATION_ADD : OPERATION_APPEND;
    } else if (drawn < 50) {
        note->operation = OPERATION_GET;
    } else if (drawn < 85) {
        draw_put(simulation, note);
    } else {
        note->operation = OPERATION_DELETE;
    }
}

/* What SET writes and APPEND appends. */
static void make_value(const struct operation_note *note, struct buf *value)
{
    if (workload_is_log(note->key)) {
        workload_put_piece(value, note->number);
    } else if (workload_is_counter(note->key)) {
        char text[24];
        (void)snprintf(text, sizeof text, "%" PRIu64, note->number);
        buf_append_slice(value, slice_of_string(text));
    } else {
        workload_fill(value, note->number, note->value_size);
    }
}

static void put_set(struct pipeline *pipeline, struct operation_note *note, struct slice key)
{
    struct buf value = {0};
    char ms[24];
    struct slice words[6] = {slice_of_string("SET"), key};
    size_t count = 3;
    make_value(note, &value);
    words[2] = buf_slice(&value);
    if (note->expiry.kind != EXPIRY_NEVER) {
        (void)snprintf(ms, sizeof ms, "%" PRId64, note->expiry.ms);
        words[count++] = slice_of_string("PX");
        words[count++] = slice_of_string(ms);
    }
    if (note->options != 0) {
        words[count++] = slice_of_string("NX");
    }
    put_request(pipeline, words, count);
    const struct command command = {
        .operation = OPERATION_PUT,
        .key = key,
        .value = words[2],
        .expiry = note->expiry,
        .options = note->options,
    };
    want(pipeline, note, &command);
    buf_done(&value);
}

/* A second key, which nobody writes, says which deletion it is. */
static void put_delete(struct pipeline *pipeline, struct operation_note *note, struct slice key)
{
    char mark[MARK_SIZE];
    (void)snprintf(mark, sizeof mark, "%s%" PRIu64, mark_prefix, note->number);
    const struct slice words[] = {slice_of_string("DEL"), key, slice_of_string(mark)};
    put_request(pipeline, words, 3);
    struct command command = {.operation = OPERATION_DELETE, .key = key};
    want(pipeline, note, &command);
    command.key = words[2];
    want(pipeline, NULL, &command);
}

static void put_note(struct pipeline *pipeline, struct operation_note *note)
{
    struct slice key = workload_key(pipeline->simulation->workload, note->key);
    struct command command = {.operation = note->operation, .key = key};
    struct buf value = {0};
    char number[24];
    struct slice words[3] = {{0}, key};
    pipeline->notes[pipeline->count++] = note;
    switch (note->operation) {
    case OPERATION_PUT:
        put_set(pipeline, note, key);
        return;
    case OPERATION_DELETE:
        put_delete(pipeline, note, key);
        return;
    case OPERATION_ADD:
        (void)snprintf(number, sizeof number, "%" PRIu64, note->number);
        command.number = (int64_t)note->number;
        words[0] = slice_of_string("INCRBY");
        words[2] = slice_of_string(number);
        break;
    case OPERATION_APPEND:
        make_value(note, &value);
        command.value = buf_slice(&value);
        words[0] = slice_of_string("APPEND");
        words[2] = command.value;
        break;
    default:
        words[0] = slice_of_string("GET");
        break;
    }
    put_request(pipeline, words, note->operation == OPERATION_GET ? 2 : 3);
    want(pipeline, note, &command);
    buf_done(&value);
}

static void put_any(struct pipeline *pipeline, size_t actor)
{
    struct simulation *simulation = pipeline->simulation;
    struct operation_note *note = workload_note(simulation->workload, actor);
    note->redis = true;
    note->pipeline = pipeline;
    draw_request(simulation, note);
    put_note(pipeline, note);
}

static void put_plain(struct pipeline *pipeline, size_t actor)
{
    put_any(pipeline, actor);
    pipeline->answers[pipeline->answer_count++] = ANSWER_NOTE;
}

static void put_transaction(struct pipeline *pipeline, size_t actor)
{
    struct simulation *simulation = pipeline->simulation;
    size_t count = simulation_draw(simulation, 1, 3);
    put_word(pipeline, "MULTI", ANSWER_MULTI);
    pipeline->before = pipeline->count;
    if (pipeline->watched != KEYS_ALL) {
        const struct command guard = {
            .operation = OPERATION_GUARD,
            .has_expected = true,
            .number = 1,
            .key = workload_key(simulation->workload, pipeline->watched),
        };
        pipeline->guard_place = pipeline->command_count;
        want(pipeline, NULL, &guard);
    }
    for (size_t i = 0; i < count; i++) {
        put_any(pipeline, actor);
        pipeline->answers[pipeline->answer_count++] = ANSWER_QUEUED;
    }
    pipeline->exec_end = pipeline->command_count;
    pipeline->within = count;
    put_word(pipeline, "EXEC", ANSWER_EXEC);
}

struct pipeline *pipeline_new(struct simulation *simulation, size_t actor)
{
    struct pipeline *pipeline = memory_new(1, sizeof *pipeline);
    pipeline->simulation = simulation;
    pipeline->watched = KEYS_ALL;
    pipeline->guard_place = SIZE_MAX;
    pipeline->floor = simulation->workload->floor;
    bool multi = simulation_chance(simulation, 30);
    if (multi && simulation_chance(simulation, 60)) {
        pipeline->watched = simulation_draw(simulation, 0, simulation->workload->key_count - 1);
        const struct slice words[] = {slice_of_string("WATCH"),
                                      workload_key(simulation->workload, pipeline->watched)};
        put_request(pipeline, words, 2);
        pipeline->answers[pipeline->answer_count++] = ANSWER_WATCH;
        pipeline->first_size = simulation_chance(simulation, 50) ? pipeline->request.size : 0;
    }
    size_t count = simulation_draw(simulation, multi ? 0 : 1, multi ? 1 : 3);
    for (size_t i = 0; i < count; i++) {
        put_plain(pipeline, actor);
    }
    if (multi) {
        put_transaction(pipeline, actor);
    }
    if (multi && simulation_chance(simulation, 20)) {
        put_plain(pipeline, actor);
    }
    if (pipeline->first_size == 0) {
        pipeline->first_size = pipeline->request.size;
    }
    return pipeline;
}

void pipeline_free(struct pipeline *pipeline)
{
    buf_done(&pipeline->request);
    buf_done(&pipeline->bytes);
    free(pipeline);
}

/* ---- in the log ---- */

/* The request that this command names; NULL: none. */
static struct operation_note *note_of(const struct workload *workload,
                                      const struct command *command)
{
    uint64_t number = 0;
    struct slice mark = slice_of_string(mark_prefix);
    if (command->operation == OPERATION_ADD) {
        number = (uint64_t)command->number;
    } else if (command->operation == OPERATION_PUT || command->operation == OPERATION_APPEND) {
        number = workload_writer(workload, command->value);
        number = number == 0 ? workload_number(command->value) : number;
        number = number == 0 ? workload_piece(command->value) : number;
    } else if (command->operation == OPERATION_DELETE && slice_has_prefix(command->key, mark)) {
        number =
            workload_number(slice_of(command->key.data + mark.size, command->key.size - mark.size));
    }
    if (number == 0 || number > workload->note_count) {
        return NULL;
    }
    struct operation_note *note = workload->notes[number - 1];
    return note->redis ? note : NULL;
}

/* Where in what was wanted that is. */
static size_t place_of(const struct pipeline *pipeline, const struct operation_note *note,
                       const struct command *command)
{
    size_t place = 0;
    while (pipeline->commands[place].note != note) {
        place++;
    }
    return place + (command->operation == OPERATION_DELETE);
}

static bool fits(const struct pipeline *pipeline, const struct wanted *wanted, struct slice bytes)
{
    struct slice as = slice_of(pipeline->bytes.data + wanted->offset, wanted->size);
    struct command command;
    struct command guard;
    CHECK(command_decode(bytes, &command) == 0);
    if (!wanted->is_guard) {
        return slice_equal(as, bytes);
    }
    CHECK(command_decode(as, &guard) == 0);
    return command.operation == OPERATION_GUARD && slice_equal(command.key, guard.key) &&
           command.has_expected;
}

/* WATCH was served by some state from when it was asked to when the transaction was logged. */
static bool was_revision(const struct pipeline *pipeline, uint64_t to, uint64_t revision)
{
    const struct workload *workload = pipeline->simulation->workload;
    struct slice key = workload_key(workload, pipeline->watched);
    uint64_t until = pipeline->floor - 1;
    do {
        const struct version *version =
            model_at(pipeline->simulation->ledger->model, key, until + 1, &until);
        if ((version != NULL && version->present ? version->index : 0) == revision) {
            return true;
        }
    } while (until < to);
    return false;
}

static void fail(const struct operation_note *note, const char *property, const char *why)
{
    simulation_fail(note->pipeline->simulation, property,
                    "operation %" PRIu64 " of client %zu, %s of key %zu, logged at %" PRIu64
                    "; asked at %" PRIu64 ", answered %s, count %" PRIu64 ": %s",
                    note->number, note->actor + 1, operation_name(note->operation), note->key,
                    note->logged, note->floor, kvapp_err_name(note->status), note->count, why);
}

static void log_note(struct operation_note *note, uint64_t index, const struct reply *reply,
                     bool skipped)
{
    bool writes = operation_is_write(note->operation);
    if (note->logged != 0) {
        fail(note, "exactly-once", "it is logged a second time");
        return;
    }
    note->logged = index;
    note->skipped = skipped;
    note->result = *reply;
    uint8_t *data = memory_new(1, reply->data.size + 1);
    memcpy(data, reply->data.size == 0 ? (const void *)"" : reply->data.data, reply->data.size);
    note->result.data = slice_of(data, reply->data.size);
    if (skipped) {
        return;
    }
    note->applied = index;
    if (writes && note->outcome == OUTCOME_NOT) {
        fail(note, "exactly-once", "it takes effect, though its client was told that it failed");
    }
}

/* An entry being compared with what was wanted. */
struct matching {
    struct pipeline *pipeline;
    uint64_t index;
    size_t place;     /* in what was wanted */
    bool guarded;     /* it has the guard */
    uint64_t skipped; /* so many of the next ones were */
};

/* The next command of the entry. False: it is none that was wanted there. A transaction whose WATCH
 * failed is not executed; nothing of it may be there without its guard. */
static bool match(struct matching *matching, struct slice bytes, const struct reply *reply)
{
    struct pipeline *pipeline = matching->pipeline;
    struct command command;
    CHECK(command_decode(bytes, &command) == 0);
    const struct wanted *wanted = &pipeline->commands[matching->place];
    if (matching->place < pipeline->command_count && wanted->is_guard &&
        command.operation != OPERATION_GUARD) {
        pipeline->exec_missing = true;
        matching->place = pipeline->exec_end;
        wanted = &pipeline->commands[matching->place];
    }
    bool inside = pipeline->guard_place != SIZE_MAX && matching->place > pipeline->guard_place &&
                  matching->place < pipeline->exec_end;
    if (inside && !matching->guarded) {
        return false;
    }
    if (matching->place >= pipeline->command_count || !fits(pipeline, wanted, bytes)) {
        return false;
    }
    matching->place++;
    bool skipped = matching->skipped > 0;
    matching->skipped -= skipped;
    if (wanted->is_guard) {
        matching->guarded = true;
        matching->skipped = reply->status == 0 ? 0 : (uint64_t)command.number;
        return was_revision(pipeline, matching->index - 1, command.expected_revision);
    }
    if (wanted->note != NULL) {
        log_note(wanted->note, matching->index, reply, skipped);
    }
    return true;
}

/* The place of the first command of a batch whose `nth` is at that place. */
static size_t first_place(const struct pipeline *pipeline, const struct command *batch, size_t nth,
                          size_t place)
{
    struct reader commands = reader_of(batch->commands);
    bool has_guard = false;
    for (size_t i = 0; i < nth; i++) {
        struct command command;
        CHECK(command_next(&commands, &command));
        has_guard = has_guard || command.operation == OPERATION_GUARD;
    }
    size_t guard = pipeline->guard_place;
    if (!has_guard && guard != SIZE_MAX && place >= pipeline->exec_end) {
        size_t missing = pipeline->exec_end - guard;
        nth += place - pipeline->exec_end < nth ? missing : 0;
    }
    return place >= nth ? place - nth : SIZE_MAX;
}

static bool match_batch(struct workload *workload, struct matching *matching,
                        const struct command *batch, const struct model_reply *reply)
{
    struct reader commands = reader_of(batch->commands);
    struct command command;
    struct operation_note *note = NULL;
    size_t nth = 0;
    for (; note == NULL && command_next(&commands, &command); nth++) {
        note = note_of(workload, &command);
    }
    if (note == NULL) {
        return false;
    }
    matching->pipeline = note->pipeline;
    matching->place =
        first_place(note->pipeline, batch, nth - 1, place_of(note->pipeline, note, &command));
    if (matching->place == SIZE_MAX) {
        return false;
    }
    commands = reader_of(batch->commands);
    struct reader replies = reader_of(reply->data);
    while (commands.left > 0) {
        struct reply one;
        CHECK(reply_decode(reader_sized(&replies), &one) == 0);
        if (!match(matching, reader_sized(&commands), &one)) {
            return false;
        }
    }
    return true;
}

bool pipeline_logged(struct workload *workload, uint64_t index, const struct command *command,
                     const struct model_reply *reply)
{
    struct operation_note *note = note_of(workload, command);
    struct matching matching = {.index = index};
    bool matched = false;
    if (command->operation == OPERATION_BATCH) {
        matched = match_batch(workload, &matching, command, reply);
    } else if (note != NULL) {
        const struct reply alone = {.status = reply->status, .count = reply->count};
        struct buf bytes = {0};
        command_encode(command, &bytes);
        matching.pipeline = note->pipeline;
        matching.place = place_of(note->pipeline, note, command);
        matched = match(&matching, buf_slice(&bytes), &alone);
        buf_done(&bytes);
    } else if (command->operation != OPERATION_ADD && command->operation != OPERATION_APPEND) {
        return false;
    }
    if (!matched) {
        simulation_fail(workload->simulation, "integrity",
                        "entry %" PRIu64 " is not what a client of Redis sent", index);
    } else if (matching.pipeline->exec_missing && matching.pipeline->watch_confirmed) {
        simulation_fail(workload->simulation, "integrity",
                        "entry %" PRIu64 " comes after a transaction that is not there", index);
    }
    return true;
}
