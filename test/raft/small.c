#include "small.h"

#include "base/assert.h"

#include <string.h>

enum { HEARTBEAT_MS = 50, ELECTION_MIN_MS = 1000, ELECTION_MAX_MS = 2000 };

/* ---- what is known of the whole cluster ---- */

/* Log matching (§5.3), by induction: equal index and term mean an equal entry after an equal one.
 */
static void know_entry(struct small_world *world, uint64_t index, struct small_entry entry,
                       uint8_t term_before)
{
    CHECK(entry.term > 0 && entry.term < SMALL_TERMS_MAX);
    struct small_known *known = &world->known[index - 1][entry.term];
    if (known->seen) {
        CHECK(known->value == entry.value);
        CHECK(known->term_before == term_before);
    }
    *known = (struct small_known){.seen = true, .value = entry.value, .term_before = term_before};
}

/* Leader completeness (§5.4): a leader has everything that was committed in the terms before. */
static void check_complete(const struct small_world *world, const struct small_server *server,
                           uint64_t term)
{
    for (uint8_t i = 0; i < world->committed.last; i++) {
        if (world->commit_terms[i] < term) {
            CHECK(small_log_has(&server->log, i + 1U, world->committed.at[i]));
        }
    }
}

static void check_leader(struct small_world *world, size_t i, uint64_t term)
{
    CHECK(term < SMALL_TERMS_MAX);
    if (world->leaders[term] == i + 1) {
        return;
    }
    CHECK(world->leaders[term] == 0);
    world->leaders[term] = (uint8_t)(i + 1);
    check_complete(world, &world->servers[i], term);
}

static bool disk_has(const struct small_world *world, const struct small_server *server,
                     uint64_t index, struct small_entry entry)
{
    if (server->lost.until != 0 && small_log_has(&server->lost.log, index, entry)) {
        return true;
    }
    bool in_snapshot = index <= server->disk.snapshot;
    return small_log_has(in_snapshot ? &world->committed : &server->disk.log, index, entry);
}

/* What was lost and is committed is on the disk again. */
static void check_repaired(const struct small_world *world, struct small_server *server)
{
    server->lost.until = 0;
    for (size_t i = 1; i <= world->committed.last; i++) {
        struct small_entry entry = world->committed.at[i - 1];
        CHECK(!small_log_has(&server->lost.log, i, entry) || disk_has(world, server, i, entry));
    }
}

static void check_on_majority(const struct small *small, size_t self, uint64_t index,
                              struct small_entry entry)
{
    const struct small_log *log = &small->world.servers[self].log;
    unsigned disks = 0;
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        disks |= (unsigned)disk_has(&small->world, &small->world.servers[i], index, entry) << i;
    }
    /* A leader that logs a membership in the step may have committed before or after it did. */
    bool logs = (small->effects.store.flags & RAFT_STORE_MEMBERSHIP) != 0;
    CHECK(small_is_majority(small_membership(log, log->last), (uint8_t)disks) ||
          (logs && small_is_majority(small_membership(log, log->last - 1U), (uint8_t)disks)));
}

static void check_commit(struct small *small, size_t self)
{
    struct small_world *world = &small->world;
    struct small_server *server = &world->servers[self];
    uint64_t commit_index = small->effects.commit_index;
    CHECK(commit_index <= server->log.last);
    CHECK(commit_index >= server->commit_seen);
    for (uint64_t i = server->commit_seen + 1U; i <= commit_index; i++) {
        struct small_entry entry = server->log.at[i - 1];
        if (i <= world->committed.last) {
            CHECK(small_log_has(&world->committed, i, entry));
        } else {
            check_on_majority(small, self, i, entry);
            world->commit_terms[i - 1] = (uint8_t)small->effects.term;
            small_log_put(&world->committed, entry);
        }
    }
    server->commit_seen = (uint8_t)commit_index;
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        if (raft_role(small->cores[i]) == RAFT_LEADER) {
            check_complete(world, &world->servers[i], raft_term(small->cores[i]));
        }
    }
}

static void check_message(const struct small_world *world, const struct small_server *server,
                          const struct raft_message *message)
{
    if (server->lost.until != 0) {
        CHECK(message->type != RAFT_VOTE_REQUEST);
        CHECK(message->type != RAFT_VOTE_RESPONSE || !message->vote_response.granted);
    }
    if (message->type == RAFT_VOTE_REQUEST && !message->vote_request.pre) {
        CHECK(server->disk.term == message->term);
        CHECK(server->disk.voted_for == message->from);
    }
    if (message->type == RAFT_VOTE_RESPONSE && message->vote_response.granted &&
        !message->vote_response.pre) {
        CHECK(server->disk.term == message->term);
        CHECK(server->disk.voted_for == message->to);
    }
    if (message->type == RAFT_APPEND_RESPONSE && message->append_response.success) {
        CHECK(server->disk.term == message->term);
        uint64_t match = message->append_response.match_index;
        CHECK(match <= server->log.last);
        CHECK(match == 0 || disk_has(world, server, match, server->log.at[match - 1]));
    }
}

