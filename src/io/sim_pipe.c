/*
 * One direction of a connection: an ordered queue of segments on the way to the receiver.
 *
 *     sent ──► on the way, each segment with its time ──► arrived ──► taken by the receiver
 *                     │            ▲
 *                     ▼ blocked    │ open again, or the machine is on again
 *                   parked ────────┘
 *                     └──► broken for the sender
 *
 * All faults of a stream happen where a segment is made or arrives. Invariants: segments arrive in
 * order; `arrived` bytes and then those of the segments make up the buffer; it never holds more
 * than SIM_PIPE_SIZE bytes.
 */
#include "io/sim_world.h"

#include "base/hash.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>

enum {
    PIECES_MAX = 4,
    RETRANSMITS_MAX = 6,
    RETRANSMIT_US_MIN = 100 * 1000,
    RETRANSMIT_US_MAX = 250 * 1000,
};

static void on_arrival(struct sim_event *event);
static void on_room(struct sim_event *event);

void sim_pipe_init(struct sim_pipe *pipe, struct sim_connection *connection)
{
    pipe->connection = connection;
    pipe->arrival.run = on_arrival;
    pipe->room.run = on_room;
    list_init(&pipe->parked);
}

void sim_pipe_done(struct sim_pipe *pipe)
{
    struct sim_world *world = pipe->connection->world;
    sim_world_cancel(world, &pipe->arrival);
    sim_world_cancel(world, &pipe->room);
    list_remove(&pipe->parked);
    free(pipe->segments);
    free(pipe->bytes);
}

size_t sim_pipe_room(const struct sim_pipe *pipe)
{
    return SIM_PIPE_SIZE - (pipe->size - pipe->first);
}

static struct sim_host *sender_of(const struct sim_pipe *pipe)
{
    return pipe->connection->hosts[sim_pipe_side(pipe)];
}

static struct sim_host *receiver_of(const struct sim_pipe *pipe)
{
    return pipe->connection->hosts[1 - sim_pipe_side(pipe)];
}

static struct sim_pipe *other_way(const struct sim_pipe *pipe)
{
    return &pipe->connection->pipes[1 - sim_pipe_side(pipe)];
}

/* ---- the queue ---- */

static struct sim_segment *first_segment(const struct sim_pipe *pipe)
{
    bool any = pipe->segment_first < pipe->segment_count;
    return any ? &pipe->segments[pipe->segment_first] : NULL;
}

/* The arrival is that of the first segment, unless the pipe is parked. */
static void arrival_schedule(struct sim_pipe *pipe)
{
    const struct sim_segment *first = first_segment(pipe);
    struct sim_world *world = pipe->connection->world;
    if (!list_empty(&pipe->parked)) {
        return;
    }
    if (first == NULL) {
        sim_world_cancel(world, &pipe->arrival);
    } else if (!heap_holds(&pipe->arrival.node) || pipe->arrival.node.key != first->at_us) {
        sim_schedule(world, &pipe->arrival, first->at_us);
    }
}

static void segment_push(struct sim_pipe *pipe, enum sim_segment_kind kind, size_t size,
                         uint64_t at_us)
{
    if (pipe->segment_first == pipe->segment_count) {
        pipe->segment_first = 0;
        pipe->segment_count = 0;
    }
    if (pipe->segment_count == pipe->segment_capacity) {
        pipe->segment_capacity = pipe->segment_capacity == 0 ? 8 : pipe->segment_capacity * 2;
        pipe->segments =
            memory_grow(pipe->segments, pipe->segment_capacity * sizeof *pipe->segments);
    }
    pipe->last_us = at_us > pipe->last_us ? at_us : pipe->last_us;
    pipe->segments[pipe->segment_count++] =
        (struct sim_segment){.at_us = pipe->last_us, .size = (uint32_t)size, .kind = kind};
    arrival_schedule(pipe);
}

static uint64_t delay_end(const struct sim_pipe *pipe)
{
    struct sim_world *world = pipe->connection->world;
    return world->now_us + sim_route_delay(world, sim_route_of(pipe));
}

