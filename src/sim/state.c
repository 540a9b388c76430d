#include "sim/state.h"

#include "base/memory.h"
#include "raft/membership.h"
#include "sim/cluster.h"
#include "sim/ledger.h"
#include "sim/peek.h"
#include "sim/roster.h"

#include <inttypes.h>
#include <stdlib.h>

void view_done(struct view *view)
{
    free(view->log);
    free(view->lost);
    free(view->memberships);
    *view = (struct view){0};
}

static void push(struct view *view, const struct record *record)
{
    if (view->log_count == view->log_capacity) {
        view->log_capacity = view->log_capacity == 0 ? 256 : 2 * view->log_capacity;
        view->log = memory_grow(view->log, view->log_capacity * sizeof *view->log);
    }
    view->log[view->log_count++] = record;
    if (record->membership == NULL) {
        return;
    }
    if (view->membership_count == view->membership_capacity) {
        view->membership_capacity =
            view->membership_capacity == 0 ? 16 : 2 * view->membership_capacity;
        view->memberships =
            memory_grow(view->memberships, view->membership_capacity * sizeof *view->memberships);
    }
    view->memberships[view->membership_count++] = record;
}

/* The log ends with entry `count` from now on. */
static void cut(struct view *view, uint64_t count)
{
    view->log_count = count;
    while (view->membership_count > 0 &&
           view->memberships[view->membership_count - 1]->index > count) {
        view->membership_count--;
    }
}

static uint64_t view_term(const struct view *view, uint64_t index)
{
    return index == 0 ? 0 : view->log[index - 1]->term;
}

/* ---- the log ---- */

/*
 * What a server knows only by a snapshot is committed, or the snapshot is wrong: the entries up to
 * the base of its log are taken for those that the ledger has.
 */
static bool look_base(struct simulation *simulation, struct server *server)
{
    struct view *view = &server->view;
    const struct ledger *ledger = simulation->ledger;
    const struct raft *raft = server->node->raft;
    uint64_t base = raft_base_index(raft);
    uint64_t term = raft_term_at(raft, base);
    if (base > ledger->committed_count ||
        (base > 0 && term != ledger->committed[base].record->term)) {
        simulation_fail(simulation, "snapshot",
                        "%s has a log behind entry %" PRIu64 ":%" PRIu64
                        ", which was never committed",
                        server->name, base, term);
        return false;
    }
    if (!view->fresh && base > view->log_count) {
        simulation_reached(simulation, view->log_count == 0 && server->joins
                                           ? REACHED_JOINED_BY_SNAPSHOT
                                           : REACHED_INSTALLED);
    }
    view->told_members = base > 0;
    if (raft_membership_at(raft, base)->joint) {
        simulation_reached(simulation, REACHED_SNAPSHOT_IN_CHANGE);
    }
    for (uint64_t index = view->commit + 1; index <= base; index++) {
        const struct record *record = ledger->committed[index].record;
        if (index > view->log_count) {
            push(view, record);
        } else if (view->log[index - 1] != record) {
            cut(view, index - 1); /* What came behind another entry is gone with it. */
            push(view, record);
        }
    }
    return true;
}

/* What a start recovered must be entries that somebody wrote; their bytes are seen when read. */
void state_look_recovered(struct simulation *simulation, struct server *server)
{
    struct view *view = &server->view;
    const struct raft *raft = server->node->raft;
    if (raft == NULL || server->node->storage == NULL) {
        return;
    }
    struct storage_restored restored;
    storage_restored(server->node->storage, &restored);
    server->founder = restored.founders.size > 0;
    struct view before = *view;
    view->log = NULL;
    view->log_count = 0;
    view->log_capacity = 0;
    view->membership_count = 0;
    view->membership_seen = NULL;
    view->commit = 0;
    if (!look_base(simulation, server)) {
        free(before.log);
        return;
    }
    for (uint64_t index = view->log_count + 1; index <= raft_last_index(raft); index++) {
        uint64_t term = raft_term_at(raft, index);
        const struct record *record = ledger_find(simulation->ledger, index, term);
        if (record == NULL || record->previous_term != view_term(view, index - 1)) {
            simulation_fail(simulation, "durability",
                            "%s recovers entry %" PRIu64 ":%" PRIu64
                            ", which nobody wrote behind term %" PRIu64,
                            server->name, index, term, view_term(view, index - 1));
            break;
        }
        push(view, record);
    }
    view->fresh = false;
    view->applied = 0;
    if (!simulation_failed(simulation)) {
        durability_recovered(simulation, server, &before, raft_term(raft), raft_voted_for(raft));
    }
    view->term = raft_term(raft);
    view->voted_for = raft_voted_for(raft);
    free(before.log);
}