/* ---- effects ---- */

static void take_store(struct small *small, size_t self, const struct small_flight *received)
{
    struct small_world *world = &small->world;
    struct small_server *server = &world->servers[self];
    const struct raft_store *store = &small->effects.store;
    CHECK(server->write_count < SMALL_WRITES_MAX);
    struct small_write *write = &server->writes[server->write_count++];
    *write = (struct small_write){.store = *store};
    if ((store->flags & RAFT_STORE_RESET) != 0) {
        CHECK(store->reset_index <= server->disk.snapshot);
        small_log_reset(&server->log, &world->committed, store->reset_index);
    }
    if ((store->flags & RAFT_STORE_TRUNCATE) != 0) {
        small_log_truncate(&server->log, store->truncate_from);
    }
    if ((store->flags & RAFT_STORE_ENTRIES) == 0) {
        return;
    }
    CHECK(store->append_first == server->log.last + 1U);
    for (uint64_t i = 0; i < store->append_count; i++) {
        uint64_t index = store->append_first + i;
        struct small_entry entry = {.term = (uint8_t)store->term};
        if ((store->flags & RAFT_STORE_NOOP) != 0) {
            CHECK(store->append_count == 1);
        } else if ((store->flags & RAFT_STORE_MEMBERSHIP) != 0) {
            entry.membership = small_encode(&store->membership);
        } else if (received != NULL) {
            entry = received->entries[index - received->message.append_request.prev_index - 1];
        } else {
            entry.value = ++world->values;
        }
        write->entries[i] = entry;
        know_entry(world, index, entry, index == 1 ? 0 : server->log.at[index - 2].term);
        small_log_put(&server->log, entry);
        CHECK(raft_term_at(small->cores[self], index) == entry.term);
    }
}

/* Nothing in it but what was sent, so that equal messages are equal bytes. */
static void make_flight(const struct small_server *server, const struct raft_message *message,
                        struct small_flight *flight)
{
    memset(flight, 0, sizeof *flight);
    flight->message.type = message->type;
    flight->message.from = message->from;
    flight->message.to = message->to;
    flight->message.term = message->term;
    switch (message->type) {
    case RAFT_VOTE_REQUEST:
        flight->message.vote_request.pre = message->vote_request.pre;
        flight->message.vote_request.transfer = message->vote_request.transfer;
        flight->message.vote_request.last_index = message->vote_request.last_index;
        flight->message.vote_request.last_term = message->vote_request.last_term;
        break;
    case RAFT_VOTE_RESPONSE:
        flight->message.vote_response = message->vote_response;
        break;
    case RAFT_APPEND_REQUEST: {
        const struct raft_append_request *request = &message->append_request;
        flight->message.append_request.prev_index = request->prev_index;
        flight->message.append_request.prev_term = request->prev_term;
        flight->message.append_request.commit_index = request->commit_index;
        flight->message.append_request.read_round = request->read_round;
        flight->message.append_request.entry_count = request->entry_count;
        flight->message.append_request.run_count = request->run_count;
        memcpy(flight->message.append_request.runs, request->runs,
               request->run_count * sizeof *request->runs);
        CHECK(request->entry_count == 0 || request->prev_index >= server->log.base);
        CHECK(request->prev_index + request->entry_count <= server->log.last);
        memcpy(flight->entries, server->log.at + request->prev_index,
               request->entry_count * sizeof *flight->entries);
        break;
    }
    case RAFT_APPEND_RESPONSE:
        flight->message.append_response.success = message->append_response.success;
        flight->message.append_response.lost = message->append_response.lost;
        flight->message.append_response.prev_index = message->append_response.prev_index;
        flight->message.append_response.match_index = message->append_response.match_index;
        flight->message.append_response.hint_index = message->append_response.hint_index;
        flight->message.append_response.hint_term = message->append_response.hint_term;
        flight->message.append_response.read_round = message->append_response.read_round;
        break;
    case RAFT_SNAPSHOT_REQUEST:
        flight->message.snapshot_request = message->snapshot_request;
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    }
}

