#include "sim/workload.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/callers.h"
#include "sim/cluster.h"
#include "sim/ledger.h"
#include "sim/pipeline.h"
#include "sim/roster.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    RATE_MS_MIN = 40, /* between two requests of all clients together, on average */
    RATE_MS_MAX = 85,
    DOWN_US_MAX = 2 * 1000 * 1000,
    EXPIRING_PERCENT = 20, /* of puts */
};

/* A request in flight. What the client library borrows stays here. */
struct slot {
    struct actor *actor;
    struct operation_note *note; /* NULL: free */
    struct buf value;
    struct command command;
};

struct actor {
    struct workload *workload;
    size_t number;
    char name[16];
    struct sim_host *host;
    struct io *io;
    struct kvapp_client *client; /* NULL: dead */
    struct sim_event next;       /* the next request, or the next life */
    size_t window;
    uint32_t timeout_ms;
    bool no_session;
    struct slot slots[WINDOW_MAX];
    uint64_t revisions[KEYS_MAX]; /* the newest that it was told of each key */
};

/* ---- asking ---- */

struct operation_note *workload_note(struct workload *workload, size_t actor)
{
    if (workload->note_count == workload->note_capacity) {
        workload->note_capacity = workload->note_capacity == 0 ? 1024 : 2 * workload->note_capacity;
        workload->notes =
            memory_grow(workload->notes, workload->note_capacity * sizeof(struct operation_note *));
    }
    struct operation_note *note = memory_new(1, sizeof *note);
    workload->notes[workload->note_count++] = note;
    note->number = workload->note_count;
    note->actor = actor;
    note->began = ++workload->order;
    note->began_us = sim_world_now(workload->simulation->world);
    note->floor = workload->floor;
    note->asked = clocks_now(workload->simulation->clocks);
    workload->simulation->result->operations++;
    return note;
}

static enum operation draw_operation(struct simulation *simulation)
{
    static const struct {
        uint32_t weight;
        enum operation operation;
    } table[] = {
        {40, OPERATION_GET},   {34, OPERATION_PUT}, {9, OPERATION_DELETE},
        {5, OPERATION_LIST},   {5, OPERATION_SCAN}, {4, OPERATION_DELETE_RANGE},
        {3, OPERATION_EXPIRE},
    };
    uint64_t drawn = simulation_draw(simulation, 0, 99);
    size_t i = 0;
    while (drawn >= table[i].weight) {
        drawn -= table[i].weight;
        i++;
    }
    return table[i].operation;
}

/* Most are over before the key is written again, and some before the command is applied. */
static struct expiry draw_expiry(struct simulation *simulation, enum operation operation)
{
    struct expiry expiry = {.kind = EXPIRY_AFTER};
    uint64_t drawn = simulation_draw(simulation, 0, 9);
    if (drawn == 0) {
        expiry.kind = operation == OPERATION_PUT ? EXPIRY_KEEP : EXPIRY_NEVER;
        return expiry;
    }
    expiry.ms = (int64_t)simulation_draw_wide(simulation, 2, 8000);
    if (drawn == 1) {
        expiry.kind = EXPIRY_AT;
        expiry.ms += (int64_t)(sim_world_wall_us(simulation->world) / 1000);
    }
    return expiry;
}

