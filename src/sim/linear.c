/*
 * Linearizability, first way: against the order of commits that the run has seen. Every answer must
 * be what the model answers at some index between what was known to be committed when the request
 * was made (its floor) and what is committed when the answer comes; and what an answer proves to be
 * committed is the floor of every later request.
 *
 * The floor of a stale read is older: what was committed as long before it was asked as its answer
 * says that it may be old.
 */
#include "sim/cluster.h"
#include "sim/ledger.h"
#include "sim/workload.h"

#include <inttypes.h>

static void fail(struct simulation *simulation, const struct operation_note *note, const char *why)
{
    simulation_fail(simulation, "linearizability",
                    "operation %" PRIu64
                    " of client %zu, %s of key %zu, answered %s, revision %" PRIu64
                    ", count %" PRIu64 "; asked at %" PRIu64 ", committed up to %" PRIu64 ": %s",
                    note->number, note->actor + 1, operation_name(note->operation), note->key,
                    kvapp_err_name(note->status), note->revision, note->count, note->floor,
                    simulation->ledger->committed_count, why);
}

void linear_prove(struct simulation *simulation, uint64_t index)
{
    if (index > simulation->workload->floor) {
        simulation->workload->floor = index;
    }
}

/* Of what names its index: is that between the floor and the newest commit? */
static bool index_fits(struct simulation *simulation, const struct operation_note *note,
                       uint64_t index)
{
    bool is_write = operation_is_write(note->operation);
    if (index < note->floor + is_write || index > simulation->ledger->committed_count) {
        fail(simulation, note, "the index is not one that it could have");
        return false;
    }
    return true;
}

/* A read found that version. */
static void judge_life(struct simulation *simulation, const struct operation_note *note,
                       struct slice key, const struct version *version)
{
    bool by_default = note->reads == KVAPP_READS_DEFAULT;
    enum kvapp_reads reads = by_default ? simulation->cluster->reads : note->reads;
    if (reads != KVAPP_READS_STALE) {
        clocks_found(simulation->clocks, &note->asked, key, version,
                     reads == KVAPP_READS_LINEARIZABLE);
    }
}

static bool is_present(const struct version *version)
{
    return version != NULL && version->present;
}

/* ---- reads ---- */

static void judge_get(struct simulation *simulation, const struct operation_note *note)
{
    struct slice key = workload_key(simulation->workload, note->key);
    uint64_t until;
    const struct version *version =
        model_at(simulation->ledger->model, key, note->revision, &until);
    if (note->status == KV_ERR_NOT_FOUND) {
        if (index_fits(simulation, note, note->revision)) {
            if (is_present(version)) {
                fail(simulation, note, "the key was there");
            } else if (version != NULL && version->expired) {
                simulation_reached(simulation, REACHED_EXPIRED_READ);
            }
            linear_prove(simulation, note->revision);
        }
        return;
    }
    if (!is_present(version) || version->index != note->revision ||
        !slice_equal(version->value, note->data)) {
        fail(simulation, note, "the key never had that value at that revision");
    } else if (until < note->floor) {
        fail(simulation, note, "the value had been overwritten before the request was made");
    } else {
        judge_life(simulation, note, key, version);
    }
    linear_prove(simulation, note->revision);
}

/* The next item of a page against the model's next present key; false: they differ. */
static bool item_fits(const struct operation_note *note, struct reader *reader, struct slice key,
                      const struct version *version)
{
    if (!slice_equal(reader_sized(reader), key)) {
        return false;
    }
    if (note->operation == OPERATION_LIST) {
        return !reader->failed;
    }
    return slice_equal(reader_sized(reader), version->value) &&
           reader_u64(reader) == version->index && !reader->failed;
}

static void judge_page(struct simulation *simulation, const struct operation_note *note)
{
    if (!index_fits(simulation, note, note->revision)) {
        return;
    }
    struct reader reader = reader_of(note->data);
    uint64_t count = 0;
    bool more = false;
    bool fits = true;
    for (size_t i = note->key; i < note->range_end && fits; i++) {
        struct slice key = workload_key(simulation->workload, i);
        uint64_t until;
        const struct version *version =
            model_at(simulation->ledger->model, key, note->revision, &until);
        if (!is_present(version)) {
            continue;
        }
        if (count == note->count) {
            more = true;
            break;
        }
        fits = item_fits(note, &reader, key, version);
        judge_life(simulation, note, key, version);
        count++;
    }
    bool cut_rightly = !more || count == note->limit || note->data.size > FRAME_SIZE_MAX / 4;
    if (!fits || count != note->count || more != note->more || !cut_rightly ||
        !reader_finished(&reader)) {
        fail(simulation, note, "the page is not what the keys were at that index");
    }
    linear_prove(simulation, note->revision);
}