static void send_message(struct small *small, size_t self, const struct raft_message *message)
{
    struct small_world *world = &small->world;
    const struct small_server *server = &world->servers[self];
    CHECK(message->from == self + 1);
    check_message(world, server, message);
    CHECK(world->flight_count < SMALL_FLIGHTS_MAX);
    make_flight(server, message, &world->flights[world->flight_count++]);
}

static void release_reads(struct small *small, struct small_server *server)
{
    CHECK(small->effects.read_tag <= server->tag);
    while (server->reads_served < small->effects.read_tag) {
        CHECK(small->effects.read_index >= server->reads[server->reads_served]);
        server->reads_served++;
    }
}

/* The entries of `received` are those that the store takes over; NULL: nothing was received. */
static void step(struct small *small, size_t self, struct raft_event *event,
                 const struct small_flight *received)
{
    struct small_server *server = &small->world.servers[self];
    const struct raft_effects *effects = &small->effects;
    event->now_ms = server->clock_ms;
    int err = raft_step(small->cores[self], event, &small->effects);
    /* Correct members never send what is refused, and nothing else here can be. */
    CHECK(err == 0);
    if (effects->store.flags != 0) {
        take_store(small, self, received);
    }
    CHECK(server->log.last == raft_last_index(small->cores[self]));
    CHECK(small_membership(&server->log, server->log.last) ==
          small_encode(&raft_membership(small->cores[self])->membership));
    if (effects->repaired) {
        check_repaired(&small->world, server);
        memset(&server->lost, 0, sizeof server->lost);
    }
    if (effects->snapshot_wanted) {
        CHECK(effects->snapshot_term ==
              small_log_term(&small->world.committed, effects->snapshot_index));
        server->receiving = (uint8_t)effects->snapshot_index;
    }
    for (size_t i = 0; i < effects->message_count; i++) {
        send_message(small, self, &effects->messages[i]);
    }
    if (effects->role == RAFT_LEADER) {
        check_leader(&small->world, self, effects->term);
    } else {
        server->reads_served = server->tag;
    }
    check_commit(small, self);
    release_reads(small, server);
}

/* ---- life ---- */

static struct raft *new_core(const struct small *small, size_t self)
{
    const struct small_server *server = &small->world.servers[self];
    struct raft_config config = {
        .id = self + 1,
        .membership = small_decode(SMALL_ALL_VOTE),
        .seed = self,
        .heartbeat_ms = HEARTBEAT_MS,
        .election_min_ms = ELECTION_MIN_MS,
        .election_max_ms = ELECTION_MAX_MS,
        .disk_stall_ms = UINT32_MAX,
        .window_appends = SMALL_WINDOW,
        .append_entries_max = SMALL_LOG_MAX,
        .uncommitted_max = SMALL_LOG_MAX,
        .trace = &small->traces[self],
    };
    struct raft_run runs[SMALL_LOG_MAX];
    size_t base = server->log.base;
    for (size_t i = base; i < server->log.last; i++) {
        runs[i - base] = (struct raft_run){.term = server->log.at[i].term, .count = 1};
    }
    struct raft_restored restored = {
        .term = server->disk.term,
        .voted_for = server->disk.voted_for,
        .runs = runs,
        .run_count = server->log.last - base,
        .snapshot_index = server->disk.snapshot,
        .snapshot_term = small_log_term(&server->log, server->disk.snapshot),
        .first_index = base + 1,
        .previous_term = small_log_term(&server->log, base),
        .lost_until = server->lost.until,
        .lost_term = server->lost.term,
    };
    struct raft_membership snapshot =
        small_decode(small_membership(&server->log, server->disk.snapshot));
    struct raft_logged_membership logged[SMALL_LOG_MAX];
    restored.snapshot_membership = server->disk.snapshot == 0 ? NULL : &snapshot;
    restored.memberships = logged;
    restored.membership_count =
        small_find_memberships(server->log.at + base, base + 1, server->log.last - base, logged);
    struct raft *raft = NULL;
    int err = raft_new(&config, &restored, server->clock_ms, &raft);
    CHECK(err == 0);
    raft_check(raft);
    return raft;
}

void small_done(struct small *small)
{
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        raft_free(small->cores[i]);
    }
}

/* ---- disk ---- */

static void apply_write(struct small_server *server, const struct small_log *committed,
                        const struct small_write *write, uint64_t entries)
{
    const struct raft_store *store = &write->store;
    if ((store->flags & RAFT_STORE_RESET) != 0) {
        small_log_reset(&server->disk.log, committed, store->reset_index);
    }
    if ((store->flags & RAFT_STORE_TRUNCATE) != 0) {
        small_log_truncate(&server->disk.log, store->truncate_from);
    }
    for (uint64_t i = 0; i < store->append_count && i < entries; i++) {
        CHECK(store->append_first + i == server->disk.log.last + 1U);
        small_log_put(&server->disk.log, write->entries[i]);
    }
}

