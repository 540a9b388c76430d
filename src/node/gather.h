/*
 * When does the next round begin? A round of requests - writes that are logged, reads that are
 * confirmed - costs every server as much for few of them as for many: messages, turns, a write to
 * the disk. So what comes while one is under way gathers for the next.
 *
 * When a round is over, the clients that it answered often ask again at once. If the next one
 * begins without them, they wait for its end: half of the clients take turns with the other half.
 * So it waits for them, for three times as long as their round took at the most. Where they do not
 * all come in that time, waiting was in vain, and the rounds that follow do not wait: one at first,
 * then twice as many after each time in vain.
 *
 *     begin ──► under way ──over──► expecting ──they came, or it was too long──► begin
 *               both GATHER_US at most
 *
 * Times are microseconds of one clock.
 */
#ifndef NODE_GATHER_H
#define NODE_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GATHER_US = 1000 }; /* longer nobody waits for others; a round in one place takes a third */

/* Zeroed: no round yet. */
struct gather {
    bool under_way;
    uint64_t begun_us; /* the last round */
    size_t count;      /* requests of clients in it, and in those still under way when it began */

    bool expecting;  /* as many from the same clients */
    size_t came;     /* of them */
    uint64_t due_us; /* not after this */
    bool waited;     /* others did */
    unsigned vain;   /* times in a row that it was in vain */
    unsigned skip;   /* rounds to come that do not wait */
};

/* A round with `count` requests of clients begins; one may still be under way. */
void gather_begin(struct gather *gather, uint64_t now_us, size_t count);

/* No round is under way any more. Says it once. */
void gather_over(struct gather *gather, uint64_t now_us);

/* A request came from a client that has one in the last round. */
void gather_came(struct gather *gather);

/* Until when those who are there wait for others; 0: they go now. */
uint64_t gather_until_us(struct gather *gather, uint64_t now_us);

#endif
