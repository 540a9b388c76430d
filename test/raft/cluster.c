#include "cluster.h"

#include "base/assert.h"
#include "base/memory.h"
#include "cluster_check.h"
#include "raft/membership.h"

#include <stdlib.h>
#include <string.h>

/* ---- clocks ---- */

uint64_t server_clock_ms(const struct server *server)
{
    uint64_t rate = (uint64_t)(100 + server->faster);
    return server->cluster->now_ms * rate / 100 + server->ahead_ms;
}

/* When, by the cluster's clock, its own shows this. */
static uint64_t cluster_clock_ms(const struct server *server, uint64_t clock_ms)
{
    uint64_t rate = (uint64_t)(100 + server->faster);
    return clock_ms > server->ahead_ms ? ((clock_ms - server->ahead_ms) * 100 + rate - 1) / rate
                                       : 0;
}

/* ---- effects ---- */

static uint64_t number_membership(struct cluster *cluster, const struct raft_membership *membership)
{
    uint64_t count = ++cluster->membership_count;
    cluster->memberships = memory_grow(cluster->memberships, count * sizeof *cluster->memberships);
    cluster->memberships[count - 1] = *membership;
    return count;
}

/* The memberships among these entries, of which the first has the index `first`. */
static struct raft_logged_membership *find_memberships(const struct cluster *cluster,
                                                       const struct entry *entries, uint64_t first,
                                                       uint64_t count, size_t *ret_count)
{
    struct raft_logged_membership *found = memory_new(count + 1, sizeof *found);
    *ret_count = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (entries[i].membership != 0) {
            found[(*ret_count)++] = (struct raft_logged_membership){
                .index = first + i,
                .membership = cluster->memberships[entries[i].membership - 1],
            };
        }
    }
    return found;
}

static void take_store(struct server *server, const struct raft_store *store,
                       const struct parcel *received)
{
    struct cluster *cluster = server->cluster;
    struct write *write = memory_new(1, sizeof *write);
    write->store = *store;
    CHECK(server->writes_end == NULL || server->writes_end->store.ticket < store->ticket);
    if ((store->flags & RAFT_STORE_RESET) != 0) {
        CHECK(store->reset_index <= server->disk.snapshot_index);
        server->initiated = true;
        CHECK(store->reset_term == log_term(&cluster->committed, store->reset_index));
        log_reset(&server->log, &cluster->committed, store->reset_index);
    }
    if ((store->flags & RAFT_STORE_TRUNCATE) != 0) {
        log_truncate(&server->log, store->truncate_from);
    }
    if ((store->flags & RAFT_STORE_ENTRIES) != 0) {
        CHECK(store->append_first == server->log.last + 1);
        write->entries = memory_new(store->append_count, sizeof *write->entries);
        for (uint64_t i = 0; i < store->append_count; i++) {
            uint64_t index = store->append_first + i;
            struct entry entry = {.term = store->term};
            if ((store->flags & (RAFT_STORE_NOOP | RAFT_STORE_MEMBERSHIP)) != 0) {
                CHECK(store->append_count == 1);
                if ((store->flags & RAFT_STORE_MEMBERSHIP) != 0) {
                    /* Not before an entry of the leader's term is committed. */
                    CHECK(raft_term_at(server->raft, cluster->effects.commit_index) == store->term);
                    entry.membership = number_membership(cluster, &store->membership);
                }
            } else if (received != NULL) {
                entry = received->entries[index - received->message.append_request.prev_index - 1];
            } else {
                entry.value = ++cluster->values;
            }
            write->entries[i] = entry;
            know_entry(cluster, index, entry, log_term(&server->log, index - 1));
            log_put(&server->log, entry);
            CHECK(raft_term_at(server->raft, index) == entry.term);
        }
    }
    if (server->writes_end == NULL) {
        server->writes = write;
    } else {
        server->writes_end->next = write;
    }
    server->writes_end = write;
}

