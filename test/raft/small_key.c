/*
 * Which states are the same? A state is written as bytes: everything that a core or a check can
 * notice, and nothing else (of the time, only whether a follower still holds on to its leader; of
 * tickets, only their order). The servers' names do not matter to Raft, so the servers are put in
 * an order that depends on what they are: by a hash of each, and where these are equal the
 * smallest key of all orders counts. Of the six states that differ only in names, one is visited.
 *
 * Also here: which messages on their way are dead letters. A term on the disk never falls, so
 * what is ignored because of it now is ignored for ever, and as good as lost.
 */
#include "small.h"

#include "base/assert.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES_MAX = 4096, SLOTS = SMALL_SERVERS + 1 };

struct key {
    /* Names: by id the place in the order, from 1; 0 stays 0. All the same: no names at all. */
    uint8_t names[SLOTS];
    uint8_t order[SMALL_SERVERS]; /* by place - 1: which server */
    size_t size;
    uint8_t bytes[KEY_BYTES_MAX];
};

static void put(struct key *key, uint64_t value)
{
    CHECK(value <= UINT8_MAX);
    CHECK(key->size < KEY_BYTES_MAX);
    key->bytes[key->size++] = (uint8_t)value;
}

static void put_name(struct key *key, uint64_t id)
{
    put(key, key->names[id]);
}

/* As in raft_restored.lost_until. */
static void put_bound(struct key *key, uint64_t bound)
{
    put(key, bound == UINT64_MAX ? UINT8_MAX : bound);
}

static void put_membership(struct key *key, uint8_t membership)
{
    unsigned renamed = 0;
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        unsigned place = key->names[i + 1] - 1U;
        renamed |= ((unsigned)membership >> i & 1U) << place;
        renamed |= ((unsigned)membership >> (i + SMALL_SERVERS) & 1U) << (place + SMALL_SERVERS);
    }
    put(key, renamed);
}

static void put_log(struct key *key, const struct small_log *log)
{
    put(key, log->last);
    put(key, log->base);
    for (size_t i = 0; i < log->last; i++) {
        put(key, log->at[i].term);
        put(key, log->at[i].value);
        put_membership(key, log->at[i].membership);
    }
}

static void put_durable(struct key *key, const struct durable *durable)
{
    put(key, durable->index);
    put(key, durable->count);
    uint64_t vote = 0;
    for (size_t i = 0; i < durable->count; i++) {
        const struct durable_waiting *waiting = durable_waiting(durable, i);
        put(key, waiting->last_index);
        if (waiting->ticket == durable->ticket_vote) {
            vote = i + 1;
        }
    }
    put(key, vote);
}

static void put_progress(struct key *key, const struct progress *progress)
{
    put(key, progress->state);
    put(key, progress->probe_last);
    put(key, progress->match);
    put(key, progress->next);
    put(key, progress->round);
    put(key, progress->sending);
    put(key, progress->lost);
    put(key, progress->repairing);
    put(key, progress->repair_heartbeats);
    put(key, progress->window_count);
    for (size_t i = 0; i < progress->window_count; i++) {
        put(key, progress_in_flight(progress, i));
    }
}

static void put_core(struct key *key, const struct raft *raft)
{
    put(key, raft->role);
    put(key, raft->term);
    put_name(key, raft->voted_for);
    put_name(key, raft->leader);
    put_name(key, raft->term_leader);
    put(key, raft->term_unstored);
    put_bound(key, raft->lost.until);
    put(key, raft->lost.term);
    put(key, raft->commit_index);
    put(key, raft->trail.base.index);
    put(key, raft->snapshot.index);
    put_durable(key, &raft->durable);
    bool holds_on = raft->role != RAFT_LEADER && raft->leader != 0 &&
                    raft->now_ms - raft->heard_ms < raft->config.election_min_ms;
    put(key, holds_on);
    put(key, raft->verified);
    put(key, raft->ack.due);
    put(key, raft->ack.heartbeat);
    put(key, raft->ack.prev_index);
    put(key, raft->ack.read_round);
    put(key, raft->ack.match_sent);
    put(key, raft->grant_owed);
    put(key, raft->requests_owed);
    put(key, raft->transferred);
    put(key, raft->memberships.count);
    for (size_t i = 0; i < raft->memberships.count; i++) {
        put(key, raft->memberships.at[i].index);
        put_membership(key, small_encode(&raft->memberships.at[i].membership));
    }
    put(key, raft->reads.tag_waiting);
    put(key, raft->reads.round);
    put(key, raft->reads.round_tag);
    put(key, raft->reads.round_index);
    put(key, raft->role == RAFT_LEADER ? raft->noop_index : 0);
}

