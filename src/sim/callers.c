#include "sim/callers.h"

#include "base/assert.h"
#include "base/memory.h"
#include "io/io.h"
#include "sim/cluster.h"
#include "sim/ledger.h"
#include "sim/pipeline.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    CLIENT_PORT_OFFSET = 1000,
    DOWN_US_MAX = 2 * 1000 * 1000,
    PAUSE_US_MAX = 400 * 1000, /* between WATCH and the rest */
    DRAIN_TURNS = 100,
};

enum caller_state { CALLER_DOWN, CALLER_IDLE, CALLER_CONNECTING, CALLER_OPEN, CALLER_CLOSING };

struct caller {
    struct callers *callers;
    size_t number;
    char name[24];
    struct sim_host *host;
    struct io *io;
    enum caller_state state;
    struct io_stream *stream;
    struct io_connect connect;
    struct io_receive receive;
    struct io_send send;
    struct io_close close;
    bool sending;
    bool rested;           /* what comes behind WATCH is due */
    bool leaves;           /* the connection is to be closed */
    struct server *server; /* that it speaks to; NULL: it does not know which */
    char address[64];      /* where it was sent to; "": nowhere */
    struct buf in;
    struct buf out;
    struct pipeline *pipeline; /* that waits for answers; NULL: none */
    size_t sent;               /* of its request */
    struct sim_event next;     /* the next pipeline, or the next life */
    struct sim_event patience; /* is over */
    struct sim_event rest;     /* what comes behind WATCH is sent */
    uint64_t timeout_us;
};

struct callers {
    struct simulation *simulation;
    size_t count;
    struct caller callers[CALLERS_MAX];
    struct pipeline **pipelines; /* all that ever were */
    size_t pipeline_count;
    size_t pipeline_capacity;
};

/* ---- the end of a pipeline ---- */

static struct simulation *simulation_of(const struct caller *caller)
{
    return caller->callers->simulation;
}

static void plan(struct caller *caller)
{
    struct simulation *simulation = simulation_of(caller);
    uint64_t pause_us = simulation_draw(simulation, 0, 4 * simulation->workload->pause_us);
    sim_world_schedule(simulation->world, &caller->next,
                       sim_world_now(simulation->world) + pause_us);
}

static void end_pipeline(struct caller *caller)
{
    struct simulation *simulation = simulation_of(caller);
    const struct pipeline *pipeline = caller->pipeline;
    sim_world_cancel(simulation->world, &caller->patience);
    sim_world_cancel(simulation->world, &caller->rest);
    if (simulation_chance(simulation, pipeline->trouble ? 70 : 10)) {
        caller->leaves = true;
    }
    (void)snprintf(caller->address, sizeof caller->address, "%s", pipeline->moved);
    caller->leaves = caller->leaves || caller->address[0] != '\0';
    caller->pipeline = NULL;
    caller->rested = false;
    caller->sent = 0;
    if (!simulation->workload->quiet) {
        plan(caller);
    }
}

static void lose(struct caller *caller)
{
    if (caller->pipeline != NULL) {
        caller->pipeline->trouble = true;
        pipeline_lose(caller->pipeline, caller->sent);
        end_pipeline(caller);
    }
}

/* ---- the connection ---- */

static void on_closed(struct io_close *close)
{
    struct caller *caller = CONTAINER_OF(close, struct caller, close);
    caller->state = CALLER_IDLE;
    caller->stream = NULL;
}

static void leave(struct caller *caller)
{
    caller->leaves = false;
    if (caller->state == CALLER_OPEN) {
        caller->state = CALLER_CLOSING;
        caller->close.done = on_closed;
        io_stream_close(caller->io, caller->stream, &caller->close);
    } else if (caller->state == CALLER_CONNECTING) {
        caller->state = CALLER_CLOSING;
        io_connect_cancel(caller->io, &caller->connect);
    }
}

static void on_received(struct io_receive *receive, struct slice bytes, int64_t result)
{
    struct caller *caller = CONTAINER_OF(receive, struct caller, receive);
    if (caller->state != CALLER_OPEN) {
        return;
    }
    if (result < 0 || bytes.size == 0) {
        lose(caller);
        leave(caller);
        return;
    }
    size_t used = 0;
    buf_append_slice(&caller->in, bytes);
    bool fits =
        caller->pipeline != NULL && pipeline_take(caller->pipeline, buf_slice(&caller->in), &used);
    if (!fits) {
        simulation_fail(simulation_of(caller), "redis", "%s is told what it did not ask for: %.*s",
                        caller->name, (int)(caller->in.size - used),
                        (const char *)caller->in.data + used);
        return;
    }
    struct simulation *simulation = simulation_of(caller);
    const struct server *server = caller->server;
    if (server != NULL && server->node != NULL && kvapp_node_role(server->node) != RAFT_LEADER &&
        caller->pipeline->newest != 0) {
        simulation_reached(simulation, REACHED_FORWARDED);
    }
    buf_consume(&caller->in, used);
    if (pipeline_is_done(caller->pipeline)) {
        end_pipeline(caller);
    } else if (caller->sent < caller->pipeline->request.size && caller->pipeline->answered > 0) {
        sim_world_schedule(simulation->world, &caller->rest,
                           sim_world_now(simulation->world) +
                               simulation_draw(simulation, 1, PAUSE_US_MAX));
    }
}

