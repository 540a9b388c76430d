/*
 * The walk through the log. It takes the steps of src/storage/recover.c, so that its verdicts are a
 * server's, and goes on where a server gives up:
 *
 *     walking ──not the expected batch──► gap ──the next segment begins with it──► walking
 *        ▲                                 │ └──nothing behind it──► the end, torn or clean
 *        └─ lost: the next batch, whatever it is ◄── a later batch stands behind it: damaged
 *
 * While a server runs, the log grows under the walk: what looks like a gap with a later batch
 * behind it may be a batch that was written a moment after the walk had looked. So each gap is
 * looked at once more before it is called damaged, and VOTE is read again before a batch is said to
 * know more than it. Since a batch is only written when the one before it is synced, the second
 * look is right.
 */
#include "app/inspect_walk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Bytes of the segment; when they cannot be read, that is found and the walk is lost. */
static const uint8_t *bytes_at(struct walk *walk, size_t size)
{
    struct inspection *inspection = walk->inspection;
    uint64_t held = walk->pieces.offset;
    const uint8_t *bytes = pieces_at(&walk->pieces, walk->position, size);
    if (bytes == NULL) {
        walk_find(walk, VERDICT_REFUSED, walk->position, "cannot be read: %s",
                  walk->pieces.error != 0 ? strerror(walk->pieces.error) : "the file ends before");
        walk->lost = true;
        walk->gap.open = false;
        return NULL;
    }
    if (walk->pieces.offset != held && inspection->progress != NULL) {
        struct inspection shown = *inspection;
        shown.bytes_read += walk->position;
        inspection->progress(&shown);
    }
    return bytes;
}

/* ---- gaps ---- */

static void open_gap(struct walk *walk)
{
    walk->gap = (struct gap){
        .open = true,
        .position = walk->segment,
        .offset = walk->position,
    };
}

/* The batch's header is right; the first of its entries that is not. */
static void open_gap_in_batch(struct walk *walk, const struct batch *batch, const uint8_t *at)
{
    open_gap(walk);
    walk->expected = batch->sequence;
    walk->gap.has_header = true;
    size_t done = BATCH_HEADER_SIZE;
    size_t end = BATCH_HEADER_SIZE + batch->size;
    struct entry entry;
    size_t size;
    uint64_t index = batch->first_index;
    while (done < end && entry_decode(slice_of(at + done, end - done), &entry, &size) == 0 &&
           entry.index == index) {
        done += size;
        index++;
    }
    /* Each entry may be right and not be the one that the header was written for. */
    walk->gap.wrong = walk->position + (done < end ? done : BATCH_HEADER_SIZE);
}

/* The gap is no end of the log: it is damage, by the proof that is given. */
static void call_damaged(struct walk *walk, const char *proof)
{
    struct gap *gap = &walk->gap;
    char name[SEGMENT_NAME_SIZE];
    segment_name(walk->inspection->segments[gap->position].number, name);
    char which[64];
    (void)snprintf(which, sizeof which, "batch %" PRIu64 ", whose header is right,",
                   walk->expected);
    if (!gap->has_header) {
        (void)snprintf(which, sizeof which, "batch %" PRIu64, walk->expected);
    }
    inspection_find(walk->inspection, VERDICT_REFUSED, name,
                    gap->wrong != 0 ? gap->wrong : gap->offset,
                    "%s of the log, after entry %" PRIu64 ", does not match its checksum, but %s, "
                    "so it was stored",
                    which, walk->inspection->last_index, proof);
    walk->inspection->segments[gap->position].remains = 0;
    gap->open = false;
    walk->lost = true;
}

static bool look_again(struct walk *walk)
{
    const struct gap *gap = &walk->gap;
    uint64_t number = walk->inspection->segments[gap->position].number;
    if (!walk->inspection->server_running ||
        (walk->retried_segment == number && walk->retried_offset == gap->offset)) {
        return false;
    }
    walk->retried_segment = number;
    walk->retried_offset = gap->offset;
    return true;
}