/* What the core knows of the others, in their order. */
static void put_peers(struct key *key, const struct raft *raft, uint64_t self)
{
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        const struct peer *peer = NULL;
        for (size_t j = 0; j < raft->peer_count; j++) {
            peer = raft->peers[j].id == key->order[i] + 1U ? &raft->peers[j] : peer;
        }
        put(key, peer != NULL && peer->granted);
        if (peer != NULL && raft->role == RAFT_LEADER && key->order[i] != self) {
            put_progress(key, &peer->progress);
        }
    }
}

static void put_server(struct key *key, const struct small_server *server)
{
    put(key, server->disk.term);
    put_name(key, server->disk.voted_for);
    put_log(key, &server->disk.log);
    put(key, server->disk.snapshot);
    put_bound(key, server->lost.until);
    put(key, server->lost.term);
    put_log(key, &server->lost.log);
    put(key, server->receiving);
    put_log(key, &server->log);
    put(key, server->write_count);
    for (size_t i = 0; i < server->write_count; i++) {
        const struct raft_store *store = &server->writes[i].store;
        put(key, store->flags);
        put(key, store->term);
        put_name(key, store->voted_for);
        put(key, store->truncate_from);
        put(key, store->reset_index);
        put(key, store->append_first);
        put(key, store->append_count);
        for (size_t j = 0; j < store->append_count; j++) {
            put(key, server->writes[i].entries[j].term);
            put(key, server->writes[i].entries[j].value);
            put_membership(key, server->writes[i].entries[j].membership);
        }
    }
    put(key, server->commit_seen);
    put(key, server->tag);
    put(key, server->reads_served);
    for (size_t i = server->reads_served; i < server->tag; i++) {
        put(key, server->reads[i]);
    }
}

static void put_message(struct key *key, const struct small_flight *flight)
{
    const struct raft_message *message = &flight->message;
    put(key, message->type);
    put_name(key, message->from);
    put_name(key, message->to);
    put(key, message->term);
    switch (message->type) {
    case RAFT_VOTE_REQUEST:
        put(key, message->vote_request.pre);
        put(key, message->vote_request.transfer);
        put(key, message->vote_request.last_index);
        put(key, message->vote_request.last_term);
        break;
    case RAFT_VOTE_RESPONSE:
        put(key, message->vote_response.pre);
        put(key, message->vote_response.granted);
        break;
    case RAFT_APPEND_REQUEST:
        put(key, message->append_request.prev_index);
        put(key, message->append_request.prev_term);
        put(key, message->append_request.commit_index);
        put(key, message->append_request.read_round);
        put(key, message->append_request.entry_count);
        for (size_t i = 0; i < message->append_request.entry_count; i++) {
            put(key, flight->entries[i].term);
            put(key, flight->entries[i].value);
            put_membership(key, flight->entries[i].membership);
        }
        break;
    case RAFT_APPEND_RESPONSE:
        put(key, message->append_response.success);
        put(key, message->append_response.lost);
        put(key, message->append_response.prev_index);
        put(key, message->append_response.match_index);
        put(key, message->append_response.hint_index);
        put(key, message->append_response.hint_term);
        put(key, message->append_response.read_round);
        break;
    case RAFT_SNAPSHOT_REQUEST:
        put(key, message->snapshot_request.index);
        put(key, message->snapshot_request.term);
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    }
}

static int compare_flights(const void *a, const void *b)
{
    const uint32_t *left = a;
    const uint32_t *right = b;
    return (*left > *right) - (*left < *right);
}

/* The network keeps no order, so neither does the key. */
static void name_flights(struct key *key, const struct small_world *world, uint32_t *flights)
{
    for (size_t i = 0; i < world->flight_count; i++) {
        key->size = 0;
        put_message(key, &world->flights[i]);
        flights[i] = (uint32_t)hash_bytes(key->bytes, key->size);
    }
    qsort(flights, world->flight_count, sizeof *flights, compare_flights);
}

