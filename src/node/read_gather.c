#include "node/read_gather.h"

enum {
    WINDOW_US = 1000,
    UNDER_WAY_US = 1000, /* the longest that the end of a round is waited for */
    OVER_US = 333,       /* and others after it */
    SHARE = 4,           /* one of so many is to be there */
};

static void window_move(struct read_gather *gather, uint64_t now_us)
{
    if (now_us >= gather->window_us + WINDOW_US) {
        bool recent = now_us < gather->window_us + (uint64_t)2 * WINDOW_US;
        gather->seen = recent ? gather->seen_now : 0;
        gather->seen_now = 0;
        gather->window_us = now_us;
        gather->window++;
    }
}

void read_gather_ask(struct read_gather *gather, uint64_t now_us, struct read_asked *client)
{
    window_move(gather, now_us);
    if (client->window < gather->window) {
        client->window = gather->window;
        gather->seen_now++;
    }
    if (client->round <= gather->round) {
        client->round = gather->round + 1;
        gather->here++;
    }
}

void read_gather_begin(struct read_gather *gather, uint64_t now_us)
{
    gather->under_way = true;
    gather->begun_us = now_us;
    gather->round++;
    gather->here = 0;
    gather->until_us = 0;
}

void read_gather_over(struct read_gather *gather, uint64_t now_us)
{
    if (gather->under_way) {
        gather->under_way = false;
        gather->over_us = now_us;
    }
}

bool read_gather_waits(struct read_gather *gather, uint64_t now_us)
{
    uint64_t until_us = 0;
    if (gather->under_way) {
        until_us = gather->begun_us + UNDER_WAY_US;
    } else if (gather->here * SHARE < gather->seen) {
        until_us = gather->over_us + OVER_US;
    }
    gather->until_us = now_us < until_us ? until_us : 0;
    return gather->until_us != 0;
}
