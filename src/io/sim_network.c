/*
 * The network: addresses, links, listeners, and how a connection begins.
 *
 *     connect ──► SYN arrives ──► listener's queue ──► accept
 *                     │  └──────► SYN-ACK arrives ──► connected
 *                     ├─ nobody listens ──► refused
 *                     └─ blocked, off, queue full ──► again after 1, 2, 4, … s ──► timed out
 *
 * A connection exists from the SYN on and is freed when neither side has an interest in it.
 */
#include "io/sim_world.h"

#include "base/memory.h"
#include "kvapp/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BACKLOG_MAX = 1024,
    ACCEPTS_PER_TURN_MAX = 64,
    RETRY_US_MIN = 1000 * 1000,
    CONNECT_US_MIN = 20 * 1000 * 1000,
    CONNECT_US_MAX = 130 * 1000 * 1000,
    ACCEPT_PAUSE_US = 100 * 1000,
    REOPEN_US_MAX = 200 * 1000, /* until the retransmission after a blockade */
    FIRST_PORT = 32768,
    LAST_PORT = 60999,
};

/* ---- addresses ---- */

/* What an address says: a port of a machine. IPv6 is the host itself. */
struct target {
    bool six;
    uint32_t ip; /* in host order; 0 with any address */
    uint16_t port;
};

static int target_of(const struct io_address *address, struct target *ret_target)
{
    sa_family_t family;
    memcpy(&family, address->bytes, sizeof family);
    if (family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address->bytes, sizeof in6);
        *ret_target = (struct target){.six = true, .port = ntohs(in6.sin6_port)};
        bool here = IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr);
        return here ? 0 : -EADDRNOTAVAIL;
    }
    struct sockaddr_in in;
    memcpy(&in, address->bytes, sizeof in);
    *ret_target = (struct target){.ip = ntohl(in.sin_addr.s_addr), .port = ntohs(in.sin_port)};
    return 0;
}

static struct io_address address_of(bool six, uint32_t ip, uint16_t port)
{
    struct io_address address = {.size = 0};
    if (six) {
        struct sockaddr_in6 in6 = {
            .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        memcpy(address.bytes, &in6, sizeof in6);
        address.size = sizeof in6;
    } else {
        struct sockaddr_in in = {
            .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(ip)}};
        memcpy(address.bytes, &in, sizeof in);
        address.size = sizeof in;
    }
    return address;
}

static bool ip_is_loopback(uint32_t ip)
{
    return ip >> 24 == IN_LOOPBACKNET;
}

static bool is_itself(const struct sim_host *host, const struct target *target)
{
    return target->six || target->ip == 0 || ip_is_loopback(target->ip) || target->ip == host->ip;
}

static struct sim_host *host_find(struct sim_host *from, const struct target *target)
{
    if (is_itself(from, target)) {
        return from;
    }
    struct sim_world *world = from->world;
    for (size_t i = 0; i < world->host_count; i++) {
        if (world->hosts[i]->ip == target->ip) {
            return world->hosts[i];
        }
    }
    return NULL;
}

/* The port after the last colon; false when there is none. */
static bool parse_port(const char *digits, uint16_t *ret_port)
{
    char *end = NULL;
    unsigned long value = strtoul(digits, &end, 10);
    if (digits[0] < '0' || digits[0] > '9' || *end != 0 || value > UINT16_MAX) {
        return false;
    }
    *ret_port = (uint16_t)value;
    return true;
}

int sim_resolve(struct io *io, const char *host_port, struct io_address *ret_address)
{
    (void)io;
    const char *colon = strrchr(host_port, ':');
    char host[64];
    uint16_t port = 0;
    if (colon == NULL || (size_t)(colon - host_port) >= sizeof host ||
        !parse_port(colon + 1, &port)) {
        return KV_ERR_ADDRESS;
    }
    memcpy(host, host_port, (size_t)(colon - host_port));
    host[colon - host_port] = 0;
    struct in_addr in;
    if (strcmp(host, "[::1]") == 0 || strcmp(host, "[::]") == 0) {
        *ret_address = address_of(true, 0, port);
    } else if (strcmp(host, "localhost") == 0) {
        *ret_address = address_of(false, INADDR_LOOPBACK, port);
    } else if (inet_pton(AF_INET, host, &in) == 1) {
        *ret_address = address_of(false, ntohl(in.s_addr), port);
    } else {
        return KV_ERR_ADDRESS;
    }
    return 0;
}

