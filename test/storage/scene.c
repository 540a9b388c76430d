#include "scene.h"

#include "shots.h"

#include "base/prng.h"
#include "kvapp/err.h"

#include <stdlib.h>
#include <string.h>

enum { TURNS_MAX = 200000 };

static void on_opened(void *context, int err, const char *sentence)
{
    struct scene *scene = context;
    assert_false(scene->opened);
    scene->opened = true;
    scene->opened_err = err;
    (void)snprintf(scene->sentence, sizeof scene->sentence, "%s", sentence);
}

static void on_stored(void *context, uint64_t ticket)
{
    struct scene *scene = context;
    assert_true(ticket > scene->stored);
    assert_true(ticket <= scene->ticket);
    assert_int_equal(scene->failed_count, 0);
    scene->stored = ticket;
    scene->stored_count++;
}

static void on_failed(void *context, int err, const char *sentence)
{
    struct scene *scene = context;
    scene->failed_count++;
    scene->failed_err = err;
    (void)snprintf(scene->sentence, sizeof scene->sentence, "%s", sentence);
}

static void on_closed(void *context)
{
    struct scene *scene = context;
    assert_false(scene->closed);
    scene->closed = true;
    scene->storage = NULL;
}

static const struct storage_handler handler = {
    .opened = on_opened,
    .stored = on_stored,
    .failed = on_failed,
    .closed = on_closed,
};

void scene_init(struct scene *scene, struct io *io, const char *path)
{
    *scene = (struct scene){
        .io = io,
        .options =
            {
                .path = path,
                .cluster_id = 0xc1,
                .node_id = 7,
                .founders = slice_of_string("those who began"),
                .segment_size = 16 * 1024,
                .cache_size = 1024 * 1024,
                .handler = &handler,
            },
    };
}

void scene_run_once(struct scene *scene)
{
    assert_int_equal(io_run(scene->io, io_now_us(scene->io) + 1000), 0);
}

void scene_start(struct scene *scene)
{
    scene->opened = false;
    scene->closed = false;
    scene->failed_count = 0;
    scene->stored = 0;
    scene->stored_count = 0;
    scene->ticket = 0;
    scene->options.context = scene;
    scene->storage = storage_open(scene->io, &scene->options);
    assert_false(scene->opened);
}

int scene_open(struct scene *scene)
{
    scene_start(scene);
    for (int turn = 0; turn < TURNS_MAX && !scene->opened; turn++) {
        scene_run_once(scene);
    }
    assert_true(scene->opened);
    if (scene->opened_err == 0) {
        struct storage_restored restored;
        storage_restored(scene->storage, &restored);
        scene->term = restored.term;
    }
    return scene->opened_err;
}

void scene_close(struct scene *scene)
{
    storage_close(scene->storage);
    assert_false(scene->closed);
    for (int turn = 0; turn < TURNS_MAX && !scene->closed; turn++) {
        scene_run_once(scene);
    }
    assert_true(scene->closed);
}

/* Payload bytes that tell index and term apart, and one entry's bytes from another's. */
static void make_payload(uint64_t index, uint64_t term, uint8_t *bytes, size_t size)
{
    struct prng prng;
    prng_init(&prng, index * 1000003 + term);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = prng_next(&prng);
        memcpy(bytes + i, &word, size - i < 8 ? size - i : 8);
    }
}

enum entry_kind scene_kind(size_t payload_size)
{
    return payload_size == 0       ? ENTRY_NOOP
           : payload_size % 8 == 4 ? ENTRY_MEMBERSHIP
                                   : ENTRY_COMMAND;
}

void scene_append(struct scene *scene, uint64_t term, size_t payload_size)
{
    uint8_t *payload = malloc(payload_size + 1);
    struct entry entry = {
        .index = storage_last_index(scene->storage) + 1,
        .term = term,
        .time_ms = 1700000000000 + term,
        .kind = scene_kind(payload_size),
        .payload = slice_of(payload, payload_size),
    };
    make_payload(entry.index, term, payload, payload_size);
    storage_append(scene->storage, &entry);
    free(payload);
}

void scene_snapshot(struct scene *scene, uint64_t index, uint64_t term)
{
    struct shots shots;
    shots_init(&shots, scene);
    assert_true(shots_take(&shots, index, term));
    assert_int_equal(shots.err, 0);
    shots_done(&shots);
}

void scene_flush(struct scene *scene)
{
    storage_flush(scene->storage, ++scene->ticket);
}

void scene_settle(struct scene *scene)
{
    for (int turn = 0; turn < TURNS_MAX; turn++) {
        if (scene->stored == scene->ticket || scene->failed_count > 0) {
            return;
        }
        scene_run_once(scene);
    }
    fail_msg("ticket %lu was never stored", (unsigned long)scene->ticket);
}

void scene_check_made(struct slice encoded, uint64_t index)
{
    struct entry entry;
    size_t size;
    assert_int_equal(entry_decode(encoded, &entry, &size), 0);
    assert_int_equal(entry.index, index);
    uint8_t *payload = malloc(entry.payload.size + 1);
    make_payload(index, entry.term, payload, entry.payload.size);
    assert_memory_equal(payload, entry.payload.data, entry.payload.size);
    free(payload);
}

void scene_check_entry(struct slice encoded, uint64_t index, uint64_t term, size_t payload_size)
{
    struct entry entry;
    size_t size;
    assert_int_equal(entry_decode(encoded, &entry, &size), 0);
    assert_int_equal(size, encoded.size);
    assert_int_equal(entry.term, term);
    assert_int_equal(entry.payload.size, payload_size);
    scene_check_made(encoded, index);
}

static void on_read(struct storage_read *read, int err, struct slice entries, uint64_t count,
                    const char *sentence)
{
    struct scene_read *scene_read = (struct scene_read *)(void *)read;
    assert_false(scene_read->done);
    scene_read->done = true;
    scene_read->err = err;
    scene_read->count = count;
    buf_clear(&scene_read->entries);
    buf_append_slice(&scene_read->entries, entries);
    (void)snprintf(scene_read->sentence, sizeof scene_read->sentence, "%s", sentence);
}

void scene_read_start(struct scene *scene, struct scene_read *read, uint64_t first, uint64_t last,
                      uint64_t size_max)
{
    read->read.done = on_read;
    read->done = false;
    storage_read_start(scene->storage, &read->read, first, last, size_max);
    assert_false(read->done);
}

void scene_read_wait(struct scene *scene, struct scene_read *read)
{
    for (int turn = 0; turn < TURNS_MAX && !read->done; turn++) {
        scene_run_once(scene);
    }
    assert_true(read->done);
}

int scene_read(struct scene *scene, struct scene_read *read, uint64_t first, uint64_t last,
               uint64_t size_max)
{
    scene_read_start(scene, read, first, last, size_max);
    scene_read_wait(scene, read);
    return read->err;
}
