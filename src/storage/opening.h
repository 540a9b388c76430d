/*
 * Opening a data directory. Everything is read and judged before anything is written, so that a
 * start that is refused leaves the directory as it was.
 *
 *     opening.c   make directories ─► LOCK ─► list ─► IDENTITY ─► VOTE ─┐
 *     choose.c    ┌─ verify the newest snapshot, or the one before ◄───────┘
 *     recover.c   └─► read the log, batch by batch; tell torn from damaged ─┐
 *     choose.c    ┌─ do snapshot and log fit together? ◄────────────────────┘
 *     settle.c    └─► remove leftovers ─► sync the names ─► zero what was torn ─► seal
 *     aside.c     or, when anything of it is damaged: survey.c, set the files aside, open anew
 *     settle.c    or, for a new directory: make IDENTITY ─► make VOTE ─► seal in segment 1
 *
 * One operation is in flight at a time; each step names the next.
 *
 * What is read may come from the system's memory: a process that was killed leaves writes there
 * that never reached the disk, and one that could not sync leaves some that never will, though the
 * system takes them for synced. So VOTE and the end of the log are synced before they are read, and
 * read from the disk.
 */
#ifndef STORAGE_OPENING_H
#define STORAGE_OPENING_H

#include "io/io.h"
#include "storage/batch.h"
#include "storage/segment.h"
#include "storage/snapshot_walk.h"
#include "storage/vote.h"

#include <stdbool.h>

/* What to do about damage that the peers cannot repair. An empty directory or an older one would be
 * worse than none: the server would vote as if it had never acknowledged what it then does not
 * know. */
#define REPAIR                                                                                     \
    "leave this server stopped, the others go on without it; do not start it with an empty or an " \
    "older directory, since it would vote without knowing what it has acknowledged"

struct storage;

struct opening {
    struct storage *storage;
    bool busy;
    bool opens;    /* the operation in flight opens a file */
    bool repaired; /* what was damaged has just been set aside */
    void (*step)(struct opening *opening, int64_t result);
    struct io_file_op op;
    struct iovec part;
    char *path; /* of the operation in flight */
    char *path_to;
    struct io_file *file; /* the one being read or made */
    struct buf names;     /* the directory's */
    struct buf bytes;     /* what is read; in recovery a window of the segment */
    size_t path_at;       /* how much of the directory's path was made sure of */

    bool has_identity;
    bool has_vote;
    uint64_t segment_lowest; /* of the files; 0: there are none */
    uint64_t segment_highest;
    uint64_t segment_count;
    struct vote vote;

    /* recover.c */
    struct segment segment; /* the one being read */
    uint64_t number;        /* its number */
    uint64_t file_size;
    uint64_t window_offset; /* of `bytes` in the file */
    uint64_t window_wanted; /* bytes in the window once the read is done */
    uint64_t position;
    uint64_t expected; /* the next batch's sequence; 0: not known, the log was trimmed */
    bool reset_seen;   /* a batch that begins the log anew was seen */
    bool based;        /* a batch was seen: the log's first index is known */
    bool scanning;     /* looking for batches behind the place where the log seems to end */
    bool looking;      /* whether the log goes on at the segment's beginning */
    uint64_t nonzero_end;
    struct io_file *tail_file; /* where the log seems to end */
    struct segment tail;
    uint64_t tail_offset;
    uint64_t tail_torn_end; /* bytes from tail_offset to here are remains of a torn batch */
    bool tail_has_header;   /* of the expected batch, whose entries are not all there */
    uint64_t spare_torn;    /* bytes of remains in segments behind the tail */

    /* choose.c */
    struct snapshot_walk walk;
    uint64_t *snapshots; /* indexes by the files' names, rising */
    size_t snapshot_count;
    size_t snapshot_chosen; /* how many are left with the chosen one; behind it only damaged ones */
    uint64_t damaged_term;  /* of the newest, when that is damaged; 0: not known */
    char damage[SENTENCE_SIZE];
    bool discard; /* the log does not lead to the chosen snapshot */

    /* settle.c, survey.c, aside.c */
    size_t name_at;

    /* survey.c */
    uint64_t survey_sequence; /* of the newest batch that was found */
    uint64_t survey_last;     /* the highest index of any */
    bool survey_remains;      /* something stands behind the newest */
    bool survey_partial;      /* not all of the log could be looked at */

    char *aside_name; /* of the directory that the files are moved to */
};

void opening_start(struct storage *storage);
void opening_free(struct storage *storage);
bool opening_busy(const struct opening *opening);

/* Prepares the op for its next use, whose completion calls `step`. */
struct io_file_op *opening_begin(struct opening *opening,
                                 void (*step)(struct opening *opening, int64_t result));

/* Opens a file of the directory; its completion calls `step`. */
void opening_open(struct opening *opening, void (*step)(struct opening *opening, int64_t result),
                  const char *name, unsigned flags);

/* Ends the opening with an error and its sentence. */
__attribute__((format(printf, 3, 4))) void opening_fail(struct opening *opening, int err,
                                                        const char *format, ...);

/*
 * Log or snapshots are damaged, as the sentence says. Where there are peers to repair them they are
 * set aside (aside.c); else the opening ends with KV_ERR_DAMAGED and advice.
 */
__attribute__((format(printf, 2, 3))) void opening_lose(struct opening *opening, const char *format,
                                                        ...);

/* Ends it because the system failed to do what is named. */
void opening_fail_io(struct opening *opening, int64_t result, const char *what, const char *name);
/* The same, of a segment. */
void opening_fail_segment(struct opening *opening, int64_t result, const char *what,
                          uint64_t number);

/* Opens once more, from the listing on: the files are others now. */
void opening_again(struct opening *opening);

/* Ends it because the file of this name knows of a later record of VOTE than there is. */
void opening_fail_vote(struct opening *opening, uint64_t record, const char *name);

/* The first number that is missing among the segments that must be there; 0: none is. */
uint64_t recover_missing_segment(const struct opening *opening);

/* Steps that the next file begins with. */
void choose_start(struct opening *opening);
void choose_judge(struct opening *opening);
void recover_start(struct opening *opening);
/* The number of a directory of this name that log and snapshots were moved to; 0: it is none. */
uint64_t aside_number(const char *name);

void survey_start(struct opening *opening);
/* No entry of what is set aside had an index above `last`. */
void aside_mark(struct opening *opening, uint64_t last);
/* Goes on with what a crash interrupted. */
void aside_resume(struct opening *opening);
void settle_start(struct opening *opening);
void settle_new(struct opening *opening);

#endif
