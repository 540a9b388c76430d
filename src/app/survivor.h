/* What a data directory that outlived its cluster holds, for kvapp recover. Reads only. */
#ifndef APP_SURVIVOR_H
#define APP_SURVIVOR_H

#include "app/inspect.h"
#include "kvapp/raft.h"

struct survivor {
    const char *path;    /* borrowed */
    char unusable[1024]; /* why it cannot be gone on with; empty: it can */
    struct identity identity;
    uint64_t term;       /* of the server */
    bool outdated;       /* it is an older copy of what it was */
    uint64_t snapshot;   /* the last entry of the newest snapshot; 0: there is none */
    uint64_t last_index; /* of log and snapshot; 0: nothing is there */
    uint64_t last_term;
    bool has_membership;
    struct raft_membership membership; /* the newest, committed or not */
    uint64_t membership_index;         /* of its entry, or of the snapshot; 0: the founders */
};

void survivor_look(struct survivor *survivor, const char *path);

void survivor_print(const struct survivor *survivor);

/* The one with the most recent log, as an election would judge it (paper 5.4.1), among those that
 * can be gone on with; NULL: there is none. */
const struct survivor *survivor_best(const struct survivor *survivors, size_t count);

#endif
