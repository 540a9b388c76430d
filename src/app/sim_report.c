#include "app/sim.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

double sim_clock(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void sim_add(struct sim_totals *totals, const struct simulation_result *result)
{
    struct simulation_result *sum = &totals->sum;
    totals->seeds++;
    totals->virtual_us += result->time_us;
    sum->step += result->step;
    sum->elections += result->elections;
    sum->crashes += result->crashes;
    sum->commits += result->commits;
    sum->operations += result->operations;
    sum->answered += result->answered;
    sum->undecided += result->undecided;
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        sum->injected[i] += result->injected[i];
    }
    for (size_t i = 0; i < REACHED_COUNT; i++) {
        sum->reached[i] += result->reached[i];
    }
}

static double rate(const struct sim_totals *totals)
{
    return totals->seconds > 0 ? (double)totals->seeds / totals->seconds : 0;
}

void sim_print_progress(const struct sim_totals *totals)
{
    if (isatty(STDERR_FILENO)) {
        (void)fprintf(stderr,
                      "\r%" PRIu64 " seeds, %.1f a second, %.1f virtual hours, %" PRIu64
                      " elections, %" PRIu64 " crashes, %" PRIu64 " commits ",
                      totals->seeds, rate(totals), (double)totals->virtual_us / 3.6e9,
                      totals->sum.elections, totals->sum.crashes, totals->sum.commits);
        (void)fflush(stderr);
    }
}

void sim_print_totals(const struct sim_totals *totals)
{
    const struct simulation_result *sum = &totals->sum;
    if (isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "\r\033[K");
    }
    printf("runs         %" PRIu64 " in %.1f s, %.1f a second\n", totals->seeds, totals->seconds,
           rate(totals));
    printf("simulated    %.2f hours, %" PRIu64 " turns\n", (double)totals->virtual_us / 3.6e9,
           sum->step);
    printf("clients      %" PRIu64 " operations, %" PRIu64 " answered, %" PRIu64 " commits\n",
           sum->operations, sum->answered, sum->commits);
    printf("servers      %" PRIu64 " elections, %" PRIu64 " crashes\n", sum->elections,
           sum->crashes);
    if (sum->undecided > 0) {
        printf("undecided    %" PRIu64 " histories of keys\n", sum->undecided);
    }
    printf("faults\n");
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        printf("  %12" PRIu64 "  %s\n", sum->injected[i], sim_fault_words((enum sim_fault)i));
    }
    printf("reached\n");
    for (size_t i = 0; i < REACHED_COUNT; i++) {
        printf("  %12" PRIu64 "  %s\n", sum->reached[i], reached_words((enum reached_branch)i));
    }
}

void sim_print_faults(uint32_t faults)
{
    const char *separator = "";
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        if ((faults & 1u << i) != 0) {
            printf("%s%s", separator, simulation_fault_word((enum simulation_fault)i));
            separator = ",";
        }
    }
    printf("%s", *separator == '\0' ? "none" : "");
}

void sim_print_failure(const struct simulation_options *options,
                       const struct simulation_result *result)
{
    printf("seed %" PRIu64 " FAILED\n", options->seed);
    printf("property     %s\n", result->property);
    printf("             %s\n", result->sentence);
    printf("step         %" PRIu64 ", after %.6f s of virtual time\n", result->step,
           (double)result->time_us / 1e6);
    printf("replay       kvapp sim --seed %" PRIu64 " --duration %u", options->seed,
           options->duration_s);
    if (options->servers != 0) {
        printf(" --nodes %u", options->servers);
    }
    if (options->faults != FAULTS_ALL) {
        printf(" --faults ");
        sim_print_faults(options->faults);
    }
    printf("%s", options->beyond ? " --beyond" : "");
    if (options->crash_point != 0) {
        printf(" --crash-point %" PRIu64, options->crash_point);
    }
    printf(" --trace\n");
}