/* Keeps a drawn number of the segments on the way. */
static void truncate_drawn(struct sim_pipe *pipe)
{
    size_t on_the_way = pipe->segment_count - pipe->segment_first;
    size_t kept = (size_t)prng_between(&pipe->connection->world->chance, 0, on_the_way);
    while (pipe->segment_count > pipe->segment_first + kept) {
        pipe->size -= pipe->segments[--pipe->segment_count].size;
    }
    arrival_schedule(pipe);
}

static void drop_all(struct sim_pipe *pipe)
{
    pipe->segment_first = pipe->segment_count;
    pipe->size = pipe->first + pipe->arrived;
    arrival_schedule(pipe);
}

/* ---- sending ---- */

static void bytes_append(struct sim_pipe *pipe, const void *bytes, size_t size)
{
    if (pipe->first == pipe->size) {
        pipe->first = 0;
        pipe->size = 0;
    }
    if (pipe->size + size > pipe->capacity && pipe->first > 0) {
        pipe->size -= pipe->first;
        memmove(pipe->bytes, pipe->bytes + pipe->first, pipe->size);
        pipe->first = 0;
    }
    if (pipe->size + size > pipe->capacity) {
        size_t capacity = pipe->capacity == 0 ? 1024 : pipe->capacity;
        while (capacity < pipe->size + size) {
            capacity *= 2;
        }
        pipe->bytes = memory_grow(pipe->bytes, capacity);
        pipe->capacity = capacity;
    }
    memcpy(pipe->bytes + pipe->size, bytes, size);
    pipe->size += size;
}

/* When a segment that is sent now arrives. */
static uint64_t arrival_draw(struct sim_pipe *pipe)
{
    struct sim_world *world = pipe->connection->world;
    struct prng *chance = &world->chance;
    const struct sim_link *link = &sim_route_of(pipe)->link;
    uint64_t at_us = delay_end(pipe);
    for (unsigned i = 0; i < RETRANSMITS_MAX && sim_chance(chance, link->loss_ppm); i++) {
        at_us += prng_between(chance, RETRANSMIT_US_MIN, RETRANSMIT_US_MAX) << i;
        sim_fault(world, sender_of(pipe), SIM_FAULT_LOSS);
    }
    if (sim_chance(chance, link->clog_ppm)) {
        at_us += prng_between(chance, 0, link->clog_max_us);
        sim_fault(world, sender_of(pipe), SIM_FAULT_CLOG);
    }
    return at_us;
}

/* One segment; false when the connection was cut within it. */
static bool piece_send(struct sim_pipe *pipe, const uint8_t *bytes, size_t size)
{
    struct sim_world *world = pipe->connection->world;
    struct prng *chance = &world->chance;
    const struct sim_link *link = &sim_route_of(pipe)->link;
    bool cut = sim_chance(chance, link->cut_ppm);
    size = cut ? (size_t)prng_between(chance, 0, size - 1) : size;
    uint64_t at_us = arrival_draw(pipe);
    if (size > 0) {
        bytes_append(pipe, bytes, size);
    }
    if (size > 0 && sim_chance(chance, link->corrupt_ppm)) {
        size_t place = pipe->size - 1 - (size_t)prng_between(chance, 0, size - 1);
        pipe->bytes[place] ^= (uint8_t)(1u << prng_between(chance, 0, 7));
        sim_fault(world, sender_of(pipe), SIM_FAULT_CORRUPTION);
        SIM_TELL(world, sender_of(pipe), "byte %zu of %zu to %s is corrupted",
                 size - (pipe->size - place), size, receiver_of(pipe)->address);
    }
    if (size > 0) {
        segment_push(pipe, SIM_SEGMENT_BYTES, size, at_us);
    }
    if (cut) {
        sim_fault(world, sender_of(pipe), SIM_FAULT_CUT);
        SIM_TELL(world, sender_of(pipe), "the connection to %s is cut", receiver_of(pipe)->address);
        segment_push(pipe, SIM_SEGMENT_RESET, 0, at_us);
        sim_pipe_reset(other_way(pipe));
    }
    return !cut;
}

