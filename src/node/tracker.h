/*
 * Who waits for which log entry: a ring by log index. A request enters when its entry is proposed
 * and leaves exactly once: answered when the entry is applied, when its time is up, or, with
 * "leadership was lost, outcome unknown", when this server stops being the leader.
 */
#ifndef NODE_TRACKER_H
#define NODE_TRACKER_H

#include "kvapp/node.h"

#include <stdint.h>

struct client;

/* The one who waits: a client's connection with its request id, an embedder's proposal, or another
 * server, with its tag for the request id (forward.c). */
struct waiter {
    struct client *client;           /* or */
    struct kvapp_proposal *proposal; /* or */
    uint64_t from;                   /* a member's id; 0: none */
    uint64_t request_id;
    uint64_t deadline_ms;
    size_t cost; /* bytes accounted to back-pressure while waiting */
};

struct tracker {
    struct waiter *ring; /* slot = index & (capacity - 1); empty: nobody */
    uint64_t capacity;   /* a power of two */
    uint64_t oldest;     /* no index below waits */
    uint64_t end;        /* one past the newest index that ever waited */
};

void tracker_init(struct tracker *tracker, uint64_t capacity);
void tracker_done(struct tracker *tracker);

/* `index` is above every index before; the tracker has room (tracker_room). */
void tracker_add(struct tracker *tracker, uint64_t index, const struct waiter *waiter);
uint64_t tracker_room(const struct tracker *tracker, uint64_t next_index);

/* Takes out who waits for `index`; false: nobody. */
bool tracker_take(struct tracker *tracker, uint64_t index, struct waiter *ret_waiter);

/* Takes out the oldest one who waits, if its deadline is at or before now_ms (UINT64_MAX: any). */
bool tracker_take_overdue(struct tracker *tracker, uint64_t now_ms, struct waiter *ret_waiter);

bool tracker_empty(const struct tracker *tracker);

#endif
