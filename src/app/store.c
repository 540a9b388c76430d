#include "app/store.h"

#include "base/assert.h"
#include "kvapp/node.h"

#include <inttypes.h>
#include <stdio.h>

enum { COPY_SIZE = 1024 * 1024 }; /* bytes of entries that are read at once */

static void fail(struct store *store, int err, const char *sentence)
{
    if (store->err == 0) {
        store->err = err;
        (void)snprintf(store->sentence, sizeof store->sentence, "%s", sentence);
    }
}

/* ---- the loop ---- */

static void on_opened(void *context, int err, const char *sentence)
{
    struct store *store = context;
    store->answered = true;
    if (err != 0) {
        fail(store, err, sentence);
    }
}

static void on_stored(void *context, uint64_t ticket)
{
    struct store *store = context;
    store->stored = ticket;
}

static void on_failed(void *context, int err, const char *sentence)
{
    fail(context, err, sentence);
}

static void on_closed(void *context)
{
    struct store *store = context;
    store->storage = NULL;
}

static const struct storage_handler handler = {on_opened, on_stored, on_failed, on_closed};

static void turn(struct store *store)
{
    CHECK(io_run(store->io, UINT64_MAX) == 0);
}

static int wait_for_answer(struct store *store)
{
    while (!store->answered && store->err == 0) {
        turn(store);
    }
    return store->err;
}

int store_open(struct store *store, const char *path, uint64_t cluster_id, uint64_t node_id,
               struct slice founders)
{
    *store = (struct store){0};
    char reason[256];
    int err = io_new(IO_BACKEND_PORTABLE, reason, sizeof reason, &store->io);
    if (err != 0) {
        fail(store, err, reason);
        return err;
    }
    struct kvapp_node_options defaults;
    kvapp_node_options_init(&defaults);
    const struct storage_options options = {
        .path = path,
        .cluster_id = cluster_id,
        .node_id = node_id,
        .founders = founders,
        .takes_outdated = true, /* Whoever recovers it has been told. */
        .segment_size = defaults.segment_size,
        .cache_size = defaults.cache_size,
        .trace = &store->trace,
        .handler = &handler,
        .context = store,
    };
    store->storage = storage_open(store->io, &options);
    return wait_for_answer(store);
}

int store_flush(struct store *store)
{
    storage_flush(store->storage, ++store->ticket);
    while (store->stored < store->ticket && store->err == 0) {
        turn(store);
    }
    return store->err;
}

int store_close(struct store *store)
{
    if (store->storage != NULL) {
        storage_close(store->storage);
    }
    while (store->storage != NULL) {
        turn(store);
    }
    if (store->io != NULL) {
        io_free(store->io);
        store->io = NULL;
    }
    return store->err;
}

/* ---- a snapshot ---- */

static void taking_answered(struct storage_snapshot_taking *taking, int err, const char *sentence)
{
    struct store *store = CONTAINER_OF(taking, struct store, taking);
    store->answered = true;
    if (err != 0) {
        fail(store, err, sentence);
    }
}

static void fail_reading(struct store *store, const struct snapshot_walk *walk)
{
    (void)snprintf(store->sentence, sizeof store->sentence, "%s: offset %" PRIu64 ": %s",
                   walk->path, walk->offset, walk->what);
    store->err = walk->err;
}

static int add_chunk(struct store *store, const struct snapshot_walk *walk, struct buf *raw)
{
    if (!snapshot_decompress(walk->stored, walk->chunk.raw_size, raw)) {
        char sentence[sizeof store->sentence];
        (void)snprintf(sentence, sizeof sentence,
                       "%s: the chunk before offset %" PRIu64 " cannot be decompressed", walk->path,
                       walk->offset);
        fail(store, KV_ERR_DAMAGED, sentence);
        return store->err;
    }
    store->answered = false;
    storage_snapshot_chunk(store->storage, buf_slice(raw));
    return wait_for_answer(store);
}

static int begin_snapshot(struct store *store, const struct snapshot_walk *walk,
                          struct slice membership)
{
    const struct storage_snapshot_meta meta = {
        .index = walk->header.index,
        .term = walk->header.term,
        .digest = walk->header.digest,
        .membership = membership.data == NULL ? buf_slice(&walk->membership) : membership,
    };
    store->answered = false;
    store->taking = (struct storage_snapshot_taking){.done = taking_answered};
    storage_snapshot_begin(store->storage, &store->taking, &meta);
    return wait_for_answer(store);
}

int store_take_snapshot(struct store *store, struct snapshot_reading *reading,
                        struct slice membership)
{
    const struct snapshot_walk *walk = &reading->walk;
    enum snapshot_step step = snapshot_reading_next(reading);
    struct buf raw = {0};
    int err = step == SNAPSHOT_BAD ? 0 : begin_snapshot(store, walk, membership);
    while (err == 0 && step == SNAPSHOT_CHUNK) {
        err = add_chunk(store, walk, &raw);
        step = err == 0 ? snapshot_reading_next(reading) : step;
    }
    buf_done(&raw);
    if (err == 0 && step == SNAPSHOT_BAD) {
        fail_reading(store, walk);
        return store->err;
    }
    if (err != 0) {
        return err;
    }
    store->answered = false;
    storage_snapshot_commit(store->storage);
    err = wait_for_answer(store);
    if (err == 0) {
        storage_reset(store->storage, walk->header.index, walk->header.term);
    }
    return err;
}

/* ---- entries ---- */

struct copying {
    struct storage_read read;
    struct store *store;
    struct store *from;
    uint64_t next;
    bool answered;
};

static void entries_read(struct storage_read *read, int err, struct slice entries, uint64_t count,
                         const char *sentence)
{
    struct copying *copying = CONTAINER_OF(read, struct copying, read);
    copying->answered = true;
    if (err != 0) {
        fail(copying->from, err, sentence);
        return;
    }
    size_t at = 0;
    for (uint64_t i = 0; i < count; i++) {
        size_t size = entry_size_at(entries.data + at);
        storage_append_encoded(copying->store->storage, slice_of(entries.data + at, size));
        at += size;
    }
    copying->next += count;
}

int store_copy_entries(struct store *store, struct store *from, uint64_t first, uint64_t last)
{
    struct copying copying = {.store = store, .from = from, .next = first};
    copying.read.done = entries_read;
    int err = 0;
    while (err == 0 && copying.next <= last) {
        copying.answered = false;
        storage_read_start(from->storage, &copying.read, copying.next, last, COPY_SIZE);
        while (!copying.answered && from->err == 0) {
            turn(from);
        }
        if (from->err != 0) {
            fail(store, from->err, from->sentence);
            return store->err;
        }
        err = store_flush(store);
    }
    return err;
}