static void on_sent(struct io_send *send, int64_t result)
{
    struct caller *caller = CONTAINER_OF(send, struct caller, send);
    caller->sending = false;
    buf_clear(&caller->out);
    if (caller->state == CALLER_OPEN && result < 0) {
        lose(caller);
        leave(caller);
    }
}

static void on_connected(struct io_connect *connect, struct io_stream *stream, int64_t result)
{
    struct caller *caller = CONTAINER_OF(connect, struct caller, connect);
    caller->stream = stream;
    (void)result;
    if (caller->state == CALLER_CLOSING && stream != NULL) {
        caller->close.done = on_closed;
        io_stream_close(caller->io, stream, &caller->close);
    } else if (stream == NULL) {
        caller->state = CALLER_IDLE;
        lose(caller);
    } else {
        caller->state = CALLER_OPEN;
        buf_clear(&caller->in);
        caller->receive.done = on_received;
        io_receive_start(caller->io, stream, &caller->receive);
    }
}

/* Anyone; once all is healed a member that is sound, and where nothing is forwarded the leader. */
static struct server *draw_server(struct caller *caller)
{
    struct simulation *simulation = simulation_of(caller);
    struct cluster *cluster = simulation->cluster;
    size_t drawn = simulation_draw(simulation, 0, cluster->count - 1);
    if (!simulation->healed) {
        return &cluster->servers[drawn];
    }
    struct server *leader = cluster_leader(cluster);
    if (cluster->redis_writes != KVAPP_REDIS_FORWARD && leader != NULL) {
        return leader;
    }
    const struct raft_membership *members = simulation->ledger->membership->membership;
    for (size_t i = 0; i < members->count; i++) {
        struct server *server =
            &cluster->servers[members->members[(drawn + i) % members->count].id - 1];
        if (server_is_sound(server)) {
            return server;
        }
    }
    return &cluster->servers[drawn];
}

static void connect_to(struct caller *caller)
{
    char text[ADDRESS_SIZE_MAX];
    struct io_address address;
    if (caller->address[0] != '\0' && !simulation_of(caller)->healed) {
        (void)snprintf(text, sizeof text, "%s", caller->address);
        caller->server = NULL;
    } else {
        caller->server = draw_server(caller);
        CHECK(address_add_port(caller->server->address, CLIENT_PORT_OFFSET, text) == 0);
    }
    CHECK(io_resolve(caller->io, text, &address) == 0);
    caller->state = CALLER_CONNECTING;
    caller->connect.done = on_connected;
    io_connect_start(caller->io, &caller->connect, &address);
}

static void send_some(struct caller *caller)
{
    const struct pipeline *pipeline = caller->pipeline;
    size_t until = caller->sent == 0 ? pipeline->first_size : pipeline->request.size;
    buf_append(&caller->out, pipeline->request.data + caller->sent, until - caller->sent);
    caller->sent = until;
    caller->sending = true;
    caller->send.done = on_sent;
    caller->send.parts[0] =
        (struct iovec){.iov_base = caller->out.data, .iov_len = caller->out.size};
    caller->send.part_count = 1;
    io_send_start(caller->io, caller->stream, &caller->send);
}

bool callers_turn(struct callers *callers, const struct sim_host *host)
{
    for (size_t i = 0; i < callers->count; i++) {
        struct caller *caller = &callers->callers[i];
        if (caller->host != host) {
            continue;
        }
        (void)io_run(caller->io, 0);
        if (caller->leaves) {
            if (caller->sent > 0) {
                lose(caller);
            }
            leave(caller);
        }
        if (caller->pipeline != NULL && caller->state == CALLER_IDLE && !caller->sending) {
            connect_to(caller);
        }
        if (caller->pipeline != NULL && caller->state == CALLER_OPEN && !caller->sending &&
            (caller->sent == 0 || caller->rested)) {
            caller->rested = false;
            send_some(caller);
        }
        return true;
    }
    return false;
}

/* ---- life ---- */

static void ask(struct caller *caller)
{
    struct callers *callers = caller->callers;
    struct simulation *simulation = callers->simulation;
    if (caller->state == CALLER_DOWN || caller->pipeline != NULL) {
        return;
    }
    if (callers->pipeline_count == callers->pipeline_capacity) {
        callers->pipeline_capacity = 2 * callers->pipeline_capacity + 64;
        callers->pipelines =
            memory_grow(callers->pipelines, callers->pipeline_capacity * sizeof(struct pipeline *));
    }
    caller->pipeline = pipeline_new(simulation, ACTORS_MAX + caller->number);
    callers->pipelines[callers->pipeline_count++] = caller->pipeline;
    sim_world_schedule(simulation->world, &caller->patience,
                       sim_world_now(simulation->world) + caller->timeout_us);
    sim_host_wake(caller->host);
}