static void put_history(struct key *key, const struct small_world *world)
{
    put(key, world->left.elections);
    put(key, world->left.entries);
    put(key, world->left.crashes);
    put(key, world->left.heartbeats);
    put(key, world->left.reads);
    put(key, world->left.compactions);
    put(key, world->left.changes);
    put(key, world->left.losses);
    put_log(key, &world->committed);
    for (size_t i = 0; i < world->committed.last; i++) {
        put(key, world->commit_terms[i]);
    }
    for (size_t i = 0; i < SMALL_TERMS_MAX; i++) {
        put_name(key, world->leaders[i]);
    }
    for (size_t i = 0; i < SMALL_LOG_MAX; i++) {
        for (size_t term = 0; term < SMALL_TERMS_MAX; term++) {
            const struct small_known *known = &world->known[i][term];
            if (known->seen) {
                put(key, i);
                put(key, term);
                put(key, known->value);
                put(key, known->term_before);
            }
        }
    }
}

/* What a server is, whatever it and the others are called. */
static uint64_t nameless(const struct small *small, size_t self)
{
    struct key key;
    key.size = 0;
    memset(key.names, 1, sizeof key.names);
    key.names[0] = 0;
    key.names[self + 1] = 2;
    put_core(&key, small->cores[self]);
    put_server(&key, &small->world.servers[self]);
    return hash_bytes(key.bytes, key.size);
}

static void key_in_order(const struct small *small, const uint8_t order[SMALL_SERVERS],
                         struct small_key *ret_key)
{
    struct key key;
    key.size = 0;
    key.names[0] = 0;
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        key.order[i] = order[i];
        key.names[order[i] + 1] = (uint8_t)(i + 1);
    }
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        put_core(&key, small->cores[order[i]]);
        put_peers(&key, small->cores[order[i]], order[i]);
        put_server(&key, &small->world.servers[order[i]]);
    }
    put_history(&key, &small->world);
    ret_key->state = hash_bytes(key.bytes, key.size);
    ret_key->flight_count = small->world.flight_count;
    name_flights(&key, &small->world, ret_key->flights);
}

static bool is_smaller(const struct small_key *a, const struct small_key *b)
{
    if (a->state != b->state) {
        return a->state < b->state;
    }
    return memcmp(a->flights, b->flights, a->flight_count * sizeof *a->flights) < 0;
}

void small_key(const struct small *small, struct small_key *ret_key)
{
    static const uint8_t orders[6][SMALL_SERVERS] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    uint64_t is[SMALL_SERVERS];
    bool any = false;
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        is[i] = nameless(small, i);
    }
    for (size_t i = 0; i < 6; i++) {
        const uint8_t *order = orders[i];
        if (is[order[0]] <= is[order[1]] && is[order[1]] <= is[order[2]]) {
            struct small_key key;
            key_in_order(small, order, &key);
            if (!any || is_smaller(&key, ret_key)) {
                *ret_key = key;
                any = true;
            }
        }
    }
    CHECK(any);
}

bool small_key_covers(const struct small_key *key, const uint32_t *flights, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < key->flight_count; i++) {
        while (at < count && flights[at] < key->flights[i]) {
            at++;
        }
        if (at == count || flights[at] != key->flights[i]) {
            return false;
        }
        at++;
    }
    return true;
}

static bool vote_response_is_dead(const struct small *small, const struct raft_message *message)
{
    size_t self = message->to - 1;
    const struct raft *raft = small->cores[self];
    uint64_t disk_term = small->world.servers[self].disk.term;
    if (!message->vote_response.granted) {
        return message->term <= disk_term;
    }
    if (message->vote_response.pre) {
        bool asks_again = small->world.left.elections > 0;
        return message->term <= disk_term || (!asks_again && raft->role != RAFT_PRE_CANDIDATE);
    }
    /* A candidate asks once its candidacy is on the disk, and never becomes one in a term twice. */
    return message->term < disk_term ||
           (message->term == disk_term &&
            !(raft->role == RAFT_CANDIDATE && raft->term == disk_term));
}

static bool append_response_is_dead(const struct small *small, const struct raft_message *message)
{
    size_t self = message->to - 1;
    const struct raft *raft = small->cores[self];
    uint64_t disk_term = small->world.servers[self].disk.term;
    return message->term < disk_term ||
           (message->term == disk_term && !(raft->role == RAFT_LEADER && raft->term == disk_term));
}

void small_forget(struct small *small)
{
    struct small_world *world = &small->world;
    size_t kept = 0;
    for (size_t i = 0; i < world->flight_count; i++) {
        const struct raft_message *message = &world->flights[i].message;
        bool dead = false;
        if (message->type == RAFT_VOTE_RESPONSE) {
            dead = vote_response_is_dead(small, message);
        } else if (message->type == RAFT_APPEND_RESPONSE) {
            dead = append_response_is_dead(small, message);
        }
        if (!dead) {
            world->flights[kept++] = world->flights[i];
        }
    }
    world->flight_count = kept;
}
