/*
 * Durability: one data directory with the identity, the lock, the term and vote, and the log.
 *
 *     DIR/LOCK           locked while a server runs
 *     DIR/IDENTITY       cluster id, node id, incarnation
 *     DIR/VOTE           two alternating checksummed slots: term, voted_for, newest synced batch
 *     DIR/log-%016x      segments of batches of entries
 *     DIR/snapshot-%016x whole states of the state machine; snapshot.h
 *     DIR/damaged-%04u/  log and snapshots that were set aside because something of them was
 * damaged
 *
 * Writing goes in batches: entries and votes are staged in memory, storage_flush closes what was
 * staged under a ticket, and at most one write is in flight; what is flushed meanwhile becomes the
 * next batch. The log on the disk is never rewritten: a truncation is a record of its own, a batch
 * that begins at or below the last index replaces what it overlaps.
 *
 * Every write or sync that fails is reported once by `failed`, after which storage does nothing any
 * more: nothing is retried (fsync reports an error once and then forgets it). The one exception is
 * a disk without space for the log's next segment: storage_is_full.
 */
#ifndef STORAGE_STORAGE_H
#define STORAGE_STORAGE_H

#include "base/bytes.h"
#include "base/trace.h"
#include "io/io.h"
#include "kvapp/err.h"
#include "storage/entry.h"

struct storage;

/* Calls back from io_run; never from inside a call of storage. `context` is the options' own. */
struct storage_handler {
    /*
     * Opening ended. err 0: ready. Otherwise nothing was changed on the disk, `sentence` says what
     * is wrong with which file and what to do, and only storage_close may follow. KV_ERR_LOCKED,
     * KV_ERR_MISMATCH (another node's), KV_ERR_NO_IDENTITY, KV_ERR_DAMAGED, KV_ERR_VERSION,
     * KV_ERR_FULL (a new directory does not fit the disk), KV_ERR_IO. A log whose end needs a new
     * segment that the disk has no space for is waited for.
     */
    void (*opened)(void *context, int err, const char *sentence);
    /* Everything flushed under this and all earlier tickets is durable. */
    void (*stored)(void *context, uint64_t ticket);
    /* A write or sync failed: the node must stop. KV_ERR_IO or KV_ERR_FULL. */
    void (*failed)(void *context, int err, const char *sentence);
    /* storage_close is done and the storage freed. */
    void (*closed)(void *context);
};

enum { STORAGE_MEMBERSHIP_SIZE_MAX = 8 * 1024 }; /* bytes of one, however it is encoded */

struct storage_options {
    const char *path;    /* made, with its parents, when it is not there */
    uint64_t cluster_id; /* of a directory that is made anew; 0: `opened` says KV_ERR_NO_IDENTITY in
                            place of making one */
    uint64_t node_id;
    struct slice founders; /* of a directory that is made anew: the members that the cluster begins
                              with, in an encoding that is not looked at; empty: it joins others */
    uint64_t segment_size; /* bytes of one log segment, at least 4 MiB, so that every entry fits
                              (less only where all entries are known to be small, as in tests) */
    uint64_t cache_size;   /* bytes of newest entries kept in memory; what is staged or in flight
                              stays however large */
    bool may_repair;       /* a damaged or incomplete log is set aside, and `opened` says 0: there
                              are peers that have it. Else `opened` says KV_ERR_DAMAGED. */
    bool takes_outdated;   /* one that storage_mark_outdated marked is opened all the same */
    const struct trace *trace;
    const struct storage_handler *handler;
    void *context;
};

/* Begins to open the directory; `opened` follows. What the options point to is copied. */
struct storage *storage_open(struct io *io, const struct storage_options *options);

/*
 * Ends: waits for what is in flight, writes and syncs what was flushed, and, when all of it went
 * well, seals the log, so that the next start can tell every damage from a torn tail. `closed`
 * follows. What a full disk has no space for is not waited for.
 */
void storage_close(struct storage *storage);

/* What was found, once `opened` said 0. Runs of consecutive entries of one term, from first_index
 * on, which is 1 unless the log was trimmed. The term is at least that of the last entry. */
struct storage_run {
    uint64_t term;
    uint64_t count;
};

enum { SNAPSHOT_CHUNK_SIZE_MAX = 2 * 1024 * 1024 /* before compression */ };

/* What a snapshot says of itself. */
struct storage_snapshot_meta {
    uint64_t index;          /* the last entry whose effects it holds */
    uint64_t term;           /* of that entry */
    uint64_t digest;         /* of the state */
    struct slice membership; /* the members at that index, in an encoding that is not looked at */
};

/* An entry of kind ENTRY_MEMBERSHIP in the log. */
struct storage_membership {
    uint64_t index;
    struct slice payload;
};

struct storage_restored {
    const char *path;      /* of the directory; valid until storage_close */
    uint64_t cluster_id;   /* as the directory's identity says */
    uint64_t incarnation;  /* not 0; drawn when the directory was made, so a wiped server has a new
                              one */
    struct slice founders; /* as its identity says; valid until storage_close */
    /* Those that the start found behind the snapshot; indexes rise. Valid until storage_close. */
    const struct storage_membership *memberships;
    size_t membership_count;
    uint64_t term;
    uint64_t voted_for;
    const struct storage_run *runs; /* valid until the next call */
    size_t run_count;
    uint64_t first_index;   /* <= snapshot_index + 1 */
    uint64_t previous_term; /* of entry first_index - 1; 0 when first_index is 1 */
    uint64_t last_index;    /* first_index - 1: the log is empty */
    uint64_t torn_bytes;    /* cut from the tail: bytes of a batch that a crash left unfinished */
    /* The newest whole snapshot; an index of 0: none. storage_snapshot_read_next gives the state.
     * The log holds its last entry, or begins right behind it. */
    uint64_t snapshot_index;
    uint64_t snapshot_term;
    uint64_t snapshot_digest;
    struct slice membership; /* valid until the next call */