static void look_log(struct simulation *simulation, struct server *server)
{
    struct view *view = &server->view;
    const struct kvapp_node *node = server->node;
    if (!look_base(simulation, server)) {
        return;
    }
    uint64_t base = raft_base_index(node->raft);
    uint64_t last = raft_last_index(node->raft);
    uint64_t keep = view->log_count < last ? view->log_count : last;
    while (keep > base && view->log[keep - 1]->term != raft_term_at(node->raft, keep)) {
        keep--;
    }
    if (keep < view->log_count) {
        simulation_reached(simulation, REACHED_TRUNCATED);
        if (keep < view->commit) {
            simulation_fail(simulation, "commit",
                            "%s forgets entry %" PRIu64 ", which it had committed", server->name,
                            keep + 1);
            return;
        }
        cut(view, keep);
    }
    while (view->log_count < last) {
        uint64_t index = view->log_count + 1;
        struct slice encoded;
        if (storage_get(node->storage, index, &encoded) != 0) {
            simulation_fail(simulation, "durability",
                            "%s recovers entry %" PRIu64 ":%" PRIu64 ", which nobody wrote",
                            server->name, index, raft_term_at(node->raft, index));
            return;
        }
        const struct record *record = ledger_see(simulation->ledger, encoded, index,
                                                 view_term(view, index - 1), server->name);
        if (record == NULL) {
            return;
        }
        push(view, record);
    }
    view->durable = raft_durable_index(node->raft);
}

/* ---- term, vote, role ---- */

static void look_term(struct simulation *simulation, struct server *server)
{
    struct view *view = &server->view;
    const struct raft *raft = server->node->raft;
    uint64_t term = raft_term(raft);
    uint64_t voted_for = raft_voted_for(raft);
    if (term < view->term) {
        simulation_fail(simulation, "term", "%s goes back from term %" PRIu64 " to %" PRIu64,
                        server->name, view->term, term);
    } else if (term == view->term && view->voted_for != 0 && voted_for != view->voted_for) {
        simulation_fail(simulation, "vote",
                        "%s votes for %" PRIu64 " in term %" PRIu64 ", and voted for %" PRIu64,
                        server->name, voted_for, term, view->voted_for);
    } else if (raft_is_repairing(raft) && voted_for != 0 && voted_for != view->voted_for) {
        simulation_fail(simulation, "vote",
                        "%s votes for %" PRIu64 " in term %" PRIu64 ", though its log is lost",
                        server->name, voted_for, term);
    }
    view->term = term;
    view->voted_for = voted_for;
    if (peek_term_is_durable(raft)) {
        view->durable_term = term;
        view->durable_vote = voted_for;
    } else if (server->node->storage != NULL) {
        /* One turn may bring that a vote is on the disk, and the next term. */
        uint64_t on_disk;
        uint64_t vote_on_disk;
        peek_vote(server->node->storage, &on_disk, &vote_on_disk);
        if (on_disk > view->durable_term) {
            view->durable_term = on_disk;
            view->durable_vote = vote_on_disk;
        }
    }
}

static void look_leader_complete(struct simulation *simulation, const struct server *server)
{
    const struct ledger *ledger = simulation->ledger;
    const struct view *view = &server->view;
    for (uint64_t index = 1; index <= ledger->committed_count; index++) {
        const struct committed *committed = &ledger->committed[index];
        const struct record *record = committed->record;
        if (committed->term > view->term) {
            break; /* A late vote can still elect the leader of a term that is over. */
        }
        if (index > view->log_count || view->log[index - 1] != record) {
            simulation_fail(simulation, "leader-completeness",
                            "%s leads term %" PRIu64 " without the committed entry %" PRIu64
                            ":%" PRIu64,
                            server->name, view->term, index, record->term);
            return;
        }
    }
}

/*
 * A vote counts when it is on the voter's disk; of one that has gone on to a later term, or whose
 * disk was wiped, it is not known any more.
 */
