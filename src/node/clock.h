/*
 * The cluster's time, which entries are stamped with and keys with an expiry live by.
 *
 *     a leader      goes on with its own monotonic clock; the voters' wall clocks correct it
 *     a follower    takes the time of each entry that it is sent, and goes on from there
 *     a start       the newest entry's time, or the snapshot's; the time spent off is not known
 *
 * Only a majority of the voters corrects, of both sets while they are joint. When it says that it
 * is later, the time moves up to what a majority has reached; when it says that it is earlier, the
 * time goes on a little slower until a majority has reached it, and never back. So a wall clock
 * that jumps moves nothing while most of the others are right, whoever leads; and after an outage
 * of all servers the time goes on from the wall clocks.
 *
 * A vote brings the voter's wall clock with it: a leader knows what a majority says before it makes
 * its first entry, and a new cluster begins with the right time.
 *
 * `struct clock` knows no node: the moments are those of a monotonic clock, in microseconds.
 */
#ifndef NODE_CLOCK_H
#define NODE_CLOCK_H

#include "base/bytes.h"
#include "base/limits.h"
#include "kvapp/raft.h"

#include <stdbool.h>
#include <stdint.h>

struct kvapp_node;
struct link;

/* What a server said of its wall clock. */
struct clock_word {
    uint64_t id; /* 0: nobody has this place */
    uint64_t wall_us;
    uint64_t heard_us; /* when */
};

/* All zeros; then clock_take says where it starts. */
struct clock {
    uint64_t time_us;  /* the cluster's time, */
    uint64_t since_us; /* at this moment */
    bool slow;         /* from then on it goes slower than the monotonic clock */
    struct clock_word words[MEMBERS_MAX];
};

/* The time; the moment is not before that of any other call. */
uint64_t clock_time_us(const struct clock *clock, uint64_t now_us);

/*
 * Follower: an entry came that the leader made at this time. It was on the way for a while, and the
 * clock goes slower than the leader's until the next one, so that it lags and does not lead. A
 * start: the newest time that the disk holds, or 0.
 */
void clock_take(struct clock *clock, uint64_t now_us, uint64_t time_ms);

/* The time is not below this one. */
void clock_reach(struct clock *clock, uint64_t now_us, uint64_t time_ms);

/* Who does not lead goes slower from now on. */
void clock_follow(struct clock *clock, uint64_t now_us);

/* A server's wall clock shows this, the own one's too. */
void clock_hear(struct clock *clock, uint64_t now_us, uint64_t id, uint64_t wall_ms);

/* Leader: the voters correct the time; what they said longer than fresh_us ago does not count. */
void clock_correct(struct clock *clock, uint64_t now_us, uint64_t fresh_us,
                   const struct raft_membership *membership);

/* ---- of a node ---- */

/*
 * The cluster's time. Of a leader it never goes back, and what it stamps entries with is not below
 * what any entry before has; elsewhere it lags by what messages take, and is for looking at only.
 */
uint64_t clock_now_ms(struct kvapp_node *node);

/* The log and the state machine are recovered. */
void clock_start(struct kvapp_node *node);

/* Once a turn. */
void clock_step(struct kvapp_node *node);

/* Before a message to a member: tells it the wall clock, when the message is an answer for which
 * that is due. */
void clock_tell(struct link *link, const struct raft_message *message);

/* 0 or KV_ERR_MALFORMED. */
int clock_received(struct kvapp_node *node, uint64_t from, struct slice payload);

#endif
