/*
 * Taking a snapshot: chunks from the state machine, compressed, checksummed and appended to a
 * draft.
 *
 *     begin ─► header and membership ─► chunk ─► chunk ─► ... ─► commit: end, then draft_finish
 *     a failure, or abandon: draft_discard
 */
#include "storage/snapshot.h"

#include "base/memory.h"
#include "storage/draft.h"
#include "storage/store.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

/* The fastest of the usual levels: a chunk is compressed within a turn of the loop. */
enum { COMPRESSION_LEVEL = 1 };

struct snapshot_taking {
    struct snapshot_work work;
    struct storage_snapshot_taking *owner;
    struct draft draft;
    struct snapshot_header header;
    struct buf membership;
    struct buf bytes; /* what is being appended */
    ZSTD_CCtx *compressor;
    uint64_t sequence; /* of the next chunk */
    uint64_t raw_size;
    bool committing;
    bool finishing; /* everything is in the file */
    bool discarding;
    bool abandoned;
    int err; /* why it is discarded */
    char sentence[SENTENCE_SIZE];
};

static void taking_free(struct snapshot_work *work)
{
    struct snapshot_taking *taking = CONTAINER_OF(work, struct snapshot_taking, work);
    work->storage->snapshots.taking = NULL;
    draft_done(&taking->draft);
    buf_done(&taking->membership);
    buf_done(&taking->bytes);
    ZSTD_freeCCtx(taking->compressor);
    free(taking);
}

/* Everything is over; the answer comes from io_run. */
static void end(struct snapshot_taking *taking, int err, const char *sentence)
{
    struct storage_snapshot_taking *owner = taking->owner;
    char text[SENTENCE_SIZE];
    memcpy(text, sentence, strlen(sentence) + 1);
    owner->backend = NULL;
    snapshot_work_end(&taking->work);
    owner->done(owner, err, text);
}

static void discard(struct snapshot_taking *taking)
{
    taking->discarding = true;
    draft_discard(&taking->draft);
}

static void fail(struct snapshot_taking *taking, int64_t result)
{
    snapshot_sentence(taking->sentence, sizeof taking->sentence, taking->work.storage,
                      SNAPSHOT_TAKING_NAME, ": %s failed: %s; the snapshot was given up",
                      taking->draft.what, io_error_sentence(result));
    taking->err = storage_io_error(result);
    discard(taking);
}

/* Adds a chunk, compressed, to what is about to be appended. */
static void add_chunk(struct snapshot_taking *taking, struct slice raw)
{
    uint64_t offset = taking->draft.size + taking->bytes.size;
    size_t start = taking->bytes.size;
    size_t bound = ZSTD_compressBound(raw.size);
    uint8_t *at = buf_reserve(&taking->bytes, SNAPSHOT_CHUNK_HEADER_SIZE + bound);
    size_t size = ZSTD_compressCCtx(taking->compressor, at + SNAPSHOT_CHUNK_HEADER_SIZE, bound,
                                    raw.data, raw.size, COMPRESSION_LEVEL);
    CHECK(ZSTD_isError(size) == 0);
    struct snapshot_chunk chunk = {
        .sequence = taking->sequence++,
        .raw_size = raw.size,
        .stored_size = (uint32_t)size,
    };
    struct snapshot_place place = {.salt = taking->header.salt, .offset = offset};
    snapshot_chunk_encode(&chunk, place, at);
    taking->bytes.size = start + SNAPSHOT_CHUNK_HEADER_SIZE + size;
    taking->raw_size += raw.size;
}

static void add_end(struct snapshot_taking *taking)
{
    struct snapshot_chunk chunk = {
        .end = true,
        .sequence = taking->sequence,
        .raw_size = taking->raw_size,
    };
    struct snapshot_place place = {.salt = taking->header.salt, .offset = taking->draft.size};
    snapshot_chunk_encode(&chunk, place, buf_extend(&taking->bytes, SNAPSHOT_CHUNK_HEADER_SIZE));
}

static void append(struct snapshot_taking *taking)
{
    draft_append(&taking->draft, buf_slice(&taking->bytes));
}

