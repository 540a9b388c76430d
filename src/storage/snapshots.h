/*
 * The whole snapshots of a data directory, and the works on them that are under way. Internal to
 * src/storage; snapshot.h is the interface.
 */
#ifndef STORAGE_SNAPSHOTS_H
#define STORAGE_SNAPSHOTS_H

#include "base/list.h"
#include "io/io.h"
#include "storage/snapshot_format.h"

struct storage;

/* What every work begins with: taking, receiving, sending, reading back. */
struct snapshot_work {
    struct list node;
    struct storage *storage;
    bool busy; /* an operation or an answer is on its way */
    void (*free)(struct snapshot_work *work);
};

struct snapshots {
    struct snapshot_header newest; /* index 0: there is none */
    uint64_t newest_size;          /* of its file */
    struct buf membership;         /* of the newest */
    uint64_t older;                /* index of the one kept besides; 0: none */
    struct list works;
    struct draft *renaming; /* one that becomes the newest */
    struct draft *waiting;  /* another, that comes next */
    struct snapshot_taking *taking;
    struct receiving *receiving; /* begins to work once none leaves any more */
    bool receiving_leaves;       /* one was broken off with an operation in flight */
};

void snapshots_init(struct snapshots *snapshots);
/* Frees the works too, none of which is busy. */
void snapshots_done(struct snapshots *snapshots);
bool snapshots_busy(const struct snapshots *snapshots);

/* A new one is durable under its name. Returns the index of the one that is not needed any more,
 * 0: none. */
uint64_t snapshots_add(struct snapshots *snapshots, const struct snapshot_header *header,
                       uint64_t size, struct slice membership);

void snapshot_work_begin(struct snapshot_work *work, struct storage *storage,
                         void (*free_work)(struct snapshot_work *work));
/* Takes the work out and frees it. */
void snapshot_work_end(struct snapshot_work *work);

/* Whether a work may go on writing: the storage is neither closing nor failed. */
bool snapshot_may_write(const struct storage *storage);

/* "DIR/name", then what the format says. */
__attribute__((format(printf, 5, 6))) void snapshot_sentence(char *text, size_t size,
                                                             const struct storage *storage,
                                                             const char *name, const char *format,
                                                             ...);

#endif