static uint16_t port_next(struct sim_host *host)
{
    uint16_t port = host->next_port;
    host->next_port = port == LAST_PORT ? FIRST_PORT : (uint16_t)(port + 1);
    return port;
}

/* ---- links ---- */

uint64_t sim_route_delay(struct sim_world *world, const struct sim_route *route)
{
    return sim_latency_draw(&world->chance,
                            (struct sim_latency){.min_us = route->link.delay_min_us,
                                                 .mean_us = route->link.delay_mean_us,
                                                 .max_us = route->link.delay_max_us});
}

const struct sim_link *sim_link_get(const struct sim_host *from, const struct sim_host *to)
{
    return &from->routes[to->number].link;
}

void sim_route_open(struct sim_world *world, struct sim_route *route)
{
    for (struct list *node = list_pop(&route->parked); node != NULL;
         node = list_pop(&route->parked)) {
        struct sim_pipe *pipe = CONTAINER_OF(node, struct sim_pipe, parked);
        sim_pipe_unpark(pipe, world->now_us + sim_route_delay(world, route) +
                                  prng_between(&world->chance, 0, REOPEN_US_MAX));
    }
}

void sim_link_set(struct sim_host *from, struct sim_host *to, const struct sim_link *link)
{
    struct sim_world *world = from->world;
    CHECK(link->delay_min_us <= link->delay_mean_us);
    CHECK(link->delay_mean_us <= link->delay_max_us);
    struct sim_route *route = &from->routes[to->number];
    if (route->link.blocked != link->blocked) {
        SIM_TELL(world, from, "the link to %s is %s", to->address,
                 link->blocked ? "blocked" : "open");
    }
    route->link = *link;
    sim_fault(world, from, SIM_FAULT_LINK);
    if (!link->blocked && to->powered) {
        sim_route_open(world, route);
    }
}

void sim_link_block(struct sim_host *from, struct sim_host *to, bool blocked)
{
    struct sim_link link = *sim_link_get(from, to);
    link.blocked = blocked;
    sim_link_set(from, to, &link);
}

void sim_link_reset(struct sim_host *a, struct sim_host *b)
{
    struct sim_world *world = a->world;
    for (struct list *node = world->connections.next; node != &world->connections;
         node = node->next) {
        struct sim_connection *connection = CONTAINER_OF(node, struct sim_connection, node);
        struct sim_host *const *hosts = connection->hosts;
        if ((hosts[0] == a && hosts[1] == b) || (hosts[0] == b && hosts[1] == a)) {
            sim_pipe_reset(&connection->pipes[0]);
            sim_pipe_reset(&connection->pipes[1]);
        }
    }
}

/* ---- connections ---- */

static struct sim_connection *connection_new(struct sim_host *from, struct sim_host *to)
{
    struct sim_connection *connection = memory_new(1, sizeof *connection);
    connection->world = from->world;
    connection->hosts[0] = from;
    connection->hosts[1] = to;
    for (int i = 0; i < 2; i++) {
        sim_pipe_init(&connection->pipes[i], connection);
    }
    list_init(&connection->node);
    list_push(&from->world->connections, &connection->node);
    return connection;
}

void sim_connection_release(struct sim_connection *connection)
{
    if (connection->ends[0] != NULL || connection->ends[1] != NULL || connection->connecting) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        sim_pipe_done(&connection->pipes[i]);
    }
    list_remove(&connection->node);
    free(connection);
}

/* ---- listeners ---- */

struct sim_listener {
    struct io_listener base;
    struct list node; /* in sim_io.listeners */
    struct sim_io *io;
    struct io_accept *accept;
    bool six;
    uint32_t ip;         /* 0: any address of the host */
    struct list waiting; /* of sim_stream.node */
    size_t waiting_count;
    struct io_ready ready;
    bool pending;
    struct sim_event retry; /* after an error of accept */
    bool *gone;             /* of the accepts that are being made: set when it is closed */
};

