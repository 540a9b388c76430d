#include "node/gather.h"

enum {
    PATIENCE = 3, /* times the last round */
    VAIN_MAX = 7, /* 64 rounds do not wait then */
};

static bool all_came(const struct gather *gather)
{
    return gather->came >= gather->count;
}

void gather_begin(struct gather *gather, uint64_t now_us, size_t count)
{
    if (gather->waited && all_came(gather)) {
        gather->vain = 0;
    } else if (gather->waited && now_us >= gather->due_us) {
        gather->skip = 1U << gather->vain;
        gather->vain += gather->vain + 1 < VAIN_MAX ? 1 : 0;
    }
    gather->waited = false;
    gather->expecting = false;
    gather->count = gather->under_way ? gather->count + count : count;
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
    gather->came = 0;
    gather->due_us = now_us + (patience_us < GATHER_US ? patience_us : GATHER_US);
}

void gather_came(struct gather *gather)
{
    gather->came++;
}

uint64_t gather_until_us(struct gather *gather, uint64_t now_us)
{
    uint64_t until_us = 0;
    if (gather->under_way) {
        until_us = gather->begun_us + GATHER_US;
    } else if (gather->expecting && !all_came(gather)) {
        until_us = gather->due_us;
    }
    if (now_us >= until_us) {
        return 0;
    }
    gather->waited = gather->waited || !gather->under_way;
    return until_us;
}
