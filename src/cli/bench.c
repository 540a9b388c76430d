/*
 * A closed loop: every client keeps `pipeline` requests in flight, and a reply is what sends the
 * next one.
 *
 *     fill (get, mixed) ──► warm up ──► status ──► measured run ──► status ──► report
 *
 *     run_phase: submit ──► kvapp_client_run ──► on_reply: check, count, submit the next
 *
 * Nothing is allocated while requests are in flight, and the clock is read once for all the
 * replies that one kvapp_client_run brings.
 *
 * Every reply is checked: the value against what writes of its key look like, and the revision
 * against the newest one that was known for the key when the request was sent. An older one would
 * be a stale read, unless those were asked for, or a lost write.
 */
#include "cli/bench.h"

#include "cli/cli.h"
#include "cli/clock.h"
#include "cli/status.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/prng.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

const char bench_operations[] = "put|get|mixed";

enum {
    RUN_WAIT_MS = 100,
    STATUS_WAIT_MS = 1000,
    PROGRESS_NS = 500 * 1000 * 1000,
    VALUES_SIZE_MAX_MIB = 4096, /* of all values in flight */
};

struct bench;

struct slot {
    struct kvapp_request request;
    struct bench *bench;
    struct kvapp_client *client;
    uint64_t key_number;
    uint64_t started_ns;
    uint64_t revision_known; /* of the key, when the request was sent */
    char key[BENCH_KEY_SIZE];
    uint8_t *value;
};

/* What a phase does: all its requests are of one kind, with keys in order or at random. */
struct phase {
    const char *name;
    enum bench_operation operation;
    bool in_order;
    bool measured;
    uint64_t total;
    uint64_t sent;
    uint64_t answered;
    uint64_t failed_in_a_row;
};

struct bench {
    struct bench_plan plan;
    struct bench_result result;
    struct phase phase;
    struct kvapp_client **clients;
    struct slot *slots;
    size_t slot_count;
    uint8_t *values;
    uint64_t *revisions; /* by key number: the newest that a reply has shown */
    uint64_t write_number;
    struct prng prng;
    uint64_t now_ns; /* of the replies that come now; 0: not read yet */
    bool shows_progress;
    bool reads_may_be_old; /* they are stale */
};

/* ---- requests and replies ---- */

static void submit_next(struct bench *bench, struct slot *slot)
{
    struct phase *phase = &bench->phase;
    slot->key_number =
        phase->in_order ? phase->sent : prng_between(&bench->prng, 0, bench->plan.key_space - 1);
    bool is_put = phase->operation == BENCH_PUT ||
                  (phase->operation == BENCH_MIXED && prng_chance(&bench->prng, 1, 2));
    bench_key_fill(slot->key, slot->key_number);
    slot->request.kind = is_put ? KVAPP_PUT : KVAPP_GET;
    slot->request.value_size = is_put ? bench->plan.value_size : 0;
    if (is_put) {
        bench->write_number++;
        bench_value_fill(slot->value, slot->request.value_size, slot->key_number,
                         bench->write_number);
    }
    slot->revision_known = bench->revisions[slot->key_number];
    slot->started_ns = bench->now_ns;
    phase->sent++;
    kvapp_submit(slot->client, &slot->request);
}

static void complain(struct bench_result *result, const struct slot *slot, const char *what)
{
    if (result->wrong++ == 0) {
        (void)snprintf(result->complaint, sizeof result->complaint, "%.*s: %s", BENCH_KEY_SIZE,
                       slot->key, what);
    }
}

static void check_answer(struct bench *bench, struct slot *slot, const struct kvapp_reply *reply)
{
    bool is_get = slot->request.kind == KVAPP_GET;
    bool may_be_old = is_get && bench->reads_may_be_old;
    if (reply->status == KV_ERR_NOT_FOUND && may_be_old) {
        return;
    }
    if (reply->status == KV_ERR_NOT_FOUND) {
        complain(&bench->result, slot, "a key that was written is not there");
    } else if (is_get && reply->size != bench->plan.value_size) {
        complain(&bench->result, slot, "a value has another size than what was written");
    } else if (is_get && !bench_value_fits(reply->data, reply->size, slot->key_number)) {
        complain(&bench->result, slot, "a value was never written to this key");
    } else if (is_get && reply->revision < slot->revision_known && !may_be_old) {
        complain(&bench->result, slot, "a value is older than one that was known before");
    } else if (!is_get && reply->revision <= slot->revision_known) {
        complain(&bench->result, slot, "a write was put before one that was known before");
    } else if (reply->revision > bench->revisions[slot->key_number]) {
        bench->revisions[slot->key_number] = reply->revision;
    }
}

