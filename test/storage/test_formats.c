/* The encodings by themselves: what a decoder must take, and all that it must refuse. */
#include "base/hash.h"
#include "base/prng.h"
#include "kvapp/err.h"
#include "storage/batch.h"
#include "storage/entry.h"
#include "storage/layout.h"
#include "storage/segment.h"
#include "storage/snapshot_format.h"
#include "storage/vote.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static size_t make_entry(uint64_t index, uint64_t term, const char *payload, uint8_t *at)
{
    struct entry entry = {
        .index = index,
        .term = term,
        .time_ms = 1234,
        .kind = ENTRY_COMMAND,
        .payload = slice_of_string(payload),
    };
    entry_encode(&entry, at);
    return entry_encoded_size(entry.payload.size);
}

static void an_entry_comes_back_as_it_was(void **state)
{
    (void)state;
    uint8_t bytes[100];
    size_t size = make_entry(77, 5, "hello", bytes);
    assert_int_equal(size, ENTRY_HEADER_SIZE + 5);
    struct entry entry;
    size_t decoded;
    assert_int_equal(entry_decode(slice_of(bytes, sizeof bytes), &entry, &decoded), 0);
    assert_int_equal(decoded, size);
    assert_int_equal(entry.index, 77);
    assert_int_equal(entry.term, 5);
    assert_int_equal(entry.time_ms, 1234);
    assert_int_equal(entry.kind, ENTRY_COMMAND);
    assert_true(slice_equal(entry.payload, slice_of_string("hello")));
}

static void every_flipped_bit_of_an_entry_is_noticed(void **state)
{
    (void)state;
    uint8_t bytes[100];
    size_t size = make_entry(77, 5, "hello", bytes);
    struct entry entry;
    size_t decoded;
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(entry_decode(slice_of(bytes, size), &entry, &decoded), 0);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(entry_decode(slice_of(bytes, cut), &entry, &decoded), KV_ERR_INCOMPLETE);
    }
}

static void an_impossible_entry_is_refused_before_its_bytes_are_there(void **state)
{
    (void)state;
    struct entry entry;
    size_t decoded;
    uint8_t bytes[ENTRY_HEADER_SIZE];
    make_entry(1, 1, "", bytes);
    put_u32(bytes + ENTRY_SIZE_OFFSET, COMMAND_SIZE_MAX + 1);
    assert_int_equal(entry_decode(slice_of(bytes, sizeof bytes), &entry, &decoded),
                     KV_ERR_MALFORMED);
    put_u32(bytes + ENTRY_SIZE_OFFSET, COMMAND_SIZE_MAX);
    assert_int_equal(entry_decode(slice_of(bytes, sizeof bytes), &entry, &decoded),
                     KV_ERR_INCOMPLETE);
    make_entry(1, 1, "", bytes);
    bytes[ENTRY_KIND_OFFSET] = ENTRY_MEMBERSHIP + 1;
    assert_int_equal(entry_decode(slice_of(bytes, sizeof bytes), &entry, &decoded),
                     KV_ERR_MALFORMED);
    make_entry(1, 1, "", bytes);
    bytes[39] = 1;
    assert_int_equal(entry_decode(slice_of(bytes, sizeof bytes), &entry, &decoded),
                     KV_ERR_MALFORMED);
}

static void random_bytes_are_no_entry(void **state)
{
    (void)state;
    struct prng prng;
    print_message("# seed 1\n");
    prng_init(&prng, 1);
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[64];
        for (size_t at = 0; at < sizeof bytes; at++) {
            bytes[at] = prng_chance(&prng, 1, 2) ? 0 : (uint8_t)prng_next(&prng);
        }
        struct entry entry;
        size_t decoded;
        size_t size = prng_between(&prng, 0, sizeof bytes);
        assert_int_not_equal(entry_decode(slice_of(bytes, size), &entry, &decoded), 0);
    }
}

