#include "sim/liveness.h"

#include "raft/membership.h"
#include "sim/callers.h"
#include "sim/clocks.h"
#include "sim/cluster.h"
#include "sim/ledger.h"
#include "sim/operator.h"
#include "sim/peek.h"
#include "sim/roster.h"
#include "sim/workload.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    LEADER_ELECTIONS = 10,
    ANSWER_ELECTIONS = 20,
    QUIET_US_MAX = 20 * 1000 * 1000, /* longer than any client's time for a request */
    TERMS_MAX = 3,
};

/* Runs until `done` or for `limit_us`; false when the time is up. */
static bool advance_until(struct simulation *simulation, bool (*done)(struct simulation *),
                          uint64_t limit_us)
{
    uint64_t longest_us = cluster_election_us(simulation->cluster) / 4;
    uint64_t until_us = sim_world_now(simulation->world) + limit_us;
    while (!simulation_failed(simulation)) {
        if (done(simulation)) {
            return true;
        }
        uint64_t now_us = sim_world_now(simulation->world);
        if (now_us >= until_us) {
            return false;
        }
        /* Uneven steps: in step with the heartbeats one would see each of them on its way. */
        uint64_t next_us = now_us + simulation_draw(simulation, longest_us / 2, longest_us);
        simulation_advance(simulation, next_us < until_us ? next_us : until_us);
    }
    return true;
}

static bool has_leader(struct simulation *simulation)
{
    return cluster_leader(simulation->cluster) != NULL;
}

/* Every client got an answer to something that it asked since the healing's leader was there. */
static bool all_answered(struct simulation *simulation)
{
    const struct workload *workload = simulation->workload;
    bool answered[ACTORS_MAX + CALLERS_MAX] = {false};
    for (uint64_t i = workload->note_count; i > 0; i--) {
        const struct operation_note *note = workload->notes[i - 1];
        if (note->began <= workload->mark) {
            if (note->outcome == OUTCOME_OPEN) {
                return false;
            }
        } else if (note->outcome == OUTCOME_OK) {
            answered[note->actor] = true;
        }
    }
    for (size_t i = 0; i < workload->actor_count; i++) {
        if (!answered[i]) {
            return false;
        }
    }
    for (size_t i = 0; i < callers_count(workload->callers); i++) {
        if (!answered[ACTORS_MAX + i]) {
            return false;
        }
    }
    return true;
}

static bool nothing_open(struct simulation *simulation)
{
    return workload_open(simulation->workload) == 0 && operator_is_idle(simulation->operator);
}

/* A link to a server that is broken, or no member any more, need not be up. */
static bool is_needed(const struct cluster *cluster, const struct link *link)
{
    const struct raft_membership *members = cluster->simulation->ledger->membership->membership;
    return link->id != 0 && membership_find(members, link->id) != NULL &&
           server_is_sound(&cluster->servers[link->id - 1]);
}

static bool is_idle(const struct cluster *cluster, const struct kvapp_node *node)
{
    if (!tracker_empty(&node->tracker) || !reads_none(node) || node->waiting_bytes != 0 ||
        node->snapshot.state != SNAPSHOT_IDLE || node->snapshot.releasing != NULL ||
        node->install.state != INSTALL_IDLE || node->restore.kv != NULL ||
        node->restore.replaced != NULL || node->inbox.size != 0 ||
        node->writes.size != node->writes_first || !list_empty(&node->stuck)) {
        return false;
    }
    for (size_t i = 0; i < node->link_count; i++) {
        const struct link *link = &node->links[i];
        if (!is_needed(cluster, link)) {
            continue;
        }
        if (link->state != LINK_UP || link->waiting_count != 0 || outbox_size(&link->outbox) != 0 ||
            node->ships[i].state != SHIP_IDLE) {
            return false;
        }
    }
    return true;
}

static bool is_settled(const struct cluster *cluster, const struct server *server,
                       const struct kvapp_node *leader)
{
    const struct kvapp_node *node = server->node;
    if (node == NULL || node->state != NODE_SERVING ||
        kvapp_node_applied_index(node) != kvapp_node_last_index(leader) ||
        kvapp_node_digest(node) != kvapp_node_digest(leader)) {
        return false;
    }
    return is_idle(cluster, node);
}

/* Whether a server that was removed can still hear of it from a member that it knows. */
static bool must_be_gone(const struct cluster *cluster, const struct server *server)
{
    const struct ledger *ledger = cluster->simulation->ledger;
    const struct record *newest = roster_newest(ledger, server);
    /* One that was never committed may be newer than all: who was to be a member by it waits. */
    if (newest == NULL || newest->index >= ledger->membership->index ||
        membership_find(newest->membership, server->number + 1) == NULL) {
        return false;
    }
    const struct raft_membership *members = ledger->membership->membership;
    for (size_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->members[i];
        const struct raft_member *known = membership_find(newest->membership, member->id);
        if (known != NULL && strcmp(known->address, member->address) == 0 &&
            server_is_sound(&cluster->servers[member->id - 1])) {
            return true;
        }
    }
    return false;
}

/* No change is under way, and nobody is left who shall be a voter and is none. */
static bool members_settled(const struct cluster *cluster, const struct kvapp_node *leader)
{
    const struct raft_logged_membership *newest = raft_membership(leader->raft);
    if (newest->membership.joint || newest->index > kvapp_node_commit_index(leader)) {
        return false;
    }
    for (size_t i = 0; i < newest->membership.count; i++) {
        const struct raft_member *member = &newest->membership.members[i];
        if (!member->voter && !member->keep_learner &&
            server_is_sound(&cluster->servers[member->id - 1])) {
            return false;
        }
    }
    return true;
}

