/* What may happen next in a small world, and in which words it is told. */
#include "small.h"

#include "base/assert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void add(struct small_event *events, size_t *count, struct small_event event)
{
    CHECK(*count < SMALL_EVENTS_MAX);
    events[(*count)++] = event;
}

/* Whether the server would ignore a candidate, for as long as its clock stands still. */
static bool holds_on(const struct raft *raft, uint64_t now_ms)
{
    return raft->role != RAFT_LEADER && raft->leader != 0 &&
           now_ms - raft->heard_ms < raft->config.election_min_ms;
}

static void add_deliveries(const struct small *small, struct small_event *events, size_t *count)
{
    const struct small_world *world = &small->world;
    for (size_t i = 0; i < world->flight_count; i++) {
        const struct raft_message *message = &world->flights[i].message;
        size_t self = message->to - 1;
        struct small_event event = {
            .type = SMALL_DELIVER, .server = (uint8_t)self, .flight = (uint8_t)i};
        bool twin = false;
        for (size_t j = 0; j < i; j++) {
            twin = twin ||
                   memcmp(&world->flights[i], &world->flights[j], sizeof world->flights[i]) == 0;
        }
        if (twin) {
            continue;
        }
        add(events, count, event);
        if (message->type == RAFT_VOTE_REQUEST &&
            holds_on(small->cores[self], world->servers[self].clock_ms)) {
            event.type = SMALL_DELIVER_OFF;
            add(events, count, event);
        }
    }
}

/* Nothing but a term is no log. A minority may have lost theirs. */
static bool may_lose_log(const struct small *small, size_t self)
{
    bool any = false;
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        any = any || small->world.servers[i].lost.until != 0;
    }
    const struct small_server *server = &small->world.servers[self];
    return small->world.left.losses > 0 && !any &&
           (server->disk.log.last > 0 || server->disk.snapshot > 0);
}

static void add_disk(const struct small *small, size_t self, struct small_event *events,
                     size_t *count)
{
    const struct small_server *server = &small->world.servers[self];
    struct small_event event = {.type = SMALL_STORE, .server = (uint8_t)self};
    for (size_t i = 1; i <= server->write_count; i++) {
        event.writes = (uint8_t)i;
        add(events, count, event);
    }
    event.type = SMALL_LOSE;
    for (size_t i = 0; may_lose_log(small, self) && i <= server->write_count; i++) {
        event.writes = (uint8_t)i;
        for (event.flight = 0; event.flight <= 1; event.flight++) {
            add(events, count, event);
        }
    }
    event.flight = 0;
    if (small->world.left.crashes == 0) {
        return;
    }
    event.type = SMALL_CRASH;
    for (size_t i = 0; i <= server->write_count; i++) {
        event.writes = (uint8_t)i;
        uint64_t entries = i < server->write_count ? server->writes[i].store.append_count : 0;
        for (event.entries = 0; event.entries <= entries; event.entries++) {
            add(events, count, event);
        }
    }
}

/* A snapshot is taken while no write waits, as raft.h demands, and received in two steps. */
static void add_snapshots(const struct small *small, size_t self, struct small_event *events,
                          size_t *count)
{
    const struct small_server *server = &small->world.servers[self];
    const struct raft *raft = small->cores[self];
    struct small_event event = {.type = SMALL_COMPACT, .server = (uint8_t)self};
    if (small->world.left.compactions > 0 && server->write_count == 0 &&
        server->commit_seen > server->disk.snapshot) {
        add(events, count, event);
    }
    if (server->receiving > 0) {
        event.type = server->disk.snapshot < server->receiving ? SMALL_SAVE : SMALL_INSTALL;
        add(events, count, event);
    }
    event.type = SMALL_SENT;
    for (size_t i = 0; raft->role == RAFT_LEADER && i < SMALL_SERVERS; i++) {
        const struct peer *peer = peer_find(small->cores[self], i + 1);
        if (peer != NULL && peer->progress.sending > 0) {
            event.flight = (uint8_t)i;
            add(events, count, event);
        }
    }
}

/* One server goes or comes back, when the leader may change anything. */
static void add_changes(const struct small *small, size_t self, struct small_event *events,
                        size_t *count)
{
    const struct raft *raft = small->cores[self];
    const struct raft_logged_membership *newest = raft_membership(raft);
    if (raft->role != RAFT_LEADER || small->world.left.changes == 0 || newest->membership.joint ||
        newest->index > raft->commit_index || raft->noop_index > raft->commit_index) {
        return;
    }
    unsigned present = small_encode(&newest->membership);
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        unsigned wanted = present ^ 1U << i;
        struct small_event event = {
            .type = SMALL_CHANGE, .server = (uint8_t)self, .flight = (uint8_t)wanted};
        if (wanted != 0) {
            add(events, count, event);
        }
    }
}

size_t small_events(const struct small *small, struct small_event events[SMALL_EVENTS_MAX])
{
    const struct small_budget *left = &small->world.left;
    size_t count = 0;
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        const struct raft *raft = small->cores[i];
        struct small_event event = {.server = (uint8_t)i};
        add_disk(small, i, events, &count);
        add_snapshots(small, i, events, &count);
        add_changes(small, i, events, &count);
        if (raft->role != RAFT_LEADER && left->elections > 0) {
            event.type = SMALL_EXPIRE;
            add(events, &count, event);
        }
        if (raft->role == RAFT_LEADER && left->heartbeats > 0) {
            event.type = SMALL_HEARTBEAT;
            add(events, &count, event);
        }
        if (raft->role == RAFT_LEADER && left->entries > 0) {
            event.type = SMALL_PROPOSE;
            add(events, &count, event);
        }
        if (raft->role == RAFT_LEADER && left->reads > 0) {
            event.type = SMALL_READ;
            add(events, &count, event);
        }
    }
    add_deliveries(small, events, &count);
    return count;
}

void small_describe(const struct small *small, const struct small_event *event, char *line,
                    size_t size)
{
    const char *names[] = {"receives",
                           "lets go of its leader and receives",
                           "stored",
                           "election timer",
                           "heartbeat timer",
                           "proposed to",
                           "asked for a read",
                           "asked for another membership",
                           "takes a snapshot",
                           "has received a snapshot",
                           "installs it",
                           "hears of a snapshot's end",
                           "crashes and restarts",
                           "crashes, loses its log, and restarts"};
    char more[64] = "";
    if (event->type <= SMALL_DELIVER_OFF) {
        const struct raft_message *message = &small->world.flights[event->flight].message;
        const char *types[] = {"vote request", "vote response", "append", "append response"};
        const char *type = message->type == RAFT_SNAPSHOT_REQUEST ? "snapshot request"
                           : message->type == RAFT_TIMEOUT_NOW    ? "timeout now"
                                                                  : types[message->type];
        (void)snprintf(more, sizeof more, " %s of %" PRIu64 " in term %" PRIu64, type,
                       message->from, message->term);
    } else if (event->type == SMALL_STORE || event->type == SMALL_CRASH ||
               event->type == SMALL_LOSE) {
        (void)snprintf(more, sizeof more, ", %u of %zu writes", event->writes,
                       small->world.servers[event->server].write_count);
    }
    (void)snprintf(line, size, "%u %s%s", event->server + 1U, names[event->type], more);
}