static const struct batch_place place = {.salt = 99, .offset = 1024};

static struct batch make_batch(uint8_t *entries)
{
    size_t first = make_entry(10, 1, "one", entries);
    size_t second = make_entry(11, 1, "two", entries + first);
    struct batch batch = {
        .size = (uint32_t)(first + second),
        .count = 2,
        .sequence = 4,
        .first_index = 10,
        .segment = 1,
        .vote_sequence = 3,
    };
    batch.binding = batch_bind(batch.binding, get_u64(entries));
    batch.binding = batch_bind(batch.binding, get_u64(entries + first));
    return batch;
}

static void a_batch_is_one_only_at_its_own_place(void **state)
{
    (void)state;
    uint8_t entries[256];
    uint8_t header[BATCH_HEADER_SIZE];
    struct batch batch = make_batch(entries);
    batch_encode(&batch, place, header);
    struct batch found;
    assert_int_equal(batch_decode(header, place, &found), 0);
    assert_int_equal(found.sequence, 4);
    assert_int_equal(found.first_index, 10);
    assert_int_equal(found.vote_sequence, 3);
    struct batch_place other_file = {.salt = 98, .offset = 1024};
    struct batch_place other_offset = {.salt = 99, .offset = 1536};
    assert_int_equal(batch_decode(header, other_file, &found), KV_ERR_CHECKSUM);
    assert_int_equal(batch_decode(header, other_offset, &found), KV_ERR_CHECKSUM);
    for (size_t bit = 0; bit < sizeof header * 8; bit++) {
        header[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(batch_decode(header, place, &found), KV_ERR_CHECKSUM);
        header[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* Writes a number into a header and makes its checksum right again. */
static void forge(uint8_t *header, size_t at, uint32_t value)
{
    put_u32(header + at, value);
    put_u64(header,
            hash_bytes_seeded(header + 8, BATCH_HEADER_SIZE - 8, place.salt + place.offset));
}

static void an_impossible_batch_is_refused(void **state)
{
    (void)state;
    uint8_t entries[256];
    uint8_t header[BATCH_HEADER_SIZE];
    const struct {
        size_t at;
        uint32_t value;
        int err;
    } forged[] = {
        {.at = 12, .value = LAYOUT_VERSION + 1, .err = KV_ERR_VERSION},
        {.at = 16, .value = BATCH_SIZE_MAX, .err = KV_ERR_CHECKSUM}, /* bytes, with the header */
        {.at = 20, .value = 0, .err = KV_ERR_CHECKSUM},              /* entries */
        {.at = 24, .value = 0, .err = KV_ERR_CHECKSUM},              /* sequence */
        {.at = 32, .value = 0, .err = KV_ERR_CHECKSUM},              /* first index */
        {.at = 72, .value = 2, .err = KV_ERR_CHECKSUM},              /* a flag nobody knows */
        {.at = 76, .value = 1, .err = KV_ERR_CHECKSUM},              /* reserved */
    };
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        struct batch batch = make_batch(entries);
        struct batch found;
        batch_encode(&batch, place, header);
        forge(header, forged[i].at, forged[i].value);
        assert_int_equal(batch_decode(header, place, &found), forged[i].err);
    }
    struct batch seal = {.sequence = 4, .first_index = 10, .segment = 1};
    struct batch found;
    batch_encode(&seal, place, header);
    assert_int_equal(batch_decode(header, place, &found), 0);
    assert_int_equal(batch_check(&found, slice_of(entries, 0)), 0);
}

static void entries_of_another_write_are_not_the_batchs(void **state)
{
    (void)state;
    uint8_t entries[256];
    struct batch batch = make_batch(entries);
    assert_int_equal(batch_check(&batch, slice_of(entries, batch.size)), 0);
    /* Right by itself, at the right index and of the right size, but from another write. */
    size_t first = entry_encoded_size(3);
    make_entry(11, 1, "TWO", entries + first);
    assert_int_equal(batch_check(&batch, slice_of(entries, batch.size)), KV_ERR_CHECKSUM);
    make_batch(entries);
    make_entry(12, 1, "two", entries + first);
    assert_int_equal(batch_check(&batch, slice_of(entries, batch.size)), KV_ERR_CHECKSUM);
    /* More bytes than the counted entries have. */
    batch = make_batch(entries);
    batch.count = 1;
    batch.binding = batch_bind(0, get_u64(entries));
    assert_int_equal(batch_check(&batch, slice_of(entries, batch.size)), KV_ERR_CHECKSUM);
}

static void a_segments_header_tells_its_file(void **state)
{
    (void)state;
    struct identity identity = {.cluster_id = 1, .node_id = 2};
    struct identity other = {.cluster_id = 1, .node_id = 3};
    struct segment segment = {.number = 6, .size = 8192, .salt = 7, .recycled = true};
    uint8_t bytes[SECTOR_SIZE];
    segment_encode(&segment, &identity, bytes);
    struct segment found;
    assert_int_equal(segment_decode(bytes, &identity, &found), 0);
    assert_int_equal(found.number, 6);
    assert_int_equal(found.size, 8192);
    assert_int_equal(found.salt, 7);
    assert_true(found.recycled);
    assert_int_equal(segment_decode(bytes, &other, &found), KV_ERR_MISMATCH);
    other = (struct identity){.cluster_id = 9, .node_id = 2};
    assert_int_equal(segment_decode(bytes, &other, &found), KV_ERR_MISMATCH);
    found = (struct segment){0};
    assert_int_equal(segment_decode(bytes, NULL, &found), 0);
    assert_int_equal(found.number, 6);
    bytes[20] ^= 1;
    assert_int_equal(segment_decode(bytes, &identity, &found), KV_ERR_DAMAGED);
}

static void a_segment_of_an_impossible_size_is_damaged(void **state)
{
    (void)state;
    struct identity identity = {.cluster_id = 1, .node_id = 2};
    const uint64_t sizes[] = {8191, 0, UINT64_MAX / 2 + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct segment segment = {.number = 6, .size = 8192, .salt = 7};
        struct segment found;
        uint8_t bytes[SECTOR_SIZE];
        segment_encode(&segment, &identity, bytes);
        assert_int_equal(segment_decode(bytes, &identity, &found), 0);
        put_u64(bytes + 24, sizes[i]);
        put_u64(bytes, hash_bytes(bytes + 8, SEGMENT_HEADER_SIZE - 8));
        assert_int_equal(segment_decode(bytes, &identity, &found), KV_ERR_DAMAGED);
    }
}

static void segments_are_found_by_their_numbers_and_leave_at_the_front(void **state)
{
    (void)state;
    struct segments segments = {0};
    assert_null(segments_find(&segments, 1));
    for (uint64_t number = 5; number < 15; number++) {
        segments_push(&segments, &(struct segment){.number = number, .size = 8192});
    }
    assert_null(segments_find(&segments, 4));
    assert_null(segments_find(&segments, 15));
    assert_int_equal(segments_find(&segments, 9)->number, 9);
    segments_trim(&segments, 8);
    assert_null(segments_find(&segments, 7));
    assert_int_equal(segments_find(&segments, 8)->number, 8);
    segments_trim(&segments, 20);
    assert_int_equal(segments.count, 0);
    segments_done(&segments);
}

static void segment_names_are_read_strictly(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_SIZE];
    segment_name(0x1f, name);
    assert_string_equal(name, "log-000000000000001f");
    assert_int_equal(segment_number(name), 0x1f);
    assert_int_equal(segment_number("log-000000000000001F"), 0);
    assert_int_equal(segment_number("log-00000000000001f"), 0);
    assert_int_equal(segment_number("log-000000000000001f.tmp"), 0);
    assert_int_equal(segment_number("LOCK"), 0);
}

static void snapshot_names_are_read_strictly(void **state)
{
    (void)state;
    char name[SNAPSHOT_NAME_SIZE];
    snapshot_name(0x1f, name);
    assert_string_equal(name, "snapshot-000000000000001f");
    assert_int_equal(snapshot_name_index(name), 0x1f);
    assert_int_equal(snapshot_name_index("snapshot-000000000000001F"), 0);
    assert_int_equal(snapshot_name_index("snapshot-00000000000000-1"), 0);
    assert_int_equal(snapshot_name_index("snapshot-00000000000001f"), 0);
    assert_int_equal(snapshot_name_index("snapshot-000000000000001f.damaged"), 0);
    assert_int_equal(snapshot_name_index(SNAPSHOT_TAKING_NAME), 0);
}

static void an_impossible_snapshot_header_is_damaged(void **state)
{
    (void)state;
    const struct {
        size_t at;
        uint64_t value;
        int err;
    } forged[] = {
        {.at = 12, .value = LAYOUT_VERSION, .err = 0},
        {.at = 12, .value = LAYOUT_VERSION + 1, .err = KV_ERR_VERSION},
        {.at = 32, .value = INT64_MAX, .err = 0}, /* index */
        {.at = 32, .value = 0, .err = KV_ERR_DAMAGED},
        {.at = 32, .value = (uint64_t)INT64_MAX + 1, .err = KV_ERR_DAMAGED},
        {.at = 56, .value = 1, .err = KV_ERR_DAMAGED}, /* reserved */
        {.at = SNAPSHOT_HEADER_SIZE - 8, .value = UINT64_C(1) << 56, .err = KV_ERR_DAMAGED},
    };
    const struct snapshot_header header = {.salt = 5, .cluster_id = 1, .index = 9, .term = 2};
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        uint8_t bytes[SNAPSHOT_HEADER_SIZE];
        struct snapshot_header found;
        snapshot_header_encode(&header, bytes);
        if (forged[i].at == 12) {
            put_u32(bytes + 12, (uint32_t)forged[i].value);
        } else {
            put_u64(bytes + forged[i].at, forged[i].value);
        }
        put_u64(bytes, hash_bytes(bytes + 8, SNAPSHOT_HEADER_SIZE - 8));
        assert_int_equal(snapshot_header_decode(bytes, &found), forged[i].err);
    }
}

static void an_identity_comes_back_as_it_was(void **state)
{
    (void)state;
    const struct identity identity = {.cluster_id = 1, .node_id = 2, .incarnation = 3};
    struct buf bytes = {0};
    struct identity found;
    struct slice founders;
    identity_encode(&identity, slice_of_string("they"), &bytes);
    assert_int_equal(identity_decode(buf_slice(&bytes), &found, &founders), 0);
    assert_int_equal(found.cluster_id, 1);
    assert_int_equal(found.node_id, 2);
    assert_int_equal(found.incarnation, 3);
    assert_true(slice_equal(founders, slice_of_string("they")));
    put_u64(bytes.data + 32, 0);
    put_u64(bytes.data, hash_bytes(bytes.data + 8, bytes.size - 8));
    assert_int_equal(identity_decode(buf_slice(&bytes), &found, &founders), KV_ERR_DAMAGED);
    buf_done(&bytes);
}

static void an_identity_has_no_more_founders_than_fit(void **state)
{
    (void)state;
    const struct identity identity = {.cluster_id = 1, .node_id = 2, .incarnation = 3};
    uint8_t many[STORAGE_MEMBERSHIP_SIZE_MAX] = {0};
    struct buf bytes = {0};
    struct identity found;
    struct slice founders;
    identity_encode(&identity, slice_of(many, sizeof many), &bytes);
    assert_int_equal(identity_decode(buf_slice(&bytes), &found, &founders), 0);
    assert_int_equal(founders.size, sizeof many);
    buf_put_u8(&bytes, 0);
    put_u64(bytes.data, hash_bytes(bytes.data + 8, bytes.size - 8));
    assert_int_equal(identity_decode(buf_slice(&bytes), &found, &founders), KV_ERR_DAMAGED);
    buf_done(&bytes);
}

/* Those before had no incarnation, or no founders. */
static void an_identity_of_another_version_is_known_as_such_whatever_its_size(void **state)
{
    (void)state;
    const struct identity identity = {.cluster_id = 1, .node_id = 2, .incarnation = 3};
    struct buf bytes = {0};
    struct identity found;
    struct slice founders;
    identity_encode(&identity, slice_of_string("they"), &bytes);
    size_t whole = bytes.size;
    for (size_t size = 16; size <= whole; size++) {
        struct slice part = slice_of(bytes.data, size);
        if (size < whole) {
            assert_int_equal(identity_decode(part, &found, &founders), KV_ERR_DAMAGED);
        }
        uint64_t hash = get_u64(bytes.data);
        put_u32(bytes.data + 12, LAYOUT_VERSION - 1);
        put_u64(bytes.data, hash_bytes(bytes.data + 8, size - 8));
        assert_int_equal(identity_decode(part, &found, &founders), KV_ERR_VERSION);
        put_u32(bytes.data + 12, LAYOUT_VERSION);
        put_u64(bytes.data, hash);
    }
    buf_done(&bytes);
}

static void the_newest_whole_vote_slot_counts(void **state)
{
    (void)state;
    struct identity identity = {.cluster_id = 1, .node_id = 2};
    uint8_t bytes[VOTE_FILE_SIZE] = {0};
    struct vote old = {.sequence = 8, .term = 3, .voted_for = 1, .first_segment = 1};
    struct vote new = {.sequence = 9, .term = 4, .voted_for = 2, .first_segment = 1};
    vote_encode(&new, &identity, bytes);
    vote_encode(&old, &identity, bytes + VOTE_SLOT_SPACING);
    struct vote found;
    unsigned slot;
    bool echoed;
    struct slice file = slice_of(bytes, sizeof bytes);
    assert_int_equal(vote_choose(file, &identity, &found, &slot, &echoed), 0);
    assert_int_equal(found.term, 4);
    assert_int_equal(slot, 0);
    assert_false(echoed);
    bytes[25] ^= 1;
    assert_int_equal(vote_choose(file, &identity, &found, &slot, &echoed), 0);
    assert_int_equal(found.term, 3);
    assert_int_equal(slot, 1);
    bytes[VOTE_SLOT_SPACING] ^= 1;
    assert_int_equal(vote_choose(file, &identity, &found, &slot, &echoed), KV_ERR_DAMAGED);
}

static void a_vote_is_echoed_when_both_slots_say_the_same(void **state)
{
    (void)state;
    struct identity identity = {.cluster_id = 1, .node_id = 2};
    const struct vote first = {.sequence = 8, .term = 3, .voted_for = 1, .first_segment = 2};
    enum { COUNT = 7 };
    struct vote second[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        second[i] = first;
        second[i].sequence = 9;
    }
    second[0].term = 4;
    second[1].voted_for = 2;
    second[2].first_segment = 3;
    second[3].lost_until = 7;
    second[4].aside = 1;
    second[5].outdated = true;
    for (size_t i = 0; i < COUNT; i++) {
        uint8_t bytes[VOTE_FILE_SIZE] = {0};
        struct vote found;
        unsigned slot;
        bool echoed;
        vote_encode(&first, &identity, bytes);
        vote_encode(&second[i], &identity, bytes + VOTE_SLOT_SPACING);
        struct slice file = slice_of(bytes, sizeof bytes);
        assert_int_equal(vote_choose(file, &identity, &found, &slot, &echoed), 0);
        assert_int_equal(slot, 1);
        assert_int_equal(echoed, i == COUNT - 1);
        assert_int_equal(found.outdated, second[i].outdated);
    }
}

/* The slot of a version that is not known may be the newer one, wherever it stands. */
static void a_vote_of_a_later_format_in_either_slot_comes_before_all(void **state)
{
    (void)state;
    struct identity identity = {.cluster_id = 1, .node_id = 2};
    const struct vote vote = {.sequence = 8, .term = 3, .voted_for = 1, .first_segment = 1};
    for (size_t slot = 0; slot < 2; slot++) {
        uint8_t bytes[VOTE_FILE_SIZE] = {0};
        struct vote found;
        unsigned chosen;
        bool echoed;
        vote_encode(&vote, &identity, bytes);
        vote_encode(&vote, &identity, bytes + VOTE_SLOT_SPACING);
        uint8_t *later = bytes + slot * VOTE_SLOT_SPACING;
        put_u32(later + 12, LAYOUT_VERSION + 1);
        put_u64(later, hash_bytes(later + 8, VOTE_RECORD_SIZE - 8));
        struct slice file = slice_of(bytes, sizeof bytes);
        assert_int_equal(vote_choose(file, &identity, &found, &chosen, &echoed), KV_ERR_VERSION);
    }
}

static void a_vote_of_another_server_is_not_taken(void **state)
{
    (void)state;
    struct identity identity = {.cluster_id = 1, .node_id = 2};
    struct identity others[] = {{.cluster_id = 9, .node_id = 2}, {.cluster_id = 1, .node_id = 9}};
    const struct vote vote = {.sequence = 8, .term = 3, .voted_for = 1, .first_segment = 1};
    for (size_t i = 0; i < 2; i++) {
        uint8_t bytes[VOTE_FILE_SIZE] = {0};
        struct vote found;
        unsigned slot;
        bool echoed;
        vote_encode(&vote, &identity, bytes);
        struct slice file = slice_of(bytes, sizeof bytes);
        assert_int_equal(vote_choose(file, &others[i], &found, &slot, &echoed), KV_ERR_MISMATCH);
        assert_int_equal(vote_decode(bytes, NULL, &found), 0);
        assert_int_equal(found.term, 3);
        assert_int_equal(
            vote_choose(slice_of(bytes, sizeof bytes - 1), &identity, &found, &slot, &echoed),
            KV_ERR_DAMAGED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_comes_back_as_it_was),
        cmocka_unit_test(every_flipped_bit_of_an_entry_is_noticed),
        cmocka_unit_test(an_impossible_entry_is_refused_before_its_bytes_are_there),
        cmocka_unit_test(random_bytes_are_no_entry),
        cmocka_unit_test(a_batch_is_one_only_at_its_own_place),
        cmocka_unit_test(an_impossible_batch_is_refused),
        cmocka_unit_test(entries_of_another_write_are_not_the_batchs),
        cmocka_unit_test(a_segments_header_tells_its_file),
        cmocka_unit_test(a_segment_of_an_impossible_size_is_damaged),
        cmocka_unit_test(segments_are_found_by_their_numbers_and_leave_at_the_front),
        cmocka_unit_test(segment_names_are_read_strictly),
        cmocka_unit_test(snapshot_names_are_read_strictly),
        cmocka_unit_test(an_impossible_snapshot_header_is_damaged),
        cmocka_unit_test(an_identity_comes_back_as_it_was),
        cmocka_unit_test(an_identity_has_no_more_founders_than_fit),
        cmocka_unit_test(an_identity_of_another_version_is_known_as_such_whatever_its_size),
        cmocka_unit_test(the_newest_whole_vote_slot_counts),
        cmocka_unit_test(a_vote_is_echoed_when_both_slots_say_the_same),
        cmocka_unit_test(a_vote_of_a_later_format_in_either_slot_comes_before_all),
        cmocka_unit_test(a_vote_of_another_server_is_not_taken),
    };
    return cmocka_run_group_tests_name("storage_formats", tests, NULL, NULL);
}
