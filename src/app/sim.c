#include "app/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SIM_WELL = 0, SIM_BROKEN = 1, SIM_USAGE = 2, SECONDS_DEFAULT = 10, JOBS_MAX = 64 };

static int refuse(const char *sentence)
{
    (void)fprintf(stderr, "kvapp sim: %s\n", sentence);
    return SIM_USAGE;
}

static bool parse_number(struct slice *text, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t digits = 0;
    while (text->size > 0 && text->data[0] >= '0' && text->data[0] <= '9' && digits < 18) {
        number = number * 10 + (uint64_t)(text->data[0] - '0');
        *text = slice_of(text->data + 1, text->size - 1);
        digits++;
    }
    *ret_number = number;
    return digits > 0;
}

/* "A..B" */
static bool parse_seeds(struct slice text, struct sim_plan *plan)
{
    if (!parse_number(&text, &plan->first) || text.size < 3 || text.data[0] != '.' ||
        text.data[1] != '.') {
        return false;
    }
    text = slice_of(text.data + 2, text.size - 2);
    return parse_number(&text, &plan->last) && text.size == 0 && plan->first <= plan->last;
}

static bool find_fault(struct slice word, uint32_t *faults)
{
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        if (slice_equal(word, slice_of_string(simulation_fault_word((enum simulation_fault)i)))) {
            *faults |= 1u << i;
            return true;
        }
    }
    return false;
}

/* "all", "none", or words with commas. */
static bool parse_faults(struct slice text, uint32_t *ret_faults)
{
    if (slice_equal(text, slice_of_string("all"))) {
        *ret_faults = FAULTS_ALL;
        return true;
    }
    *ret_faults = 0;
    if (slice_equal(text, slice_of_string("none"))) {
        return true;
    }
    while (text.size > 0) {
        const uint8_t *comma = memchr(text.data, ',', text.size);
        size_t size = comma == NULL ? text.size : (size_t)(comma - text.data);
        if (!find_fault(slice_of(text.data, size), ret_faults)) {
            return false;
        }
        size_t used = comma == NULL ? size : size + 1;
        text = slice_of(text.data + used, text.size - used);
    }
    return true;
}

static const char *fill_plan(const struct options *options, struct sim_plan *plan)
{
    *plan = (struct sim_plan){
        .options = {.servers = (uint32_t)options_number(options, OPTION_NODES),
                    .duration_s = (uint32_t)options_number(options, OPTION_DURATION),
                    .beyond = options_number(options, OPTION_BEYOND) != 0,
                    .crash_point = options_number(options, OPTION_CRASH_POINT)},
        .crash_points = options_number(options, OPTION_CRASH_POINTS) != 0,
        .last = UINT64_MAX / 2,
        .seconds = options_number(options, OPTION_FOR),
    };
    if (plan->options.servers % 2 == 0 && plan->options.servers != 0) {
        return "--nodes must be 1, 3 or 5";
    }
    if (!parse_faults(options->values[OPTION_FAULTS].text, &plan->options.faults)) {
        return "--faults must be all, none, or a list of faults; see kvapp sim --help";
    }
    if (plan->crash_points && !options_given(options, OPTION_SEED)) {
        return "--crash-points are those of one seed: give --seed";
    }
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    processors = processors < 1 ? 1 : processors > JOBS_MAX ? JOBS_MAX : processors;
    bool jobs_given = options_given(options, OPTION_JOBS);
    plan->jobs = jobs_given ? (unsigned)options_number(options, OPTION_JOBS) : (unsigned)processors;
    if (options_given(options, OPTION_SEED)) {
        plan->first = options_number(options, OPTION_SEED);
        plan->last = plan->first;
        return NULL;
    }
    if (options_given(options, OPTION_SEEDS)) {
        bool valid = parse_seeds(options->values[OPTION_SEEDS].text, plan);
        return valid ? NULL : "--seeds must be two numbers, such as 1..100";
    }
    /* Seeds nobody has tried yet, with few digits. */
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    plan->first =
        ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000) % 1000000000 * 1000;
    plan->seconds = plan->seconds == 0 ? SECONDS_DEFAULT : plan->seconds;
    return NULL;
}

static void tell(void *context, enum trace_level level, const char *line)
{
    (void)level;
    (void)fprintf(context, "%s\n", line);
}

/* In this very process, so that a debugger sees it. */
static int run_one(struct sim_plan *plan)
{
    struct simulation_result result;
    plan->options.seed = plan->first;
    simulation_run(&plan->options, &result);
    if (result.failed) {
        sim_print_failure(&plan->options, &result);
        return SIM_BROKEN;
    }
    printf("seed %" PRIu64 " is well: %u servers, %.3f s, %" PRIu64 " steps, %" PRIu64
           " operations, %" PRIu64 " answered, %" PRIu64 " commits, %" PRIu64 " elections, %" PRIu64
           " crashes, hash %016" PRIx64 "\nfaults ",
           plan->first, result.servers, (double)result.time_us / 1e6, result.step,
           result.operations, result.answered, result.commits, result.elections, result.crashes,
           result.hash);
    sim_print_faults(result.faults);
    printf("\n");
    return SIM_WELL;
}

/* How many there are, a run without a crash point tells; the runs are the same up to it. */
static void find_crash_points(struct sim_plan *plan)
{
    struct simulation_result result;
    plan->options.seed = plan->first;
    sim_run_apart(&plan->options, &result);
    plan->first = 1;
    plan->last = result.crash_points;
}

int sim_main(const struct options *options)
{
    struct sim_plan plan;
    const char *wrong = fill_plan(options, &plan);
    if (wrong != NULL) {
        return refuse(wrong);
    }
    const struct trace trace = {.sink = tell, .context = stdout, .level = TRACE_DEBUG};
    bool alone = plan.first == plan.last && !plan.crash_points;
    if (options_number(options, OPTION_TRACE) != 0) {
        if (!alone) {
            return refuse("--trace tells the story of one seed: give --seed");
        }
        plan.options.trace = &trace;
    }
    bool shrinks = options_number(options, OPTION_SHRINK) != 0;
    if (alone && !shrinks) {
        return run_one(&plan);
    }
    plan.options.trace = NULL;
    if (plan.crash_points) {
        find_crash_points(&plan);
    }
    struct sim_totals totals;
    struct simulation_options failing;
    struct simulation_result failure;
    bool well = sim_run_all(&plan, &totals, &failing, &failure);
    sim_print_totals(&totals);
    if (well) {
        return SIM_WELL;
    }
    sim_print_failure(&failing, &failure);
    if (shrinks) {
        (void)fflush(stdout);
        sim_shrink(&failing, &failure);
        printf("\nshrunk:\n");
        sim_print_failure(&failing, &failure);
    }
    return SIM_BROKEN;
}