static struct sim_listener *listener_find(struct sim_host *host, bool six, uint16_t port)
{
    if (host->io == NULL) {
        return NULL;
    }
    struct list *head = &host->io->listeners;
    for (struct list *node = head->next; node != head; node = node->next) {
        struct sim_listener *listener = CONTAINER_OF(node, struct sim_listener, node);
        if (listener->base.port == port && listener->six == six) {
            return listener;
        }
    }
    return NULL;
}

static void on_accept_ready(struct io_ready *ready);

static void listener_wake(struct sim_listener *listener)
{
    if (!listener->pending && listener->waiting_count > 0 && !heap_holds(&listener->retry.node)) {
        listener->pending = true;
        sim_ready(listener->io, &listener->ready, on_accept_ready);
    }
}

static void on_retry(struct sim_event *event)
{
    listener_wake(CONTAINER_OF(event, struct sim_listener, retry));
}

static void accept_one(struct sim_listener *listener)
{
    struct sim_host *host = listener->io->host;
    struct sim_world *world = host->world;
    if (sim_chance(&world->chance, host->accept_error_ppm)) {
        sim_fault(world, host, SIM_FAULT_ACCEPT_ERROR);
        sim_schedule(world, &listener->retry, world->now_us + ACCEPT_PAUSE_US);
        listener->accept->done(listener->accept, NULL, -EMFILE);
        return;
    }
    struct list *node = list_pop(&listener->waiting);
    listener->waiting_count--;
    list_push(&listener->io->streams, node);
    struct sim_stream *stream = CONTAINER_OF(node, struct sim_stream, node);
    listener->accept->done(listener->accept, &stream->base, 0);
}

static void on_accept_ready(struct io_ready *ready)
{
    struct sim_listener *listener = CONTAINER_OF(ready, struct sim_listener, ready);
    bool gone = false;
    listener->pending = false;
    listener->gone = &gone;
    for (int i = 0; i < ACCEPTS_PER_TURN_MAX && listener->waiting_count > 0; i++) {
        accept_one(listener);
        if (gone) {
            return;
        }
        if (heap_holds(&listener->retry.node)) {
            break;
        }
    }
    listener->gone = NULL;
    listener_wake(listener);
}

int sim_listen(struct io *base, const struct io_address *address, struct io_accept *accept,
               struct io_listener **ret_listener)
{
    struct sim_io *io = sim_io_of(base);
    struct sim_host *host = io->host;
    struct target target;
    int err = host == NULL ? -ENETDOWN : target_of(address, &target);
    if (err != 0) {
        return err;
    }
    if (!is_itself(host, &target)) {
        return -EADDRNOTAVAIL;
    }
    if (target.port != 0 && listener_find(host, target.six, target.port) != NULL) {
        return -EADDRINUSE;
    }
    struct sim_listener *listener = memory_new(1, sizeof *listener);
    listener->base.port = target.port != 0 ? target.port : port_next(host);
    listener->io = io;
    listener->accept = accept;
    listener->six = target.six;
    listener->ip = target.ip;
    listener->retry.run = on_retry;
    list_init(&listener->waiting);
    list_init(&listener->node);
    list_push(&io->listeners, &listener->node);
    SIM_TELL(host->world, host, "listens on port %u", listener->base.port);
    *ret_listener = &listener->base;
    return 0;
}

/* Ends the connections that nobody has accepted yet, and what would have accepted them. */
static void listener_empty(struct sim_listener *listener)
{
    if (listener->io->host != NULL) {
        sim_world_cancel(listener->io->host->world, &listener->retry);
    }
    if (listener->pending) {
        list_remove(&listener->ready.node);
        listener->pending = false;
    }
    for (struct list *node = listener->waiting.next; node != &listener->waiting;) {
        struct sim_stream *stream = CONTAINER_OF(node, struct sim_stream, node);
        struct sim_connection *connection = stream->connection;
        node = node->next;
        connection->ends[1] = NULL;
        sim_pipe_reset(&connection->pipes[1]);
        sim_connection_release(connection);
        free(stream);
    }
    list_init(&listener->waiting);
    listener->waiting_count = 0;
}