static void send_message(struct server *server, const struct raft_message *message)
{
    check_message(server, message);
    struct parcel *parcel = memory_new(1, sizeof *parcel);
    parcel->message = *message;
    if (message->type == RAFT_APPEND_REQUEST && message->append_request.entry_count > 0) {
        uint64_t count = message->append_request.entry_count;
        CHECK(message->append_request.prev_index >= server->log.base);
        parcel->entries = memory_new(count, sizeof *parcel->entries);
        for (uint64_t i = 0; i < count; i++) {
            parcel->entries[i] = log_get(&server->log, message->append_request.prev_index + 1 + i);
        }
    }
    server->cluster->on_send(server->cluster->context, parcel);
}

static void release_reads(struct server *server, uint64_t tag, uint64_t index)
{
    size_t kept = 0;
    for (size_t i = 0; i < server->read_count; i++) {
        if (server->reads[i].tag <= tag) {
            CHECK(index >= server->reads[i].index_min);
            server->cluster->reads_served++;
        } else {
            server->reads[kept++] = server->reads[i];
        }
    }
    server->read_count = kept;
}

/* The entries of `received` are those that the store takes over; NULL: nothing was received. */
static int step(struct server *server, struct raft_event *event, const struct parcel *received)
{
    struct cluster *cluster = server->cluster;
    struct raft_effects *effects = &cluster->effects;
    event->now_ms = server_clock_ms(server);
    int err = raft_step(server->raft, event, effects);
    if (err != 0) {
        return err;
    }
    if (cluster->on_effects != NULL) {
        cluster->on_effects(cluster->context, server, effects);
    }
    if (effects->store.flags != 0) {
        take_store(server, &effects->store, received);
    }
    CHECK(server->log.last == raft_last_index(server->raft));
    if (effects->repaired) {
        server->lost.until = 0;
        check_repaired(server);
    }
    if (effects->snapshot_wanted) {
        CHECK(effects->snapshot_term == log_term(&cluster->committed, effects->snapshot_index));
        server->receiving = effects->snapshot_index;
    }
    check_membership(server);
    for (size_t i = 0; i < effects->message_count; i++) {
        send_message(server, &effects->messages[i]);
    }
    if (effects->role == RAFT_LEADER) {
        check_leader(cluster, server, effects->term);
    } else {
        server->read_count = 0;
    }
    check_commit(cluster, server, effects->commit_index);
    if (effects->read_tag != 0) {
        CHECK(effects->read_index <= effects->commit_index);
        release_reads(server, effects->read_tag, effects->read_index);
    }
    server->wake_ms = cluster_clock_ms(server, effects->wake_ms);
    return 0;
}

/* ---- life ---- */

static void trace_sink(void *context, enum trace_level level, const char *line)
{
    struct server *server = context;
    struct cluster *cluster = server->cluster;
    cluster->on_trace(cluster->context, server, level, line);
}

void cluster_init(struct cluster *cluster, size_t count, uint64_t seed)
{
    cluster->count = count;
    cluster->seed = seed;
    for (size_t i = 0; i < count; i++) {
        struct server *server = &cluster->servers[i];
        *server = (struct server){.cluster = cluster, .id = i + 1};
        if (cluster->on_trace != NULL) {
            server->trace = (struct trace){
                .sink = trace_sink, .context = server, .level = cluster->trace_level};
        }
    }
}

static void free_write(struct write *write)
{
    free(write->entries);
    free(write);
}

static void forget_memory(struct server *server)
{
    raft_free(server->raft);
    server->raft = NULL;
    while (server->writes != NULL) {
        struct write *next = server->writes->next;
        free_write(server->writes);
        server->writes = next;
    }
    server->writes_end = NULL;
    server->read_count = 0;
    server->commit_seen = 0;
    server->receiving = 0;
}