static void look_elected(struct simulation *simulation, const struct server *server)
{
    const struct cluster *cluster = simulation->cluster;
    const struct record *newest = roster_newest(simulation->ledger, server);
    uint32_t granted = 0;
    for (size_t i = 0; i < cluster->count; i++) {
        const struct view *voter = &cluster->servers[i].view;
        bool votes =
            voter->durable_term == server->view.term && voter->durable_vote == server->number + 1;
        if (votes || voter->durable_term > server->view.term || cluster->servers[i].wiped) {
            granted |= 1u << i;
        }
    }
    if (newest == NULL || !roster_is_quorum(newest->membership, granted)) {
        char text[MEMBERSHIP_TEXT_SIZE] = "nobody";
        simulation_fail(simulation, "election-safety",
                        "%s leads term %" PRIu64 " without the votes of a majority of %s",
                        server->name, server->view.term,
                        newest == NULL ? text : membership_text(newest->membership, text));
    }
}

static void look_role(struct simulation *simulation, struct server *server)
{
    struct view *view = &server->view;
    const struct raft *raft = server->node->raft;
    enum raft_role role = raft_role(raft);
    struct term_note *note = ledger_term(simulation->ledger, view->term);
    if ((role == RAFT_CANDIDATE || role == RAFT_LEADER) && view->ran_term != view->term) {
        view->ran_term = view->term;
        note->candidates++;
    }
    if (role != RAFT_LEADER || view->led_term == view->term) {
        return;
    }
    view->led_term = view->term;
    simulation->result->elections++;
    TELL(simulation, server->name, "leads term %" PRIu64, view->term);
    if (note->leader != 0 && note->leader != server->number + 1) {
        simulation_fail(simulation, "election-safety", "%s and server %zu both lead term %" PRIu64,
                        server->name, note->leader, view->term);
        return;
    }
    note->leader = server->number + 1;
    look_elected(simulation, server);
    look_leader_complete(simulation, server);
}

/* While there is a lease nobody else can lead. */
static void look_lease(struct simulation *simulation, const struct server *server)
{
    const struct kvapp_node *node = server->node;
    if (!raft_lease_holds(node->raft, node_now_ms(node))) {
        return;
    }
    simulation_reached(simulation, REACHED_LEASE);
    struct ledger *ledger = simulation->ledger;
    for (uint64_t term = server->view.term + 1; term <= ledger->term_max; term++) {
        if (ledger_term(ledger, term)->leader != 0) {
            simulation_fail(
                simulation, "lease",
                "%s has a lease in term %" PRIu64 ", and server %zu leads term %" PRIu64,
                server->name, server->view.term, ledger_term(ledger, term)->leader, term);
            return;
        }
    }
}

/* ---- commit and apply ---- */

static void look_commit(struct simulation *simulation, struct server *server)
{
    struct ledger *ledger = simulation->ledger;
    struct view *view = &server->view;
    uint64_t commit = server->node->commit_index;
    if (commit < view->commit || commit > view->log_count) {
        simulation_fail(simulation, "commit",
                        "%s moves its commit index from %" PRIu64 " to %" PRIu64
                        " with a log up to %" PRIu64,
                        server->name, view->commit, commit, view->log_count);
        return;
    }
    bool rises = commit > ledger->committed_count;
    if (rises && raft_role(server->node->raft) == RAFT_LEADER) {
        if (view->log[commit - 1]->term != view->term) {
            simulation_fail(simulation, "commit",
                            "%s, leader of term %" PRIu64 ", commits up to %" PRIu64
                            ", an entry of term %" PRIu64,
                            server->name, view->term, commit, view->log[commit - 1]->term);
            return;
        }
        if (view->log[ledger->committed_count]->term != view->term) {
            simulation_reached(simulation, REACHED_OLD_TERM_COMMITTED);
        }
    }
    for (uint64_t index = view->commit + 1; index <= commit; index++) {
        const struct record *record = view->log[index - 1];
        if (index > ledger->committed_count) {
            ledger_commit(ledger, record, server);
        } else if (ledger->committed[index].record != record) {
            simulation_fail(
                simulation, "commit",
                "%s commits %" PRIu64 ":%" PRIu64 ", but committed was %" PRIu64 ":%" PRIu64,
                server->name, index, record->term, index, ledger->committed[index].record->term);
        }
        if (simulation_failed(simulation)) {
            return;
        }
    }
    view->commit = commit;
}

