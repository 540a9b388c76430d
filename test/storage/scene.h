/*
 * A storage under test: opens one on any io, drives it until something came of it, remembers what
 * its handler was told. Every wait is bounded.
 */
#ifndef TEST_STORAGE_SCENE_H
#define TEST_STORAGE_SCENE_H

#include "storage/storage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct scene {
    struct io *io;
    struct storage *storage;
    struct storage_options options;
    bool opened;
    int opened_err;
    bool closed;
    int failed_count;
    int failed_err;
    uint64_t stored;       /* the newest ticket */
    uint64_t stored_count; /* calls */
    uint64_t ticket;       /* the newest flushed */
    uint64_t term;
    char sentence[1024];
};

/* Defaults for a directory of node 7 in cluster 0xc1, segments of 16 KiB, a small cache. */
void scene_init(struct scene *scene, struct io *io, const char *path);

/* Begins to open; does not wait. */
void scene_start(struct scene *scene);
/* Opens and waits; returns what `opened` said. */
int scene_open(struct scene *scene);
/* Closes and waits. */
void scene_close(struct scene *scene);

void scene_run_once(struct scene *scene);

/* A no-op has no payload; those of some sizes are memberships. */
enum entry_kind scene_kind(size_t payload_size);

/* Appends the next entry; its payload is a function of index, term and size. */
void scene_append(struct scene *scene, uint64_t term, size_t payload_size);
/* Takes a snapshot of the entries up to `index`, of `term`, so that the log may be trimmed. */
void scene_snapshot(struct scene *scene, uint64_t index, uint64_t term);
void scene_flush(struct scene *scene);
/* Waits until everything flushed is stored or storage failed. */
void scene_settle(struct scene *scene);

/* Fails the test unless the encoding is that of the entry scene_append makes. */
void scene_check_entry(struct slice encoded, uint64_t index, uint64_t term, size_t payload_size);
/* The same, for an entry whose term and size are to be taken from its own header. */
void scene_check_made(struct slice encoded, uint64_t index);

/* A read from the disk, waited for. */
struct scene_read {
    struct storage_read read;
    bool done;
    int err;
    struct buf entries;
    uint64_t count;
    char sentence[1024];
};
void scene_read_start(struct scene *scene, struct scene_read *read, uint64_t first, uint64_t last,
                      uint64_t size_max);
int scene_read(struct scene *scene, struct scene_read *read, uint64_t first, uint64_t last,
               uint64_t size_max);
void scene_read_wait(struct scene *scene, struct scene_read *read);

#endif
