/*
 * Reading the log back, and the verdict on its end.
 *
 *     open segment ─► walk batches ──not the expected batch──► scan the rest of the segment
 *         ▲  │                                                        │
 *         │  └─ it begins with the expected batch: walk on            │ next segment
 *         └───────────────────────────────────────────────────────────┘
 *                                                                     │ no more segments
 *                                                       the log ends where the walk stopped
 *
 * The walk takes batch after batch, each with the next sequence. Where that stops, either the log
 * ends, maybe with a torn write, or it is damaged. Batch N + 1 is written only after batch N was
 * synced. So when anywhere behind stands the header of a batch with a higher sequence than the one
 * expected, or when VOTE knows the expected one to be synced, then it was synced and is damaged:
 * the log is lost (opening_lose): entries that this server acknowledged would be gone without a
 * word. Otherwise nobody was ever told that the batch is stored, and it is cut.
 *
 * Memory: a window of WINDOW_SIZE, or of one batch where that is larger, and the cache.
 */
#include "storage/opening.h"

#include "base/memory.h"
#include "base/mutation.h"
#include "storage/store.h"

#include <inttypes.h>
#include <stdio.h>

enum { WINDOW_SIZE = 1024 * 1024 };

static void walk(struct opening *opening);
static void scan(struct opening *opening);
static void open_segment(struct opening *opening, uint64_t number);

/* ---- the window ---- */

static void window_read(struct opening *opening, int64_t result)
{
    struct segment segment = {.number = opening->number};
    char name[SEGMENT_NAME_SIZE];
    segment_name(segment.number, name);
    if (result < 0) {
        opening_fail_io(opening, result, "reading", name);
        return;
    }
    opening->bytes.size += (size_t)result;
    if (opening->bytes.size < opening->window_wanted) {
        opening_lose(opening,
                     "%s/%s: damaged: the file ends at offset %" PRIu64 ", before its size",
                     opening->storage->path, name, opening->window_offset + opening->bytes.size);
        return;
    }
    if (opening->scanning && !opening->looking) {
        scan(opening);
    } else {
        walk(opening);
    }
}

/*
 * The `size` bytes at the position, which the segment has; NULL when they must be read first: the
 * walk or scan is then called again.
 */
static const uint8_t *window(struct opening *opening, uint64_t size)
{
    CHECK(opening->position + size <= opening->segment.size);
    uint64_t at = opening->position - opening->window_offset;
    if (opening->position >= opening->window_offset && at + size <= opening->bytes.size) {
        return opening->bytes.data + at;
    }
    if (opening->position >= opening->window_offset && at <= opening->bytes.size) {
        buf_consume(&opening->bytes, (size_t)at);
    } else {
        buf_clear(&opening->bytes);
    }
    opening->window_offset = opening->position;
    uint64_t have = opening->bytes.size;
    uint64_t left = opening->segment.size - opening->position - have;
    uint64_t more = size - have < WINDOW_SIZE ? WINDOW_SIZE : size - have;
    more = more < left ? more : left;
    opening->window_wanted = have + more;
    uint8_t *bytes = buf_reserve(&opening->bytes, (size_t)more);
    io_read(opening->storage->io, opening_begin(opening, window_read), opening->file,
            opening->position + have, bytes, (size_t)more);
    return NULL;
}

/* ---- taking a batch ---- */

/* The log begins, or begins anew, with the batch. */
static void begin_at(struct opening *opening, const struct batch *batch)
{
    struct storage *storage = opening->storage;
    opening->based = true;
    opening->reset_seen = opening->reset_seen || batch->reset;
    terms_reset(&storage->terms, batch->first_index, batch->previous_term);
    membership_list_truncate(&storage->memberships, 0);
    cache_restart(&storage->cache, batch->first_index);
    extents_clear(&storage->extents);
}