void cluster_done(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->count; i++) {
        struct server *server = &cluster->servers[i];
        forget_memory(server);
        free(server->log.at);
        free(server->disk.log.at);
        free(server->lost.log.at);
    }
    for (uint64_t i = 0; i < cluster->known_count; i++) {
        while (cluster->known[i] != NULL) {
            struct known_entry *next = cluster->known[i]->next;
            free(cluster->known[i]);
            cluster->known[i] = next;
        }
    }
    free(cluster->known);
    free(cluster->leaders);
    free(cluster->memberships);
    free(cluster->committed.at);
    free(cluster->commit_terms.at);
}

struct server *cluster_server(struct cluster *cluster, uint64_t id)
{
    CHECK(id >= 1 && id <= cluster->count);
    return &cluster->servers[id - 1];
}

void parcel_free(struct parcel *parcel)
{
    free(parcel->entries);
    free(parcel);
}

struct parcel *parcel_copy(const struct parcel *parcel)
{
    struct parcel *copy = memory_new(1, sizeof *copy);
    copy->message = parcel->message;
    if (parcel->entries != NULL) {
        uint64_t count = parcel->message.append_request.entry_count;
        copy->entries = memory_new(count, sizeof *copy->entries);
        memcpy(copy->entries, parcel->entries, count * sizeof *copy->entries);
    }
    return copy;
}

void server_preset(struct server *server, const uint64_t *terms, size_t count)
{
    CHECK(server->raft == NULL);
    server->disk.log.last = 0;
    server->disk.log.base = 0;
    server->disk.snapshot_index = 0;
    for (size_t i = 0; i < count; i++) {
        /* The same place and term always mean the same entry, as if a leader had made it. */
        struct entry entry = {.term = terms[i], .value = 1000000 * terms[i] + i};
        uint64_t term_before = i == 0 ? 0 : terms[i - 1];
        CHECK(terms[i] >= term_before);
        know_entry(server->cluster, i + 1, entry, term_before);
        log_put(&server->disk.log, entry);
        if (server->disk.term < terms[i]) {
            server->disk.term = terms[i];
            server->disk.voted_for = 0;
        }
    }
}

void server_start(struct server *server)
{
    struct cluster *cluster = server->cluster;
    CHECK(server->raft == NULL);
    uint64_t snapshot_index = server->disk.snapshot_index;
    uint64_t snapshot_term = log_term(&cluster->committed, snapshot_index);
    if (log_term(&server->disk.log, snapshot_index) != snapshot_term) {
        /* The crash came before the reset. */
        log_reset(&server->disk.log, &cluster->committed, snapshot_index);
    }
    log_copy(&server->log, &server->disk.log, server->disk.log.last);
    uint64_t base = server->log.base;
    struct raft_run *runs = memory_new(server->log.last - base + 1, sizeof *runs);
    for (uint64_t i = base; i < server->log.last; i++) {
        runs[i - base] = (struct raft_run){.term = server->log.at[i].term, .count = 1};
    }
    server->commit_seen = snapshot_index;
    struct raft_restored restored = {
        .term = server->disk.term,
        .voted_for = server->disk.voted_for,
        .runs = runs,
        .run_count = server->log.last - base,
        .snapshot_index = snapshot_index,
        .snapshot_term = snapshot_term,
        .first_index = base + 1,
        .previous_term = log_term(&server->log, base),
        .lost_until = server->lost.until,
        .lost_term = server->lost.term,
    };
    struct raft_logged_membership *memberships =
        find_memberships(cluster, server->log.at + base, base + 1, server->log.last - base,
                         &restored.membership_count);
    restored.memberships = memberships;
    struct raft_config config = cluster->config;
    config.id = server->id;
    server->initiated = membership_find(&config.membership, server->id) != NULL;
    if (!server->initiated) {
        config.membership.count = 0;
    }
    if (snapshot_index > 0) {
        server->initiated = true;
        restored.snapshot_membership =
            newest_membership(cluster, &cluster->committed, snapshot_index);
    }
    config.seed = cluster->seed * 1000 + server->id * 100 + server->starts++;
    config.trace = &server->trace;
    int err = raft_new(&config, &restored, server_clock_ms(server), &server->raft);
    CHECK(err == 0);
    free(runs);
    free(memberships);
    raft_check(server->raft);
    check_membership(server);
    server->wake_ms = cluster->now_ms;
}

