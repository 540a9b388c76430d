/*
 * What the parts of a run share. The clocks of a run: the world's virtual time, and `step`, which
 * counts the turns of processes. Checkers tell a failure once; the first one ends the run.
 */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "base/prng.h"
#include "sim/sim.h"

struct clocks;
struct cluster;
struct faults;
struct ledger;
struct operator;
struct workload;

struct simulation {
    const struct simulation_options *options;
    struct simulation_result *result;
    struct prng chance; /* of what is drawn for the run as a whole */
    struct sim_world *world;
    struct cluster *cluster;
    struct ledger *ledger;
    struct workload *workload;
    struct operator* operator;
    struct clocks *clocks;
    struct faults *faults;
    uint64_t step;
    bool healed; /* no faults any more */
};

/* Notes that a property is broken; only the first time counts. */
__attribute__((format(printf, 3, 4))) void
simulation_fail(struct simulation *simulation, const char *property, const char *format, ...);

static inline bool simulation_failed(const struct simulation *simulation)
{
    return simulation->result->failed;
}

static inline void simulation_reached(struct simulation *simulation, enum reached_branch branch)
{
    simulation->result->reached[branch]++;
}

/* Lets time pass up to `until_us`, or until a checker fails. */
void simulation_advance(struct simulation *simulation, uint64_t until_us);

/* A line of the story. */
__attribute__((format(printf, 3, 4))) void
simulation_tell(struct simulation *simulation, const char *who, const char *format, ...);
#define TELL(simulation, who, ...)                                                                 \
    (trace_wanted((simulation)->options->trace, TRACE_DEBUG)                                       \
         ? simulation_tell((simulation), (who), __VA_ARGS__)                                       \
         : (void)0)

/* Uniform in [low, high]; and in the logarithm, for times of all sizes. */
uint64_t simulation_draw(struct simulation *simulation, uint64_t low, uint64_t high);
uint64_t simulation_draw_wide(struct simulation *simulation, uint64_t low, uint64_t high);
bool simulation_chance(struct simulation *simulation, uint32_t percent);

#endif
