/*
 * The world: one heap of events on virtual time, the story and its hash.
 *
 *     sim_world_step ──► the next event ──► an arrival, a completion: queued at its process
 *                                      └──► a host's turn: returned to the driver
 *
 * Invariants: time never goes back; equal times happen in the order of their scheduling; nothing is
 * ever ordered or hashed by an address.
 */
#include "io/sim_world.h"

#include "base/hash.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct sim_world *sim_world_new(uint64_t seed)
{
    struct sim_world *world = memory_new(1, sizeof *world);
    prng_init(&world->chance, seed);
    list_init(&world->connections);
    world->hash = seed;
    return world;
}

void sim_world_free(struct sim_world *world)
{
    if (world == NULL) {
        return;
    }
    /* A connection lives as long as one of its ends. */
    CHECK(list_empty(&world->connections));
    for (size_t i = 0; i < world->host_count; i++) {
        CHECK(world->hosts[i]->io == NULL);
        sim_disk_done(&world->hosts[i]->disk);
        free(world->hosts[i]);
    }
    heap_done(&world->events);
    free(world);
}

uint64_t sim_world_now(const struct sim_world *world)
{
    return world->now_us;
}

uint64_t sim_world_hash(const struct sim_world *world)
{
    return world->hash;
}

const struct sim_counters *sim_world_counters(const struct sim_world *world)
{
    return &world->counters;
}

const char *sim_fault_words(enum sim_fault fault)
{
    static const char *const words[] = {
#define SIM_FAULT_WORDS(name, words) words,
        SIM_FAULTS(SIM_FAULT_WORDS)
#undef SIM_FAULT_WORDS
    };
    return words[fault];
}

/* ---- events ---- */

static void schedule(struct sim_world *world, struct sim_event *event, uint64_t at_us)
{
    heap_remove(&world->events, &event->node);
    heap_push(&world->events, &event->node, at_us > world->now_us ? at_us : world->now_us);
}

void sim_schedule(struct sim_world *world, struct sim_event *event, uint64_t at_us)
{
    event->foreign = false;
    schedule(world, event, at_us);
}

void sim_world_schedule(struct sim_world *world, struct sim_event *event, uint64_t at_us)
{
    CHECK(event->run != NULL);
    event->foreign = true;
    schedule(world, event, at_us);
}

void sim_world_cancel(struct sim_world *world, struct sim_event *event)
{
    heap_remove(&world->events, &event->node);
}

void sim_world_trap(struct sim_world *world, struct sim_event *trap, uint64_t events)
{
    world->trap = trap;
    world->trap_at = events;
}

static void spring_trap(struct sim_world *world)
{
    if (world->trap != NULL && world->counters.events >= world->trap_at) {
        struct sim_event *trap = world->trap;
        world->trap = NULL;
        trap->run(trap);
        world->touched = true;
    }
}

struct sim_host *sim_world_step(struct sim_world *world, uint64_t until_us)
{
    world->turned = NULL;
    world->touched = true;
    while (world->turned == NULL) {
        spring_trap(world);
        if (world->touched) {
            sim_hosts_settle(world);
            world->touched = false;
        }
        struct heap_node *node = heap_top(&world->events);
        if (node == NULL || node->key > until_us) {
            bool passes = until_us != UINT64_MAX && until_us > world->now_us;
            world->now_us = passes ? until_us : world->now_us;
            return NULL;
        }
        CHECK(node->key >= world->now_us);
        world->now_us = node->key;
        heap_remove(&world->events, node);
        world->counters.events++;
        struct sim_event *event = CONTAINER_OF(node, struct sim_event, node);
        world->touched = event->foreign;
        event->run(event);
    }
    return world->turned;
}

/* ---- the story ---- */

void sim_note(struct sim_world *world, const struct sim_host *host, enum sim_record record,
              uint64_t a, uint64_t b)
{
    uint8_t bytes[32];
    put_u64(bytes, world->now_us);
    put_u32(bytes + 8, (uint32_t)host->number);
    put_u32(bytes + 12, (uint32_t)record);
    put_u64(bytes + 16, a);
    put_u64(bytes + 24, b);
    world->hash = hash_bytes_seeded(bytes, sizeof bytes, world->hash);
}

void sim_fault(struct sim_world *world, const struct sim_host *host, enum sim_fault fault)
{
    world->counters.faults[fault]++;
    sim_note(world, host, SIM_RECORD_FAULT, (uint64_t)fault, world->counters.faults[fault]);
}

void sim_world_trace(struct sim_world *world, const struct trace *trace)
{
    world->trace = trace;
}

void sim_tell(struct sim_world *world, const struct sim_host *host, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    trace_line(world->trace, TRACE_DEBUG, "%4llu.%06llu %s %s",
               (unsigned long long)(world->now_us / 1000000),
               (unsigned long long)(world->now_us % 1000000), host->address, text);
}

/* ---- chance ---- */

bool sim_chance(struct prng *prng, uint32_t ppm)
{
    return ppm != 0 && prng_chance(prng, ppm, SIM_PPM);
}

uint64_t sim_latency_draw(struct prng *prng, struct sim_latency latency)
{
    CHECK(latency.min_us <= latency.mean_us);
    CHECK(latency.mean_us <= latency.max_us);
    /* About -log2 of a uniform number, in 1/65536: the leading zeros, and a straight line between
     * them. Its mean is 1.5. No floating point, which compilers may round differently. */
    uint64_t bits = prng_next(prng) | 1;
    uint64_t zeros = (uint64_t)__builtin_clzll(bits);
    uint64_t fraction = (prng_next(prng) >> 48) & 0xffff;
    uint64_t scaled = zeros * 65536 + fraction;
    uint64_t spread = latency.mean_us - latency.min_us;
    uint64_t value = latency.min_us + spread * scaled / 98304;
    return value < latency.max_us ? value : latency.max_us;
}
