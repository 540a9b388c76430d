/* Life, turns, timers, signals and addresses through io.h, the same on every backend. */
#include "io_world.h"

#include "base/memory.h"
#include "base/prng.h"
#include "kvapp/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_us(void)
{
    struct timespec time;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &time), 0);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

/* ---- turns ---- */

static void run_without_deadline_left_does_not_wait(void **state)
{
    struct world *world = *state;
    uint64_t before = clock_us();
    for (int i = 0; i < 100; i++) {
        assert_int_equal(io_run(world->io, 0), 0);
        assert_int_equal(io_run(world->io, io_now_us(world->io)), 0);
    }
    assert_true(clock_us() - before < 1000 * 1000);
}

static void run_waits_until_its_deadline(void **state)
{
    struct world *world = *state;
    assert_int_equal(io_run(world->io, 0), 0);
    uint64_t before = io_now_us(world->io);
    turn_for(world, 30);
    assert_true(io_now_us(world->io) - before >= 30 * 1000);
    assert_true(io_now_us(world->io) - before < 1000 * 1000);
}

static void run_without_limit_ends_with_the_first_completion(void **state)
{
    struct world *world = *state;
    char path[128];
    struct file_wait wait;
    io_make_directory(world->io, file_op(&wait), path_in(world, "made", path));
    for (int i = 0; i < 100 && !wait.done; i++) {
        assert_int_equal(io_run(world->io, UINT64_MAX), 0);
    }
    assert_true(wait.done);
    assert_int_equal(wait.result, 0);
}

struct slow {
    struct io_timer timer;
    struct io *io;
    bool done;
    uint64_t first_us;
    uint64_t last_us;
};

static void on_slow(struct io_timer *timer)
{
    struct slow *slow = CONTAINER_OF(timer, struct slow, timer);
    slow->first_us = io_now_us(slow->io);
    for (uint64_t start = clock_us(); clock_us() < start + 3000;) {
    }
    slow->last_us = io_now_us(slow->io);
    slow->done = true;
}

static void time_stands_still_within_a_turn(void **state)
{
    struct world *world = *state;
    struct slow slow = {.io = world->io};
    io_timer_init(&slow.timer, on_slow);
    io_timer_set(world->io, &slow.timer, 0);
    turn_until(world, &slow.done);
    assert_true(slow.first_us == slow.last_us);
    assert_int_equal(io_run(world->io, 0), 0);
    assert_true(io_now_us(world->io) >= slow.last_us + 3000);
}

/* As by a process that is stopped while it handles what came: the turn that follows knows of it. */
static void the_clock_is_read_after_what_came(void **state)
{
    struct world *world = *state;
    struct slow slow = {.io = world->io};
    io_timer_init(&slow.timer, on_slow);
    io_timer_set(world->io, &slow.timer, 0);
    turn_until(world, &slow.done);
    assert_true(io_now_us(world->io) >= slow.last_us + 3000);
}

static void clocks_and_chance_are_the_systems(void **state)
{
    struct world *world = *state;
    struct timespec time;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &time), 0);
    uint64_t wall_ms = (uint64_t)time.tv_sec * 1000;
    assert_true(io_wall_ms(world->io) >= wall_ms);
    assert_true(io_wall_ms(world->io) < wall_ms + 60 * 1000);
    assert_int_equal(io_run(world->io, 0), 0);
    assert_true(io_now_us(world->io) <= clock_us());
    assert_true(io_now_us(world->io) + 10 * 1000 * 1000 > clock_us());
    uint64_t first = io_random(world->io);
    assert_true(first != io_random(world->io) || first != io_random(world->io));
}

struct driven {
    struct io *io;
    struct file_wait wait;
    int err;
};

/* No assertion here: they belong to the first thread. */
static void *drive(void *argument)
{
    struct driven *driven = argument;
    for (int i = 0; i < 100 && !driven->wait.done && driven->err == 0; i++) {
        driven->err = io_run(driven->io, UINT64_MAX);
    }
    io_free(driven->io);
    return NULL;
}