static void on_reply(struct kvapp_request *request, const struct kvapp_reply *reply)
{
    struct slot *slot = request->context;
    struct bench *bench = slot->bench;
    struct phase *phase = &bench->phase;
    if (bench->now_ns == 0) {
        bench->now_ns = clock_now_ns();
    }
    phase->answered++;
    if (reply->status == 0 || reply->status == KV_ERR_NOT_FOUND) {
        phase->failed_in_a_row = 0;
        check_answer(bench, slot, reply);
        if (phase->measured) {
            histogram_add(&bench->result.latencies, bench->now_ns - slot->started_ns);
        }
    } else {
        bench->result.failure = bench->result.failed == 0 ? reply->status : bench->result.failure;
        bench->result.failed++;
        phase->failed_in_a_row++;
    }
    if (phase->sent < phase->total && phase->failed_in_a_row < bench->slot_count) {
        submit_next(bench, slot);
    }
}

/* ---- phases ---- */

static void show_progress(const struct bench *bench, uint64_t elapsed_ns)
{
    const struct phase *phase = &bench->phase;
    (void)fprintf(stderr, "\r%s: %llu of %llu, %.0f/s   ", phase->name,
                  (unsigned long long)phase->answered, (unsigned long long)phase->total,
                  (double)phase->answered * 1e9 / (double)elapsed_ns);
    (void)fflush(stderr);
}

/*
 * Runs until all requests are answered. When as many in a row fail as can be in flight, it sends
 * no more: the cluster is gone. Returns 0 or the first failure.
 */
static int run_phase(struct bench *bench, struct phase phase)
{
    bench->phase = phase;
    bench->now_ns = clock_now_ns();
    uint64_t start_ns = bench->now_ns;
    uint64_t shown_ns = start_ns;
    for (size_t i = 0; i < bench->slot_count && bench->phase.sent < phase.total; i++) {
        submit_next(bench, &bench->slots[i]);
    }
    while (bench->phase.answered < bench->phase.sent) {
        bench->now_ns = 0;
        int err = kvapp_client_run(bench->clients[0], RUN_WAIT_MS);
        if (err != 0) {
            return err;
        }
        if (bench->shows_progress) {
            uint64_t now_ns = clock_now_ns();
            if (now_ns - shown_ns >= PROGRESS_NS) {
                shown_ns = now_ns;
                show_progress(bench, now_ns - start_ns);
            }
        }
    }
    if (bench->shows_progress) {
        (void)fputs("\r\033[K", stderr);
    }
    bench->result.nanoseconds = clock_now_ns() - start_ns;
    return bench->result.failed > 0 ? bench->result.failure : 0;
}

/* The leader's counters. Returns false when nobody leads. */
static bool ask_leader(struct bench *bench, struct kvapp_member *ret_leader)
{
    struct kvapp_member members[MEMBERS_MAX] = {0};
    size_t count = 0;
    if (kvapp_status(bench->clients[0], STATUS_WAIT_MS, members, &count) != 0) {
        return false;
    }
    uint64_t leader = status_leader(members, count);
    for (size_t i = 0; i < count; i++) {
        if (leader != 0 && members[i].reachable && members[i].id == leader) {
            *ret_leader = members[i];
            return true;
        }
    }
    return false;
}

/* What comes before the measured run; its failures mean that there is nothing to measure. */
static int prepare(struct bench *bench, bool talks)
{
    const struct bench_plan *plan = &bench->plan;
    if (plan->operation != BENCH_PUT) {
        struct phase fill = {
            .name = "fill", .operation = BENCH_PUT, .in_order = true, .total = plan->key_space};
        if (talks) {
            (void)printf("filling %llu keys first, not measured\n",
                         (unsigned long long)plan->key_space);
            (void)fflush(stdout);
        }
        int err = run_phase(bench, fill);
        if (err != 0) {
            return err;
        }
    }
    struct phase warm_up = {
        .name = "warm-up", .operation = plan->operation, .total = 2 * bench->slot_count};
    return run_phase(bench, warm_up);
}

static int measure(struct bench *bench)
{
    struct bench_result *result = &bench->result;
    struct kvapp_member before = {0};
    struct kvapp_member after = {0};
    bool known = ask_leader(bench, &before);
    struct phase run = {.name = "run",
                        .operation = bench->plan.operation,
                        .measured = true,
                        .total = bench->plan.requests};
    int err = run_phase(bench, run);
    known = known && ask_leader(bench, &after);
    if (known && before.id == after.id && before.term == after.term &&
        before.uptime_ms <= after.uptime_ms) {
        result->has_log = true;
        result->leader = after.id;
        result->log_writes = after.log_writes - before.log_writes;
        result->log_syncs = after.log_syncs - before.log_syncs;
        result->log_entries = after.log_entries - before.log_entries;
    }
    return err;
}

/* ---- the whole ---- */

static int make_clients(struct bench *bench, const struct options *options)
{
    struct kvapp_client_options client_options = cli_client_options(options);
    bench->clients = memory_new(bench->plan.clients, sizeof(struct kvapp_client *));
    for (uint64_t i = 0; i < bench->plan.clients; i++) {
        client_options.share_loop_with = bench->clients[0];
        client_options.nearest = (uint32_t)i; /* so that all servers are asked */
        int err = kvapp_client_new(&client_options, &bench->clients[i]);
        if (err != 0) {
            return err;
        }
    }
    return 0;
}