static void draw_note(struct actor *actor, struct operation_note *note, bool puts)
{
    struct workload *workload = actor->workload;
    struct simulation *simulation = workload->simulation;
    note->operation = puts ? OPERATION_PUT : draw_operation(simulation);
    note->key = simulation_draw(simulation, 0, workload->key_count - 1);
    if (!operation_is_write(note->operation)) {
        note->reads = (enum kvapp_reads)simulation_draw(simulation, 0, KVAPP_READS_COUNT - 1);
    }
    switch (note->operation) {
    case OPERATION_PUT:
    case OPERATION_DELETE:
        if (simulation_chance(simulation, 25)) {
            note->has_expected = true;
            note->expected_revision = actor->revisions[note->key];
        }
        break;
    case OPERATION_LIST:
    case OPERATION_SCAN:
        note->limit = (uint32_t)simulation_draw(simulation, 0, 4);
        note->range_end = simulation_draw(simulation, note->key + 1, workload->key_count);
        break;
    case OPERATION_DELETE_RANGE:
        note->range_end = simulation_draw(simulation, note->key + 1, workload->key_count);
        break;
    default:
        break;
    }
    if (note->operation == OPERATION_PUT) {
        uint64_t size_max =
            simulation_chance(simulation, workload->large_percent) ? workload->value_size_max : 64;
        note->value_size = simulation_draw(simulation, VALUE_HEADER, size_max);
    }
    if (note->operation == OPERATION_EXPIRE ||
        (note->operation == OPERATION_PUT && simulation_chance(simulation, EXPIRING_PERCENT))) {
        note->expiry = draw_expiry(simulation, note->operation);
    }
    if (note->operation == OPERATION_EXPIRE) {
        workload->touched[note->key] = true;
    }
}

static void answered(void *context, const struct kvapp_reply *reply);

static void submit(struct slot *slot)
{
    const struct operation_note *note = slot->note;
    const struct workload *workload = slot->actor->workload;
    struct command *command = &slot->command;
    *command = (struct command){
        .operation = note->operation,
        .key = workload_key(workload, note->key),
        .has_expected = note->has_expected,
        .expected_revision = note->expected_revision,
        .limit = note->limit,
        .expiry = note->expiry,
    };
    if (note->range_end != 0) {
        command->end = workload_key(workload, note->range_end);
    }
    if (note->operation == OPERATION_PUT) {
        workload_fill(&slot->value, note->number, note->value_size);
        command->value = buf_slice(&slot->value);
    }
    (void)client_submit_read(slot->actor->client, command, note->reads, answered, slot);
    sim_host_wake(slot->actor->host);
}

/* In the first free slot; false: there is none. */
static bool ask(struct actor *actor, size_t window, bool puts)
{
    for (size_t i = 0; i < window; i++) {
        struct slot *slot = &actor->slots[i];
        if (slot->note == NULL) {
            slot->note = workload_note(actor->workload, actor->number);
            draw_note(actor, slot->note, puts);
            submit(slot);
            return true;
        }
    }
    return false;
}

/* ---- being answered ---- */

static enum outcome judge(const struct operation_note *note)
{
    switch (note->status) {
    case 0:
    case KV_ERR_NOT_FOUND:
    case KV_ERR_CONDITION:
        return OUTCOME_OK;
    case KV_ERR_OUTCOME_UNKNOWN:
    case KV_ERR_TIMEOUT:
        return operation_is_write(note->operation) ? OUTCOME_UNKNOWN : OUTCOME_NOT;
    default:
        return OUTCOME_NOT;
    }
}

static void count_outcome(struct simulation *simulation, const struct operation_note *note)
{
    if (note->outcome == OUTCOME_OK) {
        simulation->result->answered++;
    }
    switch (note->status) {
    case KV_ERR_CONDITION:
        simulation_reached(simulation, REACHED_CONDITION);
        break;
    case KV_ERR_OUTCOME_UNKNOWN:
        simulation_reached(simulation, REACHED_OUTCOME_UNKNOWN);
        break;
    case KV_ERR_FULL:
        simulation_reached(simulation, REACHED_PUT_REFUSED);
        break;
    case KV_ERR_TIMEOUT:
        simulation_reached(simulation, REACHED_TIMEOUT);
        break;
    default:
        break;
    }
}

