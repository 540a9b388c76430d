/*
 * What a majority says:
 *
 *     voters' times, falling     5 min ahead │ right │ right │ right │ never heard
 *     a majority has reached     ────────────────────── ▲ the third of five
 *     a majority has not passed  ── ▲ the third from the right, of which nothing is known
 *
 * The first is what the time moves up to, the second is what it waits for. Who was not heard counts
 * for neither, so with less than a majority nothing is corrected. While fewer than a majority of
 * the clocks are wrong, one that is right has reached the first: the time is not ahead of it.
 */
#include "node/clock.h"

#include "base/assert.h"
#include "base/mutation.h"
#include "node/node.h"

enum {
    /* 1 part of so many: more than a machine's clock goes wrong, less than anybody notices in the
     * life of a key. */
    SLOWER_PARTS = 1000,
    FRESH_ELECTIONS = 2, /* longer than a campaign, and than a leader is one without an answer */
};

/* Far beyond every clock, and such that sums of times do not overflow. */
static const uint64_t TIME_MS_MAX = UINT64_C(1) << 50;

static uint64_t to_us(uint64_t time_ms)
{
    return 1000 * (time_ms < TIME_MS_MAX ? time_ms : TIME_MS_MAX);
}

uint64_t clock_time_us(const struct clock *clock, uint64_t now_us)
{
    CHECK(now_us >= clock->since_us);
    uint64_t passed_us = now_us - clock->since_us;
    uint64_t lost_us = clock->slow ? (passed_us + SLOWER_PARTS - 1) / SLOWER_PARTS : 0;
    return clock->time_us + passed_us - lost_us;
}

static void go_on(struct clock *clock, uint64_t now_us, uint64_t time_us, bool slow)
{
    clock->time_us = time_us;
    clock->since_us = now_us;
    clock->slow = slow;
}

void clock_take(struct clock *clock, uint64_t now_us, uint64_t time_ms)
{
    go_on(clock, now_us, to_us(time_ms), true);
}

void clock_reach(struct clock *clock, uint64_t now_us, uint64_t time_ms)
{
    if (to_us(time_ms) > clock_time_us(clock, now_us)) {
        go_on(clock, now_us, to_us(time_ms), clock->slow);
    }
}

void clock_follow(struct clock *clock, uint64_t now_us)
{
    if (!clock->slow) {
        go_on(clock, now_us, clock_time_us(clock, now_us), true);
    }
}

/* ---- what the servers say ---- */

/* NULL: it said nothing, or that was forgotten. */
static const struct clock_word *word_of(const struct clock *clock, uint64_t id)
{
    for (size_t i = 0; i < MEMBERS_MAX; i++) {
        if (clock->words[i].id == id) {
            return &clock->words[i];
        }
    }
    return NULL;
}

void clock_hear(struct clock *clock, uint64_t now_us, uint64_t id, uint64_t wall_ms)
{
    struct clock_word *place = &clock->words[0];
    for (size_t i = 0; i < MEMBERS_MAX && place->id != id; i++) {
        struct clock_word *word = &clock->words[i];
        /* Else that of one that has been silent for the longest time: it is no member any more. */
        if (word->id == id || word->heard_us < place->heard_us) {
            place = word;
        }
    }
    *place = (struct clock_word){.id = id, .wall_us = to_us(wall_ms), .heard_us = now_us};
}

/* What the voters of one set say. */
struct verdict {
    size_t voters;
    size_t heard;
    uint64_t times_us[MEMBERS_MAX]; /* of those that were heard; falling */
};

static void count(struct verdict *verdict, const struct clock_word *word, uint64_t now_us,
                  uint64_t fresh_us)
{
    verdict->voters++;
    if (word == NULL || now_us - word->heard_us > fresh_us) {
        return;
    }
    uint64_t time_us = word->wall_us + (now_us - word->heard_us);
    size_t at = verdict->heard++;
    while (at > 0 && verdict->times_us[at - 1] < time_us) {
        verdict->times_us[at] = verdict->times_us[at - 1];
        at--;
    }
    verdict->times_us[at] = time_us;
}

static uint64_t reached_us(const struct verdict *verdict)
{
    size_t majority = verdict->voters / 2 + 1;
    return verdict->heard < majority ? 0 : verdict->times_us[majority - 1];
}