    /* The log was lost, now or before an earlier start, and storage_repaired was not called since.
     * None of its entries had an index above lost_until; UINT64_MAX: no bound is known; 0: nothing
     * is lost. lost_term is the term that was stored then. */
    uint64_t lost_until;
    uint64_t lost_term;
};
void storage_restored(struct storage *storage, struct storage_restored *ret_restored);

/* What was lost is on the disk again, durably: the directory forgets that, in the background. */
void storage_repaired(struct storage *storage);

/*
 * What the log led to is wrong, though nothing of it is damaged: the next start sets log and
 * snapshots aside, as lost. Only storage_close may follow, which waits until that is durable. For a
 * server with peers.
 */
void storage_mark_diverged(struct storage *storage);

/*
 * The directory is an older copy of what it was: what this server promised since is not in it, so
 * no start takes it any more (KV_ERR_OUTDATED; see takes_outdated). Only storage_close may follow,
 * as above.
 */
void storage_mark_outdated(struct storage *storage);

/* ---- writing: stage, then flush ---- */

/* The newest staged index. */
uint64_t storage_last_index(const struct storage *storage);

/*
 * Stages one entry with index storage_last_index() + 1; encodes it, payload copied, checksum made.
 * The entry can be read (storage_get) at once and is durable after a flush.
 */
void storage_append(struct storage *storage, const struct entry *entry);

/*
 * Stages an encoded entry, received from the leader and checked with entry_decode by the caller;
 * copied. Its index is storage_last_index() + 1.
 */
void storage_append_encoded(struct storage *storage, struct slice encoded);

/* Stages the forgetting of all entries from index `from` on; from <= storage_last_index(). */
void storage_truncate(struct storage *storage, uint64_t from);

/*
 * Stages the forgetting of the whole log, which begins anew at index + 1, behind an entry of
 * `term`. For a received snapshot that the log does not lead to; it must be the newest one. The
 * old log is recycled in the background once this is durable.
 */
void storage_reset(struct storage *storage, uint64_t index, uint64_t term);

/* Stages the term and vote; 0: voted for nobody. */
void storage_vote(struct storage *storage, uint64_t term, uint64_t voted_for);

/* Closes what was staged under `ticket`, greater than every one before, and writes when it may. */
void storage_flush(struct storage *storage, uint64_t ticket);

/*
 * The log's next segment could not be made: the disk has no space for it. Making it is tried again
 * and again, and at once when trimming frees a segment. Until then what is flushed is written as
 * long as the present segment has room, and then waits; votes have their space, but wait behind
 * what was flushed before them.
 */
bool storage_is_full(const struct storage *storage);

/* ---- reading ---- */

/* The whole encoding of an entry in the cache, borrowed until the next append, truncation or
 * io_run; KV_ERR_NOT_CACHED when it is only on the disk, KV_ERR_NOT_FOUND when it is not there. */
int storage_get(const struct storage *storage, uint64_t index, struct slice *ret_encoded);

/* The lowest index that storage_get can give; storage_last_index() + 1 when none. */
uint64_t storage_cached_from(const struct storage *storage);

/*
 * The largest index `last'` with first <= last' <= last such that entries first ... last' encode
 * to at most size_max bytes (or last' = first). For entries that are not cached it answers from a
 * bound: never too many, at times too few.
 */
uint64_t storage_fit(const struct storage *storage, uint64_t first, uint64_t last,
                     uint64_t size_max);

/* A read of entries from the disk (or the cache: it does not matter). Embedded by its owner. */
struct storage_read {
    /*
     * err 0: `entries` holds the encodings of entries first ... first + count - 1, count >= 1,
     * lent for the length of the call, their checksums right. KV_ERR_DAMAGED with a sentence that
     * names file and offset; KV_ERR_IO; KV_ERR_NOT_FOUND when truncation took `first` meanwhile.
     */
    void (*done)(struct storage_read *read, int err, struct slice entries, uint64_t count,
                 const char *sentence);
    void *backend; /* in flight: storage's own record */
};
/* Reads entries from `first` on, up to `last`, in all about size_max bytes, at least one entry. */
void storage_read_start(struct storage *storage, struct storage_read *read, uint64_t first,
                        uint64_t last, uint64_t size_max);

/* ---- trimming ---- */

/* Whole segments below `index` may be recycled: entries below it will not be read again. For
 * compaction; the last segment always stays. Done in the background. */
void storage_trim(struct storage *storage, uint64_t index);

/* ---- figures ---- */

struct storage_stats {
    uint64_t writes;  /* writes to the log and the vote since the start */
    uint64_t syncs;   /* durable writes and syncs */
    uint64_t entries; /* entries written */
    uint64_t bytes;   /* bytes written, framing included */
    uint64_t durable_index;
    uint64_t segment_count;
    uint64_t cache_bytes;
};
void storage_stats(const struct storage *storage, struct storage_stats *ret_stats);

#endif
