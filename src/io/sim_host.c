/*
 * Hosts: machine, process, turn and clock; and the backend's table of calls.
 *
 *     off ── sim_host_boot ──► running ── io_free ──► on, no process ── sim_host_boot ──► running
 *      ▲                          │  └──── kill ────────▲
 *      └──────── power loss ──────┘
 *
 * The next turn is at the earlier of the first ready completion and the first timer, but not before
 * the last turn is over, nor while the process is paused. Invariant: the ready queue of a host's io
 * is empty or ready_us says since when it is not.
 */
#include "io/sim_world.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WALL_START_S = 1700000000, /* seconds since 1970 when a world begins */
    UPTIME_US_MAX = 1000 * 1000 * 1000,
    FIRST_PORT = 32768,
};

static const struct io_calls sim_calls;

/* ---- clocks ---- */

static uint64_t clock_passed(const struct sim_host *host)
{
    uint64_t rate = (uint64_t)((int64_t)SIM_PPM + host->clock.rate_ppm);
    return (host->world->now_us - host->clock.world_us) * rate / SIM_PPM;
}

uint64_t sim_world_wall_us(const struct sim_world *world)
{
    return (uint64_t)WALL_START_S * 1000000 + world->now_us;
}

uint64_t sim_clock_local(const struct sim_host *host)
{
    return host->clock.local_us + clock_passed(host);
}

uint64_t sim_clock_world(const struct sim_host *host, uint64_t local_us)
{
    const struct sim_clock *clock = &host->clock;
    uint64_t rate = (uint64_t)((int64_t)SIM_PPM + clock->rate_ppm);
    if (local_us <= clock->local_us) {
        return clock->world_us;
    }
    uint64_t wait = local_us - clock->local_us;
    if (rate == 0 || wait > UINT64_MAX / SIM_PPM / 2) {
        return UINT64_MAX;
    }
    return clock->world_us + (wait * SIM_PPM + rate - 1) / rate;
}

static void clock_anchor(struct sim_host *host)
{
    uint64_t passed = clock_passed(host);
    host->clock.local_us += passed;
    host->clock.wall_us += passed;
    host->clock.world_us = host->world->now_us;
    host->timer_key = UINT64_MAX;
    host->timer_us = UINT64_MAX;
}

void sim_clock_rate(struct sim_host *host, int32_t ppm)
{
    CHECK(ppm >= -SIM_PPM);
    clock_anchor(host);
    host->clock.rate_ppm = ppm;
    sim_fault(host->world, host, SIM_FAULT_CLOCK_RATE);
    SIM_TELL(host->world, host, "the clocks go %+d ppm", ppm);
}

void sim_clock_jump(struct sim_host *host, int64_t ms)
{
    int64_t jump_us = ms * 1000;
    int64_t wall_us = (int64_t)(host->clock.wall_us + clock_passed(host));
    CHECK(wall_us + jump_us > 0);
    host->clock.wall_us += (uint64_t)jump_us;
    sim_fault(host->world, host, SIM_FAULT_CLOCK_JUMP);
    SIM_TELL(host->world, host, "the wall clock jumps by %lld ms", (long long)ms);
}

/* ---- turns ---- */

/* When the process has its next turn, paused or not; UINT64_MAX: never. */
static uint64_t turn_due(const struct sim_host *host)
{
    uint64_t due = host->ready_us < host->timer_us ? host->ready_us : host->timer_us;
    return due < host->busy_until_us ? host->busy_until_us : due;
}

static void turn_schedule(struct sim_host *host)
{
    uint64_t due = host->io == NULL || host->parked ? UINT64_MAX : turn_due(host);
    due = due < host->paused_until_us ? host->paused_until_us : due;
    if (due == UINT64_MAX) {
        sim_world_cancel(host->world, &host->turn);
        return;
    }
    due = due < host->world->now_us ? host->world->now_us : due;
    if (!heap_holds(&host->turn.node) || host->turn.node.key != due) {
        sim_schedule(host->world, &host->turn, due);
    }
}

