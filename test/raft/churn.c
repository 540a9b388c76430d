#include "churn.h"

#include "base/assert.h"
#include "kvapp/err.h"

static struct raft_membership any_membership(struct prng *prng, size_t servers)
{
    struct raft_membership wanted = {.count = 0};
    uint64_t voters = 0;
    for (uint64_t id = servers; id >= 1; id--) {
        uint64_t kind = prng_between(prng, 0, 9);
        if (kind > 7) {
            continue;
        }
        struct raft_member member = {.id = id, .voter = kind < 5, .keep_learner = kind == 5};
        wanted.members[wanted.count++] = member;
        voters += member.voter;
    }
    /* Most changes keep a majority alive when one server is down. */
    if (voters < 3 && prng_chance(prng, 3, 4)) {
        return any_membership(prng, servers);
    }
    return wanted;
}

void churn(struct prng *prng, struct server *server)
{
    size_t servers = server->cluster->count;
    int err = 0;
    if (prng_chance(prng, 1, 16)) {
        err = server_step_down(server);
    } else if (prng_chance(prng, 1, 4)) {
        err = server_transfer(server, prng_between(prng, 0, servers));
    } else {
        struct raft_membership wanted = any_membership(prng, servers);
        err = server_change(server, &wanted);
    }
    CHECK(err == 0 || err == KV_ERR_NOT_LEADER || err == KV_ERR_BUSY || err == KV_ERR_INVALID);
}

void churn_check_calm(struct cluster *cluster, const struct server *leader)
{
    const struct raft_logged_membership *newest = raft_membership(leader->raft);
    CHECK(!newest->membership.joint);
    CHECK(newest->index <= raft_commit_index(leader->raft));
    for (size_t i = 0; i < newest->membership.count; i++) {
        const struct raft_member *member = &newest->membership.members[i];
        const struct raft *raft = cluster_server(cluster, member->id)->raft;
        CHECK(member->voter || member->keep_learner);
        CHECK(raft_last_index(raft) == raft_last_index(leader->raft));
        CHECK(raft_commit_index(raft) == raft_last_index(leader->raft));
        CHECK(raft_leader(raft) == leader->id);
        CHECK(raft_durable_index(raft) == raft_last_index(leader->raft));
    }
}

uint64_t churn_changes(const struct cluster *cluster)
{
    uint64_t changes = 0;
    for (uint64_t i = 1; i <= cluster->committed.last; i++) {
        uint64_t number = cluster->committed.at[i - 1].membership;
        changes += number != 0 && cluster->memberships[number - 1].joint;
    }
    return changes;
}
