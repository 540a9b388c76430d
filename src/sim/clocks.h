/*
 * Clocks that go wrong, and the time in the entries that must be right all the same.
 *
 * What is right is known: the wall clock of a server that nothing was done to. Rates are another
 * matter. Both clocks of a machine go at its rate, and nothing sets a wall clock right again, so
 * all that a time may be off is what the fastest and the slowest clock of each moment have gone
 * ahead and fallen behind since the run began. Without a fault of the kind `clock` that is nothing.
 *
 *   - the time never falls from an entry to the next one of the same log
 *   - from entry to entry of one leader it goes on with the slowest clock at least
 *   - no entry is stamped with a time that is ahead of right by more
 *   - a committed entry is not behind by more, and by the times in which nobody led; of these by no
 *     more than a campaign in which the candidate stands still, while no wall clock has jumped.
 *     When one of a minority has, a leader that hears just a majority cannot know the time that
 *     passed.
 *   - at the end, when the leader hears all, it is behind by no more than a moment
 *   - a key is not gone before its time has passed since it was written, but for these bounds
 *   - and no read finds it that is asked when its leader's time must have reached that, going on
 *     from the leader's own entries with the slowest clock; but that a server which does not lead
 *     may find what was written since it was asked
 *
 * All that however the wall clocks of a minority jump. When those of a majority of some membership
 * have, nothing that is about being ahead is promised any more. Half of the runs let no more than a
 * minority jump.
 */
#ifndef SIM_CLOCKS_H
#define SIM_CLOCKS_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct clocks;
struct model_expired;
struct record;
struct server;
struct simulation;
struct version;

/* The time of an entry, and what there was to know when it was first seen: by the leader that had
 * just made it. */
struct stamp {
    uint64_t time_ms;
    uint64_t right_us;  /* what a right wall clock showed */
    uint64_t ahead_us;  /* no clock can have gone ahead by more */
    uint64_t behind_us; /* nor fallen behind */
    /* What passed between two entries of different leaders, up to here in this log. A leader need
     * not know of it what no majority tells. */
    uint64_t lost_us;
};

struct clocks *clocks_new(struct simulation *simulation);
void clocks_free(struct clocks *clocks);

/* Both clocks of the server's machine go faster by `ppm`. */
void clocks_rate(struct clocks *clocks, const struct server *server, int32_t ppm);
/* Its wall clock jumps, if it may. */
void clocks_jump(struct clocks *clocks, const struct server *server, int64_t ms);
/* A server has made an entry behind another one, NULL: behind none, with this time. */
void clocks_wrote(struct clocks *clocks, struct record *record, const struct record *previous,
                  uint64_t time_ms, const char *who);
/* An entry is committed. */
void clocks_committed(struct clocks *clocks, const struct record *record);
/* What is right at this moment. */
struct stamp clocks_now(struct clocks *clocks);
/* The entry has ended a key by its time, which another entry wrote. */
void clocks_expired(const struct clocks *clocks, const struct record *record,
                    const struct record *written, const struct model_expired *expired);
/* A read that was asked at `asked`, and may have been served anywhere, has found a key. */
void clocks_found(const struct clocks *clocks, const struct stamp *asked, struct slice key,
                  const struct version *version, bool anywhere);
/* The earliest time of the world at which a key can go that was written at `us` or later to live
 * for `ms`. */
uint64_t clocks_earliest(const struct clocks *clocks, uint64_t us, uint64_t ms);
/* All is healed, and the leader hears all members that are not broken. */
void clocks_settled(struct clocks *clocks, const struct server *leader);

#endif
