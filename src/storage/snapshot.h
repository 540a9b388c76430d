/*
 * Snapshots: files that hold the state machine's whole state at one index, so that the log up to
 * there can go. How they are taken, sent, received and read back. storage.h is the log's side.
 *
 *     DIR/snapshot-%016x   a whole one, by the index of the last entry that it covers
 *     DIR/snapshot.tmp     being taken; a leftover is removed by the next start
 *     DIR/snapshot.part    being received; a leftover is what the next receive goes on from
 *
 * A file gets its final name only after every byte of it was synced, and it is reported only after
 * the directory was. The newest two are kept: when the newest is found damaged, the one before and
 * the log from there on take its place. So the log is trimmed below storage_snapshot_oldest + 1.
 *
 * What goes wrong here is told to who asked for the snapshot and is no failure of the storage: the
 * log goes on. Every struct is embedded in, and owned by, whoever starts the work, begins zeroed
 * but for `done`, and stays in place while a call is unanswered. `done` comes once for each call,
 * from io_run, with a sentence that names the file when err is not 0; the work is over then, but
 * where said otherwise, and the same struct may begin anew. storage_close answers what is in flight
 * with KV_ERR_STOPPED and ends the rest without a word.
 */
#ifndef STORAGE_SNAPSHOT_H
#define STORAGE_SNAPSHOT_H

#include "storage/storage.h"

/* The index of the newest whole snapshot; 0: there is none. */
uint64_t storage_snapshot_newest(const struct storage *storage);

/* The index of the older of the two that are kept: how far the log must reach back. 0 while there
 * are not two. */
uint64_t storage_snapshot_oldest(const struct storage *storage);

/* ---- taking ---- */

struct storage_snapshot_taking {
    /* KV_ERR_FULL; KV_ERR_IO; KV_ERR_INVALID when a newer one was received meanwhile. */
    void (*done)(struct storage_snapshot_taking *taking, int err, const char *sentence);
    void *backend; /* from the beginning to the end: storage's own record */
};

/*
 * Begins a snapshot of index meta->index, above that of every one before; or of the newest's, which
 * it replaces, for that one may have been damaged since. The meta is copied. At most one is being
 * taken at a time. `done`: chunks may come.
 */
void storage_snapshot_begin(struct storage *storage, struct storage_snapshot_taking *taking,
                            const struct storage_snapshot_meta *meta);

/*
 * Adds the next chunk, 1 to SNAPSHOT_CHUNK_SIZE_MAX bytes, borrowed for the call. It is compressed
 * in the call, so a chunk should be about 64 KiB: that delays a turn by some 0.4 ms. `done`: the
 * next may come.
 */
void storage_snapshot_chunk(struct storage *storage, struct slice raw);

/* Ends it. `done` with 0: it is durable under its name, and older ones than two were removed. */
void storage_snapshot_commit(struct storage *storage);

/* Gives it up, at any time before storage_snapshot_commit. The answer to a call in flight does not
 * come; `done` comes once, for this call. */
void storage_snapshot_abandon(struct storage *storage);

/* ---- reading back, for the state machine ---- */

struct storage_snapshot_read {
    /*
     * The next chunk as it was given to storage_snapshot_chunk, lent for the length of the call;
     * empty with err 0: that was all. KV_ERR_NOT_FOUND: there is no snapshot; KV_ERR_DAMAGED,
     * KV_ERR_IO.
     */
    void (*done)(struct storage_snapshot_read *read, int err, struct slice raw,
                 const char *sentence);
    struct storage_snapshot_meta meta; /* of what is read, from the first answer on; the
                                          membership goes with the last one */
    void *backend;
};

/* Asks for the next chunk of the newest snapshot there was at the first call. */
void storage_snapshot_read_next(struct storage *storage, struct storage_snapshot_read *read);

/* Ends early; no call may be unanswered. A read that ended needs none. */
void storage_snapshot_read_stop(struct storage *storage, struct storage_snapshot_read *read);

/* ---- sending: the file's bytes as they are ---- */

/* Which file is sent. The salt tells this very file from any other of the same index. */
struct storage_snapshot_offer {
    uint64_t index;
    uint64_t term;
    uint64_t size; /* of the file */
    uint64_t salt;
};

struct storage_snapshot_source {
    /*
     * After opening, with no bytes: `offer` is filled in; KV_ERR_NOT_FOUND, KV_ERR_IO. After a
     * read: the bytes, lent for the length of the call; an error is KV_ERR_IO, or KV_ERR_DAMAGED
     * for a file that ends too early, and closes the source.
     */
    void (*done)(struct storage_snapshot_source *source, int err, struct slice bytes,
                 const char *sentence);
    struct storage_snapshot_offer offer;
    void *backend;
};

/* Opens the newest snapshot. It can be read to its end even when newer ones remove it meanwhile. */
void storage_snapshot_source_open(struct storage *storage, struct storage_snapshot_source *source);

/* Reads `size` bytes at `offset`, which the file has; at most SNAPSHOT_CHUNK_SIZE_MAX. */
void storage_snapshot_source_read(struct storage *storage, struct storage_snapshot_source *source,
                                  uint64_t offset, size_t size);

/* At any time after opening began; an answer that is due does not come any more. */
void storage_snapshot_source_close(struct storage *storage, struct storage_snapshot_source *source);

/* ---- receiving ---- */

struct storage_receive {
    /*
     * KV_ERR_INVALID: the offer, or what came, is not above the newest snapshot here, or the bytes
     * are not those at `offset` or exceed the size that was offered. KV_ERR_DAMAGED: what came is
     * not the snapshot that was offered, or does not verify: it was removed. KV_ERR_FULL (it was
     * removed), KV_ERR_IO.
     */
    void (*done)(struct storage_receive *receive, int err, const char *sentence);
    uint64_t offset;                   /* where to go on */
    struct storage_snapshot_meta meta; /* of what was received; when the end is answered with 0,
                                          its membership lent for the length of the call */
    void *backend;
};

/*
 * Begins to receive what a leader offers; at most one at a time. `done`: receive->offset says where
 * to go on: behind what an earlier, broken off receive of the same file (by its salt) has left.
 */
void storage_receive_begin(struct storage *storage, struct storage_receive *receive,
                           const struct storage_snapshot_offer *offer);

/* Adds bytes at `offset`, which is receive->offset; copied. At most SNAPSHOT_CHUNK_SIZE_MAX. */
void storage_receive_bytes(struct storage *storage, uint64_t offset, struct slice bytes);

/*
 * Ends it: every byte is read back and verified. `done` with 0: the snapshot is durable under its
 * name. When the log does not hold entry (index, term), storage_reset comes next; the leader may
 * hear of the snapshot only when the ticket behind that reset is stored.
 */
void storage_receive_end(struct storage *storage);

/* Breaks it off, at any time before storage_receive_end; what has come stays, for a later receive
 * to go on. No answer comes any more, and the struct may be used again at once. */
void storage_receive_abandon(struct storage *storage);

#endif