static void timers_look(struct sim_host *host)
{
    const struct heap_node *first = heap_top(&host->io->io.timers);
    uint64_t key = first == NULL ? UINT64_MAX : first->key;
    if (key != host->timer_key) {
        host->timer_key = key;
        host->timer_us = first == NULL ? UINT64_MAX : sim_clock_world(host, key);
    }
}

void sim_hosts_settle(struct sim_world *world)
{
    for (size_t i = 0; i < world->host_count; i++) {
        struct sim_host *host = world->hosts[i];
        if (host->io != NULL) {
            timers_look(host);
            turn_schedule(host);
        }
    }
}

static void on_turn(struct sim_event *event)
{
    struct sim_host *host = CONTAINER_OF(event, struct sim_host, turn);
    struct sim_world *world = host->world;
    CHECK(host->io != NULL);
    uint64_t length = prng_between(&host->process_chance, host->turn_us_min, host->turn_us_max);
    host->busy_until_us = world->now_us + length;
    host->paused_until_us = 0;
    world->counters.turns++;
    sim_note(world, host, SIM_RECORD_TURN, length, 0);
    world->turned = host;
}

void sim_ready(struct sim_io *io, struct io_ready *ready, void (*run)(struct io_ready *ready))
{
    io_ready_push(&io->io, ready, run);
    struct sim_host *host = io->host;
    if (host != NULL && host->ready_us == UINT64_MAX) {
        host->ready_us = host->world->now_us;
        turn_schedule(host);
    }
}

void sim_host_wake(struct sim_host *host)
{
    if (host->io != NULL && host->ready_us == UINT64_MAX) {
        host->ready_us = host->world->now_us;
        turn_schedule(host);
    }
}

void sim_host_pause(struct sim_host *host, uint64_t until_us)
{
    host->paused_until_us = until_us;
    sim_fault(host->world, host, SIM_FAULT_PAUSE);
    SIM_TELL(host->world, host, "pauses");
    turn_schedule(host);
}

void sim_host_resume(struct sim_host *host)
{
    host->paused_until_us = 0;
    SIM_TELL(host->world, host, "resumes");
    turn_schedule(host);
}

void sim_host_turn_time(struct sim_host *host, uint32_t min_us, uint32_t max_us)
{
    CHECK(min_us <= max_us);
    host->turn_us_min = min_us;
    host->turn_us_max = max_us;
}

void sim_host_accept_errors(struct sim_host *host, uint32_t ppm)
{
    host->accept_error_ppm = ppm;
}

void sim_host_drive_itself(struct sim_host *host)
{
    host->drives_itself = true;
}

/* Moves the world until something is ready for this io or a timer is due. */
static void drive(struct sim_io *io, uint64_t until_us)
{
    struct sim_host *host = io->host;
    uint64_t limit_us = until_us == UINT64_MAX ? UINT64_MAX : sim_clock_world(host, until_us);
    while (list_empty(&io->io.ready)) {
        struct sim_host *turned = sim_world_step(host->world, limit_us);
        if (turned == NULL || turned == host) {
            return;
        }
        /* Its turn comes with its own io_run. */
        turned->parked = true;
    }
}

/* Everything that completed is in the ready queue, which io.c runs next. */
static int sim_run(struct io *base, uint64_t until_us)
{
    struct sim_io *io = sim_io_of(base);
    struct sim_host *host = io->host;
    if (host == NULL) {
        const struct heap_node *timer = heap_top(&base->timers);
        if (list_empty(&base->ready) && timer != NULL && timer->key > base->now_us) {
            base->now_us = timer->key;
        }
        return 0;
    }
    host->parked = false;
    if (host->drives_itself && until_us > sim_clock_local(host)) {
        drive(io, until_us);
    }
    base->now_us = sim_clock_local(host);
    host->ready_us = UINT64_MAX;
    return 0;
}

