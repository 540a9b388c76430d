#include "sim/ledger.h"

#include "base/assert.h"
#include "base/memory.h"
#include "kv/kv.h"
#include "raft/membership.h"
#include "sim/cluster.h"
#include "sim/state.h"
#include "sim/workload.h"
#include "storage/entry.h"
#include "wire/membership.h"

#include <inttypes.h>
#include <stdlib.h>

struct ledger *ledger_new(struct simulation *simulation)
{
    struct ledger *ledger = memory_new(1, sizeof *ledger);
    ledger->simulation = simulation;
    ledger->seen_count = 1;
    ledger->seen_capacity = 1024;
    ledger->seen = memory_new(ledger->seen_capacity, sizeof *ledger->seen);
    ledger->committed_capacity = 1024;
    ledger->committed = memory_new(ledger->committed_capacity, sizeof *ledger->committed);
    ledger->reference = kv_new(&kv_options_default);
    ledger->committed[0].digest = kv_digest(ledger->reference);
    ledger->model = model_new();
    ledger->initial.membership = cluster_initial(simulation->cluster);
    ledger->membership = &ledger->initial;
    return ledger;
}

void ledger_free(struct ledger *ledger)
{
    if (ledger == NULL) {
        return;
    }
    for (uint64_t i = 0; i < ledger->seen_count; i++) {
        struct record *record = ledger->seen[i];
        while (record != NULL) {
            struct record *other = record->other;
            free(record->membership);
            free(record);
            record = other;
        }
    }
    free(ledger->initial.membership);
    free(ledger->seen);
    free(ledger->committed);
    free(ledger->terms);
    kv_free(ledger->reference);
    model_free(ledger->model);
    free(ledger);
}

bool ledger_has_committed(const struct ledger *ledger, const struct record *record)
{
    return record->index == 0 || (record->index <= ledger->committed_count &&
                                  ledger->committed[record->index].record == record);
}

const struct record *ledger_find(const struct ledger *ledger, uint64_t index, uint64_t term)
{
    const struct record *record = index < ledger->seen_count ? ledger->seen[index] : NULL;
    while (record != NULL && record->term != term) {
        record = record->other;
    }
    return record;
}

static struct record *add_record(struct ledger *ledger, const struct entry *entry,
                                 struct slice encoded)
{
    struct record *record = memory_new(1, sizeof *record + encoded.size);
    memcpy(record + 1, encoded.data, encoded.size);
    record->index = entry->index;
    record->term = entry->term;
    record->checksum = get_u64(encoded.data);
    record->encoded = slice_of(record + 1, encoded.size);
    if (entry->kind == ENTRY_MEMBERSHIP) {
        record->membership = memory_new(1, sizeof *record->membership);
        CHECK(membership_decode(entry->payload, record->membership) == 0);
    }
    while (entry->index >= ledger->seen_count) {
        if (ledger->seen_count == ledger->seen_capacity) {
            ledger->seen_capacity *= 2;
            ledger->seen = memory_grow(ledger->seen, ledger->seen_capacity * sizeof *ledger->seen);
        }
        ledger->seen[ledger->seen_count++] = NULL;
    }
    record->other = ledger->seen[entry->index];
    ledger->seen[entry->index] = record;
    return record;
}

const struct record *ledger_see(struct ledger *ledger, struct slice encoded, uint64_t index,
                                uint64_t previous_term, const char *who)
{
    struct simulation *simulation = ledger->simulation;
    struct entry entry;
    size_t size = 0;
    if (entry_decode(encoded, &entry, &size) != 0 || entry.index != index) {
        simulation_fail(simulation, "log-matching",
                        "%s holds bytes at %" PRIu64 " that are no entry", who, index);
        return NULL;
    }
    const struct record *known = ledger_find(ledger, index, entry.term);
    if (known == NULL) {
        struct record *record = add_record(ledger, &entry, encoded);
        record->previous_term = previous_term;
        clocks_wrote(simulation->clocks, record, ledger_find(ledger, index - 1, previous_term),
                     entry.time_ms, who);
        return record;
    }
    if (known->checksum != get_u64(encoded.data) || !slice_equal(known->encoded, encoded)) {
        simulation_fail(simulation, "log-matching",
                        "%s has another entry %" PRIu64 ":%" PRIu64 " than was seen before", who,
                        index, entry.term);
        return NULL;
    }
    if (known->previous_term != previous_term) {
        simulation_fail(simulation, "log-matching",
                        "%s has entry %" PRIu64 ":%" PRIu64 " behind term %" PRIu64
                        ", another server behind term %" PRIu64,
                        who, index, entry.term, previous_term, known->previous_term);
        return NULL;
    }
    return known;
}

static bool is_purge(struct slice bytes)
{
    struct command command;
    return bytes.size > 0 && command_decode(bytes, &command) == 0 &&
           command.operation == OPERATION_PURGE;
}