static bool all_settled(struct simulation *simulation)
{
    struct cluster *cluster = simulation->cluster;
    const struct server *leader = cluster_leader(cluster);
    if (leader == NULL ||
        kvapp_node_commit_index(leader->node) != kvapp_node_last_index(leader->node) ||
        !members_settled(cluster, leader->node)) {
        return false;
    }
    const struct raft_membership *members = simulation->ledger->membership->membership;
    for (size_t i = 0; i < cluster->count; i++) {
        const struct server *server = &cluster->servers[i];
        bool is_member = membership_find(members, i + 1) != NULL;
        if (is_member && server_is_sound(server) && !is_settled(cluster, server, leader->node)) {
            return false;
        }
        if (!is_member && server->node != NULL && must_be_gone(cluster, server)) {
            return false;
        }
    }
    return true;
}

static void tell_unsettled(struct simulation *simulation)
{
    const struct cluster *cluster = simulation->cluster;
    char text[500];
    char members[MEMBERSHIP_TEXT_SIZE];
    size_t size =
        (size_t)snprintf(text, sizeof text, ", the members being %s",
                         membership_text(simulation->ledger->membership->membership, members));
    for (size_t i = 0; i < cluster->count; i++) {
        const struct server *server = &cluster->servers[i];
        const struct kvapp_node *node = server->node;
        if (node == NULL || node->raft == NULL) {
            size += (size_t)snprintf(text + size, sizeof text - size, "; %s is %s", server->name,
                                     server->refused   ? "refused"
                                     : server->retired ? "retired"
                                                       : "not up");
        } else {
            size += (size_t)snprintf(
                text + size, sizeof text - size,
                "; %s: %s, last %" PRIu64 ", commit %" PRIu64 ", applied %" PRIu64 "%s",
                server->name, raft_role_name(kvapp_node_role(node)), kvapp_node_last_index(node),
                kvapp_node_commit_index(node), kvapp_node_applied_index(node),
                is_idle(cluster, node) ? "" : ", busy");
        }
        size = size < sizeof text ? size : sizeof text - 1;
    }
    simulation_fail(simulation, "liveness", "servers have not come to rest%s", text);
}

/* How long the snapshot may take that is on its way to a follower, or soon will be, and one more:
 * the rate may be low. */
static uint64_t transfers_us(const struct cluster *cluster)
{
    uint64_t size = 0;
    for (size_t i = 0; i < cluster->count; i++) {
        const struct kvapp_node *node = cluster->servers[i].node;
        if (node != NULL && node->storage != NULL && peek_snapshot_size(node->storage) > size) {
            size = peek_snapshot_size(node->storage);
        }
    }
    return 2 * size * 1000 * 1000 / cluster->snapshot_rate;
}

void liveness_check(struct simulation *simulation)
{
    struct cluster *cluster = simulation->cluster;
    struct workload *workload = simulation->workload;
    uint64_t election_us = cluster_election_us(cluster);
    uint64_t term = simulation->ledger->term_max;
    uint64_t hand_overs = simulation->result->reached[REACHED_TRANSFERRED];
    /* A leader's removal begins terms of its own, and so does a hand-over, which may fail. */
    uint64_t terms_max = operator_is_idle(simulation->operator) ? TERMS_MAX : 2 * TERMS_MAX;
    if (!advance_until(simulation, has_leader, LEADER_ELECTIONS * election_us)) {
        simulation_fail(simulation, "liveness", "no leader within %d election timeouts of healing",
                        LEADER_ELECTIONS);
        return;
    }
    workload->mark = workload->order;
    workload_probe(workload);
    /* A client leaves a connection that is dead, or out of step, after the time of two requests. */
    uint64_t answer_us = ANSWER_ELECTIONS * election_us + 3 * workload_timeout_us(workload);
    if (!advance_until(simulation, all_answered, answer_us)) {
        simulation_fail(simulation, "liveness",
                        "a client has had no answer for %" PRIu64 " ms since healing",
                        answer_us / 1000);
        return;
    }
    workload->quiet = true;
    if (!advance_until(simulation, nothing_open, QUIET_US_MAX)) {
        simulation_fail(simulation, "liveness", "%zu requests are never answered",
                        workload_open(workload));
        return;
    }
    uint64_t rest_us = ANSWER_ELECTIONS * election_us + transfers_us(cluster);
    if (!advance_until(simulation, all_settled, rest_us)) {
        tell_unsettled(simulation);
        return;
    }
    simulation_advance(simulation, sim_world_now(simulation->world) + election_us);
    if (has_leader(simulation)) {
        clocks_settled(simulation->clocks, cluster_leader(cluster));
    }
    terms_max += 2 * (simulation->result->reached[REACHED_TRANSFERRED] - hand_overs);
    /* Where all that are left are needed, votes are split more often. */
    terms_max += (uint64_t)__builtin_popcount(roster_broken(cluster));
    if (!simulation_failed(simulation) && simulation->ledger->term_max > term + terms_max) {
        simulation_fail(simulation, "liveness", "%" PRIu64 " terms began after healing",
                        simulation->ledger->term_max - term);
    }
}