void workload_end(struct workload *workload, struct operation_note *note, enum outcome outcome,
                  int status)
{
    note->ended = ++workload->order;
    note->status = status;
    note->outcome = outcome;
    count_outcome(workload->simulation, note);
    TELL(workload->simulation, note->redis ? "redis" : "native",
         "client %zu: operation %" PRIu64 ", %s %s: %s, revision %" PRIu64 ", count %" PRIu64,
         note->actor + 1, note->number, operation_name(note->operation), workload->keys[note->key],
         kvapp_err_name(note->status), note->revision, note->count);
}

static void answered(void *context, const struct kvapp_reply *reply)
{
    struct slot *slot = context;
    struct actor *actor = slot->actor;
    struct workload *workload = actor->workload;
    struct operation_note *note = slot->note;
    slot->note = NULL;
    note->status = reply->status;
    note->revision = reply->revision;
    note->count = reply->count;
    note->more = reply->more;
    note->age_ms = reply->age_ms;
    uint8_t *data = memory_new(1, reply->size + 1);
    memcpy(data, reply->size == 0 ? (const void *)"" : reply->data, reply->size);
    note->data = slice_of(data, reply->size);
    workload_end(workload, note, judge(note), reply->status);
    bool unchanged = note->operation == OPERATION_EXPIRE && note->count == 0;
    if (note->outcome == OUTCOME_OK && note->range_end == 0 && note->reads != KVAPP_READS_STALE &&
        !unchanged) {
        bool gone = note->status == KV_ERR_NOT_FOUND || note->operation == OPERATION_DELETE;
        actor->revisions[note->key] = gone && note->status != KV_ERR_CONDITION ? 0 : note->revision;
    }
    linear_answered(workload->simulation, note);
}

void workload_applied(struct workload *workload, uint64_t index, struct slice bytes,
                      const struct model_reply *reply)
{
    struct command command;
    if (bytes.size == 0 || command_decode(bytes, &command) != 0 ||
        pipeline_logged(workload, index, &command, reply) || command.operation != OPERATION_PUT ||
        reply->repeated || reply->status == KV_ERR_SESSION_UNKNOWN) {
        return;
    }
    struct simulation *simulation = workload->simulation;
    uint64_t number = workload_writer(workload, command.value);
    if (number == 0) {
        simulation_fail(simulation, "integrity",
                        "entry %" PRIu64 " puts a value that no client sent", index);
        return;
    }
    struct operation_note *note = workload->notes[number - 1];
    if (note->applied != 0) {
        simulation_fail(simulation, "exactly-once",
                        "operation %" PRIu64 " takes effect at %" PRIu64 " and at %" PRIu64, number,
                        note->applied, index);
    } else if (note->outcome == OUTCOME_NOT) {
        simulation_fail(simulation, "exactly-once",
                        "operation %" PRIu64 " takes effect at %" PRIu64
                        ", though its client was told that it failed: %s",
                        number, index, kvapp_err_name(note->status));
    }
    note->applied = index;
}

/* ---- clients ---- */

static void start(struct actor *actor)
{
    struct workload *workload = actor->workload;
    struct simulation *simulation = workload->simulation;
    sim_host_boot(actor->host, &actor->io);
    char members[ROSTER_TEXT_SIZE];
    const struct kvapp_client_options options = {
        .cluster = roster_text(simulation->cluster, members),
        .timeout_ms = actor->timeout_ms,
        .no_session = actor->no_session,
        .nearest = (uint32_t)actor->number,
    };
    int err = client_new_on(actor->io, &options, &actor->client);
    CHECK(err == 0);
    memset(actor->revisions, 0, sizeof actor->revisions);
}

static void plan(struct actor *actor)
{
    struct simulation *simulation = actor->workload->simulation;
    uint64_t pause_us = simulation_draw(simulation, 0, 2 * actor->workload->pause_us);
    sim_world_schedule(simulation->world, &actor->next,
                       sim_world_now(simulation->world) + pause_us);
}

