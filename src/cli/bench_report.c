#include "cli/bench.h"

#include "base/assert.h"

#include <stdio.h>

/* `amount` over the time of the run. */
static double per_second(const struct bench_result *result, uint64_t amount)
{
    return result->nanoseconds == 0 ? 0 : (double)amount * 1e9 / (double)result->nanoseconds;
}

static double entries_per_sync(const struct bench_result *result)
{
    return result->log_syncs == 0 ? 0 : (double)result->log_entries / (double)result->log_syncs;
}

static void operation_name(const struct bench_plan *plan, char ret_name[16])
{
    const char *name = bench_operations;
    for (unsigned i = 0; i < plan->operation; i++) {
        name = strchr(name, '|') + 1;
    }
    (void)snprintf(ret_name, 16, "%.*s", (int)strcspn(name, "|"), name);
}

static void print_text(FILE *out, const struct bench_plan *plan, const struct bench_result *result)
{
    const struct histogram *latencies = &result->latencies;
    char name[16];
    operation_name(plan, name);
    (void)fprintf(out,
                  "%s: %llu requests, %llu clients, %llu in flight each, values of %llu bytes, "
                  "%llu keys\n",
                  name, (unsigned long long)plan->requests, (unsigned long long)plan->clients,
                  (unsigned long long)plan->pipeline, (unsigned long long)plan->value_size,
                  (unsigned long long)plan->key_space);
    (void)fprintf(out, "  speed    %.0f ops/s in %.3f s\n", per_second(result, latencies->count),
                  (double)result->nanoseconds / 1e9);
    (void)fprintf(out, "  latency  mean %.3f ms, p50 %.3f, p99 %.3f, p99.9 %.3f, max %.3f\n",
                  histogram_mean(latencies) / 1e6,
                  (double)histogram_percentile(latencies, 500) / 1e6,
                  (double)histogram_percentile(latencies, 990) / 1e6,
                  (double)histogram_percentile(latencies, 999) / 1e6, (double)latencies->max / 1e6);
    if (result->has_log) {
        (void)fprintf(out, "  leader   %llu: %.0f fsyncs/s, %.1f log entries an fsync\n",
                      (unsigned long long)result->leader, per_second(result, result->log_syncs),
                      entries_per_sync(result));
    } else {
        (void)fprintf(out, "  leader   changed or unknown; no count of fsyncs\n");
    }
    uint64_t errors = result->failed + result->wrong;
    (void)fprintf(out, "  errors   %llu", (unsigned long long)errors);
    if (result->failed > 0) {
        (void)fprintf(out, "; %llu failed, first: %s", (unsigned long long)result->failed,
                      kvapp_err_sentence(result->failure));
    }
    if (result->wrong > 0) {
        (void)fprintf(out, "; %llu wrong, first: %s", (unsigned long long)result->wrong,
                      result->complaint);
    }
    (void)fputc('\n', out);
}

static void set_number(json_t *object, const char *name, uint64_t number)
{
    CHECK(json_object_set_new(object, name, json_integer((json_int_t)number)) == 0);
}

static void set_real(json_t *object, const char *name, double number)
{
    CHECK(json_object_set_new(object, name, json_real(number)) == 0);
}

static void set_latencies(json_t *object, const struct histogram *latencies)
{
    set_real(object, "mean_us", histogram_mean(latencies) / 1e3);
    set_real(object, "p50_us", (double)histogram_percentile(latencies, 500) / 1e3);
    set_real(object, "p99_us", (double)histogram_percentile(latencies, 990) / 1e3);
    set_real(object, "p999_us", (double)histogram_percentile(latencies, 999) / 1e3);
    set_real(object, "max_us", (double)latencies->max / 1e3);
}

static void print_json(struct output *output, const struct bench_plan *plan,
                       const struct bench_result *result)
{
    char name[16];
    operation_name(plan, name);
    json_t *object = json_object();
    CHECK(json_object_set_new(object, "operation", json_string(name)) == 0);
    set_number(object, "clients", plan->clients);
    set_number(object, "requests", plan->requests);
    set_number(object, "pipeline", plan->pipeline);
    set_number(object, "key_space", plan->key_space);
    set_number(object, "value_size", plan->value_size);
    set_number(object, "seed", plan->seed);
    set_real(object, "seconds", (double)result->nanoseconds / 1e9);
    set_real(object, "ops_per_second", per_second(result, result->latencies.count));
    set_latencies(object, &result->latencies);
    set_number(object, "errors", result->failed + result->wrong);
    set_number(object, "failed", result->failed);
    set_number(object, "wrong", result->wrong);
    if (result->failed > 0) {
        CHECK(json_object_set_new(object, "failure",
                                  json_string(kvapp_err_sentence(result->failure))) == 0);
    }
    if (result->wrong > 0) {
        CHECK(json_object_set_new(object, "complaint", json_string(result->complaint)) == 0);
    }
    if (result->has_log) {
        set_number(object, "leader", result->leader);
        set_real(object, "log_writes_per_second", per_second(result, result->log_writes));
        set_real(object, "log_syncs_per_second", per_second(result, result->log_syncs));
        set_real(object, "log_entries_per_second", per_second(result, result->log_entries));
        set_real(object, "log_entries_per_sync", entries_per_sync(result));
    }
    output_json(output, object);
}

void bench_report(struct output *output, const struct bench_plan *plan,
                  const struct bench_result *result)
{
    if (output->json) {
        print_json(output, plan, result);
    } else {
        print_text(output->out, plan, result);
    }
}