void sim_pipe_send(struct sim_pipe *pipe, const void *bytes, size_t size)
{
    CHECK(size <= sim_pipe_room(pipe));
    struct sim_world *world = pipe->connection->world;
    const struct sim_link *link = &sim_route_of(pipe)->link;
    world->counters.bytes_sent += size;
    size_t pieces = 1;
    if (size > 1 && sim_chance(&world->chance, link->fragment_ppm)) {
        pieces = (size_t)prng_between(&world->chance, 2, PIECES_MAX);
        sim_fault(world, sender_of(pipe), SIM_FAULT_FRAGMENT);
    }
    const uint8_t *at = bytes;
    for (size_t left = size; left > 0; pieces--) {
        size_t piece = pieces <= 1 ? left : (size_t)prng_between(&world->chance, 1, left);
        if (!piece_send(pipe, at, piece)) {
            return;
        }
        at += piece;
        left -= piece;
    }
}

void sim_pipe_end(struct sim_pipe *pipe)
{
    if (!pipe->ended) {
        pipe->ended = true;
        segment_push(pipe, SIM_SEGMENT_END, 0, delay_end(pipe));
    }
}

/* A reset is always the last to be queued, except for bytes of a sender that has not heard. */
static bool reset_queued(const struct sim_pipe *pipe)
{
    bool any = pipe->segment_first < pipe->segment_count;
    return any && pipe->segments[pipe->segment_count - 1].kind == SIM_SEGMENT_RESET;
}

/* One reset on its way is enough; when that one has arrived, the next call sends another. */
void sim_pipe_reset(struct sim_pipe *pipe)
{
    if (reset_queued(pipe)) {
        return;
    }
    sim_fault(pipe->connection->world, sender_of(pipe), SIM_FAULT_RESET);
    pipe->ended = true;
    truncate_drawn(pipe);
    segment_push(pipe, SIM_SEGMENT_RESET, 0, delay_end(pipe));
}

/* A reset stays: the peer would send until it heard one. */
void sim_pipe_silence(struct sim_pipe *pipe)
{
    pipe->ended = true;
    if (!reset_queued(pipe)) {
        truncate_drawn(pipe);
    }
}

/* ---- blocked ---- */

/* Only a reset waits for ever, since the peer's retransmissions would bring about another. */
static void on_give_up(struct sim_event *event)
{
    struct sim_pipe *pipe = CONTAINER_OF(event, struct sim_pipe, arrival);
    struct sim_connection *connection = pipe->connection;
    struct sim_stream *sender = connection->ends[sim_pipe_side(pipe)];
    if (reset_queued(pipe)) {
        return;
    }
    list_remove(&pipe->parked);
    pipe->arrival.run = on_arrival;
    pipe->ended = true;
    drop_all(pipe);
    sim_fault(connection->world, sender_of(pipe), SIM_FAULT_BREAK);
    SIM_TELL(connection->world, sender_of(pipe), "gives a connection to %s up",
             receiver_of(pipe)->address);
    if (sender != NULL) {
        sim_stream_break(sender, -ETIMEDOUT);
    }
}

static void park(struct sim_pipe *pipe)
{
    struct sim_world *world = pipe->connection->world;
    struct sim_route *route = sim_route_of(pipe);
    uint64_t most_us = route->link.break_max_us;
    list_push(&route->parked, &pipe->parked);
    sim_fault(world, sender_of(pipe), SIM_FAULT_BLOCK);
    if (most_us > 0) {
        pipe->arrival.run = on_give_up;
        sim_schedule(world, &pipe->arrival,
                     world->now_us + prng_between(&world->chance, most_us / 2, most_us));
    }
}

void sim_pipe_unpark(struct sim_pipe *pipe, uint64_t at_us)
{
    pipe->arrival.run = on_arrival;
    for (size_t i = pipe->segment_first; i < pipe->segment_count; i++) {
        struct sim_segment *segment = &pipe->segments[i];
        segment->at_us = segment->at_us < at_us ? at_us : segment->at_us;
    }
    pipe->last_us = pipe->last_us < at_us ? at_us : pipe->last_us;
    arrival_schedule(pipe);
}

