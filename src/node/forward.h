/* Commands of Redis's clients on their way to the leader: forward.c. */
#ifndef NODE_FORWARD_H
#define NODE_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client;

/* One that was sent and not answered. */
struct forwarded {
    uint64_t tag; /* 0: the place is free */
    struct client *client;
    uint64_t to; /* the member that led */
    uint64_t deadline_ms;
    size_t cost;
};

/* A tag is the number of its place, in the lowest bits, and a count above it. */
struct forwards {
    struct forwarded *places;
    size_t capacity;
    uint32_t *spare; /* numbers of places that are free */
    size_t spare_count;
    uint64_t next_count; /* drawn at the start, so that no answer to an earlier life fits */
    uint64_t look_ms;    /* when deadlines are looked at again */
};

#endif
