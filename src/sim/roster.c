#include "sim/roster.h"

#include "raft/membership.h"
#include "sim/cluster.h"
#include "sim/ledger.h"
#include "sim/operator.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- one membership ---- */

const struct record *roster_newest(const struct ledger *ledger, const struct server *server)
{
    const struct view *view = &server->view;
    if (view->membership_count > 0) {
        return view->memberships[view->membership_count - 1];
    }
    return server->founder || view->told_members ? &ledger->initial : NULL;
}

struct sets {
    uint32_t voters;
    uint32_t voters_old;
    uint32_t members;
};

static struct sets sets_of(const struct raft_membership *membership)
{
    struct sets sets = {0};
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        uint32_t bit = 1u << (member->id - 1);
        sets.members |= bit;
        sets.voters |= member->voter ? bit : 0;
        sets.voters_old |= member->voter_old ? bit : 0;
    }
    return sets;
}

static bool is_majority(uint32_t voters, uint32_t servers)
{
    return 2 * __builtin_popcount(voters & servers) > __builtin_popcount(voters);
}

bool roster_is_quorum(const struct raft_membership *membership, uint32_t servers)
{
    struct sets sets = sets_of(membership);
    return is_majority(sets.voters, servers) &&
           (!membership->joint || is_majority(sets.voters_old, servers));
}

bool roster_bears(const struct raft_membership *membership, uint32_t broken)
{
    struct sets sets = sets_of(membership);
    int count = __builtin_popcount(sets.members & broken);
    return 2 * count < __builtin_popcount(sets.voters) &&
           (!membership->joint || 2 * count < __builtin_popcount(sets.voters_old));
}

/* ---- all of them ---- */

uint32_t roster_broken(const struct cluster *cluster)
{
    uint32_t broken = 0;
    for (size_t i = 0; i < cluster->count; i++) {
        const struct server *server = &cluster->servers[i];
        broken |= server->may_be_hurt || server->wiped ? 1u << i : 0;
    }
    return broken;
}

bool roster_may_hurt(const struct cluster *cluster, const struct server *victim)
{
    const struct simulation *simulation = cluster->simulation;
    if (simulation->options->beyond) {
        return true;
    }
    uint32_t broken = roster_broken(cluster) | 1u << victim->number;
    /* Nobody knows which of the changes that are under way will come to be, and when. */
    bool bears = !operator_is_in_doubt(simulation->operator) &&
                 roster_bears(simulation->ledger->membership->membership, broken);
    for (size_t i = 0; i < cluster->count; i++) {
        const struct server *server = &cluster->servers[i];
        const struct record *newest = roster_newest(simulation->ledger, server);
        bears = bears && (server->retired || server->wiped || newest == NULL ||
                          roster_bears(newest->membership, broken));
    }
    return bears;
}

static bool knows(const struct ledger *ledger, const struct server *server, uint64_t id)
{
    const struct record *newest = roster_newest(ledger, server);
    if (newest == NULL) {
        return true; /* It knows nobody, so it counts nobody. */
    }
    const struct raft_member *member = membership_find(newest->membership, id);
    /* The very entry: one of a past leader at that index is truncated yet. */
    return ledger_has_committed(ledger, newest) && newest->index <= server->view.durable &&
           (member == NULL || member->incarnation != 0);
}

bool roster_may_wipe(const struct cluster *cluster, const struct server *victim)
{
    const struct ledger *ledger = cluster->simulation->ledger;
    uint64_t id = victim->number + 1;
    uint32_t wiped = 1u << victim->number;
    bool known = true;
    for (size_t i = 0; i < cluster->count; i++) {
        const struct server *other = &cluster->servers[i];
        if (other->wiped && !other->retired) {
            wiped |= 1u << i;
        } else if (other != victim && !other->retired) {
            known = known && knows(ledger, other, id);
        }
    }
    return known && !victim->wiped && !victim->retired &&
           membership_find(ledger->membership->membership, id) != NULL &&
           roster_bears(ledger->initial.membership, wiped) && roster_may_hurt(cluster, victim);
}

const char *roster_text(const struct cluster *cluster, char text[ROSTER_TEXT_SIZE])
{
    const struct raft_membership *membership = cluster->simulation->ledger->membership->membership;
    size_t size = 0;
    for (size_t i = 0; i < membership->count && size < ROSTER_TEXT_SIZE; i++) {
        size += (size_t)snprintf(text + size, ROSTER_TEXT_SIZE - size, "%s%" PRIu64 "=%s",
                                 i == 0 ? "" : ",", membership->members[i].id,
                                 membership->members[i].address);
    }
    CHECK(size < ROSTER_TEXT_SIZE);
    return text;
}
