/*
 * src/storage for a program that waits: each call runs a loop of its own until the answer is there.
 * For kvapp restore and kvapp recover, which make data directories without a server.
 */
#ifndef APP_STORE_H
#define APP_STORE_H

#include "app/snapshot_reading.h"
#include "storage/snapshot.h"

struct store {
    struct io *io;
    struct storage *storage; /* NULL: not open */
    struct trace trace;
    bool answered;
    uint64_t ticket;
    uint64_t stored;
    int err; /* the first failure, after which every call returns it */
    char sentence[1024];
    struct storage_snapshot_taking taking;
};

/*
 * Opens a data directory as a server does, which also cuts a torn tail. cluster_id: of one that is
 * made anew. 0, or what storage.h says, with `sentence`; store_close follows in any case.
 */
int store_open(struct store *store, const char *path, uint64_t cluster_id, uint64_t node_id,
               struct slice founders);

/* Everything staged becomes durable. */
int store_flush(struct store *store);

/*
 * Takes over the snapshot that `reading`, at its beginning, goes through, with this membership in
 * place of its own (data NULL: with its own), and begins the log behind it; durable after the next
 * store_flush. An error of the file is returned with its sentence too.
 */
int store_take_snapshot(struct store *store, struct snapshot_reading *reading,
                        struct slice membership);

/* Appends the entries first ... last of another store, as they are, and flushes them. */
int store_copy_entries(struct store *store, struct store *from, uint64_t first, uint64_t last);

/* Ends: seals and frees all. Returns the first failure, its own included. */
int store_close(struct store *store);

#endif
