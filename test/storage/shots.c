#include "shots.h"

#include "base/assert.h"
#include "storage/snapshot_format.h"

#include <stdlib.h>
#include <string.h>

enum { TURNS_MAX = 100000 };

static void answered(struct shots *shots, int err, const char *sentence)
{
    assert_false(shots->done);
    shots->done = true;
    shots->err = err;
    (void)snprintf(shots->sentence, sizeof shots->sentence, "%s", sentence);
}

static void on_taking(struct storage_snapshot_taking *taking, int err, const char *sentence)
{
    answered(CONTAINER_OF(taking, struct shots, taking), err, sentence);
}

static void on_read(struct storage_snapshot_read *read, int err, struct slice raw,
                    const char *sentence)
{
    struct shots *shots = CONTAINER_OF(read, struct shots, read);
    answered(shots, err, sentence);
    buf_clear(&shots->bytes);
    buf_append_slice(&shots->bytes, raw);
    if (raw.size > 0) {
        buf_clear(&shots->membership);
        buf_append_slice(&shots->membership, read->meta.membership);
    }
}

static void on_source(struct storage_snapshot_source *source, int err, struct slice bytes,
                      const char *sentence)
{
    struct shots *shots = CONTAINER_OF(source, struct shots, source);
    answered(shots, err, sentence);
    buf_clear(&shots->bytes);
    buf_append_slice(&shots->bytes, bytes);
}

static void on_receive(struct storage_receive *receive, int err, const char *sentence)
{
    struct shots *shots = CONTAINER_OF(receive, struct shots, receive);
    answered(shots, err, sentence);
    shots->meta = receive->meta;
    buf_clear(&shots->membership);
    if (err == 0 && receive->meta.index != 0) {
        buf_append_slice(&shots->membership, receive->meta.membership);
    }
}

void shots_init(struct shots *shots, struct scene *scene)
{
    *shots = (struct shots){
        .scene = scene,
        .chunks = 3,
        .chunk_size = 300,
        .taking.done = on_taking,
        .read.done = on_read,
        .source.done = on_source,
        .receive.done = on_receive,
    };
}

void shots_done(struct shots *shots)
{
    buf_done(&shots->bytes);
    buf_done(&shots->membership);
}

bool shots_wait(struct shots *shots)
{
    for (int turn = 0; turn < TURNS_MAX; turn++) {
        if (shots->done) {
            return true;
        }
        if (shots->disk != NULL && disk_control(shots->disk)->started >= shots->stop_at) {
            return false;
        }
        scene_run_once(shots->scene);
    }
    fail_msg("no answer came");
    return false;
}

uint64_t shots_digest(uint64_t index)
{
    return index * 1000003;
}

void shots_membership(uint64_t index, struct buf *ret_membership)
{
    buf_clear(ret_membership);
    for (uint64_t i = 0; i < index % 5; i++) {
        buf_put_u64(ret_membership, index + i);
    }
}

void shots_chunk(const struct shots *shots, uint64_t index, size_t chunk, struct buf *ret_bytes)
{
    struct prng prng;
    prng_init(&prng, index * 100 + chunk);
    buf_clear(ret_bytes);
    while (ret_bytes->size < shots->chunk_size) {
        buf_put_u64(ret_bytes, prng_next(&prng));
        buf_put_u64(ret_bytes, index);
    }
}

bool shots_begin(struct shots *shots, uint64_t index, uint64_t term)
{
    struct buf membership = {0};
    shots_membership(index, &membership);
    struct storage_snapshot_meta meta = {
        .index = index,
        .term = term,
        .digest = shots_digest(index),
        .membership = buf_slice(&membership),
    };
    shots->done = false;
    storage_snapshot_begin(shots->scene->storage, &shots->taking, &meta);
    buf_done(&membership);
    return shots_wait(shots);
}