static void next(struct sim_event *event)
{
    struct actor *actor = CONTAINER_OF(event, struct actor, next);
    if (actor->client == NULL) {
        start(actor);
    }
    if (!actor->workload->quiet) {
        (void)ask(actor, actor->window, false);
        plan(actor);
    }
}

static void die(struct actor *actor)
{
    sim_host_crash(actor->host, SIM_CRASH_KILL);
    kvapp_client_free(actor->client);
    actor->client = NULL;
    io_free(actor->io);
    actor->io = NULL;
}

void workload_crash(struct workload *workload, size_t number)
{
    if (number >= workload->actor_count) {
        callers_crash(workload->callers, number - workload->actor_count);
        return;
    }
    struct actor *actor = workload->actors[number];
    if (actor->client == NULL) {
        return;
    }
    die(actor);
    struct simulation *simulation = workload->simulation;
    sim_world_schedule(simulation->world, &actor->next,
                       sim_world_now(simulation->world) +
                           simulation_draw(simulation, 1, DOWN_US_MAX));
}

static void flooded(struct sim_event *event)
{
    struct workload *workload = CONTAINER_OF(event, struct workload, flooded);
    for (size_t i = 0; i < workload->actor_count; i++) {
        if (simulation_chance(workload->simulation, 75)) {
            workload_crash(workload, i);
        }
    }
}

void workload_flood(struct workload *workload, uint64_t us)
{
    struct simulation *simulation = workload->simulation;
    for (size_t i = 0; i < workload->actor_count; i++) {
        struct actor *actor = workload->actors[i];
        while (actor->client != NULL && ask(actor, WINDOW_MAX, true)) {
        }
    }
    sim_world_schedule(simulation->world, &workload->flooded,
                       sim_world_now(simulation->world) + us);
}

void workload_turn(struct workload *workload, const struct sim_host *host)
{
    if (callers_turn(workload->callers, host)) {
        return;
    }
    size_t number = sim_host_number(host) - SERVERS_MAX;
    CHECK(number < workload->actor_count);
    struct actor *actor = workload->actors[number];
    (void)kvapp_client_run(actor->client, 0);
    if (!list_empty(&actor->client->loop->marked)) {
        sim_host_wake(actor->host);
    }
}

struct sim_host *workload_host(struct workload *workload, size_t actor)
{
    return workload->actors[actor]->host;
}

size_t workload_open(const struct workload *workload)
{
    size_t open = callers_open(workload->callers);
    for (size_t i = 0; i < workload->actor_count; i++) {
        for (size_t n = 0; n < WINDOW_MAX; n++) {
            open += workload->actors[i]->slots[n].note != NULL;
        }
    }
    return open;
}

uint64_t workload_timeout_us(const struct workload *workload)
{
    uint64_t longest_us = callers_timeout_us(workload->callers);
    for (size_t i = 0; i < workload->actor_count; i++) {
        uint64_t timeout_us = (uint64_t)workload->actors[i]->timeout_ms * 1000;
        longest_us = timeout_us > longest_us ? timeout_us : longest_us;
    }
    return longest_us;
}

/* Whether a server that it may turn to is a member still, and can tell who leads. */
static bool knows_a_member(const struct actor *actor)
{
    const struct simulation *simulation = actor->workload->simulation;
    const struct raft_membership *members = simulation->ledger->membership->membership;
    for (size_t i = 0; i < members->count; i++) {
        if (!server_is_sound(&simulation->cluster->servers[members->members[i].id - 1])) {
            continue;
        }
        char address[ADDRESS_SIZE_MAX];
        CHECK(address_add_port(members->members[i].address, actor->client->port_offset, address) ==
              0);
        for (size_t n = 0; n < actor->client->contact_count; n++) {
            if (strcmp(actor->client->contacts[n].connection.address, address) == 0) {
                return true;
            }
        }
    }
    return false;
}

