#include "app/sim.h"

#include <stdio.h>

static bool still_fails(const struct simulation_options *options, struct simulation_result *result)
{
    struct simulation_result tried;
    sim_run_apart(options, &tried);
    if (tried.failed) {
        *result = tried;
    }
    return tried.failed;
}

static void drop_faults(struct simulation_options *options, struct simulation_result *result)
{
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        struct simulation_options fewer = *options;
        fewer.faults &= ~(1u << i);
        if (fewer.faults != options->faults && still_fails(&fewer, result)) {
            *options = fewer;
        }
    }
}

/* The run up to a failure does not depend on how long it would have gone on, but what comes after
 * the faults does: so the shortest duration is searched for. */
static void shorten(struct simulation_options *options, struct simulation_result *result)
{
    uint32_t failing = options->duration_s;
    uint32_t passing = 0;
    while (passing + 1 < failing) {
        struct simulation_options shorter = *options;
        shorter.duration_s = (passing + failing) / 2;
        if (still_fails(&shorter, result)) {
            failing = shorter.duration_s;
        } else {
            passing = shorter.duration_s;
        }
    }
    options->duration_s = failing;
}

void sim_shrink(struct simulation_options *options, struct simulation_result *result)
{
    if (result->faults != 0) {
        options->faults &= result->faults; /* What was not drawn plays no part. */
    }
    drop_faults(options, result);
    shorten(options, result);
    drop_faults(options, result);
}
