/*
 * Snapshots of a storage under test: takes, reads, sends and receives them and waits for each
 * answer. What a snapshot holds is a function of its index, so that it can be told whether what
 * comes back is what was put in.
 */
#ifndef TEST_STORAGE_SHOTS_H
#define TEST_STORAGE_SHOTS_H

#include "disk.h"
#include "scene.h"
#include "storage/snapshot.h"

struct shots {
    struct scene *scene;
    struct disk
        *disk; /* with stop_at: waiting ends once it began so many operations; NULL: never */
    uint64_t stop_at;
    size_t chunks; /* in each snapshot */
    size_t chunk_size;
    bool done;
    int err; /* of the newest answer */
    char sentence[1024];
    struct storage_snapshot_taking taking;
    struct storage_snapshot_read read;
    struct storage_snapshot_source source;
    struct storage_receive receive;
    struct storage_snapshot_meta meta; /* received; without the membership */
    struct buf bytes;                  /* that came with the answer */
    struct buf membership;             /* the same */
};

/* Three chunks of 300 bytes a snapshot. */
void shots_init(struct shots *shots, struct scene *scene);
void shots_done(struct shots *shots);

/* Waits for the answer to what was asked; false when it was stopped before. */
bool shots_wait(struct shots *shots);

/* Its digest, and the membership, which is in `ret_membership`. */
uint64_t shots_digest(uint64_t index);
void shots_membership(uint64_t index, struct buf *ret_membership);
void shots_chunk(const struct shots *shots, uint64_t index, size_t chunk, struct buf *ret_bytes);

/* Each asks and waits; false when it was stopped, else shots->err is the answer. */
bool shots_begin(struct shots *shots, uint64_t index, uint64_t term);
bool shots_add(struct shots *shots, uint64_t index, size_t chunk);
bool shots_commit(struct shots *shots);
/* All of it, until one answer is an error. */
bool shots_take(struct shots *shots, uint64_t index, uint64_t term);
bool shots_receive_begin(struct shots *shots, const struct storage_snapshot_offer *offer);
bool shots_receive_bytes(struct shots *shots, uint64_t offset, struct slice bytes);
bool shots_receive_end(struct shots *shots);
/* All of a file, in pieces, from where the storage wants it on. */
bool shots_receive(struct shots *shots, const struct storage_snapshot_offer *offer,
                   struct slice file, size_t piece);

/* Reads the newest back; fails the test unless it is what belongs to that index. */
void shots_check(struct shots *shots, uint64_t index);

/* The file of a snapshot of that index, made by another server of the cluster. */
struct storage_snapshot_offer shots_make(uint64_t cluster_id, uint64_t index, uint64_t term,
                                         struct buf *ret_file);

#endif
