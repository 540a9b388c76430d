#include "node/gather.h"

enum {
    PATIENCE = 3, /* times the last round */
    VAIN_MAX = 7, /* 64 rounds do not wait then */
};

static bool all_came(const struct gather *gather)
{
    return gather->came >= gather->clients;
}

void gather_ask(struct gather *gather, uint64_t *round)
{
    if (*round > gather->round) {
        return; /* It has asked for the next round before. */
    }
    if (*round != 0 && *round >= gather->first) {
        gather->came++;
    }
    *round = gather->round + 1;
    gather->next++;
}

void gather_begin(struct gather *gather, uint64_t now_us)
{
    if (gather->waited && all_came(gather)) {
        gather->vain = 0;
    } else if (gather->waited && now_us >= gather->due_us) {
        gather->skip = 1U << gather->vain;
        gather->vain += gather->vain + 1 < VAIN_MAX ? 1 : 0;
    }
    gather->waited = false;
    gather->expecting = false;
    gather->until_us = 0;
    gather->round++;
    if (!gather->under_way) {
        gather->first = gather->round;
        gather->clients = 0;
        gather->came = 0;
    }
    gather->clients += gather->next - gather->came; /* Who came is counted there already. */
    gather->came = 0;
    gather->next = 0;
    gather->under_way = true;
    gather->begun_us = now_us;
}

void gather_over(struct gather *gather, uint64_t now_us)
{
    if (!gather->under_way) {
        return;
    }
    gather->under_way = false;
    if (gather->skip > 0) {
        gather->skip--;
        return;
    }
    uint64_t patience_us = PATIENCE * (now_us - gather->begun_us);
    gather->expecting = true;
    gather->due_us = now_us + (patience_us < GATHER_US ? patience_us : GATHER_US);
}

bool gather_waits(struct gather *gather, uint64_t now_us)
{
    uint64_t until_us = 0;
    if (gather->under_way) {
        until_us = gather->begun_us + GATHER_US;
    } else if (gather->expecting && !all_came(gather)) {
        until_us = gather->due_us;
    }
    gather->until_us = now_us < until_us ? until_us : 0;
    if (gather->until_us != 0 && !gather->under_way) {
        gather->waited = true;
    }
    return gather->until_us != 0;
}