static uint64_t not_passed_us(const struct verdict *verdict)
{
    size_t majority = verdict->voters / 2 + 1;
    return verdict->heard < majority ? UINT64_MAX : verdict->times_us[verdict->heard - majority];
}

void clock_correct(struct clock *clock, uint64_t now_us, uint64_t fresh_us,
                   const struct raft_membership *membership)
{
    struct verdict verdict = {0};
    struct verdict verdict_old = {0};
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        const struct clock_word *word = word_of(clock, member->id);
        if (member->voter) {
            count(&verdict, word, now_us, fresh_us);
        }
        if (member->voter_old) {
            count(&verdict_old, word, now_us, fresh_us);
        }
    }
    CHECK(verdict.voters > 0);
    uint64_t up_us = reached_us(&verdict);
    uint64_t wait_us = not_passed_us(&verdict);
    if (verdict_old.voters > 0) {
        uint64_t up_old_us = reached_us(&verdict_old);
        uint64_t wait_old_us = not_passed_us(&verdict_old);
        up_us = up_old_us < up_us ? up_old_us : up_us;
        wait_us = wait_old_us > wait_us ? wait_old_us : wait_us;
    }
    CHECK(up_us <= wait_us);
    const uint64_t time_us = clock_time_us(clock, now_us);
    bool slow = time_us > wait_us;
    if (up_us > time_us || slow != clock->slow) {
        go_on(clock, now_us, up_us > time_us ? up_us : time_us, slow);
    }
}

/* ---- of a node ---- */

static uint64_t fresh_us(const struct kvapp_node *node)
{
    return FRESH_ELECTIONS * 1000 * (uint64_t)node->config.timing.election_max_ms;
}

/* The core is asked, and not node->role: a leader makes its first entry before that is set. */
uint64_t clock_now_ms(struct kvapp_node *node)
{
    struct clock *clock = &node->clock;
    const uint64_t now_us = io_now_us(node->io);
    if (MUTATION(raw_clock)) {
        return io_wall_ms(node->io);
    }
    if (kvapp_node_role(node) == RAFT_LEADER) {
        clock_hear(clock, now_us, node->config.id, io_wall_ms(node->io));
        clock_reach(clock, now_us, kv_time_ms(node->kv));
        clock_correct(clock, now_us, fresh_us(node), &raft_membership(node->raft)->membership);
    }
    return clock_time_us(clock, now_us) / 1000;
}

void clock_start(struct kvapp_node *node)
{
    const uint64_t now_us = io_now_us(node->io);
    struct slice newest;
    clock_take(&node->clock, now_us, kv_time_ms(node->kv));
    if (storage_get(node->storage, storage_last_index(node->storage), &newest) == 0) {
        clock_reach(&node->clock, now_us, get_u64(newest.data + ENTRY_TIME_OFFSET));
    }
}

void clock_step(struct kvapp_node *node)
{
    if (kvapp_node_role(node) == RAFT_LEADER) {
        (void)clock_now_ms(node); /* It is corrected, whether anything is written or not. */
    } else {
        clock_follow(&node->clock, io_now_us(node->io));
    }
}

void clock_tell(struct link *link, const struct raft_message *message)
{
    const struct kvapp_node *node = link->node;
    const uint64_t now_us = io_now_us(node->io);
    const uint64_t pause_us = 1000 * (uint64_t)node->config.timing.heartbeat_ms;
    bool elects = message->type == RAFT_VOTE_RESPONSE && message->vote_response.granted &&
                  !message->vote_response.pre;
    bool is_due = message->type == RAFT_APPEND_RESPONSE && now_us >= link->clock_told_us + pause_us;
    if (elects || is_due) {
        link->clock_told_us = now_us;
        peer_clock_encode(io_wall_ms(node->io), outbox_begin(&link->outbox));
        outbox_end(&link->outbox);
    }
}

int clock_received(struct kvapp_node *node, uint64_t from, struct slice payload)
{
    uint64_t wall_ms = 0;
    int err = peer_clock_decode(payload, &wall_ms);
    if (err == 0) {
        clock_hear(&node->clock, io_now_us(node->io), from, wall_ms);
    }
    return err;
}
