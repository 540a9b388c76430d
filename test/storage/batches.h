/*
 * An independent look at a log on a test disk: which batches stand where, and what the log holds
 * after each of them. From it the right verdict on a damaged copy follows.
 */
#ifndef TEST_STORAGE_BATCHES_H
#define TEST_STORAGE_BATCHES_H

#include "disk.h"
#include "storage/batch.h"
#include "storage/segment.h"

enum { BATCHES_MAX = 64, TERMS_MAX = 256, SEGMENTS_MAX = 16 };

struct placed_batch {
    struct batch batch;
    char path[64];
    uint64_t offset;
    size_t used; /* bytes that matter: header and entries */
    /* The log after this batch, from batches.first_index on: terms[i] is that of entry i + 1. */
    uint64_t last;
    uint64_t terms[TERMS_MAX];
};

struct placed_segment {
    char path[64];
    size_t size;
};

struct batches {
    size_t count;
    struct placed_batch at[BATCHES_MAX];
    size_t segment_count;
    struct placed_segment segments[SEGMENTS_MAX];
    uint64_t first_index;     /* 1 unless the log was trimmed */
    uint64_t synced_sequence; /* by VOTE */
    uint64_t term;
    uint64_t voted_for;
};

/* Reads the log in `directory`, all of whose batches are whole. */
void batches_read(struct batches *batches, struct disk *disk, const char *directory);

enum verdict {
    VERDICT_WHOLE,
    VERDICT_TORN,
    VERDICT_DAMAGED,
};

/*
 * What must be said of `damaged`, a copy of `original` in which log files were changed. `batches`
 * are the original's. On anything but damage *ret_left is how many batches are left.
 */
enum verdict batches_verdict(const struct batches *batches, struct disk *original,
                             struct disk *damaged, size_t *ret_left);

#endif