/* Steps over one sector of a gap; whether a batch with a later sequence stands there. */
static bool proves_damage(struct walk *walk, const uint8_t *at, int err, const struct batch *batch)
{
    if (err == 0 && batch->sequence > walk->expected) {
        return true;
    }
    size_t wrong = first_nonzero(slice_of(at, SECTOR_SIZE));
    struct log_segment *segment = walk_segment(walk);
    if (wrong < SECTOR_SIZE && segment->remains == 0 && !segment->header.recycled) {
        segment->remains = walk->position + wrong;
    }
    walk->position += SECTOR_SIZE;
    return false;
}

static void give_proof(struct walk *walk, const struct batch *batch)
{
    char name[SEGMENT_NAME_SIZE];
    char proof[128];
    segment_name(walk_segment(walk)->number, name);
    (void)snprintf(proof, sizeof proof, "batch %" PRIu64 " stands in %s at offset %" PRIu64,
                   batch->sequence, name, walk->position);
    call_damaged(walk, proof);
}

/* ---- segments ---- */

enum step { STEP_ON, STEP_BACK, STEP_END };

/* The sector at the position, inside a gap. STEP_ON: it was dealt with. */
static enum step step_in_gap(struct walk *walk, const uint8_t *at, int err,
                             const struct batch *batch, bool fits)
{
    const struct gap *gap = &walk->gap;
    bool next = walk->segment == gap->position + 1 && walk->position == SECTOR_SIZE;
    if (next && fits && !gap->has_header && walk->expected != 0 &&
        batch->sequence == walk->expected) {
        walk->gap.open = false;
        return STEP_ON;
    }
    if (proves_damage(walk, at, err, batch)) {
        if (look_again(walk)) {
            return STEP_BACK;
        }
        give_proof(walk, batch);
    }
    return STEP_ON;
}

/* One sector, or one batch. */
static enum step step(struct walk *walk)
{
    const uint8_t *at = bytes_at(walk, SECTOR_SIZE);
    if (at == NULL) {
        return STEP_END;
    }
    struct batch batch = {0};
    struct batch_place place = {.salt = walk_segment(walk)->header.salt, .offset = walk->position};
    int err = batch_decode(at, place, &batch);
    bool fits = err == 0 && batch.segment == walk_segment(walk)->number &&
                batch_disk_size(&batch) <= walk->limit - walk->position;
    if (walk->gap.open) {
        return step_in_gap(walk, at, err, &batch, fits);
    }
    if (err == KV_ERR_VERSION) {
        walk_find(walk, VERDICT_REFUSED, walk->position,
                  "a batch is in a format that this version does not know");
        walk->lost = true;
    }
    if (walk->lost && !fits) {
        walk->position += SECTOR_SIZE;
        return STEP_ON;
    }
    if (!fits || (!walk->lost && walk->expected != 0 && batch.sequence != walk->expected)) {
        open_gap(walk);
        return STEP_ON;
    }
    at = bytes_at(walk, (size_t)batch_disk_size(&batch));
    if (at == NULL) {
        return STEP_END;
    }
    if (batch_check(&batch, slice_of(at + BATCH_HEADER_SIZE, batch.size)) != 0) {
        open_gap_in_batch(walk, &batch, at);
        walk->lost = false;
        return STEP_ON;
    }
    walk_take(walk, &batch, at);
    return STEP_ON;
}

/* Whether a running server has taken the file for another segment since it was opened. */
static bool was_recycled(const struct inspection *inspection, const struct log_segment *segment)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(segment->number, name);
    return inspection->server_running && faccessat(inspection->folder, name, F_OK, 0) != 0;
}

