/*
 * What was acknowledged is never lost. A server promises by what it reports to be on its disk:
 * answers to others leave only then. At each start, what was recovered is held against the
 * promise; and an entry that is committed must be promised by a majority at that moment.
 *
 * A server whose damaged log was set aside has promised what it does not hold. That still counts,
 * since it has no part in elections until it holds again what of that is committed.
 */
#include "base/memory.h"
#include "sim/cluster.h"
#include "sim/ledger.h"

#include <inttypes.h>

/* Damage that no start can tell from a torn tail is allowed to cost a damaged server its tail. */
static bool excused(const struct server *server)
{
    return server->may_be_hurt && sim_disk_damage(server->host) > 0;
}

static void note_loss(struct server *server, const struct view *before)
{
    struct view *view = &server->view;
    if (before->durable <= view->lost_count) {
        return; /* Lost again, while it was being repaired. */
    }
    view->lost_count = before->durable;
    view->lost = memory_grow(view->lost, view->lost_count * sizeof *view->lost);
    for (uint64_t i = 0; i < view->lost_count; i++) {
        view->lost[i] = before->log[i];
    }
}

static bool has_promised(const struct view *view, const struct record *record)
{
    uint64_t index = record->index;
    bool held =
        view->durable >= index && view->log_count >= index && view->log[index - 1] == record;
    return held || (view->lost_count >= index && view->lost[index - 1] == record);
}

void durability_look(struct simulation *simulation, struct server *server)
{
    struct view *view = &server->view;
    if (view->lost_count == 0 || raft_is_repairing(server->node->raft)) {
        return;
    }
    uint64_t lost = view->lost_count;
    view->lost_count = 0;
    for (uint64_t i = 1; i <= lost && i <= simulation->ledger->committed_count; i++) {
        const struct record *record = simulation->ledger->committed[i].record;
        if (view->lost[i - 1] == record && !has_promised(view, record)) {
            simulation_fail(simulation, "durability",
                            "%s votes again, and lacks entry %" PRIu64 ":%" PRIu64
                            ", which it had lost",
                            server->name, i, record->term);
            return;
        }
    }
}

void durability_recovered(struct simulation *simulation, struct server *server,
                          const struct view *before, uint64_t term, uint64_t voted_for)
{
    const struct view *view = &server->view;
    uint64_t promised = before->durable;
    for (uint64_t i = 0; i < promised && i < raft_base_index(server->node->raft); i++) {
        if (before->log[i] != simulation->ledger->committed[i + 1].record) {
            promised = i; /* A snapshot replaced entries that contradicted it, and all behind. */
        }
    }
    bool lost = raft_is_repairing(server->node->raft);
    if (lost) {
        note_loss(server, before);
    }
    if (lost && !server->may_be_hurt) {
        simulation_fail(simulation, "durability", "%s takes its log for lost", server->name);
        return;
    }
    for (uint64_t i = 0; i < promised && !excused(server); i++) {
        if (i >= view->log_count || view->log[i] != before->log[i]) {
            simulation_fail(simulation, "durability",
                            "%s reported entries up to %" PRIu64
                            " to be on its disk, and recovers entry %" PRIu64 " %s",
                            server->name, before->durable, i + 1,
                            i >= view->log_count ? "not at all" : "as another one");
            return;
        }
    }
    if (term < before->durable_term) {
        simulation_fail(simulation, "durability",
                        "%s reported term %" PRIu64
                        " to be on its disk, and recovers term %" PRIu64,
                        server->name, before->durable_term, term);
    } else if (term == before->durable_term && before->durable_vote != 0 &&
               voted_for != before->durable_vote) {
        simulation_fail(simulation, "durability",
                        "%s reported its vote for %" PRIu64 " in term %" PRIu64
                        " to be on its disk, and recovers a vote for %" PRIu64,
                        server->name, before->durable_vote, term, voted_for);
    }
}

void durability_committed(struct simulation *simulation, const struct record *record)
{
    const struct cluster *cluster = simulation->cluster;
    size_t holders = 0;
    for (size_t i = 0; i < cluster->count; i++) {
        holders += has_promised(&cluster->servers[i].view, record);
    }
    if (holders <= cluster->count / 2) {
        simulation_fail(simulation, "durability",
                        "entry %" PRIu64 ":%" PRIu64 " is committed, and is on %zu of %zu disks",
                        record->index, record->term, holders, cluster->count);
    }
}