/* ---- writes ---- */

static bool same_command(const struct simulation *simulation, const struct operation_note *note,
                         const struct record *record)
{
    struct entry entry;
    size_t size = 0;
    struct command command;
    if (entry_decode(record->encoded, &entry, &size) != 0 || entry.kind != ENTRY_COMMAND ||
        command_decode(entry.payload, &command) != 0) {
        return false;
    }
    const struct workload *workload = simulation->workload;
    return command.operation == note->operation &&
           slice_equal(command.key, workload_key(workload, note->key)) &&
           command.has_expected == note->has_expected &&
           command.expected_revision == note->expected_revision &&
           command.expiry.kind == note->expiry.kind && command.expiry.ms == note->expiry.ms &&
           (note->operation != OPERATION_PUT ||
            workload_writer(workload, command.value) == note->number);
}

/* The write is entry `index`, says its answer. */
static void judge_write_at(struct simulation *simulation, const struct operation_note *note,
                           uint64_t index)
{
    if (!index_fits(simulation, note, index)) {
        return;
    }
    struct committed *committed = &simulation->ledger->committed[index];
    if (!same_command(simulation, note, committed->record)) {
        fail(simulation, note, "the entry of that index is another command");
    } else if (committed->claimed) {
        fail(simulation, note, "the entry of that index is the answer to another request");
    } else if (committed->reply.repeated) {
        fail(simulation, note, "the entry of that index is a repetition");
    } else if (committed->reply.status != note->status ||
               committed->reply.revision != note->revision ||
               committed->reply.count != note->count) {
        fail(simulation, note, "applying it should have answered otherwise");
    }
    committed->claimed = true;
    linear_prove(simulation, index);
}

/* A delete whose condition failed does not say which entry it was: was there any index at which
 * the key had that revision? */
static void judge_refused_delete(struct simulation *simulation, const struct operation_note *note)
{
    struct slice key = workload_key(simulation->workload, note->key);
    uint64_t index = note->floor;
    for (;;) {
        uint64_t until;
        const struct version *version = model_at(simulation->ledger->model, key, index, &until);
        uint64_t revision = is_present(version) ? version->index : 0;
        if (revision == note->revision && revision != note->expected_revision) {
            linear_prove(simulation, revision);
            return;
        }
        if (until >= simulation->ledger->committed_count) {
            fail(simulation, note, "the key did not have that revision");
            return;
        }
        index = until + 1;
    }
}

static void judge_write(struct simulation *simulation, const struct operation_note *note)
{
    if (note->status != KV_ERR_CONDITION) {
        judge_write_at(simulation, note, note->revision);
    } else if (note->operation == OPERATION_PUT) {
        judge_write_at(simulation, note, note->applied);
    } else {
        judge_refused_delete(simulation, note);
    }
}

/* A clock shows whole milliseconds, and may be so much too slow that this is a quarter too little.
 * One that stands still says nothing about ages. */
static void lower_floor(struct simulation *simulation, struct operation_note *note)
{
    const struct ledger *ledger = simulation->ledger;
    uint64_t age_us = note->age_ms < UINT64_MAX / 2000 ? (note->age_ms + 1) * 1250 : UINT64_MAX;
    bool known = simulation->cluster->steady && age_us <= note->began_us;
    uint64_t floor = known ? ledger_committed_at(ledger, note->began_us - age_us) : 0;
    note->floor = floor < note->floor ? floor : note->floor;
    bool names_index = note->operation != OPERATION_GET || note->status == KV_ERR_NOT_FOUND;
    if (names_index && note->revision < ledger_committed_at(ledger, note->began_us)) {
        simulation_reached(simulation, REACHED_OLD_ANSWER);
    }
}

void linear_answered(struct simulation *simulation, struct operation_note *note)
{
    if (note->outcome == OUTCOME_NOT && note->applied != 0) {
        fail(simulation, note, "it failed for certain, and yet took effect");
    }
    if (note->outcome != OUTCOME_OK) {
        return;
    }
    if (note->reads == KVAPP_READS_STALE) {
        lower_floor(simulation, note);
    }
    switch (note->operation) {
    case OPERATION_GET:
        judge_get(simulation, note);
        break;
    case OPERATION_LIST:
    case OPERATION_SCAN:
        judge_page(simulation, note);
        break;
    default:
        judge_write(simulation, note);
        break;
    }
}