/* Makes room in memory for a batch; false when it cannot follow. */
static bool continue_with(struct opening *opening, const struct batch *batch)
{
    struct storage *storage = opening->storage;
    struct terms *terms = &storage->terms;
    /* A trimmed log begins anywhere, even below what it seemed to begin with: the batch replaces
     * entries whose predecessors were trimmed. A whole one begins with the first index there is. */
    bool trimmed = opening->vote.first_segment > 1 && !opening->reset_seen;
    uint64_t first = batch->first_index;
    if (batch->reset || (trimmed && (!opening->based || first < terms->first))) {
        begin_at(opening, batch);
        return true;
    }
    opening->based = true;
    if (first < terms->first || first > terms->next ||
        terms_at(terms, first - 1) != batch->previous_term) {
        return false;
    }
    terms_truncate(terms, first);
    membership_list_truncate(&storage->memberships, first);
    cache_truncate(&storage->cache, first);
    return true;
}

/* Takes a batch whose checksums are right; false when it does not fit what was before it. */
static bool take_batch(struct opening *opening, const struct batch *batch, const uint8_t *at)
{
    struct storage *storage = opening->storage;
    if (!continue_with(opening, batch)) {
        return false;
    }
    extents_batch_begin(&storage->extents, opening->number, opening->position, batch->first_index);
    for (uint32_t i = 0; i < batch->count; i++) {
        size_t size = entry_encoded_size(get_u32(at + ENTRY_SIZE_OFFSET));
        if (!terms_add(&storage->terms, get_u64(at + ENTRY_TERM_OFFSET))) {
            return false;
        }
        if (at[ENTRY_KIND_OFFSET] == ENTRY_MEMBERSHIP) {
            membership_list_add(&storage->memberships, batch->first_index + i,
                                slice_of(at + ENTRY_HEADER_SIZE, size - ENTRY_HEADER_SIZE));
        }
        memcpy(cache_extend(&storage->cache, size), at, size);
        extents_batch_entry(&storage->extents, size);
        at += size;
    }
    extents_batch_end(&storage->extents);
    cache_evict(&storage->cache, storage->cache.next - 1);
    return true;
}

/* ---- verdicts ---- */

static void refuse(struct opening *opening, const char *proof)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(opening->tail.number, name);
    opening_lose(opening,
                 "%s/%s: damaged at offset %" PRIu64 ": batch %" PRIu64 " of the log, after entry "
                 "%" PRIu64 ", cannot be read back, but %s, so it was stored",
                 opening->storage->path, name, opening->tail_offset, opening->expected,
                 opening->storage->cache.next - 1, proof);
}

static void recovered(struct opening *opening)
{
    struct storage *storage = opening->storage;
    if (opening->tail_file == NULL) {
        /* No segment at all: the first start ended before it had one. */
        settle_start(opening);
        return;
    }
    if (opening->expected == 0) {
        opening->expected = opening->vote.synced_sequence;
        refuse(opening, "VOTE says that the log goes on there");
        return;
    }
    if (opening->vote.synced_sequence >= opening->expected && !MUTATION(damage_as_tail)) {
        refuse(opening, "VOTE knows it to be synced");
        return;
    }
    storage->torn_bytes = opening->tail_torn_end - opening->tail_offset + opening->spare_torn;
    choose_judge(opening);
}

/* ---- scanning ---- */

static bool is_zero(const uint8_t *at, size_t size)
{
    return at[0] == 0 && memcmp(at, at + 1, size - 1) == 0;
}

/* The remains in the segment just scanned; in a recycled one they may be of its former life. */
static void note_remains(struct opening *opening)
{
    bool is_tail = opening->number == opening->tail.number;
    uint64_t end = opening->segment.recycled ? 0 : opening->nonzero_end;
    if (!is_tail) {
        opening->spare_torn += end > SECTOR_SIZE ? end - SECTOR_SIZE : 0;
    } else if (opening->tail_torn_end < end) {
        opening->tail_torn_end = end;
    }
}