static void give_up_overtaken(struct snapshot_taking *taking)
{
    taking->err = KV_ERR_INVALID;
    snapshot_sentence(taking->sentence, sizeof taking->sentence, taking->work.storage,
                      SNAPSHOT_TAKING_NAME, ": a newer snapshot is there already");
    discard(taking);
}

static void draft_moved(struct draft *draft, int64_t result)
{
    struct snapshot_taking *taking = CONTAINER_OF(draft, struct snapshot_taking, draft);
    if (result == -ECANCELED) {
        end(taking, KV_ERR_STOPPED, kvapp_err_sentence(KV_ERR_STOPPED));
    } else if (taking->discarding) {
        end(taking, taking->err, taking->sentence);
    } else if (taking->abandoned) {
        discard(taking);
    } else if (result == -EEXIST && taking->finishing) {
        give_up_overtaken(taking);
    } else if (result < 0) {
        fail(taking, result);
    } else if (taking->finishing) {
        end(taking, 0, "");
    } else if (taking->committing) {
        taking->finishing = true;
        draft_finish(&taking->draft, &taking->header, buf_slice(&taking->membership));
    } else if (taking->sequence == 0) {
        uint8_t *at = buf_extend(&taking->bytes, SNAPSHOT_HEADER_SIZE);
        snapshot_header_encode(&taking->header, at);
        add_chunk(taking, buf_slice(&taking->membership));
        append(taking);
    } else {
        buf_clear(&taking->bytes);
        taking->work.busy = false;
        taking->owner->done(taking->owner, 0, "");
    }
}

void storage_snapshot_begin(struct storage *storage, struct storage_snapshot_taking *owner,
                            const struct storage_snapshot_meta *meta)
{
    CHECK(storage->snapshots.taking == NULL);
    CHECK(meta->index > 0);
    CHECK(meta->membership.size <= STORAGE_MEMBERSHIP_SIZE_MAX);
    struct snapshot_taking *taking = memory_new(1, sizeof *taking);
    taking->owner = owner;
    taking->header = (struct snapshot_header){
        .salt = io_random(storage->io),
        .cluster_id = storage->identity.cluster_id,
        .index = meta->index,
        .term = meta->term,
        .digest = meta->digest,
    };
    buf_append_slice(&taking->membership, meta->membership);
    taking->compressor = ZSTD_createCCtx();
    CHECK(taking->compressor != NULL);
    owner->backend = taking;
    snapshot_work_begin(&taking->work, storage, taking_free);
    storage->snapshots.taking = taking;
    taking->work.busy = true;
    draft_init(&taking->draft, storage, SNAPSHOT_TAKING_NAME, draft_moved);
    taking->draft.renews = true;
    draft_create(&taking->draft);
}

/* The one being taken, which nobody has asked anything of. */
static struct snapshot_taking *idle_taking(struct storage *storage)
{
    struct snapshot_taking *taking = storage->snapshots.taking;
    CHECK(taking != NULL);
    CHECK(!taking->work.busy);
    taking->work.busy = true;
    return taking;
}

void storage_snapshot_chunk(struct storage *storage, struct slice raw)
{
    CHECK(raw.size > 0);
    CHECK(raw.size <= SNAPSHOT_CHUNK_SIZE_MAX);
    struct snapshot_taking *taking = idle_taking(storage);
    add_chunk(taking, raw);
    append(taking);
}

void storage_snapshot_commit(struct storage *storage)
{
    struct snapshot_taking *taking = idle_taking(storage);
    taking->committing = true;
    add_end(taking);
    append(taking);
}

void storage_snapshot_abandon(struct storage *storage)
{
    struct snapshot_taking *taking = storage->snapshots.taking;
    CHECK(taking != NULL);
    CHECK(!taking->committing);
    CHECK(!taking->abandoned);
    taking->abandoned = true;
    if (taking->discarding) {
        /* It failed already: its own answer becomes this one's. */
        taking->err = 0;
    } else if (!taking->work.busy) {
        taking->work.busy = true;
        discard(taking);
    }
}