void workload_heal(struct workload *workload)
{
    sim_world_cancel(workload->simulation->world, &workload->flooded);
    callers_heal(workload->callers);
    for (size_t i = 0; i < workload->actor_count; i++) {
        struct actor *actor = workload->actors[i];
        if (actor->client != NULL && !knows_a_member(actor)) {
            die(actor); /* It needs a newer list. */
        }
        if (actor->client == NULL) {
            start(actor);
            plan(actor);
        }
    }
}

void workload_probe(struct workload *workload)
{
    for (size_t i = 0; i < workload->actor_count; i++) {
        (void)ask(workload->actors[i], workload->actors[i]->window, false);
    }
    callers_probe(workload->callers);
}

/* ---- all of them ---- */

static struct actor *make_actor(struct workload *workload, size_t number)
{
    struct simulation *simulation = workload->simulation;
    struct actor *actor = memory_new(1, sizeof *actor);
    actor->workload = workload;
    actor->number = number;
    (void)snprintf(actor->name, sizeof actor->name, "client %zu", number + 1);
    char address[24];
    (void)snprintf(address, sizeof address, "10.0.1.%zu", number + 1);
    actor->host = sim_host_new(simulation->world, address);
    actor->next.run = next;
    actor->window = simulation_draw(simulation, 1, WINDOW_MAX);
    actor->timeout_ms = (uint32_t)simulation_draw_wide(simulation, 300, 8000);
    actor->no_session = simulation_chance(simulation, 20);
    for (size_t i = 0; i < WINDOW_MAX; i++) {
        actor->slots[i].actor = actor;
    }
    return actor;
}

struct workload *workload_new(struct simulation *simulation)
{
    struct workload *workload = memory_new(1, sizeof *workload);
    workload->simulation = simulation;
    workload->actor_count = simulation_draw(simulation, 2, ACTORS_MAX);
    workload->key_count = simulation_draw(simulation, 4, KEYS_MAX);
    workload->value_size_max = simulation_draw_wide(simulation, 64, 128 * 1024);
    uint64_t rate_us = simulation_draw(simulation, RATE_MS_MIN, RATE_MS_MAX) * 1000;
    workload->flooded.run = flooded;
    for (size_t i = 0; i <= workload->key_count; i++) {
        (void)snprintf(workload->keys[i], KEY_SIZE, "key-%02u", (unsigned)i);
    }
    for (size_t i = KEY_COUNTERS; i < KEYS_ALL; i++) {
        const char *kind = workload_is_counter(i) ? "number" : "text";
        (void)snprintf(workload->keys[i], KEY_SIZE, "%s-%zu", kind, i);
    }
    for (size_t i = 0; i < workload->actor_count; i++) {
        workload->actors[i] = make_actor(workload, i);
    }
    workload->callers = callers_new(simulation);
    workload->pause_us = rate_us * (workload->actor_count + callers_count(workload->callers));
    return workload;
}

void workload_begin(struct workload *workload)
{
    callers_begin(workload->callers);
    for (size_t i = 0; i < workload->actor_count; i++) {
        start(workload->actors[i]);
        plan(workload->actors[i]);
    }
}

void workload_free(struct workload *workload)
{
    if (workload == NULL) {
        return;
    }
    sim_world_cancel(workload->simulation->world, &workload->flooded);
    callers_free(workload->callers);
    for (size_t i = 0; i < workload->actor_count; i++) {
        struct actor *actor = workload->actors[i];
        sim_world_cancel(workload->simulation->world, &actor->next);
        if (actor->client != NULL) {
            die(actor);
        }
        for (size_t n = 0; n < WINDOW_MAX; n++) {
            buf_done(&actor->slots[n].value);
        }
        free(actor);
    }
    for (uint64_t i = 0; i < workload->note_count; i++) {
        free((void *)(uintptr_t)workload->notes[i]->data.data);
        free((void *)(uintptr_t)workload->notes[i]->result.data.data);
        free(workload->notes[i]);
    }
    free(workload->notes);
    free(workload);
}
