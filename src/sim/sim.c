/*
 * A run: made from its seed, driven until its time is up or a checker fails, healed, judged.
 *
 *     ├── under faults: duration_s ──┤── healed: liveness.c ──┤── register.c ──┤
 *
 * Beyond the budget, with a majority of disks that fail or rot, nothing has to come back: then only
 * what is said has to be right.
 */
#include "sim/sim.h"

#include "sim/clocks.h"
#include "sim/cluster.h"
#include "sim/faults.h"
#include "sim/ledger.h"
#include "sim/liveness.h"
#include "sim/operator.h"
#include "sim/workload.h"

#include <stdarg.h>
#include <stdio.h>

enum { BEYOND_US = 20 * 1000 * 1000 };

static const char *const fault_word[] = {
#define SIMULATION_FAULT_WORD(name, word, words) word,
    SIMULATION_FAULTS(SIMULATION_FAULT_WORD)
#undef SIMULATION_FAULT_WORD
};

static const char *const fault_words[] = {
#define SIMULATION_FAULT_WORDS(name, word, words) words,
    SIMULATION_FAULTS(SIMULATION_FAULT_WORDS)
#undef SIMULATION_FAULT_WORDS
};

static const char *const branch_words[] = {
#define REACHED_WORDS(name, words) words,
    REACHED_BRANCHES(REACHED_WORDS)
#undef REACHED_WORDS
};

const char *simulation_fault_word(enum simulation_fault fault)
{
    return fault_word[fault];
}

const char *simulation_fault_words(enum simulation_fault fault)
{
    return fault_words[fault];
}

const char *reached_words(enum reached_branch branch)
{
    return branch_words[branch];
}

/* ---- what the parts share ---- */

void simulation_fail(struct simulation *simulation, const char *property, const char *format, ...)
{
    struct simulation_result *result = simulation->result;
    if (result->failed) {
        return;
    }
    result->failed = true;
    result->step = simulation->step;
    (void)snprintf(result->property, sizeof result->property, "%s", property);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(result->sentence, sizeof result->sentence, format, arguments);
    va_end(arguments);
    TELL(simulation, "FAILED", "%s: %s", result->property, result->sentence);
}

void simulation_tell(struct simulation *simulation, const char *who, const char *format, ...)
{
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    uint64_t now_us = sim_world_now(simulation->world);
    trace_line(simulation->options->trace, TRACE_DEBUG, "%4llu.%06llu %s: %s",
               (unsigned long long)(now_us / 1000000), (unsigned long long)(now_us % 1000000), who,
               text);
}

uint64_t simulation_draw(struct simulation *simulation, uint64_t low, uint64_t high)
{
    return prng_between(&simulation->chance, low, high);
}

/* Without floating point, so that every machine draws the same: first the size, then the value. */
uint64_t simulation_draw_wide(struct simulation *simulation, uint64_t low, uint64_t high)
{
    unsigned doublings = 0;
    while (low << (doublings + 1) <= high) {
        doublings++;
    }
    uint64_t from = low << simulation_draw(simulation, 0, doublings);
    uint64_t to = 2 * from - 1 < high ? 2 * from - 1 : high;
    return simulation_draw(simulation, from, to < from ? from : to);
}

bool simulation_chance(struct simulation *simulation, uint32_t percent)
{
    return prng_chance(&simulation->chance, percent, 100);
}

/* ---- the run ---- */

static void begin(struct simulation *simulation)
{
    const struct simulation_options *options = simulation->options;
    prng_init(&simulation->chance, options->seed);
    simulation->world = sim_world_new(prng_next(&simulation->chance));
    sim_world_trace(simulation->world, options->trace);
    simulation->cluster = cluster_new(simulation);
    simulation->clocks = clocks_new(simulation);
    simulation->ledger = ledger_new(simulation);
    simulation->workload = workload_new(simulation);
    simulation->operator= operator_new(simulation);
    simulation->faults = faults_new(simulation);
    cluster_begin(simulation->cluster);
    workload_begin(simulation->workload);
}

void simulation_advance(struct simulation *simulation, uint64_t until_us)
{
    struct sim_host *host = NULL;
    while (!simulation_failed(simulation) &&
           (host = sim_world_step(simulation->world, until_us)) != NULL) {
        simulation->step++;
        if (!cluster_turn(simulation->cluster, host) &&
            !operator_turn(simulation->operator, host)) {
            workload_turn(simulation->workload, host);
        }
    }
}

/* After `duration_s` nothing fails any more, and all that is still good comes back. */
static void heal(struct simulation *simulation)
{
    simulation->healed = true;
    faults_heal(simulation->faults);
    if (simulation->options->beyond) {
        simulation_advance(simulation, sim_world_now(simulation->world) + BEYOND_US);
    } else {
        liveness_check(simulation);
    }
}

static void end(struct simulation *simulation)
{
    struct simulation_result *result = simulation->result;
    const struct sim_counters *counters = sim_world_counters(simulation->world);
    result->hash = sim_world_hash(simulation->world);
    result->time_us = sim_world_now(simulation->world);
    result->servers = (uint32_t)simulation->cluster->count;
    result->faults = faults_drawn(simulation->faults);
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        result->injected[i] = counters->faults[i];
    }
    if (!result->failed) {
        result->step = simulation->step;
    }
    faults_free(simulation->faults);
    operator_free(simulation->operator);
    workload_free(simulation->workload);
    cluster_free(simulation->cluster);
    ledger_free(simulation->ledger);
    clocks_free(simulation->clocks);
    sim_world_free(simulation->world);
}

void simulation_run(const struct simulation_options *options, struct simulation_result *ret_result)
{
    *ret_result = (struct simulation_result){0};
    struct simulation simulation = {.options = options, .result = ret_result};
    begin(&simulation);
    simulation_advance(&simulation, (uint64_t)options->duration_s * 1000 * 1000);
    ret_result->crash_points =
        sim_world_counters(simulation.world)->events * simulation.cluster->first_count;
    if (!simulation_failed(&simulation)) {
        heal(&simulation);
    }
    if (!simulation_failed(&simulation)) {
        register_check(&simulation);
    }
    end(&simulation);
}
