/*
 * When does a leader's next round of reads begin? When the last one is over: it writes nothing and
 * is short. But of many clients, each of whom comes a little later than the one before, every few
 * would have a round of their own, and the servers would do nothing else. So a quarter of the
 * clients that were seen in the last millisecond is to be there, or a third of a millisecond to
 * have passed. Four clients never wait for each other; fifty share a round with a dozen others.
 *
 * Times are microseconds of one clock.
 */
#ifndef NODE_READ_GATHER_H
#define NODE_READ_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: no round yet. */
struct read_gather {
    bool under_way;
    uint64_t begun_us; /* the last round, */
    uint64_t over_us;
    uint64_t round; /* and its number, from 1 */
    size_t here;    /* clients that are there for the next one */

    uint64_t window; /* a millisecond's number, from 1, */
    uint64_t window_us;
    size_t seen_now; /* the clients seen in it so far, */
    size_t seen;     /* and in the one before */

    uint64_t until_us; /* who is there waits until then, as read_gather_waits found; 0: nobody */
};

/* When a client asked last; zeroed: never. */
struct read_asked {
    uint64_t round;
    uint64_t window;
};

void read_gather_ask(struct read_gather *gather, uint64_t now_us, struct read_asked *client);

/* A round begins with all who are there. */
void read_gather_begin(struct read_gather *gather, uint64_t now_us);

/* No round is under way any more. Says it once. */
void read_gather_over(struct read_gather *gather, uint64_t now_us);

/* Whether those who are there wait for others; sets until_us. */
bool read_gather_waits(struct read_gather *gather, uint64_t now_us);

#endif