/* ---- life ---- */

struct sim_host *sim_host_new(struct sim_world *world, const char *address)
{
    CHECK(world->host_count < SIM_HOSTS_MAX);
    struct in_addr in;
    int parsed = inet_pton(AF_INET, address, &in);
    CHECK(parsed == 1);
    struct sim_host *host = memory_new(1, sizeof *host);
    host->world = world;
    host->number = world->host_count;
    host->ip = ntohl(in.s_addr);
    (void)snprintf(host->address, sizeof host->address, "%s", address);
    host->turn.run = on_turn;
    host->ready_us = UINT64_MAX;
    host->timer_key = UINT64_MAX;
    host->timer_us = UINT64_MAX;
    host->turn_us_min = 2;
    host->turn_us_max = 20;
    host->next_port = FIRST_PORT;
    host->clock.wall_us = sim_world_wall_us(world);
    host->clock.world_us = world->now_us;
    prng_init(&host->process_chance, prng_next(&world->chance));
    prng_init(&host->disk_chance, prng_next(&world->chance));
    for (size_t i = 0; i < SIM_HOSTS_MAX; i++) {
        list_init(&host->routes[i].parked);
        bool itself = i == host->number;
        host->routes[i].link = (struct sim_link){.delay_min_us = itself ? 10 : 50,
                                                 .delay_mean_us = itself ? 15 : 120,
                                                 .delay_max_us = itself ? 100 : 2000};
    }
    sim_files_init(host);
    world->hosts[world->host_count++] = host;
    return host;
}

size_t sim_host_number(const struct sim_host *host)
{
    return host->number;
}

const char *sim_host_address(const struct sim_host *host)
{
    return host->address;
}

struct io *sim_host_io(const struct sim_host *host)
{
    return host->io == NULL ? NULL : &host->io->io;
}

static void power_on(struct sim_host *host)
{
    host->powered = true;
    host->clock.local_us = prng_between(&host->process_chance, 0, UPTIME_US_MAX);
    struct sim_world *world = host->world;
    for (size_t i = 0; i < world->host_count; i++) {
        sim_route_open(world, &world->hosts[i]->routes[host->number]);
    }
}

void sim_host_boot(struct sim_host *host, struct io **ret_io)
{
    CHECK(host->io == NULL);
    clock_anchor(host);
    if (!host->powered) {
        power_on(host);
    }
    struct sim_io *io = memory_new(1, sizeof *io);
    io_base_init(&io->io, &sim_calls, sim_clock_local(host));
    io->host = host;
    list_init(&io->streams);
    list_init(&io->connects);
    list_init(&io->listeners);
    list_init(&io->works);
    list_init(&io->files);
    host->io = io;
    host->parked = false;
    host->busy_until_us = 0;
    host->paused_until_us = 0;
    host->ready_us = host->world->now_us;
    turn_schedule(host);
    sim_note(host->world, host, SIM_RECORD_BOOT, 0, 0);
    SIM_TELL(host->world, host, "boots");
    *ret_io = &io->io;
}

static void host_leave(struct sim_host *host)
{
    host->io->host = NULL;
    host->io = NULL;
    host->ready_us = UINT64_MAX;
    host->timer_key = UINT64_MAX;
    host->timer_us = UINT64_MAX;
    host->paused_until_us = 0;
    sim_world_cancel(host->world, &host->turn);
}

static void sim_io_free(struct io *base)
{
    struct sim_io *io = sim_io_of(base);
    CHECK(list_empty(&io->connects));
    CHECK(list_empty(&io->listeners));
    CHECK(list_empty(&io->works));
    CHECK(list_empty(&io->files));
    CHECK(io->signal == NULL);
    /* Closings that nobody waits for are the only completions left. */
    io_base_done(base);
    CHECK(list_empty(&io->streams));
    if (io->host != NULL) {
        host_leave(io->host);
    }
    free(io->receive_buffer);
    free(io);
}