static void scan(struct opening *opening)
{
    while (opening->position + SECTOR_SIZE <= opening->segment.size) {
        const uint8_t *at = window(opening, SECTOR_SIZE);
        if (at == NULL) {
            return;
        }
        struct batch batch;
        struct batch_place place = {
            .salt = opening->segment.salt,
            .offset = opening->position,
        };
        if (!is_zero(at, SECTOR_SIZE)) {
            opening->nonzero_end = opening->position + SECTOR_SIZE;
            if (batch_decode(at, place, &batch) == 0 && batch.sequence > opening->expected &&
                !MUTATION(damage_as_tail)) {
                char name[SEGMENT_NAME_SIZE];
                char proof[128];
                segment_name(opening->number, name);
                (void)snprintf(proof, sizeof proof,
                               "batch %" PRIu64 " stands in %s at offset %" PRIu64, batch.sequence,
                               name, opening->position);
                refuse(opening, proof);
                return;
            }
        }
        opening->position += SECTOR_SIZE;
    }
    note_remains(opening);
    if (opening->number == opening->segment_highest) {
        recovered(opening);
        return;
    }
    open_segment(opening, opening->number + 1);
}

/* ---- walking ---- */

/*
 * The expected batch does not stand at the position: from here on the log is only searched for
 * what proves that it should. The first such place is where it seems to end.
 */
static void stop_walking(struct opening *opening)
{
    if (opening->scanning) {
        return;
    }
    opening->scanning = true;
    opening->tail_file = opening->file;
    opening->tail = opening->segment;
    opening->tail_offset = opening->position;
    opening->tail_torn_end = opening->position;
    opening->spare_torn = 0;
}

/* The scanned segment begins with the expected batch: the log goes on here. */
static void walk_on(struct opening *opening)
{
    opening->looking = false;
    opening->scanning = false;
    io_file_close(opening->storage->io, opening->tail_file);
    opening->tail_file = NULL;
}

static void fail_version(struct opening *opening)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(opening->number, name);
    opening_fail(opening, KV_ERR_VERSION,
                 "%s/%s: was written in a format that this version does not know; start the "
                 "version that wrote it",
                 opening->storage->path, name);
}

/* Takes the batch and steps over it; false when that ended the opening. */
static bool accept_batch(struct opening *opening, const struct batch *batch, const uint8_t *at)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(opening->number, name);
    if (batch->vote_sequence > opening->vote.sequence) {
        opening_fail_vote(opening, batch->vote_sequence, name);
        return false;
    }
    if (!take_batch(opening, batch, at)) {
        opening_lose(opening,
                     "%s/%s: damaged at offset %" PRIu64
                     ": the batch does not follow what was before it",
                     opening->storage->path, name, opening->position);
        return false;
    }
    opening->position += batch_disk_size(batch);
    opening->expected = batch->sequence + 1;
    return true;
}

/* The batch's header is there, its entries are not: the one place where the log can end. */
static void note_torn(struct opening *opening, const struct batch *batch)
{
    opening->expected = batch->sequence;
    stop_walking(opening);
    opening->tail_has_header = true;
    opening->tail_torn_end = opening->position + batch_disk_size(batch);
}

static bool batch_is_expected(const struct opening *opening, int err, const struct batch *batch)
{
    if (err != 0 || batch->segment != opening->number) {
        return false;
    }
    return batch->sequence == opening->expected || opening->expected == 0;
}

static void walk(struct opening *opening)
{
    for (;;) {
        uint64_t left = opening->segment.size - opening->position;
        if (left < SECTOR_SIZE) {
            break;
        }
        const uint8_t *at = window(opening, SECTOR_SIZE);
        if (at == NULL) {
            return;
        }
        struct batch batch;
        struct batch_place place = {
            .salt = opening->segment.salt,
            .offset = opening->position,
        };
        int err = batch_decode(at, place, &batch);
        if (err == KV_ERR_VERSION) {
            fail_version(opening);
            return;
        }
        bool expected = batch_is_expected(opening, err, &batch);
        if (!expected || batch_disk_size(&batch) > left) {
            break;
        }
        if (opening->looking) {
            walk_on(opening);
        }
        at = window(opening, batch_disk_size(&batch));
        if (at == NULL) {
            return;
        }
        at += BATCH_HEADER_SIZE;
        if (batch_check(&batch, slice_of(at, batch.size)) != 0) {
            note_torn(opening, &batch);
            break;
        }
        if (!accept_batch(opening, &batch, at)) {
            return;
        }
    }
    opening->looking = false;
    stop_walking(opening);
    scan(opening);
}

/* ---- segments ---- */

