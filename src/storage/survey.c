/*
 * Before a damaged log is set aside: up to which index can it have had entries? What can be read of
 * it is looked through for headers of batches, whatever is damaged in between.
 *
 * The newest batch ends where the log ended, so the highest end of any batch is a bound if the
 * newest is among those that were found. That cannot be known when a segment is missing or its
 * header (with the salt of its batches) is not whole, when VOTE knows of a newer batch, or when
 * behind the newest one stands anything at all: a torn batch was never acknowledged, but a damaged
 * one may look like it, and so do the remains in a recycled segment. Then there is no bound.
 */
#include "storage/opening.h"

#include "storage/store.h"

enum { WINDOW_SIZE = 1024 * 1024 };

static void next_segment(struct opening *opening);
static void read_window(struct opening *opening);

/* The end: the bound, as in storage_restored.lost_until. */
static void surveyed(struct opening *opening)
{
    bool found = !opening->survey_partial && !opening->survey_remains &&
                 opening->segment_count > 0 &&
                 opening->vote.synced_sequence <= opening->survey_sequence;
    uint64_t last = opening->survey_last;
    for (size_t i = 0; i < opening->snapshot_count; i++) {
        last = opening->snapshots[i] > last ? opening->snapshots[i] : last;
    }
    aside_mark(opening, found ? last : UINT64_MAX);
}

static bool is_zero(const uint8_t *at, size_t size)
{
    return at[0] == 0 && memcmp(at, at + 1, size - 1) == 0;
}

/* Takes note of what the sector at the position holds; steps behind it, or behind its batch. */
static void look(struct opening *opening, const uint8_t *at, struct batch *ret_batch)
{
    const struct batch_place place = {.salt = opening->segment.salt, .offset = opening->position};
    ret_batch->sequence = 0;
    if (batch_decode(at, place, ret_batch) != 0 || ret_batch->segment != opening->number) {
        opening->survey_remains = opening->survey_remains || !is_zero(at, SECTOR_SIZE);
        opening->position += SECTOR_SIZE;
        ret_batch->vote_sequence = 0;
        return;
    }
    uint64_t last = ret_batch->first_index + ret_batch->count - 1;
    opening->survey_sequence = ret_batch->sequence;
    opening->survey_last = last > opening->survey_last ? last : opening->survey_last;
    opening->survey_remains = false;
    opening->position += batch_disk_size(ret_batch);
}

static void window_read(struct opening *opening, int64_t result)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(opening->number, name);
    if (result < 0) {
        opening_fail_io(opening, result, "reading", name);
        return;
    }
    uint64_t end = opening->window_offset + (uint64_t)result;
    while (opening->position + SECTOR_SIZE <= end) {
        struct batch batch;
        look(opening, opening->bytes.data + (opening->position - opening->window_offset), &batch);
        if (batch.vote_sequence > opening->vote.sequence) {
            opening_fail_vote(opening, batch.vote_sequence, name);
            return;
        }
    }
    if ((uint64_t)result < opening->window_wanted) {
        opening->survey_partial = true; /* The file is shorter than its size. */
        next_segment(opening);
        return;
    }
    read_window(opening);
}

static void read_window(struct opening *opening)
{
    uint64_t left =
        opening->position < opening->segment.size ? opening->segment.size - opening->position : 0;
    if (left < SECTOR_SIZE) {
        next_segment(opening);
        return;
    }
    opening->window_offset = opening->position;
    opening->window_wanted = left < WINDOW_SIZE ? left : WINDOW_SIZE;
    buf_clear(&opening->bytes);
    uint8_t *bytes = buf_reserve(&opening->bytes, (size_t)opening->window_wanted);
    io_read(opening->storage->io, opening_begin(opening, window_read), opening->file,
            opening->position, bytes, (size_t)opening->window_wanted);
}

static void header_read(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_segment(opening, result, "reading", opening->number);
        return;
    }
    if (result < SECTOR_SIZE ||
        segment_decode(opening->bytes.data, &opening->storage->identity, &opening->segment) != 0 ||
        opening->segment.number != opening->number) {
        opening->survey_partial = true;
        next_segment(opening);
        return;
    }
    opening->position = SECTOR_SIZE;
    read_window(opening);
}

static void segment_opened(struct opening *opening, int64_t result)
{
    if (result < 0) {
        opening_fail_segment(opening, result, "opening", opening->number);
        return;
    }
    opening->file = opening->op.file;
    buf_clear(&opening->bytes);
    uint8_t *bytes = buf_reserve(&opening->bytes, SECTOR_SIZE);
    io_read(opening->storage->io, opening_begin(opening, header_read), opening->file, 0, bytes,
            SECTOR_SIZE);
}

static void next_segment(struct opening *opening)
{
    const struct buf *names = &opening->names;
    io_file_close(opening->storage->io, opening->file);
    opening->file = NULL;
    while (opening->name_at < names->size) {
        const char *name = (const char *)names->data + opening->name_at;
        opening->name_at += strlen(name) + 1;
        opening->number = segment_number(name);
        if (opening->number != 0 && opening->number >= opening->vote.first_segment) {
            opening_open(opening, segment_opened, name, IO_OPEN_READ_ONLY);
            return;
        }
    }
    surveyed(opening);
}

void survey_start(struct opening *opening)
{
    if (opening->file != opening->tail_file) {
        io_file_close(opening->storage->io, opening->tail_file);
    }
    opening->tail_file = NULL;
    opening->name_at = 0;
    opening->survey_partial = recover_missing_segment(opening) != 0;
    next_segment(opening);
}