bool shots_add(struct shots *shots, uint64_t index, size_t chunk)
{
    struct buf bytes = {0};
    shots_chunk(shots, index, chunk, &bytes);
    shots->done = false;
    storage_snapshot_chunk(shots->scene->storage, buf_slice(&bytes));
    buf_done(&bytes);
    return shots_wait(shots);
}

bool shots_commit(struct shots *shots)
{
    shots->done = false;
    storage_snapshot_commit(shots->scene->storage);
    return shots_wait(shots);
}

bool shots_take(struct shots *shots, uint64_t index, uint64_t term)
{
    if (!shots_begin(shots, index, term)) {
        return false;
    }
    for (size_t i = 0; i < shots->chunks && shots->err == 0; i++) {
        if (!shots_add(shots, index, i)) {
            return false;
        }
    }
    return shots->err != 0 || shots_commit(shots);
}

bool shots_receive_begin(struct shots *shots, const struct storage_snapshot_offer *offer)
{
    shots->done = false;
    shots->receive.meta = (struct storage_snapshot_meta){0};
    storage_receive_begin(shots->scene->storage, &shots->receive, offer);
    return shots_wait(shots);
}

bool shots_receive_bytes(struct shots *shots, uint64_t offset, struct slice bytes)
{
    shots->done = false;
    storage_receive_bytes(shots->scene->storage, offset, bytes);
    return shots_wait(shots);
}

bool shots_receive_end(struct shots *shots)
{
    shots->done = false;
    storage_receive_end(shots->scene->storage);
    return shots_wait(shots);
}

bool shots_receive(struct shots *shots, const struct storage_snapshot_offer *offer,
                   struct slice file, size_t piece)
{
    if (!shots_receive_begin(shots, offer)) {
        return false;
    }
    while (shots->err == 0 && shots->receive.offset < file.size) {
        uint64_t at = shots->receive.offset;
        size_t size = file.size - at < piece ? file.size - (size_t)at : piece;
        if (!shots_receive_bytes(shots, at, slice_of(file.data + at, size))) {
            return false;
        }
    }
    return shots->err != 0 || shots_receive_end(shots);
}

void shots_check(struct shots *shots, uint64_t index)
{
    struct buf expected = {0};
    for (size_t i = 0; i <= shots->chunks; i++) {
        shots->done = false;
        storage_snapshot_read_next(shots->scene->storage, &shots->read);
        assert_true(shots_wait(shots));
        assert_int_equal(shots->err, 0);
        buf_clear(&expected);
        if (i < shots->chunks) {
            shots_chunk(shots, index, i, &expected);
        }
        assert_true(slice_equal(buf_slice(&shots->bytes), buf_slice(&expected)));
    }
    assert_int_equal(shots->read.meta.index, index);
    assert_int_equal(shots->read.meta.digest, shots_digest(index));
    shots_membership(index, &expected);
    assert_true(slice_equal(buf_slice(&shots->membership), buf_slice(&expected)));
    buf_done(&expected);
}

struct storage_snapshot_offer shots_make(uint64_t cluster_id, uint64_t index, uint64_t term,
                                         struct buf *ret_file)
{
    struct disk *disk = disk_new();
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, "data");
    scene.options.cluster_id = cluster_id;
    assert_int_equal(scene_open(&scene), 0);
    struct shots shots;
    shots_init(&shots, &scene);
    assert_true(shots_take(&shots, index, term));
    assert_int_equal(shots.err, 0);
    char name[SNAPSHOT_NAME_SIZE];
    char path[64];
    snapshot_name(index, name);
    (void)snprintf(path, sizeof path, "data/%s", name);
    buf_clear(ret_file);
    buf_append_slice(ret_file, buf_slice(disk_bytes(disk, path)));
    shots.done = false;
    storage_snapshot_source_open(scene.storage, &shots.source);
    assert_true(shots_wait(&shots));
    struct storage_snapshot_offer offer = shots.source.offer;
    storage_snapshot_source_close(scene.storage, &shots.source);
    scene_close(&scene);
    shots_done(&shots);
    io_free(io);
    disk_free(disk);
    return offer;
}