/* Judges the header; false when nothing behind it can be read. */
static bool read_header(struct walk *walk)
{
    const struct inspection *inspection = walk->inspection;
    struct log_segment *segment = walk_segment(walk);
    const struct identity *identity =
        inspection->has_identity && inspection->identity_err == 0 ? &inspection->identity : NULL;
    walk->position = 0;
    const uint8_t *at = bytes_at(walk, SECTOR_SIZE);
    if (at == NULL) {
        return false;
    }
    int err = segment_decode(at, identity, &segment->header);
    if (err == KV_ERR_MISMATCH) {
        walk_find(walk, VERDICT_REFUSED, 0, "is a log segment of another server");
        err = segment_decode(at, NULL, &segment->header);
    }
    segment->readable = err == 0 && segment->header.number == segment->number;
    if (!segment->readable && was_recycled(inspection, segment)) {
        return false;
    }
    if (!segment->readable) {
        walk_find(walk, VERDICT_REFUSED, 0, "%s; what the segment holds cannot be read",
                  err == KV_ERR_VERSION ? "is in a format that this version does not know"
                  : err == 0            ? "the segment's header has the number of another"
                                        : "the segment's header does not match its checksum");
        return false;
    }
    size_t rest = SECTOR_SIZE - SEGMENT_HEADER_SIZE;
    size_t wrong = first_nonzero(slice_of(at + SEGMENT_HEADER_SIZE, rest));
    if (wrong < rest) {
        walk_find(walk, VERDICT_UNUSED, SEGMENT_HEADER_SIZE + wrong,
                  "a byte behind the segment's header that should be zero is not");
    }
    return true;
}

static void judge_size(struct walk *walk)
{
    const struct log_segment *segment = walk_segment(walk);
    uint64_t size = segment->header.size;
    walk->limit = size;
    if (segment->file_size < size) {
        walk->limit = sector_round_down(segment->file_size);
        walk_find(walk, VERDICT_REFUSED, segment->file_size,
                  "the file ends there and should have %" PRIu64 " bytes", size);
    } else if (segment->file_size > size) {
        walk_find(walk, VERDICT_UNUSED, size,
                  "the file should end there, and has %" PRIu64 " bytes", segment->file_size);
    }
}

/* Opens the file of the segment and judges its header; false when its batches cannot be read. */
static bool open_segment(struct walk *walk)
{
    struct log_segment *segment = walk_segment(walk);
    char name[SEGMENT_NAME_SIZE];
    segment_name(segment->number, name);
    pieces_close(&walk->pieces);
    int error = pieces_open(&walk->pieces, walk->inspection, name);
    if (error != 0) {
        /* A server that runs may have trimmed it meanwhile. */
        if (error != ENOENT || !walk->inspection->server_running) {
            walk_find(walk, VERDICT_REFUSED, UINT64_MAX, "cannot be opened: %s", strerror(error));
        }
        return false;
    }
    segment->file_size = walk->pieces.size;
    return read_header(walk);
}

static void finish_segment(struct walk *walk)
{
    if (!walk->gap.open && !walk->lost) {
        open_gap(walk);
    }
    walk->inspection->bytes_read += walk_segment(walk)->file_size;
}

/* Walks through one segment from the beginning, or from `offset` on, where a gap was. */
static enum step enter_segment(struct walk *walk, uint64_t offset)
{
    size_t found = walk->inspection->finding_count;
    if (!open_segment(walk)) {
        walk->gap.open = false;
        walk->lost = true;
        return STEP_END;
    }
    walk->position = offset;
    walk->limit = walk_segment(walk)->header.size;
    if (offset == 0) {
        judge_size(walk);
        walk->position = SECTOR_SIZE;
        walk_segment(walk)->end = SECTOR_SIZE;
    } else {
        /* The header was judged before. */
        walk->inspection->finding_count = found;
    }
    while (walk->position + SECTOR_SIZE <= walk->limit) {
        enum step next = step(walk);
        if (next != STEP_ON) {
            return next;
        }
    }
    finish_segment(walk);
    return STEP_END;
}

/* ---- the end ---- */

