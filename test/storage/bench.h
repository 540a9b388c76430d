/* What the tests of snapshots begin with: a storage on a disk in memory, and its snapshots. */
#ifndef TEST_STORAGE_BENCH_H
#define TEST_STORAGE_BENCH_H

#include "disk.h"
#include "scene.h"
#include "shots.h"

struct bench {
    struct disk *disk;
    struct io *io;
    struct scene scene;
    struct shots shots;
    struct buf file;
};

int set_up(void **state);
int tear_down(void **state);

/* Three entries of each term. */
uint64_t term_of(uint64_t index);
/* Entries of 1000 bytes up to `last`, stored. */
void fill(struct bench *bench, uint64_t last);
/* A snapshot of that index, taken. */
void take(struct bench *bench, uint64_t index);
void run_some(struct bench *bench);
void reopen(struct bench *bench, struct storage_restored *ret_restored);

/* The snapshot that was just received is the newest, and what belongs to its index. */
void check_installed(struct bench *bench, uint64_t index, uint64_t term);

#endif