/* Completes the oldest writes and returns the newest of their tickets. */
static uint64_t complete_writes(struct small_world *world, size_t self, size_t count)
{
    struct small_server *server = &world->servers[self];
    CHECK(count <= server->write_count);
    uint64_t ticket = 0;
    for (size_t i = 0; i < count; i++) {
        const struct small_write *write = &server->writes[i];
        apply_write(server, &world->committed, write, UINT64_MAX);
        CHECK(write->store.term >= server->disk.term);
        if (write->store.term == server->disk.term && server->disk.voted_for != 0) {
            CHECK(write->store.voted_for == server->disk.voted_for);
        }
        server->disk.term = write->store.term;
        server->disk.voted_for = write->store.voted_for;
        ticket = write->store.ticket;
    }
    server->write_count -= count;
    memmove(server->writes, server->writes + count, server->write_count * sizeof *server->writes);
    return ticket;
}

/* From what the disk holds. */
static void restart(struct small *small, size_t self)
{
    struct small_server *server = &small->world.servers[self];
    const struct small_world *world = &small->world;
    uint8_t snapshot = server->disk.snapshot;
    if (small_log_term(&server->disk.log, snapshot) !=
        small_log_term(&world->committed, snapshot)) {
        /* The crash came before the reset. */
        small_log_reset(&server->disk.log, &world->committed, snapshot);
    }
    server->write_count = 0;
    server->receiving = 0;
    server->commit_seen = snapshot;
    server->reads_served = server->tag;
    server->log = server->disk.log;
    server->lives++;
    struct raft *fresh = new_core(small, self);
    struct small_core copy;
    small_save_core(fresh, &copy);
    raft_free(fresh);
    small_load_core(small->cores[self], &copy);
}

static void crash(struct small *small, size_t self, const struct small_event *event)
{
    struct small_server *server = &small->world.servers[self];
    struct small_world *world = &small->world;
    (void)complete_writes(world, self, event->writes);
    if (event->entries > 0) {
        apply_write(server, &world->committed, &server->writes[0], event->entries);
    }
    restart(small, self);
}

static void lose_log(struct small *small, size_t self, const struct small_event *event)
{
    struct small_server *server = &small->world.servers[self];
    (void)complete_writes(&small->world, self, event->writes);
    server->lost.log = server->disk.log;
    uint8_t last = server->disk.log.last;
    uint8_t end = last < server->disk.snapshot ? server->disk.snapshot : last;
    server->lost.until = event->flight == 0 ? end : UINT64_MAX;
    server->lost.term = server->disk.term;
    server->disk.log = (struct small_log){.last = 0};
    server->disk.snapshot = 0;
    restart(small, self);
}

/* ---- steps ---- */

static void wait_until(struct small_server *server, uint64_t at_ms)
{
    if (server->clock_ms < at_ms) {
        server->clock_ms = at_ms;
    }
}

static void deliver(struct small *small, size_t self, const struct small_event *event)
{
    struct small_world *world = &small->world;
    struct small_flight flight = world->flights[event->flight];
    world->flight_count--;
    memmove(world->flights + event->flight, world->flights + event->flight + 1,
            (world->flight_count - event->flight) * sizeof *world->flights);
    if (event->type == SMALL_DELIVER_OFF) {
        wait_until(&world->servers[self], small->cores[self]->heard_ms + ELECTION_MIN_MS);
    }
    struct raft_event received = {.type = RAFT_RECEIVED, .message = &flight.message};
    struct raft_logged_membership logged[SMALL_LOG_MAX];
    received.memberships = logged;
    if (flight.message.type == RAFT_APPEND_REQUEST) {
        const struct raft_append_request *request = &flight.message.append_request;
        received.membership_count = small_find_memberships(flight.entries, request->prev_index + 1,
                                                           request->entry_count, logged);
    }
    step(small, self, &received, &flight);
}

static void ask_read(struct small *small, size_t self)
{
    struct small_server *server = &small->world.servers[self];
    CHECK(server->tag < SMALL_READS_MAX);
    server->reads[server->tag++] = small->world.committed.last;
    struct raft_event asked = {.type = RAFT_READ_ASKED, .read_tag = server->tag};
    step(small, self, &asked, NULL);
}