static void io_may_be_made_by_one_thread_and_driven_by_another(void **state)
{
    struct world *world = *state;
    struct driven driven = {.err = 0};
    char reason[200];
    char path[128];
    assert_int_equal(io_new(world->backend, reason, sizeof reason, &driven.io), 0);
    io_make_directory(driven.io, file_op(&driven.wait), path_in(world, "made", path));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drive, &driven), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(driven.err, 0);
    assert_true(driven.wait.done);
    assert_int_equal(driven.wait.result, 0);
}

/* ---- timers ---- */

enum { TIMERS = 200 };

struct clockwork;

struct alarm {
    struct io_timer timer;
    struct clockwork *clockwork;
    uint64_t at_us;
    bool cancelled;
    int fired;
};

struct clockwork {
    struct world *world;
    struct alarm alarms[TIMERS];
    uint64_t last_us;
    size_t left;
    bool done;
};

/* Each third firing cancels some alarm that is still to come. */
static void on_alarm(struct io_timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    struct clockwork *clockwork = alarm->clockwork;
    assert_false(alarm->cancelled);
    assert_true(alarm->at_us >= clockwork->last_us);
    assert_true(alarm->at_us <= io_now_us(clockwork->world->io));
    clockwork->last_us = alarm->at_us;
    alarm->fired++;
    clockwork->left--;
    for (size_t i = 0; i < TIMERS && clockwork->left % 3 == 0; i++) {
        struct alarm *other = &clockwork->alarms[i];
        if (other->fired == 0 && !other->cancelled) {
            io_timer_cancel(clockwork->world->io, &other->timer);
            other->cancelled = true;
            clockwork->left--;
        }
    }
    clockwork->done = clockwork->left == 0;
}

static void timers_fire_once_in_order_unless_cancelled(void **state)
{
    struct world *world = *state;
    struct clockwork *clockwork = memory_new(1, sizeof *clockwork);
    *clockwork = (struct clockwork){.world = world, .left = TIMERS};
    struct prng prng;
    prng_init(&prng, 3);
    assert_int_equal(io_run(world->io, 0), 0);
    for (size_t i = 0; i < TIMERS; i++) {
        struct alarm *alarm = &clockwork->alarms[i];
        alarm->clockwork = clockwork;
        io_timer_init(&alarm->timer, on_alarm);
        io_timer_set(world->io, &alarm->timer, io_now_us(world->io) + 1000000);
        alarm->at_us = io_now_us(world->io) + prng_between(&prng, 0, 20) * 1000 - 5000;
        io_timer_set(world->io, &alarm->timer, alarm->at_us);
    }
    turn_until(world, &clockwork->done);
    turn_for(world, 5);
    for (size_t i = 0; i < TIMERS; i++) {
        assert_true(clockwork->alarms[i].fired + clockwork->alarms[i].cancelled == 1);
    }
    free(clockwork);
}

struct again {
    struct io_timer timer;
    struct io *io;
    uint64_t back_us;
    int fired;
};

static void on_again(struct io_timer *timer)
{
    struct again *again = CONTAINER_OF(timer, struct again, timer);
    again->fired++;
    io_timer_set(again->io, timer, io_now_us(again->io) - again->back_us);
}

static void timer_set_for_the_past_while_firing_waits_for_the_next_turn(void **state)
{
    struct world *world = *state;
    struct again first = {.io = world->io, .back_us = 1000};
    struct again second = {.io = world->io};
    io_timer_init(&first.timer, on_again);
    io_timer_init(&second.timer, on_again);
    io_timer_set(world->io, &first.timer, 0);
    io_timer_set(world->io, &second.timer, 0);
    for (int i = 1; i <= 10; i++) {
        assert_int_equal(io_run(world->io, UINT64_MAX), 0);
        assert_int_equal(first.fired, i);
        assert_int_equal(second.fired, i);
    }
    io_timer_cancel(world->io, &first.timer);
    io_timer_cancel(world->io, &first.timer);
    io_timer_cancel(world->io, &second.timer);
    assert_int_equal(io_run(world->io, 0), 0);
    assert_int_equal(first.fired, 10);
}

