/*
 * Makes segments ready before they are needed, in the background, and disposes of trimmed ones.
 *
 *     idle ──maker_start──► open spare.tmp ─► fill with zeros ─┐
 *       └─or, with a freed one─► rename to spare.tmp ─► sync directory ─► open ─► size ─┤
 *                     ┌─────────────────────────────────────────────────────────────────┘
 *                     └─► write header ─► rename to log-N ─► sync directory ─► segment ready ─►
 * idle idle ──more than one freed──► unlink ──► idle any of these ──no space──► unlink spare.tmp ─►
 * pause ──due, or a segment was freed──► idle
 *
 * A segment has its full size and its header on the disk before it gets its name, so a file named
 * as a segment without a right header is a damaged one. At most one prepared segment is kept.
 *
 * A disk without space is no failure: what was made of the segment goes, so that a snapshot may
 * find room, and all of it is tried again. The pause is long against the trial.
 */
#ifndef STORAGE_MAKER_H
#define STORAGE_MAKER_H

#include "io/io.h"
#include "storage/layout.h"
#include "storage/segment.h"

#include <stdbool.h>

/* One write of the filling: long enough to be quick, short enough not to delay the log by much. */
enum {
    MAKER_ZEROS_SIZE = 16 * 1024,
    MAKER_PARTS_MAX = 64,
    /* Without space: at least so long, and so many times as long as the trial took. */
    MAKER_PAUSE_US = 250 * 1000,
    MAKER_PAUSE_US_MAX = 5 * 1000 * 1000,
    MAKER_PAUSE_FACTOR = 20,
};

struct storage;

struct maker {
    struct storage *storage;
    bool busy;
    bool stopped; /* closing: nothing new is begun */
    bool full;    /* the last trial found no space */
    uint64_t began_us;
    struct io_timer pause;
    void (*step)(struct maker *maker, int64_t result);
    struct io_file_op op;
    struct io_file *file;
    struct segment segment;
    uint64_t filled;
    char *from;
    char *to;
    struct iovec parts[MAKER_PARTS_MAX];
    uint8_t header[SECTOR_SIZE];
    uint64_t freed_first; /* the files of the segments freed_first <= number < freed_end */
    uint64_t freed_end;   /* may be reused or unlinked */
};

void maker_init(struct maker *maker, struct storage *storage);
void maker_done(struct maker *maker);

/* Does what there is to do: makes the next segment when there is none, disposes of freed ones. */
void maker_start(struct maker *maker);

/* Ends the pause. */
void maker_hurry(struct maker *maker);

/* The segments below `number` are not needed any more. */
void maker_free_segments(struct maker *maker, uint64_t first, uint64_t number);

#endif