/* Slots go round the clients, so that few requests still keep all of them busy. */
static void make_slots(struct bench *bench)
{
    const struct bench_plan *plan = &bench->plan;
    bench->slot_count = plan->clients * plan->pipeline;
    bench->slots = memory_new(bench->slot_count, sizeof *bench->slots);
    bench->values = memory_new(bench->slot_count * plan->value_size + 1, 1);
    bench->revisions = memory_new(plan->key_space, sizeof *bench->revisions);
    for (size_t i = 0; i < bench->slot_count; i++) {
        struct slot *slot = &bench->slots[i];
        slot->bench = bench;
        slot->client = bench->clients[i % plan->clients];
        slot->value = bench->values + i * plan->value_size;
        slot->request = (struct kvapp_request){.key = slot->key,
                                               .key_size = BENCH_KEY_SIZE,
                                               .value = slot->value,
                                               .done = on_reply,
                                               .context = slot};
    }
}

/* The clients go first: they end what is in flight, in slots that must still be there. The first
 * client's loop is everyone's, so it goes last. */
static void bench_done(struct bench *bench)
{
    bench->phase.total = 0;
    for (uint64_t i = bench->plan.clients; i > 0 && bench->clients != NULL; i--) {
        kvapp_client_free(bench->clients[i - 1]);
    }
    free(bench->clients);
    free(bench->slots);
    free(bench->values);
    free(bench->revisions);
}

static int plan_from_options(const struct options *options, struct bench_plan *ret_plan)
{
    uint64_t operation;
    char sentence[OPTIONS_ERROR_SIZE];
    static const struct option choice = {.type = OPTION_ENUM, .choices = bench_operations};
    if (options->word_count != 1) {
        (void)fprintf(stderr, "kvapp bench: one word is needed that says what to do: put, get or "
                              "mixed\n");
        return KV_ERR_INVALID;
    }
    if (option_check(&choice, "the operation", options->words[0], &operation, sentence,
                     sizeof sentence) != 0) {
        (void)fprintf(stderr, "kvapp bench: %s\n", sentence);
        return KV_ERR_INVALID;
    }
    struct bench_plan plan = {
        .operation = (enum bench_operation)operation,
        .clients = options_number(options, OPTION_CLIENTS),
        .requests = options_number(options, OPTION_REQUESTS),
        .key_space = options_number(options, OPTION_KEY_SPACE),
        .value_size = options_number(options, OPTION_VALUE_SIZE),
        .pipeline = options_number(options, OPTION_PIPELINE),
        .seed = options_number(options, OPTION_SEED),
    };
    uint64_t values_mib = (plan.clients * plan.pipeline * plan.value_size) >> 20;
    if (values_mib > VALUES_SIZE_MAX_MIB) {
        (void)fprintf(stderr,
                      "kvapp bench: --clients times --pipeline times --value-size is %llu MiB in "
                      "flight; at most %d MiB are possible\n",
                      (unsigned long long)values_mib, VALUES_SIZE_MAX_MIB);
        return KV_ERR_INVALID;
    }
    *ret_plan = plan;
    return 0;
}

/* Each client has connections of its own. */
static void allow_many_connections(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

static enum exit_status run_bench(struct bench *bench, const struct options *options,
                                  struct output *output)
{
    bool talks = !output->json;
    bench->shows_progress = talks && isatty(STDERR_FILENO);
    int err = make_clients(bench, options);
    if (err == 0) {
        make_slots(bench);
        err = prepare(bench, talks);
    }
    if (err != 0) {
        struct kvapp_reply reply = {.status = err};
        const char *detail = bench->slots == NULL ? cli_client_options(options).cluster
                                                  : kvapp_client_error(bench->clients[0]);
        output_failure(output, slice_of(NULL, 0), &reply, detail);
        return EXIT_NO_ANSWER;
    }
    (void)measure(bench);
    bench_report(output, &bench->plan, &bench->result);
    const struct bench_result *result = &bench->result;
    return result->failed + result->wrong > 0 ? EXIT_NOT : EXIT_DONE;
}

int cli_bench_main(const struct options *options)
{
    struct bench_plan plan;
    if (plan_from_options(options, &plan) != 0) {
        return EXIT_USAGE;
    }
    allow_many_connections();
    struct output output = {
        .out = stdout, .complaints = stderr, .json = options_number(options, OPTION_JSON) != 0};
    struct bench *bench = memory_new(1, sizeof *bench);
    bench->plan = plan;
    bench->reads_may_be_old = options_number(options, OPTION_READS) == KVAPP_READS_STALE;
    prng_init(&bench->prng, plan.seed);
    enum exit_status exit_status = run_bench(bench, options, &output);
    bench_done(bench);
    free(bench);
    output_done(&output);
    return (int)exit_status;
}
