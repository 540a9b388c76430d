/* A life of a server on a disk in memory: storage, its io, and the model of what it was told. */
#ifndef TEST_STORAGE_LIFE_H
#define TEST_STORAGE_LIFE_H

#include "disk.h"
#include "model.h"
#include "scene.h"

struct life {
    struct disk *disk;
    struct io *io;
    struct scene scene;
    struct model *model;
    uint64_t stop_at;  /* operations of the disk after which the life is over; 0: never */
    uint64_t patience; /* turns of waiting after which a full disk has space again; 0: never */
    uint64_t waited;   /* turns, while the disk was full */
};

/* Begins to open the storage on the disk, which the life takes over. */
void life_begin(struct life *life, struct disk *disk);
/* Closes and frees the life and its disk. */
void life_end(struct life *life);
bool life_stopped(const struct life *life);

/* Each waits; false when it was stopped before, or it failed. */
bool run_until_opened(struct life *life);
bool run_until_stored(struct life *life);

/* A little of everything; false when it was stopped on the way. */
bool life_run_script(struct life *life);

/* Opens what was found after a crash, checks it against the life's model, and ends. */
void life_check_found(struct life *before, struct disk *found, struct moment *ret_now);

#endif
