/*
 * What the parts of storage share: the struct behind `struct storage` and the few calls by which
 * a part tells the whole that something moved or failed. Internal to src/storage.
 *
 *     opening ──► open ──────► closing ──► ending ──► gone
 *        │          └─► failed ──┘             ▲
 *        └─► refused ──────────────────────────┘
 *
 * Failed is no state of its own, but an open or closing storage with error != 0: it writes nothing
 * any more.
 *
 * Who may have an operation in flight: the opening (one at a time), and later, side by side, the
 * writer (log), the vote file, the maker (next segment), the trimmer and any number of reads. Each
 * completion ends in storage_moved, which decides what is next: a round, a callback, the end.
 */
#ifndef STORAGE_STORE_H
#define STORAGE_STORE_H

#include "base/list.h"
#include "storage/cache.h"
#include "storage/extent.h"
#include "storage/identity.h"
#include "storage/maker.h"
#include "storage/membership_list.h"
#include "storage/segment.h"
#include "storage/snapshots.h"
#include "storage/storage.h"
#include "storage/terms.h"
#include "storage/vote.h"
#include "storage/writer.h"

#include <stdbool.h>

enum storage_state {
    STORAGE_OPENING,
    STORAGE_REFUSED, /* opening failed: only closing may follow */
    STORAGE_OPEN,
    STORAGE_CLOSING,
    STORAGE_ENDING, /* only the files are to be closed and the memory freed */
};

/*
 * One round: everything that was flushed under a ticket goes to the disk, log and vote side by
 * side; or, as a seal, an empty batch and then a vote record that knows it to be synced.
 */
struct round {
    bool active;
    bool seal;
    uint64_t ticket;
    uint64_t last;            /* the newest index of the round, lowered by truncation */
    uint64_t vote_generation; /* what the vote file must have reached */
};

struct opening;

struct storage {
    struct io *io;
    const struct trace *trace;
    const struct storage_handler *handler;
    void *context;
    char *path;
    struct identity identity;
    struct buf founders;
    uint64_t segment_size;
    bool may_repair;
    bool takes_outdated;
    uint64_t aside_newest; /* number of the newest directory damaged-* that the start found */
    enum storage_state state;
    int error; /* 0, or what failed */
    char sentence[SENTENCE_SIZE];
    bool failure_reported;

    struct io_file *lock;
    struct io_file *directory;
    struct opening *opening; /* only while opening */
    struct cache cache;
    struct extents extents;
    struct terms terms;                 /* of what is staged */
    struct membership_list memberships; /* that the start found */
    struct segments segments;
    struct vote_file vote;
    struct maker maker;
    struct writer writer;
    struct list reads; /* in flight */
    struct snapshots snapshots;
    struct io_timer later;

    /* Invariant: synced_last <= flushed_last <= cache.next - 1. */
    uint64_t synced_last;  /* the disk holds exactly the entries up to here */
    uint64_t disk_last;    /* the last index in the log on the disk: > synced_last when entries
                              were forgotten that the disk still has */
    uint64_t flushed_last; /* entries up to here were flushed */
    bool reset_staged;     /* the next batch begins the log anew */
    uint64_t trim_index;   /* entries below it may go, once nothing is being replaced; 0: done */
    uint64_t ticket;       /* the newest flushed */
    uint64_t ticket_done;  /* the newest reported */
    struct vote staged_vote;
    bool vote_staged;
    bool vote_flushed; /* and not yet in a round */
    struct round round;

    uint64_t torn_bytes;
    struct storage_stats stats;
};

/* "DIR/name", to be freed. */
char *storage_path(const struct storage *storage, const char *name);

/* KV_ERR_FULL or KV_ERR_IO for a negative result of io. */
int storage_io_error(int64_t result);

/*
 * Remembers the first failure, "DIR/file: what failed: what the system said"; storage_moved
 * reports it. From now on nothing is written.
 */
void storage_fail(struct storage *storage, int64_t result, const char *what, const char *file);

/* Something completed: begin the next round, report, or go on closing. Called from io_run only. */
void storage_moved(struct storage *storage);

/* Forgets the log in memory, as storage_reset; the next batch says so on the disk. */
void storage_restart_log(struct storage *storage, uint64_t index, uint64_t term);

/* Begins the trimming that was asked for, when it may. */
void storage_trim_pump(struct storage *storage);

/* Segments below `number` are not needed any more; they are reused once VOTE says so. */
void storage_keep_segments(struct storage *storage, uint64_t number);

/* Begins to write what was flushed; no round may be active. */
void storage_round_begin(struct storage *storage);

/* Begins the round that seals the log; storage_moved goes on when it is done. */
void storage_seal(struct storage *storage);

/* The opening ended well, or with an error whose sentence stands in storage->sentence. */
void storage_opened(struct storage *storage, int err);

#endif
