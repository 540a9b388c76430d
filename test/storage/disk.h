/*
 * A disk in memory behind io.h, for what a real one cannot be asked to do: lose power at a chosen
 * moment with any part of the unsynced sectors and names kept, fail a chosen operation, hold a
 * completion back. Files only; its clock moves by itself.
 *
 * Every started write changes the file at once, as the system's cache does; its sectors are dirty
 * until they are synced: by completion of a durable write these sectors, by io_sync all of the
 * file's. When that fails with EIO they can still be read, by later processes too, but are not
 * synced any more and go with the power, as Linux has it. Names are made durable by io_sync of the
 * directory. At its completion a write looks once more at the bytes it was given: they must have
 * stayed in place.
 */
#ifndef TEST_STORAGE_DISK_H
#define TEST_STORAGE_DISK_H

#include "base/prng.h"
#include "io/backend.h"

struct disk;

struct disk *disk_new(void);
void disk_free(struct disk *disk);

/* An io on the disk; io_free releases it, with whatever is in flight. */
struct io *disk_io(struct disk *disk);

enum disk_loss {
    DISK_LOSE_ALL,   /* of what was not synced */
    DISK_LOSE_NONE,  /* as by a process that was killed: what was not synced still is not */
    DISK_LOSE_SOME,  /* each sector and name by chance */
    DISK_LOSE_SPOIL, /* the same, and some of what is lost becomes garbage */
};
/* What is found after the power failed now; the disk itself goes on. */
struct disk *disk_crash(const struct disk *disk, enum disk_loss loss, struct prng *prng);

/* A copy, all synced, nothing locked. */
struct disk *disk_copy(const struct disk *disk);

bool disk_equal(const struct disk *a, const struct disk *b);

/* The bytes of a file, for looking and for damaging; NULL when there is no such file. */
struct buf *disk_bytes(struct disk *disk, const char *path);
void disk_remove(struct disk *disk, const char *path);

struct disk_control {
    uint64_t started;     /* operations since the disk was made */
    uint64_t changes;     /* of these, those that change the disk: writes, renames, unlinks, ... */
    uint64_t fail_at;     /* the operation with this number fails, 0: none */
    int64_t fail_with;    /* negative errno */
    bool fail_all_after;  /* and all changes behind it too */
    uint64_t full_from;   /* from this operation on no file can be lengthened; 0: never */
    bool hold_writes;     /* writes do not complete */
    bool hold_reads;      /* reads do not */
    bool one_by_one;      /* one completion a turn, by chance */
    struct prng prng;     /* of one_by_one */
    uint64_t write_count; /* of started writes */
};
struct disk_control *disk_control(struct disk *disk);

#endif
