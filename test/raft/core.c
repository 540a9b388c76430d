#include "core.h"

#include "base/memory.h"

#include <stdlib.h>

struct raft_config core_config(size_t voters)
{
    struct raft_config config = {
        .id = 1,
        .membership = {.count = voters},
        .seed = 7,
        .heartbeat_ms = 50,
        .election_min_ms = 150,
        .election_max_ms = 300,
        .disk_stall_ms = 1000,
        .window_appends = 4,
        .append_entries_max = 8,
        .uncommitted_max = 64,
    };
    for (size_t i = 0; i < voters; i++) {
        config.membership.members[i] = (struct raft_member){.id = i + 1, .voter = true};
    }
    return config;
}

int core_step(struct raft *raft, const struct raft_event *event, struct raft_effects *ret_effects)
{
    struct raft_effects *effects = memory_new(1, sizeof *effects);
    int err = raft_step(raft, event, effects);
    if (ret_effects != NULL) {
        *ret_effects = *effects;
    }
    free(effects);
    return err;
}
