/*
 * Worker processes: each does every n-th run and sends a message before and after each, so that
 * the parent knows which run a worker died of.
 */
#include "app/sim.h"

#include "base/memory.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS_MAX = 64, POLL_MS = 200 };

struct message {
    uint64_t run;
    bool finished;
    struct simulation_result result;
};

struct worker {
    pid_t process; /* 0: none */
    int pipe;
    uint64_t run; /* at work on */
    bool working;
};

/* ---- the worker's side ---- */

static bool send_message(int pipe, const struct message *message)
{
    const char *at = (const char *)message;
    size_t left = sizeof *message;
    while (left > 0) {
        ssize_t written = write(pipe, at, left);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        at += written > 0 ? written : 0;
        left -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

struct simulation_options sim_plan_run(const struct sim_plan *plan, uint64_t number)
{
    struct simulation_options options = plan->options;
    *(plan->crash_points ? &options.crash_point : &options.seed) = number;
    return options;
}

static void work(const struct sim_plan *plan, unsigned number, int pipe)
{
    bool goes_on = true;
    for (uint64_t run = plan->first + number; run <= plan->last && goes_on; run += plan->jobs) {
        struct message message = {.run = run};
        struct simulation_options options = sim_plan_run(plan, run);
        goes_on = send_message(pipe, &message);
        simulation_run(&options, &message.result);
        message.finished = true;
        goes_on = goes_on && send_message(pipe, &message) && !message.result.failed;
    }
}

/* ---- the parent's side ---- */

static bool start_worker(const struct sim_plan *plan, unsigned number, struct worker *worker)
{
    int ends[2];
    if (pipe(ends) != 0) {
        return false;
    }
    pid_t process = fork();
    if (process == 0) {
        (void)close(ends[0]);
        work(plan, number, ends[1]);
        _exit(0);
    }
    (void)close(ends[1]);
    if (process < 0) {
        (void)close(ends[0]);
        return false;
    }
    *worker = (struct worker){.process = process, .pipe = ends[0]};
    return true;
}

/* False: the worker has ended. */
static bool receive_message(int pipe, struct message *message)
{
    char *at = (char *)message;
    size_t left = sizeof *message;
    while (left > 0) {
        ssize_t size = read(pipe, at, left);
        if (size == 0 || (size < 0 && errno != EINTR)) {
            return false;
        }
        at += size > 0 ? size : 0;
        left -= size > 0 ? (size_t)size : 0;
    }
    return true;
}

static void end_worker(struct worker *worker)
{
    (void)close(worker->pipe);
    (void)kill(worker->process, SIGKILL);
    (void)waitpid(worker->process, NULL, 0);
    worker->process = 0;
}

/* An assertion ended the worker; its sentence stands on standard error. */
static struct simulation_result died(void)
{
    return (struct simulation_result){
        .failed = true,
        .property = "assertion",
        .sentence = "the process ended; see its last words above",
    };
}

struct harvest {
    const struct sim_plan *plan;
    struct sim_totals *totals;
    bool failed;
    uint64_t run; /* the smallest that failed */
    struct simulation_result failure;
};

static void note_failure(struct harvest *harvest, uint64_t run,
                         const struct simulation_result *result)
{
    if (!harvest->failed || run < harvest->run) {
        harvest->failed = true;
        harvest->run = run;
        harvest->failure = *result;
    }
}

static void hear(struct harvest *harvest, struct worker *worker)
{
    struct message message;
    if (!receive_message(worker->pipe, &message)) {
        if (worker->working) {
            const struct simulation_result result = died();
            note_failure(harvest, worker->run, &result);
        }
        end_worker(worker);
        return;
    }
    worker->run = message.run;
    worker->working = !message.finished;
    if (!message.finished) {
        return;
    }
    sim_add(harvest->totals, &message.result);
    if (message.result.failed) {
        note_failure(harvest, message.run, &message.result);
    }
}

/* Waits for messages; false when no worker is left. */
static bool hear_all(struct harvest *harvest, struct worker *workers, unsigned count)
{
    struct pollfd polled[JOBS_MAX];
    unsigned alive = 0;
    for (unsigned i = 0; i < count; i++) {
        polled[i] =
            (struct pollfd){.fd = workers[i].process == 0 ? -1 : workers[i].pipe, .events = POLLIN};
        alive += workers[i].process != 0;
    }
    if (alive == 0) {
        return false;
    }
    (void)poll(polled, count, POLL_MS);
    for (unsigned i = 0; i < count; i++) {
        if (polled[i].fd >= 0 && polled[i].revents != 0) {
            hear(harvest, &workers[i]);
        }
    }
    return true;
}

bool sim_run_all(const struct sim_plan *plan, struct sim_totals *ret_totals,
                 struct simulation_options *ret_options, struct simulation_result *ret_failure)
{
    struct worker workers[JOBS_MAX] = {{0}};
    *ret_totals = (struct sim_totals){0};
    struct harvest harvest = {.plan = plan, .totals = ret_totals};
    double began = sim_clock();
    for (unsigned i = 0; i < plan->jobs; i++) {
        if (!start_worker(plan, i, &workers[i])) {
            break;
        }
    }
    do {
        ret_totals->seconds = sim_clock() - began;
        sim_print_progress(ret_totals);
    } while (!harvest.failed &&
             (plan->seconds == 0 || ret_totals->seconds < (double)plan->seconds) &&
             hear_all(&harvest, workers, plan->jobs));
    for (unsigned i = 0; i < plan->jobs; i++) {
        if (workers[i].process != 0) {
            end_worker(&workers[i]);
        }
    }
    *ret_options = sim_plan_run(plan, harvest.run);
    *ret_failure = harvest.failure;
    return !harvest.failed;
}

void sim_run_apart(const struct simulation_options *options, struct simulation_result *ret_result)
{
    const struct sim_plan plan = {
        .options = *options, .first = options->seed, .last = options->seed, .jobs = 1};
    struct worker worker;
    struct message message = {0};
    *ret_result = died();
    if (!start_worker(&plan, 0, &worker)) {
        return;
    }
    while (receive_message(worker.pipe, &message)) {
        if (message.finished) {
            *ret_result = message.result;
        }
    }
    end_worker(&worker);
}