static void header_read(struct opening *opening, int64_t result)
{
    struct storage *storage = opening->storage;
    char name[SEGMENT_NAME_SIZE];
    segment_name(opening->number, name);
    if (result < 0) {
        opening_fail_io(opening, result, "reading", name);
        return;
    }
    struct segment segment = {0};
    int err = result < SECTOR_SIZE
                  ? KV_ERR_DAMAGED
                  : segment_decode(opening->bytes.data, &storage->identity, &segment);
    if (err == KV_ERR_VERSION) {
        fail_version(opening);
        return;
    }
    if (err == KV_ERR_MISMATCH) {
        opening_lose(opening,
                     "%s/%s: is a log segment of another server, so this server's own is missing",
                     storage->path, name);
        return;
    }
    if (err != 0 || segment.number != opening->number) {
        opening_lose(opening, "%s/%s: damaged at offset 0: the segment's header is not whole",
                     storage->path, name);
        return;
    }
    if (opening->file_size < segment.size) {
        opening_lose(opening,
                     "%s/%s: damaged: the file has %" PRIu64 " bytes and should have %" PRIu64,
                     storage->path, name, opening->file_size, segment.size);
        return;
    }
    opening->segment = segment;
    segments_push(&storage->segments, &segment);
    opening->position = SECTOR_SIZE;
    opening->window_offset = 0;
    opening->nonzero_end = 0;
    buf_clear(&opening->bytes);
    /* Also when the log seems to have ended: it may go on at the beginning of this segment. */
    opening->looking = opening->scanning && opening->expected != 0 && !opening->tail_has_header &&
                       opening->number == opening->tail.number + 1;
    if (opening->looking || !opening->scanning) {
        walk(opening);
    } else {
        scan(opening);
    }
}

static void sized(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_segment(opening, result, "reading the size of", opening->number);
        return;
    }
    opening->file_size = (uint64_t)result;
    buf_clear(&opening->bytes);
    uint8_t *bytes = buf_reserve(&opening->bytes, SECTOR_SIZE);
    io_read(opening->storage->io, opening_begin(opening, header_read), opening->file, 0, bytes,
            SECTOR_SIZE);
}

static void end_synced(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_segment(opening, result, "syncing", opening->number);
        return;
    }
    io_forget(opening->storage->io, opening->file);
    io_size(opening->storage->io, opening_begin(opening, sized), opening->file);
}

static void segment_opened(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_segment(opening, result, "opening", opening->number);
        return;
    }
    opening->file = opening->op.file;
    /* The newest batch is in the last segment, or before an empty one. */
    if (opening->number + 1 >= opening->segment_highest) {
        io_sync(opening->storage->io, opening_begin(opening, end_synced), opening->file);
    } else {
        io_size(opening->storage->io, opening_begin(opening, sized), opening->file);
    }
}

static void open_segment(struct opening *opening, uint64_t number)
{
    char name[SEGMENT_NAME_SIZE];
    if (opening->file != opening->tail_file) {
        io_file_close(opening->storage->io, opening->file);
    }
    opening->file = NULL;
    opening->number = number;
    segment_name(number, name);
    opening_open(opening, segment_opened, name, 0);
}

uint64_t recover_missing_segment(const struct opening *opening)
{
    uint64_t next = opening->vote.first_segment;
    const struct buf *names = &opening->names;
    for (size_t at = 0; at < names->size; at += strlen((const char *)names->data + at) + 1) {
        uint64_t number = segment_number((const char *)names->data + at);
        if (number < opening->vote.first_segment) {
            continue;
        }
        if (number != next) {
            return next;
        }
        next++;
    }
    return next == opening->vote.first_segment ? next : 0;
}

void recover_start(struct opening *opening)
{
    opening->expected = opening->vote.first_segment == 1 ? 1 : 0;
    if (opening->segment_count == 0) {
        recovered(opening);
        return;
    }
    uint64_t missing = recover_missing_segment(opening);
    if (missing != 0) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(missing, name);
        opening_lose(opening, "%s/%s: is missing, though it is a part of the log",
                     opening->storage->path, name);
        return;
    }
    open_segment(opening, opening->vote.first_segment);
}
