#include "storage/batch.h"

#include "base/hash.h"
#include "kvapp/err.h"
#include "storage/layout.h"

enum {
    AT_MAGIC = 8,
    AT_VERSION = 12,
    AT_SIZE = 16,
    AT_COUNT = 20,
    AT_SEQUENCE = 24,
    AT_FIRST = 32,
    AT_SEGMENT = 40,
    AT_VOTE = 48,
    AT_BINDING = 56,
    AT_PREVIOUS = 64,
    AT_FLAGS = 72,
    AT_ZERO = 76,
};

/* Of the flags. */
#define FLAG_RESET UINT32_C(1)

STATIC_CHECK(BATCH_HEADER_SIZE == AT_ZERO + 4, "the reserved bytes end the header");

uint64_t batch_disk_size(const struct batch *batch)
{
    return sector_round_up(BATCH_HEADER_SIZE + (uint64_t)batch->size);
}

uint64_t batch_bind(uint64_t binding, uint64_t entry_checksum)
{
    uint8_t bytes[8];
    put_u64(bytes, entry_checksum);
    return hash_bytes_seeded(bytes, sizeof bytes, binding);
}

static uint64_t header_checksum(const uint8_t *at, struct batch_place place)
{
    return hash_bytes_seeded(at + AT_MAGIC, BATCH_HEADER_SIZE - AT_MAGIC,
                             place.salt + place.offset);
}

void batch_encode(const struct batch *batch, struct batch_place place,
                  uint8_t at[BATCH_HEADER_SIZE])
{
    CHECK(batch_disk_size(batch) <= BATCH_SIZE_MAX);
    CHECK((batch->count == 0) == (batch->size == 0));
    put_u32(at + AT_MAGIC, BATCH_MAGIC);
    put_u32(at + AT_VERSION, LAYOUT_VERSION);
    put_u32(at + AT_SIZE, batch->size);
    put_u32(at + AT_COUNT, batch->count);
    put_u64(at + AT_SEQUENCE, batch->sequence);
    put_u64(at + AT_FIRST, batch->first_index);
    put_u64(at + AT_SEGMENT, batch->segment);
    put_u64(at + AT_VOTE, batch->vote_sequence);
    put_u64(at + AT_BINDING, batch->binding);
    put_u64(at + AT_PREVIOUS, batch->previous_term);
    put_u32(at + AT_FLAGS, batch->reset ? FLAG_RESET : 0);
    put_u32(at + AT_ZERO, 0);
    put_u64(at, header_checksum(at, place));
}

int batch_decode(const uint8_t at[BATCH_HEADER_SIZE], struct batch_place place,
                 struct batch *ret_batch)
{
    /* The magic is looked at first because a scan for batches meets mostly zeros. */
    if (get_u32(at + AT_MAGIC) != BATCH_MAGIC || header_checksum(at, place) != get_u64(at)) {
        return KV_ERR_CHECKSUM;
    }
    if (get_u32(at + AT_VERSION) != LAYOUT_VERSION) {
        return KV_ERR_VERSION;
    }
    struct batch batch = {
        .size = get_u32(at + AT_SIZE),
        .count = get_u32(at + AT_COUNT),
        .sequence = get_u64(at + AT_SEQUENCE),
        .first_index = get_u64(at + AT_FIRST),
        .segment = get_u64(at + AT_SEGMENT),
        .vote_sequence = get_u64(at + AT_VOTE),
        .binding = get_u64(at + AT_BINDING),
        .previous_term = get_u64(at + AT_PREVIOUS),
        .reset = (get_u32(at + AT_FLAGS) & FLAG_RESET) != 0,
    };
    if (batch_disk_size(&batch) > BATCH_SIZE_MAX || batch.first_index == 0 || batch.sequence == 0 ||
        (batch.count == 0) != (batch.size == 0) || (get_u32(at + AT_FLAGS) & ~FLAG_RESET) != 0 ||
        get_u32(at + AT_ZERO) != 0) {
        return KV_ERR_CHECKSUM;
    }
    *ret_batch = batch;
    return 0;
}

int batch_check(const struct batch *batch, struct slice entries)
{
    CHECK(entries.size == batch->size);
    uint64_t binding = 0;
    size_t at = 0;
    for (uint64_t i = 0; i < batch->count; i++) {
        struct entry entry;
        size_t size;
        struct slice rest = slice_of(entries.data + at, entries.size - at);
        if (entry_decode(rest, &entry, &size) != 0 || entry.index != batch->first_index + i) {
            return KV_ERR_CHECKSUM;
        }
        binding = batch_bind(binding, get_u64(rest.data));
        at += size;
    }
    return at == entries.size && binding == batch->binding ? 0 : KV_ERR_CHECKSUM;
}