static void compact(struct small *small, size_t self)
{
    struct small_server *server = &small->world.servers[self];
    server->disk.snapshot = server->commit_seen;
    struct raft_event compacted = {
        .type = RAFT_COMPACTED,
        .compacted = {.snapshot_index = server->commit_seen,
                      .compacted_index = server->commit_seen},
    };
    step(small, self, &compacted, NULL);
    server->log.base = server->commit_seen;
    server->disk.log.base = server->commit_seen;
}

static void install(struct small *small, size_t self)
{
    struct small_server *server = &small->world.servers[self];
    uint64_t index = server->receiving;
    struct raft_membership membership =
        small_decode(small_membership(&small->world.committed, index));
    struct raft_event installed = {
        .type = RAFT_INSTALLED,
        .installed = {.index = index,
                      .term = small_log_term(&small->world.committed, index),
                      .membership = &membership},
    };
    server->receiving = 0;
    step(small, self, &installed, NULL);
}

static void end_sending(struct small *small, size_t self, size_t other)
{
    uint64_t index = peer_find(small->cores[self], other + 1)->progress.sending;
    struct raft_event ended = {
        .type = RAFT_SNAPSHOT_ENDED,
        .snapshot_ended = {.id = other + 1,
                           .index = index,
                           .ok = raft_commit_index(small->cores[other]) >= index},
    };
    step(small, self, &ended, NULL);
}

void small_step(struct small *small, const struct small_event *event)
{
    size_t self = event->server;
    struct small_world *world = &small->world;
    struct small_server *server = &world->servers[self];
    struct raft_event ticked = {.type = RAFT_TICKED};
    struct raft_event proposed = {.type = RAFT_PROPOSED, .propose_count = 1};
    struct raft_event stored = {.type = RAFT_STORED};
    struct raft_membership wanted;
    struct raft_event changed = {.type = RAFT_MEMBERSHIP_PROPOSED, .membership = &wanted};
    switch ((enum small_event_type)event->type) {
    case SMALL_DELIVER:
    case SMALL_DELIVER_OFF:
        deliver(small, self, event);
        break;
    case SMALL_STORE:
        stored.ticket = complete_writes(world, self, event->writes);
        step(small, self, &stored, NULL);
        break;
    case SMALL_EXPIRE:
        world->left.elections--;
        wait_until(server, small->cores[self]->election_due_ms);
        step(small, self, &ticked, NULL);
        break;
    case SMALL_HEARTBEAT:
        world->left.heartbeats--;
        wait_until(server, small->cores[self]->heartbeat_due_ms);
        step(small, self, &ticked, NULL);
        break;
    case SMALL_PROPOSE:
        world->left.entries--;
        step(small, self, &proposed, NULL);
        break;
    case SMALL_READ:
        world->left.reads--;
        ask_read(small, self);
        break;
    case SMALL_CHANGE:
        world->left.changes--;
        wanted = small_decode(event->flight);
        step(small, self, &changed, NULL);
        break;
    case SMALL_COMPACT:
        world->left.compactions--;
        compact(small, self);
        break;
    case SMALL_SAVE:
        server->disk.snapshot = server->receiving;
        break;
    case SMALL_INSTALL:
        install(small, self);
        break;
    case SMALL_SENT:
        end_sending(small, self, event->flight);
        break;
    case SMALL_CRASH:
        world->left.crashes--;
        crash(small, self, event);
        break;
    case SMALL_LOSE:
        world->left.losses--;
        lose_log(small, self, event);
        break;
    }
}

/* The first election as it goes when nothing goes wrong. */
static void elect_first(struct small *small)
{
    struct small_world *world = &small->world;
    world->left.elections++;
    small_step(small, &(struct small_event){.type = SMALL_EXPIRE, .server = 0});
    while (raft_role(small->cores[0]) != RAFT_LEADER) {
        for (uint8_t i = 0; i < SMALL_SERVERS; i++) {
            uint8_t writes = (uint8_t)world->servers[i].write_count;
            if (writes > 0) {
                small_step(small, &(struct small_event){
                                      .type = SMALL_STORE, .server = i, .writes = writes});
            }
        }
        if (world->flight_count > 0) {
            uint8_t to = (uint8_t)(world->flights[0].message.to - 1);
            small_step(small, &(struct small_event){.type = SMALL_DELIVER, .server = to});
        }
    }
    small_forget(small);
}

void small_init(struct small *small, const struct small_budget *budget, trace_sink_fn sink)
{
    *small = (struct small){.world = {.left = *budget}};
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        small->ids[i] = i + 1;
        small->traces[i] =
            (struct trace){.sink = sink, .context = &small->ids[i], .level = TRACE_DEBUG};
        small->cores[i] = new_core(small, i);
    }
    if (budget->led) {
        elect_first(small);
    }
}
