#include "bench.h"

#include "base/memory.h"

#include <stdlib.h>

int set_up(void **state)
{
    struct bench *bench = memory_new(1, sizeof *bench);
    bench->disk = disk_new();
    bench->io = disk_io(bench->disk);
    scene_init(&bench->scene, bench->io, "data");
    assert_int_equal(scene_open(&bench->scene), 0);
    shots_init(&bench->shots, &bench->scene);
    *state = bench;
    return 0;
}

int tear_down(void **state)
{
    struct bench *bench = *state;
    if (!bench->scene.closed) {
        scene_close(&bench->scene);
    }
    assert_int_equal(bench->scene.failed_count, 0);
    shots_done(&bench->shots);
    buf_done(&bench->file);
    io_free(bench->io);
    disk_free(bench->disk);
    free(bench);
    return 0;
}

uint64_t term_of(uint64_t index)
{
    return 1 + index / 3;
}

void fill(struct bench *bench, uint64_t last)
{
    while (storage_last_index(bench->scene.storage) < last) {
        scene_append(&bench->scene, term_of(storage_last_index(bench->scene.storage) + 1), 1000);
        scene_flush(&bench->scene);
        scene_settle(&bench->scene);
    }
}

void take(struct bench *bench, uint64_t index)
{
    assert_true(shots_take(&bench->shots, index, term_of(index)));
    assert_int_equal(bench->shots.err, 0);
}

void run_some(struct bench *bench)
{
    for (int turn = 0; turn < 200; turn++) {
        scene_run_once(&bench->scene);
    }
}

void reopen(struct bench *bench, struct storage_restored *ret_restored)
{
    scene_close(&bench->scene);
    assert_int_equal(scene_open(&bench->scene), 0);
    storage_restored(bench->scene.storage, ret_restored);
}

void check_installed(struct bench *bench, uint64_t index, uint64_t term)
{
    struct storage_restored restored;
    assert_int_equal(bench->shots.err, 0);
    assert_int_equal(bench->shots.meta.index, index);
    assert_int_equal(bench->shots.meta.term, term);
    assert_int_equal(bench->shots.meta.digest, shots_digest(index));
    struct buf membership = {0};
    shots_membership(index, &membership);
    assert_true(slice_equal(buf_slice(&bench->shots.membership), buf_slice(&membership)));
    buf_done(&membership);
    shots_check(&bench->shots, index);
    storage_restored(bench->scene.storage, &restored);
    assert_int_equal(restored.snapshot_index, index);
    assert_int_equal(restored.snapshot_term, term);
}
