/*
 * When does the next round of writes begin? A round costs every server as much for few of them as
 * for many: messages, turns, a write to the disk. So what comes while one is under way gathers for
 * the next.
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
    uint64_t round;    /* its number, from 1 */
    uint64_t first;    /* and of the oldest that was still under way when it began */
    size_t clients;    /* that are in those */
    size_t next;       /* clients that are there for the next round */

    size_t came;     /* of those clients, they are there again */
    bool expecting;  /* the others too */
    uint64_t due_us; /* not after this */
    bool waited;     /* others did */
    unsigned vain;   /* times in a row that it was in vain */
    unsigned skip;   /* rounds to come that do not wait */

    uint64_t until_us; /* who is there waits until then, as gather_waits found; 0: nobody does */
};

/* A client asks. `round`, which is its own and zero at first, is in which it asked last. */
void gather_ask(struct gather *gather, uint64_t *round);

/* A round begins with all who are there; one may still be under way. */
void gather_begin(struct gather *gather, uint64_t now_us);

/* No round is under way any more. Says it once. */
void gather_over(struct gather *gather, uint64_t now_us);

/* Whether those who are there wait for others; sets until_us. */
bool gather_waits(struct gather *gather, uint64_t now_us);

#endif