/* ---- membership ---- */

static void look_membership(struct simulation *simulation, struct server *server)
{
    struct view *view = &server->view;
    const struct raft *raft = server->node->raft;
    const struct raft_logged_membership *own = raft_membership(raft);
    const struct record *newest = roster_newest(simulation->ledger, server);
    if (newest == view->membership_seen && own->index == view->membership_index) {
        return;
    }
    view->membership_seen = newest;
    view->membership_index = own->index;
    char text[MEMBERSHIP_TEXT_SIZE];
    if (newest == NULL ? own->membership.count != 0
                       : !membership_equal(&own->membership, newest->membership)) {
        simulation_fail(simulation, "membership",
                        "%s takes \"%s\" for the members, which is not the newest of its log",
                        server->name, membership_text(&own->membership, text));
        return;
    }
    size_t count = view->membership_count;
    if (newest == NULL) {
        return;
    }
    if (count > 1 && view->memberships[count - 2]->index > simulation->ledger->committed_count) {
        simulation_fail(simulation, "membership",
                        "%s has the membership %" PRIu64 " behind %" PRIu64
                        ", which is not committed",
                        server->name, newest->index, view->memberships[count - 2]->index);
    } else if (count > 0 && raft_role(raft) == RAFT_LEADER && newest->term == view->term &&
               (view->commit == 0 || view->log[view->commit - 1]->term != view->term)) {
        simulation_fail(simulation, "membership",
                        "%s changes the members by entry %" PRIu64
                        " before anything of its term %" PRIu64 " is committed",
                        server->name, newest->index, view->term);
    }
}

static void look_applied(struct simulation *simulation, struct server *server)
{
    struct view *view = &server->view;
    uint64_t applied = kvapp_node_applied_index(server->node);
    if (applied == view->applied) {
        return;
    }
    if (applied < view->applied || applied > view->commit) {
        simulation_fail(simulation, "apply",
                        "%s has applied up to %" PRIu64 ", after %" PRIu64
                        ", and committed up to %" PRIu64,
                        server->name, applied, view->applied, view->commit);
        return;
    }
    view->applied = applied;
    uint64_t digest = kvapp_node_digest(server->node);
    if (digest != simulation->ledger->committed[applied].digest) {
        simulation_fail(
            simulation, "apply",
            "%s has the digest %016" PRIx64 " at %" PRIu64 ", the reference has %016" PRIx64,
            server->name, digest, applied, simulation->ledger->committed[applied].digest);
    }
}

/* ---- branches that must be reached ---- */

static void look_branches(struct simulation *simulation, const struct server *server)
{
    const struct kvapp_node *node = server->node;
    if (node->apply_reading) {
        simulation_reached(simulation, REACHED_READ_FROM_DISK);
    }
    for (size_t i = 0; i < node->link_count; i++) {
        if (node->links[i].reading) {
            simulation_reached(simulation, REACHED_FED_FROM_DISK);
        }
    }
    struct storage_stats stats;
    storage_stats(node->storage, &stats);
    if (stats.segment_count > 2) { /* The next one is always made before it is needed. */
        simulation_reached(simulation, REACHED_SEGMENT_CHANGED);
    }
    if (peek_window_is_full(node->raft)) {
        simulation_reached(simulation, REACHED_WINDOW_FULL);
    }
    if (!list_empty(&node->stuck)) {
        simulation_reached(simulation, REACHED_CLIENT_PAUSED);
    }
}

void state_look(struct simulation *simulation, struct server *server)
{
    struct kvapp_node *node = server->node;
    if (server->view.fresh || node->storage == NULL) {
        return;
    }
    if (!simulation_failed(simulation)) {
        look_log(simulation, server);
    }
    if (!simulation_failed(simulation)) {
        look_term(simulation, server);
        look_role(simulation, server);
        durability_look(simulation, server);
        look_lease(simulation, server);
    }
    if (!simulation_failed(simulation)) {
        look_commit(simulation, server);
    }
    if (!simulation_failed(simulation)) {
        look_membership(simulation, server);
    }
    if (!simulation_failed(simulation)) {
        look_applied(simulation, server);
        look_branches(simulation, server);
    }
}