static void begin(struct caller *caller)
{
    sim_host_boot(caller->host, &caller->io);
    caller->state = CALLER_IDLE;
}

static void next(struct sim_event *event)
{
    struct caller *caller = CONTAINER_OF(event, struct caller, next);
    if (caller->state == CALLER_DOWN) {
        begin(caller);
    }
    if (!simulation_of(caller)->workload->quiet) {
        ask(caller);
    }
}

/* Gives the connection up, not knowing what became of what it asked for. */
static void run_out(struct sim_event *event)
{
    struct caller *caller = CONTAINER_OF(event, struct caller, patience);
    lose(caller);
    caller->leaves = true;
    sim_host_wake(caller->host);
}

static void go_on(struct sim_event *event)
{
    struct caller *caller = CONTAINER_OF(event, struct caller, rest);
    caller->rested = true;
    sim_host_wake(caller->host);
}

static void die(struct caller *caller)
{
    if (caller->state == CALLER_DOWN) {
        return;
    }
    sim_host_crash(caller->host, SIM_CRASH_KILL);
    lose(caller);
    leave(caller);
    sim_io_drain(caller->io, DRAIN_TURNS);
    io_free(caller->io);
    caller->io = NULL;
    caller->state = CALLER_DOWN;
}

void callers_crash(struct callers *callers, size_t number)
{
    struct caller *caller = &callers->callers[number];
    struct simulation *simulation = callers->simulation;
    if (caller->state != CALLER_DOWN) {
        die(caller);
        sim_world_schedule(simulation->world, &caller->next,
                           sim_world_now(simulation->world) +
                               simulation_draw(simulation, 1, DOWN_US_MAX));
    }
}

void callers_heal(struct callers *callers)
{
    for (size_t i = 0; i < callers->count; i++) {
        struct caller *caller = &callers->callers[i];
        if (caller->state == CALLER_DOWN) {
            begin(caller);
            plan(caller);
        } else {
            caller->leaves = true;
            sim_host_wake(caller->host);
        }
    }
}

void callers_probe(struct callers *callers)
{
    for (size_t i = 0; i < callers->count; i++) {
        ask(&callers->callers[i]);
    }
}

size_t callers_open(const struct callers *callers)
{
    size_t open = 0;
    for (size_t i = 0; i < callers->count; i++) {
        open += callers->callers[i].pipeline != NULL;
    }
    return open;
}

uint64_t callers_timeout_us(const struct callers *callers)
{
    uint64_t longest_us = 0;
    for (size_t i = 0; i < callers->count; i++) {
        uint64_t timeout_us = callers->callers[i].timeout_us;
        longest_us = timeout_us > longest_us ? timeout_us : longest_us;
    }
    return longest_us;
}

struct sim_host *callers_host(const struct callers *callers, size_t caller)
{
    return callers->callers[caller].host;
}

size_t callers_count(const struct callers *callers)
{
    return callers->count;
}

/* ---- all of them ---- */

struct callers *callers_new(struct simulation *simulation)
{
    struct callers *callers = memory_new(1, sizeof *callers);
    callers->simulation = simulation;
    callers->count = simulation_draw(simulation, 1, CALLERS_MAX);
    for (size_t i = 0; i < callers->count; i++) {
        struct caller *caller = &callers->callers[i];
        char address[24];
        caller->callers = callers;
        caller->number = i;
        (void)snprintf(caller->name, sizeof caller->name, "redis client %zu", i + 1);
        (void)snprintf(address, sizeof address, "10.0.3.%zu", i + 1);
        caller->host = sim_host_new(simulation->world, address);
        caller->next.run = next;
        caller->patience.run = run_out;
        caller->rest.run = go_on;
        caller->timeout_us = 1000 * simulation_draw_wide(simulation, 300, 8000);
    }
    return callers;
}

void callers_begin(struct callers *callers)
{
    for (size_t i = 0; i < callers->count; i++) {
        begin(&callers->callers[i]);
        plan(&callers->callers[i]);
    }
}

void callers_free(struct callers *callers)
{
    if (callers == NULL) {
        return;
    }
    struct sim_world *world = callers->simulation->world;
    callers->simulation->workload->quiet = true;
    for (size_t i = 0; i < callers->count; i++) {
        struct caller *caller = &callers->callers[i];
        die(caller);
        sim_world_cancel(world, &caller->next);
        sim_world_cancel(world, &caller->patience);
        sim_world_cancel(world, &caller->rest);
        buf_done(&caller->in);
        buf_done(&caller->out);
    }
    for (size_t i = 0; i < callers->pipeline_count; i++) {
        pipeline_free(callers->pipelines[i]);
    }
    free(callers->pipelines);
    free(callers);
}
