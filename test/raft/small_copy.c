#include "small.h"

#include "base/assert.h"

#include <string.h>

static size_t world_size(const struct small_world *world)
{
    return offsetof(struct small_world, flights) + world->flight_count * sizeof *world->flights;
}

void small_save_core(const struct raft *raft, struct small_core *copy)
{
    CHECK(raft->trail.count <= SMALL_TERMS_MAX);
    copy->raft = *raft;
    memcpy(copy->runs, raft->trail.runs, raft->trail.count * sizeof *copy->runs);
    CHECK(raft->memberships.count <= SMALL_LOG_MAX + 1);
    memcpy(copy->memberships, raft->memberships.at,
           raft->memberships.count * sizeof *copy->memberships);
    memcpy(copy->windows, raft->windows, sizeof copy->windows);
}

void small_load_core(struct raft *raft, const struct small_core *copy)
{
    struct trail_run *runs = raft->trail.runs;
    size_t capacity = raft->trail.capacity;
    struct raft_logged_membership *memberships = raft->memberships.at;
    size_t memberships_capacity = raft->memberships.capacity;
    uint64_t *windows = raft->windows;
    *raft = copy->raft;
    raft->trail.runs = runs;
    raft->trail.capacity = capacity;
    raft->memberships.at = memberships;
    raft->memberships.capacity = memberships_capacity;
    raft->windows = windows;
    for (size_t i = 0; i < raft->peer_count; i++) {
        struct progress *progress = &raft->peers[i].progress;
        progress->window = windows + (progress->window - copy->raft.windows);
    }
    CHECK(raft->trail.count <= capacity);
    memcpy(raft->trail.runs, copy->runs, raft->trail.count * sizeof *copy->runs);
    CHECK(raft->memberships.count <= memberships_capacity);
    memcpy(raft->memberships.at, copy->memberships,
           raft->memberships.count * sizeof *copy->memberships);
    memcpy(raft->windows, copy->windows, sizeof copy->windows);
}

void small_save(const struct small *small, struct small_snapshot *snapshot)
{
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        small_save_core(small->cores[i], &snapshot->cores[i]);
    }
    memcpy(&snapshot->world, &small->world, world_size(&small->world));
}

void small_load(struct small *small, const struct small_snapshot *snapshot)
{
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        small_load_core(small->cores[i], &snapshot->cores[i]);
    }
    memcpy(&small->world, &snapshot->world, world_size(&snapshot->world));
}
