/*
 * kvapp sim: which seeds, in how many processes, and what is said about them. The simulator itself
 * is src/sim.
 */
#ifndef APP_SIM_H
#define APP_SIM_H

#include "cli/options.h"
#include "sim/sim.h"

/* Returns the exit status of the program. */
int sim_main(const struct options *options);

/*
 * What is to be run: seeds first ... last, or from `first` on until the time is up; or the crash
 * points first ... last of one seed.
 */
struct sim_plan {
    struct simulation_options options; /* of each; the seed, or the crash point, is filled in */
    bool crash_points;
    uint64_t first;
    uint64_t last;
    uint64_t seconds; /* of real time; 0: no limit */
    unsigned jobs;
};

/* The options of run `number` of a plan. */
struct simulation_options sim_plan_run(const struct sim_plan *plan, uint64_t number);

struct sim_totals {
    struct simulation_result sum; /* of numbers */
    uint64_t seeds;
    uint64_t virtual_us;
    double seconds;
};

/*
 * Runs the plan in worker processes (sim_jobs.c). Returns true when all went well; else the
 * options of the run with the smallest number among those that had failed by then.
 */
bool sim_run_all(const struct sim_plan *plan, struct sim_totals *ret_totals,
                 struct simulation_options *ret_options, struct simulation_result *ret_failure);

/* One run in a process of its own, so that an assertion that fails is a result like any other. */
void sim_run_apart(const struct simulation_options *options, struct simulation_result *ret_result);

/* Finds the fewest faults and the shortest duration that still fail (sim_shrink.c). */
void sim_shrink(struct simulation_options *options, struct simulation_result *result);

/* sim_report.c */
double sim_clock(void);
void sim_print_progress(const struct sim_totals *totals);
void sim_print_totals(const struct sim_totals *totals);
void sim_print_failure(const struct simulation_options *options,
                       const struct simulation_result *result);
void sim_print_faults(uint32_t faults);
void sim_add(struct sim_totals *totals, const struct simulation_result *result);

#endif