/* ---- disk ---- */

static void apply_write(struct server *server, const struct write *write, uint64_t entries)
{
    const struct raft_store *store = &write->store;
    if ((store->flags & RAFT_STORE_RESET) != 0) {
        log_reset(&server->disk.log, &server->cluster->committed, store->reset_index);
    }
    if ((store->flags & RAFT_STORE_TRUNCATE) != 0) {
        log_truncate(&server->disk.log, store->truncate_from);
    }
    for (uint64_t i = 0; i < store->append_count && i < entries; i++) {
        CHECK(store->append_first + i == server->disk.log.last + 1);
        log_put(&server->disk.log, write->entries[i]);
    }
}

static void complete_write(struct server *server)
{
    struct write *write = server->writes;
    CHECK(write != NULL);
    apply_write(server, write, UINT64_MAX);
    CHECK(write->store.term >= server->disk.term);
    if (write->store.term == server->disk.term && server->disk.voted_for != 0) {
        CHECK(write->store.voted_for == server->disk.voted_for);
    }
    server->disk.term = write->store.term;
    server->disk.voted_for = write->store.voted_for;
    server->writes = write->next;
    if (server->writes == NULL) {
        server->writes_end = NULL;
    }
    free_write(write);
}

size_t server_writes(const struct server *server)
{
    size_t count = 0;
    for (const struct write *write = server->writes; write != NULL; write = write->next) {
        count++;
    }
    return count;
}

int server_store(struct server *server, size_t count)
{
    CHECK(count > 0);
    uint64_t ticket = 0;
    for (size_t i = 0; i < count; i++) {
        ticket = server->writes->store.ticket;
        complete_write(server);
    }
    struct raft_event event = {.type = RAFT_STORED, .ticket = ticket};
    return step(server, &event, NULL);
}

void server_crash(struct server *server, size_t writes, uint64_t entries)
{
    CHECK(server->raft != NULL);
    while (writes > 0 && server->writes != NULL) {
        complete_write(server);
        writes--;
    }
    if (server->writes != NULL && entries > 0) {
        apply_write(server, server->writes, entries);
    }
    forget_memory(server);
}

void server_lose_log(struct server *server, bool bounded)
{
    CHECK(server->raft == NULL && server->lost.until == 0);
    uint64_t snapshot_index = server->disk.snapshot_index;
    uint64_t last = server->disk.log.last;
    log_copy(&server->lost.log, &server->disk.log, last);
    server->lost.until = bounded ? (last < snapshot_index ? snapshot_index : last) : UINT64_MAX;
    server->lost.term = server->disk.term;
    log_reset(&server->disk.log, &server->cluster->committed, 0);
    server->disk.snapshot_index = 0;
}

/* ---- events ---- */

int server_tick(struct server *server)
{
    struct raft_event event = {.type = RAFT_TICKED};
    return step(server, &event, NULL);
}

int server_propose(struct server *server, uint64_t count)
{
    struct raft_event event = {.type = RAFT_PROPOSED, .propose_count = count};
    return step(server, &event, NULL);
}

int server_read(struct server *server)
{
    if (server->read_count == READS_OPEN_MAX) {
        return 0;
    }
    /* The read is noted before the step: it may be released at once. */
    struct asked_read read = {.tag = server->tag + 1, .index_min = server->cluster->committed.last};
    server->reads[server->read_count++] = read;
    struct raft_event event = {.type = RAFT_READ_ASKED, .read_tag = read.tag};
    int err = step(server, &event, NULL);
    if (err != 0) {
        server->read_count--;
        return err;
    }
    server->tag = read.tag;
    return 0;
}