/* ---- arriving ---- */

/*
 * Nobody is there: the machine answers with a reset, if there is anybody to hear it. A reset is not
 * answered.
 */
static void answer_with_reset(struct sim_pipe *pipe)
{
    bool reset = first_segment(pipe)->kind == SIM_SEGMENT_RESET;
    drop_all(pipe);
    if (!reset && pipe->connection->ends[sim_pipe_side(pipe)] != NULL) {
        sim_pipe_reset(other_way(pipe));
    }
}

static void bytes_arrive(struct sim_pipe *pipe, size_t size)
{
    struct sim_world *world = pipe->connection->world;
    struct sim_host *host = receiver_of(pipe);
    const uint8_t *bytes = pipe->bytes + pipe->first + pipe->arrived;
    sim_note(world, host, SIM_RECORD_ARRIVAL, size, hash_bytes(bytes, size));
    SIM_TELL(world, host, "gets %zu bytes from %s", size, sender_of(pipe)->address);
    world->counters.segments++;
    if (pipe->connection->ends[sim_pipe_side(pipe)] == NULL) {
        sim_fault(world, host, SIM_FAULT_LATE);
    }
    pipe->arrived += size;
}

/* The receiver is there. */
static void segment_arrive(struct sim_pipe *pipe, const struct sim_segment *segment,
                           struct sim_stream *receiver)
{
    struct sim_host *host = receiver_of(pipe);
    switch (segment->kind) {
    case SIM_SEGMENT_BYTES:
        bytes_arrive(pipe, segment->size);
        return;
    case SIM_SEGMENT_END:
        sim_note(pipe->connection->world, host, SIM_RECORD_END, 0, 0);
        pipe->end_arrived = true;
        return;
    case SIM_SEGMENT_RESET:
        sim_note(pipe->connection->world, host, SIM_RECORD_END, 1, 0);
        sim_stream_break(receiver, -ECONNRESET);
        return;
    }
    UNREACHABLE();
}

static void on_arrival(struct sim_event *event)
{
    struct sim_pipe *pipe = CONTAINER_OF(event, struct sim_pipe, arrival);
    struct sim_connection *connection = pipe->connection;
    struct sim_world *world = connection->world;
    if (sim_route_of(pipe)->link.blocked || !receiver_of(pipe)->powered) {
        park(pipe);
        return;
    }
    struct sim_stream *receiver = connection->ends[1 - sim_pipe_side(pipe)];
    if (receiver == NULL || receiver->broken != 0) {
        answer_with_reset(pipe);
        return;
    }
    for (const struct sim_segment *segment = first_segment(pipe);
         segment != NULL && segment->at_us <= world->now_us && receiver->broken == 0;
         segment = first_segment(pipe)) {
        segment_arrive(pipe, segment, receiver);
        pipe->segment_first++;
    }
    arrival_schedule(pipe);
    sim_stream_arrival(receiver);
}

static void on_room(struct sim_event *event)
{
    const struct sim_pipe *pipe = CONTAINER_OF(event, struct sim_pipe, room);
    struct sim_stream *sender = pipe->connection->ends[sim_pipe_side(pipe)];
    if (sender != NULL) {
        sim_stream_room(sender);
    }
}

size_t sim_pipe_take(struct sim_pipe *pipe, void *bytes, size_t size)
{
    struct sim_world *world = pipe->connection->world;
    const struct sim_stream *sender = pipe->connection->ends[sim_pipe_side(pipe)];
    size = size < pipe->arrived ? size : pipe->arrived;
    memcpy(bytes, pipe->bytes + pipe->first, size);
    pipe->first += size;
    pipe->arrived -= size;
    bool waits = sender != NULL && sender->send != NULL && !sender->send_pending;
    if (waits && !heap_holds(&pipe->room.node)) {
        sim_schedule(world, &pipe->room,
                     world->now_us + sim_route_delay(world, sim_route_of(other_way(pipe))));
    }
    return size;
}
