/*
 * A snapshot file in the making, under its temporary name.
 *
 *     create ─► append ─► append ─► ... ─► finish: sync ─► rename ─► sync the directory ─► unlink
 * the resume ─┘                                                          one that is not kept ─►
 * done at any time: discard, which removes it
 *
 * One call at a time; `done` comes for each, from io_run. What was appended is synced on the way
 * too, so that neither a full disk shows only at the end, nor a long sync then delays the log's.
 * When the storage begins to close, or failed, a call that writes ends with -ECANCELED.
 */
#ifndef STORAGE_DRAFT_H
#define STORAGE_DRAFT_H

#include "io/io.h"
#include "storage/snapshots.h"

#include <stdbool.h>

struct draft {
    struct storage *storage;
    const char *name; /* SNAPSHOT_TAKING_NAME or SNAPSHOT_RECEIVING_NAME */
    /* result 0, or what the system said of `what`. */
    void (*done)(struct draft *draft, int64_t result);
    const char *what;
    void (*step)(struct draft *draft, int64_t result);
    struct io_file_op op;
    struct io_timer timer; /* answers when nothing may be written any more */
    struct iovec part;
    struct io_file *file;
    uint64_t size; /* so far */
    uint64_t unsynced;
    uint64_t appending; /* bytes of the write in flight */
    char *from;
    char *to;
    /* Of finish. */
    bool renews; /* may take the place of the newest one, of the same index */
    const struct snapshot_header *header;
    struct slice membership;
    uint64_t gone;
};

void draft_init(struct draft *draft, struct storage *storage, const char *name,
                void (*done)(struct draft *draft, int64_t result));
/* Closes the file, which stays; nothing may be in flight. */
void draft_done(struct draft *draft);

/* Removes what stands under the name and begins with an empty file. */
void draft_create(struct draft *draft);
/* Opens what stands under the name, to go on at `size`. */
void draft_resume(struct draft *draft, uint64_t size);
/* The bytes stay in place until `done`. */
void draft_append(struct draft *draft, struct slice bytes);
void draft_sync(struct draft *draft);
/* Gives it its final name and makes it the newest; header and membership stay until `done`, whose
 * result is -EEXIST when one as new is there already. */
void draft_finish(struct draft *draft, const struct snapshot_header *header,
                  struct slice membership);
/* Result 0 also when the file could not be removed: the next start or draft does. */
void draft_discard(struct draft *draft);

#endif