/* Keys went by the entry's time alone. */
static void judge_expired(const struct ledger *ledger, const struct record *record)
{
    const struct model_expired *expired = NULL;
    size_t count = model_expired(ledger->model, &expired);
    for (size_t i = 0; i < count; i++) {
        const struct record *written = ledger->committed[expired[i].before.index].record;
        clocks_expired(ledger->simulation->clocks, record, written, &expired[i]);
    }
}

/* The reference state machine and the model take the entry, and must agree. */
static void apply(struct ledger *ledger, struct committed *committed)
{
    const struct record *record = committed->record;
    struct entry entry;
    size_t size = 0;
    CHECK(entry_decode(record->encoded, &entry, &size) == 0);
    struct slice command = entry.kind == ENTRY_COMMAND ? entry.payload : slice_of(NULL, 0);
    struct reply reply;
    kv_apply(ledger->reference, entry.index, entry.time_ms, command, &reply);
    committed->digest = kv_digest(ledger->reference);
    struct model_reply *expected = &committed->reply;
    model_apply(ledger->model, entry.index, entry.time_ms, command, expected);
    judge_expired(ledger, record);
    if (reply.status != expected->status || reply.revision != expected->revision ||
        reply.count != expected->count || !slice_equal(reply.data, expected->data)) {
        simulation_fail(ledger->simulation, "model",
                        "applying entry %" PRIu64 " answers status %d, revision %" PRIu64
                        ", count %" PRIu64 "; the model says %d, %" PRIu64 ", %" PRIu64,
                        entry.index, reply.status, reply.revision, reply.count, expected->status,
                        expected->revision, expected->count);
    }
    if (expected->repeated) {
        bool stale = expected->status == KV_ERR_SEQUENCE_STALE;
        simulation_reached(ledger->simulation, stale ? REACHED_STALE : REACHED_DUPLICATE);
    }
    if (is_purge(command)) {
        simulation_reached(ledger->simulation, REACHED_PURGED);
    }
    workload_applied(ledger->simulation->workload, entry.index, command, expected);
}

/* Branches that a committed membership shows. */
static void note_change(struct ledger *ledger, const struct record *record, const struct server *by)
{
    struct simulation *simulation = ledger->simulation;
    const struct record *before = ledger->membership;
    if (before->membership->joint && !record->membership->joint) {
        simulation_reached(simulation, REACHED_JOINT_LEFT);
    }
    if (record->term != by->view.term ||
        (before->membership->joint && before->term != record->term)) {
        simulation_reached(simulation, REACHED_CHANGE_INTERRUPTED);
    }
    if (by->view.led_term == by->view.term &&
        membership_find(record->membership, by->number + 1) == NULL) {
        simulation_reached(simulation, REACHED_LEADER_REMOVED);
    }
    for (size_t i = 0; i < record->membership->count; i++) {
        const struct raft_member *member = &record->membership->members[i];
        const struct raft_member *was = membership_find(before->membership, member->id);
        if (was == NULL) {
            continue;
        }
        if (member->voter && !was->voter && !was->voter_old) {
            simulation_reached(simulation, REACHED_PROMOTED);
        }
        if (strcmp(member->address, was->address) != 0) {
            simulation_reached(simulation, REACHED_MOVED);
        }
    }
}

void ledger_commit(struct ledger *ledger, const struct record *record, const struct server *by)
{
    CHECK(record->index == ledger->committed_count + 1);
    ledger->committed_count++;
    if (ledger->committed_count == ledger->committed_capacity) {
        ledger->committed_capacity *= 2;
        ledger->committed =
            memory_grow(ledger->committed, ledger->committed_capacity * sizeof *ledger->committed);
    }
    struct committed *committed = &ledger->committed[ledger->committed_count];
    *committed = (struct committed){.record = record,
                                    .term = by->view.term,
                                    .time_us = sim_world_now(ledger->simulation->world)};
    ledger->simulation->result->commits++;
    durability_committed(ledger->simulation, record, by);
    clocks_committed(ledger->simulation->clocks, record);
    if (record->membership != NULL) {
        note_change(ledger, record, by);
        ledger->membership = record;
    }
    apply(ledger, committed);
}

uint64_t ledger_committed_at(const struct ledger *ledger, uint64_t time_us)
{
    uint64_t index = ledger->committed_count;
    while (index > 0 && ledger->committed[index].time_us > time_us) {
        index--;
    }
    return index;
}

struct term_note *ledger_term(struct ledger *ledger, uint64_t term)
{
    while (term >= ledger->term_count) {
        uint64_t count = ledger->term_count == 0 ? 64 : ledger->term_count * 2;
        ledger->terms = memory_grow(ledger->terms, count * sizeof *ledger->terms);
        memset(ledger->terms + ledger->term_count, 0,
               (count - ledger->term_count) * sizeof *ledger->terms);
        ledger->term_count = count;
    }
    if (term > ledger->term_max) {
        ledger->term_max = term;
    }
    return &ledger->terms[term];
}
