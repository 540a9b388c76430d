/*
 * What was acknowledged is never lost. A server promises by what it reports to be on its disk:
 * answers to others leave only then. At each start, what was recovered is held against the
 * promise; and an entry that is committed must be promised by a majority at that moment.
 *
 * A server whose damaged log was set aside has promised what it does not hold. That still counts,
 * since it has no part in elections until it holds again what of that is committed.
 */
#include "base/memory.h"
#include "raft/membership.h"
#include "sim/cluster.h"
#include "sim/ledger.h"
#include "sim/roster.h"

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

/* Nobody listens to a server whose disk was wiped, whatever it has stored since; but what it had
 * acknowledged before may be counted, also when it is gone. */
static uint32_t holders_of(const struct cluster *cluster, const struct record *record)
{
    uint32_t holders = 0;
    for (size_t i = 0; i < cluster->count; i++) {
        const struct server *server = &cluster->servers[i];
        const struct view *view = server->wiped ? &server->before_wipe : &server->view;
        holders |= has_promised(view, record) ? 1u << i : 0;
    }
    return holders;
}

/*
 * A majority of which members? Of those in force where the entry stands; or of the next ones in the
 * log, which came when the former were committed, and which may count what is between them.
 */
void durability_committed(struct simulation *simulation, const struct record *record,
                          const struct server *by)
{
    const struct view *view = &by->view;
    uint32_t holders = holders_of(simulation->cluster, record);
    size_t behind = 0; /* memberships up to the entry */
    while (behind < view->membership_count && view->memberships[behind]->index <= record->index) {
        behind++;
    }
    const struct record *in_force =
        behind == 0 ? &simulation->ledger->initial : view->memberships[behind - 1];
    bool is_between = record != in_force && behind < view->membership_count;
    if (!roster_is_quorum(in_force->membership, holders) &&
        !(is_between && roster_is_quorum(view->memberships[behind]->membership, holders))) {
        char text[MEMBERSHIP_TEXT_SIZE];
        simulation_fail(simulation, "durability",
                        "entry %" PRIu64 ":%" PRIu64
                        " is committed, and is on the disks of %d servers only, the members being "
                        "%s",
                        record->index, record->term, __builtin_popcount(holders),
                        membership_text(in_force->membership, text));
    }
}