void sim_listener_close(struct io *io, struct io_listener *base)
{
    (void)io;
    struct sim_listener *listener = CONTAINER_OF(base, struct sim_listener, base);
    listener_empty(listener);
    if (listener->gone != NULL) {
        *listener->gone = true;
    }
    list_remove(&listener->node);
    free(listener);
}

/* ---- connecting ---- */

struct sim_connect {
    struct list node; /* in sim_io.connects */
    struct sim_io *io;
    struct io_connect *connect;
    struct io_address address;
    struct target target;
    struct sim_host *to;
    struct sim_connection *connection; /* once the SYN has arrived */
    struct sim_event event;
    uint64_t give_up_us;
    uint64_t retry_us;
    struct sim_stream *stream; /* once connected */
    int64_t result;
    bool finished;
    struct io_ready ready;
};

static void on_connect_ready(struct io_ready *ready)
{
    struct sim_connect *own = CONTAINER_OF(ready, struct sim_connect, ready);
    struct io_connect *connect = own->connect;
    struct sim_stream *stream = own->stream;
    int64_t result = own->result;
    list_remove(&own->node);
    free(own);
    connect->backend = NULL;
    connect->done(connect, stream == NULL ? NULL : &stream->base, result);
}

static void connect_finish(struct sim_connect *own, int64_t result)
{
    CHECK(!own->finished);
    own->finished = true;
    own->result = result;
    sim_ready(own->io, &own->ready, on_connect_ready);
}

static void on_refused(struct sim_event *event)
{
    connect_finish(CONTAINER_OF(event, struct sim_connect, event), -ECONNREFUSED);
}

static void on_syn_ack(struct sim_event *event)
{
    struct sim_connect *own = CONTAINER_OF(event, struct sim_connect, event);
    struct sim_connection *connection = own->connection;
    connection->connecting = NULL;
    own->stream = sim_stream_new(own->io, connection, 0);
    list_push(&own->io->streams, &own->stream->node);
    struct sim_world *world = connection->world;
    world->counters.connections++;
    sim_note(world, connection->hosts[0], SIM_RECORD_CONNECT, connection->hosts[1]->number,
             own->target.port);
    SIM_TELL(world, connection->hosts[0], "connects to %s:%u", connection->hosts[1]->address,
             own->target.port);
    connect_finish(own, 0);
}

static void syn_again(struct sim_connect *own)
{
    struct sim_world *world = own->io->host->world;
    if (world->now_us >= own->give_up_us) {
        sim_fault(world, own->io->host, SIM_FAULT_CONNECT_TIMEOUT);
        connect_finish(own, -ETIMEDOUT);
        return;
    }
    uint64_t at_us = world->now_us + own->retry_us;
    own->retry_us *= 2;
    sim_schedule(world, &own->event, at_us < own->give_up_us ? at_us : own->give_up_us);
}

static void syn_accepted(struct sim_connect *own, struct sim_listener *listener)
{
    struct sim_host *from = own->io->host;
    struct sim_world *world = from->world;
    struct sim_connection *connection = connection_new(from, own->to);
    uint32_t source = ip_is_loopback(own->target.ip) ? own->target.ip : from->ip;
    connection->addresses[0] = address_of(own->target.six, source, port_next(from));
    connection->addresses[1] = own->address;
    connection->connecting = own;
    own->connection = connection;
    struct sim_stream *stream = sim_stream_new(listener->io, connection, 1);
    list_push(&listener->waiting, &stream->node);
    listener->waiting_count++;
    listener_wake(listener);
    uint64_t at_us = world->now_us + sim_route_delay(world, &own->to->routes[from->number]);
    connection->pipes[1].last_us = at_us;
    own->event.run = on_syn_ack;
    sim_schedule(world, &own->event, at_us);
}

