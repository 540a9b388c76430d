#include "client/leader.h"

void leader_init(struct leader *leader, size_t member_count, uint32_t retries, uint32_t backoff_ms)
{
    CHECK(member_count >= 1);
    CHECK(member_count <= MEMBERS_MAX);
    CHECK(retries >= 1);
    CHECK(backoff_ms >= 1);
    *leader = (struct leader){
        .member_count = member_count,
        .retries = retries,
        .backoff_ms = backoff_ms,
    };
}

void leader_learned(struct leader *leader, size_t member_count)
{
    CHECK(member_count > leader->member_count);
    CHECK(member_count < 32); /* bits of `refused` */
    leader->member_count = member_count;
}

void leader_heard(struct leader *leader)
{
    leader->refused = 0;
    leader->rounds = 0;
}

void leader_answered(struct leader *leader, uint64_t id)
{
    leader_heard(leader);
    leader->id = id;
    leader->turn = leader->target;
    leader->moves = 0;
    leader->quick = 0;
}

/* The first pause of an outage is backoff_ms; each full round of moves doubles it. */
static uint32_t pause_ms(const struct leader *leader)
{
    size_t doublings = leader->moves / (leader->member_count + 1);
    uint64_t pause = (uint64_t)leader->backoff_ms << (doublings < 10 ? doublings : 10);
    return pause < BACKOFF_MAX_MS ? (uint32_t)pause : BACKOFF_MAX_MS;
}

static struct leader_verdict pause(struct leader *leader)
{
    leader->quick = 0;
    return (struct leader_verdict){.pause_ms = pause_ms(leader)};
}

/* Goes to `target`; at once, unless as many moves as there are members led nowhere. */
static struct leader_verdict move(struct leader *leader, size_t target, uint64_t id)
{
    leader->target = target;
    leader->id = id;
    if (leader->moves < UINT32_MAX) {
        leader->moves++;
    }
    leader->quick++;
    return leader->quick > leader->member_count ? pause(leader) : (struct leader_verdict){0};
}

static struct leader_verdict move_on(struct leader *leader)
{
    leader->turn = leader->turn + 1 < leader->member_count ? leader->turn + 1 : 0;
    return move(leader, leader->turn, 0);
}

struct leader_verdict leader_redirected(struct leader *leader, size_t target, uint64_t id)
{
    leader_heard(leader);
    return move(leader, target, id);
}

struct leader_verdict leader_missing(struct leader *leader)
{
    leader_heard(leader);
    (void)move_on(leader);
    return pause(leader);
}

struct leader_verdict leader_busy(struct leader *leader)
{
    leader_heard(leader);
    return pause(leader);
}

struct leader_verdict leader_failed(struct leader *leader, bool refused)
{
    if (refused) {
        leader->refused |= 1U << leader->target;
    }
    struct leader_verdict verdict = move_on(leader);
    if (leader->refused == (1U << leader->member_count) - 1) {
        leader->refused = 0;
        leader->rounds++;
        verdict = pause(leader);
    }
    if (leader->rounds >= leader->retries) {
        leader->rounds = 0;
        leader->moves = 0;
        verdict = (struct leader_verdict){.give_up = true};
    }
    return verdict;
}
