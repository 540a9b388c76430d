/*
 * Where to send: the member that is believed to lead, and what to do when it does not answer or
 * says that it does not lead. Decisions only; no sockets and no clock.
 *
 *   - An answer settles everything: whatever went wrong before is forgotten.
 *   - A member that fails, or knows of no leader, is followed by the next in turn; a redirect by
 *     the member that it names, which changes nobody's turn: two of which one names the other, and
 *     that is gone, would else be asked for ever. Moves are made at once until every member was
 * tried; then comes a pause, which doubles with each further round, up to BACKOFF_MAX_MS.
 *   - When each member in turn refused, without an answer of anybody in between, a round is
 *     complete; `retries` complete rounds mean that nobody is there.
 */
#ifndef CLIENT_LEADER_H
#define CLIENT_LEADER_H

#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BACKOFF_MAX_MS = 1000 };

struct leader {
    size_t member_count; /* those of the list, and learned ones behind them */
    uint32_t retries;
    uint32_t backoff_ms;
    size_t target;    /* index of a member */
    size_t turn;      /* of the member that was last asked because of its place */
    uint64_t id;      /* of the believed leader; 0: the target is a guess */
    uint32_t moves;   /* since the last answer */
    uint32_t quick;   /* of these, since the last pause */
    uint32_t refused; /* members, as bits, that refused since the last answer or round */
    uint32_t rounds;  /* in which every member refused, since the last answer */
};

struct leader_verdict {
    bool give_up;      /* nobody is there: what waits fails */
    uint32_t pause_ms; /* before the next attempt; 0: at once */
};

void leader_init(struct leader *leader, size_t member_count, uint32_t retries, uint32_t backoff_ms);

/* There are so many servers now: more than before. */
void leader_learned(struct leader *leader, size_t member_count);

/* The target, a server of id `id`, answered as only a leader does. */
void leader_answered(struct leader *leader, uint64_t id);

/* Somebody is there, whatever it said. */
void leader_heard(struct leader *leader);

/* The target said that `id` leads, which is at index `target`. */
struct leader_verdict leader_redirected(struct leader *leader, size_t target, uint64_t id);

/* The target said that nobody leads, or that it cannot. */
struct leader_verdict leader_missing(struct leader *leader);

/* The target is there and leads, but has too much to do. */
struct leader_verdict leader_busy(struct leader *leader);

/* The target's connection broke or was given up; `refused` when by the other side and without a
 * single answer on it. */
struct leader_verdict leader_failed(struct leader *leader, bool refused);

#endif