static void on_syn(struct sim_event *event)
{
    struct sim_connect *own = CONTAINER_OF(event, struct sim_connect, event);
    struct sim_host *from = own->io->host;
    struct sim_host *to = own->to;
    struct sim_world *world = from->world;
    bool lost = to == NULL || !to->powered || from->routes[to->number].link.blocked ||
                to->routes[from->number].link.blocked;
    if (lost) {
        syn_again(own);
        return;
    }
    struct sim_listener *listener = listener_find(to, own->target.six, own->target.port);
    bool reached = listener != NULL && (listener->ip == 0 || listener->ip == own->target.ip);
    bool refused = sim_chance(&world->chance, from->routes[to->number].link.refuse_ppm);
    if (refused) {
        sim_fault(world, from, SIM_FAULT_REFUSE);
    }
    if (!reached || refused) {
        own->event.run = on_refused;
        sim_schedule(world, &own->event,
                     world->now_us + sim_route_delay(world, &to->routes[from->number]));
    } else if (listener->waiting_count == BACKLOG_MAX) {
        syn_again(own);
    } else {
        syn_accepted(own, listener);
    }
}

void sim_connect_start(struct io *base, struct io_connect *connect,
                       const struct io_address *address)
{
    struct sim_io *io = sim_io_of(base);
    struct sim_host *host = io->host;
    struct sim_connect *own = memory_new(1, sizeof *own);
    own->io = io;
    own->connect = connect;
    own->address = *address;
    list_init(&own->node);
    list_push(&io->connects, &own->node);
    connect->backend = own;
    int err = host == NULL ? -ENETDOWN : target_of(address, &own->target);
    if (err != 0) {
        connect_finish(own, err);
        return;
    }
    struct sim_world *world = host->world;
    own->to = host_find(host, &own->target);
    own->event.run = on_syn;
    own->retry_us = RETRY_US_MIN;
    own->give_up_us = world->now_us + prng_between(&world->chance, CONNECT_US_MIN, CONNECT_US_MAX);
    const struct sim_route *route = &host->routes[own->to == NULL ? 0 : own->to->number];
    sim_schedule(world, &own->event, world->now_us + sim_route_delay(world, route));
}

/* Leaves the handshake where it is. */
static void connect_abandon(struct sim_connect *own, int64_t result)
{
    sim_world_cancel(own->io->host->world, &own->event);
    struct sim_connection *connection = own->connection;
    if (connection != NULL) {
        connection->connecting = NULL;
        sim_pipe_reset(&connection->pipes[0]);
        sim_connection_release(connection);
    }
    connect_finish(own, result);
}

void sim_connect_cancel(struct io *base, struct io_connect *connect)
{
    (void)base;
    struct sim_connect *own = connect->backend;
    if (own != NULL && !own->finished) {
        connect_abandon(own, -ECANCELED);
    }
}

/* ---- the end of a process ---- */

/* What the peer of a connection hears when its machine or process is gone. */
static void end_vanish(struct sim_connection *connection, int side, enum sim_crash crash)
{
    struct sim_world *world = connection->world;
    struct sim_pipe *out = &connection->pipes[side];
    const struct sim_pipe *in = &connection->pipes[1 - side];
    bool unread = in->arrived > 0;
    bool silent = crash == SIM_CRASH_POWER && prng_chance(&world->chance, 2, 3);
    connection->ends[side] = NULL;
    if (silent) {
        sim_fault(world, connection->hosts[side], SIM_FAULT_HALF_OPEN);
        sim_pipe_silence(out);
    } else if (crash == SIM_CRASH_POWER || unread || prng_chance(&world->chance, 1, 2)) {
        sim_pipe_reset(out);
    } else {
        sim_pipe_end(out);
    }
    sim_connection_release(connection);
}

void sim_network_cut_off(struct sim_io *io, enum sim_crash crash)
{
    for (struct list *node = io->listeners.next; node != &io->listeners; node = node->next) {
        listener_empty(CONTAINER_OF(node, struct sim_listener, node));
    }
    for (struct list *node = io->connects.next; node != &io->connects; node = node->next) {
        struct sim_connect *own = CONTAINER_OF(node, struct sim_connect, node);
        if (!own->finished) {
            connect_abandon(own, -ENETDOWN);
        }
    }
    for (struct list *node = io->streams.next; node != &io->streams; node = node->next) {
        struct sim_stream *stream = CONTAINER_OF(node, struct sim_stream, node);
        if (stream->connection != NULL) {
            end_vanish(stream->connection, stream->side, crash);
        }
        sim_stream_cut_off(stream);
    }
}