void sim_host_crash(struct sim_host *host, enum sim_crash crash)
{
    struct sim_io *io = host->io;
    struct sim_world *world = host->world;
    CHECK(io != NULL);
    CHECK(!io->io.running);
    bool power = crash == SIM_CRASH_POWER;
    SIM_TELL(world, host, power ? "loses power" : "is killed");
    sim_fault(world, host, power ? SIM_FAULT_POWER_LOSS : SIM_FAULT_KILL);
    sim_files_cut_off(io);
    sim_network_cut_off(io, crash);
    if (power) {
        host->powered = false;
        sim_disk_stall(host, 0);
        sim_disk_power_loss(&host->disk, &host->disk_faults, &host->disk_chance, &world->counters);
    }
    host_leave(host);
    sim_note(world, host, SIM_RECORD_CRASH, power, host->disk.pages_used);
}

void sim_io_drain(struct io *base, unsigned turns_max)
{
    CHECK(sim_io_of(base)->host == NULL);
    for (unsigned i = 0; i < turns_max; i++) {
        if (list_empty(&base->ready) && heap_top(&base->timers) == NULL) {
            return;
        }
        (void)io_run(base, 0);
    }
}

/* ---- the small calls ---- */

static uint64_t sim_clock_us(const struct io *base)
{
    const struct sim_host *host = CONTAINER_OF(base, const struct sim_io, io)->host;
    return host == NULL ? base->now_us : sim_clock_local(host);
}

static uint64_t sim_wall_ms(const struct io *base)
{
    const struct sim_io *io = CONTAINER_OF(base, const struct sim_io, io);
    const struct sim_host *host = io->host;
    return host == NULL ? base->now_us / 1000 : (host->clock.wall_us + clock_passed(host)) / 1000;
}

static uint64_t sim_random(struct io *base)
{
    struct sim_host *host = sim_io_of(base)->host;
    return host == NULL ? base->now_us : prng_next(&host->process_chance);
}

static int sim_signal_start(struct io *base, struct io_signal *signal)
{
    struct sim_io *io = sim_io_of(base);
    if (io->signal != NULL) {
        return -EBUSY;
    }
    io->signal = signal;
    return 0;
}

static void sim_signal_stop(struct io *base, struct io_signal *signal)
{
    struct sim_io *io = sim_io_of(base);
    CHECK(io->signal == signal);
    io->signal = NULL;
}

static void on_signal(struct io_ready *ready)
{
    struct sim_io *io = CONTAINER_OF(ready, struct sim_io, signal_ready);
    io->signal_pending = false;
    if (io->signal != NULL) {
        io->signal->done(io->signal, io->signal_number);
    }
}

void sim_host_signal(struct sim_host *host, int number)
{
    struct sim_io *io = host->io;
    if (io != NULL && io->signal != NULL && !io->signal_pending) {
        io->signal_pending = true;
        io->signal_number = number;
        sim_ready(io, &io->signal_ready, on_signal);
    }
}

static const struct io_calls sim_calls = {
    .name = "sim",
    .free = sim_io_free,
    .run = sim_run,
    .clock_us = sim_clock_us,
    .wall_ms = sim_wall_ms,
    .random = sim_random,
    .signal_start = sim_signal_start,
    .signal_stop = sim_signal_stop,
    .resolve = sim_resolve,
    .listen = sim_listen,
    .listener_close = sim_listener_close,
    .connect_start = sim_connect_start,
    .connect_cancel = sim_connect_cancel,
    .receive_start = sim_receive_start,
    .receive_pause = sim_receive_pause,
    .send_start = sim_send_start,
    .stream_close = sim_stream_close,
    .file_start = sim_file_start,
    .lock = sim_lock,
    .forget = sim_forget,
    .file_close = sim_file_close,
};
