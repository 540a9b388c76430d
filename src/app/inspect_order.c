/*
 * How one batch follows another: sequence and indexes without a gap, terms that never fall, VOTE
 * not older than a batch. As take_batch and accept_batch of src/storage/recover.c, but that the
 * walk goes on when something does not follow.
 */
#include "app/inspect_walk.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void walk_find(const struct walk *walk, enum verdict verdict, uint64_t offset, const char *format,
               ...)
{
    char name[SEGMENT_NAME_SIZE];
    char what[FINDING_SIZE];
    segment_name(walk_segment(walk)->number, name);
    va_list arguments;
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    inspection_find(walk->inspection, verdict, name, offset, "%s", what);
}

uint64_t walk_last_term(const struct walk *walk)
{
    return walk->run_count == 0 ? 0 : walk->runs[walk->run_count - 1].term;
}

static void forget_from(struct walk *walk, uint64_t index)
{
    while (walk->run_count > 0 && walk->runs[walk->run_count - 1].first >= index) {
        walk->run_count--;
    }
}

static void note_replacement(struct inspection *inspection, const struct batch *batch)
{
    struct replacement *at = inspection->replacements;
    size_t count = inspection->replacement_count;
    /* What an earlier one replaced from a higher index on, this one replaces too. */
    while (count > 0 && at[count - 1].first_index >= batch->first_index) {
        count--;
    }
    at = memory_grow(at, (count + 1) * sizeof at[0]);
    at[count] = (struct replacement){
        .sequence = batch->sequence,
        .first_index = batch->first_index,
    };
    inspection->replacements = at;
    inspection->replacement_count = count + 1;
}

/* As continue_at of recover.c; behind damage any index may follow. */
static bool continues(struct walk *walk, const struct batch *batch)
{
    struct inspection *inspection = walk->inspection;
    uint64_t first = batch->first_index;
    bool trimmed = inspection->vote.first_segment > 1;
    bool fits = true;
    if (!walk->based || (trimmed && first < inspection->first_index)) {
        fits = trimmed || walk->lost || first == 1;
        walk->based = true;
        inspection->first_index = first;
        walk->run_count = 0;
    } else if (first < inspection->first_index || first > inspection->last_index + 1) {
        fits = walk->lost;
        walk->run_count = 0;
    } else {
        if (first <= inspection->last_index) {
            note_replacement(inspection, batch);
        }
        forget_from(walk, first);
    }
    if (!fits) {
        walk_find(walk, VERDICT_REFUSED, walk->position,
                  "batch %" PRIu64 " begins with entry %" PRIu64
                  " and does not follow entry %" PRIu64,
                  batch->sequence, first, inspection->last_index);
    }
    inspection->last_index = first - 1;
    return fits;
}

/* The entries of a batch whose checksums are right, in the order of terms. */
static void take_entries(struct walk *walk, const struct batch *batch, const uint8_t *at)
{
    struct inspection *inspection = walk->inspection;
    for (uint32_t i = 0; i < batch->count; i++) {
        uint64_t index = batch->first_index + i;
        uint64_t term = get_u64(at + ENTRY_TERM_OFFSET);
        if (term < walk_last_term(walk)) {
            walk_find(walk, VERDICT_REFUSED, walk->position,
                      "entry %" PRIu64 " has term %" PRIu64
                      ", less than the one before it: %" PRIu64,
                      index, term, walk_last_term(walk));
            walk->run_count = 0;
        }
        if (walk->run_count == 0 || term > walk_last_term(walk)) {
            walk->runs = memory_grow(walk->runs, (walk->run_count + 1) * sizeof walk->runs[0]);
            walk->runs[walk->run_count++] = (struct term_run){.first = index, .term = term};
        }
        inspection->last_index = index;
        at += entry_encoded_size(get_u32(at + ENTRY_SIZE_OFFSET));
    }
}

static void check_vote(struct walk *walk, const struct batch *batch)
{
    struct inspection *inspection = walk->inspection;
    if (inspection->vote_slot < 0 || walk->vote_told) {
        return;
    }
    if (batch->vote_sequence > inspection->vote.sequence && inspection->server_running) {
        inspection_reread_vote(inspection);
    }
    if (batch->vote_sequence > inspection->vote.sequence) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(walk_segment(walk)->number, name);
        inspection_find(inspection, VERDICT_REFUSED, "VOTE", UINT64_MAX,
                        "holds record %" PRIu64 ", and %s knows at offset %" PRIu64
                        " of record %" PRIu64 "; a vote that this server gave may be lost",
                        inspection->vote.sequence, name, walk->position, batch->vote_sequence);
        walk->vote_told = true;
    }
}

void walk_take(struct walk *walk, const struct batch *batch, const uint8_t *at)
{
    struct inspection *inspection = walk->inspection;
    struct log_segment *segment = walk_segment(walk);
    check_vote(walk, batch);
    (void)continues(walk, batch);
    take_entries(walk, batch, at + BATCH_HEADER_SIZE);
    inspection->batches++;
    inspection->entries += batch->count;
    segment->batches++;
    segment->entries += batch->count;
    if (batch->count > 0) {
        uint64_t last = batch->first_index + batch->count - 1;
        segment->first_index =
            segment->first_index == 0 ? batch->first_index : segment->first_index;
        segment->last_index = segment->last_index < last ? last : segment->last_index;
    }
    size_t used = BATCH_HEADER_SIZE + batch->size;
    size_t padding = (size_t)batch_disk_size(batch) - used;
    size_t wrong = first_nonzero(slice_of(at + used, padding));
    if (wrong < padding) {
        walk_find(walk, VERDICT_UNUSED, walk->position + used + wrong,
                  "a byte between two batches that should be zero is not");
    }
    walk->position += batch_disk_size(batch);
    segment->end = walk->position;
    walk->expected = batch->sequence + 1;
    walk->lost = false;
}