static void timer_wakes_a_run_without_limit(void **state)
{
    struct world *world = *state;
    struct slow slow = {.io = world->io};
    io_timer_init(&slow.timer, on_slow);
    assert_int_equal(io_run(world->io, 0), 0);
    uint64_t at_us = io_now_us(world->io) + 15500;
    io_timer_set(world->io, &slow.timer, at_us);
    for (int i = 0; i < 5 && !slow.done; i++) {
        assert_int_equal(io_run(world->io, UINT64_MAX), 0);
    }
    assert_true(slow.done);
    assert_true(slow.first_us >= at_us);
    assert_true(slow.first_us < at_us + 1000 * 1000);
}

/* ---- signals ---- */

struct listening {
    struct io_signal signal;
    int count;
    int number;
    bool any;
};

static void on_signal(struct io_signal *signal, int number)
{
    struct listening *listening = CONTAINER_OF(signal, struct listening, signal);
    listening->count++;
    listening->number = number;
    listening->any = true;
}

static void signals_arrive_in_the_turn_each_time(void **state)
{
    struct world *world = *state;
    struct listening listening = {.signal = {.done = on_signal}};
    assert_int_equal(io_signal_start(world->io, &listening.signal), 0);
    turn_for(world, 2);
    send_signal(world, SIGTERM);
    assert_int_equal(listening.count, 0);
    turn_until(world, &listening.any);
    assert_int_equal(listening.number, SIGTERM);
    listening.any = false;
    send_signal(world, SIGINT);
    turn_until(world, &listening.any);
    assert_int_equal(listening.number, SIGINT);
    assert_int_equal(listening.count, 2);
    io_signal_stop(world->io, &listening.signal);
    turn_for(world, 2);
    assert_int_equal(listening.count, 2);
    assert_int_equal(io_signal_start(world->io, &listening.signal), 0);
    io_signal_stop(world->io, &listening.signal);
}