bool server_lease(struct server *server)
{
    struct cluster *cluster = server->cluster;
    if (server->raft == NULL || !raft_lease_holds(server->raft, server_clock_ms(server))) {
        return false;
    }
    CHECK(raft_commit_index(server->raft) >= cluster->committed.last);
    for (uint64_t term = raft_term(server->raft) + 1; term < cluster->leaders_count; term++) {
        CHECK(cluster->leaders[term] == 0);
    }
    cluster->leases_seen++;
    return true;
}

int server_change(struct server *server, const struct raft_membership *wanted)
{
    struct raft_event event = {.type = RAFT_MEMBERSHIP_PROPOSED, .membership = wanted};
    return step(server, &event, NULL);
}

int server_transfer(struct server *server, uint64_t to)
{
    struct raft_event event = {.type = RAFT_TRANSFER_ASKED, .transfer_to = to};
    return step(server, &event, NULL);
}

int server_step_down(struct server *server)
{
    struct raft_event event = {.type = RAFT_STEP_DOWN_ASKED};
    return step(server, &event, NULL);
}

int server_receive(struct server *server, const struct parcel *parcel)
{
    if (server->raft == NULL) {
        return 0;
    }
    struct raft_event event = {.type = RAFT_RECEIVED, .message = &parcel->message};
    struct raft_logged_membership *memberships = NULL;
    if (parcel->entries != NULL) {
        const struct raft_append_request *append = &parcel->message.append_request;
        memberships = find_memberships(server->cluster, parcel->entries, append->prev_index + 1,
                                       append->entry_count, &event.membership_count);
    }
    event.memberships = memberships;
    int err = step(server, &event, parcel);
    free(memberships);
    return err;
}

/* ---- snapshots ---- */

int server_compact(struct server *server, struct raft_compacted compacted, bool trimmed)
{
    CHECK(server->writes == NULL);
    struct raft_event event = {.type = RAFT_COMPACTED, .compacted = compacted};
    int err = step(server, &event, NULL);
    if (err != 0) {
        return err;
    }
    if (server->disk.snapshot_index < compacted.snapshot_index) {
        server->disk.snapshot_index = compacted.snapshot_index;
    }
    server->log.base = raft_base_index(server->raft);
    if (trimmed) {
        server->disk.log.base = server->log.base;
    }
    return 0;
}

void server_save_received(struct server *server, uint64_t index)
{
    CHECK(index > 0 && index <= server->cluster->committed.last);
    if (server->disk.snapshot_index < index) {
        server->disk.snapshot_index = index;
    }
}

int server_installed(struct server *server, uint64_t index)
{
    const struct cluster *cluster = server->cluster;
    CHECK(index <= server->disk.snapshot_index);
    server->receiving = 0;
    struct raft_event event = {
        .type = RAFT_INSTALLED,
        .installed = {.index = index,
                      .term = log_term(&cluster->committed, index),
                      .membership = newest_membership(cluster, &cluster->committed, index)},
    };
    return step(server, &event, NULL);
}

int server_snapshot_ended(struct server *server, struct raft_snapshot_ended ended)
{
    struct raft_event event = {.type = RAFT_SNAPSHOT_ENDED, .snapshot_ended = ended};
    return step(server, &event, NULL);
}

struct server *cluster_leader(struct cluster *cluster)
{
    struct server *leader = NULL;
    for (size_t i = 0; i < cluster->count; i++) {
        struct server *server = &cluster->servers[i];
        if (server->raft != NULL && raft_role(server->raft) == RAFT_LEADER &&
            (leader == NULL || raft_term(server->raft) > raft_term(leader->raft))) {
            leader = server;
        }
    }
    return leader;
}