/* The log ends at the gap: cleanly, torn, or too early. */
static void judge_end(struct walk *walk)
{
    struct inspection *inspection = walk->inspection;
    const struct gap gap = walk->gap;
    if (!gap.open) {
        return;
    }
    if (walk->expected == 0 || inspection->vote.synced_sequence >= walk->expected) {
        walk->expected = walk->expected == 0 ? inspection->vote.synced_sequence : walk->expected;
        call_damaged(walk, "VOTE knows it to be synced");
        return;
    }
    walk->segment = gap.position;
    uint64_t remains = walk_segment(walk)->remains;
    if (gap.has_header || remains != 0) {
        walk_find(walk, VERDICT_TORN, gap.wrong != 0 ? gap.wrong : remains,
                  "a torn tail behind entry %" PRIu64 ": the write of batch %" PRIu64
                  " at offset %" PRIu64 " was not finished",
                  inspection->last_index, walk->expected, gap.offset);
        walk_segment(walk)->remains = 0;
    }
    for (walk->segment = gap.position + 1; walk->segment < inspection->segment_count;
         walk->segment++) {
        if (walk_segment(walk)->remains != 0) {
            walk_find(walk, VERDICT_TORN, walk_segment(walk)->remains,
                      "a torn tail behind entry %" PRIu64
                      ": remains of a write that was not finished",
                      inspection->last_index);
            walk_segment(walk)->remains = 0;
        }
    }
}

/* Bytes in the unused ends of segments that the log has left behind. */
static void judge_remains(struct walk *walk)
{
    for (walk->segment = 0; walk->segment < walk->inspection->segment_count; walk->segment++) {
        if (walk_segment(walk)->remains != 0) {
            walk_find(walk, VERDICT_UNUSED, walk_segment(walk)->remains,
                      "a byte behind the segment's last batch that should be zero is not");
        }
    }
}

/* The number in front of segment `at` of the table that is missing; 0: none is. */
static uint64_t missing_before(const struct inspection *inspection, size_t at)
{
    uint64_t wanted = at > 0                       ? inspection->segments[at - 1].number + 1
                      : inspection->vote_slot >= 0 ? inspection->vote.first_segment
                                                   : inspection->segments[0].number;
    return inspection->segments[at].number == wanted ? 0 : wanted;
}

static void find_missing(struct walk *walk, uint64_t number)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(number, name);
    inspection_find(walk->inspection, VERDICT_REFUSED, name, UINT64_MAX,
                    "is missing, though it is a part of the log");
    walk->lost = true;
    walk->gap.open = false;
}

/* What a running server was writing just then is not torn. */
static void drop_torn(struct inspection *inspection)
{
    size_t kept = 0;
    size_t count =
        inspection->finding_count < FINDINGS_MAX ? inspection->finding_count : FINDINGS_MAX;
    for (size_t i = 0; i < count; i++) {
        if (inspection->findings[i].verdict != VERDICT_TORN) {
            inspection->findings[kept++] = inspection->findings[i];
        }
    }
    inspection->finding_count -= count - kept;
}

void inspection_read(struct inspection *inspection)
{
    if (inspection->vote_slot < 0) {
        /* Nobody knows where the log begins: where its files do. */
        inspection->vote.first_segment =
            inspection->segment_count > 0 ? inspection->segments[0].number : 1;
    }
    struct walk walk = {
        .inspection = inspection,
        .pieces = {.file = -1},
        .expected = inspection->vote.first_segment == 1 ? 1 : 0,
    };
    terms_reset(&walk.terms, 1, 0);
    inspection_read_snapshots(inspection);
    uint64_t offset = 0;
    for (size_t at = 0; at < inspection->segment_count;) {
        uint64_t missing = missing_before(inspection, at);
        if (missing != 0 && offset == 0) {
            find_missing(&walk, missing);
        }
        walk.segment = at;
        if (enter_segment(&walk, offset) == STEP_BACK) {
            at = walk.gap.position;
            offset = walk.gap.offset;
            walk.gap.open = false;
            for (size_t i = at; i < inspection->segment_count; i++) {
                inspection->segments[i].remains = 0;
            }
            continue;
        }
        offset = 0;
        at++;
    }
    judge_end(&walk);
    judge_remains(&walk);
    inspection->last_term = terms_at(&walk.terms, walk.terms.next - 1);
    inspection_judge_snapshots(inspection, &walk.terms);
    if (inspection->server_running) {
        drop_torn(inspection);
    }
    pieces_done(&walk.pieces);
    terms_done(&walk.terms);
}
