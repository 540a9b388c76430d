#include "cluster_check.h"

#include "base/assert.h"
#include "base/memory.h"
#include "raft/membership.h"

#include <string.h>

/* Log matching (§5.3), by induction: equal index and term mean an equal entry after an equal one.
 */
void know_entry(struct cluster *cluster, uint64_t index, struct entry entry, uint64_t term_before)
{
    while (cluster->known_count <= index) {
        uint64_t count = cluster->known_count == 0 ? 256 : cluster->known_count * 2;
        cluster->known = memory_grow(cluster->known, count * sizeof(struct known_entry *));
        memset(cluster->known + cluster->known_count, 0,
               (count - cluster->known_count) * sizeof(struct known_entry *));
        cluster->known_count = count;
    }
    for (struct known_entry *known = cluster->known[index]; known != NULL; known = known->next) {
        if (known->entry.term == entry.term) {
            CHECK(known->entry.value == entry.value);
            CHECK(known->entry.membership == entry.membership);
            CHECK(known->term_before == term_before);
            return;
        }
    }
    struct known_entry *known = memory_new(1, sizeof *known);
    *known = (struct known_entry){
        .next = cluster->known[index], .entry = entry, .term_before = term_before};
    cluster->known[index] = known;
}

/* Leader completeness (§5.4): a leader has everything that was committed in the terms before. A
 * leader elected late, by votes that were long on their way, need not have what came after. */
static void check_complete(const struct cluster *cluster, const struct server *server,
                           uint64_t term)
{
    for (uint64_t i = 1; i <= cluster->committed.last; i++) {
        if (log_term(&cluster->commit_terms, i) < term) {
            CHECK(log_has(&server->log, i, log_get(&cluster->committed, i)));
        }
    }
}

void check_leader(struct cluster *cluster, struct server *server, uint64_t term)
{
    while (cluster->leaders_count <= term) {
        uint64_t count = cluster->leaders_count == 0 ? 64 : cluster->leaders_count * 2;
        cluster->leaders = memory_grow(cluster->leaders, count * sizeof *cluster->leaders);
        memset(cluster->leaders + cluster->leaders_count, 0,
               (count - cluster->leaders_count) * sizeof *cluster->leaders);
        cluster->leaders_count = count;
    }
    if (cluster->leaders[term] == server->id) {
        return;
    }
    CHECK(cluster->leaders[term] == 0);
    cluster->leaders[term] = server->id;
    check_complete(cluster, server, term);
}

static bool disk_has(const struct server *server, uint64_t index, struct entry entry)
{
    if (server->lost.until != 0 && log_has(&server->lost.log, index, entry)) {
        return true;
    }
    if (index <= server->disk.snapshot_index) {
        return log_has(&server->cluster->committed, index, entry);
    }
    return log_has(&server->disk.log, index, entry);
}

void check_repaired(const struct server *server)
{
    const struct entry_log *committed = &server->cluster->committed;
    for (uint64_t i = 1; i <= committed->last && i <= server->lost.log.last; i++) {
        struct entry entry = log_get(committed, i);
        CHECK(!log_has(&server->lost.log, i, entry) || disk_has(server, i, entry));
    }
}

const struct raft_membership *newest_membership(const struct cluster *cluster,
                                                const struct entry_log *log, uint64_t last)
{
    for (uint64_t i = last; i > 0; i--) {
        uint64_t number = log->at[i - 1].membership;
        if (number != 0) {
            return &cluster->memberships[number - 1];
        }
    }
    return &cluster->config.membership;
}

/* What a server must believe in when its log ends at `last`, found without its core. */
static const struct raft_membership *membership_in_force(const struct server *server, uint64_t last)
{
    static const struct raft_membership nobody = {.count = 0};
    const struct cluster *cluster = server->cluster;
    const struct raft_membership *newest = newest_membership(cluster, &server->log, last);
    return newest == &cluster->config.membership && !server->initiated ? &nobody : newest;
}

void check_membership(const struct server *server)
{
    const struct raft_membership *membership = membership_in_force(server, server->log.last);
    CHECK(membership_equal(membership, &raft_membership(server->raft)->membership));
}

static bool is_on_majority(const struct cluster *cluster, const struct raft_membership *membership,
                           uint64_t index, struct entry entry)
{
    size_t voters = 0;
    size_t disks = 0;
    size_t voters_old = 0;
    size_t disks_old = 0;
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        bool stored = disk_has(&cluster->servers[member->id - 1], index, entry);
        voters += member->voter;
        disks += member->voter && stored;
        voters_old += member->voter_old;
        disks_old += member->voter_old && stored;
    }
    return disks > voters / 2 && (voters_old == 0 || disks_old > voters_old / 2);
}

/* A leader that logs a membership in the step may have committed before or after it did. */
static void check_on_majority(const struct server *server, uint64_t index, struct entry entry)
{
    const struct cluster *cluster = server->cluster;
    bool logs = (cluster->effects.store.flags & RAFT_STORE_MEMBERSHIP) != 0;
    uint64_t last = server->log.last;
    CHECK(is_on_majority(cluster, membership_in_force(server, last), index, entry) ||
          (logs && is_on_majority(cluster, membership_in_force(server, last - 1), index, entry)));
}

void check_commit(struct cluster *cluster, struct server *server, uint64_t commit_index)
{
    CHECK(commit_index <= server->log.last);
    CHECK(commit_index >= server->commit_seen);
    bool news = commit_index > cluster->committed.last;
    for (uint64_t i = server->commit_seen + 1; i <= commit_index; i++) {
        struct entry entry = log_get(&server->log, i);
        if (i <= cluster->committed.last) {
            CHECK(log_has(&cluster->committed, i, entry));
        } else {
            check_on_majority(server, i, entry);
            log_put(&cluster->committed, entry);
            log_put(&cluster->commit_terms, (struct entry){.term = raft_term(server->raft)});
        }
    }
    server->commit_seen = commit_index;
    for (size_t i = 0; news && i < cluster->count; i++) {
        struct server *other = &cluster->servers[i];
        if (other->raft != NULL && raft_role(other->raft) == RAFT_LEADER &&
            raft_term(other->raft) > raft_term(server->raft)) {
            check_complete(cluster, other, raft_term(other->raft));
        }
    }
}

void check_message(const struct server *server, const struct raft_message *message)
{
    CHECK(message->from == server->id);
    if (server->lost.until != 0) {
        CHECK(message->type != RAFT_VOTE_REQUEST);
        CHECK(message->type != RAFT_VOTE_RESPONSE || !message->vote_response.granted);
    }
    if (message->type == RAFT_VOTE_REQUEST && !message->vote_request.pre) {
        CHECK(server->disk.term == message->term);
        CHECK(server->disk.voted_for == server->id);
    }
    if (message->type == RAFT_VOTE_RESPONSE && message->vote_response.granted &&
        !message->vote_response.pre) {
        CHECK(server->disk.term == message->term);
        CHECK(server->disk.voted_for == message->to);
    }
    if (message->type == RAFT_APPEND_RESPONSE && message->append_response.success) {
        CHECK(server->disk.term == message->term);
        uint64_t match = message->append_response.match_index;
        CHECK(match == 0 || disk_has(server, match, log_get(&server->log, match)));
    }
}
