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

static void note_replacement(struct inspection *inspection, const struct batch *batch)
{
    uint64_t first = batch->reset ? 0 : batch->first_index;
    struct replacement *at = inspection->replacements;
    size_t count = inspection->replacement_count;
    /* What an earlier one replaced from a higher index on, this one replaces too. */
    while (count > 0 && at[count - 1].first_index >= first) {
        count--;
    }
    at = memory_grow(at, (count + 1) * sizeof at[0]);
    at[count] = (struct replacement){
        .sequence = batch->sequence,
        .first_index = first,
    };
    inspection->replacements = at;
    inspection->replacement_count = count + 1;
}

/* Whether a batch may follow what was before it: see continue_with of recover.c. */
static bool fits(const struct terms *terms, const struct batch *batch)
{
    uint64_t first = batch->first_index;
    return first >= terms->first && first <= terms->next &&
           terms_at(terms, first - 1) == batch->previous_term;
}

/* Makes room for a batch; behind damage any batch may follow. */
static void continue_with(struct walk *walk, const struct batch *batch)
{
    struct inspection *inspection = walk->inspection;
    struct terms *terms = &walk->terms;
    bool trimmed = inspection->vote.first_segment > 1 && !walk->reset_seen;
    bool begins = batch->reset || (trimmed && (!walk->based || batch->first_index < terms->first));
    if (batch->reset || batch->first_index < terms->next) {
        note_replacement(inspection, batch);
    }
    if (begins || !fits(terms, batch)) {
        if (!begins && !walk->lost) {
            walk_find(walk, VERDICT_REFUSED, walk->position,
                      "batch %" PRIu64 ", which begins with entry %" PRIu64
                      " after one of term %" PRIu64 ", does not follow entry %" PRIu64,
                      batch->sequence, batch->first_index, batch->previous_term, terms->next - 1);
        }
        if (begins || !walk->based) {
            inspection->first_index = batch->first_index;
        }
        terms_reset(terms, batch->first_index, batch->previous_term);
    } else {
        inspection->first_index = walk->based ? inspection->first_index : batch->first_index;
        terms_truncate(terms, batch->first_index);
    }
    walk->based = true;
    walk->reset_seen = walk->reset_seen || batch->reset;
}

/* The entries of a batch whose checksums are right, in the order of terms. */
static void take_entries(struct walk *walk, const struct batch *batch, const uint8_t *at)
{
    struct terms *terms = &walk->terms;
    for (uint32_t i = 0; i < batch->count; i++) {
        uint64_t index = batch->first_index + i;
        uint64_t term = get_u64(at + ENTRY_TERM_OFFSET);
        if (!terms_add(terms, term)) {
            walk_find(walk, VERDICT_REFUSED, walk->position,
                      "entry %" PRIu64 " has term %" PRIu64
                      ", less than the one before it: %" PRIu64,
                      index, term, terms_at(terms, index - 1));
            terms_reset(terms, index, 0);
            (void)terms_add(terms, term);
        }
        at += entry_encoded_size(get_u32(at + ENTRY_SIZE_OFFSET));
    }
    walk->inspection->last_index = terms->next - 1;
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
    continue_with(walk, batch);
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