static void broken_pipe_does_not_kill(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(write(ends[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    assert_int_equal(close(ends[1]), 0);
}

/* ---- addresses and errors ---- */

static void addresses_are_resolved(void **state)
{
    struct world *world = *state;
    struct io_address address;
    struct sockaddr_in in;
    assert_int_equal(io_resolve(world->io, "127.0.0.1:8080", &address), 0);
    assert_int_equal(address.size, sizeof in);
    memcpy(&in, address.bytes, sizeof in);
    assert_int_equal(in.sin_family, AF_INET);
    assert_int_equal(ntohs(in.sin_port), 8080);
    assert_int_equal(in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_int_equal(io_resolve(world->io, "localhost:65535", &address), 0);
    struct sockaddr_in6 in6;
    assert_int_equal(io_resolve(world->io, "[::1]:9", &address), 0);
    assert_int_equal(address.size, sizeof in6);
    memcpy(&in6, address.bytes, sizeof in6);
    assert_int_equal(in6.sin6_family, AF_INET6);
    assert_int_equal(ntohs(in6.sin6_port), 9);
}

static void what_is_no_address_is_refused(void **state)
{
    struct world *world = *state;
    /* Only what is refused for its form: names would ask the system's resolver. */
    static const char *const bad[] = {
        "",        "127.0.0.1", ":80",   "127.0.0.1:",    "127.0.0.1:65536",  "127.0.0.1:-1",
        "host:1x", "::1:80",    "[]:80", "[127.0.0.1:80", "127.0.0.1:999999",
    };
    char huge[400];
    memset(huge, 'a', sizeof huge);
    memcpy(huge + sizeof huge - 4, ":80", 4);
    struct io_address address = {.size = 77};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(io_resolve(world->io, bad[i], &address), KV_ERR_ADDRESS);
    }
    assert_int_equal(io_resolve(world->io, huge, &address), KV_ERR_ADDRESS);
    assert_int_equal(address.size, 77);
}

static void errors_have_sentences(void **state)
{
    (void)state;
    assert_string_equal(io_error_sentence(-ENOSPC), "No space left on device");
    assert_string_equal(io_error_sentence(-ECONNREFUSED), "Connection refused");
    assert_non_null(io_error_sentence(0));
    assert_non_null(io_error_sentence(12345));
    assert_string_equal(io_error_sentence(-100000), "unknown error");
    assert_string_equal(io_error_sentence(INT64_MIN), "unknown error");
}

/* ---- choosing the backend ---- */

static void name_is_that_of_the_backend(void **state)
{
    struct world *world = *state;
    const char *name = world->backend == IO_BACKEND_URING ? "io_uring" : "portable";
    assert_string_equal(io_backend_name(world->io), world->sim != NULL ? "sim" : name);
}

/* From here on, the system call fails with EPERM in this process, as in a confined container. */
static bool forbid(long number)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Whether io_new then refuses io_uring, with the reason, and chooses libuv when it may. */
static bool falls_back(long number, const char *said)
{
    char reason[200] = "";
    struct io *io = NULL;
    if (!forbid(number) || io_new(IO_BACKEND_URING, reason, sizeof reason, &io) != KV_ERR_IO ||
        io != NULL || strstr(reason, said) == NULL) {
        (void)printf("# forced: %s\n", reason);
        return false;
    }
    if (io_new(IO_BACKEND_AUTO, reason, sizeof reason, &io) != 0) {
        return false;
    }
    bool good = strcmp(io_backend_name(io), "portable") == 0 && strstr(reason, said) != NULL &&
                strncmp(reason, "portable (libuv): ", 18) == 0 && io_run(io, 0) == 0;
    (void)printf("# %s\n", reason);
    io_free(io);
    return good;
}

static void forbidden_call_falls_back(long number, const char *said)
{
    (void)fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool good = falls_back(number, said);
        (void)fflush(stdout);
        _exit(good ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void where_io_uring_is_forbidden_libuv_is_chosen_with_the_reason(void **state)
{
    (void)state;
    forbidden_call_falls_back(SYS_io_uring_setup, "io_uring_setup: Operation not permitted");
    forbidden_call_falls_back(SYS_io_uring_register, "io_uring");
}

static void automatic_choice_works_and_says_what_it_is(void **state)
{
    (void)state;
    char reason[200] = "";
    struct io *io = NULL;
    assert_int_equal(io_new(IO_BACKEND_AUTO, reason, sizeof reason, &io), 0);
    bool uring = strcmp(io_backend_name(io), "io_uring") == 0;
    assert_true(strncmp(reason, uring ? "io_uring" : "portable (libuv): ", uring ? 8 : 18) == 0);
    assert_int_equal(io_run(io, 0), 0);
    io_free(io);
    io_free(NULL);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(run_without_deadline_left_does_not_wait),
        cmocka_unit_test(run_waits_until_its_deadline),
        cmocka_unit_test(run_without_limit_ends_with_the_first_completion),
        kernel_unit_test(time_stands_still_within_a_turn),
        kernel_unit_test(the_clock_is_read_after_what_came),
        kernel_unit_test(clocks_and_chance_are_the_systems),
        kernel_unit_test(io_may_be_made_by_one_thread_and_driven_by_another),
        cmocka_unit_test(timers_fire_once_in_order_unless_cancelled),
        cmocka_unit_test(timer_set_for_the_past_while_firing_waits_for_the_next_turn),
        cmocka_unit_test(timer_wakes_a_run_without_limit),
        cmocka_unit_test(signals_arrive_in_the_turn_each_time),
        kernel_unit_test(broken_pipe_does_not_kill),
        cmocka_unit_test(addresses_are_resolved),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(errors_have_sentences),
        cmocka_unit_test(name_is_that_of_the_backend),
        kernel_unit_test(where_io_uring_is_forbidden_libuv_is_chosen_with_the_reason),
        kernel_unit_test(automatic_choice_works_and_says_what_it_is),
    };
    return run_on_backends("io_turn", cases, sizeof cases / sizeof cases[0]);
}
